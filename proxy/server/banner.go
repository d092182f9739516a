package server

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// banner is the text on stdout when waxseal is ready.
type banner struct {
	s3, admin string // addresses
	kms       string // address
	external  bool   // the keys are at the external provider: the port serves only IAM and STS
	provider  string
	store     string // location of the objects
	tls       bool
	ca        string // file to trust, if the certificate is self-signed
	dir       dataDir
	region    string
	root      Credentials
	embedded  bool   // the store is the embedded one
	version   string // of the program
	made      bool   // the credentials are new: show them once
}

// print writes the endpoints and, at the first start, the credentials and commands to paste.
func (b banner) print(w io.Writer) error {
	var t strings.Builder
	scheme := "http://"
	if b.tls {
		scheme = "https://"
	}
	s3, kms := scheme+reachable(b.s3), scheme+reachable(b.kms)
	keys := kms
	if b.external {
		keys = "external (" + b.provider + ")"
	}
	fmt.Fprintf(&t, "waxseal is ready: S3 %s, KMS %s, admin http://%s, data in %s\n", s3, keys, reachable(b.admin), b.dir)
	fmt.Fprintf(&t, "Objects go to %s. Keys are at %s. Region %s. This is %s\n", b.store, b.keys(), b.region, b.version)
	fmt.Fprintf(&t, "Users, groups and roles are managed with: aws iam --endpoint-url %s\n", kms)
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

func (b banner) keys() string {
	if b.external {
		return "the external key service (" + b.provider + ")"
	}
	return "the embedded key service"
}

// commands writes commands to paste. With the embedded key service they make a KMS key the default of a bucket, with a
// Bucket Key, and show how an object is sealed. With the embedded store they show that its disk holds no plaintext.
func (b banner) commands(t *strings.Builder, s3, kms string) {
	fmt.Fprintf(t, "\nIts root credentials were made now and are kept in %s. To try it, paste:\n\n", b.dir.credentials())
	fmt.Fprintf(t, "export AWS_ACCESS_KEY_ID=%s\nexport AWS_SECRET_ACCESS_KEY=%s\nexport AWS_DEFAULT_REGION=%s\n",
		b.root.AccessKey, b.root.SecretKey, b.region)
	if b.ca != "" {
		fmt.Fprintf(t, "export AWS_CA_BUNDLE=%s\n", shellQuote(b.ca))
	}
	aws := "aws --endpoint-url " + s3 + " "
	fmt.Fprintln(t, aws+"s3 mb s3://my-bucket")
	if !b.external {
		fmt.Fprintf(t, "key=$(aws --endpoint-url %s kms create-key --description 'my first key' --query KeyMetadata.Arn --output text)\n", kms)
		fmt.Fprintln(t, aws+"s3api put-bucket-encryption --bucket my-bucket --server-side-encryption-configuration \\\n"+
			`  '{"Rules":[{"ApplyServerSideEncryptionByDefault":{"SSEAlgorithm":"aws:kms","KMSMasterKeyID":"'$key'"},"BucketKeyEnabled":true}]}'`)
	}
	fmt.Fprintln(t, "echo 'my first secret' | "+aws+"s3 cp - s3://my-bucket/hello")
	fmt.Fprintln(t, aws+"s3api head-object --bucket my-bucket --key hello")
	fmt.Fprintf(t, "%s inspect s3://my-bucket/hello --data-dir %s\n", programName(), shellQuote(string(b.dir)))
	if b.embedded {
		fmt.Fprintf(t, "grep -rqF 'my first secret' %s && echo plaintext || echo 'no plaintext on the disk'\n", shellQuote(b.dir.store()))
	}
	t.WriteByte('\n')
}

// programName returns the command for starting this program again: its name if the PATH has it, or `go run` if that
// built it.
func programName() string {
	self, err := os.Executable()
	switch {
	case err != nil:
		return "waxseal"
	case strings.Contains(self, string(filepath.Separator)+"go-build"):
		return "go run ./cmd/waxseal"
	}
	if found, err := exec.LookPath(filepath.Base(self)); err == nil && found == self {
		return filepath.Base(self)
	}
	return shellQuote(self)
}

// reachable returns an address usable by a client on this machine.
func reachable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err == nil && (host == "" || unspecified(host)) {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return addr
}

// shellQuote quotes a path for a shell.
func shellQuote(s string) string {
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
