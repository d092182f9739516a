package proxy

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"waxseal/keystore/sigv4"
	"waxseal/proxy/s3"
)

// postObject seals a file that a browser's form uploads.
// https://docs.aws.amazon.com/AmazonS3/latest/API/RESTObjectPOST.html
func (c *call) postObject() error {
	if c.auth.Kind != sigv4.Anonymous {
		// A form is signed by its policy alone: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-UsingHTTPPOST.html
		return s3.Errorf(s3.MethodNotAllowed, "The specified method is not allowed against this resource.").With("Method", "POST")
	}
	read := c.readingForm()
	f, err := c.readForm()
	read()
	if err != nil {
		return err
	}
	policy, err := c.admitForm(f)
	if err != nil {
		return err
	}
	w, err := c.writeOf(f)
	if err != nil {
		return err
	}
	file, err := f.spoolFile(w, policy)
	if err != nil {
		return err
	}
	defer file.close()
	w.size = file.size
	if err := checkPut(w.size, layersOf(w.enc.Mode)); err != nil {
		return err
	}
	if w.body, err = file.reader(); err != nil {
		return err
	}
	done, err := w.send()
	if err != nil {
		return err
	}
	return c.answerForm(f, w, done)
}

// admitForm checks who signed the form, that its policy allows it, and that the signer may write the object.
func (c *call) admitForm(f *form) (*sigv4.PostPolicy, error) {
	auth, policy, err := c.s.verifier.VerifyPost(f.fields)
	if err != nil {
		return nil, err
	}
	if auth.Kind == sigv4.Anonymous && !c.s.cfg.Anonymous {
		return nil, s3.Errorf(s3.AccessDenied, "Access Denied: the form is not signed")
	}
	if auth.Kind == sigv4.Anonymous {
		err = c.takeAnonymous()
	} else {
		err = c.authorizeAs(auth)
	}
	if err != nil {
		return nil, err
	}
	if c.key, err = f.takeKey(); err != nil {
		return nil, err
	}
	if err := errors.Join(c.s.checkKey(c.key), c.s.checkNewKey(c.key)); err != nil {
		return nil, err
	}
	fields := f.fields
	if c.s.cfg.CompatCeph {
		fields = f.withoutLooseChecksums(policy)
	}
	if err := policy.Check(c.bucket, fields, -1); err != nil {
		return nil, err
	}
	if err := c.authorizeHeaders(f, passObject); err != nil {
		return nil, err
	}
	return policy, c.authorizeAction("s3:PutObject", c.bucket, c.key, f)
}

// writeOf is the write that the form's fields ask for.
func (c *call) writeOf(f *form) (*write, error) {
	enc, err := c.encryptionFor(f)
	if err != nil {
		return nil, err
	}
	want, err := c.declaredOf(f)
	if err != nil {
		return nil, err
	}
	if alg := f.header("x-amz-checksum-algorithm"); alg != "" && !want.Named {
		if want.Algorithm = s3.ChecksumID(alg); want.Algorithm == 0 {
			return nil, s3.UnsupportedChecksum()
		}
	}
	header, err := f.storeHeader()
	if err != nil {
		return nil, err
	}
	for _, name := range append([]string{"Origin"}, passOwner...) { // with Origin the store answers for CORS
		if v := c.header(name); v != "" {
			header.Set(name, v)
		}
	}
	return &write{call: c, at: c.place(), enc: enc, header: header, want: want}, nil
}

// answerForm answers as the form asks: with a redirect, with the status it names, else with 204.
func (c *call) answerForm(f *form, w *write, done *written) error {
	c.copyHeaders(done.resp.Header)
	h := &c.res.Header
	h.Set("Etag", s3.Quote(done.etag))
	h.Set("Location", c.objectURL())
	c.showEncryption(done.env, w.enc.Customer)
	c.showChecksums(done.facts.Checksums, 0)
	if to := f.redirect(c.bucket, c.key, done.etag); to != "" {
		h.Set("Location", to)
		c.answer(http.StatusSeeOther, "", nil)
		return nil
	}
	switch f.header("success_action_status") {
	case "200":
		c.answer(http.StatusOK, "", nil)
	case "201":
		return c.answerXML(http.StatusCreated, s3.PostResponse{Location: c.objectURL(), Bucket: c.bucket, Key: c.key, ETag: s3.Quote(done.etag)})
	default:
		c.answer(http.StatusNoContent, "", nil)
	}
	return nil
}

// objectURL is the address of the object, in the style that the form was sent to.
func (c *call) objectURL() string {
	scheme := "http"
	if c.secure {
		scheme = "https"
	}
	return scheme + "://" + c.host() + strings.TrimSuffix(c.rawPath, "/") + "/" + s3.EscapePath(c.key)
}

// redirect is where the browser is sent; empty for a form that names no address, or none that can be read.
func (f *form) redirect(bucket, key, etag string) string {
	to := f.header("success_action_redirect")
	if to == "" {
		to = f.header("redirect") // its deprecated name
	}
	u, err := url.Parse(to)
	if to == "" || err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return ""
	}
	if u.RawQuery != "" {
		u.RawQuery += "&"
	}
	u.RawQuery += "bucket=" + s3.EscapeQuery(bucket) + "&key=" + s3.EscapeQuery(key) + "&etag=" + s3.EscapeQuery(s3.Quote(etag))
	return u.String()
}
