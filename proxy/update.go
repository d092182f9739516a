package proxy

import (
	"bytes"
	"net/http"
	"regexp"
	"time"

	"waxseal/proxy/objects"
	"waxseal/proxy/s3"
	"waxseal/sse"
)

// updateObjectEncryption wraps an object's data key anew under a KMS key, in place. The data, the ETag and the
// checksums stay. LastModified does not: a store behind a proxy offers no way to replace metadata and keep it; and an
// earlier version cannot be changed.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_UpdateObjectEncryption.html
func (c *call) updateObjectEncryption() error {
	enc, err := c.encryptionUpdate()
	if err != nil {
		return err
	}
	for range 5 {
		err = c.updateOnce(enc)
		if err == nil {
			c.answer(http.StatusOK, "", nil)
			return nil
		}
		if objects.ChangedError(err) != objects.ErrChanged {
			return err
		}
	}
	return s3.NewError(s3.ConditionalRequestConflict)
}

// What S3 says when it refuses, in its own words.
const (
	updateNoType  = "Requests that modify an object encryption configuration require a valid new encryption type. Valid values are SSEKMS. Modify the request to specify SSE-KMS for the updated encryption type, and then try again."
	updateNoKey   = "Requests that modify an object's encryption type to SSE-KMS require an Amazon Web Services KMS key Amazon Resource Name (ARN). Modify the request to specify a KMS key ARN, and then try again."
	updateBadKey  = "Requests that modify an object's encryption type to SSE-KMS require a valid Amazon Web Services KMS key Amazon Resource Name (ARN). Confirm that you have a correctly formatted KMS key ARN in your request, and then try again."
	updateBadFlag = "The BucketKeyEnabled value isn't valid. Valid values are true or false. Modify the request to specify a valid value, and then try again."
	updateNotV4   = "Requests that modify an object encryption configuration require Amazon Web Services Signature Version 4. Modify the request to use Amazon Web Services Signature Version 4, and then try again."
	updatePlain   = "The UpdateObjectEncryption operation doesn't support unencrypted source objects. Only source objects encrypted with SSE-S3 or SSE-KMS are supported."
	updateSource  = "The UpdateObjectEncryption operation doesn't support source objects with the encryption type DSSE-KMS or SSE-C. Only source objects encrypted with SSE-S3 or SSE-KMS are supported."
	updateAccount = "The Amazon Web Services KMS key in the request must be owned by the same account as the bucket. Modify the request to specify a KMS key from the same account, and then try again."
	updateLocked  = "The encryption type for the specified object can't be updated because that object is protected by S3 Object Lock. If the object has a governance-mode retention period or a legal hold, you must first remove the Object Lock status on the object before you issue your UpdateObjectEncryption request. You can't use the UpdateObjectEncryption operation with objects that have an Object Lock compliance mode retention period applied to them."
)

// fullKeyARN is the only way to name the key here.
var fullKeyARN = regexp.MustCompile(`^arn:aws[-a-z0-9]*:kms:[-a-z0-9]*:([0-9]{12}):key/.+$`)

// encryptionUpdate reads what the object is to become.
func (c *call) encryptionUpdate() (*objects.Encryption, error) {
	if !c.auth.Kind.V4() {
		return nil, s3.Errorf(s3.InvalidRequest, updateNotV4)
	}
	if err := c.authorizeAction("s3:PutObject", c.bucket, c.key, noFields{}); err != nil {
		return nil, err
	}
	body, err := c.checkedDocument()
	if err != nil {
		return nil, err
	}
	var doc s3.ObjectEncryption
	// An element that is not known is a type that is not known, which S3 has words for.
	if err := s3.DecodeReply(bytes.NewReader(body), maxForwarded, &doc); err != nil {
		return nil, s3.NewError(s3.MalformedXML)
	}
	kms := doc.SSEKMS
	if kms == nil {
		return nil, s3.Errorf(s3.InvalidRequest, updateNoType)
	}
	if kms.KMSKeyArn == "" {
		return nil, s3.Errorf(s3.InvalidRequest, updateNoKey)
	}
	arn := fullKeyARN.FindStringSubmatch(kms.KMSKeyArn)
	if arn == nil {
		return nil, s3.Errorf(s3.InvalidRequest, updateBadKey)
	}
	if arn[1] != c.s.cfg.Account {
		return nil, s3.Errorf(s3.AccessDenied, updateAccount)
	}
	enc := &objects.Encryption{Mode: sse.SSEKMS, KeyID: kms.KMSKeyArn}
	switch kms.BucketKeyEnabled {
	case "", "false":
	case "true":
		enc.BucketKey = true
	default:
		return nil, s3.Errorf(s3.InvalidRequest, updateBadFlag)
	}
	return enc, nil
}

func (c *call) updateOnce(enc *objects.Encryption) error {
	o, err := c.lookup(c.place(), "", "")
	if err != nil {
		return err
	}
	if v := c.query.Get("versionId"); v != "" && v != o.Version && !(v == "null" && o.Version == "") {
		if _, err := c.lookup(c.place(), v, ""); err != nil {
			return err
		}
		return s3.Errorf(s3.NotImplemented, "waxseal can only update the encryption of an object's current version")
	}
	if err := c.addLock(o); err != nil {
		return err
	}
	if err := updatable(o, c.s.cfg.Now()); err != nil {
		return err
	}
	kept := *enc
	kept.Context = o.Envelope.Context // the client's own part of it stays what it is, like all of the object but its key
	p := &copying{call: c, source: o, to: c.place(), enc: &kept, keepETag: true, header: make(http.Header)}
	p.takeMetadata()
	for _, name := range []string{"X-Amz-Storage-Class", "X-Amz-Website-Redirect-Location"} {
		if v := o.Header.Get(name); v != "" {
			p.header.Set(name, v)
		}
	}
	return p.run()
}

// updatable says whether an object is of a kind that can be updated, and not locked.
func updatable(o *objects.Object, now time.Time) error {
	switch {
	case o.Envelope == nil:
		return s3.Errorf(s3.InvalidRequest, updatePlain)
	case o.Envelope.Mode != sse.SSES3 && o.Envelope.Mode != sse.SSEKMS:
		return s3.Errorf(s3.InvalidRequest, updateSource)
	}
	until, err := time.Parse(time.RFC3339, o.Header.Get("X-Amz-Object-Lock-Retain-Until-Date"))
	retained := o.Header.Get("X-Amz-Object-Lock-Mode") != "" && (err != nil || now.Before(until))
	if retained || o.Header.Get("X-Amz-Object-Lock-Legal-Hold") == "ON" {
		return s3.Errorf(s3.AccessDenied, updateLocked)
	}
	return nil
}
