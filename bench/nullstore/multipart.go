package nullstore

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"time"
)

// upload is a multipart upload. Parts of discarded keys have a size and no bytes.
type upload struct {
	header string
	parts  map[int]part
}

type part struct {
	etag string
	size int64
	body []byte
}

// multipart answers the operations of uploads.
func (s *Store) multipart(q *request) error {
	if q.uploads {
		return s.createUpload(q)
	}
	s.mu.RLock()
	u := s.uploads[q.upload]
	s.mu.RUnlock()
	if u == nil {
		return q.fail(404, "NoSuchUpload")
	}
	switch q.method {
	case "PUT":
		return s.uploadPart(q, u)
	case "GET":
		return s.listParts(q, u)
	case "POST":
		return s.completeUpload(q, u)
	}
	s.endUpload(q.upload)
	return q.reply(204, "", nil)
}

func (s *Store) createUpload(q *request) error {
	if q.method == "GET" {
		return q.reply(200, xmlType, []byte("<ListMultipartUploadsResult><IsTruncated>false</IsTruncated></ListMultipartUploadsResult>"))
	}
	id := s.newETag()
	s.mu.Lock()
	s.uploads[id] = &upload{header: string(q.meta), parts: make(map[int]part)}
	s.mu.Unlock()
	return q.reply(200, xmlType, fmt.Appendf(nil, "<InitiateMultipartUploadResult><Bucket>%s</Bucket><Key>%s</Key><UploadId>%s</UploadId></InitiateMultipartUploadResult>",
		q.bucket, q.key, id))
}

func (s *Store) endUpload(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.uploads, id)
}

func (s *Store) uploadPart(q *request, u *upload) error {
	number, err := strconv.Atoi(q.param("partNumber"))
	if err != nil {
		return q.fail(400, "InvalidArgument")
	}
	p := part{etag: s.newETag(), size: q.plainLength()}
	if keeps(q.bucket, q.key) {
		if p.body, err = q.body(); err != nil {
			return err
		}
		p.body = q.content(p.body)
		p.size = int64(len(p.body))
	} else if err := q.discard(); err != nil {
		return err
	}
	s.mu.Lock()
	u.parts[number] = p
	s.mu.Unlock()
	return q.reply(200, "ETag: \""+p.etag+"\"\r\n", nil)
}

// plainLength is the length of the body without its frame.
func (q *request) plainLength() int64 {
	if q.chunked && q.decoded > 0 {
		return q.decoded
	}
	return q.length
}

func (s *Store) listParts(q *request, u *upload) error {
	after, _ := strconv.Atoi(q.param("part-number-marker")) // none is 0
	var b bytes.Buffer
	s.mu.RLock()
	numbers := u.numbers()
	last, n := 0, 0
	more := false
	for _, i := range numbers {
		if i <= after {
			continue
		}
		if n == 1000 {
			more = true
			break
		}
		p := u.parts[i]
		fmt.Fprintf(&b, "<Part><PartNumber>%d</PartNumber><LastModified>%s</LastModified><ETag>&quot;%s&quot;</ETag><Size>%d</Size></Part>",
			i, time.Now().UTC().Format(xmlTime), p.etag, p.size)
		last, n = i, n+1
	}
	s.mu.RUnlock()
	return q.reply(200, xmlType, fmt.Appendf(nil, "<ListPartsResult><Bucket>%s</Bucket><Key>%s</Key><UploadId>%s</UploadId><PartNumberMarker>%d</PartNumberMarker><NextPartNumberMarker>%d</NextPartNumberMarker><MaxParts>1000</MaxParts><IsTruncated>%t</IsTruncated>%s</ListPartsResult>",
		q.bucket, q.key, q.upload, after, last, more, b.String()))
}

func (u *upload) numbers() []int {
	numbers := make([]int, 0, len(u.parts))
	for n := range u.parts {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	return numbers
}

// completeUpload takes all parts, as every client here names all.
func (s *Store) completeUpload(q *request, u *upload) error {
	if err := q.discard(); err != nil {
		return err
	}
	name := q.bucket + "/" + q.key
	if old := s.find(name); q.ifMatch != "" && (old == nil || q.ifMatch != `"`+old.etag+`"`) {
		return q.fail(412, "PreconditionFailed")
	}
	o := &object{header: u.header, modified: time.Now()}
	s.mu.RLock()
	numbers := u.numbers()
	size := 0
	for _, i := range numbers {
		size += len(u.parts[i].body)
	}
	o.body = make([]byte, 0, size) // of gigabytes: growing it would copy them many times
	for _, i := range numbers {
		o.body = append(o.body, u.parts[i].body...)
	}
	s.mu.RUnlock()
	o.etag = fmt.Sprintf("%032x-%d", s.serial.Add(1), len(numbers))
	if keeps(q.bucket, q.key) {
		s.store(name, o)
	}
	s.endUpload(q.upload)
	return q.reply(200, xmlType, fmt.Appendf(nil, "<CompleteMultipartUploadResult><Bucket>%s</Bucket><Key>%s</Key><ETag>&quot;%s&quot;</ETag></CompleteMultipartUploadResult>",
		q.bucket, q.key, o.etag))
}

func statusText(status int) string { return http.StatusText(status) }

// dateNow is the Date header, made once a second.
func dateNow() string {
	now := time.Now()
	if d := lastDate.Load(); d != nil && d.second == now.Unix() {
		return d.text
	}
	d := &dateText{now.Unix(), now.UTC().Format(httpTime)}
	lastDate.Store(d)
	return d.text
}

type dateText struct {
	second int64
	text   string
}

var lastDate atomic.Pointer[dateText]
