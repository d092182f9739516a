// Package keystore makes and opens data keys under named KMS keys, whoever keeps those: the embedded key service
// (keystore/local), AWS KMS (keystore/awskms), or a Vault or OpenBao Transit engine (keystore/transit).
//
// A [Provider] is one such key service. Everything else here stands in front of one:
//
//	BucketKeys   S3 Bucket Keys: one KMS data key wraps many new data keys, for a limited time
//	WithBreaker  a circuit breaker: while the KMS is down, fail at once
//	ExternalRoot the root of SSE-S3 under a KMS key
//	RootSecret   what seals the state at rest; ServiceKeyRing, the keys of the service itself
//
// # Bucket keys
//
//	Write:  Input: requester, scope, KMS key, client's context
//	        context := {aws:s3:arn: scope} + client's context
//	        blob    := current(scope, KMS key, context)     the state's; else GenerateDataKey as the requester
//	        require    authorised(requester, GenerateDataKey)  within the last PlaintextTTL, else ask the provider
//	        key     := open(blob)                           from memory; else Decrypt as the service
//	        Output: key, to be used as key-encryption key; blob, to be stored with what it wraps
//
//	Read:   Input: requester, scope, KMS key, client's context, blob
//	        require    authorised(requester, Decrypt)    within the last PlaintextTTL, else ask the provider
//	        key     := open(blob)                           as for a write
//	        Output: key
//
// So a requester is authorised and audited by the key service at least once in each window for each action, one
// requester's permission to read is no other's permission to write, and a key that was disabled is out of use one
// window later at the latest. The number of calls grows with requesters, actions, scopes, KMS keys and windows, and
// not with requests.
package keystore
