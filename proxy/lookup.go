package proxy

import (
	"waxseal/proxy/objects"
	"waxseal/sse"
)

// lookup reads what is known of an object in one request: a suffix read brings its headers and its manifest. It takes
// the object as it is when etag is empty, else only the one with that store ETag.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
func (c *call) lookup(at objects.Place, version, etag string) (*objects.Object, error) {
	return c.lookupTail(at, version, etag, sse.TailSize)
}

func (c *call) lookupTail(at objects.Place, version, etag string, n int64) (*objects.Object, error) {
	o, err := c.LookupBy(c.ReadRequest(at, version, etag), at, n)
	if err != nil {
		return nil, err
	}
	return o, c.vouch(o)
}

// vouch opens the data key of an object whose service key is lost, and takes from under it what HEAD and LIST show:
// an object's bytes and metadata and the KMS are enough to read it.
func (c *call) vouch(o *objects.Object) error {
	if !o.Unvouched {
		return nil
	}
	customer, err := c.customerKey(c, objectCustomer)
	if err != nil {
		return err
	}
	return c.VouchWith(o, customer)
}
