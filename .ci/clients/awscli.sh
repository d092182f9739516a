#!/usr/bin/env bash
# The aws CLI against a waxseal: every flow a person has on an ordinary day. Started by .ci/run with S3, KMS and DATA
# set, or by hand: WAXSEAL=./waxseal .ci/clients/awscli.sh
# needs: aws
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
begin
export AWS_PAGER=""
aws() { command aws --endpoint-url "$S3" "$@"; }
BUCKET=awscli-$RANDOM-$$
cd "$WORK"

small=$WORK/small large=$WORK/large back=$WORK/back
random_file "$small" 100000
random_file "$large" $((100 * 1024 * 1024))

aws s3 mb "s3://$BUCKET"

echo "# cp up and down, ETag and size"
aws s3 cp "$small" "s3://$BUCKET/dir/small" --no-progress
aws s3 cp "s3://$BUCKET/dir/small" "$back" --no-progress
same_file "$small" "$back"
same "$(aws s3api head-object --bucket "$BUCKET" --key dir/small --query ETag --output text)" \
	"\"$(md5sum "$small" | cut -d ' ' -f 1)\"" ETag
same "$(aws s3api head-object --bucket "$BUCKET" --key dir/small --query ServerSideEncryption --output text)" AES256
same "$(aws s3api list-objects-v2 --bucket "$BUCKET" --query 'Contents[0].Size' --output text)" 100000 "listed size"
printf '' >"$WORK/empty"
aws s3 cp "$WORK/empty" "s3://$BUCKET/empty" --no-progress
aws s3 cp "s3://$BUCKET/empty" "$back" --no-progress
same_file "$WORK/empty" "$back"
aws s3 cp "$small" "s3://$BUCKET/a b+c/ü%20&=.txt" --no-progress
aws s3 cp "s3://$BUCKET/a b+c/ü%20&=.txt" "$back" --no-progress
same_file "$small" "$back"

echo "# 100 MB: multipart up, parallel ranges down"
aws s3 cp "$large" "s3://$BUCKET/large" --no-progress
aws s3 cp "s3://$BUCKET/large" "$back" --no-progress
same_file "$large" "$back"
same "$(aws s3api head-object --bucket "$BUCKET" --key large --query ContentLength --output text)" $((100 * 1024 * 1024))
aws s3 cp - "s3://$BUCKET/streamed" <"$small"
aws s3 cp "s3://$BUCKET/streamed" - >"$back"
same_file "$small" "$back"

if [ -n "${LARGE:-}" ]; then
	echo "# 5 GB"
	head -c 5000000000 /dev/zero | openssl enc -aes-128-ctr -nosalt -pass pass:ci -pbkdf2 >"$WORK/5gb"
	aws s3 cp "$WORK/5gb" "s3://$BUCKET/5gb" --no-progress
	same "$(aws s3 cp "s3://$BUCKET/5gb" - | sha256sum | cut -d ' ' -f 1)" "$(sha "$WORK/5gb")" "5 GB"
	aws s3 rm "s3://$BUCKET/5gb"
	rm "$WORK/5gb"
fi

echo "# ranges and parts"
for range in 0-0 0-99 65000-66000 99990-99999 99999-; do
	aws s3api get-object --bucket "$BUCKET" --key dir/small --range "bytes=$range" "$back" >/dev/null
	from=${range%-*} to=${range#*-}
	slice "$small" "$from" $((${to:-99999} - from + 1)) >"$WORK/slice"
	same_file "$WORK/slice" "$back"
done
aws s3api get-object --bucket "$BUCKET" --key dir/small --range bytes=-77 "$back" >/dev/null
slice "$small" 99923 77 >"$WORK/slice"
same_file "$WORK/slice" "$back"
refused InvalidRange aws s3api get-object --bucket "$BUCKET" --key dir/small --range bytes=100000- "$back"
aws s3api get-object --bucket "$BUCKET" --key large --part-number 2 "$back" >/dev/null
slice "$large" $((8 * 1024 * 1024)) $((8 * 1024 * 1024)) >"$WORK/slice"
same_file "$WORK/slice" "$back"

echo "# copy, move, sync, list, remove"
aws s3 cp "s3://$BUCKET/dir/small" "s3://$BUCKET/copy" --no-progress
aws s3 cp "s3://$BUCKET/copy" "$back" --no-progress
same_file "$small" "$back"
aws s3 cp "s3://$BUCKET/large" "s3://$BUCKET/large-copy" --no-progress
aws s3 cp "s3://$BUCKET/large-copy" "$back" --no-progress
same_file "$large" "$back"
aws s3 mv "s3://$BUCKET/copy" "s3://$BUCKET/moved" --no-progress
refused 404 aws s3api head-object --bucket "$BUCKET" --key copy
mkdir -p "$WORK/tree/deep/er"
for n in 1 2 3 4 5; do random_file "$WORK/tree/deep/er/$n" $((n * 20000)); done
random_file "$WORK/tree/top" 10
# Listed times are whole seconds: a file written in the same one would look newer than its copy.
find "$WORK/tree" -exec touch -d '1 minute ago' {} +
aws s3 sync "$WORK/tree" "s3://$BUCKET/tree" --no-progress
same "$(aws s3 sync "$WORK/tree" "s3://$BUCKET/tree" --no-progress)" "" "a second sync sends nothing"
aws s3 sync "s3://$BUCKET/tree" "$WORK/tree-back" --no-progress
diff -r "$WORK/tree" "$WORK/tree-back"
rm "$WORK/tree/deep/er/3"
aws s3 sync "$WORK/tree" "s3://$BUCKET/tree" --delete --no-progress
same "$(aws s3 ls --recursive "s3://$BUCKET/tree" | wc -l | tr -d ' ')" 5 "objects after sync --delete"
aws s3 ls "s3://$BUCKET/" | grep 'PRE tree/' >/dev/null
aws s3 rm --recursive "s3://$BUCKET/tree"
same "$(aws s3api list-objects-v2 --bucket "$BUCKET" --prefix tree/ --no-paginate --query KeyCount --output text)" 0 "objects after rm"

echo "# presigned URLs"
fetch() { # fetch URL FILE
	python3 - "$@" <<'PY'
import os, ssl, sys, urllib.error, urllib.request
context = ssl.create_default_context(cafile=os.environ.get("AWS_CA_BUNDLE"))
try:
    answer = urllib.request.urlopen(sys.argv[1], context=context)
except urllib.error.HTTPError as e:
    sys.exit(e.read().decode())
open(sys.argv[2], "wb").write(answer.read())
PY
}
url=$(aws s3 presign "s3://$BUCKET/dir/small" --expires-in 300)
case $url in
*X-Amz-Signature=*) fetch "$url" "$back" && same_file "$small" "$back" ;;
*) refused "Please use AWS4-HMAC-SHA256" fetch "$url" "$back" ;; # version 1 of the CLI signs URLs with SigV2 by default
esac
aws configure set default.s3.signature_version s3v4
url=$(aws s3 presign "s3://$BUCKET/dir/small" --expires-in 300)
fetch "$url" "$back"
same_file "$small" "$back"
url=$(aws s3 presign "s3://$BUCKET/a b+c/ü%20&=.txt" --expires-in 300)
fetch "$url" "$back"
same_file "$small" "$back"
refused SignatureDoesNotMatch fetch "${url%?}x" "$back"
url=$(aws s3 presign "s3://$BUCKET/dir/small" --expires-in 1)
sleep 2
refused "expired" fetch "$url" "$back"

echo "# metadata, tags, conditions, checksums"
aws s3api put-object --bucket "$BUCKET" --key meta --body "$small" --metadata colour=blue,shape=round \
	--content-type text/x-test --tagging 'a=1&b=2' >/dev/null
same "$(aws s3api head-object --bucket "$BUCKET" --key meta --query 'Metadata.[colour,shape]' --output text)" "blue	round" metadata
same "$(aws s3api head-object --bucket "$BUCKET" --key meta --query ContentType --output text)" text/x-test
same "$(aws s3api get-object-tagging --bucket "$BUCKET" --key meta --query 'length(TagSet)' --output text)" 2 tags
refused PreconditionFailed aws s3api put-object --bucket "$BUCKET" --key meta --body "$small" --if-none-match '*'
aws s3api put-object --bucket "$BUCKET" --key sum --body "$small" --checksum-algorithm SHA256 >/dev/null
same "$(aws s3api head-object --bucket "$BUCKET" --key sum --checksum-mode ENABLED --query ChecksumSHA256 --output text)" \
	"$(openssl dgst -sha256 -binary "$small" | base64)" SHA256
refused BadDigest aws s3api put-object --bucket "$BUCKET" --key bad --body "$small" --content-md5 "$(openssl dgst -md5 -binary "$large" | base64)"
refused 404 aws s3api head-object --bucket "$BUCKET" --key bad

echo "# encryption modes"
kms() { command aws kms --endpoint-url "$KMS" "$@"; }
key=$(kms create-key --description "of the aws CLI's flows" --query KeyMetadata.Arn --output text)
for n in small large; do
	for mode in "aws:kms --sse-kms-key-id $key" aws:kms AES256; do
		# shellcheck disable=SC2086 # several arguments
		aws s3 cp "$WORK/$n" "s3://$BUCKET/sse/$n" --sse $mode --no-progress
		same "$(aws s3api head-object --bucket "$BUCKET" --key "sse/$n" --query ServerSideEncryption --output text)" "${mode%% *}" mode
		aws s3 cp "s3://$BUCKET/sse/$n" "$back" --no-progress
		same_file "$WORK/$n" "$back"
	done
done
aws s3api put-bucket-encryption --bucket "$BUCKET" --server-side-encryption-configuration \
	'{"Rules":[{"ApplyServerSideEncryptionByDefault":{"SSEAlgorithm":"aws:kms","KMSMasterKeyID":"'"$key"'"},"BucketKeyEnabled":true}]}'
aws s3 cp "$small" "s3://$BUCKET/sse/default" --no-progress
same "$(aws s3api head-object --bucket "$BUCKET" --key sse/default --query '[SSEKMSKeyId,BucketKeyEnabled]' --output text)" "$key	True" "bucket default"
aws s3api delete-bucket-encryption --bucket "$BUCKET"
if [[ $S3 == https:* ]]; then
	head -c 32 /dev/urandom >"$WORK/key"
	for n in small large; do
		aws s3 cp "$WORK/$n" "s3://$BUCKET/ssec/$n" --sse-c AES256 --sse-c-key "fileb://$WORK/key" --no-progress
		refused "400" aws s3 cp "s3://$BUCKET/ssec/$n" "$back" --no-progress
		aws s3 cp "s3://$BUCKET/ssec/$n" "$back" --sse-c AES256 --sse-c-key "fileb://$WORK/key" --no-progress
		same_file "$WORK/$n" "$back"
		aws s3 cp "s3://$BUCKET/ssec/$n" "s3://$BUCKET/ssec/$n-open" --sse-c-copy-source AES256 \
			--sse-c-copy-source-key "fileb://$WORK/key" --no-progress
		aws s3 cp "s3://$BUCKET/ssec/$n-open" "$back" --no-progress
		same_file "$WORK/$n" "$back"
	done
else
	refused "secure connection" aws s3 cp "$small" "s3://$BUCKET/ssec" --sse-c AES256 --sse-c-key 01234567890123456789012345678901
fi

echo "# versions"
aws s3api put-bucket-versioning --bucket "$BUCKET" --versioning-configuration Status=Enabled
first=$(aws s3api put-object --bucket "$BUCKET" --key versioned --body "$small" --query VersionId --output text)
aws s3api put-object --bucket "$BUCKET" --key versioned --body "$WORK/empty" >/dev/null
aws s3api get-object --bucket "$BUCKET" --key versioned --version-id "$first" "$back" >/dev/null
same_file "$small" "$back"
same "$(aws s3api list-object-versions --bucket "$BUCKET" --prefix versioned --query 'Versions[].Size' --output text | tr '\t' ,)" 0,100000 "versions' sizes"
aws s3api delete-object --bucket "$BUCKET" --key versioned >/dev/null
refused 404 aws s3api head-object --bucket "$BUCKET" --key versioned
finish awscli
