package local

import (
	"encoding/json"
	"math"
	"strconv"
	"time"
)

// The requests and replies of the KMS API, as on the wire. `kms` tags hold the constraints; kmsapi checks them before a
// request gets here: required, len=min:max (characters, bytes or entries), range=min:max, enum=A|B, match=regexp,
// each=... for the entries of a list.

// Time is a moment on the wire: seconds since the epoch, with a fraction.
type Time struct{ time.Time }

// at makes a wire time; the zero moment becomes an absent field.
func at(t time.Time) *Time {
	if t.IsZero() {
		return nil
	}
	return &Time{t}
}

func (t Time) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(t.UnixMilli())/1000, 'f', -1, 64), nil
}

func (t *Time) UnmarshalJSON(b []byte) error {
	var seconds float64
	if err := json.Unmarshal(b, &seconds); err != nil {
		return err
	}
	whole, fraction := math.Modf(seconds)
	t.Time = time.Unix(int64(whole), int64(fraction*1e9)).UTC()
	return nil
}

// KeyMetadata describes a key in CreateKey and DescribeKey.
type KeyMetadata struct {
	AWSAccountId           string
	KeyId                  string
	Arn                    string
	CreationDate           *Time
	Enabled                bool
	Description            string
	KeyUsage               string
	KeyState               string
	DeletionDate           *Time `json:",omitempty"`
	ValidTo                *Time `json:",omitempty"`
	Origin                 string
	ExpirationModel        string `json:",omitempty"`
	KeyManager             string
	KeySpec                string
	CustomerMasterKeySpec  string
	EncryptionAlgorithms   []string `json:",omitempty"`
	SigningAlgorithms      []string `json:",omitempty"`
	MacAlgorithms          []string `json:",omitempty"`
	KeyAgreementAlgorithms []string `json:",omitempty"`
	MultiRegion            bool
	CurrentKeyMaterialId   string `json:",omitempty"`
}

// Tag is a key's label.
type Tag struct {
	TagKey   string `kms:"required,len=1:128"`
	TagValue string `kms:"required,len=0:256"`
}

type CreateKeyRequest struct {
	Policy                         string `kms:"len=1:131072,match=[\\u0009\\u000A\\u000D\\u0020-\\u00FF]+"`
	Description                    string `kms:"len=0:8192"`
	KeyUsage                       string `kms:"enum=ENCRYPT_DECRYPT|SIGN_VERIFY|GENERATE_VERIFY_MAC|KEY_AGREEMENT|ENCAPSULATE_DECAPSULATE"`
	CustomerMasterKeySpec          string `kms:"enum=RSA_2048|RSA_3072|RSA_4096|ECC_NIST_P256|ECC_NIST_P384|ECC_NIST_P521|ECC_SECG_P256K1|SYMMETRIC_DEFAULT|HMAC_224|HMAC_256|HMAC_384|HMAC_512|SM2"`
	KeySpec                        string `kms:"enum=RSA_2048|RSA_3072|RSA_4096|ECC_NIST_P256|ECC_NIST_P384|ECC_NIST_P521|ECC_SECG_P256K1|SYMMETRIC_DEFAULT|HMAC_224|HMAC_256|HMAC_384|HMAC_512|SM2|ML_DSA_44|ML_DSA_65|ML_DSA_87|ECC_NIST_EDWARDS25519|ML_KEM_512|ML_KEM_768|ML_KEM_1024"`
	Origin                         string `kms:"enum=AWS_KMS|EXTERNAL|AWS_CLOUDHSM|EXTERNAL_KEY_STORE"`
	CustomKeyStoreId               string `kms:"len=1:64"`
	BypassPolicyLockoutSafetyCheck bool
	Tags                           []Tag
	MultiRegion                    bool
	XksKeyId                       string `kms:"len=1:128"`
}

type CreateKeyResponse struct{ KeyMetadata KeyMetadata }

type DescribeKeyRequest struct {
	KeyId       string   `kms:"required,len=1:2048"`
	GrantTokens []string `kms:"len=0:10,secret,each=len=1:8192"`
}

type DescribeKeyResponse struct{ KeyMetadata KeyMetadata }

// KeyRequest names a key and nothing else: EnableKey, DisableKey, CancelKeyDeletion, rotation, GetKeyLastUsage.
type KeyRequest struct {
	KeyId string `kms:"required,len=1:2048"`
}

// KeyResponse names the changed key.
type KeyResponse struct{ KeyId string }

// Empty is the reply of an operation without output.
type Empty struct{}

type ListKeysRequest struct {
	Limit  *int   `kms:"range=1:1000"`
	Marker string `kms:"len=1:1024,match=[\\u0020-\\u00FF]*"`
}

type KeyListEntry struct{ KeyId, KeyArn string }

type ListKeysResponse struct {
	Keys       []KeyListEntry
	NextMarker string `json:",omitempty"`
	Truncated  bool
}

type UpdateKeyDescriptionRequest struct {
	KeyId       string `kms:"required,len=1:2048"`
	Description string `kms:"required,len=0:8192"`
}

type ScheduleKeyDeletionRequest struct {
	KeyId               string `kms:"required,len=1:2048"`
	PendingWindowInDays *int   `kms:"range=7:30"`
}

type ScheduleKeyDeletionResponse struct {
	KeyId               string
	DeletionDate        *Time
	KeyState            string
	PendingWindowInDays int
}

type GetKeyLastUsageResponse struct {
	KeyId             string
	KeyLastUsage      *KeyLastUsage `json:",omitempty"`
	TrackingStartDate *Time
	KeyCreationDate   *Time
}

// KeyLastUsage is the last cryptographic operation with a key, and the id of its audit record.
type KeyLastUsage struct {
	Operation         string
	Timestamp         *Time
	CloudTrailEventId string
	KmsRequestId      string
}

type CreateAliasRequest struct {
	AliasName   string `kms:"required,len=1:256,match=^[a-zA-Z0-9:/_-]+$"`
	TargetKeyId string `kms:"required,len=1:2048"`
}

// UpdateAliasRequest has the members of CreateAliasRequest.
type UpdateAliasRequest struct {
	AliasName   string `kms:"required,len=1:256,match=^[a-zA-Z0-9:/_-]+$"`
	TargetKeyId string `kms:"required,len=1:2048"`
}

type DeleteAliasRequest struct {
	AliasName string `kms:"required,len=1:256,match=^[a-zA-Z0-9:/_-]+$"`
}

type ListAliasesRequest struct {
	KeyId  string `kms:"len=1:2048"`
	Limit  *int   `kms:"range=1:1000"`
	Marker string `kms:"len=1:1024,match=[\\u0020-\\u00FF]*"`
}

type AliasListEntry struct {
	AliasName       string
	AliasArn        string
	TargetKeyId     string `json:",omitempty"`
	CreationDate    *Time  `json:",omitempty"`
	LastUpdatedDate *Time  `json:",omitempty"`
}

type ListAliasesResponse struct {
	Aliases    []AliasListEntry
	NextMarker string `json:",omitempty"`
	Truncated  bool
}

type TagResourceRequest struct {
	KeyId string `kms:"required,len=1:2048"`
	Tags  []Tag  `kms:"required"`
}

type UntagResourceRequest struct {
	KeyId   string   `kms:"required,len=1:2048"`
	TagKeys []string `kms:"required,each=len=1:128"`
}

// ListOfKeyRequest pages through a list of a key: tags, policies.
type ListOfKeyRequest struct {
	KeyId  string `kms:"required,len=1:2048"`
	Limit  *int   `kms:"range=1:1000"`
	Marker string `kms:"len=1:1024,match=[\\u0020-\\u00FF]*"`
}

type ListResourceTagsResponse struct {
	Tags       []Tag
	NextMarker string `json:",omitempty"`
	Truncated  bool
}

type GetKeyPolicyRequest struct {
	KeyId      string `kms:"required,len=1:2048"`
	PolicyName string `kms:"len=1:128,match=[\\w]+"`
}

type GetKeyPolicyResponse struct{ Policy, PolicyName string }

type PutKeyPolicyRequest struct {
	KeyId                          string `kms:"required,len=1:2048"`
	PolicyName                     string `kms:"len=1:128,match=[\\w]+"`
	Policy                         string `kms:"required,len=1:131072,match=[\\u0009\\u000A\\u000D\\u0020-\\u00FF]+"`
	BypassPolicyLockoutSafetyCheck bool
}

type ListKeyPoliciesResponse struct {
	PolicyNames []string
	NextMarker  string `json:",omitempty"`
	Truncated   bool
}
