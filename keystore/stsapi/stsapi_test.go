package stsapi

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"waxseal/keystore"
	"waxseal/keystore/audit"
	"waxseal/keystore/awsquery"
	"waxseal/keystore/directory"
	"waxseal/keystore/iam"
	"waxseal/keystore/state"
	"waxseal/keystore/webidentity"
)

const (
	account = "123456789012"
	idp     = "token.example.com/k8s"
	allowS3 = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}`
)

type rig struct {
	t      *testing.T
	api    *awsquery.API
	dir    *directory.Directory
	people *iam.Directory
	audit  *audit.Memory
	clock  time.Time
	key    *ecdsa.PrivateKey
	caller keystore.Caller
}

// newRig is an STS with a role "app" for the user alice, "pod" for web identities, "open" for the account.
func newRig(t *testing.T, store state.Store) *rig {
	t.Helper()
	r := &rig{t: t, audit: new(audit.Memory), clock: time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)}
	now := func() time.Time { return r.clock }
	file := []iam.User{
		{Name: "root", ARN: iam.RootARN(account), AccountID: account, Root: true, AccessKey: "AKIAROOT", Secret: iam.NewSecret("s")},
		{Name: "alice", ARN: iam.UserARN(account, "alice"), AccountID: account, AccessKey: "AKIAALICE", Secret: iam.NewSecret("s"), Everything: true},
	}
	var err error
	if r.people, err = iam.NewDirectory(file); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	if r.dir, err = directory.Open(t.Context(), directory.Config{State: store, People: r.people, Account: account, Now: now, Log: log}, file); err != nil {
		t.Fatal(err)
	}
	if r.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	point, err := r.key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	jwks := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(jwks, []byte(`{"keys":[{"kty":"EC","crv":"P-256","kid":"k","x":"`+b64(point[1:33])+`","y":"`+b64(point[33:])+`"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	keys := &webidentity.KeySets{Sources: map[string]webidentity.Source{"https://" + idp: {JWKSFile: jwks}}, Now: now}
	r.api = New(Config{Directory: r.dir, Keys: keys}, awsquery.API{Audit: r.audit, Region: "us-east-1", Account: account, Now: now, Log: log})
	r.caller = r.as("AKIAALICE", "")
	return r
}

// seed makes the roles and the provider.
func (r *rig) seed() *rig {
	r.t.Helper()
	r.change(func(m *directory.Model) {
		m.PutProvider(&directory.Provider{URL: idp, ClientIDs: []string{"sts.amazonaws.com"}})
		for name, trust := range map[string]string{
			"app": `"Principal":{"AWS":"` + iam.UserARN(account, "alice") + `"},"Action":"sts:AssumeRole"`,
			"pod": `"Principal":{"Federated":"arn:aws:iam::` + account + `:oidc-provider/` + idp + `"},"Action":"sts:AssumeRoleWithWebIdentity",
				"Condition":{"StringEquals":{"` + idp + `:sub":"system:serviceaccount:a:b","` + idp + `:aud":"sts.amazonaws.com"}}`,
			"open":     `"Principal":{"AWS":"` + account + `"},"Action":"sts:AssumeRole"`,
			"everyone": `"Principal":"*","Action":"sts:*"`,
			"outside":  `"Principal":{"AWS":"` + account + `"},"Action":"sts:AssumeRole","Condition":{"StringEquals":{"sts:ExternalId":"secret-word"}}`,
			"next":     `"Principal":{"AWS":"arn:aws:iam::` + account + `:role/app"},"Action":"sts:AssumeRole"`,
		} {
			role := directory.NewRole(name, "/", r.clock)
			role.Trust, role.MaxSession = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow",`+trust+`}]}`, 7200
			role.Inline = map[string]string{"p": allowS3}
			m.PutRole(role)
		}
	})
	return r
}

func (r *rig) change(f func(*directory.Model)) {
	r.t.Helper()
	if err := r.dir.Change(context.Background(), func(m *directory.Model) error { f(m); return nil }); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) as(key, token string) keystore.Caller {
	r.t.Helper()
	c, err := r.people.Resolve(key, token)
	if err != nil {
		r.t.Fatal(err)
	}
	return keystore.CallerOf(c.Owner)
}

func role(name string) string { return "arn:aws:iam::" + account + ":role/" + name }

func (r *rig) ask(op string, pairs ...string) (status int, code, body string) {
	r.t.Helper()
	form := url.Values{"Action": {op}, "Version": {version}}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	a := r.api.Serve(context.Background(), r.caller, []byte(form.Encode()))
	return a.Status, a.Code, string(a.Body)
}

func (r *rig) fails(want, op string, pairs ...string) {
	r.t.Helper()
	if status, code, body := r.ask(op, pairs...); code != want {
		r.t.Errorf("%s %v: %d %s, want %s\n%s", op, pairs, status, code, want, body)
	}
}

type session struct{ key, secret, token, body string }

func (r *rig) assume(op string, pairs ...string) session {
	r.t.Helper()
	status, code, body := r.ask(op, pairs...)
	if status != 200 {
		r.t.Fatalf("%s %v: %d %s %s", op, pairs, status, code, body)
	}
	return session{field(body, "AccessKeyId"), field(body, "SecretAccessKey"), field(body, "SessionToken"), body}
}

func field(body, name string) string {
	_, rest, _ := strings.Cut(body, "<"+name+">")
	text, _, _ := strings.Cut(rest, "</"+name+">")
	return text
}

func decide(c iam.Credential, action, resource string) iam.Decision {
	return c.Owner.Decide(&iam.Request{Principal: c.Owner.Principal(), Action: action, Resource: resource}).Decision()
}

// TestEveryOperationOfTheModel: each operation of AWS's model of STS is answered, or refused by name.
func TestEveryOperationOfTheModel(t *testing.T) {
	names, err := os.ReadFile("../awsquery/sts.txt")
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, state.NewMemory()).seed()
	all := strings.Fields(string(names))
	for _, name := range all {
		has := slices.ContainsFunc(r.api.Operations, func(o awsquery.Operation) bool { return o.Name == name })
		status, code, body := r.ask(name)
		if has && (code == "NotImplemented" || code == "InvalidAction") || !has && (status != 501 || code != "NotImplemented" || !strings.Contains(body, name)) {
			t.Errorf("%s: %d %s %s", name, status, code, body)
		}
	}
	if len(all) < 11 {
		t.Errorf("the model has %d operations", len(all))
	}
	r.caller = keystore.Caller{}
	for _, op := range []string{"GetCallerIdentity", "AssumeRole"} {
		r.fails("MissingAuthenticationToken", op, "RoleArn", role("everyone"), "RoleSessionName", "sess")
	}
}

// TestAssumeRole: the principals of its trust policy can assume a role, with its permissions, for its longest duration.
func TestAssumeRole(t *testing.T) {
	r := newRig(t, state.NewMemory()).seed()
	s := r.assume("AssumeRole", "RoleArn", role("app"), "RoleSessionName", "sess")
	if !strings.HasPrefix(s.key, "ASIA") || len(s.token) > directory.MaxToken || field(s.body, "Expiration") != "2026-12-01T13:00:00Z" {
		t.Error(s.body)
	}
	c, err := r.people.Resolve(s.key, s.token)
	if err != nil || c.Secret.Reveal() != s.secret || c.Owner.ARN != "arn:aws:sts::"+account+":assumed-role/app/sess" || !strings.HasSuffix(c.Owner.ID, ":sess") {
		t.Fatalf("%+v, %v", c.Owner, err)
	}
	if decide(c, "s3:GetObject", "arn:aws:s3:::b/k") != iam.Allow || decide(c, "kms:Decrypt", "*") != iam.NoMatch {
		t.Error("the session has other rights than its role")
	}
	two := []string{"RoleSessionName", "sess"}
	r.fails("AccessDenied", "AssumeRole", append(two, "RoleArn", role("none"))...)
	r.fails("AccessDenied", "AssumeRole", append(two, "RoleArn", role("pod"))...)
	r.fails("AccessDenied", "AssumeRole", append(two, "RoleArn", role("open"))...) // the account is named, and alice's own policies say nothing of sts
	r.fails("AccessDenied", "AssumeRole", append(two, "RoleArn", role("next"))...)
	r.fails("ValidationError", "AssumeRole", append(two, "RoleArn", role("app"), "DurationSeconds", "7201")...)
	r.fails("ValidationError", "AssumeRole", append(two, "RoleArn", role("app"), "DurationSeconds", "899")...)
	r.assume("AssumeRole", append(two, "RoleArn", role("app"), "DurationSeconds", "7200")...)
	for _, refused := range []string{"SourceIdentity", "Tags.member.1.Key", "TransitiveTagKeys.member.1", "SerialNumber", "TokenCode", "ProvidedContexts.member.1.ProviderArn"} {
		r.fails("ValidationError", "AssumeRole", append(two, "RoleArn", role("app"), refused, "xxxxxxxxx")...)
	}
	r.fails("AccessDenied", "AssumeRole", append(two, "RoleArn", role("outside"))...)
	mallory := *r.caller.Requester
	r.caller = keystore.CallerOf(mallory.Identify())
	root := *iam.RootOf(account)
	r.caller = keystore.CallerOf(root.Identify())
	for _, name := range []string{"app", "open", "everyone"} {
		r.fails("AccessDenied", "AssumeRole", append(two, "RoleArn", role(name))...) // root may not assume
	}
}

// TestChainedSessions: a session of a session lasts an hour at most, even if the role allows more.
func TestChainedSessions(t *testing.T) {
	r := newRig(t, state.NewMemory()).seed()
	s := r.assume("AssumeRole", "RoleArn", role("app"), "RoleSessionName", "sess")
	r.caller = r.as(s.key, s.token)
	r.fails("ValidationError", "AssumeRole", "RoleArn", role("next"), "RoleSessionName", "more", "DurationSeconds", "3601")
	next := r.assume("AssumeRole", "RoleArn", role("next"), "RoleSessionName", "more", "DurationSeconds", "3600")
	if c := r.as(next.key, next.token); c.ARN != "arn:aws:sts::"+account+":assumed-role/next/more" {
		t.Error(c.ARN)
	}
}

// TestSessionPolicies: session policies, inline and by ARN, narrow a session and never widen it.
func TestSessionPolicies(t *testing.T) {
	r := newRig(t, state.NewMemory()).seed()
	prefix := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:*","kms:*"],"Resource":"arn:aws:s3:::lake/db/table/*"}]}`
	r.change(func(m *directory.Model) { m.PutPolicy(directory.NewPolicy("narrow", "/", prefix, r.clock)) })
	arn := "arn:aws:iam::" + account + ":policy/narrow"
	for name, pairs := range map[string][]string{"inline": {"Policy", prefix}, "by ARN": {"PolicyArns.member.1.arn", arn}} {
		s := r.assume("AssumeRole", append(pairs, "RoleArn", role("app"), "RoleSessionName", "sess")...)
		c, err := r.people.Resolve(s.key, s.token)
		if err != nil {
			t.Fatal(err)
		}
		if decide(c, "s3:GetObject", "arn:aws:s3:::lake/db/table/f") != iam.Allow || decide(c, "s3:GetObject", "arn:aws:s3:::lake/db/other/f") != iam.NoMatch ||
			decide(c, "kms:Decrypt", "arn:aws:s3:::lake/db/table/f") != iam.NoMatch {
			t.Errorf("%s: the session is not what role and session policy both allow", name)
		}
	}
	s := r.assume("AssumeRole", "PolicyArns.member.1.arn", arn, "RoleArn", role("app"), "RoleSessionName", "sess")
	r.change(func(m *directory.Model) { m.RemovePolicy(m.Policies["narrow"]) })
	if c, err := r.people.Resolve(s.key, s.token); err != nil || decide(c, "s3:GetObject", "arn:aws:s3:::lake/db/table/f") == iam.Allow {
		t.Errorf("a session whose policy was deleted: %v", err)
	}
	r.fails("MalformedPolicyDocument", "AssumeRole", "Policy", "{}", "RoleArn", role("app"), "RoleSessionName", "sess")
	r.fails("ValidationError", "AssumeRole", "Policy", prefix+strings.Repeat(" ", 2048), "RoleArn", role("app"), "RoleSessionName", "sess")
	r.fails("ValidationError", "AssumeRole", "PolicyArns.member.1.arn", arn, "RoleArn", role("app"), "RoleSessionName", "sess")
}

// TestRevocation: a session ends with its role, its time and its role's rights, at once and to the second.
func TestRevocation(t *testing.T) {
	r := newRig(t, state.NewMemory()).seed()
	s := r.assume("AssumeRole", "RoleArn", role("app"), "RoleSessionName", "sess", "DurationSeconds", "900")
	start := r.clock
	r.clock = start.Add(899 * time.Second)
	if _, err := r.people.Resolve(s.key, s.token); err != nil {
		t.Errorf("a second before its end: %v", err)
	}
	r.clock = start.Add(900 * time.Second)
	if _, err := r.people.Resolve(s.key, s.token); !errors.Is(err, iam.ErrExpiredToken) {
		t.Errorf("at its end: %v", err)
	}
	r.clock = start
	before := r.as(s.key, s.token).Requester.Revision()
	r.change(func(m *directory.Model) {
		changed := m.Roles["app"].Clone()
		changed.Inline["revoke"] = `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"DateLessThanEquals":{"aws:TokenIssueTime":"` + start.Format(time.RFC3339) + `"}}}]}`
		m.PutRole(changed)
	})
	c, err := r.people.Resolve(s.key, s.token)
	if err != nil || decide(c, "s3:GetObject", "*") != iam.Deny || c.Owner.Revision() == before {
		t.Errorf("after its role was told to deny older sessions: %v", err)
	}
	r.clock = start.Add(time.Second)
	if s := r.assume("AssumeRole", "RoleArn", role("app"), "RoleSessionName", "sess"); decide(iam.Credential{Owner: r.as(s.key, s.token).Requester}, "s3:GetObject", "arn:aws:s3:::b/k") != iam.Allow {
		t.Error("a newer session is denied, too")
	}
	r.change(func(m *directory.Model) {
		gone := m.Roles["app"]
		m.RemoveRole(gone)
	})
	if _, err := r.people.Resolve(s.key, s.token); !errors.Is(err, iam.ErrInvalidToken) {
		t.Errorf("a session of a role that is gone: %v", err)
	}
	r.change(func(m *directory.Model) {
		again := directory.NewRole("app", "/", r.clock)
		again.Inline = map[string]string{"p": allowS3}
		m.PutRole(again)
	})
	if _, err := r.people.Resolve(s.key, s.token); !errors.Is(err, iam.ErrInvalidToken) {
		t.Errorf("a session of a role that was made anew: %v", err)
	}
}

// TestTokens: a session token opens for its own access key, deployment and account, unchanged in every bit (I5).
func TestTokens(t *testing.T) {
	store := state.NewMemory()
	r := newRig(t, store).seed()
	s := r.assume("AssumeRole", "RoleArn", role("app"), "RoleSessionName", "sess")
	other := r.assume("AssumeRole", "RoleArn", role("app"), "RoleSessionName", "sess")
	foreign := newRig(t, state.NewMemory()).seed()
	stranger := foreign.assume("AssumeRole", "RoleArn", role("app"), "RoleSessionName", "sess")
	for name, row := range map[string][2]string{
		"another session's key": {other.key, s.token}, "a key of its own": {"ASIAAAAAAAAAAAAAAAAA", s.token}, "a user's key": {"AKIAALICE", s.token},
		"no token": {s.key, ""}, "another deployment's": {stranger.key, stranger.token}, "cut": {s.key, s.token[:len(s.token)-1]},
		"longer": {s.key, s.token + "A"}, "not base64": {s.key, "!" + s.token[1:]}, "too long": {s.key, strings.Repeat("A", directory.MaxToken+1)},
	} {
		if _, err := r.people.Resolve(row[0], row[1]); !errors.Is(err, iam.ErrInvalidToken) {
			t.Errorf("%s: %v", name, err)
		}
	}
	raw, err := base64.RawURLEncoding.DecodeString(s.token)
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		changed := slices.Clone(raw)
		changed[i] ^= 1
		if _, err := r.people.Resolve(s.key, base64.RawURLEncoding.EncodeToString(changed)); !errors.Is(err, iam.ErrInvalidToken) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
	}
	// Another process over the state accepts the token, also before its watch has delivered the sealing key.
	second := newRig(t, store)
	if c := second.as(s.key, s.token); c.ARN == "" {
		t.Error("another process does not know the session")
	}
}

// TestKeyOfTokensAppearsLater: a process without the key of a token reads the state, once a second at most.
func TestKeyOfTokensAppearsLater(t *testing.T) {
	store := &counting{Store: state.NewMemory()}
	first := newRig(t, store).seed()
	second := newRig(t, store)
	s := first.assume("AssumeRole", "RoleArn", role("app"), "RoleSessionName", "sess")
	if c := second.as(s.key, s.token); c.ARN == "" {
		t.Error("the session is not known")
	}
	before := store.ranges
	raw, err := base64.RawURLEncoding.DecodeString(s.token)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		raw[1] = byte(i)
		_, _ = second.people.Resolve(s.key, base64.RawURLEncoding.EncodeToString(raw))
	}
	if n := store.ranges - before; n > 1 {
		t.Errorf("unknown keys of tokens made %d reads of the state", n)
	}
}

type counting struct {
	state.Store
	ranges int
}

func (c *counting) Range(ctx context.Context, prefix, after string, limit int) ([]state.Entry, error) {
	c.ranges++
	return c.Store.Range(ctx, prefix, after, limit)
}

// token returns a web identity token.
func (r *rig) token(change map[string]any) string {
	r.t.Helper()
	claims := map[string]any{"iss": "https://" + idp, "sub": "system:serviceaccount:a:b", "aud": "sts.amazonaws.com", "exp": r.clock.Add(time.Hour).Unix()}
	for name, value := range change {
		claims[name] = value
	}
	body, err := json.Marshal(claims)
	if err != nil {
		r.t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	text := b64([]byte(`{"alg":"ES256","kid":"k"}`)) + "." + b64(body)
	sum := sha256.Sum256([]byte(text))
	x, y, err := ecdsa.Sign(rand.Reader, r.key, sum[:])
	if err != nil {
		r.t.Fatal(err)
	}
	return text + "." + b64(append(x.FillBytes(make([]byte, 32)), y.FillBytes(make([]byte, 32))...))
}

// TestWebIdentity: the bearer of a token assumes a role with the provider and the subject in its trust policy, and no
// other role, not even a role for everybody (I6).
func TestWebIdentity(t *testing.T) {
	r := newRig(t, state.NewMemory()).seed()
	r.caller = keystore.Caller{} // unsigned
	ask := func(name, token string) []string {
		return []string{"RoleArn", role(name), "RoleSessionName", "pod-1", "WebIdentityToken", token}
	}
	s := r.assume("AssumeRoleWithWebIdentity", ask("pod", r.token(nil))...)
	if field(s.body, "SubjectFromWebIdentityToken") != "system:serviceaccount:a:b" || field(s.body, "Audience") != "sts.amazonaws.com" {
		t.Error(s.body)
	}
	c := r.as(s.key, s.token)
	if c.Requester.Session.Federated != idp || c.Requester.Session.Subject != "system:serviceaccount:a:b" {
		t.Errorf("%+v", c.Requester.Session)
	}
	records := r.audit.Records()
	record := records[len(records)-1]
	if record.UserIdentity.Type != "WebIdentityUser" || record.UserIdentity.UserName != "system:serviceaccount:a:b" || record.UserIdentity.IdentityProvider != idp ||
		strings.Contains(fmt.Sprintf("%+v", record), r.token(nil)[:20]) {
		t.Errorf("record %+v", record)
	}
	for _, name := range []string{"app", "open", "everyone", "none"} {
		r.fails("AccessDenied", "AssumeRoleWithWebIdentity", ask(name, r.token(nil))...)
	}
	r.fails("AccessDenied", "AssumeRoleWithWebIdentity", ask("pod", r.token(map[string]any{"sub": "system:serviceaccount:a:c"}))...)
	r.fails("InvalidIdentityToken", "AssumeRoleWithWebIdentity", ask("pod", r.token(map[string]any{"aud": "other"}))...)
	r.fails("InvalidIdentityToken", "AssumeRoleWithWebIdentity", ask("pod", r.token(map[string]any{"iss": "https://" + idp + "/"}))...)
	r.fails("ExpiredTokenException", "AssumeRoleWithWebIdentity", ask("pod", r.token(map[string]any{"exp": r.clock.Unix()}))...)
	r.fails("ValidationError", "AssumeRoleWithWebIdentity", append(ask("pod", r.token(nil)), "ProviderId", "x")...)
	r.fails("ValidationError", "AssumeRoleWithWebIdentity", append(ask("pod", r.token(nil)), "DurationSeconds", strconv.Itoa(7201))...)
	r.fails("InvalidIdentityToken", "AssumeRoleWithWebIdentity", ask("pod", "nonsense")...)
	for _, record := range r.audit.Records() {
		if record.UserIdentity.Type != "WebIdentityUser" && record.ErrorCode != "ValidationError" {
			t.Errorf("%+v", record.UserIdentity)
		}
	}
}

// TestExternalID: an external id is evaluated, and asked for where the trust policy does.
func TestExternalID(t *testing.T) {
	r := newRig(t, state.NewMemory()).seed()
	u := *r.caller.Requester
	p, err := iam.ParsePolicy([]byte(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"*"}]}`), iam.Options{Kind: iam.Identity})
	if err != nil {
		t.Fatal(err)
	}
	u.Rights.Policies = []*iam.Policy{p}
	r.caller = keystore.CallerOf(u.Identify())
	r.assume("AssumeRole", "RoleArn", role("open"), "RoleSessionName", "sess")
	r.assume("AssumeRole", "RoleArn", role("outside"), "RoleSessionName", "sess", "ExternalId", "secret-word")
	r.fails("AccessDenied", "AssumeRole", "RoleArn", role("outside"), "RoleSessionName", "sess", "ExternalId", "other")
	r.fails("AccessDenied", "AssumeRole", "RoleArn", role("outside"), "RoleSessionName", "sess")
}

// TestRing: tokens are sealed with a key that every process has had for a minute. A new key comes after a month; an old
// key goes after its last token has expired.
func TestRing(t *testing.T) {
	r := newRig(t, state.NewMemory()).seed()
	first := r.assume("AssumeRole", "RoleArn", role("app"), "RoleSessionName", "sess")
	start := r.clock
	r.clock = start.Add(31 * 24 * time.Hour)
	if err := r.dir.RotateRing(t.Context()); err != nil {
		t.Fatal(err)
	}
	keyOf := func(s session) string { return s.token[:6] }
	if s := r.assume("AssumeRole", "RoleArn", role("app"), "RoleSessionName", "sess"); keyOf(s) != keyOf(first) {
		t.Error("a key that other processes may not have yet has sealed a token")
	}
	r.clock = r.clock.Add(2 * time.Minute)
	s := r.assume("AssumeRole", "RoleArn", role("app"), "RoleSessionName", "sess", "DurationSeconds", "7200")
	if keyOf(s) == keyOf(first) {
		t.Error("the new key does not seal")
	}
	r.clock = r.clock.Add(14 * time.Hour)
	if err := r.dir.RotateRing(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := r.people.Resolve(first.key, first.token); !errors.Is(err, iam.ErrInvalidToken) {
		t.Errorf("a token of a key that is gone: %v", err)
	}
}
