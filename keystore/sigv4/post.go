package sigv4

import (
	"crypto/hmac"
	"strings"
	"time"
)

// VerifyPost checks the proof in the fields of a POST form
// (https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-UsingHTTPPOST.html): the signature over its policy, and the
// policy's form and expiry. PostPolicy.Check must then compare the form with the policy. A form without policy and
// signature is anonymous; its nil policy allows everything.
func (v *Verifier) VerifyPost(form []Header) (*Auth, *PostPolicy, error) {
	if err := checkFormOnce(form); err != nil {
		return nil, nil, err
	}
	token, hasToken := formValue(form, "x-amz-security-token")
	policy, signed := formValue(form, "policy")
	var (
		a   *Auth
		err error
	)
	switch {
	case hasField(form, "x-amz-signature", "x-amz-credential", "x-amz-algorithm"):
		a, err = v.postV4(form, policy, token)
	case hasToken: // it belongs to a proof of Version 4
		err = v.errToken()
	case hasField(form, "signature", "AWSAccessKeyId"):
		a, err = v.postV2(form, policy)
	case signed:
		err = errMissingField("AWSAccessKeyId")
	default:
		return &Auth{Kind: Anonymous, ContentLength: -1, DecodedLength: -1}, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	parsed, err := ParsePostPolicy(policy)
	if err != nil {
		return nil, nil, err
	}
	if v.now().After(parsed.Expiration) {
		return nil, nil, errPolicyDenies("Policy expired.")
	}
	return a, parsed, nil
}

// checkFormOnce refuses a repeated field: the first value could be checked and the second used.
func checkFormOnce(form []Header) error {
	seen := make(map[string]bool, len(form))
	for _, f := range form {
		name := strings.ToLower(f.Name)
		if seen[name] && !strings.HasPrefix(name, ignorePrefix) {
			return errInvalidArgument("POST requires each form field to be given once.", name, "")
		}
		seen[name] = true
	}
	return nil
}

func formValue(form []Header, name string) (string, bool) {
	for _, f := range form {
		if strings.EqualFold(f.Name, name) {
			return f.Value, true
		}
	}
	return "", false
}

func hasField(form []Header, names ...string) bool {
	for _, name := range names {
		if _, ok := formValue(form, name); ok {
			return true
		}
	}
	return false
}

func errMissingField(name string) *Error {
	return errInvalidArgument("Bucket POST must contain a field named '"+name+
		"'.  If it is specified, please check the order of the fields.", name, "")
}

// needFields collects the values of fields that must not be missing or empty.
func needFields(form []Header, names ...string) ([]string, error) {
	values := make([]string, len(names))
	for i, name := range names {
		value, _ := formValue(form, name)
		if value == "" {
			return nil, errMissingField(name)
		}
		values[i] = strings.Clone(value)
	}
	return values, nil
}

// postV4 checks x-amz-signature, the signature of the base64 policy itself.
func (v *Verifier) postV4(form []Header, policy, token string) (*Auth, error) {
	if name, _ := formValue(form, "x-amz-algorithm"); name == algorithmV4A {
		return nil, errV4A()
	}
	got, err := needFields(form, "policy", "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Signature")
	if err != nil {
		return nil, err
	}
	name, value, stamp, signature := got[1], got[2], got[3], got[4]
	if name != algorithm {
		return nil, errInvalidArgument("Only AWS4-HMAC-SHA256 is supported", "x-amz-algorithm", name)
	}
	c, err := v.parseCredential(value, complainForm(value))
	if err != nil {
		return nil, err
	}
	date, err := time.Parse(isoBasic, stamp)
	if err != nil || date.Format(dateOnly) != c.date {
		return nil, errInvalidArgument("X-Amz-Date must be formatted via ISO8601 Long format and name the credential's day", "X-Amz-Date", stamp)
	}
	found, secret, err := v.credential(c.accessKey, token)
	if err != nil {
		return nil, err
	}
	key := deriveKey(secret, c.date, c.region, c.service)
	if !key.matches([]byte(policy), signature) {
		return nil, v.errMismatch(c.accessKey, signature, redactPolicy(policy), nil)
	}
	return &Auth{Kind: PostV4, AccessKey: c.accessKey, Owner: found.Owner, Region: c.region, Date: date, ContentLength: -1, DecodedLength: -1}, nil
}

func (v *Verifier) postV2(form []Header, policy string) (*Auth, error) {
	if !v.AllowV2 {
		return nil, errV2()
	}
	got, err := needFields(form, "policy", "AWSAccessKeyId", "Signature")
	if err != nil {
		return nil, err
	}
	accessKey, signature := got[1], got[2]
	found, secret, err := v.credential(accessKey, "")
	if err != nil {
		return nil, err
	}
	if !hmac.Equal([]byte(mac1(secret, []byte(policy))), []byte(signature)) {
		return nil, v.errMismatch(accessKey, signature, redactPolicy(policy), nil)
	}
	return &Auth{Kind: PostV2, AccessKey: accessKey, Owner: found.Owner, Date: v.now().UTC(), ContentLength: -1, DecodedLength: -1}, nil
}
