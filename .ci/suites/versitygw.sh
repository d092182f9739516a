# versitygw's own tests (`versitygw test`, of the same release as the store): those of full-flow with versions, and of posix. Sourced
# by .ci/conformance. Arguments are names of tests instead of all.
#
# Each test has a process of its own, since a panic ends full-flow. Each counts its buckets from one, so after a test that failed and
# left them the store begins anew, with waxseal. Left out: the store's own IAM and admin services, its website endpoint, its modes
# without ACLs and with other ETags, and what it says of APIs that it lacks. MinIO has no such admin service.
#
# The suite makes users by running ./versitygw admin. admin.sh stands there instead, makes them at the store, and has waxseal know
# them with the same credentials.
SCHEME=http
SETTINGS="anonymous: true"
export STORE_ACCESS_KEY=conformance STORE_SECRET_KEY=conformance-secret
export WAXSEAL_ACCESS_KEY=$STORE_ACCESS_KEY WAXSEAL_SECRET_KEY=$STORE_SECRET_KEY
ADDRESS=127.0.0.1:$(free_port)
have versitygw || tool versitygw github.com/versity/versitygw/cmd/versitygw@latest

TESTS=("$@")
[ $# -gt 0 ] || mapfile -t TESTS < <(versitygw test --help | grep -oE '^   [A-Z][A-Za-z0-9]*_\w+' | tr -d ' ' | sort |
	grep -vE '^(IAM[A-Z]|IAM_|S3IAM|WebsiteHosting|NoAcl|CORSMiddleware|WORMProtection|ListObjectVersions_VD)|_iam_|data_integrity_etag|not_implemented')

# again writes a script that ends waxseal and starts it anew at the same addresses, with its configuration as it is then.
again() {
	echo "$WAXSEAL_PID" >"$WORK/pid"
	cat >"$WORK/again" <<AGAIN
#!/usr/bin/env bash
kill -KILL \$(cat "$WORK/pid") 2>/dev/null && while kill -0 \$(cat "$WORK/pid") 2>/dev/null; do sleep 0.02; done
timeout 3600 "$WAXSEAL" serve --data-dir "$DATA" --listen "$ADDRESS" --kms-listen "${KMS#http://}" --admin-listen "${ADMIN#http://}" \\
	--config "$WORK/waxseal.yaml" --upstream-endpoint "$STORE" --allow-insecure-ssec >>"$DATA.out" 2>>"$DATA.log" &
for ((i = 0; i < 600; i++)); do
	(exec 3<>"/dev/tcp/${ADDRESS%:*}/${ADDRESS#*:}") 2>/dev/null && pgrep -P \$! >"$WORK/pid" && exit 0 || sleep 0.05
done
exit 1
AGAIN
	chmod +x "$WORK/again"
}

anew() { # anew WHERE: the same store and waxseal, with nothing in them
	local port=${STORE##*:}
	if [ "$1" = waxseal ]; then kill -KILL "$(cat "$WORK/pid")" || true; fi
	end_store && rm -rf "$STORE_DIR" && begin_store "$port"
	if [ "$1" = waxseal ]; then rm -rf "${DATA:?}"/* && "$WORK/again"; fi
}

try() { # try NAME: runs a test in $FLOW
	(cd "$FLOW" && unset AWS_CA_BUNDLE && timeout 120 versitygw test --access "$WAXSEAL_ACCESS_KEY" --secret "$WAXSEAL_SECRET_KEY" \
		--endpoint "$ENDPOINT" "$1" --versioning-enabled) >"$WORK/test.log" 2>&1
}

run_suite() { # run_suite WHERE URL
	local where=$1 name outcome
	FLOW=$WORK/flow ENDPOINT=$2
	mkdir -p "$FLOW"
	cp "$ROOT/.ci/suites/admin.sh" "$FLOW/versitygw"
	if [ "$where" = waxseal ]; then again; fi
	export STORE WHERE=$where
	for name in "${TESTS[@]}"; do
		outcome=pass
		try "$name" || outcome=fail
		if grep -q 'failed to create a bucket' "$WORK/test.log"; then
			anew "$where"
			outcome=pass
			try "$name" || outcome=fail
		fi
		cat "$WORK/test.log"
		echo "=== $outcome $name"
		[ $outcome = pass ] || anew "$where"
	done >"$WORK/$where.log" 2>"$WORK/$where.err"
	if [ "$where" = waxseal ]; then kill "$(cat "$WORK/pid")" || true; fi
	outcomes versitygw "$WORK/$where.log" "$where"
}
