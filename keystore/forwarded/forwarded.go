// Package forwarded finds the address of a client behind reverse proxies.
package forwarded

import (
	"net"
	"strings"
)

// Trusted are the networks of proxies trusted for their X-Forwarded-For.
type Trusted []*net.IPNet

// Has reports whether an address is such a proxy's.
func (t Trusted) Has(ip net.IP) bool {
	for _, n := range t {
		if n.Contains(ip) {
			return true
		}
	}
	return false
}

// maxHops bounds the addresses to look at: a client can send any number of them.
const maxHops = 32

// Client returns the address of the client of a connection from remote. headers are the request's X-Forwarded-For, in
// their order. Each proxy appends its caller's address. So the list is read from its end, as far as trusted proxies
// have written it: the addresses before come from the client, and may be forged.
func (t Trusted) Client(remote net.IP, headers ...[]byte) net.IP {
	if !t.Has(remote) {
		return remote
	}
	client, seen := remote, 0
	for i := len(headers) - 1; i >= 0; i-- {
		rest, hop := string(headers[i]), ""
		for more := true; more; seen++ {
			at := strings.LastIndexByte(rest, ',')
			more = at >= 0
			rest, hop = rest[:max(at, 0)], rest[at+1:]
			ip := parse(strings.TrimSpace(hop))
			if ip == nil || seen >= maxHops {
				return client
			}
			if client = ip; !t.Has(ip) {
				return ip
			}
		}
	}
	return client
}

// parse takes an address with a port, too, as some proxies write it.
func parse(text string) net.IP {
	if host, _, err := net.SplitHostPort(text); err == nil {
		text = host
	}
	return net.ParseIP(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
}
