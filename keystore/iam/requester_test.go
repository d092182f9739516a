package iam_test

import (
	"testing"
	"time"

	"waxseal/keystore/iam"
)

func identityPolicy(t testing.TB, statements string) *iam.Policy {
	t.Helper()
	return parse(t, `{"Version":"2012-10-17","Statement":[`+statements+`]}`, iam.Options{Kind: iam.Identity})
}

// TestPolicyEvaluation is AWS's table of how the policies of a requester and of a resource come together: the
// resource's policy names the user, the role, the session, everybody or the account; each without and with a session
// policy, and each under every say of the identity's policies. Denied anywhere is denied.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic_policy-eval-basics.html
func TestPolicyEvaluation(t *testing.T) {
	const account, action, resource = "111122223333", "s3:GetObject", "arn:aws:s3:::b/k"
	say := map[string]string{
		"allow": `{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}`,
		"none":  `{"Effect":"Allow","Action":"s3:PutObject","Resource":"*"}`,
		"deny":  `{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"s3:GetObject","Resource":"*"}`,
	}
	roleARN, sessionARN, userARN := "arn:aws:iam::"+account+":role/app", "arn:aws:sts::"+account+":assumed-role/app/s", iam.UserARN(account, "alice")
	named := map[string]string{
		"nobody": "", "user": `{"AWS":"` + userARN + `"}`, "role": `{"AWS":"` + roleARN + `"}`, "session": `{"AWS":"` + sessionARN + `"}`,
		"*": `"*"`, "account": `{"AWS":"` + account + `"}`,
	}
	for who, arn := range map[string]string{"user": userARN, "session": sessionARN} {
		for identity, own := range say {
			for session, limit := range map[string]string{"no": "", "allow": say["allow"], "none": say["none"], "deny": say["deny"]} {
				if who == "user" && session != "no" {
					continue
				}
				for principal, element := range named {
					for _, effect := range []string{"Allow", "Deny"} {
						for _, same := range []bool{true, false} {
							id := iam.Requester{ARN: arn, AccountID: account, ID: "ID", Rights: iam.Rights{Policies: []*iam.Policy{identityPolicy(t, own)}}}
							if limit != "" {
								id.Rights.Session = []*iam.Policy{identityPolicy(t, limit)}
							}
							requester := id.Identify()
							r := &iam.Request{Principal: requester.Principal(), Action: action, Resource: resource}
							var byResource iam.Result
							if element != "" {
								byResource = parse(t, `{"Version":"2012-10-17","Statement":[{"Effect":"`+effect+`","Principal":`+element+`,"Action":"s3:*","Resource":"*"}]}`, iam.Options{}).Decide(r)
							}
							got := iam.Judge(requester.Decide(r), byResource, same)
							if want := awsSays(who, identity, session, principal, effect, same); got != want {
								t.Errorf("%s, identity policy: %s, session policy: %s, resource policy: %s %s, same account %v: %v, want %v",
									who, identity, session, effect, principal, same, got, want)
							}
						}
					}
				}
			}
		}
	}
}

// awsSays is the table in AWS's own words, written independently of the code under test.
func awsSays(who, identity, session, principal, effect string, same bool) iam.Decision {
	applies := principal == "*" || principal == "account" || principal == who || principal == "role" && who == "session"
	if identity == "deny" || session == "deny" || effect == "Deny" && applies {
		return iam.Deny
	}
	byIdentity := identity == "allow" && (session == "no" || session == "allow")
	byResource := effect == "Allow" && applies
	if !same {
		if byIdentity && byResource {
			return iam.Allow
		}
		return iam.NoMatch
	}
	direct := byResource && principal != "account" && (principal != "role" || session == "no" || session == "allow")
	if byIdentity || direct {
		return iam.Allow
	}
	return iam.NoMatch
}

// TestReservedActions: only root, and statements that name the service, give rights over users and over waxseal itself;
// "*" and a user without a policy do not. A Deny needs no name.
func TestReservedActions(t *testing.T) {
	root := iam.RootOf("111122223333")
	user := func(statements string) *iam.Requester {
		return iam.Requester{ARN: iam.UserARN("111122223333", "u"), AccountID: "111122223333", ID: "ID",
			Rights: iam.Rights{Policies: []*iam.Policy{identityPolicy(t, statements)}}}.Identify()
	}
	everything := iam.Requester{ARN: iam.UserARN("111122223333", "u"), Rights: iam.Rights{Everything: true}}.Identify()
	allow := func(element string) *iam.Requester { return user(`{"Effect":"Allow",` + element + `,"Resource":"*"}`) }
	for _, action := range []string{"iam:CreateUser", "iam:PutUserPolicy", "waxseal:ConsoleRead", "IAM:createuser"} {
		service := action[:len(action)-len(action[indexOf(action):])]
		for name, row := range map[string]struct {
			who  *iam.Requester
			want iam.Decision
		}{
			"root":               {root, iam.Allow},
			"nobody":             {nil, iam.NoMatch},
			"no policy":          {iam.Requester{ARN: iam.UserARN("111122223333", "u")}.Identify(), iam.NoMatch},
			"no policy in file":  {everything, iam.NoMatch},
			"*":                  {allow(`"Action":"*"`), iam.NoMatch},
			"a wild service":     {allow(`"Action":"?*:*"`), iam.NoMatch},
			"part of the name":   {allow(`"Action":["i*:*","w*:*"]`), iam.NoMatch},
			"all but s3":         {allow(`"NotAction":"s3:*"`), iam.NoMatch},
			"the service":        {allow(`"Action":"` + service + `:*"`), iam.Allow},
			"* and the service":  {allow(`"Action":["*","` + service + `:*"]`), iam.Allow},
			"the action":         {allow(`"Action":"` + action + `"`), iam.Allow},
			"another service":    {allow(`"Action":["s3:*","kms:*","sts:*"]`), iam.NoMatch},
			"a Deny of *":        {user(`{"Effect":"Allow","Action":"` + service + `:*","Resource":"*"},{"Effect":"Deny","Action":"*","Resource":"*"}`), iam.Deny},
			"a Deny of the rest": {user(`{"Effect":"Allow","Action":"` + service + `:*","Resource":"*"},{"Effect":"Deny","NotAction":"s3:*","Resource":"*"}`), iam.Deny},
		} {
			got := row.who.Decide(&iam.Request{Principal: row.who.Principal(), Action: action, Resource: "*"}).Decision()
			if got != row.want {
				t.Errorf("%s with %s: %v, want %v", action, name, got, row.want)
			}
		}
	}
	for action, want := range map[string]iam.Decision{"s3:GetObject": iam.Allow, "kms:Decrypt": iam.Allow, "sts:AssumeRole": iam.NoMatch} {
		if got := everything.Decide(&iam.Request{Principal: everything.Principal(), Action: action, Resource: "*"}).Decision(); got != want {
			t.Errorf("%s without a policy in the file: %v", action, got)
		}
	}
	// A session policy with "*" does not pass on the role's rights over users, either.
	limited := *allow(`"Action":"iam:*"`)
	limited.Rights.Session = []*iam.Policy{identityPolicy(t, `{"Effect":"Allow","Action":"*","Resource":"*"}`)}
	if got := limited.Identify().Decide(&iam.Request{Principal: limited.Principal(), Action: "iam:CreateUser", Resource: "*"}).Decision(); got != iam.NoMatch {
		t.Errorf("under a session policy of *: %v", got)
	}
}

func indexOf(action string) int {
	for i, c := range action {
		if c == ':' {
			return i
		}
	}
	return len(action)
}

// TestRevisions: any change of a requester's rights changes the revision, and no other change does.
func TestRevisions(t *testing.T) {
	a, b := identityPolicy(t, `{"Effect":"Allow","Action":"s3:*","Resource":"*"}`), identityPolicy(t, `{"Effect":"Allow","Action":"kms:*","Resource":"*"}`)
	base := iam.Requester{ARN: iam.UserARN("1", "u"), AccountID: "1", ID: "AIDA1", Rights: iam.Rights{Policies: []*iam.Policy{a}}}
	same := base
	same.AccessKey, same.Name = "AKIAOTHER", "another name"
	if base.Identify().Revision() != same.Identify().Revision() || base.Identify().Revision() == "" {
		t.Error("a revision is of more than the rights")
	}
	seen := map[string]string{base.Identify().Revision(): "the same"}
	for name, change := range map[string]func(*iam.Requester){
		"a user made anew":     func(r *iam.Requester) { r.ID = "AIDA2" },
		"no policy":            func(r *iam.Requester) { r.Rights.Policies = nil },
		"another policy":       func(r *iam.Requester) { r.Rights.Policies = []*iam.Policy{b} },
		"one more":             func(r *iam.Requester) { r.Rights.Policies = []*iam.Policy{a, b} },
		"everything":           func(r *iam.Requester) { r.Rights.Everything = true },
		"a session policy":     func(r *iam.Requester) { r.Rights.Session = []*iam.Policy{a} },
		"an empty session":     func(r *iam.Requester) { r.Rights.Session = []*iam.Policy{} },
		"policy as session":    func(r *iam.Requester) { r.Rights.Policies, r.Rights.Session = nil, []*iam.Policy{a, a} },
		"credentials made new": func(r *iam.Requester) { r.Session = &iam.Session{Issued: time.Unix(1, 0)} },
	} {
		r := base
		change(&r)
		revision := r.Identify().Revision()
		if other, ok := seen[revision]; ok {
			t.Errorf("%s has the revision of %s", name, other)
		}
		seen[revision] = name
	}
}

// TestTokenIssueTime: temporary credentials have the time of their issue, so that old credentials can be denied;
// long-term credentials have none.
func TestTokenIssueTime(t *testing.T) {
	revoke := identityPolicy(t, `{"Effect":"Allow","Action":"s3:*","Resource":"*"},
		{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"DateLessThan":{"aws:TokenIssueTime":"2026-11-21T12:00:00Z"}}}`)
	for name, row := range map[string]struct {
		session *iam.Session
		want    iam.Decision
	}{
		"long-term": {nil, iam.Allow},
		"before":    {&iam.Session{Issued: time.Date(2026, 11, 21, 11, 59, 59, 0, time.UTC)}, iam.Deny},
		"after":     {&iam.Session{Issued: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)}, iam.Allow},
	} {
		r := iam.Requester{ARN: "arn:aws:sts::1:assumed-role/r/s", AccountID: "1", ID: "x", Session: row.session, Rights: iam.Rights{Policies: []*iam.Policy{revoke}}}.Identify()
		if got := r.Decide(&iam.Request{Principal: r.Principal(), Action: "s3:GetObject", Resource: "*"}).Decision(); got != row.want {
			t.Errorf("%s: %v, want %v", name, got, row.want)
		}
	}
}
