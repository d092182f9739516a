package server

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"waxseal/keystore/unproven"
)

// Limits for connections to endpoints without authentication. Beyond them, a new connection closes the oldest.
const (
	adminConnections = 64
	pprofConnections = 16
)

// newAdmin makes the admin endpoint: metrics and health. Requests must address it by one of names, by an IP address or
// without a name.
func newAdmin(registry *prometheus.Registry, h *health, names []string, log *slog.Logger) *http.Server {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelError),
	}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "ok\n", log) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		status, text := h.answer()
		answer(w, status, text, log)
	})
	s := newUnauthenticated(mux, names, log)
	s.WriteTimeout = time.Minute
	return s
}

// newPprof makes the endpoint of profiles. Profiles reveal more of a process than metrics do, and cost more.
func newPprof(names []string, log *slog.Logger) *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return newUnauthenticated(mux, names, log)
}

// newUnauthenticated makes a server without authentication.
func newUnauthenticated(mux http.Handler, names []string, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler: answeringUnknown(onlyHosts(mux, names, log)),
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, conn)
		},
		MaxHeaderBytes:    16 << 10,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       10 * time.Second,
		IdleTimeout:       time.Minute,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}

// connKey is the context key of a request's connection.
type connKey struct{}

// answeringUnknown marks each request's connection as answering an unauthenticated client: here all clients are.
func answeringUnknown(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if conn, ok := r.Context().Value(connKey{}).(net.Conn); ok {
			if counted := unproven.Of(conn); counted != nil {
				counted.Answered()
			}
		}
		next.ServeHTTP(w, r)
	})
}

// onlyHosts refuses requests with a foreign Host. A web page can make its own name resolve to this address, and a
// browser would then let the page read the responses (DNS rebinding).
func onlyHosts(next http.Handler, names []string, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !hostAllowed(r.Host, names) {
			answer(w, http.StatusMisdirectedRequest, "This host name is not one of the endpoint's: use an IP address, localhost, or a name given with --admin-host (the console: --console-host).\n", log)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// hostAllowed reports whether a Host header is allowed: an IP address, a name of the loopback interface, or one of
// names. A browser always sends Host.
func hostAllowed(host string, names []string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.ToLower(strings.Trim(host, "[]")), ".")
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return host == "" || host == "localhost" || strings.HasSuffix(host, ".localhost") ||
		slices.ContainsFunc(names, func(name string) bool { return strings.EqualFold(name, host) })
}

// adminNames returns the names of the admin and pprof endpoints: the configured names and those of the listen
// addresses.
func (c *Config) adminNames() []string {
	names := slices.Clone(c.AdminHost)
	for _, addr := range []string{c.AdminListen, c.PprofListen} {
		if host, _, err := net.SplitHostPort(addr); err == nil && host != "" {
			names = append(names, host)
		}
	}
	return names
}

func answer(w http.ResponseWriter, status int, text string, log *slog.Logger) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	if _, err := w.Write([]byte(text)); err != nil {
		log.Debug("admin client is gone", "err", err)
	}
}

// newRegistry makes a registry with the process's own metrics. Each component adds its own.
func newRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}
