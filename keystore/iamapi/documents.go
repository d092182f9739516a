package iamapi

import (
	"errors"
	"net/url"
	"strings"
	"unicode"

	"waxseal/keystore/awsquery"
	"waxseal/keystore/iam"
)

// AWS's limits of policies, in characters without white space.
const (
	maxManaged = 6144
	maxTrust   = 2048
)

func size(document string) int {
	n := 0
	for _, c := range document {
		if !unicode.IsSpace(c) {
			n++
		}
	}
	return n
}

func malformed(err error) error {
	var m *iam.MalformedError
	if errors.As(err, &m) {
		return awsquery.Fail(400, "MalformedPolicyDocument", "%s", m.Message)
	}
	return awsquery.Fail(400, "MalformedPolicyDocument", "%s", err)
}

// checkDocument refuses a malformed identity policy, and a policy that waxseal could not enforce.
func (a *api) checkDocument(document string) error {
	if err := a.dir.CheckDocument(document); err != nil {
		return malformed(err)
	}
	return nil
}

// checkTrust refuses a trust policy that is malformed or names an unknown principal.
func (a *api) checkTrust(document string) error {
	if size(document) > maxTrust {
		return limit("ACLSizePerRole", maxTrust)
	}
	if _, err := a.dir.CheckTrust(document); err != nil {
		return malformed(err)
	}
	return nil
}

// encoded returns a document in the form of IAM's answers: percent-encoded by RFC 3986.
func encoded(document string) string {
	return strings.ReplaceAll(url.QueryEscape(document), "+", "%20")
}
