\echo Use "ALTER EXTENSION train_perf UPDATE TO '0.4'" to load this file. \quit

-- Like CREATE EXTENSION this runs with the extension's schema first in the search path.

-- A server that was not restarted since the library was replaced still runs the old one.
DO $$
BEGIN
  IF pg_catalog.string_to_array(library_version(), '.')::integer[] OPERATOR(pg_catalog.<) '{0,4}'::integer[] THEN
    RAISE EXCEPTION USING
      ERRCODE = '55000',
      MESSAGE = 'the server still runs an older library of train_perf',
      HINT = 'Restart the server, then try again.';
  END IF;
END
$$;

CREATE OR REPLACE FUNCTION compact_partition_of(parent regclass, before timestamptz) RETURNS integer
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

CREATE OR REPLACE FUNCTION maintain_partitions_of(parent regclass, keep interval,
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

CREATE OR REPLACE FUNCTION snapshot_patterns(setting text, initial text) RETURNS text[]
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  quoted CONSTANT text := '"((?:[^"]|"")*)"';
  patterns text;
BEGIN
  -- The same wildcards as on a command line; a pattern without a dot is one of tables in any schema. A name may
  -- also stand in double quotes, as in SQL.
  SELECT string_agg('^' || regexp_replace(replace(replace(
           CASE WHEN regexp_replace(p, quoted, '', 'g') LIKE '%.%' THEN '' ELSE '*.' END
             || replace(regexp_replace(p, quoted, E'\\1', 'g'), '""', '"'), '*', E'\x01'), '?', E'\x02'),
           E'([^a-zA-Z0-9_\\x01\\x02])', E'\\\\\\1', 'g') || '$', E'\n')
    INTO patterns
    FROM regexp_split_to_table(btrim(coalesce(nullif(current_setting(setting, true), ''), initial), E' \t\r\n'),
                               E'\\s*,\\s*') AS p
   WHERE p <> '';
  RETURN coalesce(string_to_array(replace(replace(patterns, E'\x01', '.*'), E'\x02', '.'), E'\n'), '{}');
END
$$;
COMMENT ON FUNCTION snapshot_patterns(text, text) IS
  'The regular expressions for schema.table of a setting: train_perf.snapshot_include or '
  'train_perf.snapshot_exclude.';

CREATE OR REPLACE FUNCTION foreign_key_indexes(OUT conoid oid, OUT indexrelid oid)
RETURNS SETOF record
LANGUAGE sql STABLE
SET jit = off
SET enable_nestloop = off
BEGIN ATOMIC
  WITH fk AS MATERIALIZED (
    SELECT c.oid, c.conrelid, c.conkey, c.conpfeqop, pg_catalog.cardinality(c.conkey) AS columns
      FROM snapshot_relations('{r,p}'::"char"[]) r
      JOIN pg_catalog.pg_constraint c ON c.conrelid = r.relid AND c.contype = 'f'::"char"
  ), fk_part AS MATERIALIZED (
    SELECT f.oid, f.conrelid, f.conkey, f.columns, k.attnum, k.equality
      FROM fk f
     CROSS JOIN LATERAL unnest(f.conkey, f.conpfeqop) AS k (attnum, equality)
  ), fk_column AS MATERIALIZED (
    SELECT f.oid, f.conrelid, f.conkey, f.columns, f.attnum, a.attcollation, f.equality, o.oprcom
      FROM fk_part f
      JOIN pg_catalog.pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = f.attnum
      JOIN pg_catalog.pg_operator o ON o.oid = f.equality
  ), index_part AS MATERIALIZED (
    SELECT i.indrelid, i.indexrelid, i.indpred, k.attnum, k.opclass, k.colloid, k.place
      FROM pg_catalog.pg_index i
     CROSS JOIN LATERAL unnest(i.indkey::smallint[], i.indclass::oid[], i.indcollation::oid[])
                        WITH ORDINALITY AS k (attnum, opclass, colloid, place)
     WHERE i.indrelid IN (SELECT f.conrelid FROM fk f) AND i.indisvalid AND i.indisready AND i.indislive
       AND k.place <= i.indnkeyatts::bigint
  ), index_column AS MATERIALIZED (
    SELECT k.indrelid, k.indexrelid, k.attnum, k.place, k.colloid, oc.opcfamily,
           CASE WHEN k.indpred IS NULL THEN NULL::text ELSE comparable_tree(k.indpred::text) END AS predicate
      FROM index_part k
      JOIN pg_catalog.pg_opclass oc ON oc.oid = k.opclass
      JOIN pg_catalog.pg_am am ON am.oid = oc.opcmethod AND am.amname NOT IN ('brin'::name, 'gin'::name)
  )
  -- The columns of the key come first, in any order.
  SELECT f.oid, x.indexrelid
    FROM fk_column f
    JOIN index_column x ON x.indrelid = f.conrelid AND x.attnum = f.attnum AND x.place <= f.columns::bigint
     AND (x.colloid = f.attcollation OR x.colloid = 0::oid)
   WHERE EXISTS (SELECT FROM pg_catalog.pg_amop op
                  WHERE op.amopfamily = x.opcfamily AND op.amopopr IN (f.equality, f.oprcom))
     AND (x.predicate IS NULL
          -- WHERE a IS NOT NULL [AND ...], of columns of the key.
          OR x.predicate ~ (E'^(\\{BOOLEXPR :boolop and :args \\()?'
               '( ?\\{NULLTEST :arg \\{VAR :varno 1 :varattno [0-9]+ [^{}]*\\} :nulltesttype 1 :argisrow false\\})+'
               '(\\)\\})?$')::text
             AND NOT EXISTS (SELECT FROM pg_catalog.regexp_matches(x.predicate, ':varattno ([0-9]+) '::text,
                                                                   'g'::text) AS m (attnum)
                              WHERE NOT m.attnum[1]::smallint = ANY (f.conkey)))
   GROUP BY f.oid, x.indexrelid, f.columns
  HAVING pg_catalog.count(DISTINCT f.attnum) = f.columns::bigint;
END;
COMMENT ON FUNCTION foreign_key_indexes() IS
  'Foreign keys (also those that partitions have from their parent) and the valid indexes of the same table '
  'that can look their columns up.';

CREATE OR REPLACE FUNCTION table_states(after oid, most integer,
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

CREATE OR REPLACE FUNCTION write_bloat_snapshot(taken_at timestamptz, after oid, most_tables integer, most_pages bigint,
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

CREATE FUNCTION invalid_indexes_of(tables oid[], OUT indexrelid oid, OUT in_progress boolean)
RETURNS SETOF record
LANGUAGE sql VOLATILE ROWS 10
SET jit = off
SET enable_nestloop = off
BEGIN ATOMIC
  WITH invalid AS MATERIALIZED (
    SELECT i.indexrelid, i.indrelid, i.xmax AS changed_by
      FROM (SELECT DISTINCT g.relid FROM pg_catalog.unnest(invalid_indexes_of.tables) AS g (relid)) r
      JOIN pg_catalog.pg_class t ON t.oid = r.relid
      JOIN pg_catalog.pg_index i ON i.indrelid IN (t.oid, t.reltoastrelid)
     WHERE NOT (i.indisvalid AND i.indisready AND i.indislive)
  ), lock AS MATERIALIZED (
    SELECT l.pid, l.relation, l.mode, l.transactionid
      FROM pg_catalog.pg_locks l
     WHERE l.granted AND l.pid <> pg_catalog.pg_backend_pid()
       AND (l.transactionid IS NOT NULL
            OR l.relation IS NOT NULL AND l.mode IN ('ShareUpdateExclusiveLock'::text, 'AccessExclusiveLock'::text)
               AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d
                                  WHERE d.datname = pg_catalog.current_database()))
  ), judged AS MATERIALIZED (
    SELECT i.indexrelid,
           -- A build locks its table, a concurrent rebuild its indexes too. Progress may not be reported
           -- (track_activities) or not be shown (NULL), so whatever else locks the table alike counts;
           -- VACUUM, ANALYZE and builds of other indexes, for sure, do not.
           EXISTS (SELECT FROM lock l
                    WHERE l.relation = i.indexrelid
                       OR l.transactionid = i.changed_by
                       OR l.relation = i.indrelid AND l.mode = 'ShareUpdateExclusiveLock'::text
                          AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_progress_vacuum p WHERE p.pid = l.pid)
                          AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_progress_analyze p WHERE p.pid = l.pid)
                          AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_progress_create_index p
                                           WHERE p.pid = l.pid
                                             AND p.index_relid NOT IN (0::oid, i.indexrelid)))
             AS in_progress
      FROM invalid i
  )
  -- A build may have ended after the snapshot was taken: look again, after the locks.
  SELECT j.indexrelid, j.in_progress FROM judged j WHERE is_invalid_now(j.indexrelid);
END;
COMMENT ON FUNCTION invalid_indexes_of(oid[]) IS
  'Invalid indexes of these tables and their TOAST tables, and whether something is at work on them: a '
  'concurrent build, rebuild or drop.';

CREATE OR REPLACE FUNCTION invalid_indexes(OUT indexrelid oid, OUT in_progress boolean)
RETURNS SETOF record
LANGUAGE sql VOLATILE ROWS 10
BEGIN ATOMIC
  SELECT i.indexrelid, i.in_progress
    FROM invalid_indexes_of((SELECT pg_catalog.array_agg(r.relid)
                               FROM snapshot_relations('{r,m}'::"char"[]) r)) i;
END;
COMMENT ON FUNCTION invalid_indexes() IS
  'invalid_indexes_of() the tables that snapshots cover.';

CREATE FUNCTION check_bloat_alerts(of_kind text) RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  WITH bloat AS (
    SELECT 'Table'::text AS what, quote_ident(s.schemaname) || '.'::text || quote_ident(s.tablename) AS name,
           s.schemaname, s.tablename, s.bloat_ratio, s.bloat_bytes, s.actual_size_bytes, s.estimated_size_bytes,
           s.method, s.snapshot_timestamp, 'its rows need'::text AS than, 'VACUUM (ANALYZE) '::text AS remedy,
           pg_catalog.jsonb_build_object(
             'dead_tuples'::text, s.dead_tuples, 'live_tuples'::text, s.live_tuples,
             'recently_dead_tuples'::text, s.recently_dead_tuples) AS details
      FROM get_bloat_status() s
     WHERE check_bloat_alerts.of_kind = 'table'::text
    UNION ALL
    SELECT 'Index'::text, quote_ident(s.schemaname) || '.'::text || quote_ident(s.indexname),
           s.schemaname, s.tablename, s.bloat_ratio, s.bloat_bytes, s.actual_size_bytes, s.estimated_size_bytes,
           s.method, s.snapshot_timestamp, 'after a rebuild'::text,
           'REINDEX INDEX '::text || CASE WHEN i.indisexclusion THEN ''::text ELSE 'CONCURRENTLY '::text END,
           pg_catalog.jsonb_build_object('indexname'::text, s.indexname, 'access_method'::text, s.access_method)
      FROM index_bloat_status() s
      LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = s.indexrelid
     WHERE check_bloat_alerts.of_kind = 'index'::text
  ), high AS MATERIALIZED (
    SELECT b.*, 'high_bloat:'::text || check_bloat_alerts.of_kind || ':'::text || b.name AS fingerprint, a.severity
      FROM bloat b
      JOIN alert_thresholds() t ON t.rule = check_bloat_alerts.of_kind || '_bloat'::text AND t.enabled
       AND b.bloat_bytes >= t.min_bytes
     CROSS JOIN LATERAL (
       SELECT severity_above(b.bloat_ratio, t.info, t.warning, t.error, t.critical) AS severity) AS a
     WHERE a.severity IS NOT NULL
  ), raised AS MATERIALIZED (
    SELECT create_performance_alert(
             'high_bloat'::text, h.severity,
             h.what || ' '::text || h.name || ' is '::text || round(h.bloat_ratio)::text || ' % larger than '::text
               || h.than || ': '::text || pg_size_pretty(h.bloat_bytes) || ' of '::text
               || pg_size_pretty(h.actual_size_bytes) || ' are wasted'::text,
             h.details || pg_catalog.jsonb_build_object(
               'fingerprint'::text, h.fingerprint, 'schemaname'::text, h.schemaname, 'tablename'::text, h.tablename,
               'bloat_ratio'::text, h.bloat_ratio, 'bloat_bytes'::text, h.bloat_bytes,
               'actual_size_bytes'::text, h.actual_size_bytes, 'estimated_size_bytes'::text, h.estimated_size_bytes,
               'method'::text, h.method, 'snapshot_timestamp'::text, h.snapshot_timestamp,
               'remediation'::text, h.remedy || h.name || ';'::text))
      FROM (SELECT * FROM high ORDER BY name) AS h
  ), resolved AS MATERIALIZED (
    SELECT resolve_alerts_except(
             'high_bloat'::text, 'high_bloat:'::text || check_bloat_alerts.of_kind || ':'::text,
             coalesce(pg_catalog.array_agg(h.fingerprint), '{}'::text[]),
             'The '::text || check_bloat_alerts.of_kind || ' is gone or below the threshold.'::text)
      FROM high h
  )
  SELECT (SELECT count(*)::integer FROM raised) FROM resolved;
END;
COMMENT ON FUNCTION check_bloat_alerts(text) IS
  'check_table_bloat_alerts(), or check_index_bloat_alerts(), for `table` or `index`.';

CREATE OR REPLACE FUNCTION check_table_bloat_alerts() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT check_bloat_alerts('table'::text);
END;
COMMENT ON FUNCTION check_table_bloat_alerts() IS
  'Raises, updates and resolves the high_bloat alerts of tables by the latest snapshot of each, as '
  'alert_thresholds() says. Returns how many tables are above a threshold now.';

CREATE OR REPLACE FUNCTION check_index_bloat_alerts() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT check_bloat_alerts('index'::text);
END;
COMMENT ON FUNCTION check_index_bloat_alerts() IS
  'As check_table_bloat_alerts(), for indexes.';

-- When maintenance may run by itself: train_perf.maintenance_window, in train_perf.timezone.

CREATE FUNCTION schedule_timezone(OUT name text, OUT problem text)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  name := nullif(current_setting('train_perf.timezone', true), '');
  -- What the session itself set is not the server's.
  IF name IS NULL THEN SELECT s.reset_val INTO name FROM pg_settings s WHERE s.name = 'TimeZone'; END IF;
  PERFORM now() AT TIME ZONE name;
EXCEPTION WHEN invalid_parameter_value THEN
  problem := format('train_perf.timezone: there is no time zone %s', quote_literal(name));
  name := NULL;
END
$$;
COMMENT ON FUNCTION schedule_timezone() IS
  'The time zone of schedule and window: train_perf.timezone or that of the server; or what is wrong with it.';

CREATE FUNCTION parse_maintenance_window(setting text, OUT entry text, OUT day integer, OUT opens interval,
                                         OUT lasts interval, OUT problem text)
RETURNS SETOF record
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
  WITH part AS (
    SELECT e.entry,
           regexp_match(e.entry,
             E'^(?:(sun(?:day)?|mon(?:day)?|tue(?:sday)?|wed(?:nesday)?|thu(?:rsday)?|fri(?:day)?|sat(?:urday)?)\\s+)?'::text
             || E'((?:[01]?\\d|2[0-3]):[0-5]\\d)\\s*-\\s*'::text
             || E'(?:(sun(?:day)?|mon(?:day)?|tue(?:sday)?|wed(?:nesday)?|thu(?:rsday)?|fri(?:day)?|sat(?:urday)?)\\s+)?'::text
             || E'((?:[01]?\\d|2[0-3]):[0-5]\\d|24:00)$'::text, 'i'::text) AS word
      FROM (SELECT btrim(s.entry, E' \t\r\n'::text) AS entry
              FROM regexp_split_to_table(parse_maintenance_window.setting, ','::text) AS s (entry)) e
     WHERE btrim(parse_maintenance_window.setting, E' \t\r\n'::text) <> ''::text
  ), side AS (
    SELECT p.entry, p.word,
           array_position('{sun,mon,tue,wed,thu,fri,sat}'::text[], lower(left(p.word[1], 3))) - 1 AS first_day,
           array_position('{sun,mon,tue,wed,thu,fri,sat}'::text[], lower(left(p.word[3], 3))) - 1 AS last_day,
           p.word[2]::interval AS opens, p.word[4]::interval AS closes
      FROM part p
  )
  SELECT s.entry, s.first_day, s.opens,
         CASE WHEN s.last_day IS NULL THEN interval '1 day' * CASE WHEN s.closes > s.opens THEN 0 ELSE 1 END::double precision
              ELSE interval '1 day' * (CASE WHEN s.last_day = s.first_day AND s.closes < s.opens THEN 7
                                            ELSE (s.last_day - s.first_day + 7) % 7 END)::double precision
         END + s.closes - s.opens,
         CASE WHEN s.word IS NULL OR (s.first_day IS NULL AND s.last_day IS NOT NULL)
              THEN pg_catalog.format('train_perf.maintenance_window: %L is no window'::text, s.entry)
              WHEN s.opens = s.closes AND s.first_day IS NOT DISTINCT FROM coalesce(s.last_day, s.first_day)
              THEN pg_catalog.format('train_perf.maintenance_window: %L ends where it begins'::text, s.entry) END
    FROM side s;
END;
COMMENT ON FUNCTION parse_maintenance_window(text) IS
  'The windows of a value of train_perf.maintenance_window: the day on which one opens (0 is Sunday, NULL '
  'every day), when, and for how long by the clock on the wall; or what is wrong. No rows: always.';

CREATE FUNCTION refuse_setting(problem text, hint text) RETURNS void
LANGUAGE plpgsql VOLATILE  -- else the planner calls it to estimate
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = problem, HINT = hint;
END
$$;
COMMENT ON FUNCTION refuse_setting(text, text) IS 'Part of the functions that check a setting: 22023.';

CREATE FUNCTION check_maintenance_window(setting text) RETURNS void
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT refuse_setting(w.problem,
                        'A list as in ''Sat 22:00-Sun 04:00, 02:00-05:00''; all day is 00:00-24:00; empty: always.'::text)
    FROM parse_maintenance_window(check_maintenance_window.setting) w
   WHERE w.problem IS NOT NULL
   LIMIT 1;
END;
COMMENT ON FUNCTION check_maintenance_window(text) IS
  '22023 if this would be no value for train_perf.maintenance_window.';

CREATE FUNCTION next_window_start(at timestamptz) RETURNS timestamptz
LANGUAGE sql STABLE STRICT
BEGIN ATOMIC
  WITH zone AS MATERIALIZED (
    SELECT z.name, z.problem, date_trunc('day'::text, next_window_start.at AT TIME ZONE z.name) AS today
      FROM schedule_timezone() z
  ), part AS MATERIALIZED (
    SELECT w.day, w.opens, w.lasts, w.problem
      FROM parse_maintenance_window(coalesce(current_setting('train_perf.maintenance_window'::text, true), ''::text)) w
  ), opening AS MATERIALIZED (
    -- The longest window lasts a week. One that a change of the clock swallows has no length.
    SELECT (d.day + p.opens) AT TIME ZONE z.name AS opens,
           (d.day + p.opens + p.lasts) AT TIME ZONE z.name AS closes
      FROM zone z
     CROSS JOIN part p
     CROSS JOIN LATERAL generate_series(z.today - interval '8 days', z.today + interval '15 days',
                                        interval '1 day') AS d (day)
     WHERE isfinite(next_window_start.at) AND p.problem IS NULL
       AND (p.day IS NULL OR p.day = extract(dow FROM d.day)::integer)
  )
  SELECT CASE WHEN NOT isfinite(next_window_start.at) OR NOT EXISTS (SELECT FROM part) THEN next_window_start.at
              WHEN EXISTS (SELECT FROM part p WHERE p.problem IS NOT NULL)
                OR EXISTS (SELECT FROM zone z WHERE z.problem IS NOT NULL) THEN 'infinity'::timestamptz
              WHEN EXISTS (SELECT FROM opening o
                            WHERE o.opens <= next_window_start.at AND next_window_start.at < o.closes)
              THEN next_window_start.at
              ELSE coalesce((SELECT min(o.opens) FROM opening o
                              WHERE o.opens > next_window_start.at AND o.opens < o.closes),
                            'infinity'::timestamptz)
         END;
END;
COMMENT ON FUNCTION next_window_start(timestamptz) IS
  'The time itself if it is in train_perf.maintenance_window, else when the next window opens. infinity while '
  'the setting or train_perf.timezone is wrong: what can wait for a window waits for the correction rather '
  'than disturb at a time that nobody meant.';

-- Maintenance jobs: the queue and the audit. Only the workers write it.

CREATE TABLE maintenance_jobs (
  job_id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
  kind text NOT NULL CHECK (kind IN ('vacuum_analyze', 'analyze', 'reindex', 'drop_index', 'retention')),
  target text NOT NULL,
  command text,
  requested_by name NOT NULL,
  reason text,
  status text NOT NULL DEFAULT 'queued'
    CHECK (status IN ('queued', 'running', 'succeeded', 'failed', 'skipped', 'cancelled')),
  attempts integer NOT NULL DEFAULT 0,
  not_before timestamptz NOT NULL DEFAULT clock_timestamp(),
  requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  started_at timestamptz,
  finished_at timestamptz,
  duration_ms bigint,
  bytes_before bigint,
  bytes_after bigint,
  rows_removed bigint,
  error_message text,
  sqlstate text,
  waiting_for text,
  relid oid NOT NULL,
  role oid NOT NULL,
  threshold numeric,
  bloat_before numeric,
  bloat_after numeric,
  summary text,
  in_window boolean NOT NULL DEFAULT false
);
CREATE INDEX maintenance_jobs_unfinished ON maintenance_jobs (not_before)
  WHERE status IN ('queued', 'running');
CREATE INDEX maintenance_jobs_finished ON maintenance_jobs (finished_at);
CREATE INDEX maintenance_jobs_relid ON maintenance_jobs (relid, kind, finished_at);
-- OIDs mean nothing in another server: what has not ended is not dumped.
SELECT pg_catalog.pg_extension_config_dump('maintenance_jobs', 'WHERE finished_at IS NOT NULL');
SELECT pg_catalog.pg_extension_config_dump('maintenance_jobs_job_id_seq', '');

COMMENT ON TABLE maintenance_jobs IS 'What was asked of maintenance and what came of it.';
COMMENT ON COLUMN maintenance_jobs.kind IS 'vacuum_analyze, analyze, reindex, drop_index or retention.';
COMMENT ON COLUMN maintenance_jobs.target IS 'The relation, with its name at the time of asking.';
COMMENT ON COLUMN maintenance_jobs.command IS 'What the last attempt ran, statement by statement.';
COMMENT ON COLUMN maintenance_jobs.requested_by IS 'The role that asked, as which the command runs.';
COMMENT ON COLUMN maintenance_jobs.reason IS 'Why.';
COMMENT ON COLUMN maintenance_jobs.status IS
  'queued, running, and in the end succeeded, failed, skipped (nothing to be done) or cancelled.';
COMMENT ON COLUMN maintenance_jobs.attempts IS 'How often it was started.';
COMMENT ON COLUMN maintenance_jobs.not_before IS 'When it may start (again).';
COMMENT ON COLUMN maintenance_jobs.duration_ms IS 'Of the last attempt.';
COMMENT ON COLUMN maintenance_jobs.bytes_before IS 'The size of the target before: a table with its TOAST, or an index.';
COMMENT ON COLUMN maintenance_jobs.bytes_after IS 'The same afterwards.';
COMMENT ON COLUMN maintenance_jobs.rows_removed IS 'Dead rows that VACUUM removed, or rows that retention deleted.';
COMMENT ON COLUMN maintenance_jobs.error_message IS 'Of the last attempt, if that failed.';
COMMENT ON COLUMN maintenance_jobs.waiting_for IS 'What the last attempt waited for in vain, or what holds up the next one.';
COMMENT ON COLUMN maintenance_jobs.relid IS 'OID of the table, or of the index for reindex and drop_index.';
COMMENT ON COLUMN maintenance_jobs.role IS 'OID of requested_by.';
COMMENT ON COLUMN maintenance_jobs.threshold IS 'reindex: the bloat ratio in percent from which on it is done.';
COMMENT ON COLUMN maintenance_jobs.bloat_before IS 'reindex: the estimated bloat ratio in percent before.';
COMMENT ON COLUMN maintenance_jobs.bloat_after IS 'reindex: the same afterwards.';
COMMENT ON COLUMN maintenance_jobs.summary IS 'What it did.';
COMMENT ON COLUMN maintenance_jobs.in_window IS 'It starts only in train_perf.maintenance_window.';

CREATE FUNCTION maintenance_target(relation oid) RETURNS text
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT quote_ident(n.nspname::text) || '.'::text || quote_ident(c.relname::text)
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
   WHERE c.oid = maintenance_target.relation;
END;
COMMENT ON FUNCTION maintenance_target(oid) IS 'The quoted name of a relation with its schema; NULL if it is gone.';

CREATE FUNCTION insert_job(job_id bigint, kind text, relid oid, role oid, reason text, threshold numeric,
                           bloat_ratio numeric, in_window boolean)
RETURNS bigint
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  WITH same AS (
    SELECT j.job_id FROM maintenance_jobs j
     WHERE insert_job.kind <> 'vacuum_analyze'::text AND j.relid = insert_job.relid
       AND j.kind = insert_job.kind AND j.finished_at IS NULL
       AND (j.status = 'queued'::text OR j.kind <> 'analyze'::text)
     ORDER BY j.job_id LIMIT 1
  ), added AS (
    INSERT INTO maintenance_jobs (job_id, kind, target, requested_by, reason, relid, role, threshold,
                                  bloat_before, in_window, status, summary, finished_at)
    SELECT insert_job.job_id, insert_job.kind, coalesce(t.target, insert_job.relid::text),
           coalesce(r.rolname, insert_job.role::text::name), insert_job.reason, insert_job.relid, insert_job.role,
           insert_job.threshold, insert_job.bloat_ratio, insert_job.in_window,
           CASE WHEN t.target IS NULL THEN 'skipped'::text ELSE 'queued'::text END,
           CASE WHEN t.target IS NULL THEN 'The relation is gone.'::text END,
           CASE WHEN t.target IS NULL THEN clock_timestamp() END
      FROM (SELECT maintenance_target(insert_job.relid) AS target) t
      LEFT JOIN pg_catalog.pg_roles r ON r.oid = insert_job.role
     WHERE NOT EXISTS (SELECT FROM same)
    RETURNING maintenance_jobs.job_id
  )
  SELECT s.job_id FROM same s UNION ALL SELECT a.job_id FROM added a;
END;
COMMENT ON FUNCTION insert_job(bigint, text, oid, oid, text, numeric, numeric, boolean) IS
  'Queues a job under that number, or returns the one of the same kind for the same relation that has not '
  'ended; a VACUUM is always a job of its own.';

CREATE FUNCTION queue_job(kind text, relid oid, role oid, reason text, threshold numeric, in_window boolean)
RETURNS bigint
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT insert_job(nextval('maintenance_jobs_job_id_seq'::regclass), queue_job.kind, queue_job.relid, queue_job.role,
                    queue_job.reason, queue_job.threshold, NULL::numeric, queue_job.in_window)
   WHERE maintenance_target(queue_job.relid) IS NOT NULL;
END;
COMMENT ON FUNCTION queue_job(text, oid, oid, text, numeric, boolean) IS
  'Queues a job on behalf of a role, for the workers'' own use; NULL if the relation is gone.';

CREATE FUNCTION request_maintenance(kind text, relation oid, threshold numeric, bloat_ratio numeric, reason text)
RETURNS bigint
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'tp_request_maintenance';
COMMENT ON FUNCTION request_maintenance(text, oid, numeric, numeric, text) IS
  'Asks for a vacuum_analyze or reindex of a relation, as the current role, which must be allowed to do it '
  '(42501), and returns the number of the job, which is written whatever becomes of the transaction. 55000 '
  'without workers, 25006 on a standby.';

CREATE FUNCTION await_maintenance(job_ids bigint[], OUT job_id bigint, OUT status text, OUT answer text,
                                  OUT sqlstate text)
RETURNS SETOF record
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'tp_await_maintenance';
COMMENT ON FUNCTION await_maintenance(bigint[]) IS
  'Waits until own jobs have ended, or as long as train_perf.maintenance_wait says, and returns how they stand.';

CREATE FUNCTION is_maintenance_running(job_id bigint) RETURNS boolean
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'tp_is_maintenance_running';
COMMENT ON FUNCTION is_maintenance_running(bigint) IS 'Whether a worker is at work on this job of this database.';

CREATE FUNCTION dropped_maintenance_requests() RETURNS bigint
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'tp_dropped_maintenance_requests';
COMMENT ON FUNCTION dropped_maintenance_requests() IS
  'How many tables were not analyzed after a load, for want of room for the request, since the server started.';

CREATE FUNCTION maintenance_workers(OUT job_id bigint, OUT pid integer, OUT waiting_for text)
RETURNS SETOF record
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'tp_maintenance_workers';
COMMENT ON FUNCTION maintenance_workers() IS
  'The workers of this database, their jobs, and what they wait for at the moment.';

CREATE FUNCTION role_may_maintain(role oid, relation oid, kind text) RETURNS boolean
LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'tp_role_may_maintain';
COMMENT ON FUNCTION role_may_maintain(oid, oid, text) IS
  'Whether the server would let a role do this kind of job to a relation.';

-- Rebuilding bloated indexes without blocking anybody, and clearing away what failed rebuilds leave.
--
-- REINDEX INDEX CONCURRENTLY gives the index another OID; when it fails, it leaves an invalid index that
-- every write still has to maintain. It cannot be had in every case, and it is not always worth it.

CREATE TABLE index_rebuilds (
  indexrelid oid PRIMARY KEY,
  rebuilt_at timestamptz NOT NULL,
  bytes_before bigint,
  bytes_after bigint NOT NULL,
  bloat_before numeric,
  bloat_after numeric,
  settled_ratio numeric
);
COMMENT ON TABLE index_rebuilds IS 'The last rebuild of each index that maintenance rebuilt, while it exists.';
COMMENT ON COLUMN index_rebuilds.indexrelid IS 'The index that the rebuild made.';
COMMENT ON COLUMN index_rebuilds.bloat_before IS 'Estimated excess in percent.';
COMMENT ON COLUMN index_rebuilds.settled_ratio IS
  'The highest ratio that snapshots saw in the week after it; known some time later.';

CREATE FUNCTION free_bytes(tablespace oid) RETURNS bigint
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'tp_free_bytes';
COMMENT ON FUNCTION free_bytes(oid) IS
  'What the operating system lets the server still write to a tablespace (0: the default one of this '
  'database); NULL if that is unknown.';

CREATE FUNCTION estimate_indexes(relation oid, only_index oid, sample_pages integer)
RETURNS TABLE (relid oid, skipped text, actual_size_bytes bigint, estimated_size_bytes bigint,
               method text, sampled_pages integer, live_tuples bigint, dead_tuples bigint,
               recently_dead_tuples bigint)
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE ROWS 3 COST 300000
AS 'MODULE_PATHNAME', 'tp_estimate_indexes';
COMMENT ON FUNCTION estimate_indexes(oid, oid, integer) IS
  'estimate_with_indexes() for the indexes of a table alone, or one of them (else 0); a row for the table '
  'only if that cannot be read. Checks no rights.';

CREATE FUNCTION excess_percent(actual bigint, estimated bigint) RETURNS numeric
LANGUAGE sql IMMUTABLE
BEGIN ATOMIC
  SELECT CASE WHEN excess_percent.estimated = 0::bigint THEN 0::numeric
              ELSE round((excess_percent.actual - excess_percent.estimated)::numeric
                         / excess_percent.estimated::numeric * 100::numeric, 2) END;
END;
COMMENT ON FUNCTION excess_percent(bigint, bigint) IS 'bloat_ratio of two sizes.';

CREATE FUNCTION percent_text(ratio numeric) RETURNS text
LANGUAGE sql IMMUTABLE
BEGIN ATOMIC
  SELECT trim_scale(round(percent_text.ratio, 1))::text || ' %'::text;
END;
COMMENT ON FUNCTION percent_text(numeric) IS 'A ratio for people.';

-- What failed rebuilds leave.

CREATE FUNCTION is_rebuild_leftover(index oid) RETURNS boolean
LANGUAGE sql STABLE
BEGIN ATOMIC
  -- The end of the name is the server's own label, which stays whole when it shortens a long name.
  SELECT EXISTS (SELECT FROM pg_catalog.pg_class c
                   JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid AND NOT i.indisvalid
                  WHERE c.oid = is_rebuild_leftover.index AND c.relkind = 'i'::"char"
                    AND c.relname::text ~ '_cc(new|old)[0-9]*$'::text)
         AND is_leftover(is_rebuild_leftover.index);
END;
COMMENT ON FUNCTION is_rebuild_leftover(oid) IS
  'Whether an index looks like one that a failed REINDEX CONCURRENTLY left: invalid, defined as a valid one '
  'of its table, and named as that names them. It may also be one that a rebuild is at work on.';

CREATE FUNCTION invalid_index_states(tables oid[], OUT indexrelid oid, OUT in_progress boolean,
                                     OUT leftover boolean)
RETURNS SETOF record
LANGUAGE sql VOLATILE ROWS 10
BEGIN ATOMIC
  SELECT i.indexrelid, i.in_progress, is_rebuild_leftover(i.indexrelid)
    FROM invalid_indexes_of(invalid_index_states.tables) i;
END;
COMMENT ON FUNCTION invalid_index_states(oid[]) IS
  'invalid_indexes_of(), with is_rebuild_leftover().';

CREATE FUNCTION rebuild_leftovers(relation oid, OUT indexrelid oid, OUT index text, OUT bytes bigint)
RETURNS SETOF record
LANGUAGE sql VOLATILE ROWS 10
BEGIN ATOMIC
  SELECT s.indexrelid, maintenance_target(s.indexrelid), coalesce(relation_bytes(s.indexrelid), 0::bigint)
    FROM invalid_index_states((
           SELECT pg_catalog.array_agg(t.oid)
             FROM pg_catalog.pg_class t
            WHERE coalesce((SELECT i.indrelid FROM pg_catalog.pg_index i
                             WHERE i.indexrelid = rebuild_leftovers.relation), rebuild_leftovers.relation)
                  IN (t.oid, t.reltoastrelid))) s
   WHERE s.leftover AND NOT s.in_progress
   ORDER BY s.indexrelid;
END;
COMMENT ON FUNCTION rebuild_leftovers(oid) IS
  'What failed concurrent rebuilds left of the indexes of a table and its TOAST table (either, or an index '
  'of it, may be given), while nothing is at work on them.';

CREATE FUNCTION extension_owner() RETURNS oid
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT e.extowner FROM pg_catalog.pg_extension e WHERE e.extname = 'train_perf'::name;
END;
COMMENT ON FUNCTION extension_owner() IS 'The role to which all of train_perf belongs.';

CREATE FUNCTION acting_role(kind text, relation oid, role oid) RETURNS oid
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_class c
                             JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid
                             JOIN pg_catalog.pg_class t ON t.oid = i.indrelid AND t.relkind = 't'::"char"
                            WHERE c.oid = acting_role.relation AND acting_role.kind IN ('reindex'::text, 'drop_index'::text)
                              AND NOT has_schema_privilege(acting_role.role, c.relnamespace, 'USAGE'::text))
              THEN extension_owner() ELSE acting_role.role END;
END;
COMMENT ON FUNCTION acting_role(text, oid, oid) IS
  'As whom the commands of a job run: as the role that asked, but for indexes of TOAST tables, which owners '
  'cannot name (the schema pg_toast is closed to them), as the owner of train_perf. No code of users runs '
  'there: such an index is always of the same two columns.';

CREATE FUNCTION dropping_role(index oid, asker oid) RETURNS oid
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT CASE WHEN pg_has_role(a.oid, c.relowner, 'USAGE'::text) THEN a.oid ELSE c.relowner END
    FROM pg_catalog.pg_class c
    LEFT JOIN pg_catalog.pg_roles a ON a.oid = dropping_role.asker
   WHERE c.oid = dropping_role.index;
END;
COMMENT ON FUNCTION dropping_role(oid, oid) IS
  'Who is to drop an index that a rebuild left: who asked for the rebuild, if that role still exists and owns '
  'it, else its owner.';

CREATE FUNCTION queue_leftover_drops_of(relation oid, asker oid, but_of oid) RETURNS bigint
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT count(queue_job('drop_index'::text, l.indexrelid, dropping_role(l.indexrelid, queue_leftover_drops_of.asker),
                         'a rebuild failed and left it'::text, NULL::numeric, false))
    FROM rebuild_leftovers(queue_leftover_drops_of.relation) l
   WHERE acting_role('drop_index'::text, l.indexrelid, dropping_role(l.indexrelid, queue_leftover_drops_of.asker))
         IS DISTINCT FROM queue_leftover_drops_of.but_of;
END;
COMMENT ON FUNCTION queue_leftover_drops_of(oid, oid, oid) IS
  'Queues the drop of what rebuilds left of the indexes of a table, except what the role `but_of` drops itself.';

-- Which indexes to rebuild.

CREATE FUNCTION rebuild_obstacle(index oid) RETURNS text
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT CASE
      WHEN c.relpersistence = 't'::"char" THEN
        'it is of a temporary table, which no worker can see; in its own session run REINDEX INDEX pg_temp.'::text
          || quote_ident(c.relname::text)
      -- REINDEX CONCURRENTLY refuses pinned relations (FirstUnpinnedObjectId).
      WHEN i.indrelid < 12000::oid THEN
        'it is of a system catalog, which cannot be rebuilt concurrently; in a quiet moment, as it blocks, a '
          'superuser may run REINDEX INDEX '::text || maintenance_target(c.oid)
      WHEN i.indisexclusion THEN
        'it serves an exclusion constraint, which cannot be rebuilt concurrently; in a quiet moment, as it blocks, '
          'its owner may run REINDEX INDEX '::text || maintenance_target(c.oid)
      WHEN c.relkind = 'I'::"char" THEN 'it is partitioned; its parts are rebuilt one by one'::text
    END
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid
   WHERE c.oid = rebuild_obstacle.index;
END;
COMMENT ON FUNCTION rebuild_obstacle(oid) IS
  'Why no worker can rebuild an index concurrently, and what can be done by hand; NULL: one can.';

CREATE FUNCTION is_rebuild_in_vain(index oid, actual_size_bytes bigint, bloat_ratio numeric) RETURNS boolean
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT EXISTS (
    SELECT FROM index_rebuilds r
     WHERE r.indexrelid = is_rebuild_in_vain.index
       AND r.bytes_after::numeric > 0.95 * r.bytes_before::numeric
       AND is_rebuild_in_vain.actual_size_bytes::numeric <= 1.2 * r.bytes_after::numeric
       AND is_rebuild_in_vain.bloat_ratio < coalesce(r.bloat_after, is_rebuild_in_vain.bloat_ratio) + 20::numeric);
END;
COMMENT ON FUNCTION is_rebuild_in_vain(oid, bigint, numeric) IS
  'Whether the last rebuild of an index won less than 5 % of its size, and since then it has grown neither '
  'by 20 % nor by 20 points of bloat.';

CREATE FUNCTION settled_ratio(index oid) RETURNS numeric
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT greatest(r.settled_ratio, r.bloat_after,
                  (SELECT max(s.bloat_ratio)
                     FROM pg_catalog.pg_class c
                     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                     JOIN index_bloat_snapshots s
                       ON s.schemaname = n.nspname::text COLLATE pg_catalog."default"
                      AND s.indexname = c.relname::text COLLATE pg_catalog."default"
                      AND s.snapshot_timestamp >= r.rebuilt_at
                      AND s.snapshot_timestamp < r.rebuilt_at + interval '168 hours'
                    WHERE c.oid = r.indexrelid AND s.indexrelid = r.indexrelid))
    FROM index_rebuilds r
   WHERE r.indexrelid = settled_ratio.index;
END;
COMMENT ON FUNCTION settled_ratio(oid) IS
  'The bloat to which an index grew in the week after its last rebuild; NULL if it was never rebuilt.';

CREATE FUNCTION unfinished_rebuild(index oid) RETURNS bigint
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT min(j.job_id) FROM maintenance_jobs j
   WHERE j.relid = unfinished_rebuild.index AND j.kind = 'reindex'::text AND j.finished_at IS NULL;
END;
COMMENT ON FUNCTION unfinished_rebuild(oid) IS
  'The job that rebuilds an index and has not ended.';

CREATE FUNCTION judge_rebuilds(tables oid[], threshold numeric, least_bytes bigint, asker oid,
                               OUT indexrelid oid, OUT verdict text, OUT actual_size_bytes bigint,
                               OUT bytes_to_win bigint, OUT bloat_ratio numeric, OUT obstacle text)
RETURNS SETOF record
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  WITH listed AS MATERIALIZED (
    SELECT i.indexrelid, i.indrelid, coalesce(relation_bytes(i.indexrelid), 0::bigint) AS bytes,
           role_may_maintain(judge_rebuilds.asker, i.indexrelid, 'reindex'::text) AS allowed,
           c.relpersistence <> 't'::"char" OR pg_my_temp_schema() = c.relnamespace AS readable,
           s.in_progress, s.leftover,
           rebuild_obstacle(i.indexrelid) AS obstacle
      FROM (SELECT DISTINCT g.relid FROM pg_catalog.unnest(judge_rebuilds.tables) AS g (relid)) t
      JOIN pg_catalog.pg_index i ON i.indrelid = t.relid
      JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid AND c.relkind = 'i'::"char"
      LEFT JOIN invalid_index_states(judge_rebuilds.tables) s ON s.indexrelid = i.indexrelid
  ), estimate AS MATERIALIZED (
    SELECT w.indrelid, e.relid, e.skipped, e.actual_size_bytes, e.estimated_size_bytes
      FROM (SELECT DISTINCT l.indrelid FROM listed l
             WHERE l.allowed AND l.readable AND l.in_progress IS NULL
               AND l.bytes >= judge_rebuilds.least_bytes) w
     CROSS JOIN LATERAL estimate_indexes(w.indrelid, 0::oid, 1000) e
  ), judged AS MATERIALIZED (
    SELECT l.*, coalesce(whole.skipped, e.skipped) AS skipped, e.actual_size_bytes AS actual,
           e.actual_size_bytes - e.estimated_size_bytes AS to_win,
           excess_percent(e.actual_size_bytes, e.estimated_size_bytes) AS ratio
      FROM listed l
      LEFT JOIN estimate e ON e.relid = l.indexrelid AND l.in_progress IS NULL
      LEFT JOIN estimate whole ON whole.indrelid = l.indrelid AND whole.relid = l.indrelid
  )
  SELECT j.indexrelid,
         CASE WHEN NOT j.allowed THEN 'forbidden'::text
              WHEN j.in_progress THEN 'building'::text
              WHEN j.leftover THEN 'leftover'::text
              WHEN j.in_progress IS NOT NULL THEN 'invalid'::text
              WHEN j.bytes < judge_rebuilds.least_bytes THEN 'small'::text
              WHEN NOT j.readable THEN 'foreign'::text
              WHEN j.skipped IS NOT NULL THEN j.skipped
              WHEN j.actual IS NULL THEN 'gone'::text
              WHEN j.ratio <= judge_rebuilds.threshold THEN 'below'::text
              WHEN j.obstacle IS NOT NULL THEN 'by hand'::text
              WHEN is_rebuild_in_vain(j.indexrelid, j.actual, j.ratio) THEN 'in vain'::text
              ELSE 'rebuild'::text END,
         coalesce(j.actual, j.bytes), j.to_win, j.ratio, j.obstacle
    FROM judged j;
END;
COMMENT ON FUNCTION judge_rebuilds(oid[], numeric, bigint, oid) IS
  'What there is to do about the indexes of tables, by fresh estimates: rebuild, or why not: below (the '
  'threshold), small (under least_bytes), in vain, by hand (see obstacle), forbidden (to who asks), '
  'leftover (of a failed rebuild), building (something is at work on it), invalid (its build failed), foreign '
  '(temporary, of another session), locked, damaged, gone.';

CREATE FUNCTION request_maintenance_as(kind text, relation oid, threshold numeric, bloat_ratio numeric,
                                       reason text, role oid) RETURNS bigint
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'tp_request_maintenance';
COMMENT ON FUNCTION request_maintenance_as(text, oid, numeric, numeric, text, oid) IS
  'request_maintenance() on behalf of a role, whose rights were checked.';

CREATE FUNCTION ask_for_rebuild(index oid, threshold numeric, bloat_ratio numeric, bytes_to_win bigint, asker oid)
RETURNS bigint
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT request_maintenance_as('reindex'::text, ask_for_rebuild.index, ask_for_rebuild.threshold, ask_for_rebuild.bloat_ratio,
           coalesce('bloat '::text || percent_text(ask_for_rebuild.bloat_ratio) || ', above '::text
                      || trim_scale(ask_for_rebuild.threshold)::text || ' %'::text || '; '::text
                      || pg_size_pretty(ask_for_rebuild.bytes_to_win) || ' to win'::text,
                    'a rebuild failed and left it'::text), ask_for_rebuild.asker);
END;
COMMENT ON FUNCTION ask_for_rebuild(oid, numeric, numeric, bigint, oid) IS 'request_maintenance_as() with the reason.';

CREATE FUNCTION tables_with_storage(relation oid) RETURNS oid[]
LANGUAGE sql STABLE
BEGIN ATOMIC
  WITH RECURSIVE part AS (
    SELECT c.oid, c.relkind, c.reltoastrelid FROM pg_catalog.pg_class c WHERE c.oid = tables_with_storage.relation
    UNION ALL
    SELECT c.oid, c.relkind, c.reltoastrelid
      FROM part p
      JOIN pg_catalog.pg_inherits h ON h.inhparent = p.oid AND p.relkind = 'p'::"char"
      JOIN pg_catalog.pg_class c ON c.oid = h.inhrelid
  )
  SELECT coalesce(pg_catalog.array_agg(s.relid), '{}'::oid[])
    FROM part p
   CROSS JOIN LATERAL (VALUES (p.oid), (p.reltoastrelid)) AS s (relid)
   WHERE p.relkind IN ('r'::"char", 'm'::"char", 't'::"char") AND s.relid <> 0::oid;
END;
COMMENT ON FUNCTION tables_with_storage(oid) IS
  'A table and its TOAST table, of a partitioned table those of all its partitions.';

CREATE FUNCTION queue_rebuilds_of(relation oid, threshold numeric, asker oid) RETURNS text
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  WITH ranked AS MATERIALIZED (
    SELECT j.*, maintenance_target(j.indexrelid) AS name, unfinished_rebuild(j.indexrelid) AS unfinished
      FROM judge_rebuilds(tables_with_storage(queue_rebuilds_of.relation), queue_rebuilds_of.threshold, 0::bigint,
                          queue_rebuilds_of.asker) j
     ORDER BY j.bloat_ratio DESC NULLS LAST, j.bytes_to_win DESC NULLS LAST, maintenance_target(j.indexrelid)
  ), asked AS MATERIALIZED (
    -- In this order.
    SELECT r.*,
           CASE WHEN r.verdict IN ('rebuild'::text, 'leftover'::text) THEN coalesce(r.unfinished,
                  ask_for_rebuild(r.indexrelid, queue_rebuilds_of.threshold, r.bloat_ratio, r.bytes_to_win,
                                  queue_rebuilds_of.asker)) END
             AS job_id
      FROM ranked r
  ), told AS (
    SELECT a.bloat_ratio, a.bytes_to_win, a.name,
           a.name || coalesce(': ratio '::text || percent_text(a.bloat_ratio), ''::text)
           || CASE WHEN a.verdict IN ('rebuild'::text, 'by hand'::text, 'in vain'::text)
                   THEN ', '::text || pg_size_pretty(a.bytes_to_win) || ' to win of '::text || pg_size_pretty(a.actual_size_bytes) || ': '::text
                   WHEN a.bloat_ratio IS NULL THEN ': '::text ELSE ''::text END
           || CASE a.verdict
                WHEN 'rebuild'::text THEN
                  CASE WHEN a.unfinished IS NULL THEN 'queued as job '::text ELSE 'already queued as job '::text END || a.job_id::text
                WHEN 'leftover'::text THEN
                  'left by a failed rebuild; its drop is '::text
                  || CASE WHEN a.unfinished IS NULL THEN 'queued as job '::text ELSE 'already queued as job '::text END || a.job_id::text
                WHEN 'below'::text THEN ', not above '::text || trim_scale(queue_rebuilds_of.threshold)::text || ' %'::text
                  || ': nothing to do'::text
                WHEN 'by hand'::text THEN 'not queued, '::text || a.obstacle
                WHEN 'in vain'::text THEN 'not queued, its last rebuild won nothing, and it has not grown since'::text
                WHEN 'forbidden'::text THEN 'not queued, permission denied'::text
                WHEN 'building'::text THEN 'something is building, rebuilding or dropping it'::text
                WHEN 'invalid'::text THEN 'invalid, its build failed; see index_findings'::text
                WHEN 'foreign'::text THEN 'not queued, it is of a temporary table of another session'::text
                WHEN 'locked'::text THEN 'not looked at, it is locked; try again later'::text
                WHEN 'damaged'::text THEN 'not looked at, it is damaged'::text
                ELSE 'gone'::text END AS line
      FROM asked a
  )
  SELECT coalesce(string_agg(t.line, E'\n'::text ORDER BY t.bloat_ratio DESC NULLS LAST, t.bytes_to_win DESC NULLS LAST, t.name),
                  maintenance_target(queue_rebuilds_of.relation) || ' has no index'::text)
    FROM told t;
END;
COMMENT ON FUNCTION queue_rebuilds_of(oid, numeric, oid) IS 'Part of reindex_if_bloated, for somebody who may.';

CREATE FUNCTION reindex_if_bloated(table_name text, bloat_threshold numeric DEFAULT 20.0) RETURNS text
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'tp_reindex_if_bloated';
COMMENT ON FUNCTION reindex_if_bloated(text, numeric) IS
  'Queues a concurrent rebuild of each index of a table whose bloat, by a fresh estimate, is above the '
  'threshold (the excess in percent of the size after a rebuild), worst first; of a partitioned table those of '
  'all partitions, and of TOAST tables too. Returns a line for each index. It does not wait for the jobs: a '
  'waiting caller''s snapshot would block them. For who may rebuild the indexes.';

CREATE FUNCTION note_indexes_left(reasons text[]) RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF cardinality(reasons) > 0 THEN
    RAISE NOTICE USING
      MESSAGE = 'left alone: ' || array_to_string(reasons, ', '),
      HINT = 'reindex_if_bloated() tells of each index of a table.';
  END IF;
  RETURN true;
END
$$;
COMMENT ON FUNCTION note_indexes_left(text[]) IS 'Part of reindex_bloated_indexes: the NOTICE.';

CREATE FUNCTION queue_rebuilds(threshold numeric, asker oid, scheduled boolean)
RETURNS TABLE (job_id bigint, schemaname text, indexname text, bloat_ratio numeric)
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  WITH ranked AS MATERIALIZED (
    SELECT j.*
      FROM judge_rebuilds((SELECT pg_catalog.array_agg(t.relid) FROM snapshot_tables() t), queue_rebuilds.threshold,
                          1048576::bigint, queue_rebuilds.asker) j
     ORDER BY j.bloat_ratio DESC NULLS LAST, j.bytes_to_win DESC NULLS LAST, j.indexrelid
  ), left_alone AS MATERIALIZED (
    SELECT pg_catalog.array_agg(g.count::text || ' '::text || g.reason ORDER BY g.reason) AS reasons
      FROM (SELECT w.reason, count(*) AS count
              FROM ranked r
              JOIN (VALUES ('forbidden'::text, 'of other owners'::text), ('small'::text, 'smaller than 1 MB'::text),
                           ('in vain'::text, 'whose last rebuild won nothing'::text),
                           ('by hand'::text, 'that cannot be rebuilt concurrently'::text),
                           ('leftover'::text, 'left by failed rebuilds'::text),
                           ('building'::text, 'that something is at work on'::text), ('invalid'::text, 'invalid'::text),
                           ('locked'::text, 'locked'::text), ('damaged'::text, 'damaged'::text)) AS w (verdict, reason)
                ON w.verdict = r.verdict
             GROUP BY w.reason) g
  ), asked AS MATERIALIZED (
    SELECT r.*, coalesce(unfinished_rebuild(r.indexrelid),
                         ask_for_rebuild(r.indexrelid, queue_rebuilds.threshold, r.bloat_ratio, r.bytes_to_win,
                                         queue_rebuilds.asker)) AS job_id
      FROM ranked r
     WHERE r.verdict = 'rebuild'::text
       AND (NOT queue_rebuilds.scheduled OR r.bloat_ratio >= coalesce(settled_ratio(r.indexrelid) + 20::numeric, 0::numeric))
  )
  SELECT a.job_id, n.nspname::text COLLATE "default", c.relname::text COLLATE "default", a.bloat_ratio
    FROM asked a
    JOIN pg_catalog.pg_class c ON c.oid = a.indexrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
   WHERE (SELECT note_indexes_left(l.reasons) FROM left_alone l) IS NOT NULL
   ORDER BY a.bloat_ratio DESC, a.bytes_to_win DESC, a.indexrelid;
END;
COMMENT ON FUNCTION queue_rebuilds(numeric, oid, boolean) IS
  'Part of reindex_bloated_indexes() and monthly_maintenance().';

CREATE FUNCTION reindex_bloated_indexes(bloat_threshold numeric DEFAULT 20.0)
RETURNS TABLE (job_id bigint, schemaname text, indexname text, bloat_ratio numeric)
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'tp_reindex_bloated_indexes';
COMMENT ON FUNCTION reindex_bloated_indexes(numeric) IS
  'Queues a concurrent rebuild of every index of at least 1 MB that snapshots cover, that the caller may '
  'rebuild, and whose bloat, by a fresh estimate, is above the threshold; worst first. Returns those; a NOTICE '
  'counts what was left alone, and why. It does not wait for the jobs.';

CREATE FUNCTION monthly_maintenance() RETURNS integer
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'tp_monthly_maintenance';
COMMENT ON FUNCTION monthly_maintenance() IS
  'reindex_bloated_indexes() above train_perf.reindex_threshold, but for indexes that have not grown 20 points past '
  'where they settled after their last rebuild. Returns how many rebuilds are queued.';

CREATE FUNCTION note_settled_ratios() RETURNS void
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  -- Before the snapshots of that week go with their partitions.
  UPDATE index_rebuilds r SET settled_ratio = settled_ratio(r.indexrelid)
   WHERE r.settled_ratio IS DISTINCT FROM settled_ratio(r.indexrelid);
  DELETE FROM index_rebuilds r
   WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = r.indexrelid AND c.relkind = 'i'::"char");
END;
COMMENT ON FUNCTION note_settled_ratios() IS
  'Keeps in index_rebuilds what snapshots tell of the week after each rebuild, and no row of a dropped index.';

CREATE FUNCTION queue_scheduled_reindex() RETURNS integer
LANGUAGE sql VOLATILE
SET jit = off
BEGIN ATOMIC
  SELECT note_settled_ratios();
  WITH setting AS MATERIALIZED (
    SELECT coalesce(current_setting('train_perf.reindex_threshold'::text, true), '50'::text)::numeric AS threshold
  ), bloated AS MATERIALIZED (
    SELECT c.oid AS indexrelid, c.relowner, s.bloat_ratio, s.bloat_bytes, t.threshold
      FROM setting t
      JOIN index_bloat_status() s ON s.bloat_ratio > t.threshold AND s.actual_size_bytes >= 1048576::bigint
      JOIN snapshot_indexes() x ON x.schemaname = s.schemaname COLLATE "C" AND x.indexname = s.indexname COLLATE "C"
      JOIN pg_catalog.pg_class c ON c.oid = x.indexrelid
     WHERE rebuild_obstacle(c.oid) IS NULL AND NOT is_rebuild_leftover(c.oid)
       AND NOT is_rebuild_in_vain(c.oid, s.actual_size_bytes, s.bloat_ratio)
       AND s.bloat_ratio >= coalesce(settled_ratio(c.oid) + 20::numeric, 0::numeric)
     ORDER BY s.bloat_ratio DESC, s.bloat_bytes DESC
  )
  SELECT count(queue_job('reindex'::text, b.indexrelid, b.relowner,
                         'schedule: bloat '::text || percent_text(b.bloat_ratio) || ', above '::text
                           || trim_scale(b.threshold)::text || ' %'::text || '; '::text || pg_size_pretty(b.bloat_bytes) || ' to win'::text,
                         b.threshold, true))::integer
    FROM bloated b;
END;
COMMENT ON FUNCTION queue_scheduled_reindex() IS
  'Queues the rebuild of indexes above train_perf.reindex_threshold at their last snapshot, as the owner of '
  'each, for the maintenance window, worst first: not of one that has not grown 20 points past where it settled '
  'after its last rebuild. The job looks again before it begins. Returns how many; the schedule''s monthly work.';

-- The jobs.

CREATE FUNCTION bytes_for_rebuild(index oid, estimated_size_bytes bigint) RETURNS bigint
LANGUAGE sql STABLE
BEGIN ATOMIC
  -- A tenth for what is written meanwhile; and what does not fit into memory is sorted on disk.
  SELECT ceil(1.1 * bytes_for_rebuild.estimated_size_bytes::numeric)::bigint
         + CASE WHEN m.amname NOT IN ('brin'::name, 'spgist'::name)
                     AND bytes_for_rebuild.estimated_size_bytes
                         > pg_size_bytes(current_setting('maintenance_work_mem'::text))
                THEN bytes_for_rebuild.estimated_size_bytes ELSE 0::bigint END
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_am m ON m.oid = c.relam
   WHERE c.oid = bytes_for_rebuild.index;
END;
COMMENT ON FUNCTION bytes_for_rebuild(oid, bigint) IS
  'The disk space that a rebuild of an index takes until the old one is gone, by its estimated size.';

CREATE FUNCTION index_of_job(job maintenance_jobs) RETURNS oid
LANGUAGE sql STABLE
BEGIN ATOMIC
  -- An earlier attempt may have got as far as to give the name to the new index.
  SELECT coalesce(
    (SELECT i.indexrelid FROM pg_catalog.pg_index i
      WHERE i.indexrelid = (index_of_job.job).relid AND (i.indisvalid OR NOT is_rebuild_leftover(i.indexrelid))),
    (SELECT i.indexrelid FROM pg_catalog.pg_index i
      WHERE i.indexrelid = to_regclass((index_of_job.job).target)::oid AND i.indisvalid),
    (SELECT i.indexrelid FROM pg_catalog.pg_index i WHERE i.indexrelid = (index_of_job.job).relid));
END;
COMMENT ON FUNCTION index_of_job(maintenance_jobs) IS 'The index that a job is to rebuild; NULL if it is gone.';

CREATE FUNCTION rebuilt_index(job maintenance_jobs) RETURNS oid
LANGUAGE sql STABLE
BEGIN ATOMIC
  -- The old index is gone or, if only its drop failed, invalid.
  SELECT i.indexrelid
    FROM pg_catalog.pg_index i
   WHERE i.indexrelid = to_regclass((rebuilt_index.job).target)::oid AND i.indisvalid
     AND i.indexrelid <> (rebuilt_index.job).relid
     AND NOT EXISTS (SELECT FROM pg_catalog.pg_index old
                      WHERE old.indexrelid = (rebuilt_index.job).relid AND old.indisvalid);
END;
COMMENT ON FUNCTION rebuilt_index(maintenance_jobs) IS
  'The index that a job made in place of its own; NULL if it made none.';

CREATE FUNCTION plan_reindex(job maintenance_jobs, OUT skip text, OUT obstacle text, OUT obstacle_sqlstate text,
                             OUT commands text[], OUT repeat boolean, OUT bytes_before bigint,
                             OUT bloat_before numeric)
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT queue_leftover_drops_of(t.index, (plan_reindex.job).role, acting_role('reindex'::text, t.index, (plan_reindex.job).role))
    FROM (SELECT index_of_job(plan_reindex.job) AS index) t;
  WITH target AS MATERIALIZED (
    SELECT i.indexrelid, i.indrelid, c.reltablespace, maintenance_target(i.indexrelid) AS name,
           (plan_reindex.job).threshold AS threshold, starts_with((plan_reindex.job).reason, 'schedule: '::text) AS scheduled,
           role_may_maintain((plan_reindex.job).role, i.indexrelid, 'reindex'::text) AS allowed,
           rebuild_obstacle(i.indexrelid) AS impossible,
           coalesce(s.in_progress, false) AS in_progress, coalesce(s.leftover, false) AS leftover
      FROM pg_catalog.pg_index i
      JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
      LEFT JOIN invalid_index_states(ARRAY[i.indrelid]) s ON s.indexrelid = i.indexrelid
     WHERE i.indexrelid = index_of_job(plan_reindex.job)
  ), leftover AS MATERIALIZED (
    SELECT pg_catalog.array_agg('DROP INDEX CONCURRENTLY '::text || l.index ORDER BY l.indexrelid) AS drops,
           coalesce(sum(l.bytes), 0::numeric) AS bytes
      FROM target t
     CROSS JOIN LATERAL rebuild_leftovers(t.indrelid) l
     WHERE acting_role('drop_index'::text, l.indexrelid, dropping_role(l.indexrelid, (plan_reindex.job).role))
           = acting_role('reindex'::text, t.indexrelid, (plan_reindex.job).role)
  ), estimated AS MATERIALIZED (
    SELECT t.*, e.skipped, e.actual_size_bytes, e.estimated_size_bytes,
           excess_percent(e.actual_size_bytes, e.estimated_size_bytes) AS ratio,
           settled_ratio(t.indexrelid) AS settled
      FROM target t
      LEFT JOIN LATERAL estimate_indexes(t.indrelid, t.indexrelid, 1000) e
        ON t.allowed AND t.impossible IS NULL AND NOT t.in_progress AND NOT t.leftover
  ), decided AS (
    SELECT e.*, l.drops,
           bytes_for_rebuild(e.indexrelid, e.estimated_size_bytes)::numeric - l.bytes AS needed,
           free_bytes(e.reltablespace) AS free,
           CASE WHEN e.leftover THEN 'drop'::text
                WHEN e.impossible IS NOT NULL THEN e.name || ' is not rebuilt: '::text || e.impossible
                WHEN e.skipped = 'damaged'::text THEN e.name || ' is damaged: see the server''s log'::text
                WHEN e.skipped = 'gone'::text OR e.actual_size_bytes IS NULL THEN e.name || ' is gone'::text
                WHEN e.skipped IS NOT NULL THEN NULL
                WHEN e.ratio <= e.threshold THEN
                  pg_catalog.format('%s is not rebuilt: its ratio is now %s, not above %s'::text, e.name,
                                    percent_text(e.ratio), trim_scale(e.threshold)::text || ' %'::text)
                WHEN e.scheduled AND e.ratio < e.settled + 20::numeric THEN
                  pg_catalog.format('%s is not rebuilt: its ratio is %s, and it settled at %s after its last rebuild'::text,
                                    e.name, percent_text(e.ratio), percent_text(e.settled))
                WHEN e.threshold IS NOT NULL AND is_rebuild_in_vain(e.indexrelid, e.actual_size_bytes, e.ratio) THEN
                  pg_catalog.format('%s is not rebuilt: its last rebuild won nothing, and it has not grown since'::text, e.name)
           END AS unneeded
      FROM estimated e
     CROSS JOIN leftover l
  ), checked AS (
    SELECT d.*,
           CASE WHEN NOT d.allowed THEN '42501'::text
                WHEN d.in_progress THEN '55006'::text
                WHEN d.skipped IN ('locked'::text, 'unlogged'::text) THEN '55P03'::text
                WHEN d.unneeded IS NULL AND d.needed > d.free::numeric THEN '53100'::text END AS sqlstate
      FROM decided d
  )
  -- An attempt may have failed when all but the drop of the old index was done: then nothing is left to do.
  SELECT CASE WHEN c.indexrelid IS NULL THEN (plan_reindex.job).target || ' is gone'::text
              WHEN c.sqlstate IS NULL AND c.drops IS NULL
                   AND NOT coalesce((plan_reindex.job).attempts > 1 AND (plan_reindex.job).bytes_before IS NOT NULL
                                    AND c.indexrelid = rebuilt_index(plan_reindex.job), false)
              THEN c.unneeded END,
         CASE c.sqlstate
           WHEN '42501'::text THEN pg_catalog.format('permission denied to rebuild %s'::text, c.name)
           WHEN '55006'::text THEN pg_catalog.format('another session is building, rebuilding or dropping %s'::text, c.name)
           WHEN '55P03'::text THEN pg_catalog.format('%s or its table is locked'::text, c.name)
           WHEN '53100'::text THEN
             pg_catalog.format('a rebuild of %s takes %s of disk space, and its tablespace has %s'::text, c.name,
                               pg_size_pretty(c.needed), pg_size_pretty(c.free)) END,
         c.sqlstate,
         CASE WHEN c.sqlstate IS NULL AND c.indexrelid IS NOT NULL THEN
           nullif(coalesce(c.drops, '{}'::text[])
                    || CASE WHEN c.unneeded IS NULL THEN ARRAY['REINDEX INDEX CONCURRENTLY '::text || c.name]
                            ELSE '{}'::text[] END, '{}'::text[]) END,
         false, relation_bytes((plan_reindex.job).relid), coalesce(c.ratio, (plan_reindex.job).bloat_before)
    FROM (SELECT 1) AS one
    LEFT JOIN checked c ON true;
END;
COMMENT ON FUNCTION plan_reindex(maintenance_jobs) IS
  'How a worker rebuilds an index: what earlier attempts left is dropped first; nothing is built if a fresh '
  'estimate is not above the job''s threshold any more (NULL: it is built in any case), or there is no room for it.';

CREATE FUNCTION note_rebuild(job maintenance_jobs, index oid) RETURNS boolean
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  WITH made AS MATERIALIZED (
    SELECT c.oid, i.indrelid, n.nspname::text AS schemaname, t.relname::text AS tablename, c.relname::text AS indexname,
           m.amname::text AS access_method, e.skipped, e.actual_size_bytes, e.estimated_size_bytes, e.dead_tuples,
           e.live_tuples, e.method, e.sampled_pages, e.recently_dead_tuples,
           excess_percent(e.actual_size_bytes, e.estimated_size_bytes) AS ratio
      FROM pg_catalog.pg_index i
      JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
      JOIN pg_catalog.pg_class t ON t.oid = i.indrelid
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      JOIN pg_catalog.pg_am m ON m.oid = c.relam
      LEFT JOIN LATERAL estimate_indexes(i.indrelid, i.indexrelid, 1000) e ON e.skipped IS NULL
     WHERE i.indexrelid = note_rebuild.index
       AND NOT EXISTS (SELECT FROM index_rebuilds r WHERE r.indexrelid = note_rebuild.index)
  ), shown AS (
    -- Else the last snapshot before it would go on raising its alert.
    INSERT INTO index_bloat_snapshots (
      snapshot_timestamp, schemaname, tablename, indexname, access_method, actual_size_bytes, estimated_size_bytes,
      dead_tuples, live_tuples, method, sampled_pages, recently_dead_tuples, relid, indexrelid)
    SELECT clock_timestamp(), d.schemaname, d.tablename, d.indexname, d.access_method, d.actual_size_bytes,
           d.estimated_size_bytes, d.dead_tuples, d.live_tuples, d.method, d.sampled_pages, d.recently_dead_tuples,
           d.indrelid, d.oid
      FROM made d
     WHERE d.actual_size_bytes IS NOT NULL AND d.indrelid IN (SELECT s.relid FROM snapshot_tables() s)
    ON CONFLICT DO NOTHING
  ), noted AS (
    INSERT INTO index_rebuilds (indexrelid, rebuilt_at, bytes_before, bytes_after, bloat_before, bloat_after)
    SELECT d.oid, clock_timestamp(), (note_rebuild.job).bytes_before,
           coalesce(d.actual_size_bytes, relation_bytes(d.oid), 0::bigint), (note_rebuild.job).bloat_before, d.ratio
      FROM made d
    ON CONFLICT DO NOTHING
    RETURNING index_rebuilds.*
  ), told AS (
    INSERT INTO performance_alerts (alert_type, severity, message, details, resolved_at, resolution_notes, fingerprint,
                                    last_seen_at)
    SELECT 'high_bloat'::text, 'info'::text,
           pg_catalog.format('Index %s was rebuilt: %s -> %s'::text, maintenance_target(d.oid),
                             coalesce(pg_size_pretty(r.bytes_before), 'unknown'::text), pg_size_pretty(r.bytes_after)),
           pg_catalog.jsonb_build_object(
             'fingerprint', 'high_bloat:index:'::text || maintenance_target(d.oid), 'schemaname', d.schemaname,
             'tablename', d.tablename, 'indexname', d.indexname, 'previous_bloat', r.bloat_before,
             'bloat_ratio', r.bloat_after, 'threshold', (note_rebuild.job).threshold, 'bytes_before', r.bytes_before,
             'bytes_after', r.bytes_after, 'job_id', (note_rebuild.job).job_id),
           now(), pg_catalog.format('Rebuilt by job %s.'::text, (note_rebuild.job).job_id),
           'high_bloat:index:'::text || maintenance_target(d.oid), now()
      FROM noted r
      JOIN made d ON d.oid = r.indexrelid
  ), resolved AS (
    UPDATE performance_alerts a
       SET resolved_at = now(),
           resolution_notes = coalesce(a.resolution_notes,
                                       pg_catalog.format('Rebuilt by job %s.'::text, (note_rebuild.job).job_id))
      FROM noted r
     WHERE a.resolved_at IS NULL AND a.alert_type = 'high_bloat'::text
       AND a.fingerprint = 'high_bloat:index:'::text || maintenance_target(r.indexrelid)
  )
  SELECT EXISTS (SELECT FROM noted);
END;
COMMENT ON FUNCTION note_rebuild(maintenance_jobs, oid) IS
  'Part of conclude_reindex: the row of index_rebuilds, a snapshot of the new index, and the alerts. Once for '
  'each new index.';

CREATE FUNCTION duration_text(duration_ms bigint) RETURNS text
LANGUAGE sql IMMUTABLE
BEGIN ATOMIC
  SELECT CASE WHEN duration_text.duration_ms < 10000::bigint THEN duration_text.duration_ms::text || ' ms'::text
              ELSE round(duration_text.duration_ms::numeric / 1000::numeric)::text || ' s'::text END;
END;
COMMENT ON FUNCTION duration_text(bigint) IS 'A duration for people.';

CREATE FUNCTION conclude_reindex(job maintenance_jobs, succeeded boolean, OUT bytes_after bigint,
                                 OUT bloat_after numeric, OUT summary text)
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT note_rebuild(conclude_reindex.job, m.index)
    FROM (SELECT rebuilt_index(conclude_reindex.job) AS index) m
   WHERE m.index IS NOT NULL;
  SELECT check_invalid_index_alerts()
    FROM (SELECT CASE WHEN NOT conclude_reindex.succeeded
                      THEN queue_leftover_drops_of(index_of_job(conclude_reindex.job), (conclude_reindex.job).role, NULL::oid) END
            AS drops) q
   WHERE q.drops > 0::bigint OR starts_with((conclude_reindex.job).command, 'DROP INDEX '::text);
  SELECT r.bytes_after, r.bloat_after,
         CASE WHEN r.indexrelid IS NOT NULL THEN
                pg_catalog.format('rebuilt %s: %s -> %s, ratio %s -> %s, %s'::text, maintenance_target(r.indexrelid),
                                  coalesce(pg_size_pretty(r.bytes_before), 'unknown'::text), pg_size_pretty(r.bytes_after),
                                  coalesce(percent_text(r.bloat_before), 'unknown'::text),
                                  coalesce(percent_text(r.bloat_after), 'unknown'::text),
                                  coalesce(duration_text((conclude_reindex.job).duration_ms), 'unknown'::text))
              WHEN conclude_reindex.succeeded THEN
                pg_catalog.format('dropped what failed rebuilds had left of %s or its table; nothing to rebuild'::text,
                                  (conclude_reindex.job).target) END
    FROM (SELECT 1) AS one
    LEFT JOIN index_rebuilds r ON r.indexrelid = rebuilt_index(conclude_reindex.job);
END;
COMMENT ON FUNCTION conclude_reindex(maintenance_jobs, boolean) IS
  'What came of a rebuild, for its job, index_rebuilds and the alerts; after a failed one, what it left is to be '
  'dropped.';

CREATE FUNCTION plan_drop_index(job maintenance_jobs, OUT skip text, OUT obstacle text, OUT obstacle_sqlstate text,
                                OUT commands text[], OUT repeat boolean, OUT bytes_before bigint,
                                OUT bloat_before numeric)
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  WITH target AS MATERIALIZED (
    SELECT i.indexrelid, i.indrelid, i.indisvalid, maintenance_target(i.indexrelid) AS name,
           is_rebuild_leftover(i.indexrelid) AS leftover,
           EXISTS (SELECT FROM invalid_indexes_of(ARRAY[i.indrelid]) s
                    WHERE s.indexrelid = i.indexrelid AND s.in_progress) AS in_progress
      FROM pg_catalog.pg_index i
     WHERE i.indexrelid = (plan_drop_index.job).relid
  )
  SELECT CASE WHEN t.indexrelid IS NULL THEN (plan_drop_index.job).target || ' is gone'::text
              WHEN t.indisvalid THEN t.name || ' is not dropped: it is valid'::text
              WHEN NOT t.leftover THEN t.name || ' is not dropped: it is not what a failed rebuild leaves'::text END,
         CASE WHEN t.leftover AND t.in_progress THEN
           pg_catalog.format('another session is building, rebuilding or dropping %s'::text, t.name) END,
         CASE WHEN t.leftover AND t.in_progress THEN '55006'::text END,
         CASE WHEN t.leftover AND NOT t.in_progress THEN ARRAY['DROP INDEX CONCURRENTLY '::text || t.name] END,
         false, relation_bytes(t.indexrelid), NULL::numeric
    FROM (SELECT 1) AS one
    LEFT JOIN target t ON true;
END;
COMMENT ON FUNCTION plan_drop_index(maintenance_jobs) IS
  'How a worker drops an index that a failed rebuild left, if that is what it still is.';

CREATE FUNCTION conclude_drop_index(job maintenance_jobs, succeeded boolean, OUT bytes_after bigint,
                                    OUT bloat_after numeric, OUT summary text)
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT check_invalid_index_alerts() WHERE conclude_drop_index.succeeded;
  SELECT CASE WHEN conclude_drop_index.succeeded THEN 0::bigint END, NULL::numeric,
         CASE WHEN conclude_drop_index.succeeded THEN
           pg_catalog.format('dropped %s, which a failed rebuild had left: %s'::text, (conclude_drop_index.job).target,
                             coalesce(pg_size_pretty((conclude_drop_index.job).bytes_before), 'size unknown'::text)) END;
END;
COMMENT ON FUNCTION conclude_drop_index(maintenance_jobs, boolean) IS 'What came of a drop, for its job and the alerts.';

CREATE FUNCTION queue_leftover_drops() RETURNS integer
LANGUAGE sql VOLATILE
SET jit = off
BEGIN ATOMIC
  WITH suspect AS MATERIALIZED (
    SELECT i.indexrelid, i.indrelid FROM pg_catalog.pg_index i
     WHERE NOT i.indisvalid AND is_rebuild_leftover(i.indexrelid)
  ), ours AS MATERIALIZED (
    -- Those that jobs left which have given up.
    SELECT DISTINCT ON (s.indexrelid) s.indexrelid, s.indrelid, j.role
      FROM suspect s
      JOIN maintenance_jobs j
        ON j.kind = 'drop_index'::text AND j.relid = s.indexrelid
        OR j.kind = 'reindex'::text AND j.started_at IS NOT NULL
           AND (j.relid = s.indexrelid
                OR EXISTS (SELECT FROM pg_catalog.pg_index o WHERE o.indexrelid = j.relid AND o.indrelid = s.indrelid))
     WHERE j.status IN ('failed'::text, 'cancelled'::text)
       AND NOT EXISTS (SELECT FROM maintenance_jobs u
                        WHERE u.finished_at IS NULL
                          AND (u.relid = s.indexrelid AND u.kind IN ('reindex'::text, 'drop_index'::text)
                               OR u.kind = 'reindex'::text
                                  AND EXISTS (SELECT FROM pg_catalog.pg_index o
                                               WHERE o.indexrelid = u.relid AND o.indrelid = s.indrelid)))
     ORDER BY s.indexrelid, j.job_id DESC
  ), free AS MATERIALIZED (
    -- A drop waits for every transaction that has locked the table.
    SELECT o.* FROM ours o
     WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_locks l
                         LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
                        WHERE l.granted AND l.relation = o.indrelid
                          AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d
                                             WHERE d.datname = current_database())
                          AND coalesce(a.xact_start, '-infinity'::timestamptz) < clock_timestamp() - interval '60 seconds')
  )
  SELECT count(queue_job('drop_index'::text, f.indexrelid, dropping_role(f.indexrelid, f.role),
                         'a rebuild failed and left it'::text, NULL::numeric, false))::integer
    FROM free f
    JOIN invalid_indexes_of((SELECT pg_catalog.array_agg(t.oid) FROM pg_catalog.pg_class t
                              WHERE t.oid IN (SELECT o.indrelid FROM free o)
                                 OR t.reltoastrelid IN (SELECT o.indrelid FROM free o))) i
      ON i.indexrelid = f.indexrelid AND NOT i.in_progress;
END;
COMMENT ON FUNCTION queue_leftover_drops() IS
  'Queues the drop of what rebuilds of ours left and could not drop, once no transaction of more than a minute '
  'has locked its table. Cheap: called about every minute. Returns how many.';

-- Retention of the application's own tables: rows older than a rule keeps are deleted in small batches, as
-- the role that asked for the rule.

-- OIDs mean nothing in another server: a restored rule finds its table, column and role by their names.
CREATE TABLE retention_rules (
  schemaname text NOT NULL,
  tablename text NOT NULL,
  columnname text NOT NULL,
  keep interval NOT NULL CHECK (keep > '0'::interval),
  requested_by text NOT NULL DEFAULT current_user,
  requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  relid oid UNIQUE,
  attnum smallint,
  role oid
);
SELECT pg_catalog.pg_extension_config_dump('retention_rules', '');
COMMENT ON TABLE retention_rules IS
  'The rules of set_retention(): of which tables old rows are deleted each day. Names follow the table, the '
  'column and the role when those are renamed; a rule ends with its table.';
COMMENT ON COLUMN retention_rules.columnname IS 'The column that tells the age of a row.';
COMMENT ON COLUMN retention_rules.keep IS 'Rows older than that are deleted.';
COMMENT ON COLUMN retention_rules.requested_by IS 'The role that asked; see retention_role().';
COMMENT ON COLUMN retention_rules.relid IS 'The table; NULL: there was none of that name when the rule was restored.';

CREATE FUNCTION retention_column_type(relation oid, attnum smallint) RETURNS oid
LANGUAGE sql STABLE
BEGIN ATOMIC
  WITH RECURSIVE base AS (
    SELECT a.atttypid AS type, t.typtype, t.typbasetype
      FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
     WHERE a.attrelid = retention_column_type.relation AND a.attnum = retention_column_type.attnum AND NOT a.attisdropped
    UNION ALL
    SELECT b.typbasetype, t.typtype, t.typbasetype
      FROM base b JOIN pg_catalog.pg_type t ON t.oid = b.typbasetype WHERE b.typtype = 'd'::"char"
  )
  SELECT b.type FROM base b
   WHERE b.type IN ('date'::regtype::oid, 'timestamp'::regtype::oid, 'timestamptz'::regtype::oid);
END;
COMMENT ON FUNCTION retention_column_type(oid, smallint) IS
  'date, timestamp or timestamptz, if a column is of that type or a domain over it; else NULL.';

CREATE FUNCTION check_retention(relation oid, columnname text, attnum smallint, keep interval) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  target pg_class;
  name text := relation::regclass;
BEGIN
  SELECT * INTO target FROM pg_class WHERE oid = relation;
  IF target.relkind NOT IN ('r', 'p') THEN
    RAISE EXCEPTION USING ERRCODE = '42809', MESSAGE = format('%s is not a table', name),
      HINT = 'Set retention for the tables whose rows it shows.';
  ELSIF target.relpersistence = 't' THEN
    RAISE EXCEPTION USING ERRCODE = '42809', MESSAGE = format('%s is a temporary table', name),
      HINT = 'It ends with its session.';
  ELSIF target.relnamespace IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace) THEN
    RAISE EXCEPTION USING ERRCODE = '42809', MESSAGE = format('%s is a system catalog', name);
  ELSIF EXISTS (SELECT FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'train_perf'
                 WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND d.classid = 'pg_class'::regclass
                   AND d.objid IN (relation, pg_partition_root(relation))) THEN
    RAISE EXCEPTION USING ERRCODE = '42809', MESSAGE = format('%s belongs to train_perf', name),
      HINT = 'See train_perf.retention, train_perf.log_retention and train_perf.index_usage_retention.';
  ELSIF attnum IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '42703',
      MESSAGE = format('%s has no column %s', name, coalesce(quote_ident(columnname), 'NULL')),
      HINT = 'Name the column as it is stored, without quotes.';
  END IF;
  IF keep IS NULL OR NOT isfinite(keep) OR keep <= '0'::interval OR keep > '1000 years'::interval THEN
    RAISE EXCEPTION USING ERRCODE = '22023',
      MESSAGE = format('%s is no time to keep rows for', coalesce(quote_literal(keep), 'NULL')),
      HINT = 'It must be positive and at most 1000 years, as in ''90 days''.';
  END IF;
  IF NOT has_table_privilege(relation, 'SELECT') OR NOT has_table_privilege(relation, 'DELETE') THEN
    RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = format('permission denied to delete rows of %s', name),
      HINT = 'The role that asks, as which rows will be deleted, needs SELECT and DELETE on the table.';
  END IF;
END
$$;
COMMENT ON FUNCTION check_retention(oid, text, smallint, interval) IS
  'Part of set_retention(): whether the current role may have such a rule for the table, and it makes sense.';

CREATE FUNCTION check_retention_type(relation oid, attnum smallint, type oid) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF type IS NOT NULL THEN RETURN; END IF;
  RAISE EXCEPTION USING ERRCODE = '42804',
    MESSAGE = (SELECT format('column %s of %s is of type %s', quote_ident(a.attname), relation::regclass,
                             format_type(a.atttypid, a.atttypmod))
                 FROM pg_attribute a
                WHERE a.attrelid = check_retention_type.relation AND a.attnum = check_retention_type.attnum),
    HINT = 'The age of a row must be in a column of type date, timestamp or timestamptz.';
END
$$;
COMMENT ON FUNCTION check_retention_type(oid, smallint, oid) IS 'Part of set_retention(): 42804.';

CREATE FUNCTION guard_retention_rule() RETURNS trigger
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- Whoever may insert here could have rows deleted as anybody.
  IF EXISTS (SELECT FROM pg_roles r WHERE r.rolname = NEW.requested_by AND NOT pg_has_role(r.oid, 'USAGE')) THEN
    RAISE EXCEPTION USING ERRCODE = '42501',
      MESSAGE = format('permission denied to have rows deleted as role %I', NEW.requested_by);
  END IF;
  NEW.relid := (SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE n.nspname = NEW.schemaname AND c.relname = NEW.tablename AND c.relkind IN ('r', 'p'));
  NEW.attnum := (SELECT a.attnum FROM pg_attribute a
                  WHERE a.attrelid = NEW.relid AND a.attname = NEW.columnname AND a.attnum > 0 AND NOT a.attisdropped);
  NEW.role := (SELECT r.oid FROM pg_roles r WHERE r.rolname = NEW.requested_by);
  RETURN NEW;
END
$$;
COMMENT ON FUNCTION guard_retention_rule() IS
  'Trigger of retention_rules: nobody asks in the name of a role that is not theirs, and OIDs follow from names.';
CREATE TRIGGER guard BEFORE INSERT ON retention_rules FOR EACH ROW EXECUTE FUNCTION guard_retention_rule();
-- Also while a dump is restored as a replica: its OIDs are not ours.
ALTER TABLE retention_rules ENABLE ALWAYS TRIGGER guard;

CREATE FUNCTION guard_retention_end() RETURNS trigger
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF pg_has_role((SELECT c.relowner FROM pg_class c WHERE c.oid = TG_RELID), 'USAGE')
     OR NOT EXISTS (SELECT FROM pg_class WHERE oid = OLD.relid)
     OR EXISTS (SELECT FROM pg_roles r WHERE r.oid = OLD.role AND pg_has_role(r.oid, 'USAGE'))
     OR has_table_privilege(OLD.relid, 'DELETE') THEN
    RETURN OLD;
  END IF;
  RAISE EXCEPTION USING ERRCODE = '42501',
    MESSAGE = format('permission denied to change the retention of %I.%I', OLD.schemaname, OLD.tablename),
    HINT = 'The role that asked for it may, and whoever may delete rows of the table.';
END
$$;
COMMENT ON FUNCTION guard_retention_end() IS 'Trigger of retention_rules: who may take a rule away.';
CREATE TRIGGER guard_end BEFORE DELETE ON retention_rules FOR EACH ROW EXECUTE FUNCTION guard_retention_end();

CREATE FUNCTION retention_target(table_name text, column_name text, OUT relid oid, OUT schemaname text,
                                 OUT tablename text, OUT attnum smallint)
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT c.oid, n.nspname::text, c.relname::text, a.attnum
    FROM (SELECT table_named(retention_target.table_name) AS relid) t
    JOIN pg_catalog.pg_class c ON c.oid = t.relid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_attribute a
      ON a.attrelid = c.oid AND a.attname::text = retention_target.column_name AND a.attnum > 0::smallint AND NOT a.attisdropped;
END;
COMMENT ON FUNCTION retention_target(text, text) IS 'Part of set_retention(): 42P01 if there is no such table.';

CREATE FUNCTION set_retention(table_name text, column_name text, keep interval) RETURNS void
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT require_primary('set_retention()'::text);
  SELECT check_retention(t.relid, set_retention.column_name, t.attnum, set_retention.keep)
    FROM retention_target(set_retention.table_name, set_retention.column_name) t;
  SELECT check_retention_type(t.relid, t.attnum, retention_column_type(t.relid, t.attnum))
    FROM retention_target(set_retention.table_name, set_retention.column_name) t;
  DELETE FROM retention_rules r WHERE r.relid = table_named(set_retention.table_name);
  INSERT INTO retention_rules (schemaname, tablename, columnname, keep)
  SELECT t.schemaname, t.tablename, set_retention.column_name, set_retention.keep
    FROM retention_target(set_retention.table_name, set_retention.column_name) t;
END;
COMMENT ON FUNCTION set_retention(text, text, interval) IS
  'Has the daily job delete rows of a table whose column (date, timestamp or timestamptz) is older than `keep`, in '
  'small batches, as the current role, which needs SELECT and DELETE, or as the owner of the table if it may act as '
  'the owner; whole partitions by that column are dropped if the role owns them. Replaces an earlier rule for the table.';

CREATE FUNCTION drop_retention(table_name text) RETURNS boolean
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT require_primary('drop_retention()'::text);
  WITH dropped AS (
    DELETE FROM retention_rules r WHERE r.relid = table_named(drop_retention.table_name) RETURNING 1
  )
  SELECT EXISTS (SELECT FROM dropped);
END;
COMMENT ON FUNCTION drop_retention(text) IS 'Takes back set_retention(); false if there was no rule for the table.';

-- The daily work.

CREATE FUNCTION warn_retention_ended(schemaname text, tablename text) RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RAISE WARNING USING MESSAGE = format('the retention of %I.%I has ended: the table is gone', schemaname, tablename);
  RETURN true;
END
$$;
COMMENT ON FUNCTION warn_retention_ended(text, text) IS 'Part of refresh_retention_rules().';

CREATE FUNCTION refresh_retention_rules() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  UPDATE retention_rules r
     SET schemaname = f.schemaname, tablename = f.tablename, columnname = f.columnname, requested_by = f.requested_by
    FROM (SELECT k.relid, n.nspname::text AS schemaname, c.relname::text AS tablename,
                 coalesce(a.attname::text, k.columnname) AS columnname, coalesce(o.rolname::text, k.requested_by) AS requested_by
            FROM retention_rules k
            JOIN pg_catalog.pg_class c ON c.oid = k.relid
            JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = k.relid AND a.attnum = k.attnum AND NOT a.attisdropped
            LEFT JOIN pg_catalog.pg_roles o ON o.oid = k.role) f
   WHERE f.relid = r.relid
     AND (r.schemaname, r.tablename, r.columnname, r.requested_by)
         IS DISTINCT FROM (f.schemaname, f.tablename, f.columnname, f.requested_by);
  WITH gone AS (
    DELETE FROM retention_rules r
     WHERE r.relid IS NULL OR NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = r.relid)
    RETURNING r.schemaname, r.tablename
  )
  SELECT count(*) FILTER (WHERE warn_retention_ended(g.schemaname, g.tablename))::integer FROM gone g;
END;
COMMENT ON FUNCTION refresh_retention_rules() IS
  'Lets the names in retention_rules follow what was renamed, and ends the rules of tables that are gone. Returns '
  'how many of those.';

CREATE FUNCTION retention_role(role oid, relation oid) RETURNS oid
LANGUAGE sql STABLE
BEGIN ATOMIC
  -- A trigger that the owner adds later would run with the rights of a superuser who asked.
  SELECT CASE WHEN pg_has_role(retention_role.role, c.relowner, 'USAGE'::text) THEN c.relowner ELSE retention_role.role END
    FROM pg_catalog.pg_class c WHERE c.oid = retention_role.relation;
END;
COMMENT ON FUNCTION retention_role(oid, oid) IS
  'As whom rows are deleted: the owner of the table if the role that asked may act as the owner, else that role.';

CREATE FUNCTION queue_retention() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT pg_catalog.count(queue_job('retention'::text, r.relid, retention_role(r.role, r.relid),
                         pg_catalog.format('keeps %s by %I'::text, r.keep, r.columnname)
                         || CASE WHEN o.oid IS NULL THEN ', asked for by '::text || r.requested_by ELSE ''::text END,
                         NULL::numeric, true))::integer
    FROM retention_rules r
    -- The job of a role that is gone fails, and an alert tells that nothing is deleted any more.
    LEFT JOIN pg_catalog.pg_roles o ON o.oid = r.role;
END;
COMMENT ON FUNCTION queue_retention() IS 'Queues the jobs of retention_rules. Returns how many.';

CREATE FUNCTION retention_cutoff(type oid, keep interval, zone text) RETURNS text
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT CASE retention_cutoff.type
           WHEN 'timestamptz'::regtype::oid
           THEN to_char((clock_timestamp() - retention_cutoff.keep) AT TIME ZONE 'UTC'::text, 'YYYY-MM-DD HH24:MI:SS.US'::text) || '+00'::text
           WHEN 'timestamp'::regtype::oid
           THEN to_char((clock_timestamp() - retention_cutoff.keep) AT TIME ZONE retention_cutoff.zone, 'YYYY-MM-DD HH24:MI:SS.US'::text)
           ELSE to_char((clock_timestamp() - retention_cutoff.keep) AT TIME ZONE retention_cutoff.zone, 'YYYY-MM-DD'::text) END;
END;
COMMENT ON FUNCTION retention_cutoff(oid, interval, text) IS
  'What is before that is older than `keep` now; without a time zone of its own it is taken for one of `zone`.';

CREATE FUNCTION has_dependents(relation oid) RETURNS boolean
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT EXISTS (
    SELECT FROM (SELECT t.relid::oid AS relid FROM pg_catalog.pg_partition_tree(has_dependents.relation::regclass) t) m
      JOIN pg_catalog.pg_class c ON c.oid = m.relid
     WHERE EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.confrelid = m.relid)
        OR EXISTS (SELECT FROM pg_catalog.pg_depend d
                    WHERE d.deptype = 'n'::"char"
                      AND (d.refclassid = 'pg_catalog.pg_class'::regclass::oid AND d.refobjid = m.relid
                           OR d.refclassid = 'pg_catalog.pg_type'::regclass::oid AND d.refobjid = c.reltype)));
END;
COMMENT ON FUNCTION has_dependents(oid) IS
  'Whether foreign keys, views or functions depend on a table or its partitions, so that it cannot be dropped.';

CREATE FUNCTION outdated_partitions(relation oid, columnname text, cutoff text, role oid) RETURNS SETOF text
LANGUAGE sql STABLE
SET timezone = 'UTC'
SET datestyle = 'ISO'
BEGIN ATOMIC
  WITH part AS MATERIALIZED (
    SELECT c.oid AS relid, substring(pg_get_expr(c.relpartbound, c.oid), $re$TO \('([^']*)'\)$re$::text) AS bound
      FROM pg_catalog.pg_partition_tree(outdated_partitions.relation::regclass) t
      JOIN pg_catalog.pg_partitioned_table p
        ON p.partrelid = t.parentrelid::oid AND p.partstrat = 'r'::"char" AND p.partnatts = 1::smallint
      JOIN pg_catalog.pg_attribute a
        ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0] AND a.attname::text = outdated_partitions.columnname
      JOIN pg_catalog.pg_class c ON c.oid = t.relid::oid AND c.relkind IN ('r'::"char", 'p'::"char")
     WHERE t.level > 0 AND pg_has_role(outdated_partitions.role, c.relowner, 'USAGE'::text)
  ), outdated AS MATERIALIZED (
    SELECT p.relid, p.bound FROM part p
     WHERE p.bound::timestamptz <= outdated_partitions.cutoff::timestamptz AND NOT has_dependents(p.relid)
  )
  SELECT maintenance_target(o.relid)
    FROM outdated o
   WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_partition_ancestors(o.relid::regclass) a JOIN outdated x ON x.relid = a.relid::oid
                      WHERE a.relid::oid <> o.relid)
   ORDER BY o.bound::timestamptz, o.relid;
END;
COMMENT ON FUNCTION outdated_partitions(oid, text, text, oid) IS
  'The partitions by range of that column, of a table, all rows of which are before the cutoff, oldest first: those '
  'that the role owns and nothing depends on.';

CREATE FUNCTION can_skip_locked(role oid, relation oid) RETURNS boolean
LANGUAGE sql STABLE
BEGIN ATOMIC
  -- FOR UPDATE asks for the right to update, and for rows that its policies show.
  SELECT has_table_privilege(can_skip_locked.role, c.oid, 'UPDATE'::text)
         AND (NOT c.relrowsecurity OR EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.oid = can_skip_locked.role
                                                 AND (r.rolsuper OR r.rolbypassrls)))
    FROM pg_catalog.pg_class c WHERE c.oid = can_skip_locked.relation;
END;
COMMENT ON FUNCTION can_skip_locked(oid, oid) IS
  'Part of plan_retention(): whether a role can find all rows of a table with FOR UPDATE SKIP LOCKED.';

CREATE FUNCTION delete_batch_command(relation oid, columnname text, type oid, cutoff text, role oid) RETURNS text
LANGUAGE sql STABLE
BEGIN ATOMIC
  -- With partitions, the same addresses in several of them are all old rows, and all are deleted. Rows that
  -- were changed meanwhile are looked at again.
  SELECT pg_catalog.format(
           'DELETE FROM %1$s WHERE ctid = ANY (ARRAY(SELECT ctid FROM %1$s WHERE %2$I < %3$L::pg_catalog.%4$s LIMIT %5$s%6$s)) '
           'AND %2$I < %3$L::pg_catalog.%4$s'::text,
           maintenance_target(delete_batch_command.relation), delete_batch_command.columnname, delete_batch_command.cutoff,
           (SELECT t.typname FROM pg_catalog.pg_type t WHERE t.oid = delete_batch_command.type),
           greatest(5000::bigint / greatest((SELECT count(*) FROM pg_catalog.pg_partition_tree(delete_batch_command.relation::regclass) t
                                              WHERE t.isleaf), 1::bigint), 500::bigint),
           CASE WHEN can_skip_locked(delete_batch_command.role, delete_batch_command.relation)
                THEN ' FOR UPDATE SKIP LOCKED'::text ELSE ''::text END);
END;
COMMENT ON FUNCTION delete_batch_command(oid, text, oid, text, oid) IS
  'The statement that deletes one batch of rows before the cutoff; none waits for a row that others have locked, '
  'if the role can help it.';

CREATE FUNCTION retention_obstacle(rule retention_rules, type oid, zone_problem text, OUT obstacle text, OUT obstacle_sqlstate text)
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT o.obstacle, o.sqlstate
    FROM (VALUES
      (CASE WHEN retention_obstacle.type IS NULL
            THEN pg_catalog.format('column %I is gone or of another type'::text, (retention_obstacle.rule).columnname) END, '42703'::text),
      (CASE WHEN retention_obstacle.type <> 'timestamptz'::regtype::oid THEN retention_obstacle.zone_problem END, '22023'::text),
      (CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_rewrite w
                          WHERE w.ev_class = (retention_obstacle.rule).relid AND w.ev_type = '4'::"char")
            THEN 'the table has a rule for DELETE'::text END, '0A000'::text),
      (CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_partition_tree((retention_obstacle.rule).relid::regclass) t
                           JOIN pg_catalog.pg_class c ON c.oid = t.relid::oid AND c.relkind = 'f'::"char")
            THEN 'a partition is a foreign table'::text END, '0A000'::text)) AS o (obstacle, sqlstate)
   WHERE o.obstacle IS NOT NULL
   LIMIT 1;
END;
COMMENT ON FUNCTION retention_obstacle(retention_rules, oid, text) IS 'Part of plan_retention(): why nothing can be deleted.';

CREATE FUNCTION plan_retention(job maintenance_jobs, OUT skip text, OUT obstacle text, OUT obstacle_sqlstate text,
                               OUT commands text[], OUT repeat boolean, OUT bytes_before bigint, OUT bloat_before numeric)
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT refresh_retention_rules();
  WITH rule AS MATERIALIZED (
    SELECT r.relid, r.columnname, retention_role(r.role, r.relid) AS role, y.type, o.obstacle, o.obstacle_sqlstate,
           retention_cutoff(y.type, r.keep, coalesce(z.name, 'UTC'::text)) AS cutoff
      FROM retention_rules r
     CROSS JOIN schedule_timezone() z
     CROSS JOIN LATERAL (SELECT retention_column_type(r.relid, r.attnum) AS type) y
      LEFT JOIN LATERAL retention_obstacle(r, y.type, z.problem) o ON true
     WHERE r.relid = (job).relid
  )
  SELECT CASE WHEN r.relid IS NULL THEN 'The rule was dropped.'::text
              WHEN r.role IS DISTINCT FROM (job).role THEN 'Another role has asked for the rule since.'::text END,
         r.obstacle, r.obstacle_sqlstate,
         CASE WHEN r.relid IS NOT NULL AND r.obstacle IS NULL
              THEN pg_catalog.array_append(
                     -- Triggers may name what stands beside their table.
                     ARRAY(SELECT 'SET search_path = pg_catalog, '::text || quote_ident(n.nspname::text) || ', pg_temp'::text
                             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                            WHERE c.oid = r.relid
                           UNION ALL
                           SELECT 'DROP TABLE IF EXISTS '::text || p FROM outdated_partitions(r.relid, r.columnname, r.cutoff, r.role) p),
                     delete_batch_command(r.relid, r.columnname, r.type, r.cutoff, r.role)) END,
         true, NULL::bigint, NULL::numeric
    FROM (SELECT 1) AS one LEFT JOIN rule r ON true;
END;
COMMENT ON FUNCTION plan_retention(maintenance_jobs) IS
  'What a worker does for a retention job: drops partitions, then deletes batches until there are no more rows before '
  'a time that stays the same in all; see plan_maintenance_job().';

CREATE FUNCTION conclude_retention(job maintenance_jobs, succeeded boolean, OUT bytes_after bigint, OUT bloat_after numeric,
                                   OUT summary text)
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT NULL::bigint, NULL::numeric,
         CASE WHEN conclude_retention.succeeded
              THEN pg_catalog.format('%s: deleted %s rows older than %s%s'::text, (job).target, coalesce((job).rows_removed, 0::bigint),
                     substring((job).command, ' < ''([^'']*)'''::text),
                     CASE WHEN d.dropped > 0 THEN pg_catalog.format(', dropped %s partitions'::text, d.dropped) ELSE ''::text END) END
    FROM (SELECT regexp_count((job).command, '^DROP TABLE '::text, 1, 'n'::text) AS dropped) d;
END;
COMMENT ON FUNCTION conclude_retention(maintenance_jobs, boolean) IS
  'What a retention job did; see finish_maintenance_job().';

-- The schedule of maintenance: what is covered, when it is due, weekly_maintenance(), and pg_cron as its
-- keeper in place of the workers.

-- Covered tables.

CREATE FUNCTION maintenance_tables(OUT relid oid, OUT schemaname text, OUT tablename text)
RETURNS SETOF record
LANGUAGE sql STABLE
BEGIN ATOMIC
  WITH pattern AS MATERIALIZED (
    SELECT CASE WHEN current_setting('train_perf.maintenance_tables'::text, true) = ''::text THEN '{}'::text[]
                ELSE snapshot_patterns('train_perf.maintenance_tables'::text,
                       'conversations, conversation_turns, conversation_templates, scenarios, edge_cases, '
                       'generation_logs, export_logs, batch_jobs'::text) END AS include
  ), own AS MATERIALIZED (
    SELECT d.objid
      FROM pg_catalog.pg_extension e
      JOIN pg_catalog.pg_depend d ON d.refobjid = e.oid AND d.deptype = 'e'::"char"
       AND d.refclassid = 'pg_catalog.pg_extension'::regclass::oid AND d.classid = 'pg_catalog.pg_class'::regclass::oid
     WHERE e.extname = 'train_perf'::name
  ), covered AS MATERIALIZED (
    SELECT c.oid, n.nspname::text AS schemaname, c.relname::text AS tablename
      FROM pg_catalog.pg_class c
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     CROSS JOIN pattern p
     WHERE c.relkind IN ('r'::"char", 'p'::"char", 'm'::"char") AND c.relpersistence <> 't'::"char"
       AND n.nspname NOT IN ('pg_catalog'::name, 'information_schema'::name, 'pg_toast'::name)
       AND (n.nspname::text || '.'::text || c.relname::text ~ ANY (p.include)
            OR EXISTS (SELECT FROM own o WHERE o.objid = c.oid))
  )
  -- VACUUM of a partitioned table is one of its partitions.
  SELECT c.oid, c.schemaname, c.tablename
    FROM covered c
   WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_partition_ancestors(c.oid::regclass) a
                       JOIN covered p ON p.oid = a.relid::oid
                      WHERE a.relid::oid <> c.oid);
END;
COMMENT ON FUNCTION maintenance_tables() IS
  'The tables that weekly maintenance covers: those of train_perf.maintenance_tables, and our own. A partition does '
  'not count beside its partitioned table.';

-- When it is due.

CREATE FUNCTION parse_schedule(setting text, kind text, OUT day integer, OUT clock interval, OUT problem text)
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
  WITH given AS (
    SELECT coalesce(btrim(parse_schedule.setting, E' \t\r\n'::text), ''::text) AS setting
  ), word AS (
    SELECT g.setting,
           regexp_match(g.setting,
             CASE parse_schedule.kind
               WHEN 'daily'::text THEN '^()'::text
               WHEN 'weekly'::text
               THEN E'^(sun(?:day)?|mon(?:day)?|tue(?:sday)?|wed(?:nesday)?|thu(?:rsday)?|fri(?:day)?|sat(?:urday)?)\\s+'::text
               WHEN 'monthly'::text THEN E'^(0?[1-9]|[12]\\d|3[01])\\s+'::text END
             || E'((?:[01]?\\d|2[0-3]):[0-5]\\d)$'::text, 'i'::text) AS part
      FROM given g
  )
  SELECT CASE parse_schedule.kind
           WHEN 'weekly'::text THEN array_position('{sun,mon,tue,wed,thu,fri,sat}'::text[], lower(left(w.part[1], 3))) - 1
           WHEN 'monthly'::text THEN w.part[1]::integer END,
         w.part[2]::interval,
         CASE WHEN parse_schedule.kind IS NULL OR parse_schedule.kind NOT IN ('daily'::text, 'weekly'::text, 'monthly'::text)
              THEN pg_catalog.format('there is no %s maintenance'::text, coalesce(parse_schedule.kind, 'NULL'::text))
              WHEN w.setting <> ''::text AND w.part IS NULL
              THEN pg_catalog.format('train_perf.maintenance_%s: %L is no time for it'::text, parse_schedule.kind, w.setting) END
    FROM word w;
END;
COMMENT ON FUNCTION parse_schedule(text, text) IS
  'A value of train_perf.maintenance_daily, _weekly or _monthly (the kind says which): its day of the week (0 is '
  'Sunday) or of the month, and the time of day, all NULL if empty; or what is wrong.';

CREATE FUNCTION check_schedule(setting text, kind text) RETURNS void
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT refuse_setting(p.problem,
           CASE check_schedule.kind
             WHEN 'daily'::text THEN 'A time of day as in ''02:00''; empty: never.'::text
             WHEN 'weekly'::text THEN 'A day of the week and a time as in ''Sun 02:00''; empty: never.'::text
             WHEN 'monthly'::text THEN 'A day of the month and a time as in ''1 03:00''; empty: never.'::text
             ELSE 'The kinds are daily, weekly and monthly.'::text END)
    FROM parse_schedule(check_schedule.setting, check_schedule.kind) p
   WHERE p.problem IS NOT NULL;
END;
COMMENT ON FUNCTION check_schedule(text, text) IS
  '22023 if this would be no value for train_perf.maintenance_daily, _weekly or _monthly.';

CREATE FUNCTION schedule_instants(setting text, kind text, zone text, at timestamptz) RETURNS SETOF timestamptz
LANGUAGE sql STABLE
BEGIN ATOMIC
  WITH moment AS (
    SELECT p.day, p.clock, schedule_instants.at AT TIME ZONE schedule_instants.zone AS here
      FROM parse_schedule(schedule_instants.setting, schedule_instants.kind) p
     WHERE p.clock IS NOT NULL AND isfinite(schedule_instants.at)
  )
  -- A time that a change of the clock leaves out is taken as if it had not changed yet; of two, the later counts.
  SELECT (d.day + m.clock) AT TIME ZONE schedule_instants.zone
    FROM moment m
   CROSS JOIN LATERAL generate_series(date_trunc('day'::text, m.here) - interval '8 days',
                                      date_trunc('day'::text, m.here) + interval '8 days', interval '1 day') AS d (day)
   WHERE schedule_instants.kind <> 'monthly'::text AND (m.day IS NULL OR m.day = extract(dow FROM d.day)::integer)
  UNION ALL
  SELECT (d.month + least(interval '1 day' * (m.day - 1)::double precision, d.month + interval '1 month' - interval '1 day' - d.month)
            + m.clock) AT TIME ZONE schedule_instants.zone
    FROM moment m
   CROSS JOIN LATERAL generate_series(date_trunc('month'::text, m.here) - interval '1 month',
                                      date_trunc('month'::text, m.here) + interval '1 month', interval '1 month') AS d (month)
   WHERE schedule_instants.kind = 'monthly'::text;
END;
COMMENT ON FUNCTION schedule_instants(text, text, text, timestamptz) IS
  'When it is due by a setting, for some time before and after; a month that is too short counts with its last day.';

CREATE FUNCTION schedule_zone() RETURNS text
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT z.name FROM schedule_timezone() z;
END;
COMMENT ON FUNCTION schedule_zone() IS 'The name of schedule_timezone(); NULL if train_perf.timezone is wrong.';

CREATE FUNCTION schedule_due(setting text, kind text, at timestamptz) RETURNS timestamptz
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT check_schedule(schedule_due.setting, schedule_due.kind);
  SELECT max(i.instant)
    FROM schedule_instants(schedule_due.setting, schedule_due.kind, schedule_zone(), schedule_due.at) AS i (instant)
   WHERE i.instant <= schedule_due.at;
END;
COMMENT ON FUNCTION schedule_due(text, text, timestamptz) IS
  'When a setting for daily, weekly or monthly maintenance was last due, in train_perf.timezone; NULL: never. 22023 if '
  'the setting is wrong.';

CREATE FUNCTION schedule_next(setting text, kind text, at timestamptz) RETURNS timestamptz
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT check_schedule(schedule_next.setting, schedule_next.kind);
  SELECT min(i.instant)
    FROM schedule_instants(schedule_next.setting, schedule_next.kind, schedule_zone(), schedule_next.at) AS i (instant)
   WHERE i.instant > schedule_next.at;
END;
COMMENT ON FUNCTION schedule_next(text, text, timestamptz) IS
  'When a setting for daily, weekly or monthly maintenance is due next; NULL: never. 22023 if it is wrong.';

CREATE FUNCTION schedule_settings(OUT name text, OUT setting text, OUT timezone text, OUT problem text)
RETURNS SETOF record
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT s.name, s.setting, z.name, coalesce(p.problem, CASE WHEN p.clock IS NOT NULL THEN z.problem END)
    FROM (VALUES ('daily'::text, coalesce(current_setting('train_perf.maintenance_daily'::text, true), '02:00'::text)),
                 ('weekly'::text, coalesce(current_setting('train_perf.maintenance_weekly'::text, true), 'Sun 02:00'::text)),
                 ('monthly'::text, coalesce(current_setting('train_perf.maintenance_monthly'::text, true), '1 03:00'::text)))
           AS s (name, setting)
   CROSS JOIN LATERAL parse_schedule(s.setting, s.name) p
   CROSS JOIN schedule_timezone() z;
END;
COMMENT ON FUNCTION schedule_settings() IS
  'train_perf.maintenance_daily, _weekly and _monthly, and what is wrong with one, which is never due then.';

CREATE FUNCTION window_setting(OUT name text, OUT setting text, OUT timezone text, OUT problem text)
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT 'window'::text, w.setting, z.name,
         (SELECT coalesce(p.problem, z.problem) FROM parse_maintenance_window(w.setting) p ORDER BY p.problem LIMIT 1)
    FROM (SELECT coalesce(current_setting('train_perf.maintenance_window'::text, true), ''::text) AS setting) w
   CROSS JOIN schedule_timezone() z;
END;
COMMENT ON FUNCTION window_setting() IS 'The same for train_perf.maintenance_window, which is never open then.';

-- The state. Not dumped: what runs elsewhere begins there.

CREATE TABLE maintenance_runs (
  name text PRIMARY KEY CHECK (name IN ('daily', 'weekly', 'monthly', 'window')),
  setting text NOT NULL,
  timezone text,
  settled_until timestamptz NOT NULL,
  last_run_at timestamptz,
  error text
);
COMMENT ON TABLE maintenance_runs IS 'What the workers have done of the schedule; see maintenance_schedule.';
COMMENT ON COLUMN maintenance_runs.setting IS 'As the workers last saw it.';
COMMENT ON COLUMN maintenance_runs.settled_until IS
  'Up to then all is done or left out: it begins when the workers first see a setting, and goes from one due time '
  'to the next.';
COMMENT ON COLUMN maintenance_runs.error IS 'What is wrong with the setting, or went wrong at the last attempt.';

CREATE TABLE cron_registrations (
  name text NOT NULL CHECK (name IN ('weekly', 'monthly')),
  username text NOT NULL DEFAULT current_user,
  registered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (name, username)
);
SELECT pg_catalog.pg_extension_config_dump('cron_registrations', '');
COMMENT ON TABLE cron_registrations IS
  'Which maintenance pg_cron keeps in place of the workers, and for whom its job runs. The workers compare it with '
  'cron.job: they take over what is not there or not active any more, and say so.';

CREATE VIEW maintenance_schedule AS
WITH server AS (
  SELECT CASE WHEN current_setting('train_perf.max_statements'::text, true) IS NULL
              THEN 'train_perf is not preloaded: no worker keeps the schedule'::text
              WHEN pg_is_in_recovery() THEN 'this is a standby: the primary keeps the schedule'::text END AS problem
)
SELECT s.name, s.setting, s.timezone,
       CASE WHEN coalesce(s.problem, v.problem) IS NULL AND k.keeper = 'workers'::text
            THEN schedule_next(s.setting, s.name, clock_timestamp()) END AS next_at,
       r.last_run_at, k.keeper, coalesce(s.problem, v.problem, r.error) AS error
  FROM schedule_settings() s
 CROSS JOIN server v
  LEFT JOIN maintenance_runs r ON r.name = s.name
 CROSS JOIN LATERAL (SELECT CASE WHEN EXISTS (SELECT FROM cron_registrations g WHERE g.name = s.name)
                                 THEN 'pg_cron'::text ELSE 'workers'::text END AS keeper) k
UNION ALL
SELECT w.name, w.setting, w.timezone, CASE WHEN w.problem IS NULL THEN next_window_start(clock_timestamp()) END,
       NULL::timestamptz, 'workers'::text, w.problem
  FROM window_setting() w;
COMMENT ON VIEW maintenance_schedule IS
  'Daily, weekly and monthly maintenance, and the window in which their jobs may start.';
COMMENT ON COLUMN maintenance_schedule.next_at IS
  'When it is due next, or when the window is open next; NULL: never, or pg_cron knows.';
COMMENT ON COLUMN maintenance_schedule.last_run_at IS 'When the workers last queued its jobs.';
COMMENT ON COLUMN maintenance_schedule.keeper IS
  'workers or pg_cron, which then keeps weekly and monthly maintenance by jobs of its own; see schedule_maintenance().';
COMMENT ON COLUMN maintenance_schedule.error IS
  'What is wrong with the setting or the server, so that it is never due, or went wrong at the last attempt.';

-- What is done.

CREATE FUNCTION queue_weekly_maintenance() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT pg_catalog.count(queue_job('vacuum_analyze'::text, t.relid, c.relowner, 'weekly maintenance'::text, NULL::numeric, true))::integer
    FROM maintenance_tables() t
    JOIN pg_catalog.pg_class c ON c.oid = t.relid
   -- One that still waits for its window is enough.
   WHERE NOT EXISTS (SELECT FROM maintenance_jobs j
                      WHERE j.relid = t.relid AND j.kind = 'vacuum_analyze'::text AND j.in_window AND j.status = 'queued'::text
                        AND j.finished_at IS NULL);
END;
COMMENT ON FUNCTION queue_weekly_maintenance() IS
  'Queues VACUUM ANALYZE of the covered tables, as their owners. Returns how many jobs.';

CREATE FUNCTION queue_monthly_maintenance() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT queue_scheduled_reindex();
END;
COMMENT ON FUNCTION queue_monthly_maintenance() IS 'Queues the rebuilds of bloated indexes. Returns how many jobs.';

CREATE FUNCTION try_maintenance(work regprocedure, OUT result integer, OUT problem text)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  EXECUTE format('SELECT %s()', work::oid::regproc) INTO result;
EXCEPTION WHEN OTHERS THEN
  result := 0;
  problem := format('%s: %s', work, SQLERRM);
END
$$;
COMMENT ON FUNCTION try_maintenance(regprocedure) IS
  'Calls a function that returns a number; what it did is undone if it fails.';

CREATE FUNCTION warn_maintenance(problem text) RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RAISE WARNING USING MESSAGE = problem;
  RETURN true;
END
$$;
COMMENT ON FUNCTION warn_maintenance(text) IS 'Writes to the server''s log.';

CREATE FUNCTION run_daily_maintenance() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  -- A finding that fails holds up neither the others nor retention.
  WITH tried AS MATERIALIZED (
    SELECT t.problem
      FROM (VALUES ('check_unused_index_alerts()'::regprocedure), ('check_table_bloat_alerts()'::regprocedure),
                   ('check_index_bloat_alerts()'::regprocedure), ('check_invalid_index_alerts()'::regprocedure)) AS c (work)
     CROSS JOIN LATERAL try_maintenance(c.work) t
  ), told AS MATERIALIZED (
    SELECT warn_maintenance(t.problem) FROM tried t WHERE t.problem IS NOT NULL
  )
  SELECT queue_retention() FROM (SELECT count(*) FROM told) AS t (warnings) WHERE t.warnings >= 0::bigint;
END;
COMMENT ON FUNCTION run_daily_maintenance() IS
  'Queues the retention jobs and checks the findings. Returns how many jobs.';

CREATE FUNCTION prune_maintenance_jobs() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  WITH pruned AS (
    DELETE FROM maintenance_jobs j
     WHERE j.job_id IN (
             SELECT o.job_id
               FROM (SELECT k.job_id FROM maintenance_jobs k
                      WHERE k.finished_at < clock_timestamp()
                                            - coalesce(current_setting('train_perf.retention'::text, true), '35d'::text)::interval
                     UNION ALL
                     SELECT m.job_id
                       FROM (SELECT k.job_id FROM maintenance_jobs k WHERE k.finished_at IS NOT NULL
                              ORDER BY k.finished_at DESC, k.job_id DESC OFFSET 10000) m) o
              LIMIT 1000)
       AND j.finished_at IS NOT NULL
    RETURNING 1
  )
  SELECT count(*)::integer FROM pruned;
END;
COMMENT ON FUNCTION prune_maintenance_jobs() IS
  'Deletes up to 1000 jobs that ended before train_perf.retention, or beyond the last 10000. Returns how many.';

-- weekly_maintenance(): now, by whoever calls it.

CREATE FUNCTION running_weekly_maintenance() RETURNS bigint[]
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT pg_catalog.array_agg(j.job_id ORDER BY j.job_id)
    FROM maintenance_jobs j
   WHERE j.finished_at IS NULL AND j.kind = 'vacuum_analyze'::text AND j.reason = 'weekly maintenance'::text
     AND (j.status = 'running'::text OR NOT j.in_window);
END;
COMMENT ON FUNCTION running_weekly_maintenance() IS
  'The jobs of weekly maintenance that have not ended, but for those that wait for their window; NULL: none.';

CREATE FUNCTION require_preload(what text) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF current_setting('train_perf.max_statements', true) IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '55000',
      MESSAGE = format('%s needs the workers of train_perf, which is not preloaded', what),
      HINT = 'Add this line to postgresql.conf and restart the server: shared_preload_libraries = ''train_perf''';
  END IF;
END
$$;
COMMENT ON FUNCTION require_preload(text) IS '55000 where train_perf is not preloaded.';

CREATE FUNCTION weekly_obstacle(jobs bigint[], lock_id regprocedure) RETURNS text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF jobs IS NOT NULL THEN
    RETURN format('Weekly maintenance is already running: %s. Nothing was done.',
                  (SELECT string_agg(format('job %s', j), ', ') FROM unnest(jobs) AS j));
  ELSIF NOT pg_try_advisory_xact_lock('pg_proc'::regclass::oid::integer, lock_id::oid::integer) THEN
    RETURN 'Weekly maintenance is already running in another session. Nothing was done.';
  END IF;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION weekly_obstacle(bigint[], regprocedure) IS
  'Part of weekly_maintenance(): what to say if another one runs.';

CREATE FUNCTION request_vacuum(request regprocedure, relation oid, OUT job_id bigint, OUT problem text)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  EXECUTE format('SELECT %s(''vacuum_analyze''::text, $1::oid, NULL::numeric, NULL::numeric, ''weekly maintenance''::text)',
                 request::oid::regproc)
    INTO job_id USING relation;
EXCEPTION WHEN insufficient_privilege OR undefined_table OR object_in_use OR feature_not_supported OR wrong_object_type THEN
  problem := SQLERRM;
END
$$;
COMMENT ON FUNCTION request_vacuum(regprocedure, oid) IS
  'Part of weekly_maintenance(): asks for a job, or tells what is wrong with this table.';

CREATE FUNCTION vacuum_covered_tables() RETURNS text
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  WITH asked AS MATERIALIZED (
    SELECT pg_catalog.format('%I.%I'::text, t.schemaname, t.tablename) AS name, r.job_id, r.problem
      FROM (SELECT * FROM maintenance_tables() ORDER BY schemaname, tablename) t
     CROSS JOIN LATERAL request_vacuum('request_maintenance(text, oid, numeric, numeric, text)'::regprocedure, t.relid) r
  ), ended AS MATERIALIZED (
    SELECT e.job_id, e.status, e.answer
      FROM await_maintenance((SELECT coalesce(pg_catalog.array_agg(a.job_id) FILTER (WHERE a.job_id IS NOT NULL), '{}'::bigint[])
                                FROM asked a)) e
  ), line AS (
    SELECT a.name, coalesce(e.status, CASE WHEN a.job_id IS NULL THEN 'left out'::text ELSE 'queued'::text END) AS status,
           coalesce(e.answer, 'left out: '::text || a.problem, pg_catalog.format('job %s still running'::text, a.job_id)) AS answer
      FROM asked a LEFT JOIN ended e ON e.job_id = a.job_id
  )
  SELECT string_agg(l.name || ': '::text || l.answer, E'\n'::text ORDER BY l.name)
           || pg_catalog.format(E'\nTotal: %s tables, %s done, %s still running, %s failed, %s left out'::text,
                count(*), count(*) FILTER (WHERE l.status IN ('succeeded'::text, 'skipped'::text)),
                count(*) FILTER (WHERE l.status IN ('queued'::text, 'running'::text)),
                count(*) FILTER (WHERE l.status IN ('failed'::text, 'cancelled'::text)),
                count(*) FILTER (WHERE l.status = 'left out'::text))
    FROM line l;
END;
COMMENT ON FUNCTION vacuum_covered_tables() IS
  'Part of weekly_maintenance(): asks for a VACUUM of each covered table, waits, and tells how each stands.';

CREATE FUNCTION capture_for_weekly() RETURNS text
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT pg_catalog.format('Snapshots: %s rows on indexes, %s on tables'::text, capture_index_usage_snapshot(),
                           capture_table_bloat_snapshot());
END;
COMMENT ON FUNCTION capture_for_weekly() IS 'Part of weekly_maintenance(): the snapshots.';

CREATE FUNCTION check_for_weekly() RETURNS text
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT pg_catalog.format('Findings: %s bloated tables, %s bloated, %s unused and %s invalid indexes'::text,
           check_table_bloat_alerts(), check_index_bloat_alerts(), check_unused_index_alerts(), check_invalid_index_alerts());
END;
COMMENT ON FUNCTION check_for_weekly() IS 'Part of weekly_maintenance(): the alerts.';

CREATE FUNCTION perform_weekly_maintenance(capture regprocedure, vacuum regprocedure, findings regprocedure)
RETURNS text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  -- Whoever has taken a snapshot keeps others from it, and the collector from our partitions, to the end of
  -- the transaction: before a wait that may take hours it would be in the way, and afterwards it shows what
  -- was won. Only where the time is limited it comes first, and what is left of that is for waiting.
  is_limited boolean := current_setting('statement_timeout') <> '0';
  captured text;
  vacuumed text;
  found text;
BEGIN
  IF is_limited THEN EXECUTE format('SELECT %s()', capture::oid::regproc) INTO captured; END IF;
  EXECUTE format('SELECT %s()', vacuum::oid::regproc) INTO vacuumed;
  IF NOT is_limited THEN EXECUTE format('SELECT %s()', capture::oid::regproc) INTO captured; END IF;
  EXECUTE format('SELECT %s()', findings::oid::regproc) INTO found;
  RETURN concat_ws(E'\n', vacuumed, captured, found);
END
$$;
COMMENT ON FUNCTION perform_weekly_maintenance(regprocedure, regprocedure, regprocedure) IS
  'Part of weekly_maintenance(): its steps, in the order that is best for others.';

CREATE FUNCTION weekly_maintenance() RETURNS text
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT require_primary('weekly_maintenance()'::text);
  SELECT require_preload('weekly_maintenance()'::text);
  SELECT coalesce(weekly_obstacle(running_weekly_maintenance(), 'maintenance_tables()'::regprocedure),
                  perform_weekly_maintenance('capture_for_weekly()'::regprocedure, 'vacuum_covered_tables()'::regprocedure,
                                             'check_for_weekly()'::regprocedure));
END;
COMMENT ON FUNCTION weekly_maintenance() IS
  'VACUUM ANALYZE of the covered tables that the current role may vacuum, in workers, as train_perf.maintenance_wait '
  'says; snapshots and findings; a line on each table and a total. Does nothing but say so while another one runs.';

-- pg_cron in place of the workers: weekly and monthly maintenance are its jobs from schedule_maintenance()
-- on. It shows each role its own jobs only, so that a caller also goes by cron_registrations.

CREATE FUNCTION cron_member(class oid, name text, arguments integer) RETURNS oid
LANGUAGE sql STABLE
BEGIN ATOMIC
  -- The extension's own; others may have put theirs beside them.
  SELECT d.objid
    FROM pg_catalog.pg_extension e
    JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_extension'::regclass::oid AND d.refobjid = e.oid
                               AND d.deptype = 'e'::"char" AND d.classid = cron_member.class
    LEFT JOIN pg_catalog.pg_class c ON c.oid = d.objid AND d.classid = 'pg_catalog.pg_class'::regclass::oid
    LEFT JOIN pg_catalog.pg_proc p ON p.oid = d.objid AND d.classid = 'pg_catalog.pg_proc'::regclass::oid
   WHERE e.extname = 'pg_cron'::name
     AND (c.relname::text = cron_member.name
          OR p.proname::text = cron_member.name AND p.pronargs::integer = cron_member.arguments
             AND (cron_member.arguments <> 1 OR p.proargtypes[0] = 'bigint'::regtype::oid))
   LIMIT 1;
END;
COMMENT ON FUNCTION cron_member(oid, text, integer) IS 'A table or function of pg_cron; NULL where it is not in this database.';

CREATE FUNCTION cron_database() RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER  -- few may see this setting
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN coalesce(current_setting('cron.database_name', true), '');
EXCEPTION WHEN insufficient_privilege THEN
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION cron_database() IS
  'The database of which pg_cron runs the jobs, empty if it is not loaded; NULL if our owner may not know.';

CREATE FUNCTION cron_timezone() RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- Before 1.5 it is no setting.
  RETURN coalesce(nullif(current_setting('cron.timezone', true), ''), 'GMT');
EXCEPTION WHEN insufficient_privilege THEN
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION cron_timezone() IS 'The time zone of pg_cron''s schedules; NULL if our owner may not know.';

CREATE FUNCTION cron_schedules_here() RETURNS boolean
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT cron_member('pg_catalog.pg_proc'::regclass::oid, 'schedule'::text, 3) IS NOT NULL
         AND coalesce(cron_database() = current_database()::text, true);
END;
COMMENT ON FUNCTION cron_schedules_here() IS 'Whether pg_cron is loaded, and runs the jobs of this database.';

CREATE FUNCTION require_cron(jobs oid, schedules boolean) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF jobs IS NULL OR NOT schedules THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = 'pg_cron is not in this database',
      HINT = format('Add it to shared_preload_libraries, set cron.database_name = %L, restart the server, and run '
                    'CREATE EXTENSION pg_cron here. Without it the workers of train_perf keep the schedule.', current_database());
  ELSIF NOT has_schema_privilege((SELECT relnamespace FROM pg_class WHERE oid = jobs), 'USAGE') THEN
    RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = 'permission denied to use pg_cron',
      HINT = format('GRANT USAGE ON SCHEMA %s TO %I;', (SELECT relnamespace::regnamespace FROM pg_class WHERE oid = jobs), current_user);
  END IF;
END
$$;
COMMENT ON FUNCTION require_cron(oid, boolean) IS '55000 where pg_cron runs no jobs of this database, 42501 who may not use it.';

CREATE FUNCTION cron_command(kind text, weekly regprocedure, monthly regprocedure) RETURNS text
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT pg_catalog.format(
           CASE cron_command.kind
             WHEN 'weekly'::text THEN 'SELECT %I.%I()'::text
             ELSE 'SELECT %I.%I() -- reindex_bloated_indexes() above train_perf.reindex_threshold'::text END,
           n.nspname, p.proname)
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
   WHERE p.oid = CASE cron_command.kind WHEN 'weekly'::text THEN cron_command.weekly::oid ELSE cron_command.monthly::oid END;
END;
COMMENT ON FUNCTION cron_command(text, regprocedure, regprocedure) IS 'Part of cron_plan().';

CREATE FUNCTION cron_plan(OUT name text, OUT jobname text, OUT schedule text, OUT command text)
RETURNS SETOF record
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT s.name, j.jobname,
         extract(minute FROM p.clock)::text || ' '::text || extract(hour FROM p.clock)::text || ' '::text
           || CASE s.name WHEN 'weekly'::text THEN '* * '::text || p.day::text ELSE p.day::text || ' * *'::text END,
         cron_command(s.name, 'weekly_maintenance()'::regprocedure, 'monthly_maintenance()'::regprocedure)
    FROM schedule_settings() s
    JOIN (VALUES ('weekly'::text, 'vacuum-analyze-weekly'::text), ('monthly'::text, 'reindex-bloated'::text)) AS j (name, jobname)
      ON j.name = s.name
   CROSS JOIN LATERAL parse_schedule(s.setting, s.name) p;
END;
COMMENT ON FUNCTION cron_plan() IS
  'The jobs that pg_cron gets, as train_perf.maintenance_weekly and _monthly say; the schedule is NULL for never.';

CREATE FUNCTION check_cron_plan() RETURNS void
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT check_schedule(s.setting, s.name) FROM schedule_settings() s WHERE s.name <> 'daily'::text;
  SELECT refuse_setting(pg_catalog.format('train_perf.maintenance_monthly: pg_cron would leave out months without a day %s'::text, p.day),
                        'Set it to a day up to 28, or let the workers keep the schedule.'::text)
    FROM schedule_settings() s CROSS JOIN LATERAL parse_schedule(s.setting, s.name) p
   WHERE s.name = 'monthly'::text AND p.day > 28;
END;
COMMENT ON FUNCTION check_cron_plan() IS 'Part of schedule_maintenance(): 22023 if a setting is wrong or beyond pg_cron.';

CREATE FUNCTION note_cron_timezone(cron_zone text, zone text) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF EXISTS (SELECT FROM unnest('{2024-01-01, 2024-07-01}'::timestamptz[]) AS t
              WHERE t AT TIME ZONE cron_zone <> t AT TIME ZONE zone) THEN
    RAISE NOTICE USING
      MESSAGE = format('pg_cron takes the times of its jobs for times of %s, not of %s', cron_zone, zone),
      HINT = 'Set cron.timezone (from pg_cron 1.5 on), or train_perf.timezone, so that they are the same.';
  END IF;
END
$$;
COMMENT ON FUNCTION note_cron_timezone(text, text) IS 'Part of schedule_maintenance().';

CREATE FUNCTION own_cron_job(jobs oid, jobname text, command text, OUT jobid bigint, OUT schedule text, OUT active boolean,
                             OUT is_foreign boolean)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  EXECUTE format('SELECT j.jobid, j.schedule, j.active, j.command <> $2 OR j.database <> current_database() FROM %s j '
                 'WHERE j.jobname::text = $1 AND j.username = current_user', jobs::regclass)
    INTO jobid, schedule, active, is_foreign USING jobname, command;
END
$$;
COMMENT ON FUNCTION own_cron_job(oid, text, text) IS
  'The job of that name in cron.job that the current role has; is_foreign: it is none of ours.';

CREATE FUNCTION other_cron_role(jobs oid, registrations regclass, kind text, job_name text, command text) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  username text;
  sees_all boolean := (SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user);
BEGIN
  EXECUTE format('SELECT min(j.username) FROM %s j WHERE j.jobname::text = $1 AND j.command = $2 AND j.active '
                 'AND j.database = current_database() AND j.username <> current_user', jobs::regclass)
    INTO username USING job_name, command;
  IF username IS NULL AND NOT sees_all THEN
    EXECUTE format('SELECT min(g.username) FROM %s g WHERE g.name = $1 AND g.username <> current_user', registrations)
      INTO username USING kind;
  END IF;
  RETURN username;
END
$$;
COMMENT ON FUNCTION other_cron_role(oid, regclass, text, text, text) IS
  'Another role for which pg_cron runs this job of ours; NULL: none.';

CREATE FUNCTION unschedule_cron_job(unscheduling oid, registrations regclass, kind text, jobid bigint) RETURNS integer
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  EXECUTE format('DELETE FROM %s g WHERE g.name = $1 AND g.username = current_user', registrations) USING kind;
  IF jobid IS NULL THEN RETURN 0; END IF;
  EXECUTE format('SELECT %s($1::bigint)', unscheduling::regproc) USING jobid;
  RETURN 1;
END
$$;
COMMENT ON FUNCTION unschedule_cron_job(oid, regclass, text, bigint) IS
  'Part of unschedule_maintenance(): one job of the current role, if there is one. Returns how many.';

CREATE FUNCTION note_cron_job(job_name text, state text) RETURNS integer
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RAISE NOTICE USING MESSAGE = format('pg_cron''s job %s %s', quote_literal(job_name), state);
  RETURN 0;
END
$$;
COMMENT ON FUNCTION note_cron_job(text, text) IS 'Part of schedule_maintenance() and unschedule_maintenance().';

CREATE FUNCTION schedule_cron_job(scheduling oid, registrations regclass, kind text, job_name text, at text, command text)
RETURNS integer
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- That of its name, schedule and command is replaced by it.
  EXECUTE format('SELECT %s($1, $2, $3)', scheduling::regproc) USING job_name, at, command;
  EXECUTE format('INSERT INTO %s (name) VALUES ($1) ON CONFLICT DO NOTHING', registrations) USING kind;
  RETURN 1;
END
$$;
COMMENT ON FUNCTION schedule_cron_job(oid, regclass, text, text, text, text) IS
  'Part of schedule_maintenance(): one job of the current role. Returns 1.';

CREATE FUNCTION schedule_maintenance() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT require_primary('schedule_maintenance()'::text);
  SELECT require_cron(cron_member('pg_catalog.pg_class'::regclass::oid, 'job'::text, NULL::integer), cron_schedules_here());
  SELECT check_cron_plan();
  SELECT note_cron_timezone(cron_timezone(), schedule_zone());
  WITH cron AS MATERIALIZED (
    SELECT cron_member('pg_catalog.pg_class'::regclass::oid, 'job'::text, NULL::integer) AS jobs,
           cron_member('pg_catalog.pg_proc'::regclass::oid, 'schedule'::text, 3) AS scheduling,
           cron_member('pg_catalog.pg_proc'::regclass::oid, 'unschedule'::text, 1) AS unscheduling
  ), job AS MATERIALIZED (
    SELECT c.scheduling, c.unscheduling, p.name, p.jobname, p.schedule, p.command, o.jobid, o.active,
           coalesce(o.is_foreign, false) AS is_foreign,
           other_cron_role(c.jobs, 'cron_registrations'::regclass, p.name, p.jobname, p.command) AS other
      FROM cron c CROSS JOIN cron_plan() p CROSS JOIN LATERAL own_cron_job(c.jobs, p.jobname, p.command) o
  )
  SELECT coalesce(sum(
           CASE WHEN j.is_foreign THEN note_cron_job(j.jobname, 'runs another command: it is left alone'::text)
                WHEN j.schedule IS NULL
                THEN 0 * unschedule_cron_job(j.unscheduling, 'cron_registrations'::regclass, j.name, j.jobid)
                     + note_cron_job(j.jobname, pg_catalog.format('is not scheduled: train_perf.maintenance_%s is empty'::text, j.name))
                WHEN j.other IS NOT NULL AND j.jobid IS NULL
                THEN 1 + note_cron_job(j.jobname, pg_catalog.format('is already scheduled by role %I'::text, j.other))
                -- One that was switched off is made anew: not everybody may switch it on.
                ELSE CASE WHEN NOT j.active
                          THEN 0 * unschedule_cron_job(j.unscheduling, 'cron_registrations'::regclass, j.name, j.jobid) ELSE 0 END
                     + schedule_cron_job(j.scheduling, 'cron_registrations'::regclass, j.name, j.jobname, j.schedule, j.command)
                END), 0::bigint)::integer
    FROM job j;
END;
COMMENT ON FUNCTION schedule_maintenance() IS
  'Hands weekly and monthly maintenance over to pg_cron, as jobs vacuum-analyze-weekly and reindex-bloated of the current '
  'role, at the times of train_perf.maintenance_weekly and _monthly; the workers leave them alone from then on. Can be '
  'repeated. Returns how many of the two are scheduled. 55000 where pg_cron does not run jobs of this database.';

CREATE FUNCTION unschedule_maintenance() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT require_primary('unschedule_maintenance()'::text);
  SELECT require_cron(cron_member('pg_catalog.pg_class'::regclass::oid, 'job'::text, NULL::integer), cron_schedules_here());
  WITH cron AS MATERIALIZED (
    SELECT cron_member('pg_catalog.pg_class'::regclass::oid, 'job'::text, NULL::integer) AS jobs,
           cron_member('pg_catalog.pg_proc'::regclass::oid, 'unschedule'::text, 1) AS unscheduling
  ), job AS MATERIALIZED (
    SELECT c.unscheduling, p.name, p.jobname, o.jobid, coalesce(o.is_foreign, false) AS is_foreign,
           other_cron_role(c.jobs, 'cron_registrations'::regclass, p.name, p.jobname, p.command) AS other
      FROM cron c CROSS JOIN cron_plan() p CROSS JOIN LATERAL own_cron_job(c.jobs, p.jobname, p.command) o
  )
  SELECT coalesce(sum(
           unschedule_cron_job(j.unscheduling, 'cron_registrations'::regclass, j.name, CASE WHEN NOT j.is_foreign THEN j.jobid END)
           + CASE WHEN j.is_foreign THEN note_cron_job(j.jobname, 'runs another command: it is left alone'::text) ELSE 0 END
           + CASE WHEN j.other IS NOT NULL
                  THEN note_cron_job(j.jobname, pg_catalog.format('of role %I is left alone'::text, j.other)) ELSE 0 END), 0::bigint)::integer
    FROM job j;
END;
COMMENT ON FUNCTION unschedule_maintenance() IS
  'Takes back schedule_maintenance() of the current role; the workers keep the schedule again. Jobs of the same names that '
  'run another command, or belong to another role, stay. Returns how many were removed.';

CREATE FUNCTION compare_with_cron(registrations regclass, plan regprocedure, weekly regprocedure, jobs oid, schedules boolean)
RETURNS integer
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  sees_all boolean := (SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user);
  actual text := 'SELECT NULL::text AS name, NULL::text AS username WHERE false';
  lost record;
BEGIN
  IF schedules THEN
    IF NOT sees_all THEN RETURN 0; END IF;
    -- Whoever may use pg_cron, but not us, must not take maintenance away with a job that cannot do it.
    actual := format('SELECT DISTINCT p.name, j.username FROM %s() p JOIN %s j ON j.jobname::text = p.jobname AND j.command = p.command '
                     'JOIN pg_roles r ON r.rolname = j.username AND has_function_privilege(r.oid, %s::oid, ''EXECUTE'') '
                     'WHERE j.active AND j.database = current_database()', plan::oid::regproc, jobs::regclass, weekly::oid);
  END IF;
  FOR lost IN EXECUTE format('DELETE FROM %s g WHERE NOT EXISTS (SELECT FROM (%s) a WHERE a.name = g.name AND a.username = g.username) '
                             'RETURNING g.name, g.username', registrations, actual)
  LOOP
    RAISE WARNING USING MESSAGE = format('pg_cron does not run %s maintenance for role %I any more', lost.name, lost.username),
      DETAIL = 'Its job is gone, changed or inactive; the workers keep what no other job of pg_cron does.';
  END LOOP;
  EXECUTE format('INSERT INTO %s (name, username) %s ON CONFLICT DO NOTHING', registrations, actual);
  RETURN 0;
END
$$;
COMMENT ON FUNCTION compare_with_cron(regclass, regprocedure, regprocedure, oid, boolean) IS
  'Makes cron_registrations tell what pg_cron really runs, as far as the current role sees it: jobs that were removed, '
  'changed or switched off behind our back fall to the workers again, restored ones to pg_cron. A role that sees its own '
  'only believes the registrations, as long as pg_cron runs jobs of this database.';

CREATE FUNCTION look_at_cron() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT compare_with_cron('cron_registrations'::regclass, 'cron_plan()'::regprocedure, 'weekly_maintenance()'::regprocedure,
                           cron_member('pg_catalog.pg_class'::regclass::oid, 'job'::text, NULL::integer), cron_schedules_here());
END;
COMMENT ON FUNCTION look_at_cron() IS 'compare_with_cron() for this database.';

-- The collector's look at the schedule.

CREATE FUNCTION note_schedule_settings() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  -- What a setting means counts from when it is first seen. So does the clock, if it was set back far.
  WITH noted AS (
    INSERT INTO maintenance_runs AS r (name, setting, timezone, settled_until, error)
    SELECT s.name, s.setting, s.timezone, clock_timestamp(), s.problem
      FROM (SELECT * FROM schedule_settings() UNION ALL SELECT * FROM window_setting()) s
      LEFT JOIN maintenance_runs k ON k.name = s.name
     WHERE k.name IS NULL OR (k.setting, k.timezone) IS DISTINCT FROM (s.setting, s.timezone)
        OR k.settled_until > clock_timestamp() + interval '6 hours'
    ON CONFLICT (name) DO UPDATE
       SET setting = excluded.setting, timezone = excluded.timezone, settled_until = excluded.settled_until, error = excluded.error
    RETURNING r.error
  )
  SELECT pg_catalog.count(CASE WHEN n.error IS NOT NULL THEN warn_maintenance(n.error) END)::integer FROM noted n;
END;
COMMENT ON FUNCTION note_schedule_settings() IS
  'Notes new settings in maintenance_runs; wrong ones go to the log, once. Returns how many of those.';

CREATE FUNCTION due_maintenance(at timestamptz, OUT name text, OUT due_at timestamptz, OUT is_kept boolean, OUT is_missed boolean)
RETURNS SETOF record
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT r.name, d.due_at,
         EXISTS (SELECT FROM cron_registrations g WHERE g.name = r.name),
         d.due_at <= due_maintenance.at - interval '6 hours'
    FROM maintenance_runs r
    JOIN schedule_settings() s ON s.name = r.name AND s.problem IS NULL
   CROSS JOIN LATERAL (SELECT max(i.instant) AS due_at
                         FROM schedule_instants(s.setting, s.name, s.timezone, due_maintenance.at) AS i (instant)
                        WHERE i.instant <= due_maintenance.at) d
   WHERE d.due_at > r.settled_until
     FOR UPDATE OF r;
END;
COMMENT ON FUNCTION due_maintenance(timestamptz) IS
  'What has become due since the last look: kept by pg_cron, missed by more than six hours, or to be run.';

CREATE FUNCTION run_due_schedule() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT prune_maintenance_jobs();
  SELECT warn_maintenance(t.problem)
    FROM (VALUES ('refresh_retention_rules()'::regprocedure), ('look_at_cron()'::regprocedure)) AS c (work)
   CROSS JOIN LATERAL try_maintenance(c.work) t
   WHERE t.problem IS NOT NULL;
  SELECT note_schedule_settings();
  -- The jobs, and that they were queued, are written together.
  WITH due AS MATERIALIZED (
    SELECT d.*, clock_timestamp() AS now FROM due_maintenance(clock_timestamp()) d
  ), run AS MATERIALIZED (
    SELECT d.name, t.result, t.problem
      FROM due d
      JOIN (VALUES ('weekly'::text, 'queue_weekly_maintenance()'::regprocedure),
                   ('monthly'::text, 'queue_monthly_maintenance()'::regprocedure),
                   ('daily'::text, 'run_daily_maintenance()'::regprocedure)) AS w (name, work) ON w.name = d.name
     CROSS JOIN LATERAL try_maintenance(w.work) t
     WHERE NOT d.is_kept AND NOT d.is_missed
  ), told AS MATERIALIZED (
    SELECT r.name, warn_maintenance(r.problem)
      FROM run r JOIN maintenance_runs m ON m.name = r.name
     WHERE r.problem IS NOT NULL AND m.error IS DISTINCT FROM r.problem
  ), settled AS (
    -- After a failure it is still due.
    UPDATE maintenance_runs m
       SET settled_until = CASE WHEN r.problem IS NULL THEN d.due_at ELSE m.settled_until END,
           last_run_at = CASE WHEN r.name IS NOT NULL AND r.problem IS NULL THEN d.now ELSE m.last_run_at END,
           error = r.problem
      FROM due d LEFT JOIN run r ON r.name = d.name
     WHERE m.name = d.name
  )
  SELECT (coalesce(sum(r.result), 0::bigint) + 0::bigint * (SELECT count(*) FROM told))::integer FROM run r;
END;
COMMENT ON FUNCTION run_due_schedule() IS
  'Queues what the schedule says is due, once for each time; what was missed by more than six hours is left out. Also '
  'prunes maintenance_jobs. Returns how many jobs it queued. The collector''s work, about each minute.';

-- The work on maintenance_jobs: by the collector, which takes requests, and by workers, which take one
-- job each.

-- VACUUM and ANALYZE.

CREATE FUNCTION table_bytes(relation oid) RETURNS bigint
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  -- pg_partition_tree would wait for locks on the partitions.
  WITH RECURSIVE part (relid) AS (
    SELECT table_bytes.relation
    UNION
    SELECT i.inhrelid
      FROM part p JOIN pg_catalog.pg_inherits i ON i.inhparent = p.relid
      JOIN pg_catalog.pg_class c ON c.oid = p.relid AND c.relkind = 'p'::"char"
  )
  SELECT sum(coalesce(relation_bytes(p.relid), 0::bigint)
             + coalesce(relation_bytes(nullif(c.reltoastrelid, 0::oid)), 0::bigint))::bigint
    FROM part p JOIN pg_catalog.pg_class c ON c.oid = p.relid AND c.relkind IN ('r'::"char", 'm'::"char", 't'::"char");
END;
COMMENT ON FUNCTION table_bytes(oid) IS
  'The size of a table with its TOAST and its partitions, without indexes; NULL if it is gone.';

CREATE FUNCTION plan_statistics_job(job maintenance_jobs, statement text,
                                    OUT skip text, OUT obstacle text, OUT obstacle_sqlstate text,
                                    OUT commands text[], OUT repeat boolean, OUT bytes_before bigint,
                                    OUT bloat_before numeric)
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT CASE WHEN t.target IS NULL THEN 'The table is gone.'::text END,
         CASE WHEN NOT t.may THEN pg_catalog.format('%s may not maintain %s any more'::text, (job).requested_by, t.target) END,
         CASE WHEN NOT t.may THEN '42501'::text END,
         CASE WHEN t.target IS NOT NULL AND t.may THEN ARRAY[plan_statistics_job.statement || ' '::text || t.target] END,
         false, table_bytes((job).relid), NULL::numeric
    FROM (SELECT maintenance_target((job).relid) AS target,
                 coalesce(role_may_maintain((job).role, (job).relid, (job).kind), false) AS may) AS t;
END;
COMMENT ON FUNCTION plan_statistics_job(maintenance_jobs, text) IS
  'What a worker does for a VACUUM or ANALYZE job; see plan_maintenance_job().';

CREATE FUNCTION vacuum_horizon() RETURNS text
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT h.holder
    FROM (SELECT greatest(age(a.backend_xid), age(a.backend_xmin)) AS age,
                 -- Other snapshots are as old as the oldest transaction at the time they were taken.
                 coalesce(age(a.backend_xid) < age(a.backend_xmin), a.backend_xid IS NULL) AS is_derived, a.xact_start AS since,
                 pg_catalog.format('pid %s (%s, transaction since %s)'::text, a.pid, coalesce(a.state, a.backend_type), a.xact_start) AS holder
            FROM pg_catalog.pg_stat_activity a
           WHERE a.pid <> pg_backend_pid() AND a.backend_type <> 'autovacuum worker'::text
             AND (a.datid IS NULL OR a.datid = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = current_database()))
             AND (a.backend_xid IS NOT NULL OR a.backend_xmin IS NOT NULL)
          UNION ALL
          SELECT age(p.transaction), false, p.prepared,
                 pg_catalog.format('prepared transaction %L since %s'::text, p.gid, p.prepared)
            FROM pg_catalog.pg_prepared_xacts p WHERE p.database = current_database()
          UNION ALL
          SELECT greatest(age(s.xmin), age(s.catalog_xmin)), true, NULL::timestamptz,
                 pg_catalog.format('replication slot %I'::text, s.slot_name)
            FROM pg_catalog.pg_replication_slots s
           WHERE s.xmin IS NOT NULL OR s.catalog_xmin IS NOT NULL) AS h
   ORDER BY h.age DESC, h.is_derived, h.since
   LIMIT 1;
END;
COMMENT ON FUNCTION vacuum_horizon() IS
  'Who has the oldest snapshot that keeps dead rows of this database from being removed; NULL: nobody.';

CREATE FUNCTION describe_vacuum(command text, pages bigint, pages_removed bigint, rows_removed bigint,
                                rows_kept bigint, duration_ms bigint)
RETURNS text
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT pg_catalog.format('%s: %s dead rows removed, %s pages%s, %s ms%s'::text,
           regexp_replace(describe_vacuum.command, E'VERBOSE, |\\(VERBOSE\\) '::text, ''::text),
           coalesce(describe_vacuum.rows_removed, 0::bigint), describe_vacuum.pages,
           CASE WHEN describe_vacuum.pages_removed > 0::bigint
                THEN pg_catalog.format(' (%s given back)'::text, describe_vacuum.pages_removed) ELSE ''::text END,
           describe_vacuum.duration_ms,
           CASE WHEN describe_vacuum.rows_kept > 0::bigint
                THEN pg_catalog.format('; %s dead rows could not be removed: they are kept for %s'::text, describe_vacuum.rows_kept,
                            coalesce(vacuum_horizon(), 'a snapshot that has just ended: try again'::text))
                ELSE ''::text END);
END;
COMMENT ON FUNCTION describe_vacuum(text, bigint, bigint, bigint, bigint, bigint) IS
  'What VACUUM did, and who keeps it from doing more.';

-- The worker: takes a job, plans it, and writes its end.

CREATE FUNCTION tables_at_work() RETURNS SETOF oid
LANGUAGE sql STABLE
BEGIN ATOMIC
  WITH RECURSIVE held AS MATERIALIZED (
    SELECT coalesce(i.indrelid, j.relid) AS relid
      FROM maintenance_jobs j LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = j.relid
     WHERE j.status = 'running'::text AND j.finished_at IS NULL
  ), main AS MATERIALIZED (
    SELECT h.relid FROM held h
    UNION
    SELECT c.oid FROM pg_catalog.pg_class c WHERE c.reltoastrelid IN (SELECT h.relid FROM held h)
  ), above (relid) AS (
    SELECT m.relid FROM main m
    UNION
    SELECT i.inhparent
      FROM above a JOIN pg_catalog.pg_inherits i ON i.inhrelid = a.relid
      JOIN pg_catalog.pg_class c ON c.oid = i.inhparent AND c.relkind = 'p'::"char"
  ), below (relid) AS (
    SELECT m.relid FROM main m
    UNION
    SELECT i.inhrelid
      FROM below b JOIN pg_catalog.pg_inherits i ON i.inhparent = b.relid
      JOIN pg_catalog.pg_class c ON c.oid = b.relid AND c.relkind = 'p'::"char"
  ), kin AS MATERIALIZED (
    SELECT a.relid FROM above a UNION SELECT b.relid FROM below b
  )
  SELECT k.relid FROM kin k
  UNION
  SELECT c.reltoastrelid FROM kin k JOIN pg_catalog.pg_class c ON c.oid = k.relid AND c.reltoastrelid <> 0::oid;
END;
COMMENT ON FUNCTION tables_at_work() IS
  'The tables of the jobs that are running, and those of which a job would wait for them: a table and its TOAST '
  'table, and the partitioned tables above and the partitions below.';

CREATE FUNCTION claim_maintenance_job(OUT job_id bigint, OUT role oid, OUT attempt integer)
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  WITH at_work AS MATERIALIZED (
    SELECT t.relid FROM tables_at_work() AS t (relid)
  ), maintenance_window AS MATERIALIZED (
    SELECT next_window_start(clock_timestamp()) <= clock_timestamp() AS is_open
  ), next AS MATERIALIZED (
    SELECT j.job_id
      FROM maintenance_jobs j
     CROSS JOIN maintenance_window w
      LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = j.relid
     WHERE j.status = 'queued'::text AND j.not_before <= clock_timestamp()
       AND (NOT j.in_window OR w.is_open)
       AND NOT EXISTS (SELECT FROM at_work a WHERE a.relid = coalesce(i.indrelid, j.relid))
     -- Somebody may wait for those that nobody put off.
     ORDER BY j.in_window, j.kind = 'reindex'::text, j.job_id
     LIMIT 1
       FOR UPDATE OF j SKIP LOCKED
  )
  UPDATE maintenance_jobs j
     SET status = 'running', attempts = j.attempts + 1, started_at = clock_timestamp(), waiting_for = NULL,
         error_message = NULL, sqlstate = NULL
    FROM next n WHERE j.job_id = n.job_id
  RETURNING j.job_id, acting_role(j.kind, j.relid, j.role), j.attempts;
END;
COMMENT ON FUNCTION claim_maintenance_job() IS
  'Takes the next job that is due, never two that would wait for each other; no row: there is none. For a worker.';

CREATE FUNCTION next_maintenance_due() RETURNS timestamptz
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  -- The later a job may start, the later the window that it waits for.
  WITH earliest AS MATERIALIZED (
    SELECT min(j.not_before) FILTER (WHERE NOT j.in_window) AS at_once,
           min(j.not_before) FILTER (WHERE j.in_window) AS in_window
      FROM maintenance_jobs j
     WHERE j.status = 'queued'::text AND j.finished_at IS NULL
  )
  SELECT least(e.at_once, CASE WHEN e.in_window IS NOT NULL
                               THEN next_window_start(greatest(e.in_window, clock_timestamp())) END)
    FROM earliest e;
END;
COMMENT ON FUNCTION next_maintenance_due() IS 'When the next job may start; NULL: none is queued.';

CREATE FUNCTION plan_maintenance_job(job_id bigint, OUT skip text, OUT obstacle text, OUT obstacle_sqlstate text,
                                     OUT commands text[], OUT repeat boolean)
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  WITH job AS MATERIALIZED (
    SELECT j AS row, j.kind, EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.oid = j.role) AS has_role, j.requested_by
      FROM maintenance_jobs j WHERE j.job_id = plan_maintenance_job.job_id
  ), plan AS MATERIALIZED (
    SELECT p.* FROM job CROSS JOIN LATERAL plan_statistics_job(job.row, 'VACUUM (VERBOSE, ANALYZE)'::text) p
     WHERE job.kind = 'vacuum_analyze'::text AND job.has_role
    UNION ALL
    SELECT p.* FROM job CROSS JOIN LATERAL plan_statistics_job(job.row, 'ANALYZE'::text) p
     WHERE job.kind = 'analyze'::text AND job.has_role
    UNION ALL
    SELECT p.* FROM job CROSS JOIN LATERAL plan_reindex(job.row) p WHERE job.kind = 'reindex'::text AND job.has_role
    UNION ALL
    SELECT p.* FROM job CROSS JOIN LATERAL plan_drop_index(job.row) p WHERE job.kind = 'drop_index'::text AND job.has_role
    UNION ALL
    SELECT p.* FROM job CROSS JOIN LATERAL plan_retention(job.row) p WHERE job.kind = 'retention'::text AND job.has_role
    UNION ALL
    SELECT NULL::text, pg_catalog.format('role %s does not exist any more'::text, job.requested_by), '42704'::text, NULL::text[],
           NULL::boolean, NULL::bigint, NULL::numeric
      FROM job WHERE NOT job.has_role
  ), noted AS (
    UPDATE maintenance_jobs j
       SET command = array_to_string(p.commands, E';\n'::text), bytes_before = coalesce(p.bytes_before, j.bytes_before),
           bloat_before = coalesce(p.bloat_before, j.bloat_before),
           -- The new index will be found by the name that the old one has now.
           target = coalesce(CASE WHEN j.kind = 'reindex'::text THEN maintenance_target(index_of_job(j)) END, j.target)
      FROM plan p WHERE j.job_id = plan_maintenance_job.job_id
  )
  SELECT p.skip, p.obstacle, p.obstacle_sqlstate, p.commands, p.repeat FROM plan p;
END;
COMMENT ON FUNCTION plan_maintenance_job(bigint) IS
  'What a worker runs for a job, statement by statement (the last one again and again, until it finds no more rows, '
  'if repeat); or that there is nothing to be done (skip); or what is in the way of this attempt.';

CREATE FUNCTION retry_delay(kind text, attempts integer) RETURNS interval
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT least(coalesce(nullif(current_setting('train_perf.maintenance_retry_delay'::text, true), ''::text), '10s'::text)::interval
                 * power(2::double precision, least(retry_delay.attempts - 1, 20)::double precision),
               CASE WHEN retry_delay.kind = 'drop_index'::text THEN '00:05:00'::interval ELSE '01:00:00'::interval END);
END;
COMMENT ON FUNCTION retry_delay(text, integer) IS
  'The pause after that many attempts: doubled each time, an hour at most; five minutes for leftover indexes.';

CREATE FUNCTION is_worth_retrying(kind text, attempts integer, sqlstate text) RETURNS boolean
LANGUAGE sql STABLE
BEGIN ATOMIC
  -- Errors of class 42 and 0A will be the same next time. A leftover is dropped whenever that is possible.
  SELECT left(is_worth_retrying.sqlstate, 2) NOT IN ('42'::text, '0A'::text)
         AND (is_worth_retrying.kind = 'drop_index'::text OR is_worth_retrying.attempts <
              coalesce(nullif(current_setting('train_perf.maintenance_max_attempts'::text, true), ''::text), '5'::text)::integer);
END;
COMMENT ON FUNCTION is_worth_retrying(text, integer, text) IS
  'Whether a job is tried again after a failure with that SQLSTATE.';

CREATE FUNCTION note_job_alert(job_id bigint) RETURNS bigint
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  WITH job AS MATERIALIZED (
    SELECT j.*, 'maintenance_failed:'::text || j.kind || ':'::text || j.target AS fingerprint
      FROM maintenance_jobs j WHERE j.job_id = note_job_alert.job_id
  ), raised AS MATERIALIZED (
    SELECT create_performance_alert('maintenance_failed'::text, 'warning'::text,
             pg_catalog.format('Maintenance of %s (%s) failed after %s attempts: %s'::text, job.target, job.kind, job.attempts, job.error_message),
             pg_catalog.jsonb_build_object(
               'fingerprint'::text, job.fingerprint, 'job_id'::text, job.job_id, 'kind'::text, job.kind, 'target'::text, job.target,
               'command'::text, job.command, 'sqlstate'::text, job.sqlstate, 'waiting_for'::text, job.waiting_for)) AS id
      FROM job WHERE job.status = 'failed'::text
  ), resolved AS MATERIALIZED (
    SELECT resolve_performance_alert(a.id, pg_catalog.format('Job %s: %s'::text, job.job_id, job.summary)) AS done
      FROM job JOIN performance_alerts a ON a.fingerprint = job.fingerprint AND a.resolved_at IS NULL
     WHERE job.status IN ('succeeded'::text, 'skipped'::text)
  )
  SELECT (SELECT count(r.id) FROM raised r) + (SELECT count(r.done) FROM resolved r);
END;
COMMENT ON FUNCTION note_job_alert(bigint) IS
  'Raises the maintenance_failed alert of a job that has failed for good; resolves it when one of the same kind on '
  'the same target has succeeded or found nothing to do.';

CREATE FUNCTION try_note_job_alert(note regprocedure, job_id bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  changed bigint;
BEGIN
  EXECUTE format('SELECT %s($1)', note::oid::regproc) INTO changed USING job_id;
  RETURN changed;
EXCEPTION WHEN OTHERS THEN
  RAISE WARNING USING MESSAGE = format('no alert for maintenance job %s: %s', job_id, SQLERRM);
  RETURN 0;
END
$$;
COMMENT ON FUNCTION try_note_job_alert(regprocedure, bigint) IS
  'Calls note_job_alert; its failure does not keep the end of a job from being written.';

CREATE FUNCTION finish_maintenance_job(job_id bigint, outcome text, sqlstate text, message text, waiting_for text,
                                       duration_ms bigint, pages bigint, pages_removed bigint, rows_removed bigint,
                                       rows_kept bigint, warnings text)
RETURNS bigint
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  UPDATE maintenance_jobs j
     SET duration_ms = finish_maintenance_job.duration_ms,
         rows_removed = CASE WHEN finish_maintenance_job.rows_removed IS NOT NULL
                             THEN coalesce(j.rows_removed, 0::bigint) + finish_maintenance_job.rows_removed ELSE j.rows_removed END,
         error_message = finish_maintenance_job.message, sqlstate = finish_maintenance_job.sqlstate,
         waiting_for = finish_maintenance_job.waiting_for
   WHERE j.job_id = finish_maintenance_job.job_id;
  WITH job AS MATERIALIZED (
    SELECT j AS row, j.* FROM maintenance_jobs j WHERE j.job_id = finish_maintenance_job.job_id AND j.status = 'running'::text
  ), conclusion AS MATERIALIZED (
    SELECT table_bytes(job.relid) AS bytes_after, NULL::numeric AS bloat_after,
           CASE WHEN finish_maintenance_job.outcome <> 'succeeded'::text THEN NULL::text
                WHEN job.kind = 'analyze'::text
                THEN pg_catalog.format('%s: %s ms'::text, job.command, finish_maintenance_job.duration_ms)
                ELSE describe_vacuum(job.command, finish_maintenance_job.pages, finish_maintenance_job.pages_removed,
                       finish_maintenance_job.rows_removed, finish_maintenance_job.rows_kept, finish_maintenance_job.duration_ms) END AS summary
      FROM job WHERE job.kind IN ('vacuum_analyze'::text, 'analyze'::text)
    UNION ALL
    SELECT c.* FROM job CROSS JOIN LATERAL conclude_reindex(job.row, finish_maintenance_job.outcome = 'succeeded'::text) c
     WHERE job.kind = 'reindex'::text AND finish_maintenance_job.outcome <> 'skipped'::text
    UNION ALL
    SELECT c.* FROM job CROSS JOIN LATERAL conclude_drop_index(job.row, finish_maintenance_job.outcome = 'succeeded'::text) c
     WHERE job.kind = 'drop_index'::text AND finish_maintenance_job.outcome <> 'skipped'::text
    UNION ALL
    SELECT c.bytes_after, c.bloat_after, c.summary
      FROM job CROSS JOIN LATERAL conclude_retention(job.row, finish_maintenance_job.outcome = 'succeeded'::text) c
     WHERE job.kind = 'retention'::text AND finish_maintenance_job.outcome <> 'skipped'::text
  ), ending AS MATERIALIZED (
    SELECT CASE WHEN finish_maintenance_job.outcome <> 'failed'::text THEN finish_maintenance_job.outcome
                WHEN is_worth_retrying(job.kind, job.attempts, finish_maintenance_job.sqlstate) THEN 'queued'::text
                -- Dropped since the statement was planned.
                WHEN finish_maintenance_job.sqlstate = CASE WHEN job.kind = 'drop_index'::text THEN '42704'::text ELSE '42P01'::text END
                     AND NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = job.relid) THEN 'skipped'::text
                ELSE 'failed'::text END AS status, job.kind, job.attempts
      FROM job
  )
  UPDATE maintenance_jobs j
     SET status = e.status,
         finished_at = CASE WHEN e.status <> 'queued'::text THEN clock_timestamp() END,
         not_before = CASE WHEN e.status = 'queued'::text THEN clock_timestamp() + retry_delay(e.kind, e.attempts)
                           ELSE j.not_before END,
         bytes_after = CASE WHEN finish_maintenance_job.outcome <> 'skipped'::text THEN c.bytes_after END,
         bloat_after = c.bloat_after,
         -- Of what is skipped the message is the summary.
         error_message = CASE WHEN e.status <> 'skipped'::text THEN j.error_message END,
         sqlstate = CASE WHEN e.status <> 'skipped'::text THEN j.sqlstate END,
         summary = CASE WHEN e.status = 'skipped'::text THEN finish_maintenance_job.message
                        ELSE nullif(pg_catalog.concat_ws('; '::text, c.summary, nullif(finish_maintenance_job.warnings, ''::text)), ''::text) END
    FROM ending e LEFT JOIN conclusion c ON true
   WHERE j.job_id = finish_maintenance_job.job_id;
  SELECT try_note_job_alert('note_job_alert(bigint)'::regprocedure, finish_maintenance_job.job_id);
END;
COMMENT ON FUNCTION finish_maintenance_job(bigint, text, text, text, text, bigint, bigint, bigint, bigint, bigint, text) IS
  'Writes how an attempt ended (succeeded, failed, skipped, cancelled): the job''s end, or when it is tried again. '
  'For a worker.';

-- The collector.

CREATE FUNCTION maintenance_requests(OUT request bigint, OUT action text, OUT kind text, OUT relid oid, OUT role oid,
                                     OUT threshold numeric, OUT bloat_ratio numeric, OUT job_id bigint, OUT reason text)
RETURNS SETOF record
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'tp_maintenance_requests';
COMMENT ON FUNCTION maintenance_requests() IS 'Requests of sessions, in shared memory, that wait to be written.';

CREATE FUNCTION answer_maintenance_request(request bigint, answer bigint) RETURNS boolean
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'tp_answer_maintenance_request';
COMMENT ON FUNCTION answer_maintenance_request(bigint, bigint) IS 'The answer to a request, given after the commit.';

CREATE FUNCTION note_maintenance_due(at timestamptz) RETURNS boolean
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'tp_note_maintenance_due';
COMMENT ON FUNCTION note_maintenance_due(timestamptz) IS
  'Lets the launcher start a worker at that time, but not before the commit; NULL: none is needed.';

CREATE FUNCTION cancel_maintenance_worker(job_id bigint) RETURNS boolean
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'tp_cancel_maintenance_worker';
COMMENT ON FUNCTION cancel_maintenance_worker(bigint) IS 'Cancels the command of the worker that is at work on a job; false: none is.';

CREATE FUNCTION cancel_job(job_id bigint, asker oid) RETURNS bigint
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  WITH job AS MATERIALIZED (
    SELECT j.job_id, j.status,
           pg_has_role(cancel_job.asker, j.role, 'MEMBER'::text)
           OR EXISTS (SELECT FROM pg_catalog.pg_extension e
                       WHERE e.extname = 'train_perf'::name AND pg_has_role(cancel_job.asker, e.extowner, 'MEMBER'::text))
           OR EXISTS (SELECT FROM pg_catalog.pg_database d
                       WHERE d.datname = current_database() AND pg_has_role(cancel_job.asker, d.datdba, 'MEMBER'::text)) AS may
      FROM maintenance_jobs j WHERE j.job_id = cancel_job.job_id
  ), cancelled AS (
    UPDATE maintenance_jobs j
       SET status = 'cancelled', finished_at = clock_timestamp(), sqlstate = '57014',
           error_message = pg_catalog.format('cancelled by %s'::text, pg_get_userbyid(cancel_job.asker))
      FROM job WHERE j.job_id = job.job_id AND job.may
       AND (j.status = 'queued'::text OR j.status = 'running'::text AND NOT is_maintenance_running(j.job_id))
    RETURNING 1
  ), signalled AS MATERIALIZED (
    -- A worker may have taken it just now.
    SELECT cancel_maintenance_worker(job.job_id) AS done FROM job
     WHERE job.may AND job.status IN ('queued'::text, 'running'::text) AND NOT EXISTS (SELECT FROM cancelled)
  ), noted AS (
    -- What recover_maintenance_jobs() goes by, should the worker be killed before it writes the end.
    UPDATE maintenance_jobs j
       SET sqlstate = '57014', error_message = pg_catalog.format('cancelled by %s'::text, pg_get_userbyid(cancel_job.asker))
      FROM job CROSS JOIN signalled s WHERE s.done AND j.job_id = job.job_id AND j.status IN ('queued'::text, 'running'::text)
  )
  SELECT CASE WHEN NOT EXISTS (SELECT FROM job) THEN -1::bigint
              WHEN NOT (SELECT job.may FROM job) THEN -2::bigint
              WHEN EXISTS (SELECT FROM cancelled) OR coalesce((SELECT s.done FROM signalled s), false) THEN 1::bigint
              ELSE 0::bigint END;
END;
COMMENT ON FUNCTION cancel_job(bigint, oid) IS
  'Cancels a job for somebody: 1; 0 if it has ended, -1 if there is none, -2 if they may not.';

CREATE FUNCTION take_maintenance_requests() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  WITH asked AS MATERIALIZED (
    SELECT r.*, coalesce(nullif(r.role, 0::oid), c.relowner) AS for_role
      FROM maintenance_requests() r LEFT JOIN pg_catalog.pg_class c ON c.oid = r.relid
  ), unfinished AS MATERIALIZED (
    SELECT count(*) AS jobs FROM maintenance_jobs j WHERE j.status IN ('queued'::text, 'running'::text)
  ), answered AS MATERIALIZED (
    SELECT answer_maintenance_request(a.request,
             CASE WHEN a.action = 'cancel'::text THEN cancel_job(a.job_id, a.role)
                  WHEN a.for_role IS NULL THEN NULL::bigint  -- nobody waits, and the table is gone
                  WHEN u.jobs >= 10000::bigint
                       OR (SELECT count(*) FROM maintenance_jobs j
                            WHERE j.status IN ('queued'::text, 'running'::text) AND j.role = a.for_role) >= 5000::bigint
                  THEN -3::bigint
                  ELSE insert_job(nextval('maintenance_jobs_job_id_seq'::regclass), a.kind, a.relid, a.for_role, a.reason,
                                  a.threshold, a.bloat_ratio, a.kind = 'reindex'::text) END) AS given
      FROM asked a CROSS JOIN unfinished u
  ), due AS MATERIALIZED (
    SELECT note_maintenance_due(clock_timestamp()) AS noted FROM answered LIMIT 1
  )
  SELECT (count(a.given) + 0::bigint * (SELECT count(d.noted) FROM due d))::integer FROM answered a;
END;
COMMENT ON FUNCTION take_maintenance_requests() IS
  'Writes requests of sessions to maintenance_jobs. Returns how many. The collector''s work.';

CREATE FUNCTION recover_maintenance_jobs() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  UPDATE maintenance_jobs j SET status = 'cancelled', finished_at = clock_timestamp()
   WHERE j.status = 'running'::text AND j.finished_at IS NULL AND j.sqlstate = '57014'::text AND NOT is_maintenance_running(j.job_id);
  UPDATE maintenance_jobs j
     SET status = CASE WHEN is_worth_retrying(j.kind, j.attempts, '57P01'::text) THEN 'queued'::text ELSE 'failed'::text END,
         finished_at = CASE WHEN is_worth_retrying(j.kind, j.attempts, '57P01'::text) THEN NULL::timestamptz ELSE clock_timestamp() END,
         not_before = clock_timestamp() + retry_delay(j.kind, j.attempts),
         error_message = 'the worker ended before the job did', sqlstate = '57P01'
   WHERE j.status = 'running'::text AND j.finished_at IS NULL AND NOT is_maintenance_running(j.job_id);
  SELECT count(try_note_job_alert('note_job_alert(bigint)'::regprocedure, j.job_id))::integer
    FROM maintenance_jobs j
   WHERE j.status = 'failed'::text AND j.sqlstate = '57P01'::text AND j.finished_at >= statement_timestamp();
END;
COMMENT ON FUNCTION recover_maintenance_jobs() IS
  'Queues again what a worker did not end: it was killed, the server stopped. Returns how many have failed for good.';

CREATE FUNCTION tend_maintenance() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT recover_maintenance_jobs();
  SELECT run_due_schedule();
  -- Its failure must not hold up the others.
  SELECT warn_maintenance(t.problem) FROM try_maintenance('queue_leftover_drops()'::regprocedure) t WHERE t.problem IS NOT NULL;
  SELECT note_maintenance_due(next_maintenance_due())::integer;
END;
COMMENT ON FUNCTION tend_maintenance() IS
  'Recovers jobs whose worker is gone, queues what the schedule says, and lets workers start. The collector''s work.';

-- What callers see.

CREATE FUNCTION maintenance_state(job_ids bigint[], asker oid, OUT job_id bigint, OUT status text, OUT answer text,
                                  OUT sqlstate text)
RETURNS SETOF record
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT j.job_id, j.status,
         CASE WHEN j.status = 'running'::text THEN pg_catalog.format('job %s still running: %s'::text, j.job_id, coalesce(j.command, j.target))
              WHEN j.status = 'queued'::text
              THEN pg_catalog.format('job %s still running: queued, %s of %s%s'::text, j.job_id, j.kind, j.target,
                     CASE WHEN j.error_message IS NOT NULL
                          THEN pg_catalog.format(', next attempt at %s (%s)'::text, j.not_before::timestamptz(0), j.error_message) ELSE ''::text END)
              WHEN j.status IN ('failed'::text, 'cancelled'::text)
              THEN pg_catalog.format('job %s %s: %s'::text, j.job_id, j.status, j.error_message)
              ELSE pg_catalog.format('job %s: %s'::text, j.job_id, j.summary) END,
         j.sqlstate
    FROM maintenance_jobs j
   WHERE j.job_id = ANY (maintenance_state.job_ids)
     AND (pg_has_role(maintenance_state.asker, j.role, 'MEMBER'::text)
          OR has_table_privilege(maintenance_state.asker, 'maintenance_jobs'::regclass::oid, 'SELECT'::text))
   ORDER BY j.job_id;
END;
COMMENT ON FUNCTION maintenance_state(bigint[], oid) IS
  'How jobs stand, those that the asker may see; the answer is for people.';

CREATE FUNCTION vacuum_analyze_table(table_name text) RETURNS text
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'tp_vacuum_analyze_table';
COMMENT ON FUNCTION vacuum_analyze_table(text) IS
  'Has VACUUM (ANALYZE) run on a table in a worker, as the current role, waits for it as train_perf.maintenance_wait '
  'says, and tells what it did, or who keeps it from removing dead rows. Works in transactions, functions and DO.';

CREATE FUNCTION cancel_maintenance_job(job_id bigint) RETURNS boolean
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'tp_cancel_maintenance_job';
COMMENT ON FUNCTION cancel_maintenance_job(bigint) IS
  'Cancels a job that is queued or running, whatever becomes of the transaction; false if it has ended. 42704: '
  'there is no such job; 42501: it is not the caller''s.';

CREATE PROCEDURE wait_for_maintenance(job_id bigint, timeout interval DEFAULT '1 hour')
LANGUAGE c AS 'MODULE_PATHNAME', 'tp_wait_for_maintenance';
COMMENT ON PROCEDURE wait_for_maintenance(bigint, interval) IS
  'Waits until a job has ended and tells how (NOTICE, or WARNING if it failed). Holds no snapshot meanwhile, so it '
  'must be called outside a transaction block (25001). 57014 when the timeout expires; the job goes on.';

CREATE FUNCTION maintenance_progress(pid integer) RETURNS text
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT coalesce(
           (SELECT p.phase || CASE WHEN p.heap_blks_total > 0::bigint
                              THEN pg_catalog.format(', %s of %s blocks scanned'::text, p.heap_blks_scanned, p.heap_blks_total) ELSE ''::text END
              FROM pg_catalog.pg_stat_progress_vacuum p WHERE p.pid = maintenance_progress.pid),
           (SELECT p.phase || CASE WHEN p.blocks_total > 0::bigint
                              THEN pg_catalog.format(', %s of %s blocks'::text, p.blocks_done, p.blocks_total) ELSE ''::text END
              FROM pg_catalog.pg_stat_progress_create_index p WHERE p.pid = maintenance_progress.pid),
           (SELECT p.phase || CASE WHEN p.sample_blks_total > 0::bigint
                              THEN pg_catalog.format(', %s of %s blocks'::text, p.sample_blks_scanned, p.sample_blks_total) ELSE ''::text END
              FROM pg_catalog.pg_stat_progress_analyze p WHERE p.pid = maintenance_progress.pid));
END;
COMMENT ON FUNCTION maintenance_progress(integer) IS 'How far a worker is: phase and blocks; NULL: between two.';

CREATE FUNCTION is_maintenance_starved() RETURNS boolean
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'tp_is_maintenance_starved';
COMMENT ON FUNCTION is_maintenance_starved() IS
  'Whether the server had no place for the last worker that was to be started.';

CREATE FUNCTION queue_obstacle(not_before timestamptz, in_window boolean, window_opens timestamptz) RETURNS text
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT CASE WHEN queue_obstacle.not_before > clock_timestamp() THEN NULL::text
              WHEN queue_obstacle.in_window AND queue_obstacle.window_opens > clock_timestamp()
              THEN CASE WHEN isfinite(queue_obstacle.window_opens)
                        THEN 'the maintenance window, which opens at '::text || queue_obstacle.window_opens::timestamptz(0)::text
                        ELSE 'a valid maintenance window: see maintenance_schedule'::text END
              WHEN current_setting('train_perf.maintenance_workers'::text, true) = '0'::text
              THEN 'maintenance_workers, which is 0'::text
              WHEN is_maintenance_starved() THEN 'a free background worker: see max_worker_processes'::text END;
END;
COMMENT ON FUNCTION queue_obstacle(timestamptz, boolean, timestamptz) IS
  'What keeps a queued job from starting, if not the job before it.';

CREATE FUNCTION maintenance_status(OUT job_id bigint, OUT waiting_for text, OUT progress text)
RETURNS SETOF record
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  WITH maintenance_window AS MATERIALIZED (
    SELECT next_window_start(clock_timestamp()) AS opens
  )
  SELECT j.job_id,
         CASE WHEN j.status = 'running'::text THEN w.waiting_for
              ELSE coalesce(queue_obstacle(j.not_before, j.in_window, m.opens), j.waiting_for) END,
         CASE WHEN j.status = 'running'::text THEN maintenance_progress(w.pid) END
    FROM maintenance_jobs j CROSS JOIN maintenance_window m LEFT JOIN maintenance_workers() w ON w.job_id = j.job_id
   WHERE j.status IN ('queued'::text, 'running'::text);
END;
COMMENT ON FUNCTION maintenance_status() IS
  'How jobs stand at this moment. For the view maintenance_status, and so for everybody: the server shows progress '
  'of others to few.';

CREATE VIEW maintenance_status WITH (security_barrier) AS
SELECT j.job_id, j.kind, j.target, j.command, j.requested_by, j.reason, j.status, j.attempts, j.not_before,
       j.requested_at, j.started_at, j.finished_at,
       CASE WHEN j.status = 'running'
            THEN (pg_catalog.date_part('epoch', clock_timestamp() - j.started_at) * 1000)::bigint
            ELSE j.duration_ms END AS duration_ms,
       j.bytes_before, j.bytes_after, j.rows_removed, j.error_message, j.sqlstate,
       CASE WHEN j.status IN ('queued', 'running') THEN u.waiting_for ELSE j.waiting_for END AS waiting_for,
       u.progress, j.summary
  FROM maintenance_jobs j
  LEFT JOIN maintenance_status() u ON u.job_id = j.job_id
 WHERE pg_has_role(current_user, j.role, 'MEMBER')
    OR has_table_privilege(current_user, 'maintenance_jobs'::regclass::oid, 'SELECT');
COMMENT ON VIEW maintenance_status IS
  'maintenance_jobs with the progress of those at work: to everybody their own, to readers all.';
COMMENT ON COLUMN maintenance_status.progress IS 'Phase and blocks of what runs now.';
COMMENT ON COLUMN maintenance_status.waiting_for IS
  'What the job waits for now, or waited for in vain in its last attempt.';

-- Rights.

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
  ('read', 'SELECT', 'TABLE', 'table_bloat_snapshots'::regclass::oid),
  ('read', 'SELECT', 'TABLE', 'index_bloat_snapshots'::regclass::oid),
  ('read', 'SELECT', 'TABLE', 'bloat_snapshot_run'::regclass::oid),
  ('read', 'SELECT', 'TABLE', 'alert_rules'::regclass::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'alert_thresholds()'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION',
   'severity_above(numeric, numeric, numeric, numeric, numeric)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'calculate_index_bloat()'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'get_bloat_status()'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'get_high_bloat_tables(numeric)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'index_bloat_status()'::regprocedure::oid),
  ('operate', 'INSERT, UPDATE, DELETE', 'TABLE', 'alert_rules'::regclass::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'capture_table_bloat_snapshot()'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'check_bloat_alerts(text)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'check_table_bloat_alerts()'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'check_index_bloat_alerts()'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION',
   'resolve_alerts_except(text, text, text[], text)'::regprocedure::oid),
  ('read', 'SELECT', 'TABLE', 'index_usage_snapshots'::regclass::oid),
  ('read', 'SELECT', 'TABLE', 'index_usage_capture'::regclass::oid),
  ('read', 'SELECT', 'TABLE', 'index_definitions'::regclass::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'snapshot_patterns(text, text)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'snapshot_tables()'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'snapshot_indexes()'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'relation_bytes(oid)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'is_index_name_free(text, text)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION',
   'index_usage_history(oid, oid, text, text, text, bigint, boolean, timestamptz)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION',
   'index_usage_intervals(oid, oid, text, text, text, bigint, boolean, bigint, timestamptz, boolean, boolean)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'statistics_started_anew()'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'judge_index_usage(integer)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'unused_days(timestamptz, interval)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'note_observation(bigint, bigint, interval, integer)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'check_days(integer, text)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'detect_unused_indexes(integer)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'no_such_table(text)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'table_named(text)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'get_index_trends(text, integer)'::regprocedure::oid),
  ('read', 'SELECT', 'TABLE', 'index_findings'::regclass::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'snapshot_patterns(text, text)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'snapshot_relations("char"[])'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'unlocked_index_definition(oid)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'is_invalid_now(oid)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'size_now(oid, "char", integer)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'partition_totals(oid)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'comparable_tree(text)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'quoted_columns(oid, smallint[])'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'kept_indexes()'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'redundant_indexes()'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'foreign_key_indexes()'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'unindexed_foreign_keys()'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'invalid_indexes()'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'invalid_indexes_of(oid[])'::regprocedure::oid),
  ('read', 'SELECT', 'TABLE', 'index_rebuilds'::regclass::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'is_leftover(oid)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'unused_index_candidates()'::regprocedure::oid),
  ('read', 'SELECT', 'TABLE', 'maintenance_jobs'::regclass::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'vacuum_horizon()'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'dropped_maintenance_requests()'::regprocedure::oid),
  ('operate', 'INSERT', 'TABLE', 'query_performance_logs'::regclass::oid),
  ('operate', 'INSERT, UPDATE', 'TABLE', 'performance_alerts'::regclass::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'capture_query_stats_snapshot()'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'capture_index_usage_snapshot()'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'check_unused_index_alerts()'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION',
   'log_query_performance(text, integer, uuid, text, jsonb, text, text)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION',
   'raise_slow_query_alert(text, text, numeric, bigint, text, timestamptz)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION',
   'create_performance_alert(text, text, text, jsonb)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION',
   'resolve_performance_alert(uuid, text, uuid)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'check_invalid_index_alerts()'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'schedule_timezone()'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'parse_maintenance_window(text)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'refuse_setting(text, text)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'check_maintenance_window(text)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'next_window_start(timestamptz)'::regprocedure::oid),
  ('read', 'SELECT', 'TABLE', 'retention_rules'::regclass::oid),
  ('read', 'SELECT', 'TABLE', 'maintenance_runs'::regclass::oid),
  ('read', 'SELECT', 'TABLE', 'cron_registrations'::regclass::oid),
  ('read', 'SELECT', 'TABLE', 'maintenance_schedule'::regclass::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'maintenance_tables()'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'parse_schedule(text, text)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'check_schedule(text, text)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'schedule_instants(text, text, text, timestamptz)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'schedule_zone()'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'schedule_due(text, text, timestamptz)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'schedule_next(text, text, timestamptz)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'schedule_settings()'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'window_setting()'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'require_primary(text)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'require_preload(text)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'running_weekly_maintenance()'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'weekly_obstacle(bigint[], regprocedure)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'request_vacuum(regprocedure, oid)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'vacuum_covered_tables()'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'capture_for_weekly()'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'check_for_weekly()'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION',
   'perform_weekly_maintenance(regprocedure, regprocedure, regprocedure)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'weekly_maintenance()'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'monthly_maintenance()'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'request_maintenance(text, oid, numeric, numeric, text)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'await_maintenance(bigint[])'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'retention_column_type(oid, smallint)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'check_retention(oid, text, smallint, interval)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'check_retention_type(oid, smallint, oid)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'retention_target(text, text)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'set_retention(text, text, interval)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'drop_retention(text)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'cron_member(oid, text, integer)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'cron_database()'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'cron_timezone()'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'cron_schedules_here()'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'require_cron(oid, boolean)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'cron_command(text, regprocedure, regprocedure)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'cron_plan()'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'check_cron_plan()'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'note_cron_timezone(text, text)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'own_cron_job(oid, text, text)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'other_cron_role(oid, regclass, text, text, text)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'unschedule_cron_job(oid, regclass, text, bigint)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'note_cron_job(text, text)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'schedule_cron_job(oid, regclass, text, text, text, text)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'schedule_maintenance()'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'unschedule_maintenance()'::regprocedure::oid),
  ('operate', 'INSERT, DELETE', 'TABLE', 'retention_rules'::regclass::oid),
  ('operate', 'INSERT, DELETE', 'TABLE', 'cron_registrations'::regclass::oid)
) AS rules (level, privileges, kind, object);
COMMENT ON VIEW access_levels IS
  'What the levels of grant_access give: read, and what operate gives on top of it.';

DO $$
DECLARE
  path text := pg_catalog.current_setting('search_path');
  home text;
  foreigners text;
  fresh oid[] := '{}';
  member record;
  rule record;
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

  -- What default privileges gave, object by object.
  FOR member IN
    SELECT c.oid, 'TABLE' AS kind, c.relkind, format('%s.%I', home, c.relname) AS identity, c.relowner AS owner,
           coalesce(c.relacl, acldefault('r', c.relowner)) AS acl
      FROM pg_depend d
      JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'train_perf'
      JOIN pg_class c ON c.oid = d.objid
     WHERE d.refclassid = 'pg_extension'::regclass AND d.classid = 'pg_class'::regclass AND d.deptype = 'e'
       AND c.relname IN (
           'maintenance_jobs', 'index_rebuilds', 'retention_rules', 'maintenance_runs',
           'cron_registrations', 'maintenance_schedule', 'maintenance_status',
           'maintenance_jobs_job_id_seq')
    UNION ALL
    SELECT p.oid, 'ROUTINE', NULL, p.oid::regprocedure::text, p.proowner,
           coalesce(p.proacl, acldefault('f', p.proowner))
      FROM pg_depend d
      JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'train_perf'
      JOIN pg_proc p ON p.oid = d.objid
     WHERE d.refclassid = 'pg_extension'::regclass AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
       AND p.proname IN (
           'invalid_indexes_of', 'check_bloat_alerts', 'schedule_timezone',
           'parse_maintenance_window', 'refuse_setting', 'check_maintenance_window',
           'next_window_start', 'maintenance_target', 'insert_job', 'queue_job',
           'request_maintenance', 'await_maintenance', 'is_maintenance_running',
           'dropped_maintenance_requests', 'maintenance_workers', 'role_may_maintain',
           'free_bytes', 'estimate_indexes', 'excess_percent', 'percent_text',
           'is_rebuild_leftover', 'invalid_index_states', 'rebuild_leftovers', 'extension_owner',
           'acting_role', 'dropping_role', 'queue_leftover_drops_of', 'rebuild_obstacle',
           'is_rebuild_in_vain', 'settled_ratio', 'unfinished_rebuild', 'judge_rebuilds',
           'request_maintenance_as', 'ask_for_rebuild', 'tables_with_storage', 'queue_rebuilds_of',
           'reindex_if_bloated', 'note_indexes_left', 'queue_rebuilds', 'reindex_bloated_indexes',
           'monthly_maintenance', 'note_settled_ratios', 'queue_scheduled_reindex',
           'bytes_for_rebuild', 'index_of_job', 'rebuilt_index', 'plan_reindex', 'note_rebuild',
           'duration_text', 'conclude_reindex', 'plan_drop_index', 'conclude_drop_index',
           'queue_leftover_drops', 'retention_column_type', 'check_retention',
           'check_retention_type', 'guard_retention_rule', 'guard_retention_end',
           'retention_target', 'set_retention', 'drop_retention', 'warn_retention_ended',
           'refresh_retention_rules', 'retention_role', 'queue_retention', 'retention_cutoff',
           'has_dependents', 'outdated_partitions', 'can_skip_locked', 'delete_batch_command',
           'retention_obstacle', 'plan_retention', 'conclude_retention', 'maintenance_tables',
           'parse_schedule', 'check_schedule', 'schedule_instants', 'schedule_zone',
           'schedule_due', 'schedule_next', 'schedule_settings', 'window_setting',
           'queue_weekly_maintenance', 'queue_monthly_maintenance', 'try_maintenance',
           'warn_maintenance', 'run_daily_maintenance', 'prune_maintenance_jobs',
           'running_weekly_maintenance', 'require_preload', 'weekly_obstacle', 'request_vacuum',
           'vacuum_covered_tables', 'capture_for_weekly', 'check_for_weekly',
           'perform_weekly_maintenance', 'weekly_maintenance', 'cron_member', 'cron_database',
           'cron_timezone', 'cron_schedules_here', 'require_cron', 'cron_command', 'cron_plan',
           'check_cron_plan', 'note_cron_timezone', 'own_cron_job', 'other_cron_role',
           'unschedule_cron_job', 'note_cron_job', 'schedule_cron_job', 'schedule_maintenance',
           'unschedule_maintenance', 'compare_with_cron', 'look_at_cron', 'note_schedule_settings',
           'due_maintenance', 'run_due_schedule', 'table_bytes', 'plan_statistics_job',
           'vacuum_horizon', 'describe_vacuum', 'tables_at_work', 'claim_maintenance_job',
           'next_maintenance_due', 'plan_maintenance_job', 'retry_delay', 'is_worth_retrying',
           'note_job_alert', 'try_note_job_alert', 'finish_maintenance_job',
           'maintenance_requests', 'answer_maintenance_request', 'note_maintenance_due',
           'cancel_maintenance_worker', 'cancel_job', 'take_maintenance_requests',
           'recover_maintenance_jobs', 'tend_maintenance', 'maintenance_state',
           'vacuum_analyze_table', 'cancel_maintenance_job', 'wait_for_maintenance',
           'maintenance_progress', 'is_maintenance_starved', 'queue_obstacle',
           'maintenance_status')
  LOOP
    fresh := fresh || member.oid;
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

  -- Whoever reads or operates gets what is new of it, and these, which are new to their levels.
  fresh := fresh || ARRAY(
    SELECT p.oid FROM pg_depend d
      JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'train_perf'
      JOIN pg_proc p ON p.oid = d.objid
     WHERE d.refclassid = 'pg_extension'::regclass AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
       AND p.proname IN ('require_primary'));
  FOR rule IN EXECUTE format('SELECT level, privileges, kind, object FROM %s.access_levels', home) LOOP
    CONTINUE WHEN rule.object <> ALL (fresh);
    FOR grantee IN
      SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END
        FROM pg_proc p, aclexplode(p.proacl) a
       WHERE p.oid = CASE rule.level
                       WHEN 'read' THEN format('%s.get_slow_queries(integer, integer)', home)::regprocedure
                       ELSE format('%s.log_query_performance(text, integer, uuid, text, jsonb, text, text)',
                                   home)::regprocedure END
         AND a.grantee <> p.proowner
    LOOP
      EXECUTE format('GRANT %s ON %s %s TO %s', rule.privileges, rule.kind,
                     CASE rule.kind WHEN 'TABLE' THEN rule.object::regclass::text
                                    ELSE rule.object::regprocedure::text END, grantee);
    END LOOP;
  END LOOP;
  PERFORM pg_catalog.set_config('search_path', path, true);
END
$$;

-- These check who asks.
GRANT EXECUTE ON FUNCTION vacuum_analyze_table(text), reindex_if_bloated(text, numeric), reindex_bloated_indexes(numeric),
  cancel_maintenance_job(bigint) TO PUBLIC;
GRANT EXECUTE ON PROCEDURE wait_for_maintenance(bigint, interval) TO PUBLIC;
-- Everybody may look at maintenance_status; it shows what is theirs.
GRANT SELECT ON maintenance_status TO PUBLIC;
GRANT EXECUTE ON FUNCTION maintenance_status() TO PUBLIC;
