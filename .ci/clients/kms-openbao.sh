#!/usr/bin/env bash
# The provider suite and S3 in every mode with a Transit engine of OpenBao.
# needs: bao
. "$(dirname "${BASH_SOURCE[0]}")/kms-external.bash"
port=$(free_port)
export BAO_ADDR=http://127.0.0.1:$port BAO_TOKEN=root
bao server -dev -dev-root-token-id=root -dev-no-store-token -dev-listen-address="127.0.0.1:$port" >"$WORK/bao.log" 2>&1 &
KMS_PID=$!
PIDS+=("$KMS_PID")
wait_port "$port" "$WORK/bao.log"
for ((i = 0; i < 100; i++)); do bao secrets enable transit >/dev/null 2>&1 && break; sleep 0.2; done
(cd "$ROOT" && WAXSEAL_TEST_TRANSIT=$BAO_ADDR WAXSEAL_TEST_TRANSIT_TOKEN=$BAO_TOKEN go test -count=1 -run TestLive ./keystore/transit)
for name in waxseal-root photos; do bao write -f "transit/keys/$name" >/dev/null; done
bao policy write waxseal - >/dev/null <<'POLICY'
path "transit/keys/*"    { capabilities = ["read"] }
path "transit/encrypt/*" { capabilities = ["update"] }
path "transit/decrypt/*" { capabilities = ["update"] }
POLICY
WAXSEAL_KMS_TOKEN=$(bao token create -policy=waxseal -field=token)
export WAXSEAL_KMS_TOKEN
start_waxseal --kms-provider transit --kms-endpoint "$BAO_ADDR" --kms-root-key waxseal-root
s3_in_every_mode photos alias/photos
bao write -f transit/keys/photos/rotate >/dev/null
get single
put after-rotation aws:kms --server-side-encryption aws:kms --ssekms-key-id photos --no-bucket-key-enabled
stop_waxseal
echo "kms-openbao: ok"
