# shellcheck shell=sh disable=SC2034,SC2154 # variables of capture
# Shared memory against connections and statements, and memory of a backend (POSIX sh; to be sourced).

# restart VARIANT CONNECTIONS STATEMENTS
restart() {
  stop_cluster "$work/memory/$1"
  start_variant "$work/memory/$1" "$1" "max_connections = $2
pg_stat_statements.max = $3
train_perf.max_statements = $3"
}

# kB of shared memory that have a name or belong to an extension's hash table.
shared_memory() {
  query "$work/memory/$1" -c 'SELECT sum(allocated_size) / 1024 FROM pg_shmem_allocations WHERE name IS NOT NULL'
}

shared_rows() {
  printf 'max_connections\tstatements'
  for variant in $(peers); do printf '\t%s, kB' "$variant"; done
  echo
  for connections in 20 100 300; do
    restart none "$connections" 5000
    without=$(shared_memory none)
    for statements in 1000 5000 20000; do
      printf '%s\t%s' "$connections" "$statements"
      for variant in $(peers); do
        restart "$variant" "$connections" "$statements"
        awk -v with="$(shared_memory "$variant")" -v without="$without" 'BEGIN { printf "\t%.0f", with - without }'
      done
      echo
    done
  done
}

# backend_memory VARIANT COUNT: kB of anonymous memory of a session that ran COUNT statements, and kB in its
# memory contexts.
backend_memory() {
  enter "$work/memory/$1"
  {
    echo '\o /dev/null'
    distinct_statements "$2"
    echo '\o'
    cat <<'END'
SELECT substring(pg_read_file('/proc/self/smaps_rollup') FROM 'Anonymous: +([0-9]+)'),
  (SELECT sum(total_bytes) / 1024 FROM pg_backend_memory_contexts);
END
  } | psql -X -q -At -F '	' -v ON_ERROR_STOP=1 -d bench
}

backend_rows() {
  printf 'distinct statements run\tmemory, kB'
  for variant in $(peers); do printf '\t+ %s' "$variant"; done
  printf '\tcontexts, kB'
  for variant in $(peers); do printf '\t+ %s' "$variant"; done
  echo
  for count in 1 1000 20000; do
    for variant in $variants; do printf '%s\t%s\n' "$variant" "$(backend_memory "$variant" "$count")"; done |
      awk -F '\t' -v count="$count" '
        $1 == "none" { anonymous = $2; contexts = $3; first = $2; second = sprintf("%.0f", $3); next }
        { first = first sprintf("\t%d", $2 - anonymous); second = second sprintf("\t%.0f", $3 - contexts) }
        END { print count "\t" first "\t" second }'
  done
}

bench_memory() (
  variants='none pg_stat_statements pg_stat_kcache train_perf'
  start_variants memory ''
  text '### Memory' 'Shared memory that an extension adds, with other settings as they are by default:'
  shared_rows | table
  for variant in $variants; do
    restart "$variant" 100 5000
    # The first session of a server has more to do.
    backend_memory "$variant" 1 >/dev/null
  done
  text 'A backend: its anonymous memory, and what its memory contexts have of it. Others: difference to none.'
  backend_rows | table
  stop_variants memory
)
