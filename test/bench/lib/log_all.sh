# shellcheck shell=sh disable=SC2034,SC2154 # variables of capture
# Every statement to the log (POSIX sh; to be sourced).

events_status() {
  query "$work/log_all/train_perf" -c "SELECT events_enqueued, events_written, events_dropped, events_queued,
    events_enqueued - events_written - events_dropped - events_queued, extract(epoch FROM clock_timestamp())
    FROM capture_status()"
}

# Until the collector has written what waits.
wait_for_events() {
  tries=0
  until [ "$(events_status | cut -f 4)" = 0 ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 240 ] || fail 'events are not written within two minutes'
    sleep 0.5
  done
}

# For train_perf also what became of the events: executed, per second, CPU, and events_status before and after.
log_slice() {
  [ "$variant" != train_perf ] || before=$(events_status)
  # shellcheck disable=SC2086 # a list of words
  record "$work/log_all/$variant" "$clients" -M prepared -f "$lookup" $pace
  [ "$variant" = train_perf ] || return 0
  after=$(events_status)
  printf '%s\t%s\t%s\t%s\n' "$row" "$measured" "$before" "$after" >>"$work/log_all/events"
  wait_for_events
}

# Sums over the rounds of each row.
events_table() {
  awk -F '\t' -v rounds="$rounds" -v seconds="$seconds" '
    !($1 in executed) { order[++rows] = $1 }
    {
      executed[$1] += $2; enqueued[$1] += $11 - $5; written[$1] += $12 - $6; dropped[$1] += $13 - $7
      until_asked[$1] += $16 - $10
      wrong[$1] += $15 != 0 || $11 - $5 != $2
    }
    END {
      print "load\texecuted\tenqueued / s\twritten / s\tdropped / s\tdropped\trounds with a wrong sum"
      for (i = 1; i <= rows; ++i) {
        row = order[i]; time = rounds * seconds
        printf "%s\t%d\t%.0f\t%.0f\t%.0f\t%.1f %%\t%d\n", row, executed[row], enqueued[row] / time, written[row] / until_asked[row],
          dropped[row] / time, enqueued[row] ? 100 * dropped[row] / enqueued[row] : 0, wrong[row]
      }
    }' "$work/log_all/events" | table
}

bytes_table() {
  printf 'log\tbytes of each statement\n'
  for variant in log_min_duration_statement auto_explain; do
    awk -F '\t' -v variant="$variant" -v bytes="$(wc -c <"$work/log_all/$variant/server.log")" \
      '$3 == variant { n += $4 } END { printf "%s\t%.0f\n", variant, bytes / n }' "$work/log_all/measured"
  done
  query "$work/log_all/train_perf" -c "SELECT 'train_perf: table, with indexes', round(sum(pg_total_relation_size(relid)) /
      (SELECT count(*) FROM query_performance_logs)) FROM pg_partition_tree('query_performance_logs')" \
    -c "SELECT 'train_perf: table alone', round(sum(pg_table_size(relid)) /
      (SELECT count(*) FROM query_performance_logs)) FROM pg_partition_tree('query_performance_logs')"
}

bench_log_all() (
  variants='none log_min_duration_statement auto_explain train_perf'
  start_variants log_all 'log_min_duration_statement = -1
auto_explain.log_min_duration = 0
train_perf.log_min_duration = 0'
  query "$work/log_all/log_min_duration_statement" -c 'ALTER SYSTEM SET log_min_duration_statement = 0' \
    -c 'SELECT pg_reload_conf()' >/dev/null
  wait_for_events
  for load in '1:' '4:' '4:-R 5000'; do
    clients=${load%%:*} pace=${load#*:}
    row="clients: $clients${pace:+, ${pace#-R } statements / s}"
    in_turns log_slice
  done >"$work/log_all/measured"
  text '### Log everything' 'Statements per second, and ratios:'
  compare 2 '%.0f' load <"$work/log_all/measured"
  text "Server's CPU time for each statement in µs, and ratios; that of the collector is in it:"
  compare 3 '%.2f' load <"$work/log_all/measured"
  text 'Events of train_perf, with the default event_buffer_size; written while the load lasts:'
  events_table
  bytes_table | table
  stop_variants log_all
)
