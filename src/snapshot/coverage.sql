-- Which tables snapshots are taken of.

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

CREATE FUNCTION snapshot_tables(OUT relid oid, OUT schemaname text, OUT tablename text)
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
   WHERE c.relkind IN ('r'::"char", 'm'::"char") AND c.relpersistence <> 't'::"char"
     AND n.nspname NOT IN ('pg_catalog'::name, 'information_schema'::name, 'pg_toast'::name)
     AND n.nspname::text || '.'::text || c.relname::text ~ ANY (p.include)
     AND NOT n.nspname::text || '.'::text || c.relname::text ~ ANY (p.exclude)
     AND NOT EXISTS (SELECT FROM own o
                      WHERE o.objid = coalesce(pg_catalog.pg_partition_root(c.oid::regclass)::oid, c.oid));
END;
COMMENT ON FUNCTION snapshot_tables() IS
  'The tables and materialized views that snapshots are taken of: those of users, as '
  'train_perf.snapshot_include and train_perf.snapshot_exclude say, but not our own.';
