package iam_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"waxseal/keystore/iam"
)

func TestSecretIsNeverShown(t *testing.T) {
	const hidden = "wJalrXUtnFEMI"
	u := iam.User{Name: "alice", AccessKey: "AKIA", Secret: iam.NewSecret(hidden), Upstream: &iam.Credentials{AccessKey: "a", Secret: iam.NewSecret(hidden)}}
	var b bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		fmt.Fprintf(&b, verb+verb+verb+"\n", u, &u, u.Secret)
		fmt.Fprintf(&b, verb+"\n", *u.Upstream)
	}
	for _, h := range []slog.Handler{slog.NewTextHandler(&b, nil), slog.NewJSONHandler(&b, nil)} {
		slog.New(h).Info("x", "user", u, "secret", u.Secret)
	}
	for _, marshal := range []func(any) ([]byte, error){json.Marshal, xml.Marshal} {
		out, err := marshal(u.Secret)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(out)
	}
	if strings.Contains(b.String(), hidden) || strings.Contains(b.String(), fmt.Sprintf("%x", hidden)) {
		t.Fatal("shown: " + b.String())
	}
	if u.Secret.Reveal() != hidden {
		t.Fatal("lost")
	}
}

func user(name, key string) iam.User {
	return iam.User{Name: name, ARN: iam.UserARN("000000000000", name), AccountID: "000000000000", AccessKey: key, Secret: iam.NewSecret("s" + key)}
}

func TestDirectory(t *testing.T) {
	d, err := iam.NewDirectory([]iam.User{user("alice", "A"), user("bob", "B")})
	if err != nil {
		t.Fatal(err)
	}
	if c, err := d.Resolve("B", ""); err != nil || c.Owner.Name != "bob" || c.Secret.Reveal() != "sB" {
		t.Fatal(c, err)
	}
	if id, ok := d.PrincipalID("arn:aws:iam::000000000000:user/alice"); !ok || !strings.HasPrefix(id, "AIDA") || len(id) != 21 || !d.HasID(id) {
		t.Fatal(id, ok)
	}
	if _, err := d.Resolve("C", ""); !errors.Is(err, iam.ErrUnknownKey) {
		t.Fatal("found a user that is not there")
	}
	if _, err := d.Resolve("A", "token"); !errors.Is(err, iam.ErrInvalidToken) {
		t.Fatal("took a token beside a long-term key")
	}
	noKey, noARN := user("x", ""), user("x", "X")
	noARN.ARN = ""
	for _, bad := range [][]iam.User{{user("a", "A"), user("b", "A")}, {user("a", "A"), user("a", "B")}, {noKey}, {noARN}} {
		if err := d.Replace(bad); err == nil || strings.Contains(err.Error(), "sA") {
			t.Fatal(err)
		}
	}
	if len(d.Users()) != 2 {
		t.Fatal("a failed Replace changed the directory")
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 1000 {
				a, err := d.Resolve("A", "")
				if err == nil && a.Owner.Name != "alice" {
					t.Error("mixed")
				}
			}
		})
	}
	for range 100 {
		if err := d.Replace([]iam.User{user("carol", "C")}); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	if _, err := d.Resolve("A", ""); err == nil {
		t.Fatal("a removed user was found")
	}
	root := iam.User{Root: true, AccountID: "123456789012", ARN: iam.RootARN("123456789012")}
	if root.ID() != "123456789012" || root.Requester().Principal().ARN != "arn:aws:iam::123456789012:root" {
		t.Fatal(root.ID())
	}
}
