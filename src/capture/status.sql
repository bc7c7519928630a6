-- The state of capture.

CREATE FUNCTION capture_status(
  OUT preloaded boolean, OUT enabled boolean, OUT max_statements integer, OUT tracked integer,
  OUT evicted bigint, OUT events_enqueued bigint, OUT events_written bigint,
  OUT events_queued bigint, OUT events_dropped bigint, OUT lag interval, OUT collector_pid integer,
  OUT last_error text, OUT last_error_at timestamptz, OUT counting_since timestamptz,
  OUT index_usage_observed_since timestamptz, OUT snapshot_at timestamptz,
  OUT snapshot_calls bigint, OUT snapshot_calls_differ bigint)
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
BEGIN ATOMIC
  SELECT s.*, (SELECT min(u.snapshot_timestamp) FROM index_usage_snapshots u), last.taken_at, last.calls, last.calls_differ
    FROM shared_capture_status() s LEFT JOIN query_stats_snapshot last ON true;
END;
COMMENT ON FUNCTION capture_status() IS
  'One row on the state of capture. Events are those of this database, and at any time '
  'events_enqueued = events_written + events_queued + events_dropped. The last columns tell by how many '
  'calls we differ from pg_stat_statements, where it is; see capture_query_stats_snapshot(). '
  'index_usage_observed_since is the oldest row of index_usage_snapshots.';
