#!/usr/bin/env bash
# rclone against a waxseal, as each of the three providers that it treats differently, with all its checks.
# needs: rclone
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
begin
unset AWS_CA_BUNDLE # rclone 1.60 breaks on it; it has a flag of its own
flags=()
if [ -f "$DATA/tls.crt" ]; then flags+=(--ca-cert "$DATA/tls.crt"); fi
export RCLONE_CONFIG=$WORK/rclone.conf
mkdir -p "$WORK/tree/sub"
random_file "$WORK/tree/small" 100000
random_file "$WORK/tree/sub/large" $((30 * 1024 * 1024))
printf '' >"$WORK/tree/empty"
for provider in AWS Minio Other; do
	cat >"$RCLONE_CONFIG" <<CFG
[wax]
type = s3
provider = $provider
access_key_id = $AWS_ACCESS_KEY_ID
secret_access_key = $AWS_SECRET_ACCESS_KEY
region = us-east-1
endpoint = $S3
force_path_style = true
CFG
	rclone() { command rclone ${flags[@]+"${flags[@]}"} --s3-upload-cutoff 10M --s3-chunk-size 5M "$@"; }
	bucket=rclone-${provider,,}-$RANDOM-$$
	rclone mkdir "wax:$bucket"
	rclone sync --checksum "$WORK/tree" "wax:$bucket/tree"
	rclone check "$WORK/tree" "wax:$bucket/tree"
	rclone check --download "$WORK/tree" "wax:$bucket/tree"
	same "$(rclone sync --checksum "$WORK/tree" "wax:$bucket/tree" --stats-one-line -v 2>&1 | grep -c 'Copied' || true)" 0 "files sent again"
	rclone copy "wax:$bucket/tree" "$WORK/back-$provider"
	diff -r "$WORK/tree" "$WORK/back-$provider"
	rclone copy "wax:$bucket/tree" "wax:$bucket/copy"
	rclone check "wax:$bucket/tree" "wax:$bucket/copy"
	rclone purge "wax:$bucket"
done
rclone copy "$WORK/tree" "wax:$bucket-kept"
finish rclone
