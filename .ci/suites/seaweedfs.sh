# The S3 tests of SeaweedFS that speak to a server: not those that start SeaweedFS themselves or administer it.
# SEAWEEDFS is a checkout of https://github.com/seaweedfs/seaweedfs. Sourced by .ci/conformance.
#
# They know the address 127.0.0.1:8333 and two credentials. Each test has a process and two minutes of its own, since a
# panic would take the rest of its package with it. Arguments are packages instead of all.
: "${SEAWEEDFS:?names no checkout of seaweedfs/seaweedfs}"
SCHEME=http
SETTINGS="anonymous: true"
ADDRESS=127.0.0.1:8333
export STORE_ACCESS_KEY=some_access_key1 STORE_SECRET_KEY=some_secret_key1
export WAXSEAL_ACCESS_KEY=$STORE_ACCESS_KEY WAXSEAL_SECRET_KEY=$STORE_SECRET_KEY
PACKAGES=(acl basic checksum copying cors delete etag retention sdk_v2_routing sse tagging versioning)
[ $# -eq 0 ] || PACKAGES=("$@")
for package in "${PACKAGES[@]}"; do
	(cd "$SEAWEEDFS" && go test -trimpath -c -o "$WORK/$package.test" "./test/s3/$package")
done

run_suite() { # run_suite WHERE URL ACCESS_KEY SECRET_KEY
	local where=$1 package name
	unset AWS_CA_BUNDLE
	export S3_ENDPOINT=http://$ADDRESS S3_ACCESS_KEY=$3 S3_SECRET_KEY=$4 AWS_ACCESS_KEY_ID=$3 AWS_SECRET_ACCESS_KEY=$4 AWS_REGION=us-east-1
	for package in "${PACKAGES[@]}"; do
		for name in $(cd "$SEAWEEDFS/test/s3/$package" && "$WORK/$package.test" -test.list .); do
			echo "=== package $package"
			(cd "$SEAWEEDFS/test/s3/$package" && timeout 130 "$WORK/$package.test" -test.v -test.timeout 120s -test.run "^$name\$") || true
		done
	done >"$WORK/$where.log" 2>&1
	outcomes go "$WORK/$where.log" "$where"
}
