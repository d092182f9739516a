package proxy

import (
	"bytes"
	"errors"
	"net/http"
	"path"
	"slices"
	"strings"

	"waxseal/keystore/iam"
	"waxseal/keystore/sigv4"
	"waxseal/proxy/objects"
	"waxseal/proxy/s3"
)

// verify checks who signed the request and whether they may do this.
func (c *call) verify() error {
	if c.method == http.MethodOptions {
		// The query of a preflight is that of the request to come, whose signature is for another method.
		return c.authorizeAs(&sigv4.Auth{Kind: sigv4.Anonymous})
	}
	auth, err := c.s.verifier.Verify(c.signedRequest())
	if err != nil {
		return err
	}
	if err := c.hoist(auth); err != nil {
		return err
	}
	return c.authorizeAs(auth)
}

// authorizeAs admits a request whose signature is already known to be good: a POST form's comes with its body.
func (c *call) authorizeAs(auth *sigv4.Auth) error {
	c.auth = auth
	if auth.Kind == sigv4.Anonymous {
		return c.admitAnonymous()
	}
	c.user = auth.Owner
	if c.s.cfg.Used != nil {
		c.s.cfg.Used(c.user, "s3", auth.Region)
	}
	c.prove()
	if err := c.takePlace(); err != nil {
		return err
	}
	return c.authorize()
}

// admitAnonymous lets unsigned requests in where the operator wants them, CORS preflights always, and forms, whose
// signature lies in the body.
func (c *call) admitAnonymous() error {
	switch {
	case c.route.method == "OPTIONS", c.route.name == "PostObject":
		return c.takePlace()
	case !c.s.cfg.Anonymous:
		return s3.Errorf(s3.AccessDenied, "Access Denied: the request is not signed")
	}
	if err := c.takePlace(); err != nil {
		return err
	}
	if err := c.checkOverrides(); err != nil {
		return err
	}
	return c.authorize()
}

// signedRequest is the request as its signer saw it.
func (c *call) signedRequest() *sigv4.Request {
	h := &c.ctx.Request.Header
	r := &sigv4.Request{
		Method: c.method, RawPath: c.rawPath, RawQuery: c.query.Raw, Host: string(h.Host()),
		Headers: c.head, ContentLength: int64(h.ContentLength()),
		Bucket: c.virtualBucket(),
	}
	if r.ContentLength < 0 {
		r.ContentLength = -1
	}
	if c.method == "PUT" && h.ContentLength() == 0 && !namesLength(h.RawHeaders()) {
		r.ContentLength = -1
	}
	return r
}

// namesLength says whether a request's head has a Content-Length: fasthttp puts in a 0 where it has none.
func namesLength(head []byte) bool {
	for line := range bytes.Lines(head) {
		if name, _, ok := bytes.Cut(line, []byte(":")); ok && bytes.EqualFold(name, []byte("Content-Length")) {
			return true
		}
	}
	return false
}

// authorize evaluates the requester's own policy and the bucket's statements about encryption, before any header is
// looked at: a Deny wins over a malformed header.
func (c *call) authorize() error {
	if c.route.action == "" {
		return nil
	}
	if err := c.authorizeHeaders(c, c.route.pass); err != nil {
		return err
	}
	err := c.authorizeAction(c.route.action, c.bucket, c.key, c)
	if err == nil && c.route.also != "" {
		err = c.authorizeAction(c.route.also, c.bucket, c.key, c)
	}
	if err == nil && !c.hasHeader(hdrSSE) && !c.hasHeader(hdrKMSKey) {
		return nil
	}
	if f := c.uploadFields(); f != nil { // with what the upload is under, whatever the request says of it
		return c.authorizeAction(c.route.action, c.bucket, c.key, f)
	}
	return err
}

// headerActions are the actions that a request needs besides its own, because of a header that the store will act on.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html#API_PutObject_RequestSyntax
var headerActions = []struct{ header, onObject, onBucket string }{
	{"x-amz-acl", "s3:PutObjectAcl", "s3:PutBucketAcl"},
	{"x-amz-grant-full-control", "s3:PutObjectAcl", "s3:PutBucketAcl"},
	{"x-amz-grant-read", "s3:PutObjectAcl", "s3:PutBucketAcl"},
	{"x-amz-grant-read-acp", "s3:PutObjectAcl", "s3:PutBucketAcl"},
	{"x-amz-grant-write", "", "s3:PutBucketAcl"},
	{"x-amz-grant-write-acp", "s3:PutObjectAcl", "s3:PutBucketAcl"},
	{"x-amz-tagging", "s3:PutObjectTagging", ""},
	{"x-amz-object-lock-mode", "s3:PutObjectRetention", ""},
	{"x-amz-object-lock-retain-until-date", "s3:PutObjectRetention", ""},
	{"x-amz-object-lock-legal-hold", "s3:PutObjectLegalHold", ""},
	{"x-amz-bypass-governance-retention", "s3:BypassGovernanceRetention", "s3:BypassGovernanceRetention"},
	{"x-amz-object-ownership", "", "s3:PutBucketOwnershipControls"},
	{"x-amz-bucket-object-lock-enabled", "", "s3:PutBucketObjectLockConfiguration"},
}

// authorizeHeaders asks for what a request's headers, or a form's fields, need of those that the store gets.
func (c *call) authorizeHeaders(f fields, pass []string) error {
	if err := checkTags(f); err != nil {
		return err
	}
	for _, h := range headerActions {
		action := h.onBucket
		if c.key != "" {
			action = h.onObject
		}
		if action == "" || !slices.Contains(pass, h.header) || !f.hasHeader(h.header) {
			continue
		}
		if err := c.authorizeAction(action, c.bucket, c.key, f); err != nil {
			return err
		}
	}
	return nil
}

// checkTags reads the tags in a request's header. What a policy would see otherwise than the store is refused: tags that
// cannot be decoded, and one tag with two values.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html#API_PutObject_RequestSyntax
func checkTags(f fields) error {
	if _, isForm := f.(*form); isForm || !f.hasHeader("x-amz-tagging") {
		return nil
	}
	value := f.header("x-amz-tagging")
	q, err := s3.ParseQuery(value, sigv4.MaxParameters)
	for i, tag := range q.Params {
		if slices.ContainsFunc(q.Params[:i], func(p s3.Param) bool { return p.Name == tag.Name }) {
			err = errors.New("a tag comes twice")
		}
	}
	if err != nil {
		return s3.InvalidArgument("x-amz-tagging", value, "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.")
	}
	return nil
}

// authorizeAction says whether the requester may do action to an object or bucket. f is where the conditions on
// encryption look: the headers, or a form's fields.
func (c *call) authorizeAction(action, bucket, key string, f fields) error {
	if c.versionIn(f) != "" {
		action = versionedAction(action)
	}
	resource := objects.BucketARN(bucket)
	if key != "" {
		resource = objects.ObjectARN(bucket, key)
	}
	policies, err := c.bucketPolicies(bucket)
	if err != nil {
		return err
	}
	if c.free() && len(policies) == 0 {
		return nil
	}
	r := &iam.Request{Principal: c.principal(), Action: action, Resource: resource, Conditions: c.conditions(f)}
	byBucket := iam.DecideAll(policies, r)
	if byBucket.Decision == iam.Deny {
		return c.denied(action, resource, "with an explicit deny in a resource-based policy")
	}
	if c.user == nil {
		return nil // the store decides about anonymous requests
	}
	return c.judge(r, byBucket)
}

// judge combines the requester's own policies with the bucket's. The store decides for users with credentials of their own
// there what the bucket's policy allows them; for everybody else waxseal does, as S3 would in the account that owns the
// bucket: either may allow. Users of another account are the configuration file's, whose writer owns the buckets, too: that
// file stands for the bucket policy that S3 would ask for beside theirs.
func (c *sender) judge(r *iam.Request, byBucket iam.Result) error {
	own := c.user.Decide(r)
	verdict := own.Decision()
	if c.user.Upstream == nil {
		verdict = iam.Judge(own, byBucket, true)
	}
	switch {
	case verdict == iam.Allow:
		return nil
	case own.Identity == iam.Deny:
		return c.denied(r.Action, r.Resource, "with an explicit deny in an identity-based policy")
	case own.Session == iam.Deny:
		return c.denied(r.Action, r.Resource, "with an explicit deny in a session policy")
	case own.Identity == iam.Allow || byBucket.By == iam.ByRole:
		return c.denied(r.Action, r.Resource, "because no session policy allows the "+r.Action+" action")
	}
	return c.denied(r.Action, r.Resource, "because no identity-based policy allows the "+r.Action+" action")
}

// free reports whether the requester needs no permission but that of a bucket's policy not to deny: root, a user of the
// configuration file without a policy, and whoever is anonymous, of whom the store decides.
func (c *sender) free() bool {
	return c.user == nil || c.user.Root || c.user.Unlimited()
}

// unrestricted reports whether no policy has a say in what the requester does with the buckets.
func (c *call) unrestricted(buckets ...string) (bool, error) {
	if !c.free() {
		return false, nil
	}
	for _, b := range buckets {
		if p, err := c.bucketPolicies(b); len(p) > 0 || err != nil {
			return false, err
		}
	}
	return true, nil
}

// denied is AWS's wording of a refusal.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/troubleshoot-403-errors.html
func (c *sender) denied(action, resource, why string) error {
	return s3.Errorf(s3.AccessDenied, "User: %s is not authorized to perform: %s on resource: %q %s", c.who(), action, resource, why)
}

func (c *sender) principal() iam.Principal {
	if c.user == nil {
		return iam.Principal{Anonymous: true}
	}
	return c.user.Principal()
}

// version is the version that the request is about. An operation without one passes the parameter over.
func (c *parsed) version() string {
	if !slices.Contains(c.route.params, "versionId") {
		return ""
	}
	return c.query.Get("versionId")
}

// versionIn is the version that parameters name: of a copy's source or of an object in a list, else the request's own.
func (c *parsed) versionIn(f fields) string {
	if named, ok := f.(interface{ versionNamed() string }); ok {
		return named.versionNamed()
	}
	return c.version()
}

// versionedAction is the action that S3 asks for when a request names a version.
func versionedAction(action string) string {
	switch action {
	case "s3:GetObject", "s3:DeleteObject", "s3:GetObjectAcl", "s3:PutObjectAcl", "s3:GetObjectTagging",
		"s3:PutObjectTagging", "s3:DeleteObjectTagging", "s3:GetObjectAttributes":
		i := strings.Index(action, "Object") + len("Object")
		return action[:i] + "Version" + action[i:]
	}
	return action
}

// conditions are the condition keys that a request gives policies to look at. Encryption keys reflect the request's
// own headers, never the bucket's default. What is known of the requester, iam derives from the principal.
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html
func (c *call) conditions(f fields) iam.Values {
	v := iam.Values{}
	set := func(key, value string) {
		if value != "" {
			v.Set(key, value)
		}
	}
	set("aws:SourceIp", c.clientIP().String())
	set("aws:UserAgent", c.header("User-Agent"))
	set("aws:Referer", c.header("Referer"))
	set("aws:SecureTransport", boolText(c.secure))
	set("aws:CurrentTime", c.start.UTC().Format("2006-01-02T15:04:05Z"))
	set("aws:EpochTime", itoa64(c.start.Unix()))
	set("aws:RequestedRegion", c.s.cfg.Region)
	set("aws:ViaAWSService", "false")
	set("aws:ResourceAccount", c.s.cfg.Account) // every bucket is the account's that waxseal serves
	set("s3:ResourceAccount", c.s.cfg.Account)
	if c.auth != nil && c.auth.Kind != sigv4.Anonymous {
		set("s3:authType", map[string]string{"AuthHeader": "REST-HEADER", "QueryString": "REST-QUERY-STRING", "": "POST"}[c.auth.Kind.Method()])
		set("s3:signatureversion", map[bool]string{true: "AWS4-HMAC-SHA256", false: "AWS"}[c.auth.Kind.V4()])
		set("s3:signatureAge", itoa64(max(c.start.Sub(c.auth.Date).Milliseconds(), 0)))
	}
	for _, name := range []string{"prefix", "delimiter", "max-keys"} {
		if c.query.Has(name) { // "" is a value: policies name the prefix of a bucket's top so
			v.Set("s3:"+name, c.query.Get(name))
		}
	}
	c.askedConditions(f, v)
	set("s3:VersionId", c.versionIn(f))
	for _, h := range conditionHeaders {
		if f.hasHeader(h) {
			v.Set("s3:"+h, f.header(h))
		}
	}
	return v
}

// askedConditions are the keys of what a write asks for beside its encryption.
func (c *parsed) askedConditions(f fields, v iam.Values) {
	for _, h := range lockHeaders {
		if f.hasHeader(h) {
			v.Set("s3:"+strings.TrimPrefix(h, "x-amz-"), f.header(h))
		}
	}
	form, isForm := f.(*form)
	if f.hasHeader("x-amz-tagging") {
		tags := f.header("x-amz-tagging")
		if isForm {
			tags, _ = formTags(form.header("tagging")) // what cannot be read is refused before it is written
		}
		q, _ := s3.ParseQuery(tags, sigv4.MaxParameters) // authorizeHeaders has refused what cannot be read
		var names []string
		for _, tag := range q.Params {
			v.Set("s3:RequestObjectTag/"+tag.Name, tag.Value)
			names = append(names, tag.Name)
		}
		v.Set("s3:RequestObjectTagKeys", names...)
	}
	if c.route.class != seal {
		return
	}
	whole := !strings.Contains(c.route.name, "Part") && c.route.name != "CreateMultipartUpload"
	v.Set("s3:ObjectCreationOperation", boolText(whole))
	for _, h := range []string{"if-match", "if-none-match"} {
		if whole && !isForm && f.hasHeader(h) { // a form's fields are no conditions
			v.Set("s3:"+h, f.header(h))
		}
	}
}

var lockHeaders = []string{"x-amz-object-lock-mode", "x-amz-object-lock-retain-until-date", "x-amz-object-lock-legal-hold"}

// s3Keys are the keys that requests have beside conditionHeaders.
var s3Keys = iam.NewKeys(
	"aws:Referer", "s3:authType", "s3:signatureversion", "s3:signatureAge", "s3:ResourceAccount",
	"s3:prefix", "s3:delimiter", "s3:max-keys", "s3:VersionId", "s3:ObjectCreationOperation", "s3:if-match", "s3:if-none-match",
	"s3:object-lock-mode", "s3:object-lock-retain-until-date", "s3:object-lock-legal-hold", "s3:RequestObjectTagKeys", "s3:RequestObjectTag/*",
)

// inBodies are the actions whose requests have, in bodies that are read only once they are authorised, what keys that
// begin like this are about.
var inBodies = map[string][]string{
	"s3:requestobjecttag": {"s3:putobjecttagging", "s3:putobjectversiontagging"},
	"s3:object-lock-":     {"s3:putobjectretention", "s3:putobjectlegalhold"},
}

// tellsCondition says whether requests of what a statement is about tell waxseal a condition key, given in lower case.
func tellsCondition(s *iam.Statement, key string) bool {
	for prefix, actions := range inBodies {
		if strings.HasPrefix(key, prefix) && slices.ContainsFunc(actions, func(a string) bool { return namesAction(s, a) }) {
			return false
		}
	}
	return s3Keys.Has(key) || slices.ContainsFunc(conditionHeaders, func(h string) bool { return "s3:"+h == key })
}

// namesAction says whether a statement may be about an action, given in lower case.
func namesAction(s *iam.Statement, action string) bool {
	return len(s.NotActions) > 0 || slices.ContainsFunc(s.Actions, func(pattern string) bool {
		ok, err := path.Match(strings.ToLower(pattern), action)
		return ok || err != nil
	})
}

// conditionHeaders are the headers that policies see under "s3:".
var conditionHeaders = []string{
	hdrSSE, hdrKMSKey, hdrSSEC + "algorithm", "x-amz-acl", "x-amz-copy-source", "x-amz-metadata-directive",
	"x-amz-storage-class", "x-amz-content-sha256", "x-amz-grant-read", "x-amz-grant-write", "x-amz-grant-read-acp",
	"x-amz-grant-write-acp", "x-amz-grant-full-control", "x-amz-object-ownership", "x-amz-website-redirect-location",
}

func boolText(b bool) string {
	if b {
		return "true"
	}
	return "false"
}
