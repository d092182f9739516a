package nullstore

import (
	"bytes"
	"crypto/rand"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// start returns the URL of a store.
func start(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go New("bkt").Serve(l) //nolint:errcheck // it ends with the listener
	return "http://" + l.Addr().String()
}

func send(t *testing.T, method, url string, body []byte, header ...string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, got
}

// TestKeeps writes and reads objects of sizes at the buffers' edges, whole and by range. Only keys under KeptPrefix stay.
func TestKeeps(t *testing.T) {
	url := start(t)
	data := make([]byte, 1<<20+7)
	rand.Read(data)
	kept := url + "/bkt/" + KeptPrefix + "k"
	for _, size := range []int{1, 4 << 10, 32 << 10, 32<<10 + 1, len(data)} {
		send(t, http.MethodPut, kept, data[:size])
		if resp, got := send(t, http.MethodGet, kept, nil); resp.StatusCode != 200 || !bytes.Equal(got, data[:size]) {
			t.Errorf("%d bytes: %s, %d read", size, resp.Status, len(got))
		}
	}
	resp, got := send(t, http.MethodGet, kept, nil, "Range", "bytes=1000-1099")
	if resp.StatusCode != http.StatusPartialContent || !bytes.Equal(got, data[1000:1100]) {
		t.Errorf("range: %s, %d bytes", resp.Status, len(got))
	}
	send(t, http.MethodPut, url+"/bkt/dropped", data)
	for key, want := range map[string]int{"dropped": 404, KeptPrefix + "k": 200, "never": 404} {
		if resp, _ := send(t, http.MethodHead, url+"/bkt/"+key, nil); resp.StatusCode != want {
			t.Errorf("HEAD %s: %s", key, resp.Status)
		}
	}
}

// TestConditions: If-Match and If-None-Match hold, as waxseal's probe of a store wants.
func TestConditions(t *testing.T) {
	url := start(t) + "/bkt/" + KeptPrefix + "k"
	resp, _ := send(t, http.MethodPut, url, []byte("one"), "If-None-Match", "*")
	for _, c := range []struct {
		name, value string
		want        int
	}{{"If-None-Match", "*", 412}, {"If-Match", `"other"`, 412}, {"If-Match", resp.Header.Get("Etag"), 200}} {
		if resp, _ := send(t, http.MethodPut, url, []byte("two"), c.name, c.value); resp.StatusCode != c.want {
			t.Errorf("%s %s: %s", c.name, c.value, resp.Status)
		}
	}
}

func TestBuckets(t *testing.T) {
	if resp, doc := send(t, http.MethodGet, start(t)+"/", nil); resp.StatusCode != 200 || !strings.Contains(string(doc), "<Name>bkt</Name>") {
		t.Errorf("%s: %s", resp.Status, doc)
	}
}
