#!/usr/bin/env bash
# restic against a waxseal: back up, check all data, restore.
# needs: restic
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
begin
export RESTIC_PASSWORD=ci RESTIC_REPOSITORY="s3:$S3/restic-$RANDOM-$$" RESTIC_CACHE_DIR=$WORK/restic-cache
ca=()
if [ -n "${AWS_CA_BUNDLE:-}" ]; then ca=(--cacert "$AWS_CA_BUNDLE"); fi
restic() { command restic ${ca[@]+"${ca[@]}"} "$@"; }
mkdir "$WORK/tree"
for n in 1 2 3 4; do random_file "$WORK/tree/$n" $((n * 3000000)); done
restic init
restic backup "$WORK/tree"
random_file "$WORK/tree/5" 1000000
rm "$WORK/tree/2"
restic backup "$WORK/tree"
same "$(restic snapshots --json | grep -o '"short_id"' | wc -l | tr -d ' ')" 2 snapshots
restic check --read-data
restic restore latest --target "$WORK/restored"
diff -r "$WORK/tree" "$WORK/restored$WORK/tree"
restic forget --keep-last 1 --prune
restic check
finish restic
