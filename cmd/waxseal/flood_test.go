package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awscreds "github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/minio/minio-go/v7"
	miniocreds "github.com/minio/minio-go/v7/pkg/credentials"
)

// Size of the flood: connections of each shape at each endpoint. Limits: their cost to the process.
const (
	floodConnections = 2000
	floodMemory      = 128 << 20
	floodAccess      = "AKIAFLOODFLOODFLOOD0"
	floodSecret      = "flood-secret-flood-secret-flood-secret-0"
)

// TestFlood opens thousands of connections of every shape at each endpoint, all without valid credentials. They must
// take little memory, and signed requests must be served meanwhile. The test prints the speed. The speed to be expected
// depends on the machine, so only an absurd time fails. The memory figures are the process's own only if no other test
// runs beside: .ci/run starts this test alone, with WAXSEAL_FLOOD set.
func TestFlood(t *testing.T) {
	if os.Getenv("WAXSEAL_FLOOD") == "" {
		t.Skip("WAXSEAL_FLOOD=1 floods: it takes a minute, and the machine for itself")
	}
	p := startFlooded(t)
	quiet := p.gets(t, 3*time.Second)
	base := p.resident(t)
	t.Logf("quiet: %d GETs, p50 %v, p99 %v, %d MiB resident", len(quiet), at(quiet, 50), at(quiet, 99), base>>20)
	for _, a := range floodShapes(p) {
		conns := flood(t, a.addr, a.text)
		took := p.gets(t, 2*time.Second)
		p.asksKMS(t)
		p.asksAdmin(t)
		now := p.resident(t)
		t.Logf("%s: %d GETs, p50 %v, p99 %v, %d MiB more", a.name, len(took), at(took, 50), at(took, 99), (now-base)>>20)
		if now-base > floodMemory {
			t.Errorf("%s: %d MiB more are resident", a.name, (now-base)>>20)
		}
		if p99 := at(took, 99); len(took) == 0 || p99 > 10*time.Second {
			t.Errorf("%s: p99 of %d signed GETs is %v, it was %v", a.name, len(took), p99, at(quiet, 99))
		}
		for _, c := range conns {
			c.Close()
		}
		if a.again {
			p.floodedAgain(t, a, at(quiet, 99))
		}
	}
}

// floodedAgain makes every connection of a shape repeat its request after each response, and reconnect after a cut.
func (p *flooded) floodedAgain(t *testing.T, a floodShape, quiet time.Duration) {
	t.Helper()
	end := floodAgain(t, a.addr, a.text)
	took := p.gets(t, 2*time.Second)
	begin := time.Now()
	p.newcomer(t)
	t.Logf("%s, again and again: %d GETs, p50 %v, p99 %v; one over a new connection %v; %d answers", a.name, len(took),
		at(took, 50), at(took, 99), time.Since(begin).Round(time.Millisecond), end())
	if p99 := at(took, 99); len(took) == 0 || p99 > 10*time.Second {
		t.Errorf("%s, again and again: p99 of %d signed GETs is %v, it was %v", a.name, len(took), p99, quiet)
	}
}

// newcomer is a client with valid credentials and a new connection.
func (p *flooded) newcomer(t *testing.T) {
	t.Helper()
	c, err := minio.New(p.s3, &minio.Options{Creds: miniocreds.NewStaticV4(floodAccess, floodSecret, ""), Region: "us-east-1",
		Transport: &http.Transport{DisableKeepAlives: true}, MaxRetries: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.StatObject(context.Background(), "bucket", "object", minio.StatObjectOptions{}); err != nil {
		t.Errorf("a signed HEAD over a new connection: %v", err)
	}
}

// flooded is a waxseal in a process of its own.
type flooded struct {
	s3, kms, admin string
	cmd            *exec.Cmd
	client         *minio.Client
	keys           *kms.Client
}

func startFlooded(t *testing.T) *flooded {
	t.Helper()
	dir := t.TempDir()
	out, err := os.Create(dir + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	p := &flooded{cmd: exec.Command("waxseal", "serve", "--listen=127.0.0.1:0", "--kms-listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0",
		"--data-dir="+dir+"/data")}
	p.cmd.Env = []string{"WAXSEAL_ACCESS_KEY=" + floodAccess, "WAXSEAL_SECRET_KEY=" + floodSecret, "HOME=" + dir}
	p.cmd.Stdout = out
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	})
	for deadline := time.Now().Add(30 * time.Second); p.s3 == ""; time.Sleep(20 * time.Millisecond) {
		text, err := os.ReadFile(out.Name())
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("it is not ready: %v: %s", err, text)
		}
		if m := readyLine.FindSubmatch(text); m != nil && bytes.HasSuffix(text, []byte("\n")) {
			p.s3, p.kms, p.admin = bare(m[1]), bare(m[2]), bare(m[3])
		}
	}
	p.client, err = minio.New(p.s3, &minio.Options{Creds: miniocreds.NewStaticV4(floodAccess, floodSecret, ""), Region: "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	p.keys = kms.New(kms.Options{BaseEndpoint: aws.String("http://" + p.kms), Region: "us-east-1", RetryMaxAttempts: 1,
		Credentials: awscreds.NewStaticCredentialsProvider(floodAccess, floodSecret, "")})
	ctx := context.Background()
	if err := p.client.MakeBucket(ctx, "bucket", minio.MakeBucketOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.client.PutObject(ctx, "bucket", "object", strings.NewReader(strings.Repeat("x", 4096)), 4096, minio.PutObjectOptions{}); err != nil {
		t.Fatal(err)
	}
	return p
}

func bare(url []byte) string { return strings.TrimPrefix(string(url), "http://") }

// gets reads the object in four loops for the window and returns the sorted durations of the GETs.
func (p *flooded) gets(t *testing.T, window time.Duration) []time.Duration {
	t.Helper()
	var mu sync.Mutex
	var took []time.Duration
	var all sync.WaitGroup
	end := time.Now().Add(window)
	for range 4 {
		all.Go(func() {
			for time.Now().Before(end) {
				begin := time.Now()
				o, err := p.client.GetObject(context.Background(), "bucket", "object", minio.GetObjectOptions{})
				if err == nil {
					_, err = io.Copy(io.Discard, o)
					o.Close()
				}
				if err != nil {
					t.Errorf("a signed GET: %v", err)
					return
				}
				mu.Lock()
				took = append(took, time.Since(begin))
				mu.Unlock()
			}
		})
	}
	all.Wait()
	slices.Sort(took)
	return took
}

func at(sorted []time.Duration, percent int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[(len(sorted)-1)*percent/100].Round(10 * time.Microsecond)
}

func (p *flooded) asksKMS(t *testing.T) {
	t.Helper()
	if _, err := p.keys.ListKeys(context.Background(), nil); err != nil {
		t.Errorf("a signed KMS request: %v", err)
	}
}

func (p *flooded) asksAdmin(t *testing.T) {
	t.Helper()
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get("http://" + p.admin + "/metrics")
	if err != nil {
		t.Errorf("metrics: %v", err)
		return
	}
	resp.Body.Close()
}

func (p *flooded) resident(t *testing.T) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Skip("no /proc here:", err)
	}
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kb << 10
}

type floodShape struct {
	name, addr, text string
	again            bool // text is a whole request
}

// floodShapes returns requests without a valid signature that hold a connection, for each endpoint.
func floodShapes(p *flooded) []floodShape {
	const mib = 1 << 20
	plain := func(method, target string) string { return method + " " + target + " HTTP/1.1\r\nHost: h\r\n" }
	body := func(length, sent int) string {
		return fmt.Sprintf("Content-Length: %d\r\n\r\n%s", length, strings.Repeat("x", sent))
	}
	form := "Content-Type: multipart/form-data; boundary=b\r\n"
	field := "--b\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\n"
	now := time.Now().UTC().Format("20060102T150405Z")
	signed := func(service, names string) string {
		return fmt.Sprintf("X-Amz-Date: %s\r\nX-Amz-Content-Sha256: UNSIGNED-PAYLOAD\r\nAuthorization: AWS4-HMAC-SHA256 Credential=%s/%s/us-east-1/%s/aws4_request, SignedHeaders=%s, Signature=%s\r\n",
			now, floodAccess, now[:8], service, names, strings.Repeat("0", 64))
	}
	names := "host;x-amz-content-sha256;x-amz-date"
	return []floodShape{
		{"S3, silence", p.s3, "", false},
		{"S3, half a head", p.s3, plain("GET", "/bucket/object") + "X: " + strings.Repeat("x", 30<<10), false},
		{"S3, a form without end", p.s3, plain("POST", "/bucket") + form + strings.Replace(body(5<<30, 8300), "\r\n\r\n", "\r\n\r\n"+field, 1), false},
		{"S3, a form's head", p.s3, plain("POST", "/bucket") + form + strings.Replace(body(5<<30, 100<<10), "\r\n\r\n", "\r\n\r\n"+field, 1), false},
		{"S3, a preflight's body", p.s3, plain("OPTIONS", "/bucket/object") + "Origin: http://o\r\nAccess-Control-Request-Method: GET\r\n" + body(mib, 8300), false},
		{"S3, preflights", p.s3, plain("OPTIONS", "/bucket/object") + "Origin: http://o\r\nAccess-Control-Request-Method: GET\r\n\r\n", true},
		{"S3, an unsigned PUT", p.s3, plain("PUT", "/bucket/object") + body(5<<30, 8300), false},
		{"S3, a wrong signature", p.s3, plain("PUT", "/bucket/object") + signed("s3", names) + body(5<<30, 8300), false},
		{"S3, a wrong signature over 20 KB", p.s3, plain("GET", "/bucket/object?"+strings.Repeat("x", 20<<10)) + signed("s3", names) + "\r\n", true},
		{"S3, 7,500 signed headers", p.s3, plain("GET", "/bucket/object") + signed("s3", names+strings.Repeat(";y", 7500)) + "\r\n", true},
		{"KMS, silence", p.kms, "", false},
		{"KMS, half a head", p.kms, plain("POST", "/") + "X: " + strings.Repeat("x", 30<<10), false},
		{"KMS, unsigned", p.kms, plain("POST", "/") + body(4*mib-1, 8300), false},
		{"KMS, a body that does not come", p.kms, plain("POST", "/") + signed("kms", names) + body(mib, 900), false},
		{"KMS, a wrong signature", p.kms, plain("POST", "/") + signed("kms", names) + body(mib, 8300), false},
		{"KMS, half of a body", p.kms, plain("POST", "/") + signed("kms", names) + body(mib, mib/2), false},
		{"admin, silence", p.admin, "", false},
		{"admin, half a head", p.admin, plain("GET", "/metrics") + "X: " + strings.Repeat("x", 15<<10), false},
		{"admin, a body", p.admin, plain("POST", "/metrics") + body(mib, 8300), false},
		{"admin, metrics", p.admin, plain("GET", "/metrics") + "\r\n", true},
	}
}

// flood opens connections, sends the text on each and reads nothing.
func flood(t *testing.T, addr, text string) []net.Conn {
	t.Helper()
	var mu sync.Mutex
	var conns []net.Conn
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range floodConnections / 8 {
				c, err := net.Dial("tcp", addr)
				if err != nil {
					t.Error(err)
					return
				}
				c.SetDeadline(time.Now().Add(time.Minute))
				_, _ = io.WriteString(c, text) // the connection may be cut already
				mu.Lock()
				conns = append(conns, c)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return conns
}

// floodAgain keeps as many connections busy as flood opens. end stops them and returns the number of responses.
func floodAgain(t *testing.T, addr, text string) (end func() int64) {
	t.Helper()
	var answers atomic.Int64
	var all sync.WaitGroup
	ctx, stop := context.WithCancel(context.Background())
	for range floodConnections {
		all.Go(func() {
			for ctx.Err() == nil {
				answers.Add(askAgain(ctx, addr, text))
			}
		})
	}
	return func() int64 {
		stop()
		all.Wait()
		return answers.Load()
	}
}

// askAgain sends the text over a connection, again after each response, and returns the number of responses.
func askAgain(ctx context.Context, addr, text string) (answers int64) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return 0 // the accept queue is full
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	r := bufio.NewReader(c)
	for {
		if _, err := io.WriteString(c, text); err != nil {
			return answers
		}
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return answers
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.Close {
			return answers
		}
		answers++
	}
}
