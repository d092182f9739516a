package trace

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Kinds of spans, as OTLP numbers them.
const (
	Server = 2
	Client = 3
)

// Span is a finished piece of work.
type Span struct {
	Context
	ParentID   [8]byte // zero: the trace begins here
	Name       string
	Kind       int
	Begun      time.Time
	Ended      time.Time
	Failed     bool
	Attributes []Attribute
}

// Attribute says something of a span. Value is a string or an int64.
type Attribute struct {
	Key   string
	Value any
}

// Config says where spans go.
type Config struct {
	URL     string  // of the collector, for example http://collector:4318/v1/traces
	Ratio   float64 // of the traces that begin here, between 0 and 1, how many are sampled
	Version string  // of the program
	Log     *slog.Logger
}

// Bounds of what waits for the collector.
const (
	mostWaiting = 4096 // spans; further spans are dropped and counted
	mostAtOnce  = 512
	sendEvery   = 2 * time.Second
	sendTimeout = 10 * time.Second
	mostTries   = 4
)

// Exporter sends spans to a collector in the background. A collector that is slow or gone costs spans, never requests.
// The nil Exporter samples and sends nothing.
type Exporter struct {
	cfg     Config
	client  *http.Client
	waiting chan Span
	end     chan struct{}
	done    sync.WaitGroup
	once    sync.Once

	sent, dropped atomic.Uint64
}

// NewExporter makes an exporter. Close ends it.
func NewExporter(cfg Config) *Exporter {
	e := &Exporter{cfg: cfg, client: &http.Client{Timeout: sendTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		waiting: make(chan Span, mostWaiting), end: make(chan struct{})}
	e.done.Go(e.run)
	return e
}

// Begin is the span of a request with these headers: a child of the client's span or, where spans are sent, the first of
// a trace.
func (e *Exporter) Begin(parent, state string) (c Context, parentID [8]byte) {
	if client, ok := Parse(parent, state); ok {
		return client.Child(), client.SpanID
	}
	if e == nil {
		return Context{}, parentID
	}
	return New(rand.Float64() < e.cfg.Ratio), parentID
}

// Wants reports whether a span is to be recorded.
func (e *Exporter) Wants(c Context) bool { return e != nil && c.Sampled && c.Valid() }

// Record takes a span to send.
func (e *Exporter) Record(s Span) {
	if !e.Wants(s.Context) {
		return
	}
	select {
	case e.waiting <- s:
	default:
		e.dropped.Add(1)
	}
}

// Counts are the spans sent and dropped so far.
func (e *Exporter) Counts() (sent, dropped uint64) { return e.sent.Load(), e.dropped.Load() }

// Close sends what waits, and ends.
func (e *Exporter) Close() {
	e.once.Do(func() { close(e.end) })
	e.done.Wait()
}

func (e *Exporter) run() {
	tick := time.NewTicker(sendEvery)
	defer tick.Stop()
	batch := make([]Span, 0, mostAtOnce)
	for {
		select {
		case s := <-e.waiting:
			if batch = append(batch, s); len(batch) < mostAtOnce {
				continue
			}
		case <-tick.C:
		case <-e.end:
			e.drain(batch)
			return
		}
		e.send(batch, mostTries)
		batch = batch[:0]
	}
}

// drain sends what is left, once: an end does not wait for a collector that is gone.
func (e *Exporter) drain(batch []Span) {
	for {
		select {
		case s := <-e.waiting:
			batch = append(batch, s)
		default:
			e.send(batch, 1)
			return
		}
	}
}

// send sends a batch. Only what may succeed later is tried again.
func (e *Exporter) send(batch []Span, tries int) {
	if len(batch) == 0 {
		return
	}
	body, err := json.Marshal(e.request(batch))
	if err != nil {
		e.lose(batch, err)
		return
	}
	for try := 1; ; try++ {
		again, err := e.post(body)
		if err == nil {
			e.sent.Add(uint64(len(batch)))
			return
		}
		if !again || try >= tries || !e.pause(time.Duration(try)*time.Second) {
			e.lose(batch, err)
			return
		}
	}
}

func (e *Exporter) lose(batch []Span, err error) {
	e.dropped.Add(uint64(len(batch)))
	e.cfg.Log.Warn("spans were lost", "spans", len(batch), "collector", e.cfg.URL, "err", err)
}

// pause waits, unless the exporter ends meanwhile.
func (e *Exporter) pause(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-e.end:
		return false
	}
}

// post sends a request. again reports whether the same request may succeed later.
// https://opentelemetry.io/docs/specs/otlp/#otlphttp-response
func (e *Exporter) post(body []byte) (again bool, err error) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, e.cfg.URL, bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "waxseal")
	resp, err := e.client.Do(req)
	if err != nil {
		return true, err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection is used again
	switch resp.StatusCode {
	case http.StatusOK:
		return false, nil
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		again = true
	}
	return again, fmt.Errorf("the collector answered %s", resp.Status)
}

// The shape of an export request in JSON: ids in hexadecimal, 64-bit numbers as text.
// https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
type (
	exportRequest struct {
		ResourceSpans []resourceSpans `json:"resourceSpans"`
	}
	resourceSpans struct {
		Resource   attributes   `json:"resource"`
		ScopeSpans []scopeSpans `json:"scopeSpans"`
	}
	attributes struct {
		Attributes []keyValue `json:"attributes"`
	}
	scopeSpans struct {
		Scope scope      `json:"scope"`
		Spans []spanJSON `json:"spans"`
	}
	scope struct {
		Name    string `json:"name"`
		Version string `json:"version,omitempty"`
	}
	spanJSON struct {
		TraceID      string     `json:"traceId"`
		SpanID       string     `json:"spanId"`
		TraceState   string     `json:"traceState,omitempty"`
		ParentSpanID string     `json:"parentSpanId,omitempty"`
		Name         string     `json:"name"`
		Kind         int        `json:"kind"`
		Begun        string     `json:"startTimeUnixNano"`
		Ended        string     `json:"endTimeUnixNano"`
		Attributes   []keyValue `json:"attributes"`
		Status       statusJSON `json:"status"`
	}
	statusJSON struct {
		Code int `json:"code,omitempty"` // 2: error
	}
	keyValue struct {
		Key   string `json:"key"`
		Value value  `json:"value"`
	}
	value struct {
		String *string `json:"stringValue,omitempty"`
		Int    string  `json:"intValue,omitempty"`
	}
)

func (e *Exporter) request(batch []Span) exportRequest {
	spans := make([]spanJSON, len(batch))
	for i, s := range batch {
		spans[i] = spanJSON{TraceID: s.ID(), SpanID: hex.EncodeToString(s.SpanID[:]), TraceState: s.State, Name: s.Name, Kind: s.Kind,
			Begun: strconv.FormatInt(s.Begun.UnixNano(), 10), Ended: strconv.FormatInt(s.Ended.UnixNano(), 10), Attributes: keyValues(s.Attributes)}
		if s.ParentID != [8]byte{} {
			spans[i].ParentSpanID = hex.EncodeToString(s.ParentID[:])
		}
		if s.Failed {
			spans[i].Status.Code = 2
		}
	}
	return exportRequest{[]resourceSpans{{
		Resource:   attributes{keyValues([]Attribute{{"service.name", "waxseal"}, {"service.version", e.cfg.Version}})},
		ScopeSpans: []scopeSpans{{scope{"waxseal", e.cfg.Version}, spans}},
	}}}
}

// keyValues leaves out empty texts.
func keyValues(list []Attribute) []keyValue {
	out := make([]keyValue, 0, len(list))
	for _, a := range list {
		switch v := a.Value.(type) {
		case string:
			if v != "" {
				out = append(out, keyValue{a.Key, value{String: &v}})
			}
		case int64:
			out = append(out, keyValue{a.Key, value{Int: strconv.FormatInt(v, 10)}})
		}
	}
	return out
}
