package local

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"waxseal/keystore"
	"waxseal/keystore/state"
)

// call is an operation under way, with its caller and the content of its audit record.
type call struct {
	s       *Service
	caller  keystore.Caller
	op      string
	now     time.Time
	eventID string

	params map[string]any // requestParameters
	reply  map[string]any // responseElements
	extra  map[string]any // additionalEventData
	keys   []*record      // resources
	crypto bool           // the operation uses the key, see GetKeyLastUsage
}

// perform runs an operation: rate limit, body, audit record, in this order. The record is written before the result is
// returned; if it cannot be written, there is no result. (A completed change stays: its record is missing, the caller
// gets an error, and a repeat is safe.)
func perform[T any](ctx context.Context, s *Service, caller keystore.Caller, op string, in any, body func(*call) (T, error)) (T, error) {
	var none T
	if caller.AccountID == "" {
		caller.AccountID = s.account
	}
	if caller.RequestID == "" {
		caller.RequestID = uuid.NewString()
	}
	c := &call{
		s: s, caller: caller, op: op, now: s.now().UTC(), eventID: uuid.NewString(),
		params: auditParams(in), extra: map[string]any{},
	}
	var out T
	var err error
	if !caller.Service { // the service must open its own data keys, even if a caller has exceeded the rate limit
		err = s.throttle.admit(caller.ARN, c.now)
	}
	if err == nil {
		err = s.replicas.Check()
	}
	if err == nil {
		out, err = body(c)
	}
	err = c.visible(err)
	if auditErr := c.record(ctx, err); auditErr != nil {
		s.log.Error("key service: audit record not written, operation refused", "op", op, "err", auditErr)
		return none, errInternal()
	}
	if err != nil {
		return none, err
	}
	if c.crypto {
		s.usage.note(c)
	}
	return out, nil
}

// visible turns an error into its form for the client.
func (c *call) visible(err error) error {
	var e *Error
	switch {
	case err == nil, errors.As(err, &e):
		return err
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, state.ErrConflict): // too many change the same key
		return failf(codeThrottling, "Rate exceeded")
	case errors.Is(err, state.ErrUnavailable), errors.Is(err, state.ErrUnknown):
		c.s.log.Warn("key service: the state store does not answer", "op", c.op, "request", c.caller.RequestID, "err", err)
		return errStateAway()
	}
	c.s.log.Error("key service: internal error", "op", c.op, "request", c.caller.RequestID, "err", err)
	return errInternal()
}

// access is an operation's demand on a key.
type access struct {
	aliases bool   // alias names and alias ARNs are accepted
	action  string // without "kms:"; the operation's name when empty
	rule    string // row of the key state table; the operation's name when empty
	usage   string // the key's usage; any when empty

	context keystore.Context    // encryption context
	tokens  []string            // grant tokens
	facts   facts               // further condition keys
	begets  *CreateGrantRequest // the grant to make: an allowing grant must cover it

	// fit, if set, returns an error if this kind of key does not have the operation. It is called before the key's
	// state is checked.
	fit func(*record) error
}

// facts are condition keys of a request with their values.
type facts map[string][]string

// use finds a key, authorises the caller and checks the key's state and usage.
func (c *call) use(ctx context.Context, given string, a access) (*key, error) {
	k, err := c.find(ctx, given, a.aliases)
	if err != nil {
		return nil, err
	}
	return k, c.check(k, given, a)
}

// check authorizes the use of a resolved key.
func (c *call) check(k *key, given string, a access) error {
	c.touched(k.record)
	if err := checkTokens(a.tokens); err != nil {
		return err
	}
	if err := c.authorize(k, given, a); err != nil {
		if k.Account != c.caller.AccountID && strings.Contains(given, ":"+aliasNamePrefix) && isCode(err, codeAccessDenied) {
			return c.denied("kms:"+c.op, given, deniedNoResource) // looks like a missing alias: its target is private to its owner
		}
		return err
	}
	if a.fit != nil {
		if err := a.fit(k.record); err != nil {
			return err
		}
	}
	if err := checkState(orDefault(a.rule, c.op), k.record); err != nil {
		return err
	}
	if a.usage != "" && k.Usage != a.usage {
		return failf(codeInvalidKeyUsage, "%s key usage is %s which is not valid for %s.", k.arn(), k.Usage, c.op)
	}
	return nil
}

// touched makes a key a resource of the audit record.
func (c *call) touched(r *record) {
	for _, seen := range c.keys {
		if seen.ID == r.ID {
			return
		}
	}
	c.keys = append(c.keys, r)
}

// find resolves a client's key identifier. A missing key of another account is "access denied": whether it exists is
// private to that account.
func (c *call) find(ctx context.Context, given string, aliases bool) (*key, error) {
	ref, err := parseRef(given, c.caller.AccountID)
	if err != nil {
		return nil, err
	}
	if ref.alias != "" {
		if !aliases {
			return nil, failf(codeNotFound, "Invalid keyId '%s'", given)
		}
		return c.findAlias(ctx, ref)
	}
	k, err := c.s.load(ctx, ref.account, ref.id)
	if errors.Is(err, errNoKey) {
		return nil, c.missing(ref)
	}
	if err != nil {
		return nil, err
	}
	if ref.region != "" && ref.region != k.Region {
		return nil, failf(codeNotFound, "Invalid arn %s", ref.region)
	}
	return k, nil
}

func (c *call) missing(ref keyRef) error {
	if ref.region != "" && ref.region != c.s.region {
		return failf(codeNotFound, "Invalid arn %s", ref.region)
	}
	arn := keyARN(c.s.region, ref.account, ref.id)
	if ref.account != c.caller.AccountID {
		return c.denied("kms:"+c.op, arn, deniedNoResource)
	}
	return failf(codeNotFound, "Key '%s' does not exist", arn)
}

// Why access was denied, in AWS's words.
const (
	deniedNoIdentity = "because no identity-based policy allows the %s action"
	deniedNoResource = "because the resource does not exist in this Region, no resource-based policies allow access, or a resource-based policy explicitly denies access"
	deniedNoSession  = "because no session policy allows the %s action"
	deniedIdentity   = "with an explicit deny in an identity-based policy"
	deniedSession    = "with an explicit deny in a session policy"
	deniedResource   = "with an explicit deny in a resource-based policy"
)

func (c *call) denied(action, resource, why string) error {
	if strings.Contains(why, "%s") {
		why = fmt.Sprintf(why, action)
	}
	return failf(codeAccessDenied, "User: %s is not authorized to perform: %s on resource: %s %s", c.caller.ARN, action, resource, why)
}

// change is a read-change-write of a customer managed key. Each round authorizes the key and checks its state, on the
// same revision that the write depends on.
func (c *call) change(ctx context.Context, given string, a access, change func(*edit) error) (*edit, error) {
	var e *edit
	err := retry(ctx, func() error {
		k, err := c.use(ctx, given, a)
		if err != nil {
			return err
		}
		if k.Class != classCustomer {
			return c.denied("kms:"+orDefault(a.action, c.op), k.arn(), deniedNoResource)
		}
		e = &edit{record: k.clone()}
		if err := change(e); err != nil {
			return err
		}
		return c.s.save(ctx, k, e)
	})
	if err != nil {
		return nil, err
	}
	if c.reply == nil {
		c.reply = map[string]any{}
	}
	c.reply["keyId"] = e.arn()
	return e, nil
}

func errDryRun() error {
	return failf(codeDryRun, "The request would have succeeded, but the DryRun option is set.")
}

// RefuseInvalid records and refuses a request that is invalid for its operation. The record leaves out its parameters.
func (s *Service) RefuseInvalid(ctx context.Context, caller keystore.Caller, op, code, message string) error {
	_, err := perform(ctx, s, caller, op, struct{}{}, func(c *call) (*Empty, error) {
		c.params = nil
		return nil, failf(code, "%s", message)
	})
	return err
}

// Refuse records and refuses an AWS operation without support here.
func (s *Service) Refuse(ctx context.Context, caller keystore.Caller, op, why string) error {
	_, err := perform(ctx, s, caller, op, struct{}{}, func(*call) (*Empty, error) {
		return nil, failf(codeUnsupported, "%s", why)
	})
	return err
}
