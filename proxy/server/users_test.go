package server

import "testing"

// oneUser returns a configuration file with a single user and a further line.
func oneUser(line string) string {
	return "users:\n  - name: bob\n    access_key: AKIABOB\n    secret_key: longenough\n    " + line + "\n"
}

// TestUserAccount checks that a user belongs to the account of its ARN, and has the rights of a user without a policy
// in that account alone.
func TestUserAccount(t *testing.T) {
	for _, c := range []struct{ line, arn, account string }{
		{"", "arn:aws:iam::000000000000:user/bob", "000000000000"},
		{`account: "111122223333"`, "arn:aws:iam::111122223333:user/bob", "111122223333"},
		{"arn: arn:aws:iam::444455556666:role/partner", "arn:aws:iam::444455556666:role/partner", "444455556666"},
		{"arn: arn:aws:iam::444455556666:role/a/path/partner", "arn:aws:iam::444455556666:role/a/path/partner", "444455556666"},
		{"arn: arn:aws:iam::444455556666:root", "arn:aws:iam::444455556666:root", "444455556666"},
		{"arn: arn:aws:iam::000000000000:user/other", "arn:aws:iam::000000000000:user/other", "000000000000"},
		{"arn: arn:aws-cn:sts::444455556666:assumed-role/partner/today", "arn:aws-cn:sts::444455556666:assumed-role/partner/today", "444455556666"},
		{"arn: arn:aws:iam::444455556666:user/x\n    account: \"444455556666\"", "arn:aws:iam::444455556666:user/x", "444455556666"},
	} {
		conf, err := loadWith(t, oneUser(c.line), nil)
		if err != nil {
			t.Errorf("%s: %v", c.line, err)
			continue
		}
		d, err := conf.directory(Credentials{"AKIAROOT", "secretsecret"})
		if err != nil {
			t.Errorf("%s: %v", c.line, err)
			continue
		}
		if got, err := d.Resolve("AKIABOB", ""); err != nil || got.Owner.ARN != c.arn || got.Owner.AccountID != c.account {
			t.Errorf("%s: %+v; want %s of %s", c.line, got.Owner, c.arn, c.account)
		}
	}
}
