#!/usr/bin/env bash
# S3 in every mode with another waxseal as the KMS.
# needs: aws
. "$(dirname "${BASH_SOURCE[0]}")/kms-external.bash"
unset S3 # two of its own, whatever there is
start_waxseal
KMS_PID=$WAXSEAL_PID behind=$KMS
export WAXSEAL_KMS_ACCESS_KEY=$WAXSEAL_ACCESS_KEY WAXSEAL_KMS_SECRET_KEY=$WAXSEAL_SECRET_KEY
new_key() { aws --endpoint-url "$behind" kms create-key --query KeyMetadata.Arn --output text; }
root=$(new_key) key=$(new_key)
aws --endpoint-url "$behind" kms create-alias --alias-name alias/photos --target-key-id "$key"
(cd "$ROOT" && WAXSEAL_TEST_KMS=$behind go test -count=1 -run TestLive ./keystore/awskms)
start_waxseal --kms-provider aws --kms-endpoint "$behind" --kms-root-key "$root"
s3_in_every_mode "$key" alias/photos
refused AccessDenied s3 s3api put-object --bucket external --key none --body body --server-side-encryption aws:kms # its aws/s3 is for its own S3
aws --endpoint-url "$behind" kms disable-key --key-id "$key"
refused KMS.DisabledException s3 s3api get-object --bucket external --key single back
stop_waxseal
echo "kms-waxseal: ok"
