#!/usr/bin/env bash
# boto3 against a waxseal, and a search for plaintext in the embedded store after it.
# needs: python3
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
begin
python3 "$ROOT/.ci/clients/boto3_flows.py"
finish boto3
