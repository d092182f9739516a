package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// tlsConfig returns the TLS configuration of the S3 and KMS endpoints, nil for none. ca is the file for clients to
// trust, empty if the certificate is not self-signed.
func (c *Config) tlsConfig(dir dataDir, log *slog.Logger) (conf *tls.Config, ca string, err error) {
	cert, key := c.TLSCert, c.TLSKey
	if c.TLSSelfSigned {
		cert, key, ca = dir.tlsCert(), dir.tlsKey(), dir.tlsCert()
		if err := selfSign(cert, key, c.certNames()); err != nil {
			return nil, "", fmt.Errorf("--tls-self-signed: %w", err)
		}
	}
	if cert == "" {
		return nil, "", nil
	}
	r := &reloader{cert: cert, key: key, log: log}
	if err := r.load(); err != nil {
		return nil, "", fmt.Errorf("--tls-cert: %w", err)
	}
	if err := onlyMine(key); err != nil {
		return nil, "", fmt.Errorf("--tls-key: %w", err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: r.certificate, NextProtos: []string{"http/1.1"}}, ca, nil
}

// reloader provides a certificate and reads it again when its files change.
type reloader struct {
	cert, key string
	log       *slog.Logger

	mu      sync.Mutex
	current *tls.Certificate
	stamp   [2]time.Time
	looked  time.Time
	warned  time.Time
}

// relookAfter bounds how often the files are checked.
const relookAfter = time.Second

func (r *reloader) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.looked) > relookAfter && r.changed() {
		if err := r.load(); err != nil {
			r.log.Error("the changed certificate is not used", "err", err)
		} else {
			r.log.Info("the certificate has changed", "file", r.cert)
		}
	}
	r.warn(time.Now())
	return r.current, nil
}

// warn warns once a day that the certificate expires soon. A self-signed certificate is renewed at the next start.
func (r *reloader) warn(now time.Time) {
	if left := r.current.Leaf.NotAfter.Sub(now); left < selfSignedRenew && now.Sub(r.warned) >= 24*time.Hour {
		r.warned = now
		r.log.Warn("the certificate ends soon", "file", r.cert, "ends", r.current.Leaf.NotAfter.UTC().Format(time.RFC3339))
	}
}

func (r *reloader) changed() bool {
	r.looked = time.Now()
	stamp, err := r.stamps()
	return err == nil && stamp != r.stamp
}

// stamps returns the modification times of both files. If they are replaced one after the other, they do not match for
// a moment: the old pair stays in use until the second change is seen.
func (r *reloader) stamps() (stamp [2]time.Time, err error) {
	for i, name := range []string{r.cert, r.key} {
		info, err := os.Stat(name)
		if err != nil {
			return stamp, err
		}
		stamp[i] = info.ModTime()
	}
	return stamp, nil
}

func (r *reloader) load() error {
	stamp, err := r.stamps()
	if err != nil {
		return err
	}
	r.stamp = stamp
	pair, err := tls.LoadX509KeyPair(r.cert, r.key)
	if err != nil {
		return err
	}
	r.current = &pair
	return nil
}

// certNames returns the names and addresses of this process for a certificate.
func (c *Config) certNames() []string {
	names := []string{"localhost", "127.0.0.1", "::1"}
	for _, addr := range []string{c.Listen, c.KMSListen} {
		if host, _, err := net.SplitHostPort(addr); err == nil && host != "" && !unspecified(host) {
			names = append(names, host)
		}
	}
	if host, err := os.Hostname(); err == nil { // without a host name, there is a name less
		names = append(names, host)
	}
	if c.Domain != "" {
		names = append(names, c.Domain, "*."+c.Domain)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func unspecified(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsUnspecified()
}

// Validity of a self-signed certificate: every client accepts 397 days.
const (
	selfSignedFor   = 397 * 24 * time.Hour
	selfSignedRenew = 30 * 24 * time.Hour
)

// selfSign makes a certificate for names, unless there is a valid one.
func selfSign(certFile, keyFile string, names []string) error {
	if stillServes(certFile, keyFile, names) {
		return nil
	}
	cert, key, err := newCertificate(names, time.Now())
	if err != nil {
		return err
	}
	for _, name := range []string{certFile, keyFile} {
		if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if err := writeOnce(keyFile, key); err != nil {
		return err
	}
	return writeOnce(certFile, cert)
}

func stillServes(certFile, keyFile string, names []string) bool {
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return false
	}
	if time.Until(pair.Leaf.NotAfter) < selfSignedRenew {
		return false
	}
	for _, name := range names {
		if strings.HasPrefix(name, "*.") {
			name = "bucket" + name[1:]
		}
		if pair.Leaf.VerifyHostname(name) != nil {
			return false
		}
	}
	return true
}

// newCertificate makes a certificate that is its own authority.
func newCertificate(names []string, now time.Time) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "waxseal", SerialNumber: serial.Text(16)},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(selfSignedFor),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), nil
}

// fingerprint returns the SHA-256 of the first certificate in a file.
func fingerprint(certFile string) (string, error) {
	text, err := os.ReadFile(certFile)
	if err != nil {
		return "", err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return "", fmt.Errorf("%s: no certificate in it", certFile)
	}
	return fmt.Sprintf("%X", sha256.Sum256(block.Bytes)), nil
}
