package proxy

import (
	"errors"
	"net/http"
	"strings"

	"waxseal/proxy/objects"
	"waxseal/proxy/s3"
	"waxseal/proxy/store"
)

// headObject says what there is to know of an object: one request to the store, and no call to a KMS unless
// checksums or a part are asked for.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html
func (c *call) headObject() error {
	r, err := c.readOf()
	if err != nil {
		return err
	}
	return objects.WhileChanging(func() error { return c.headOnce(r) })
}

func (c *call) headOnce(r *read) error {
	o, err := c.lookupHead(r)
	if err != nil {
		return err
	}
	c.s.facts.saw(o, r.version)
	// S3 leaves the lock out for who may not see it.
	if err := c.addLock(o); err != nil && !errors.Is(err, s3.NewError(s3.AccessDenied)) {
		return err
	}
	f := &fetch{call: c, read: r, Object: o}
	if err := f.openable(); err != nil {
		return err
	}
	if err := c.readCondition("", o); err != nil {
		return err
	}
	if o.Envelope == nil {
		return f.headPlain()
	}
	return f.headSealed()
}

// lookupHead looks an object up for a HEAD. Of an archived one S3 shows the headers, among them how far its restore is.
func (c *call) lookupHead(r *read) (*objects.Object, error) {
	o, err := c.lookup(c.place(), r.version, "")
	if !errors.Is(err, objects.ErrArchived) {
		return o, err
	}
	found, err := c.LookupArchived(c.ReadRequest(c.place(), r.version, ""), c.place())
	if err != nil {
		return nil, err
	}
	return c.verifyObject(found)
}

// addLock asks for the version's lock where the store shows it to a HEAD only: the object was looked up with a GET.
// What is not versioned has none.
func (c *call) addLock(o *objects.Object) error {
	if !c.s.up.Capabilities().LockInHeadOnly || o.Version == "" || o.Version == "null" {
		return nil
	}
	r := c.ReadRequest(o.Place, o.Version, "")
	r.Method = http.MethodHead
	resp, err := c.Send(r)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return store.Failure(resp)
	}
	defer store.Drain(resp)
	for name, values := range resp.Header {
		if strings.HasPrefix(name, "X-Amz-Object-Lock-") {
			o.Header[name] = values
		}
	}
	return nil
}

// headSealed opens the data key only for what is sealed under it: checksums and the table of parts. An SSE-C key is
// checked always, as S3 does.
func (f *fetch) headSealed() error {
	p := &objects.Opened{Object: f.Object}
	if f.sums || f.part > 0 || f.customer != nil {
		var err error
		if p, err = f.Open(f.Object, f.customer); err != nil {
			return err
		}
	}
	off, n, err := f.span(p.Manifest)
	if err != nil {
		return err
	}
	f.headers(p, off, n)
	f.answerHead(n)
	return nil
}

func (f *fetch) headPlain() error {
	off, n, err := f.plainSpan()
	if err != nil {
		return err
	}
	f.describeTo(f.Object, nil)
	if f.partial(n) {
		f.res.Header.Set("Content-Range", s3.ContentRange(off, n, f.Size))
	}
	f.answerHead(n)
	return nil
}

func (f *fetch) answerHead(n int64) {
	status := f.statusFor(n)
	f.answer(status, "", nil)
	f.res.SkipBody = true
	f.res.Header.SetContentLength(int(n))
}
