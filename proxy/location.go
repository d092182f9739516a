package proxy

import (
	"bytes"
	"net/http"
	"regexp"
	"strings"

	"waxseal/proxy/s3"
	"waxseal/proxy/store"
)

// Clients know one region, waxseal's; the store may call its own otherwise. These operations translate between them, so
// that a client never learns of a region that it could not sign for here.

// regionName is what AWS calls a region, as far as a name tells.
var regionName = regexp.MustCompile(`^[a-z]{2,4}(-[a-z]+)+-[0-9]+$`)

const noConstraint = "us-east-1" // the region that CreateBucket and GetBucketLocation leave unsaid

// createBucket makes a bucket where the store is, and gives it the block of SSE-C that AWS gives since 2026-04 where it is
// wanted.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html
func (c *call) createBucket() error {
	body, err := c.forwardedDocument()
	if err != nil {
		return err
	}
	if body, err = c.locate(body); err != nil {
		return err
	}
	if err := c.forgetFormer(); err != nil {
		return err
	}
	if err := c.forwardWith(c.storeQuery(), body); err != nil || c.status != http.StatusOK {
		return err
	}
	c.res.Header.Set("Location", "/"+c.bucket)
	if !c.s.cfg.BlockSSEC {
		return nil
	}
	return c.s.buckets.update(c.Up, c.bucket, func(b *bucketConfig) error {
		if b.revision == 0 {
			b.Blocked = []string{"SSE-C"}
		}
		return nil
	})
}

// locate turns a CreateBucketConfiguration that names waxseal's region, or none, into one that names the store's.
func (c *call) locate(body []byte) ([]byte, error) {
	var doc s3.CreateBucketConfiguration
	if len(bytes.TrimSpace(body)) > 0 {
		if err := s3.Decode(bytes.NewReader(body), maxForwarded, &doc); err != nil {
			return nil, err
		}
	}
	own, atStore := c.s.cfg.Region, c.s.up.Region()
	asked := doc.LocationConstraint
	if asked == "EU" && own == "eu-west-1" { // its first name
		asked = own
	}
	switch {
	case strings.Contains(asked, ":"): // a placement target of Ceph's, which only the store can judge
		return body, nil
	case asked != "" && asked != own:
		if regionName.MatchString(asked) || asked == "EU" {
			return nil, s3.Errorf(s3.IllegalLocationConstraintException,
				"The %s location constraint is incompatible for the region specific endpoint this request was sent to.", asked)
		}
		return nil, s3.NewError(s3.InvalidLocationConstraint).With("LocationConstraint", asked)
	case own == atStore:
		return body, nil
	}
	doc.LocationConstraint = atStore
	if atStore == noConstraint {
		if doc.Location == nil && doc.Bucket == nil && doc.Tags == nil {
			return nil, nil
		}
		doc.LocationConstraint = ""
	}
	return s3.Encode(&doc)
}

// getBucketLocation asks the store whether there is such a bucket, and says where waxseal is.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketLocation.html
func (c *call) getBucketLocation() error {
	if err := c.forward(); err != nil || c.status != http.StatusOK {
		return err
	}
	doc := new(s3.LocationConstraint)
	if c.s.cfg.Region != noConstraint {
		doc.Location = c.s.cfg.Region
	}
	return c.answerXML(http.StatusOK, doc)
}

// headBucket forwards, and says where waxseal is.
func (c *call) headBucket() error {
	if err := c.forward(); err != nil || c.status != http.StatusOK {
		return err
	}
	c.res.Header.Set(s3.HeaderBucketRegion, c.s.cfg.Region)
	return nil
}

// listBuckets forwards, without waxseal's own buckets; a bucket in the store's region is one in waxseal's.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListBuckets.html
func (c *call) listBuckets() error {
	own, atStore := c.s.cfg.Region, c.s.up.Region()
	if own == atStore {
		if err := c.forward(); err != nil || c.status != http.StatusOK {
			return err
		}
		c.answer(c.status, "", store.WithoutOwn(c.res.Body(), c.s.cfg.StagingBucket))
		return nil
	}
	query := c.storeQuery()
	if c.query.Has("bucket-region") {
		asked := c.query.Get("bucket-region")
		query = c.storeQuery("bucket-region")
		if asked == own {
			asked = atStore
		}
		query = strings.TrimPrefix(query+"&bucket-region="+s3.EscapeQuery(asked), "&")
	}
	if err := c.forwardWith(query, nil); err != nil {
		return err
	}
	element := func(region string) []byte { return []byte("<BucketRegion>" + region + "</BucketRegion>") }
	c.answer(c.status, "", bytes.ReplaceAll(store.WithoutOwn(c.res.Body(), c.s.cfg.StagingBucket), element(atStore), element(own)))
	return nil
}
