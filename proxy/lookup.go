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
	found, err := c.LookupBy(c.ReadRequest(at, version, etag), at, n)
	if err != nil {
		return nil, err
	}
	return c.verifyObject(found)
}

// verifyObject returns the object, verified. It asks for the request's customer key only if the service key is lost.
func (c *call) verifyObject(found *objects.Found) (*objects.Object, error) {
	if o, ok := found.Verified(); ok {
		return o, nil
	}
	customer, err := c.customerKey(c, objectCustomer)
	if err != nil {
		return nil, err
	}
	return c.Verify(found, customer)
}
