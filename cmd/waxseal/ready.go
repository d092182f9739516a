package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"

	"waxseal/keystore/state"
	"waxseal/proxy"
)

// readiness are the checks of /readyz: the state and the store must answer; without the key service, objects whose
// keys are in memory are still served.
func (p *parts) readiness(up proxy.UpstreamConfig) []readiness {
	return []readiness{
		{name: "state", check: func(ctx context.Context) error {
			_, err := p.state.Get(ctx, "readyz")
			if errors.Is(err, state.ErrNotFound) {
				return nil
			}
			return err
		}},
		{name: "store", check: func(ctx context.Context) error { return reach(ctx, up) }},
		{name: "keys", degraded: true, check: p.provider.Health},
	}
}

// reach connects to the store.
func reach(ctx context.Context, up proxy.UpstreamConfig) error {
	dial := up.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	addr, err := hostPort(up.Endpoint)
	if err != nil {
		return err
	}
	conn, err := dial(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	return conn.Close()
}

// hostPort is the address of a URL, with its scheme's port where it names none.
func hostPort(endpoint string) (string, error) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return "", err
	}
	if u.Port() != "" {
		return u.Host, nil
	}
	switch u.Scheme {
	case "http":
		return net.JoinHostPort(u.Hostname(), "80"), nil
	case "https":
		return net.JoinHostPort(u.Hostname(), "443"), nil
	}
	return "", fmt.Errorf("%q has no port", endpoint)
}
