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
     AND c.relname ~ E'_p\\d{8}$'
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

-- Partitions of one day or month each.

CREATE FUNCTION maintain_partitions_of(parent regclass, keep interval,
                                       at timestamptz DEFAULT clock_timestamp(),
                                       most integer DEFAULT NULL,
                                       unit text DEFAULT 'day')
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
  width interval := ('1 ' || unit)::interval;
  oldest timestamptz := date_trunc(unit, at - keep);
  starts timestamptz[];
  outdated text[];
  start timestamptz;
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
    INTO expired USING oldest;
  EXECUTE format(
    'SELECT array_agg(s ORDER BY s) FROM (SELECT date_trunc($6, $1) UNION '
    'SELECT date_trunc($6, $1) + $5 UNION '
    'SELECT date_trunc($6, %I) FROM %s WHERE %I >= $2 AND %I < $1 + 2 * $5) AS starts (s) '
    'WHERE to_regclass(format(''%%I.%%I'', $3, $4 || ''_p'' || to_char(s, ''YYYYMMDD''))) IS NULL',
    key, spare, key, key)
    INTO starts USING at, oldest, table_schema, table_name, width, unit;
  SELECT array_agg(format('%I.%I', table_schema, c.relname) ORDER BY c.relname) INTO outdated
    FROM pg_inherits i
    JOIN pg_class c ON c.oid = i.inhrelid
   WHERE i.inhparent = parent
     AND c.relname ~ E'_p\\d{8}$'
     AND to_timestamp(right(c.relname, 8), 'YYYYMMDD') + width <= at - keep;
  IF NOT expired AND starts IS NULL AND outdated IS NULL THEN RETURN 0; END IF;

  -- Before the default partition: whoever planned with the old partitions would wait there, and then an
  -- INSERT would find its row in the wrong place and a SELECT would miss the rows that have moved.
  EXECUTE format('SELECT EXISTS (SELECT FROM %s)', spare) INTO moves;
  EXECUTE format('LOCK TABLE ONLY %s IN %s MODE', parent,
                 CASE WHEN moves THEN 'ACCESS EXCLUSIVE' ELSE 'SHARE ROW EXCLUSIVE' END);
  IF expired THEN
    EXECUTE format('DELETE FROM %s WHERE %I < $1', spare, key) USING oldest;
  END IF;

  FOREACH start IN ARRAY coalesce(starts, '{}') LOOP
    EXIT WHEN changed >= most;
    part_id := format('%I.%I', table_schema, table_name || '_p' || to_char(start, 'YYYYMMDD'));
    EXECUTE format('CREATE TABLE %s (LIKE %s INCLUDING ALL EXCLUDING INDEXES EXCLUDING COMMENTS)',
                   part_id, parent);
    EXECUTE format('ALTER TABLE %s ADD CONSTRAINT of_its_time CHECK (%I >= %L AND %I < %L)',
                   part_id, key, start, key, start + width);
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
      USING start, start + width;
    EXECUTE format('ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (%L) TO (%L)',
                   parent, part_id, start, start + width);
    EXECUTE format('ALTER TABLE %s DROP CONSTRAINT of_its_time', part_id);
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
COMMENT ON FUNCTION maintain_partitions_of(regclass, interval, timestamptz, integer, text) IS
  'Makes the partitions of today, tomorrow and of days with rows in the default partition (or of months, '
  'if the unit is that), and drops those older than `keep`; at most `most` of both. Waits 100 ms for a '
  'lock. Returns how many it made or dropped.';

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
