package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"waxseal/keystore"
	"waxseal/keystore/rootkey"
	"waxseal/keystore/state"
)

func TestLimits(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.Limits = Limits{Keys: 3, AliasesPerKey: 2, GrantsPerKey: 2, TagsPerKey: 2, PolicyBytes: 600}
	})
	md := r.newKey(nil)
	r.newKey(nil)
	third := r.newKey(nil)
	_, err := r.CreateKey(background, alice, &CreateKeyRequest{})
	wantCode(t, err, codeLimitExceeded)
	must(r.CreateKey(background, user(otherAccount, "eve"), &CreateKeyRequest{}))(t)
	must(r.DescribeKey(background, alice, &DescribeKeyRequest{KeyId: managedS3Alias}))(t) // not counted against anybody
	must(r.ScheduleKeyDeletion(background, alice, &ScheduleKeyDeletionRequest{KeyId: third.KeyId, PendingWindowInDays: ptr(7)}))(t)
	for i := range 3 {
		_, err = r.CreateAlias(background, alice, &CreateAliasRequest{fmt.Sprint("alias/", i), md.KeyId})
		wantCode(t, err, map[bool]string{i == 2: codeLimitExceeded}[true])
		_, err = r.CreateGrant(background, alice, &CreateGrantRequest{KeyId: md.KeyId, GranteePrincipal: alice.ARN, Operations: []string{"Decrypt"}})
		wantCode(t, err, map[bool]string{i == 2: codeLimitExceeded}[true])
		_, err = r.TagResource(background, alice, &TagResourceRequest{md.KeyId, []Tag{{fmt.Sprint(i), "v"}}})
		wantCode(t, err, map[bool]string{i == 2: codeTag}[true])
	}
	long := one(`{"Sid":"` + string(bytes.Repeat([]byte("x"), 600)) + `","Effect":"Allow","Principal":"*","Action":"kms:Encrypt","Resource":"*"}`)
	_, err = r.PutKeyPolicy(background, alice, &PutKeyPolicyRequest{KeyId: md.KeyId, Policy: long})
	wantCode(t, err, codeLimitExceeded)
}

// TestManyKeysAtOnce makes more keys at the same time than there are tries after a conflict.
func TestManyKeysAtOnce(t *testing.T) {
	store := must(state.OpenBolt(filepath.Join(t.TempDir(), "state.db")))(t)
	r := newRig(t, func(c *Config) { c.State = store })
	defer func() {
		if err := errors.Join(r.Close(), store.Close()); err != nil {
			t.Error(err)
		}
	}()
	const keys = 3 * maxTries
	var group sync.WaitGroup
	failures := make(chan error, keys)
	for range keys {
		group.Go(func() {
			if _, err := r.CreateKey(background, alice, &CreateKeyRequest{}); err != nil {
				failures <- err
			}
		})
	}
	group.Wait()
	if n := len(failures); n > 0 {
		t.Errorf("%d of %d failed: %v", n, keys, <-failures)
	}
	var count int
	if _, _, err := r.getJSON(background, countPrefix+testAccount, &count); err != nil || count != keys {
		t.Errorf("counted %d keys, %v", count, err)
	}
}

// conflicted is a state with a conflict for every write.
type conflicted struct {
	state.Store
	on atomic.Bool
}

func (c *conflicted) Txn(ctx context.Context, conds []state.Cond, ops []state.Op) (int64, error) {
	if c.on.Load() {
		return 0, state.ErrConflict
	}
	return c.Store.Txn(ctx, conds, ops)
}

func TestTooManyChanges(t *testing.T) {
	store := &conflicted{Store: state.NewMemory()}
	r := newRig(t, func(c *Config) { c.State = store })
	md := r.newKey(nil)
	store.on.Store(true)
	defer store.on.Store(false)
	_, err := r.DisableKey(background, alice, &KeyRequest{md.KeyId})
	wantCode(t, err, codeThrottling) // clients try it again
}

// TestUpdateAliasTells both keys' caches: a policy may go by aliases.
func TestUpdateAliasTells(t *testing.T) {
	r := newRig(t)
	from, to := r.newKey(nil), r.newKey(nil)
	must(r.CreateAlias(background, alice, &CreateAliasRequest{"alias/x", from.KeyId}))(t)
	var told []string
	r.OnKeyChange(func(keyARN string) { told = append(told, keyARN) })
	must(r.UpdateAlias(background, alice, &UpdateAliasRequest{"alias/x", to.KeyId}))(t)
	if !slices.Contains(told, from.Arn) || !slices.Contains(told, to.Arn) {
		t.Errorf("told of %v", told)
	}
}

// countedStore counts the entries read by listings.
type countedStore struct {
	state.Store
	read atomic.Int64
}

func (c *countedStore) Range(ctx context.Context, prefix, after string, limit int) ([]state.Entry, error) {
	entries, err := c.Store.Range(ctx, prefix, after, limit)
	c.read.Add(int64(len(entries)))
	return entries, err
}

// TestRetirablePages: a page of retirable grants goes on where the last ended, and does not read them all again.
func TestRetirablePages(t *testing.T) {
	store := &countedStore{Store: state.NewMemory()}
	r := newRig(t, func(c *Config) { c.State = store })
	const keys, mine = 7, 100
	want := map[string]bool{}
	for range keys {
		md := r.newKey(nil)
		for i := range 2 * mine {
			retiring := alice.ARN
			if i%2 == 1 { // named in another place, or longer
				retiring = alice.ARN + "s"
			}
			g := must(r.CreateGrant(background, alice, &CreateGrantRequest{
				KeyId: md.KeyId, GranteePrincipal: alice.ARN, RetiringPrincipal: retiring, Operations: []string{"Encrypt"}}))(t)
			if i%2 == 0 {
				want[g.GrantId] = true
			}
		}
	}
	store.read.Store(0)
	in, pages := &ListRetirableGrantsRequest{RetiringPrincipal: alice.ARN, Limit: ptr(mine)}, 0
	for ; pages <= keys; pages++ {
		out := must(r.ListRetirableGrants(background, alice, in))(t)
		for _, g := range out.Grants {
			if !want[g.GrantId] || g.RetiringPrincipal != alice.ARN {
				t.Errorf("listed %+v, again or without right", g)
			}
			delete(want, g.GrantId)
		}
		if in.Marker = out.NextMarker; !out.Truncated {
			break
		}
	}
	if len(want) > 0 || pages != keys-1 {
		t.Errorf("%d grants are missing after %d pages", len(want), pages+1)
	}
	if n := store.read.Load(); n > 2*2*keys*mine {
		t.Errorf("read %d entries for %d grants", n, 2*keys*mine)
	}
	_, err := r.ListRetirableGrants(background, alice, &ListRetirableGrantsRequest{RetiringPrincipal: alice.ARN, Marker: nextMarker("grants", "x")})
	wantCode(t, err, codeInvalidMarker)
}

func TestThrottling(t *testing.T) {
	r := newRig(t, func(c *Config) { c.RequestsPerSecond = 5 })
	for range 5 {
		must(r.GenerateRandom(background, alice, &GenerateRandomRequest{NumberOfBytes: ptr(1)}))(t)
	}
	_, err := r.GenerateRandom(background, alice, &GenerateRandomRequest{NumberOfBytes: ptr(1)})
	wantCode(t, err, codeThrottling)
	must(r.GenerateRandom(background, user(testAccount, "bob"), &GenerateRandomRequest{NumberOfBytes: ptr(1)}))(t)
	r.advance(time.Second)
	must(r.GenerateRandom(background, alice, &GenerateRandomRequest{NumberOfBytes: ptr(1)}))(t)
	var throttled uint64
	for _, c := range r.Counts() {
		if c.Code == codeThrottling {
			throttled += c.N
		}
	}
	if throttled != 1 {
		t.Errorf("%d throttled", throttled)
	}
}

func TestExportImport(t *testing.T) {
	r := newRig(t)
	var ids []string
	var blobs [][]byte
	for range 250 { // more than a chunk
		md := r.newKey(nil)
		ids = append(ids, md.KeyId)
		blobs = append(blobs, must(r.Encrypt(background, alice, &EncryptRequest{KeyId: md.KeyId, Plaintext: []byte(md.KeyId)}))(t).CiphertextBlob)
	}
	root, id, err := r.Root(nil).Current(background)
	if err != nil {
		t.Fatal(err)
	}
	var backup bytes.Buffer
	if err := r.Export(background, &backup); err != nil {
		t.Fatal(err)
	}
	if err := Import(background, r.store, r.root, bytes.NewReader(backup.Bytes())); err == nil {
		t.Error("restored over existing keys")
	}
	other := rootkey.New(keystore.RandomSecret())
	if err := Import(background, state.NewMemory(), other, bytes.NewReader(backup.Bytes())); !errors.Is(err, errBackup) {
		t.Errorf("another root secret: %v", err)
	}

	// A state with an interrupted restore cannot be opened; a new restore succeeds.
	fresh := state.NewMemory()
	if err := Import(background, fresh, r.root, bytes.NewReader(backup.Bytes()[:backup.Len()-1])); !errors.Is(err, errBackup) {
		t.Errorf("cut backup: %v", err)
	}
	cfg := Config{State: fresh, Secrets: r.root, Audit: r.audit, Region: testRegion, AccountID: testAccount, Now: r.clock, Identities: everybody{}}
	if _, err := Open(background, cfg); err == nil {
		t.Error("a half restored state was opened")
	}
	if err := Import(background, fresh, r.root, bytes.NewReader(backup.Bytes())); err != nil {
		t.Fatal(err)
	}

	r2 := &rig{t: t, store: fresh, audit: r.audit, root: r.root, now: r.now}
	r2.open()
	defer r2.Close()
	for i, blob := range blobs {
		if dec := must(r2.Decrypt(background, alice, &DecryptRequest{CiphertextBlob: blob}))(t); string(dec.Plaintext) != ids[i] {
			t.Fatalf("key %d gives %q", i, dec.Plaintext)
		}
	}
	again, err := r2.Root(nil).Open(background, id)
	if err != nil || !bytes.Equal(again.Key(), root.Key()) {
		t.Fatalf("root: %v", err)
	}
}

func TestRekey(t *testing.T) {
	oldSecret, newSecret := keystore.RandomSecret(), keystore.RandomSecret()
	r := newRig(t, func(c *Config) { c.Secrets = rootkey.New(oldSecret) })
	var blobs [][]byte
	for range 5 {
		blobs = append(blobs, must(r.Encrypt(background, alice, &EncryptRequest{KeyId: r.newKey(nil).KeyId, Plaintext: []byte("x")}))(t).CiphertextBlob)
	}
	r.Close()
	r.open(func(c *Config) { c.Secrets = rootkey.New(newSecret, oldSecret) })
	if n := must(r.Rekey(background))(t); n != 6 { // five keys and the root
		t.Errorf("%d records sealed again", n)
	}
	if n := must(r.Rekey(background))(t); n != 0 {
		t.Errorf("%d records sealed again the second time", n)
	}
	r.Close()
	r.open(func(c *Config) { c.Secrets = rootkey.New(newSecret) })
	for _, blob := range blobs {
		must(r.Decrypt(background, alice, &DecryptRequest{CiphertextBlob: blob}))(t)
	}
}

// Many goroutines change the same key at the same time: every acknowledged change is there.
func TestConcurrentChanges(t *testing.T) {
	r := newRig(t)
	md := r.newKey(nil)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(background, time.Minute)
			defer cancel()
			if _, err := r.TagResource(ctx, alice, &TagResourceRequest{md.KeyId, []Tag{{fmt.Sprint(i), "v"}}}); err != nil {
				t.Error(err)
			}
			if _, err := r.CreateAlias(ctx, alice, &CreateAliasRequest{fmt.Sprint("alias/", i), md.KeyId}); err != nil {
				t.Error(err)
			}
			if _, err := r.CreateGrant(ctx, alice, &CreateGrantRequest{KeyId: md.KeyId, GranteePrincipal: alice.ARN, Operations: []string{"Decrypt"}}); err != nil {
				t.Error(err)
			}
			if _, err := r.CreateKey(ctx, alice, &CreateKeyRequest{}); err != nil {
				t.Error(err)
			}
			if _, err := r.DescribeKey(ctx, alice, &DescribeKeyRequest{KeyId: managedS3Alias}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	tags := must(r.ListResourceTags(background, alice, &ListOfKeyRequest{KeyId: md.KeyId}))(t).Tags
	aliases := must(r.ListAliases(background, alice, &ListAliasesRequest{KeyId: md.KeyId}))(t).Aliases
	grants := must(r.ListGrants(background, alice, &ListGrantsRequest{KeyId: md.KeyId}))(t).Grants
	keys := must(r.ListKeys(background, alice, &ListKeysRequest{}))(t).Keys
	if len(tags) != 20 || len(aliases) != 20 || len(grants) != 20 || len(keys) != 22 {
		t.Errorf("%d tags, %d aliases, %d grants, %d keys", len(tags), len(aliases), len(grants), len(keys))
	}
}

func TestLastUsage(t *testing.T) {
	r := newRig(t)
	md := r.newKey(nil)
	if out := must(r.GetKeyLastUsage(background, alice, &KeyRequest{md.KeyId}))(t); out.KeyLastUsage != nil {
		t.Errorf("used already: %+v", out.KeyLastUsage)
	}
	must(r.Encrypt(background, alice, &EncryptRequest{KeyId: md.KeyId, Plaintext: []byte("x")}))(t)
	event := r.last()
	_, err := r.Encrypt(background, alice, &EncryptRequest{KeyId: md.KeyId, Plaintext: []byte("x"), DryRun: true})
	wantCode(t, err, codeDryRun)
	r.Close()
	r.open()
	use := must(r.GetKeyLastUsage(background, alice, &KeyRequest{md.KeyId}))(t).KeyLastUsage
	if use == nil || use.Operation != "Encrypt" || use.CloudTrailEventId != event.EventID || use.KmsRequestId != event.RequestID {
		t.Errorf("last use %+v", use)
	}
}

// unwritable fails the next transactions.
type unwritable struct {
	state.Store
	fails int
}

func (s *unwritable) Txn(ctx context.Context, conds []state.Cond, ops []state.Op) (int64, error) {
	if s.fails > 0 {
		s.fails--
		return 0, errors.New("the disk is full")
	}
	return s.Store.Txn(ctx, conds, ops)
}

// TestLastUsageAfterAFault: last uses that failed to be written are written the next time, unless there are newer uses.
func TestLastUsageAfterAFault(t *testing.T) {
	store := &unwritable{}
	r := newRig(t, func(c *Config) { store.Store, c.State = c.State, store })
	first, second := r.newKey(nil).KeyId, r.newKey(nil).KeyId
	encrypt := func(id string) {
		must(r.Encrypt(background, alice, &EncryptRequest{KeyId: id, Plaintext: []byte("x")}))(t)
	}
	encrypt(first)
	encrypt(second)
	of := map[string]string{first: "", second: ""}
	for _, rec := range r.audit.Records() {
		if rec.EventName == "Encrypt" {
			of[strings.TrimPrefix(rec.Resources[0].ARN, keyARN(testRegion, testAccount, ""))] = rec.EventID
		}
	}
	store.fails = 1
	if err := r.flushUsage(background); err == nil {
		t.Fatal("the fault was swallowed")
	}
	encrypt(second)
	of[second] = r.last().EventID
	if err := r.flushUsage(background); err != nil {
		t.Fatal(err)
	}
	for id, event := range of {
		if use := must(r.GetKeyLastUsage(background, alice, &KeyRequest{id}))(t).KeyLastUsage; use == nil || use.CloudTrailEventId != event {
			t.Errorf("%s: last use %+v, want %s", id, use, event)
		}
	}
}

// TestDryRunSaysWhatWouldFail: a plaintext too long for the key is refused, dry or not.
func TestDryRunSaysWhatWouldFail(t *testing.T) {
	r := newRig(t)
	rsaKey, aes := r.newKey(&CreateKeyRequest{KeySpec: "RSA_2048", KeyUsage: usageEncrypt}).KeyId, r.newKey(nil).KeyId
	large := make([]byte, 300)
	blob := must(r.Encrypt(background, alice, &EncryptRequest{KeyId: aes, Plaintext: large}))(t).CiphertextBlob
	for _, dry := range []bool{false, true} {
		wantCode(t, failed(r.Encrypt(background, alice, &EncryptRequest{KeyId: rsaKey, Plaintext: large, EncryptionAlgorithm: algOAEPSHA256, DryRun: dry})), codeValidation)
		wantCode(t, failed(r.ReEncrypt(background, alice, &ReEncryptRequest{CiphertextBlob: blob, DestinationKeyId: rsaKey, DestinationEncryptionAlgorithm: algOAEPSHA256, DryRun: dry})), codeValidation)
	}
}

// reads counts the entries read from a store.
type reads struct {
	state.Store
	n int
}

func (s *reads) Get(ctx context.Context, key string) (state.Entry, error) {
	s.n++
	return s.Store.Get(ctx, key)
}

func (s *reads) Range(ctx context.Context, prefix, after string, limit int) ([]state.Entry, error) {
	got, err := s.Store.Range(ctx, prefix, after, limit)
	s.n += len(got)
	return got, err
}

// TestListAliasesReads: a page of aliases, and the aliases of a key, read as many entries as they return, and not all
// of the account's.
func TestListAliasesReads(t *testing.T) {
	r := newRig(t)
	var keys []string
	for i := range 6 {
		md := r.newKey(nil)
		keys = append(keys, md.KeyId)
		for j := range 50 {
			must(r.CreateAlias(background, alice, &CreateAliasRequest{fmt.Sprintf("alias/%02d/%d", j, i), md.KeyId}))(t)
		}
	}
	counted := &reads{Store: r.state}
	r.state = counted
	list := func(in *ListAliasesRequest, most int) *ListAliasesResponse {
		t.Helper()
		counted.n = 0
		out := must(r.ListAliases(background, alice, in))(t)
		if counted.n > most {
			t.Errorf("%d entries were read for %d aliases", counted.n, len(out.Aliases))
		}
		return out
	}
	limit := 7
	for _, keyID := range []string{"", keys[2]} {
		var names []string
		for in := (&ListAliasesRequest{KeyId: keyID, Limit: &limit}); ; {
			out := list(in, limit+4)
			for _, a := range out.Aliases {
				names = append(names, a.AliasName)
				if keyID != "" && a.TargetKeyId != keyID {
					t.Errorf("%s is of %s", a.AliasName, a.TargetKeyId)
				}
			}
			if !out.Truncated {
				break
			}
			in.Marker = out.NextMarker
		}
		want := 300
		if keyID != "" {
			want = 50
		}
		if !slices.IsSorted(names) || len(slices.Compact(slices.Clone(names))) != want || len(names) != want {
			t.Errorf("%d names of %d: %v", len(names), want, names)
		}
	}
	for _, name := range []string{"alias/03/2", "alias/03/3"} {
		must(r.DeleteAlias(background, alice, &DeleteAliasRequest{name}))(t)
	}
	must(r.UpdateAlias(background, alice, &UpdateAliasRequest{"alias/04/2", keys[3]}))(t)
	if out := list(&ListAliasesRequest{KeyId: keys[2]}, 60); len(out.Aliases) != 48 {
		t.Errorf("%d aliases are left", len(out.Aliases))
	}
	if out := list(&ListAliasesRequest{KeyId: keys[3]}, 60); len(out.Aliases) != 50 || out.Truncated {
		t.Errorf("%d aliases are there now", len(out.Aliases))
	}
}
