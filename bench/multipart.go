package main

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// multipartParts is how many parts an upload has.
const multipartParts = 4

// multipart is one upload of a few parts, one after the other.
func (c cell) multipart(t *target, worker int) func(*client) (answer, error) {
	key := fmt.Sprintf("drop/multipart-%d", worker)
	return func(conn *client) (answer, error) {
		begin := time.Now()
		a, err := c.upload(conn, t, key)
		a.took = time.Since(begin)
		return a, err
	}
}

func (c cell) upload(conn *client, t *target, key string) (answer, error) {
	var doc bytes.Buffer
	a, err := conn.do(sign(t.ask(http.MethodPost, key, "uploads=", t.put, nil)), &doc)
	if err != nil || a.status != http.StatusOK {
		return a, err
	}
	_, rest, _ := strings.Cut(doc.String(), "<UploadId>")
	id, _, ok := strings.Cut(rest, "<")
	if !ok {
		return a, fmt.Errorf("no upload id in %.200q", doc.String())
	}
	var list strings.Builder
	list.WriteString("<CompleteMultipartUpload>")
	for i := 1; i <= multipartParts; i++ {
		a, err = conn.do(sign(t.ask(http.MethodPut, key, fmt.Sprintf("partNumber=%d&uploadId=%s", i, id), t.get, bodyOf(c.Size))), nil)
		if err != nil || a.status != http.StatusOK {
			return a, err
		}
		fmt.Fprintf(&list, "<Part><PartNumber>%d</PartNumber><ETag>&quot;%s&quot;</ETag></Part>", i, a.etag)
	}
	list.WriteString("</CompleteMultipartUpload>")
	doc.Reset()
	a, err = conn.do(sign(t.ask(http.MethodPost, key, "uploadId="+id, t.get, [][]byte{[]byte(list.String())})), &doc)
	if err == nil && (a.status != http.StatusOK || !strings.Contains(doc.String(), "<ETag>")) {
		err = fmt.Errorf("complete: status %d: %.200s", a.status, doc.String())
	}
	return a, err
}
