#!/usr/bin/env bash
# MinIO's client against a waxseal: copies, mirrors, listings, shares, versions, encryption.
# needs: mc
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
begin
export MC_CONFIG_DIR=$WORK/mc
mkdir -p "$MC_CONFIG_DIR/certs/CAs"
if [ -n "${AWS_CA_BUNDLE:-}" ]; then cp "$AWS_CA_BUNDLE" "$MC_CONFIG_DIR/certs/CAs/"; fi
mc() { command mc --quiet --no-color "$@"; }
mc alias set wax "$S3" "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY" --api S3v4 >/dev/null
BUCKET=mc-$RANDOM-$$
small=$WORK/small large=$WORK/large back=$WORK/back
random_file "$small" 100000
random_file "$large" $((70 * 1024 * 1024))
mc mb "wax/$BUCKET"

for f in small large; do
	mc cp "$WORK/$f" "wax/$BUCKET/dir/$f"
	mc cp "wax/$BUCKET/dir/$f" "$back"
	same_file "$WORK/$f" "$back"
	same "$(mc cat "wax/$BUCKET/dir/$f" | sha256sum | cut -d ' ' -f 1)" "$(sha "$WORK/$f")" "cat"
	same "$(mc stat --json "wax/$BUCKET/dir/$f" | jq .size)" "$(wc -c <"$WORK/$f" | tr -d ' ')" "size of $f in stat"
	same "$(mc ls --json "wax/$BUCKET/dir/$f" | jq .size)" "$(wc -c <"$WORK/$f" | tr -d ' ')" "size of $f in ls"
done
same "$(mc stat --json "wax/$BUCKET/dir/small" | jq -r .etag)" "$(md5sum "$small" | cut -d ' ' -f 1)" ETag
mc pipe "wax/$BUCKET/piped" <"$large"
same "$(mc cat "wax/$BUCKET/piped" | sha256sum | cut -d ' ' -f 1)" "$(sha "$large")" pipe
mc cp --attr "colour=blue;Cache-Control=max-age=90" --tags "a=1&b=2" "$small" "wax/$BUCKET/meta"
same "$(mc stat --json "wax/$BUCKET/meta" | jq -r '.metadata["X-Amz-Meta-Colour"] + "," + .metadata["Cache-Control"]')" blue,max-age=90 metadata
same "$(mc tag list --json "wax/$BUCKET/meta" | jq -rc .tagset)" '{"a":"1","b":"2"}' tags
same "$(mc du --json "wax/$BUCKET/dir" | jq .size)" $((100000 + 70 * 1024 * 1024)) du

mkdir -p "$WORK/tree/deep/er"
for n in 1 2 3 4 5; do random_file "$WORK/tree/deep/er/$n" $((n * 20000)); done
printf '' >"$WORK/tree/empty"
find "$WORK/tree" -exec touch -d '1 minute ago' {} +
mc mirror "$WORK/tree" "wax/$BUCKET/tree"
same "$(mc diff "$WORK/tree" "wax/$BUCKET/tree")" "" "diff after mirror"
rm "$WORK/tree/deep/er/3"
random_file "$WORK/tree/deep/er/1" 12345
mc mirror --overwrite --remove "$WORK/tree" "wax/$BUCKET/tree"
mc mirror "wax/$BUCKET/tree" "$WORK/tree-back"
diff -r "$WORK/tree" "$WORK/tree-back"
mc mirror "wax/$BUCKET/tree" "wax/$BUCKET/tree2"
same "$(mc diff "wax/$BUCKET/tree" "wax/$BUCKET/tree2")" "" "diff of the copies"
same "$(mc find "wax/$BUCKET/tree2" --larger 50K | wc -l | tr -d ' ')" 2 "found by size"
mc mv "wax/$BUCKET/meta" "wax/$BUCKET/moved"
mc cp "wax/$BUCKET/dir/large" "wax/$BUCKET/large-copy"
same "$(mc cat "wax/$BUCKET/large-copy" | sha256sum | cut -d ' ' -f 1)" "$(sha "$large")" copy

ca=()
if [ -n "${AWS_CA_BUNDLE:-}" ]; then ca=(--cacert "$AWS_CA_BUNDLE"); fi
url=$(mc share download --json --expire 5m "wax/$BUCKET/dir/small" | jq -r .share)
curl -sSf ${ca[@]+"${ca[@]}"} "$url" -o "$back"
same_file "$small" "$back"
upload=$(mc share upload --json --expire 5m "wax/$BUCKET/shared" | jq -r .share)
upload=${upload//<FILE>/$small}
eval "${upload/curl/curl -sSf ${ca[*]-}}"
mc cp "wax/$BUCKET/shared" "$back"
same_file "$small" "$back"

mc version enable "wax/$BUCKET"
mc cp "$small" "wax/$BUCKET/versioned"
mc cp "$large" "wax/$BUCKET/versioned"
same "$(mc ls --versions --json "wax/$BUCKET/versioned" | jq -r .size | paste -sd ,)" "$((70 * 1024 * 1024)),100000" "versions' sizes"
oldest=$(mc ls --versions --json "wax/$BUCKET/versioned" | jq -r .versionId | tail -n 1)
mc cp --version-id "$oldest" "wax/$BUCKET/versioned" "$back"
same_file "$small" "$back"
mc rm "wax/$BUCKET/versioned"
refused "not exist" mc stat "wax/$BUCKET/versioned"
mc rm --recursive --force --versions "wax/$BUCKET/versioned"
same "$(mc ls --versions "wax/$BUCKET/versioned")" "" "versions after rm"
mc version suspend "wax/$BUCKET"

mc encrypt set sse-s3 "wax/$BUCKET"
mc encrypt info "wax/$BUCKET" | grep -i sse-s3 >/dev/null
mc encrypt clear "wax/$BUCKET"
mc cp --enc-s3 "wax/$BUCKET" "$large" "wax/$BUCKET/enc-s3"
same "$(mc cat "wax/$BUCKET/enc-s3" | sha256sum | cut -d ' ' -f 1)" "$(sha "$large")" SSE-S3
if [[ $S3 == https:* ]]; then
	key="wax/$BUCKET/=MzJieXRlc2xvbmdzZWNyZXRrZXltdXN0YmVnaXZlbjE"
	for f in small large; do
		mc cp --enc-c "$key" "$WORK/$f" "wax/$BUCKET/enc-c-$f"
		mc cp --enc-c "$key" "wax/$BUCKET/enc-c-$f" "$back"
		same_file "$WORK/$f" "$back"
		if mc cat "wax/$BUCKET/enc-c-$f" >"$back" 2>/dev/null; then fail "read without the key"; fi
	done
fi
mc rm --recursive --force "wax/$BUCKET/tree2"
same "$(mc ls --recursive "wax/$BUCKET/tree2")" "" "objects after rm"
finish mc
