# shellcheck shell=sh disable=SC2154 # variables of capture
# Slices of load, in which variants take turns (POSIX sh; to be sourced after variants.sh).
#
#   in_turns COMMAND…                # COMMAND… for each $round and $variant, every other round backwards
#   slice DIR CLIENTS PGBENCH_ARG…   # transactions <tab> per second <tab> server's CPU µs for each
#   record DIR CLIENTS PGBENCH_ARG…  # the same as a record for compare: $row $round $variant before it
#
# The CPU time is that of all processes of the server, workers included. One client and its server share the
# last core: to wake each other on another core would cost several times what the statement does.

in_turns() {
  round=1
  while [ "$round" -le "$rounds" ]; do
    order=
    for variant in $variants; do
      if [ $((round % 2)) -eq 1 ]; then order="$order $variant"; else order="$variant $order"; fi
    done
    for variant in $order; do "$@"; done
    round=$((round + 1))
  done
}

# server_cpu POSTMASTER: clock ticks of it and its children, ended ones included.
server_cpu() {
  [ -r "/proc/$1/task/$1/children" ] || fail "no /proc/$1/task/$1/children"
  for pid in "$1" $(cat "/proc/$1/task/$1/children"); do
    cat "/proc/$pid/stat" 2>/dev/null || true
  done | sed 's/.*) //' | awk '{ ticks += $12 + $13 + $14 + $15 } END { print ticks }'
}

last_core=$(($(nproc) - 1))

slice() {
  server=$1 clients=$2
  shift 2
  enter "$server"
  postmaster=$(postmaster_of "$server")
  cores=0-$last_core
  [ "$clients" -gt 1 ] || cores=$last_core
  taskset -cp "$cores" "$postmaster" >/dev/null
  before=$(server_cpu "$postmaster")
  quietly taskset -c "$cores" pgbench -n -c "$clients" -j "$clients" -T "$seconds" "$@" bench
  sleep 0.2
  after=$(server_cpu "$postmaster")
  awk -v ticks=$((after - before)) -v hz="$(getconf CLK_TCK)" '
    /^number of transactions actually processed/ { n = $6 }
    /^tps = / { tps = $3 }
    END { printf "%d\t%.1f\t%.2f\n", n, tps, (n > 0 ? 1e6 * ticks / hz / n : 0) }' "$work/log"
}

record() {
  measured=$(slice "$@")
  printf '%s\t%s\t%s\t%s\n' "$row" "$round" "$variant" "$measured"
}
