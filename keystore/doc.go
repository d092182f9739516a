// Package keystore makes and opens data keys under named KMS keys. The keeper of the KMS keys is a [Provider]: the
// embedded key service (keystore/local), AWS KMS (keystore/awskms), or a Vault or OpenBao Transit engine
// (keystore/transit). [WithBreaker] puts a circuit breaker in front of a Provider: while the KMS is down, calls fail at
// once.
//
// keystore/bucketkey has S3 Bucket Keys in front of a Provider, and keystore/rootkey the root secret of the state.
package keystore
