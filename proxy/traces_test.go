package proxy

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"waxseal/proxy/proxytest"
	"waxseal/proxy/trace"
)

const clientSpan = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

// traceOf are the traces of the requests that the store got.
func traceOf(u *proxytest.Upstream, operations ...string) (parents, states []string) {
	for _, r := range u.Requests() {
		for _, op := range operations {
			if r.Operation == op {
				parents, states = append(parents, r.Header.Get("Traceparent")), append(states, r.Header.Get("Tracestate"))
			}
		}
	}
	return parents, states
}

// TestTraceIsPassedOn: the store and the log get the client's trace, on every route that asks the store, and nothing else
// that a client writes into these headers.
func TestTraceIsPassedOn(t *testing.T) {
	var log lines
	k, u := overMemory(t, proxytest.Options{}, func(c *Config) { c.Log = slog.New(slog.NewJSONHandler(&log, nil)) })
	header := map[string]string{"traceparent": clientSpan, "tracestate": "vendor=1"}
	seen := map[string]bool{clientSpan: true}
	for _, r := range []struct{ method, target, operation string }{
		{"PUT", "/bkt/a", "PutObject"}, {"GET", "/bkt/a", "GetObject"}, {"HEAD", "/bkt/a", "GetObject"}, {"GET", "/bkt?list-type=2", "ListObjectsV2"},
		{"GET", "/bkt/a?acl", "GetObjectAcl"}, {"POST", "/bkt/b?uploads", "CreateMultipartUpload"}, {"DELETE", "/bkt/a", "DeleteObject"},
	} {
		before, _ := traceOf(u, r.operation)
		k.do(t, r.method, r.target, header, nil)
		parents, states := traceOf(u, r.operation)
		if len(parents) == len(before) {
			t.Errorf("%s %s: the store was not asked for %s: %v", r.method, r.target, r.operation, u.Operations())
			continue
		}
		parent := parents[len(parents)-1]
		if !strings.HasPrefix(parent, clientSpan[:36]) || !strings.HasSuffix(parent, "-01") || seen[parent] || states[len(states)-1] != "vendor=1" {
			t.Errorf("%s %s: the store got %q and %q", r.method, r.target, parent, states[len(states)-1])
		}
		seen[parent] = true
	}
	for name, h := range map[string]map[string]string{
		"none": nil, "an invalid one": {"traceparent": "00-xyz-1-01", "tracestate": "vendor=1"}, "a state alone": {"tracestate": "vendor=1"},
	} {
		k.do(t, "PUT", "/bkt/a", h, nil)
		parents, states := traceOf(u, "PutObject")
		if last := len(parents) - 1; parents[last] != "" || states[last] != "" {
			t.Errorf("of %s the store got %q and %q", name, parents[last], states[last])
		}
	}
	traced, untraced := 0, 0
	for _, line := range strings.Split(strings.TrimSpace(log.text()), "\n") {
		var r struct{ Msg, ID, Op, Trace, Client, Agent, Mode string }
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if r.Msg != "request" {
			continue
		}
		if r.Client != "127.0.0.1" || r.Agent == "" || len(r.ID) != 16 || r.Op == "PutObject" && r.Mode != "AES256" {
			t.Errorf("the log has %s", line)
		}
		switch r.Trace {
		case clientSpan[3:35]:
			traced++
		case "":
			untraced++
		}
	}
	if traced != 7 || untraced != 3 {
		t.Errorf("%d lines have the trace, %d none:\n%s", traced, untraced, log.text())
	}
}

// collector is an OpenTelemetry collector.
type collector struct {
	mu    sync.Mutex
	spans []map[string]any
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var in struct {
		ResourceSpans []struct {
			ScopeSpans []struct{ Spans []map[string]any }
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/json" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, rs := range in.ResourceSpans {
		for _, ss := range rs.ScopeSpans {
			c.spans = append(c.spans, ss.Spans...)
		}
	}
}

// TestSpansAreSent: a request is a span below the client's, its requests to the store are spans below that; a trace that
// the client does not sample has none; and no span has a secret.
func TestSpansAreSent(t *testing.T) {
	got := new(collector)
	s := httptest.NewServer(got)
	defer s.Close()
	exporter := trace.NewExporter(trace.Config{URL: s.URL + "/v1/traces", Ratio: 1, Log: slog.New(slog.DiscardHandler)})
	k, _ := overMemory(t, proxytest.Options{}, func(c *Config) { c.Traces = exporter })
	k.do(t, "PUT", "/bkt/traced", map[string]string{"traceparent": clientSpan}, []byte("body"))
	k.do(t, "GET", "/bkt/missing", nil, nil)
	k.do(t, "GET", "/bkt/quiet", map[string]string{"traceparent": strings.TrimSuffix(clientSpan, "1") + "0"}, nil)
	exporter.Close()
	if sent, dropped := exporter.Counts(); int(sent) != len(got.spans) || dropped != 0 {
		t.Errorf("%d spans sent, %d dropped, %d arrived", sent, dropped, len(got.spans))
	}
	byID, names := map[any]map[string]any{}, map[string]int{}
	for _, span := range got.spans {
		byID[span["spanId"]] = span
		names[span["name"].(string)]++
	}
	if names["S3 PutObject"] != 1 || names["S3 GetObject"] != 1 || names["store PUT"] != 1 || names["store GET"] < 1 {
		t.Errorf("spans %v", names)
	}
	for _, span := range got.spans {
		parent := byID[span["parentSpanId"]]
		switch span["name"] {
		case "S3 PutObject":
			if span["traceId"] != clientSpan[3:35] || span["parentSpanId"] != clientSpan[36:52] || span["kind"] != 2.0 {
				t.Errorf("%v", span)
			}
		case "S3 GetObject":
			if span["traceId"] == clientSpan[3:35] || span["parentSpanId"] != nil {
				t.Errorf("%v", span)
			}
		default:
			if parent == nil || span["traceId"] != parent["traceId"] || span["kind"] != 3.0 || span["startTimeUnixNano"].(string) < parent["startTimeUnixNano"].(string) {
				t.Errorf("%v below %v", span, parent)
			}
		}
		text, err := json.Marshal(span)
		if err != nil || strings.Contains(string(text), testSecret) {
			t.Errorf("%v: %s", err, text)
		}
	}
}
