package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"strings"

	"waxseal/keystore/sigv4"
	"waxseal/proxy/s3"
	"waxseal/proxy/store"
)

const (
	// maxFormFields is S3's limit on all that stands before the file.
	// https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
	maxFormFields = 20 << 10
	// maxFormHead bounds the same as it is on the wire: with boundaries and part headers.
	maxFormHead = 128 << 10
	// maxFormRest is what may follow the file, and is passed over as S3 does.
	maxFormRest = 1 << 20
)

// form is a POST form: its fields, and its file still unread.
type form struct {
	call   *call
	fields []sigv4.Header // in the order of the wire
	body   *formBody
	file   *multipart.Part
	name   string // of the file
}

// formBody is the request's body. Up to the file, no more of it is read than a form may have there.
type formBody struct {
	call  *call
	src   io.Reader
	left  int64 // as Content-Length has it
	head  int64 // left of maxFormHead
	found bool  // the file has been reached
}

func (b *formBody) Read(p []byte) (int, error) {
	if !b.found {
		if b.head == 0 {
			return 0, s3.NewError(s3.MaxPostPreDataLengthExceeded)
		}
		p = p[:min(int64(len(p)), b.head)]
	}
	n, err := b.src.Read(p)
	b.head -= min(b.head, int64(n))
	b.left -= int64(n)
	b.call.gotBytes += int64(n)
	if err == io.EOF {
		b.call.unread = false
	}
	return n, err
}

// readForm reads the fields of the form, up to its file: S3 wants it last.
func (c *call) readForm() (*form, error) {
	kind, params, err := mime.ParseMediaType(c.header("Content-Type"))
	if err != nil || kind != "multipart/form-data" || params["boundary"] == "" {
		return nil, s3.Errorf(s3.PreconditionFailed, "At least one of the pre-conditions you specified did not hold").
			With("Condition", "Bucket POST must be of the enclosure-type multipart/form-data")
	}
	length := int64(c.ctx.Request.Header.ContentLength())
	if length < 0 {
		return nil, s3.Errorf(s3.MissingContentLength, "You must provide the Content-Length HTTP header.")
	}
	if err := checkPut(length-maxFormHead-maxFormRest, 1); err != nil {
		return nil, err
	}
	src := io.Reader(bytes.NewReader(nil))
	if s := c.ctx.RequestBodyStream(); s != nil {
		src = s
	}
	f := &form{call: c, body: &formBody{call: c, src: src, left: length, head: maxFormHead}}
	return f, f.read(multipart.NewReader(f.body, params["boundary"]))
}

func (f *form) read(r *multipart.Reader) error {
	for total := 0; ; {
		part, err := r.NextRawPart()
		if err == io.EOF {
			return s3.InvalidArgument("file", "0", "POST requires exactly one file upload per request.")
		}
		if err != nil {
			return formError(err)
		}
		name := part.FormName()
		if name == "" { // https://www.rfc-editor.org/rfc/rfc7578#section-4.2
			return errMalformedForm()
		}
		if strings.EqualFold(name, "file") {
			f.file, f.name, f.body.found = part, part.FileName(), true
			return nil
		}
		value, err := io.ReadAll(io.LimitReader(part, maxFormFields+1))
		if err != nil {
			return formError(err)
		}
		if total += len(name) + len(value); total > maxFormFields {
			return s3.NewError(s3.MaxPostPreDataLengthExceeded)
		}
		f.fields = append(f.fields, sigv4.Header{Name: name, Value: string(value)})
	}
}

// formError tells a form that is cut or no form at all from the client's other faults.
func formError(err error) error {
	var own *s3.Error
	switch {
	case errors.As(err, &own):
		return own
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errCutForm()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%w: the form's fields did not come in time: %w", store.ErrClientGone, err)
	}
	return errMalformedForm()
}

func errMalformedForm() error {
	return s3.Errorf(s3.MalformedPOSTRequest, "The body of your POST request is not well-formed multipart/form-data.")
}

// errCutForm is the refusal of a form whose end never came.
func errCutForm() error {
	return s3.Errorf(s3.IncompleteBody, "The request body terminated unexpectedly")
}

// formAliases are fields with another name than the header that they stand for.
var formAliases = map[string]string{"x-amz-acl": "acl", "x-amz-tagging": "tagging"}

func (f *form) get(name string) (string, bool) {
	if alias, ok := formAliases[strings.ToLower(name)]; ok {
		name = alias
	}
	for _, field := range f.fields {
		if strings.EqualFold(field.Name, name) {
			return field.Value, true
		}
	}
	return "", false
}

// header and hasHeader make a form's fields what a request's headers are elsewhere.
func (f *form) header(name string) string { v, _ := f.get(name); return v }

func (f *form) hasHeader(name string) bool { _, ok := f.get(name); return ok }

// takeKey is the object's key, with the file's name in place of ${filename}; the policy is held against that.
func (f *form) takeKey() (string, error) {
	for i := range f.fields {
		field := &f.fields[i]
		if !strings.EqualFold(field.Name, "key") {
			continue
		}
		field.Value = strings.ReplaceAll(field.Value, "${filename}", baseName(f.name))
		if field.Value == "" {
			return "", s3.InvalidArgument("key", "", "User key must have a length greater than 0.")
		}
		return field.Value, nil
	}
	return "", s3.InvalidArgument("key", "", "Bucket POST must contain a field named 'key'.  If it is specified, please check the order of the fields.")
}

// baseName is a file's name without the path that some browsers send.
func baseName(name string) string { return name[strings.LastIndexAny(name, `/\`)+1:] }

// withoutLooseChecksums are the fields without checksums that the policy does not name, which S3 refuses and
// ceph/s3-tests want taken (test_post_object_upload_checksum).
func (f *form) withoutLooseChecksums(policy *sigv4.PostPolicy) []sigv4.Header {
	var fields []sigv4.Header
	for _, field := range f.fields {
		name := strings.ToLower(field.Name)
		if policy.Covers(name) || !strings.HasPrefix(name, s3.ChecksumPrefix) {
			fields = append(fields, field)
		}
	}
	return fields
}

// formHeaders are the fields that go to the store, as the header that each stands for.
// https://docs.aws.amazon.com/AmazonS3/latest/API/RESTObjectPOST.html
var formHeaders = map[string]string{
	"acl": "X-Amz-Acl", "cache-control": "Cache-Control", "content-type": "Content-Type",
	"content-disposition": "Content-Disposition", "content-encoding": "Content-Encoding",
	"content-language": "Content-Language", "expires": "Expires", "x-amz-storage-class": "X-Amz-Storage-Class",
	"x-amz-website-redirect-location": "X-Amz-Website-Redirect-Location", "x-amz-object-lock-mode": "X-Amz-Object-Lock-Mode",
	"x-amz-object-lock-retain-until-date": "X-Amz-Object-Lock-Retain-Until-Date",
	"x-amz-object-lock-legal-hold":        "X-Amz-Object-Lock-Legal-Hold",
}

// formUnderstood are the x-amz-* fields that are read here. Those about encryption and checksums are in understood.
var formUnderstood = map[string]bool{
	"x-amz-algorithm": true, "x-amz-credential": true, "x-amz-date": true, "x-amz-signature": true,
	"x-amz-sdk-checksum-algorithm": true, "x-amz-security-token": true,
}

// storeHeader is what of the form goes to the store. Fields that nobody knows are passed over, as S3 does, but for
// x-amz-* ones, which may change what the client asks for.
func (f *form) storeHeader() (http.Header, error) {
	h := make(http.Header)
	for _, field := range f.fields {
		name := strings.ToLower(field.Name)
		header := formHeaders[name]
		switch {
		case name == s3.HeaderEnvelope:
			return nil, s3.Errorf(s3.InvalidRequest, "The metadata name %q is reserved by waxseal", strings.TrimPrefix(s3.HeaderEnvelope, s3.MetaPrefix))
		case strings.HasPrefix(name, s3.MetaPrefix):
			header = field.Name
		case name == "tagging":
			tags, err := formTags(field.Value)
			if err != nil {
				return nil, err
			}
			h.Set("X-Amz-Tagging", tags)
			continue
		case header != "":
		case !strings.HasPrefix(name, "x-amz-"), formUnderstood[name]:
			continue
		case understood[name] && (strings.HasPrefix(name, hdrSSE) || strings.HasPrefix(name, s3.ChecksumPrefix)):
			continue
		default:
			return nil, s3.Errorf(s3.NotImplemented, "waxseal does not support the field %s of PostObject", name)
		}
		if err := checkForwarded(strings.ToLower(header), field.Value); err != nil {
			return nil, err
		}
		value := field.Value
		if strings.HasPrefix(name, s3.MetaPrefix) {
			value = s3.StoredMetadata(strings.ToValidUTF8(value, "\uFFFD")) // a field has no encoded words
		}
		h.Set(header, value)
	}
	return h, nil
}

// formTags turns the field's XML into the header's form.
// https://docs.aws.amazon.com/AmazonS3/latest/API/RESTObjectPOST.html
func formTags(doc string) (string, error) {
	var tagging s3.Tagging
	if err := s3.Decode(strings.NewReader(doc), maxFormFields, &tagging); err != nil {
		return "", err
	}
	var tags []string
	for _, t := range tagging.TagSet.Tags {
		tags = append(tags, url.QueryEscape(t.Key)+"="+url.QueryEscape(t.Value))
	}
	return strings.Join(tags, "&"), nil
}
