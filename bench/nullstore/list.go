package nullstore

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// pageSize is the number of keys of a page.
const pageSize = 1000

// list serves ListObjectsV2, for keys without characters to escape in XML.
func (s *Store) list(q *request) error {
	if q.bucket == "" {
		return q.reply(200, xmlType, []byte("<ListAllMyBucketsResult><Buckets><Bucket><Name>"+s.shown+
			"</Name><CreationDate>2026-01-01T00:00:00.000Z</CreationDate></Bucket></Buckets></ListAllMyBucketsResult>"))
	}
	limit := pageSize
	if n, err := strconv.Atoi(q.param("max-keys")); err == nil {
		limit = min(n, limit)
	}
	from := ""
	for _, p := range []string{"continuation-token", "start-after", "marker"} {
		if after := q.param(p); after != "" {
			from = max(from, after+"\x00")
		}
	}
	var b bytes.Buffer
	n, next := s.page(&b, q.bucket, q.param("prefix"), q.param("delimiter"), from, limit)
	more := ""
	if next != "" {
		more = "<NextContinuationToken>" + next + "</NextContinuationToken>"
	}
	head := fmt.Sprintf("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>%s</Name><Prefix>%s</Prefix><KeyCount>%d</KeyCount><MaxKeys>%d</MaxKeys><IsTruncated>%t</IsTruncated>%s",
		q.bucket, q.param("prefix"), n, limit, next != "", more)
	return q.reply(200, xmlType, append(append([]byte(head), b.Bytes()...), "</ListBucketResult>"...))
}

// page writes the entries of a page and gives their number and, where there are more, the last key.
func (s *Store) page(b *bytes.Buffer, bucket, prefix, delimiter, from string, limit int) (n int, next string) {
	names := s.from(bucket + "/" + max(prefix, from))
	group := ""
	for _, name := range names {
		key := name[len(bucket)+1:]
		if !strings.HasPrefix(name, bucket+"/") || !strings.HasPrefix(key, prefix) {
			break
		}
		if group != "" && strings.HasPrefix(key, group) {
			continue
		}
		o := s.find(name)
		if o == nil {
			continue
		}
		if n == limit {
			return n, next
		}
		n, next = n+1, key
		if i := strings.Index(key[len(prefix):], delimiter); delimiter != "" && i >= 0 {
			group = key[:len(prefix)+i+len(delimiter)]
			next = group + "\xff"
			fmt.Fprintf(b, "<CommonPrefixes><Prefix>%s</Prefix></CommonPrefixes>", group)
			continue
		}
		fmt.Fprintf(b, "<Contents><Key>%s</Key><LastModified>%s</LastModified><ETag>&quot;%s&quot;</ETag><Size>%d</Size><StorageClass>STANDARD</StorageClass></Contents>",
			key, o.modified.UTC().Format(xmlTime), o.etag, len(o.body))
	}
	return n, ""
}
