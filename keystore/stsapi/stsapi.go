// Package stsapi is AWS STS's query API over a directory. It answers GetCallerIdentity, and issues temporary
// credentials for roles to known callers and to bearers of an OpenID Connect provider's token.
package stsapi

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"waxseal/keystore/audit"
	"waxseal/keystore/awsquery"
	"waxseal/keystore/directory"
	"waxseal/keystore/iam"
	"waxseal/keystore/webidentity"
)

const version = "2011-06-15"

// Config configures the API.
type Config struct {
	Directory *directory.Directory
	Keys      *webidentity.KeySets
	// MaxUnsigned bounds the unsigned requests under way; 0: 16. Further requests are told to slow down: each may cost
	// a fetch of an issuer's keys and the verification of a signature.
	MaxUnsigned int
}

type api struct {
	dir      *directory.Directory
	keys     *webidentity.KeySets
	unsigned chan struct{}
}

// New returns the STS API at the place described by base, such as its account and region.
func New(cfg Config, base awsquery.API) *awsquery.API {
	if cfg.MaxUnsigned == 0 {
		cfg.MaxUnsigned = 16
	}
	a := &api{cfg.Directory, cfg.Keys, make(chan struct{}, cfg.MaxUnsigned)}
	base.Name, base.Version = "sts", version
	session := []awsquery.Param{
		{Name: "RoleArn", Required: true, Rule: awsquery.Rule{Min: 20, Max: 2048}},
		{Name: "RoleSessionName", Required: true, Rule: awsquery.Match(`[\w+=,.@-]*`, 2, 64)},
		{Name: "DurationSeconds", Rule: awsquery.Rule{Number: true, Min: 900, Max: 43200}},
		{Name: "Policy", Rule: awsquery.Match(`[\u0009\u000A\u000D\u0020-\u00FF]+`, 1, maxPolicy)},
		{Name: "PolicyArns", List: true, Member: "arn", Rule: awsquery.Rule{Min: 20, Max: 2048}},
	}
	base.Operations = []awsquery.Operation{
		{Name: "GetCallerIdentity", Reads: true, Do: a.callerIdentity},
		{Name: "AssumeRole", Reads: true, Do: a.assumeRole, Params: append(slices.Clone(session),
			awsquery.Param{Name: "ExternalId", Rule: awsquery.Match(`[\w+=,.@:\/-]*`, 2, 1224)})},
		{Name: "AssumeRoleWithWebIdentity", Reads: true, Unsigned: true, Do: a.assumeWithWebIdentity, Params: append(slices.Clone(session),
			awsquery.Param{Name: "WebIdentityToken", Required: true, Secret: true, Rule: awsquery.Rule{Min: 4, Max: webidentity.MaxToken}})},
	}
	return &base
}

// AWS's limits.
const (
	maxPolicy   = 2048
	maxPolicies = 10
	maxChained  = 3600 // seconds of a session assumed by a session
	defaultTime = 3600
)

type identityResult struct {
	ARN     string `xml:"Arn"`
	UserID  string `xml:"UserId"`
	Account string
}

// callerIdentity needs no permission: nobody can deny it.
func (a *api) callerIdentity(_ context.Context, r *awsquery.Request) (any, error) {
	who := r.Caller.Requester
	return identityResult{who.ARN, who.ID, who.AccountID}, nil
}

type credentialsResult struct {
	AccessKeyID     string `xml:"AccessKeyId"`
	SecretAccessKey string
	SessionToken    string
	Expiration      string
}

type roleUserResult struct {
	AssumedRoleID string `xml:"AssumedRoleId"`
	ARN           string `xml:"Arn"`
}

type assumeResult struct {
	Credentials                 credentialsResult
	AssumedRoleUser             roleUserResult
	SubjectFromWebIdentityToken string `xml:",omitempty"`
	Audience                    string `xml:",omitempty"`
	Provider                    string `xml:",omitempty"`
	PackedPolicySize            int    `xml:",omitempty"`
}

// denied returns AWS's refusal. It leaves open whether the role exists.
func denied(who, action, role string) error {
	return awsquery.Fail(403, "AccessDenied", "User: %s is not authorized to perform: %s on resource: %s", who, action, role)
}

// assumeRole lets a user, or a session of another role, assume a role: the role's trust policy must allow it, and,
// unless it names the caller itself, the caller's own policies too.
func (a *api) assumeRole(ctx context.Context, r *awsquery.Request) (any, error) {
	who := r.Caller.Requester
	arn := r.Get("RoleArn")
	if who.Root {
		return nil, awsquery.Fail(403, "AccessDenied", "Roles may not be assumed by root accounts.")
	}
	role := a.dir.Model().RoleByARN(a.dir.Account(), arn)
	if role == nil {
		return nil, denied(who.ARN, "sts:AssumeRole", arn)
	}
	conditions := r.Caller.Conditions(r.Now, r.API.Region)
	conditions.Set("sts:RoleSessionName", r.Get("RoleSessionName"))
	if r.Has("ExternalId") {
		conditions.Set("sts:ExternalId", r.Get("ExternalId"))
	}
	request := &iam.Request{Principal: who.Principal(), Action: "sts:AssumeRole", Resource: arn, Conditions: conditions}
	trust, err := a.dir.Trust(role)
	if err != nil {
		return nil, err
	}
	if iam.Judge(who.Decide(request), trusted(trust, request), who.AccountID == a.dir.Account()) != iam.Allow {
		return nil, denied(who.ARN, "sts:AssumeRole", arn)
	}
	longest := role.MaxSession
	if who.Session != nil {
		longest = min(longest, maxChained)
	}
	claims, err := a.claims(r, role, longest)
	if err != nil {
		return nil, err
	}
	claims.Chained = who.Session != nil
	return a.issue(ctx, r, role, claims)
}

// trusted returns the decision of a trust policy. Without its permission a role cannot be assumed: a caller's own
// policies are not enough.
func trusted(trust *iam.Policy, r *iam.Request) iam.Result {
	result := trust.Decide(r)
	if result.Decision == iam.NoMatch {
		result.Decision = iam.Deny
	}
	return result
}

// claims returns the claims of the requested session.
func (a *api) claims(r *awsquery.Request, role *directory.Role, longest int) (*directory.Claims, error) {
	seconds := r.Number("DurationSeconds", min(defaultTime, longest))
	if seconds > longest {
		return nil, awsquery.Fail(400, "ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
	}
	c := &directory.Claims{RoleID: role.ID, Name: r.Get("RoleSessionName"), Issued: r.Now.Unix(), Expires: r.Now.Unix() + int64(seconds),
		Policy: r.Get("Policy"), Policies: r.List("PolicyArns")}
	if c.Policy != "" {
		if err := a.dir.CheckDocument(c.Policy); err != nil {
			return nil, malformed(err)
		}
	}
	if len(c.Policies) > maxPolicies {
		return nil, awsquery.Fail(400, "ValidationError", "1 validation error detected: Value at 'policyArns' failed to satisfy constraint: Member must have length less than or equal to %d", maxPolicies)
	}
	for _, arn := range c.Policies {
		if p := a.dir.Model().PolicyByARN(arn); p == nil || p.ARN(a.dir.Account(), "policy") != arn {
			return nil, awsquery.Fail(400, "ValidationError", "The policy %s does not exist or is not attachable.", arn)
		}
	}
	return c, nil
}

func malformed(err error) error {
	var m *iam.MalformedError
	if errors.As(err, &m) {
		return awsquery.Fail(400, "MalformedPolicyDocument", "%s", m.Message)
	}
	return awsquery.Fail(400, "MalformedPolicyDocument", "%s", err)
}

// issue makes the credentials of a session.
func (a *api) issue(ctx context.Context, r *awsquery.Request, role *directory.Role, c *directory.Claims) (assumeResult, error) {
	token, err := a.dir.NewSession(ctx, c)
	switch {
	case errors.Is(err, directory.ErrTokenTooLarge):
		return assumeResult{}, awsquery.Fail(400, "PackedPolicyTooLarge", "The session policies are too large for a session token.")
	case err != nil:
		return assumeResult{}, err
	}
	expiration := time.Unix(c.Expires, 0).UTC().Format("2006-01-02T15:04:05Z")
	user := roleUserResult{role.ID + ":" + c.Name, directory.SessionARN(a.dir.Account(), role.Name, c.Name)}
	r.Reply = map[string]any{
		"credentials":     map[string]any{"accessKeyId": c.AccessKey, "expiration": expiration},
		"assumedRoleUser": map[string]any{"assumedRoleId": user.AssumedRoleID, "arn": user.ARN},
	}
	out := assumeResult{Credentials: credentialsResult{c.AccessKey, c.Secret, token, expiration}, AssumedRoleUser: user}
	if c.Policy != "" || c.Policies != nil {
		out.PackedPolicySize = max(1, 100*len(token)/directory.MaxToken)
	}
	return out, nil
}

// assumeWithWebIdentity lets the bearer of an identity provider's token assume a role, if the role's trust policy names
// the provider and binds the token's subject.
func (a *api) assumeWithWebIdentity(ctx context.Context, r *awsquery.Request) (any, error) {
	r.Identity = &audit.UserIdentity{Type: "WebIdentityUser"} // until it is known
	select {
	case a.unsigned <- struct{}{}:
		defer func() { <-a.unsigned }()
	default:
		return nil, awsquery.Fail(400, "Throttling", "Rate exceeded")
	}
	var provider *directory.Provider
	claims, err := a.keys.Verify(ctx, r.Get("WebIdentityToken"), r.Now, func(issuer string) (webidentity.Provider, bool) {
		p := a.dir.Model().Providers[strings.TrimPrefix(issuer, "https://")]
		if p == nil || p.Issuer() != issuer {
			return webidentity.Provider{}, false
		}
		provider = p
		return webidentity.Provider{Issuer: issuer, ClientIDs: p.ClientIDs}, true
	})
	if err != nil {
		return nil, a.refuseToken(r, err)
	}
	identity := audit.WebIdentity(provider.URL, claims.Audience[0], claims.Subject)
	r.Identity = &identity
	arn := r.Get("RoleArn")
	role := a.dir.Model().RoleByARN(a.dir.Account(), arn)
	if role == nil {
		return nil, awsquery.Fail(403, "AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")
	}
	conditions := r.Caller.Conditions(r.Now, r.API.Region)
	conditions.Set("sts:RoleSessionName", r.Get("RoleSessionName"))
	conditions.Set("aws:FederatedProvider", provider.ARN(a.dir.Account()))
	conditions.Set(provider.URL+":sub", claims.Subject)
	conditions.Set(provider.URL+":aud", claims.Audience...)
	trust, err := a.dir.Trust(role)
	if err != nil {
		return nil, err
	}
	result := trust.Decide(&iam.Request{Principal: iam.Principal{Provider: provider.ARN(a.dir.Account())},
		Action: "sts:AssumeRoleWithWebIdentity", Resource: arn, Conditions: conditions})
	if result.Decision != iam.Allow || result.By != iam.Exactly { // "*" means everybody known to waxseal, not the users of an identity provider
		return nil, awsquery.Fail(403, "AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")
	}
	session, err := a.claims(r, role, role.MaxSession)
	if err != nil {
		return nil, err
	}
	session.Issuer, session.Audience, session.Subject = provider.URL, claims.Audience[0], claims.Subject
	out, err := a.issue(ctx, r, role, session)
	out.SubjectFromWebIdentityToken, out.Audience, out.Provider = claims.Subject, claims.Audience[0], provider.ARN(a.dir.Account())
	return out, err
}

// refuseToken is the refusal of a token in STS's words. Where an issuer's keys could not be read the reason is for
// waxseal's own log.
func (a *api) refuseToken(r *awsquery.Request, err error) error {
	switch {
	case errors.Is(err, webidentity.ErrExpired):
		return awsquery.Fail(400, "ExpiredTokenException", "Token expired: the token has expired, or is not valid yet.")
	case errors.Is(err, webidentity.ErrKeys):
		r.API.Log.Warn("sts: an issuer's keys could not be read", "err", err)
		return awsquery.Fail(400, "IDPCommunicationError", "Couldn't retrieve verification key from your identity provider.")
	}
	return awsquery.Fail(400, "InvalidIdentityToken", "%s", err)
}
