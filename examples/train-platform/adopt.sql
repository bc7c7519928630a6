-- From the older PL/pgSQL version of the platform's monitoring (legacy.sql) to the extension train_perf.
--
--   psql -d app -f adopt.sql                          as a superuser; the older objects stand in public
--   psql -d app -v schema=monitoring -f adopt.sql     … in another schema
--
-- For psql, which it stops at the first error; it carries its own BEGIN and COMMIT, so that an error leaves
-- everything as it was. Running it again is harmless.
--
-- What it does, while writers of the older tables wait:
--   1. finds the older version's tables and functions in :schema;
--   2. sets them aside in the schema train_perf_legacy, with their rows, indexes, triggers, policies, grants;
--   3. installs the extension in :schema (or updates it, where an earlier run installed an earlier release);
--   4. moves back what this release has no successor for: it goes on working, and the run of adopt.sql after
--      the release that has one takes it over;
--   5. copies the rows, keeping ids, users and hashes, compares the counts, and raises
--      train_perf.log_retention of this database where it would remove the oldest of them.
-- Nothing is ever dropped: DROP SCHEMA train_perf_legacy CASCADE is yours to say.
--
-- A table or function with a name of the older version but not its shape (Rails has a schema_migrations too)
-- is never touched. If the extension needs that name, the run stops and says which one it is.
--
-- No privilege is carried over: the older version let everybody who signed in read and write. What roles had
-- is told at the end, with the call that gives it back.

\set ON_ERROR_STOP on
\if :{?schema}
\else
\set schema public
\endif

BEGIN;
SET LOCAL search_path = pg_catalog;
SET LOCAL client_min_messages = warning;
SET LOCAL row_security = off;  -- an error, rather than rows that a policy hides from the copy
SET LOCAL lock_timeout = '10s';
SELECT set_config('adopt.schema', :'schema', true) \g /dev/null

-- The older version: its tables by columns, its functions by arguments.

CREATE TEMP TABLE older_column ON COMMIT DROP AS
SELECT * FROM (VALUES
  ('query_performance_logs', 'id', 'uuid'), ('query_performance_logs', 'query_text', 'text'),
  ('query_performance_logs', 'query_hash', 'text'), ('query_performance_logs', 'duration_ms', 'integer'),
  ('query_performance_logs', 'execution_timestamp', 'timestamp with time zone'),
  ('query_performance_logs', 'user_id', 'uuid'), ('query_performance_logs', 'endpoint', 'text'),
  ('query_performance_logs', 'parameters', 'jsonb'), ('query_performance_logs', 'error_message', 'text'),
  ('query_performance_logs', 'stack_trace', 'text'), ('query_performance_logs', 'is_slow', 'boolean'),
  ('index_usage_snapshots', 'id', 'uuid'),
  ('index_usage_snapshots', 'snapshot_timestamp', 'timestamp with time zone'),
  ('index_usage_snapshots', 'schemaname', 'text'), ('index_usage_snapshots', 'tablename', 'text'),
  ('index_usage_snapshots', 'indexname', 'text'), ('index_usage_snapshots', 'idx_scan', 'bigint'),
  ('index_usage_snapshots', 'idx_tup_read', 'bigint'), ('index_usage_snapshots', 'idx_tup_fetch', 'bigint'),
  ('index_usage_snapshots', 'index_size_bytes', 'bigint'),
  ('index_usage_snapshots', 'table_size_bytes', 'bigint'),
  ('table_bloat_snapshots', 'id', 'uuid'),
  ('table_bloat_snapshots', 'snapshot_timestamp', 'timestamp with time zone'),
  ('table_bloat_snapshots', 'schemaname', 'text'), ('table_bloat_snapshots', 'tablename', 'text'),
  ('table_bloat_snapshots', 'actual_size_bytes', 'bigint'),
  ('table_bloat_snapshots', 'estimated_size_bytes', 'bigint'),
  ('table_bloat_snapshots', 'bloat_bytes', 'bigint'), ('table_bloat_snapshots', 'bloat_ratio', 'numeric'),
  ('table_bloat_snapshots', 'dead_tuples', 'bigint'), ('table_bloat_snapshots', 'live_tuples', 'bigint'),
  ('performance_alerts', 'id', 'uuid'), ('performance_alerts', 'alert_type', 'text'),
  ('performance_alerts', 'severity', 'text'), ('performance_alerts', 'message', 'text'),
  ('performance_alerts', 'details', 'jsonb'),
  ('performance_alerts', 'created_at', 'timestamp with time zone'),
  ('performance_alerts', 'resolved_at', 'timestamp with time zone'),
  ('performance_alerts', 'resolved_by', 'uuid'), ('performance_alerts', 'resolution_notes', 'text'),
  ('schema_migrations', 'version', 'bigint'), ('schema_migrations', 'description', 'text'),
  ('schema_migrations', 'applied_at', 'timestamp with time zone'), ('schema_migrations', 'applied_by', 'text'),
  ('schema_migrations', 'execution_time_ms', 'integer'), ('schema_migrations', 'checksum', 'text')
) AS columns (table_name, column_name, type);

CREATE TEMP TABLE older_function ON COMMIT DROP AS
SELECT * FROM (VALUES
  ('get_slow_queries', 'integer, integer'),
  ('get_query_stats', 'timestamp with time zone, timestamp with time zone'),
  ('log_query_performance', 'text, integer, uuid, text, jsonb, text, text'),
  ('capture_index_usage_snapshot', ''),
  ('detect_unused_indexes', 'integer'),
  ('get_index_trends', 'text, integer'),
  ('capture_table_bloat_snapshot', ''),
  ('get_bloat_status', ''),
  ('get_high_bloat_tables', 'numeric'),
  ('create_performance_alert', 'text, text, text, jsonb'),
  ('check_table_bloat_alerts', ''),
  ('resolve_performance_alert', 'uuid, text, uuid'),
  ('vacuum_analyze_table', 'text'),
  ('reindex_if_bloated', 'text, numeric'),
  ('weekly_maintenance', ''),
  ('get_current_version', ''),
  ('is_migration_applied', 'bigint')
) AS functions (name, arguments);

-- What stands in :schema under these names, without what belongs to an extension.
-- `difference` says why something is not the older version's; it is NULL for what is.

CREATE TEMP TABLE found ON COMMIT DROP AS
SELECT 'table' AS kind, c.oid, c.relname::text AS name, c.oid::regclass::text AS identity,
       CASE WHEN c.relkind <> 'r' THEN 'it is not an ordinary table'
            ELSE 'column ' || (
              SELECT string_agg(format('%s %s', o.column_name, o.type), ', ' ORDER BY o.column_name)
              FROM older_column o
              WHERE o.table_name = c.relname AND NOT EXISTS (
                SELECT FROM pg_attribute a
                WHERE a.attrelid = c.oid AND a.attname = o.column_name AND NOT a.attisdropped
                  AND format_type(a.atttypid, NULL) = o.type)) || ' is missing'
       END AS difference
FROM pg_class c
WHERE c.relnamespace = to_regnamespace(quote_ident(:'schema'))
  AND c.relname IN (SELECT table_name FROM older_column)
  AND NOT EXISTS (SELECT FROM pg_depend d
                  WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
UNION ALL
SELECT 'function', p.oid, p.proname, p.oid::regprocedure::text,
       CASE WHEN NOT EXISTS (SELECT FROM older_function o
                             WHERE o.name = p.proname AND o.arguments = oidvectortypes(p.proargtypes))
            THEN 'its arguments are others'
            WHEN l.lanname NOT IN ('plpgsql', 'sql') THEN 'it is written in ' || l.lanname
       END
FROM pg_proc p
JOIN pg_language l ON l.oid = p.prolang
WHERE p.pronamespace = to_regnamespace(quote_ident(:'schema'))
  AND p.proname IN (SELECT name FROM older_function)
  AND NOT EXISTS (SELECT FROM pg_depend d
                  WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e');

-- Is there anything to do?

DO $$
DECLARE
  target text := current_setting('adopt.schema');
  installed_in name := (SELECT nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
                        WHERE e.extname = 'train_perf');
BEGIN
  IF to_regnamespace(quote_ident(target)) IS NULL THEN
    RAISE invalid_schema_name USING MESSAGE = format('schema %I does not exist', target),
      HINT = 'Say where the older objects stand: psql -v schema=… -f adopt.sql';
  END IF;
  IF NOT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'train_perf') THEN
    RAISE undefined_file USING MESSAGE = 'the extension train_perf is not installed on this server',
      HINT = 'make && make install';
  END IF;
  IF installed_in <> target AND EXISTS (SELECT FROM found WHERE difference IS NULL) THEN
    RAISE duplicate_object USING
      MESSAGE = format('train_perf is installed in schema %I, the older objects stand in %I', installed_in,
                       target),
      HINT = 'adopt.sql puts the extension where applications look for these names. If nothing has been '
             'collected yet: DROP EXTENSION train_perf, then run adopt.sql again.';
  END IF;
END
$$;

SELECT NOT EXISTS (SELECT FROM found WHERE difference IS NULL) AS nothing_old,
       e.extversion IS NOT NULL AS installed,
       coalesce(e.extversion = a.default_version, false) AS up_to_date,
       a.default_version AS release,
       (SELECT string_agg(name, ', ' ORDER BY kind DESC, name) FROM found WHERE difference IS NULL) AS old_names
FROM pg_available_extensions a
LEFT JOIN pg_extension e ON e.extname = a.name
WHERE a.name = 'train_perf' \gset

\if :nothing_old
  \echo Nothing to adopt: schema :schema has no object of the older version.
  ROLLBACK;
  \quit
\endif
\if :up_to_date
  \echo Nothing to adopt: train_perf :release is installed in schema :schema, and has no successor yet for
  \echo :old_names
  ROLLBACK;
  \quit
\endif

-- Aside with them. ACCESS EXCLUSIVE from here to COMMIT: who waits finds the new table afterwards.

CREATE SCHEMA IF NOT EXISTS train_perf_legacy;
COMMENT ON SCHEMA train_perf_legacy IS
  'Monitoring objects from before the extension train_perf, set aside by adopt.sql; nothing uses them.';

SELECT format('ALTER %s %s SET SCHEMA train_perf_legacy', kind, identity)
FROM found WHERE difference IS NULL ORDER BY kind DESC, name \gexec

DO $$
DECLARE
  others text := (SELECT string_agg(format('%s %s is not the older version''s: %s', kind, identity, difference),
                                    E'\n' ORDER BY kind DESC, identity)
                  FROM found WHERE difference IS NOT NULL);
  detail text;
BEGIN
  IF EXISTS (SELECT FROM pg_extension WHERE extname = 'train_perf') THEN
    ALTER EXTENSION train_perf UPDATE;
  ELSE
    EXECUTE format('CREATE EXTENSION train_perf SCHEMA %I', current_setting('adopt.schema'));
  END IF;
EXCEPTION WHEN duplicate_table OR duplicate_function OR duplicate_object THEN
  GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
  RAISE USING ERRCODE = SQLSTATE, MESSAGE = 'nothing was adopted: ' || SQLERRM,
    DETAIL = concat_ws(E'\n', nullif(detail, ''), others),
    HINT = 'Rename it or move it to another schema, then run adopt.sql again.';
END
$$;

-- The extension's own tables and functions by name: these are the successors.

CREATE TEMP TABLE successor ON COMMIT DROP AS
SELECT 'table' AS kind, c.oid, c.relname::text AS name, c.oid::regclass::text AS identity
FROM pg_extension e
JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid AND c.relkind IN ('r', 'p')
WHERE e.extname = 'train_perf'
UNION ALL
SELECT 'function', p.oid, p.proname, p.oid::regprocedure::text
FROM pg_extension e
JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
WHERE e.extname = 'train_perf';

CREATE TEMP TABLE adopted ON COMMIT DROP AS
SELECT kind, oid, name, oid::regclass::text AS identity FROM found
WHERE kind = 'table' AND difference IS NULL AND (kind, name) IN (SELECT kind, name FROM successor)
UNION ALL
SELECT kind, oid, name, oid::regprocedure::text FROM found
WHERE kind = 'function' AND difference IS NULL AND (kind, name) IN (SELECT kind, name FROM successor);

SELECT format('ALTER %s %s SET SCHEMA %I', kind,
              CASE kind WHEN 'table' THEN oid::regclass::text ELSE oid::regprocedure::text END, :'schema')
FROM found
WHERE difference IS NULL AND oid NOT IN (SELECT oid FROM adopted) ORDER BY kind DESC, name \gexec

-- A function of the same name with other arguments would make calls ambiguous, or answer in our place.

DO $$
DECLARE
  rival record;
BEGIN
  FOR rival IN
    SELECT f.identity, f.difference FROM found f
    WHERE f.kind = 'function' AND f.difference IS NOT NULL
      AND f.name IN (SELECT name FROM successor WHERE kind = 'function')
  LOOP
    RAISE duplicate_function USING
      MESSAGE = format('nothing was adopted: function %s has a name of train_perf', rival.identity),
      DETAIL = 'It is not the older version''s: ' || rival.difference,
      HINT = 'Rename it or move it to another schema, then run adopt.sql again.';
  END LOOP;
END
$$;

-- The rows. Columns of the same name, but for generated ones. Where the new table wants a time and the older
-- row has none (or -infinity), it gets one before all known ones, so that it never counts as recent; a
-- microsecond apart, since snapshots are unique by time. Hashes that are there stay: the application may look
-- for them.

CREATE TEMP TABLE copy_column ON COMMIT DROP AS
SELECT a.oid AS old_table, n.oid AS new_table, a.name AS table_name, new_column.attname AS column_name,
       new_column.attnum AS position,
       new_column.attnotnull AND new_column.atttypid = 'timestamptz'::regtype AS needs_time,
       new_column.attname = 'query_hash' AS needs_hash
FROM adopted a
JOIN successor n ON n.kind = a.kind AND n.name = a.name
JOIN pg_attribute new_column ON new_column.attrelid = n.oid AND new_column.attnum > 0
  AND NOT new_column.attisdropped AND new_column.attgenerated = ''
JOIN pg_attribute old_column ON old_column.attrelid = a.oid AND old_column.attname = new_column.attname
  AND old_column.attnum > 0 AND NOT old_column.attisdropped
WHERE a.kind = 'table';

SELECT format('INSERT INTO %s (%s) SELECT %s FROM %s', new_table::regclass,
              string_agg(quote_ident(column_name), ', ' ORDER BY position),
              string_agg(CASE WHEN needs_time
                              THEN format('coalesce(nullif(%1$I, ''-infinity''), (SELECT coalesce(min(%1$I) '
                                          'FILTER (WHERE isfinite(%1$I)), now()) FROM %2$s)'
                                          ' - row_number() OVER () * interval ''1 microsecond'')',
                                          column_name, old_table::regclass)
                              WHEN needs_hash
                              THEN format('coalesce(query_hash, %I.query_hash(query_text))', :'schema')
                              ELSE quote_ident(column_name) END, ', ' ORDER BY position),
              old_table::regclass)
FROM copy_column GROUP BY old_table, new_table ORDER BY min(table_name) \gexec

CREATE TEMP TABLE counted (table_name text, rows_before bigint, rows_after bigint, without_time bigint)
  ON COMMIT DROP;

SELECT format('INSERT INTO counted SELECT %L, (SELECT count(*) FROM %s), (SELECT count(*) FROM %s), (%s)',
              table_name, old_table::regclass, new_table::regclass,
              CASE WHEN bool_or(needs_time)
                   THEN format('SELECT count(*) FROM %s WHERE coalesce(%I, ''-infinity'') = ''-infinity''',
                               old_table::regclass, min(column_name) FILTER (WHERE needs_time))
                   ELSE '0' END)
FROM copy_column GROUP BY table_name, old_table, new_table \gexec

\echo Rows of the older tables and of their successors:
SELECT table_name, rows_before, rows_after FROM counted ORDER BY table_name;

DO $$
BEGIN
  IF EXISTS (SELECT FROM counted WHERE rows_before <> rows_after) THEN
    RAISE data_exception USING MESSAGE = 'nothing was adopted: a table would have got another number of rows',
      DETAIL = (SELECT string_agg(format('%s: %s before, %s after', table_name, rows_before, rows_after), E'\n')
                FROM counted WHERE rows_before <> rows_after);
  END IF;
END
$$;

-- Users stay linked where they were; both older columns pointed to the same table.

DO $$
DECLARE
  users regclass := (SELECT min(k.confrelid)::regclass
                     FROM pg_constraint k
                     JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey)
                     WHERE k.contype = 'f' AND a.attname IN ('user_id', 'resolved_by')
                       AND k.conrelid IN (SELECT oid FROM adopted WHERE kind = 'table'));
BEGIN
  IF users IS NOT NULL THEN
    EXECUTE format('SELECT %I.link_user_profiles($1)', current_setting('adopt.schema')) USING users;
  END IF;
END
$$;

-- The log is kept for a week, what is older goes: adopted rows stay as long as if they had just been written.

CREATE TEMP TABLE retention ON COMMIT DROP AS
SELECT ceil(extract(epoch FROM now() - oldest + keep) / 86400) || 'd' AS needed, keep
FROM (SELECT min(execution_timestamp) FILTER (WHERE isfinite(execution_timestamp)) AS oldest
      FROM :"schema".query_performance_logs) AS log,
     (SELECT coalesce(current_setting('train_perf.log_retention', true), '7d')::interval AS keep) AS setting
WHERE oldest < now() - keep AND EXISTS (SELECT FROM adopted WHERE name = 'query_performance_logs');

SELECT format('ALTER DATABASE %I SET train_perf.log_retention = %L', current_database(), needed)
FROM retention \gexec

-- What the owner of the database should know.

CREATE TEMP TABLE remark (position integer GENERATED ALWAYS AS IDENTITY, text text) ON COMMIT DROP;

INSERT INTO remark (text)
SELECT 'set aside: ' || string_agg(identity, ', ' ORDER BY kind DESC, identity) FROM adopted;

INSERT INTO remark (text)
SELECT 'left where it is, this release has no successor for it: '
       || string_agg(name, ', ' ORDER BY kind DESC, name)
FROM found WHERE difference IS NULL AND oid NOT IN (SELECT oid FROM adopted);

INSERT INTO remark (text)
SELECT format('%s row(s) of %s had no time and got one before all others', without_time, table_name)
FROM counted WHERE without_time > 0;

INSERT INTO remark (text)
SELECT format('column %I of %s is not in the new table: its values are in train_perf_legacy only',
              a.attname, t.name)
FROM adopted t
JOIN successor n ON n.kind = t.kind AND n.name = t.name
JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE t.kind = 'table' AND NOT EXISTS (SELECT FROM pg_attribute new_column
                                       WHERE new_column.attrelid = n.oid AND new_column.attname = a.attname);

-- Views, foreign keys, policies, row types: these follow the older object to where it is now.
INSERT INTO remark (text)
SELECT DISTINCT format('still uses the older objects in train_perf_legacy: %s',
                       pg_describe_object(home.classid, home.objid, 0))
FROM (SELECT 'pg_class'::regclass AS classid, oid FROM adopted WHERE kind = 'table'
      UNION ALL
      SELECT 'pg_type'::regclass, t.oid FROM adopted a JOIN pg_type t ON t.typrelid = a.oid
      UNION ALL
      SELECT 'pg_proc'::regclass, oid FROM adopted WHERE kind = 'function') AS moved
JOIN pg_depend d ON d.refclassid = moved.classid AND d.refobjid = moved.oid AND d.deptype IN ('n', 'a')
LEFT JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
LEFT JOIN pg_constraint k ON d.classid = 'pg_constraint'::regclass AND k.oid = d.objid
LEFT JOIN pg_trigger t ON d.classid = 'pg_trigger'::regclass AND t.oid = d.objid
LEFT JOIN pg_policy p ON d.classid = 'pg_policy'::regclass AND p.oid = d.objid
LEFT JOIN pg_attrdef f ON d.classid = 'pg_attrdef'::regclass AND f.oid = d.objid
LEFT JOIN pg_index i ON d.classid = 'pg_class'::regclass AND i.indexrelid = d.objid
CROSS JOIN LATERAL (
  SELECT CASE WHEN relation.oid IS NULL THEN d.classid ELSE 'pg_class'::regclass END AS classid,
         coalesce(relation.oid, d.objid) AS objid
  FROM (SELECT coalesce(r.ev_class, nullif(k.conrelid, 0), t.tgrelid, p.polrelid, f.adrelid, i.indrelid) AS oid)
    AS relation) AS home
WHERE home.objid NOT IN (SELECT oid FROM adopted);

-- Bodies of functions are text: these find the extension's objects from now on.
INSERT INTO remark (text)
SELECT 'names older objects in its body and finds those of train_perf from now on: '
       || string_agg(p.oid::regprocedure::text, ', ' ORDER BY p.oid::regprocedure::text)
FROM pg_proc p
WHERE p.prosrc ~ (SELECT '\m(' || string_agg(DISTINCT name, '|') || ')\M' FROM adopted)
  AND p.prosqlbody IS NULL
  AND p.oid NOT IN (SELECT oid FROM adopted UNION ALL SELECT oid FROM successor)
  AND p.pronamespace::regnamespace::text !~ '^(pg_|information_schema)'
  AND NOT EXISTS (SELECT FROM pg_depend d
                  WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e');

INSERT INTO remark (text)
SELECT format('train_perf.log_retention of database %I is %s now, so that the collector does not remove what was '
              'copied; ALTER DATABASE %I RESET train_perf.log_retention goes back to %s',
              current_database(), needed, current_database(), keep)
FROM retention;

INSERT INTO remark (text)
SELECT format('privileges on the older tables that were not carried over: %s. A server key gets what it needs '
              'by SELECT %I.grant_access(''%s'', ''operate'')',
              string_agg(format('%s (%s)', grantee, privileges), '; ' ORDER BY grantee), :'schema',
              coalesce(max(grantee) FILTER (WHERE grantee = 'service_role'), 'role'))
FROM (SELECT coalesce(r.rolname, 'PUBLIC') AS grantee,
             string_agg(DISTINCT g.privilege_type, ', ' ORDER BY g.privilege_type) AS privileges
      FROM adopted a
      JOIN pg_class c ON c.oid = a.oid AND a.kind = 'table'
      CROSS JOIN LATERAL aclexplode(c.relacl) AS g
      LEFT JOIN pg_roles r ON r.oid = g.grantee
      WHERE g.grantee <> c.relowner
      GROUP BY 1) AS granted
HAVING count(*) > 0;

SET LOCAL client_min_messages = notice;
DO $$
DECLARE
  told text;
BEGIN
  FOR told IN SELECT text FROM remark WHERE text IS NOT NULL ORDER BY position LOOP
    RAISE NOTICE '%', told;
  END LOOP;
END
$$;

COMMIT;
