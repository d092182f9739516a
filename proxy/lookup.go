package proxy

import "waxseal/sse"

// lookup reads what is known of an object in one request: a suffix read brings its headers and its manifest. It takes
// the object as it is when etag is empty, else only the one with that store ETag.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
func (c *call) lookup(at sealTarget, version, etag string) (*stored, error) {
	return c.lookupTail(at, version, etag, sse.TailSize)
}

func (c *call) lookupTail(at sealTarget, version, etag string, n int64) (*stored, error) {
	o, err := c.lookupBy(c.readRequest(at, version, etag), at, n)
	if err != nil {
		return nil, err
	}
	return o, c.vouch(o)
}

// vouch opens the data key of an object whose service key is lost, and takes from under it what HEAD and LIST show:
// an object's bytes and metadata and the KMS are enough to read it.
func (c *call) vouch(o *stored) error {
	if !o.unvouched {
		return nil
	}
	customer, err := c.customerKey(c, objectCustomer)
	if err != nil {
		return err
	}
	return c.vouchWith(o, customer)
}
