package sigv4

import (
	"strings"
	"time"
)

const (
	algorithm    = "AWS4-HMAC-SHA256"
	algorithmV4A = "AWS4-ECDSA-P256-SHA256"
	terminal     = "aws4_request"
	isoBasic     = "20060102T150405Z"
	isoExtended  = "2006-01-02T15:04:05Z"
	dateOnly     = "20060102"
)

const credentialForm = "the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\"."

// credential is the value of Credential or X-Amz-Credential.
type credential struct {
	accessKey, date, region, service string
	scope                            string // all after the access key
}

// complain builds an error that names the place of the credential, such as header or query; region is set where S3
// names the expected region.
type complain func(detail, region string) *Error

func complainHeader(detail, region string) *Error {
	if region == "" {
		return errMalformedHeader(detail)
	}
	return errMalformedHeader(detail, Header{"Region", region})
}

func complainQuery(detail, region string) *Error {
	if region == "" {
		return errMalformedQuery("Error parsing the X-Amz-Credential parameter; " + detail)
	}
	return errMalformedQuery("Error parsing the X-Amz-Credential parameter; "+detail, Header{"Region", region})
}

func complainForm(value string) complain {
	return func(detail, _ string) *Error { return errInvalidArgument(detail, "x-amz-credential", value) }
}

func complainKMS(detail, _ string) *Error { return fail(400, "InvalidSignatureException", detail) }

// parseCredential splits a credential and checks its scope. An access key may itself hold slashes.
func (v *Verifier) parseCredential(value string, say complain) (credential, error) {
	if !v.s3() {
		say = complainKMS
	}
	parts := [4]string{}
	rest := value
	for i := 3; i >= 0; i-- {
		cut := strings.LastIndexByte(rest, '/')
		if cut < 0 {
			return credential{}, say(credentialForm, "")
		}
		rest, parts[i] = rest[:cut], rest[cut+1:]
	}
	c := credential{accessKey: rest, date: parts[0], region: parts[1], service: parts[2]}
	if rest == "" {
		return c, say("a non-empty Access Key (AKID) must be provided in the credential.", "")
	}
	c.scope = value[len(rest)+1:]
	return c, v.checkScope(c, parts[3], say)
}

func (v *Verifier) checkScope(c credential, end string, say complain) error {
	if !v.s3() {
		return v.checkScopeKMS(c, end)
	}
	switch {
	case end != terminal:
		return say("incorrect terminal \""+end+"\". This endpoint uses \"aws4_request\".", "")
	case c.service != v.Service:
		return say("incorrect service \""+c.service+"\". This endpoint belongs to \""+v.Service+"\".", "")
	case !v.inRegion(c.region):
		return say("the region '"+c.region+"' is wrong; expecting '"+v.Region+"'", v.Region)
	case !validDate(c.date):
		return say("incorrect date format \""+c.date+"\". This date in the credential must be in the format \"yyyyMMdd\".", "")
	}
	return nil
}

func (v *Verifier) checkScopeKMS(c credential, end string) error {
	switch {
	case end != terminal:
		return complainKMS("Credential should be scoped with a valid terminator: 'aws4_request', not '"+end+"'.", "")
	case c.service != v.Service:
		return complainKMS("Credential should be scoped to correct service: '"+v.Service+"'.", "")
	case !v.inRegion(c.region):
		return complainKMS("Credential should be scoped to a valid region. ", "")
	case !validDate(c.date):
		return complainKMS("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '"+c.date+"'.", "")
	}
	return nil
}

// globalRegion is the region in signatures for global services.
const globalRegion = "us-east-1"

// inRegion reports whether the service takes a credential scope with this region.
func (v *Verifier) inRegion(region string) bool {
	return v.Global && (region == globalRegion || region == "") || region != "" && (v.Region == "" || region == v.Region)
}

func validDate(date string) bool {
	_, err := time.Parse(dateOnly, date)
	return err == nil && len(date) == len(dateOnly)
}

// parseDate reads the forms that AWS takes in x-amz-date and Date: ISO 8601 basic first, then HTTP's own.
func parseDate(value string) (time.Time, bool) {
	for _, layout := range []string{isoBasic, time.RFC1123, "Mon, 02 Jan 2006 15:04:05 -0700", isoExtended} {
		if t, err := time.Parse(layout, value); err == nil {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}
