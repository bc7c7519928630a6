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
                       'query_texts', 'query_stats_snapshot', 'query_stats_baseline', 'access_levels',
                       'table_bloat_snapshots', 'table_bloat_snapshots_default', 'index_bloat_snapshots',
                       'index_bloat_snapshots_default', 'bloat_snapshot_run', 'alert_rules',
                       'index_usage_snapshots', 'index_usage_snapshots_default', 'index_usage_capture', 'index_definitions',
                       'index_findings', 'index_rebuilds', 'maintenance_jobs', 'maintenance_jobs_job_id_seq', 'maintenance_status',
                       'retention_rules', 'maintenance_runs', 'cron_registrations', 'maintenance_schedule');
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
