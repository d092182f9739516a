package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/sse"

	"waxseal/keystore/local"
	"waxseal/keystore/rootkey"
	"waxseal/keystore/state"
)

// fillState makes every kind of record: keys, an alias, a grant, uses, the root of SSE-S3, bucket configuration, bucket
// keys, an unfinished upload and its part.
func fillState(t *testing.T, b *kit) (victim, other string) {
	t.Helper()
	ctx := context.Background()
	victim, other = b.newKey(), b.newKey()
	keys := b.app.KeyService
	if _, err := keys.CreateAlias(ctx, rootCaller(), &local.CreateAliasRequest{AliasName: "alias/victim", TargetKeyId: victim}); err != nil {
		t.Fatal(err)
	}
	_, err := keys.CreateGrant(ctx, rootCaller(), &local.CreateGrantRequest{
		KeyId: victim, GranteePrincipal: "arn:aws:iam::000000000000:root", Operations: []string{"Decrypt"},
	})
	if err != nil {
		t.Fatal(err)
	}
	core := b.core
	err = core.Client.SetBucketEncryption(ctx, kitBucket, sse.NewConfigurationSSEKMS(victim))
	if err != nil {
		t.Fatal(err)
	}
	b.put("under-its-default", []byte("body"), nil)
	id, err := core.NewMultipartUpload(ctx, kitBucket, "upload", minio.PutObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	part := make([]byte, 5<<20)
	if _, err := core.PutObjectPart(ctx, kitBucket, "upload", id, 1, bytes.NewReader(part), int64(len(part)), minio.PutObjectPartOptions{}); err != nil {
		t.Fatal(err)
	}
	return victim, other
}

// changeState takes the waxseal down and gives its state.db to change. serve starts it again.
func (b *kit) changeState(change func(state.Store)) {
	b.t.Helper()
	b.end()
	s, err := state.OpenBolt(dataDir(b.conf.DataDir).state())
	if err != nil {
		b.t.Fatal(err)
	}
	change(s)
	if err := s.Close(); err != nil {
		b.t.Fatal(err)
	}
}

func (b *kit) rootSecret() *rootkey.Secret {
	b.t.Helper()
	secret, err := rootkey.Load("", dataDir(b.conf.DataDir).rootKey(), false)
	if err != nil {
		b.t.Fatal(err)
	}
	return secret
}

func rawEntries(t *testing.T, s state.Store) []state.Entry {
	t.Helper()
	entries, err := s.Range(context.Background(), "", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

// TestStateIsSealed walks every record of waxseal's: none is plain, and none opens under another record's key.
func TestStateIsSealed(t *testing.T) {
	b := newKit(t)
	fillState(t, b)
	b.changeState(func(s state.Store) {
		secret := b.rootSecret()
		kinds := map[string]bool{}
		for _, e := range rawEntries(t, s) {
			first, rest, _ := strings.Cut(e.Key, "/")
			second, _, deeper := strings.Cut(rest, "/")
			if deeper || first == "kms" {
				first += "/" + second
			}
			kinds[first] = true
			if json.Valid(e.Value) || bytes.Contains(e.Value, []byte("arn:aws")) || bytes.Contains(e.Value, []byte(kitBucket)) {
				t.Errorf("%s is not sealed: %q", e.Key, e.Value)
			}
			purpose := "state"
			switch first {
			case "bucketkey/" + second:
				purpose = "bucket-keys"
			case "servicekey", "servicekeys":
				continue // TestServiceKeyRing
			}
			if _, err := secret.Sealer(purpose).Open(e.Value, []byte(e.Key)); err != nil {
				t.Errorf("%s: %v", e.Key, err)
			}
		}
		for _, kind := range []string{
			"kms/key", "kms/alias", "kms/grant", "kms/root", "kms/count", "proxy/bucket", "proxy/upload", "proxy/part", "keyservice", "servicekey", "servicekeys", "state", "audit/signer", "audit/chain",
		} {
			if !kinds[kind] {
				t.Errorf("there is no record of %s: %v", kind, kinds)
			}
		}
	})
}

// TestPlantedRecords attacks as a user with a key, a grant and write access to state.db. Records moved from another
// key, altered records and plain records have no effect, and the refusal names them.
func TestPlantedRecords(t *testing.T) {
	for _, prefix := range []string{"kms/key/", "kms/alias/", "kms/grant/", "kms/root", "proxy/bucket/", "proxy/upload/", "proxy/part/", "keyservice/", "audit/signer/", "audit/signer-current", "audit/chain/"} {
		t.Run(strings.ReplaceAll(prefix, "/", "-"), func(t *testing.T) {
			b := newKit(t)
			fillState(t, b)
			var planted [][]byte
			var key string
			b.changeState(func(s state.Store) {
				var victim, other state.Entry
				for _, e := range rawEntries(t, s) {
					if strings.HasPrefix(e.Key, prefix) {
						victim = e
					} else if strings.HasPrefix(e.Key, "kms/") {
						other = e
					}
				}
				key = victim.Key
				altered := bytes.Clone(victim.Value)
				altered[len(altered)-1] ^= 1
				planted = [][]byte{[]byte(`{"v":1}`), altered, other.Value}
			})
			for i, value := range planted {
				s, err := state.OpenBolt(dataDir(b.conf.DataDir).state())
				if err != nil {
					t.Fatal(err)
				}
				_, err = s.Txn(context.Background(), nil, []state.Op{{Key: key, Value: value}})
				if err = errors.Join(err, s.Close()); err != nil {
					t.Fatal(err)
				}
				wantNotAuthentic(t, b, key, i)
			}
		})
	}
}

// wantNotAuthentic checks that the record is refused, at the start or when it is read.
func wantNotAuthentic(t *testing.T, b *kit, key string, i int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	p, err := Assemble(ctx, &b.conf, slog.New(slog.DiscardHandler))
	if err == nil {
		_, err = p.state.Get(ctx, key)
		err = errors.Join(err, p.Shutdown(ctx))
	}
	if !errors.Is(err, state.ErrNotAuthentic) || !strings.Contains(err.Error(), key) {
		t.Errorf("plant %d: %v", i, err)
	}
}

// unseal turns the state of a stopped waxseal into an earlier version's: its records are plain.
func (b *kit) unseal() {
	b.t.Helper()
	b.changeState(func(s state.Store) {
		secret := b.rootSecret()
		for _, e := range rawEntries(b.t, s) {
			op := state.Op{Key: e.Key, Delete: e.Key == "state/sealed"}
			plain, err := secret.Sealer("state").Open(e.Value, []byte(e.Key))
			if err != nil {
				continue // bucket keys and service keys have seals of their own
			}
			op.Value = plain
			if _, err := s.Txn(context.Background(), nil, []state.Op{op}); err != nil {
				b.t.Fatal(err)
			}
		}
	})
}

// TestStateOfBeforeSeals checks that the plain state of an earlier version is sealed, but under no other root secret: a
// typing error in the environment must not become the only secret that opens the state.
func TestStateOfBeforeSeals(t *testing.T) {
	b := newKit(t)
	fillState(t, b)
	b.unseal()
	dir := dataDir(b.conf.DataDir)
	if err := os.Remove(dir.fingerprint()); err != nil { // the fingerprint is newer than the seals
		t.Fatal(err)
	}
	t.Setenv("WAXSEAL_ROOT_SECRET", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
	if _, err := Assemble(t.Context(), &b.conf, slog.New(slog.DiscardHandler)); !errors.Is(err, rootkey.ErrNotSealed) {
		t.Errorf("under another root secret: %v", err)
	}
	t.Setenv("WAXSEAL_ROOT_SECRET", "")
	b.serve()
	if got := b.read("under-its-default"); string(got) != "body" {
		t.Errorf("read %q", got)
	}
	b.changeState(func(s state.Store) {
		for _, e := range rawEntries(t, s) {
			if json.Valid(e.Value) {
				t.Errorf("%s is still plain", e.Key)
			}
		}
	})
}

// TestPlantedPlainState refuses a plain state in place of a sealed state. A backup may be plain, if an earlier version
// made it: the operator vouches for it.
func TestPlantedPlainState(t *testing.T) {
	b := newKit(t)
	fillState(t, b)
	b.unseal()
	dir := dataDir(b.conf.DataDir)
	file, err := dir.openExisting()
	if err != nil {
		t.Fatal(err)
	}
	backup := filepath.Join(t.TempDir(), "backup")
	err = writeNew(backup, func(w io.Writer) error { return writeBackup(w, file) })
	if err = errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
	if err := BackupFile(t.Context(), &b.conf, backup+"2"); !errors.Is(err, state.ErrNotAuthentic) {
		t.Errorf("a backup of what is not believed: %v", err)
	}
	for try := range 2 { // the first has changed nothing
		_, err := Assemble(t.Context(), &b.conf, slog.New(slog.DiscardHandler))
		if !errors.Is(err, state.ErrNotAuthentic) || !strings.Contains(err.Error(), "waxseal restore FILE") {
			t.Errorf("try %d: %v", try, err)
		}
	}
	if err := os.Remove(dir.state()); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(backup)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := Restore(t.Context(), &b.conf, f, ""); err != nil {
		t.Fatal(err)
	}
	b.serve()
	if got := b.read("under-its-default"); string(got) != "body" {
		t.Errorf("read %q", got)
	}
}
