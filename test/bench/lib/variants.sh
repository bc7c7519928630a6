# shellcheck shell=sh disable=SC2154 # variables of capture
# The servers that are compared (POSIX sh; to be sourced after scripts/lib/cluster.sh).
#
#   make_template                       # once: $work/template, with pgbench's tables in the database bench
#   start_variant DIR VARIANT "lines"   # a server of that data in DIR, below $work/PART
#   enter DIR                           # psql and pgbench go to that server
#   stop_variants DIR…
#
# A variant is what is preloaded: pg_stat_kcache comes with pg_stat_statements, which it needs; train_perf is alone.

# Rows of pgbench_accounts / 100,000: all of them fit into shared_buffers.
scale=5

# The server's own copy of a library, else Debian's.
library() {
  if [ -e "$("$PG_CONFIG" --pkglibdir)/$1.so" ]; then echo "$1"; else echo "/usr/lib/postgresql/$PG_VERSION/lib/$1"; fi
}

preloaded() {
  case $1 in
    none) ;;
    pg_stat_kcache) echo "pg_stat_statements,$(library pg_stat_kcache)" ;;
    *) echo "$1" ;;
  esac
}

make_template() {
  start_cluster "$work/template" ''
  quietly psql -X -q -d postgres -c 'CREATE DATABASE bench'
  quietly psql -X -q -d bench -c 'CREATE EXTENSION pg_stat_statements' -c 'CREATE EXTENSION train_perf'
  quietly pgbench -i -q -s "$scale" bench
  quietly psql -X -q -d bench -c 'VACUUM FREEZE ANALYZE'
  stop_cluster "$work/template"
  sed -i "s|^include .*|include '../extra.conf'|" "$work/template/data/postgresql.conf"
}

start_variant() {
  mkdir -p "$1"
  cp -a "$work/template/data" "$1/data"
  start_cluster "$1" "shared_preload_libraries = '$(preloaded "$2")'
autovacuum = off
$3"
  echo "$PGPORT" >"$1/port"
}

enter() {
  PGHOST=$1 PGPORT=$(cat "$1/port")
  export PGHOST PGPORT
}

# wait_for_exit PID
wait_for_exit() {
  timeout 60 sh -c "while kill -s 0 $1 2>/dev/null; do sleep 0.1; done" || fail "process $1 does not end"
}

stop_variants() {
  for server in "$@"; do
    postmaster=$(head -n 1 "$server/data/postmaster.pid")
    stop_cluster "$server"
    wait_for_exit "$postmaster"
    rm -rf "$server"
  done
}
