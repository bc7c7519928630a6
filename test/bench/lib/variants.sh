# shellcheck shell=sh disable=SC2154 # variables of capture
# The servers that are compared (POSIX sh; to be sourced after scripts/lib/cluster.sh).
#
#   make_template                       # once: $work/template, the data that all of them begin with
#   start_variants PART "lines"         # one server for each of $variants, in $work/PART/VARIANT
#   start_variant DIR VARIANT "lines"
#   enter DIR                           # psql and pgbench go to that server
#   query DIR …                         # psql that no extension counts, values separated by tabs
#   stop_variants PART
#   peers                               # the variants but none
#
# A variant is what is preloaded: pg_stat_kcache comes with pg_stat_statements, which it needs; train_perf is
# alone. The database bench has pgbench's tables, and a table wide, whose 142 columns make 20,164 different
# statements: "SELECT c0, c0 FROM wide WHERE id = 1" and so on. Aliases and constants would not make any.

# Rows of pgbench_accounts / 100,000: all of them fit into shared_buffers.
scale=5
columns=142

# The server's own copy of a library, else Debian's.
library() {
  if [ -e "$("$PG_CONFIG" --pkglibdir)/$1.so" ]; then echo "$1"; else echo "/usr/lib/postgresql/$PG_VERSION/lib/$1"; fi
}

preloaded() {
  case $1 in
    none | log_min_duration_statement) ;;
    pg_stat_kcache) echo "pg_stat_statements,$(library pg_stat_kcache)" ;;
    *) echo "$1" ;;
  esac
}

peers() {
  for peer in $variants; do [ "$peer" = none ] || echo "$peer"; done
}

make_template() {
  start_cluster "$work/template" ''
  quietly psql -X -q -d postgres -c 'CREATE DATABASE bench'
  quietly psql -X -q -d bench -c 'CREATE EXTENSION pg_stat_statements' -c 'CREATE EXTENSION train_perf'
  quietly psql -X -q -v ON_ERROR_STOP=1 -d bench <<END
SELECT maintain_partitions_of('query_performance_logs', keep => '7 days'),
  maintain_partitions_of('query_stats_history', keep => '35 days');
END
  quietly pgbench -i -q -s "$scale" bench
  quietly psql -X -q -v ON_ERROR_STOP=1 -d bench <<END
SELECT format('CREATE TABLE wide (id integer PRIMARY KEY, %s)', string_agg(format('c%s integer DEFAULT 0', c), ', '))
FROM generate_series(0, $columns - 1) AS c \\gexec
INSERT INTO wide SELECT generate_series(1, 1000);
VACUUM FREEZE ANALYZE;
END
  stop_cluster "$work/template"
  sed -i "s|^include .*|include '../extra.conf'|" "$work/template/data/postgresql.conf"
}

# For pgbench: a row by its primary key.
lookup_script() {
  cat <<END
\\set aid random(1, 100000 * $scale)
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
END
}

# For pgbench, one of the different statements: distinct_script 'expression of its number'
distinct_script() {
  cat <<END
\\set r $1
\\set a :r / $columns
\\set b :r % $columns
\\set id random(1, 1000)
SELECT c:a, c:b FROM wide WHERE id = :id;
END
}

# fill DIR COUNT [FIRST]: runs COUNT of them once each.
fill() {
  enter "$1"
  distinct_statements "$2" "${3:-0}" | quietly psql -X -q -o /dev/null -d bench
}

distinct_statements() {
  awk -v count="$1" -v first="${2:-0}" -v columns="$columns" 'BEGIN {
    for (r = first; r < first + count; ++r) printf "SELECT c%d, c%d FROM wide WHERE id = 1;\n", r / columns, r % columns
  }'
}

start_variant() {
  mkdir -p "$1"
  [ -d "$1/data" ] || cp -a "$work/template/data" "$1/data"
  start_cluster "$1" "shared_preload_libraries = '$(preloaded "$2")'
autovacuum = off
$3"
  echo "$PGPORT" >"$1/port"
}

start_variants() {
  for variant in $variants; do start_variant "$work/$1/$variant" "$variant" "$2"; done
}

enter() {
  PGHOST=$1 PGPORT=$(cat "$1/port")
  export PGHOST PGPORT
}

query() {
  enter "$1"
  shift
  PGOPTIONS='-c train_perf.enabled=off -c pg_stat_statements.track=none' \
    psql -X -q -At -F '	' -v ON_ERROR_STOP=1 -d bench "$@"
}

# wait_for_exit PID
wait_for_exit() {
  timeout 60 sh -c "while kill -s 0 $1 2>/dev/null; do sleep 0.1; done" || fail "process $1 does not end"
}

stop_variants() {
  for server in "$work/$1"/*/data; do
    server=${server%/data}
    postmaster=$(postmaster_of "$server")
    stop_cluster "$server"
    wait_for_exit "$postmaster"
  done
}

postmaster_of() { head -n 1 "$1/data/postmaster.pid"; }
