package rootkey_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"waxseal/keystore"
	"waxseal/keystore/rootkey"
	"waxseal/keystore/state"
)

func secret(t *testing.T, fill byte) keystore.Secret {
	t.Helper()
	s, err := keystore.NewSecret(bytes.Repeat([]byte{fill}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSealer(t *testing.T) {
	root := rootkey.New(secret(t, 1))
	s := root.Sealer("kms-key")
	a, err := s.Seal([]byte("material"), []byte("place"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Seal([]byte("material"), []byte("place"))
	if err != nil || bytes.Equal(a, b) {
		t.Errorf("two seals are alike (%v)", err)
	}
	if got, err := s.Open(a, []byte("place")); err != nil || string(got) != "material" {
		t.Errorf("got %q, %v", got, err)
	}
	if empty, err := s.Seal(nil, nil); err != nil {
		t.Error(err)
	} else if got, err := s.Open(empty, nil); err != nil || len(got) != 0 {
		t.Errorf("got %q, %v", got, err)
	}
	refused := func(what string, s state.Sealer, sealed, aad []byte) {
		t.Helper()
		if got, err := s.Open(sealed, aad); !errors.Is(err, rootkey.ErrNotSealed) || got != nil {
			t.Errorf("%s: got %q, %v", what, got, err)
		}
	}
	refused("another place", s, a, []byte("other"))
	refused("another purpose", root.Sealer("service-key"), a, []byte("place"))
	refused("another root", rootkey.New(secret(t, 2)).Sealer("kms-key"), a, []byte("place"))
	for i := range a {
		flipped := bytes.Clone(a)
		flipped[i] ^= 1
		refused("a flipped bit", s, flipped, []byte("place"))
		refused("cut", s, a[:i], []byte("place"))
	}
	refused("extended", s, append(bytes.Clone(a), 0), []byte("place"))
	root.Zero()
	if _, err := s.Seal(nil, nil); err == nil {
		t.Error("sealed without a secret")
	}
}

// TestSealedFormat opens a value sealed by an earlier version: the format cannot change.
func TestSealedFormat(t *testing.T) {
	sealed, err := hex.DecodeString(goldenSealed)
	if err != nil {
		t.Fatal(err)
	}
	got, err := rootkey.New(secret(t, 1)).Sealer("golden").Open(sealed, []byte("place"))
	if err != nil || string(got) != "material" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestRekey(t *testing.T) {
	old := rootkey.New(secret(t, 1))
	a, err := old.Sealer("x").Seal([]byte("material"), nil)
	if err != nil {
		t.Fatal(err)
	}
	ring := rootkey.New(secret(t, 2), secret(t, 1))
	if got, err := ring.Sealer("x").Open(a, nil); err != nil || string(got) != "material" {
		t.Errorf("got %q, %v", got, err)
	}
	if stale, err := ring.Stale(a); !stale || err != nil {
		t.Errorf("got %v, %v", stale, err)
	}
	b, err := ring.Sealer("x").Seal([]byte("material"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if stale, err := ring.Stale(b); stale || err != nil {
		t.Errorf("got %v, %v", stale, err)
	}
	if _, err := old.Sealer("x").Open(b, nil); err == nil {
		t.Error("the new seal opens with the old secret")
	}
	k1, err1 := old.Derive("tokens")
	k2, err2 := ring.Derive("tokens")
	k3, err3 := ring.Derive("others")
	if errors.Join(err1, err2, err3) != nil || k1.Equal(&k2) || k2.Equal(&k3) {
		t.Error("derived keys are alike")
	}
}

func TestRootSecretFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "root.key")
	if _, err := rootkey.Load("", path, false); !errors.Is(err, rootkey.ErrNoSecret) {
		t.Errorf("got %v, want ErrNoRootSecret", err)
	}
	// Several processes start at once: they end up with one secret.
	roots := make([]*rootkey.Secret, 8)
	var wg sync.WaitGroup
	for i := range roots {
		wg.Go(func() {
			var err error
			if roots[i], err = rootkey.Load("", path, true); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	sealed, err := roots[0].Sealer("x").Seal([]byte("material"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range roots {
		if _, err := r.Sealer("x").Open(sealed, nil); err != nil {
			t.Error(err)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got mode %v, %v", info.Mode(), err)
	}
	if files, err := os.ReadDir(filepath.Dir(path)); err != nil || len(files) != 1 {
		t.Errorf("%d files were left, %v", len(files), err)
	}

	// Rotate, and a process that starts later.
	if err := roots[0].Rotate(); err != nil {
		t.Fatal(err)
	}
	later, err := rootkey.Load("", path, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := later.Sealer("x").Open(sealed, nil); err != nil {
		t.Error(err)
	}
	fresh, err := roots[0].Sealer("x").Seal([]byte("material"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := later.Prune(); err != nil {
		t.Fatal(err)
	}
	for _, load := range []bool{false, true} {
		if load {
			if later, err = rootkey.Load("", path, false); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := later.Sealer("x").Open(fresh, nil); err != nil {
			t.Error(err)
		}
		if _, err := later.Sealer("x").Open(sealed, nil); err == nil {
			t.Error("a secret that was pruned still opens")
		}
	}
}

// TestRootSecretFileChanges: a secret added to the file since it was read stays there, and opens, after every later
// write.
func TestRootSecretFileChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "root.key")
	early := must(rootkey.Load("", path, true))
	other := must(rootkey.Load("", path, false))
	first := must(early.Sealer("x").Seal([]byte("first"), nil))
	if err := other.Rotate(); err != nil {
		t.Fatal(err)
	}
	second := must(other.Sealer("x").Seal([]byte("second"), nil))
	if err := early.Prune(); err == nil || !strings.Contains(err.Error(), "rekey once more") {
		t.Errorf("a secret that it does not know was pruned: %v", err)
	}
	if err := early.Rotate(); err != nil {
		t.Fatal(err)
	}
	third := must(early.Sealer("x").Seal([]byte("third"), nil))
	opens := func(r *rootkey.Secret, want int) {
		t.Helper()
		for i, sealed := range [][]byte{third, second, first} {
			if _, err := r.Sealer("x").Open(sealed, nil); (err == nil) != (i < want) {
				t.Errorf("%d: %v", i, err)
			}
		}
	}
	opens(early, 3)
	opens(must(rootkey.Load("", path, false)), 3)
	if err := early.Prune(); err != nil {
		t.Fatal(err)
	}
	opens(early, 1)
	opens(must(rootkey.Load("", path, false)), 1)

	// An unreadable file is left alone; a removed file is written anew.
	if err := os.WriteFile(path, []byte("not a root secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := early.Rotate(); err == nil || string(must(os.ReadFile(path))) != "not a root secret" {
		t.Errorf("a file of something else was replaced: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := early.Rotate(); err != nil {
		t.Error(err)
	}
	opens(must(rootkey.Load("", path, false)), 1)
}

func TestRootSecretErrors(t *testing.T) {
	good := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{0xfb}, 32))
	dir := t.TempDir()
	for name, c := range map[string]struct {
		env, file string
		mode      os.FileMode
		want      string // in the error; empty: none
	}{
		"env":             {env: good},
		"env, two":        {env: good + ", " + base64.RawURLEncoding.EncodeToString(make([]byte, 32))},
		"env, short":      {env: good + "," + good[:40], want: "root secret 2 in the environment: not 32 bytes in base64"},
		"env, a password": {env: "correct horse battery staple", want: "not 32 bytes in base64"},
		"open to others":  {file: "waxseal-root-secret-v1\n" + good + "\n", mode: 0o640, want: "can be read by others (mode 0640)"},
		"no header":       {file: good + "\n", mode: 0o600, want: "its first line is not waxseal-root-secret-v1"},
		"empty":           {file: "waxseal-root-secret-v1\n", mode: 0o600, want: "has no secret in it"},
		"damaged":         {file: "waxseal-root-secret-v1\n" + good + "\n" + good[1:] + "\n", mode: 0o600, want: "line 3: not 32 bytes"},
		"good":            {file: "waxseal-root-secret-v1\n# a comment\n\n " + good + "\r\n", mode: 0o400},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
			if c.file != "" {
				if err := errors.Join(os.WriteFile(path, []byte(c.file), c.mode), os.Chmod(path, c.mode)); err != nil {
					t.Fatal(err)
				}
			}
			_, err := rootkey.Load(c.env, path, false)
			if c.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), good[:20]) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	if err := must(rootkey.Load(good, "", false)).Rotate(); err == nil {
		t.Error("a secret from the environment was rotated here")
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestServiceKeyRing(t *testing.T) {
	store := state.NewMemory()
	root := rootkey.New(secret(t, 1))
	open := func(r *rootkey.Secret) *rootkey.Ring {
		t.Helper()
		ring, err := rootkey.OpenRing(t.Context(), store, r.Sealer("service-key"))
		if err != nil {
			t.Fatal(err)
		}
		return ring
	}
	// Replicas start at once and agree.
	rings := make([]*rootkey.Ring, 4)
	var wg sync.WaitGroup
	for i := range rings {
		wg.Go(func() { rings[i] = open(root) })
	}
	wg.Wait()
	first, key := rings[0].Current()
	if key.IsZero() {
		t.Error("the first key is zero")
	}
	for _, r := range rings {
		if i, k := r.Current(); i != first || !k.Equal(&key) {
			t.Error("replicas have different keys")
		}
	}
	// A ring rotates; a second ring, without being told, finds the new key by its id, and no absent key.
	second := must(rings[0].Rotate(t.Context()))
	_, newer := rings[0].Current()
	if k, ok := rings[1].ByID(second); !ok || second == first || !k.Equal(&newer) || newer.Equal(&key) {
		t.Error("the other replica does not know the new key")
	}
	if id, _ := rings[1].Current(); id != second {
		t.Error("the other replica goes on with the older key")
	}
	if k, ok := rings[1].ByID(first); !ok || !k.Equal(&key) {
		t.Error("the first key is gone")
	}
	if _, ok := rings[2].ByID(77); ok {
		t.Error("there is no such key")
	}
	// A rekey; its ring can rotate afterwards.
	next := rootkey.New(secret(t, 2), secret(t, 1))
	resealer := open(next)
	if err := resealer.Reseal(t.Context()); err != nil {
		t.Fatal(err)
	}
	last := open(rootkey.New(secret(t, 2)))
	if k, ok := last.ByID(first); !ok || !k.Equal(&key) {
		t.Error("the keys do not open with the new secret alone")
	}
	if id, _ := last.Current(); id != second {
		t.Errorf("after the rekey %d is the current key, not %d", id, second)
	}
	if third := must(resealer.Rotate(t.Context())); third == second {
		t.Error("the key is not rotated")
	}
	if _, err := rootkey.OpenRing(t.Context(), store, root.Sealer("service-key")); !errors.Is(err, rootkey.ErrNotSealed) {
		t.Errorf("the old secret: got %v", err)
	}
	// A sealed key is bound to its id.
	a := must(store.Get(t.Context(), fmt.Sprintf("servicekey/%08x", first)))
	if _, err := store.Txn(t.Context(), nil, []state.Op{{Key: fmt.Sprintf("servicekey/%08x", second), Value: a.Value}}); err != nil {
		t.Fatal(err)
	}
	if _, err := rootkey.OpenRing(t.Context(), store, next.Sealer("service-key")); !errors.Is(err, rootkey.ErrNotSealed) {
		t.Errorf("a key under another's id: got %v", err)
	}
}

// TestServiceKeyIDs: two rings have no id in common, and a ring numbered from 1 keeps its keys and goes on with
// a random id.
func TestServiceKeyIDs(t *testing.T) {
	ids := map[uint32]bool{}
	for range 20 {
		store, root := state.NewMemory(), rootkey.New(keystore.RandomSecret())
		sealer := root.Sealer("service-keys")
		counted := keystore.RandomSecret()
		sealed := must(sealer.Seal(counted.Bytes(), []byte("waxseal/v1/servicekey/\x00\x00\x00\x01")))
		must(store.Txn(t.Context(), nil, []state.Op{{Key: "servicekey/00000001", Value: sealed}}))
		ring := must(rootkey.OpenRing(t.Context(), store, sealer))
		for range 3 {
			id, _ := ring.Current()
			if id < 1<<16 || ids[id] {
				t.Errorf("id %d", id)
			}
			ids[id] = true
			must(ring.Rotate(t.Context()))
		}
		if k, ok := must(rootkey.OpenRing(t.Context(), store, sealer)).ByID(1); !ok || !k.Equal(&counted) {
			t.Error("the counted key is gone")
		}
	}
}

// TestSecretDoesNotShow: no verb of fmt prints a key.
func TestSecretDoesNotShow(t *testing.T) {
	r := rootkey.New(secret(t, 'K'), secret(t, 'K'))
	printed := fmt.Sprintf("%v %+v %#v", r, r, r)
	for _, shown := range []string{"KKKK", "75 75", "4b4b", "0x4b, 0x4b"} {
		if strings.Contains(printed, shown) {
			t.Errorf("the key shows as %q in %s", shown, printed)
		}
	}
}

// goldenSealed is "material", sealed under 32 bytes of 0x01 for the purpose "golden" and the place "place".
const goldenSealed = "01d178fd53d1533f820f17f1b1f5fba3b01d967c378904645d8e90837034961b00b11954a3327ad5a052031f04c88610e7ae3dca999ba816df80a427b7395440ff"
