# ceph/s3-tests. S3TESTS is a checkout of https://github.com/ceph/s3-tests; PYTHON (python3) needs boto3, pytest,
# pytest-xdist, pytest-timeout, munch, isodate, httplib2, pytz and lxml. Sourced by .ci/conformance.
#
# COMPAT=aws asks for what S3 answers where the suite wants what Ceph does; its lists are STORE-aws.
: "${S3TESTS:?names no checkout of ceph/s3-tests}"
COMPAT=${COMPAT:-ceph}
[ "$COMPAT" = ceph ] || LIST+=-$COMPAT
[ "$STORE_NAME" = minio ] && SCHEME=https || SCHEME=http
[ $# -gt 0 ] || set -- s3tests/functional/test_s3.py s3tests/functional/test_headers.py
ARGUMENTS=("$@")
# Not what neither store has, or what needs minutes of waiting for each test.
SELECTION=${SELECTION-"not cloud_transition and not cloud_restore and not lifecycle_expiration and not lifecycle_transition and \
not s3website and not s3website_routing_rules and not s3website_redirect_location and not bucket_logging and not appendobject and \
not test_of_sts and not webidentity_test and not iam_account and not iam_user and not sns"}

USERS=(alt tenant iamu)
SETTINGS="compat: $COMPAT
sigv2: true
anonymous: true"

# conf URL ACCESS_KEY SECRET_KEY OWNER_ID OWNER_NAME KMS_KEY KMS_KEY2
conf() {
	local address=${1#*://}
	cat <<CONF
[DEFAULT]
host = ${address%:*}
port = ${address##*:}
is_secure = $([[ $1 == https:* ]] && echo True || echo False)
ssl_verify = False
[fixtures]
bucket prefix = s3t-{random}-
iam name prefix = s3-tests-
iam path prefix = /s3-tests/
[s3 main]
display_name = $5
user_id = $4
email = tester@example.com
api_name =
access_key = $2
secret_key = $3
kms_keyid = $6
kms_keyid2 = $7
lc_debug_interval = 1
CONF
	local user
	for user in alt tenant; do
		printf '[s3 %s]\ndisplay_name = %s\nuser_id = %s\nemail = %s@example.com\naccess_key = %s\nsecret_key = %ssecret12\n' \
			$user $user $user $user $user $user
	done
	echo "tenant = testx"
	printf '[iam]\nemail = iam@example.com\nuser_id = iamu\naccess_key = iamu\nsecret_key = iamusecret12\ndisplay_name = iamu\n'
	printf '[iam root]\naccess_key = %s\nsecret_key = %s\nuser_id = %s\nemail = root@example.com\n' "$2" "$3" "$4"
	printf '[iam alt root]\naccess_key = alt\nsecret_key = altsecret12\nuser_id = alt\nemail = alt@example.com\n'
}

run_suite() { # run_suite WHERE URL ACCESS_KEY SECRET_KEY
	local where=$1 status=0 owner=user shown=user keys i
	case $STORE_NAME in
	minio) owner=02d6176db174dc93cb1b899f7c6078f08654445fe8cf1b6ce98d8855f66bdbf4 shown=minio keys=(arn:aws:kms:ci-key{,}) ;;
	embedded) owner=77617873656163c0ffee0000000000000000000000000000000000000000acc0 shown= keys=() ;; # S3 shows no names
	*) keys=(arn:aws:kms:us-east-1:000000000000:key/none{,}) ;;
	esac
	if [ "$where" = waxseal ]; then
		keys=()
		for i in 1 2; do keys+=("$(aws kms --endpoint-url "$KMS" create-key --query KeyMetadata.Arn --output text)"); done
	fi
	conf "$2" "$3" "$4" $owner "$shown" "${keys[@]}" >"$WORK/$where.conf"
	(
		cd "$S3TESTS"
		unset AWS_CA_BUNDLE AWS_CONFIG_FILE AWS_SHARED_CREDENTIALS_FILE AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
		S3TEST_CONF=$WORK/$where.conf PYTHONPATH=$ROOT/.ci/suites:${PYTHONPATH:-} AWS_EC2_METADATA_DISABLED=true \
			"$PYTHON" -m pytest -p tolerant -p no:cacheprovider -n 2 --timeout 300 --tb=line -q -rA \
			--junitxml="$WORK/$where.xml" -m "$SELECTION" "${ARGUMENTS[@]}"
	) >"$WORK/$where.log" 2>&1 || status=$?
	[ -s "$WORK/$where.xml" ] || { tail -n 20 "$WORK/$where.log" >&2 && fail "the suite did not run ($status)"; }
	outcomes junit "$WORK/$where.xml" "$where"
}
