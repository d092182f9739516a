package enforce_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"waxseal/keystore"
	"waxseal/keystore/audit"
	"waxseal/keystore/enforce"
	"waxseal/keystore/iam"
	"waxseal/keystore/keystoretest"
)

const (
	account = "000000000000"
	partner = "444455556666"
	viaS3   = "s3.us-east-1.amazonaws.com"
)

// rig is an enforcer in front of a key service in memory.
type rig struct {
	keystore.Provider
	fake  *keystoretest.Fake
	audit *audit.Memory
	key   string
}

// open makes a rig with users and their policies: account/name -> document, empty for none.
func open(t *testing.T, policies map[string]string) *rig {
	t.Helper()
	r := &rig{fake: keystoretest.NewFake(), audit: new(audit.Memory)}
	users := []iam.User{{
		Name: "root", ARN: iam.RootARN(account), AccountID: account, Root: true, AccessKey: "AKIAROOT", Secret: iam.NewSecret("s"),
	}}
	for who, document := range policies {
		account, name, _ := strings.Cut(who, "/")
		u := iam.User{Name: name, ARN: iam.UserARN(account, name), AccountID: account, AccessKey: "AKIA" + name, Secret: iam.NewSecret("s")}
		u.Everything = document == ""
		if document != "" {
			p, err := iam.ParsePolicy([]byte(document), iam.Options{Kind: iam.Identity})
			if err != nil {
				t.Fatal(err)
			}
			u.Policy = p
		}
		users = append(users, u)
	}
	var err error
	r.Provider, err = enforce.New(r.fake, enforce.Config{Users: users, Audit: r.audit, Region: "us-east-1", Account: account})
	if err != nil {
		t.Fatal(err)
	}
	r.key = r.fake.AddKey()
	return r
}

// callerOf returns a user with a policy, "" for none, as the caller of a request through S3.
func callerOf(account, name, document string) keystore.Caller {
	u := iam.User{Name: name, ARN: iam.UserARN(account, name), AccountID: account, AccessKey: "AKIA" + name, Everything: document == ""}
	if document != "" {
		p, err := iam.ParsePolicy([]byte(document), iam.Options{Kind: iam.Identity})
		if err != nil {
			panic(err)
		}
		u.Policy = p
	}
	c := keystore.CallerOf(u.Requester())
	c.SourceIP, c.UserAgent, c.RequestID, c.ViaService, c.Transport = "192.0.2.7", "test/1", "R1", viaS3, keystore.PlainHTTP
	return c
}

// caller returns a user without a policy.
func caller(account, name string) keystore.Caller { return callerOf(account, name, "") }

// statement returns an identity policy with a single statement.
func statement(effect, action, rest string) string {
	return `{"Effect":"` + effect + `","Action":"` + action + `","Resource":"*"` + rest + `}`
}

func policy(statements ...string) string {
	return `{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`
}

func TestProvider(t *testing.T) {
	keystoretest.Run(t, func(t *testing.T) (keystore.Provider, keystoretest.Fixture) {
		r := open(t, map[string]string{account + "/alice": "", account + "/eve": policy(statement("Allow", "s3:*", ""))})
		denied := callerOf(account, "eve", policy(statement("Allow", "s3:*", "")))
		r.fake.SetAlias("alias/photos", r.key)
		return r, keystoretest.Fixture{
			Key: r.key, OtherKey: r.fake.AddKey(), Alias: "alias/photos", Caller: caller(account, "alice"), Denied: &denied,
			AliasARN: "arn:aws:kms:us-east-1:000000000000:alias/photos", Asymmetric: r.fake.AddAsymmetricKey(),
			Missing: "12345678-1234-1234-1234-123456789012",
			SetEnabled: func(_ *testing.T, keyID string, enabled bool) {
				r.fake.SetState(keyID, map[bool]string{true: keystore.StateEnabled, false: keystore.StateDisabled}[enabled])
			},
			ScheduleDeletion: func(_ *testing.T, keyID string) { r.fake.SetState(keyID, keystore.StatePendingDeletion) },
		}
	})
}

// versions is a key service with versions of its keys.
type versions struct{ keystore.Provider }

func (versions) KeyVersion(_ context.Context, keyARN string, blob []byte) (version, newest string, err error) {
	return keyARN + " " + string(blob), "newest", nil
}

// TestKeyVersion: an enforcer passes the key versions of its key service through.
func TestKeyVersion(t *testing.T) {
	for name, row := range map[string]struct {
		behind          keystore.Provider
		version, newest string
	}{
		"it tells":         {versions{keystoretest.NewFake()}, "key blob", "newest"},
		"it does not tell": {keystoretest.NewFake(), "", ""},
	} {
		var users []iam.User
		g, err := enforce.New(keystore.WithBreaker(row.behind, keystore.BreakerConfig{}),
			enforce.Config{Users: users, Audit: new(audit.Memory), Region: "us-east-1", Account: account})
		if err != nil {
			t.Fatal(err)
		}
		version, newest, err := keystore.KeyVersion(t.Context(), g, "key", []byte("blob"))
		if err != nil || version != row.version || newest != row.newest {
			t.Errorf("%s: %q, %q, %v", name, version, newest, err)
		}
	}
}

// TestPolicies: the requester's own policy decides every action. The key service gets no call for a denied use.
func TestPolicies(t *testing.T) {
	bucket := keystore.Context{"aws:s3:arn": "arn:aws:s3:::photos", "team": "blue"}
	for name, c := range map[string]struct {
		who, document     string
		generate, decrypt bool
	}{
		"no policy":                      {account + "/u", "", true, true},
		"no policy, of another account":  {partner + "/u", "", false, false},
		"a policy, of another account":   {partner + "/u", policy(statement("Allow", "kms:*", "")), true, true},
		"encrypt only":                   {account + "/u", policy(statement("Allow", "kms:GenerateDataKey*", "")), true, false},
		"decrypt only":                   {account + "/u", policy(statement("Allow", "kms:Decrypt", "")), false, true},
		"a policy of something else":     {account + "/u", policy(statement("Allow", "s3:*", "")), false, false},
		"a deny wins":                    {account + "/u", policy(statement("Allow", "*", ""), statement("Deny", "kms:Decrypt", "")), true, false},
		"through S3 only":                {account + "/u", policy(statement("Allow", "kms:*", `,"Condition":{"StringEquals":{"kms:ViaService":"`+viaS3+`"}}`)), true, true},
		"through another service only":   {account + "/u", policy(statement("Allow", "kms:*", `,"Condition":{"StringEquals":{"kms:ViaService":"ec2.us-east-1.amazonaws.com"}}`)), false, false},
		"a context that is this one":     {account + "/u", policy(statement("Allow", "kms:*", `,"Condition":{"StringLike":{"kms:EncryptionContext:aws:s3:arn":"arn:aws:s3:::ph*"}}`)), true, true},
		"a context that is another":      {account + "/u", policy(statement("Allow", "kms:*", `,"Condition":{"StringEquals":{"kms:EncryptionContext:team":"red"}}`)), false, false},
		"names of the context":           {account + "/u", policy(statement("Allow", "kms:*", `,"Condition":{"ForAllValues:StringEquals":{"kms:EncryptionContextKeys":["aws:s3:arn","team"]}}`)), true, true},
		"a name that may not be there":   {account + "/u", policy(statement("Allow", "kms:*", `,"Condition":{"ForAllValues:StringEquals":{"kms:EncryptionContextKeys":["aws:s3:arn"]}}`)), false, false},
		"the caller's account":           {account + "/u", policy(statement("Allow", "kms:*", `,"Condition":{"StringEquals":{"kms:CallerAccount":"`+account+`"}}`)), true, true},
		"an address that is not his":     {account + "/u", policy(statement("Allow", "kms:*", `,"Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}`)), false, false},
		"over TLS only":                  {account + "/u", policy(statement("Allow", "kms:*", `,"Condition":{"Bool":{"aws:SecureTransport":"true"}}`)), false, false},
		"a deny of plain HTTP":           {account + "/u", policy(statement("Deny", "kms:*", `,"Condition":{"Bool":{"aws:SecureTransport":"false"}}`), statement("Allow", "*", "")), false, false},
		"a deny of TLS":                  {account + "/u", policy(statement("Deny", "kms:*", `,"Condition":{"Bool":{"aws:SecureTransport":"true"}}`), statement("Allow", "*", "")), true, true},
		"a deny of use through services": {account + "/u", policy(statement("Deny", "kms:*", `,"Condition":{"Bool":{"aws:ViaAWSService":"true"}}`), statement("Allow", "*", "")), false, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := open(t, map[string]string{c.who: c.document})
			made, err := r.fake.GenerateDataKey(t.Context(), keystore.Caller{}, r.key, bucket)
			if err != nil {
				t.Fatal(err)
			}
			before := len(r.fake.Calls())
			owner, user, _ := strings.Cut(c.who, "/")
			who := callerOf(owner, user, c.document)
			_, generateErr := r.GenerateDataKey(t.Context(), who, r.key, bucket)
			_, decryptErr := r.Decrypt(t.Context(), who, made.Blob, r.key, bucket)
			asked := 0
			check := func(what string, err error, allowed bool) {
				if allowed {
					asked++
				}
				if allowed != (err == nil) || !allowed && keystore.KindOf(err) != keystore.AccessDenied {
					t.Errorf("%s: got %v, allowed: %v", what, err, allowed)
				}
			}
			check("GenerateDataKey", generateErr, c.generate)
			check("Decrypt", decryptErr, c.decrypt)
			if n := len(r.fake.Calls()) - before; n != asked {
				t.Errorf("the key service was asked %d times, want %d", n, asked)
			}
		})
	}
}

// TestResources: a policy names keys by ARN, however the request names them.
func TestResources(t *testing.T) {
	r := open(t, nil)
	other := r.fake.AddKey()
	only, err := iam.ParsePolicy([]byte(policy(`{"Effect":"Allow","Action":"kms:*","Resource":"`+r.key+`"}`)), iam.Options{Kind: iam.Identity})
	if err != nil {
		t.Fatal(err)
	}
	users := []iam.User{{
		Name: "u", ARN: iam.UserARN(account, "u"), AccountID: account, AccessKey: "AKIAu", Secret: iam.NewSecret("s"), Policy: only,
	}}
	p, err := enforce.New(r.fake, enforce.Config{Users: users, Audit: r.audit, Region: "us-east-1", Account: account})
	if err != nil {
		t.Fatal(err)
	}
	r.fake.SetAlias("alias/mine", r.key)
	r.fake.SetAlias("alias/theirs", other)
	for name, allowed := range map[string]bool{r.key: true, "alias/mine": true, other: false, "alias/theirs": false} {
		_, err := p.GenerateDataKey(t.Context(), callerOf(account, "u", string(only.Document())), name, nil)
		if (err == nil) != allowed || !allowed && keystore.KindOf(err) != keystore.AccessDenied {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// TestRecords: every use, allowed or denied, good or bad, has a record in the embedded key service's shape.
func TestRecords(t *testing.T) {
	r := open(t, map[string]string{account + "/alice": "", account + "/eve": policy(statement("Allow", "s3:*", ""))})
	ec := keystore.Context{"aws:s3:arn": "arn:aws:s3:::photos"}
	alice := caller(account, "alice")
	dk, err := r.GenerateDataKey(t.Context(), alice, r.key, ec)
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err = r.Decrypt(t.Context(), alice, dk.Blob, r.key, ec)
	must(err)
	must(r.Authorize(t.Context(), alice, keystore.Decrypt, r.key, dk.Blob, ec))
	_, err = r.Decrypt(t.Context(), keystore.Caller{Service: true, AccountID: account, ViaService: viaS3}, dk.Blob, r.key, ec)
	must(err)
	if _, err := r.Decrypt(t.Context(), callerOf(account, "eve", policy(statement("Allow", "s3:*", ""))), dk.Blob, r.key, ec); keystore.KindOf(err) != keystore.AccessDenied ||
		!strings.Contains(err.Error(), "User: arn:aws:iam::000000000000:user/eve is not authorized to perform: kms:Decrypt on resource: "+r.key+" because no identity-based policy allows the kms:Decrypt action") {
		t.Errorf("got %v", err)
	}
	r.fake.SetState(r.key, keystore.StateDisabled)
	if _, err := r.Decrypt(t.Context(), alice, dk.Blob, r.key, ec); keystore.KindOf(err) != keystore.Disabled {
		t.Errorf("got %v", err)
	}
	var got []string
	for _, record := range r.audit.Records() {
		got = append(got, strings.Join([]string{record.EventName, record.UserIdentity.Type, record.UserIdentity.UserName, record.ErrorCode}, " "))
		if len(record.Resources) != 1 || record.Resources[0].ARN != r.key || record.Resources[0].AccountID != account || !record.ReadOnly ||
			record.SourceIPAddress != audit.Internal || record.UserIdentity.InvokedBy != audit.Internal || record.RecipientAccountID != account {
			t.Errorf("%+v", record)
		}
		if c, ok := record.RequestParameters["encryptionContext"].(keystore.Context); !ok || !maps.Equal(c, ec) {
			t.Errorf("context %v", record.RequestParameters)
		}
	}
	want := []string{"GenerateDataKey IAMUser alice ", "Decrypt IAMUser alice ", "Decrypt IAMUser alice ", "Decrypt AWSService  ",
		"Decrypt IAMUser eve AccessDenied", "Decrypt IAMUser alice DisabledException"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// TestNoRecordNoKey: without a written record the requester gets an error and no key.
func TestNoRecordNoKey(t *testing.T) {
	r := open(t, map[string]string{account + "/alice": ""})
	r.audit.Fail(errors.New("the disk is full"))
	dk, err := r.GenerateDataKey(t.Context(), caller(account, "alice"), r.key, nil)
	if keystore.KindOf(err) != keystore.Internal || !dk.Plaintext.IsZero() || dk.Blob != nil {
		t.Errorf("got %v, %v", dk.Blob, err)
	}
	if err := r.Authorize(t.Context(), caller(account, "alice"), keystore.GenerateDataKey, r.key, nil, nil); keystore.KindOf(err) != keystore.Internal {
		t.Errorf("got %v", err)
	}
}

func TestStrangersAndOddContexts(t *testing.T) {
	r := open(t, map[string]string{account + "/alice": ""})
	gone := caller(account, "gone")
	gone.Requester = nil
	if _, err := r.GenerateDataKey(t.Context(), gone, r.key, nil); keystore.KindOf(err) != keystore.AccessDenied {
		t.Errorf("a user who was removed: got %v", err)
	}
	if _, err := r.GenerateDataKey(t.Context(), keystore.Caller{}, r.key, nil); keystore.KindOf(err) != keystore.AccessDenied {
		t.Errorf("nobody: got %v", err)
	}
	odd := keystore.Context{"team": "blue", "Team": "red"}
	if _, err := r.GenerateDataKey(t.Context(), caller(account, "alice"), r.key, odd); keystore.KindOf(err) != keystore.AccessDenied {
		t.Errorf("names that differ in case: got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r.audit.Reset()
	if _, err := r.GenerateDataKey(ctx, caller(account, "alice"), r.key, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if records := r.audit.Records(); len(records) != 1 || records[0].ErrorCode != "RequestCanceled" {
		t.Errorf("records %+v", records)
	}
}

// amazon is a key service with the AWS managed key of S3, usable by S3 alone.
type amazon struct {
	*keystoretest.Fake
	managed string
}

func (a amazon) Resolve(ctx context.Context, c keystore.Caller, keyID string) (keystore.KeyInfo, error) {
	info, err := a.Fake.Resolve(ctx, c, keyID)
	if info.ARN == a.managed {
		info.Manager = "AWS"
	}
	return info, err
}

func (a amazon) GenerateDataKey(ctx context.Context, c keystore.Caller, keyID string, ec keystore.Context) (keystore.DataKey, error) {
	if keyID == a.managed {
		return keystore.DataKey{}, keystore.Errorf(keystore.AccessDenied, keyID, "User: front is not authorized to perform: kms:GenerateDataKey")
	}
	return a.Fake.GenerateDataKey(ctx, c, keyID, ec)
}

// TestManagedKey: a request without a key id is told what to do when the key service has no such key, or keeps it for
// S3 alone. All other refusals pass unchanged.
func TestManagedKey(t *testing.T) {
	told := func(err error, kind keystore.Kind) {
		t.Helper()
		var e *keystore.Error
		if !errors.As(err, &e) || e.Kind != kind || !strings.Contains(e.Message, "Name a KMS key in x-amz-server-side-encryption-aws-kms-key-id") {
			t.Errorf("got %v", err)
		}
	}
	plain := func(err error, kind keystore.Kind) {
		t.Helper()
		if keystore.KindOf(err) != kind || strings.Contains(err.Error(), "x-amz-server-side-encryption") {
			t.Errorf("got %v", err)
		}
	}
	alice := caller(account, "alice")
	r := open(t, map[string]string{account + "/alice": "", account + "/eve": policy(statement("Allow", "s3:*", ""))})
	for _, name := range []string{"alias/aws/s3", "arn:aws:kms:us-east-1:000000000000:alias/aws/s3"} {
		_, err := r.Resolve(t.Context(), alice, name)
		told(err, keystore.NotFound)
		_, err = r.GenerateDataKey(t.Context(), alice, name, nil)
		told(err, keystore.NotFound)
	}
	_, err := r.Resolve(t.Context(), alice, "alias/nonesuch")
	plain(err, keystore.NotFound)

	front := amazon{keystoretest.NewFake(), ""}
	front.managed = front.AddKey()
	front.SetAlias("alias/aws/s3", front.managed)
	users := []iam.User{{Name: "alice", ARN: alice.ARN, AccountID: account, AccessKey: "AKIAalice", Secret: iam.NewSecret("s"), Everything: true}}
	g, err := enforce.New(front, enforce.Config{Users: users, Audit: new(audit.Memory), Region: "us-east-1", Account: account})
	if err != nil {
		t.Fatal(err)
	}
	_, err = g.GenerateDataKey(t.Context(), alice, front.managed, nil)
	plain(err, keystore.AccessDenied) // named by its ARN
	info, err := g.Resolve(t.Context(), alice, "alias/aws/s3")
	if err != nil || info.ARN != front.managed {
		t.Fatalf("got %+v, %v", info, err)
	}
	_, err = g.GenerateDataKey(t.Context(), alice, info.ARN, nil)
	told(err, keystore.AccessDenied)

	// A key service with an ordinary key of that name serves it.
	own := r.fake.AddKey()
	r.fake.SetAlias("alias/aws/s3", own)
	if dk, err := r.GenerateDataKey(t.Context(), alice, "alias/aws/s3", nil); err != nil || dk.KeyARN != own {
		t.Errorf("got %s, %v", dk.KeyARN, err)
	}
}

// TestRecordOfSession: its records show a session as the embedded key service's do.
func TestRecordOfSession(t *testing.T) {
	session := iam.User{Name: "s", ARN: "arn:aws:sts::" + account + ":assumed-role/app/s1", AccountID: account, AccessKey: "ASIAX", Secret: iam.NewSecret("s"), Everything: true}
	users := []iam.User{session}
	fake, log := keystoretest.NewFake(), new(audit.Memory)
	p, err := enforce.New(fake, enforce.Config{Users: users, Audit: log, Region: "us-east-1", Account: account})
	if err != nil {
		t.Fatal(err)
	}
	who := keystore.CallerOf(session.Requester())
	who.ViaService = viaS3
	if _, err := p.GenerateDataKey(t.Context(), who, fake.AddKey(), nil); err != nil {
		t.Fatal(err)
	}
	id := log.Records()[0].UserIdentity
	if id.Type != "AssumedRole" || id.PrincipalID != session.ID() || id.SessionContext == nil || id.SessionContext.SessionIssuer["userName"] != "app" || id.InvokedBy != audit.Internal {
		t.Errorf("identity %+v", id)
	}
}

// TestKeysThatNobodyTells: a condition on a fact known to the external service only, in a user's policy, stops the
// start, unless the condition cannot make the statement misleading.
func TestKeysThatNobodyTells(t *testing.T) {
	for _, c := range []struct {
		statement string
		refused   bool
	}{
		{`{"Effect":"Deny","Action":"kms:*","Resource":"*","Condition":{"StringEquals":{"kms:KeySpec":"RSA_2048"}}}`, true},
		{`{"Effect":"Deny","Action":"kms:Decrypt","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/team":"blue"}}}`, true},
		{`{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"Null":{"kms:ResourceAliases":"true"}}}`, true},
		{`{"Effect":"Deny","NotAction":"s3:*","Resource":"*","Condition":{"Bool":{"kms:MultiRegion":"true"}}}`, true},
		{`{"Effect":"Allow","Action":"kms:*","Resource":"*","Condition":{"StringNotEquals":{"kms:KeyOrigin":"EXTERNAL"}}}`, true},
		{`{"Effect":"Allow","Action":"kms:*","Resource":"*","Condition":{"StringEquals":{"kms:KeyOrigin":"AWS_KMS"}}}`, false},
		{`{"Effect":"Deny","Action":"kms:*","Resource":"*","Condition":{"StringNotEquals":{"kms:EncryptionContext:team":"blue"}}}`, false},
		{`{"Effect":"Deny","Action":"kms:*","Resource":"*","Condition":{"StringNotEquals":{"kms:ViaService":"s3.us-east-1.amazonaws.com"}}}`, false},
		{`{"Effect":"Deny","Action":"s3:*","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/team":"blue"}}}`, false},
	} {
		p, err := iam.ParsePolicy([]byte(policy(c.statement)), iam.Options{Kind: iam.Identity})
		if err != nil {
			t.Fatal(err)
		}
		users := []iam.User{{
			Name: "u", ARN: iam.UserARN(account, "u"), AccountID: account, AccessKey: "AKIAu", Secret: iam.NewSecret("s"), Policy: p,
		}}
		_, err = enforce.New(keystoretest.NewFake(), enforce.Config{Users: users, Audit: new(audit.Memory), Region: "us-east-1", Account: account})
		if (err != nil) != c.refused {
			t.Errorf("%s: %v", c.statement, err)
		}
	}
}
