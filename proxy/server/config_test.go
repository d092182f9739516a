package server

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

// loadWith loads a configuration as `waxseal serve ARGS` does.
func loadWith(t *testing.T, file string, env map[string]string, args ...string) (Config, error) {
	t.Helper()
	c := Default()
	f := pflag.NewFlagSet("test", pflag.ContinueOnError)
	c.Flags(f)
	if file != "" {
		name := filepath.Join(t.TempDir(), "waxseal.yaml")
		if err := os.WriteFile(name, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--config", name)
	}
	if err := f.Parse(args); err != nil {
		return c, err
	}
	err := c.load(f, func(name string) (string, bool) { v, ok := env[name]; return v, ok })
	return c, err
}

func TestPrecedence(t *testing.T) {
	file := "listen: file:1\nkms_listen: file:2\nadmin_listen: file:3\nbucket_key_ttl: 2m\nanonymous: true\n" +
		"trusted_proxy: [10.0.0.0/8]\n"
	env := map[string]string{"WAXSEAL_LISTEN": "env:1", "WAXSEAL_KMS_LISTEN": "env:2", "WAXSEAL_ANONYMOUS": "false"}
	c, err := loadWith(t, file, env, "--listen", "flag:1")
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintf("%v %v %v %v %v %v %v",
		c.Listen, c.KMSListen, c.AdminListen, c.BucketKeyTTL, c.Anonymous, c.TrustedProxy, c.Region)
	if want := "flag:1 env:2 file:3 2m0s false [10.0.0.0/8] us-east-1"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if !filepath.IsAbs(c.DataDir) {
		t.Errorf("data directory %q is not absolute", c.DataDir)
	}
}

// TestEveryFlagHasAKeyAndAVariable sets each flag in each of the three ways, and finds the same configuration.
func TestEveryFlagHasAKeyAndAVariable(t *testing.T) {
	values := map[string]string{
		"listen": "127.0.0.1:1", "kms-listen": "127.0.0.1:2", "admin-listen": "127.0.0.1:3", "data-dir": "/tmp/elsewhere",
		"domain": "s3.example", "upstream-endpoint": "https://store.example", "upstream-region": "eu-west-1",
		"upstream-ca": "/tmp/ca.pem", "upstream-path-style": "false", "tls-cert": "/tmp/c", "tls-key": "/tmp/k",
		"trusted-proxy": "10.0.0.0/8,192.168.0.0/16", "region": "eu-central-1", "account": "123456789012",
		"kms-provider": "aws", "kms-endpoint": "https://kms.example", "kms-region": "eu-west-3", "kms-ca": "/tmp/kms.pem",
		"admin-host": "waxseal.example,other.example", "log-format": "json", "otlp-endpoint": "http://127.0.0.1:4318", "otlp-ratio": "0.5", "pprof-listen": "127.0.0.1:4", "console-listen": "127.0.0.1:5", "console-host": "console.example", "kms-mount": "team/transit", "kms-namespace": "team", "kms-root-key": "alias/waxseal-root",
		"kms-former-root-key": "arn:aws:kms:eu-west-3:123456789012:key/a,arn:aws:kms:eu-west-3:123456789012:key/b", "kms-rate": "100", "guard-key-deletion": "true",
		"audit-bucket": "records", "audit-interval": "1m0s", "audit-s3": "write", "audit-webhook": "https://siem.example/in",
		"allow-insecure-ssec": "true", "block-ssec": "true", "anonymous": "true", "etag": "opaque",
		"bucket-key-ttl": "1m0s", "bucket-key-period": "2h0m0s", "bucket-key-chain": "false", "tls-self-signed": "true", "new-state": "true",
		"state": "etcd://10.0.0.1:2379,10.0.0.2:2379/waxseal", "state-ca": "/tmp/etcd.pem", "state-cert": "/tmp/e", "state-key": "/tmp/f", "staging-bucket": "staged-parts",
		"replica": "a", "health-path": "/healthz", "drain-delay": "1s", "shutdown-timeout": "1m0s",
	}
	external := []string{"kms-provider", "kms-root-key"}
	needs := map[string][]string{
		"kms-provider": {"kms-root-key"}, "kms-root-key": {"kms-provider"}, "kms-endpoint": external, "kms-region": external,
		"kms-ca": external, "kms-former-root-key": external, "kms-mount": {"kms-provider=transit", "kms-root-key", "kms-endpoint"},
		"kms-namespace": {"kms-provider=transit", "kms-root-key", "kms-endpoint"},
		"state":         {"upstream-endpoint", "staging-bucket"}, "staging-bucket": {"state", "upstream-endpoint"}, "replica": {"state", "upstream-endpoint", "staging-bucket"},
		"state-cert": {"state-key", "state-ca", "state", "upstream-endpoint", "staging-bucket"}, "state-key": {"state-cert", "state-ca", "state", "upstream-endpoint", "staging-bucket"},
		"upstream-ca": {"upstream-endpoint"}, "tls-cert": {"tls-key"}, "tls-key": {"tls-cert"},
	}
	plain := Default()
	f := pflag.NewFlagSet("test", pflag.ContinueOnError)
	plain.Flags(f)
	f.VisitAll(func(flag *pflag.Flag) {
		if flag.Name == "config" {
			return
		}
		if values[flag.Name] == "" {
			t.Errorf("--%s is not tried here", flag.Name)
			return
		}
		var args []string
		var file strings.Builder
		env := map[string]string{}
		for _, name := range append([]string{flag.Name}, needs[flag.Name]...) {
			name, value, ok := strings.Cut(name, "=")
			if !ok {
				value = values[name]
			}
			args = append(args, "--"+name+"="+value)
			env[envName(name)] = value
			key := strings.ReplaceAll(name, "-", "_")
			switch name {
			case "trusted-proxy", "kms-former-root-key", "admin-host", "console-host":
				fmt.Fprintf(&file, "%s: [%s]\n", key, value)
			case "account":
				fmt.Fprintf(&file, "%s: %q\n", key, value)
			default:
				fmt.Fprintf(&file, "%s: %s\n", key, value)
			}
		}
		byFlag, err := loadWith(t, "", nil, args...)
		if err != nil {
			t.Errorf("--%s: %v", flag.Name, err)
		}
		byEnv, err := loadWith(t, "", env)
		if err != nil {
			t.Errorf("%s: %v", envName(flag.Name), err)
		}
		byFile, err := loadWith(t, file.String(), nil)
		if err != nil {
			t.Errorf("%s in the file: %v", flag.Name, err)
		}
		unset, err := loadWith(t, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []*Config{&byFlag, &byEnv, &byFile} {
			c.trustedProxies = nil // pointers; TrustedProxy has the same as text
		}
		a, b, c, none := fmt.Sprintf("%+v", byFlag), fmt.Sprintf("%+v", byEnv), fmt.Sprintf("%+v", byFile), fmt.Sprintf("%+v", unset)
		if a != b || a != c {
			t.Errorf("--%s differs by flag, variable and file:\n%s\n%s\n%s", flag.Name, a, b, c)
		}
		if a == none {
			t.Errorf("--%s changes nothing", flag.Name)
		}
	})
}

func TestMistakesAreNamed(t *testing.T) {
	for _, c := range []struct{ file, env, arg, want string }{
		{file: "listn: x:1", want: "listn"},
		{file: "users:\n- name: a\n  acess_key: x", want: "field acess_key not found in userConfig; did you mean access_key?"},
		{file: "users: [{name: a, access_key: AKIAA, secret_key: short}]", want: "user 1 (a): secret_key must have 8"},
		{file: "users: [{name: a, access_key: AKIAA, secret_key: longenough}, {name: b, access_key: AKIAA, secret_key: longenough}]", want: "a and b have the same access_key"},
		{file: "users: [{name: a, access_key: AKIAA, secret_key: longenough, account: 1}]", want: "12 digits"},
		{file: oneUser("policy:"), want: "user 1 (bob): policy is empty: leave it out to allow everything"},
		{file: oneUser("policy: ~"), want: "policy is empty"},
		{file: oneUser("upstream:"), want: "user 1 (bob): upstream is empty: leave it out to act as waxseal at the store"},
		{file: oneUser("upstream: {access_key: AKIASTORE}"), want: "user 1 (bob): upstream: secret_key"},
		{file: oneUser("upstream: {access_kee: AKIASTORE}"), want: "user 1 (bob): upstream: line 5: field access_kee not found; did you mean access_key?"},
		{file: oneUser("upstream: {wJalrXUtnFEMI: AKIASTORE}"), want: "user 1 (bob): upstream: line 5: a field is none of: access_key, secret_key"},
		{file: "listn: x:1", want: "line 1: field listn not found in config; did you mean listen?"},
		{file: "compression: [{bukket: logs}]", want: "did you mean bucket?"},
		{file: oneUser("policy: null"), want: "policy is empty"},
		{file: "compat: &p\n" + oneUser("policy: *p"), want: "policy is empty"},
		{file: oneUser("policy: ''"), want: "policy is neither a mapping nor JSON"},
		{file: oneUser("policy: []"), want: "cannot unmarshal"},
		{file: oneUser("arn: arn:aws:iam::12:role/r"), want: "user 1 (bob): arn \"arn:aws:iam::12:role/r\" is not"},
		{file: oneUser("arn: arn:aws:iam:::role/r"), want: "is not the ARN of a user"},
		{file: oneUser("arn: role/r"), want: "is not the ARN of a user"},
		{file: oneUser("arn: arn:aws:iam::444455556666:role/*"), want: "is not the ARN of a user"},
		{file: oneUser("arn: arn:aws:iam::444455556666:role/"), want: "is not the ARN of a user"},
		{file: oneUser("arn: arn:aws:kms:us-east-1:444455556666:key/k"), want: "is not the ARN of a user"},
		{file: oneUser("arn: arn:aws:iam::444455556666:role/r\n    account: '111122223333'"), want: "account 111122223333 is not that of arn:aws:iam::444455556666:role/r"},
		{file: "compression: [{bucket: logs}]", want: "compression: rule 1"},
		{file: "bucket_aliases: {a: a}", want: "bucket_aliases"},
		{file: "compat: gcs", want: "compat"},
		{file: "[", want: "waxseal.yaml"},
		{arg: "--listen=nowhere", want: "--listen"},
		{arg: "--account=12", want: "--account"},
		{arg: "--etag=sha", want: "--etag"},
		{arg: "--kms-provider=gcp", want: "--kms-provider"},
		{file: "kms_provider: aws", want: "--kms-root-key: --kms-provider aws needs"},
		{file: "kms_provider: transit\nkms_root_key: root", want: "--kms-endpoint: --kms-provider transit needs one"},
		{file: "kms_provider: aws\nkms_root_key: root\nkms_mount: m", want: "--kms-mount: --kms-provider aws has no use for it"},
		{file: "kms_provider: transit\nkms_root_key: root\nkms_endpoint: kms:8200", want: "--kms-endpoint"},
		{file: "kms_provider: transit\nkms_root_key: root\nkms_endpoint: http://a:secretsecret@b", want: "WAXSEAL_KMS_TOKEN"},
		{file: "kms_provider: aws\nkms_root_key: root\nkms_rate: 1", want: "--kms-rate"},
		{arg: "--kms-root-key=x", want: "--kms-root-key: --kms-provider local has no use for it"},
		{arg: "--kms-rate=-1", want: "--kms-rate"},
		{arg: "--audit-interval=0s", want: "--audit-interval"},
		{arg: "--audit-bucket=*", want: "--audit-bucket"},
		{arg: "--audit-s3=some", want: "--audit-s3"},
		{arg: "--audit-webhook=siem", want: "--audit-webhook"},
		{arg: "--audit-webhook=https://siem/?token=secretsecret", want: "WAXSEAL_AUDIT_WEBHOOK_TOKEN"},
		{arg: "--upstream-endpoint=store:9000", want: "--upstream-endpoint"},
		{arg: "--upstream-endpoint=http://user:secretsecret@store", want: "WAXSEAL_UPSTREAM_ACCESS_KEY"},
		{arg: "--upstream-endpoint=https://user:pa%ss-secretsecret@store:9000", want: "--upstream-endpoint: this is not an http"},
		{arg: "--upstream-endpoint=user:secretsecret@store:9000", want: "--upstream-endpoint: this is not an http"},
		{file: "kms_provider: transit\nkms_root_key: root\nkms_endpoint: 'http://a:%secretsecret@b'", want: "--kms-endpoint: this is not an http"},
		{file: "region: a\n---\nsigv2: true", want: "waxseal.yaml: has a second document"},
		{file: "region: a\n---\n", want: "waxseal.yaml: has a second document"},
		{file: "region: a\n---\n[", want: "waxseal.yaml: "},
		{arg: "--upstream-ca=x", want: "--upstream-ca"},
		{arg: "--tls-cert=x", want: "--tls-key"},
		{arg: "--trusted-proxy=10.0.0.1", want: "--trusted-proxy"},
		{arg: "--bucket-key-ttl=0s", want: "--bucket-key-ttl"},
		{arg: "--bucket-key-period=1m", want: "--bucket-key-period"},
		{env: "WAXSEAL_BUCKET_KEY_TTL=soon", want: "WAXSEAL_BUCKET_KEY_TTL"},
		{env: "WAXSEAL_CONFIG=/nonexistent.yaml", want: "/nonexistent.yaml"},
	} {
		env := map[string]string{}
		if name, value, ok := strings.Cut(c.env, "="); ok {
			env[name] = value
		}
		var args []string
		if c.arg != "" {
			args = append(args, c.arg)
		}
		_, err := loadWith(t, c.file, env, args...)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s%s%s: %v; want one line with %q", c.file, c.env, c.arg, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "secretsecret") {
			t.Errorf("a secret is in the error: %v", err)
		}
	}
}

// TestOneDocument: a file may say where its only document begins and ends.
func TestOneDocument(t *testing.T) {
	for _, file := range []string{"", "# nothing\n", "---\nregion: a\n", "region: a\n...\n"} {
		if _, err := loadWith(t, file, nil); err != nil {
			t.Errorf("%q: %v", file, err)
		}
	}
}

// TestEmptyLists checks that an empty list is a value: from a flag, for example, it wins over the file.
func TestEmptyLists(t *testing.T) {
	env := map[string]string{"WAXSEAL_TRUSTED_PROXY": "", "WAXSEAL_KMS_FORMER_ROOT_KEY": ""}
	for name, set := range map[string]func() (Config, error){
		"variables": func() (Config, error) { return loadWith(t, "trusted_proxy: [10.0.0.0/8]", env) },
		"a flag":    func() (Config, error) { return loadWith(t, "trusted_proxy: [10.0.0.0/8]", nil, "--trusted-proxy=") },
	} {
		if c, err := set(); err != nil || len(c.TrustedProxy) != 0 || len(c.KMSFormerRootKey) != 0 {
			t.Errorf("%s: %q, %q, %v", name, c.TrustedProxy, c.KMSFormerRootKey, err)
		}
	}
}

// TestPathsAreAbsolute: a token's file is read again later, when the working directory may be another.
func TestPathsAreAbsolute(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	c, err := loadWith(t, "", map[string]string{envKMSTokenFile: "token", "WAXSEAL_KMS_CA": "ca.pem"},
		"--kms-provider=transit", "--kms-root-key=root", "--kms-endpoint=https://kms.example")
	if err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{"token": c.kmsTokenFile, "ca.pem": c.KMSCA} {
		if !filepath.IsAbs(path) || filepath.Base(path) != name {
			t.Errorf("%s is at %q", name, path)
		}
	}
	if c, err = loadWith(t, "", nil); err != nil || c.kmsTokenFile != "" {
		t.Errorf("without one it is %q, %v", c.kmsTokenFile, err)
	}
}

func TestUsers(t *testing.T) {
	file := `
users:
  - name: alice
    access_key: AKIAALICE
    account: "111122223333"
    secret_key: alice-secret
    policy: {Version: 2012-10-17, Statement: [{Effect: Allow, Action: "s3:*", Resource: "*"}]}
    upstream: {access_key: STOREALICE, secret_key: store-secret}
  - name: bob
    access_key: AKIABOB
    secret_key: bobs-secret
    policy: '{"Version":"2012-10-17","Statement":[]}'
read_through: [old-photos]
bucket_aliases: {dr-photos: photos}
compression: [{bucket: logs, types: ["text/*", "application/json"]}]
compat: ceph
sigv2: true
`
	c, err := loadWith(t, file, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(c.Users[0].Policy.json); got != `{"Statement":[{"Action":"s3:*","Effect":"Allow","Resource":"*"}],"Version":"2012-10-17"}` {
		t.Errorf("policy as mapping: %s", got)
	}
	if got := string(c.Users[1].Policy.json); got != `{"Version":"2012-10-17","Statement":[]}` {
		t.Errorf("policy as text: %s", got)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		for _, u := range c.Users {
			if text := fmt.Sprintf(verb, u) + fmt.Sprintf(verb, Credentials{u.AccessKey, u.SecretKey}); strings.Contains(text, "-secret") {
				t.Errorf("%s shows a secret: %s", verb, text)
			}
		}
	}
	if !c.SigV2 || c.Compat != "ceph" || c.ReadThrough[0] != "old-photos" || c.BucketAliases["dr-photos"] != "photos" {
		t.Errorf("%+v", c)
	}
}

func TestDurationsInTheFile(t *testing.T) {
	c, err := loadWith(t, "bucket_key_ttl: 90s", nil)
	if err != nil || c.BucketKeyTTL != 90*time.Second {
		t.Errorf("%v, %v", c.BucketKeyTTL, err)
	}
}
