package local

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"waxseal/keystore"
	"waxseal/keystore/audit"
	"waxseal/keystore/rootkey"
	"waxseal/keystore/state"
)

// The crash test runs this test binary again as a child. The child changes keys as fast as it can and prints each
// acknowledged change. The test kills it with SIGKILL at a random moment, opens the remaining state, and checks it;
// again and again on the same files.

const crashEnv = "WAXSEAL_TEST_CRASH_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashEnv); dir != "" {
		if err := crashChild(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

type crashService struct {
	*Service
	store state.Store
	sink  *audit.FileSink
}

func openCrash(dir string) (*crashService, error) {
	store, err := state.OpenBolt(filepath.Join(dir, "state.db"))
	if err != nil {
		return nil, err
	}
	sink, err := audit.OpenFileSink(filepath.Join(dir, "audit"), audit.FileOptions{})
	if err != nil {
		return nil, err
	}
	secret, err := keystore.NewSecret(bytes.Repeat([]byte{1}, keystore.SecretSize))
	if err != nil {
		return nil, err
	}
	s, err := Open(context.Background(), Config{
		Identities: everybody{},
		State:      store, Secrets: rootkey.New(secret), Audit: sink, Region: testRegion, AccountID: testAccount,
		Log: slog.New(slog.DiscardHandler),
	})
	return &crashService{s, store, sink}, err
}

func (s *crashService) close() error {
	return errors.Join(s.Service.Close(), s.store.Close(), s.sink.Close())
}

// crashChild never ends by itself.
func crashChild(dir string) error {
	s, err := openCrash(dir)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	fmt.Println("ready")
	failed := make(chan error)
	for range 4 {
		go func() {
			for {
				if err := crashRound(s.Service, func(what ...string) {
					mu.Lock()
					defer mu.Unlock()
					os.Stdout.WriteString(strings.Join(what, " ") + "\n") //nolint:errcheck // the parent is gone then
				}); err != nil {
					failed <- err
				}
			}
		}()
	}
	return <-failed
}

// crashRound makes a key and changes it in every way that needs more than one entry of the state.
func crashRound(s *Service, say func(...string)) error {
	who := func() keystore.Caller {
		c := alice
		c.RequestID = uuid.NewString()
		return c
	}
	c := who()
	created, err := s.CreateKey(background, c, &CreateKeyRequest{})
	if err != nil {
		return err
	}
	id := created.KeyMetadata.KeyId
	say("key", c.RequestID, id)
	for i := range 3 {
		c = who()
		enc, err := s.Encrypt(background, c, &EncryptRequest{KeyId: id, Plaintext: []byte(id)})
		if err != nil {
			return err
		}
		say("blob", c.RequestID, id, base64.StdEncoding.EncodeToString(enc.CiphertextBlob))
		c = who()
		if _, err := s.RotateKeyOnDemand(background, c, &KeyRequest{id}); err != nil {
			return err
		}
		say("rotated", c.RequestID, id)
		c = who()
		if _, err := s.TagResource(background, c, &TagResourceRequest{id, []Tag{{fmt.Sprint("t", i), "v"}}}); err != nil {
			return err
		}
		say("tag", c.RequestID, id, fmt.Sprint("t", i))
		c = who()
		alias := fmt.Sprintf("alias/%s/%d", id, i)
		if _, err := s.CreateAlias(background, c, &CreateAliasRequest{alias, id}); err != nil {
			return err
		}
		say("alias", c.RequestID, id, alias)
		c = who()
		grant, err := s.CreateGrant(background, c, &CreateGrantRequest{KeyId: id, GranteePrincipal: alice.ARN, Operations: []string{"Decrypt"}})
		if err != nil {
			return err
		}
		say("grant", c.RequestID, id, grant.GrantId)
	}
	c = who()
	if _, err := s.DeleteAlias(background, c, &DeleteAliasRequest{fmt.Sprintf("alias/%s/%d", id, 2)}); err != nil {
		return err
	}
	say("unalias", c.RequestID, id, fmt.Sprintf("alias/%s/%d", id, 2))
	return nil
}

func TestKilledAtAnyMoment(t *testing.T) {
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	dir := t.TempDir()
	var acknowledged [][]string
	for range rounds {
		acknowledged = append(acknowledged, killOne(t, dir)...)
		checkCrash(t, dir, acknowledged)
	}
	t.Logf("%d changes acknowledged in %d rounds", len(acknowledged), rounds)
	if len(acknowledged) < 20*rounds {
		t.Errorf("only %d changes in %d rounds: the test tests little", len(acknowledged), rounds)
	}
}

// killOne runs a child for a moment and returns its acknowledged changes.
func killOne(t *testing.T, dir string) (said [][]string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), crashEnv+"="+dir)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	if first, err := lines.ReadString('\n'); err != nil || first != "ready\n" {
		t.Fatalf("the child says %q, %v: %s", first, err, stderr.String())
	}
	time.AfterFunc(time.Duration(50+rand.IntN(400))*time.Millisecond, func() {
		cmd.Process.Kill() //nolint:errcheck // Wait tells
	})
	for {
		line, err := lines.ReadString('\n')
		if err == io.EOF {
			break // a line without its end was not said
		}
		if err != nil {
			t.Fatal(err)
		}
		said = append(said, strings.Fields(line))
	}
	if err := cmd.Wait(); err == nil || stderr.Len() > 0 {
		t.Fatalf("the child ended by itself: %v %s", err, stderr.String())
	}
	return said
}

func checkCrash(t *testing.T, dir string, acknowledged [][]string) {
	t.Helper()
	s, err := openCrash(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	}()
	recorded := map[string]bool{}
	if err := audit.Read(filepath.Join(dir, "audit"), audit.Filter{}, func(r audit.Record) bool {
		recorded[r.RequestID] = true
		return true
	}); err != nil {
		t.Fatal(err)
	}
	checkConsistent(t, s)
	unaliased := map[string]bool{}
	for _, what := range acknowledged {
		if what[0] == "unalias" {
			unaliased[what[3]] = true
		}
	}
	for _, what := range acknowledged {
		if !recorded[what[1]] {
			t.Errorf("%s was acknowledged and is not in the log", what)
		}
		k, err := s.load(background, testAccount, what[2])
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		switch what[0] {
		case "blob":
			blob := must(base64.StdEncoding.DecodeString(what[3]))(t)
			if dec, err := s.Decrypt(background, alice, &DecryptRequest{CiphertextBlob: blob}); err != nil || string(dec.Plaintext) != what[2] {
				t.Errorf("%s does not open: %v", what[2], err)
			}
		case "tag":
			if !slices.ContainsFunc(k.Tags, func(tag Tag) bool { return tag.TagKey == what[3] }) {
				t.Errorf("%s is lost", what)
			}
		case "alias":
			// The last alias of a round is deleted again; without an acknowledgement it may be there or not.
			there := has(k.Aliases, what[3])
			if there && unaliased[what[3]] || !there && !strings.HasSuffix(what[3], "/2") {
				t.Errorf("%s: there is %t", what, there)
			}
		case "grant":
			if k.grants.byID[what[3]] == nil {
				t.Errorf("%s is lost", what)
			}
		}
	}
}

// checkConsistent checks that entries written by the same transaction agree.
func checkConsistent(t *testing.T, s *crashService) {
	t.Helper()
	aliases := map[string]string{}
	for _, e := range must(s.store.Range(background, aliasPrefix+testAccount+"/", "", 0))(t) {
		var a aliasRecord
		if err := decodeJSON(e, &a); err != nil {
			t.Fatal(err)
		}
		aliases[aliasNamePrefix+strings.TrimPrefix(e.Key, aliasPrefix+testAccount+"/")] = a.Target
	}
	keys := must(s.store.Range(background, keyPrefix+testAccount+"/", "", 0))(t)
	named := 0
	for _, e := range keys {
		r := must(decodeRecord(e.Value))(t)
		for _, a := range r.Aliases {
			if named++; aliases[a] != r.ID {
				t.Errorf("alias %s of %s leads to %s", a, r.ID, aliases[a])
			}
		}
		if n := len(must(s.store.Range(background, grantPrefix+r.ID+"/", "", 0))(t)); n != r.Grants {
			t.Errorf("%s has %d grants and counts %d", r.ID, n, r.Grants)
		}
		if n := len(r.Materials); n != r.OnDemandRotations+1 || r.current() == nil {
			t.Errorf("%s has %d materials after %d rotations", r.ID, n, r.OnDemandRotations)
		}
	}
	if named != len(aliases) {
		t.Errorf("%d aliases, keys know %d", len(aliases), named)
	}
	var count int
	if _, _, err := s.getJSON(background, countPrefix+testAccount, &count); err != nil || count != len(keys) {
		t.Errorf("%d keys, counted %d, %v", len(keys), count, err)
	}
}
