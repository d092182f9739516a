package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"waxseal/keystore"
)

// Classes of keys.
const (
	classCustomer = "CUSTOMER"
	classManaged  = "AWS" // alias/aws/s3: visible, rotated by the service, not to be changed
)

const (
	originKMS      = "AWS_KMS"
	originExternal = "EXTERNAL"
)

// States of a key's material, and the kinds of rotation, as ListKeyRotations names them.
const (
	materialCurrent    = "CURRENT"
	materialNonCurrent = "NON_CURRENT"
	materialPending    = "PENDING_ROTATION"

	rotationAutomatic = "AUTOMATIC"
	rotationOnDemand  = "ON_DEMAND"

	imported      = "IMPORTED"
	pendingImport = "PENDING_IMPORT"

	expires      = "KEY_MATERIAL_EXPIRES"
	expiresNever = "KEY_MATERIAL_DOES_NOT_EXPIRE"
)

// record is a KMS key at rest: a JSON value of the state per key,
//
//	kms/key/<account>/<key id> = {"v":1,"id":"1234abcd-...","account":"000000000000","region":"us-east-1",
//	  "class":"CUSTOMER","spec":"SYMMETRIC_DEFAULT","usage":"ENCRYPT_DECRYPT","origin":"AWS_KMS","state":"Enabled",
//	  "created":"...","policy":"{...}","materials":[{"id":"<64 hex>","sealed":"<base64>","state":"CURRENT",...}]}
//
// Only the material is secret: it is sealed under the root secret, bound to the key and material ids. Every change is a
// compare-and-set of the whole value, so a crash leaves the old key or the new key.
type record struct {
	Version     int        `json:"v"`
	ID          string     `json:"id"`
	Account     string     `json:"account"`
	Region      string     `json:"region"`
	Class       string     `json:"class"`
	Spec        string     `json:"spec"`
	Usage       string     `json:"usage"`
	Origin      string     `json:"origin"`
	Description string     `json:"description,omitempty"`
	State       string     `json:"state"`
	Created     time.Time  `json:"created"`
	Policy      string     `json:"policy"`
	Tags        []Tag      `json:"tags,omitempty"`
	Aliases     []string   `json:"aliases,omitempty"` // names, kept in step with kms/alias/
	Materials   []material `json:"materials,omitempty"`

	DeletionDate time.Time `json:"deletion_date,omitzero"`

	RotationDays      int       `json:"rotation_days,omitempty"` // 0: no automatic rotation
	NextRotation      time.Time `json:"next_rotation,omitzero"`
	OnDemandRotations int       `json:"on_demand_rotations,omitempty"`

	// Grants counts the entries of kms/grant/<key id>/. A change of the grants changes this value too. So a key's
	// revision also fixes the set of its grants.
	Grants int `json:"grants,omitempty"`
}

const recordVersion = 1

// material is a generation of a key's secret.
type material struct {
	ID           string    `json:"id"`
	Sealed       []byte    `json:"sealed,omitempty"` // nil once imported material was deleted or has expired
	State        string    `json:"state"`
	Created      time.Time `json:"created"`
	RotationDate time.Time `json:"rotation_date,omitzero"` // when it became current; the first has none
	RotationType string    `json:"rotation_type,omitempty"`
	Description  string    `json:"description,omitempty"`
	Expiration   string    `json:"expiration,omitempty"` // imported only
	ValidTo      time.Time `json:"valid_to,omitzero"`
}

func decodeRecord(value []byte) (*record, error) {
	r := new(record)
	if err := json.Unmarshal(value, r); err != nil {
		return nil, fmt.Errorf("key record: %w", err)
	}
	if r.Version != recordVersion {
		return nil, fmt.Errorf("key record has version %d, this program reads %d", r.Version, recordVersion)
	}
	if _, _, ok := findSpec(r.Spec); !ok {
		return nil, errors.New("key record has an unknown key spec")
	}
	return r, nil
}

// clone returns a copy to change: every part that a change writes to is copied.
func (r *record) clone() *record {
	c := *r
	c.Tags = slices.Clone(r.Tags)
	c.Aliases = slices.Clone(r.Aliases)
	c.Materials = slices.Clone(r.Materials)
	return &c
}

func (r *record) spec() keySpec {
	s, _, _ := findSpec(r.Spec) // decodeRecord has checked that the spec exists
	return s
}

func (r *record) arn() string { return keyARN(r.Region, r.Account, r.ID) }

func (r *record) symmetric() bool { return r.Spec == specSymmetric }

// current returns the encrypting material, nil if there is none.
func (r *record) current() *material {
	return r.find(func(m *material) bool { return m.State == materialCurrent })
}

func (r *record) pending() *material {
	return r.find(func(m *material) bool { return m.State == materialPending })
}

func (r *record) material(id string) *material {
	return r.find(func(m *material) bool { return m.ID == id })
}

func (r *record) find(is func(*material) bool) *material {
	for i := range r.Materials {
		if is(&r.Materials[i]) {
			return &r.Materials[i]
		}
	}
	return nil
}

// expired returns material still present after its expiry, or nil.
func (r *record) expired(now time.Time) *material {
	return r.find(func(m *material) bool { return m.Sealed != nil && !m.ValidTo.IsZero() && !m.ValidTo.After(now) })
}

// complete reports whether all material needed by ciphertexts is present. Pending material has encrypted nothing yet.
func (r *record) complete() bool {
	gone := r.find(func(m *material) bool { return m.Sealed == nil && m.State != materialPending })
	return r.current() != nil && gone == nil
}

// due returns the next time of work for the reaper on this key, or zero.
func (r *record) due() time.Time {
	var next time.Time
	earlier := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	earlier(r.DeletionDate)
	if r.State == keystore.StateEnabled {
		earlier(r.NextRotation)
	}
	for _, m := range r.Materials {
		if m.Sealed != nil {
			earlier(m.ValidTo)
		}
	}
	return next
}

// metadata returns a key's description for clients.
func (r *record) metadata() KeyMetadata {
	spec := r.spec()
	md := KeyMetadata{
		AWSAccountId: r.Account, KeyId: r.ID, Arn: r.arn(), CreationDate: at(r.Created),
		Enabled: r.State == keystore.StateEnabled, Description: r.Description,
		KeyUsage: r.Usage, KeyState: r.State, Origin: r.Origin, KeyManager: r.Class,
		KeySpec: r.Spec, CustomerMasterKeySpec: r.Spec,
		DeletionDate: at(r.DeletionDate),
	}
	algorithms := spec.algorithms[r.Usage]
	switch r.Usage {
	case usageEncrypt:
		md.EncryptionAlgorithms = algorithms
	case usageSign:
		md.SigningAlgorithms = algorithms
	case usageMAC:
		md.MacAlgorithms = algorithms
	case usageAgreement:
		md.KeyAgreementAlgorithms = algorithms
	}
	if m := r.current(); m != nil {
		if r.symmetric() {
			md.CurrentKeyMaterialId = m.ID
		}
		if m.Sealed != nil {
			md.ExpirationModel, md.ValidTo = m.Expiration, at(m.ValidTo)
		}
	}
	return md
}
