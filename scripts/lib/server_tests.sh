#!/bin/sh
# Builds, installs and tests the extension on one PostgreSQL, as root on the machine or inside a root:
#   sh scripts/lib/server_tests.sh VERSION DIR
# DIR/tree is a copy of the source tree that may be written to; DIR/results gets the counts.
#
# pg_regress and the isolation specs run in a database of their own each (the latter with the extension
# in it), pgTAP files in the database "pgtap", which has the extensions pgtap and train_perf.
set -eu
PG_VERSION=$1 dir=$2
TMPDIR=$dir/tmp
export TMPDIR
tree=$dir/tree
RESULTS=$dir/results
cd "$tree"
. scripts/lib/results.sh
. scripts/lib/cluster.sh
pgxs_test=$(dirname "$("$PG_BIN/pg_config" --pgxs)")/../test
# Bitcode only where Debian 12 builds it: it takes as long as the library.
if [ "$PG_VERSION" -eq 15 ]; then llvm=with_llvm=yes; else llvm=with_llvm=no; fi
# Seconds: for a condition that a TAP test waits for, for a server to start or stop, a TAP test, each kind of
# test. Only what hangs ever takes so long; a busy machine may stand still for some of them.
PG_TEST_TIMEOUT_DEFAULT=180
PGCTLTIMEOUT=180
export PG_TEST_TIMEOUT_DEFAULT PGCTLTIMEOUT
file_limit=600
kind_limit=1800

# Runs a test program as postgres, its output in LOG: limited LOG COMMAND…; its status is in status.
limited() {
  log=$1 status=0
  shift
  as_postgres timeout --foreground --kill-after=10 "$kind_limit" "$@" >"$log" 2>&1 || status=$?
  [ "$status" -ne 124 ] || echo "ended after $kind_limit s" >>"$log"
}

make_as_postgres() {
  as_postgres make -s "PG_CONFIG=$PG_BIN/pg_config" "$llvm" "$@"
}

build() {
  {
    make_as_postgres clean &&
      make_as_postgres -j "$(nproc)" all &&
      make -s "PG_CONFIG=$PG_BIN/pg_config" "$llvm" install
  } >"$dir/build.log" 2>&1
}

regress() {
  limited "$dir/regress.log" make -s "PG_CONFIG=$PG_BIN/pg_config" "$llvm" installcheck
  [ "$status" -eq 0 ] || cat regression.diffs >>"$dir/regress.log" 2>/dev/null || true
  conclude_regress "pg_regress" "$status" "$dir/regress.log"
}

# What a test may need of a database, out of the way of its own objects.
create_pgtap_database() {
  psql -X -q -d postgres -c 'CREATE DATABASE pgtap' &&
    psql -X -q -d pgtap -v ON_ERROR_STOP=1 -c 'CREATE EXTENSION pgtap' -c 'CREATE EXTENSION train_perf'
}

pgtap() {
  if create_pgtap_database >"$dir/pgtap.log" 2>&1; then
    limited "$dir/pgtap.log" env "PERL_TEST_HARNESS_DUMP_TAP=$dir/pgtap" \
      pg_prove -d pgtap test/pgtap/*.sql
  else
    status=1
  fi
  conclude_tap "pgTAP" "$status" "$dir/pgtap.log" "$dir/pgtap"
}

isolation() {
  out=$tree/test/isolation/output
  as_postgres mkdir -p "$out"
  # shellcheck disable=SC2046 # a list of words
  limited "$dir/isolation.log" "$pgxs_test/isolation/pg_isolation_regress" --bindir="$PG_BIN" \
    --inputdir=test/isolation --outputdir="$out" --dbname=isolation_regression \
    --load-extension=train_perf $(names test/isolation/specs/*.spec)
  [ "$status" -eq 0 ] || cat "$out/regression.diffs" >>"$dir/isolation.log" 2>/dev/null || true
  conclude_regress "isolation" "$status" "$dir/isolation.log"
}

# TAP tests mostly wait for workers: more of them at a time than there are processors. The last by name take
# longest: they come first.
tap() {
  limited "$dir/tap.log" env "PERL5LIB=$pgxs_test/perl:$tree/test/tap" \
    "PG_REGRESS=$pgxs_test/regress/pg_regress" "TESTDIR=$dir" "TESTDATADIR=$dir/tmp_check" \
    "TESTLOGDIR=$dir/tmp_check/log" "PERL_TEST_HARNESS_DUMP_TAP=$dir/tap" \
    prove --timer --reverse -j "$(($(nproc) * 2))" --exec "timeout --foreground $file_limit perl" test/tap/*.pl
  [ "$status" -eq 0 ] || tap_logs >>"$dir/tap.log"
  conclude_tap "TAP" "$status" "$dir/tap.log" "$dir/tap"
}

# The logs of the failed TAP tests, and of their servers.
tap_logs() {
  sed -n 's|^test/tap/\([^ ]*\)\.pl .*Wstat.*|\1|p' "$dir/tap.log" | sort -u | while read -r name; do
    for file in "$dir/tmp_check/log/regress_log_$name" "$dir/tmp_check/log/$name"_*.log; do
      [ ! -e "$file" ] || tail -v -n 60 "$file"
    done
  done
}

names() {
  for file in "$@"; do basename "${file%.*}"; done
}

# run KIND FILE…: where no file exists, says so.
run() {
  if [ -e "$2" ]; then "$1"; else echo "  $1: no tests"; fi
}

on_exit() {
  stop_cluster "$dir/server"
}

trap on_exit EXIT
trap 'exit 130' INT TERM HUP
mkdir "$TMPDIR"
chown -R postgres: "$dir"
if ! build; then
  conclude "build" 1 0 1 "$dir/build.log"
  exit 0
fi
lap
echo "  build: $seconds s"
# Nothing begins by itself because of dead rows or of the time of day.
if start_cluster "$dir/server" "shared_preload_libraries = 'train_perf'
autovacuum = off
train_perf.maintenance_daily = ''
train_perf.maintenance_weekly = ''
train_perf.maintenance_monthly = ''" 2>"$dir/start.log"; then
  run regress sql/*.sql
  run pgtap test/pgtap/*.sql
  run isolation test/isolation/specs/*.spec
else
  conclude "server start" 1 0 1 "$dir/start.log"
fi
failed_so_far=$(awk '{ failed += $2 } END { print failed + 0 }' "$RESULTS")
[ "$failed_so_far" -eq 0 ] || tail -v -n 80 "$dir/server/server.log" || true
run tap test/tap/*.pl
