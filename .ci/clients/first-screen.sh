#!/usr/bin/env bash
# The first screen of a new waxseal, pasted into a shell as it stands: a KMS key becomes a bucket's default, an object
# is sealed under a Bucket Key, and the store's disk holds no plaintext.
# needs: aws
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
export AWS_PAGER=""

(cd "$ROOT" && [ -x "$WAXSEAL" ] || CGO_ENABLED=0 go build -trimpath -o "$WAXSEAL" ./cmd/waxseal)
unset WAXSEAL_ACCESS_KEY WAXSEAL_SECRET_KEY
"$WAXSEAL" serve --data-dir "$WORK/first" --listen 127.0.0.1:0 --kms-listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 \
	>"$WORK/screen" 2>"$WORK/log" &
PIDS+=($!)
for ((i = 0; i < 300; i++)); do
	if grep -q '^grep ' "$WORK/screen"; then break; fi
	sleep 0.1
done
sed -n '/To try it, paste:/,$p' "$WORK/screen" | tail -n +2 >"$WORK/pasted"
bash -eu "$WORK/pasted" | tee "$WORK/effect"
grep -q '"ServerSideEncryption": "aws:kms"' "$WORK/effect" || fail "the object is not under a KMS key"
grep -q '"BucketKeyEnabled": true' "$WORK/effect" || fail "the object is not under a Bucket Key"
grep -q '^SSE-KMS .* hello .*bucket key, arn:aws:kms:' "$WORK/effect" || fail "inspect does not show the sealing"
grep -Eq '^all +16 +[0-9]+  1 object$' "$WORK/effect" || fail "inspect does not sum up"
grep -q '^no plaintext on the disk$' "$WORK/effect" || fail "plaintext on the disk"
