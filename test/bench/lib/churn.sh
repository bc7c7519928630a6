# shellcheck shell=sh disable=SC2034,SC2154 # variables of capture
# 20,000 different statements where there is room for 5,000 (POSIX sh; to be sourced).

distinct=20000
places=5000
zipf=1.1

churn_slice() {
  record "$work/churn/$variant" "$clients" -M simple -f "$work/churn/$choice"
}

# What an extension knows: calls in all, calls under their statement, how many of the 100 statements
# that Zipf's choice takes most, and their calls. In these 100 the first column is c0.
churn_counts() {
  case $2 in
    train_perf) source="query_stats WHERE datname = 'bench'" ;;
    *) source="pg_stat_statements WHERE dbid = (SELECT oid FROM pg_database WHERE datname = 'bench')" ;;
  esac
  query "$1" -c "SELECT coalesce(sum(calls), 0), coalesce(sum(calls) FILTER (WHERE lower(query) LIKE '%from wide%'), 0),
      count(*) FILTER (WHERE heavy), coalesce(sum(calls) FILTER (WHERE heavy), 0)
    FROM (SELECT *, lower(query) ~ '^select c0, c[0-9]{1,2} from wide' AS heavy FROM $source) AS statements"
}

# Counts anew, with all places taken by statements of Zipf's tail.
churn_reset() {
  for variant in $(peers); do
    case $variant in
      train_perf) reset=query_stats_reset ;;
      *) reset=pg_stat_statements_reset ;;
    esac
    query "$work/churn/$variant" -o /dev/null -c "SELECT $reset()"
    fill "$work/churn/$variant" "$places" $((distinct - places))
  done
}

# Of EXECUTIONS, those of the 100 statements that Zipf's choice takes most.
expected_heavy() {
  awk -v executions="$1" -v all="$distinct" -v s="$zipf" 'BEGIN {
    for (k = 1; k <= all; ++k) { sum += k ^ -s; if (k == 100) heavy = sum }
    printf "%.0f", executions * heavy / sum
  }'
}

# A row for each extension: what it knows of what was executed under the present $row.
churn_accuracy() {
  for variant in $(peers); do
    executed=$(awk -F '\t' -v row="$row" -v variant="$variant" \
      '$1 == row && $3 == variant { sum += $4 } END { print sum }' "$work/churn/measured")
    executed=$((executed + places))
    churn_counts "$work/churn/$variant" "$variant" | awk -F '\t' -v row="$row" -v variant="$variant" \
      -v executed="$executed" -v choice="$choice" -v expected="$(expected_heavy $((executed - places)))" '
      { printf "%s, %s\t%d\t%d\t%.1f %%\t", row, variant, executed, $1 - executed, 100 * $2 / executed
        if (choice == "zipf") printf "%d\t%.3f\n", $3, $4 / expected; else print "-\t-" }'
  done
}

bench_churn() {
  distinct_script "random(0, $distinct - 1)" >"$work/churn/uniform"
  distinct_script "random_zipfian(1, $distinct, $zipf) - 1" >"$work/churn/zipf"
  start_variants churn "pg_stat_statements.max = $places
train_perf.max_statements = $places"
  : >"$work/churn/measured"
  for choice in uniform zipf; do
    for clients in 1 4; do
      row="$choice, clients: $clients"
      churn_reset
      in_turns churn_slice >>"$work/churn/measured"
      churn_accuracy >>"$work/churn/accuracy"
    done
  done
  stop_variants churn
  text '### Diversity' "$distinct statements, $places places; statements per second, and ratios:"
  compare 2 '%.0f' choice <"$work/churn/measured"
  text "Server's CPU time for each statement in µs, and ratios:"
  compare 3 '%.2f' choice <"$work/churn/measured"
  text 'What is known of them. Of the 100 that are chosen most, calls are relative to what is expected by chance:'
  {
    printf 'choice, variant\texecuted\tmiscounted in all\tknown by statement\tof the top 100\ttheir calls\n'
    cat "$work/churn/accuracy"
  } | table
}
