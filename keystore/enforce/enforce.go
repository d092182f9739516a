// Package enforce authorizes requests in front of an external key service. Such a service knows waxseal's identity only
// and sees the same principal for every requester. So enforce evaluates the requester's own IAM policy before a key is
// used, and writes an audit record of every use, allowed or denied. Key policies and grants stay with the key service.
package enforce

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"waxseal/keystore"
	"waxseal/keystore/audit"
	"waxseal/keystore/iam"
)

// Config configures enforcement. Now has a default.
type Config struct {
	Users   []iam.User // users of the configuration file; New checks their policies
	Audit   audit.Sink
	Region  string // for records and aws:RequestedRegion
	Account string // waxseal's own account
	Now     func() time.Time
}

// New puts enforcement in front of a provider.
func New(p keystore.Provider, cfg Config) (keystore.Provider, error) {
	if cfg.Audit == nil || cfg.Region == "" || cfg.Account == "" {
		return nil, errors.New("keystore/enforce: Audit, Region and Account are needed")
	}
	if err := checkUsers(cfg.Users); err != nil {
		return nil, err
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &enforcer{Provider: p, cfg: cfg}, nil
}

// told holds the condition keys known for a request to an external key service. Facts about the key itself, for example
// kms:KeySpec and its tags, stay with that service.
var told = iam.NewKeys("kms:CallerAccount", "kms:EncryptionAlgorithm", "kms:EncryptionContext:*", "kms:EncryptionContextKeys", "kms:ViaService")

// checkUsers refuses a user's policy with a condition on a fact known to the key service only: a Deny on it would never
// hold. The proxy checks the condition keys of other services.
func checkUsers(users []iam.User) error {
	for _, u := range users {
		if u.Policy == nil {
			continue
		}
		if err := CheckPolicy(u.Policy); err != nil {
			return fmt.Errorf("keystore/enforce: the policy of user %q: %w", u.Name, err)
		}
	}
	return nil
}

// CheckPolicy is checkUsers for a single policy.
func CheckPolicy(p *iam.Policy) error {
	known := func(_ *iam.Statement, key string) bool { return told.Has(key) || !iam.KMSKeys.Has(key) }
	for _, st := range p.Statements() {
		if key := st.VoidKey(known); key != "" && st.AboutService("kms") {
			return fmt.Errorf("the external key service does not tell waxseal the condition key %s", key)
		}
	}
	return nil
}

// enforcer passes Health and Close through. Resolve is passed through without authorization, since its answer goes to the
// proxy and not to the requester; only its refusals of the AWS managed key get a text with advice.
type enforcer struct {
	keystore.Provider
	cfg     Config
	managed sync.Map // ARNs found behind the alias of the AWS managed key: string -> true
}

// use is a use of a key under way: requester, action and key, as policies and the audit record need them.
type use struct {
	enforcer *enforcer
	caller   keystore.Caller
	action   keystore.Action
	keyARN   string
	ec       keystore.Context
	now      time.Time
}

// managedAlias is the key of an SSE-KMS request without a key id. At AWS only S3 itself may use this key: even
// waxseal's own identity may not. Most other key services have no such key.
const managedAlias = "alias/aws/s3"

const nameKey = "SSE-KMS without a key id needs the AWS managed key alias/aws/s3, which the external key service %s. " +
	"Name a KMS key in x-amz-server-side-encryption-aws-kms-key-id, or name one in the bucket's default encryption and leave the encryption out of the request."

// Resolve implements keystore.Provider.
func (g *enforcer) Resolve(ctx context.Context, caller keystore.Caller, keyID string) (keystore.KeyInfo, error) {
	info, err := g.Provider.Resolve(ctx, caller, keyID)
	if keyID != managedAlias && !strings.HasSuffix(keyID, ":"+managedAlias) {
		return info, err
	}
	switch keystore.KindOf(err) {
	case keystore.NotFound:
		err = &keystore.Error{Kind: keystore.NotFound, KeyARN: keyID, Message: fmt.Sprintf(nameKey, "does not have"), Err: err}
	case keystore.AccessDenied:
		err = &keystore.Error{Kind: keystore.AccessDenied, KeyARN: keyID, Message: fmt.Sprintf(nameKey, "does not let this service use"), Err: err}
	}
	if err == nil && info.Manager == "AWS" {
		g.managed.Store(info.ARN, true)
	}
	return info, err
}

// explain adds advice to a refusal of the AWS managed key.
func (g *enforcer) explain(keyARN string, err error) error {
	if keystore.KindOf(err) != keystore.AccessDenied {
		return err
	}
	if _, managed := g.managed.Load(keyARN); !managed {
		return err
	}
	return &keystore.Error{Kind: keystore.AccessDenied, KeyARN: keyARN, Message: fmt.Sprintf(nameKey, "does not let this service use"), Err: err}
}

func (g *enforcer) GenerateDataKey(ctx context.Context, caller keystore.Caller, keyID string, ec keystore.Context) (keystore.DataKey, error) {
	return g.dataKey(ctx, caller, keystore.GenerateDataKey, keyID, ec, func(arn string) (keystore.DataKey, error) {
		return g.Provider.GenerateDataKey(ctx, caller, arn, ec)
	})
}

func (g *enforcer) Decrypt(ctx context.Context, caller keystore.Caller, blob []byte, keyARN string, ec keystore.Context) (keystore.DataKey, error) {
	return g.dataKey(ctx, caller, keystore.Decrypt, keyARN, ec, func(arn string) (keystore.DataKey, error) {
		return g.Provider.Decrypt(ctx, caller, blob, arn, ec)
	})
}

func (g *enforcer) Authorize(ctx context.Context, caller keystore.Caller, action keystore.Action, keyARN string, blob []byte, ec keystore.Context) error {
	_, err := g.dataKey(ctx, caller, action, keyARN, ec, func(arn string) (keystore.DataKey, error) {
		return keystore.DataKey{}, g.Provider.Authorize(ctx, caller, action, arn, blob, ec)
	})
	return err
}

// KeyVersion implements keystore.KeyVersions, if the key service does. No key is used, so there is nothing to record.
func (g *enforcer) KeyVersion(ctx context.Context, keyARN string, blob []byte) (version, newest string, err error) {
	return keystore.KeyVersion(ctx, g.Provider, keyARN, blob)
}

// dataKey authorises, makes the call, and records it. Without a record there is no key.
func (g *enforcer) dataKey(ctx context.Context, caller keystore.Caller, action keystore.Action, keyID string, ec keystore.Context,
	call func(keyARN string) (keystore.DataKey, error),
) (keystore.DataKey, error) {
	if caller.AccountID == "" {
		caller.AccountID = g.cfg.Account
	}
	u := &use{enforcer: g, caller: caller, action: action, keyARN: keyID, ec: ec, now: g.cfg.Now().UTC()}
	dk, err := u.run(ctx, call)
	// A client cannot escape the record by hanging up.
	if failed := g.cfg.Audit.Write(context.WithoutCancel(ctx), u.record(dk, err)); failed != nil {
		err = &keystore.Error{Kind: keystore.Internal, KeyARN: u.keyARN, Err: fmt.Errorf("the audit record was not written: %w", failed)}
	}
	if err != nil {
		dk.Plaintext.Zero()
		return keystore.DataKey{}, err
	}
	return dk, nil
}

func (u *use) run(ctx context.Context, call func(string) (keystore.DataKey, error)) (keystore.DataKey, error) {
	if _, _, ok := parseKeyARN(u.keyARN); !ok {
		// Policies name keys by ARN, so an alias or key id is resolved first.
		info, err := u.enforcer.Resolve(ctx, u.caller, u.keyARN)
		if err != nil {
			return keystore.DataKey{}, err
		}
		u.keyARN = info.ARN
	}
	if err := u.authorize(); err != nil {
		return keystore.DataKey{}, err
	}
	dk, err := call(u.keyARN)
	return dk, u.enforcer.explain(u.keyARN, err)
}

// authorize evaluates the requester's own policies. A user of waxseal's account without a policy in the configuration
// file may use every key. A user of another account may do only what a policy allows: the key policy to admit that user
// stands in the key service, out of waxseal's sight.
func (u *use) authorize() error {
	if u.caller.Service {
		return nil // the service decrypts its own data keys after it has authorized the requester
	}
	if differInCase(u.ec) {
		return keystore.Errorf(keystore.AccessDenied, u.keyARN, "EncryptionContext has two keys that differ in case only.")
	}
	who := u.caller.Requester
	if who == nil || who.Rights.Everything && u.caller.AccountID != u.enforcer.cfg.Account {
		return u.denied("because no identity-based policy allows the %s action")
	}
	switch own := who.Decide(u.request()); {
	case own.Allowed():
		return nil
	case own.Denied():
		return u.denied("with an explicit deny in an identity-based policy")
	case own.Identity == iam.Allow:
		return u.denied("because no session policy allows the %s action")
	}
	return u.denied("because no identity-based policy allows the %s action")
}

func (u *use) denied(why string) error {
	action := "kms:" + string(u.action)
	if strings.Contains(why, "%s") {
		why = fmt.Sprintf(why, action)
	}
	return keystore.Errorf(keystore.AccessDenied, u.keyARN, "User: %s is not authorized to perform: %s on resource: %s %s",
		u.caller.ARN, action, u.keyARN, why)
}

// request returns the use as a request for policy evaluation.
func (u *use) request() *iam.Request {
	v := u.caller.Conditions(u.now, u.enforcer.cfg.Region)
	v.Set("kms:CallerAccount", u.caller.AccountID)
	v.Set("kms:EncryptionAlgorithm", "SYMMETRIC_DEFAULT")
	if u.caller.ViaService != "" {
		v.Set("kms:ViaService", u.caller.ViaService)
	}
	var names []string
	for name, value := range u.ec {
		v.Set("kms:EncryptionContext:"+name, value)
		names = append(names, name)
	}
	if names != nil {
		v.Set("kms:EncryptionContextKeys", names...)
	}
	return &iam.Request{Principal: u.caller.Requester.Principal(), Action: "kms:" + string(u.action), Resource: u.keyARN, Conditions: v}
}

// differInCase reports whether two names of the encryption context differ in case only. Policies compare names without
// case: they could see the value of Team while the key is bound to the value of team.
func differInCase(ec keystore.Context) bool {
	seen := make(map[string]bool, len(ec))
	for name := range ec {
		lower := strings.ToLower(name)
		if seen[lower] {
			return true
		}
		seen[lower] = true
	}
	return false
}

// parseKeyARN splits arn:aws:kms:<region>:<account>:key/<id>.
func parseKeyARN(arn string) (region, account string, ok bool) {
	f := strings.SplitN(arn, ":", 6)
	if len(f) != 6 || f[0] != "arn" || f[2] != "kms" || !strings.HasPrefix(f[5], "key/") {
		return "", "", false
	}
	return f[3], f[4], true
}
