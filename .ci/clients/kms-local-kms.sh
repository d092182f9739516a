#!/usr/bin/env bash
# S3 in every mode with local-kms (github.com/nsmithuk/local-kms) as the KMS. It listens on all addresses, so LOCAL_KMS may
# name a running one, by its port on this machine, and LOCAL_KMS_PID its process.
# needs: local-kms
. "$(dirname "${BASH_SOURCE[0]}")/kms-external.bash"
port=${LOCAL_KMS:-$(free_port)} KMS_PID=${LOCAL_KMS_PID:-}
if [ -z "${LOCAL_KMS:-}" ]; then
	PORT=$port KMS_REGION=us-east-1 KMS_ACCOUNT_ID=000000000000 KMS_DATA_PATH=$WORK/local-kms KMS_SEED_PATH=$WORK/no-seed \
		local-kms >"$WORK/local-kms.log" 2>&1 &
	KMS_PID=$!
	PIDS+=("$KMS_PID")
fi
wait_port "$port" "$WORK/local-kms.log"
export WAXSEAL_KMS_ACCESS_KEY=AKIALOCAL WAXSEAL_KMS_SECRET_KEY=local-secret
admin() { AWS_ACCESS_KEY_ID=$WAXSEAL_KMS_ACCESS_KEY AWS_SECRET_ACCESS_KEY=$WAXSEAL_KMS_SECRET_KEY aws --endpoint-url "http://127.0.0.1:$port" kms "$@"; }
new_key() { admin create-key --query KeyMetadata.Arn --output text; }
root=$(new_key) key=$(new_key)
admin create-alias --alias-name "alias/photos-$$" --target-key-id "$key"
start_waxseal --kms-provider aws --kms-endpoint "http://127.0.0.1:$port" --kms-root-key "$root"
s3_in_every_mode "$key" "alias/photos-$$"
stop_waxseal
echo "kms-local-kms: ok"
