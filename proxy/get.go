package proxy

import (
	"net/http"
	"strconv"
	"strings"

	"waxseal/proxy/objects"
	"waxseal/proxy/s3"
	"waxseal/proxy/store"
	"waxseal/sse"
)

func (c *call) readOf() (*read, error) {
	r := &read{version: c.query.Get("versionId"), sums: strings.EqualFold(c.header("x-amz-checksum-mode"), "ENABLED")}
	var err error
	if r.customer, err = c.customerKey(c, objectCustomer); err != nil {
		return nil, err
	}
	if c.hasHeader(hdrSSE) || c.hasHeader(hdrKMSKey) || c.hasHeader(hdrContext) {
		return nil, s3.InvalidArgument(hdrSSE, c.header(hdrSSE), "x-amz-server-side-encryption header is not supported for this operation.")
	}
	if c.query.Has("partNumber") {
		n, err := strconv.Atoi(c.query.Get("partNumber"))
		if err != nil || n < 1 || n > sse.MaxParts {
			return nil, s3.InvalidArgument("partNumber", c.query.Get("partNumber"), "Part number must be an integer between 1 and 10000, inclusive")
		}
		if c.hasHeader("Range") {
			return nil, s3.Errorf(s3.InvalidRequest, "Cannot specify both Range header and partNumber query parameter")
		}
		r.part = n
	}
	r.want, r.ranged = s3.ParseRange(c.header("Range"))
	return r, nil
}

// getObject opens an object, or a part or range of it.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
func (c *call) getObject() error {
	r, err := c.readOf()
	if err != nil {
		return err
	}
	return objects.WhileChanging(func() error { return c.get(r) })
}

// get answers from one version of the object. Usually the first answer of the store has all that is needed: the
// envelope in its headers, and the right bytes behind them.
func (c *call) get(r *read) error {
	resp, o, err := c.firstAnswer(r)
	if err != nil {
		return err
	}
	c.s.facts.saw(o, r.version)
	f := &fetch{call: c, read: r, Object: o, resp: resp}
	defer f.abandon()
	if o.Envelope == nil {
		return f.plain()
	}
	return f.sealed()
}

// firstAnswer asks the store for what is most likely wanted. Its body is nil when only the end was read.
func (c *call) firstAnswer(r *read) (*http.Response, *objects.Object, error) {
	if r.needsSize() {
		o, err := c.lookupTail(c.place(), r.version, "", objects.TailRead)
		return nil, o, err
	}
	q := c.ReadRequest(c.place(), r.version, "")
	if r.speculative() {
		n := int64(maxPut) // an open end
		if r.want.Last >= 0 {
			n = r.want.Last - r.want.First + 1
		}
		off, length := sse.SpeculativeRange(r.want.First, n, 1)
		q.Header.Set("Range", s3.Range{First: off, Last: off + length - 1}.String())
	}
	resp, err := c.Send(q)
	if err != nil {
		return nil, nil, err
	}
	switch resp.StatusCode {
	case http.StatusOK, http.StatusPartialContent:
	case http.StatusRequestedRangeNotSatisfiable:
		store.Drain(resp)
		o, err := c.lookupTail(c.place(), r.version, "", objects.TailRead)
		return nil, o, err
	default:
		return nil, nil, store.Failure(resp)
	}
	o, err := c.objectIn(q, resp)
	if err != nil {
		resp.Body.Close()
		return nil, nil, err
	}
	return resp, o, nil
}

// objectIn reads the object from the headers of the answer to q, and the manifest's end from where it is.
func (c *call) objectIn(q *store.Request, resp *http.Response) (*objects.Object, error) {
	found, err := c.Describe(c.place(), q, resp)
	if err != nil {
		return nil, err
	}
	if found.EndsInManifest() {
		if err := c.findTail(found); err != nil {
			return nil, err
		}
	}
	return c.verifyObject(found)
}

// findTail gets the manifest's end of an object whose headers came without it: from the cache, or from the store,
// pinned to the same version.
func (c *call) findTail(o *objects.Found) error {
	if tail := c.s.facts.tail(o.Stored); tail != nil {
		return c.UseTail(o, tail)
	}
	found, err := c.LookupBy(c.ReadMore(o.Stored), o.Place, objects.TailRead)
	if err != nil {
		return objects.ChangedError(err)
	}
	p, err := c.verifyObject(found)
	if err != nil {
		return objects.ChangedError(err)
	}
	if p.BodySize != o.BodySize {
		return objects.ErrChanged
	}
	o.TakeTail(p)
	c.s.facts.putTail(p)
	return nil
}

// sealed answers with a sealed object's plaintext.
func (f *fetch) sealed() error {
	if err := f.openable(); err != nil {
		return err
	}
	if err := f.readCondition("", f.Object); err != nil {
		return err
	}
	off, n, err := f.span(nil)
	if err != nil {
		return err
	}
	p, err := f.Open(f.Object, f.customer)
	if err != nil {
		return err
	}
	if f.part > 0 {
		if off, n, err = f.span(p.Manifest); err != nil {
			return err
		}
	}
	body, err := f.body(p, off, n)
	if err != nil {
		return err
	}
	f.headers(p, off, n)
	f.stream(f.statusFor(n), body, n)
	return nil
}

// openable refuses what the request's SSE-C headers do not fit. Ceph looks at the part number before them.
func (f *fetch) openable() error {
	if f.s.cfg.CompatCeph && f.Envelope != nil && (f.part > 1 && f.onePart() || f.Tag.Kind == sse.TagParts && f.part > int(f.Tag.Parts)) {
		return f.errNoSuchPart()
	}
	return objects.Openable(f.Object, f.customer)
}
