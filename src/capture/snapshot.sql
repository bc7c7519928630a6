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
