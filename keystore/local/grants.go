package local

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"waxseal/keystore"
	"waxseal/keystore/iam"
	"waxseal/keystore/state"
)

// grantRecord is kms/grant/<key id>/<grant id>.
type grantRecord struct {
	ID       string    `json:"id"`
	KeyID    string    `json:"key_id"`
	Account  string    `json:"account"` // of the key
	Region   string    `json:"region"`  // of the key
	Name     string    `json:"name,omitempty"`
	Created  time.Time `json:"created"`
	Grantee  string    `json:"grantee"`
	Retiring string    `json:"retiring,omitempty"`
	// Whom the two ARNs meant when the grant was made; empty in grants of earlier versions.
	GranteeID   string            `json:"grantee_id,omitempty"`
	RetiringID  string            `json:"retiring_id,omitempty"`
	Issuer      string            `json:"issuer"` // account of the grant's creator
	Operations  []string          `json:"operations"`
	Constraints *GrantConstraints `json:"constraints,omitempty"`
}

// grantSet is the grants of a key, by grantee and by id. A role's grants and its sessions' share a place: iam.RoleOf.
type grantSet struct {
	byGrantee map[string][]*grantRecord
	byID      map[string]*grantRecord
}

func (g *grantRecord) entry() GrantListEntry {
	return GrantListEntry{
		KeyId: keyARN(g.Region, g.Account, g.KeyID), GrantId: g.ID, Name: g.Name, CreationDate: at(g.Created),
		GranteePrincipal: g.Grantee, RetiringPrincipal: g.Retiring, IssuingAccount: iam.RootARN(g.Issuer),
		Operations: g.Operations, Constraints: g.Constraints,
	}
}

func (s *Service) loadGrants(ctx context.Context, keyID string) (grantSet, error) {
	set := grantSet{map[string][]*grantRecord{}, map[string]*grantRecord{}}
	entries, err := s.state.Range(ctx, grantPrefix+keyID+"/", "", 0)
	if err != nil {
		return grantSet{}, err
	}
	for _, e := range entries {
		g := new(grantRecord)
		if err := decodeJSON(e, g); err != nil {
			return grantSet{}, err
		}
		grantee := iam.RoleOf(g.Grantee)
		set.byGrantee[grantee] = append(set.byGrantee[grantee], g)
		set.byID[g.ID] = g
	}
	return set, nil
}

// contextOperations are the grant operations affected by constraints.
var contextOperations = []string{
	"Decrypt", "Encrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext", "GenerateDataKeyPair",
	"GenerateDataKeyPairWithoutPlaintext", "ReEncryptFrom", "ReEncryptTo",
}

// grantFor finds a grant that allows a request. The session policies of a role's sessions also limit a grant to the
// role. Grants take effect at once, so a grant token adds nothing; checkTokens has refused an invalid token before.
func (c *call) grantFor(k *key, req *iam.Request, own iam.Own, a access) *grantRecord {
	op := strings.TrimPrefix(req.Action, "kms:")
	for _, g := range k.grants.byGrantee[iam.RoleOf(req.Principal.ARN)] {
		if own.Passes(req.Principal.NamedBy(g.Grantee)) && sameID(g.GranteeID, req.Principal) && g.allows(op, a) {
			return g
		}
	}
	return nil
}

// sameID reports whether a principal is the grant's original principal, and not a new principal made under the old
// name. Grants of earlier versions have no id.
func sameID(id string, who iam.Principal) bool {
	id, _, _ = strings.Cut(id, ":") // a session's begins with its role's
	now, _, _ := strings.Cut(who.UserID, ":")
	return id == "" || id == now
}

// idOf returns the unique id of a principal; a service has none.
func (c *call) idOf(principal string) string {
	id, _ := c.s.identities.PrincipalID(principal)
	return id
}

// allows reports whether a grant covers an operation with its encryption context and new grant.
func (g *grantRecord) allows(op string, a access) bool {
	return has(g.Operations, op) && (!has(contextOperations, op) || g.admits(a.context)) && (a.begets == nil || g.covers(a.begets))
}

// admits reports whether an encryption context meets a grant's constraints.
func (g *grantRecord) admits(ec keystore.Context) bool {
	if g.Constraints == nil {
		return true
	}
	if want := g.Constraints.EncryptionContextEquals; want != nil && !maps.Equal(want, ec) {
		return false
	}
	for name, value := range g.Constraints.EncryptionContextSubset {
		if got, ok := ec[name]; !ok || got != value {
			return false
		}
	}
	return true
}

// covers reports whether a grant allows a new grant: no more operations, and constraints at least as strict.
func (g *grantRecord) covers(begotten *CreateGrantRequest) bool {
	child := begotten.Constraints
	for _, op := range begotten.Operations {
		if !has(g.Operations, op) {
			return false
		}
	}
	if g.Constraints == nil {
		return true
	}
	if child == nil {
		return false
	}
	if child.EncryptionContextEquals != nil {
		return g.admits(child.EncryptionContextEquals)
	}
	return g.Constraints.EncryptionContextEquals == nil && g.admits(child.EncryptionContextSubset)
}

// A grant token names a grant; it is no secret and gives nobody a right.
const grantTokenPrefix = "waxseal-grant-1."

func (g *grantRecord) token() string {
	return grantTokenPrefix + base64.RawURLEncoding.EncodeToString([]byte(g.Account+"/"+g.KeyID+"/"+g.ID))
}

func parseToken(token string) (account, keyID, grantID string, err error) {
	encoded, ok := strings.CutPrefix(token, grantTokenPrefix)
	raw, decodeErr := base64.RawURLEncoding.DecodeString(encoded)
	parts := strings.Split(string(raw), "/")
	if !ok || decodeErr != nil || len(parts) != 3 || !accountForm.MatchString(parts[0]) || uuid.Validate(parts[1]) != nil || len(parts[2]) != 64 {
		return "", "", "", failf(codeInvalidGrantToken, "The specified grant token is not valid.")
	}
	return parts[0], parts[1], parts[2], nil
}

func checkTokens(tokens []string) error {
	for _, t := range tokens {
		if _, _, _, err := parseToken(t); err != nil {
			return err
		}
	}
	return nil
}

// CreateGrant lets a principal use a key, until the grant is retired or revoked. The same grant with the same name
// again is the same grant.
func (s *Service) CreateGrant(ctx context.Context, caller keystore.Caller, in *CreateGrantRequest) (*CreateGrantResponse, error) {
	return perform(ctx, s, caller, "CreateGrant", in, func(c *call) (*CreateGrantResponse, error) {
		g, err := c.newGrant(in)
		if err != nil {
			return nil, err
		}
		a := access{tokens: in.GrantTokens, facts: c.grantFacts(in), begets: in}
		_, err = c.changeGrants(ctx, in.KeyId, a, func(k *key, e *edit) error {
			if err := grantable(k.record, in); err != nil {
				return err
			}
			if same := k.grants.same(in, g.Issuer, g.GranteeID); same != nil && !in.DryRun {
				g = same
				return errUnchanged
			} else if same != nil {
				return errDryRun()
			}
			if e.Grants >= s.limits.GrantsPerKey {
				return failf(codeLimitExceeded, "The number of grants of %s has reached its limit of %d.", e.arn(), s.limits.GrantsPerKey)
			}
			if in.DryRun {
				return errDryRun()
			}
			g.KeyID, g.Account, g.Region = e.ID, e.Account, e.Region
			e.Grants++
			path := grantPath(e.ID, g.ID)
			e.conds = append(e.conds, state.Cond{Key: path})
			return e.put(path, g)
		})
		if err != nil {
			return nil, err
		}
		c.reply = map[string]any{"grantId": g.ID, "keyId": keyARN(g.Region, g.Account, g.KeyID)}
		return &CreateGrantResponse{g.token(), g.ID}, nil
	})
}

// refuseServices refuses parameters about AWS services by name. No service makes requests here, so no service has a
// principal or acts for a resource with an ARN. A limit dropped in silence would make the grant wider than requested.
// https://docs.aws.amazon.com/kms/latest/APIReference/API_CreateGrant.html
func refuseServices(parameters map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(parameters)) {
		if parameters[name] != "" {
			return failf(codeUnsupported, "The parameter %s is not supported by this key service.", name)
		}
	}
	return nil
}

func (in *CreateGrantRequest) refuseServices() error {
	services := map[string]string{
		"GranteeServicePrincipal": in.GranteeServicePrincipal, "RetiringServicePrincipal": in.RetiringServicePrincipal,
	}
	if in.Constraints != nil {
		services["Constraints.SourceArn"] = in.Constraints.SourceArn
	}
	return refuseServices(services)
}

func (c *call) newGrant(in *CreateGrantRequest) (*grantRecord, error) {
	if err := in.refuseServices(); err != nil {
		return nil, err
	}
	if in.GranteePrincipal == "" {
		return nil, invalid("You must specify either GranteePrincipal or GranteeServicePrincipal, but not both.")
	}
	if len(in.Operations) == 0 {
		return nil, invalid("A grant needs at least one operation.")
	}
	if err := in.Constraints.check(); err != nil {
		return nil, err
	}
	for _, p := range []string{in.GranteePrincipal, in.RetiringPrincipal} {
		if p != "" && !iam.IsPrincipal(p, c.s.identities) {
			return nil, failf(codeInvalidArn, "ARN does not refer to a valid principal: %s", p)
		}
	}
	id := make([]byte, 32)
	rand.Read(id)
	ops := slices.Clone(in.Operations)
	slices.Sort(ops)
	return &grantRecord{
		ID: hex.EncodeToString(id), Name: in.Name, Created: c.now, Grantee: in.GranteePrincipal, Retiring: in.RetiringPrincipal,
		GranteeID: c.idOf(in.GranteePrincipal), RetiringID: c.idOf(in.RetiringPrincipal),
		Issuer: c.caller.AccountID, Operations: slices.Compact(ops), Constraints: in.Constraints,
	}, nil
}

// AWS's limits of a constraint.
const (
	maxConstraintPairs = 8
	maxConstraintValue = 384 // characters
)

// check refuses constraints that AWS refuses, and constraints without a pair: an empty constraint could mean "no
// encryption context" or "any encryption context", and the two are opposites.
func (g *GrantConstraints) check() error {
	if g == nil {
		return nil
	}
	given := 0
	for _, pairs := range []map[string]string{g.EncryptionContextEquals, g.EncryptionContextSubset} {
		if pairs == nil {
			continue
		}
		given++
		if len(pairs) == 0 || len(pairs) > maxConstraintPairs {
			return invalid("A grant constraint needs between 1 and %d encryption context pairs.", maxConstraintPairs)
		}
		for name, value := range pairs {
			if utf8.RuneCountInString(name) > maxConstraintValue || utf8.RuneCountInString(value) > maxConstraintValue {
				return invalid("An encryption context value in a grant constraint cannot exceed %d characters.", maxConstraintValue)
			}
		}
	}
	if given == 0 {
		return invalid("Grant constraints need EncryptionContextEquals or EncryptionContextSubset.")
	}
	return nil
}

func (c *call) grantFacts(in *CreateGrantRequest) facts {
	f := facts{
		"kms:GrantIsForAWSResource": {boolText(c.caller.ViaService != "")},
		"kms:GrantOperations":       in.Operations,
		"kms:GranteePrincipal":      {in.GranteePrincipal},
	}
	if in.RetiringPrincipal != "" {
		f["kms:RetiringPrincipal"] = []string{in.RetiringPrincipal}
	}
	if in.Constraints != nil {
		kind := "EncryptionContextSubset"
		if in.Constraints.EncryptionContextEquals != nil {
			kind = "EncryptionContextEquals"
		}
		f["kms:GrantConstraintType"] = []string{kind}
	}
	return f
}

// grantUsages maps a grant operation to the key usage it needs.
var grantUsages = map[string]string{
	"Decrypt": usageEncrypt, "Encrypt": usageEncrypt, "ReEncryptFrom": usageEncrypt, "ReEncryptTo": usageEncrypt,
	"GenerateDataKey": usageEncrypt, "GenerateDataKeyWithoutPlaintext": usageEncrypt,
	"GenerateDataKeyPair": usageEncrypt, "GenerateDataKeyPairWithoutPlaintext": usageEncrypt,
	"Sign": usageSign, "Verify": usageSign, "GenerateMac": usageMAC, "VerifyMac": usageMAC, "DeriveSharedSecret": usageAgreement,
	"Encapsulate": usageKEM, "Decapsulate": usageKEM,
}

func grantable(r *record, in *CreateGrantRequest) error {
	for _, op := range in.Operations {
		usage, restricted := grantUsages[op]
		symmetricOnly := strings.HasPrefix(op, "GenerateDataKey")
		if restricted && usage != r.Usage || symmetricOnly && !r.symmetric() || op == "GetPublicKey" && !r.spec().asymmetric() {
			return invalid("Operation %s is not supported for a key with usage %s and key spec %s.", op, r.Usage, r.Spec)
		}
	}
	if in.Constraints != nil && !r.symmetric() {
		return invalid("Grant constraints need a symmetric encryption key.")
	}
	return nil
}

// same finds the grant that a repeated, named CreateGrant would make again.
func (set grantSet) same(in *CreateGrantRequest, issuer, granteeID string) *grantRecord {
	if in.Name == "" {
		return nil
	}
	ops := slices.Clone(in.Operations)
	slices.Sort(ops)
	ops = slices.Compact(ops)
	for _, g := range set.byGrantee[iam.RoleOf(in.GranteePrincipal)] {
		if g.Grantee == in.GranteePrincipal && g.Name == in.Name && g.Retiring == in.RetiringPrincipal && g.Issuer == issuer && (g.GranteeID == "" || g.GranteeID == granteeID) &&
			slices.Equal(g.Operations, ops) && sameConstraints(g.Constraints, in.Constraints) {
			return g
		}
	}
	return nil
}

func sameConstraints(a, b *GrantConstraints) bool {
	if a == nil || b == nil {
		return a == b
	}
	return maps.Equal(a.EncryptionContextEquals, b.EncryptionContextEquals) && maps.Equal(a.EncryptionContextSubset, b.EncryptionContextSubset)
}

// errUnchanged ends a change without an effect.
var errUnchanged = errors.New("nothing to change")

// changeGrants is change for operations on the grants of a key, read at the same revision.
func (c *call) changeGrants(ctx context.Context, given string, a access, change func(*key, *edit) error) (*key, error) {
	var k *key
	err := retry(ctx, func() error {
		var err error
		if k, err = c.use(ctx, given, a); err != nil {
			return err
		}
		e := &edit{record: k.clone()}
		if err := change(k, e); err != nil {
			return err
		}
		return c.s.save(ctx, k, e)
	})
	if errors.Is(err, errUnchanged) {
		err = nil
	}
	return k, err
}

func boolText(b bool) string {
	if b {
		return "true"
	}
	return "false"
}
