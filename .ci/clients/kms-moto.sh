#!/usr/bin/env bash
# S3 in every mode with moto's server as the KMS: an external key service that nobody here wrote.
# needs: moto_server
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
moto_server -H 127.0.0.1 -p "$port" >"$WORK/moto.log" 2>&1 &
PIDS+=($!)
for ((i = 0; i < 300; i++)); do
	if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then break; fi
	sleep 0.2
done
export WAXSEAL_KMS_ACCESS_KEY=AKIAMOTO WAXSEAL_KMS_SECRET_KEY=moto-secret
new_key() { # moto wants the usage named
	AWS_ACCESS_KEY_ID=$WAXSEAL_KMS_ACCESS_KEY AWS_SECRET_ACCESS_KEY=$WAXSEAL_KMS_SECRET_KEY AWS_DEFAULT_REGION=us-east-1 \
		aws --endpoint-url "http://127.0.0.1:$port" kms create-key --key-usage ENCRYPT_DECRYPT --query KeyMetadata.Arn --output text
}
export AWS_EC2_METADATA_DISABLED=true AWS_PAGER=""
root=$(new_key) key=$(new_key)
start_waxseal --kms-provider aws --kms-endpoint "http://127.0.0.1:$port" --kms-root-key "$root"
aws() { command aws --endpoint-url "$S3" "$@"; }
cd "$WORK"
random_file body 300000
aws s3 mb s3://moto
put() { # put KEY MODE ARGUMENTS...
	local name=$1 mode=$2
	shift 2
	same "$(aws s3api put-object --bucket moto --key "$name" --body body --query ServerSideEncryption --output text "$@")" "$mode" "$name"
	aws s3api get-object --bucket moto --key "$name" back >/dev/null
	same_file body back
}
put sse-s3 AES256
put sse-kms aws:kms --server-side-encryption aws:kms --ssekms-key-id "$key"
put bucket-key aws:kms --server-side-encryption aws:kms --ssekms-key-id "$key" --bucket-key-enabled
put dsse aws:kms:dsse --server-side-encryption aws:kms:dsse --ssekms-key-id "$key"
no_plaintext "$DATA/store"
stop_waxseal
echo "kms-moto: ok"
