package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"waxseal/keystore/unproven"
	"waxseal/keystore/usage"
	"waxseal/proxy"
	"waxseal/proxy/console"
)

// consoleConnections bounds the connections of browsers, most of them unauthenticated.
const consoleConnections = 256

// checkConsole refuses a console without TLS on a network: people sign in with secrets.
func (c *Config) checkConsole() error {
	host, _, err := net.SplitHostPort(c.ConsoleListen)
	if c.ConsoleListen == "" || err != nil { // checkAddresses reports the error
		return nil
	}
	address, err := netip.ParseAddr(host)
	loopback := host == "localhost" || err == nil && address.IsLoopback()
	if !loopback && c.TLSCert == "" && !c.TLSSelfSigned {
		return fmt.Errorf("--console-listen: people would send their secret keys to %s in clear: give it a certificate with --tls-cert and --tls-key, or listen at 127.0.0.1", c.ConsoleListen)
	}
	return nil
}

// consoleNames returns the names by which browsers address the console.
func (c *Config) consoleNames() []string {
	names := slices.Clone(c.ConsoleHost)
	if host, _, err := net.SplitHostPort(c.ConsoleListen); err == nil && host != "" {
		names = append(names, host)
	}
	return names
}

// openConsole makes the console, if it is configured.
func (p *App) openConsole(c *Config, log *slog.Logger) {
	if c.ConsoleListen == "" {
		return
	}
	now := time.Now
	if p.with.Now != nil {
		now = p.with.Now
	}
	handler := console.New(console.Config{
		Users: p.users, Keys: p.KeyService, Ledger: p.ledger.Read, Ready: p.health.answer,
		Usage:    func(ctx context.Context, month string) (*usage.Report, error) { return p.usage.Report(ctx, month) },
		Audit:    p.audit,
		AuditDir: c.AuditDir(), DataLog: proxy.DataEvents(c.AuditS3) != proxy.NoDataEvents,
		Region: c.Region, Account: c.Account,
		Secure: p.tls != nil, Client: c.clientOf, Now: now, Log: log,
	})
	p.console = newUnauthenticated(handler, c.consoleNames(), log)
	p.console.WriteTimeout = time.Minute
	p.onClose(p.console.Shutdown)
}

// clientOf returns the address of a request's client, even behind a trusted proxy.
func (c *Config) clientOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	var forwarded [][]byte
	for _, value := range r.Header.Values("X-Forwarded-For") {
		forwarded = append(forwarded, []byte(value))
	}
	return c.trustedProxies.Client(net.ParseIP(host), forwarded...).String()
}

// url returns the URL of a listener with the S3 endpoint's TLS setting.
func (p *App) url(l net.Listener) string {
	if p.tls != nil {
		return "https://" + reachable(l.Addr().String())
	}
	return "http://" + reachable(l.Addr().String())
}

func (p *App) consoleListener(l net.Listener, log *slog.Logger) net.Listener {
	l = unproven.Listen(p.greeted(l, "console", log), unproven.NewPool(consoleConnections))
	if p.tls != nil {
		l = tls.NewListener(l, p.tls)
	}
	return l
}
