package forwarded_test

import (
	"net"
	"strings"
	"testing"

	"waxseal/keystore/forwarded"
)

func TestClient(t *testing.T) {
	var trusted forwarded.Trusted
	for _, cidr := range []string{"10.0.0.0/8", "fd00::/8"} {
		_, n, err := net.ParseCIDR(cidr)
		if err != nil {
			t.Fatal(err)
		}
		trusted = append(trusted, n)
	}
	for _, row := range []struct {
		what, remote string
		headers      []string
		want         string
	}{
		{"no proxy", "203.0.113.9", nil, "203.0.113.9"},
		{"a client's own word", "203.0.113.9", []string{"198.51.100.1"}, "203.0.113.9"},
		{"a trusted proxy", "10.0.0.1", []string{"198.51.100.1"}, "198.51.100.1"},
		{"a trusted proxy that says nothing", "10.0.0.1", nil, "10.0.0.1"},
		{"a client's own word before the proxy's", "10.0.0.1", []string{"192.0.2.1, 198.51.100.1"}, "198.51.100.1"},
		{"a client that says it is a proxy", "10.0.0.1", []string{"192.0.2.1, 10.9.9.9, 198.51.100.1"}, "198.51.100.1"},
		{"two proxies", "10.0.0.1", []string{"192.0.2.1, 198.51.100.1, 10.0.0.2"}, "198.51.100.1"},
		{"several headers", "10.0.0.1", []string{"192.0.2.1", "198.51.100.1", "10.0.0.2"}, "198.51.100.1"},
		{"proxies alone", "10.0.0.1", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		{"a port", "10.0.0.1", []string{"198.51.100.1:4711"}, "198.51.100.1"},
		{"IPv6", "fd00::1", []string{"2001:db8::1"}, "2001:db8::1"},
		{"IPv6 with a port", "fd00::1", []string{"[2001:db8::1]:4711"}, "2001:db8::1"},
		{"IPv6 in brackets", "fd00::1", []string{"[2001:db8::1]"}, "2001:db8::1"},
		{"an IPv4 proxy over IPv6", "::ffff:10.0.0.1", []string{"198.51.100.1"}, "198.51.100.1"},
		{"no address", "10.0.0.1", []string{"192.0.2.1, unknown"}, "10.0.0.1"},
		{"a name behind a proxy's address", "10.0.0.1", []string{"unknown, 10.0.0.2"}, "10.0.0.2"},
		{"nothing", "10.0.0.1", []string{""}, "10.0.0.1"},
		{"commas", "10.0.0.1", []string{",,198.51.100.1"}, "198.51.100.1"},
		{"very many", "10.0.0.1", []string{"192.0.2.1," + strings.Repeat("10.0.0.2,", 100) + "10.0.0.3"}, "10.0.0.2"},
	} {
		var headers [][]byte
		for _, h := range row.headers {
			headers = append(headers, []byte(h))
		}
		if got := trusted.Client(net.ParseIP(row.remote), headers...); !got.Equal(net.ParseIP(row.want)) {
			t.Errorf("%s: %v, want %s", row.what, got, row.want)
		}
	}
}
