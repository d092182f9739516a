package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// readiness is what has to answer before requests are worth sending here.
type readiness struct {
	name string
	// degraded says that requests are still served, in part, without it.
	degraded bool
	check    func(context.Context) error
}

// readyTimeout bounds all checks of one /readyz together.
const readyTimeout = 5 * time.Second

// newAdmin is the admin endpoint: metrics, health and profiles.
func newAdmin(registry *prometheus.Registry, checks []readiness, log *slog.Logger) *http.Server {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelError),
	}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "ok\n", log) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		status, text := runChecks(r.Context(), checks)
		answer(w, status, text, log)
	})
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}

func answer(w http.ResponseWriter, status int, text string, log *slog.Logger) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	if _, err := w.Write([]byte(text)); err != nil {
		log.Debug("admin client is gone", "err", err)
	}
}

// runChecks has a line for every check, and 503 when one fails without which nothing can be served.
func runChecks(ctx context.Context, checks []readiness) (status int, text string) {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	status = http.StatusOK
	var b strings.Builder
	for _, c := range checks {
		err := c.check(ctx)
		switch {
		case err == nil:
			fmt.Fprintf(&b, "%s: ok\n", c.name)
		case c.degraded:
			fmt.Fprintf(&b, "%s: degraded: %v\n", c.name, err)
		default:
			fmt.Fprintf(&b, "%s: failed: %v\n", c.name, err)
			status = http.StatusServiceUnavailable
		}
	}
	return status, b.String()
}

// newRegistry has the process's own metrics; what serves adds its own.
func newRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}
