#!/usr/bin/env bash
# s3cmd against a waxseal. It checks the MD5 of every file and part that it sends and receives.
# needs: s3cmd
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
begin
host=${S3#*://}
cat >"$WORK/s3cfg" <<CFG
[default]
access_key = $AWS_ACCESS_KEY_ID
secret_key = $AWS_SECRET_ACCESS_KEY
host_base = $host
host_bucket = $host
bucket_location = us-east-1
use_https = $([[ $S3 == https:* ]] && echo True || echo False)
ca_certs_file = ${AWS_CA_BUNDLE:-}
CFG
s3cmd() { command s3cmd -c "$WORK/s3cfg" --no-progress "$@"; }
BUCKET=s3cmd-$RANDOM-$$
random_file "$WORK/small" 100000
random_file "$WORK/large" $((40 * 1024 * 1024))
s3cmd mb "s3://$BUCKET"
for f in small large; do
	s3cmd put "$WORK/$f" "s3://$BUCKET/dir/$f"
	s3cmd get --force "s3://$BUCKET/dir/$f" "$WORK/back"
	same_file "$WORK/$f" "$WORK/back"
done
s3cmd put --multipart-chunk-size-mb 5 "$WORK/large" "s3://$BUCKET/dir/parts"
s3cmd get --force "s3://$BUCKET/dir/parts" "$WORK/back"
same_file "$WORK/large" "$WORK/back"
s3cmd get --continue "s3://$BUCKET/dir/parts" "$WORK/back"
head -c 30000001 "$WORK/large" >"$WORK/back"
s3cmd get --continue "s3://$BUCKET/dir/parts" "$WORK/back"
same_file "$WORK/large" "$WORK/back"
s3cmd ls "s3://$BUCKET/dir/" | grep 100000 >/dev/null
same "$(s3cmd ls -l "s3://$BUCKET/dir/small" | grep -c "$(md5sum "$WORK/small" | cut -d ' ' -f 1)")" 1 "MD5 listed"
same "$(s3cmd du "s3://$BUCKET/dir/" | awk '{print $1}')" $((100000 + 2 * 40 * 1024 * 1024)) du
s3cmd info "s3://$BUCKET/dir/small" | grep "$(md5sum "$WORK/small" | cut -d ' ' -f 1)" >/dev/null
mkdir -p "$WORK/tree/sub"
random_file "$WORK/tree/one" 1000
random_file "$WORK/tree/sub/two" 70000
s3cmd sync "$WORK/tree/" "s3://$BUCKET/tree/"
same "$(s3cmd sync "$WORK/tree/" "s3://$BUCKET/tree/" | grep -c upload: || true)" 0 "files sent again"
mkdir "$WORK/tree-back"
s3cmd sync "s3://$BUCKET/tree/" "$WORK/tree-back/"
diff -r "$WORK/tree" "$WORK/tree-back"
s3cmd cp "s3://$BUCKET/dir/small" "s3://$BUCKET/copy"
s3cmd mv "s3://$BUCKET/copy" "s3://$BUCKET/moved"
s3cmd get --force "s3://$BUCKET/moved" "$WORK/back"
same_file "$WORK/small" "$WORK/back"
s3cmd modify --add-header=x-amz-meta-colour:blue "s3://$BUCKET/moved"
s3cmd info "s3://$BUCKET/moved" | grep 'x-amz-meta-colour: blue' >/dev/null
s3cmd get --force "s3://$BUCKET/moved" "$WORK/back"
same_file "$WORK/small" "$WORK/back"
s3cmd signurl "s3://$BUCKET/moved" +60 >/dev/null
s3cmd multipart "s3://$BUCKET" >/dev/null
rm -r "$WORK/tree/sub"
s3cmd sync --delete-removed "$WORK/tree/" "s3://$BUCKET/tree/"
same "$(s3cmd ls --recursive "s3://$BUCKET/tree/" | wc -l | tr -d ' ')" 1 "objects after sync --delete-removed"
s3cmd rb --recursive --force "s3://$BUCKET"
s3cmd mb "s3://$BUCKET-kept"
s3cmd put "$WORK/large" "s3://$BUCKET-kept/large"
finish s3cmd
