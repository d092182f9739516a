package proxy

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"waxseal/keystore"
	"waxseal/keystore/audit"
	"waxseal/keystore/bucketkey"
	"waxseal/keystore/iam"
	embedded "waxseal/keystore/local"
	"waxseal/keystore/rootkey"
	"waxseal/keystore/state"
	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
	"waxseal/proxy/store"
)

// The tests of the S3 encryption contract: one for each thing that Amazon S3 documents or was seen to do, named after
// it. They run against the whole proxy with the embedded key service, and look at status, code, message, named
// argument, and at the exact set of encryption headers that come back.

const testAccount = "000000000000"

// hdr are request or response headers.
type hdr = map[string]string

// contractKit is a whole proxy with the embedded key service behind it.
type contractKit struct {
	*kit
	t      testing.TB
	kms    *embedded.Service
	keys   *bucketkey.Keys
	sealer state.Sealer // of bucket keys
	audit  *audit.Memory
	store  *proxytest.Upstream
	faulty *faultyKMS
	bucket string
}

// users of the contract tests; each one's secret is its name. root is the kit's own.
func contractUsers(t testing.TB) *iam.Directory {
	t.Helper()
	users := []iam.User{
		{Name: "root", ARN: iam.RootARN(testAccount), AccountID: testAccount, AccessKey: testAccess, Secret: iam.NewSecret(testSecret), Root: true},
	}
	for _, name := range []string{"alice", "bob", "carol"} {
		users = append(users, iam.User{Name: name, ARN: iam.UserARN(testAccount, name), AccountID: testAccount, AccessKey: "AKIA" + name, Secret: iam.NewSecret(name + "-secret"), Everything: true})
	}
	d, err := iam.NewDirectory(users)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// faultyKMS is a key service that can be slow or away.
type faultyKMS struct {
	keystore.Provider
	mu    sync.Mutex
	fault error
	delay time.Duration
}

func (f *faultyKMS) set(fault error, delay time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault, f.delay = fault, delay
}

func (f *faultyKMS) suffer() error {
	f.mu.Lock()
	fault, delay := f.fault, f.delay
	f.mu.Unlock()
	time.Sleep(delay)
	return fault
}

func (f *faultyKMS) Resolve(ctx context.Context, caller keystore.Caller, id string) (keystore.KeyInfo, error) {
	if err := f.suffer(); err != nil {
		return keystore.KeyInfo{}, err
	}
	return f.Provider.Resolve(ctx, caller, id)
}

func (f *faultyKMS) GenerateDataKey(ctx context.Context, caller keystore.Caller, id string, ec keystore.Context) (keystore.DataKey, error) {
	if err := f.suffer(); err != nil {
		return keystore.DataKey{}, err
	}
	return f.Provider.GenerateDataKey(ctx, caller, id, ec)
}

func (f *faultyKMS) Decrypt(ctx context.Context, caller keystore.Caller, blob []byte, arn string, ec keystore.Context) (keystore.DataKey, error) {
	if err := f.suffer(); err != nil {
		return keystore.DataKey{}, err
	}
	return f.Provider.Decrypt(ctx, caller, blob, arn, ec)
}

func (f *faultyKMS) Authorize(ctx context.Context, caller keystore.Caller, a keystore.Action, arn string, blob []byte, ec keystore.Context) error {
	if err := f.suffer(); err != nil {
		return err
	}
	return f.Provider.Authorize(ctx, caller, a, arn, blob, ec)
}

// startContract runs a proxy with the embedded key service, put together as cmd/waxseal does it.
func startContract(t testing.TB, change func(*Config)) *contractKit {
	t.Helper()
	k := &contractKit{t: t, audit: new(audit.Memory)}
	var url string
	k.store, url = proxytest.StartUpstream(t, proxytest.Options{})
	k.kit = start(t, store.Config{Endpoint: url, AccessKey: "memory", SecretKey: "memory-secret"}, func(c *Config) {
		c.Users = contractUsers(t)
		c.AllowInsecureSSEC = true
		k.openKeys(c)
		if change != nil {
			change(c)
		}
	})
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections) // or the end waits for them
	k.bucket = k.newBucket()
	return k
}

// openKeys puts the embedded key service into a configuration.
func (k *contractKit) openKeys(c *Config) {
	k.t.Helper()
	ctx := context.Background()
	secret := rootkey.New(keystore.RandomSecret())
	k.sealer = secret.Sealer("bucket-keys")
	ring, err := rootkey.OpenRing(ctx, c.State, secret.Sealer("service-keys"))
	if err != nil {
		k.t.Fatal(err)
	}
	k.kms, err = embedded.Open(ctx, embedded.Config{
		State: c.State, Secrets: secret, Audit: k.audit, Region: "us-east-1", AccountID: testAccount, Identities: c.Users,
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() { k.kms.Close() })
	k.faulty = &faultyKMS{Provider: k.kms.Provider()}
	k.useKeys(c, bucketkey.Config{})
	c.Provider, c.Root = k.faulty, k.kms.Root(ring)
}

// useKeys puts new, empty bucket keys in front of the key service.
func (k *contractKit) useKeys(c *Config, bk bucketkey.Config) {
	bk.Service = keystore.Caller{ARN: iam.RootARN(testAccount), AccountID: testAccount, ViaService: "s3.us-east-1.amazonaws.com"}
	k.keys = bucketkey.New(k.faulty, c.State, k.sealer, bk)
	k.kms.OnKeyChange(k.keys.Forget)
	k.t.Cleanup(k.keys.Close)
	c.Keys = k.keys
}

func (k *contractKit) newBucket() string {
	k.t.Helper()
	return k.kit.bucket(k.t)
}

// object is the path of an object in the kit's bucket.
func (k *contractKit) object(key string) string { return "/" + k.bucket + "/" + key }

func (k *contractKit) rootCaller() keystore.Caller {
	return keystore.CallerOf(iam.RootOf(testAccount))
}

// userOf is the user of an access key, as configured.
func userOf(users *iam.Directory, accessKey string) *iam.User {
	for i, u := range users.Users() {
		if u.AccessKey == accessKey {
			return &users.Users()[i]
		}
	}
	return nil
}

// newKey makes a KMS key and gives its ARN.
func (k *contractKit) newKey(change ...func(*embedded.CreateKeyRequest)) string {
	k.t.Helper()
	in := new(embedded.CreateKeyRequest)
	for _, f := range change {
		f(in)
	}
	out, err := k.kms.CreateKey(context.Background(), k.rootCaller(), in)
	if err != nil {
		k.t.Fatal(err)
	}
	return out.KeyMetadata.Arn
}

// KeyID is the last part of a key's ARN.
func keyID(arn string) string { return arn[strings.LastIndexByte(arn, '/')+1:] }

// answer is what came back.
type answer struct {
	*http.Response
	body []byte
}

// ask sends a request as root; askAs as somebody else, whose secret is derived from the name, or unsigned.
func (k *contractKit) ask(method, target string, h hdr, body string) answer {
	k.t.Helper()
	resp, got := k.do(k.t, method, target, h, []byte(body))
	return answer{resp, got}
}

func (k *contractKit) askAs(user, method, target string, h hdr, body string) answer {
	k.t.Helper()
	access, secret := "AKIA"+user, user+"-secret"
	if user == "" {
		access, secret = "", ""
	}
	resp, got := k.doAs(k.t, access, secret, method, target, h, []byte(body))
	return answer{resp, got}
}

// ok wants a success.
func (a answer) ok(t testing.TB) answer {
	t.Helper()
	if a.StatusCode/100 != 2 {
		t.Fatalf("%s %s: %s\n%s", a.Request.Method, a.Request.URL.Path, a.Status, a.body)
	}
	return a
}

// fails wants an error: its status, code and message, and name=value children. A message that begins with "..." is the
// end of the real one, an empty one is not looked at. HEAD answers have the status only.
func (a answer) fails(t testing.TB, status int, code s3.Code, message string, args ...string) {
	t.Helper()
	if a.Request.Method == http.MethodHead {
		if a.StatusCode != status || len(a.body) > 0 {
			t.Errorf("HEAD: %s with %d bytes, want a bare %d", a.Status, len(a.body), status)
		}
		return
	}
	e := s3.ParseError(a.StatusCode, a.body)
	suffix, partly := strings.CutPrefix(message, "...")
	wrong := !partly && message != "" && e.Message != message || partly && !strings.HasSuffix(e.Message, suffix)
	if a.StatusCode != status || e.Code != code || wrong {
		t.Errorf("%s %s:\n got %d %s %q\nwant %d %s %q", a.Request.Method, a.Request.URL, a.StatusCode, e.Code, e.Message, status, code, message)
	}
	for i := 0; i+1 < len(args); i += 2 {
		if !slices.Contains(e.Extra, s3.Field{Name: args[i], Value: args[i+1]}) {
			t.Errorf("%s %s: no %s=%q in %v", a.Request.Method, a.Request.URL, args[i], args[i+1], e.Extra)
		}
	}
}

// echoes wants exactly these encryption headers in the answer, and no others.
func (a answer) echoes(t testing.TB, want hdr) answer {
	t.Helper()
	got := hdr{}
	for name := range a.Header {
		if n := strings.ToLower(name); strings.HasPrefix(n, hdrSSE) {
			got[n] = a.Header.Get(name)
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("%s %s: encryption headers %v, want %v", a.Request.Method, a.Request.URL, got, want)
	}
	return a
}

func (a answer) etag() string { return s3.Unquote(a.Header.Get("Etag")) }

// with joins headers; the later win.
func with(all ...hdr) hdr {
	out := hdr{}
	for _, h := range all {
		maps.Copy(out, h)
	}
	return out
}

// Request headers of the modes, and what answers echo of them.
func sseS3() hdr            { return hdr{hdrSSE: algAES256} }
func sseKMS(key string) hdr { return hdr{hdrSSE: algKMS, hdrKMSKey: key} }
func dsse(key string) hdr   { return hdr{hdrSSE: algDSSE, hdrKMSKey: key} }

func bucketKeyOn() hdr { return hdr{hdrBucket: "true"} }
func customerKeyOf(seed byte) []byte {
	return bytes.Repeat([]byte{seed}, 32)
}

// sseC are the three SSE-C headers of a key; copyC those of a copy's source.
func sseC(seed byte) hdr  { return ssecHdr(hdrSSEC, customerKeyOf(seed)) }
func copyC(seed byte) hdr { return ssecHdr(hdrCopySSE, customerKeyOf(seed)) }

func ssecHdr(prefix string, key []byte) hdr {
	sum := md5.Sum(key)
	return hdr{prefix + "algorithm": algAES256, prefix + "key": s3.Base64(key), prefix + "key-md5": s3.Base64(sum[:])}
}

// withoutKey is what an answer says of an SSE-C key.
func withoutKey(h hdr) hdr {
	out := maps.Clone(h)
	delete(out, hdrSSEC+"key")
	return out
}

func contextHeader(json string) hdr {
	return hdr{hdrContext: base64.StdEncoding.EncodeToString([]byte(json))}
}

// calls gives the KMS calls of the log since it was reset: event names, with the error's code where there is one.
func (k *contractKit) calls() []string {
	var names []string
	for _, r := range k.audit.Records() {
		name := r.EventName
		if r.ErrorCode != "" {
			name += " " + r.ErrorCode
		}
		names = append(names, name)
	}
	return names
}

// wantCalls checks which KMS calls f makes.
func (k *contractKit) wantCalls(f func(), want ...string) []audit.Record {
	k.t.Helper()
	k.audit.Reset()
	f()
	if got := k.calls(); !slices.Equal(got, want) {
		k.t.Errorf("KMS calls %q, want %q", got, want)
	}
	return k.audit.Records()
}

// mode is one way to encrypt, as a request names it and as answers show it.
type mode struct {
	name      string
	write     hdr // of PutObject and its like
	part      hdr // of requests about the data: only SSE-C has any
	echo      hdr
	source    hdr // of a copy
	etagIsMD5 bool
}

// modes are all modes, the SSE-KMS ones under a key.
func modes(key string) []mode {
	return []mode{
		{name: "default", echo: sseS3(), etagIsMD5: true},
		{name: "SSE-S3", write: sseS3(), echo: sseS3(), etagIsMD5: true},
		{name: "SSE-KMS", write: sseKMS(key), echo: sseKMS(key)},
		{name: "SSE-KMS with a Bucket Key", write: with(sseKMS(key), bucketKeyOn()), echo: with(sseKMS(key), bucketKeyOn())},
		{name: "DSSE-KMS", write: dsse(key), echo: dsse(key)},
		{name: "SSE-C", write: sseC(1), part: sseC(1), echo: withoutKey(sseC(1)), source: copyC(1)},
	}
}

// forEachMode runs a test for every mode.
func (k *contractKit) forEachMode(t *testing.T, f func(t *testing.T, m mode)) {
	key := k.newKey()
	for _, m := range modes(key) {
		t.Run(m.name, func(t *testing.T) {
			k.t = t
			f(t, m)
		})
	}
}

// run gives a named test the kit.
func (k *contractKit) run(t *testing.T, name string, f func(t *testing.T)) {
	t.Helper()
	outer := k.t
	defer func() { k.t = outer }()
	t.Run(name, func(t *testing.T) {
		k.t = t
		f(t)
	})
}

// startUpload begins a multipart upload and gives its id.
func (k *contractKit) startUpload(key string, h hdr) (answer, string) {
	k.t.Helper()
	a := k.ask("POST", k.object(key)+"?uploads=", h, "").ok(k.t)
	return a, reply[s3.InitiateMultipartUploadResult](k.t, a.body).UploadID
}

func completeBody(etags ...string) string {
	var b strings.Builder
	b.WriteString("<CompleteMultipartUpload>")
	for i, e := range etags {
		fmt.Fprintf(&b, "<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", i+1, e)
	}
	b.WriteString("</CompleteMultipartUpload>")
	return b.String()
}
