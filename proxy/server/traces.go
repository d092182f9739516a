package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"waxseal/proxy/trace"
)

// checkTraces refuses an address that cannot be a collector's.
func (c *Config) checkTraces() error {
	if !(c.OTLPRatio >= 0 && c.OTLPRatio <= 1) { // also refuses NaN
		return fmt.Errorf("--otlp-ratio: %v is not between 0 and 1", c.OTLPRatio)
	}
	if c.OTLPEndpoint == "" {
		return nil
	}
	u, err := url.Parse(c.OTLPEndpoint)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("--otlp-endpoint: %q is not a URL such as http://127.0.0.1:4318", c.OTLPEndpoint)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return errors.New("--otlp-endpoint: name a collector on this network, without credentials in its URL")
	}
	return nil
}

// openTraces makes the exporter of traces, if a collector is configured.
func (p *App) openTraces(c *Config, log *slog.Logger) *trace.Exporter {
	if c.OTLPEndpoint == "" {
		return nil
	}
	at := strings.TrimRight(c.OTLPEndpoint, "/")
	if u, err := url.Parse(at); err == nil && u.Path == "" { // a collector's standard path
		at += "/v1/traces"
	}
	e := trace.NewExporter(trace.Config{URL: at, Ratio: c.OTLPRatio, Log: log})
	for result, of := range map[string]func(sent, dropped uint64) uint64{
		"sent": func(sent, _ uint64) uint64 { return sent }, "dropped": func(_, dropped uint64) uint64 { return dropped },
	} {
		p.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "waxseal_trace_spans_total",
			Help: "Spans for the collector of traces, by what became of them.", ConstLabels: prometheus.Labels{"result": result}},
			func() float64 { return float64(of(e.Counts())) }))
	}
	p.onClose(func(context.Context) error { e.Close(); return nil })
	return e
}
