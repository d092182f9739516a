package iamapi

import (
	"context"
	"encoding/xml"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"waxseal/keystore"
	"waxseal/keystore/audit"
	"waxseal/keystore/awsquery"
	"waxseal/keystore/directory"
	"waxseal/keystore/iam"
	"waxseal/keystore/state"
)

const account = "123456789012"

// rig is an IAM over a state in memory, as root.
type rig struct {
	t      *testing.T
	api    *awsquery.API
	dir    *directory.Directory
	people *iam.Directory
	audit  *audit.Memory
	caller keystore.Caller
}

func newRig(t *testing.T) *rig {
	t.Helper()
	return newRigOver(t, state.NewMemory())
}

func newRigOver(t *testing.T, store state.Store) *rig {
	t.Helper()
	file := []iam.User{
		{Name: "root", ARN: iam.RootARN(account), AccountID: account, Root: true, AccessKey: "AKIAROOT", Secret: iam.NewSecret("root-secret")},
		{Name: "filed", ARN: iam.UserARN(account, "filed"), AccountID: account, Everything: true, AccessKey: "AKIAFILEDFILEDFILED1", Secret: iam.NewSecret("filed-secret")},
	}
	people, err := iam.NewDirectory(file)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	dir, err := directory.Open(t.Context(), directory.Config{State: store, People: people, Account: account, Log: log}, file)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, dir: dir, people: people, audit: new(audit.Memory), caller: keystore.CallerOf(iam.RootOf(account))}
	r.api = New(dir, awsquery.API{Audit: r.audit, Region: "us-east-1", Account: account, Now: time.Now, Log: log})
	return r
}

// ask sends an operation with parameters in turn, and returns status, error code and body.
func (r *rig) ask(op string, pairs ...string) (int, string, string) {
	r.t.Helper()
	form := url.Values{"Action": {op}, "Version": {version}}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	a := r.api.Serve(context.Background(), r.caller, []byte(form.Encode()))
	if err := xml.Unmarshal(a.Body, new(struct{})); err != nil {
		r.t.Fatalf("%s: %v in %s", op, err, a.Body)
	}
	return a.Status, a.Code, string(a.Body)
}

// must sends a request that has to succeed.
func (r *rig) must(op string, pairs ...string) string {
	r.t.Helper()
	status, code, body := r.ask(op, pairs...)
	if status != 200 {
		r.t.Fatalf("%s %v: %d %s %s", op, pairs, status, code, body)
	}
	return body
}

// fails sends a request that has to be refused.
func (r *rig) fails(want, op string, pairs ...string) {
	r.t.Helper()
	status, code, body := r.ask(op, pairs...)
	if code != want || status < 400 || status >= 500 && status != 501 {
		r.t.Errorf("%s %v: %d %s, want %s\n%s", op, pairs, status, code, want, body)
	}
}

// field returns the text of the first element with a name.
func field(body, name string) string {
	_, rest, _ := strings.Cut(body, "<"+name+">")
	text, _, _ := strings.Cut(rest, "</"+name+">")
	return text
}

const (
	allowS3 = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}`
	trustMe = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + account + `"},"Action":"sts:AssumeRole"}]}`
)

// TestEveryOperationOfTheModel: each operation of AWS's model of IAM is answered, or refused by name.
func TestEveryOperationOfTheModel(t *testing.T) {
	names, err := os.ReadFile("../awsquery/iam.txt")
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t)
	offered := 0
	all := strings.Fields(string(names))
	for _, name := range all {
		has := slices.ContainsFunc(r.api.Operations, func(o awsquery.Operation) bool { return o.Name == name })
		status, code, body := r.ask(name)
		switch {
		case has:
			offered++
			if code == "NotImplemented" || code == "InvalidAction" || status >= 500 {
				t.Errorf("%s is offered, and answered %d %s", name, status, code)
			}
		case status != 501 || code != "NotImplemented" || !strings.Contains(body, name):
			t.Errorf("%s: %d %s %s", name, status, code, body)
		}
	}
	if offered != len(r.api.Operations) || offered < 50 || len(all) < 170 {
		t.Errorf("%d of %d operations of the model are offered; the API has %d", offered, len(all), len(r.api.Operations))
	}
	r.fails("InvalidAction", "NoSuchOperation")
	a := r.api.Serve(t.Context(), r.caller, []byte("Action=ListUsers&Version=2011-01-01"))
	if a.Code != "InvalidAction" {
		t.Errorf("another version: %+v", a)
	}
}

// TestNobodyAsks: no operation is answered without a signature and a policy that names IAM; "*" is not enough.
func TestNobodyAsks(t *testing.T) {
	r := newRig(t)
	all, err := iam.ParsePolicy([]byte(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`), iam.Options{Kind: iam.Identity})
	if err != nil {
		t.Fatal(err)
	}
	user := iam.Requester{Name: "u", ARN: iam.UserARN(account, "u"), AccountID: account, ID: "AIDAU"}
	wide := user
	wide.Rights.Policies = []*iam.Policy{all}
	stranger := *iam.RootOf("999999999999")
	values := map[string]string{
		"UserName": "filed", "GroupName": "g", "RoleName": "r", "PolicyName": "p", "PolicyDocument": allowS3, "AssumeRolePolicyDocument": trustMe,
		"AccessKeyId": "AKIAFILEDFILEDFILED1", "Status": "Inactive", "PolicyArn": "arn:aws:iam::" + account + ":policy/p", "VersionId": "v1",
		"OpenIDConnectProviderArn": "arn:aws:iam::" + account + ":oidc-provider/x", "Url": "https://x.example", "ClientID": "c",
	}
	for _, op := range r.api.Operations {
		var pairs []string
		for _, p := range op.Params {
			if p.Required || p.Name == "UserName" {
				if values[p.Name] == "" {
					t.Fatalf("%s needs %s", op.Name, p.Name)
				}
				pairs = append(pairs, p.Name, values[p.Name])
			}
		}
		for name, row := range map[string]struct {
			who  *iam.Requester
			code string
		}{"nobody": {nil, "MissingAuthenticationToken"}, "no policy": {user.Identify(), "AccessDenied"}, "*": {wide.Identify(), "AccessDenied"},
			"another account": {stranger.Identify(), "AccessDenied"}} {
			r.caller = keystore.CallerOf(row.who)
			status, code, body := r.ask(op.Name, pairs...)
			if status != 403 || code != row.code {
				t.Errorf("%s by %s: %d %s %s", op.Name, name, status, code, body)
			}
		}
	}
}

// TestLifeOfAUser: a user is made, has two access keys for a while, and gets rights of its own, of a group and of a
// managed policy. It can be deleted only after everything it holds is gone. Rights and keys are in force when the
// answer arrives.
func TestLifeOfAUser(t *testing.T) {
	r := newRig(t)
	r.must("CreateUser", "UserName", "alice", "Path", "/team/")
	r.fails("EntityAlreadyExists", "CreateUser", "UserName", "Alice")
	r.fails("EntityAlreadyExists", "CreateUser", "UserName", "FILED")
	one := r.must("CreateAccessKey", "UserName", "alice")
	two := r.must("CreateAccessKey", "UserName", "alice")
	r.fails("LimitExceeded", "CreateAccessKey", "UserName", "alice")
	key, secret := field(one, "AccessKeyId"), field(one, "SecretAccessKey")
	decide := func(action string) iam.Decision {
		t.Helper()
		c, err := r.people.Resolve(key, "")
		if err != nil || c.Secret.Reveal() != secret {
			t.Fatal(err)
		}
		return c.Owner.Decide(&iam.Request{Principal: c.Owner.Principal(), Action: action, Resource: "arn:aws:s3:::b/k"}).Decision()
	}
	if decide("s3:GetObject") != iam.NoMatch {
		t.Error("a user that was just made has rights")
	}
	r.must("PutUserPolicy", "UserName", "alice", "PolicyName", "own", "PolicyDocument", allowS3)
	if decide("s3:GetObject") != iam.Allow || decide("kms:Decrypt") != iam.NoMatch {
		t.Error("an inline policy is not in force")
	}
	r.must("DeleteUserPolicy", "UserName", "alice", "PolicyName", "own")
	if decide("s3:GetObject") != iam.NoMatch {
		t.Error("a deleted policy is in force")
	}
	r.must("CreateGroup", "GroupName", "readers")
	r.must("PutGroupPolicy", "GroupName", "readers", "PolicyName", "read", "PolicyDocument", allowS3)
	r.must("AddUserToGroup", "GroupName", "readers", "UserName", "alice")
	if decide("s3:GetObject") != iam.Allow {
		t.Error("a group's policy is not in force")
	}
	arn := field(r.must("CreatePolicy", "PolicyName", "deny", "PolicyDocument", strings.Replace(allowS3, "Allow", "Deny", 1)), "Arn")
	r.must("AttachUserPolicy", "UserName", "alice", "PolicyArn", arn)
	if decide("s3:GetObject") != iam.Deny {
		t.Error("a Deny that is attached is not in force")
	}
	r.fails("DeleteConflict", "DeletePolicy", "PolicyArn", arn)
	r.fails("DeleteConflict", "DeleteGroup", "GroupName", "readers")
	r.fails("DeleteConflict", "DeleteUser", "UserName", "alice")
	r.must("UpdateAccessKey", "UserName", "alice", "AccessKeyId", key, "Status", "Inactive")
	if _, err := r.people.Resolve(key, ""); err == nil {
		t.Error("an inactive key is resolved")
	}
	if _, err := r.people.Resolve(field(two, "AccessKeyId"), ""); err != nil {
		t.Error("the other key is not resolved")
	}
	for _, id := range []string{key, field(two, "AccessKeyId")} {
		r.must("DeleteAccessKey", "UserName", "alice", "AccessKeyId", id)
	}
	r.must("DetachUserPolicy", "UserName", "alice", "PolicyArn", arn)
	r.must("RemoveUserFromGroup", "GroupName", "readers", "UserName", "alice")
	first := field(r.must("GetUser", "UserName", "alice"), "UserId")
	r.must("DeleteUser", "UserName", "alice")
	r.fails("NoSuchEntity", "GetUser", "UserName", "alice")
	if again := field(r.must("CreateUser", "UserName", "alice"), "UserId"); again == first || again == "" {
		t.Errorf("a user made anew has the id %q of the old one", again)
	}
	r.must("DeletePolicy", "PolicyArn", arn)
	r.must("DeleteGroupPolicy", "GroupName", "readers", "PolicyName", "read")
	r.must("DeleteGroup", "GroupName", "readers")
	for _, record := range r.audit.Records() {
		if text := fmt.Sprintf("%+v", record); strings.Contains(text, secret) {
			t.Fatalf("a record shows a secret: %s", text)
		}
	}
}

// TestFileUsersAreReadOnly: users of the configuration file are shown, and changed by no operation.
func TestFileUsersAreReadOnly(t *testing.T) {
	r := newRig(t)
	if body := r.must("ListUsers"); !strings.Contains(body, "<UserName>filed</UserName>") {
		t.Error(body)
	}
	r.must("GetUser", "UserName", "filed")
	if body := r.must("ListAccessKeys", "UserName", "filed"); !strings.Contains(body, "AKIAFILEDFILEDFILED1") || strings.Contains(body, "filed-secret") {
		t.Error(body)
	}
	r.must("CreateGroup", "GroupName", "g")
	arn := field(r.must("CreatePolicy", "PolicyName", "p", "PolicyDocument", allowS3), "Arn")
	for op, pairs := range map[string][]string{
		"DeleteUser": nil, "CreateAccessKey": nil, "DeleteAccessKey": {"AccessKeyId", "AKIAFILEDFILEDFILED1"},
		"UpdateAccessKey": {"AccessKeyId", "AKIAFILEDFILEDFILED1", "Status", "Inactive"}, "PutUserPolicy": {"PolicyName", "p", "PolicyDocument", allowS3},
		"DeleteUserPolicy": {"PolicyName", "p"}, "AttachUserPolicy": {"PolicyArn", arn}, "DetachUserPolicy": {"PolicyArn", arn},
		"AddUserToGroup": {"GroupName", "g"}, "RemoveUserFromGroup": {"GroupName", "g"},
	} {
		r.fails("UnmodifiableEntity", op, append(pairs, "UserName", "filed")...)
	}
}

// TestPoliciesAreChecked: wherever a policy can be put, a malformed, too large or void policy is refused.
func TestPoliciesAreChecked(t *testing.T) {
	r := newRig(t)
	r.must("CreateUser", "UserName", "u")
	r.must("CreateGroup", "GroupName", "g")
	r.must("CreateRole", "RoleName", "r", "AssumeRolePolicyDocument", trustMe)
	big := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::` + strings.Repeat("x", 11000) + `"}]}`
	for _, bad := range []string{`{}`, `x`, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"*"}]}`} {
		r.fails("MalformedPolicyDocument", "PutUserPolicy", "UserName", "u", "PolicyName", "p", "PolicyDocument", bad)
		r.fails("MalformedPolicyDocument", "PutGroupPolicy", "GroupName", "g", "PolicyName", "p", "PolicyDocument", bad)
		r.fails("MalformedPolicyDocument", "PutRolePolicy", "RoleName", "r", "PolicyName", "p", "PolicyDocument", bad)
		r.fails("MalformedPolicyDocument", "CreatePolicy", "PolicyName", "p", "PolicyDocument", bad)
		r.fails("MalformedPolicyDocument", "CreateRole", "RoleName", "r2", "AssumeRolePolicyDocument", bad)
		r.fails("MalformedPolicyDocument", "UpdateAssumeRolePolicy", "RoleName", "r", "PolicyDocument", bad)
	}
	r.fails("LimitExceeded", "PutUserPolicy", "UserName", "u", "PolicyName", "p", "PolicyDocument", big)
	r.fails("LimitExceeded", "PutGroupPolicy", "GroupName", "g", "PolicyName", "p", "PolicyDocument", big)
	r.fails("LimitExceeded", "PutRolePolicy", "RoleName", "r", "PolicyName", "p", "PolicyDocument", big)
	r.fails("LimitExceeded", "CreatePolicy", "PolicyName", "p", "PolicyDocument", big)
}

// TestTrustPolicies: a trust policy names existing principals, and an identity provider only with subjects.
func TestTrustPolicies(t *testing.T) {
	r := newRig(t)
	provider := field(r.must("CreateOpenIDConnectProvider", "Url", "https://token.example.com/k8s", "ClientIDList.member.1", "sts.amazonaws.com"), "OpenIDConnectProviderArn")
	r.fails("EntityAlreadyExists", "CreateOpenIDConnectProvider", "Url", "https://token.example.com/k8s")
	statement := func(principal, condition string) string {
		return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":` + principal + `,"Action":"sts:*"` + condition + `}]}`
	}
	federated := `{"Federated":"` + provider + `"}`
	on := func(operator, key, value string) string {
		return `,"Condition":{"` + operator + `":{"` + key + `":` + value + `}}`
	}
	const sub, aud = "token.example.com/k8s:sub", "token.example.com/k8s:aud"
	for document, good := range map[string]bool{
		trustMe: true,
		statement(`{"AWS":"`+iam.UserARN(account, "filed")+`"}`, ""):  true,
		statement(`{"AWS":"`+iam.UserARN(account, "nobody")+`"}`, ""): false,
		statement(federated, ""): false,
		statement(federated, on("StringEquals", aud, `"sts.amazonaws.com"`)):                                                        false,
		statement(federated, on("StringEquals", sub, `"system:serviceaccount:a:b"`)):                                                true,
		statement(federated, on("StringLike", sub, `"repo:acme/*"`)):                                                                true,
		statement(federated, on("StringLike", sub, `"*"`)):                                                                          false,
		statement(federated, on("StringLike", sub, `["repo:acme/*","*:main"]`)):                                                     false,
		statement(federated, on("StringNotEquals", sub, `"a"`)):                                                                     false,
		statement(federated, on("StringEqualsIfExists", sub, `"a"`)):                                                                false,
		statement(federated, on("ForAllValues:StringEquals", sub, `"a"`)):                                                           false,
		statement(federated, on("StringEquals", "other.example.com:sub", `"a"`)):                                                    false,
		statement(`{"Federated":"arn:aws:iam::`+account+`:oidc-provider/no.example"}`, on("StringEquals", "no.example:sub", `"a"`)): false,
		statement(`{"AWS":"`+account+`"}`, on("StringNotEquals", "aws:PrincipalOrgID", `"o"`)):                                      false,
		statement(`{"AWS":"`+account+`"}`, on("StringEquals", "sts:ExternalId", `"x"`)):                                             true,
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:*"}]}`:                                 false,
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"sts:*","Resource":"*"}]}`:                 false,
	} {
		_, code, body := r.ask("CreateRole", "RoleName", "r", "AssumeRolePolicyDocument", document)
		if (code == "") != good || !good && code != "MalformedPolicyDocument" {
			t.Errorf("%s: %s %s", document, code, body)
		}
		if code == "" {
			r.must("DeleteRole", "RoleName", "r")
		}
	}
	for _, bad := range []string{"http://token.example.com", "https://token.example.com?x", "https://u@token.example.com", "https://Token.example.com", "token.example.com"} {
		r.fails("InvalidInput", "CreateOpenIDConnectProvider", "Url", bad)
	}
}

// TestPages: a paged list is complete.
func TestPages(t *testing.T) {
	r := newRig(t)
	for i := range 7 {
		r.must("CreateUser", "UserName", fmt.Sprintf("user%d", i))
	}
	var names []string
	for marker := ""; ; {
		pairs := []string{"MaxItems", "3"}
		if marker != "" {
			pairs = append(pairs, "Marker", marker)
		}
		body := r.must("ListUsers", pairs...)
		var page struct {
			Names     []string `xml:"ListUsersResult>Users>member>UserName"`
			Truncated bool     `xml:"ListUsersResult>IsTruncated"`
			Marker    string   `xml:"ListUsersResult>Marker"`
		}
		if err := xml.Unmarshal([]byte(body), &page); err != nil || len(page.Names) > 3 {
			t.Fatal(err, body)
		}
		names = append(names, page.Names...)
		if marker = page.Marker; !page.Truncated {
			break
		}
	}
	if len(names) != 8 || !slices.IsSorted(names) {
		t.Errorf("%q", names)
	}
	r.fails("ValidationError", "ListUsers", "MaxItems", "1001")
	r.fails("ValidationError", "ListUsers", "MaxItems", "0")
	r.fails("ValidationError", "ListUsers", "Marker", "***")
}

// TestForms: parameters come once, in lists without holes, and only if the operation has them (I7).
func TestForms(t *testing.T) {
	r := newRig(t)
	many := "Action=ListUsers&Version=" + version
	for i := range 500 {
		many += fmt.Sprintf("&P%d=", i)
	}
	for body, code := range map[string]string{
		"Action=CreateUser&Version=" + version + "&UserName=a&UserName=b":            "MalformedInput",
		"Action=CreateUser&Action=ListUsers&Version=" + version:                      "MalformedInput",
		"Action=CreateUser&Version=" + version + "&UserName=%zz":                     "MalformedInput",
		"Action=CreateUser&Version=" + version + "&UserName=%ff":                     "MalformedInput",
		"Action=CreateUser&Version=" + version + "&UserName=a&Tags.member.1.Key=k":   "ValidationError",
		"Action=CreateUser&Version=" + version + "&UserName=a&PermissionsBoundary=x": "ValidationError",
		"Action=CreateUser&Version=" + version + "&username=a":                       "ValidationError",
		"Action=CreateUser&Version=" + version:                                       "ValidationError",
		"Action=CreateUser&Version=" + version + "&UserName=a%20b":                   "ValidationError",
		"Version=" + version: "MissingAction",
		"":                   "MissingAction",
		many:                 "MalformedInput",
		"Action=CreateOpenIDConnectProvider&Version=" + version + "&Url=https://a.example&ClientIDList.member.1=a&ClientIDList.member.3=c": "MalformedInput",
		"Action=CreateOpenIDConnectProvider&Version=" + version + "&Url=https://a.example&ClientIDList.member.0=a":                         "MalformedInput",
		"Action=CreateOpenIDConnectProvider&Version=" + version + "&Url=https://a.example&ClientIDList.member.01=a":                        "MalformedInput",
		"Action=CreateOpenIDConnectProvider&Version=" + version + "&Url=https://a.example&ClientIDList.member.1.x=a":                       "MalformedInput",
		"Action=CreateOpenIDConnectProvider&Version=" + version + "&Url=https://a.example&ClientIDList=a":                                  "ValidationError",
	} {
		if a := r.api.Serve(t.Context(), r.caller, []byte(body)); a.Code != code {
			t.Errorf("%.120s: %s, want %s", body, a.Code, code)
		}
	}
}

// TestTwoProcesses: a change by a process is served by a second process over the same state; racing changes do not undo
// each other.
func TestTwoProcesses(t *testing.T) {
	store := state.NewMemory()
	a, b := newRigOver(t, store), newRigOver(t, store)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go b.dir.Follow(ctx)
	a.must("CreateUser", "UserName", "alice")
	a.must("CreateRole", "RoleName", "app", "AssumeRolePolicyDocument", trustMe)
	key := field(a.must("CreateAccessKey", "UserName", "alice"), "AccessKeyId")
	eventually(t, func() bool { _, err := b.people.Resolve(key, ""); return err == nil })
	done := make(chan struct{})
	for _, r := range []*rig{a, b} {
		go func() {
			defer func() { done <- struct{}{} }()
			for i := range 20 {
				r.must("PutRolePolicy", "RoleName", "app", "PolicyName", fmt.Sprintf("%p%d", r, i), "PolicyDocument",
					`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"s3:*","Resource":"*"}]}`)
			}
		}()
	}
	<-done
	<-done
	eventually(t, func() bool { // b follows the state, a does not
		return strings.Count(b.must("ListRolePolicies", "RoleName", "app", "MaxItems", "1000"), "<member>") == 40
	})
	a.must("UpdateAccessKey", "UserName", "alice", "AccessKeyId", key, "Status", "Inactive")
	eventually(t, func() bool { _, err := b.people.Resolve(key, ""); return err != nil })
}

func eventually(t *testing.T, f func() bool) {
	t.Helper()
	for range 1000 {
		if f() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("it never happened")
}

// TestLastUsed: a key shows the time, service and region of its last use.
func TestLastUsed(t *testing.T) {
	r := newRig(t)
	r.must("CreateUser", "UserName", "alice")
	key := field(r.must("CreateAccessKey", "UserName", "alice"), "AccessKeyId")
	if body := r.must("GetAccessKeyLastUsed", "AccessKeyId", key); field(body, "ServiceName") != "N/A" || field(body, "UserName") != "alice" {
		t.Error(body)
	}
	c, err := r.people.Resolve(key, "")
	if err != nil {
		t.Fatal(err)
	}
	r.dir.Used(c.Owner, "s3", "us-east-1")
	if body := r.must("GetAccessKeyLastUsed", "AccessKeyId", key); field(body, "ServiceName") != "s3" || field(body, "LastUsedDate") == "" {
		t.Error(body)
	}
	r.fails("NoSuchEntity", "GetAccessKeyLastUsed", "AccessKeyId", "AKIANONESUCHNONESUCH")
}
