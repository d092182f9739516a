package main

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// multipartParts is how many parts an upload of a cell has.
const multipartParts = 4

// multipart is an upload of a few parts in sequence.
func (c cell) multipart(t *target, worker int) func(*client) (answer, error) {
	key := fmt.Sprintf("drop/multipart-%d", worker)
	return func(conn *client) (answer, error) {
		begin := time.Now()
		u, err := beginUpload(conn, t, key)
		if err != nil {
			return answer{}, err
		}
		for i := 1; i <= multipartParts; i++ {
			if err := u.part(i, c.Size); err != nil {
				return answer{}, err
			}
		}
		a, err := u.complete()
		a.took = time.Since(begin)
		return a, err
	}
}

// upload is a multipart upload under way.
type upload struct {
	conn *client
	t    *target
	key  string
	id   string
	list strings.Builder
}

func beginUpload(conn *client, t *target, key string) (*upload, error) {
	u := &upload{conn: conn, t: t, key: key}
	_, doc, err := u.send(t.ask(http.MethodPost, key, "uploads=", t.put, nil))
	if err != nil {
		return nil, err
	}
	_, rest, _ := strings.Cut(doc, "<UploadId>")
	id, _, ok := strings.Cut(rest, "<")
	if !ok {
		return nil, fmt.Errorf("no upload id in %.200q", doc)
	}
	u.id = id
	u.list.WriteString("<CompleteMultipartUpload>")
	return u, nil
}

// send sends a request of the upload; any status but 200 is an error.
func (u *upload) send(a *ask) (answer, string, error) {
	var doc bytes.Buffer
	got, err := u.conn.do(sign(a), &doc)
	if err == nil && got.status != http.StatusOK {
		err = fmt.Errorf("%s %s?%s: status %d: %.200s", a.method, a.path, a.query, got.status, doc.String())
	}
	return got, doc.String(), err
}

func (u *upload) part(number int, size int64) error {
	a, _, err := u.send(u.t.ask(http.MethodPut, u.key, fmt.Sprintf("partNumber=%d&uploadId=%s", number, u.id), u.t.get, bodyOf(size)))
	fmt.Fprintf(&u.list, "<Part><PartNumber>%d</PartNumber><ETag>&quot;%s&quot;</ETag></Part>", number, a.etag)
	return err
}

func (u *upload) complete() (answer, error) {
	u.list.WriteString("</CompleteMultipartUpload>")
	a, doc, err := u.send(u.t.ask(http.MethodPost, u.key, "uploadId="+u.id, u.t.get, [][]byte{[]byte(u.list.String())}))
	if err == nil && !strings.Contains(doc, "<ETag>") {
		err = fmt.Errorf("complete: %.200s", doc)
	}
	return a, err
}
