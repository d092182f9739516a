package main

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
)

const (
	patience     = 12 * time.Second       // of a client for one request
	slow         = 4 * time.Second        // for a request without a fault
	unknownPause = 200 * time.Millisecond // of a client after a request without a clear answer
)

// outcome is what a client knows of a request after it.
type outcome int

const (
	done    outcome = iota // the request did what it says
	refused                // it did nothing, and the answer says why
	unknown                // there was no answer, or one that does not say
)

// answer is a response that was read to its end, or the lack of one.
type answer struct {
	outcome outcome
	status  int
	header  http.Header
	body    []byte
	code    string // of an error
	err     error
}

func newHTTPClient() *http.Client {
	return &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 32, DisableCompression: true, Proxy: nil}}
}

// request is a request for one replica.
type request struct {
	method, path string
	query        url.Values
	header       map[string]string
	body         []byte
	by           credentials // zero: root
	service      string      // empty: s3
}

// send sends a request to a replica and counts its outcome.
func (n *nemesis) send(r *replica, q request) answer {
	fault, changes := n.faults.now()
	began, suspect := time.Now(), r.suspect.Load()
	a := r.do(q)
	took := time.Since(began)
	n.report.count(fault, suspect, a, took)
	if _, now := n.faults.now(); took > slow && fault == noFault && !suspect && now == changes {
		n.report.note("%s %s%s at %s took %.1f s: %d %s", q.method, q.path, q.header["X-Amz-Target"], r.name, took.Seconds(), a.status, a.code)
	}
	if a.outcome == unknown {
		time.Sleep(unknownPause)
	}
	return a
}

func (r *replica) do(q request) answer {
	if q.by == (credentials{}) {
		q.by = root
	}
	to, service := r.s3, "s3"
	if q.service != "" {
		to, service = r.kms, q.service
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	u := url.URL{Scheme: "http", Host: to.addr, Path: q.path, RawQuery: strings.ReplaceAll(q.query.Encode(), "+", "%20")}
	h, err := http.NewRequestWithContext(ctx, q.method, u.String(), bytes.NewReader(q.body))
	if err != nil {
		return answer{outcome: refused, err: err}
	}
	for name, value := range q.header {
		h.Header.Set(name, value)
	}
	if service == "s3" && len(q.body) > 0 {
		sum := md5.Sum(q.body)
		h.Header.Set("Content-MD5", base64.StdEncoding.EncodeToString(sum[:]))
	}
	q.by.sign(h, service, q.body)
	resp, err := r.clientsOf.Do(h)
	if err != nil {
		return answer{outcome: unknown, err: err}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	a := answer{status: resp.StatusCode, header: resp.Header, body: body, err: err}
	switch {
	case err != nil, resp.StatusCode >= 500:
		a.outcome = unknown
	case resp.StatusCode >= 300:
		a.outcome = refused
	case bytes.Contains(body[:min(len(body), 400)], []byte("<Error>")): // S3's 200 with an error, of requests that take long
		a.outcome = unknown
	}
	if a.outcome != done {
		a.code = errorCode(body)
	}
	return a
}

var errorCodes = regexp.MustCompile(`<Code>([^<]*)</Code>|"__type":"(?:[^"#]*#)?([^"]*)"`)

func errorCode(body []byte) string {
	if m := errorCodes.FindSubmatch(body); m != nil {
		return string(m[1]) + string(m[2])
	}
	return ""
}

// element returns the text of the first XML element of a name.
func element(body []byte, name string) string {
	_, rest, _ := strings.Cut(string(body), "<"+name+">")
	text, _, _ := strings.Cut(rest, "</"+name+">")
	return strings.NewReplacer("&#34;", `"`, "&quot;", `"`, "&amp;", "&").Replace(text)
}

// kms calls an operation of the KMS API.
func (n *nemesis) kms(r *replica, by credentials, operation, input string) answer {
	return n.send(r, request{method: "POST", path: "/", service: "kms", by: by, body: []byte(input),
		header: map[string]string{"X-Amz-Target": "TrentService." + operation, "Content-Type": "application/x-amz-json-1.1"}})
}

// iam calls an operation of the IAM API.
func (n *nemesis) iam(r *replica, operation string, parameters map[string]string) answer {
	form := url.Values{"Action": {operation}, "Version": {"2010-05-08"}}
	for name, value := range parameters {
		form.Set(name, value)
	}
	return n.send(r, request{method: "POST", path: "/", service: "iam", body: []byte(form.Encode()),
		header: map[string]string{"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}})
}

// surely repeats a request that may be repeated, on one replica after the other, until it is done. An outage of etcd ends within that time.
func (n *nemesis) surely(send func(r *replica) answer) answer {
	var a answer
	for deadline := time.Now().Add(recovery); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if a = send(n.cluster.next()); a.outcome == done {
			return a
		}
	}
	return a
}
