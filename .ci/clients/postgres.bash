# A PostgreSQL cluster to back up, for the clients that do. To be sourced after `begin`. PostgreSQL does not run as root: where root
# runs this, the user postgres runs it, and its backup tool.

PG_BIN=$(dirname "$(readlink -f "$(command -v postgres)")")
PG=$WORK/pg
mkdir -p "$PG"
chmod 711 "$WORK"
as_postgres=(env)
if [ "$(id -u)" = 0 ]; then
	chown postgres "$PG"
	as_postgres=(setpriv --reuid postgres --regid postgres --clear-groups env HOME="$PG")
fi

# start_postgres ARCHIVE_COMMAND [RESTORE_COMMAND] makes a cluster in $PG/data and starts it at a socket in $PG.
start_postgres() {
	export PGHOST=$PG PGUSER=postgres PGDATABASE=postgres
	"${as_postgres[@]}" "$PG_BIN/initdb" -D "$PG/data" -U postgres -A trust >"$PG/initdb.log" 2>&1
	cat >>"$PG/data/postgresql.conf" <<CONF
listen_addresses = ''
unix_socket_directories = '$PG'
archive_mode = on
archive_command = '$1'
restore_command = '${2:-}'
fsync = off
CONF
	postgres_up
}

postgres_up() {
	"${as_postgres[@]}" "$PG_BIN/postgres" -D "$PG/data" >>"$WORK/postgres.log" 2>&1 &
	PG_PID=$!
	PIDS+=("$PG_PID")
	for ((i = 0; i < 300; i++)); do
		if [ "$(psql -Atc 'SELECT NOT pg_is_in_recovery()' 2>/dev/null)" = t ]; then return 0; fi
		sleep 0.2
	done
	tail -n 20 "$WORK/postgres.log" >&2
	fail "PostgreSQL does not answer"
}

trap 'kill -QUIT "${PG_PID:-}" 2>/dev/null || true; cleanup' EXIT # what ends early waits for no archiver

postgres_down() { kill -INT "$PG_PID" && { wait "$PG_PID" || true; }; }
