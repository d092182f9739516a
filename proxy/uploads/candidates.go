package uploads

import (
	"bytes"
	"maps"
	"slices"
)

// Candidates are an upload's parts, grouped by part number. A number has several if the client sent the part again.
type Candidates map[int][]*Part

// CandidatesOf groups parts by number.
func CandidatesOf(all []*Part) Candidates {
	c := make(Candidates)
	for _, p := range all {
		c[p.Number] = append(c[p.Number], p)
	}
	return c
}

// Numbers returns the part numbers in order.
func (c Candidates) Numbers() []int { return slices.Sorted(maps.Keys(c)) }

// Disputed reports whether several sends of a part went to the store. Only the store knows the valid one.
func (c Candidates) Disputed(number int) bool {
	n := 0
	for _, p := range c[number] {
		if p.Staged == "" {
			n++
		}
	}
	return n > 1
}

// Current returns the valid send of a part. Of the sends at the store it is the send whose ETag the store reports in
// atStore; of the staged sends it is the last; between store and staging, the later counts. Without atStore, Current
// takes the last send, which is right unless the part is disputed.
func (c Candidates) Current(number int, atStore map[int]string) *Part {
	var best *Part
	for _, p := range c[number] {
		if p.Staged == "" && atStore != nil && atStore[number] != p.StoreETag {
			continue
		}
		if best == nil || p.revision > best.revision {
			best = p
		}
	}
	return best
}

// MarkerAtStore returns the highest part number up to marker at the store: MinIO lists nothing after a marker without a
// part.
func (c Candidates) MarkerAtStore(marker int) (at int) {
	for n, sends := range c {
		if n > at && n <= marker && slices.ContainsFunc(sends, func(p *Part) bool { return p.Staged == "" }) {
			at = n
		}
	}
	return at
}

// Found counts the part numbers up to upTo with a valid send.
func (c Candidates) Found(numbers []int, upTo int, atStore map[int]string) (n int) {
	for _, number := range numbers {
		if number <= upTo && c.Current(number, atStore) != nil {
			n++
		}
	}
	return n
}

// SentAs reports whether the same bytes were sent before under the ETag etag. A client may name the ETag of either
// send: in Ceph every ETag is an MD5, so both are equal there (test_multipart_sse_c_get_part).
func (c Candidates) SentAs(now *Part, etag string) bool {
	for _, p := range c[now.Number] {
		if p.ETag == etag && p.Size == now.Size && bytes.Equal(p.Sums[0].Value, now.Sums[0].Value) {
			return true
		}
	}
	return false
}
