package embedded

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"waxseal/proxy/s3"
)

// listedKeys is how many objects BenchmarkList has in its bucket: half in one directory, half in directories of 1,000.
const listedKeys = 1_000_000

// BenchmarkList lists a page of 1,000 of 10^6 keys in an index on disk: go test ./proxy/embedded -run '^$' -bench List
func BenchmarkList(b *testing.B) {
	k := manyKeys(b)
	for _, c := range []struct {
		name, query, has string
		most             int
	}{
		{"first", "", "<KeyCount>1000<", 1000},
		{"middle", "&start-after=flat/0250000", "<Key>flat/0250001<", 1000},
		{"last", "&start-after=tree/498/999", "<Key>tree/499/999<", 1000},
		{"prefix", "&prefix=tree/250/", "<Key>tree/250/999<", 1000},
		{"delimiter", "&prefix=tree/&delimiter=/", "<Prefix>tree/499/<", 500},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				r := k.want("200", "GET", "many?list-type=2"+c.query, "")
				if !strings.Contains(r.body, c.has) || !strings.Contains(r.body, fmt.Sprintf("<KeyCount>%d<", c.most)) {
					b.Fatalf("not a page with %s: %.300s", c.has, r.body)
				}
			}
		})
	}
}

// manyKeys makes a store on disk with listedKeys objects in the bucket "many".
func manyKeys(b *testing.B) *kit {
	b.Helper()
	m, err := openDisk(filepath.Join(b.TempDir(), "store"))
	if err != nil {
		b.Fatal(err)
	}
	k := newKit(b, m, Config{})
	k.want("200", "PUT", "many", "")
	const group = 1000 // objects in a commit
	for first := 0; first < listedKeys; first += group {
		err := k.store.commit(b.Context(), func(t *txn) error { return putListed(t, first, first+group) })
		if err != nil {
			b.Fatal(err)
		}
	}
	return k
}

// putListed writes empty objects, with headers of the size of an envelope.
func putListed(t *txn, from, to int) error {
	in, err := t.bucket("many")
	if err != nil {
		return err
	}
	for n := from; n < to; n++ {
		o := &object{etag: fmt.Sprintf("%032x", n), header: []s3.Field{{Name: s3.HeaderEnvelope, Value: strings.Repeat("e", 400)}}}
		if err := t.put(in, listedKey(n), o); err != nil {
			return err
		}
	}
	return nil
}

func listedKey(n int) string {
	if n < listedKeys/2 {
		return fmt.Sprintf("flat/%07d", n)
	}
	n -= listedKeys / 2
	return fmt.Sprintf("tree/%03d/%03d", n/1000, n%1000)
}
