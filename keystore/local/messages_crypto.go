package local

// Recipient asks for a reply readable by a Nitro enclave only. No enclave exists here, so it is refused by name.
type Recipient struct {
	KeyEncryptionAlgorithm string `kms:"enum=RSAES_OAEP_SHA_256"`
	AttestationDocument    []byte `kms:"len=1:262144"`
}

type EncryptRequest struct {
	KeyId               string `kms:"required,len=1:2048"`
	Plaintext           []byte `kms:"required,len=1:4096,secret"`
	EncryptionContext   map[string]string
	GrantTokens         []string `kms:"len=0:10,secret,each=len=1:8192"`
	EncryptionAlgorithm string   `kms:"enum=SYMMETRIC_DEFAULT|RSAES_OAEP_SHA_1|RSAES_OAEP_SHA_256|SM2PKE"`
	DryRun              bool
}

type EncryptResponse struct {
	CiphertextBlob      []byte
	KeyId               string
	EncryptionAlgorithm string
}

type DecryptRequest struct {
	CiphertextBlob      []byte `kms:"len=1:6144"`
	EncryptionContext   map[string]string
	GrantTokens         []string `kms:"len=0:10,secret,each=len=1:8192"`
	KeyId               string   `kms:"len=1:2048"`
	EncryptionAlgorithm string   `kms:"enum=SYMMETRIC_DEFAULT|RSAES_OAEP_SHA_1|RSAES_OAEP_SHA_256|SM2PKE"`
	Recipient           *Recipient
	DryRun              bool
	DryRunModifiers     []string `kms:"len=0:1,each=enum=IGNORE_CIPHERTEXT"`
}

type DecryptResponse struct {
	KeyId               string
	Plaintext           []byte
	EncryptionAlgorithm string
	KeyMaterialId       string `json:",omitempty"`
}

type ReEncryptRequest struct {
	CiphertextBlob                 []byte `kms:"len=1:6144"`
	SourceEncryptionContext        map[string]string
	SourceKeyId                    string `kms:"len=1:2048"`
	DestinationKeyId               string `kms:"required,len=1:2048"`
	DestinationEncryptionContext   map[string]string
	SourceEncryptionAlgorithm      string   `kms:"enum=SYMMETRIC_DEFAULT|RSAES_OAEP_SHA_1|RSAES_OAEP_SHA_256|SM2PKE"`
	DestinationEncryptionAlgorithm string   `kms:"enum=SYMMETRIC_DEFAULT|RSAES_OAEP_SHA_1|RSAES_OAEP_SHA_256|SM2PKE"`
	GrantTokens                    []string `kms:"len=0:10,secret,each=len=1:8192"`
	DryRun                         bool
	DryRunModifiers                []string `kms:"len=0:1,each=enum=IGNORE_CIPHERTEXT"`
}

type ReEncryptResponse struct {
	CiphertextBlob                 []byte
	SourceKeyId                    string
	KeyId                          string
	SourceEncryptionAlgorithm      string
	DestinationEncryptionAlgorithm string
	SourceKeyMaterialId            string `json:",omitempty"`
	DestinationKeyMaterialId       string `json:",omitempty"`
}

type GenerateDataKeyRequest struct {
	KeyId             string `kms:"required,len=1:2048"`
	EncryptionContext map[string]string
	NumberOfBytes     *int     `kms:"range=1:1024"`
	KeySpec           string   `kms:"enum=AES_256|AES_128"`
	GrantTokens       []string `kms:"len=0:10,secret,each=len=1:8192"`
	Recipient         *Recipient
	DryRun            bool
}

type GenerateDataKeyResponse struct {
	CiphertextBlob []byte
	Plaintext      []byte `json:",omitempty"`
	KeyId          string
	KeyMaterialId  string
}

type GenerateDataKeyPairRequest struct {
	EncryptionContext map[string]string
	KeyId             string   `kms:"required,len=1:2048"`
	KeyPairSpec       string   `kms:"required,enum=RSA_2048|RSA_3072|RSA_4096|ECC_NIST_P256|ECC_NIST_P384|ECC_NIST_P521|ECC_SECG_P256K1|SM2|ECC_NIST_EDWARDS25519|ML_KEM_512|ML_KEM_768|ML_KEM_1024"`
	GrantTokens       []string `kms:"len=0:10,secret,each=len=1:8192"`
	Recipient         *Recipient
	DryRun            bool
}

type GenerateDataKeyPairResponse struct {
	PrivateKeyCiphertextBlob []byte
	PrivateKeyPlaintext      []byte `json:",omitempty"`
	PublicKey                []byte
	KeyId                    string
	KeyPairSpec              string
	KeyMaterialId            string
}

type GenerateRandomRequest struct {
	NumberOfBytes    *int   `kms:"range=1:1024"`
	CustomKeyStoreId string `kms:"len=1:64"`
	Recipient        *Recipient
}

type GenerateRandomResponse struct{ Plaintext []byte }

type GenerateMacRequest struct {
	Message      []byte   `kms:"required,len=1:4096,secret"`
	KeyId        string   `kms:"required,len=1:2048"`
	MacAlgorithm string   `kms:"required,enum=HMAC_SHA_384|HMAC_SHA_256|HMAC_SHA_224|HMAC_SHA_512"`
	GrantTokens  []string `kms:"len=0:10,secret,each=len=1:8192"`
	DryRun       bool
}

type GenerateMacResponse struct {
	Mac                 []byte
	MacAlgorithm, KeyId string
}

type VerifyMacRequest struct {
	Message      []byte   `kms:"required,len=1:4096,secret"`
	KeyId        string   `kms:"required,len=1:2048"`
	MacAlgorithm string   `kms:"required,enum=HMAC_SHA_384|HMAC_SHA_256|HMAC_SHA_224|HMAC_SHA_512"`
	Mac          []byte   `kms:"required,len=1:6144"`
	GrantTokens  []string `kms:"len=0:10,secret,each=len=1:8192"`
	DryRun       bool
}

type VerifyMacResponse struct {
	KeyId        string
	MacValid     bool
	MacAlgorithm string
}

type SignRequest struct {
	KeyId            string   `kms:"required,len=1:2048"`
	Message          []byte   `kms:"required,len=1:4096,secret"`
	MessageType      string   `kms:"enum=RAW|DIGEST|EXTERNAL_MU"`
	GrantTokens      []string `kms:"len=0:10,secret,each=len=1:8192"`
	SigningAlgorithm string   `kms:"required,enum=RSASSA_PSS_SHA_256|RSASSA_PSS_SHA_384|RSASSA_PSS_SHA_512|RSASSA_PKCS1_V1_5_SHA_256|RSASSA_PKCS1_V1_5_SHA_384|RSASSA_PKCS1_V1_5_SHA_512|ECDSA_SHA_256|ECDSA_SHA_384|ECDSA_SHA_512|SM2DSA|ML_DSA_SHAKE_256|ED25519_SHA_512|ED25519_PH_SHA_512"`
	DryRun           bool
}

type SignResponse struct {
	KeyId            string
	Signature        []byte
	SigningAlgorithm string
}

type VerifyRequest struct {
	KeyId            string   `kms:"required,len=1:2048"`
	Message          []byte   `kms:"required,len=1:4096,secret"`
	MessageType      string   `kms:"enum=RAW|DIGEST|EXTERNAL_MU"`
	Signature        []byte   `kms:"required,len=1:6144"`
	SigningAlgorithm string   `kms:"required,enum=RSASSA_PSS_SHA_256|RSASSA_PSS_SHA_384|RSASSA_PSS_SHA_512|RSASSA_PKCS1_V1_5_SHA_256|RSASSA_PKCS1_V1_5_SHA_384|RSASSA_PKCS1_V1_5_SHA_512|ECDSA_SHA_256|ECDSA_SHA_384|ECDSA_SHA_512|SM2DSA|ML_DSA_SHAKE_256|ED25519_SHA_512|ED25519_PH_SHA_512"`
	GrantTokens      []string `kms:"len=0:10,secret,each=len=1:8192"`
	DryRun           bool
}

type VerifyResponse struct {
	KeyId            string
	SignatureValid   bool
	SigningAlgorithm string
}

type GetPublicKeyRequest struct {
	KeyId       string   `kms:"required,len=1:2048"`
	GrantTokens []string `kms:"len=0:10,secret,each=len=1:8192"`
}

type GetPublicKeyResponse struct {
	KeyId                  string
	PublicKey              []byte
	CustomerMasterKeySpec  string
	KeySpec                string
	KeyUsage               string
	EncryptionAlgorithms   []string `json:",omitempty"`
	SigningAlgorithms      []string `json:",omitempty"`
	KeyAgreementAlgorithms []string `json:",omitempty"`
}

type DeriveSharedSecretRequest struct {
	KeyId                 string   `kms:"required,len=1:2048"`
	KeyAgreementAlgorithm string   `kms:"required,enum=ECDH"`
	PublicKey             []byte   `kms:"required,len=1:8192"`
	GrantTokens           []string `kms:"len=0:10,secret,each=len=1:8192"`
	DryRun                bool
	Recipient             *Recipient
}

type DeriveSharedSecretResponse struct {
	KeyId                 string
	SharedSecret          []byte
	KeyAgreementAlgorithm string
	KeyOrigin             string
}
