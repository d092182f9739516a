# The stores that waxseal is tried in front of, built from source where they are not on the PATH. To be sourced after
# lib.sh by .ci/long and .ci/conformance. In $TOOLS (or a temporary directory) the programs stay for the next time.

TOOLS=${TOOLS:-$WORK/tools}
export PATH=$TOOLS:$PATH
mkdir -p "$TOOLS"

tool() { # tool PROGRAM MODULE@VERSION
	have "$1" || CGO_ENABLED=0 GOBIN=$TOOLS go install "$2" >"$WORK/$1.log" 2>&1 || skip "$1" "$(tail -n 1 "$WORK/$1.log")"
}

certificates() { # certificates DIR: an authority of its own and a certificate for loopback
	mkdir -p "$1"
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=ci-authority" \
		-keyout "$1/ca.key" -out "$1/ca.crt" 2>/dev/null
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=localhost" \
		-keyout "$1/private.key" -out "$1/request" 2>/dev/null
	printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\n' >"$1/extensions"
	openssl x509 -req -in "$1/request" -CA "$1/ca.crt" -CAkey "$1/ca.key" -CAcreateserial -days 30 \
		-extfile "$1/extensions" -out "$1/public.crt" 2>/dev/null
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# store NAME SCHEME [PORT] starts a store with nothing in it and sets STORE (its URL), STORE_DIR and the credentials waxseal has
# there (those of STORE_ACCESS_KEY and STORE_SECRET_KEY where they are set).
store() {
	local name=$1 scheme=$2 port=${3:-$(free_port)} dir i
	dir=$(mktemp -d "$WORK/$name-$scheme.XXXXXX")
	STORE=$scheme://127.0.0.1:$port STORE_DIR=$dir/store
	mkdir -p "$STORE_DIR"/{data,versions} "$dir"/{none,iam}
	case $name in
	minio)
		export WAXSEAL_UPSTREAM_ACCESS_KEY=${STORE_ACCESS_KEY:-minioadmin} WAXSEAL_UPSTREAM_SECRET_KEY=${STORE_SECRET_KEY:-minioadmin}
		MINIO_ROOT_USER=$WAXSEAL_UPSTREAM_ACCESS_KEY MINIO_ROOT_PASSWORD=$WAXSEAL_UPSTREAM_SECRET_KEY MINIO_BROWSER=off MINIO_UPDATE=off \
			MINIO_KMS_SECRET_KEY=ci-key:$(head -c 32 /dev/zero | base64) \
			minio server --quiet --address "127.0.0.1:$port" \
			--certs-dir "$([ "$scheme" = https ] && echo "$WORK/certs" || echo "$dir/none")" "$STORE_DIR/data" >"$dir/log" 2>&1 &
		;;
	versitygw)
		export WAXSEAL_UPSTREAM_ACCESS_KEY=${STORE_ACCESS_KEY:-user} WAXSEAL_UPSTREAM_SECRET_KEY=${STORE_SECRET_KEY:-passsecret}
		local tls=()
		if [ "$scheme" = https ]; then tls=(--cert "$WORK/certs/public.crt" --key "$WORK/certs/private.key"); fi
		versitygw -a "$WAXSEAL_UPSTREAM_ACCESS_KEY" -s "$WAXSEAL_UPSTREAM_SECRET_KEY" --port "127.0.0.1:$port" --quiet ${tls[@]+"${tls[@]}"} \
			--iam-dir "$dir/iam" posix --versioning-dir "$STORE_DIR/versions" "$STORE_DIR/data" >"$dir/log" 2>&1 &
		;;
	esac
	PIDS+=($!)
	for ((i = 0; i < 300; i++)); do
		if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then return 0; fi
		sleep 0.1
	done
	cat "$dir/log" >&2
	fail "$name does not answer"
}

# store_program NAME puts a store's program on the PATH.
store_program() {
	case $1 in
	minio) tool minio github.com/minio/minio@latest ;;
	versitygw) tool versitygw github.com/versity/versitygw/cmd/versitygw@latest ;;
	*) fail "there is no store $1" ;;
	esac
	have "$1"
}
