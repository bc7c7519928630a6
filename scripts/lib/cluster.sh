# shellcheck shell=sh
# Throw-away PostgreSQL servers (POSIX sh; to be sourced).
#
#   PG_VERSION=15                       # optional, 15 is the default
#   . scripts/lib/cluster.sh            # also puts the server's programs first in PATH
#   start_cluster /tmp/demo.x "shared_preload_libraries = 'train_perf'
#                              work_mem = 8MB"
#   psql -d postgres -c 'SELECT 1'      # PGHOST, PGPORT and PGUSER=postgres are exported
#   stop_cluster /tmp/demo.x            # the directory stays: remove it yourself
#
# DIR gets data/ (made by initdb when missing, so stopping and starting again keeps the data),
# server.log and the socket. It listens on the socket only; a TCP client needs
# "listen_addresses = 'localhost'" among the lines, PGPORT is free there too. Trust authentication.
# Called by root, everything runs as the user postgres, to whom DIR then belongs: PostgreSQL refuses root.

PG_VERSION=${PG_VERSION:-15}
PG_BIN=/usr/lib/postgresql/$PG_VERSION/bin
PATH=$PG_BIN:$PATH
LC_ALL=C.UTF-8
export PATH LC_ALL

# as_postgres COMMAND ARGUMENT…: in the present directory, which postgres must be able to enter.
as_postgres() {
  if [ "$(id -u)" -eq 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi
}

free_port() {
  perl -MIO::Socket::INET -e \
    'print IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1")->sockport, "\n"'
}

create_cluster() (
  cd "$1" || return
  as_postgres "$PG_BIN/initdb" -D "$1/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 \
    --no-sync >"$1/initdb.log" 2>&1 || {
    cat "$1/initdb.log" >&2
    return 1
  }
  echo "include '$1/extra.conf'" >>"$1/data/postgresql.conf"
)

# start_cluster DIR "conf lines": DIR must be an absolute path, short enough for a socket.
start_cluster() {
  mkdir -p "$1"
  [ "$(id -u)" -ne 0 ] || chown postgres: "$1"
  [ -d "$1/data" ] || create_cluster "$1" || return 1
  PGHOST=$1 PGPORT=$(free_port) PGUSER=postgres
  export PGHOST PGPORT PGUSER
  cat >"$1/extra.conf" <<END
listen_addresses = ''
unix_socket_directories = '$1'
port = $PGPORT
fsync = off
$2
END
  chmod 644 "$1/extra.conf"
  (cd "$1" && as_postgres "$PG_BIN/pg_ctl" -D "$1/data" -l "$1/server.log" -w -t 60 start) \
    >/dev/null 2>&1 9>&- || {
    tail -n 30 "$1/server.log" >&2
    return 1
  }
}

# stop_cluster DIR: nothing happens when it does not run.
stop_cluster() {
  [ -e "$1/data/postmaster.pid" ] || return 0
  (
    cd "$1" || return
    as_postgres "$PG_BIN/pg_ctl" -D "$1/data" -m fast -w -t 30 stop ||
      as_postgres "$PG_BIN/pg_ctl" -D "$1/data" -m immediate -w -t 30 stop
  ) >/dev/null 2>&1
}
