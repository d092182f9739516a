package proxy

import (
	"testing"

	"waxseal/keystore/iam"
	"waxseal/proxy/s3"
)

// TestBucketPolicyAllows: in the account of the bucket its policy may allow what the requester's own policies do not speak
// of; a Deny of either wins, and whoever is named by account needs the own policies beside.
func TestBucketPolicyAllows(t *testing.T) {
	own := func(document string) *iam.Policy {
		p, err := iam.ParsePolicy([]byte(`{"Version":"2012-10-17","Statement":[`+document+`]}`), iam.Options{Kind: iam.Identity})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	for name, row := range map[string]struct {
		own, principal string
		allowed        bool
	}{
		"named":                  {`{"Effect":"Allow","Action":"sqs:*","Resource":"*"}`, `{"AWS":"` + iam.UserARN(testAccount, "alice") + `"}`, true},
		"everybody":              {`{"Effect":"Allow","Action":"sqs:*","Resource":"*"}`, `"*"`, true},
		"the account":            {`{"Effect":"Allow","Action":"sqs:*","Resource":"*"}`, `{"AWS":"` + testAccount + `"}`, false},
		"the account, and own":   {`{"Effect":"Allow","Action":"s3:*","Resource":"*"}`, `{"AWS":"` + testAccount + `"}`, true},
		"another":                {`{"Effect":"Allow","Action":"sqs:*","Resource":"*"}`, `{"AWS":"` + iam.RootARN("999999999999") + `"}`, false},
		"named, own policy deny": {`{"Effect":"Deny","Action":"s3:GetObject","Resource":"*"}`, `{"AWS":"` + iam.UserARN(testAccount, "alice") + `"}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			k := startContract(t, func(c *Config) {
				alice, root := userOf(c.Users, "AKIAalice"), userOf(c.Users, testAccess)
				changed := *alice
				changed.Policy, changed.Everything = own(row.own), false
				if err := c.Users.Replace([]iam.User{*root, changed}); err != nil {
					t.Fatal(err)
				}
			})
			k.ask("PUT", k.object("o"), nil, "x").ok(t)
			k.ask("PUT", "/"+k.bucket+"?policy", nil, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":`+row.principal+
				`,"Action":"s3:GetObject","Resource":"arn:aws:s3:::`+k.bucket+`/*"}]}`).ok(t)
			answer := k.askAs("alice", "GET", k.object("o"), nil, "")
			if row.allowed {
				answer.ok(t)
			} else {
				answer.fails(t, 403, s3.AccessDenied, "")
			}
		})
	}
}
