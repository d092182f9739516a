package proxy

import (
	"io"
	"net/http"

	"waxseal/proxy/objects"
	"waxseal/proxy/s3"
	"waxseal/sse"
)

// plain answers with an object that was there before waxseal, from a bucket that the configuration names.
func (f *fetch) plain() error {
	if err := objects.Openable(f.Object, f.customer); err != nil {
		return err
	}
	if err := f.readCondition("", f.Object); err != nil {
		return err
	}
	f.s.metrics.plaintextReads.Inc()
	off, n, err := f.plainSpan()
	if err != nil {
		return err
	}
	resp, err := f.plainBytes(off, n)
	if err != nil {
		return err
	}
	f.describeTo(f.Object, nil)
	if f.partial(n) {
		f.res.Header.Set("Content-Range", s3.ContentRange(off, n, f.Size))
	}
	f.stream(f.statusFor(n), &limitedBody{io.LimitReader(resp.Body, n), resp.Body}, n)
	return nil
}

func (f *fetch) plainSpan() (off, n int64, err error) {
	if f.part > 1 {
		return 0, 0, f.errNoSuchPart()
	}
	return f.rangeSpan()
}

func (f *fetch) plainBytes(off, n int64) (*http.Response, error) {
	if n == 0 && f.resp == nil {
		return &http.Response{Body: http.NoBody}, nil
	}
	return f.bytes(nil, sse.Range{Offset: off, Length: n})
}

type limitedBody struct {
	io.Reader
	io.Closer
}
