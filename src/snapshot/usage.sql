-- Index usage over time.

CREATE TABLE index_usage_snapshots (
  id uuid NOT NULL DEFAULT gen_random_uuid(),
  snapshot_timestamp timestamptz NOT NULL DEFAULT now(),
  schemaname text,
  tablename text,
  indexname text,
  idx_scan bigint NOT NULL,
  idx_tup_read bigint,
  idx_tup_fetch bigint,
  index_size_bytes bigint,
  table_size_bytes bigint,
  indexrelid oid,
  scans_since_previous bigint,
  reset_detected boolean,
  definition_hash bigint,
  relid oid,
  PRIMARY KEY (id, snapshot_timestamp),
  UNIQUE (snapshot_timestamp, schemaname, tablename, indexname)
) PARTITION BY RANGE (snapshot_timestamp);
CREATE TABLE index_usage_snapshots_default PARTITION OF index_usage_snapshots DEFAULT;
CREATE INDEX index_usage_snapshots_index ON index_usage_snapshots (indexrelid, snapshot_timestamp);
-- Equal keys share their entry: a few bytes per row.
CREATE INDEX index_usage_snapshots_name ON index_usage_snapshots (indexname, indexrelid);
SELECT pg_catalog.pg_extension_config_dump('index_usage_snapshots_default', '');

COMMENT ON TABLE index_usage_snapshots IS
  'The counters of each index over time. While they do not change, one row per UTC day; after a week one '
  'row per index and day anyway. Kept for train_perf.index_usage_retention.';
COMMENT ON TABLE index_usage_snapshots_default IS
  'Rows for which there is no partition (yet); the collector moves them.';
COMMENT ON COLUMN index_usage_snapshots.indexrelid IS
  'The index, as of the last capture. NULL: not known yet, the name decides; 0: the index of another database.';
COMMENT ON COLUMN index_usage_snapshots.relid IS 'Its table.';
COMMENT ON COLUMN index_usage_snapshots.scans_since_previous IS
  'Scans since the previous row of the index, also if its counter started anew between them; NULL: nobody '
  'has computed it, as in its first row.';
COMMENT ON COLUMN index_usage_snapshots.reset_detected IS
  'The counter may have started anew since the previous row: there may have been more scans than counted.';
COMMENT ON COLUMN index_usage_snapshots.definition_hash IS 'That of index_definitions.';

-- Only hints, as of this server: not dumped.
CREATE TABLE index_usage_capture (
  singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
  taken_at timestamptz NOT NULL,
  stats_reset timestamptz,
  xact_commit bigint NOT NULL,
  tup_returned bigint NOT NULL,
  blks_hit bigint NOT NULL,
  rolled_up_to timestamptz
);
COMMENT ON TABLE index_usage_capture IS
  'The last capture_index_usage_snapshot(): when it was, and the counters of the database then, which tell '
  'whether all started anew. And where roll_up_index_usage() goes on.';

-- Which rows are whose. OIDs follow an index through renames, names through REINDEX CONCURRENTLY and
-- dumps. Each capture makes the rows of an index have its present OID and name; whoever reads finds
-- also those that have changed since.

CREATE VIEW index_definitions AS
  -- The expressions' own form: printing them would lock the table, and contain columns' names.
  SELECT i.indexrelid, hashtextextended(pg_catalog.concat_ws('/'::text,
           m.amname, i.indisunique, i.indnullsnotdistinct, i.indisexclusion, i.indnkeyatts, i.indkey, i.indoption,
           ARRAY(SELECT (SELECT o.opcname FROM pg_catalog.pg_opclass o WHERE o.oid = k.oid)
                   FROM unnest(i.indclass::oid[]) WITH ORDINALITY AS k (oid, n) ORDER BY k.n),
           ARRAY(SELECT (SELECT o.collname FROM pg_catalog.pg_collation o WHERE o.oid = k.oid)
                   FROM unnest(i.indcollation::oid[]) WITH ORDINALITY AS k (oid, n) ORDER BY k.n),
           coalesce(regexp_replace(i.indexprs::text, E' :location -?\\d+'::text, ''::text, 'g'::text), '-'::text),
           coalesce(regexp_replace(i.indpred::text, E' :location -?\\d+'::text, ''::text, 'g'::text), '-'::text)),
         0::bigint) AS definition_hash
    FROM pg_catalog.pg_index i
    JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
    JOIN pg_catalog.pg_am m ON m.oid = c.relam;
COMMENT ON VIEW index_definitions IS
  'A hash of what makes an index what it is: access method, columns, operator classes, collations, order, '
  'uniqueness, expressions, predicate; not its name and storage.';

CREATE FUNCTION latest_index_usage(of_index oid, at timestamptz) RETURNS SETOF index_usage_snapshots
LANGUAGE sql STABLE ROWS 1
BEGIN ATOMIC
  -- Mostly of today or yesterday: then older partitions are left alone.
  SELECT h.*
    FROM index_usage_snapshots h
   WHERE h.indexrelid = latest_index_usage.of_index
     AND h.snapshot_timestamp = coalesce(
           (SELECT max(r.snapshot_timestamp) FROM index_usage_snapshots r
             WHERE r.indexrelid = latest_index_usage.of_index AND r.snapshot_timestamp <= latest_index_usage.at
               AND r.snapshot_timestamp >= date_trunc('day'::text, now(), 'UTC'::text) - interval '24 hours'),
           (SELECT max(o.snapshot_timestamp) FROM index_usage_snapshots o
             WHERE o.indexrelid = latest_index_usage.of_index AND o.snapshot_timestamp <= latest_index_usage.at
               AND o.snapshot_timestamp < date_trunc('day'::text, now(), 'UTC'::text) - interval '24 hours'))
   LIMIT 1;
END;
COMMENT ON FUNCTION latest_index_usage(oid, timestamptz) IS
  'The latest row with that OID until a time, if there is one.';

CREATE FUNCTION is_index_name_free(schemaname text, indexname text) RETURNS boolean
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT NOT EXISTS (
    SELECT FROM pg_catalog.pg_class c
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relname::text = is_index_name_free.indexname AND n.nspname::text = is_index_name_free.schemaname
       AND c.relkind = 'i'::"char");
END;
COMMENT ON FUNCTION is_index_name_free(text, text) IS 'Whether there is no such index.';

CREATE FUNCTION index_usage_history(of_index oid, of_table oid, schemaname text, tablename text,
                                    indexname text, definition_hash bigint, has_rows boolean, at timestamptz)
RETURNS SETOF index_usage_snapshots
LANGUAGE sql STABLE
BEGIN ATOMIC
  -- No subqueries on the arguments alone: in LATERAL, PostgreSQL 15 does not compute them anew for each
  -- index, if they are under UNION ALL.
  SELECT h.*
    FROM index_usage_snapshots h
   WHERE h.indexrelid = index_usage_history.of_index AND h.snapshot_timestamp <= index_usage_history.at
     AND (h.schemaname = index_usage_history.schemaname AND h.tablename = index_usage_history.tablename
            AND h.indexname = index_usage_history.indexname
          -- Renamed. A dump may come from where the OIDs were those of others.
          OR (h.relid = index_usage_history.of_table
              OR h.relid IS NULL AND is_index_name_free(h.schemaname, h.indexname))
             AND (h.definition_hash IS NULL OR h.definition_hash = index_usage_history.definition_hash))
  UNION ALL
  SELECT h.*
    FROM index_usage_snapshots h
   WHERE h.indexname = index_usage_history.indexname AND h.indexrelid IS NULL
     AND h.snapshot_timestamp <= index_usage_history.at
     AND h.schemaname = index_usage_history.schemaname AND h.tablename = index_usage_history.tablename
     AND (h.definition_hash IS NULL OR h.definition_hash = index_usage_history.definition_hash)
  UNION ALL
  -- Rebuilt since the last capture. A table of the same name is another one, unless the rows come from a
  -- dump: then nothing was captured here.
  SELECT h.*
    FROM index_usage_snapshots h
   WHERE NOT index_usage_history.has_rows
     AND h.indexname = index_usage_history.indexname AND h.indexrelid IS NOT NULL
     AND h.snapshot_timestamp <= index_usage_history.at
     AND h.schemaname = index_usage_history.schemaname AND h.tablename = index_usage_history.tablename
     AND (h.definition_hash IS NULL OR h.definition_hash = index_usage_history.definition_hash)
     AND (h.relid IS NULL OR h.relid = index_usage_history.of_table
          OR NOT EXISTS (SELECT FROM index_usage_capture))
     AND NOT EXISTS (SELECT FROM pg_catalog.pg_index i
                      WHERE i.indexrelid = h.indexrelid AND i.indrelid = h.relid);
END;
COMMENT ON FUNCTION index_usage_history(oid, oid, text, text, text, bigint, boolean, timestamptz) IS
  'The rows until a time of one index, given by its OID, table, names, definition, and whether there are '
  'rows with its OID.';

CREATE FUNCTION statistics_started_anew(OUT surely boolean, OUT perhaps boolean)
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT coalesce(bool_or(pg_stat_get_db_xact_commit(d.oid) < s.xact_commit
                          OR pg_stat_get_db_tuples_returned(d.oid) < s.tup_returned
                          OR pg_stat_get_db_blocks_hit(d.oid) < s.blks_hit), false),
         coalesce(bool_or(pg_stat_get_db_stat_reset_time(d.oid) IS DISTINCT FROM s.stats_reset), false)
    FROM index_usage_capture s
    JOIN pg_catalog.pg_database d ON d.datname = current_database();
END;
COMMENT ON FUNCTION statistics_started_anew() IS
  'Since the last capture: whether all counters of the database are new (a crash, pg_stat_reset()), and '
  'whether some are that were reset by themselves.';

CREATE FUNCTION index_usage_intervals(of_index oid, of_table oid, schemaname text, tablename text,
                                      indexname text, definition_hash bigint, has_rows boolean,
                                      idx_scan bigint, at timestamptz, anew_surely boolean,
                                      anew_perhaps boolean)
RETURNS TABLE (since timestamptz, until timestamptz, scans bigint, observed boolean, length interval,
               is_oldest boolean)
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT i.since, i.until, i.scans, i.observed,
         CASE WHEN i.observed AND i.since IS NOT NULL THEN i.until - i.since ELSE interval '0' END,
         i.since IS NULL
    FROM (SELECT p.until, lead(p.until) OVER newest_first AS since,
                 CASE WHEN p.scans IS NOT NULL THEN p.scans
                      WHEN p.idx_scan < lead(p.idx_scan) OVER newest_first THEN p.idx_scan
                      ELSE p.idx_scan - lead(p.idx_scan) OVER newest_first END AS scans,
                 NOT p.reset AND (p.scans IS NOT NULL
                                  OR p.idx_scan >= lead(p.idx_scan) OVER newest_first) AS observed
            FROM (SELECT index_usage_intervals.at AS until, index_usage_intervals.idx_scan AS idx_scan,
                         CASE WHEN index_usage_intervals.anew_surely THEN index_usage_intervals.idx_scan
                           END AS scans,
                         index_usage_intervals.anew_surely OR index_usage_intervals.anew_perhaps
                           AND index_usage_intervals.idx_scan = 0::bigint AS reset
                  UNION ALL
                  SELECT h.snapshot_timestamp, h.idx_scan, h.scans_since_previous,
                         coalesce(h.reset_detected, false)
                    FROM index_usage_history(
                           index_usage_intervals.of_index, index_usage_intervals.of_table,
                           index_usage_intervals.schemaname, index_usage_intervals.tablename,
                           index_usage_intervals.indexname, index_usage_intervals.definition_hash,
                           index_usage_intervals.has_rows, index_usage_intervals.at) h) p
          WINDOW newest_first AS (ORDER BY p.until DESC)) i;
END;
COMMENT ON FUNCTION index_usage_intervals(
  oid, oid, text, text, text, bigint, boolean, bigint, timestamptz, boolean, boolean) IS
  'The history of one index, given as for index_usage_history: the scans between each two rows, and between '
  'the last one and now, when its counter is idx_scan. `length` is 0 where scans may be missing. The oldest '
  'interval has no beginning.';

-- Capture.

CREATE FUNCTION follow_indexes() RETURNS integer
LANGUAGE sql VOLATILE
SET enable_hashjoin = off  -- few indexes of many: never the whole history
SET enable_mergejoin = off
BEGIN ATOMIC
  WITH unsettled AS MATERIALIZED (
    SELECT i.indexrelid, i.relid, i.schemaname, i.tablename, i.indexname,
           (SELECT d.definition_hash FROM index_definitions d WHERE d.indexrelid = i.indexrelid) AS definition_hash
      FROM snapshot_indexes() i
      LEFT JOIN LATERAL latest_index_usage(i.indexrelid, 'infinity'::timestamptz) h ON true
     WHERE (h.relid = i.relid AND h.schemaname = i.schemaname AND h.tablename = i.tablename
            AND h.indexname = i.indexname) IS NOT TRUE
        OR (i.schemaname, i.tablename, i.indexname) IN (
             SELECT n.schemaname, n.tablename, n.indexname FROM index_usage_snapshots n
              WHERE n.indexrelid IS NULL)
  ), found AS MATERIALIZED (
    -- By name: of indexes that are gone, as in index_usage_history.
    SELECT h.id, h.snapshot_timestamp, u.indexrelid, u.relid, u.schemaname, u.tablename, u.indexname,
           u.definition_hash, h.indexrelid IS NOT NULL AS was_other, true AS is_own, true AS had_name
      FROM unsettled u
      JOIN index_usage_snapshots h ON h.indexname = u.indexname
       AND h.schemaname = u.schemaname AND h.tablename = u.tablename
     WHERE h.indexrelid IS DISTINCT FROM u.indexrelid
       AND (h.definition_hash IS NULL OR h.definition_hash = u.definition_hash)
       AND (h.relid IS NULL OR h.relid = u.relid OR NOT EXISTS (SELECT FROM index_usage_capture))
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_index i
                        WHERE i.indexrelid = h.indexrelid AND i.indrelid = h.relid)
    UNION ALL
    -- By OID.
    SELECT h.id, h.snapshot_timestamp, u.indexrelid, u.relid, u.schemaname, u.tablename, u.indexname,
           u.definition_hash, false,
           coalesce(h.schemaname = u.schemaname AND h.tablename = u.tablename AND h.indexname = u.indexname
                    OR (h.relid = u.relid
                        OR h.relid IS NULL AND is_index_name_free(h.schemaname, h.indexname))
                       AND (h.definition_hash IS NULL OR h.definition_hash = u.definition_hash), false),
           coalesce(h.indexname = u.indexname, false)
      FROM unsettled u
      JOIN index_usage_snapshots h ON h.indexrelid = u.indexrelid
     WHERE (h.relid = u.relid AND h.schemaname = u.schemaname AND h.tablename = u.tablename
            AND h.indexname = u.indexname) IS NOT TRUE
  ), claimed AS MATERIALIZED (
    SELECT f.id, f.snapshot_timestamp, f.relid, f.schemaname, f.tablename, f.indexname, f.definition_hash,
           CASE WHEN NOT f.is_own THEN 0::oid  -- of another database
                -- As long as another index had the name, the history is that one's: this one was being
                -- built to replace it.
                WHEN f.had_name OR (f.snapshot_timestamp BETWEEN f.since AND f.until) IS NOT TRUE
                THEN f.indexrelid END AS owner
      FROM (SELECT f.*, min(f.snapshot_timestamp) FILTER (WHERE f.was_other) OVER of_index AS since,
                   max(f.snapshot_timestamp) FILTER (WHERE f.was_other) OVER of_index AS until
              FROM found f
            WINDOW of_index AS (PARTITION BY f.indexrelid)) f
  ), settled AS MATERIALIZED (
    SELECT DISTINCT ON (c.id, c.snapshot_timestamp) c.*
      FROM (SELECT c.*, false AS in_the_way FROM claimed c
            UNION ALL
            -- Of an index that had the name and is gone.
            SELECT h.id, h.snapshot_timestamp, NULL, NULL, NULL, NULL, NULL, NULL, true
              FROM claimed c
              JOIN index_usage_snapshots h ON h.snapshot_timestamp = c.snapshot_timestamp
               AND h.schemaname = c.schemaname AND h.tablename = c.tablename AND h.indexname = c.indexname
             WHERE c.owner > 0::oid AND h.id <> c.id) c
     ORDER BY c.id, c.snapshot_timestamp, c.in_the_way, c.owner DESC NULLS LAST
  ), taken AS (
    DELETE FROM index_usage_snapshots h
     USING settled s
     WHERE h.id = s.id AND h.snapshot_timestamp = s.snapshot_timestamp
    RETURNING h.*, s.owner, s.relid AS new_relid, s.schemaname AS new_schemaname,
              s.tablename AS new_tablename, s.indexname AS new_indexname,
              s.definition_hash AS new_definition_hash
  ), given AS (
    INSERT INTO index_usage_snapshots (
      id, snapshot_timestamp, schemaname, tablename, indexname, idx_scan, idx_tup_read, idx_tup_fetch,
      index_size_bytes, table_size_bytes, indexrelid, scans_since_previous, reset_detected,
      definition_hash, relid)
    SELECT t.id, t.snapshot_timestamp,
           CASE WHEN t.owner = 0::oid THEN t.schemaname ELSE t.new_schemaname END,
           CASE WHEN t.owner = 0::oid THEN t.tablename ELSE t.new_tablename END,
           CASE WHEN t.owner = 0::oid THEN t.indexname ELSE t.new_indexname END,
           t.idx_scan, t.idx_tup_read, t.idx_tup_fetch, t.index_size_bytes, t.table_size_bytes, t.owner,
           t.scans_since_previous, t.reset_detected,
           CASE WHEN t.owner = 0::oid THEN t.definition_hash ELSE t.new_definition_hash END,
           CASE WHEN t.owner = 0::oid THEN NULL ELSE t.new_relid END
      FROM taken t
     WHERE t.owner IS NOT NULL
     ORDER BY t.snapshot_timestamp  -- so all are taken before the first is given: names may be swapped
    ON CONFLICT DO NOTHING
    RETURNING 1
  )
  SELECT count(*)::integer FROM given;
END;
COMMENT ON FUNCTION follow_indexes() IS
  'Part of capture_index_usage_snapshot: gives rows the present OIDs and names of their indexes. Returns '
  'how many it changed.';

CREATE FUNCTION write_index_usage() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT pg_stat_clear_snapshot();
  SELECT follow_indexes();
  WITH moment AS MATERIALIZED (
    SELECT clock_timestamp() AS now, a.surely, a.perhaps FROM statistics_started_anew() a
  ), present AS MATERIALIZED (
    SELECT i.indexrelid, i.relid, i.schemaname, i.tablename, i.indexname,
           pg_stat_get_numscans(i.indexrelid) AS idx_scan,
           pg_stat_get_tuples_returned(i.indexrelid) AS idx_tup_read,
           pg_stat_get_tuples_fetched(i.indexrelid) AS idx_tup_fetch
      FROM snapshot_indexes() i
  ), compared AS (
    SELECT p.*, m.now, h.id IS NULL AS is_first, h.idx_scan AS previous_scan, h.definition_hash,
           h.id IS NOT NULL AND (m.surely OR p.idx_scan < h.idx_scan
                                 OR coalesce(p.idx_tup_read < h.idx_tup_read, false)) AS began_anew,
           h.id IS NOT NULL AND m.perhaps AND p.idx_scan = 0::bigint AS may_have,
           (p.idx_scan, p.idx_tup_read, p.idx_tup_fetch)
             IS DISTINCT FROM (h.idx_scan, h.idx_tup_read, h.idx_tup_fetch)
           OR h.snapshot_timestamp < date_trunc('day'::text, m.now, 'UTC'::text) AS has_news
      FROM present p
     CROSS JOIN moment m
      LEFT JOIN LATERAL latest_index_usage(p.indexrelid, m.now) h ON true
  ), written AS (
    INSERT INTO index_usage_snapshots (
      snapshot_timestamp, schemaname, tablename, indexname, idx_scan, idx_tup_read, idx_tup_fetch,
      index_size_bytes, table_size_bytes, indexrelid, scans_since_previous, reset_detected,
      definition_hash, relid)
    SELECT c.now, c.schemaname, c.tablename, c.indexname, c.idx_scan, c.idx_tup_read, c.idx_tup_fetch,
           relation_bytes(c.indexrelid), relation_bytes(c.relid), c.indexrelid,
           CASE WHEN c.began_anew THEN c.idx_scan WHEN NOT c.is_first THEN c.idx_scan - c.previous_scan END,
           c.began_anew OR c.may_have,
           coalesce(c.definition_hash, (
             SELECT d.definition_hash FROM index_definitions d WHERE d.indexrelid = c.indexrelid)), c.relid
      FROM compared c
     WHERE c.has_news OR c.began_anew OR c.may_have
    RETURNING 1
  ), noted AS (
    INSERT INTO index_usage_capture AS last (taken_at, stats_reset, xact_commit, tup_returned, blks_hit)
    SELECT m.now, pg_stat_get_db_stat_reset_time(d.oid), pg_stat_get_db_xact_commit(d.oid),
           pg_stat_get_db_tuples_returned(d.oid), pg_stat_get_db_blocks_hit(d.oid)
      FROM moment m
      JOIN pg_catalog.pg_database d ON d.datname = current_database()
    ON CONFLICT (singleton) DO UPDATE
      SET (taken_at, stats_reset, xact_commit, tup_returned, blks_hit)
        = (excluded.taken_at, excluded.stats_reset, excluded.xact_commit, excluded.tup_returned,
           excluded.blks_hit)
  )
  SELECT count(*)::integer FROM written;
END;
COMMENT ON FUNCTION write_index_usage() IS 'Part of capture_index_usage_snapshot.';

CREATE FUNCTION capture_index_usage_snapshot() RETURNS integer
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off  -- compiling takes longer than running
BEGIN ATOMIC
  SELECT require_primary('capture_index_usage_snapshot()'::text);
  SELECT await_snapshot_lock('index_usage_snapshots'::regclass);
  SELECT CASE WHEN try_snapshot_lock('index_usage_snapshots'::regclass) THEN write_index_usage() ELSE 0 END;
END;
COMMENT ON FUNCTION capture_index_usage_snapshot() IS
  'Writes the counters of all covered indexes to index_usage_snapshots: those that changed, and each once a '
  'UTC day. Returns the number of rows written; 0, with a NOTICE, while another session does the same.';

CREATE FUNCTION take_due_index_usage_snapshot() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT CASE WHEN NOT pg_is_in_recovery() AND NOT EXISTS (
                SELECT FROM index_usage_capture c
                 WHERE c.taken_at > clock_timestamp()
                       - coalesce(current_setting('train_perf.snapshot_interval', true), '1h')::interval)
                   AND try_snapshot_lock('index_usage_snapshots'::regclass)
              THEN 0 * capture_index_usage_snapshot() ELSE 0 END;
END;
COMMENT ON FUNCTION take_due_index_usage_snapshot() IS
  'capture_index_usage_snapshot() if it is time; the collector''s work. Returns 0: it is done at once.';

-- What the history tells.

CREATE FUNCTION check_days(days integer, argument text) RETURNS integer
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF days BETWEEN 1 AND 36500 THEN RETURN days; END IF;
  RAISE EXCEPTION USING ERRCODE = '22023',
    MESSAGE = format('%s must be a number of days from 1 to 36500, not %s', argument, coalesce(days::text, 'NULL'));
END
$$;
COMMENT ON FUNCTION check_days(integer, text) IS 'The number of days; 22023 if it is none.';

CREATE FUNCTION judge_index_usage(age_days integer)
RETURNS TABLE (indexrelid oid, schemaname text, tablename text, indexname text, index_size_bytes bigint,
               idx_scan bigint, observed interval, last_used timestamptz, verdict text)
LANGUAGE sql VOLATILE
SET jit = off
BEGIN ATOMIC
  WITH moment AS MATERIALIZED (
    SELECT clock_timestamp() AS now, pg_catalog.make_interval(days => judge_index_usage.age_days) AS age,
           a.surely, a.perhaps
      FROM statistics_started_anew() a
  ), candidate AS MATERIALIZED (
    SELECT i.indexrelid, i.relid, i.schemaname, i.tablename, i.indexname,
           relation_bytes(i.indexrelid) AS index_size_bytes, pg_stat_get_numscans(i.indexrelid) AS idx_scan,
           (SELECT d.definition_hash FROM index_definitions d
             WHERE d.indexrelid = i.indexrelid) AS definition_hash,
           (SELECT true FROM index_usage_snapshots h WHERE h.indexrelid = i.indexrelid LIMIT 1) IS NOT NULL AS has_rows
      FROM snapshot_indexes() i
      JOIN pg_catalog.pg_index x ON x.indexrelid = i.indexrelid
      JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
     WHERE x.indisvalid AND x.indisready AND x.indislive
       AND NOT x.indisunique AND NOT x.indisprimary AND NOT x.indisexclusion AND NOT x.indisreplident
       AND NOT c.relispartition
       AND relation_bytes(i.indexrelid) > 102400::bigint
  ), walked AS MATERIALIZED (
    SELECT c.*, m.now, m.age, w.scanned, w.until,
           coalesce(w.observed, interval '0') AS observed
      FROM candidate c
     CROSS JOIN moment m
      LEFT JOIN LATERAL (
        -- From now backwards, until there were scans or the history begins.
        SELECT s.until, s.scanned,
               CASE WHEN s.scanned THEN s.observed - s.length ELSE s.observed END AS observed
          FROM (SELECT i.until, i.scans > 0::bigint AS scanned, i.is_oldest, i.length,
                       sum(i.length) OVER (ORDER BY i.until DESC ROWS UNBOUNDED PRECEDING) AS observed
                  FROM index_usage_intervals(c.indexrelid, c.relid, c.schemaname, c.tablename, c.indexname,
                                             c.definition_hash, c.has_rows, c.idx_scan, m.now, m.surely,
                                             m.perhaps) i) s
         WHERE s.scanned OR s.is_oldest
         ORDER BY s.until DESC
         LIMIT 1) w ON true
  ), judged AS MATERIALIZED (
    SELECT w.*, greatest(CASE WHEN w.scanned THEN w.until END, u.last_used) AS last_used,
           CASE WHEN u.last_used > w.now - w.age THEN 'used'
                WHEN w.observed >= w.age THEN 'unused'
                WHEN w.scanned THEN 'used' ELSE 'unknown' END AS verdict
      FROM walked w
      -- PostgreSQL 16 and later remember the time of the last scan.
      LEFT JOIN LATERAL (
        SELECT CASE WHEN w.observed >= w.age
                    THEN (pg_catalog.to_jsonb(s) ->> 'last_idx_scan'::text)::timestamptz END AS last_used
          FROM pg_catalog.pg_stat_all_indexes s
         WHERE s.indexrelid = w.indexrelid) u ON true
  ), needed AS (
    -- One index for each foreign key stays, even if none is used.
    SELECT min(s.indexrelid) AS indexrelid
      FROM foreign_key_indexes() s
      LEFT JOIN judged j ON j.indexrelid = s.indexrelid AND j.verdict = 'unused'
     GROUP BY s.conoid
    HAVING bool_and(j.indexrelid IS NOT NULL)
  )
  SELECT j.indexrelid, j.schemaname, j.tablename, j.indexname, j.index_size_bytes, j.idx_scan, j.observed,
         j.last_used, j.verdict
    FROM judged j
   WHERE j.indexrelid NOT IN (SELECT n.indexrelid FROM needed n);
END;
COMMENT ON FUNCTION judge_index_usage(integer) IS
  'The indexes that could be dropped if nobody used them, of more than 100 kB. The verdict is used, unused '
  '(for that many observed days) or unknown (less is observed). `observed` is the time without scans.';

CREATE FUNCTION note_observation(candidates bigint, judged bigint, observed interval, age_days integer)
RETURNS boolean
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF candidates > 0 AND judged = 0 THEN
    RAISE NOTICE USING
      MESSAGE = format('index usage is not observed for %s days yet, but for %s days and %s hours at most',
                       age_days, floor(extract(epoch FROM observed) / 86400),
                       floor(extract(epoch FROM observed) / 3600)::bigint % 24),
      HINT = 'capture_index_usage_snapshot() observes; where train_perf is preloaded, it is called every '
             'train_perf.snapshot_interval.';
  END IF;
  RETURN false;
END
$$;
COMMENT ON FUNCTION note_observation(bigint, bigint, interval, integer) IS
  'Part of detect_unused_indexes: a NOTICE if no index could be judged; returns false.';

CREATE FUNCTION unused_days(last_used timestamptz, observed interval) RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT floor(extract(epoch FROM coalesce(clock_timestamp() - unused_days.last_used, unused_days.observed))
               / 86400::numeric)::integer;
END;
COMMENT ON FUNCTION unused_days(timestamptz, interval) IS
  'Whole days since an index was used, as far as that is known, else those that were observed.';

CREATE FUNCTION detect_unused_indexes(age_days integer DEFAULT 30)
RETURNS TABLE (schemaname text, tablename text, indexname text, index_size text, idx_scan bigint,
               days_since_last_scan integer)
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  WITH judged AS MATERIALIZED (
    SELECT j.*, unused_days(j.last_used, j.observed) AS days
      FROM judge_index_usage(check_days(detect_unused_indexes.age_days, 'age_days'::text)) j
  ), found AS (
    SELECT j.schemaname, j.tablename, j.indexname, j.index_size_bytes, j.idx_scan, j.days
      FROM judged j
     WHERE j.verdict = 'unused'
    UNION ALL
    SELECT NULL, NULL, NULL, NULL, NULL, NULL
      FROM judged j
    HAVING note_observation(count(*), count(*) FILTER (WHERE j.verdict <> 'unknown'), max(j.observed),
                            detect_unused_indexes.age_days)
  )
  SELECT f.schemaname, f.tablename, f.indexname, pg_size_pretty(f.index_size_bytes), f.idx_scan, f.days
    FROM found f
   ORDER BY f.index_size_bytes DESC, f.schemaname, f.tablename, f.indexname;
END;
COMMENT ON FUNCTION detect_unused_indexes(integer) IS
  'Indexes of more than 100 kB that nothing has scanned in the last age_days observed days and that serve '
  'no constraint, largest first. idx_scan is the counter of now. Indexes with less history are not '
  'reported; a NOTICE says so if that is all of them.';

CREATE FUNCTION no_such_table(table_name text) RETURNS oid
LANGUAGE plpgsql VOLATILE  -- else the planner calls it to estimate
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RAISE EXCEPTION USING ERRCODE = '42P01',
    MESSAGE = format('there is no table %s', coalesce(table_name, 'NULL'));
END
$$;
COMMENT ON FUNCTION no_such_table(text) IS 'Part of table_named: 42P01.';

CREATE FUNCTION table_named(table_name text) RETURNS oid
LANGUAGE sql STABLE
BEGIN ATOMIC
  -- With its schema also for those who may not use that.
  SELECT coalesce((SELECT c.oid FROM pg_catalog.pg_class c
                     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                    WHERE table_named.table_name ~ '[.]'::text
                      AND parse_ident(table_named.table_name) = ARRAY[n.nspname::text, c.relname::text]),
                  to_regclass(table_named.table_name)::oid, no_such_table(table_named.table_name));
END;
COMMENT ON FUNCTION table_named(text) IS 'As regclass; 42P01 if there is no such table.';

CREATE FUNCTION get_index_trends(table_name text, days integer DEFAULT 7)
RETURNS TABLE (indexname text, scans_per_day numeric[])
LANGUAGE sql VOLATILE
SET jit = off
BEGIN ATOMIC
  WITH RECURSIVE moment AS MATERIALIZED (
    SELECT t.now, t.today, check_days(get_index_trends.days, 'days'::text) AS days, a.surely, a.perhaps
      FROM statistics_started_anew() a
     CROSS JOIN (SELECT n.now, date_trunc('day'::text, n.now, 'UTC'::text) AS today
                   FROM (SELECT clock_timestamp() AS now) n) t
  ), target AS MATERIALIZED (
    SELECT table_named(get_index_trends.table_name) AS relid
  ), part AS (
    -- Of a partitioned index all parts.
    SELECT i.indexrelid AS root, i.indexrelid
      FROM target t
      JOIN pg_catalog.pg_index i ON i.indrelid = t.relid
    UNION ALL
    SELECT p.root, i.inhrelid FROM part p JOIN pg_catalog.pg_inherits i ON i.inhparent = p.indexrelid
  ), day AS (
    SELECT d.n, m.today - (m.days - d.n)::double precision * interval '24 hours' AS start,
           m.today - (m.days - d.n - 1)::double precision * interval '24 hours' AS behind
      FROM moment m
     CROSS JOIN LATERAL generate_series(1, m.days) AS d (n)
  ), leaf AS MATERIALIZED (
    SELECT p.root, d.indexrelid, t.oid AS relid, n.nspname::text AS schemaname, t.relname::text AS tablename,
           c.relname::text AS indexname, d.definition_hash, pg_stat_get_numscans(c.oid) AS idx_scan,
           (SELECT true FROM index_usage_snapshots h WHERE h.indexrelid = c.oid LIMIT 1) IS NOT NULL AS has_rows
      FROM part p
      JOIN pg_catalog.pg_index x ON x.indexrelid = p.indexrelid
      JOIN pg_catalog.pg_class c ON c.oid = x.indexrelid AND c.relkind = 'i'::"char"
      JOIN pg_catalog.pg_class t ON t.oid = x.indrelid
      JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace
      JOIN index_definitions d ON d.indexrelid = x.indexrelid
  ), period AS (
    -- Rolled up, the first row tells of the day until then.
    SELECT l.root, coalesce(i.since, date_trunc('day'::text, i.until, 'UTC'::text)) AS since, i.until, i.scans
      FROM leaf l
     CROSS JOIN moment m
     CROSS JOIN LATERAL index_usage_intervals(
             l.indexrelid, l.relid, l.schemaname, l.tablename, l.indexname, l.definition_hash, l.has_rows,
             l.idx_scan, m.now, m.surely, m.perhaps) i
     -- Scans are known to have been even where there may have been more.
     WHERE i.scans > 0::bigint OR i.observed AND i.since IS NOT NULL
  ), share AS (
    SELECT p.root, d.n,
           sum(p.scans::numeric * CASE WHEN p.until = p.since THEN 1::numeric
                 ELSE extract(epoch FROM least(p.until, d.behind) - greatest(p.since, d.start))
                      / extract(epoch FROM p.until - p.since) END) AS scans
      FROM period p
      JOIN day d ON p.since < d.behind AND p.until > d.start
     GROUP BY p.root, d.n
  )
  SELECT c.relname::text, array_agg(round(s.scans, 2) ORDER BY d.n)
    FROM part p
    JOIN pg_catalog.pg_class c ON c.oid = p.root
   CROSS JOIN day d
    LEFT JOIN share s ON s.root = p.root AND s.n = d.n
   WHERE p.indexrelid = p.root
   GROUP BY c.oid, c.relname
   ORDER BY c.relname;
END;
COMMENT ON FUNCTION get_index_trends(text, integer) IS
  'For each index of a table the scans of the last days: UTC days, oldest first, today last; NULL for days '
  'that were not observed. Scans between two snapshots are spread evenly over the time between them. Of a '
  'partitioned table, the indexes have the scans of all their parts.';

-- Rolling up: after a week the rows of an index and UTC day become one, the last with the scans of all.
-- What is due shows in the rows alone: each step looks at the next days, and begins again at the oldest.

CREATE FUNCTION merge_index_usage(first timestamptz, behind timestamptz) RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  WITH known AS MATERIALIZED (
    SELECT h.id, h.snapshot_timestamp, h.indexrelid, h.schemaname, h.tablename, h.indexname, h.idx_scan,
           h.scans_since_previous AS scans, coalesce(h.reset_detected, false) AS reset,
           date_trunc('day'::text, h.snapshot_timestamp, 'UTC'::text) AS day,
           count(*) OVER (PARTITION BY h.indexrelid, h.schemaname, h.tablename, h.indexname,
                            date_trunc('day'::text, h.snapshot_timestamp, 'UTC'::text)) AS rows
      FROM index_usage_snapshots h
     WHERE h.snapshot_timestamp >= merge_index_usage.first AND h.snapshot_timestamp < merge_index_usage.behind
  ), linked AS (
    SELECT k.*, coalesce(lag(k.idx_scan) OVER index_in_time,
                         CASE WHEN k.scans IS NULL THEN (
                           SELECT h.idx_scan FROM index_usage_snapshots h
                            WHERE (h.indexrelid = k.indexrelid OR h.indexrelid IS NULL AND k.indexrelid IS NULL)
                              AND h.indexname = k.indexname AND h.schemaname = k.schemaname
                              AND h.tablename = k.tablename AND h.snapshot_timestamp < k.day
                            ORDER BY h.snapshot_timestamp DESC LIMIT 1) END) AS previous_scan,
           row_number() OVER (PARTITION BY k.indexrelid, k.schemaname, k.tablename, k.indexname, k.day
                              ORDER BY k.snapshot_timestamp DESC) AS from_last
      FROM known k
     WHERE k.rows > 1::bigint
    WINDOW index_in_time AS (PARTITION BY k.indexrelid, k.schemaname, k.tablename, k.indexname, k.day
                             ORDER BY k.snapshot_timestamp)
  ), counted AS MATERIALIZED (
    SELECT l.id, l.snapshot_timestamp, l.indexrelid, l.schemaname, l.tablename, l.indexname, l.day, l.from_last,
           coalesce(l.scans, CASE WHEN l.idx_scan < l.previous_scan THEN l.idx_scan
                                  ELSE l.idx_scan - l.previous_scan END) AS scans,
           l.reset OR coalesce(l.scans IS NULL AND l.idx_scan < l.previous_scan, false) AS reset
      FROM linked l
  ), dropped AS (
    DELETE FROM index_usage_snapshots h
     USING counted c
     WHERE c.from_last > 1::bigint AND h.id = c.id AND h.snapshot_timestamp = c.snapshot_timestamp
    RETURNING 1
  ), kept AS (
    UPDATE index_usage_snapshots h
       SET scans_since_previous = s.scans, reset_detected = s.reset
      FROM (SELECT sum(c.scans)::bigint AS scans, bool_or(c.reset) AS reset,
                   (array_agg(c.id ORDER BY c.from_last))[1] AS id,
                   max(c.snapshot_timestamp) AS snapshot_timestamp
              FROM counted c
             GROUP BY c.indexrelid, c.schemaname, c.tablename, c.indexname, c.day) s
     WHERE h.id = s.id AND h.snapshot_timestamp = s.snapshot_timestamp
    RETURNING 1
  )
  SELECT count(*)::integer FROM dropped;
END;
COMMENT ON FUNCTION merge_index_usage(timestamptz, timestamptz) IS
  'Makes the rows of each index and UTC day in the period one: the last, with the scans of all. Returns how '
  'many rows it removed.';

CREATE FUNCTION next_index_usage_rollup(at timestamptz, most integer,
                                        OUT first timestamptz, OUT behind timestamptz)
RETURNS SETOF record
LANGUAGE sql STABLE
BEGIN ATOMIC
  WITH due AS (
    SELECT date_trunc('day'::text, next_index_usage_rollup.at, 'UTC'::text) - interval '168 hours' AS behind
  ), start AS (
    SELECT d.behind, coalesce(
             (SELECT h.snapshot_timestamp FROM index_usage_snapshots h
               WHERE h.snapshot_timestamp >= (SELECT c.rolled_up_to FROM index_usage_capture c)
                 AND h.snapshot_timestamp < d.behind
               ORDER BY h.snapshot_timestamp LIMIT 1),
             (SELECT h.snapshot_timestamp FROM index_usage_snapshots h
               WHERE h.snapshot_timestamp > '-infinity'::timestamptz AND h.snapshot_timestamp < d.behind
               ORDER BY h.snapshot_timestamp LIMIT 1)) AS first
      FROM due d
  )
  SELECT date_trunc('day'::text, s.first, 'UTC'::text),
         greatest(coalesce(date_trunc('day'::text, enough.at, 'UTC'::text), s.behind),
                  date_trunc('day'::text, s.first, 'UTC'::text) + interval '24 hours')
    FROM start s
    LEFT JOIN LATERAL (SELECT h.snapshot_timestamp AS at FROM index_usage_snapshots h
                        WHERE h.snapshot_timestamp >= s.first AND h.snapshot_timestamp < s.behind
                        ORDER BY h.snapshot_timestamp OFFSET next_index_usage_rollup.most LIMIT 1) enough ON true
   WHERE s.first IS NOT NULL;
END;
COMMENT ON FUNCTION next_index_usage_rollup(timestamptz, integer) IS
  'The next UTC days that are over for a week, with about `most` rows, but at least one day.';

CREATE FUNCTION roll_up_index_usage() RETURNS integer
LANGUAGE sql VOLATILE
SET jit = off
BEGIN ATOMIC
  WITH period AS MATERIALIZED (
    SELECT n.first, n.behind FROM next_index_usage_rollup(clock_timestamp(), 50000) n
  ), noted AS (
    UPDATE index_usage_capture SET rolled_up_to = p.behind FROM period p
    RETURNING 1
  )
  SELECT coalesce(sum(merge_index_usage(p.first, p.behind)), 0::bigint)::integer FROM period p;
END;
COMMENT ON FUNCTION roll_up_index_usage() IS
  'One step of rolling up index_usage_snapshots; the collector''s work, repeated until it returns 0. A step '
  'looks at about 50,000 rows; further calls look at all others in turn.';

CREATE FUNCTION maintain_index_usage_partitions() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT maintain_partitions_of('index_usage_snapshots'::regclass,
                                coalesce(current_setting('train_perf.index_usage_retention', true),
                                         '400d')::interval,
                                most => 1, unit => 'month');
END;
COMMENT ON FUNCTION maintain_index_usage_partitions() IS
  'Makes or drops one partition of index_usage_snapshots, a month, as train_perf.index_usage_retention '
  'says; the collector''s work, repeated until it returns 0.';
