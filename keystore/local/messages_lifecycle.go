package local

type EnableKeyRotationRequest struct {
	KeyId                string `kms:"required,len=1:2048"`
	RotationPeriodInDays *int   `kms:"range=90:2560"`
}

type GetKeyRotationStatusResponse struct {
	KeyRotationEnabled        bool
	KeyId                     string
	RotationPeriodInDays      int   `json:",omitempty"`
	NextRotationDate          *Time `json:",omitempty"`
	OnDemandRotationStartDate *Time `json:",omitempty"`
}

type ListKeyRotationsRequest struct {
	KeyId              string `kms:"required,len=1:2048"`
	IncludeKeyMaterial string `kms:"enum=ALL_KEY_MATERIAL|ROTATIONS_ONLY"`
	Limit              *int   `kms:"range=1:1000"`
	Marker             string `kms:"len=1:1024,match=[\\u0020-\\u00FF]*"`
}

type RotationsListEntry struct {
	KeyId                  string
	KeyMaterialId          string `json:",omitempty"`
	KeyMaterialDescription string `json:",omitempty"`
	ImportState            string `json:",omitempty"`
	KeyMaterialState       string `json:",omitempty"`
	ExpirationModel        string `json:",omitempty"`
	ValidTo                *Time  `json:",omitempty"`
	RotationDate           *Time  `json:",omitempty"`
	RotationType           string `json:",omitempty"`
}

type ListKeyRotationsResponse struct {
	Rotations  []RotationsListEntry
	NextMarker string `json:",omitempty"`
	Truncated  bool
}

type GetParametersForImportRequest struct {
	KeyId             string `kms:"required,len=1:2048"`
	WrappingAlgorithm string `kms:"required,enum=RSAES_PKCS1_V1_5|RSAES_OAEP_SHA_1|RSAES_OAEP_SHA_256|RSA_AES_KEY_WRAP_SHA_1|RSA_AES_KEY_WRAP_SHA_256|SM2PKE"`
	WrappingKeySpec   string `kms:"required,enum=RSA_2048|RSA_3072|RSA_4096|SM2"`
}

type GetParametersForImportResponse struct {
	KeyId             string
	ImportToken       []byte
	PublicKey         []byte
	ParametersValidTo *Time
}

type ImportKeyMaterialRequest struct {
	KeyId                  string `kms:"required,len=1:2048"`
	ImportToken            []byte `kms:"required,len=1:6144"`
	EncryptedKeyMaterial   []byte `kms:"required,len=1:6144"`
	ValidTo                *Time
	ExpirationModel        string `kms:"enum=KEY_MATERIAL_EXPIRES|KEY_MATERIAL_DOES_NOT_EXPIRE"`
	ImportType             string `kms:"enum=NEW_KEY_MATERIAL|EXISTING_KEY_MATERIAL"`
	KeyMaterialDescription string `kms:"len=0:256,match=^[a-zA-Z0-9:/_\\s.-]+$"`
	KeyMaterialId          string `kms:"len=64:64,match=^[a-f0-9]+$"`
}

type ImportKeyMaterialResponse struct {
	KeyId         string
	KeyMaterialId string `json:",omitempty"`
}

type DeleteImportedKeyMaterialRequest struct {
	KeyId         string `kms:"required,len=1:2048"`
	KeyMaterialId string `kms:"len=64:64,match=^[a-f0-9]+$"`
}

type DeleteImportedKeyMaterialResponse struct {
	KeyId         string
	KeyMaterialId string `json:",omitempty"`
}

// GrantConstraints limit a grant to requests with an encryption context. A grant with a SourceArn is refused: see
// refuseServices.
type GrantConstraints struct {
	EncryptionContextSubset map[string]string `json:",omitempty"`
	EncryptionContextEquals map[string]string `json:",omitempty"`
	SourceArn               string            `json:",omitempty" kms:"len=1:2048"`
}

type CreateGrantRequest struct {
	KeyId                    string   `kms:"required,len=1:2048"`
	GranteePrincipal         string   `kms:"len=1:256,match=^[\\w+=,.@:/-]+$"`
	RetiringPrincipal        string   `kms:"len=1:256,match=^[\\w+=,.@:/-]+$"`
	GranteeServicePrincipal  string   `kms:"len=1:256"`
	RetiringServicePrincipal string   `kms:"len=1:256"`
	Operations               []string `kms:"required,each=enum=Decrypt|Encrypt|GenerateDataKey|GenerateDataKeyWithoutPlaintext|ReEncryptFrom|ReEncryptTo|Sign|Verify|GetPublicKey|CreateGrant|RetireGrant|DescribeKey|GenerateDataKeyPair|GenerateDataKeyPairWithoutPlaintext|GenerateMac|VerifyMac|DeriveSharedSecret|Encapsulate|Decapsulate"`
	Constraints              *GrantConstraints
	GrantTokens              []string `kms:"len=0:10,secret,each=len=1:8192"`
	Name                     string   `kms:"len=1:256,match=^[a-zA-Z0-9:/_-]+$"`
	DryRun                   bool
}

type CreateGrantResponse struct{ GrantToken, GrantId string }

type ListGrantsRequest struct {
	Limit                   *int   `kms:"range=1:1000"`
	Marker                  string `kms:"len=1:1024,match=[\\u0020-\\u00FF]*"`
	KeyId                   string `kms:"required,len=1:2048"`
	GrantId                 string `kms:"len=1:128"`
	GranteePrincipal        string `kms:"len=1:256,match=^[\\w+=,.@:/-]+$"`
	GranteeServicePrincipal string `kms:"len=1:256"`
}

type ListRetirableGrantsRequest struct {
	Limit                    *int   `kms:"range=1:1000"`
	Marker                   string `kms:"len=1:1024,match=[\\u0020-\\u00FF]*"`
	RetiringPrincipal        string `kms:"len=1:256,match=^[\\w+=,.@:/-]+$"`
	RetiringServicePrincipal string `kms:"len=1:256"`
}

type GrantListEntry struct {
	KeyId             string
	GrantId           string
	Name              string `json:",omitempty"`
	CreationDate      *Time
	GranteePrincipal  string
	RetiringPrincipal string `json:",omitempty"`
	IssuingAccount    string
	Operations        []string
	Constraints       *GrantConstraints `json:",omitempty"`
}

type ListGrantsResponse struct {
	Grants     []GrantListEntry
	NextMarker string `json:",omitempty"`
	Truncated  bool
}

type RetireGrantRequest struct {
	GrantToken string `kms:"len=1:8192,secret"`
	KeyId      string `kms:"len=1:2048"`
	GrantId    string `kms:"len=1:128"`
	DryRun     bool
}

type RevokeGrantRequest struct {
	KeyId   string `kms:"required,len=1:2048"`
	GrantId string `kms:"required,len=1:128"`
	DryRun  bool
}
