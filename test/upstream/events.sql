-- What capture says about itself in this database, with the word FAILED where it does not add up. To be
-- asked after the queue was emptied, by a session that is not recorded.
SELECT format('%s: %s enqueued = %s written + %s queued + %s dropped; %s evicted%s', current_database(),
              events_enqueued, events_written, events_queued, events_dropped, evicted,
              '; last error: ' || last_error)
  FROM train_perf.capture_status();
SELECT 'FAILED: events do not add up' FROM train_perf.capture_status()
 WHERE events_enqueued <> events_written + events_queued + events_dropped;
SELECT format('FAILED: %s rows in the log, %s written', rows, events_written)
  FROM train_perf.capture_status(),
       (SELECT count(*) AS rows FROM train_perf.query_performance_logs) AS log
 WHERE rows <> events_written;
SELECT format('FAILED: %s calls in query_stats, %s in history and live', live.calls, total_queries)
  FROM (SELECT coalesce(sum(calls), 0) AS calls FROM train_perf.query_stats
         WHERE datname = current_database()) AS live,
       train_perf.get_query_stats('-infinity', 'infinity')
 WHERE live.calls <> total_queries;
