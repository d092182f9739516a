#!/usr/bin/env bash
# The AWS Encryption SDK for JavaScript with waxseal as its KMS. It is installed into a temporary directory, or taken
# from $ENCRYPTION_SDK, a directory where it is.
# needs: npm
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
[ -n "${S3:-}" ] || start_waxseal
modules=${ENCRYPTION_SDK:-$WORK/encryption-sdk}
if [ ! -d "$modules/node_modules/@aws-crypto/client-node" ]; then
	npm install --silent --no-audit --no-fund --prefix "$modules" @aws-crypto/client-node
fi
cp "$ROOT/.ci/clients/encryption-sdk.mjs" "$modules/" # modules are looked for beside the program
if [ -n "${AWS_CA_BUNDLE:-}" ]; then export NODE_EXTRA_CA_CERTS=$AWS_CA_BUNDLE; fi
node "$modules/encryption-sdk.mjs"
if [ -n "${WAXSEAL_PID:-}" ]; then stop_waxseal; fi
echo "encryption-sdk: ok"
