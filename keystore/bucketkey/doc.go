// Package bucketkey has S3 Bucket Keys in front of any [keystore.Provider]: one KMS data key wraps many new data keys,
// for a limited time. [Root] keeps the root of SSE-S3 under a KMS key in the same way.
//
//	Write:  Input: requester, scope, KMS key, client's context
//	        context := {aws:s3:arn: scope} + client's context
//	        blob    := active(scope, KMS key, context)      the state's; else GenerateDataKey as the requester
//	        require    authorised(requester, GenerateDataKey)  within the last PlaintextTTL, else ask the provider
//	        key     := open(blob)                           from memory; else Decrypt as the service
//	        Output: key, to be used as key-encryption key; blob, to be stored with the wrapped data key
//
//	Read:   Input: requester, scope, KMS key, client's context, blob
//	        require    authorised(requester, Decrypt)    within the last PlaintextTTL, else ask the provider
//	        key     := open(blob)                           as for a write
//	        Output: key
//
// The key service authorises and audits every requester at least once in each window for each action. A requester's
// permission to read gives nobody else a permission, and gives nobody a permission to write. A disabled key is out of use
// a window later at the latest. The number of calls grows with requesters, actions, scopes, KMS keys and windows, and
// not with requests.
package bucketkey
