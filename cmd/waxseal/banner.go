package main

import (
	"fmt"
	"io"
	"net"
	"strings"
)

// banner is what a person sees when waxseal is ready.
type banner struct {
	s3, admin string // addresses
	kms       string // address; empty: the keys are at the external provider
	provider  string
	tls       bool
	ca        string // file to trust, when the certificate is waxseal's own
	dir       dataDir
	region    string
	root      credentials
	made      bool // the credentials are new: show them, once
}

// print writes the endpoints, and at first start the credentials and commands to paste.
func (b banner) print(w io.Writer) error {
	var t strings.Builder
	scheme := "http://"
	if b.tls {
		scheme = "https://"
	}
	s3, kms := scheme+reachable(b.s3), "external ("+b.provider+")"
	if b.kms != "" {
		kms = scheme + reachable(b.kms)
	}
	fmt.Fprintf(&t, "waxseal is ready: S3 %s, KMS %s, admin http://%s, data in %s\n", s3, kms, reachable(b.admin), b.dir)
	if b.ca != "" {
		sum, err := fingerprint(b.ca)
		if err != nil {
			return err
		}
		fmt.Fprintf(&t, "Its certificate is its own: %s, SHA-256 %s\n", b.ca, sum)
	}
	if b.made {
		b.commands(&t, s3, kms)
	}
	_, err := io.WriteString(w, t.String())
	return err
}

func (b banner) commands(t *strings.Builder, s3, kms string) {
	fmt.Fprintf(t, "\nIts root credentials were made now and are kept in %s. To try it, paste:\n\n", b.dir.credentials())
	fmt.Fprintf(t, "export AWS_ACCESS_KEY_ID=%s\nexport AWS_SECRET_ACCESS_KEY=%s\nexport AWS_DEFAULT_REGION=%s\n",
		b.root.AccessKey, b.root.SecretKey, b.region)
	if b.ca != "" {
		fmt.Fprintf(t, "export AWS_CA_BUNDLE=%s\n", shellQuote(b.ca))
	}
	for _, command := range []string{
		"s3 mb s3://my-bucket",
		"s3 cp /etc/hostname s3://my-bucket/hello",
		"s3 ls s3://my-bucket",
		"s3api head-object --bucket my-bucket --key hello",
	} {
		fmt.Fprintf(t, "aws --endpoint-url %s %s\n", s3, command)
	}
	if b.kms != "" {
		fmt.Fprintf(t, "aws --endpoint-url %s kms create-key --description 'my first key'\n", kms)
	}
	t.WriteByte('\n')
}

// reachable is an address that a client on this machine can use.
func reachable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err == nil && (host == "" || unspecified(host)) {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return addr
}

// shellQuote makes a path one word in a shell.
func shellQuote(s string) string {
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
