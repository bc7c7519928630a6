# shellcheck shell=sh disable=SC2034,SC2154 # variables of capture
# How the cost grows with statements and connections (POSIX sh; to be sourced).

growth_slice() {
  record "$work/growth/$variant" "$clients" "$@"
}

# With all of them known before.
grow_statements() {
  clients=1
  for count in 10 100 1000 5000; do
    distinct_script "random(0, $count - 1)" >"$work/growth/statements"
    for variant in $variants; do
      fill "$work/growth/$variant" "$count"
    done
    row="$count statements, simple, clients: 1"
    in_turns growth_slice -M simple -f "$work/growth/statements"
  done
}

grow_connections() {
  for clients in 1 10 50; do
    row="primary key, prepared, clients: $clients"
    in_turns growth_slice -M prepared -f "$lookup"
  done
}

bench_growth() {
  start_variants growth 'pg_stat_statements.max = 10000
train_perf.max_statements = 10000'
  {
    grow_statements
    grow_connections
  } >"$work/growth/measured"
  stop_variants growth
  text '### Growth' "Server's CPU time for each statement in µs, and ratios:"
  compare 3 '%.2f' load <"$work/growth/measured"
  text 'Statements per second, and ratios:'
  compare 2 '%.0f' load <"$work/growth/measured"
}
