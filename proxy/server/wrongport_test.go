package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// wrongPorts is a listening waxseal with its log in a file.
type wrongPorts struct {
	addr map[string]string
	log  string
}

func startWrongPorts(t *testing.T, selfSigned bool) wrongPorts {
	t.Helper()
	c := Default()
	c.DataDir, c.TLSSelfSigned = t.TempDir(), selfSigned
	c.Listen, c.KMSListen, c.AdminListen, c.PprofListen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	w := wrongPorts{log: filepath.Join(t.TempDir(), "log")}
	file, err := os.Create(w.log)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(file, nil))
	l, err := c.listen()
	if err != nil {
		t.Fatal(err)
	}
	p, err := Assemble(t.Context(), &c, log)
	if err != nil {
		t.Fatal(err)
	}
	p.serve(l, log)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := p.Shutdown(ctx); err != nil {
			t.Log(err)
		}
		l.close()
		_ = file.Close()
	})
	w.addr = map[string]string{"S3": l.s3.Addr().String(), "KMS": l.kms.Addr().String(), "admin": l.admin.Addr().String(), "pprof": l.pprof.Addr().String()}
	return w
}

// say sends text over TCP or TLS, and reads the answer to the connection's end.
func say(t *testing.T, addr string, overTLS bool, text string) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if overTLS {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // what it answers is the point
	}
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		return err.Error()
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		return string(answer) + err.Error()
	}
	return string(answer)
}

// request is an HTTP request with headers, each with its line's end.
func request(line, headers, body string) string {
	return fmt.Sprintf("%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%sContent-Length: %d\r\n\r\n%s", line, headers, len(body), body)
}

const (
	hiddenSignature = "deadbeefsecretsignature"
	scopedTo        = "Authorization: AWS4-HMAC-SHA256 Credential=AKIAX/20260101/us-east-1/%s/aws4_request, SignedHeaders=host, Signature=" + hiddenSignature + "\r\n"
)

// TestWrongPort walks ports and shapes of requests, over HTTP and HTTPS. A client at the wrong port gets a response in
// the form its own tool prints. A client at the right port does not.
func TestWrongPort(t *testing.T) {
	s3Scope, kmsScope := fmt.Sprintf(scopedTo, "s3"), fmt.Sprintf(scopedTo, "kms")
	const target = "X-Amz-Target: TrentService.ListKeys\r\nContent-Type: application/x-amz-json-1.1\r\n"
	const form = "Content-Type: multipart/form-data; boundary=b\r\n"
	const s3Says, kmsSays = "S3 endpoint. The key service, which speaks the KMS API, is at the address of --kms-listen.", "key service, which speaks the KMS API. S3 is at the address of --listen."
	shapes := []struct{ name, port, text, want string }{
		{"list of buckets", "KMS", request("GET /", s3Scope, ""), "<Code>InvalidRequest</Code>"},
		{"unsigned list", "KMS", request("GET /bucket?list-type=2", "", ""), "<Code>InvalidRequest</Code>"},
		{"presigned", "KMS", request("GET /bucket/key?X-Amz-Credential=AKIAX%2F20260101%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Signature="+hiddenSignature, "", ""), "<Code>"},
		{"upload", "KMS", request("PUT /bucket/key", s3Scope, strings.Repeat("x", 100000)), "<Code>InvalidRequest</Code>"},
		{"waiting upload", "KMS", request("PUT /bucket/key", s3Scope+"Expect: 100-continue\r\n", "x"), "<Code>InvalidRequest</Code>"},
		{"removal", "KMS", request("DELETE /bucket/key", s3Scope, ""), "<Code>InvalidRequest</Code>"},
		{"multi-object delete", "KMS", request("POST /bucket?delete", s3Scope, "<Delete/>"), "<Code>InvalidRequest</Code>"},
		{"POST of the root", "KMS", request("POST /", s3Scope, ""), "<Code>InvalidRequest</Code>"},
		{"signature version 2", "KMS", request("POST /", "Authorization: AWS AKIAX:"+hiddenSignature+"\r\n", ""), "<Code>InvalidRequest</Code>"},
		{"form", "KMS", request("POST /", form, "--b--"), "<Code>InvalidRequest</Code>"},
		{"preflight", "KMS", request("OPTIONS /bucket", "", ""), "<Code>InvalidRequest</Code>"},
		{"operation", "S3", request("POST /", kmsScope+target, "{}"), `{"__type":"UnknownOperationException","message":"This is waxseal's `},
		{"unsigned operation", "S3", request("POST /", target, "{}"), `{"__type":"UnknownOperationException"`},
		{"signed for KMS", "S3", request("POST /", kmsScope, "{}"), `{"__type":"UnknownOperationException"`},
		{"presigned for KMS", "S3", request("GET /?X-Amz-Credential=AKIAX%2F20260101%2Fus-east-1%2Fkms%2Faws4_request", "", ""), `{"__type":"UnknownOperationException"`},
		{"large operation", "S3", request("POST /", target, strings.Repeat(" ", 100000)), `{"__type":"UnknownOperationException"`},
		{"waiting operation", "S3", request("POST /", target+"Expect: 100-continue\r\n", "{}"), `{"__type":"UnknownOperationException"`},
	}
	says := map[string]string{"S3": s3Says, "KMS": kmsSays}
	right := map[string][]string{
		"S3": {request("GET /", s3Scope, ""), request("GET /kms/aws4_request", "", ""), request("POST /bucket", form, "--b--"),
			request("OPTIONS /bucket", "", "x")}, // InvalidRequest, as S3 says it
		"KMS": {request("POST /", kmsScope+target, "{}"), request("POST /", target, "{}"), request("GET /", target, ""), request("POST /", kmsScope, "{}")},
	}
	for _, overTLS := range []bool{false, true} {
		w := startWrongPorts(t, overTLS)
		for _, shape := range shapes {
			answer := say(t, w.addr[shape.port], overTLS, shape.text)
			if !strings.Contains(answer, "HTTP/1.1 400 ") || !strings.Contains(answer, shape.want) || !strings.Contains(answer, says[shape.port]) || strings.Contains(answer, hiddenSignature) {
				t.Errorf("%s at %s, TLS %v: %s", shape.name, shape.port, overTLS, answer)
			}
		}
		for port, texts := range right {
			for _, text := range texts {
				answer := say(t, w.addr[port], overTLS, text)
				if !strings.Contains(answer, "HTTP/1.1 4") || strings.Contains(answer, "is at the address of") {
					t.Errorf("the right port %s, TLS %v: %s", port, overTLS, answer)
				}
				if isXML := strings.Contains(answer, "<Error><Code>"); isXML != (port == "S3") {
					t.Errorf("the right port %s answers in another's form: %s", port, answer)
				}
			}
		}
		if head := say(t, w.addr["KMS"], overTLS, request("HEAD /bucket", s3Scope, "")); !strings.HasPrefix(head, "HTTP/1.1 400 ") || !strings.HasSuffix(head, "\r\n\r\n") {
			t.Errorf("HEAD: %s", head)
		}
		if text, err := os.ReadFile(w.log); err != nil || strings.Contains(string(text), hiddenSignature) || strings.Contains(string(text), "ERROR") {
			t.Errorf("the log: %v %s", err, text)
		}
	}
}

// TestWrongTransport walks ports and first bytes. Plain HTTP at a TLS port, and TLS at a plain port, are answered at
// once and told apart from valid connections.
func TestWrongTransport(t *testing.T) {
	const httpsHere, httpHere = "This is an HTTPS endpoint (", "This is a plain HTTP endpoint ("
	for _, withTLS := range []bool{false, true} {
		w := startWrongPorts(t, withTLS)
		for port, addr := range w.addr {
			isTLS := withTLS && (port == "S3" || port == "KMS")
			for _, method := range []string{"GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS"} {
				begun := time.Now()
				answer := say(t, addr, false, request(method+" /", "", strings.Repeat("x", 20000)))
				if told := strings.HasPrefix(answer, "HTTP/1.1 400 ") && strings.Contains(answer, httpsHere+port+")"); told != isTLS {
					t.Errorf("plain %s at %s, TLS %v: %s", method, port, isTLS, answer)
				}
				if took := time.Since(begun); isTLS && took > 3*time.Second {
					t.Errorf("plain %s at %s: %v", method, port, took)
				}
			}
			begun := time.Now()
			answer := say(t, addr, true, request("GET /", "", ""))
			if !isTLS && !strings.Contains(answer, "first record does not look like a TLS handshake") || isTLS && !strings.HasPrefix(answer, "HTTP/1.1 4") {
				t.Errorf("TLS at %s, TLS %v: %s", port, isTLS, answer)
			}
			if took := time.Since(begun); took > 3*time.Second {
				t.Errorf("TLS at %s: %v", port, took)
			}
			// As a client of the wrong kind sees it, byte for byte.
			if isTLS {
				continue
			}
			if answer := say(t, addr, false, "\x16\x03\x01\x00\x01\x01"); !strings.Contains(answer, httpHere+port+")") {
				t.Errorf("a hello at %s: %q", port, answer)
			}
		}
		text, err := os.ReadFile(w.log)
		if err != nil {
			t.Fatal(err)
		}
		want := map[bool]int{false: 4, true: 2}[withTLS] // a line for each endpoint without TLS, and not for each client
		if got := strings.Count(string(text), "level=WARN msg=\"a client speaks TLS"); got != want || !strings.Contains(string(text), "--tls-self-signed") {
			t.Errorf("%d lines, want %d: %s", got, want, text)
		}
	}
}
