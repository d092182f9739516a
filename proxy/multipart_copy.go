package proxy

import (
	"errors"
	"io"
	"net/http"

	"waxseal/proxy/objects"
	"waxseal/proxy/s3"
)

// uploadPartCopy makes a part of an object, or of a range of one. It is read and sealed anew: the part belongs to
// another data key, and begins where no segment of the source does.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPartCopy.html
func (c *call) uploadPartCopy() error {
	c.unread = false
	w, err := c.newPartWrite()
	if err != nil {
		return err
	}
	for range 3 {
		err = w.copyFrom()
		if !errors.Is(err, objects.ErrChanged) {
			return err
		}
		// The source was written anew between two requests to the store.
	}
	return s3.Errorf(s3.SlowDown, "The source changes faster than it can be read. Please try again.")
}

func (w *partWrite) copyFrom() error {
	src, err := w.copySource()
	if err != nil {
		return err
	}
	off, n, err := w.copyRange(src)
	if err != nil {
		return err
	}
	body, err := src.plaintextOf(off, n)
	if err != nil {
		return err
	}
	defer body.Close()
	w.body, w.size, w.want = io.LimitReader(body, n), n, &s3.Declared{Algorithm: w.upload.Checksum}
	p, _, err := w.send()
	if err != nil {
		return err
	}
	if src.source.Version != "" {
		w.res.Header.Set("x-amz-copy-source-version-id", src.source.Version)
	}
	w.showEncryption(w.upload.Env, w.customer)
	doc := s3.CopyPartResult{LastModified: s3.FormatTime(p.Time), ETag: s3.Quote(p.ETag)}
	if w.upload.Named {
		*doc.Field(s3.ChecksumName(w.upload.Checksum)) = s3.Base64(p.Sum(w.upload.Checksum))
	}
	return w.answerXML(http.StatusOK, doc)
}

// copyRange is the part of the source that is asked for: exactly, unlike a GET's range, which may reach too far.
func (w *partWrite) copyRange(src *copying) (off, n int64, err error) {
	size := src.source.Size
	v := w.call.header("x-amz-copy-source-range")
	if v == "" {
		if err := src.checkSize(size); err != nil {
			return 0, 0, err
		}
		return 0, size, checkPart(size, w.keys.Layers())
	}
	r, err := s3.ParseCopyRange(v)
	if err != nil {
		return 0, 0, err
	}
	switch {
	case r.First >= size:
		return 0, 0, s3.Errorf(s3.InvalidRequest, "The specified copy range is invalid for the source object size: %d", size)
	case r.Last >= size:
		return 0, 0, s3.InvalidArgument("x-amz-copy-source-range", v, "Range specified is not valid for source object of size: "+itoa64(size))
	}
	n = r.Last - r.First + 1
	return r.First, n, checkPart(n, w.keys.Layers())
}

// plaintextOf reads a run of the source's plaintext.
func (p *copying) plaintextOf(off, n int64) (io.ReadCloser, error) {
	f := &fetch{call: p.call, read: &read{customer: p.customer}, Object: p.source}
	if p.source.Envelope == nil {
		resp, err := f.plainBytes(off, n)
		if err != nil {
			return nil, err
		}
		return resp.Body, nil
	}
	o, err := p.openSource()
	if err != nil {
		return nil, err
	}
	return f.body(o, off, n)
}
