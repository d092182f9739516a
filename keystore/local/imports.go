package local

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"time"

	"waxseal/keystore"
	"waxseal/keystore/state"
)

const (
	importTokenLife = 24 * time.Hour
	maxValidity     = 365 * day
)

// importToken is the content of ImportToken, sealed under the root secret: the private half of the wrapping key, with
// the key and period of its validity. No record is stored until the import.
type importToken struct {
	Account   string    `json:"account"`
	KeyID     string    `json:"key_id"`
	Algorithm string    `json:"algorithm"`
	Expires   time.Time `json:"expires"`
	Private   []byte    `json:"private"` // PKCS #1
}

func (s *Service) tokenSealer() state.Sealer { return s.secrets.Sealer("kms/import-token") }

var importTokenAAD = []byte("waxseal/kms/import-token/v1")

func external(r *record) error {
	if r.Origin != originExternal {
		return failf(codeUnsupported, "%s origin is %s which is not valid for this operation.", r.arn(), r.Origin)
	}
	return nil
}

// wrapping is the way an import is wrapped: RSA-OAEP around the material, or around an AES key around the material.
type wrapping struct {
	oaep string // algorithm of the RSA part
	kwp  bool
}

var wrappings = map[string]wrapping{
	"RSAES_OAEP_SHA_1":         {algOAEPSHA1, false},
	"RSAES_OAEP_SHA_256":       {algOAEPSHA256, false},
	"RSA_AES_KEY_WRAP_SHA_1":   {algOAEPSHA1, true},
	"RSA_AES_KEY_WRAP_SHA_256": {algOAEPSHA256, true},
}

var wrappingBits = map[string]int{"RSA_2048": 2048, "RSA_3072": 3072, "RSA_4096": 4096}

// GetParametersForImport makes a wrapping key for a single KMS key, valid for a day.
func (s *Service) GetParametersForImport(ctx context.Context, caller keystore.Caller, in *GetParametersForImportRequest) (*GetParametersForImportResponse, error) {
	return perform(ctx, s, caller, "GetParametersForImport", in, func(c *call) (*GetParametersForImportResponse, error) {
		k, err := c.use(ctx, in.KeyId, access{fit: external, facts: facts{
			"kms:WrappingAlgorithm": {in.WrappingAlgorithm}, "kms:WrappingKeySpec": {in.WrappingKeySpec},
		}})
		if err != nil {
			return nil, err
		}
		bits, known := wrappingBits[in.WrappingKeySpec]
		if _, ok := wrappings[in.WrappingAlgorithm]; !ok || !known {
			return nil, failf(codeUnsupported, "Wrapping with algorithm %s and key spec %s is not supported by this key service.",
				in.WrappingAlgorithm, in.WrappingKeySpec)
		}
		private, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			return nil, err
		}
		token := importToken{k.Account, k.ID, in.WrappingAlgorithm, c.now.Add(importTokenLife), x509.MarshalPKCS1PrivateKey(private)}
		defer clear(token.Private)
		public, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
		if err != nil {
			return nil, err
		}
		sealed, err := s.sealToken(token)
		if err != nil {
			return nil, err
		}
		return &GetParametersForImportResponse{k.arn(), sealed, public, at(token.Expires)}, nil
	})
}

func (s *Service) sealToken(t importToken) ([]byte, error) {
	plain, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	return s.tokenSealer().Seal(plain, importTokenAAD)
}

func (c *call) openToken(sealed []byte, r *record) (importToken, error) {
	var t importToken
	plain, err := c.s.tokenSealer().Open(sealed, importTokenAAD)
	if err != nil {
		return t, failf(codeInvalidImportToken, "")
	}
	defer clear(plain)
	if err := json.Unmarshal(plain, &t); err != nil || t.Account != r.Account || t.KeyID != r.ID {
		return t, failf(codeInvalidImportToken, "")
	}
	if !c.now.Before(t.Expires) {
		return t, failf(codeExpiredImportToken, "")
	}
	return t, nil
}

// unwrap opens wrapped key material. All failures look the same: the answer must not help to guess at padding.
func (t importToken) unwrap(wrapped []byte) ([]byte, error) {
	w := wrappings[t.Algorithm]
	private, err := x509.ParsePKCS1PrivateKey(t.Private)
	if err != nil {
		return nil, err
	}
	rsaPart := wrapped
	if w.kwp {
		size := private.Size()
		if len(wrapped) <= size {
			return nil, errUnwrap
		}
		rsaPart, wrapped = wrapped[:size], wrapped[size:]
	}
	opened, err := rsa.DecryptOAEP(hashOf[w.oaep].New(), nil, private, rsaPart, nil)
	if err != nil || !w.kwp {
		return opened, err
	}
	defer clear(opened)
	return unwrapKWP(opened, wrapped)
}

// ImportKeyMaterial gives an EXTERNAL key its material for the first time or again. For a symmetric key it also takes
// new material: RotateKeyOnDemand makes it current.
func (s *Service) ImportKeyMaterial(ctx context.Context, caller keystore.Caller, in *ImportKeyMaterialRequest) (*ImportKeyMaterialResponse, error) {
	return perform(ctx, s, caller, "ImportKeyMaterial", in, func(c *call) (*ImportKeyMaterialResponse, error) {
		var id string
		f := facts{"kms:ExpirationModel": {orDefault(in.ExpirationModel, expires)}}
		if in.ValidTo != nil {
			f["kms:ValidTo"] = []string{in.ValidTo.UTC().Format(time.RFC3339)}
		}
		var e *edit
		err := s.sealAndStore(func() (err error) {
			e, err = c.change(ctx, in.KeyId, access{fit: external, facts: f}, func(e *edit) (err error) {
				id, err = c.importInto(e.record, in)
				return err
			})
			return err
		})
		if err != nil {
			return nil, err
		}
		out := &ImportKeyMaterialResponse{KeyId: e.arn()}
		if e.symmetric() {
			out.KeyMaterialId = id
			c.reply["keyMaterialId"] = id
		}
		return out, nil
	})
}

func (c *call) importInto(r *record, in *ImportKeyMaterialRequest) (id string, err error) {
	model, err := c.expiration(in)
	if err != nil {
		return "", err
	}
	if !r.symmetric() && in.ImportType != "" {
		return "", failf(codeUnsupported, "%s key spec is %s which does not take the parameter ImportType.", r.arn(), r.Spec)
	}
	token, err := c.openToken(in.ImportToken, r)
	if err != nil {
		return "", err
	}
	defer clear(token.Private)
	secret, err := token.unwrap(in.EncryptedKeyMaterial)
	if err != nil {
		return "", failf(codeInvalidCiphertext, "")
	}
	defer clear(secret)
	if err := checkMaterial(r.spec(), secret); err != nil {
		return "", failf(codeIncorrectMaterial, "The key material does not have the form that key spec %s needs.", r.Spec)
	}
	m, err := c.s.sealMaterial(r, secret, material{
		State: materialCurrent, Created: c.now, Description: in.KeyMaterialDescription, Expiration: model,
	})
	if err != nil {
		return "", err
	}
	if in.ValidTo != nil {
		m.ValidTo = in.ValidTo.UTC()
	}
	if in.KeyMaterialId != "" && in.KeyMaterialId != m.ID {
		return "", failf(codeIncorrectMaterial, "")
	}
	return m.ID, r.place(m, in.ImportType)
}

// place puts imported material where it belongs: first, again, or new.
func (r *record) place(m material, importType string) error {
	known := r.material(m.ID)
	switch {
	case len(r.Materials) == 0:
		r.Materials = append(r.Materials, m)
	case importType == "NEW_KEY_MATERIAL" && known != nil && known.State != materialPending:
		return failf(codeIncorrectMaterial, "The key material (id: %s) is already associated with the KMS key.", m.ID)
	case importType == "NEW_KEY_MATERIAL" && known == nil:
		if p := r.pending(); p != nil {
			return failf(codeInvalidState, "New key material (id: %s) cannot be imported into KMS key %s, because another key material (id: %s) is pending rotation.", m.ID, r.ID, p.ID)
		}
		m.State = materialPending
		r.Materials = append(r.Materials, m)
	case known == nil:
		return failf(codeIncorrectMaterial, "")
	default: // the same material again: its place stays, its expiry is replaced
		m.State, m.Created, m.RotationDate, m.RotationType = known.State, known.Created, known.RotationDate, known.RotationType
		m.Description = orDefault(m.Description, known.Description)
		*known = m
	}
	if r.State == keystore.StatePendingImport && r.complete() {
		r.State = keystore.StateEnabled
	}
	return nil
}

func (c *call) expiration(in *ImportKeyMaterialRequest) (string, error) {
	model := orDefault(in.ExpirationModel, expires)
	switch {
	case model == expiresNever && in.ValidTo != nil:
		return "", invalid("A validTo date must not be set if the ExpirationModel is KEY_MATERIAL_DOES_NOT_EXPIRE")
	case model == expiresNever:
		return model, nil
	case in.ValidTo == nil:
		return "", invalid("A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES")
	case !in.ValidTo.After(c.now):
		return "", invalid("The validTo date must be in the future")
	case in.ValidTo.After(c.now.Add(maxValidity)):
		return "", invalid("The validTo date must be within 365 days")
	}
	return model, nil
}

// DeleteImportedKeyMaterial puts an EXTERNAL key out of use until the same material is imported again.
func (s *Service) DeleteImportedKeyMaterial(ctx context.Context, caller keystore.Caller, in *DeleteImportedKeyMaterialRequest) (*DeleteImportedKeyMaterialResponse, error) {
	return perform(ctx, s, caller, "DeleteImportedKeyMaterial", in, func(c *call) (*DeleteImportedKeyMaterialResponse, error) {
		var id string
		e, err := c.change(ctx, in.KeyId, access{fit: external}, func(e *edit) error {
			m := e.current()
			if in.KeyMaterialId != "" {
				if m = e.material(in.KeyMaterialId); m == nil {
					return failf(codeNotFound, "Key material %s is not associated with %s", in.KeyMaterialId, e.arn())
				}
			}
			if m != nil {
				id = m.ID
				e.dropMaterial(m)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		out := &DeleteImportedKeyMaterialResponse{KeyId: e.arn()}
		if e.symmetric() {
			out.KeyMaterialId = id
		}
		return out, nil
	})
}
