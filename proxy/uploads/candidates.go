package uploads

import (
	"bytes"
	"maps"
	"slices"
)

// Candidates are an upload's parts by number.
type Candidates map[int][]*Part

// CandidatesOf sorts the sends of parts by number.
func CandidatesOf(all []*Part) Candidates {
	c := make(Candidates)
	for _, p := range all {
		c[p.Number] = append(c[p.Number], p)
	}
	return c
}

// Numbers returns the numbers of the parts, in order.
func (c Candidates) Numbers() []int { return slices.Sorted(maps.Keys(c)) }

// Disputed reports whether only the store knows which send of a part counts.
func (c Candidates) Disputed(number int) bool {
	n := 0
	for _, p := range c[number] {
		if p.Staged == "" {
			n++
		}
	}
	return n > 1
}

// Current is the send of a part that counts: of those at the store the one that it has now, of those held here the
// last, and of these two the later. Without atStore a part that is not disputed is taken to be there.
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

// MarkerAtStore is the highest number up to marker whose part the store has: MinIO lists nothing behind a marker that
// is no part's.
func (c Candidates) MarkerAtStore(marker int) (at int) {
	for n, sends := range c {
		if n > at && n <= marker && slices.ContainsFunc(sends, func(p *Part) bool { return p.Staged == "" }) {
			at = n
		}
	}
	return at
}

// Found counts the parts, up to a number, that count.
func (c Candidates) Found(numbers []int, upTo int, atStore map[int]string) (n int) {
	for _, number := range numbers {
		if number <= upTo && c.Current(number, atStore) != nil {
			n++
		}
	}
	return n
}

// SentAs reports whether the same bytes were sent before and answered with that ETag. In Ceph every ETag is an MD5 and
// the same for both: test_multipart_sse_c_get_part.
func (c Candidates) SentAs(now *Part, etag string) bool {
	for _, p := range c[now.Number] {
		if p.ETag == etag && p.Size == now.Size && bytes.Equal(p.Sums[0].Value, now.Sums[0].Value) {
			return true
		}
	}
	return false
}
