-- src/entry/preamble.sql
\echo Use "CREATE EXTENSION train_perf" to load this file. \quit

-- Everything is created in the schema that CREATE EXTENSION chose, without naming it: bodies of SQL
-- functions and defaults bind names at creation, and PL/pgSQL gets objects passed as regclass. (The
-- usual placeholder for the schema's name is refused for schemas with unusual names.)

-- Foreign objects of our names are never adopted or altered: all clashes at once, before anything.
DO $$
DECLARE
  path text := pg_catalog.current_setting('search_path');
  target name := current_schema();
  clashes text;
BEGIN
  -- Nothing that stands in the target schema may be called from here.
  PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
  SELECT string_agg(format('%s %I.%I', CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN
           'materialized view' WHEN 'i' THEN 'index' WHEN 'S' THEN 'sequence' WHEN 'c' THEN 'type' ELSE 'table' END,
           n.nspname, c.relname), ', ' ORDER BY c.relname)
    INTO clashes
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
   WHERE n.nspname = target
     AND c.relname IN ('query_performance_logs', 'query_performance_logs_default', 'performance_alerts',
                       'query_stats', 'query_stats_history', 'query_stats_history_default',
                       'query_texts', 'query_stats_snapshot', 'query_stats_baseline', 'access_levels');
  IF clashes IS NOT NULL THEN
    RAISE EXCEPTION USING
      ERRCODE = '42P07',
      MESSAGE = format('train_perf cannot be installed in schema %I: already there: %s',
                       target, clashes),
      HINT = 'Install it elsewhere with CREATE EXTENSION train_perf WITH SCHEMA ..., or see '
             'examples/train-platform/adopt.sql for moving older objects aside.';
  END IF;
  PERFORM pg_catalog.set_config('search_path', path, true);
END
$$;

-- A server that was not restarted since the library was replaced still runs the old one.
DO $$
BEGIN
  CREATE FUNCTION library_version() RETURNS text
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tp_library_version';
EXCEPTION WHEN undefined_function THEN
  RAISE EXCEPTION USING
    ERRCODE = '55000',
    MESSAGE = 'the server still runs an older library of train_perf',
    HINT = 'Restart the server, then try again.';
END
$$;
COMMENT ON FUNCTION library_version() IS
  'The version of the library that the server runs; that of the SQL objects is in pg_extension.';
-- src/capture/capture.sql
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
-- src/capture/history.sql
-- Statistics over time: what was executed in each interval, with the latencies of all executions.

CREATE TABLE query_texts (
  query_hash text PRIMARY KEY,
  query text NOT NULL,
  last_seen timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE query_texts IS 'The normalised statements that query_stats_history refers to.';
SELECT pg_catalog.pg_extension_config_dump('query_texts', '');

CREATE TABLE query_stats_history (
  bucket_start timestamptz NOT NULL,
  bucket_end timestamptz NOT NULL CHECK (bucket_end >= bucket_start),
  username text,  -- a name is 64 bytes, in every row
  queryid bigint,
  query_hash text,
  toplevel boolean NOT NULL,
  calls bigint NOT NULL,
  errors bigint NOT NULL,
  slow_calls bigint NOT NULL,
  rows bigint NOT NULL,
  total_time_ms double precision NOT NULL,
  total_plan_time_ms double precision NOT NULL,
  shared_blks_hit bigint NOT NULL,
  shared_blks_read bigint NOT NULL,
  temp_blks_written bigint NOT NULL,
  wal_bytes bigint NOT NULL,
  latency_histogram bytea,
  source text NOT NULL DEFAULT 'train_perf'
) PARTITION BY RANGE (bucket_start);
CREATE TABLE query_stats_history_default PARTITION OF query_stats_history DEFAULT;
CREATE INDEX query_stats_history_time ON query_stats_history (source, bucket_start);
CREATE INDEX query_stats_history_end ON query_stats_history (bucket_end);
SELECT pg_catalog.pg_extension_config_dump('query_stats_history_default', '');

COMMENT ON TABLE query_stats_history IS
  'Per interval, user and statement: what was executed in it. Intervals of train_perf.history_interval '
  'for a day, then of an hour for a week, then of a day until train_perf.retention. Texts are in '
  'query_texts.';
COMMENT ON TABLE query_stats_history_default IS
  'Rows for which there is no partition (yet); the collector moves them.';
COMMENT ON COLUMN query_stats_history.queryid IS 'NULL: statements that gave way to others.';
COMMENT ON COLUMN query_stats_history.slow_calls IS 'Executions of more than 500 ms.';
COMMENT ON COLUMN query_stats_history.latency_histogram IS
  'Latencies of all executions; see merge_latency and latency_quantile_ms.';

CREATE FUNCTION pending_statistics(
  OUT bucket_start timestamptz, OUT username name, OUT queryid bigint, OUT query_hash text,
  OUT query text, OUT toplevel boolean, OUT calls bigint, OUT errors bigint,
  OUT slow_calls bigint, OUT rows bigint, OUT total_time_ms double precision,
  OUT total_plan_time_ms double precision, OUT shared_blks_hit bigint,
  OUT shared_blks_read bigint, OUT temp_blks_written bigint, OUT wal_bytes bigint,
  OUT latency_histogram bytea)
RETURNS SETOF record
LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'tp_pending_statistics';
COMMENT ON FUNCTION pending_statistics() IS
  'What was executed in this database since the last rows of query_stats_history.';

CREATE FUNCTION collect_statistics() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  WITH pending AS MATERIALIZED (
    SELECT * FROM pending_statistics()
  ), texts AS (
    INSERT INTO query_texts AS known (query_hash, query)
    SELECT DISTINCT ON (p.query_hash) p.query_hash, p.query FROM pending p
     WHERE p.query_hash IS NOT NULL AND p.query IS NOT NULL
     ORDER BY p.query_hash
    ON CONFLICT (query_hash) DO UPDATE SET last_seen = now()
     WHERE known.last_seen < now() - interval '1 day'
  ), written AS (
    INSERT INTO query_stats_history (
      bucket_start, bucket_end, username, queryid, query_hash, toplevel, calls, errors,
      slow_calls, rows, total_time_ms, total_plan_time_ms, shared_blks_hit, shared_blks_read,
      temp_blks_written, wal_bytes, latency_histogram)
    SELECT p.bucket_start, greatest(clock_timestamp(), p.bucket_start), p.username, p.queryid,
           p.query_hash, p.toplevel, p.calls, p.errors, p.slow_calls, p.rows, p.total_time_ms,
           p.total_plan_time_ms, p.shared_blks_hit, p.shared_blks_read, p.temp_blks_written,
           p.wal_bytes, p.latency_histogram
      FROM pending p
    RETURNING 1
  )
  SELECT count(*)::integer FROM written;
END;
COMMENT ON FUNCTION collect_statistics() IS
  'Writes pending_statistics() to query_stats_history; the collector''s work.';

-- Latency histograms.

CREATE FUNCTION latency_histogram(duration_ms double precision) RETURNS bytea
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tp_latency_histogram';
COMMENT ON FUNCTION latency_histogram(double precision) IS 'The histogram of one execution.';

CREATE FUNCTION latency_quantile_ms(histogram bytea, quantile double precision) RETURNS numeric
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tp_latency_quantile';
COMMENT ON FUNCTION latency_quantile_ms(bytea, double precision) IS
  'The quantile (0 to 1) of a histogram in ms, within 1.6 %; NULL for an empty one.';

CREATE FUNCTION latency_merge_step(state internal, histogram bytea) RETURNS internal
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'tp_latency_merge';
COMMENT ON FUNCTION latency_merge_step(internal, bytea) IS 'Part of the aggregate merge_latency.';

CREATE FUNCTION latency_merge_result(state internal) RETURNS bytea
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'tp_latency_merged';
COMMENT ON FUNCTION latency_merge_result(internal) IS 'Part of the aggregate merge_latency.';

CREATE AGGREGATE merge_latency(bytea) (
  SFUNC = latency_merge_step, STYPE = internal, SSPACE = 8448, FINALFUNC = latency_merge_result,
  PARALLEL = SAFE);
COMMENT ON AGGREGATE merge_latency(bytea) IS 'The histogram of all executions of many histograms.';

CREATE FUNCTION get_query_stats(
  start_time timestamptz DEFAULT now() - interval '24 hours',
  end_time timestamptz DEFAULT now())
RETURNS TABLE (total_queries bigint, slow_queries bigint, avg_duration_ms numeric,
               p50_duration_ms numeric, p95_duration_ms numeric, p99_duration_ms numeric)
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  WITH bucket AS MATERIALIZED (
    SELECT c.source, c.bucket_start, c.bucket_end, sum(c.calls) AS calls, sum(c.slow_calls) AS slow_calls,
           sum(c.total_time_ms) AS total_time_ms, merge_latency(c.latency_histogram) AS latency_histogram
      FROM (SELECT h.source, h.bucket_start, h.bucket_end, h.calls, h.slow_calls, h.total_time_ms,
                   h.latency_histogram
              FROM query_stats_history h
             WHERE h.bucket_end > get_query_stats.start_time
               AND h.bucket_start < get_query_stats.end_time
            UNION ALL
            SELECT 'train_perf', p.bucket_start, 'infinity', p.calls, p.slow_calls, p.total_time_ms,
                   p.latency_histogram
              FROM pending_statistics() p
             WHERE p.bucket_start < get_query_stats.end_time
               AND get_query_stats.start_time < clock_timestamp()) c
     GROUP BY c.source, c.bucket_start, c.bucket_end
  ), covered AS (
    SELECT b.bucket_start, b.bucket_end, b.calls, b.slow_calls, b.total_time_ms, b.latency_histogram
      FROM bucket b
     -- What pg_stat_statements counted counts where we ourselves have nothing.
     WHERE b.source = 'train_perf'
        OR NOT EXISTS (SELECT FROM bucket o
                        WHERE o.source = 'train_perf' AND o.bucket_start < b.bucket_end
                          AND o.bucket_end > b.bucket_start)
  ), measured AS (
    SELECT c.calls, c.slow_calls, c.total_time_ms, c.latency_histogram FROM covered c
    UNION ALL
    -- What applications timed themselves counts where nothing was captured.
    SELECT 1, l.is_slow::integer, l.duration_ms, latency_histogram(l.duration_ms::double precision)
      FROM query_performance_logs l
     WHERE l.duration_us IS NULL
       AND l.execution_timestamp >= get_query_stats.start_time
       AND l.execution_timestamp < get_query_stats.end_time
       AND NOT EXISTS (SELECT FROM covered c
                        WHERE l.execution_timestamp >= c.bucket_start
                          AND l.execution_timestamp < c.bucket_end)
  ), total AS (
    SELECT coalesce(sum(m.calls), 0)::bigint AS calls, coalesce(sum(m.slow_calls), 0)::bigint AS slow,
           sum(m.total_time_ms) AS time_ms, merge_latency(m.latency_histogram) AS latency
      FROM measured m
  )
  SELECT t.calls, t.slow, round((t.time_ms / nullif(t.calls, 0::bigint)::double precision)::numeric, 3),
         round(latency_quantile_ms(t.latency, 0.5::double precision), 3), round(latency_quantile_ms(t.latency, 0.95::double precision), 3),
         round(latency_quantile_ms(t.latency, 0.99::double precision), 3)
    FROM total t;
END;
COMMENT ON FUNCTION get_query_stats(timestamptz, timestamptz) IS
  'All executions in this database in a period, exact to the buckets of query_stats_history that it '
  'touches: how many, how many slower than 500 ms, average and percentiles in ms. Where only '
  'pg_stat_statements counted, slow ones and percentiles are not known.';

-- Rolling up: after a day the intervals of an hour become one, after a week those of a day (in UTC). A
-- transaction replaces rows by their sum, so that every reader finds either those or this, whenever it
-- is killed. What is due shows in the rows: periods in which more than one interval begins.

CREATE FUNCTION merge_history(of_source text, first timestamptz, behind timestamptz) RETURNS integer
LANGUAGE sql VOLATILE
SET enable_hashagg = off  -- a histogram of 8 kB for each statement at once would go to disk
BEGIN ATOMIC
  WITH part AS (
    DELETE FROM query_stats_history h
     WHERE h.source = merge_history.of_source
       AND h.bucket_start >= merge_history.first AND h.bucket_start < merge_history.behind
    RETURNING h.*
  ), written AS (
    INSERT INTO query_stats_history (
      bucket_start, bucket_end, username, queryid, query_hash, toplevel, calls, errors,
      slow_calls, rows, total_time_ms, total_plan_time_ms, shared_blks_hit, shared_blks_read,
      temp_blks_written, wal_bytes, latency_histogram, source)
    SELECT (SELECT min(all_of.bucket_start) FROM part all_of),
           (SELECT max(all_of.bucket_end) FROM part all_of), p.username, p.queryid, p.query_hash, p.toplevel, sum(p.calls),
           sum(p.errors), sum(p.slow_calls), sum(p.rows), sum(p.total_time_ms),
           sum(p.total_plan_time_ms), sum(p.shared_blks_hit), sum(p.shared_blks_read),
           sum(p.temp_blks_written), sum(p.wal_bytes),
           merge_latency(p.latency_histogram) FILTER (WHERE p.latency_histogram IS NOT NULL),
           merge_history.of_source
      FROM part p
     GROUP BY p.queryid, p.query_hash, p.username, p.toplevel
  )
  SELECT count(*)::integer FROM part;
END;
COMMENT ON FUNCTION merge_history(text, timestamptz, timestamptz) IS
  'Replaces the rows of a source whose interval begins in the period by one per user and statement, over '
  'one interval that covers theirs. Returns how many it replaced.';

CREATE FUNCTION next_rollup(at timestamptz, keep interval,
                            OUT source text, OUT first timestamptz, OUT behind timestamptz)
RETURNS SETOF record
LANGUAGE sql STABLE
BEGIN ATOMIC
  WITH due AS (
    SELECT s.source, period.start + width.width AS behind, one.start AS one, two.start AS two
      FROM (VALUES ('train_perf'::text), ('pg_stat_statements'::text)) AS s (source)
     CROSS JOIN LATERAL (SELECT min(h.bucket_start) AS start FROM query_stats_history h
                          WHERE h.source = s.source) AS oldest
     CROSS JOIN LATERAL generate_series(
             date_trunc('day'::text, greatest(oldest.start, next_rollup.at - next_rollup.keep), 'UTC'::text),
             next_rollup.at - interval '48 hours', interval '24 hours') AS day (start)
     CROSS JOIN LATERAL (SELECT CASE WHEN day.start <= next_rollup.at - interval '192 hours'
                                     THEN interval '24 hours' ELSE interval '1 hour' END) AS width (width)
     CROSS JOIN LATERAL generate_series(day.start, day.start + interval '24 hours' - width.width,
                                        width.width) AS period (start)
     CROSS JOIN LATERAL (SELECT min(h.bucket_start) AS start FROM query_stats_history h
                          WHERE h.source = s.source AND h.bucket_start >= period.start
                            AND h.bucket_start < period.start + width.width) AS one
     CROSS JOIN LATERAL (SELECT min(h.bucket_start) AS start FROM query_stats_history h
                          WHERE h.source = s.source AND h.bucket_start > one.start
                            AND h.bucket_start < period.start + width.width) AS two
     WHERE two.start IS NOT NULL
     LIMIT 1
  )
  -- At most 30,000 rows in one go, but at least two intervals.
  SELECT d.source, d.one, greatest(coalesce(enough.start, d.behind), d.two + interval '1 microsecond')
    FROM due d
    LEFT JOIN LATERAL (SELECT h.bucket_start AS start FROM query_stats_history h
                        WHERE h.source = d.source AND h.bucket_start >= d.one AND h.bucket_start < d.behind
                        ORDER BY h.bucket_start OFFSET 30000 LIMIT 1) AS enough ON true;
END;
COMMENT ON FUNCTION next_rollup(timestamptz, interval) IS
  'Rows of query_stats_history to be merged next, if there are any.';

CREATE FUNCTION compact_partition_of(parent regclass, before timestamptz) RETURNS integer
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET lock_timeout = '100ms'
AS $$
DECLARE
  part regclass;
BEGIN
  SELECT c.oid INTO part
    FROM pg_inherits i
    JOIN pg_class c ON c.oid = i.inhrelid
   WHERE i.inhparent = parent
     AND c.relname ~ '_p\d{8}$'
     AND to_timestamp(right(c.relname, 8), 'YYYYMMDD') + interval '1 day' <= before
     AND pg_relation_size(c.oid) > 1024 * 1024
     AND pg_relation_size(c.oid) > 2 * c.reltuples * (
           SELECT 28 + sum(s.stawidth) FROM pg_statistic s WHERE s.starelid = c.oid AND NOT s.stainherit)
   ORDER BY c.relname
   LIMIT 1;
  IF NOT FOUND THEN RETURN 0; END IF;
  -- Unlike TRUNCATE or a swap of tables it keeps what older snapshots still see.
  EXECUTE format('CLUSTER %s USING %I', part, (
    SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
     WHERE i.indrelid = part AND i.indisvalid ORDER BY i.indexrelid LIMIT 1));
  EXECUTE format('ALTER TABLE %s SET WITHOUT CLUSTER', part);
  RETURN 1;
END
$$;
COMMENT ON FUNCTION compact_partition_of(regclass, timestamptz) IS
  'Rewrites one partition of a day that ended before, if its file is more than twice as large as its '
  'rows by the last ANALYZE (autovacuum''s); others wait meanwhile. Waits 100 ms for the lock itself. '
  'Returns 0 if there was none.';

CREATE FUNCTION roll_up_history_at(at timestamptz, keep interval) RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT coalesce(sum(merge_history(n.source, n.first, n.behind)), 0::bigint)::integer
    FROM next_rollup(roll_up_history_at.at, roll_up_history_at.keep) n;
END;
COMMENT ON FUNCTION roll_up_history_at(timestamptz, interval) IS 'Part of roll_up_history.';

CREATE FUNCTION roll_up_history() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT roll_up_history_at(clock_timestamp(),
                            coalesce(current_setting('train_perf.retention', true), '35d')::interval);
END;
COMMENT ON FUNCTION roll_up_history() IS
  'One step of rolling up query_stats_history; the collector''s work, repeated until it returns 0.';

CREATE FUNCTION compact_history() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT compact_partition_of('query_stats_history'::regclass, clock_timestamp() - interval '24 hours');
END;
COMMENT ON FUNCTION compact_history() IS
  'Makes one partition of query_stats_history compact after rolling up; the collector''s work, repeated '
  'until it returns 0.';

-- Partitions of one day each.

CREATE FUNCTION maintain_partitions_of(parent regclass, keep interval,
                                       at timestamptz DEFAULT clock_timestamp(),
                                       most integer DEFAULT NULL)
RETURNS integer
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET lock_timeout = '100ms'
AS $$
DECLARE
  table_schema name;
  table_name name;
  table_owner text;
  key name;
  spare regclass;
  columns text;
  expired boolean;
  moves boolean;
  days timestamptz[];
  outdated text[];
  day timestamptz;
  part_id text;
  grantee text;
  changed integer := 0;
BEGIN
  SELECT n.nspname, c.relname, c.relowner::regrole::text, a.attname, p.partdefid::regclass
    INTO STRICT table_schema, table_name, table_owner, key, spare
    FROM pg_partitioned_table p
    JOIN pg_class c ON c.oid = p.partrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
   WHERE p.partrelid = parent;
  SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) INTO columns
    FROM pg_attribute
   WHERE attrelid = parent AND attnum > 0 AND NOT attisdropped AND attgenerated = '';

  -- What is to be done, before any lock that writers would wait for.
  EXECUTE format('SELECT EXISTS (SELECT FROM %s WHERE %I < $1)', spare, key)
    INTO expired USING date_trunc('day', at - keep);
  EXECUTE format(
    'SELECT array_agg(d ORDER BY d) FROM (SELECT date_trunc(''day'', $1) UNION '
    'SELECT date_trunc(''day'', $1) + interval ''1 day'' UNION '
    'SELECT date_trunc(''day'', %I) FROM %s WHERE %I >= $2 AND %I < $1 + interval ''2 days'') AS days (d) '
    'WHERE to_regclass(format(''%%I.%%I'', $3, $4 || ''_p'' || to_char(d, ''YYYYMMDD''))) IS NULL',
    key, spare, key, key)
    INTO days USING at, date_trunc('day', at - keep), table_schema, table_name;
  SELECT array_agg(format('%I.%I', table_schema, c.relname) ORDER BY c.relname) INTO outdated
    FROM pg_inherits i
    JOIN pg_class c ON c.oid = i.inhrelid
   WHERE i.inhparent = parent
     AND c.relname ~ '_p\d{8}$'
     AND to_timestamp(right(c.relname, 8), 'YYYYMMDD') + interval '1 day' <= at - keep;
  IF NOT expired AND days IS NULL AND outdated IS NULL THEN RETURN 0; END IF;

  -- Before the default partition: whoever planned with the old partitions would wait there, and then an
  -- INSERT would find its row in the wrong place and a SELECT would miss the rows that have moved.
  EXECUTE format('SELECT EXISTS (SELECT FROM %s)', spare) INTO moves;
  EXECUTE format('LOCK TABLE ONLY %s IN %s MODE', parent,
                 CASE WHEN moves THEN 'ACCESS EXCLUSIVE' ELSE 'SHARE ROW EXCLUSIVE' END);
  IF expired THEN
    EXECUTE format('DELETE FROM %s WHERE %I < $1', spare, key) USING date_trunc('day', at - keep);
  END IF;

  FOREACH day IN ARRAY coalesce(days, '{}') LOOP
    EXIT WHEN changed >= most;
    part_id := format('%I.%I', table_schema, table_name || '_p' || to_char(day, 'YYYYMMDD'));
    EXECUTE format('CREATE TABLE %s (LIKE %s INCLUDING ALL EXCLUDING INDEXES EXCLUDING COMMENTS)',
                   part_id, parent);
    EXECUTE format('ALTER TABLE %s ADD CONSTRAINT of_its_day CHECK (%I >= %L AND %I < %L)',
                   part_id, key, day, key, day + interval '1 day');
    FOR grantee IN  -- what default privileges gave
      SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END
        FROM pg_class c, aclexplode(c.relacl) a
       WHERE c.oid = part_id::regclass AND a.grantee <> c.relowner
    LOOP
      EXECUTE format('REVOKE ALL ON %s FROM %s CASCADE', part_id, grantee);
    END LOOP;
    EXECUTE format('ALTER TABLE %s OWNER TO %s', part_id, table_owner);
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', part_id);
    EXECUTE format('CREATE POLICY granted ON %s USING (true) WITH CHECK (true)', part_id);
    EXECUTE format('WITH moved AS (DELETE FROM %s WHERE %I >= $1 AND %I < $2 RETURNING %s) '
                   'INSERT INTO %s (%s) SELECT %s FROM moved',
                   spare, key, key, columns, part_id, columns, columns)
      USING day, day + interval '1 day';
    EXECUTE format('ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (%L) TO (%L)',
                   parent, part_id, day, day + interval '1 day');
    EXECUTE format('ALTER TABLE %s DROP CONSTRAINT of_its_day', part_id);
    changed := changed + 1;
  END LOOP;

  FOREACH part_id IN ARRAY coalesce(outdated, '{}') LOOP
    EXIT WHEN changed >= most;
    EXECUTE format('DROP TABLE %s', part_id);
    changed := changed + 1;
  END LOOP;
  RETURN changed;
END
$$;
COMMENT ON FUNCTION maintain_partitions_of(regclass, interval, timestamptz, integer) IS
  'Makes the partitions of today, tomorrow and of days with rows in the default partition, and drops '
  'those older than `keep`; at most `most` of both. Waits 100 ms for a lock. Returns how many it made '
  'or dropped.';

CREATE FUNCTION maintain_log_partitions() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT maintain_partitions_of('query_performance_logs'::regclass,
                                coalesce(current_setting('train_perf.log_retention', true),
                                         '7d')::interval,
                                most => 1);
END;
COMMENT ON FUNCTION maintain_log_partitions() IS
  'Makes or drops one partition of the log as train_perf.log_retention says; the collector''s work, '
  'repeated until it returns 0.';

CREATE FUNCTION maintain_history_partitions() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  DELETE FROM query_texts t
   WHERE t.last_seen < now() - interval '2 days' -
                       coalesce(current_setting('train_perf.retention', true), '35d')::interval;
  SELECT maintain_partitions_of('query_stats_history'::regclass,
                                coalesce(current_setting('train_perf.retention', true),
                                         '35d')::interval,
                                most => 1);
END;
COMMENT ON FUNCTION maintain_history_partitions() IS
  'Makes or drops one partition of the history as train_perf.retention says; the collector''s work, '
  'repeated until it returns 0.';
-- src/capture/snapshot.sql
-- What pg_stat_statements counted, for servers where train_perf is not preloaded; where it is, a
-- cross-check.

CREATE TABLE query_stats_snapshot (
  singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
  taken_at timestamptz NOT NULL,
  calls bigint,
  calls_differ bigint
);
COMMENT ON TABLE query_stats_snapshot IS
  'The last capture_query_stats_snapshot(): when it was, the calls since the one before it of statements '
  'that pg_stat_statements and we ourselves know, and by how many ours differ.';

-- Not dumped: elsewhere these counters and OIDs mean nothing.
CREATE TABLE query_stats_baseline (
  userid oid NOT NULL,
  queryid bigint NOT NULL,
  toplevel boolean NOT NULL,
  calls bigint NOT NULL,
  captured_calls bigint,
  rows bigint NOT NULL,
  total_time_ms double precision NOT NULL,
  total_plan_time_ms double precision NOT NULL,
  shared_blks_hit bigint NOT NULL,
  shared_blks_read bigint NOT NULL,
  temp_blks_written bigint NOT NULL,
  wal_bytes bigint NOT NULL,
  PRIMARY KEY (userid, queryid, toplevel)
);
COMMENT ON TABLE query_stats_baseline IS
  'Counters of pg_stat_statements at the last capture_query_stats_snapshot(), and our own.';

CREATE FUNCTION pg_stat_statements_function() RETURNS oid
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF current_setting('pg_stat_statements.max', true) IS NULL THEN RETURN NULL; END IF;
  -- Its C function, wherever it is; whoever owns a schema can put others of the name beside it.
  RETURN (SELECT p.oid
            FROM pg_extension e
            JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
                            AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
            JOIN pg_proc p ON p.oid = d.objid AND p.proname = 'pg_stat_statements'
            JOIN pg_language l ON l.oid = p.prolang AND l.lanname = 'c'
           WHERE e.extname = 'pg_stat_statements');
END
$$;
COMMENT ON FUNCTION pg_stat_statements_function() IS
  'Part of capture_query_stats_snapshot: NULL where pg_stat_statements is not loaded or not created.';

CREATE FUNCTION pg_stat_statements_counters(counters oid)
RETURNS TABLE (userid oid, queryid bigint, toplevel boolean, query text, calls bigint, rows bigint,
               total_time_ms double precision, total_plan_time_ms double precision,
               shared_blks_hit bigint, shared_blks_read bigint, temp_blks_written bigint,
               wal_bytes bigint, since timestamptz)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  source text;
  columns text[];
BEGIN
  IF counters IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '55000',
      MESSAGE = 'pg_stat_statements is not in this database',
      HINT = 'Add it to shared_preload_libraries, restart the server, and run CREATE EXTENSION pg_stat_statements here.';
  END IF;
  SELECT format('%I.%I(true)', n.nspname, p.proname), p.proargnames INTO source, columns
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE p.oid = counters;
  -- Versions that the extension was not updated to lack some.
  RETURN QUERY EXECUTE format(
    'SELECT s.userid, s.queryid, %s, min(s.query), sum(s.calls)::bigint, sum(s.rows)::bigint, '
    'sum(s.%I), sum(%s), sum(s.shared_blks_hit)::bigint, sum(s.shared_blks_read)::bigint, '
    'sum(s.temp_blks_written)::bigint, sum(%s)::bigint, max(%s) '
    'FROM %s s JOIN pg_database d ON d.oid = s.dbid AND d.datname = current_database() '
    'WHERE s.queryid IS NOT NULL GROUP BY 1, 2, 3',
    CASE WHEN 'toplevel' = ANY (columns) THEN 's.toplevel' ELSE 'true' END,
    CASE WHEN 'total_exec_time' = ANY (columns) THEN 'total_exec_time' ELSE 'total_time' END,
    CASE WHEN 'total_plan_time' = ANY (columns) THEN 's.total_plan_time' ELSE '0::double precision' END,
    CASE WHEN 'wal_bytes' = ANY (columns) THEN 's.wal_bytes' ELSE '0' END,
    CASE WHEN 'stats_since' = ANY (columns) THEN 's.stats_since' ELSE 'NULL::timestamptz' END,
    source);
END
$$;
COMMENT ON FUNCTION pg_stat_statements_counters(oid) IS
  'Part of capture_query_stats_snapshot: the statements of this database, whatever version of '
  'pg_stat_statements and in whatever schema. `since` is NULL before its version 1.11.';

CREATE FUNCTION captured_calls(stats regclass)
RETURNS TABLE (username name, queryid bigint, toplevel boolean, calls bigint)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF current_setting('train_perf.max_statements', true) IS NULL THEN RETURN; END IF;  -- not preloaded
  RETURN QUERY EXECUTE format(
    'SELECT s.username, s.queryid, s.toplevel, sum(s.calls - s.errors)::bigint FROM %s s '
    'WHERE s.datname = current_database() AND s.queryid IS NOT NULL GROUP BY 1, 2, 3', stats);
END
$$;
COMMENT ON FUNCTION captured_calls(regclass) IS
  'Part of capture_query_stats_snapshot: our own counters, without failed calls, which pg_stat_statements '
  'does not count.';

CREATE FUNCTION lock_baseline(baseline regclass) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', baseline);
END
$$;
COMMENT ON FUNCTION lock_baseline(regclass) IS
  'Part of capture_query_stats_snapshot: two at once would count the same calls.';

CREATE FUNCTION capture_query_stats_snapshot() RETURNS integer
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT lock_baseline('query_stats_baseline'::regclass);
  WITH snapshot AS MATERIALIZED (
    SELECT l.taken_at AS previous, greatest(clock_timestamp(), l.taken_at) AS taken_at
      FROM (SELECT max(s.taken_at) AS taken_at FROM query_stats_snapshot s) l
  ), statement AS MATERIALIZED (
    SELECT p.userid, r.rolname AS username, p.queryid, p.toplevel, p.query, p.calls, p.rows,
           p.total_time_ms, p.total_plan_time_ms, p.shared_blks_hit, p.shared_blks_read,
           p.temp_blks_written, p.wal_bytes, p.since, c.calls AS captured_calls
      FROM pg_stat_statements_counters(pg_stat_statements_function()) p
      LEFT JOIN pg_roles r ON r.oid = p.userid
      LEFT JOIN captured_calls('query_stats'::regclass) c
        ON c.username = r.rolname AND c.queryid = p.queryid AND c.toplevel = p.toplevel
  ), executed AS MATERIALIZED (
    -- A reset, or an entry that went and came back, begins at 0 again.
    SELECT s.username, s.queryid, s.toplevel, s.query, s.calls - coalesce(b.calls, 0::bigint) AS calls,
           s.captured_calls - b.captured_calls AS captured_calls,
           s.rows - coalesce(b.rows, 0::bigint) AS rows,
           s.total_time_ms - coalesce(b.total_time_ms, 0::double precision) AS total_time_ms,
           s.total_plan_time_ms - coalesce(b.total_plan_time_ms, 0::double precision) AS total_plan_time_ms,
           s.shared_blks_hit - coalesce(b.shared_blks_hit, 0::bigint) AS shared_blks_hit,
           s.shared_blks_read - coalesce(b.shared_blks_read, 0::bigint) AS shared_blks_read,
           s.temp_blks_written - coalesce(b.temp_blks_written, 0::bigint) AS temp_blks_written,
           s.wal_bytes - coalesce(b.wal_bytes, 0::bigint) AS wal_bytes
      FROM statement s
     CROSS JOIN snapshot n
      LEFT JOIN query_stats_baseline b
        ON b.userid = s.userid AND b.queryid = s.queryid AND b.toplevel = s.toplevel
       AND b.calls <= s.calls AND b.rows <= s.rows AND b.total_time_ms <= s.total_time_ms
       AND (s.since IS NULL OR s.since <= n.previous)
     WHERE n.previous IS NOT NULL
  ), written AS (
    INSERT INTO query_stats_history (
      bucket_start, bucket_end, username, queryid, query_hash, toplevel, calls, errors,
      slow_calls, rows, total_time_ms, total_plan_time_ms, shared_blks_hit, shared_blks_read,
      temp_blks_written, wal_bytes, source)
    SELECT n.previous, n.taken_at, e.username, e.queryid, query_hash(e.query), e.toplevel, e.calls, 0,
           0, e.rows, e.total_time_ms, e.total_plan_time_ms, e.shared_blks_hit, e.shared_blks_read,
           e.temp_blks_written, e.wal_bytes, 'pg_stat_statements'
      FROM executed e CROSS JOIN snapshot n
     WHERE e.calls > 0::bigint
    RETURNING 1
  ), texts AS (
    INSERT INTO query_texts AS known (query_hash, query)
    SELECT DISTINCT ON (query_hash(e.query)) query_hash(e.query), normalize_query(e.query) FROM executed e
     WHERE e.calls > 0::bigint AND e.query IS NOT NULL
     ORDER BY query_hash(e.query)
    ON CONFLICT (query_hash) DO UPDATE SET last_seen = now()
     WHERE known.last_seen < now() - interval '1 day'
  ), gone AS (
    DELETE FROM query_stats_baseline b
     WHERE NOT EXISTS (SELECT FROM statement s WHERE s.userid = b.userid AND s.queryid = b.queryid
                                                 AND s.toplevel = b.toplevel)
  ), remembered AS (
    INSERT INTO query_stats_baseline AS b (
      userid, queryid, toplevel, calls, captured_calls, rows, total_time_ms, total_plan_time_ms,
      shared_blks_hit, shared_blks_read, temp_blks_written, wal_bytes)
    SELECT s.userid, s.queryid, s.toplevel, s.calls, s.captured_calls, s.rows, s.total_time_ms,
           s.total_plan_time_ms, s.shared_blks_hit, s.shared_blks_read, s.temp_blks_written, s.wal_bytes
      FROM statement s
    ON CONFLICT (userid, queryid, toplevel) DO UPDATE
      SET (calls, captured_calls, rows, total_time_ms, total_plan_time_ms, shared_blks_hit,
           shared_blks_read, temp_blks_written, wal_bytes)
        = (excluded.calls, excluded.captured_calls, excluded.rows, excluded.total_time_ms,
           excluded.total_plan_time_ms, excluded.shared_blks_hit, excluded.shared_blks_read,
           excluded.temp_blks_written, excluded.wal_bytes)
      WHERE b.calls <> excluded.calls OR b.captured_calls IS DISTINCT FROM excluded.captured_calls
  ), noted AS (
    INSERT INTO query_stats_snapshot AS last (taken_at, calls, calls_differ)
    SELECT n.taken_at, x.calls, x.calls_differ
      FROM snapshot n
     CROSS JOIN (SELECT sum(e.calls) AS calls, sum(abs(e.calls - e.captured_calls)) AS calls_differ
                   FROM executed e WHERE e.captured_calls >= 0::bigint) x
    ON CONFLICT (singleton) DO UPDATE
      SET (taken_at, calls, calls_differ) = (excluded.taken_at, excluded.calls, excluded.calls_differ)
  )
  SELECT count(*)::integer FROM written;
END;
COMMENT ON FUNCTION capture_query_stats_snapshot() IS
  'Writes what pg_stat_statements counted since the last call to query_stats_history, with its name as '
  'source; the first call only remembers where to begin. Returns the number of rows written.';

CREATE FUNCTION take_hourly_snapshot() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT CASE WHEN pg_stat_statements_function() IS NOT NULL
               AND NOT EXISTS (SELECT FROM query_stats_snapshot s
                                WHERE s.taken_at > clock_timestamp() - interval '55 minutes')
              THEN capture_query_stats_snapshot() ELSE 0 END;
END;
COMMENT ON FUNCTION take_hourly_snapshot() IS
  'capture_query_stats_snapshot() if it is time and pg_stat_statements is here; the collector''s work.';
-- src/capture/status.sql
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
  -- Index usage is not observed in this version.
  SELECT s.*, NULL::timestamptz, last.taken_at, last.calls, last.calls_differ
    FROM shared_capture_status() s LEFT JOIN query_stats_snapshot last ON true;
END;
COMMENT ON FUNCTION capture_status() IS
  'One row on the state of capture. Events are those of this database, and at any time '
  'events_enqueued = events_written + events_queued + events_dropped. The last columns tell by how many '
  'calls we differ from pg_stat_statements, where it is; see capture_query_stats_snapshot().';
-- src/alert/alert.sql
-- Alerts, and the log functions that raise them.

CREATE TABLE performance_alerts (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  alert_type text NOT NULL,
  severity text NOT NULL CHECK (severity IN ('info', 'warning', 'error', 'critical')),
  message text NOT NULL,
  details jsonb DEFAULT '{}',
  created_at timestamptz DEFAULT now(),
  resolved_at timestamptz,
  resolved_by uuid,
  resolution_notes text,
  fingerprint text,
  last_seen_at timestamptz,
  occurrences bigint NOT NULL DEFAULT 1,
  acknowledged_at timestamptz
);
CREATE UNIQUE INDEX performance_alerts_open ON performance_alerts (fingerprint)
  WHERE resolved_at IS NULL;
CREATE INDEX performance_alerts_created ON performance_alerts (created_at);
SELECT pg_catalog.pg_extension_config_dump('performance_alerts', '');

COMMENT ON TABLE performance_alerts IS
  'What needs attention. At most one open alert (resolved_at IS NULL) per fingerprint: it is updated '
  'in place.';
COMMENT ON COLUMN performance_alerts.fingerprint IS 'What the alert is about; NULL: nothing in particular.';
COMMENT ON COLUMN performance_alerts.occurrences IS 'How often it has happened while the alert was open.';
COMMENT ON COLUMN performance_alerts.last_seen_at IS 'When it last happened.';
COMMENT ON COLUMN performance_alerts.resolved_by IS 'Who resolved it: a user of the application.';

CREATE FUNCTION severity_rank(severity text) RETURNS integer
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
BEGIN ATOMIC
  SELECT CASE severity_rank.severity
           WHEN 'info' THEN 1 WHEN 'warning' THEN 2 WHEN 'error' THEN 3 WHEN 'critical' THEN 4 END;
END;
COMMENT ON FUNCTION severity_rank(text) IS 'Severities in order: info 1, warning 2, error 3, critical 4.';

CREATE FUNCTION create_performance_alert(p_alert_type text, p_severity text, p_message text,
                                         p_details jsonb DEFAULT '{}')
RETURNS uuid
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  INSERT INTO performance_alerts AS open (alert_type, severity, message, details, fingerprint,
                                          last_seen_at)
  VALUES (p_alert_type, p_severity, p_message, coalesce(p_details, '{}'),
          p_details ->> 'fingerprint', now())
  ON CONFLICT (fingerprint) WHERE resolved_at IS NULL DO UPDATE
     SET alert_type = excluded.alert_type, severity = excluded.severity,
         message = excluded.message, details = excluded.details,
         last_seen_at = excluded.last_seen_at, occurrences = open.occurrences + 1
  RETURNING open.id;
END;
COMMENT ON FUNCTION create_performance_alert(text, text, text, jsonb) IS
  'Raises an alert and returns its id. If p_details has a fingerprint that an open alert has, that one '
  'is updated instead.';

CREATE FUNCTION resolve_performance_alert(alert_id uuid, notes text DEFAULT NULL,
                                          resolved_by uuid DEFAULT NULL)
RETURNS boolean
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  WITH resolved AS (
    UPDATE performance_alerts a
       SET resolved_at = now(),
           resolution_notes = coalesce(resolve_performance_alert.notes, a.resolution_notes),
           resolved_by = resolve_performance_alert.resolved_by
     WHERE a.id = resolve_performance_alert.alert_id AND a.resolved_at IS NULL
    RETURNING 1
  )
  SELECT EXISTS (SELECT FROM resolved);
END;
COMMENT ON FUNCTION resolve_performance_alert(uuid, text, uuid) IS
  'Resolves an open alert; false if there is no such open alert.';

CREATE FUNCTION slow_query_severity(duration_ms numeric) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
BEGIN ATOMIC
  SELECT CASE WHEN slow_query_severity.duration_ms > 2000::numeric THEN 'error'
              WHEN slow_query_severity.duration_ms > 1000::numeric THEN 'warning'
              WHEN slow_query_severity.duration_ms > 500::numeric THEN 'info' END;
END;
COMMENT ON FUNCTION slow_query_severity(numeric) IS
  'The severity of one slow statement by its duration; NULL up to 500 ms.';

CREATE FUNCTION max_duration_in(details jsonb) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
  -- Whoever may update alerts may write anything here.
  SELECT CASE WHEN jsonb_typeof(max_duration_in.details -> 'max_duration_ms') = 'number'
              THEN (max_duration_in.details ->> 'max_duration_ms')::numeric END;
END;
COMMENT ON FUNCTION max_duration_in(jsonb) IS
  'The longest duration in ms that the details of a slow_query alert tell; NULL if they tell none.';

CREATE FUNCTION raise_slow_query_alert(query_hash text, query_text text, duration_ms numeric,
                                       executions bigint, endpoint text, last_execution timestamptz)
RETURNS uuid
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  INSERT INTO performance_alerts AS open (alert_type, severity, message, details, fingerprint,
                                          occurrences, created_at, last_seen_at)
  SELECT 'slow_query', slow_query_severity(s.duration_ms),
         'Statement took ' || round(s.duration_ms)::text || ' ms: ' || left(s.query_text, 200),
         pg_catalog.jsonb_build_object('query_hash', s.query_hash, 'query', left(s.query_text, 1000),
                            'max_duration_ms', round(s.duration_ms), 'endpoint', s.endpoint),
         'slow_query:' || s.query_hash, s.executions, least(now(), s.last_execution),
         s.last_execution
    FROM (SELECT raise_slow_query_alert.query_hash, raise_slow_query_alert.query_text,
                 raise_slow_query_alert.duration_ms, raise_slow_query_alert.executions,
                 raise_slow_query_alert.endpoint, raise_slow_query_alert.last_execution) s
   WHERE slow_query_severity(s.duration_ms) IS NOT NULL
  ON CONFLICT (fingerprint) WHERE resolved_at IS NULL DO UPDATE
     SET occurrences = open.occurrences + excluded.occurrences,
         last_seen_at = greatest(open.last_seen_at, excluded.last_seen_at),
         -- The worst so far stays on show while the alert is open.
         severity = CASE WHEN severity_rank(excluded.severity) > severity_rank(open.severity)
                         THEN excluded.severity ELSE open.severity END,
         message = CASE WHEN max_duration_in(excluded.details) >
                             coalesce(max_duration_in(open.details), 0::numeric)
                        THEN excluded.message ELSE open.message END,
         details = coalesce(open.details, '{}') || excluded.details || pg_catalog.jsonb_build_object(
           'max_duration_ms', greatest(max_duration_in(excluded.details),
                                       max_duration_in(open.details)),
           'endpoint', coalesce(excluded.details ->> 'endpoint', open.details ->> 'endpoint'))
  RETURNING open.id;
END;
COMMENT ON FUNCTION raise_slow_query_alert(text, text, numeric, bigint, text, timestamptz) IS
  'Raises or updates the one open slow_query alert of a statement; nothing up to 500 ms.';

CREATE FUNCTION log_query_performance(query_text text, duration_ms integer,
                                      user_id uuid DEFAULT NULL, endpoint text DEFAULT NULL,
                                      parameters jsonb DEFAULT NULL,
                                      error_message text DEFAULT NULL,
                                      stack_trace text DEFAULT NULL)
RETURNS uuid
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT raise_slow_query_alert(query_hash(log_query_performance.query_text),
                                log_query_performance.query_text,
                                log_query_performance.duration_ms, 1,
                                log_query_performance.endpoint, now());
  INSERT INTO query_performance_logs (query_text, query_hash, duration_ms, user_id, endpoint,
                                      parameters, error_message, stack_trace)
  VALUES (log_query_performance.query_text, query_hash(log_query_performance.query_text),
          log_query_performance.duration_ms, log_query_performance.user_id,
          log_query_performance.endpoint, log_query_performance.parameters,
          log_query_performance.error_message, log_query_performance.stack_trace)
  RETURNING id;
END;
COMMENT ON FUNCTION log_query_performance(text, integer, uuid, text, jsonb, text, text) IS
  'Logs a call that the application timed itself, raises the slow_query alert if it was slow, and '
  'returns the id of the row.';

CREATE FUNCTION get_slow_queries(hours_back integer DEFAULT 24, min_duration_ms integer DEFAULT 500)
RETURNS TABLE (query_text text, avg_duration_ms numeric, max_duration_ms integer,
               execution_count bigint, last_execution timestamptz)
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT min(normalize_query(l.query_text)), round(avg(l.duration_ms), 2), max(l.duration_ms), count(*),
         max(l.execution_timestamp)
    FROM query_performance_logs l
   WHERE l.execution_timestamp > now() - pg_catalog.make_interval(hours => get_slow_queries.hours_back)
     AND l.duration_ms >= get_slow_queries.min_duration_ms
   -- An application's own hash may be of anything.
   GROUP BY CASE WHEN l.duration_us IS NULL THEN query_hash(l.query_text) ELSE l.query_hash END
   ORDER BY avg(l.duration_ms) DESC, max(l.duration_ms) DESC
   LIMIT 50;
END;
COMMENT ON FUNCTION get_slow_queries(integer, integer) IS
  'The 50 statements with the highest average duration among logged executions of at least '
  'min_duration_ms in the last hours_back hours.';

CREATE FUNCTION collect_events() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  WITH batch AS MATERIALIZED (
    SELECT * FROM queued_events()
  ), logged AS (
    INSERT INTO query_performance_logs (
      query_text, query_hash, duration_ms, duration_us, execution_timestamp, user_id, endpoint,
      parameters, error_message, stack_trace, queryid, database_user, application_name,
      client_addr, sqlstate, rows, shared_blks_hit, shared_blks_read, temp_blks_written,
      wal_bytes, trace_id, tags, plan)
    SELECT b.query_text, b.query_hash, least(round(b.duration_us::numeric / 1000.0), 2147483647.0)::integer,
           b.duration_us, b.execution_timestamp, b.user_id, b.endpoint, b.parameters,
           b.error_message, b.stack_trace, b.queryid, b.database_user, b.application_name,
           b.client_addr, b.sqlstate, b.rows, b.shared_blks_hit, b.shared_blks_read,
           b.temp_blks_written, b.wal_bytes, b.trace_id, b.tags, b.plan
      FROM batch b
    RETURNING 1
  ), slow AS (
    SELECT b.query_hash, min(normalize_query(b.query_text)) AS query_text,
           max(b.duration_us)::numeric / 1000.0 AS duration_ms, count(*) AS executions,
           max(b.endpoint) AS endpoint, max(b.execution_timestamp) AS last_execution
      FROM batch b
     WHERE b.duration_us > 500000::bigint
     GROUP BY b.query_hash
  ), raised AS (
    SELECT pg_catalog.count(raise_slow_query_alert(s.query_hash, s.query_text, s.duration_ms, s.executions,
                                        s.endpoint, s.last_execution)) AS alerts
      FROM slow s
  )
  SELECT greatest((SELECT count(*) FROM logged), r.alerts)::integer FROM raised r;
END;
COMMENT ON FUNCTION collect_events() IS
  'Writes the next batch of queued events to query_performance_logs and raises their alerts; the '
  'collector''s work. Returns the rows written.';
-- src/access/access.sql
-- Who may do what. Everything belongs to the extension's owner; pg_monitor reads; grant_access gives
-- the same, or more, to others. What default privileges gave (Supabase grants everything new in
-- public to its API roles) is taken back, object by object.

CREATE VIEW access_levels AS
SELECT * FROM (VALUES
  ('read', 'SELECT', 'TABLE', 'query_performance_logs'::regclass::oid),
  ('read', 'SELECT', 'TABLE', 'query_stats_history'::regclass::oid),
  ('read', 'SELECT', 'TABLE', 'query_texts'::regclass::oid),
  ('read', 'SELECT', 'TABLE', 'query_stats_snapshot'::regclass::oid),
  ('read', 'SELECT', 'TABLE', 'performance_alerts'::regclass::oid),
  ('read', 'SELECT', 'TABLE', 'query_stats'::regclass::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'query_stats()'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'capture_status()'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'shared_capture_status()'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'library_version()'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'normalize_query(text)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'query_hash(text)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'pending_statistics()'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'latency_histogram(double precision)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'latency_quantile_ms(bytea, double precision)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'merge_latency(bytea)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'get_query_stats(timestamptz, timestamptz)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'get_slow_queries(integer, integer)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'severity_rank(text)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'slow_query_severity(numeric)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'max_duration_in(jsonb)'::regprocedure::oid),
  ('operate', 'INSERT', 'TABLE', 'query_performance_logs'::regclass::oid),
  ('operate', 'INSERT, UPDATE', 'TABLE', 'performance_alerts'::regclass::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'capture_query_stats_snapshot()'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION',
   'log_query_performance(text, integer, uuid, text, jsonb, text, text)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION',
   'raise_slow_query_alert(text, text, numeric, bigint, text, timestamptz)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION',
   'create_performance_alert(text, text, text, jsonb)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION',
   'resolve_performance_alert(uuid, text, uuid)'::regprocedure::oid)
) AS rules (level, privileges, kind, object);
COMMENT ON VIEW access_levels IS
  'What the levels of grant_access give: read, and what operate gives on top of it.';

-- The schema, tables and functions come as arguments, bound by the callers: PL/pgSQL would look names
-- up when it runs.
CREATE FUNCTION change_access(rules regclass, grantee regrole, levels text[], give boolean)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  rule record;
  object text;
BEGIN
  IF grantee IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '22004', MESSAGE = 'grantee must not be NULL';
  END IF;
  FOR rule IN EXECUTE format('SELECT * FROM %s WHERE level = ANY ($1)', rules) USING levels LOOP
    object := CASE rule.kind WHEN 'TABLE' THEN rule.object::regclass::text
                             ELSE rule.object::regprocedure::text END;
    EXECUTE format(CASE WHEN give THEN 'GRANT %s ON %s %s TO %s' ELSE 'REVOKE %s ON %s %s FROM %s' END,
                   rule.privileges, rule.kind, object, grantee);
  END LOOP;
END
$$;
COMMENT ON FUNCTION change_access(regclass, regrole, text[], boolean) IS
  'Part of grant_access and revoke_access.';

CREATE FUNCTION grant_usage(of_relation regclass, grantee regrole) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  home oid;
BEGIN
  SELECT relnamespace INTO STRICT home FROM pg_class WHERE oid = of_relation;
  IF NOT has_schema_privilege(grantee::oid, home, 'USAGE') THEN
    EXECUTE format('GRANT USAGE ON SCHEMA %s TO %s', home::regnamespace, grantee);
  END IF;
END
$$;
COMMENT ON FUNCTION grant_usage(regclass, regrole) IS 'Part of grant_access: the schema''s USAGE.';

CREATE FUNCTION check_access_level(level text) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  CASE level
    WHEN 'read' THEN RETURN '{read}';
    WHEN 'operate' THEN RETURN '{read,operate}';
    ELSE
      RAISE EXCEPTION USING ERRCODE = '22023',
        MESSAGE = format('unknown access level %s', coalesce(quote_literal(level), 'NULL')),
        HINT = 'The levels are read and operate.';
  END CASE;
END
$$;
COMMENT ON FUNCTION check_access_level(text) IS 'The levels that a level comprises; 22023 if unknown.';

CREATE FUNCTION grant_access(grantee regrole, level text) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT change_access('access_levels'::regclass, grant_access.grantee,
                       check_access_level(grant_access.level), true);
  SELECT grant_usage('access_levels'::regclass, grant_access.grantee);
END;
COMMENT ON FUNCTION grant_access(regrole, text) IS
  'Gives a role access to the extension: read (tables, views, reading functions) or operate (also '
  'logging, alerts). For the owner of the extension or of the database.';

CREATE FUNCTION revoke_access(grantee regrole) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT change_access('access_levels'::regclass, revoke_access.grantee, '{read,operate}'::text[], false);
END;
COMMENT ON FUNCTION revoke_access(regrole) IS
  'Takes back what grant_access gave; USAGE of the schema stays.';

-- The application's users.

CREATE FUNCTION forget_unknown_user() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  known boolean;
BEGIN
  -- A row of ours is worth more than its user: one who does not exist (any more) is stored as NULL.
  -- (Nested: a condition on a column that this table lacks must not even be looked at.)
  IF NOT EXISTS (SELECT FROM pg_class WHERE oid = TG_ARGV[0]::oid) THEN
    -- The table of users was dropped with its constraint, which leaves this trigger.
    IF TG_ARGV[1] = 'user_id' THEN NEW.user_id := NULL; ELSE NEW.resolved_by := NULL; END IF;
  ELSIF TG_ARGV[1] = 'user_id' THEN
    IF NEW.user_id IS NOT NULL THEN
      EXECUTE format('SELECT EXISTS (SELECT FROM %s WHERE id = $1)', TG_ARGV[0]::oid::regclass)
        INTO known USING NEW.user_id;
      IF NOT known THEN NEW.user_id := NULL; END IF;
    END IF;
  ELSE
    IF NEW.resolved_by IS NOT NULL THEN
      EXECUTE format('SELECT EXISTS (SELECT FROM %s WHERE id = $1)', TG_ARGV[0]::oid::regclass)
        INTO known USING NEW.resolved_by;
      IF NOT known THEN NEW.resolved_by := NULL; END IF;
    END IF;
  END IF;
  RETURN NEW;
END
$$;
COMMENT ON FUNCTION forget_unknown_user() IS 'Trigger of link_user_profiles.';

CREATE FUNCTION unlink_users(relation regclass) RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
DECLARE
  linked boolean;
BEGIN
  linked := EXISTS (SELECT FROM pg_constraint
                     WHERE conrelid = relation AND conname = 'train_perf_user_profiles');
  EXECUTE format('ALTER TABLE %s DROP CONSTRAINT IF EXISTS train_perf_user_profiles', relation);
  EXECUTE format('DROP TRIGGER IF EXISTS train_perf_user_profiles ON %s', relation);
  RETURN linked;
END
$$;
COMMENT ON FUNCTION unlink_users(regclass) IS 'Part of unlink_user_profiles: one table.';

CREATE FUNCTION link_users(relation regclass, column_name name, user_table regclass,
                           forget regprocedure)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
BEGIN
  EXECUTE format('UPDATE %s t SET %I = NULL WHERE %I IS NOT NULL AND NOT EXISTS '
                 '(SELECT FROM %s u WHERE u.id = t.%I)',
                 relation, column_name, column_name, user_table, column_name);
  EXECUTE format('CREATE TRIGGER train_perf_user_profiles BEFORE INSERT OR UPDATE OF %I ON %s '
                 'FOR EACH ROW EXECUTE FUNCTION %s(%L, %L)',
                 column_name, relation, forget::oid::regproc, user_table::oid, column_name);
  EXECUTE format('ALTER TABLE %s ADD CONSTRAINT train_perf_user_profiles FOREIGN KEY (%I) '
                 'REFERENCES %s (id) ON DELETE SET NULL',
                 relation, column_name, user_table);
END
$$;
COMMENT ON FUNCTION link_users(regclass, name, regclass, regprocedure) IS
  'Part of link_user_profiles: one table.';

CREATE FUNCTION check_user_table(user_table regclass) RETURNS regclass
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_attribute a
                  WHERE a.attrelid = user_table AND a.attname = 'id' AND a.atttypid = 'uuid'::regtype
                    AND NOT a.attisdropped) THEN
    RAISE EXCEPTION USING ERRCODE = '42703',
      MESSAGE = format('%s has no column id of type uuid', user_table),
      HINT = 'The table of users needs a primary key or unique constraint on a uuid column id.';
  END IF;
  RETURN user_table;
END
$$;
COMMENT ON FUNCTION check_user_table(regclass) IS 'Part of link_user_profiles; 42703 without id uuid.';

CREATE FUNCTION unlink_user_profiles() RETURNS boolean
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT bool_or(unlink_users(t.relation))
    FROM (VALUES ('query_performance_logs'::regclass), ('performance_alerts'::regclass))
      AS t (relation);
END;
COMMENT ON FUNCTION unlink_user_profiles() IS
  'Removes what link_user_profiles made; false if there was nothing.';

CREATE FUNCTION link_user_profiles(user_table regclass) RETURNS void
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT unlink_user_profiles();
  SELECT link_users(t.relation, t.column_name, check_user_table(link_user_profiles.user_table),
                    'forget_unknown_user()'::regprocedure)
    FROM (VALUES ('query_performance_logs'::regclass, 'user_id'::name),
                 ('performance_alerts'::regclass, 'resolved_by'::name))
      AS t (relation, column_name);
END;
COMMENT ON FUNCTION link_user_profiles(regclass) IS
  'Makes user_id of the log and resolved_by of alerts refer to the application''s users (id uuid), ON '
  'DELETE SET NULL; users that do not exist are stored as NULL. Replaces an earlier link.';
-- src/access/lockdown.sql
-- The end of the script: rights and row security of every object above, without a list to forget one
-- in.

DO $$
DECLARE
  path text := pg_catalog.current_setting('search_path');
  foreigners text;
  member record;
  grantee text;
BEGIN
  -- Nothing that stands in the target schema may be called from here.
  PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);

  -- Nor may it have got into the functions and views above, by argument types that fit better than
  -- those of the server's own functions.
  WITH member AS (
    SELECT d.classid, d.objid
      FROM pg_depend d
      JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'train_perf'
     WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
  ), part AS (
    SELECT m.classid, m.objid FROM member m
    UNION ALL
    SELECT 'pg_rewrite'::regclass, r.oid FROM pg_rewrite r JOIN member m ON m.objid = r.ev_class
    UNION ALL
    SELECT 'pg_attrdef'::regclass, a.oid FROM pg_attrdef a JOIN member m ON m.objid = a.adrelid
    UNION ALL
    SELECT 'pg_constraint'::regclass, c.oid FROM pg_constraint c JOIN member m ON m.objid = c.conrelid
  )
  SELECT string_agg(DISTINCT pg_describe_object(d.refclassid, d.refobjid, 0), ', ')
    INTO foreigners
    FROM part p
    JOIN pg_depend d ON d.classid = p.classid AND d.objid = p.objid
   WHERE d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass) AND d.deptype = 'n'
     AND NOT EXISTS (SELECT FROM member m WHERE m.classid = d.refclassid AND m.objid = d.refobjid);
  IF foreigners IS NOT NULL THEN
    RAISE EXCEPTION USING
      ERRCODE = '55000',
      MESSAGE = 'train_perf would call what stands in its schema and is not its own: ' || foreigners,
      HINT = 'Install it in a schema of its own with CREATE EXTENSION train_perf WITH SCHEMA ....';
  END IF;

  FOR member IN
    SELECT d.classid, d.objid, 'TABLE' AS kind, c.relkind, d.objid::regclass::text AS identity,
           c.relowner AS owner, coalesce(c.relacl, acldefault('r', c.relowner)) AS acl
      FROM pg_depend d
      JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'train_perf'
      JOIN pg_class c ON c.oid = d.objid
     WHERE d.refclassid = 'pg_extension'::regclass AND d.classid = 'pg_class'::regclass
       AND d.deptype = 'e' AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
    UNION ALL
    SELECT d.classid, d.objid, 'ROUTINE', NULL, d.objid::regprocedure::text, p.proowner,
           coalesce(p.proacl, acldefault('f', p.proowner))
      FROM pg_depend d
      JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'train_perf'
      JOIN pg_proc p ON p.oid = d.objid
     WHERE d.refclassid = 'pg_extension'::regclass AND d.classid = 'pg_proc'::regclass
       AND d.deptype = 'e'
  LOOP
    FOR grantee IN
      SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END
        FROM aclexplode(member.acl) a WHERE a.grantee <> member.owner
    LOOP
      EXECUTE format('REVOKE ALL ON %s %s FROM %s CASCADE', member.kind, member.identity, grantee);
    END LOOP;
    IF member.relkind IN ('r', 'p') THEN
      EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', member.identity);
      EXECUTE format('CREATE POLICY granted ON %s USING (true) WITH CHECK (true)', member.identity);
    END IF;
  END LOOP;
  PERFORM pg_catalog.set_config('search_path', path, true);
END
$$;

SELECT change_access('access_levels'::regclass, 'pg_monitor'::regrole, '{read}'::text[], true);
SELECT grant_usage('access_levels'::regclass, 'pg_monitor'::regrole);
GRANT EXECUTE ON FUNCTION grant_access(regrole, text), revoke_access(regrole) TO pg_database_owner;
-- Everybody may look at query_stats; it masks what is not theirs.
GRANT SELECT ON query_stats TO PUBLIC;
GRANT EXECUTE ON FUNCTION query_stats() TO PUBLIC;

DO $$
BEGIN
  IF pg_catalog.current_setting('train_perf.max_statements', true) IS NULL THEN
    RAISE WARNING USING
      MESSAGE = 'train_perf is not preloaded: statements are not captured and nothing runs in the background',
      HINT = 'Add this line to postgresql.conf and restart the server: shared_preload_libraries = ''train_perf''';
  END IF;
END
$$;
