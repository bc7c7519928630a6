# shellcheck shell=sh disable=SC2034,SC2154 # variables of bloat
# What an estimate of one large table costs (POSIX sh; to be sourced after slices.sh).
#
# VACUUM never saw the table: no page is all-visible, and pgstattuple_approx can skip none.

# Rows of 124 bytes with their line pointer, 65 in a page; a tenth deleted. Reading it once sets the hint bits.
create_large_table() {
  query_in cost -o /dev/null <<END
CREATE TABLE large AS SELECT id, 0 AS balance, rpad('', 84, 'x')::char(84) AS filler FROM generate_series(1, $size * 128 * 65) AS id;
DELETE FROM large WHERE id % 10 = 0;
SELECT count(*) FROM large;
CREATE TABLE small AS SELECT 1;
CHECKPOINT;
END
}

call_of() {
  case $1 in
    train_perf) echo "estimate_table_bloat(''$2'', 1000)" ;;
    *) echo "$1(''$2'')" ;;
  esac
}

# Out of memory, the server's and the system's. Only these files: others need theirs.
forget_large_table() {
  file=$work/cost/data/$(query_in cost -c "SELECT pg_relation_filepath('large')")
  stop_cluster "$work/cost"
  for segment in "$file"*; do
    sync "$segment"
    dd if="$segment" iflag=nocache count=0 status=none
  done
  start_bed "$work/cost"
}

# A record for compare: blocks and ms. What a session does once it did for the small table.
cost_slice() {
  [ "$row" = warm ] || forget_large_table
  costs=$(query_in cost -c "SELECT FROM cost('SELECT * FROM $(call_of "$variant" small)')" \
    -c "SELECT blocks, ms FROM cost('SELECT * FROM $(call_of "$variant" large)')" | tail -n 1)
  printf '%s\t%s\t%s\t%s\n' "$row" "$round" "$variant" "$costs"
}

bench_cost() (
  start_bed "$work/cost"
  create_database cost
  create_large_table
  variants='train_perf pgstattuple_approx pgstattuple'
  for row in cold warm; do in_turns cost_slice; done >"$work/cost/measured"
  text '### Cost' "A table of $(query_in cost -c "SELECT pg_size_pretty(pg_relation_size('large'))") that has no all-visible page;
1000 pages by train_perf. Blocks, and ratios:"
  compare_costs 1 '%.0f' <"$work/cost/measured" | table
  text 'Time in ms, and ratios; cold: neither the server nor the system has read it since they started:'
  compare_costs 2 '%.1f' <"$work/cost/measured" | table
  for row in cold warm; do
    at_least 20 "$(median_ratio 1 "$row" pgstattuple_approx <"$work/cost/measured")" "cost: $row, blocks of pgstattuple_approx / train_perf"
    at_least 20 "$(median_ratio 2 "$row" pgstattuple_approx <"$work/cost/measured")" "cost: $row, time of pgstattuple_approx / train_perf"
  done
)

compare_costs() { perl "$bench/lib/compare.pl" "$1" "$2" 'table is' train_perf pgstattuple_approx pgstattuple; }
