package proxy

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"waxseal/keystore/iam"
	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
)

// twoUsers are a root user, alice, and bob with credentials of his own at the store. Nothing limits them.
func twoUsers(t *testing.T) func(*Config) {
	t.Helper()
	const account = "000000000000"
	users, err := iam.NewDirectory([]iam.User{
		{Name: "root", ARN: iam.RootARN(account), AccountID: account, AccessKey: "AKIAROOT", Secret: iam.NewSecret("s"), Root: true},
		{Name: "alice", ARN: iam.UserARN(account, "alice"), AccountID: account, AccessKey: testAccess, Secret: iam.NewSecret(testSecret), Everything: true},
		{Name: "bob", ARN: iam.UserARN(account, "bob"), AccountID: account, AccessKey: "BOB", Secret: iam.NewSecret("s"), Everything: true,
			Upstream: &iam.Credentials{AccessKey: "store-bob", Secret: iam.NewSecret("s")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return func(c *Config) { c.Users = users }
}

// atStore gives the store a policy behind waxseal, and has waxseal's last reading of it be older than configTTL.
func (k *kit) atStore(t *testing.T, u *proxytest.Upstream, document string) {
	t.Helper()
	u.SetHook(func(op proxytest.Op) proxytest.Fault {
		switch {
		case op.Name == "PutBucketPolicy", op.Name == "DeleteBucketPolicy":
			document = ""
		case op.Name == "GetBucketPolicy" && document != "":
			return proxytest.Fault{Answer: []byte(document)}
		}
		return proxytest.Fault{}
	})
	p := &k.server.buckets.atStore
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, reading := range p.known {
		reading.begun = reading.begun.Add(-configTTL)
	}
}

func denyDelete(principal, more string) string {
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Deny",` + principal + `,"Action":"s3:DeleteObject","Resource":"arn:aws:s3:::bkt/*"` + more + `}]}`
}

// TestPoliciesOfTheStore: waxseal evaluates a Deny that somebody gave the store behind it, for users who are one
// identity there, from configTTL later on, and no longer once it is gone.
func TestPoliciesOfTheStore(t *testing.T) {
	const own, account = "own", "arn:aws:iam::000000000000:"
	for document, denied := range map[string]bool{
		denyDelete(`"Principal":"*"`, ""):                                                                          true,
		denyDelete(`"Principal":{"AWS":"*"}`, ""):                                                                  true,
		denyDelete(`"Principal":{"AWS":["`+own+`","other"]}`, ""):                                                  true,
		denyDelete(`"Principal":"`+own+`"`, ""):                                                                    true,
		denyDelete(`"Principal":["`+own+`"]`, ""):                                                                  true,
		denyDelete(`"Principal":{"AWS":"other"}`, ""):                                                              false,
		denyDelete(`"Principal":{"AWS":"`+account+`user/alice"}`, ""):                                              true,
		denyDelete(`"Principal":{"AWS":"`+account+`user/bob"}`, ""):                                                false,
		denyDelete(`"Principal":{"AWS":"`+account+`root"}`, ""):                                                    true,
		denyDelete(`"Principal":{"AWS":"000000000000"}`, ""):                                                       true,
		denyDelete(`"Principal":{"AWS":"arn:aws:iam:::user/at-the-store"}`, ""):                                    true,
		denyDelete(`"Principal":{"CanonicalUser":"79a59df900b949e5"}`, ""):                                         true,
		denyDelete(`"Principal":{"Service":"logging.s3.amazonaws.com"}`, ""):                                       false,
		denyDelete(`"NotPrincipal":{"AWS":"other"}`, ""):                                                           true,
		denyDelete(`"Principal":"*"`, `,"Condition":{"Bool":{"aws:SecureTransport":"false"}}`):                     true,
		denyDelete(`"Principal":"*"`, `,"Condition":{"Bool":{"aws:SecureTransport":"true"}}`):                      false,
		strings.Replace(denyDelete(`"Principal":"*"`, ""), `"Version"`, `"ID":"written by MinIO","Version"`, 1):    true,
		strings.Replace(denyDelete(`"Principal":"*"`, ""), "Deny", "Allow", 1):                                     false,
		strings.Replace(denyDelete(`"Principal":"*"`, ""), "bkt/*", "bkt/other/*", 1):                              false,
		strings.Replace(denyDelete(`"Principal":"*"`, `,"Condition":{"Bool":{"x:y":"true"}}`), "Deny", "Allow", 1): false,
	} {
		for _, before := range []bool{true, false} { // whether waxseal has looked before
			k, u := overMemory(t, proxytest.Options{}, twoUsers(t))
			if before {
				k.mustDo(t, "PUT", "/bkt/o", nil, []byte("x"))
			}
			k.atStore(t, u, document)
			want := http.StatusNoContent
			if denied {
				want = http.StatusForbidden
			}
			if resp, body := k.do(t, "DELETE", "/bkt/o", nil, nil); resp.StatusCode != want {
				t.Errorf("%s: %s, want %d\n%s", document, resp.Status, want, body)
			}
			doc := "<Delete><Object><Key>o</Key></Object></Delete>"
			_, body := k.mustDo(t, "POST", "/bkt?delete", withMD5(doc), []byte(doc))
			if got := strings.Contains(string(body), "<Code>AccessDenied"); got != denied {
				t.Errorf("%s: DeleteObjects: %s", document, body)
			}
			k.mustDo(t, "PUT", "/bkt/o", nil, []byte("x"))
			k.atStore(t, u, "")
			k.mustDo(t, "DELETE", "/bkt/o", nil, nil)
			u.ClearRequests()
			k.mustDo(t, "GET", "/bkt?list-type=2", nil, nil)
			if got := u.Operations(); len(got) != 1 {
				t.Errorf("a policy that was just read is read again: %v", got)
			}
		}
	}
}

// TestUnreadablePoliciesOfTheStore: what waxseal cannot read or evaluate denies everything to users who are one identity
// at the store. The root user can mend it, and the store decides about users whom it knows.
func TestUnreadablePoliciesOfTheStore(t *testing.T) {
	for document, why := range map[string]string{
		`{}`:                            "Missing required field Statement",
		`[]`:                            "must be valid JSON",
		denyDelete(`"Principal":7`, ""): "Invalid principal",
		denyDelete(`"Principal":"*"`, `,"Else":"x"`):                                                  "Unknown field Else",
		denyDelete(`"Principal":"*"`, `,"Condition":{"StringEquals":{"s3:ExistingObjectTag/a":"b"}}`): "s3:existingobjecttag/a",
		denyDelete(`"Principal":"*"`, `,"Condition":{"NoSuchOperator":{"aws:SecureTransport":"b"}}`):  "malformed policy",
		strings.Replace(denyDelete(`"Principal":"*"`, ""), `"Effect"`, `"effect"`, 1):                 "Unknown field effect",
	} {
		k, u := overMemory(t, proxytest.Options{}, twoUsers(t))
		k.atStore(t, u, document)
		for _, r := range [][2]string{{"GET", "/bkt/o"}, {"PUT", "/bkt/o"}, {"GET", "/bkt?list-type=2"}, {"GET", "/bkt?policy"}} {
			resp, body := k.do(t, r[0], r[1], nil, nil)
			wantError(t, resp, body, http.StatusForbidden, s3.AccessDenied)
			if !strings.Contains(string(body), why) {
				t.Errorf("%s: %s", document, body)
			}
		}
		if resp, body := k.doAs(t, "BOB", "s", "GET", "/bkt?list-type=2", nil, nil); resp.StatusCode != http.StatusOK {
			t.Errorf("%s: of a user whom the store knows: %s\n%s", document, resp.Status, body)
		}
		k.asRoot(t, "GET", "/bkt?policy", nil, nil)
		k.asRoot(t, "DELETE", "/bkt?policy", nil, nil)
		k.mustDo(t, "PUT", "/bkt/o", nil, []byte("x"))
	}
}

// TestStoreThatTellsNoPolicy: only a store that says that there is no policy has none.
func TestStoreThatTellsNoPolicy(t *testing.T) {
	for code, want := range map[s3.Code]int{
		s3.NoSuchBucketPolicy: 200, s3.NotImplemented: 200, s3.MethodNotAllowed: 200,
		s3.AccessDenied: 403, s3.InternalError: 503, s3.ServiceUnavailable: 503, s3.InvalidRequest: 503, s3.SignatureDoesNotMatch: 400,
	} {
		k, u := overMemory(t, proxytest.Options{}, twoUsers(t))
		u.SetHook(func(op proxytest.Op) proxytest.Fault {
			if op.Name == "GetBucketPolicy" {
				if auth := op.Header.Get("Authorization"); !strings.Contains(auth, "=own/") {
					t.Errorf("the policy is asked for with %s", auth)
				}
				return proxytest.Fault{Before: s3.NewError(code)}
			}
			return proxytest.Fault{}
		})
		resp, body := k.do(t, "PUT", "/bkt/o", nil, []byte("x"))
		if resp.StatusCode != want || want == 403 && !strings.Contains(string(body), "s3:GetBucketPolicy") {
			t.Errorf("%s: %s, want %d\n%s", code, resp.Status, want, body)
		}
		u.SetHook(nil)
		if want == 503 || want == 400 { // no answer is remembered
			k.mustDo(t, "PUT", "/bkt/o", nil, []byte("x"))
		}
	}
}

// TestOneReadingOfAPolicy: requests at once wait for one reading, and who leaves does not end it for the others.
func TestOneReadingOfAPolicy(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{}, nil)
	release := make(chan struct{})
	u.SetHook(func(op proxytest.Op) proxytest.Fault {
		if op.Name == "GetBucketPolicy" {
			<-release
		}
		return proxytest.Fault{}
	})
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if resp, body := k.do(t, "GET", "/bkt?list-type=2", nil, nil); resp.StatusCode != http.StatusOK {
				t.Errorf("%s\n%s", resp.Status, body)
			}
		})
	}
	time.Sleep(100 * time.Millisecond)
	close(release)
	all.Wait()
	if n := len(u.Operations()) - len(asked(u)); n != 1 {
		t.Errorf("%d readings of one policy", n)
	}
}

// TestPolicyPrincipals: a policy that names users or accounts is kept and evaluated by waxseal; the store gets what is
// about everybody. It comes back as it was put, and holds at once.
func TestPolicyPrincipals(t *testing.T) {
	const account = "000000000000"
	public := `{"Sid":"all","Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::bkt/public/*"}`
	for principal, denied := range map[string]struct{ alice, bob bool }{
		`"Principal":{"AWS":"` + iam.UserARN(account, "alice") + `"}`:                                         {alice: true},
		`"Principal":{"AWS":["` + iam.UserARN(account, "alice") + `","` + iam.UserARN(account, "bob") + `"]}`: {true, true},
		`"Principal":{"AWS":"` + iam.UserARN(account, "bob") + `"}`:                                           {bob: true},
		`"Principal":{"AWS":"` + iam.RootARN(account) + `"}`:                                                  {true, true},
		`"Principal":{"AWS":"` + account + `"}`:                                                               {true, true},
		`"Principal":{"AWS":"111111111111"}`:                                                                  {},
		`"Principal":{"AWS":["*","` + iam.UserARN(account, "bob") + `"]}`:                                     {true, true},
		`"Principal":{"Service":"logging.s3.amazonaws.com"}`:                                                  {},
		`"NotPrincipal":{"AWS":["` + iam.UserARN(account, "bob") + `","` + iam.RootARN(account) + `"]}`:       {alice: true},
	} {
		for _, also := range []string{"", "," + public} {
			k, u := overMemory(t, proxytest.Options{}, twoUsers(t))
			document := strings.Replace(denyDelete(principal, ""), "}]}", "}"+also+"]}", 1)
			k.asRoot(t, "PUT", "/bkt?policy", nil, []byte(document))
			if _, got := k.asRoot(t, "GET", "/bkt?policy", nil, nil); string(got) != document {
				t.Errorf("put %s\ngot %s", document, got)
			}
			if u.Contains([]byte(`"Deny"`)) || u.Contains([]byte("public")) != (also != "") {
				t.Errorf("%s: the store has another part than %q", document, also)
			}
			for who, want := range map[string]bool{testAccess: denied.alice, "BOB": denied.bob} {
				secret := map[string]string{testAccess: testSecret, "BOB": "s"}[who]
				if resp, body := k.doAs(t, who, secret, "DELETE", "/bkt/o", nil, nil); (resp.StatusCode == http.StatusForbidden) != want {
					t.Errorf("%s: DELETE by %s: %s, denied: %v\n%s", document, who, resp.Status, want, body)
				}
			}
			k.asRoot(t, "DELETE", "/bkt?policy", nil, nil)
			k.mustDo(t, "DELETE", "/bkt/o", nil, nil)
		}
	}
}

// TestPolicyForNobody: principals that are malformed or do not exist are refused, and nothing is kept.
func TestPolicyForNobody(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{}, twoUsers(t))
	for _, principal := range []string{
		`"alice"`, `["alice"]`, `{"AWS":"alice"}`, `{"AWS":"arn:aws:iam::000000000000:user/nobody"}`, `{"AWS":"arn:aws:iam::000000000000:user/*"}`,
		`{"AWS":"arn:aws:iam:::user/alice"}`, `{"AWS":"arn:aws:iam::000000000000:group/admins"}`, `{"AWS":"arn:aws:iam::111111111111:user/alice"}`,
		`{"AWS":"arn:aws-cn:iam::000000000000:user/alice"}`, `{"AWS":["arn:aws:iam::000000000000:user/alice","arn:aws:iam::000000000000:role/none"]}`,
		`{"AWS":"00000000000"}`, `{"Service":"s3.example.com"}`, `{"CanonicalUser":"79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be"}`,
	} {
		for _, element := range []string{"Principal", "NotPrincipal"} {
			resp, body := k.doAs(t, "AKIAROOT", "s", "PUT", "/bkt?policy", nil, []byte(denyDelete(`"`+element+`":`+principal, "")))
			wantError(t, resp, body, http.StatusBadRequest, s3.MalformedPolicy)
			if !strings.Contains(string(body), "<Message>Invalid principal in policy</Message>") && principal[0] != '[' {
				t.Errorf("%s: %s", principal, body)
			}
		}
	}
	if resp, _ := k.doAs(t, "AKIAROOT", "s", "GET", "/bkt?policy", nil, nil); resp.StatusCode != http.StatusNotFound || u.Contains([]byte("Deny")) {
		t.Errorf("a policy was kept: %s", resp.Status)
	}
}

// TestPolicyIsRefusedBeforeItIsRead: who may not put a policy at the store is not told what is wrong with one.
func TestPolicyIsRefusedBeforeItIsRead(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{}, twoUsers(t))
	u.SetHook(func(op proxytest.Op) proxytest.Fault {
		if strings.Contains(op.Header.Get("Authorization"), "=store-bob/") {
			return proxytest.Fault{Before: s3.NewError(s3.AccessDenied)}
		}
		return proxytest.Fault{}
	})
	for _, document := range []string{"not json", "{}", denyDelete(`"Principal":"nobody"`, ""), denyDelete(`"Principal":"*"`, "")} {
		resp, body := k.doAs(t, "BOB", "s", "PUT", "/bkt?policy", nil, []byte(document))
		wantError(t, resp, body, http.StatusForbidden, s3.AccessDenied)
	}
	limitedTo := limited(t, `{"Effect":"Deny","Action":"s3:PutBucketPolicy","Resource":"*"}`)
	k, _ = overMemory(t, proxytest.Options{}, limitedTo)
	resp, body := k.do(t, "PUT", "/bkt?policy", nil, []byte("not json"))
	wantError(t, resp, body, http.StatusForbidden, s3.AccessDenied)
}
