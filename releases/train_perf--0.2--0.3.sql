\echo Use "ALTER EXTENSION train_perf UPDATE TO '0.3'" to load this file. \quit

-- Like CREATE EXTENSION this runs with the extension's schema first in the search path.

-- A server that was not restarted since the library was replaced still runs the old one.
DO $$
BEGIN
  IF pg_catalog.string_to_array(library_version(), '.')::integer[] OPERATOR(pg_catalog.<) '{0,3}'::integer[] THEN
    RAISE EXCEPTION USING
      ERRCODE = '55000',
      MESSAGE = 'the server still runs an older library of train_perf',
      HINT = 'Restart the server, then try again.';
  END IF;
END
$$;

-- Partitions of months too: a parameter more. The callers keep their rights.

CREATE OR REPLACE FUNCTION maintain_log_partitions() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT 0;
END;
CREATE OR REPLACE FUNCTION maintain_history_partitions() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT 0;
END;
DROP FUNCTION maintain_partitions_of(regclass, interval, timestamptz, integer);

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
     AND c.relname ~ '_p\d{8}$'
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

CREATE OR REPLACE FUNCTION maintain_log_partitions() RETURNS integer
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

CREATE OR REPLACE FUNCTION maintain_history_partitions() RETURNS integer
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

-- Which tables snapshots are taken of, and what all snapshots share.

CREATE FUNCTION snapshot_patterns(setting text, initial text) RETURNS text[]
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  patterns text;
BEGIN
  -- The same wildcards as on a command line; a pattern without a dot is one of tables in any schema.
  SELECT string_agg('^' || regexp_replace(replace(replace(
           CASE WHEN p LIKE '%.%' THEN p ELSE '*.' || p END, '*', E'\x01'), '?', E'\x02'),
           '([^a-zA-Z0-9_\x01\x02])', '\\\1', 'g') || '$', E'\n')
    INTO patterns
    FROM regexp_split_to_table(coalesce(nullif(current_setting(setting, true), ''), initial),
                               '\s*,\s*') AS p
   WHERE p <> '';
  RETURN coalesce(string_to_array(replace(replace(patterns, E'\x01', '.*'), E'\x02', '.'), E'\n'), '{}');
END
$$;
COMMENT ON FUNCTION snapshot_patterns(text, text) IS
  'The regular expressions for schema.table of a setting: train_perf.snapshot_include or '
  'train_perf.snapshot_exclude.';

CREATE FUNCTION snapshot_relations(kinds "char"[], OUT relid oid, OUT schemaname text, OUT tablename text)
RETURNS SETOF record
LANGUAGE sql STABLE
BEGIN ATOMIC
  WITH pattern AS MATERIALIZED (
    SELECT snapshot_patterns('train_perf.snapshot_include', '*.*') AS include,
           snapshot_patterns('train_perf.snapshot_exclude', '') AS exclude
  ), own AS MATERIALIZED (
    SELECT d.objid
      FROM pg_catalog.pg_extension e
      JOIN pg_catalog.pg_depend d ON d.refobjid = e.oid AND d.deptype = 'e'::"char"
       AND d.refclassid = 'pg_catalog.pg_extension'::regclass::oid AND d.classid = 'pg_catalog.pg_class'::regclass::oid
     WHERE e.extname = 'train_perf'::name
  )
  SELECT c.oid, n.nspname::text, c.relname::text
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
   CROSS JOIN pattern p
   WHERE c.relkind = ANY (snapshot_relations.kinds) AND c.relpersistence <> 't'::"char"
     AND n.nspname NOT IN ('pg_catalog'::name, 'information_schema'::name, 'pg_toast'::name)
     AND n.nspname::text || '.'::text || c.relname::text ~ ANY (p.include)
     AND NOT n.nspname::text || '.'::text || c.relname::text ~ ANY (p.exclude)
     AND NOT EXISTS (SELECT FROM own o
                      WHERE o.objid = coalesce(pg_catalog.pg_partition_root(c.oid::regclass)::oid, c.oid));
END;
COMMENT ON FUNCTION snapshot_relations("char"[]) IS
  'Relations of these kinds (as in pg_class) that snapshots cover: those of users, as '
  'train_perf.snapshot_include and train_perf.snapshot_exclude say, but not our own.';

CREATE FUNCTION snapshot_tables(OUT relid oid, OUT schemaname text, OUT tablename text)
RETURNS SETOF record
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT r.relid, r.schemaname, r.tablename FROM snapshot_relations('{r,m}'::"char"[]) r;
END;
COMMENT ON FUNCTION snapshot_tables() IS
  'The tables and materialized views that snapshots are taken of.';

CREATE FUNCTION snapshot_indexes(OUT indexrelid oid, OUT relid oid, OUT schemaname text, OUT tablename text,
                                 OUT indexname text)
RETURNS SETOF record
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT i.indexrelid, t.relid, t.schemaname, t.tablename, c.relname::text
    FROM snapshot_tables() t
    JOIN pg_catalog.pg_index i ON i.indrelid = t.relid
    JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid AND c.relkind = 'i'::"char";
END;
COMMENT ON FUNCTION snapshot_indexes() IS
  'The indexes of snapshot_tables(), also invalid ones and those being built.';

CREATE FUNCTION relation_bytes(relation oid) RETURNS bigint
LANGUAGE c VOLATILE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tp_relation_bytes';
COMMENT ON FUNCTION relation_bytes(oid) IS
  'pg_relation_size() that takes no lock, so that it never waits for one; NULL if there is no such relation.';

CREATE FUNCTION file_bytes(reltablespace oid, relfilenode oid) RETURNS bigint
LANGUAGE c VOLATILE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tp_file_bytes';
COMMENT ON FUNCTION file_bytes(oid, oid) IS
  'The same for a row of pg_class, which is not looked up again.';

CREATE FUNCTION require_primary(what text) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF pg_is_in_recovery() THEN
    RAISE EXCEPTION USING ERRCODE = '25006',
      MESSAGE = format('%s cannot run on a standby: it writes', what),
      HINT = 'Run it on the primary. Its rows come to the standbys by replication.';
  END IF;
END
$$;
COMMENT ON FUNCTION require_primary(text) IS '25006 on a standby.';

CREATE FUNCTION await_snapshot_lock(snapshots regclass) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- As long as a step of the collector may take.
  FOR i IN 1 .. 100 LOOP
    EXIT WHEN pg_try_advisory_xact_lock('pg_class'::regclass::oid::integer, snapshots::oid::integer);
    PERFORM pg_sleep(0.05);
  END LOOP;
END
$$;
COMMENT ON FUNCTION await_snapshot_lock(regclass) IS
  'Waits up to five seconds to be the one to take a snapshot for the table.';

CREATE FUNCTION try_snapshot_lock(snapshots regclass) RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF pg_try_advisory_xact_lock('pg_class'::regclass::oid::integer, snapshots::oid::integer) THEN
    RETURN true;
  END IF;
  RAISE NOTICE USING
    MESSAGE = format('nothing is written to %s: another session is taking the snapshot', snapshots);
  RETURN false;
END
$$;
COMMENT ON FUNCTION try_snapshot_lock(regclass) IS
  'Whether this transaction is the one to take a snapshot for the table; it never waits. If not, a NOTICE '
  'says so.';

-- Which indexes find the rows that refer to a key.

CREATE FUNCTION comparable_tree(tree text) RETURNS text
LANGUAGE sql IMMUTABLE
BEGIN ATOMIC
  -- The fields that tell only how an expression was written.
  SELECT coalesce(pg_catalog.regexp_replace(comparable_tree.tree,
    ' :(location|funcformat|relabelformat|coerceformat|convertformat|row_format|varnosyn|varattnosyn) -?[0-9]+'::text,
    ''::text, 'g'::text), ''::text);
END;
COMMENT ON FUNCTION comparable_tree(text) IS
  'A stored expression (pg_node_tree) such that equal ones are equal; empty for none.';

CREATE FUNCTION foreign_key_indexes(OUT conoid oid, OUT indexrelid oid)
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
          OR x.predicate ~ ('^(\{BOOLEXPR :boolop and :args \()?'
               '( ?\{NULLTEST :arg \{VAR :varno 1 :varattno [0-9]+ [^{}]*\} :nulltesttype 1 :argisrow false\})+'
               '(\)\})?$')::text
             AND NOT EXISTS (SELECT FROM pg_catalog.regexp_matches(x.predicate, ':varattno ([0-9]+) '::text,
                                                                   'g'::text) AS m (attnum)
                              WHERE NOT m.attnum[1]::smallint = ANY (f.conkey)))
   GROUP BY f.oid, x.indexrelid, f.columns
  HAVING pg_catalog.count(DISTINCT f.attnum) = f.columns::bigint;
END;
COMMENT ON FUNCTION foreign_key_indexes() IS
  'Foreign keys (also those that partitions have from their parent) and the valid indexes of the same table '
  'that can look their columns up.';

-- How large tables and indexes would be after a rewrite.

CREATE FUNCTION estimate_table_bloat(relation regclass, sample_pages integer DEFAULT 1000)
RETURNS TABLE (actual_size_bytes bigint, estimated_size_bytes bigint, bloat_bytes bigint,
               bloat_ratio numeric, method text, sampled_pages integer, live_tuples bigint,
               dead_tuples bigint, recently_dead_tuples bigint)
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE ROWS 1 COST 100000
AS 'MODULE_PATHNAME', 'tp_estimate_table_bloat';
COMMENT ON FUNCTION estimate_table_bloat(regclass, integer) IS
  'The size of a table with its TOAST, without indexes, and what a rewrite would make of it, from '
  'sample_pages random pages; bloat_ratio is the excess in percent of the estimated size. No row if the '
  'table is locked or gone. For its owner and for pg_monitor.';

CREATE FUNCTION estimate_index_bloat(index regclass, sample_pages integer DEFAULT 1000)
RETURNS TABLE (actual_size_bytes bigint, estimated_size_bytes bigint, bloat_bytes bigint,
               bloat_ratio numeric, method text, sampled_pages integer, live_tuples bigint,
               dead_tuples bigint, recently_dead_tuples bigint)
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE ROWS 1 COST 100000
AS 'MODULE_PATHNAME', 'tp_estimate_index_bloat';
COMMENT ON FUNCTION estimate_index_bloat(regclass, integer) IS
  'The size of an index and what REINDEX would make of it, from sample_pages random pages; as '
  'estimate_table_bloat(). Tuples are index entries.';

CREATE FUNCTION estimate_with_indexes(relation oid, sample_pages integer)
RETURNS TABLE (relid oid, skipped text, actual_size_bytes bigint, estimated_size_bytes bigint,
               method text, sampled_pages integer, live_tuples bigint, dead_tuples bigint,
               recently_dead_tuples bigint)
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE ROWS 3 COST 300000
AS 'MODULE_PATHNAME', 'tp_estimate_with_indexes';
COMMENT ON FUNCTION estimate_with_indexes(oid, integer) IS
  'A row for a table and one for each of its indexes; `skipped` tells why one has no estimate: locked, '
  'gone, unlogged (on a standby), damaged. Checks no rights.';

CREATE FUNCTION calculate_index_bloat()
RETURNS TABLE (schemaname text, tablename text, indexname text, bloat_ratio numeric, bloat_mb numeric,
               access_method text, actual_size_bytes bigint, estimated_size_bytes bigint, method text,
               sampled_pages integer)
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT t.schemaname, t.tablename, c.relname::text,
         CASE WHEN e.estimated_size_bytes = 0::bigint THEN 0::numeric
              ELSE round((e.actual_size_bytes - e.estimated_size_bytes)::numeric
                         / e.estimated_size_bytes::numeric * 100::numeric, 2) END,
         round((e.actual_size_bytes - e.estimated_size_bytes)::numeric / 1048576::numeric, 2),
         m.amname::text, e.actual_size_bytes, e.estimated_size_bytes, e.method, e.sampled_pages
    FROM snapshot_tables() t
   CROSS JOIN LATERAL estimate_with_indexes(t.relid, 1000) e
    JOIN pg_catalog.pg_class c ON c.oid = e.relid
    JOIN pg_catalog.pg_am m ON m.oid = c.relam
   WHERE e.relid <> t.relid AND e.skipped IS NULL
   ORDER BY e.actual_size_bytes - e.estimated_size_bytes DESC, t.schemaname, c.relname;
END;
COMMENT ON FUNCTION calculate_index_bloat() IS
  'The bloat of every index now, from samples; the most bytes to win first. Locked ones are left out.';

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
    SELECT s.relid, sum(least(s.bytes / 8192::bigint, 1000::bigint))::bigint AS pages,
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
    SELECT t.relid, t.schemaname, t.tablename, t.pages, t.state_hash, l.id, l.snapshot_timestamp,
           l.actual_size_bytes, l.estimated_size_bytes, l.dead_tuples, l.live_tuples, l.method,
           l.sampled_pages, l.relid = t.relid AND l.state_hash = t.state_hash
                            AND l.recently_dead_tuples = 0::bigint IS TRUE AS unchanged
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
     WHERE t.unchanged AND t.snapshot_timestamp < date_trunc('day'::text, write_bloat_snapshot.taken_at, 'UTC'::text)
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
     WHERE t.unchanged AND t.snapshot_timestamp < date_trunc('day'::text, write_bloat_snapshot.taken_at, 'UTC'::text)
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
           coalesce(regexp_replace(i.indexprs::text, ' :location -?\d+'::text, ''::text, 'g'::text), '-'::text),
           coalesce(regexp_replace(i.indpred::text, ' :location -?\d+'::text, ''::text, 'g'::text), '-'::text)),
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

-- The state of capture.

CREATE OR REPLACE FUNCTION capture_status(
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

-- What can be done better about indexes: found in the catalogs alone, without waiting for any lock.
--
-- Nobody analyzes the catalogs after creating ten thousand tables, so the planner may expect a few rows
-- where there are many: the functions that join whole catalogs do without nested loops, and without JIT,
-- which costs more than it saves.

CREATE FUNCTION unlocked_index_definition(index oid) RETURNS text
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'tp_unlocked_index_definition';
COMMENT ON FUNCTION unlocked_index_definition(oid) IS
  'The statement that creates an index; NULL while its table is locked exclusively, or if it is gone.';

CREATE FUNCTION is_invalid_now(index oid) RETURNS boolean
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'tp_is_invalid_now';
COMMENT ON FUNCTION is_invalid_now(oid) IS
  'Whether an index exists and is invalid at this moment, whatever the statement''s snapshot says.';

CREATE FUNCTION size_now(relation oid, relkind "char", relpages integer) RETURNS bigint
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT CASE WHEN size_now.relkind IN ('p'::"char", 'I'::"char") THEN 0::bigint
              ELSE coalesce(relation_bytes(size_now.relation),
                            size_now.relpages::bigint * pg_catalog.current_setting('block_size'::text)::bigint) END;
END;
COMMENT ON FUNCTION size_now(oid, "char", integer) IS
  'Bytes of a relation of pg_class without its partitions; if its file cannot be found, those at its last '
  'VACUUM or ANALYZE.';

CREATE FUNCTION partition_totals(relation oid, OUT size_bytes bigint, OUT scans bigint)
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  WITH RECURSIVE part AS (
    SELECT partition_totals.relation AS relid
    UNION ALL
    SELECT h.inhrelid FROM part p JOIN pg_catalog.pg_inherits h ON h.inhparent = p.relid
  )
  SELECT pg_catalog.sum(size_now(c.oid, c.relkind, c.relpages))::bigint,
         coalesce(pg_catalog.sum(pg_catalog.pg_stat_get_numscans(c.oid)), 0::numeric)::bigint
    FROM part p
    JOIN pg_catalog.pg_class c ON c.oid = p.relid;
END;
COMMENT ON FUNCTION partition_totals(oid) IS 'Size and scans of a partitioned table or index.';

CREATE FUNCTION quoted_columns(relation oid, attnums smallint[]) RETURNS text
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT pg_catalog.string_agg(pg_catalog.quote_ident(a.attname::text), ', '::text ORDER BY k.place)
    FROM pg_catalog.unnest(quoted_columns.attnums) WITH ORDINALITY AS k (attnum, place)
    JOIN pg_catalog.pg_attribute a ON a.attrelid = quoted_columns.relation AND a.attnum = k.attnum;
END;
COMMENT ON FUNCTION quoted_columns(oid, smallint[]) IS 'The columns'' names as a statement lists them.';

CREATE FUNCTION kept_indexes() RETURNS SETOF oid
LANGUAGE sql STABLE
SET jit = off
SET enable_nestloop = off
BEGIN ATOMIC
  WITH RECURSIVE needed AS (
    SELECT i.indexrelid
      FROM pg_catalog.pg_index i
     WHERE i.indisprimary OR i.indisexclusion OR NOT i.indimmediate OR i.indisreplident
    UNION
    -- A foreign key that refers to it, for one. (Partitions' indexes depend on their parent: P, S.)
    SELECT i.indexrelid
      FROM pg_catalog.pg_index i
      JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_class'::regclass::oid AND d.refobjid = i.indexrelid
     WHERE d.deptype NOT IN ('i'::"char", 'P'::"char", 'S'::"char")
    UNION
    SELECT c.conindid
      FROM pg_catalog.pg_constraint c
      JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_constraint'::regclass::oid AND d.refobjid = c.oid
     WHERE c.contype = 'u'::"char" AND d.deptype NOT IN ('i'::"char", 'P'::"char", 'S'::"char")
    UNION
    SELECT i.indexrelid
      FROM pg_catalog.pg_depend d
      JOIN pg_catalog.pg_index i ON i.indrelid = d.objid
     WHERE d.classid = 'pg_catalog.pg_class'::regclass::oid AND d.deptype = 'e'::"char"
    UNION
    SELECT h.inhparent FROM needed n JOIN pg_catalog.pg_inherits h ON h.inhrelid = n.indexrelid
  )
  SELECT n.indexrelid FROM needed n
  UNION
  SELECT c.oid FROM pg_catalog.pg_class c WHERE c.relkind IN ('i'::"char", 'I'::"char") AND c.relispartition;
END;
COMMENT ON FUNCTION kept_indexes() IS
  'Indexes that cannot be dropped by themselves, or not without losing more than an index: primary keys, '
  'exclusion and deferrable constraints, replica identities, what something depends on, what is attached '
  'to a partitioned index, and what belongs to an extension.';

CREATE FUNCTION redundant_indexes(OUT indexrelid oid, OUT covered_by oid)
RETURNS SETOF record
LANGUAGE sql STABLE ROWS 100
SET jit = off
SET enable_nestloop = off
BEGIN ATOMIC
  -- Lists end with a delimiter each: then a list begins with another one if its text does.
  WITH parameter AS (
    SELECT a.attrelid, pg_catalog.string_agg(a.attnum::text || a.attoptions::text, ' '::text ORDER BY a.attnum) AS list
      FROM pg_catalog.pg_attribute a
     -- Columns of tables have options of another kind.
     WHERE a.attoptions IS NOT NULL AND a.attrelid IN (SELECT i.indexrelid FROM pg_catalog.pg_index i)
     GROUP BY a.attrelid
  ), usable AS MATERIALIZED (
    SELECT i.indexrelid, i.indrelid, c.relam, am.amname, i.indnkeyatts, i.indisunique, i.indimmediate,
           i.indnullsnotdistinct, i.indisclustered, c.relispartition,
           pg_catalog.array_to_string((i.indkey::smallint[])[0:i.indnkeyatts - 1], ' '::text) || ' '::text AS columns,
           pg_catalog.array_to_string((i.indclass::oid[])[0:i.indnkeyatts - 1], ' '::text) || ' '::text AS opclasses,
           pg_catalog.array_to_string((i.indcollation::oid[])[0:i.indnkeyatts - 1], ' '::text) || ' '::text AS collations,
           pg_catalog.array_to_string((i.indoption::smallint[])[0:i.indnkeyatts - 1], ' '::text) || ' '::text AS options,
           CASE WHEN i.indexprs IS NULL THEN ''::text
                ELSE pg_catalog.left(comparable_tree(i.indexprs::text), -1) || ' '::text END AS expressions,
           CASE WHEN i.indpred IS NULL THEN ''::text ELSE comparable_tree(i.indpred::text) END AS predicate,
           (i.indkey::smallint[])[i.indnkeyatts:] AS included,
           -- Of other methods, what is stored depends on it.
           CASE WHEN am.amname IN ('btree'::name, 'hash'::name, 'gist'::name, 'spgist'::name, 'gin'::name) THEN ''::text
                ELSE coalesce(c.reloptions::text, ''::text) END AS storage,
           coalesce(p.list, ''::text) AS parameters
      FROM snapshot_relations('{r,m,p}'::"char"[]) r
      JOIN pg_catalog.pg_index i ON i.indrelid = r.relid
      JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
      JOIN pg_catalog.pg_am am ON am.oid = c.relam
      -- Of operator classes.
      LEFT JOIN parameter p ON p.attrelid = i.indexrelid
     WHERE i.indisvalid AND i.indisready AND i.indislive
  ), covering AS MATERIALIZED (
    SELECT a.indexrelid, b.indexrelid AS covered_by
      FROM usable a
      JOIN usable b ON b.indrelid = a.indrelid AND b.indexrelid <> a.indexrelid AND b.relam = a.relam
       AND b.predicate = a.predicate AND b.storage = a.storage AND b.parameters = a.parameters
       AND pg_catalog.starts_with(b.columns, a.columns) AND pg_catalog.starts_with(b.opclasses, a.opclasses)
       AND pg_catalog.starts_with(b.collations, a.collations) AND pg_catalog.starts_with(b.options, a.options)
       AND pg_catalog.starts_with(b.expressions, a.expressions)
       AND (b.indnkeyatts = a.indnkeyatts OR a.amname = 'btree'::name)
       AND b.included OPERATOR(pg_catalog.@>) a.included
       AND (NOT a.indisunique
            OR b.indisunique AND b.indnkeyatts = a.indnkeyatts AND (b.indimmediate OR NOT a.indimmediate)
               AND (b.indnullsnotdistinct OR NOT a.indnullsnotdistinct))
  ), ranked AS MATERIALIZED (
    -- Of twins, the first one stays.
    SELECT u.indexrelid, u.indnkeyatts, u.relispartition, k.kept IS NULL AS droppable,
           pg_catalog.row_number() OVER (ORDER BY k.kept IS NULL, con.conindid IS NULL, NOT u.indisclustered,
                                                  u.indexrelid) AS place
      FROM usable u
      LEFT JOIN kept_indexes() AS k (kept) ON k.kept = u.indexrelid
      LEFT JOIN (SELECT DISTINCT c.conindid FROM pg_catalog.pg_constraint c
                  WHERE c.contype = 'u'::"char") con ON con.conindid = u.indexrelid
     WHERE u.indexrelid IN (SELECT c.indexrelid FROM covering c UNION SELECT c.covered_by FROM covering c)
  ), redundant AS MATERIALIZED (
    SELECT DISTINCT a.indexrelid
      FROM covering c
      JOIN ranked a ON a.indexrelid = c.indexrelid
      JOIN ranked b ON b.indexrelid = c.covered_by
     WHERE a.droppable
       AND (b.place < a.place
            OR NOT EXISTS (SELECT FROM covering back
                            WHERE back.indexrelid = c.covered_by AND back.covered_by = c.indexrelid))
  )
  -- Covering is transitive, so one that is not redundant itself covers each.
  SELECT DISTINCT ON (a.indexrelid) a.indexrelid, b.indexrelid
    FROM redundant a
    JOIN covering c ON c.indexrelid = a.indexrelid
    JOIN ranked b ON b.indexrelid = c.covered_by
   WHERE NOT EXISTS (
           SELECT FROM redundant r
            WHERE r.indexrelid = CASE WHEN b.relispartition
                                      THEN pg_catalog.pg_partition_root(b.indexrelid::regclass)::oid
                                      ELSE b.indexrelid END)
   ORDER BY a.indexrelid, b.indnkeyatts, b.place;
END;
COMMENT ON FUNCTION redundant_indexes() IS
  'Indexes that another one of their table makes redundant, and a covering one that is not redundant itself: '
  'all of them can be dropped.';

CREATE FUNCTION unindexed_foreign_keys(OUT relid oid, OUT columns smallint[], OUT constraints name[],
                                       OUT referenced oid[])
RETURNS SETOF record
LANGUAGE sql STABLE ROWS 100
SET jit = off
SET enable_nestloop = off
BEGIN ATOMIC
  WITH RECURSIVE fk AS MATERIALIZED (
    SELECT c.oid, c.conname, c.conrelid, c.confrelid, c.conkey, c.conparentid, r.relkind
      FROM snapshot_relations('{r,p}'::"char"[]) covered
      JOIN pg_catalog.pg_class r ON r.oid = covered.relid
      JOIN pg_catalog.pg_constraint c ON c.conrelid = r.oid AND c.contype = 'f'::"char"
  ), part AS (
    SELECT f.oid AS root, f.oid, f.relkind FROM fk f WHERE f.conparentid = 0::oid
    UNION ALL
    SELECT p.root, f.oid, f.relkind FROM part p JOIN fk f ON f.conparentid = p.oid
  ), checked AS MATERIALIZED (
    SELECT p.root, p.relkind,
           p.oid IN (SELECT x.conoid FROM foreign_key_indexes() x) AS indexed
      FROM part p
  ), unindexed AS (
    -- A partitioned table needs an index on each partition; while it has none, on itself.
    SELECT c.root
      FROM checked c
     GROUP BY c.root
    HAVING NOT coalesce(pg_catalog.bool_and(c.indexed) FILTER (WHERE c.relkind = 'r'::"char"),
                        pg_catalog.bool_or(c.indexed))
  )
  SELECT f.conrelid, (pg_catalog.array_agg(f.conkey ORDER BY f.conname))[1:1],
         pg_catalog.array_agg(f.conname ORDER BY f.conname), pg_catalog.array_agg(f.confrelid ORDER BY f.conname)
    FROM unindexed u
    JOIN fk f ON f.oid = u.root
   CROSS JOIN LATERAL (SELECT pg_catalog.array_agg(k.attnum ORDER BY k.attnum)::text AS sorted
                         FROM pg_catalog.unnest(f.conkey) AS k (attnum)) s
   -- One that is not enforced (18) has no trigger that would look anything up.
   WHERE EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgconstraint = f.oid)
     AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                      WHERE d.classid = 'pg_catalog.pg_class'::regclass::oid AND d.objid = f.conrelid
                        AND d.deptype = 'e'::"char")
   GROUP BY f.conrelid, s.sorted;
END;
COMMENT ON FUNCTION unindexed_foreign_keys() IS
  'The columns of foreign keys that no index of the table can look up, and the constraints on them.';

CREATE FUNCTION invalid_indexes(OUT indexrelid oid, OUT in_progress boolean)
RETURNS SETOF record
LANGUAGE sql VOLATILE ROWS 10
SET jit = off
SET enable_nestloop = off
BEGIN ATOMIC
  WITH invalid AS MATERIALIZED (
    SELECT i.indexrelid, i.indrelid, i.xmax AS changed_by
      FROM snapshot_relations('{r,m}'::"char"[]) r
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
COMMENT ON FUNCTION invalid_indexes() IS
  'Invalid indexes of tables and their TOAST tables, not of partitioned ones, and whether something is at '
  'work on them: a concurrent build, rebuild or drop.';

CREATE FUNCTION is_leftover(index oid) RETURNS boolean
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT EXISTS (
    SELECT FROM pg_catalog.pg_index i
      JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
      JOIN pg_catalog.pg_index v ON v.indrelid = i.indrelid AND v.indisvalid
      JOIN pg_catalog.pg_class vc ON vc.oid = v.indexrelid AND vc.relam = c.relam
     WHERE i.indexrelid = is_leftover.index
       AND v.indisunique = i.indisunique AND v.indnullsnotdistinct = i.indnullsnotdistinct
       AND v.indnkeyatts = i.indnkeyatts AND v.indkey::text = i.indkey::text
       AND v.indclass::text = i.indclass::text AND v.indcollation::text = i.indcollation::text
       AND v.indoption::text = i.indoption::text
       AND comparable_tree(v.indexprs::text) = comparable_tree(i.indexprs::text)
       AND comparable_tree(v.indpred::text) = comparable_tree(i.indpred::text));
END;
COMMENT ON FUNCTION is_leftover(oid) IS
  'Whether a valid index of the same table has the same definition, as after a failed REINDEX CONCURRENTLY.';

CREATE FUNCTION unused_index_candidates(OUT indexrelid oid, OUT days_since_last_scan integer)
RETURNS SETOF record
LANGUAGE sql VOLATILE ROWS 100
SET jit = off
SET enable_nestloop = off
BEGIN ATOMIC
  WITH redundant AS MATERIALIZED (
    SELECT r.indexrelid, r.covered_by FROM redundant_indexes() r
  ), unused AS MATERIALIZED (
    SELECT u.indexrelid, unused_days(u.last_used, u.observed) AS days_since_last_scan
      FROM judge_index_usage(30) u
     WHERE u.verdict = 'unused'::text AND u.indexrelid NOT IN (SELECT k.kept FROM kept_indexes() AS k (kept))
  ), support AS MATERIALIZED (
    SELECT x.conoid, coalesce(pg_catalog.pg_partition_root(x.indexrelid::regclass)::oid, x.indexrelid) AS indexrelid
      FROM foreign_key_indexes() x
     WHERE EXISTS (SELECT FROM unused u)
  ), last_support AS (
    -- Of foreign keys whose every index is unused, one of them, which is not redundant.
    SELECT pg_catalog.min(s.indexrelid) AS indexrelid
      FROM support s
     WHERE s.indexrelid NOT IN (SELECT r.indexrelid FROM redundant r)
     GROUP BY s.conoid
    HAVING pg_catalog.bool_and(s.indexrelid IN (SELECT u.indexrelid FROM unused u))
  )
  SELECT u.indexrelid, u.days_since_last_scan
    FROM unused u
   -- Scans of a redundant index will be of the one that covers it.
   WHERE u.indexrelid NOT IN (
           SELECT coalesce(pg_catalog.pg_partition_root(r.covered_by::regclass)::oid, r.covered_by)
             FROM redundant r
            WHERE r.indexrelid NOT IN (SELECT other.indexrelid FROM unused other))
     AND u.indexrelid NOT IN (SELECT l.indexrelid FROM last_support l);
END;
COMMENT ON FUNCTION unused_index_candidates() IS
  'Indexes unused for 30 observed days that can all be dropped, together with redundant ones: no scan and no '
  'foreign key loses its last index.';

CREATE VIEW index_findings AS
WITH found AS (
  SELECT 'duplicate'::text AS finding, r.indexrelid, r.covered_by, NULL::integer AS idle_days
    FROM redundant_indexes() r
  UNION ALL
  SELECT 'unused'::text, u.indexrelid, NULL::oid, u.days_since_last_scan
    FROM unused_index_candidates() u
  UNION ALL
  SELECT 'invalid'::text, i.indexrelid, NULL::oid, NULL::integer
    FROM invalid_indexes() i
   WHERE NOT i.in_progress
), described AS (
  SELECT f.finding, f.idle_days, n.nspname::text AS schemaname, t.relname::text AS tablename,
         c.relname::text AS indexname,
         pg_catalog.format('%I.%I'::text, n.nspname, c.relname) AS index,
         pg_catalog.format('%I.%I'::text, n.nspname, t.relname) AS of_table,
         pg_catalog.quote_ident(n.nspname::text) || '.'::text || pg_catalog.quote_ident(cover.relname::text) AS cover,
         coalesce(unlocked_index_definition(c.oid), 'its table is locked'::text) AS definition,
         coalesce(unlocked_index_definition(cover.oid), 'its table is locked'::text) AS cover_definition,
         CASE WHEN c.relkind = 'I'::"char" THEN (partition_totals(c.oid)).size_bytes
              ELSE size_now(c.oid, c.relkind, c.relpages) END AS size_bytes,
         CASE WHEN c.relkind = 'I'::"char" THEN (partition_totals(c.oid)).scans
              ELSE pg_catalog.pg_stat_get_numscans(c.oid) END AS scans,
         i.indisclustered AS clustered,
         con.conname, c.relkind = 'I'::"char" AS partitioned,
         pg_catalog.quote_ident(owner_schema.nspname::text) || '.'::text
           || pg_catalog.quote_ident(owner.relname::text) AS toast_owner,
         f.finding = 'invalid'::text AND is_leftover(c.oid) AS leftover,
         f.finding = 'invalid'::text AND c.oid IN (SELECT k.kept FROM kept_indexes() AS k (kept)) AS kept,
         i.indisexclusion AS exclusion, i.indislive AS live, i.indisready AS ready,
         i.indisunique AS is_unique, i.indexprs IS NOT NULL AS has_expressions
    FROM found f
    JOIN pg_catalog.pg_index i ON i.indexrelid = f.indexrelid
    JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
    JOIN pg_catalog.pg_class t ON t.oid = i.indrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_class cover ON cover.oid = f.covered_by
    LEFT JOIN pg_catalog.pg_constraint con ON con.conindid = c.oid AND con.conrelid = i.indrelid
     AND con.contype IN ('p'::"char", 'u'::"char", 'x'::"char")
    LEFT JOIN pg_catalog.pg_class owner ON owner.reltoastrelid = t.oid AND t.relkind = 't'::"char"
    LEFT JOIN pg_catalog.pg_namespace owner_schema ON owner_schema.oid = owner.relnamespace
), judged AS (
  SELECT d.*,
         d.finding = 'invalid'::text
           AND (d.kept OR d.conname IS NOT NULL
                OR NOT (d.leftover OR d.is_unique OR d.has_expressions OR NOT d.live)) AS rebuild
    FROM described d
), foreign_key AS (
  SELECT n.nspname::text AS schemaname, t.relname::text AS tablename, t.relkind = 'p'::"char" AS partitioned,
         pg_catalog.format('%I.%I'::text, n.nspname, t.relname) AS of_table,
         quoted_columns(t.oid, u.columns) AS columns, names.constraints, names.referenced,
         CASE WHEN t.relkind = 'p'::"char" THEN (partition_totals(t.oid)).size_bytes
              ELSE size_now(t.oid, t.relkind, t.relpages) END AS size_bytes
    FROM unindexed_foreign_keys() u
    JOIN pg_catalog.pg_class t ON t.oid = u.relid
    JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace
   CROSS JOIN LATERAL (
     SELECT pg_catalog.string_agg(pg_catalog.quote_ident(k.conname::text), ', '::text ORDER BY k.conname) AS constraints,
            pg_catalog.string_agg(DISTINCT pg_catalog.format('%I.%I'::text, rn.nspname, r.relname), ', '::text)
              AS referenced
       FROM unnest(u.constraints, u.referenced) AS k (conname, confrelid)
       JOIN pg_catalog.pg_class r ON r.oid = k.confrelid
       JOIN pg_catalog.pg_namespace rn ON rn.oid = r.relnamespace) names
), listed (finding_key, finding, level, title, detail, schemaname, tablename, indexname, bytes_to_win, remediation) AS (
  SELECT j.finding || ':'::text || j.index AS finding_key, j.finding,
         CASE j.finding WHEN 'invalid'::text THEN 'error'::text ELSE 'warning'::text END AS level,
         CASE j.finding
           WHEN 'duplicate'::text THEN 'Index '::text || j.index || ' is redundant: '::text || j.cover || ' does all its work'::text
           WHEN 'unused'::text THEN 'Index '::text || j.index || ' has not been used for 30 days'::text
           ELSE 'Index '::text || j.index || ' is invalid: no query uses it'::text
         END AS title,
         CASE j.finding
           WHEN 'duplicate'::text THEN
             'Covered by '::text || j.cover || ' ('::text || j.cover_definition || '). '::text
             || CASE WHEN j.conname IS NULL THEN ''::text
                     ELSE 'It belongs to the constraint '::text || pg_catalog.quote_ident(j.conname::text)
                          || ', which the other one enforces too. '::text END
             || CASE WHEN j.clustered THEN 'CLUSTER uses it: choose the other one with ALTER TABLE ... CLUSTER ON. '::text
                     ELSE ''::text END
           WHEN 'unused'::text THEN
             CASE WHEN j.idle_days IS NULL THEN 'No scan was ever observed. '::text
                  ELSE 'The last scan was '::text || j.idle_days::text || ' days ago. '::text END
             || 'Standbys count their scans themselves: look there too. '::text
           WHEN 'invalid'::text THEN
             CASE WHEN j.leftover AND NOT j.rebuild THEN
                    'A concurrent rebuild or build failed and left it; a valid index has the same definition. '::text
                  WHEN j.rebuild THEN 'A concurrent build or rebuild failed; build it again. '::text
                  WHEN NOT j.live THEN 'DROP INDEX CONCURRENTLY was interrupted. '::text
                  ELSE 'A concurrent build failed, and may fail again: look for '::text
                       || CASE WHEN j.is_unique THEN 'duplicate values'::text ELSE 'errors of its expressions'::text END
                       || ', then create it anew. '::text
             END
             || CASE WHEN j.ready THEN 'Writes still maintain it. '::text ELSE ''::text END
             || CASE WHEN j.toast_owner IS NOT NULL THEN 'It belongs to the TOAST table of '::text || j.toast_owner
                       || '; dropping it needs USAGE on the schema pg_toast. '::text ELSE ''::text END
         END
         || 'On table '::text || j.of_table || ', size '::text || pg_catalog.pg_size_pretty(j.size_bytes) || ', '::text
         || j.scans::text || ' scans. Definition: '::text || j.definition AS detail,
         j.schemaname, j.tablename, j.indexname, j.size_bytes AS bytes_to_win,
         CASE
           WHEN j.rebuild THEN 'REINDEX INDEX '::text
             || CASE WHEN j.exclusion THEN ''::text ELSE 'CONCURRENTLY '::text END || j.index
           WHEN j.conname IS NOT NULL THEN 'ALTER TABLE '::text || j.of_table || ' DROP CONSTRAINT '::text
             || pg_catalog.quote_ident(j.conname::text)
           WHEN j.partitioned THEN 'DROP INDEX '::text || j.index
           ELSE 'DROP INDEX CONCURRENTLY '::text || j.index
         END || ';'::text AS remediation
    FROM judged j
  UNION ALL
  SELECT 'unindexed_fk:'::text || k.of_table || '('::text || k.columns || ')'::text, 'unindexed_fk'::text,
         CASE WHEN k.size_bytes < 1048576::bigint THEN 'info'::text ELSE 'warning'::text END,
         'No index of '::text || k.of_table || ' supports a foreign key on ('::text || k.columns || ')'::text,
         'Constraint '::text || k.constraints || ' on '::text || k.of_table || ' ('::text || k.columns
           || ') references '::text || k.referenced
           || ': each row that is deleted there, or gets another key, takes a scan of the table ('::text
           || pg_catalog.pg_size_pretty(k.size_bytes) || ').'::text
           || CASE WHEN k.partitioned
                   THEN ' The statement blocks writes to the table while it runs, unless its partitions have such indexes already.'::text
                   ELSE ''::text END,
         k.schemaname, k.tablename, NULL::text, 0::bigint,
         'CREATE INDEX '::text || CASE WHEN k.partitioned THEN ''::text ELSE 'CONCURRENTLY '::text END
           || 'ON '::text || k.of_table || ' ('::text || k.columns || ');'::text
    FROM foreign_key k
)
-- Catalogs know names in the collation "C"; readers compare these columns with texts of their own.
SELECT l.finding_key COLLATE "default" AS finding_key, l.finding COLLATE "default" AS finding,
       l.level COLLATE "default" AS level, l.title COLLATE "default" AS title,
       l.detail COLLATE "default" AS detail, l.schemaname COLLATE "default" AS schemaname,
       l.tablename COLLATE "default" AS tablename, l.indexname COLLATE "default" AS indexname,
       l.bytes_to_win, l.remediation COLLATE "default" AS remediation
  FROM listed l;
COMMENT ON VIEW index_findings IS
  'What can be done better about indexes: unused, duplicate and invalid ones, and foreign keys without one; '
  'with the statement that does it. Nothing here waits for a lock.';
COMMENT ON COLUMN index_findings.finding_key IS 'What was found about what, quoted: stays the same as long as the names do.';
COMMENT ON COLUMN index_findings.finding IS 'unused, duplicate, invalid or unindexed_fk.';
COMMENT ON COLUMN index_findings.level IS 'info, warning or error.';
COMMENT ON COLUMN index_findings.title IS 'The finding in one sentence.';
COMMENT ON COLUMN index_findings.detail IS 'Why, and what else there is to know; for unindexed_fk the names of the constraints.';
COMMENT ON COLUMN index_findings.schemaname IS 'The schema of table and index.';
COMMENT ON COLUMN index_findings.tablename IS 'The table.';
COMMENT ON COLUMN index_findings.indexname IS 'The index; NULL for unindexed_fk.';
COMMENT ON COLUMN index_findings.bytes_to_win IS 'The size of the index, with its partitions; 0 for unindexed_fk.';
COMMENT ON COLUMN index_findings.remediation IS
  'A statement to run as it is, by the owner of the table, outside a transaction block.';

-- The alerts that snapshots raise and resolve: one open alert per object, updated in place.

CREATE TABLE alert_rules (
  rule text PRIMARY KEY,
  enabled boolean NOT NULL DEFAULT true,
  info numeric,
  warning numeric,
  error numeric,
  critical numeric,
  min_bytes bigint
);
SELECT pg_catalog.pg_extension_config_dump('alert_rules', '');
COMMENT ON TABLE alert_rules IS
  'Own thresholds of alert rules, which replace those of alert_thresholds() row by row; a severity without '
  'a threshold is not raised.';
COMMENT ON COLUMN alert_rules.rule IS 'table_bloat or index_bloat.';
COMMENT ON COLUMN alert_rules.enabled IS 'false: the rule raises nothing, and its open alerts resolve.';
COMMENT ON COLUMN alert_rules.warning IS 'Above this value; table_bloat and index_bloat: bloat_ratio in percent.';
COMMENT ON COLUMN alert_rules.min_bytes IS 'Nothing smaller is worth an alert; NULL: the default. Bloat: bytes wasted.';

CREATE FUNCTION alert_thresholds(OUT rule text, OUT enabled boolean, OUT info numeric, OUT warning numeric,
                                 OUT error numeric, OUT critical numeric, OUT min_bytes bigint)
RETURNS SETOF record
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT d.rule, coalesce(o.enabled, true),
         CASE WHEN o.rule IS NULL THEN d.info ELSE o.info END,
         CASE WHEN o.rule IS NULL THEN d.warning ELSE o.warning END,
         CASE WHEN o.rule IS NULL THEN d.error ELSE o.error END,
         CASE WHEN o.rule IS NULL THEN d.critical ELSE o.critical END,
         coalesce(o.min_bytes, d.min_bytes)
    FROM (VALUES ('table_bloat'::text, NULL::numeric, 20::numeric, 35::numeric, 50::numeric, 10485760::bigint),
                 ('index_bloat'::text, NULL::numeric, 20::numeric, 35::numeric, 50::numeric, 10485760::bigint))
           AS d (rule, info, warning, error, critical, min_bytes)
    LEFT JOIN alert_rules o ON o.rule = d.rule;
END;
COMMENT ON FUNCTION alert_thresholds() IS 'The thresholds in force: the defaults, or what alert_rules says.';

CREATE FUNCTION severity_above(value numeric, info numeric, warning numeric, error numeric, critical numeric)
RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
  SELECT CASE WHEN severity_above.value > severity_above.critical THEN 'critical'
              WHEN severity_above.value > severity_above.error THEN 'error'
              WHEN severity_above.value > severity_above.warning THEN 'warning'
              WHEN severity_above.value > severity_above.info THEN 'info' END;
END;
COMMENT ON FUNCTION severity_above(numeric, numeric, numeric, numeric, numeric) IS
  'The highest severity whose threshold the value exceeds; NULL if none.';

CREATE FUNCTION resolve_alerts_except(of_type text, of_kind text, still text[], notes text) RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  WITH resolved AS (
    UPDATE performance_alerts a
       SET resolved_at = now(), resolution_notes = coalesce(a.resolution_notes, resolve_alerts_except.notes)
     WHERE a.resolved_at IS NULL AND a.alert_type = resolve_alerts_except.of_type
       AND starts_with(a.fingerprint, resolve_alerts_except.of_kind)
       AND a.fingerprint <> ALL (resolve_alerts_except.still)
    RETURNING 1
  )
  SELECT count(*)::integer FROM resolved;
END;
COMMENT ON FUNCTION resolve_alerts_except(text, text, text[], text) IS
  'Resolves the open alerts of a type whose fingerprint begins so, but not those of the list.';

CREATE FUNCTION check_table_bloat_alerts() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  WITH high AS MATERIALIZED (
    SELECT s.*, quote_ident(s.schemaname) || '.'::text || quote_ident(s.tablename) AS name,
           severity_above(s.bloat_ratio, t.info, t.warning, t.error, t.critical) AS severity
      FROM get_bloat_status() s
      JOIN alert_thresholds() t ON t.rule = 'table_bloat'::text AND t.enabled AND s.bloat_bytes >= t.min_bytes
     WHERE severity_above(s.bloat_ratio, t.info, t.warning, t.error, t.critical) IS NOT NULL
  ), raised AS MATERIALIZED (
    SELECT create_performance_alert(
             'high_bloat'::text, h.severity,
             'Table '::text || h.name || ' is '::text || round(h.bloat_ratio)::text || ' % larger than its rows need: '::text
               || pg_size_pretty(h.bloat_bytes) || ' of '::text || pg_size_pretty(h.actual_size_bytes) || ' are wasted'::text,
             pg_catalog.jsonb_build_object(
               'fingerprint'::text, 'high_bloat:table:'::text || h.name, 'schemaname'::text, h.schemaname,
               'tablename'::text, h.tablename, 'bloat_ratio'::text, h.bloat_ratio, 'bloat_bytes'::text, h.bloat_bytes,
               'actual_size_bytes'::text, h.actual_size_bytes, 'estimated_size_bytes'::text, h.estimated_size_bytes,
               'dead_tuples'::text, h.dead_tuples, 'live_tuples'::text, h.live_tuples,
               'recently_dead_tuples'::text, h.recently_dead_tuples, 'method'::text, h.method,
               'snapshot_timestamp'::text, h.snapshot_timestamp,
               'remediation'::text, 'VACUUM (ANALYZE) '::text || h.name || ';'::text))
      FROM (SELECT * FROM high ORDER BY name) AS h
  )
  SELECT n.high
    FROM (SELECT (SELECT count(*)::integer FROM high) AS high, (SELECT count(*) FROM raised) AS raised) AS n
   CROSS JOIN LATERAL resolve_alerts_except(
     'high_bloat'::text, 'high_bloat:table:'::text,
     coalesce((SELECT array_agg('high_bloat:table:'::text || h.name) FROM high h), '{}'::text[]),
     'The table is gone or below the threshold.'::text) AS r (resolved)
   WHERE n.raised >= 0::bigint;
END;
COMMENT ON FUNCTION check_table_bloat_alerts() IS
  'Raises, updates and resolves the high_bloat alerts of tables by the latest snapshot of each, as '
  'alert_thresholds() says. Returns how many tables are above a threshold now.';

CREATE FUNCTION check_index_bloat_alerts() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  WITH high AS MATERIALIZED (
    SELECT s.*, quote_ident(s.schemaname) || '.'::text || quote_ident(s.indexname) AS name,
           severity_above(s.bloat_ratio, t.info, t.warning, t.error, t.critical) AS severity
      FROM index_bloat_status() s
      JOIN alert_thresholds() t ON t.rule = 'index_bloat'::text AND t.enabled AND s.bloat_bytes >= t.min_bytes
     WHERE severity_above(s.bloat_ratio, t.info, t.warning, t.error, t.critical) IS NOT NULL
  ), raised AS MATERIALIZED (
    SELECT create_performance_alert(
             'high_bloat'::text, h.severity,
             'Index '::text || h.name || ' is '::text || round(h.bloat_ratio)::text || ' % larger than after a rebuild: '::text
               || pg_size_pretty(h.bloat_bytes) || ' of '::text || pg_size_pretty(h.actual_size_bytes) || ' are wasted'::text,
             pg_catalog.jsonb_build_object(
               'fingerprint'::text, 'high_bloat:index:'::text || h.name, 'schemaname'::text, h.schemaname,
               'tablename'::text, h.tablename, 'indexname'::text, h.indexname,
               'access_method'::text, h.access_method, 'bloat_ratio'::text, h.bloat_ratio,
               'bloat_bytes'::text, h.bloat_bytes, 'actual_size_bytes'::text, h.actual_size_bytes,
               'estimated_size_bytes'::text, h.estimated_size_bytes, 'method'::text, h.method,
               'snapshot_timestamp'::text, h.snapshot_timestamp,
               'remediation'::text, 'REINDEX INDEX '::text
                 || CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_index i
                                       WHERE i.indexrelid = h.indexrelid AND i.indisexclusion)
                         THEN ''::text ELSE 'CONCURRENTLY '::text END || h.name || ';'::text))
      FROM (SELECT * FROM high ORDER BY name) AS h
  )
  SELECT n.high
    FROM (SELECT (SELECT count(*)::integer FROM high) AS high, (SELECT count(*) FROM raised) AS raised) AS n
   CROSS JOIN LATERAL resolve_alerts_except(
     'high_bloat'::text, 'high_bloat:index:'::text,
     coalesce((SELECT array_agg('high_bloat:index:'::text || h.name) FROM high h), '{}'::text[]),
     'The index is gone or below the threshold.'::text) AS r (resolved)
   WHERE n.raised >= 0::bigint;
END;
COMMENT ON FUNCTION check_index_bloat_alerts() IS
  'As check_table_bloat_alerts(), for indexes.';

-- Unused indexes.

CREATE FUNCTION check_unused_index_alerts() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  WITH judged AS MATERIALIZED (
    SELECT j.*, unused_days(j.last_used, j.observed) AS days,
           pg_catalog.format('%I.%I.%I'::text, j.schemaname, j.tablename, j.indexname) AS path
      FROM judge_index_usage(30) j
  ), raised AS MATERIALIZED (
    SELECT create_performance_alert('unused_index'::text, 'warning'::text,
             pg_catalog.format('Index %s was not used in %s days: %s'::text, j.path, j.days,
                               pg_size_pretty(j.index_size_bytes)),
             pg_catalog.jsonb_build_object(
               'fingerprint', 'unused_index:'::text || j.path, 'schemaname', j.schemaname,
               'tablename', j.tablename, 'indexname', j.indexname,
               'index_size_bytes', j.index_size_bytes, 'idx_scan', j.idx_scan,
               'days_since_last_scan', j.days,
               'remediation', pg_catalog.format('DROP INDEX CONCURRENTLY %I.%I;'::text, j.schemaname, j.indexname)))
      FROM judged j
     WHERE j.verdict = 'unused'
  ), settled AS MATERIALIZED (
    SELECT resolve_performance_alert(a.id,
             CASE WHEN j.verdict = 'used' THEN 'The index is used again.'
                  WHEN i.indexrelid IS NULL THEN 'The index is gone.'
                  ELSE 'The index does not count as unused any more.' END)
      FROM performance_alerts a
      LEFT JOIN judged j ON a.fingerprint = 'unused_index:'::text || j.path
      LEFT JOIN snapshot_indexes() i
        ON a.fingerprint = pg_catalog.format('unused_index:%I.%I.%I'::text, i.schemaname, i.tablename, i.indexname)
     WHERE a.resolved_at IS NULL AND a.alert_type = 'unused_index'
       AND starts_with(a.fingerprint, 'unused_index:'::text)
       AND (j.verdict = 'used' OR j.verdict IS NULL)
  )
  SELECT (count(*) + 0 * (SELECT count(*) FROM settled))::integer FROM raised;
END;
COMMENT ON FUNCTION check_unused_index_alerts() IS
  'Keeps one open alert for each index that detect_unused_indexes() finds, and resolves those of others, but '
  'not while too little is observed to tell. Returns how many unused indexes there are.';

-- Invalid indexes.

CREATE FUNCTION check_invalid_index_alerts() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  -- Whatever is at work on an index now may fail: its alert stays as it is.
  UPDATE performance_alerts a
     SET resolved_at = now(),
         resolution_notes = 'The index is valid or gone.'::text
   WHERE a.alert_type = 'invalid_index'::text AND a.resolved_at IS NULL
     AND a.fingerprint LIKE 'invalid_index:%'::text
     AND a.fingerprint NOT IN (
           SELECT 'invalid_index:'::text || pg_catalog.format('%I.%I'::text, n.nspname, c.relname)
             FROM invalid_indexes() i
             JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace);
  SELECT pg_catalog.count(create_performance_alert(
           'invalid_index'::text, f.level, f.title,
           pg_catalog.jsonb_build_object(
             'fingerprint', 'invalid_index:'::text || pg_catalog.format('%I.%I'::text, f.schemaname, f.indexname),
             'schemaname', f.schemaname, 'tablename', f.tablename, 'indexname', f.indexname,
             'size_bytes', f.bytes_to_win, 'detail', f.detail, 'remediation', f.remediation)))::integer
    FROM index_findings f
   WHERE f.finding = 'invalid'::text;
END;
COMMENT ON FUNCTION check_invalid_index_alerts() IS
  'Raises or updates the one open invalid_index alert of each invalid index that nothing is at work on, and '
  'resolves those whose index is valid or gone. Returns the number of invalid indexes.';

CREATE FUNCTION check_due_snapshot_alerts() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  WITH due AS MATERIALIZED (
    UPDATE bloat_snapshot_run SET alerts_checked_at = clock_timestamp()
     WHERE finished_at > coalesce(alerts_checked_at, '-infinity'::timestamptz)
    RETURNING 1
  ), checked AS MATERIALIZED (
    SELECT check_table_bloat_alerts(), check_index_bloat_alerts(), check_unused_index_alerts(),
           check_invalid_index_alerts() FROM due
  )
  SELECT count(*)::integer FROM checked;
END;
COMMENT ON FUNCTION check_due_snapshot_alerts() IS
  'Every alert that follows from snapshots, once after each snapshot of bloat; the collector''s work.';

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
  ('read', 'EXECUTE', 'FUNCTION', 'is_leftover(oid)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'unused_index_candidates()'::regprocedure::oid),
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
  ('operate', 'EXECUTE', 'FUNCTION', 'check_invalid_index_alerts()'::regprocedure::oid)
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
           'table_bloat_snapshots', 'table_bloat_snapshots_default', 'index_bloat_snapshots',
           'index_bloat_snapshots_default', 'bloat_snapshot_run', 'index_usage_snapshots',
           'index_usage_snapshots_default', 'index_usage_capture', 'index_definitions',
           'index_findings', 'alert_rules')
    UNION ALL
    SELECT p.oid, 'ROUTINE', NULL, p.oid::regprocedure::text, p.proowner,
           coalesce(p.proacl, acldefault('f', p.proowner))
      FROM pg_depend d
      JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'train_perf'
      JOIN pg_proc p ON p.oid = d.objid
     WHERE d.refclassid = 'pg_extension'::regclass AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
       AND p.proname IN (
           'snapshot_patterns', 'snapshot_relations', 'snapshot_tables', 'snapshot_indexes',
           'relation_bytes', 'file_bytes', 'require_primary', 'await_snapshot_lock',
           'try_snapshot_lock', 'comparable_tree', 'foreign_key_indexes', 'estimate_table_bloat',
           'estimate_index_bloat', 'estimate_with_indexes', 'calculate_index_bloat',
           'table_states', 'write_bloat_snapshot', 'notice_skipped', 'note_bloat_run',
           'capture_table_bloat_snapshot', 'continue_bloat_snapshot', 'get_bloat_status',
           'get_high_bloat_tables', 'index_bloat_status', 'maintain_bloat_partitions',
           'latest_index_usage', 'is_index_name_free', 'index_usage_history',
           'statistics_started_anew', 'index_usage_intervals', 'follow_indexes',
           'write_index_usage', 'capture_index_usage_snapshot', 'take_due_index_usage_snapshot',
           'check_days', 'judge_index_usage', 'note_observation', 'unused_days',
           'detect_unused_indexes', 'no_such_table', 'table_named', 'get_index_trends',
           'merge_index_usage', 'next_index_usage_rollup', 'roll_up_index_usage',
           'maintain_index_usage_partitions', 'unlocked_index_definition', 'is_invalid_now',
           'size_now', 'partition_totals', 'quoted_columns', 'kept_indexes', 'redundant_indexes',
           'unindexed_foreign_keys', 'invalid_indexes', 'is_leftover', 'unused_index_candidates',
           'alert_thresholds', 'severity_above', 'resolve_alerts_except',
           'check_table_bloat_alerts', 'check_index_bloat_alerts', 'check_unused_index_alerts',
           'check_invalid_index_alerts', 'check_due_snapshot_alerts', 'maintain_partitions_of')
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

  -- Whoever reads or operates gets what is new of it.
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
GRANT EXECUTE ON FUNCTION estimate_table_bloat(regclass, integer), estimate_index_bloat(regclass, integer) TO PUBLIC;
