package proxytest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"waxseal/proxy/s3"
)

func TestFaults(t *testing.T) {
	u, c := start(t, Options{})
	ctx := t.Context()
	store := func(key string) error {
		_, err := c.Client.PutObject(ctx, "bkt", key, strings.NewReader("body"), 4, minio.PutObjectOptions{DisableMultipart: true})
		return err
	}
	stored := func(key string) bool { _, ok := u.Object("bkt", key); return ok }
	for name, test := range map[string]struct {
		hook    Hook
		persist bool
	}{
		"fail not persist": {FailNotPersist("PutObject", 1), false},
		"fail but persist": {FailButPersist("PutObject", 1), true},
		"lose not persist": {LoseNotPersist("PutObject", 1), false},
		"lose but persist": {LoseButPersist("PutObject", 1), true},
	} {
		u.SetHook(test.hook)
		err := store(name)
		if err == nil || stored(name) != test.persist {
			t.Errorf("%s: %v, stored %v", name, err, stored(name))
		}
		if err := store(name); err != nil || !stored(name) {
			t.Errorf("%s, second time: %v", name, err)
		}
	}
	put(t, c, "k", "0123456789")
	u.SetHook(Nth("GetObject", 0, Fault{CutBodyAfter: 4}))
	r, _, _, err := c.GetObject(ctx, "bkt", "k", minio.GetObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(r); string(b) != "0123" || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%q, %v", b, err)
	}
	u.SetHook(Nth("GetObject", 0, Fault{Corrupt: func(b []byte) { b[3] ^= 1 }}))
	if got := get(t, c, "k", minio.GetObjectOptions{}); got != "0122456789" {
		t.Error(got)
	}
	u.SetHook(nil)
	if got := get(t, c, "k", minio.GetObjectOptions{}); got != "0123456789" {
		t.Error("the corruption stayed")
	}
}

func TestBlockAndDelay(t *testing.T) {
	u, c := start(t, Options{})
	gate := make(chan struct{})
	u.SetHook(Hooks(Nth("PutObject", 1, Fault{Block: gate}), Nth("GetObject", 1, Fault{Delay: time.Millisecond})))
	done := make(chan error, 1)
	go func() {
		_, err := c.Client.PutObject(context.WithoutCancel(t.Context()), "bkt", "k", strings.NewReader("x"), 1, minio.PutObjectOptions{})
		done <- err
	}()
	for i := 0; len(u.Requests()) == 0 && i < 5000; i++ {
		time.Sleep(time.Millisecond)
	}
	if _, ok := u.Object("bkt", "k"); ok {
		t.Error("stored while blocked")
	}
	close(gate)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if got := get(t, c, "k", minio.GetObjectOptions{}); got != "x" {
		t.Error(got)
	}
}

func TestTampering(t *testing.T) {
	if testing.Short() {
		t.Skip("long: crashes, faults, races")
	}
	u, c := start(t, Options{})
	put(t, c, "k", "0123456789")
	before, _ := u.Object("bkt", "k")
	if !u.Mutate("bkt", "k", func(s *Stored) { s.Body[0] = 'X'; s.Header.Set("X-Amz-Meta-Env", "e") }) {
		t.Fatal("no object")
	}
	after, _ := u.Object("bkt", "k")
	if string(after.Body) != "X123456789" || after.ETag != before.ETag || after.Header.Get("X-Amz-Meta-Env") != "e" || string(before.Body) != "0123456789" {
		t.Errorf("%+v", after)
	}
	if u.Mutate("bkt", "none", func(*Stored) {}) {
		t.Error("changed nothing")
	}
	u.Delete("bkt", "k")
	if _, ok := u.Object("bkt", "k"); ok {
		t.Error("not deleted")
	}
}

func TestEarlyAnswer(t *testing.T) {
	u, address := StartUpstream(t, Options{}, "bkt")
	u.SetHook(Nth("PutObject", 1, Fault{Early: s3.NewError(s3.SlowDown)}))
	conn, err := net.Dial("tcp", strings.TrimPrefix(address, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "PUT /bkt/k HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\nfirst bytes")
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || resp.StatusCode != 503 {
		t.Fatalf("%v %v", resp, err)
	}
}

func TestLateError(t *testing.T) {
	u, address := StartUpstream(t, Options{}, "bkt")
	u.PutObject("bkt", "src", []byte("x"), nil)
	u.SetHook(Nth("CopyObject", 1, Fault{Late: s3.NewError(s3.InternalError)}))
	resp, text := exchange{"PUT", "/bkt/k", "", []string{"x-amz-copy-source: /bkt/src"}}.do(t, address)
	if resp.StatusCode != 200 || !strings.Contains(text, " <Error><Code>InternalError</Code>") || s3.ParseError(200, []byte(text)).Code != s3.InternalError {
		t.Errorf("%d %q", resp.StatusCode, text)
	}
	if _, ok := u.Object("bkt", "k"); !ok {
		t.Error("not copied")
	}
}

func TestHeaderFault(t *testing.T) {
	u, address := StartUpstream(t, Options{}, "bkt")
	u.PutObject("bkt", "k", []byte("x"), http.Header{"x-amz-meta-waxseal": {"env"}})
	u.SetHook(Nth("HeadObject", 1, Fault{Header: func(h http.Header) { h.Del("X-Amz-Meta-Waxseal") }}))
	for i, want := range []string{"", "env"} {
		resp, _ := exchange{"HEAD", "/bkt/k", "", nil}.do(t, address)
		if got := resp.Header.Get("X-Amz-Meta-Waxseal"); got != want {
			t.Errorf("request %d: %q", i+1, got)
		}
	}
}

func TestRequestLog(t *testing.T) {
	u, address := StartUpstream(t, Options{MaxRequests: 3}, "bkt")
	for i := range 5 {
		exchange{"GET", fmt.Sprintf("/bkt/k%d?X-Amz-Credential=AKIAQUERY%%2F2026", i), "", []string{"X-Secret: s3cret"}}.do(t, address)
	}
	all := u.Requests()
	if len(all) != 3 || all[0].Key != "k2" || all[2].N != 5 || all[2].Status != 404 || all[2].AccessKey != "AKIAQUERY" {
		t.Errorf("%+v", all)
	}
	if !u.Saw("s3cret") || !u.Saw("/bkt/k4") || u.Saw("k0") {
		t.Error("Saw")
	}
	if got := strings.Join(u.Operations(), " "); got != "GetObject GetObject GetObject" {
		t.Error(got)
	}
	if u.ClearRequests(); len(u.Requests()) != 0 {
		t.Error("log not cleared")
	}
}

func TestMutateParts(t *testing.T) {
	u, address := StartUpstream(t, Options{}, "bkt")
	_, text := exchange{"POST", "/bkt/k?uploads", "", nil}.do(t, address)
	id := between(text, "<UploadId>", "</UploadId>")
	exchange{"PUT", "/bkt/k?partNumber=1&uploadId=" + id, "part", nil}.do(t, address)
	u.MutateParts(func(_ string, _ int, body []byte) []byte { return bytes.ToUpper(body) })
	if u.Contains([]byte("part")) || !u.Contains([]byte("PART")) {
		t.Error("part not changed")
	}
}
