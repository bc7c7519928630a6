# shellcheck shell=sh disable=SC2154 # variables of bloat
# The servers and databases of bloat (POSIX sh; to be sourced after scripts/lib/cluster.sh).
#
#   start_bed DIR            # a server, on which nothing happens by itself
#   create_database NAME     # there, with pgstattuple, train_perf, and the function cost
#   create_many NAME COUNT   # also with COUNT tables in the schema many, see many_tables.sql
#   query_in NAME PSQL_ARG…  # values separated by tabs

start_bed() {
  start_cluster "$1" 'wal_level = minimal
max_wal_senders = 0
max_wal_size = 8GB
checkpoint_timeout = 1h
full_page_writes = off
autovacuum = off
jit = off'
}

create_database() {
  query_in postgres -c "CREATE DATABASE $1"
  query_in "$1" -f "$bench/lib/cost.sql"
}

query_in() {
  database=$1
  shift
  psql -X -q -At -F '	' -v ON_ERROR_STOP=1 -d "$database" "$@"
}

# By two at once.
create_many() {
  create_database "$1"
  query_in "$1" -f "$bench/lib/many_tables.sql"
  query_in "$1" -c "CALL create_tables(1, $(($2 / 2)))" &
  query_in "$1" -c "CALL create_tables($(($2 / 2 + 1)), $2)"
  wait "$!"
  query_in "$1" -c CHECKPOINT
}
