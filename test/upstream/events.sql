-- What capture says about itself in this database, with the word FAILED where it does not add up. The
-- numbers are taken while nothing is recorded and after the queue was emptied.
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
