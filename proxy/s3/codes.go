package s3

// A Code is an S3 error code: the word in <Code> that SDKs switch on.
type Code string

// Status returns S3's HTTP status for the code. An unknown code is an internal error.
func (c Code) Status() int {
	if i, ok := codes[c]; ok {
		return i.status
	}
	return 500
}

// Message is S3's own wording for the code, empty where S3 always says something more specific.
func (c Code) Message() string { return codes[c].message }

// Known reports whether S3 has the code.
func (c Code) Known() bool {
	_, ok := codes[c]
	return ok
}

// The error codes of Amazon S3 used by a store or waxseal.
const (
	AccessControlListNotSupported                  Code = "AccessControlListNotSupported"
	AccessDenied                                   Code = "AccessDenied"
	AccountProblem                                 Code = "AccountProblem"
	AllAccessDisabled                              Code = "AllAccessDisabled"
	AmbiguousGrantByEmailAddress                   Code = "AmbiguousGrantByEmailAddress"
	AuthorizationHeaderMalformed                   Code = "AuthorizationHeaderMalformed"
	AuthorizationQueryParametersError              Code = "AuthorizationQueryParametersError"
	BadDigest                                      Code = "BadDigest"
	BadRequest                                     Code = "BadRequest"
	BucketAlreadyExists                            Code = "BucketAlreadyExists"
	BucketAlreadyOwnedByYou                        Code = "BucketAlreadyOwnedByYou"
	BucketNotEmpty                                 Code = "BucketNotEmpty"
	ConditionalRequestConflict                     Code = "ConditionalRequestConflict"
	CredentialsNotSupported                        Code = "CredentialsNotSupported"
	CrossLocationLoggingProhibited                 Code = "CrossLocationLoggingProhibited"
	EntityTooLarge                                 Code = "EntityTooLarge"
	EntityTooSmall                                 Code = "EntityTooSmall"
	ExpiredToken                                   Code = "ExpiredToken"
	IllegalLocationConstraintException             Code = "IllegalLocationConstraintException"
	IllegalVersioningConfigurationException        Code = "IllegalVersioningConfigurationException"
	IncompleteBody                                 Code = "IncompleteBody"
	IncorrectNumberOfFilesInPostRequest            Code = "IncorrectNumberOfFilesInPostRequest"
	InlineDataTooLarge                             Code = "InlineDataTooLarge"
	InternalError                                  Code = "InternalError"
	InvalidAccessKeyID                             Code = "InvalidAccessKeyId"
	InvalidAccessPoint                             Code = "InvalidAccessPoint"
	InvalidArgumentCode                            Code = "InvalidArgument"
	InvalidBucketAclWithObjectOwnership            Code = "InvalidBucketAclWithObjectOwnership"
	InvalidBucketName                              Code = "InvalidBucketName"
	InvalidBucketState                             Code = "InvalidBucketState"
	InvalidDigest                                  Code = "InvalidDigest"
	InvalidEncryptionAlgorithmError                Code = "InvalidEncryptionAlgorithmError"
	InvalidLocationConstraint                      Code = "InvalidLocationConstraint"
	InvalidObjectState                             Code = "InvalidObjectState"
	InvalidPart                                    Code = "InvalidPart"
	InvalidPartNumber                              Code = "InvalidPartNumber"
	InvalidPartOrder                               Code = "InvalidPartOrder"
	InvalidPayer                                   Code = "InvalidPayer"
	InvalidPolicyDocument                          Code = "InvalidPolicyDocument"
	InvalidRange                                   Code = "InvalidRange"
	InvalidRegion                                  Code = "InvalidRegion"
	InvalidRequest                                 Code = "InvalidRequest"
	InvalidSecurity                                Code = "InvalidSecurity"
	InvalidStorageClass                            Code = "InvalidStorageClass"
	InvalidTag                                     Code = "InvalidTag"
	InvalidTargetBucketForLogging                  Code = "InvalidTargetBucketForLogging"
	InvalidToken                                   Code = "InvalidToken"
	InvalidURI                                     Code = "InvalidURI"
	KeyTooLongError                                Code = "KeyTooLongError"
	KMSDisabledException                           Code = "KMS.DisabledException"
	KMSInvalidKeyUsageException                    Code = "KMS.InvalidKeyUsageException"
	KMSInvalidStateException                       Code = "KMS.KMSInvalidStateException"
	KMSNotFoundException                           Code = "KMS.NotFoundException"
	MalformedACLError                              Code = "MalformedACLError"
	MalformedPOSTRequest                           Code = "MalformedPOSTRequest"
	MalformedPolicy                                Code = "MalformedPolicy"
	MalformedXML                                   Code = "MalformedXML"
	MaxMessageLengthExceeded                       Code = "MaxMessageLengthExceeded"
	MaxPostPreDataLengthExceeded                   Code = "MaxPostPreDataLengthExceededError"
	MetadataTooLarge                               Code = "MetadataTooLarge"
	MethodNotAllowed                               Code = "MethodNotAllowed"
	MissingAttachment                              Code = "MissingAttachment"
	MissingAuthenticationToken                     Code = "MissingAuthenticationToken"
	MissingContentLength                           Code = "MissingContentLength"
	MissingFields                                  Code = "MissingFields"
	MissingRequestBodyError                        Code = "MissingRequestBodyError"
	MissingSecurityHeader                          Code = "MissingSecurityHeader"
	NoLoggingStatusForKey                          Code = "NoLoggingStatusForKey"
	NoSuchAccessPoint                              Code = "NoSuchAccessPoint"
	NoSuchBucket                                   Code = "NoSuchBucket"
	NoSuchBucketPolicy                             Code = "NoSuchBucketPolicy"
	NoSuchConfiguration                            Code = "NoSuchConfiguration"
	NoSuchCORSConfiguration                        Code = "NoSuchCORSConfiguration"
	NoSuchKey                                      Code = "NoSuchKey"
	NoSuchLifecycleConfiguration                   Code = "NoSuchLifecycleConfiguration"
	NoSuchObjectLockConfiguration                  Code = "NoSuchObjectLockConfiguration"
	NoSuchPublicAccessBlockConfiguration           Code = "NoSuchPublicAccessBlockConfiguration"
	NoSuchTagSet                                   Code = "NoSuchTagSet"
	NoSuchUpload                                   Code = "NoSuchUpload"
	NoSuchVersion                                  Code = "NoSuchVersion"
	NoSuchWebsiteConfiguration                     Code = "NoSuchWebsiteConfiguration"
	NotImplemented                                 Code = "NotImplemented"
	NotModified                                    Code = "NotModified"
	NotSignedUp                                    Code = "NotSignedUp"
	ObjectLockConfigurationNotFoundError           Code = "ObjectLockConfigurationNotFoundError"
	OperationAborted                               Code = "OperationAborted"
	OwnershipControlsNotFoundError                 Code = "OwnershipControlsNotFoundError"
	PermanentRedirect                              Code = "PermanentRedirect"
	PreconditionFailed                             Code = "PreconditionFailed"
	Redirect                                       Code = "Redirect"
	ReplicationConfigurationNotFoundError          Code = "ReplicationConfigurationNotFoundError"
	RequestHeaderSectionTooLarge                   Code = "RequestHeaderSectionTooLarge"
	RequestIsNotMultiPartContent                   Code = "RequestIsNotMultiPartContent"
	RequestTimeout                                 Code = "RequestTimeout"
	RequestTimeTooSkewed                           Code = "RequestTimeTooSkewed"
	RestoreAlreadyInProgress                       Code = "RestoreAlreadyInProgress"
	ServerSideEncryptionConfigurationNotFoundError Code = "ServerSideEncryptionConfigurationNotFoundError"
	ServiceUnavailable                             Code = "ServiceUnavailable"
	SignatureDoesNotMatch                          Code = "SignatureDoesNotMatch"
	SlowDown                                       Code = "SlowDown"
	TemporaryRedirect                              Code = "TemporaryRedirect"
	TokenRefreshRequired                           Code = "TokenRefreshRequired"
	TooManyAccessPoints                            Code = "TooManyAccessPoints"
	TooManyBuckets                                 Code = "TooManyBuckets"
	UnexpectedContent                              Code = "UnexpectedContent"
	UnresolvableGrantByEmailAddress                Code = "UnresolvableGrantByEmailAddress"
	UnsupportedArgument                            Code = "UnsupportedArgument"
	UnsupportedSignature                           Code = "UnsupportedSignature"
	UserKeyMustBeSpecified                         Code = "UserKeyMustBeSpecified"
	XAmzContentSHA256Mismatch                      Code = "XAmzContentSHA256Mismatch"
)

type codeInfo struct {
	status  int
	message string
}

// codes holds the status and the usual words of every code, as in AWS's "Error responses".
var codes = map[Code]codeInfo{
	AccessControlListNotSupported:           {400, "The bucket does not allow ACLs"},
	AccessDenied:                            {403, "Access Denied"},
	AccountProblem:                          {403, "There is a problem with your account that prevents the operation from completing successfully."},
	AllAccessDisabled:                       {403, "All access to this object has been disabled"},
	AmbiguousGrantByEmailAddress:            {400, "The e-mail address you provided is associated with more than one account."},
	AuthorizationHeaderMalformed:            {400, "The authorization header you provided is invalid."},
	AuthorizationQueryParametersError:       {400, "The authorization query parameters that you provided are not valid."},
	BadDigest:                               {400, "The Content-MD5 you specified did not match what we received."},
	BadRequest:                              {400, "Bad Request"},
	BucketAlreadyExists:                     {409, "The requested bucket name is not available. The bucket namespace is shared by all users of the system. Please select a different name and try again."},
	BucketAlreadyOwnedByYou:                 {409, "Your previous request to create the named bucket succeeded and you already own it."},
	BucketNotEmpty:                          {409, "The bucket you tried to delete is not empty"},
	ConditionalRequestConflict:              {409, "The conditional request cannot succeed due to a conflicting operation against this resource."},
	CredentialsNotSupported:                 {400, "This request does not support credentials."},
	CrossLocationLoggingProhibited:          {403, "Cross location logging not allowed."},
	EntityTooLarge:                          {400, "Your proposed upload exceeds the maximum allowed size"},
	EntityTooSmall:                          {400, "Your proposed upload is smaller than the minimum allowed size"},
	ExpiredToken:                            {400, "The provided token has expired."},
	IllegalLocationConstraintException:      {400, "The unspecified location constraint is incompatible for the region specific endpoint this request was sent to."},
	IllegalVersioningConfigurationException: {400, "The Versioning element must be specified"},
	IncompleteBody:                          {400, "You did not provide the number of bytes specified by the Content-Length HTTP header"},
	IncorrectNumberOfFilesInPostRequest:     {400, "POST requires exactly one file upload per request."},
	InlineDataTooLarge:                      {400, "The inline data exceeds the maximum allowed size."},
	InternalError:                           {500, "We encountered an internal error. Please try again."},
	InvalidAccessKeyID:                      {403, "The AWS Access Key Id you provided does not exist in our records."},
	InvalidAccessPoint:                      {400, "The specified access point name or account is not valid."},
	InvalidArgumentCode:                     {400, "Invalid Argument"},
	InvalidBucketAclWithObjectOwnership:     {400, "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting"},
	InvalidBucketName:                       {400, "The specified bucket is not valid."},
	InvalidBucketState:                      {409, "The request is not valid for the current state of the bucket."},
	InvalidDigest:                           {400, "The Content-MD5 you specified was invalid."},
	InvalidEncryptionAlgorithmError:         {400, "The Encryption request you specified is not valid. Supported value: AES256."},
	InvalidLocationConstraint:               {400, "The specified location-constraint is not valid"},
	InvalidObjectState:                      {403, "The operation is not valid for the object's storage class"},
	InvalidPart:                             {400, "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified entity tag may not match the part's entity tag."},
	InvalidPartNumber:                       {416, "The requested partnumber is not satisfiable"},
	InvalidPartOrder:                        {400, "The list of parts was not in ascending order. Parts must be ordered by part number."},
	InvalidPayer:                            {403, "All access to this object has been disabled."},
	InvalidPolicyDocument:                   {400, "The content of the form does not meet the conditions specified in the policy document."},
	InvalidRange:                            {416, "The requested range is not satisfiable"},
	InvalidRegion:                           {403, "The region is not valid."},
	InvalidRequest:                          {400, "Invalid Request"},
	InvalidSecurity:                         {403, "The provided security credentials are not valid."},
	InvalidStorageClass:                     {400, "The storage class you specified is not valid"},
	InvalidTag:                              {400, "The tag provided was not a valid tag."},
	InvalidTargetBucketForLogging:           {400, "The target bucket for logging does not exist"},
	InvalidToken:                            {400, "The provided token is malformed or otherwise invalid."},
	InvalidURI:                              {400, "Couldn't parse the specified URI."},
	KeyTooLongError:                         {400, "Your key is too long"},
	KMSDisabledException:                    {400, ""},
	KMSInvalidKeyUsageException:             {400, ""},
	KMSInvalidStateException:                {400, ""},
	KMSNotFoundException:                    {400, ""},
	MalformedACLError:                       {400, "The XML you provided was not well-formed or did not validate against our published schema"},
	MalformedPOSTRequest:                    {400, "The body of your POST request is not well-formed multipart/form-data."},
	MalformedPolicy:                         {400, "Policies must be valid JSON and the first byte must be '{'"},
	MalformedXML:                            {400, "The XML you provided was not well-formed or did not validate against our published schema"},
	MaxMessageLengthExceeded:                {400, "Your request was too big."},
	MaxPostPreDataLengthExceeded:            {400, "Your POST request fields preceding the upload file were too large."},
	MetadataTooLarge:                        {400, "Your metadata headers exceed the maximum allowed metadata size"},
	MethodNotAllowed:                        {405, "The specified method is not allowed against this resource."},
	MissingAttachment:                       {400, "A SOAP attachment was expected, but none were found."},
	MissingAuthenticationToken:              {403, "The request was not signed."},
	MissingContentLength:                    {411, "You must provide the Content-Length HTTP header."},
	MissingFields:                           {400, "Missing fields in request."},
	MissingRequestBodyError:                 {400, "Request Body is empty"},
	MissingSecurityHeader:                   {400, "Your request was missing a required header"},
	NoLoggingStatusForKey:                   {400, "There is no such thing as a logging status sub-resource for a key."},
	NoSuchAccessPoint:                       {404, "The specified accesspoint does not exist"},
	NoSuchBucket:                            {404, "The specified bucket does not exist"},
	NoSuchBucketPolicy:                      {404, "The bucket policy does not exist"},
	NoSuchConfiguration:                     {404, "The specified configuration does not exist."},
	NoSuchCORSConfiguration:                 {404, "The CORS configuration does not exist"},
	NoSuchKey:                               {404, "The specified key does not exist."},
	NoSuchLifecycleConfiguration:            {404, "The lifecycle configuration does not exist"},
	NoSuchObjectLockConfiguration:           {404, "The specified object does not have a ObjectLock configuration"},
	NoSuchPublicAccessBlockConfiguration:    {404, "The public access block configuration was not found"},
	NoSuchTagSet:                            {404, "The TagSet does not exist"},
	NoSuchUpload:                            {404, "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed."},
	NoSuchVersion:                           {404, "The specified version does not exist."},
	NoSuchWebsiteConfiguration:              {404, "The specified bucket does not have a website configuration"},
	NotImplemented:                          {501, "A header you provided implies functionality that is not implemented"},
	NotModified:                             {304, "Not Modified"},
	NotSignedUp:                             {403, "Your account is not signed up for the Amazon S3 service."},
	ObjectLockConfigurationNotFoundError:    {404, "Object Lock configuration does not exist for this bucket"},
	OperationAborted:                        {409, "A conflicting conditional operation is currently in progress against this resource. Please try again."},
	OwnershipControlsNotFoundError:          {404, "The bucket ownership controls were not found"},
	PermanentRedirect:                       {301, "The bucket you are attempting to access must be addressed using the specified endpoint. Please send all future requests to this endpoint."},
	PreconditionFailed:                      {412, "At least one of the pre-conditions you specified did not hold"},
	Redirect:                                {307, "Temporary redirect."},
	ReplicationConfigurationNotFoundError:   {404, "The replication configuration was not found"},
	RequestHeaderSectionTooLarge:            {400, "Your request header section exceeds the maximum allowed request header section size."},
	RequestIsNotMultiPartContent:            {412, "Bucket POST must be of the enclosure-type multipart/form-data."},
	RequestTimeout:                          {400, "Your socket connection to the server was not read from or written to within the timeout period. Idle connections will be closed."},
	RequestTimeTooSkewed:                    {403, "The difference between the request time and the current time is too large."},
	RestoreAlreadyInProgress:                {409, "Object restore is already in progress"},
	ServerSideEncryptionConfigurationNotFoundError: {404, "The server side encryption configuration was not found"},
	ServiceUnavailable:              {503, "Service is unable to handle request."},
	SignatureDoesNotMatch:           {403, "The request signature we calculated does not match the signature you provided. Check your key and signing method."},
	SlowDown:                        {503, "Please reduce your request rate."},
	TemporaryRedirect:               {307, "You are being redirected to the bucket while DNS updates."},
	TokenRefreshRequired:            {400, "The provided token must be refreshed."},
	TooManyAccessPoints:             {400, "You have attempted to create more access points than are allowed for an account."},
	TooManyBuckets:                  {400, "You have attempted to create more buckets than allowed"},
	UnexpectedContent:               {400, "This request does not support content"},
	UnresolvableGrantByEmailAddress: {400, "The e-mail address you provided does not match any account on record."},
	UnsupportedArgument:             {400, "The request contained an unsupported argument."},
	UnsupportedSignature:            {400, "The provided request is signed with an unsupported STS Token version or the signature version is not supported."},
	UserKeyMustBeSpecified:          {400, "The bucket POST must contain the specified field name. If it is specified, check the order of the fields."},
	XAmzContentSHA256Mismatch:       {400, "The provided 'x-amz-content-sha256' header does not match what was computed."},
}
