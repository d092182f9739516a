package server

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/minio/minio-go/v7/pkg/encrypt"

	"waxseal/keystore/audit"
)

// receiver is a webhook that fails at first and then accepts records.
type receiver struct {
	t        *testing.T
	mu       sync.Mutex
	refusals []int // statuses of the first answers
	events   []audit.Record
	batches  map[string]int
	stolen   int // requests behind a redirect
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if req.URL.Path == "/elsewhere" {
		r.stolen++
		return
	}
	body, err := io.ReadAll(req.Body)
	var batch struct{ Records []audit.Record }
	if err == nil {
		err = json.Unmarshal(body, &batch)
	}
	if err != nil || req.Method != "POST" || req.Header.Get("Authorization") != "Bearer open-sesame" ||
		!regexp.MustCompile(`^[0-9a-f]{16}:[0-9]+:[0-9a-f]{64}$`).MatchString(req.Header.Get("Waxseal-Audit-Digest")) {
		r.t.Errorf("%s %v: %v", req.Method, req.Header, err)
	}
	if len(r.refusals) > 0 {
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(r.refusals[0])
		r.refusals = r.refusals[1:]
		return
	}
	r.events = append(r.events, batch.Records...)
	r.batches[req.Header.Get("Waxseal-Audit-Batch")]++
}

// keys returns the objects of the data events, in order.
func (r *receiver) keys() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var keys []string
	for _, e := range r.events {
		if key, ok := e.RequestParameters["key"].(string); ok && e.EventName == "PutObject" {
			keys = append(keys, key)
		}
	}
	return strings.Join(keys, " ")
}

func (r *receiver) wait(want string) {
	r.t.Helper()
	for range 300 {
		if r.keys() == want {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	r.t.Fatalf("the webhook has %q, want %q", r.keys(), want)
}

// TestAuditWebhook posts every record in order, through refusals, redirects and restarts.
func TestAuditWebhook(t *testing.T) {
	r := &receiver{t: t, refusals: []int{500, 307, 302}, batches: make(map[string]int)}
	hook := httptest.NewServer(r)
	defer hook.Close()
	t.Setenv(envWebhookToken, "open-sesame")
	b := newKit(t, func(c *Config) {
		c.AuditWebhook, c.AuditS3, c.AuditInterval = hook.URL+"/records", "write", 100*time.Millisecond
	})
	b.put("one", []byte("1"), encrypt.NewSSE())
	b.put("two", []byte("2"), encrypt.NewSSE())
	r.wait("one two")
	b.end()
	b.serve()
	b.put("three", []byte("3"), encrypt.NewSSE())
	r.wait("one two three")
	b.end()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stolen > 0 || len(r.refusals) > 0 {
		t.Errorf("%d requests followed a redirect, %d refusals are left", r.stolen, len(r.refusals))
	}
	for name, n := range r.batches {
		if n != 1 {
			t.Errorf("%s came %d times", name, n)
		}
	}
}

// TestWebhookURL refuses invalid URLs and URLs with a secret, and shows the secret in no error.
func TestWebhookURL(t *testing.T) {
	for text, ok := range map[string]bool{
		"https://siem.example/in": true, "": true, "ftp://siem.example/": false, "siem": false,
		"https://user:hunter2@siem.example/": false, "https://siem.example/?token=hunter2": false, "https://siem.example/#hunter2": false,
	} {
		c := Default()
		c.AuditWebhook = text
		err := c.checkWebhook()
		if (err == nil) != ok || err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestSpoolIsBounded checks that too many records waiting for a webhook are pruned, and none waiting for the bucket.
func TestSpoolIsBounded(t *testing.T) {
	c := Default()
	c.DataDir, c.AuditWebhook = t.TempDir(), "https://siem.example/"
	if err := os.MkdirAll(c.AuditDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(c.AuditDir(), "000000000003-20260101T000000Z.jsonl")
	for _, row := range []struct {
		size   int64
		bucket string
		want   uint64
	}{{1000, "", 2}, {webhookSpool + 1, "", 7}, {webhookSpool + 1, "records", 1}} {
		for file, text := range map[string]string{name: "", webhookProgress: `{"file":2}`, "delivered.json": `{"file":1}`} {
			if err := os.WriteFile(filepath.Join(c.AuditDir(), filepath.Base(file)), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Truncate(name, row.size); err != nil {
			t.Fatal(err)
		}
		c.AuditBucket = row.bucket
		if below, err := c.deliveredBelow(7); err != nil || below != row.want {
			t.Errorf("%+v: %d, %v", row, below, err)
		}
	}
}
