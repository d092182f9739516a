package server

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/encrypt"
	bucketsse "github.com/minio/minio-go/v7/pkg/sse"
	"go.etcd.io/etcd/server/v3/embed"

	"waxseal/keystore/local"
	"waxseal/proxy/proxytest"
)

// etcdMember runs a single etcd member and returns its address.
func etcdMember(t *testing.T) string {
	t.Helper()
	conf := embed.NewConfig()
	conf.Dir = filepath.Join(t.TempDir(), "etcd")
	conf.LogLevel, conf.LogOutputs = "fatal", []string{"/dev/null"}
	loopback := []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	conf.ListenClientUrls, conf.AdvertiseClientUrls, conf.ListenPeerUrls, conf.AdvertisePeerUrls = loopback, loopback, loopback, loopback
	conf.InitialCluster = conf.InitialClusterFromName(conf.Name)
	conf.UnsafeNoFsync = true // durability after a machine crash is etcd's own matter
	member, err := embed.StartEtcd(conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(member.Close)
	select {
	case <-member.Server.ReadyNotify():
	case <-time.After(30 * time.Second):
		t.Fatal("etcd does not start")
	}
	return member.Clients[0].Addr().String()
}

// newReplicas starts n waxseals with the same etcd and store.
func newReplicas(t *testing.T, n int) []*kit {
	t.Helper()
	store, address := proxytest.StartUpstream(t, proxytest.Options{}, kitBucket)
	t.Setenv("WAXSEAL_UPSTREAM_ACCESS_KEY", "memory")
	t.Setenv("WAXSEAL_UPSTREAM_SECRET_KEY", "memory-secret")
	t.Setenv("WAXSEAL_ROOT_SECRET", base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{9}, 32)))
	t.Setenv("WAXSEAL_ACCESS_KEY", "AKIAREPLICATEDROOT00")
	t.Setenv("WAXSEAL_SECRET_KEY", "the-root-users-secret-0123456789")
	at := "etcd://" + etcdMember(t) + "/test"
	var all []*kit
	for i := range n {
		k := &kit{t: t, store: store, conf: Default()}
		k.conf.UpstreamEndpoint, k.conf.State, k.conf.StagingBucket, k.conf.Replica = address, at, "staged-parts", fmt.Sprint("replica", i)
		k.start()
		all = append(all, k)
	}
	return all
}

// TestReplicasShareUploads: each request of a multipart upload is answered by another replica.
func TestReplicasShareUploads(t *testing.T) {
	ctx, r := t.Context(), newReplicas(t, 3)
	parts := [][]byte{bytes.Repeat([]byte("a"), 5<<20), bytes.Repeat([]byte("b"), 5<<20), []byte("a short last part")}
	id, err := r[0].core.NewMultipartUpload(ctx, kitBucket, "upload", minio.PutObjectOptions{ServerSideEncryption: encrypt.NewSSE()})
	if err != nil {
		t.Fatal(err)
	}
	var complete []minio.CompletePart
	for i, body := range parts {
		p, err := r[(i+1)%3].core.PutObjectPart(ctx, kitBucket, "upload", id, i+1, bytes.NewReader(body), int64(len(body)), minio.PutObjectPartOptions{})
		if err != nil {
			t.Fatal(err)
		}
		complete = append(complete, minio.CompletePart{PartNumber: i + 1, ETag: p.ETag})
	}
	for i, k := range r {
		list, err := k.core.ListObjectParts(ctx, kitBucket, "upload", id, 0, 100)
		if err != nil || len(list.ObjectParts) != len(parts) {
			t.Errorf("replica %d lists %d parts, %v", i, len(list.ObjectParts), err)
		}
	}
	if _, err := r[1].core.CompleteMultipartUpload(ctx, kitBucket, "upload", id, complete, minio.PutObjectOptions{}); err != nil {
		t.Fatal(err)
	}
	for i, k := range r {
		if !bytes.Equal(k.read("upload"), bytes.Join(parts, nil)) {
			t.Errorf("replica %d reads other bytes", i)
		}
	}
	other, err := r[2].core.NewMultipartUpload(ctx, kitBucket, "aborted", minio.PutObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := r[0].core.AbortMultipartUpload(ctx, kitBucket, "aborted", other); err != nil {
		t.Fatal(err)
	}
	_, err = r[1].core.PutObjectPart(ctx, kitBucket, "aborted", other, 1, strings.NewReader("x"), 1, minio.PutObjectPartOptions{})
	if minio.ToErrorResponse(err).Code != minio.NoSuchUpload {
		t.Errorf("a part of an upload that another replica has aborted: %v", err)
	}
}

// TestReplicasShareSettings checks that a setting acknowledged by a replica is in effect for the next request to any
// other.
func TestReplicasShareSettings(t *testing.T) {
	ctx, r := t.Context(), newReplicas(t, 2)
	a, b := r[0], r[1]
	key := a.newKey()
	if err := a.core.SetBucketEncryption(ctx, kitBucket, bucketsse.NewConfigurationSSEKMS(key)); err != nil {
		t.Fatal(err)
	}
	b.put("by default", []byte("x"), nil)
	if info, err := b.core.Client.StatObject(ctx, kitBucket, "by default", minio.StatObjectOptions{}); err != nil || info.Metadata.Get("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id") != key {
		t.Errorf("the other replica seals under %v, %v", info.Metadata, err)
	}
	if _, err := b.app.KeyService.CreateAlias(ctx, rootCaller(), &local.CreateAliasRequest{AliasName: "alias/shared", TargetKeyId: key}); err != nil {
		t.Fatal(err)
	}
	if d, err := a.app.KeyService.DescribeKey(ctx, rootCaller(), &local.DescribeKeyRequest{KeyId: "alias/shared"}); err != nil || d.KeyMetadata.Arn != key {
		t.Errorf("the alias that the other replica has made: %v", err)
	}
	for round := range 20 {
		on, other := r[round%2], r[(round+1)%2]
		if _, err := on.app.KeyService.DisableKey(ctx, rootCaller(), &local.KeyRequest{KeyId: key}); err != nil {
			t.Fatal(err)
		}
		if _, err := other.core.Client.StatObject(ctx, kitBucket, "by default", minio.StatObjectOptions{}); err != nil {
			t.Fatal(err) // HEAD needs no key
		}
		if body, _, _, err := other.core.GetObject(ctx, kitBucket, "by default", minio.GetObjectOptions{}); err == nil {
			body.Close()
			t.Fatalf("round %d: read under a key that the other replica has disabled", round)
		}
		if _, err := on.app.KeyService.EnableKey(ctx, rootCaller(), &local.KeyRequest{KeyId: key}); err != nil {
			t.Fatal(err)
		}
		if got := other.read("by default"); string(got) != "x" {
			t.Fatalf("round %d: %q", round, got)
		}
	}
	deny := `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:PutObject","Resource":"arn:aws:s3:::` + kitBucket + `/*","Condition":{"StringNotEquals":{"s3:x-amz-server-side-encryption":"aws:kms"}}}]}`
	if err := a.core.SetBucketPolicy(ctx, kitBucket, deny); err != nil {
		t.Fatal(err)
	}
	if _, err := b.core.Client.PutObject(ctx, kitBucket, "denied", strings.NewReader("x"), 1, minio.PutObjectOptions{ServerSideEncryption: encrypt.NewSSE()}); minio.ToErrorResponse(err).StatusCode != http.StatusForbidden {
		t.Errorf("under a policy that the other replica has: %v", err)
	}
}

// TestReplicasMustAgree checks that a replica with deviating settings does not start beside another; alone, it does.
func TestReplicasMustAgree(t *testing.T) {
	a := newReplicas(t, 1)[0]
	other := a.conf
	other.DataDir, other.Replica, other.Region = t.TempDir(), "another", "eu-central-1"
	if _, err := Assemble(t.Context(), &other, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "--region is eu-central-1 here and us-east-1") {
		t.Errorf("beside a replica of another region: %v", err)
	}
	t.Setenv("WAXSEAL_ROOT_SECRET", base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{8}, 32)))
	other.Region = a.conf.Region
	if app, err := Assemble(t.Context(), &other, slog.New(slog.DiscardHandler)); err == nil {
		t.Errorf("with another root secret it starts: %v", app.Shutdown(t.Context()))
	}
}

// TestReplicaDirectoryHasOneUser checks that two processes never write records into the same directory.
func TestReplicaDirectoryHasOneUser(t *testing.T) {
	a := newReplicas(t, 1)[0]
	other := a.conf
	other.Replica = "another"
	if _, err := Assemble(t.Context(), &other, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "another process uses") {
		t.Error(err)
	}
}

// TestCopyState: a state goes from a file into etcd and back, with its keys, and objects open on either side.
func TestCopyState(t *testing.T) {
	r := newReplicas(t, 1)
	shared := r[0].conf
	r[0].end()
	alone := &kit{t: t, store: r[0].store, conf: Default()}
	alone.conf.UpstreamEndpoint = shared.UpstreamEndpoint
	alone.start()
	key := alone.newKey()
	alone.put("sealed", []byte("x"), kmsSide(t, key))
	file := dataDir(alone.conf.DataDir).state()
	to := strings.TrimSuffix(shared.State, "/test") + "/copied"
	if _, err := CopyState(t.Context(), &shared, file, to); err == nil {
		t.Error("a state was copied that a waxseal serves from")
	}
	alone.end()
	if n, err := CopyState(t.Context(), &shared, file, to); err != nil || n == 0 {
		t.Fatalf("%d records, %v", n, err)
	}
	if _, err := CopyState(t.Context(), &shared, file, to); err == nil {
		t.Error("a state was copied over another")
	}
	replica := &kit{t: t, store: r[0].store, conf: shared}
	replica.conf.State = to
	replica.start()
	if got := replica.read("sealed"); string(got) != "x" {
		t.Errorf("%q", got)
	}
	replica.put("in etcd", []byte("y"), kmsSide(t, key))
	back := filepath.Join(t.TempDir(), "state.db")
	if _, err := CopyState(t.Context(), &shared, to, back); err == nil || !strings.Contains(err.Error(), "stop them first") {
		t.Errorf("while a replica serves: %v", err)
	}
	replica.end()
	if _, err := CopyState(t.Context(), &shared, to, back); err != nil {
		t.Fatal(err)
	}
	again := &kit{t: t, store: r[0].store, conf: alone.conf}
	again.conf.DataDir = filepath.Dir(back)
	again.serve()
	for object, want := range map[string]string{"sealed": "x", "in etcd": "y"} {
		if got := again.read(object); string(got) != want {
			t.Errorf("%s: %q", object, got)
		}
	}
}

// TestCommandsOnASharedState refuses, by name, the commands that would change the secrets or files of a single replica.
func TestCommandsOnASharedState(t *testing.T) {
	k := newReplicas(t, 1)[0]
	if err := Rekey(t.Context(), &k.conf, false, new(bytes.Buffer)); err == nil || !strings.Contains(err.Error(), "rekey: the state is in etcd") {
		t.Errorf("rekey: %v", err)
	}
	var copied bytes.Buffer
	if err := Backup(t.Context(), &k.conf, &copied); err != nil {
		t.Fatal(err)
	}
	if err := Restore(t.Context(), &k.conf, &copied, ""); err == nil || !strings.Contains(err.Error(), "restore: the state is in etcd") {
		t.Errorf("restore: %v", err)
	}
}

// TestStateConfiguration checks that settings unusable with a shared state are refused before anything is opened.
func TestStateConfiguration(t *testing.T) {
	good := Default()
	good.State, good.UpstreamEndpoint, good.StagingBucket, good.Replica = "etcd://127.0.0.1:2379/waxseal", "http://127.0.0.1:9000", "staged-parts", "a"
	for want, change := range map[string]func(*Config){
		"":                            func(*Config) {},
		"--state: the address is not": func(c *Config) { c.State = "redis://127.0.0.1/waxseal" },
		"--state: the address has no": func(c *Config) { c.State = "etcd://127.0.0.1:2379" },
		"--state: credentials do not": func(c *Config) { c.State = "etcd://user:secret@127.0.0.1:2379/waxseal" },
		"--upstream-endpoint: is":     func(c *Config) { c.UpstreamEndpoint = "" },
		"--staging-bucket: is":        func(c *Config) { c.StagingBucket = "" },
		"--staging-bucket: this":      func(c *Config) { c.StagingBucket = "No Bucket" },
		"--tls-self-signed: each":     func(c *Config) { c.TLSSelfSigned = true },
		"--kms-rate: it":              func(c *Config) { c.KMSRate = 5 },
		"--state-cert and --state":    func(c *Config) { c.StateCA, c.StateCert = "ca", "cert" },
		"--state-ca: is missing":      func(c *Config) { c.StateCert, c.StateKey = "cert", "key" },
		"--replica: this is not":      func(c *Config) { c.Replica = "a/b" },
		"--replica: there is no":      func(c *Config) { c.State, c.StagingBucket = "", "" },
	} {
		c := good
		change(&c)
		var found []string
		for _, err := range c.checkShared() {
			if err != nil {
				found = append(found, err.Error())
			}
		}
		if text := strings.Join(found, "\n"); (want == "") != (text == "") || !strings.Contains(text, want) {
			t.Errorf("%q: %s", want, text)
		}
		if strings.Contains(strings.Join(found, "\n"), "secret") {
			t.Errorf("%q shows the password", want)
		}
	}
}
