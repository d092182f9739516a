#!/usr/bin/env bash
# rclone against a waxseal, as each of the three providers that it treats differently, with all its checks. With the
# provider AWS it sends the checksums of small files in trailers, which it cannot do over plain HTTP to any server: that
# one runs over TLS only.
# needs: rclone
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
begin
unset AWS_CA_BUNDLE # rclone 1.60 breaks on it; it has a flag of its own
flags=(--s3-upload-cutoff 10M --s3-chunk-size 5M --retries 1 --config "$WORK/rclone.conf")
if [ -f "$DATA/tls.crt" ]; then flags+=(--ca-cert "$DATA/tls.crt"); fi
rclone() { command rclone "${flags[@]}" "$@"; }
providers=(Minio Other)
if [[ $S3 == https:* ]]; then providers+=(AWS); fi

mkdir -p "$WORK/tree/sub"
random_file "$WORK/tree/small" 100000
random_file "$WORK/tree/sub/a b+ü%20" 70000
random_file "$WORK/tree/sub/large" $((210 * 1024 * 1024 + 13))
printf '' >"$WORK/tree/empty"
for provider in "${providers[@]}"; do
	cat >"$WORK/rclone.conf" <<CFG
[wax]
type = s3
provider = $provider
access_key_id = $AWS_ACCESS_KEY_ID
secret_access_key = $AWS_SECRET_ACCESS_KEY
region = us-east-1
endpoint = $S3
force_path_style = true
CFG
	echo "# provider $provider"
	bucket=rclone-${provider,,}-$RANDOM-$$
	rclone mkdir "wax:$bucket"
	rclone sync --checksum "$WORK/tree" "wax:$bucket/tree"
	rclone check "$WORK/tree" "wax:$bucket/tree"
	rclone check --download "$WORK/tree" "wax:$bucket/tree"
	same "$(rclone sync --checksum "$WORK/tree" "wax:$bucket/tree" -v 2>&1 | grep -c 'Copied' || true)" 0 "files sent again"
	same "$(rclone sync "$WORK/tree" "wax:$bucket/tree" -v 2>&1 | grep -c 'Copied' || true)" 0 "files sent again, by time"
	same "$(rclone md5sum "wax:$bucket/tree/sub/large" | cut -d ' ' -f 1)" "$(md5sum "$WORK/tree/sub/large" | cut -d ' ' -f 1)" "MD5 kept by rclone"
	same "$(rclone size --json "wax:$bucket/tree" | sed 's|.*"bytes":\([0-9]*\).*|\1|')" "$(find "$WORK/tree" -type f -printf '%s\n' | awk '{n += $1} END {print n}')" size
	rclone copy --multi-thread-cutoff 20M "wax:$bucket/tree" "$WORK/back-$provider"
	diff -r "$WORK/tree" "$WORK/back-$provider"
	rclone copy "wax:$bucket/tree" "wax:$bucket/copy"
	rclone check "wax:$bucket/tree" "wax:$bucket/copy"
	rclone check --download "wax:$bucket/tree" "wax:$bucket/copy"
	rclone moveto "wax:$bucket/copy/small" "wax:$bucket/moved"
	same "$(rclone cat "wax:$bucket/moved" | sha256sum | cut -d ' ' -f 1)" "$(sha "$WORK/tree/small")" moved
	same "$(rclone cat --offset 65000 --count 1000 "wax:$bucket/moved" | sha256sum)" "$(slice "$WORK/tree/small" 65000 1000 | sha256sum)" range
	same "$(rclone rcat "wax:$bucket/streamed" <"$WORK/tree/sub/large" && rclone cat "wax:$bucket/streamed" | sha256sum | cut -d ' ' -f 1)" \
		"$(sha "$WORK/tree/sub/large")" streamed
	rclone purge "wax:$bucket"
	rm -r "$WORK/back-$provider"
done
rclone mkdir "wax:$bucket-kept"
rclone copy "$WORK/tree" "wax:$bucket-kept"
finish rclone
