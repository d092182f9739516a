#!/usr/bin/env bash
# s5cmd against a waxseal: parallel copies, synchronisation, listings, sizes.
# needs: s5cmd
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
begin
s5cmd() { command s5cmd --endpoint-url "$S3" "$@"; }
BUCKET=s5cmd-$RANDOM-$$
small=$WORK/small large=$WORK/large back=$WORK/back
random_file "$small" 100000
random_file "$large" $((120 * 1024 * 1024 + 17))
s5cmd mb "s3://$BUCKET"
for f in small large; do
	s5cmd cp --part-size 7 "$WORK/$f" "s3://$BUCKET/dir/$f"
	s5cmd cp --part-size 5 --concurrency 8 "s3://$BUCKET/dir/$f" "$back"
	same_file "$WORK/$f" "$back"
	same "$(s5cmd cat "s3://$BUCKET/dir/$f" | sha256sum | cut -d ' ' -f 1)" "$(sha "$WORK/$f")" cat
done
same "$(s5cmd --json ls "s3://$BUCKET/dir/small" | jq -r '"\(.size) \(.etag)"')" "100000 $(md5sum "$small" | cut -d ' ' -f 1)" ls
same "$(s5cmd --json head "s3://$BUCKET/dir/large" | jq .size)" $((120 * 1024 * 1024 + 17)) head
same "$(s5cmd --json du "s3://$BUCKET/dir/*" | jq .size)" $((100000 + 120 * 1024 * 1024 + 17)) du
s5cmd pipe "s3://$BUCKET/piped" <"$large"
same "$(s5cmd cat "s3://$BUCKET/piped" | sha256sum | cut -d ' ' -f 1)" "$(sha "$large")" pipe

mkdir -p "$WORK/tree/deep/er"
for n in $(seq 40); do random_file "$WORK/tree/deep/er/$n" $((n * 5000)); done
random_file "$WORK/tree/top ü+%20" 10
find "$WORK/tree" -exec touch -d '1 minute ago' {} +
s5cmd sync "$WORK/tree/" "s3://$BUCKET/tree/"
same "$(s5cmd sync "$WORK/tree/" "s3://$BUCKET/tree/")" "" "a second sync sends nothing"
same "$(s5cmd sync --size-only "$WORK/tree/" "s3://$BUCKET/tree/")" "" "nor by size"
s5cmd sync "s3://$BUCKET/tree/*" "$WORK/tree-back/"
diff -r "$WORK/tree" "$WORK/tree-back"
rm "$WORK/tree/deep/er/3"
s5cmd sync --delete "$WORK/tree/" "s3://$BUCKET/tree/"
same "$(s5cmd ls "s3://$BUCKET/tree/*" | wc -l | tr -d ' ')" 40 "objects after sync --delete"
s5cmd cp "s3://$BUCKET/tree/*" "s3://$BUCKET/copy/"
s5cmd mv "s3://$BUCKET/dir/small" "s3://$BUCKET/moved"
s5cmd cp "s3://$BUCKET/moved" "$back"
same_file "$small" "$back"
s5cmd cp --sse AES256 "$small" "s3://$BUCKET/sse"
s5cmd cp --sse aws:kms "$large" "s3://$BUCKET/kms"
s5cmd cp "s3://$BUCKET/kms" "$back"
same_file "$large" "$back"
s5cmd rm "s3://$BUCKET/copy/*" >/dev/null
refused "no object found" s5cmd ls "s3://$BUCKET/copy/*"
finish s5cmd
