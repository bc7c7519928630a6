-- Bloat over time.

CREATE TABLE table_bloat_snapshots (
  id uuid NOT NULL DEFAULT gen_random_uuid(),
  snapshot_timestamp timestamptz NOT NULL DEFAULT now(),
  schemaname text,
  tablename text,
  actual_size_bytes bigint NOT NULL,
  estimated_size_bytes bigint NOT NULL,
  bloat_bytes bigint GENERATED ALWAYS AS (actual_size_bytes - estimated_size_bytes) STORED,
  bloat_ratio numeric GENERATED ALWAYS AS (
    CASE WHEN estimated_size_bytes = 0 THEN 0::numeric
         ELSE round((actual_size_bytes - estimated_size_bytes)::numeric / estimated_size_bytes::numeric * 100::numeric, 2) END) STORED,
  dead_tuples bigint,
  live_tuples bigint,
  method text,
  sampled_pages integer,
  recently_dead_tuples bigint,
  relid oid,
  state_hash bigint,
  PRIMARY KEY (id, snapshot_timestamp),
  UNIQUE (snapshot_timestamp, schemaname, tablename)
) PARTITION BY RANGE (snapshot_timestamp);
CREATE TABLE table_bloat_snapshots_default PARTITION OF table_bloat_snapshots DEFAULT;
CREATE INDEX table_bloat_snapshots_table ON table_bloat_snapshots (schemaname, tablename, snapshot_timestamp);
CREATE INDEX table_bloat_snapshots_own ON table_bloat_snapshots (schemaname, tablename) WHERE relid IS NULL;
SELECT pg_catalog.pg_extension_config_dump('table_bloat_snapshots_default', '');

COMMENT ON TABLE table_bloat_snapshots IS
  'The size of each table with its TOAST over time, and what a rewrite would make of it.';
COMMENT ON COLUMN table_bloat_snapshots.bloat_ratio IS 'Excess in percent of the estimated size.';
COMMENT ON COLUMN table_bloat_snapshots.dead_tuples IS 'Those that VACUUM would remove.';
COMMENT ON COLUMN table_bloat_snapshots.method IS
  'exact: all pages were read; sampled: random ones; statistics: an access method that cannot be read.';
COMMENT ON COLUMN table_bloat_snapshots.sampled_pages IS 'How many pages were read.';
COMMENT ON COLUMN table_bloat_snapshots.recently_dead_tuples IS 'Dead ones that an old snapshot keeps.';
COMMENT ON COLUMN table_bloat_snapshots.relid IS 'NULL in rows that were not captured.';
COMMENT ON COLUMN table_bloat_snapshots.state_hash IS
  'Files, sizes and counters of the table at the time: while they stay, it is not read again.';

CREATE TABLE index_bloat_snapshots (
  id uuid NOT NULL DEFAULT gen_random_uuid(),
  snapshot_timestamp timestamptz NOT NULL DEFAULT now(),
  schemaname text,
  tablename text,
  indexname text,
  access_method text,
  actual_size_bytes bigint NOT NULL,
  estimated_size_bytes bigint NOT NULL,
  bloat_bytes bigint GENERATED ALWAYS AS (actual_size_bytes - estimated_size_bytes) STORED,
  bloat_ratio numeric GENERATED ALWAYS AS (
    CASE WHEN estimated_size_bytes = 0 THEN 0::numeric
         ELSE round((actual_size_bytes - estimated_size_bytes)::numeric / estimated_size_bytes::numeric * 100::numeric, 2) END) STORED,
  dead_tuples bigint,
  live_tuples bigint,
  method text,
  sampled_pages integer,
  recently_dead_tuples bigint,
  relid oid,
  indexrelid oid,
  PRIMARY KEY (id, snapshot_timestamp),
  UNIQUE (snapshot_timestamp, schemaname, tablename, indexname)
) PARTITION BY RANGE (snapshot_timestamp);
CREATE TABLE index_bloat_snapshots_default PARTITION OF index_bloat_snapshots DEFAULT;
CREATE INDEX index_bloat_snapshots_index ON index_bloat_snapshots (schemaname, indexname, snapshot_timestamp);
SELECT pg_catalog.pg_extension_config_dump('index_bloat_snapshots_default', '');
COMMENT ON TABLE table_bloat_snapshots_default IS
  'Rows for which there is no partition (yet); the collector moves them.';
COMMENT ON TABLE index_bloat_snapshots_default IS
  'Rows for which there is no partition (yet); the collector moves them.';
COMMENT ON TABLE index_bloat_snapshots IS
  'The size of each index over time, and what REINDEX would make of it; columns as in '
  'table_bloat_snapshots, tuples are index entries.';
COMMENT ON COLUMN index_bloat_snapshots.access_method IS 'btree, hash, gist, gin, spgist, brin, or another.';

CREATE TABLE bloat_snapshot_run (
  singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
  started_at timestamptz NOT NULL,
  finished_at timestamptz,
  last_relid oid NOT NULL,
  tables integer NOT NULL,
  written integer NOT NULL,
  skipped integer NOT NULL,
  alerts_checked_at timestamptz
);
COMMENT ON TABLE bloat_snapshot_run IS
  'The last snapshot of bloat: how far it is (finished_at is NULL until its end), how many tables it looked '
  'at, how many rows it wrote to table_bloat_snapshots, how many tables and indexes it skipped because they '
  'were locked or damaged.';

CREATE FUNCTION table_states(after oid, most integer,
                             OUT relid oid, OUT schemaname text, OUT tablename text,
                             OUT pages bigint, OUT state_hash bigint)
RETURNS SETOF record
LANGUAGE sql VOLATILE
SET enable_nestloop = off  -- of many tables each catalog is read once
SET jit = off
BEGIN ATOMIC
  WITH covered AS MATERIALIZED (
    SELECT t.relid, t.schemaname, t.tablename FROM snapshot_tables() t
     WHERE t.relid > table_states.after ORDER BY t.relid LIMIT table_states.most
  ), part AS (
    SELECT t.relid, c.oid, c.relfilenode, c.reltablespace, c.reloptions, c.relnatts
      FROM covered t JOIN pg_catalog.pg_class c ON c.oid = t.relid
    UNION ALL
    SELECT t.relid, o.oid, o.relfilenode, o.reltablespace, o.reloptions, o.relnatts
      FROM covered t JOIN pg_catalog.pg_class c ON c.oid = t.relid
      JOIN pg_catalog.pg_class o ON o.oid = c.reltoastrelid
    UNION ALL
    SELECT t.relid, c.oid, c.relfilenode, c.reltablespace, c.reloptions, c.relnatts
      FROM covered t JOIN pg_catalog.pg_index i ON i.indrelid = t.relid
      JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
  ), sized AS MATERIALIZED (
    SELECT p.relid, p.oid, file_bytes(p.reltablespace, p.relfilenode) AS bytes,
           pg_catalog.concat_ws(' '::text, p.oid, p.relfilenode, p.relnatts, p.reloptions) AS properties
      FROM part p
  ), file AS (
    SELECT s.relid, sum(least(s.bytes / current_setting('block_size'::text)::bigint, 1000::bigint))::bigint AS pages,
           string_agg(s.properties || ' '::text || coalesce(s.bytes, 0::bigint)::text, ','::text
                      ORDER BY s.oid) AS files
      FROM sized s
     GROUP BY s.relid
  ), dropped AS (
    SELECT a.attrelid, count(*) AS columns FROM pg_catalog.pg_attribute a WHERE a.attisdropped
     GROUP BY a.attrelid
  )
  -- What this session has not yet reported counts too.
  SELECT t.relid, t.schemaname, t.tablename, f.pages, hashtextextended(pg_catalog.concat_ws(' '::text, f.files, d.columns,
           pg_stat_get_tuples_inserted(t.relid) + pg_stat_get_xact_tuples_inserted(t.relid),
           pg_stat_get_tuples_updated(t.relid) + pg_stat_get_xact_tuples_updated(t.relid),
           pg_stat_get_tuples_deleted(t.relid) + pg_stat_get_xact_tuples_deleted(t.relid),
           pg_stat_get_vacuum_count(t.relid), pg_stat_get_autovacuum_count(t.relid)), 0::bigint)
    FROM covered t JOIN file f ON f.relid = t.relid LEFT JOIN dropped d ON d.attrelid = t.relid;
END;
COMMENT ON FUNCTION table_states(oid, integer) IS
  'The next tables that snapshots are taken of, by OID: how many pages a sample of them and of their '
  'indexes has, and a hash of their files, sizes, properties and counters. Locks nothing.';

CREATE FUNCTION write_bloat_snapshot(taken_at timestamptz, after oid, most_tables integer, most_pages bigint,
                                     OUT last_relid oid, OUT tables integer, OUT written integer,
                                     OUT skipped integer)
LANGUAGE sql VOLATILE
SET enable_seqscan = off  -- partitions that nobody analyzed yet look small
SET jit = off
BEGIN ATOMIC
  WITH known AS MATERIALIZED (
    SELECT t.relid, t.schemaname, t.tablename, t.pages, t.state_hash, l.actual_size_bytes,
           l.estimated_size_bytes, l.dead_tuples, l.live_tuples, l.method, l.sampled_pages,
           l.relid = t.relid AND l.state_hash = t.state_hash
             AND l.recently_dead_tuples = 0::bigint IS TRUE AS unchanged,
           l.snapshot_timestamp < date_trunc('day'::text, write_bloat_snapshot.taken_at, 'UTC'::text) AS on_earlier_day
      FROM table_states(write_bloat_snapshot.after, write_bloat_snapshot.most_tables) t
      LEFT JOIN LATERAL (SELECT s.* FROM table_bloat_snapshots s
                          WHERE s.schemaname = t.schemaname AND s.tablename = t.tablename
                            AND s.snapshot_timestamp < write_bloat_snapshot.taken_at
                          ORDER BY s.snapshot_timestamp DESC LIMIT 1) AS l ON true
  ), counted AS (
    SELECT k.*, sum(CASE WHEN k.unchanged THEN 0::bigint ELSE k.pages END) OVER (ORDER BY k.relid) AS pages_so_far,
           row_number() OVER (ORDER BY k.relid) AS number
      FROM known k
  ), taken AS MATERIALIZED (
    SELECT c.* FROM counted c
     WHERE c.pages_so_far <= write_bloat_snapshot.most_pages::numeric IS NOT FALSE OR c.number = 1::bigint
     ORDER BY c.relid
  ), estimate AS MATERIALIZED (
    SELECT t.relid AS of_table, e.* FROM taken t CROSS JOIN LATERAL estimate_with_indexes(t.relid, 1000) e
     WHERE NOT t.unchanged
  ), incomplete AS MATERIALIZED (
    SELECT DISTINCT e.of_table FROM estimate e WHERE e.skipped IS NOT NULL
  ), tables AS (
    INSERT INTO table_bloat_snapshots (
      snapshot_timestamp, schemaname, tablename, actual_size_bytes, estimated_size_bytes, dead_tuples,
      live_tuples, method, sampled_pages, recently_dead_tuples, relid, state_hash)
    SELECT write_bloat_snapshot.taken_at, t.schemaname, t.tablename, e.actual_size_bytes,
           e.estimated_size_bytes, e.dead_tuples, e.live_tuples, e.method, e.sampled_pages,
           e.recently_dead_tuples, t.relid,
           CASE WHEN NOT EXISTS (SELECT FROM incomplete i WHERE i.of_table = t.relid) THEN t.state_hash END
      FROM estimate e JOIN taken t ON t.relid = e.of_table
     WHERE e.relid = e.of_table AND e.skipped IS NULL
    UNION ALL
    SELECT write_bloat_snapshot.taken_at, t.schemaname, t.tablename, t.actual_size_bytes,
           t.estimated_size_bytes, t.dead_tuples, t.live_tuples, t.method, t.sampled_pages, 0::bigint,
           t.relid, t.state_hash
      FROM taken t
     WHERE t.unchanged AND t.on_earlier_day
    -- While a run goes on, a name may have passed to another table.
    ON CONFLICT DO NOTHING
    RETURNING 1
  ), indexes AS (
    INSERT INTO index_bloat_snapshots (
      snapshot_timestamp, schemaname, tablename, indexname, access_method, actual_size_bytes,
      estimated_size_bytes, dead_tuples, live_tuples, method, sampled_pages, recently_dead_tuples, relid,
      indexrelid)
    SELECT write_bloat_snapshot.taken_at, t.schemaname, t.tablename, c.relname::text, m.amname::text,
           e.actual_size_bytes, e.estimated_size_bytes, e.dead_tuples, e.live_tuples, e.method,
           e.sampled_pages, e.recently_dead_tuples, t.relid, e.relid
      FROM estimate e JOIN taken t ON t.relid = e.of_table
      JOIN pg_catalog.pg_class c ON c.oid = e.relid
      JOIN pg_catalog.pg_am m ON m.oid = c.relam
     WHERE e.relid <> e.of_table AND e.skipped IS NULL
    UNION ALL
    SELECT write_bloat_snapshot.taken_at, l.schemaname, l.tablename, l.indexname, l.access_method,
           l.actual_size_bytes, l.estimated_size_bytes, l.dead_tuples, l.live_tuples, l.method,
           l.sampled_pages, l.recently_dead_tuples, l.relid, l.indexrelid
      FROM taken t
      JOIN pg_catalog.pg_index i ON i.indrelid = t.relid
      JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
     CROSS JOIN LATERAL (SELECT s.* FROM index_bloat_snapshots s
                          WHERE s.schemaname = t.schemaname AND s.indexname = c.relname::text COLLATE pg_catalog."default"
                            AND s.snapshot_timestamp < write_bloat_snapshot.taken_at
                          ORDER BY s.snapshot_timestamp DESC LIMIT 1) AS l
     WHERE t.unchanged AND t.on_earlier_day
    ON CONFLICT DO NOTHING
  )
  SELECT (SELECT max(t.relid) FROM taken t), (SELECT count(*)::integer FROM taken),
         (SELECT count(*)::integer FROM tables),
         (SELECT count(*)::integer FROM estimate e WHERE e.skipped IS NOT NULL AND e.skipped <> 'gone'::text);
END;
COMMENT ON FUNCTION write_bloat_snapshot(timestamptz, oid, integer, bigint) IS
  'Part of capture_table_bloat_snapshot: the next tables after an OID, at most so many and so many pages '
  'of samples (but one table at least); NULL: all. Tables that did not change since their last row are not '
  'read: they get a copy of it on a new day (UTC).';

CREATE FUNCTION notice_skipped(relations integer) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF relations > 0 THEN
    RAISE NOTICE USING MESSAGE = format('%s locked or damaged relations were skipped', relations);
  END IF;
END
$$;
COMMENT ON FUNCTION notice_skipped(integer) IS 'Part of capture_table_bloat_snapshot.';

CREATE FUNCTION note_bloat_run(began_at timestamptz, ended_at timestamptz, last_relid oid,
                               tables integer, written integer, skipped integer) RETURNS void
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  INSERT INTO bloat_snapshot_run AS r (started_at, finished_at, last_relid, tables, written, skipped)
  VALUES (note_bloat_run.began_at, note_bloat_run.ended_at, note_bloat_run.last_relid,
          note_bloat_run.tables, note_bloat_run.written, note_bloat_run.skipped)
  ON CONFLICT (singleton) DO UPDATE
    SET (started_at, finished_at, last_relid, tables, written, skipped)
      = (excluded.started_at, excluded.finished_at, excluded.last_relid, excluded.tables, excluded.written,
         excluded.skipped);
END;
COMMENT ON FUNCTION note_bloat_run(timestamptz, timestamptz, oid, integer, integer, integer) IS
  'Part of capture_table_bloat_snapshot: what bloat_snapshot_run shows.';

CREATE FUNCTION capture_table_bloat_snapshot() RETURNS integer
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT require_primary('capture_table_bloat_snapshot()'::text);
  SELECT await_snapshot_lock('table_bloat_snapshots'::regclass);
  SELECT pg_stat_clear_snapshot();
  WITH run AS MATERIALIZED (
    SELECT n.now, w.last_relid, w.tables, w.written, w.skipped
      FROM (SELECT clock_timestamp() AS now
             WHERE try_snapshot_lock('table_bloat_snapshots'::regclass)) AS n
     CROSS JOIN LATERAL write_bloat_snapshot(n.now, 0::oid, NULL::integer, NULL::bigint) AS w
  ), told AS MATERIALIZED (
    SELECT r.written, note_bloat_run(r.now, clock_timestamp(), coalesce(r.last_relid, 0::oid), r.tables, r.written, r.skipped),
           notice_skipped(r.skipped)
      FROM run r
  )
  SELECT coalesce((SELECT t.written FROM told t), 0);
END;
COMMENT ON FUNCTION capture_table_bloat_snapshot() IS
  'Writes a row to table_bloat_snapshots for each table, and to index_bloat_snapshots for each of its '
  'indexes; those that did not change get one a day. Returns the rows written to table_bloat_snapshots. '
  'Reads samples of all changed tables in this transaction; the collector does it in small ones.';

CREATE FUNCTION continue_bloat_snapshot() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  -- A run that is not at its end goes on, another begins when it is time.
  WITH next AS (
    SELECT CASE WHEN r.finished_at IS NULL THEN r.started_at END AS started_at,
           CASE WHEN r.finished_at IS NULL THEN r.last_relid END AS last_relid,
           r.tables, r.written, r.skipped
      FROM (SELECT 1) AS one LEFT JOIN bloat_snapshot_run r ON true
     WHERE r.finished_at IS NULL
        OR r.started_at + coalesce(current_setting('train_perf.snapshot_interval', true), '1h')::interval
           <= clock_timestamp()
  ), run AS MATERIALIZED (
    SELECT n.started_at IS NOT NULL AS continues, coalesce(n.started_at, clock_timestamp()) AS started_at,
           coalesce(n.last_relid, 0::oid) AS after, n.tables, n.written, n.skipped
      FROM next n
     WHERE NOT pg_is_in_recovery() AND try_snapshot_lock('table_bloat_snapshots'::regclass)
  ), step AS MATERIALIZED (
    SELECT r.*, w.last_relid, w.tables AS tables_now, w.written AS written_now, w.skipped AS skipped_now
      FROM run r CROSS JOIN LATERAL write_bloat_snapshot(r.started_at, r.after, 500, 10000::bigint) AS w
  ), noted AS MATERIALIZED (
    SELECT note_bloat_run(s.started_at, CASE WHEN s.tables_now = 0 THEN clock_timestamp() END,
                          coalesce(s.last_relid, s.after),
                          s.tables_now + CASE WHEN s.continues THEN s.tables ELSE 0 END,
                          s.written_now + CASE WHEN s.continues THEN s.written ELSE 0 END,
                          s.skipped_now + CASE WHEN s.continues THEN s.skipped ELSE 0 END)
      FROM step s
  )
  SELECT coalesce((SELECT s.tables_now FROM step s CROSS JOIN (SELECT count(*) FROM noted) AS n (count)
                    WHERE n.count > 0::bigint), 0);
END;
COMMENT ON FUNCTION continue_bloat_snapshot() IS
  'One step of a snapshot of bloat, if one is due: up to 500 tables or 10,000 pages. Returns how many '
  'tables; the collector''s work, repeated until it returns 0.';

CREATE FUNCTION get_bloat_status() RETURNS SETOF table_bloat_snapshots
LANGUAGE sql STABLE
SET enable_seqscan = off  -- partitions that nobody analyzed yet look small
SET jit = off
BEGIN ATOMIC
  -- A name as text has another collation, for which no index is good.
  SELECT l.*
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
   CROSS JOIN LATERAL (SELECT s.* FROM table_bloat_snapshots s
                        WHERE s.schemaname = n.nspname::text COLLATE pg_catalog."default"
                          AND s.tablename = c.relname::text COLLATE pg_catalog."default"
                          AND (s.relid IS NULL OR s.relid = c.oid)
                        ORDER BY s.snapshot_timestamp DESC LIMIT 1) AS l
   WHERE c.relkind IN ('r'::"char", 'm'::"char") AND c.relpersistence <> 't'::"char"
     AND n.nspname NOT IN ('pg_catalog'::name, 'information_schema'::name)
  UNION ALL
  -- Rows that somebody else wrote, of what is no table here.
  (SELECT DISTINCT ON (s.schemaname, s.tablename) s.*
    FROM table_bloat_snapshots s
   WHERE s.relid IS NULL
     AND NOT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                      WHERE n.nspname::text = s.schemaname AND c.relname::text = s.tablename
                        AND c.relkind IN ('r'::"char", 'm'::"char") AND c.relpersistence <> 't'::"char")
   ORDER BY s.schemaname, s.tablename, s.snapshot_timestamp DESC);
END;
COMMENT ON FUNCTION get_bloat_status() IS 'The latest row of table_bloat_snapshots of each table that there is.';

CREATE FUNCTION get_high_bloat_tables(threshold numeric DEFAULT 20) RETURNS SETOF table_bloat_snapshots
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT s.* FROM get_bloat_status() s
   WHERE s.bloat_ratio > get_high_bloat_tables.threshold
   ORDER BY s.bloat_ratio DESC, s.bloat_bytes DESC;
END;
COMMENT ON FUNCTION get_high_bloat_tables(numeric) IS
  'The rows of get_bloat_status() whose bloat_ratio is above the threshold, highest first.';

CREATE FUNCTION index_bloat_status() RETURNS SETOF index_bloat_snapshots
LANGUAGE sql STABLE
SET enable_seqscan = off  -- partitions that nobody analyzed yet look small
SET jit = off
BEGIN ATOMIC
  SELECT l.*
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
   CROSS JOIN LATERAL (SELECT s.* FROM index_bloat_snapshots s
                        WHERE s.schemaname = n.nspname::text COLLATE pg_catalog."default"
                          AND s.indexname = c.relname::text COLLATE pg_catalog."default"
                          AND (s.relid IS NULL OR EXISTS (SELECT FROM pg_catalog.pg_index i
                                                           WHERE i.indexrelid = c.oid AND i.indrelid = s.relid))
                        ORDER BY s.snapshot_timestamp DESC LIMIT 1) AS l
   WHERE c.relkind = 'i'::"char" AND c.relpersistence <> 't'::"char"
     AND n.nspname NOT IN ('pg_catalog'::name, 'information_schema'::name);
END;
COMMENT ON FUNCTION index_bloat_status() IS 'The latest row of index_bloat_snapshots of each index that there is.';

CREATE FUNCTION maintain_bloat_partitions() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT maintain_partitions_of('table_bloat_snapshots'::regclass,
                                coalesce(current_setting('train_perf.retention', true), '35d')::interval,
                                most => 1)
         + maintain_partitions_of('index_bloat_snapshots'::regclass,
                                  coalesce(current_setting('train_perf.retention', true), '35d')::interval,
                                  most => 1);
END;
COMMENT ON FUNCTION maintain_bloat_partitions() IS
  'Makes or drops partitions of the bloat snapshots as train_perf.retention says; the collector''s work, '
  'repeated until it returns 0.';
