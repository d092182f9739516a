#!/usr/bin/env bash
# boto3 against three waxseals over one etcd and one store, each request at the next of them. The nemesis starts them.
# needs: python3
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
[ -x "$WAXSEAL" ] || (cd "$ROOT" && CGO_ENABLED=0 go build -trimpath -o "$WAXSEAL" ./cmd/waxseal)
cd "$ROOT/.ci/nemesis"
GOWORK=off go build -trimpath -o "$WORK/nemesis" .
WAXSEAL=$WAXSEAL "$WORK/nemesis" -results "$WORK/results" with python3 "$ROOT/.ci/clients/replicas.py"
echo "replicas: ok"
