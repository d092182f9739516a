package proxy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/minio/minio-go/v7/pkg/signer"

	"waxseal/keystore"
	"waxseal/keystore/bucketkey"
	"waxseal/keystore/iam"
	"waxseal/keystore/state"
	"waxseal/proxy/s3"
	"waxseal/proxy/store"
)

// childEnv names the directory of a proxy that runs in a process of its own, childUpstream its store.
const (
	childEnv      = "WAXSEAL_TEST_CHILD"
	childUpstream = "WAXSEAL_TEST_CHILD_UPSTREAM"
)

// TestChild is no test: it is the proxy of the tests that need one in a process of its own. It says where it listens,
// and ends with its standard input.
func TestChild(t *testing.T) {
	dir := os.Getenv(childEnv)
	if dir == "" {
		t.Skip("only as a child of other tests")
	}
	users, err := iam.NewDirectory([]iam.User{{Name: "root", ARN: iam.RootARN("000000000000"), AccountID: "000000000000", AccessKey: testAccess, Secret: iam.NewSecret(testSecret), Root: true}})
	if err != nil {
		t.Fatal(err)
	}
	st, err := state.OpenBolt(filepath.Join(dir, "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	kms := newMemoryKMS()
	s, err := New(Config{
		Upstream: store.Config{Endpoint: os.Getenv(childUpstream), AccessKey: "memory", SecretKey: "memory-secret"},
		Users:    users, Provider: kms, Root: &memoryRoot{fixedSecret(t, "root"), fixedSecret(t, "service"), 1},
		State: st, HeldDir: filepath.Join(dir, "held"), Keys: bucketkey.New(kms, st, newSealer(), bucketkey.Config{}),
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("listening %s\n", l.Addr())
	go s.Serve(l, nil)
	io.Copy(io.Discard, os.Stdin)
}

// fixedSecret is the same in every child.
func fixedSecret(t testing.TB, name string) keystore.Secret {
	t.Helper()
	s, err := keystore.NewSecret(sha256Of(name))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// child is a proxy in a process of its own.
type child struct {
	cmd *exec.Cmd
	kit *kit
}

func startChild(t testing.TB, dir, upstream string) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestChild$", "-test.count=1")
	cmd.Env = append(os.Environ(), childEnv+"="+dir, childUpstream+"="+upstream)
	cmd.Stderr = os.Stderr
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &child{cmd: cmd}
	t.Cleanup(c.kill)
	r := bufio.NewReader(out)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("the child did not start: %v", err)
		}
		if addr, ok := strings.CutPrefix(line, "listening "); ok {
			c.kit = &kit{endpoint: strings.TrimSpace(addr)}
			go io.Copy(io.Discard, r)
			return c
		}
	}
}

// kill ends the child as SIGKILL does: it can do nothing more.
func (c *child) kill() {
	if c.cmd.ProcessState == nil {
		c.cmd.Process.Kill()
		c.cmd.Wait()
	}
}

// peak is the most memory that the child has ever had resident.
func (c *child) peak(t testing.TB) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	if err != nil {
		t.Skip("no /proc here:", err)
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.ParseInt(strings.Fields(v)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kb << 10
		}
	}
	t.Fatal("no VmHWM")
	return 0
}

// nullStore takes everything and keeps nothing, but for the one object of the key "kept", which lies in a file.
type nullStore struct {
	dir string

	mu     sync.Mutex
	header http.Header
}

func (n *nullStore) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("ETag", `"0123456789abcdef0123456789abcdef"`)
	switch {
	case r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/kept"):
		n.keep(r)
	case r.Method == http.MethodPut || r.Method == http.MethodPost:
		io.Copy(io.Discard, r.Body)
	case r.URL.Query().Has("policy"):
		http.Error(w, "<Error><Code>NoSuchBucketPolicy</Code></Error>", http.StatusNotFound)
	case r.Method == http.MethodGet:
		f, err := os.Open(filepath.Join(n.dir, "kept"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		defer f.Close()
		n.mu.Lock()
		for name, v := range n.header {
			w.Header()[name] = v
		}
		n.mu.Unlock()
		http.ServeContent(w, r, "", time.Unix(1_700_000_000, 0), f)
	}
}

func (n *nullStore) keep(r *http.Request) {
	f, err := os.Create(filepath.Join(n.dir, "kept"))
	if err != nil {
		panic(err)
	}
	defer f.Close()
	body := bufio.NewReaderSize(r.Body, 1<<20)
	for {
		line, err := body.ReadString('\n')
		if err != nil {
			panic(err)
		}
		size, err := strconv.ParseInt(strings.TrimSpace(line), 16, 64)
		if err != nil {
			panic(err)
		}
		if size == 0 {
			io.Copy(io.Discard, body)
			break
		}
		if _, err := io.CopyN(f, body, size); err != nil {
			panic(err)
		}
		body.Discard(2)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.header = http.Header{"Content-Type": {"binary/octet-stream"}}
	for name, v := range r.Header {
		if strings.HasPrefix(name, s3.PrefixMeta) {
			n.header[name] = v
		}
	}
}

// zeros is an endless source.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestMemory: the memory of a proxy does not grow with the size of what goes through it, nor much with its number.
// WAXSEAL_TEST_MEMORY=1 sends 64 streams of 256 MiB each way and one object of 5 GB; without it, it is 16 of 16 MiB.
func TestMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("long: crashes, faults, races")
	}
	if raceDetector {
		t.Skip("the race detector has memory of its own")
	}
	streams, size, large, limit := 16, int64(16<<20), int64(64<<20), int64(96<<20)
	if os.Getenv("WAXSEAL_TEST_MEMORY") != "" {
		streams, size, large, limit = 64, 256<<20, 5_000_000_000, 256<<20
	}
	store := httptest.NewServer(&nullStore{dir: t.TempDir()})
	defer store.Close()
	c := startChild(t, t.TempDir(), store.URL)
	tr := &http.Transport{MaxIdleConnsPerHost: streams}
	defer tr.CloseIdleConnections()
	at := func(what string) {
		peak := c.peak(t)
		t.Logf("%s: %d MiB resident at most", what, peak>>20)
		if peak > limit {
			t.Errorf("%s: %d MiB resident, more than %d", what, peak>>20, limit>>20)
		}
	}
	at("at rest")
	if err := c.put(tr, "/bucket/large", large); err != nil {
		t.Fatal(err)
	}
	at(fmt.Sprintf("one PUT of %d MB", large/1_000_000))
	if err := c.put(tr, "/bucket/kept", size); err != nil {
		t.Fatal(err)
	}
	each(t, streams, func(i int) error { return c.put(tr, fmt.Sprintf("/bucket/%d", i), size) })
	at(fmt.Sprintf("%d PUTs of %d MiB", streams, size>>20))
	each(t, streams, func(int) error { return c.get(tr, "/bucket/kept", size) })
	at(fmt.Sprintf("%d GETs of %d MiB", streams, size>>20))
}

func each(t *testing.T, n int, f func(i int) error) {
	t.Helper()
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			if err := f(i); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

func (c *child) request(tr *http.Transport, method, path string, body io.Reader, size int64) (*http.Response, error) {
	req, err := http.NewRequestWithContext(context.Background(), method, "http://"+c.kit.endpoint+path, body)
	if err != nil {
		return nil, err
	}
	req.ContentLength = size
	req.Header.Set("X-Amz-Content-Sha256", s3.UnsignedPayload)
	return tr.RoundTrip(signer.SignV4(*req, testAccess, testSecret, "", "us-east-1"))
}

func (c *child) put(tr *http.Transport, path string, size int64) error {
	resp, err := c.request(tr, http.MethodPut, path, io.NopCloser(io.LimitReader(zeros{}, size)), size)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s", resp.Status, b)
	}
	return nil
}

func (c *child) get(tr *http.Transport, path string, size int64) error {
	resp, err := c.request(tr, http.MethodGet, path, nil, 0)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(resp.Body)
		return fmt.Errorf("%s %s", resp.Status, b)
	}
	n, buf := int64(0), make([]byte, 256<<10)
	for {
		m, err := resp.Body.Read(buf)
		n += int64(m)
		if len(bytes.Trim(buf[:m], "\x00")) > 0 {
			return errors.New("other bytes than were written")
		}
		if err == io.EOF && n == size {
			return nil
		}
		if err != nil {
			return fmt.Errorf("after %d bytes: %w", n, err)
		}
	}
}
