#!/usr/bin/env bash
# boto3 drives every operation of the key service, and finds every other one refused by name.
# needs: python3
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
[ -n "${KMS:-}" ] || start_waxseal
python3 "$ROOT/.ci/clients/kms_boto3_flows.py"
if [ -n "${WAXSEAL_PID:-}" ]; then stop_waxseal; fi
