-- Live statement statistics, and what capture itself does.

CREATE FUNCTION query_stats(
  OUT datname name, OUT username name, OUT queryid bigint, OUT query_hash text, OUT toplevel boolean,
  OUT query text, OUT calls bigint, OUT errors bigint, OUT rows bigint,
  OUT total_time_ms double precision, OUT mean_time_ms double precision,
  OUT min_time_ms double precision, OUT max_time_ms double precision,
  OUT stddev_time_ms double precision, OUT p50_ms double precision, OUT p95_ms double precision,
  OUT p99_ms double precision, OUT total_plan_time_ms double precision,
  OUT shared_blks_hit bigint, OUT shared_blks_read bigint, OUT temp_blks_written bigint,
  OUT wal_bytes numeric, OUT first_seen timestamptz, OUT last_seen timestamptz,
  OUT slow_calls bigint, OUT last_sqlstate text)
RETURNS SETOF record
LANGUAGE c VOLATILE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tp_query_stats';
COMMENT ON FUNCTION query_stats() IS
  'Statistics of all statements since counting began, live from shared memory; see view query_stats.';

CREATE VIEW query_stats AS SELECT * FROM query_stats();
COMMENT ON VIEW query_stats IS
  'One row per database, user, statement and level, live: calls (failed ones included), errors, rows, '
  'times in ms with percentiles over all executions, blocks, WAL. The row without queryid sums up '
  'statements that gave way to others. The text of other users'' statements needs pg_read_all_stats.';

CREATE FUNCTION query_stats_reset() RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'tp_query_stats_reset';
COMMENT ON FUNCTION query_stats_reset() IS
  'Starts the counting of query_stats anew, for all databases. query_stats_history loses nothing.';

CREATE FUNCTION shared_capture_status(
  OUT preloaded boolean, OUT enabled boolean, OUT max_statements integer, OUT tracked integer,
  OUT evicted bigint, OUT events_enqueued bigint, OUT events_written bigint,
  OUT events_queued bigint, OUT events_dropped bigint, OUT lag interval, OUT collector_pid integer,
  OUT last_error text, OUT last_error_at timestamptz, OUT counting_since timestamptz)
RETURNS SETOF record
LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'tp_capture_status';
COMMENT ON FUNCTION shared_capture_status() IS 'The part of capture_status() that shared memory knows.';

CREATE FUNCTION normalize_query(query text) RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tp_normalize_query';
COMMENT ON FUNCTION normalize_query(text) IS
  'The statement as query_stats shows it: without literals, comments and superfluous white space.';

CREATE FUNCTION query_hash(query text) RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tp_query_hash';
COMMENT ON FUNCTION query_hash(text) IS
  'md5 of the normalised statement: the same for other constants, on every server and version.';

-- The statements that were slow, failed, or sampled.

CREATE TABLE query_performance_logs (
  id uuid NOT NULL DEFAULT gen_random_uuid(),
  query_text text NOT NULL,
  query_hash text,
  duration_ms integer NOT NULL CHECK (duration_ms >= 0),
  execution_timestamp timestamptz NOT NULL DEFAULT now(),
  user_id uuid,
  endpoint text,
  parameters jsonb,
  error_message text,
  stack_trace text,
  is_slow boolean GENERATED ALWAYS AS (duration_ms > 500) STORED,
  duration_us bigint,
  queryid bigint,
  database_user name,
  application_name text,
  client_addr inet,
  sqlstate text,
  rows bigint,
  shared_blks_hit bigint,
  shared_blks_read bigint,
  temp_blks_written bigint,
  wal_bytes numeric,
  trace_id text,
  tags jsonb,
  plan jsonb,
  PRIMARY KEY (id, execution_timestamp)
) PARTITION BY RANGE (execution_timestamp);
CREATE TABLE query_performance_logs_default PARTITION OF query_performance_logs DEFAULT;
CREATE INDEX query_performance_logs_time ON query_performance_logs (execution_timestamp);
CREATE INDEX query_performance_logs_hash ON query_performance_logs (query_hash, execution_timestamp);
SELECT pg_catalog.pg_extension_config_dump('query_performance_logs_default', '');

COMMENT ON TABLE query_performance_logs IS
  'Slow, failed and sampled statements, written within two seconds by the collector; applications may '
  'insert their own. Daily partitions, kept for train_perf.log_retention.';
COMMENT ON TABLE query_performance_logs_default IS
  'Rows for which there is no partition (yet); the collector moves them.';
COMMENT ON COLUMN query_performance_logs.query_text IS
  'Normalised, unless train_perf.log_literal_text was on; as given where an application logged it.';
COMMENT ON COLUMN query_performance_logs.query_hash IS 'md5 of the normalised statement.';
COMMENT ON COLUMN query_performance_logs.duration_ms IS 'Planning and execution, rounded.';
COMMENT ON COLUMN query_performance_logs.execution_timestamp IS 'When the statement ended.';
COMMENT ON COLUMN query_performance_logs.user_id IS 'The sub claim of the request''s JWT.';
COMMENT ON COLUMN query_performance_logs.endpoint IS
  'From tags in the statement''s comments, else the method and path of PostgREST''s request.';
COMMENT ON COLUMN query_performance_logs.parameters IS 'By position; see train_perf.log_parameters.';
COMMENT ON COLUMN query_performance_logs.error_message IS 'NULL if the statement succeeded.';
COMMENT ON COLUMN query_performance_logs.stack_trace IS 'The context of the error.';
COMMENT ON COLUMN query_performance_logs.duration_us IS 'NULL where an application logged the row.';
COMMENT ON COLUMN query_performance_logs.database_user IS 'The role that ran the statement.';
COMMENT ON COLUMN query_performance_logs.rows IS 'Returned or changed; NULL if the statement failed.';
COMMENT ON COLUMN query_performance_logs.trace_id IS 'From the traceparent tag.';
COMMENT ON COLUMN query_performance_logs.tags IS 'The other tags in the statement''s comments.';
COMMENT ON COLUMN query_performance_logs.plan IS 'See train_perf.log_plan.';

CREATE FUNCTION queued_events(
  OUT query_text text, OUT query_hash text, OUT duration_us bigint,
  OUT execution_timestamp timestamptz, OUT user_id uuid, OUT endpoint text, OUT parameters jsonb,
  OUT error_message text, OUT stack_trace text, OUT queryid bigint, OUT database_user name,
  OUT application_name text, OUT client_addr inet, OUT sqlstate text, OUT rows bigint,
  OUT shared_blks_hit bigint, OUT shared_blks_read bigint, OUT temp_blks_written bigint,
  OUT wal_bytes numeric, OUT trace_id text, OUT tags jsonb, OUT plan jsonb)
RETURNS SETOF record
LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'tp_queued_events';
COMMENT ON FUNCTION queued_events() IS
  'The next batch of queued events; only for the collector, which removes them after its commit.';
