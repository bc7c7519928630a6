# shellcheck shell=sh disable=SC2154 # variables of bloat
# What snapshots of a whole database cost (POSIX sh; to be sourced).

bloat_by_peers="SELECT (SELECT sum(p.approx_free_space + p.dead_tuple_len)
    FROM pg_class AS c, pgstattuple_approx(c.oid) AS p WHERE c.relnamespace = ''many''::regnamespace AND c.relkind = ''r''),
  (SELECT sum(p.index_size * p.avg_leaf_density)
    FROM pg_class AS c, pgstatindex(c.oid::regclass) AS p WHERE c.relnamespace = ''many''::regnamespace AND c.relkind = ''i'')"

# The anonymous memory of a process in kB, until it ends.
watch_memory() {
  while awk '/^RssAnon/ { print $2 }' "/proc/$1/status" 2>/dev/null; do sleep 0.02; done
}

# session_cost CALL QUERY: a row with seconds, blocks, and MB of a session of its own: most private memory, and
# most in all.
session_cost() {
  rm -f "$work/snapshot/pid"
  query_in snapshot >"$work/snapshot/cost" <<END &
\o $work/snapshot/pid
SELECT pg_backend_pid();
\o
SELECT round(ms / 1000, 2), blocks FROM cost('$2');
SELECT substring(pg_read_file('/proc/self/status') FROM 'VmHWM:\s+(\d+)');
END
  session=$!
  until [ -s "$work/snapshot/pid" ]; do sleep 0.01; done
  watch_memory "$(cat "$work/snapshot/pid")" >"$work/snapshot/memory"
  wait "$session" || fail "failed: $1"
  sort -n "$work/snapshot/memory" | tail -n 1 | cat "$work/snapshot/cost" - | awk -F '\t' -v OFS='\t' -v call="$1" '
    NR == 1 { costs = $0 } NR == 2 { all = $1 } NR == 3 { print call, costs, sprintf("%.1f\t%.1f", $1 / 1024, all / 1024) }'
}

snapshot_rows() {
  for call in capture_table_bloat_snapshot capture_index_usage_snapshot; do
    session_cost "$call, first" "SELECT $call()"
    session_cost "$call, second" "SELECT $call()"
  done
  session_cost 'pgstattuple_approx, pgstatindex' "$bloat_by_peers"
}

# times_cheaper COLUMN: the second bloat snapshot than the first.
times_cheaper() {
  awk -F '\t' -v column="$1" '
    /^capture_table_bloat_snapshot/ { cost[++n] = $column }
    END { print (cost[2] > 0 ? cost[1] / cost[2] : 1e9) }' "$work/snapshot/measured"
}

bench_snapshot() {
  start_bed "$work/snapshot"
  create_many snapshot "$tables"
  snapshot_rows >"$work/snapshot/measured"
  text '### Snapshots' "$(query_in snapshot -c "SELECT count(*) FILTER (WHERE relkind = 'r') || ' tables and '
      || count(*) FILTER (WHERE relkind = 'i') || ' indexes, ' || pg_size_pretty(sum(pg_relation_size(oid)))
    FROM pg_class WHERE relnamespace = 'many'::regnamespace"). Each call in a session of its own; at the second one nothing has
changed. Memory: most of its own at any time, and most of all, shared buffers that it touched included."
  {
    printf 'call\tseconds\tblocks\tprivate memory, MB\tmemory, MB\n'
    cat "$work/snapshot/measured"
  } | table
  at_least 10 "$(times_cheaper 2)" 'snapshot: time of the first / the second one'
  at_least 10 "$(times_cheaper 3)" 'snapshot: blocks of the first / the second one'
}
