#!/usr/bin/env bash
# What versitygw's suite runs as ./versitygw: the admin command, always at the store itself ($STORE). A user that it makes is written to
# waxseal's configuration too ($WORK/waxseal.yaml), and waxseal starts again with it.
set -euo pipefail
arguments=() access= secret= make=
while [ $# -gt 0 ]; do
	case $1 in
	-er | --endpoint-url) arguments+=("$1" "$STORE") && shift ;;
	create-user) make=1 && arguments+=("$1") ;;
	-a) access=$2 && arguments+=("$1" "$2") && shift ;;
	-s) secret=$2 && arguments+=("$1" "$2") && shift ;;
	*) arguments+=("$1") ;;
	esac
	shift
done
versitygw "${arguments[@]}"
if [ -n "$make" ] && [ "$WHERE" = waxseal ]; then
	printf -- '  - {name: %s, access_key: %s, secret_key: %s, upstream: {access_key: %s, secret_key: %s}}\n' \
		"$access" "$access" "$secret" "$access" "$secret" >>"$WORK/waxseal.yaml"
	"$WORK/again" >/dev/null
fi
