package server

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"

	"go.yaml.in/yaml/v3"
)

// UserConfig is a user in the configuration file.
type UserConfig struct {
	Name      string          `yaml:"name"`
	AccessKey string          `yaml:"access_key"`
	SecretKey string          `yaml:"secret_key"`
	Account   string          `yaml:"account"` // none: the account in ARN, else --account
	ARN       string          `yaml:"arn"`     // for example a role's; none: the ARN of the user in its account
	Policy    *policyDocument `yaml:"-"`       // none: everything is allowed
	Upstream  *Credentials    `yaml:"-"`       // none: waxseal's own

	// The nodes as written: null differs from a missing key.
	WrittenPolicy   yaml.Node `yaml:"policy"`
	WrittenUpstream yaml.Node `yaml:"upstream"`
}

// Credentials are an access key and its secret. No format verb shows the secret.
type Credentials struct {
	AccessKey string `yaml:"access_key" json:"access_key"`
	SecretKey string `yaml:"secret_key" json:"secret_key"`
}

func (c Credentials) String() string   { return c.AccessKey + " (secret not shown)" }
func (c Credentials) GoString() string { return c.String() }

func (u UserConfig) String() string   { return u.Name + " (secrets not shown)" }
func (u UserConfig) GoString() string { return u.String() }

func (c Credentials) check() error {
	switch {
	case len(c.AccessKey) < 3 || len(c.AccessKey) > 128:
		return errors.New("access_key must have 3 to 128 characters")
	case len(c.SecretKey) < 8:
		return errors.New("secret_key must have 8 characters or more")
	}
	return nil
}

func (u UserConfig) check() error {
	if u.Name == "" {
		return errors.New("name is missing")
	}
	if err := (Credentials{u.AccessKey, u.SecretKey}).check(); err != nil {
		return err
	}
	if u.Account != "" && !accountNumber.MatchString(u.Account) {
		return fmt.Errorf("account %q is not 12 digits (quote it)", u.Account)
	}
	if err := u.checkARN(); err != nil {
		return err
	}
	if u.Upstream != nil {
		if err := u.Upstream.check(); err != nil {
			return fmt.Errorf("upstream: %w", err)
		}
	}
	return nil
}

// principalARN matches the ARN of a principal. Its matching group is the account.
var principalARN = regexp.MustCompile(`^arn:aws[-a-z]*:(?:iam::([0-9]{12}):(?:root|(?:user|role)/[\w+=,.@/-]*[\w+=,.@-])|` +
	`sts::([0-9]{12}):(?:assumed-role/[\w+=,.@-]+/[\w+=,.@-]+|federated-user/[\w+=,.@-]+))$`)

// accountOf returns the account in a principal's ARN, empty for any other text.
func accountOf(arn string) string {
	m := principalARN.FindStringSubmatch(arn)
	if m == nil {
		return ""
	}
	return cmp.Or(m[1], m[2])
}

func (u UserConfig) checkARN() error {
	if u.ARN == "" {
		return nil
	}
	switch account := accountOf(u.ARN); {
	case account == "":
		return fmt.Errorf("arn %q is not the ARN of a user, a role, a session or an account's root", u.ARN)
	case u.Account != "" && u.Account != account:
		return fmt.Errorf("account %s is not that of %s", u.Account, u.ARN)
	}
	return nil
}

// readRights decodes policy and upstream from the written nodes. An empty value is refused. It is more likely a mistake
// than a wish to allow everything, or to let the user act at the store as waxseal itself.
func (u *UserConfig) readRights() error {
	if !u.WrittenPolicy.IsZero() {
		if err := u.WrittenPolicy.Decode(&u.Policy); err != nil {
			return oneLine(err)
		}
		if u.Policy == nil {
			return errors.New("policy is empty: leave it out to allow everything")
		}
	}
	if !u.WrittenUpstream.IsZero() {
		if err := onlyKeys(&u.WrittenUpstream, keysIn["Credentials"]); err != nil {
			return fmt.Errorf("upstream: %w", err)
		}
		if err := u.WrittenUpstream.Decode(&u.Upstream); err != nil {
			return oneLine(err)
		}
		if u.Upstream == nil {
			return errors.New("upstream is empty: leave it out to act as waxseal at the store")
		}
	}
	return nil
}

// policyDocument is an IAM policy written as YAML and kept as JSON.
type policyDocument struct{ json []byte }

// UnmarshalYAML accepts a mapping, or a text with JSON.
func (p *policyDocument) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		p.json = []byte(n.Value)
		if !json.Valid(p.json) {
			return fmt.Errorf("line %d: policy is neither a mapping nor JSON", n.Line)
		}
		return nil
	}
	// Dates such as Version: 2012-10-17 stay text.
	plain(n)
	var doc map[string]any
	if err := n.Decode(&doc); err != nil {
		return err
	}
	var err error
	p.json, err = json.Marshal(doc)
	return err
}

// plain turns YAML dates back into text.
func plain(n *yaml.Node) {
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!timestamp" {
		n.Tag = "!!str"
	}
	for _, c := range n.Content {
		plain(c)
	}
}
