-- The names, types, defaults and arguments that applications rely on.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS train_perf;
RESET client_min_messages;
\pset format unaligned
\pset null -

-- Columns, in order.
SELECT a.attname AS column, format_type(a.atttypid, a.atttypmod) AS type,
       CASE WHEN a.attnotnull THEN 'not null' END AS required,
       CASE a.attgenerated WHEN 's' THEN 'generated ' ELSE '' END || pg_get_expr(d.adbin, d.adrelid)
         AS "default"
  FROM pg_attribute a
  LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
 WHERE a.attrelid = 'query_performance_logs'::regclass AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY a.attnum;

SELECT a.attname AS column, format_type(a.atttypid, a.atttypmod) AS type,
       CASE WHEN a.attnotnull THEN 'not null' END AS required,
       pg_get_expr(d.adbin, d.adrelid) AS "default"
  FROM pg_attribute a
  LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
 WHERE a.attrelid = 'performance_alerts'::regclass AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY a.attnum;

SELECT a.attname AS column, format_type(a.atttypid, a.atttypmod) AS type,
       CASE WHEN a.attnotnull THEN 'not null' END AS required
  FROM pg_attribute a
 WHERE a.attrelid = 'query_stats_history'::regclass AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY a.attnum;

SELECT a.attname AS column, format_type(a.atttypid, a.atttypmod) AS type,
       CASE WHEN a.attnotnull THEN 'not null' END AS required,
       pg_get_expr(d.adbin, d.adrelid) AS "default"
  FROM pg_attribute a
  LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
 WHERE a.attrelid = 'index_usage_snapshots'::regclass AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY a.attnum;

SELECT a.attrelid::regclass AS table, a.attname AS column, format_type(a.atttypid, a.atttypmod) AS type,
       CASE WHEN a.attnotnull THEN 'not null' END AS required,
       CASE a.attgenerated WHEN 's' THEN 'generated' ELSE pg_get_expr(d.adbin, d.adrelid) END AS "default"
  FROM pg_attribute a
  LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
 WHERE a.attrelid IN ('table_bloat_snapshots'::regclass, 'index_bloat_snapshots'::regclass, 'index_findings'::regclass)
   AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY a.attrelid::regclass::text, a.attnum;

SELECT a.attname AS column, format_type(a.atttypid, a.atttypmod) AS type
  FROM pg_attribute a
 WHERE a.attrelid = 'query_stats'::regclass AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY a.attnum;

-- Constraints; the ones for NOT NULL have rows of their own since PostgreSQL 18.
SELECT conrelid::regclass AS table, contype AS kind, pg_get_constraintdef(oid) AS definition
  FROM pg_constraint
 WHERE conrelid IN ('query_performance_logs'::regclass, 'performance_alerts'::regclass,
                    'query_stats_history'::regclass, 'index_usage_snapshots'::regclass,
                    'table_bloat_snapshots'::regclass, 'index_bloat_snapshots'::regclass)
   AND contype <> 'n'
 ORDER BY conrelid::regclass::text, contype, definition;

-- How tables are partitioned; the default partitions are part of the extension.
SELECT p.partrelid::regclass AS table, pg_get_partkeydef(p.partrelid) AS by,
       p.partdefid::regclass AS default_partition
  FROM pg_partitioned_table p
 WHERE p.partrelid IN ('query_performance_logs'::regclass, 'query_stats_history'::regclass,
                       'index_usage_snapshots'::regclass, 'table_bloat_snapshots'::regclass,
                       'index_bloat_snapshots'::regclass)
 ORDER BY p.partrelid::regclass::text;

-- One open alert per fingerprint.
SELECT pg_get_indexdef('performance_alerts_open'::regclass);

-- Functions: names, arguments with their names and defaults, results.
SELECT p.proname AS function, pg_get_function_arguments(p.oid) AS arguments,
       pg_get_function_result(p.oid) AS result
  FROM pg_proc p
  JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
  JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'train_perf'
 WHERE p.proname IN ('get_slow_queries', 'get_query_stats', 'log_query_performance', 'query_stats',
                     'query_stats_reset', 'capture_status', 'capture_query_stats_snapshot', 'create_performance_alert',
                     'resolve_performance_alert', 'grant_access', 'revoke_access',
                     'link_user_profiles', 'unlink_user_profiles', 'normalize_query', 'query_hash',
                     'latency_histogram', 'latency_quantile_ms', 'merge_latency',
                     'capture_index_usage_snapshot', 'detect_unused_indexes', 'get_index_trends',
                     'check_unused_index_alerts', 'estimate_table_bloat', 'estimate_index_bloat',
                     'calculate_index_bloat', 'capture_table_bloat_snapshot', 'get_bloat_status',
                     'get_high_bloat_tables', 'check_table_bloat_alerts')
 ORDER BY 1, 2;

-- As PostgREST calls them: by name, with what the caller has.
SELECT count(*) FROM get_slow_queries(hours_back => 24, min_duration_ms => 2147483647);
SELECT count(*) FROM get_slow_queries(min_duration_ms => 2147483647);
SELECT count(*) FROM get_query_stats(start_time => '2020-01-01', end_time => '2020-01-02');
SELECT count(*) FROM get_query_stats(end_time => '2020-01-02');
SELECT count(*) FROM get_query_stats();
SELECT count(*) FROM capture_status();
SELECT count(*) FROM get_bloat_status() WHERE false;
SELECT count(*) FROM get_high_bloat_tables(threshold => 1e9);
SELECT count(*) FROM detect_unused_indexes(age_days => 36500) WHERE false;
SELECT count(*) FROM get_index_trends(table_name => 'performance_alerts', days => 7) WHERE false;
SELECT count(*) FROM estimate_table_bloat(relation => 'performance_alerts', sample_pages => 10);
SELECT count(*) FROM estimate_index_bloat(index => 'performance_alerts_open');
SELECT log_query_performance(query_text => 'select shape', duration_ms => 1) IS NOT NULL AS logged;
SELECT log_query_performance(
  query_text => 'select shape', duration_ms => 1, user_id => gen_random_uuid(), endpoint => 'GET /shape',
  parameters => '{"a": 1}', error_message => 'none', stack_trace => 'nowhere') IS NOT NULL AS logged;
SELECT resolve_performance_alert(
         alert_id => create_performance_alert(p_alert_type => 'shape', p_severity => 'info',
                                              p_message => 'by name', p_details => '{"a": 1}'),
         notes => 'seen', resolved_by => gen_random_uuid()) AS resolved;
SELECT resolve_performance_alert(
         alert_id => create_performance_alert(p_alert_type => 'shape', p_severity => 'info',
                                              p_message => 'by name')) AS resolved;
DELETE FROM performance_alerts WHERE alert_type = 'shape';
DELETE FROM query_performance_logs WHERE query_text = 'select shape';

-- Nothing public without a comment: PostgREST shows it in its description of the API.
SELECT pg_describe_object(d.classid, d.objid, 0) AS without_comment
  FROM pg_depend d
  JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'train_perf'
  LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
 WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
   AND d.classid IN ('pg_proc'::regclass, 'pg_class'::regclass)
   AND coalesce(c.relkind IN ('r', 'p', 'v', 'm', 'f'), true)
   AND obj_description(d.objid, d.classid::regclass::name) IS NULL
 ORDER BY 1;
SELECT obj_description(oid, 'pg_extension') IS NOT NULL AS commented
  FROM pg_extension WHERE extname = 'train_perf';

-- Every table, partitions included, has row level security, and a policy that leaves it to GRANT.
WITH RECURSIVE members AS (
  SELECT d.objid AS relid
    FROM pg_depend d
    JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'train_perf'
   WHERE d.refclassid = 'pg_extension'::regclass AND d.classid = 'pg_class'::regclass
     AND d.deptype = 'e'
  UNION
  SELECT i.inhrelid FROM members m JOIN pg_inherits i ON i.inhparent = m.relid
)
SELECT c.oid::regclass AS without_row_level_security
  FROM members m
  JOIN pg_class c ON c.oid = m.relid AND c.relkind IN ('r', 'p')
 WHERE NOT c.relrowsecurity
    OR NOT EXISTS (SELECT FROM pg_policy p
                    WHERE p.polrelid = c.oid AND p.polcmd = '*' AND p.polroles = '{0}'
                      AND pg_get_expr(p.polqual, p.polrelid) = 'true'
                      AND pg_get_expr(p.polwithcheck, p.polrelid) = 'true');
