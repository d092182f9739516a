package etcd

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"

	"waxseal/keystore/state"
)

// certificate writes a self-signed certificate for 127.0.0.1, good for servers and clients, and its key.
func certificate(t *testing.T) (certFile, keyFile string, pair tls.Certificate, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "etcd"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "EC PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if pair, err = tls.LoadX509KeyPair(certFile, keyFile); err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	pool.AddCert(pair.Leaf)
	return certFile, keyFile, pair, pool
}

// TestTLS: with client certificates; a client without a certificate, or without trust in the member, gets nothing.
func TestTLS(t *testing.T) {
	certFile, keyFile, pair, pool := certificate(t)
	m := member(t, func(c *embed.Config) {
		c.ListenClientUrls, c.AdvertiseClientUrls = local(t, "https", 0), local(t, "https", 0)
		c.ClientTLSInfo.CertFile, c.ClientTLSInfo.KeyFile = certFile, keyFile
		c.ClientTLSInfo.TrustedCAFile, c.ClientTLSInfo.ClientCertAuth = certFile, true
	})
	s := open(t, m, func(c *Config) { c.TLS = &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}} })
	if _, err := s.Txn(t.Context(), nil, []state.Op{{Key: "a"}}); err != nil {
		t.Fatal(err)
	}
	for name, secure := range map[string]*tls.Config{
		"no certificate":     {RootCAs: pool},
		"another authority":  {RootCAs: x509.NewCertPool(), Certificates: []tls.Certificate{pair}},
		"no TLS":             nil,
		"old version of TLS": {RootCAs: pool, Certificates: []tls.Certificate{pair}, MaxVersion: tls.VersionTLS11},
	} {
		if err := cannotOpen(t, Config{Endpoints: []string{endpoint(m)}, Prefix: "x", TLS: secure}); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
	// The certificate is for the address, not for the name.
	named := strings.Replace(endpoint(m), "127.0.0.1", "localhost", 1)
	if err := cannotOpen(t, Config{Endpoints: []string{named}, Prefix: "x", TLS: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}}}); err == nil {
		t.Error("another name: opened")
	}
}

func cannotOpen(t *testing.T, cfg Config) error {
	t.Helper()
	cfg.Timeout = 2 * time.Second
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	s, err := Open(ctx, cfg)
	if err == nil {
		s.Close()
	}
	return err
}

// TestAuthentication: with etcd's users, and a role limited to the prefix.
func TestAuthentication(t *testing.T) {
	m := member(t)
	c := admin(t, m)
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(c.RoleAdd(t.Context(), "root"))
	must(c.UserAdd(t.Context(), "root", "rootpass"))
	must(c.UserGrantRole(t.Context(), "root", "root"))
	must(c.RoleAdd(t.Context(), "waxseal"))
	must(c.RoleGrantPermission(t.Context(), "waxseal", "wax/", clientv3.GetPrefixRangeEnd("wax/"), clientv3.PermissionType(clientv3.PermReadWrite)))
	must(c.UserAdd(t.Context(), "waxseal", "secret"))
	must(c.UserGrantRole(t.Context(), "waxseal", "waxseal"))
	must(c.AuthEnable(t.Context()))

	s := open(t, m, func(c *Config) { c.User, c.Password, c.Prefix = "waxseal", "secret", "wax" })
	events, err := s.Watch(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Txn(t.Context(), []state.Cond{{Key: "a"}}, []state.Op{{Key: "a"}}); err != nil {
		t.Fatal(err)
	}
	if e := within(t, events); e.Key != "a" {
		t.Errorf("the watch brings %+v", e)
	}
	for name, cfg := range map[string]Config{
		"wrong password": {Prefix: "wax", User: "waxseal", Password: "guess"},
		"no such user":   {Prefix: "wax", User: "mallory", Password: "secret"},
		"anonymous":      {Prefix: "wax"},
		"another prefix": {Prefix: "other", User: "waxseal", Password: "secret"},
	} {
		cfg.Endpoints = []string{endpoint(m)}
		if err := cannotOpen(t, cfg); err == nil {
			t.Errorf("%s: opened", name)
		} else if cfg.Password != "" && strings.Contains(err.Error(), cfg.Password) {
			t.Errorf("%s: the error names the password: %v", name, err)
		}
	}
}
