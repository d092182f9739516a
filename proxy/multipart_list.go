package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"waxseal/keystore/state"
	"waxseal/proxy/s3"
	"waxseal/proxy/store"
	"waxseal/proxy/uploads"
	"waxseal/sse"
)

// listStoreParts reads one page of the store's own list of an upload's parts.
func (c *call) listStoreParts(u *uploads.Upload, marker int) (*s3.ListPartsResult, http.Header, error) {
	resp, err := c.Send(&store.Request{
		Method: http.MethodGet, Bucket: c.bucket, Key: c.key, Header: c.ownerHeader(),
		Query: fmt.Sprintf("max-parts=1000&part-number-marker=%d&%s", marker, uploadQuery(u.UploadID)),
	})
	if err != nil {
		return nil, nil, err
	}
	var doc s3.ListPartsResult
	header := resp.Header
	if err := store.Result(resp, &doc); err != nil {
		return nil, nil, err
	}
	return &doc, header, nil
}

// storeParts gives the store's ETags of an upload's parts, by number.
func (c *call) storeParts(u *uploads.Upload) (map[int]string, error) {
	etags := make(map[int]string)
	for marker := 0; ; {
		doc, _, err := c.listStoreParts(u, marker)
		if err != nil {
			return nil, err
		}
		marker = addStoreParts(etags, doc, marker)
		if !doc.IsTruncated || len(doc.Parts) == 0 {
			return etags, nil
		}
	}
}

// addStoreParts takes a page in and gives the highest number so far.
func addStoreParts(etags map[int]string, doc *s3.ListPartsResult, marker int) int {
	for _, p := range doc.Parts {
		etags[p.PartNumber] = s3.Unquote(p.ETag)
		marker = max(marker, p.PartNumber)
	}
	return marker
}

// listParts lists an upload's parts as their client sent them. What they are is known here; whether they are there,
// and which send of a part counts, the store says.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListParts.html
func (c *call) listParts() error {
	u, err := c.liveUpload()
	if err != nil {
		return err
	}
	page, err := c.partsPage()
	if err != nil {
		return err
	}
	if err := c.mayListParts(u); err != nil {
		return err
	}
	known, err := c.s.uploads.Parts(c.Up, u)
	if err != nil {
		return err
	}
	return c.answerParts(u, uploads.CandidatesOf(known), page)
}

// partsPage reads which parts are asked for.
func (c *parsed) partsPage() (*s3.ListPartsResult, error) {
	page := &s3.ListPartsResult{MaxParts: 1000}
	for _, p := range []struct {
		name string
		into *int
	}{{"max-parts", &page.MaxParts}, {"part-number-marker", &page.PartNumberMarker}} {
		v := c.query.Get(p.name)
		if v == "" {
			continue
		}
		n, err := strconv.ParseInt(v, 10, 32)
		if err != nil || n < 0 {
			return nil, s3.InvalidArgument(p.name, v, "Argument "+p.name+" must be an integer between 0 and 2147483647")
		}
		*p.into = int(n)
	}
	page.MaxParts = min(page.MaxParts, 1000)
	return page, nil
}

// mayListParts asks for what S3 asks for: the KMS's leave to decrypt, or the SSE-C key, because checksums are shown.
// An SSE-C upload that was created without naming a checksum shows none, and needs no key.
func (c *call) mayListParts(u *uploads.Upload) error {
	customer, err := c.uploadKey(u)
	if err != nil {
		return err
	}
	switch {
	case u.Env.Mode == sse.SSEC && customer == nil && u.Named:
		return errPartEncryption()
	case u.Env.Mode == sse.SSEKMS, u.Env.Mode == sse.DSSEKMS:
		err = c.uploadKeys(new(sse.Keys), u, customer)
	}
	return err
}

func (c *call) answerParts(u *uploads.Upload, all uploads.Candidates, page *s3.ListPartsResult) error {
	numbers := all.Numbers()
	for len(numbers) > 0 && numbers[0] <= page.PartNumberMarker {
		numbers = numbers[1:]
	}
	atStore := make(map[int]string)
	from := all.MarkerAtStore(page.PartNumberMarker)
	doc, header, err := c.listStoreParts(u, from)
	for marker := from; err == nil; doc, _, err = c.listStoreParts(u, marker) {
		marker = addStoreParts(atStore, doc, marker)
		if !doc.IsTruncated || len(doc.Parts) == 0 || all.Found(numbers, marker, atStore) > page.MaxParts {
			break
		}
	}
	if err != nil {
		return err
	}
	page.Bucket, page.Key, page.UploadID = c.bucket, c.key, u.UploadID
	page.Initiator, page.Owner, page.StorageClass = doc.Initiator, doc.Owner, doc.StorageClass
	if u.Named {
		page.ChecksumAlgorithm, page.ChecksumType = s3.ChecksumName(u.Checksum), s3.ChecksumType(sse.Checksum{Composite: u.Composite})
	}
	fillParts(page, u, all, numbers, atStore)
	c.copyHeaders(without(header, "Content-Type"))
	return c.answerXML(http.StatusOK, page)
}

func fillParts(page *s3.ListPartsResult, u *uploads.Upload, all uploads.Candidates, numbers []int, atStore map[int]string) {
	for _, n := range numbers {
		p := all.Current(n, atStore)
		if p == nil {
			continue
		}
		if len(page.Parts) == page.MaxParts {
			page.IsTruncated = page.MaxParts > 0
			return
		}
		shown := s3.Part{PartNumber: n, LastModified: s3.FormatTime(p.Time), ETag: s3.Quote(p.ETag), Size: p.Size}
		if sum := p.Sum(u.Checksum); u.Named && sum != nil {
			*shown.Field(s3.ChecksumName(u.Checksum)) = s3.Base64(sum)
		}
		page.Parts = append(page.Parts, shown)
		page.NextPartNumberMarker = n
	}
}

// listMultipartUploads lists the store's uploads. Nothing in that list is about data, but for the checksum, which the
// store was not told.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListMultipartUploads.html
func (c *call) listMultipartUploads() error {
	resp, err := c.Send(&store.Request{Method: http.MethodGet, Bucket: c.bucket, Query: c.storeQuery(), Header: c.storeHeader()})
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return store.Failure(resp)
	}
	body, err := store.ReadDocument(resp)
	if err != nil {
		return err
	}
	var doc s3.ListMultipartUploadsResult
	if err := s3.DecodeReply(bytes.NewReader(body), store.MaxDocument, &doc); err != nil {
		return fmt.Errorf("%w: its list of uploads is no list", store.ErrUnreachable)
	}
	for i := range doc.Uploads {
		if err := c.describeUpload(&doc.Uploads[i], doc.EncodingType); err != nil {
			return err
		}
	}
	if c.query.Get("encoding-type") == "url" && doc.EncodingType == "" {
		doc.EncodeNames()
	}
	c.copyHeaders(without(resp.Header, "Content-Type"))
	return c.answerXML(http.StatusOK, doc)
}

func (c *call) describeUpload(shown *s3.Upload, encoding string) error {
	key := shown.Key
	if strings.EqualFold(encoding, "url") {
		var err error
		if key, err = s3.UnescapeQuery(key); err != nil {
			key = shown.Key
		}
	}
	shown.ChecksumAlgorithm, shown.ChecksumType = "", ""
	u, err := c.s.uploads.Get(c.Up, c.bucket, key, shown.UploadID)
	if errors.Is(err, state.ErrNotFound) {
		return nil
	}
	if err == nil && u.Named {
		shown.ChecksumAlgorithm, shown.ChecksumType = s3.ChecksumName(u.Checksum), s3.ChecksumType(sse.Checksum{Composite: u.Composite})
	}
	return err
}
