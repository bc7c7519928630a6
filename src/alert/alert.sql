-- Alerts, and the log functions that raise them.

CREATE TABLE performance_alerts (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  alert_type text NOT NULL,
  severity text NOT NULL CHECK (severity IN ('info', 'warning', 'error', 'critical')),
  message text NOT NULL,
  details jsonb DEFAULT '{}',
  created_at timestamptz DEFAULT now(),
  resolved_at timestamptz,
  resolved_by uuid,
  resolution_notes text,
  fingerprint text,
  last_seen_at timestamptz,
  occurrences bigint NOT NULL DEFAULT 1,
  acknowledged_at timestamptz
);
CREATE UNIQUE INDEX performance_alerts_open ON performance_alerts (fingerprint)
  WHERE resolved_at IS NULL;
CREATE INDEX performance_alerts_created ON performance_alerts (created_at);
SELECT pg_catalog.pg_extension_config_dump('performance_alerts', '');

COMMENT ON TABLE performance_alerts IS
  'What needs attention. At most one open alert (resolved_at IS NULL) per fingerprint: it is updated '
  'in place.';
COMMENT ON COLUMN performance_alerts.fingerprint IS 'What the alert is about; NULL: nothing in particular.';
COMMENT ON COLUMN performance_alerts.occurrences IS 'How often it has happened while the alert was open.';
COMMENT ON COLUMN performance_alerts.last_seen_at IS 'When it last happened.';
COMMENT ON COLUMN performance_alerts.resolved_by IS 'Who resolved it: a user of the application.';

CREATE FUNCTION severity_rank(severity text) RETURNS integer
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
BEGIN ATOMIC
  SELECT CASE severity_rank.severity
           WHEN 'info' THEN 1 WHEN 'warning' THEN 2 WHEN 'error' THEN 3 WHEN 'critical' THEN 4 END;
END;
COMMENT ON FUNCTION severity_rank(text) IS 'Severities in order: info 1, warning 2, error 3, critical 4.';

CREATE FUNCTION create_performance_alert(p_alert_type text, p_severity text, p_message text,
                                         p_details jsonb DEFAULT '{}')
RETURNS uuid
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  INSERT INTO performance_alerts AS open (alert_type, severity, message, details, fingerprint,
                                          last_seen_at)
  VALUES (p_alert_type, p_severity, p_message, coalesce(p_details, '{}'),
          p_details ->> 'fingerprint', now())
  ON CONFLICT (fingerprint) WHERE resolved_at IS NULL DO UPDATE
     SET alert_type = excluded.alert_type, severity = excluded.severity,
         message = excluded.message, details = excluded.details,
         last_seen_at = excluded.last_seen_at, occurrences = open.occurrences + 1
  RETURNING open.id;
END;
COMMENT ON FUNCTION create_performance_alert(text, text, text, jsonb) IS
  'Raises an alert and returns its id. If p_details has a fingerprint that an open alert has, that one '
  'is updated instead.';

CREATE FUNCTION resolve_performance_alert(alert_id uuid, notes text DEFAULT NULL,
                                          resolved_by uuid DEFAULT NULL)
RETURNS boolean
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  WITH resolved AS (
    UPDATE performance_alerts a
       SET resolved_at = now(),
           resolution_notes = coalesce(resolve_performance_alert.notes, a.resolution_notes),
           resolved_by = resolve_performance_alert.resolved_by
     WHERE a.id = resolve_performance_alert.alert_id AND a.resolved_at IS NULL
    RETURNING 1
  )
  SELECT EXISTS (SELECT FROM resolved);
END;
COMMENT ON FUNCTION resolve_performance_alert(uuid, text, uuid) IS
  'Resolves an open alert; false if there is no such open alert.';

CREATE FUNCTION slow_query_severity(duration_ms numeric) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
BEGIN ATOMIC
  SELECT CASE WHEN slow_query_severity.duration_ms > 2000::numeric THEN 'error'
              WHEN slow_query_severity.duration_ms > 1000::numeric THEN 'warning'
              WHEN slow_query_severity.duration_ms > 500::numeric THEN 'info' END;
END;
COMMENT ON FUNCTION slow_query_severity(numeric) IS
  'The severity of one slow statement by its duration; NULL up to 500 ms.';

CREATE FUNCTION max_duration_in(details jsonb) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
  -- Whoever may update alerts may write anything here.
  SELECT CASE WHEN jsonb_typeof(max_duration_in.details -> 'max_duration_ms') = 'number'
              THEN (max_duration_in.details ->> 'max_duration_ms')::numeric END;
END;
COMMENT ON FUNCTION max_duration_in(jsonb) IS
  'The longest duration in ms that the details of a slow_query alert tell; NULL if they tell none.';

CREATE FUNCTION raise_slow_query_alert(query_hash text, query_text text, duration_ms numeric,
                                       executions bigint, endpoint text, last_execution timestamptz)
RETURNS uuid
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  INSERT INTO performance_alerts AS open (alert_type, severity, message, details, fingerprint,
                                          occurrences, created_at, last_seen_at)
  SELECT 'slow_query', slow_query_severity(s.duration_ms),
         'Statement took ' || round(s.duration_ms)::text || ' ms: ' || left(s.query_text, 200),
         pg_catalog.jsonb_build_object('query_hash', s.query_hash, 'query', left(s.query_text, 1000),
                            'max_duration_ms', round(s.duration_ms), 'endpoint', s.endpoint),
         'slow_query:' || s.query_hash, s.executions, least(now(), s.last_execution),
         s.last_execution
    FROM (SELECT raise_slow_query_alert.query_hash, raise_slow_query_alert.query_text,
                 raise_slow_query_alert.duration_ms, raise_slow_query_alert.executions,
                 raise_slow_query_alert.endpoint, raise_slow_query_alert.last_execution) s
   WHERE slow_query_severity(s.duration_ms) IS NOT NULL
  ON CONFLICT (fingerprint) WHERE resolved_at IS NULL DO UPDATE
     SET occurrences = open.occurrences + excluded.occurrences,
         last_seen_at = greatest(open.last_seen_at, excluded.last_seen_at),
         -- The worst so far stays on show while the alert is open.
         severity = CASE WHEN severity_rank(excluded.severity) > severity_rank(open.severity)
                         THEN excluded.severity ELSE open.severity END,
         message = CASE WHEN max_duration_in(excluded.details) >
                             coalesce(max_duration_in(open.details), 0::numeric)
                        THEN excluded.message ELSE open.message END,
         details = coalesce(open.details, '{}') || excluded.details || pg_catalog.jsonb_build_object(
           'max_duration_ms', greatest(max_duration_in(excluded.details),
                                       max_duration_in(open.details)),
           'endpoint', coalesce(excluded.details ->> 'endpoint', open.details ->> 'endpoint'))
  RETURNING open.id;
END;
COMMENT ON FUNCTION raise_slow_query_alert(text, text, numeric, bigint, text, timestamptz) IS
  'Raises or updates the one open slow_query alert of a statement; nothing up to 500 ms.';

CREATE FUNCTION log_query_performance(query_text text, duration_ms integer,
                                      user_id uuid DEFAULT NULL, endpoint text DEFAULT NULL,
                                      parameters jsonb DEFAULT NULL,
                                      error_message text DEFAULT NULL,
                                      stack_trace text DEFAULT NULL)
RETURNS uuid
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT raise_slow_query_alert(query_hash(log_query_performance.query_text),
                                log_query_performance.query_text,
                                log_query_performance.duration_ms, 1,
                                log_query_performance.endpoint, now());
  INSERT INTO query_performance_logs (query_text, query_hash, duration_ms, user_id, endpoint,
                                      parameters, error_message, stack_trace)
  VALUES (log_query_performance.query_text, query_hash(log_query_performance.query_text),
          log_query_performance.duration_ms, log_query_performance.user_id,
          log_query_performance.endpoint, log_query_performance.parameters,
          log_query_performance.error_message, log_query_performance.stack_trace)
  RETURNING id;
END;
COMMENT ON FUNCTION log_query_performance(text, integer, uuid, text, jsonb, text, text) IS
  'Logs a call that the application timed itself, raises the slow_query alert if it was slow, and '
  'returns the id of the row.';

CREATE FUNCTION get_slow_queries(hours_back integer DEFAULT 24, min_duration_ms integer DEFAULT 500)
RETURNS TABLE (query_text text, avg_duration_ms numeric, max_duration_ms integer,
               execution_count bigint, last_execution timestamptz)
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT min(normalize_query(l.query_text)), round(avg(l.duration_ms), 2), max(l.duration_ms), count(*),
         max(l.execution_timestamp)
    FROM query_performance_logs l
   WHERE l.execution_timestamp > now() - pg_catalog.make_interval(hours => get_slow_queries.hours_back)
     AND l.duration_ms >= get_slow_queries.min_duration_ms
   -- An application's own hash may be of anything.
   GROUP BY CASE WHEN l.duration_us IS NULL THEN query_hash(l.query_text) ELSE l.query_hash END
   ORDER BY avg(l.duration_ms) DESC, max(l.duration_ms) DESC
   LIMIT 50;
END;
COMMENT ON FUNCTION get_slow_queries(integer, integer) IS
  'The 50 statements with the highest average duration among logged executions of at least '
  'min_duration_ms in the last hours_back hours.';

CREATE FUNCTION collect_events() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  WITH batch AS MATERIALIZED (
    SELECT * FROM queued_events()
  ), logged AS (
    INSERT INTO query_performance_logs (
      query_text, query_hash, duration_ms, duration_us, execution_timestamp, user_id, endpoint,
      parameters, error_message, stack_trace, queryid, database_user, application_name,
      client_addr, sqlstate, rows, shared_blks_hit, shared_blks_read, temp_blks_written,
      wal_bytes, trace_id, tags, plan)
    SELECT b.query_text, b.query_hash, least(round(b.duration_us::numeric / 1000.0), 2147483647.0)::integer,
           b.duration_us, b.execution_timestamp, b.user_id, b.endpoint, b.parameters,
           b.error_message, b.stack_trace, b.queryid, b.database_user, b.application_name,
           b.client_addr, b.sqlstate, b.rows, b.shared_blks_hit, b.shared_blks_read,
           b.temp_blks_written, b.wal_bytes, b.trace_id, b.tags, b.plan
      FROM batch b
    RETURNING 1
  ), slow AS (
    SELECT b.query_hash, min(normalize_query(b.query_text)) AS query_text,
           max(b.duration_us)::numeric / 1000.0 AS duration_ms, count(*) AS executions,
           max(b.endpoint) AS endpoint, max(b.execution_timestamp) AS last_execution
      FROM batch b
     WHERE b.duration_us > 500000::bigint
     GROUP BY b.query_hash
  ), raised AS (
    SELECT pg_catalog.count(raise_slow_query_alert(s.query_hash, s.query_text, s.duration_ms, s.executions,
                                        s.endpoint, s.last_execution)) AS alerts
      FROM slow s
  )
  SELECT greatest((SELECT count(*) FROM logged), r.alerts)::integer FROM raised r;
END;
COMMENT ON FUNCTION collect_events() IS
  'Writes the next batch of queued events to query_performance_logs and raises their alerts; the '
  'collector''s work. Returns the rows written.';
