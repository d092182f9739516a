# The functional tests of minio-go (with TLS, without which they leave SSE-C out). MINIO_GO is a checkout of
# https://github.com/minio/minio-go. Sourced by .ci/conformance.
: "${MINIO_GO:?names no checkout of minio/minio-go}"
SCHEME=https
SETTINGS="sigv2: true
anonymous: true"
(cd "$MINIO_GO" && go build -trimpath -o "$WORK/functional" functional_tests.go)

run_suite() { # run_suite WHERE URL ACCESS_KEY SECRET_KEY
	local where=$1
	mkdir -p "$WORK/minio-go" # it writes files where it runs
	env -C "$WORK/minio-go" SERVER_ENDPOINT="${2#*://}" ACCESS_KEY="$3" SECRET_KEY="$4" ENABLE_HTTPS=1 SKIP_CERT_VALIDATION=1 MINT_MODE=full \
		RUN_ON_FAIL=1 timeout 3600 "$WORK/functional" >"$WORK/$where.log" 2>"$WORK/$where.err" ||
		tail -n 5 "$WORK/$where.err" >&2
	outcomes mint "$WORK/$where.log" "$where"
}
