# The conformance tests of gocloud.dev's s3blob. GOCLOUD is a checkout of https://github.com/google/go-cloud. Sourced by
# .ci/conformance.
: "${GOCLOUD:?names no checkout of google/go-cloud}"
SCHEME=http
SETTINGS=
printf '{"Replace": {"%s": "%s"}}\n' "$GOCLOUD/blob/s3blob/endpoint_test.go" "$ROOT/.ci/suites/gocloud_test.go" >"$WORK/overlay.json"
(cd "$GOCLOUD" && go test -trimpath -overlay "$WORK/overlay.json" -c -o "$WORK/s3blob.test" ./blob/s3blob)

run_suite() { # run_suite WHERE URL ACCESS_KEY SECRET_KEY
	local where=$1
	export AWS_ACCESS_KEY_ID=$3 AWS_SECRET_ACCESS_KEY=$4 AWS_REGION=us-east-1 S3_ENDPOINT=$2
	aws s3api create-bucket --endpoint-url "$2" --bucket go-cloud-testing-2 >/dev/null
	{
		echo "=== package s3blob"
		env -C "$GOCLOUD/blob/s3blob" timeout 900 "$WORK/s3blob.test" -test.v -test.run '^TestEndpoint' || true
	} >"$WORK/$where.log" 2>&1
	outcomes go "$WORK/$where.log" "$where"
}
