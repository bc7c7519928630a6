-- Which tables snapshots are taken of, and what all snapshots share.

CREATE FUNCTION snapshot_patterns(setting text, initial text) RETURNS text[]
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
