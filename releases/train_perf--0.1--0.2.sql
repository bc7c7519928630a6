\echo Use "ALTER EXTENSION train_perf UPDATE TO '0.2'" to load this file. \quit

-- Like CREATE EXTENSION this runs with the extension's schema first in the search path.

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

-- History. The function binds the column whose type changes.

CREATE OR REPLACE FUNCTION collect_statistics() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT 0;
END;
ALTER TABLE query_stats_history ALTER COLUMN username TYPE text;
DROP INDEX query_stats_history_time;
CREATE INDEX query_stats_history_time ON query_stats_history (source, bucket_start);
CREATE INDEX query_stats_history_end ON query_stats_history (bucket_end);
COMMENT ON TABLE query_stats_history IS
  'Per interval, user and statement: what was executed in it. Intervals of train_perf.history_interval '
  'for a day, then of an hour for a week, then of a day until train_perf.retention. Texts are in '
  'query_texts.';

CREATE OR REPLACE FUNCTION collect_statistics() RETURNS integer
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

CREATE OR REPLACE FUNCTION get_query_stats(
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

-- Snapshots: what pg_stat_statements counted, for servers where train_perf is not preloaded; where it is, a
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

-- More columns are another function; access_levels refers to the old one until it is replaced.

ALTER FUNCTION capture_status() RENAME TO capture_status_of_0_1;
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

CREATE OR REPLACE VIEW access_levels AS
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

-- Rights and row security of the new objects: none but what follows, whatever default privileges gave.
-- Who could read or operate still can, with the new objects.

DO $$
DECLARE
  path text := pg_catalog.current_setting('search_path');
  home text;
  foreigners text;
  member record;
  grantee text;
BEGIN
  -- Nothing that stands in the extension's schema may be called from here.
  PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
  SELECT quote_ident(n.nspname) INTO STRICT home
    FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'train_perf';

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
    SELECT 'TABLE' AS kind, format('%s.%I', home, t) AS identity, c.relowner AS owner,
           coalesce(c.relacl, acldefault('r', c.relowner)) AS acl
      FROM unnest('{query_stats_snapshot, query_stats_baseline}'::name[]) t
      JOIN pg_class c ON c.oid = format('%s.%I', home, t)::regclass
    UNION ALL
    SELECT 'ROUTINE', p.oid::regprocedure::text, p.proowner, coalesce(p.proacl, acldefault('f', p.proowner))
      FROM pg_depend d
      JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'train_perf'
      JOIN pg_proc p ON p.oid = d.objid
     WHERE d.refclassid = 'pg_extension'::regclass AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
       AND p.proname IN (
           'library_version', 'capture_status', 'merge_history', 'next_rollup',
           'compact_partition_of', 'roll_up_history_at', 'roll_up_history', 'compact_history',
           'pg_stat_statements_function', 'pg_stat_statements_counters', 'captured_calls',
           'lock_baseline', 'capture_query_stats_snapshot', 'take_hourly_snapshot')
  LOOP
    FOR grantee IN
      SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END
        FROM aclexplode(member.acl) a WHERE a.grantee <> member.owner
    LOOP
      EXECUTE format('REVOKE ALL ON %s %s FROM %s CASCADE', member.kind, member.identity, grantee);
    END LOOP;
    IF member.kind = 'TABLE' THEN
      EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', member.identity);
      EXECUTE format('CREATE POLICY granted ON %s USING (true) WITH CHECK (true)', member.identity);
    END IF;
  END LOOP;

  FOR grantee IN
    SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END
      FROM pg_proc p, aclexplode(p.proacl) a
     WHERE p.oid = format('%s.capture_status_of_0_1()', home)::regprocedure AND a.grantee <> p.proowner
  LOOP
    EXECUTE format('GRANT EXECUTE ON FUNCTION %1$s.capture_status(), %1$s.library_version() TO %2$s', home, grantee);
    EXECUTE format('GRANT SELECT ON %s.query_stats_snapshot TO %s', home, grantee);
  END LOOP;
  FOR grantee IN
    SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END
      FROM pg_proc p, aclexplode(p.proacl) a
     WHERE p.oid = format('%s.log_query_performance(text, integer, uuid, text, jsonb, text, text)',
                          home)::regprocedure AND a.grantee <> p.proowner
  LOOP
    EXECUTE format('GRANT EXECUTE ON FUNCTION %s.capture_query_stats_snapshot() TO %s', home, grantee);
  END LOOP;
  PERFORM pg_catalog.set_config('search_path', path, true);
END
$$;
DROP FUNCTION capture_status_of_0_1();
