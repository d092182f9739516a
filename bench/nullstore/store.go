// Package nullstore is an S3 store of the least possible cost, for measurements of a proxy in front of it.
package nullstore

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A Store takes any signature, throws away the bodies of PUTs, and
// serves from memory the objects under KeptPrefix. So waxseal's cost is not hidden behind a store's. It speaks
// HTTP/1.1 over raw connections, because net/http would be the larger part of its work.
type Store struct {
	shown string // by ListBuckets

	mu      sync.RWMutex
	objects map[string]*object // by "bucket/key"
	names   []string           // of objects, sorted; nil when it has to be made anew
	uploads map[string]*upload
	serial  atomic.Int64
	count   atomic.Int64 // requests served
}

// KeptPrefix begins the keys with kept bodies.
const KeptPrefix = "keep/"

// object does not change once it is stored.
type object struct {
	header   string // lines for the response
	body     []byte
	etag     string
	modified time.Time
}

// New returns an empty store. Every bucket exists in it; ListBuckets shows only the given bucket.
func New(bucket string) *Store {
	return &Store{shown: bucket, objects: make(map[string]*object), uploads: make(map[string]*upload)}
}

// Serve answers connections until l is closed.
func (s *Store) Serve(l net.Listener) error {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		go s.connection(c)
	}
}

func (s *Store) connection(c net.Conn) {
	defer c.Close()
	q := &request{conn: c, in: bufio.NewReaderSize(c, 16<<10), meta: make([]byte, 0, 1024)}
	for q.read() == nil {
		s.count.Add(1)
		if s.answer(q) != nil {
			return
		}
	}
}

// keeps reports whether a key's body is kept. For the probe of a store's capabilities the null store keeps all.
func keeps(bucket, key string) bool {
	return strings.HasPrefix(key, KeptPrefix) || strings.HasPrefix(bucket, "waxseal-probe-")
}

func (s *Store) answer(q *request) error {
	switch {
	case q.key == "" && hasParam(q.query, "policy"):
		return q.fail(404, "NoSuchBucketPolicy")
	case q.key == "" && q.method == "GET":
		return s.list(q)
	case q.key == "":
		return s.bucket(q)
	case q.upload != "" || q.uploads:
		return s.multipart(q)
	case q.copySource != "":
		return s.copy(q)
	case hasParam(q.query, "tagging"):
		return q.reply(200, xmlType, []byte("<Tagging><TagSet></TagSet></Tagging>"))
	}
	switch q.method {
	case "PUT":
		return s.put(q)
	case "GET", "HEAD":
		return s.get(q)
	case "DELETE":
		s.store(q.bucket+"/"+q.key, nil)
		return q.reply(204, "", nil)
	}
	return q.fail(501, "NotImplemented")
}

// bucket serves bucket requests: every bucket exists, without any configuration.
func (s *Store) bucket(q *request) error {
	if err := q.discard(); err != nil {
		return err
	}
	if q.method == "DELETE" {
		return q.reply(204, "", nil)
	}
	return q.reply(200, "", nil)
}

func (s *Store) find(name string) *object {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.objects[name]
}

// store puts an object in place, or removes it when o is nil.
func (s *Store) store(name string, o *object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.objects[name]
	if o == nil {
		delete(s.objects, name)
	} else {
		s.objects[name] = o
	}
	if (old == nil) != (o == nil) {
		s.names = nil
	}
}

// newETag has a hyphen: clients take 32 hexadecimal digits for an MD5, and compare.
func (s *Store) newETag() string { return fmt.Sprintf("%032x-0", s.serial.Add(1)) }

func (s *Store) put(q *request) error {
	if !keeps(q.bucket, q.key) {
		if err := q.discard(); err != nil {
			return err
		}
		return q.reply(200, "ETag: \""+s.newETag()+"\"\r\n", nil)
	}
	body, err := q.body()
	if err != nil {
		return err
	}
	name := q.bucket + "/" + q.key
	old := s.find(name)
	switch {
	case q.badTrailer(body):
		return q.fail(400, "BadDigest")
	case q.ifNone != "" && old != nil, q.ifMatch != "" && (old == nil || q.ifMatch != `"`+old.etag+`"`):
		return q.fail(412, "PreconditionFailed")
	}
	o := &object{header: string(q.meta), body: q.content(body), etag: s.newETag(), modified: time.Now()}
	s.store(name, o)
	return q.reply(200, "ETag: \""+o.etag+"\"\r\n", nil)
}

func (s *Store) get(q *request) error {
	o := s.find(q.bucket + "/" + q.key)
	if o == nil {
		return q.fail(404, "NoSuchKey")
	}
	if q.ifMatch != "" && q.ifMatch != `"`+o.etag+`"` {
		return q.fail(412, "PreconditionFailed")
	}
	head := "ETag: \"" + o.etag + "\"\r\nLast-Modified: " + o.modified.UTC().Format(httpTime) + "\r\n" + o.header
	first, last, ranged := q.resolveRange(int64(len(o.body)))
	if !ranged {
		return q.reply(200, head, o.body)
	}
	if first > last {
		return q.fail(416, "InvalidRange")
	}
	head += fmt.Sprintf("Content-Range: bytes %d-%d/%d\r\n", first, last, len(o.body))
	return q.reply(206, head, o.body[first:last+1])
}

const httpTime = "Mon, 02 Jan 2006 15:04:05 GMT"

func (s *Store) copy(q *request) error {
	if err := q.discard(); err != nil {
		return err
	}
	src := s.find(strings.TrimPrefix(q.copySource, "/"))
	switch {
	case src == nil:
		return q.fail(404, "NoSuchKey")
	case q.copyIfMatch != "" && q.copyIfMatch != `"`+src.etag+`"`:
		return q.fail(412, "PreconditionFailed")
	}
	o := &object{header: string(q.meta), body: src.body, etag: src.etag, modified: time.Now()}
	if keeps(q.bucket, q.key) {
		s.store(q.bucket+"/"+q.key, o)
	}
	return q.reply(200, xmlType, fmt.Appendf(nil, "<CopyObjectResult><ETag>&quot;%s&quot;</ETag><LastModified>%s</LastModified></CopyObjectResult>",
		o.etag, o.modified.UTC().Format(xmlTime)))
}

const (
	xmlType = "Content-Type: application/xml\r\n"
	xmlTime = "2006-01-02T15:04:05.000Z"
)

// from returns the sorted names from name on.
func (s *Store) from(name string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.names == nil {
		s.names = make([]string, 0, len(s.objects))
		for n := range s.objects {
			s.names = append(s.names, n)
		}
		slices.Sort(s.names)
	}
	i, _ := slices.BinarySearch(s.names, name)
	return s.names[i:]
}

// discardBuffers are buffers for discarded bytes.
var discardBuffers = sync.Pool{New: func() any { b := make([]byte, 256<<10); return &b }}

// Discard reads n bytes at the least cost, in large pieces, and fails when they are not there.
func Discard(r io.Reader, n int64) error {
	b := discardBuffers.Get().(*[]byte)
	defer discardBuffers.Put(b)
	for n > 0 {
		m, err := r.Read((*b)[:min(n, int64(len(*b)))])
		n -= int64(m)
		if err != nil && n > 0 {
			return err
		}
	}
	return nil
}
