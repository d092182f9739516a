#!/usr/bin/env bash
# barman-cloud against a waxseal: a backup of PostgreSQL in parts with its WAL, a restore.
# needs: barman-cloud-backup postgres psql aws
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
begin
. "$ROOT/.ci/clients/postgres.bash"
BUCKET=barman-$RANDOM-$$
aws s3api create-bucket --endpoint-url "$S3" --bucket "$BUCKET" >/dev/null
where=(--endpoint-url "$S3")
case $S3 in https:*) cp "$DATA/tls.crt" "$PG/ca.crt" && chmod 644 "$PG/ca.crt" && export AWS_CA_BUNDLE=$PG/ca.crt ;; esac
start_postgres "barman-cloud-wal-archive ${where[*]} s3://$BUCKET ci %p" "barman-cloud-wal-restore ${where[*]} s3://$BUCKET ci %f %p"
psql -qc "CREATE TABLE notes AS SELECT n, '$PLAINTEXT' || n AS note FROM generate_series(1, 200000) n"
"${as_postgres[@]}" barman-cloud-backup "${where[@]}" -h "$PG" -U postgres --immediate-checkpoint "s3://$BUCKET" ci
psql -qc "INSERT INTO notes VALUES (-1, 'in the WAL only')" -c "SELECT pg_switch_wal()" >/dev/null
want=$(psql -Atc "SELECT count(*), md5(string_agg(note, ',' ORDER BY n)) FROM notes")
for ((i = 0; i < 100; i++)); do
	[ "$(psql -Atc "SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'")" != 0 ] || break
	sleep 0.2
done
postgres_down
"${as_postgres[@]}" barman-cloud-backup-list "${where[@]}" --format json "s3://$BUCKET" ci >"$WORK/backups"
backup=$(python3 -c 'import json, sys; print(json.load(sys.stdin)["backups_list"][0]["backup_id"])' <"$WORK/backups")
"${as_postgres[@]}" find "$PG/data" -mindepth 1 -delete
"${as_postgres[@]}" barman-cloud-restore "${where[@]}" "s3://$BUCKET" ci "$backup" "$PG/data"
"${as_postgres[@]}" touch "$PG/data/recovery.signal"
postgres_up
same "$(psql -Atc "SELECT count(*), md5(string_agg(note, ',' ORDER BY n)) FROM notes")" "$want" "the table after the restore"
postgres_down
"${as_postgres[@]}" barman-cloud-backup-delete "${where[@]}" -b "$backup" "s3://$BUCKET" ci
same "$(aws s3api list-objects-v2 --endpoint-url "$S3" --bucket "$BUCKET" --prefix "ci/base/" --query 'length(Contents || `[]`)' --output text)" 0 "objects of the deleted backup"
finish barman
