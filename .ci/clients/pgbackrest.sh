#!/usr/bin/env bash
# pgBackRest against a waxseal with TLS, without which it speaks to no store: a full and an incremental backup of PostgreSQL with its
# WAL, a check, a restore.
# needs: pgbackrest postgres psql aws
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
case ${S3:-} in http:*) unset S3 ;; esac
case ${CI_SERVE_ARGS:-} in *--tls-self-signed*) ;; *) CI_SERVE_ARGS="${CI_SERVE_ARGS:-} --tls-self-signed" ;; esac
begin
. "$ROOT/.ci/clients/postgres.bash"
BUCKET=pgbackrest-$RANDOM-$$
aws s3api create-bucket --endpoint-url "$S3" --bucket "$BUCKET" >/dev/null
address=${S3#*://} # pgBackRest looks for no IP address in a certificate
cat >"$PG/pgbackrest.conf" <<CONF
[global]
repo1-type=s3
repo1-path=/repo
repo1-s3-bucket=$BUCKET
repo1-s3-endpoint=localhost
repo1-storage-port=${address##*:}
repo1-storage-ca-file=$PG/ca.crt
repo1-s3-region=us-east-1
repo1-s3-uri-style=path
repo1-s3-key=$AWS_ACCESS_KEY_ID
repo1-s3-key-secret=$AWS_SECRET_ACCESS_KEY
repo1-bundle=y
repo1-retention-full=2
start-fast=y
log-level-file=off
log-level-console=warn
lock-path=$PG/lock
spool-path=$PG/spool
[ci]
pg1-path=$PG/data
pg1-socket-path=$PG
CONF
cp "$DATA/tls.crt" "$PG/ca.crt"
chmod 644 "$PG/pgbackrest.conf" "$PG/ca.crt"
rest() { "${as_postgres[@]}" pgbackrest --config="$PG/pgbackrest.conf" --stanza=ci "$@"; }
start_postgres "pgbackrest --config=$PG/pgbackrest.conf --stanza=ci archive-push %p"
rest stanza-create
rest check
psql -qc "CREATE TABLE notes AS SELECT n, '$PLAINTEXT' || n AS note FROM generate_series(1, 200000) n"
rest --type=full backup
psql -qc "INSERT INTO notes VALUES (0, 'after the full backup')"
rest --type=incr backup
psql -qc "INSERT INTO notes VALUES (-1, 'in the WAL only')" -c "SELECT pg_switch_wal()" >/dev/null
want=$(psql -Atc "SELECT count(*), md5(string_agg(note, ',' ORDER BY n)) FROM notes")
rest check
rest verify
same "$(rest info | grep -c 'backup: ')" 2 "backups"
postgres_down
"${as_postgres[@]}" find "$PG/data" -mindepth 1 -delete
rest restore
postgres_up
same "$(psql -Atc "SELECT count(*), md5(string_agg(note, ',' ORDER BY n)) FROM notes")" "$want" "the table after the restore"
rest --type=full backup
rest expire --repo1-retention-full=1
same "$(rest info | grep -c 'backup: ')" 1 "backups after expire"
postgres_down
finish pgbackrest
