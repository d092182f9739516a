package proxy

import (
	"fmt"
	"math/rand/v2"
	"net/http"

	"waxseal/proxy/objects"
	"waxseal/proxy/s3"
	"waxseal/proxy/store"
)

// copyByParts lets the store copy the ciphertext as parts of a new upload whose metadata holds the new envelope:
//
//	CreateMultipartUpload(new envelope) -> UploadPartCopy(source pinned) ... -> Complete(If-Match: the old ETag)
//
// Complete compares and replaces in one step, so that a write between is never lost and never found under another's
// envelope; there is no limit on the size; and conditions on the target are honoured.
func (p *copying) copyByParts() error {
	if err := p.s.honouredOnComplete(p.header); err != nil {
		return err
	}
	if p.tags == tagsOfSource {
		if err := p.takeTags(); err != nil {
			return err
		}
	}
	h := p.header.Clone()
	ifMatch, ifNone := h.Get("If-Match"), h.Get("If-None-Match")
	h.Del("If-Match")
	h.Del("If-None-Match")
	if p.replaces() && ifMatch == "" {
		ifMatch = s3.Quote(p.source.ETag)
	}
	id, err := p.createCopy(h)
	if err != nil {
		return err
	}
	err = p.fillCopy(id, ifMatch, ifNone)
	if err == nil || p.abandonUpload(p.to, id) == nil {
		p.forgetCopy(id)
	}
	if err != nil {
		return err
	}
	p.findModified()
	return nil
}

// fillCopy makes the object of an upload. Of its parts waxseal's own pin is the only condition; the client's are
// Complete's.
func (p *copying) fillCopy(id, ifMatch, ifNone string) error {
	parts, err := p.copyParts(id)
	if err != nil {
		return objects.ChangedError(err)
	}
	err = p.inTurn(func() error { return p.completeCopy(id, parts, ifMatch, ifNone) })
	if err != nil {
		return p.targetChanged(err)
	}
	return nil
}

func (p *copying) createCopy(h http.Header) (uploadID string, err error) {
	resp, err := p.Send(&store.Request{Method: http.MethodPost, Bucket: p.to.Bucket, Key: p.to.Key, Query: "uploads=", Header: h})
	if err != nil {
		return "", err
	}
	var doc s3.InitiateMultipartUploadResult
	if err := store.Result(resp, &doc); err != nil {
		return "", err
	}
	return doc.UploadID, nil
}

// firstPart is how much of the body the first part has. A store's ETag is of its parts: in place they are cut at random,
// so that no two changes of an object give it the same one. The first part may not be smaller than S3's least.
func (p *copying) firstPart(size int64) int64 {
	if room := min(size-1, maxPut) - s3.MinPartSize; p.replaces() && room > 0 {
		return s3.MinPartSize + rand.Int64N(room+1)
	}
	return 0
}

// copyParts copies the whole body in parts of equal size but for the first, each within the store's limit.
func (p *copying) copyParts(id string) ([]s3.CompletePart, error) {
	size := p.source.BodySize
	first := p.firstPart(size)
	n := (size - first + maxPut - 1) / maxPut
	step := (size - first + n - 1) / n
	var parts []s3.CompletePart
	for off, end := int64(0), first; off < size; off = end {
		if end = off + step; off == 0 && first > 0 {
			end = first
		}
		last := min(end, size) - 1
		h := make(http.Header)
		p.pin(h)
		if first > 0 || n > 1 {
			h.Set("X-Amz-Copy-Source-Range", s3.Range{First: off, Last: last}.String())
		}
		number := len(parts) + 1
		if err := p.s.uploads.NoteCopy(p.Up, p.to.Bucket, p.to.Key, id); err != nil {
			return nil, err
		}
		resp, err := p.Send(&store.Request{Method: http.MethodPut, Bucket: p.to.Bucket, Key: p.to.Key,
			Query: fmt.Sprintf("partNumber=%d&%s", number, uploadQuery(id)), Header: h})
		if err != nil {
			return nil, err
		}
		var doc s3.CopyPartResult
		if err := store.Result(resp, &doc); err != nil {
			return nil, err
		}
		parts = append(parts, s3.CompletePart{PartNumber: number, ETag: doc.ETag})
	}
	return parts, nil
}

func (p *copying) completeCopy(id string, parts []s3.CompletePart, ifMatch, ifNone string) error {
	body, err := s3.Encode(s3.CompleteMultipartUpload{Parts: parts})
	if err != nil {
		return err
	}
	h := make(http.Header)
	if ifMatch != "" {
		h.Set("If-Match", ifMatch)
	}
	if ifNone != "" {
		h.Set("If-None-Match", ifNone)
	}
	resp, err := p.Send(&store.Request{Method: http.MethodPost, Bucket: p.to.Bucket, Key: p.to.Key,
		Query: uploadQuery(id), Header: h, Body: body})
	if err != nil {
		return err
	}
	var doc s3.CompleteMultipartUploadResult
	if err := store.Result(resp, &doc); err != nil {
		return err
	}
	p.resp, p.storeTag = resp.Header, s3.Unquote(doc.ETag)
	return nil
}

// uploads.ForgetCopy removes the note of a copy whose upload has ended. When that fails, the sweeper does it.
func (p *copying) forgetCopy(id string) {
	ctx, cancel := p.outlasting()
	defer cancel()
	if err := p.s.uploads.ForgetCopy(ctx, p.to.Bucket, p.to.Key, id); err != nil {
		p.s.log.Warn("the note of a copy was left", "id", p.id, "bucket", p.to.Bucket, "key", p.to.Key, "upload", id, "err", err)
	}
}
