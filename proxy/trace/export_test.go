package trace

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// TestCollectorThatIsGone costs spans and never the caller's time.
func TestCollectorThatIsGone(t *testing.T) {
	blocked := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-blocked }))
	defer s.Close()
	e := NewExporter(Config{URL: s.URL, Ratio: 1, Log: quiet()})
	const spans = 3 * mostWaiting
	for range spans {
		e.Record(Span{Context: New(true)}) // returns while the collector is silent
	}
	if _, dropped := e.Counts(); dropped < spans-mostWaiting-mostAtOnce-1 {
		t.Errorf("only %d of %d spans were dropped", dropped, spans)
	}
	close(blocked)
	e.Close()
	if sent, dropped := e.Counts(); sent+dropped != spans || sent == 0 {
		t.Errorf("%d sent and %d dropped of %d", sent, dropped, spans)
	}
}

// TestAnswersOfCollectors: only what may succeed later is sent again, and a redirect is not followed.
func TestAnswersOfCollectors(t *testing.T) {
	for status, again := range map[int]bool{200: false, 400: false, 401: false, 307: false, 429: true, 503: true} {
		var asked atomic.Int32
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if asked.Add(1) > 1 {
				return
			}
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(status)
		}))
		e := NewExporter(Config{URL: s.URL, Ratio: 1, Log: quiet()})
		e.send([]Span{{Context: New(true)}}, 2)
		sent, dropped := e.Counts()
		if wantSent := again || status == 200; (sent == 1) != wantSent || (dropped == 1) == wantSent || (asked.Load() == 2) != again {
			t.Errorf("%d: asked %d times, sent %d, dropped %d", status, asked.Load(), sent, dropped)
		}
		e.Close()
		s.Close()
	}
}

// TestSampling: a client decides about its own trace, the ratio about those that begin here, and without an exporter
// none begins.
func TestSampling(t *testing.T) {
	var none *Exporter
	if c, _ := none.Begin("", ""); c.Valid() || none.Wants(New(true)) {
		t.Error("without an exporter a trace begins")
	}
	if c, parent := none.Begin(example, ""); c.ID() == "" || fmt.Sprintf("%x", parent) != "00f067aa0ba902b7" {
		t.Error("without an exporter a client's trace is lost")
	}
	never := NewExporter(Config{URL: "http://127.0.0.1:1", Ratio: 0, Log: quiet()})
	defer never.Close()
	if c, _ := never.Begin("", ""); !c.Valid() || never.Wants(c) {
		t.Error("with a ratio of 0 a trace is sampled")
	}
	if c, _ := never.Begin(example, ""); !never.Wants(c) {
		t.Error("a trace that its client samples is not sent")
	}
	never.Record(Span{Context: New(false), Begun: time.Now()})
	if len(never.waiting) != 0 {
		t.Error("a span that nobody wants waits to be sent")
	}
}
