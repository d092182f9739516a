package sigv4

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"waxseal/keystore/strictjson"
)

// PostPolicy is the policy of a POST form
// (https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-HTTPPOSTConstructPolicy.html). A nil policy, of an anonymous
// form, allows everything.
type PostPolicy struct {
	Expiration time.Time

	conditions []postCondition
	minLength  int64
	maxLength  int64 // -1: no content-length-range
}

// postCondition is an eq or starts-with condition.
type postCondition struct {
	field  string // lower case, without the dollar sign
	value  string
	prefix bool
	never  bool // S3 takes it in a policy, and no form meets it
	raw    string
}

const ignorePrefix = "x-ignore-"

func errPolicyDocument(detail string) *Error {
	return fail(400, "InvalidPolicyDocument", "Invalid Policy: "+detail)
}

func errPolicyDenies(detail string) *Error {
	return errAccessDenied("Invalid according to Policy: " + detail)
}

// ParsePostPolicy reads the base64 policy of a form. It does not look at the clock.
func ParsePostPolicy(encoded string) (*PostPolicy, error) {
	document, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, errPolicyDocument("invalid Base64 encoding.")
	}
	members, ok := strictjson.Object(document)
	if !ok {
		return nil, errPolicyDocument("Invalid JSON.")
	}
	p := &PostPolicy{maxLength: -1}
	var conditions []json.RawMessage
	var haveExpiration, haveConditions bool
	for _, m := range members {
		switch m.Name {
		case "expiration":
			haveExpiration = true
			if p.Expiration, err = parseExpiration(m.Value); err != nil {
				return nil, err
			}
		case "conditions":
			haveConditions = true
			if m.Value[0] != '[' || json.Unmarshal(m.Value, &conditions) != nil {
				return nil, errPolicyDocument("Invalid 'conditions' value: must be a List.")
			}
		default:
			return nil, errPolicyDocument("Unexpected: '" + m.Name + "'")
		}
	}
	switch {
	case !haveExpiration:
		return nil, errPolicyDocument("Policy missing expiration.")
	case !haveConditions:
		return nil, errPolicyDocument("Policy missing conditions.")
	}
	for _, raw := range conditions {
		if err := p.addCondition(raw); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func parseExpiration(raw json.RawMessage) (time.Time, error) {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		if t, err := time.Parse(isoExtended, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, errPolicyDocument("Invalid 'expiration' value: '" + strings.Trim(string(raw), "\"") + "'")
}

func (p *PostPolicy) addCondition(raw json.RawMessage) error {
	switch raw[0] {
	case '{':
		return p.addSimple(raw)
	case '[':
		return p.addList(raw)
	}
	return errPolicyDocument("Invalid condition test: must be a List or Object.")
}

// addSimple reads {"field": "value"}.
func (p *PostPolicy) addSimple(raw json.RawMessage) error {
	members, ok := strictjson.Object(raw)
	if !ok || len(members) != 1 {
		return errPolicyDocument("Invalid Simple-Condition: Simple-Conditions must have exactly one property specified.")
	}
	var value string
	if members[0].Value[0] != '"' || json.Unmarshal(members[0].Value, &value) != nil {
		return errPolicyDocument("Invalid Simple-Condition: value must be a string.")
	}
	field := strings.ToLower(members[0].Name)
	p.conditions = append(p.conditions, postCondition{field: field, value: value,
		raw: showCondition("eq", "$"+members[0].Name, value)})
	return nil
}

// addList reads ["eq" or "starts-with", "$field", "value"] and ["content-length-range", min, max].
func (p *PostPolicy) addList(raw json.RawMessage) error {
	var list []json.RawMessage
	var operation string
	if json.Unmarshal(raw, &list) != nil || len(list) == 0 || json.Unmarshal(list[0], &operation) != nil {
		return errPolicyDocument("Invalid Condition: missing operation identifier.")
	}
	operation = strings.ToLower(operation)
	switch operation {
	case "content-length-range":
		return p.addRange(list)
	case "eq", "starts-with":
	default:
		return errPolicyDocument("Invalid Condition: unknown operation '" + operation + "'.")
	}
	if len(list) != 3 {
		return errPolicyDocument("Invalid " + operation + ": wrong number of arguments.")
	}
	var field, value string
	if list[1][0] != '"' || list[2][0] != '"' || json.Unmarshal(list[1], &field) != nil || json.Unmarshal(list[2], &value) != nil ||
		len(field) < 2 {
		return errPolicyDocument("Invalid " + operation + ": arguments must be a $field and a string.")
	}
	c := postCondition{value: value, prefix: operation == "starts-with", raw: showCondition(operation, field, value)}
	if name, ok := strings.CutPrefix(field, "$"); ok {
		c.field = strings.ToLower(name)
	} else {
		c.never = true
	}
	p.conditions = append(p.conditions, c)
	return nil
}

// showCondition returns a condition in its form for an error.
func showCondition(operation, field, value string) string {
	if SecretName(strings.TrimPrefix(field, "$")) {
		value = redacted
	}
	return `["` + operation + `", "` + field + `", "` + value + `"]`
}

// addRange narrows the allowed length; of several ranges all must hold.
func (p *PostPolicy) addRange(list []json.RawMessage) error {
	if len(list) != 3 {
		return errPolicyDocument("Invalid content-length-range: wrong number of arguments.")
	}
	low, okLow := lengthOf(list[1])
	high, okHigh := lengthOf(list[2])
	if word(list[1]) || word(list[2]) {
		p.conditions = append(p.conditions, postCondition{never: true, raw: "[\"content-length-range\", " + string(list[1]) + ", " + string(list[2]) + "]"})
		return nil
	}
	if !okLow || !okHigh {
		return errPolicyDocument("Invalid content-length-range: arguments must be non-negative integers.")
	}
	p.minLength = max(p.minLength, low)
	if p.maxLength < 0 || high < p.maxLength {
		p.maxLength = high
	}
	return nil
}

// lengthOf reads a number, with or without quotes, as S3 does.
func lengthOf(raw json.RawMessage) (int64, bool) {
	n, err := strconv.ParseUint(strings.Trim(string(raw), "\""), 10, 63)
	return int64(n), err == nil
}

// word reports whether an argument is text and no number: S3 accepts it in a policy, and then denies every form.
func word(raw json.RawMessage) bool {
	_, err := strconv.ParseFloat(strings.Trim(string(raw), "\""), 64)
	return raw[0] == '"' && err != nil
}

// LengthRange returns the content-length-range, if the policy has any.
func (p *PostPolicy) LengthRange() (low, high int64, ok bool) {
	if p == nil || p.maxLength < 0 {
		return 0, 0, false
	}
	return p.minLength, p.maxLength, true
}

// CheckLength holds the length of the file against the policy.
func (p *PostPolicy) CheckLength(length int64) error {
	low, high, ok := p.LengthRange()
	switch {
	case !ok:
		return nil
	case length > high:
		return fail(400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size",
			Header{"ProposedSize", strconv.FormatInt(length, 10)}, Header{"MaxSizeAllowed", strconv.FormatInt(high, 10)})
	case length < low:
		return fail(400, "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size",
			Header{"ProposedSize", strconv.FormatInt(length, 10)}, Header{"MinSizeAllowed", strconv.FormatInt(low, 10)})
	}
	return nil
}

// Check compares a form with the policy: every condition must be met and every field of the form have a condition.
// bucket is the bucket of the request's address; ${filename} in the key must have been replaced. length is the
// file's, or -1 while unknown; CheckLength then comes later.
func (p *PostPolicy) Check(bucket string, form []Header, length int64) error {
	if p == nil {
		return nil
	}
	if err := p.checkCovered(bucket, form); err != nil {
		return err
	}
	for _, c := range p.conditions {
		value := bucket
		if c.field != "bucket" {
			value, _ = formValue(form, c.field)
		}
		if !c.holds(value) {
			return errPolicyDenies("Policy Condition failed: " + c.raw)
		}
	}
	if length < 0 {
		return nil
	}
	return p.CheckLength(length)
}

func (p *PostPolicy) checkCovered(bucket string, form []Header) error {
	if !p.Covers("bucket") {
		return errPolicyDenies("Extra input fields: bucket")
	}
	for _, f := range form {
		name := strings.ToLower(f.Name)
		if name == "bucket" && f.Value != bucket {
			return errPolicyDenies("Policy Condition failed: the form names another bucket")
		}
		if !exempt(name) && !p.Covers(name) {
			return errPolicyDenies("Extra input fields: " + name)
		}
	}
	return nil
}

// exempt reports whether a field needs no condition; the last two fields belong to Signature Version 2.
func exempt(name string) bool {
	switch name {
	case "x-amz-signature", "file", "policy", "signature", "awsaccesskeyid":
		return true
	}
	return strings.HasPrefix(name, ignorePrefix)
}

// Covers reports whether a condition names the field. name is in lower case. No policy covers every field.
func (p *PostPolicy) Covers(name string) bool {
	if p == nil {
		return true
	}
	for _, c := range p.conditions {
		if c.field == name {
			return true
		}
	}
	return false
}

func (c postCondition) holds(value string) bool {
	switch {
	case c.never:
		return false
	case !c.prefix:
		return value == c.value
	}
	if c.field != "content-type" {
		return strings.HasPrefix(value, c.value)
	}
	// "Content-Types values for a starts-with condition that include commas are interpreted as lists."
	for part := range strings.SplitSeq(value, ",") {
		if !strings.HasPrefix(strings.TrimSpace(part), c.value) {
			return false
		}
	}
	return true
}
