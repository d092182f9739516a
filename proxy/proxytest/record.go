package proxytest

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"sync"
)

// A Recorded is a request as it arrived.
type Recorded struct {
	N             int // counts the requests of this operation, from 1
	Method        string
	URI           string // the request target as on the wire
	Bucket, Key   string
	Operation     string
	Query         url.Values
	Header        http.Header
	Trailer       http.Header // of an aws-chunked body, after it was read
	AccessKey     string      // from the signature, header or query
	ContentLength int64
	Status        int // of the response; 0 before the response
}

type requestLog struct {
	mu     sync.Mutex
	counts map[string]int
	all    []*Recorded
}

func (l *requestLog) add(r *Recorded, limit int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.counts == nil {
		l.counts = map[string]int{}
	}
	l.counts[r.Operation]++
	r.N = l.counts[r.Operation]
	if len(l.all) >= limit {
		l.all = l.all[1:]
	}
	l.all = append(l.all, r)
}

func (l *requestLog) status(r *Recorded, status int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r.Status = status
}

func (l *requestLog) trailer(r *Recorded, trailer http.Header) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r.Trailer = trailer
}

// Requests returns the requests in the log, oldest first. The log keeps the last MaxRequests requests.
func (u *Upstream) Requests() []Recorded {
	u.log.mu.Lock()
	defer u.log.mu.Unlock()
	all := make([]Recorded, len(u.log.all))
	for i, r := range u.log.all {
		all[i] = *r
	}
	return all
}

// Operations returns the operations in the log, in order. Tests count round trips with it.
func (u *Upstream) Operations() []string {
	var names []string
	for _, r := range u.Requests() {
		names = append(names, r.Operation)
	}
	return names
}

// ClearRequests empties the log. The numbering continues.
func (u *Upstream) ClearRequests() {
	u.log.mu.Lock()
	defer u.log.mu.Unlock()
	u.log.all = nil
}

// Saw reports whether the text was in the target, a header or a trailer of a request in the log. With Contains it
// answers whether the store ever saw a secret.
func (u *Upstream) Saw(text string) bool {
	for _, r := range u.Requests() {
		if strings.Contains(r.URI, text) || headerContains(r.Header, text) || headerContains(r.Trailer, text) {
			return true
		}
	}
	return false
}

func headerContains(h http.Header, text string) bool {
	var b bytes.Buffer
	_ = h.Write(&b)
	return strings.Contains(b.String(), text)
}

// accessKeyOf reads the access key from any kind of signature without checking the signature.
func accessKeyOf(r *http.Request, q url.Values) string {
	auth := r.Header.Get("Authorization")
	if _, credential, ok := strings.Cut(auth, "Credential="); ok {
		key, _, _ := strings.Cut(credential, "/")
		return key
	}
	if v2, ok := strings.CutPrefix(auth, "AWS "); ok {
		key, _, _ := strings.Cut(v2, ":")
		return key
	}
	if credential := q.Get("X-Amz-Credential"); credential != "" {
		key, _, _ := strings.Cut(credential, "/")
		return key
	}
	return q.Get("AWSAccessKeyId")
}

// trailerOf parses the trailers of an aws-chunked body, as far as possible.
func trailerOf(body []byte) http.Header {
	at := bytes.LastIndex(body, []byte("\r\n0"))
	if at < 0 && !bytes.HasPrefix(body, []byte("0")) {
		return nil
	}
	trailer := http.Header{}
	for line := range strings.Lines(string(body[max(at, 0):])) {
		if name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":"); ok {
			trailer.Add(name, strings.TrimSpace(value))
		}
	}
	return trailer
}

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
