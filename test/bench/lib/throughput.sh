# shellcheck shell=sh disable=SC2034,SC2154 # variables of capture
# Throughput and the server's CPU time for each statement (POSIX sh; to be sourced).

throughput_slice() {
  record "$work/throughput/$variant" "$clients" -M "$protocol" -f "$lookup"
}

measure_throughput() {
  for protocol in prepared simple; do
    for clients in 1 2 4; do
      row="primary key, $protocol, clients: $clients"
      in_turns throughput_slice
    done
  done
}

bench_throughput() {
  start_variants throughput ''
  measure_throughput >"$work/throughput/measured"
  stop_variants throughput
  text '### Throughput and CPU time' 'Statements per second, and ratios (more is better):'
  compare 2 '%.0f' statement <"$work/throughput/measured"
  text "Server's CPU time for each statement in µs, and ratios (less is better):"
  compare 3 '%.2f' statement <"$work/throughput/measured"
}
