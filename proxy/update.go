package proxy

import (
	"bytes"
	"net/http"
	"strings"

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
		if changedError(err) != errChanged {
			return err
		}
	}
	return s3.NewError(s3.ConditionalRequestConflict)
}

func (c *call) encryptionUpdate() (*encryption, error) {
	body, err := c.document(maxForwarded)
	if err != nil {
		return nil, err
	}
	var doc s3.ObjectEncryption
	if err := s3.Decode(bytes.NewReader(body), maxForwarded, &doc); err != nil {
		return nil, err
	}
	kms := doc.SSEKMS
	if kms == nil {
		return nil, s3.Errorf(s3.InvalidRequest, "An object's encryption can only be updated to SSE-KMS")
	}
	if !strings.HasPrefix(kms.KMSKeyArn, "arn:") || !strings.Contains(kms.KMSKeyArn, ":key/") {
		return nil, s3.InvalidArgument("KMSKeyArn", kms.KMSKeyArn, "The KMS key must be named by its full key ARN, not by an alias or a key id")
	}
	return &encryption{mode: sse.SSEKMS, keyID: kms.KMSKeyArn, bucketKey: kms.BucketKeyEnabled}, nil
}

func (c *call) updateOnce(enc *encryption) error {
	o, err := c.lookup(c.place(), "", "")
	if err != nil {
		return err
	}
	if v := c.query.get("versionId"); v != "" && v != o.version && !(v == "null" && o.version == "") {
		if _, err := c.lookup(c.place(), v, ""); err != nil {
			return err
		}
		return s3.Errorf(s3.NotImplemented, "waxseal can only update the encryption of an object's current version")
	}
	if o.env == nil || o.env.Mode == sse.SSEC || o.env.Mode == sse.DSSEKMS {
		return s3.Errorf(s3.InvalidRequest, "The encryption of an object that is not encrypted, or encrypted with SSE-C or DSSE-KMS, cannot be updated")
	}
	if o.header.Get("X-Amz-Object-Lock-Mode") != "" || o.header.Get("X-Amz-Object-Lock-Legal-Hold") == "ON" {
		return s3.Errorf(s3.AccessDenied, "Access Denied because object protected by object lock.")
	}
	p := &copying{call: c, source: o, to: c.place(), enc: enc, keepETag: true, header: make(http.Header)}
	p.takeMetadata()
	if class := o.header.Get("X-Amz-Storage-Class"); class != "" {
		p.header.Set("X-Amz-Storage-Class", class)
	}
	return p.run()
}
