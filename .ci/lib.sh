# Helpers of .ci/run, .ci/long and .ci/clients/*. To be sourced.
#
#   step NAME COMMAND...   runs a step, counts it as passed or failed, goes on
#   skip NAME REASON       names a step that cannot run here
#   client NAME [LABEL]    runs .ci/clients/NAME.sh as a step
#   summary                prints 'N passed, N failed'; its status is that of the whole
#   start_waxseal ARGS...  a waxseal on free loopback ports with a data directory of its own; sets S3 KMS ADMIN DATA
#   stop_waxseal           ends it, and fails if it did not end well
#   begin, finish NAME     what a client's script has around its flows: a waxseal of its own unless $S3 names one
#
# WAXSEAL is the program, CI_SERVE_ARGS more arguments for it, STORE_DIR where the store behind it keeps its files.

set -euo pipefail
export CI=true
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
WORK=$(mktemp -d "${TMPDIR:-/tmp}/waxseal-ci.XXXXXX")
WAXSEAL=${WAXSEAL:-$WORK/waxseal}
PASSED=0 FAILED=0 SKIPPED=() PIDS=()

cleanup() {
	local pid
	for pid in ${PIDS[@]+"${PIDS[@]}"}; do kill "$pid" 2>/dev/null || true; done
	wait || true
	if [ -n "${KEEP:-}" ]; then echo "kept: $WORK"; else rm -rf "$WORK"; fi
}
trap cleanup EXIT

fail() { echo "FAIL: $*" >&2; return 1; }

# A step runs in a subshell of its own with -e, which a plain "if" would switch off.
step() {
	local name=$1 began=$SECONDS log status=0
	shift
	log=$WORK/step-$((PASSED + FAILED)).log
	(set -euo pipefail; trap - EXIT; "$@") >"$log" 2>&1 &
	wait $! || status=$?
	if [ $status -eq 0 ]; then
		PASSED=$((PASSED + 1))
		echo "ok    $name ($((SECONDS - began)) s)"
	else
		FAILED=$((FAILED + 1))
		echo "FAIL  $name ($((SECONDS - began)) s), the end of its output:"
		tail -n 60 "$log" | sed 's/^/      | /'
	fi
}

skip() {
	SKIPPED+=("$1")
	echo "skip  $1: $2"
}

summary() {
	[ ${#SKIPPED[@]} -eq 0 ] || echo "${#SKIPPED[@]} skipped: ${SKIPPED[*]}"
	echo "$PASSED passed, $FAILED failed"
	[ "$FAILED" -eq 0 ]
}

have() { command -v "$1" >/dev/null 2>&1; }

# client NAME [LABEL] runs .ci/clients/NAME.sh as a step, or skips it when a program that it needs is not there.
client() {
	local script=$ROOT/.ci/clients/$1.sh name="$1${2:+ ($2)}" program missing=
	for program in $(sed -n 's/^# needs: //p' "$script"); do have "$program" || missing+=" $program"; done
	if [ -n "$missing" ]; then
		skip "$name" "there is no$missing"
	elif [[ $1 = *boto3 || $1 = replicas ]] && ! python3 -c 'import boto3' 2>/dev/null; then
		skip "$name" "python3 has no boto3"
	else
		step "$name" "$script"
	fi
}

# principals are the users and roles that key policies and grants in the scripts name: nobody else can be named there.
principals() {
	local name
	echo "users:"
	for name in alice KMSAdminUser ExampleUser; do
		echo "  - {name: $name, access_key: AKIACI$name, secret_key: ci-secret-of-$name}"
	done
	for name in KMSAdminRole ExampleRole; do
		echo "  - {name: $name, arn: \"arn:aws:iam::000000000000:role/$name\", access_key: AKIACI$name, secret_key: ci-secret-of-$name}"
	done
}

start_waxseal() {
	[ -x "$WAXSEAL" ] || (cd "$ROOT" && CGO_ENABLED=0 go build -trimpath -o "$WAXSEAL" ./cmd/waxseal)
	DATA=$(mktemp -d "$WORK/data.XXXXXX")
	local out=$DATA.out log=$DATA.log i
	export WAXSEAL_ACCESS_KEY=${WAXSEAL_ACCESS_KEY:-AKIACITESTROOTUSER00}
	export WAXSEAL_SECRET_KEY=${WAXSEAL_SECRET_KEY:-ci-secret-of-the-root-user-0123456789}
	(umask 077 && principals >"$DATA.yaml")
	# shellcheck disable=SC2086 # several arguments
	"$WAXSEAL" serve --config "$DATA.yaml" --data-dir "$DATA" --listen 127.0.0.1:0 --kms-listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 ${DRAIN---drain-delay 0} \
		${CI_SERVE_ARGS:-} "$@" \
		>"$out" 2>"$log" &
	WAXSEAL_PID=$!
	PIDS+=("$WAXSEAL_PID")
	for ((i = 0; i < 300; i++)); do
		if grep -q '^waxseal is ready' "$out"; then break; fi
		if ! kill -0 "$WAXSEAL_PID" 2>/dev/null; then
			cat "$log" >&2
			fail "waxseal did not start" || return 1
		fi
		sleep 0.1
	done
	S3=$(sed -n 's/^waxseal is ready: S3 \([^,]*\), KMS .*/\1/p' "$out")
	KMS=$(sed -n 's/^waxseal is ready: .*, KMS \([^,]*\), admin .*/\1/p' "$out")
	ADMIN=$(sed -n 's/^waxseal is ready: .*, admin \([^,]*\), data in .*/\1/p' "$out")
	[ -n "$S3" ] && [ -n "$KMS" ] && [ -n "$ADMIN" ] || fail "waxseal does not say where it is: $(cat "$out" "$log")" || return 1
	wait_ready
	if [ -f "$DATA/tls.crt" ]; then export AWS_CA_BUNDLE=$DATA/tls.crt; fi
	export AWS_ACCESS_KEY_ID=$WAXSEAL_ACCESS_KEY AWS_SECRET_ACCESS_KEY=$WAXSEAL_SECRET_KEY AWS_DEFAULT_REGION=us-east-1
	export AWS_EC2_METADATA_DISABLED=true AWS_CONFIG_FILE=$WORK/aws-config AWS_SHARED_CREDENTIALS_FILE=$WORK/aws-credentials
	export S3 KMS ADMIN DATA
}

begin() {
	OWN=
	if [ -z "${S3:-}" ]; then OWN=1 && start_waxseal; fi
	STORE_DIR=${STORE_DIR:-$DATA/store}
}

finish() {
	if [ -d "$STORE_DIR" ]; then no_plaintext "$STORE_DIR"; fi
	if [ -n "$OWN" ]; then stop_waxseal; fi
	echo "$1: ok"
}

# readyz prints the admin endpoint's status line; nothing but bash is needed for it.
readyz() {
	local address=${ADMIN#http://}
	(
		exec 3<>"/dev/tcp/${address%:*}/${address##*:}"
		printf 'GET /readyz HTTP/1.0\r\nHost: %s\r\n\r\n' "$address" >&3
		head -n 1 <&3
	) 2>/dev/null
}

wait_ready() {
	local i
	for ((i = 0; i < 300; i++)); do
		case $(readyz || true) in *' 200 '*) return 0 ;; esac
		sleep 0.1
	done
	cat "$DATA.log" >&2
	fail "waxseal is not ready"
}

stop_waxseal() {
	kill -TERM "$WAXSEAL_PID"
	wait "$WAXSEAL_PID" || fail "waxseal did not end well: $(tail -n 20 "$DATA.log")"
}

# Assertions.

same() { [ "$1" = "$2" ] || fail "${3:-values differ}: got '$1', want '$2'"; }

sha() { sha256sum "$1" | cut -d ' ' -f 1; }

# slice FILE FROM COUNT prints bytes of a file.
slice() { dd if="$1" iflag=skip_bytes,count_bytes skip="$2" count="$3" bs=1M status=none; }

same_file() { same "$(sha "$1")" "$(sha "$2")" "$1 and $2 differ"; }

refused() { # refused CODE COMMAND...: the command fails and names the error
	local code=$1 out
	shift
	if out=$("$@" 2>&1); then fail "was not refused with $code: $*"; return 1; fi
	case $out in *"$code"*) ;; *) fail "was refused, but not with $code: $out" ;; esac
}

# random_file FILE BYTES makes a file of random bytes with a known text at its start, in its middle and at its end.
PLAINTEXT="this plaintext must never be found in the store"
random_file() {
	head -c "$2" /dev/urandom >"$1"
	local size=${#PLAINTEXT} at
	[ "$2" -ge $((size * 3)) ] || { head -c "$2" <<<"$PLAINTEXT" >"$1"; return; }
	for at in 0 $(($2 / 2)) $(($2 - size)); do
		printf %s "$PLAINTEXT" | dd of="$1" bs=1 seek="$at" conv=notrunc status=none
	done
}

# no_plaintext DIR...: the known text is in no file, no name and no attribute below the directories.
no_plaintext() {
	local dir found
	for dir in "$@"; do
		if found=$(grep -rlaF -e "$PLAINTEXT" "$dir"); then fail "plaintext in the store: $found"; return 1; fi
		if have getfattr && getfattr -R -d -m - --absolute-names "$dir" 2>/dev/null | grep -qaF -e "$PLAINTEXT"; then
			fail "plaintext in an attribute below $dir"
			return 1
		fi
		[ -n "$(find "$dir" -type f -size +0 -print -quit)" ] || { fail "nothing was stored below $dir"; return 1; }
	done
}

# nemesis_program builds .ci/nemesis, which has a module of its own.
nemesis_program() { (cd "$ROOT/.ci/nemesis" && GOWORK=off go vet . && GOWORK=off go test . && GOWORK=off go build -trimpath -o "$WORK/nemesis" .); }

nemesis() { WAXSEAL=$WAXSEAL "$WORK/nemesis" -repository "$ROOT" -results "${NEMESIS_RESULTS:-$WORK/nemesis-results}" "$@"; }
