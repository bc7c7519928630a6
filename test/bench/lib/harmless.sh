# shellcheck shell=sh disable=SC2034,SC2154 # variables of bloat
# What others notice of snapshots (POSIX sh; to be sourced after slices.sh).

# One after the other. Each forgets what is known, so that it reads all tables again.
take_snapshots() {
  cat >"$work/harmless/snapshots.sql" <<'END'
TRUNCATE table_bloat_snapshots, index_bloat_snapshots;
SELECT capture_table_bloat_snapshot();
SELECT capture_index_usage_snapshot();
END
  pgbench -n -c 1 -T "$seconds" -f "$work/harmless/snapshots.sql" harmless >"$work/harmless/snapshots.log" 2>&1 ||
    cat "$work/harmless/snapshots.log" >&2
}

# percentile FRACTION of what pgbench logged, in ms; without what it waited for its turn.
percentile() {
  cat "$work"/harmless/transactions.* | awk '{ print $3 - $7 }' | sort -n |
    awk -v fraction="$1" '{ time[NR] = $1 } END { printf "%.3f", time[int(fraction * (NR - 1)) + 1] / 1000 }'
}

# A record for compare: p50, p99, transactions, snapshots. Every other round begins without snapshots.
harmless_slice() {
  rm -f "$work"/harmless/transactions.* "$work/harmless/snapshots.log"
  if [ "$variant" = 'with' ]; then take_snapshots & fi
  # shellcheck disable=SC2086 # a list of words
  quietly pgbench -n -c 4 -j 2 -M prepared -T "$seconds" -l --log-prefix="$work/harmless/transactions" $load harmless
  wait
  printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$row" "$round" "$variant" "$(percentile 0.5)" "$(percentile 0.99)" \
    "$(cat "$work"/harmless/transactions.* | wc -l)" \
    "$(sed -n 's/^number of transactions actually processed: //p' "$work/harmless/snapshots.log" 2>/dev/null)"
}

compare_harmless() { perl "$bench/lib/compare.pl" "$1" '%.3f' load without with <"$work/harmless/measured" | table; }

bench_harmless() (
  start_bed "$work/harmless"
  create_many harmless $((tables / 10))
  quietly pgbench -i -q -s 20 harmless
  variants='without with'
  for load in '-S' '-S -R 2000' '-b tpcb-like -R 500'; do
    row="pgbench $load"
    in_turns harmless_slice
  done >"$work/harmless/measured"
  text '### Others' "Transactions of 4 clients without and with snapshots of $((tables / 10)) tables all the time, which read all
of them each time ($(awk -F '\t' '{ n += $7 } END { print n }' "$work/harmless/measured") snapshots). p99 in ms, and ratio:"
  compare_harmless 2
  text 'The median in ms, and ratio:'
  compare_harmless 1
)
