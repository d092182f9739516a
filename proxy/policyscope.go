package proxy

import (
	"slices"
	"strings"

	"waxseal/keystore/iam"
	"waxseal/proxy/s3"
)

// Actions that a bucket policy can be about, by the resource type of AWS's table: the bucket, or an object in it. A
// statement about an action that S3 does not have would be kept and never hold.
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html
var (
	actionsOnBuckets = strings.Fields(`
		CreateBucket CreateBucketMetadataTableConfiguration DeleteBucket DeleteBucketMetadataTableConfiguration DeleteBucketPolicy
		DeleteBucketWebsite GetAccelerateConfiguration GetAnalyticsConfiguration GetBucketAbac GetBucketAcl GetBucketCORS GetBucketLocation
		GetBucketLogging GetBucketMetadataTableConfiguration GetBucketNotification GetBucketObjectLockConfiguration
		GetBucketOwnershipControls GetBucketPolicy GetBucketPolicyStatus GetBucketPublicAccessBlock GetBucketRequestPayment
		GetBucketTagging GetBucketVersioning GetBucketWebsite GetEncryptionConfiguration GetIntelligentTieringConfiguration
		GetInventoryConfiguration GetLifecycleConfiguration GetMetricsConfiguration GetReplicationConfiguration ListBucket
		ListBucketMultipartUploads ListBucketVersions ListTagsForResource PutAccelerateConfiguration PutAnalyticsConfiguration
		PutBucketAbac PutBucketAcl PutBucketCORS PutBucketLogging PutBucketNotification PutBucketObjectLockConfiguration
		PutBucketOwnershipControls PutBucketPolicy PutBucketPublicAccessBlock PutBucketRequestPayment PutBucketTagging
		PutBucketVersioning PutBucketWebsite PutEncryptionConfiguration PutIntelligentTieringConfiguration PutInventoryConfiguration
		PutLifecycleConfiguration PutMetricsConfiguration PutReplicationConfiguration TagResource UntagResource
		UpdateBucketMetadataInventoryTableConfiguration UpdateBucketMetadataJournalTableConfiguration`)
	actionsOnObjects = strings.Fields(`
		AbortMultipartUpload BypassGovernanceRetention DeleteObject DeleteObjectAnnotation DeleteObjectTagging DeleteObjectVersion
		DeleteObjectVersionTagging GetObject GetObjectAcl GetObjectAnnotation GetObjectAttributes GetObjectLegalHold GetObjectRetention
		GetObjectTagging GetObjectTorrent GetObjectVersion GetObjectVersionAcl GetObjectVersionAnnotation GetObjectVersionAttributes
		GetObjectVersionForReplication GetObjectVersionTagging GetObjectVersionTorrent InitiateReplication ListMultipartUploadParts
		ObjectOwnerOverrideToBucketOwner PutObject PutObjectAcl PutObjectAnnotation PutObjectLegalHold PutObjectRetention
		PutObjectTagging PutObjectVersionAcl PutObjectVersionTagging ReplicateDelete ReplicateObject ReplicateTags RestoreObject
		UpdateObjectEncryption`)
	// actionsOnAccounts are S3's, and about no bucket.
	actionsOnAccounts = strings.Fields("ListAllMyBuckets GetAccountPublicAccessBlock PutAccountPublicAccessBlock")
)

// checkScope refuses a policy with a statement that could never hold for requests to the bucket: because of a resource
// elsewhere, an action that S3 does not have, or an action on objects where only the bucket is named. Errors are S3's.
func checkScope(p *iam.Policy, bucket string) error {
	for _, st := range p.Statements() {
		ofBucket, ofObjects := false, false
		for _, resource := range append(slices.Clone(st.Resources), st.NotResources...) {
			name, _, hasKey := strings.Cut(strings.TrimPrefix(resource, "arn:aws:s3:::"), "/")
			if !strings.Contains(name, "${") && !iam.Matches(name, bucket, false) {
				return s3.Errorf(s3.MalformedPolicy, "Policy has invalid resource")
			}
			ofBucket = ofBucket || !hasKey
			ofObjects = ofObjects || hasKey || strings.Contains(name, "*") // an asterisk runs on over a slash
		}
		if len(st.NotResources) > 0 {
			ofBucket, ofObjects = true, true
		}
		for _, action := range append(slices.Clone(st.Actions), st.NotActions...) {
			onBucket, onObjects := anyAction(action, actionsOnBuckets), anyAction(action, actionsOnObjects)
			if !onBucket && !onObjects && !anyAction(action, actionsOnAccounts) {
				return s3.Errorf(s3.MalformedPolicy, "Policy has invalid action")
			}
			if len(st.NotActions) == 0 && !(onBucket && ofBucket || onObjects && ofObjects) {
				return s3.Errorf(s3.MalformedPolicy, "Action does not apply to any resource(s) in statement")
			}
		}
	}
	return nil
}

// anyAction reports whether an action of a policy, which may have wildcards, is one of S3's with these names.
func anyAction(action string, names []string) bool {
	if action == "*" {
		return true
	}
	_, pattern, _ := strings.Cut(action, ":")
	return slices.ContainsFunc(names, func(name string) bool { return iam.Matches(pattern, name, true) })
}
