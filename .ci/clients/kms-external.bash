# What the kms-*.sh scripts of external key services share. To be sourced.
#
#   free_port                     prints a free loopback port
#   wait_port PORT LOG            waits until something listens there
#   s3_in_every_mode KEY NAME     S3 with the CLI in every mode under KEY, which NAME, an alias, names too; with the key
#                                 service, process $KMS_PID, away for a while, too

. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
export AWS_EC2_METADATA_DISABLED=true AWS_PAGER="" AWS_DEFAULT_REGION=us-east-1

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

wait_port() {
	local i
	for ((i = 0; i < 300; i++)); do
		if (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then return; fi
		sleep 0.2
	done
	fail "nothing listens at $1: $(tail -n 20 "$2")"
}

s3() { aws --endpoint-url "$S3" "$@"; }

# put KEY MODE ARGUMENTS... puts an object, checks what mode the answer names, and reads it back.
put() {
	local name=$1 mode=$2
	shift 2
	same "$(s3 s3api put-object --bucket external --key "$name" --body body --query ServerSideEncryption --output text "$@")" "$mode" "$name"
	get "$name"
}

get() {
	rm -f back
	s3 s3api get-object --bucket external --key "$1" back >/dev/null
	same_file body back
}

head_of() { s3 s3api head-object --bucket external --key "$1" --query "$2" --output text; }

s3_in_every_mode() {
	local key=$1 name=$2 arn
	cd "$WORK"
	random_file body 300000
	s3 s3 mb s3://external
	put sse-s3 AES256
	put sse-kms aws:kms --server-side-encryption aws:kms --ssekms-key-id "$key"
	arn=$(head_of sse-kms SSEKMSKeyId)
	put by-name aws:kms --server-side-encryption aws:kms --ssekms-key-id "$name"
	same "$(head_of by-name SSEKMSKeyId)" "$arn" "the key of an alias"
	put bucket-key aws:kms --server-side-encryption aws:kms --ssekms-key-id "$key" --bucket-key-enabled
	same "$(head_of bucket-key BucketKeyEnabled)" True
	put context aws:kms --server-side-encryption aws:kms --ssekms-key-id "$key" --ssekms-encryption-context "$(printf '{"team":"blue"}' | base64)"
	put dsse aws:kms:dsse --server-side-encryption aws:kms:dsse --ssekms-key-id "$key"
	s3 s3api copy-object --bucket external --key copy --copy-source external/sse-s3 --server-side-encryption aws:kms --ssekms-key-id "$key" >/dev/null
	get copy

	refused KMS.NotFoundException s3 s3api put-object --bucket external --key none --body body --server-side-encryption aws:kms --ssekms-key-id alias/there-is-no-such-key
	if [ -z "${HAS_MANAGED_KEY:-}" ]; then
		refused "Name a KMS key in x-amz-server-side-encryption-aws-kms-key-id" s3 s3api put-object --bucket external --key none --body body --server-side-encryption aws:kms
	fi
	s3 s3api put-bucket-encryption --bucket external --server-side-encryption-configuration \
		'{"Rules":[{"ApplyServerSideEncryptionByDefault":{"SSEAlgorithm":"aws:kms","KMSMasterKeyID":"'"$key"'"},"BucketKeyEnabled":true}]}'
	put by-default aws:kms
	same "$(head_of by-default '[SSEKMSKeyId,BucketKeyEnabled]')" "$arn	True"
	random_file body 12000000
	s3 s3 cp --quiet body s3://external/multipart
	get multipart

	# The key service is away: what is in memory goes on, all else is 503, and comes back with it.
	random_file body 300000
	put kept aws:kms --server-side-encryption aws:kms --ssekms-key-id "$key" --bucket-key-enabled
	put single aws:kms --server-side-encryption aws:kms --ssekms-key-id "$key" --no-bucket-key-enabled
	kill -STOP "$KMS_PID"
	get kept
	AWS_MAX_ATTEMPTS=1 refused ServiceUnavailable s3 s3api get-object --bucket external --key single back
	kill -CONT "$KMS_PID"
	local i
	for ((i = 0; i < 20; i++)); do
		if s3 s3api get-object --bucket external --key single back >/dev/null 2>&1; then break; fi
		sleep 1 # the circuit breaker may be open for 6 s
	done
	get single
	no_plaintext "$DATA/store"
}
