# The tests of distribution's S3 storage driver. DISTRIBUTION is a checkout of https://github.com/distribution/distribution. Sourced by
# .ci/conformance.
: "${DISTRIBUTION:?names no checkout of distribution/distribution}"
SCHEME=http
SETTINGS=
(cd "$DISTRIBUTION" && go test -trimpath -mod=vendor -c -o "$WORK/s3-aws.test" ./registry/storage/driver/s3-aws)

run_suite() { # run_suite WHERE URL ACCESS_KEY SECRET_KEY
	local where=$1
	export AWS_ACCESS_KEY_ID=$3 AWS_SECRET_ACCESS_KEY=$4 AWS_ACCESS_KEY=$3 AWS_SECRET_KEY=$4 AWS_REGION=us-east-1
	aws s3api create-bucket --endpoint-url "$2" --bucket distribution >/dev/null
	{
		echo "=== package s3-aws"
		env -C "$DISTRIBUTION/registry/storage/driver/s3-aws" -u AWS_CA_BUNDLE S3_BUCKET=distribution S3_ENCRYPT=false S3_SECURE=false REGION_ENDPOINT="$2" \
			AWS_S3_FORCE_PATH_STYLE=true S3_ACCELERATE=false timeout 1500 "$WORK/s3-aws.test" -test.v || true
	} >"$WORK/$where.log" 2>&1
	outcomes go "$WORK/$where.log" "$where"
}
