package sigv4

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Verify authenticates r. A request without any proof is Anonymous for S3 and an error for other services. Body must
// then check the body.
func (v *Verifier) Verify(r *Request) (*Auth, error) {
	a, err := v.verify(r)
	if err != nil {
		return nil, err
	}
	return a, nil
}

// VerifyHead refuses every request that Verify refuses for any body: a missing or malformed signature, a wrong scope,
// an expired date, an unknown access key. Services other than S3 sign the body's hash, and their callers need not
// read the body of a refused request.
func (v *Verifier) VerifyHead(r *Request) error {
	head := *r
	head.BodySHA256, head.headOnly = emptyHash, true
	_, err := v.verify(&head)
	return err
}

// verify may return an Auth beside an error, for a request without a valid proof.
func (v *Verifier) verify(r *Request) (*Auth, error) {
	if err := v.bounded(r); err != nil {
		return nil, err
	}
	query, err := parseAuthQuery(r.RawQuery)
	if err != nil {
		return nil, err
	}
	authorization, count := r.header("Authorization")
	if count > 1 || count == 1 && query.form != noQueryAuth {
		return nil, v.errMechanisms(authorization)
	}
	if query.form == queryV2 && !v.AllowV2 {
		return nil, errPresignedV2() // with or without a token: version 1 of the aws CLI makes such URLs
	}
	token, tokens := r.header("X-Amz-Security-Token")
	if tokens > 1 || tokens == 1 && query.hasToken || tokens == 1 && count == 0 && query.form == queryV2 ||
		query.hasToken && query.form != queryV4 || tokens == 1 && count == 0 && query.form == noQueryAuth {
		return nil, v.errToken() // a token belongs to a proof and is signed by it
	}
	if query.hasToken {
		token = query.token
	}
	switch {
	case count == 1:
		return v.verifyHeader(r, authorization, token)
	case query.form == queryV4A:
		return nil, errV4A()
	case query.form == queryV4:
		return v.verifyPresigned(r, query, token)
	case query.form == queryV2:
		return v.verifyV2Query(r, query)
	case !v.s3():
		return nil, fail(400, "MissingAuthenticationTokenException", "Missing Authentication Token")
	}
	return anonymous(r)
}

func (v *Verifier) errMechanisms(authorization string) *Error {
	if !v.s3() {
		return errIncompleteKMS("Only one Authorization is allowed.")
	}
	return errTwoMechanisms(authorization)
}

// anonymous takes a request without proof. Its body may still be aws-chunked, as SDKs without credentials send it.
func anonymous(r *Request) (*Auth, error) {
	a := &Auth{Kind: Anonymous, ContentLength: r.ContentLength, DecodedLength: r.ContentLength}
	value, count := r.header("X-Amz-Content-Sha256")
	if count == 0 {
		return a, nil
	}
	if err := a.setPayload(value); err != nil {
		return nil, err
	}
	if a.Payload == StreamingSigned || a.Payload == StreamingSignedTrailer {
		return nil, fail(400, "InvalidRequest", "Anonymous requests don't support this x-amz-content-sha256 value. "+
			"Please use UNSIGNED-PAYLOAD or STREAMING-UNSIGNED-PAYLOAD-TRAILER.")
	}
	return a, a.setLengths(r)
}

// setPayload reads x-amz-content-sha256.
func (a *Auth) setPayload(value string) error {
	a.ContentSHA256 = strings.Clone(value)
	switch value {
	case unsignedPayload:
		a.Payload = Unsigned
	case streamingSigned:
		a.Payload = StreamingSigned
	case streamingSignedTrailer:
		a.Payload = StreamingSignedTrailer
	case streamingUnsignedTrailer:
		a.Payload = StreamingUnsignedTrailer
	case streamingV4A, streamingV4ATrailer:
		return errV4A()
	default:
		if !isHex64(value) {
			return errInvalidArgument("x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, "+
				"STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value.",
				"x-amz-content-sha256", value)
		}
		a.Payload = SignedSHA256
	}
	return nil
}

func isHex64(s string) bool {
	if len(s) != 64 {
		return false
	}
	for i := range len(s) {
		if unhex(s[i]) < 0 {
			return false
		}
	}
	return true
}

// setLengths reads the lengths of an aws-chunked body from the headers
// (https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html).
func (a *Auth) setLengths(r *Request) error {
	a.ContentLength, a.DecodedLength = r.ContentLength, r.ContentLength
	if !a.Payload.Streaming() {
		return nil
	}
	value, count := r.header("X-Amz-Decoded-Content-Length")
	n, err := strconv.ParseUint(value, 10, 63)
	if count != 1 || err != nil {
		return errMissingLength() // also for a value that is no number: S3 takes it for a missing length
	}
	a.DecodedLength = int64(n)
	for i := range r.Headers {
		if !strings.EqualFold(r.Headers[i].Name, "X-Amz-Trailer") {
			continue
		}
		for name := range strings.SplitSeq(r.Headers[i].Value, ",") {
			if name = strings.Clone(strings.ToLower(strings.TrimSpace(name))); name != "" {
				a.TrailerNames = append(a.TrailerNames, name)
			}
			if len(a.TrailerNames) > maxTrailerName {
				return errMalformedTrailer()
			}
		}
	}
	return nil
}

// verifyHeader checks the Authorization header
// (https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-auth-using-authorization-header.html).
func (v *Verifier) verifyHeader(r *Request, authorization, token string) (*Auth, error) {
	// A server may lend its strings only until the handler returns (fasthttp does). Auth keeps parts of the header, so
	// it takes them from this copy.
	word, rest, spaced := strings.Cut(strings.Clone(authorization), " ")
	switch {
	case !spaced && v.s3():
		return nil, errInvalidArgument("Authorization header is invalid -- one and only one ' ' (space) required", "Authorization", schemeOf(word))
	case word == algorithmV4A:
		return nil, errV4A()
	case word == "AWS" && v.s3():
		if token != "" {
			return nil, v.errToken()
		}
		return v.verifyV2Header(r, rest)
	case word != algorithm && !v.s3():
		return nil, errIncompleteKMS("Unsupported AWS 'algorithm': '" + schemeOf(word) + "'.")
	case word != algorithm:
		return nil, errInvalidArgument("Unsupported Authorization Type", "Authorization", schemeOf(word))
	}
	fields, err := v.parseAuthorization(rest)
	if err != nil {
		return nil, err
	}
	c, err := v.parseCredential(fields.credential, complainHeader)
	if err != nil {
		return nil, err
	}
	date, err := v.headerDate(r, c)
	if err != nil {
		return nil, err
	}
	a := &Auth{Kind: HeaderV4, AccessKey: c.accessKey, Region: c.region, Date: date, signature: fields.signature,
		scope: c.scope}
	if err := v.headerPayload(a, r); err != nil {
		return nil, err
	}
	if a.SignedHeaders, err = v.signedHeaders(r, fields.signedHeaders, complainHeader); err != nil {
		return nil, err
	}
	return a, v.check(a, r, c, token, "")
}

// authFields are the three components of an Authorization header.
type authFields struct{ credential, signedHeaders, signature string }

// parseAuthorization splits "Credential=..., SignedHeaders=..., Signature=...". S3 counts the components first, then
// looks at the form of each, then for the three names.
func (v *Verifier) parseAuthorization(rest string) (authFields, error) {
	var f authFields
	fields := map[string]*string{"Credential": &f.credential, "SignedHeaders": &f.signedHeaders, "Signature": &f.signature}
	if v.s3() && strings.Count(rest, ",") != len(fields)-1 {
		return f, errMalformedHeader("the authorization header requires three components: Credential, SignedHeaders, and Signature.")
	}
	for part := range strings.SplitSeq(rest, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		if !ok { // no name at all, then, and perhaps a credential
			name = redacted
		}
		field := fields[name]
		switch {
		case !ok, field == nil && !v.s3(), field != nil && *field != "":
			return f, v.errComponent(schemeOf(name))
		case field != nil:
			*field = value
		}
	}
	for _, name := range []string{"Credential", "SignedHeaders", "Signature"} {
		if *fields[name] == "" {
			return f, v.errMissingComponent(name)
		}
	}
	return f, nil
}

func (v *Verifier) errComponent(name string) *Error {
	if !v.s3() {
		return errIncompleteKMS("'" + name + "' is not a valid key=value pair (missing equal-sign) in Authorization header.")
	}
	return errMalformedHeader("the authorization component \"" + name + "\" is malformed.")
}

func (v *Verifier) errMissingComponent(name string) *Error {
	if !v.s3() {
		return errIncompleteKMS("Authorization header requires '" + name + "' parameter.")
	}
	return errMalformedHeader("missing " + name + ".")
}

// headerDate returns the date of a request signed in its header: x-amz-date, or else Date.
func (v *Verifier) headerDate(r *Request, c credential) (time.Time, error) {
	value, count := r.header("X-Amz-Date")
	if count == 0 {
		value, count = r.header("Date")
	}
	date, ok := parseDate(value)
	if !ok || count > 1 {
		return date, v.errNoDate()
	}
	now := v.now().UTC()
	if d := now.Sub(date); d > v.maxSkew() || d < -v.maxSkew() {
		return date, v.errSkew(date, now)
	}
	if day := date.Format(dateOnly); day != c.date {
		return date, v.errCredentialDate(c.date, day, complainHeader)
	}
	return date, nil
}

func (v *Verifier) errCredentialDate(scope, day string, say complain) *Error {
	if !v.s3() {
		return complainKMS("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '"+scope+"' != '"+day+"'.", "")
	}
	return say("Invalid credential date \""+scope+"\". This date is not the same as X-Amz-Date: \""+day+"\".", "")
}

func (v *Verifier) headerPayload(a *Auth, r *Request) error {
	if !v.s3() {
		if r.BodySHA256 == "" {
			return fail(500, "InternalFailure", "The SHA-256 of the body was not computed.")
		}
		if err := a.setPayload(strings.ToLower(r.BodySHA256)); err != nil {
			return err
		}
		return a.setLengths(r)
	}
	value, count := r.header("X-Amz-Content-Sha256")
	switch {
	case count == 0:
		return fail(400, "InvalidRequest", "Missing required header for this request: x-amz-content-sha256")
	case count > 1:
		return errInvalidArgument("x-amz-content-sha256 must be given once.", "x-amz-content-sha256", value)
	}
	if err := a.setPayload(value); err != nil {
		return err
	}
	return a.setLengths(r)
}

// signedHeaders splits the list and checks that it holds host and every x-amz-* header of the request
// (https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html, CanonicalHeaders).
func (v *Verifier) signedHeaders(r *Request, list string, say complain) ([]string, error) {
	if strings.Count(list, ";") >= MaxHeaders {
		return nil, v.errTooMany("signed headers", MaxHeaders)
	}
	names := strings.Split(list, ";")
	for _, name := range names {
		if name == "" || name != strings.ToLower(name) {
			return nil, v.errSignedHeaders(say)
		}
	}
	index := indexNames(names)
	if index.repeats() {
		return nil, v.errSignedHeaders(say)
	}
	if missing := notSigned(r, index); missing != nil {
		return nil, v.errNotSigned(strings.Join(missing, ", "))
	}
	return names, nil
}

func (v *Verifier) errSignedHeaders(say complain) *Error {
	if !v.s3() {
		say = complainKMS
	}
	return say("the SignedHeaders list is mal-formed.", "")
}

// notSigned returns the unsigned headers among the headers to sign.
func notSigned(r *Request, signed nameIndex) (missing []string) {
	if signed.find("host") < 0 {
		missing = append(missing, "host")
	}
	var seen map[string]bool
	for i := range r.Headers {
		name := r.Headers[i].Name
		if len(name) <= 6 || !strings.EqualFold(name[:6], "x-amz-") || signed.find(name) >= 0 {
			continue
		}
		if name = strings.Clone(strings.ToLower(name)); !seen[name] {
			missing = append(missing, name)
		}
		if seen == nil {
			seen = make(map[string]bool)
		}
		seen[name] = true
	}
	return missing
}

// work is the scratch space of a verification.
type work struct {
	canonical, toSign, query []byte
	params                   []param
	first, next              []int32 // see appendHeaders
}

var workPool = sync.Pool{New: func() any { return new(work) }}

// check computes the signature and compares it. without is the query parameter left out of the signature.
func (v *Verifier) check(a *Auth, r *Request, c credential, token, without string) error {
	found, secret, err := v.credential(c.accessKey, token)
	if err != nil {
		return err
	}
	if r.headOnly {
		return nil
	}
	id := keyID{c.accessKey, c.date, c.region, c.service}
	key := v.keys.get(id, secret)
	known := key != nil
	if !known {
		key = deriveKey(secret, c.date, c.region, c.service)
	}
	a.timestamp = a.Date.Format(isoBasic) // also where the client sent an HTTP date
	w := workPool.Get().(*work)
	defer workPool.Put(w)
	if err := v.compare(w, a, r, key, without); err != nil {
		return err
	}
	if !known {
		v.keys.put(cloneID(id), key)
	}
	a.key, a.Owner = key, found.Owner
	return nil
}

// compare tries S3's reading of the path, and, for an encoded slash, the path as sent.
func (v *Verifier) compare(w *work, a *Auth, r *Request, key *signingKey, without string) error {
	if err := v.build(w, a, r, without, inPath); err != nil {
		return err
	}
	if key.matches(w.toSign, a.signature) {
		return nil
	}
	toSign, shown := slices.Clone(w.toSign), []byte(nil)
	if len(w.canonical) <= maxShown { // else the refusal does not show it
		if err := v.build(w, a, r.redacted(), without, inPath); err != nil {
			return err
		}
		shown = w.canonical
	}
	refusal := v.errMismatch(a.AccessKey, a.signature, toSign, shown)
	if !v.s3() || !strings.Contains(r.RawPath, "%2F") && !strings.Contains(r.RawPath, "%2f") {
		return refusal
	}
	if err := v.build(w, a, r, without, inPathKeepSlash); err != nil {
		return err
	}
	if key.matches(w.toSign, a.signature) {
		return nil
	}
	return refusal
}

// build writes the canonical request and the string to sign.
func (v *Verifier) build(w *work, a *Auth, r *Request, without string, in place) error {
	b := append(w.canonical[:0], r.Method...)
	b = append(b, '\n')
	b, ok := v.appendPath(b, r.RawPath, in)
	if !ok {
		return errURI()
	}
	b = append(b, '\n')
	if b, ok = w.appendQuery(b, r.RawQuery, without); !ok {
		return errURI()
	}
	b = append(b, '\n')
	b = w.appendHeaders(b, r, a.SignedHeaders)
	b = append(b, '\n')
	for i, name := range a.SignedHeaders {
		if i > 0 {
			b = append(b, ';')
		}
		b = append(b, name...)
	}
	b = append(b, '\n')
	b = append(b, a.ContentSHA256...)
	w.canonical = b
	sum := sha256.Sum256(b)
	s := append(w.toSign[:0], algorithm+"\n"...)
	s = append(s, a.timestamp...)
	s = append(s, '\n')
	s = append(s, a.scope...)
	s = append(s, '\n')
	w.toSign = hex.AppendEncode(s, sum[:])
	return nil
}

// cloneID copies the strings of an id, so that the cache does not keep whole headers in memory.
func cloneID(id keyID) keyID {
	return keyID{strings.Clone(id.accessKey), strings.Clone(id.date), strings.Clone(id.region), strings.Clone(id.service)}
}
