#!/usr/bin/env bash
# S3 in every mode with moto's server as the KMS: an external key service that nobody here wrote.
# needs: moto_server
. "$(dirname "${BASH_SOURCE[0]}")/kms-external.bash"
port=$(free_port)
moto_server -H 127.0.0.1 -p "$port" >"$WORK/moto.log" 2>&1 &
KMS_PID=$!
PIDS+=("$KMS_PID")
wait_port "$port" "$WORK/moto.log"
export WAXSEAL_KMS_ACCESS_KEY=AKIAMOTO WAXSEAL_KMS_SECRET_KEY=moto-secret
admin() { AWS_ACCESS_KEY_ID=$WAXSEAL_KMS_ACCESS_KEY AWS_SECRET_ACCESS_KEY=$WAXSEAL_KMS_SECRET_KEY aws --endpoint-url "http://127.0.0.1:$port" kms "$@"; }
new_key() { admin create-key --key-usage ENCRYPT_DECRYPT --query KeyMetadata.Arn --output text; } # moto wants the usage named
root=$(new_key) key=$(new_key)
admin create-alias --alias-name alias/photos --target-key-id "$key"
start_waxseal --kms-provider aws --kms-endpoint "http://127.0.0.1:$port" --kms-root-key "$root"
HAS_MANAGED_KEY=1 s3_in_every_mode "$key" alias/photos # moto has alias/aws/s3, and lets anybody use it
stop_waxseal
echo "kms-moto: ok"
