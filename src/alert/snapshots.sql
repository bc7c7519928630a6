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

CREATE FUNCTION check_table_bloat_alerts() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT check_bloat_alerts('table'::text);
END;
COMMENT ON FUNCTION check_table_bloat_alerts() IS
  'Raises, updates and resolves the high_bloat alerts of tables by the latest snapshot of each, as '
  'alert_thresholds() says. Returns how many tables are above a threshold now.';

CREATE FUNCTION check_index_bloat_alerts() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT check_bloat_alerts('index'::text);
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
