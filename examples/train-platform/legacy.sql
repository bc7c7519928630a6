-- The older version of the platform's monitoring, PL/pgSQL only, as it stood in its database before train_perf.
--
--   psql -v ON_ERROR_STOP=1 -f roles.sql -f legacy.sql -f legacy_data.sql
--
-- Kept as what adopt.sql is written for and tested with. The application timed its own calls and inserted
-- the slow ones; everything else was estimated from the statistics views.

BEGIN;
SET LOCAL client_min_messages = warning;

CREATE TABLE IF NOT EXISTS user_profiles (
  id uuid PRIMARY KEY
);

CREATE TABLE query_performance_logs (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  query_text text NOT NULL,
  query_hash text,
  duration_ms integer NOT NULL CHECK (duration_ms >= 0),
  execution_timestamp timestamptz DEFAULT now(),
  user_id uuid REFERENCES user_profiles ON DELETE SET NULL,
  endpoint text,
  parameters jsonb,
  error_message text,
  stack_trace text,
  is_slow boolean GENERATED ALWAYS AS (duration_ms > 500) STORED
);

CREATE TABLE index_usage_snapshots (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  snapshot_timestamp timestamptz DEFAULT now(),
  schemaname text NOT NULL,
  tablename text NOT NULL,
  indexname text NOT NULL,
  idx_scan bigint NOT NULL,
  idx_tup_read bigint,
  idx_tup_fetch bigint,
  index_size_bytes bigint,
  table_size_bytes bigint,
  UNIQUE (snapshot_timestamp, schemaname, tablename, indexname)
);

CREATE TABLE table_bloat_snapshots (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  snapshot_timestamp timestamptz DEFAULT now(),
  schemaname text NOT NULL,
  tablename text NOT NULL,
  actual_size_bytes bigint NOT NULL,
  estimated_size_bytes bigint NOT NULL,
  bloat_bytes bigint GENERATED ALWAYS AS (actual_size_bytes - estimated_size_bytes) STORED,
  bloat_ratio numeric GENERATED ALWAYS AS (
    CASE WHEN estimated_size_bytes = 0 THEN 0
         ELSE round((actual_size_bytes - estimated_size_bytes)::numeric / estimated_size_bytes * 100, 2)
    END) STORED,
  dead_tuples bigint,
  live_tuples bigint,
  UNIQUE (snapshot_timestamp, schemaname, tablename)
);

CREATE TABLE performance_alerts (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  alert_type text NOT NULL,
  severity text NOT NULL CHECK (severity IN ('info', 'warning', 'error', 'critical')),
  message text NOT NULL,
  details jsonb DEFAULT '{}',
  created_at timestamptz DEFAULT now(),
  resolved_at timestamptz,
  resolved_by uuid REFERENCES user_profiles ON DELETE SET NULL,
  resolution_notes text
);

CREATE TABLE schema_migrations (
  version bigint PRIMARY KEY CHECK (version > 0),
  description text NOT NULL,
  applied_at timestamptz DEFAULT now(),
  applied_by text DEFAULT current_user,
  execution_time_ms integer,
  checksum text
);

CREATE INDEX idx_query_performance_logs_slow ON query_performance_logs (duration_ms DESC) WHERE is_slow;
CREATE INDEX idx_query_performance_logs_timestamp ON query_performance_logs (execution_timestamp DESC);
CREATE INDEX idx_query_performance_logs_hash ON query_performance_logs (query_hash);
CREATE INDEX idx_query_performance_logs_user ON query_performance_logs (user_id);
CREATE INDEX idx_index_usage_snapshots_timestamp ON index_usage_snapshots (snapshot_timestamp DESC);
CREATE INDEX idx_table_bloat_snapshots_timestamp ON table_bloat_snapshots (snapshot_timestamp DESC);
CREATE INDEX idx_performance_alerts_unresolved ON performance_alerts (created_at DESC) WHERE resolved_at IS NULL;
CREATE INDEX idx_performance_alerts_type ON performance_alerts (alert_type, severity);
CREATE INDEX idx_schema_migrations_applied_at ON schema_migrations (applied_at DESC);

-- Queries

CREATE FUNCTION set_query_hash() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.query_hash := coalesce(NEW.query_hash, md5(regexp_replace(NEW.query_text, '\s+', ' ', 'g')));
  RETURN NEW;
END
$$;

CREATE TRIGGER query_performance_logs_hash BEFORE INSERT ON query_performance_logs
  FOR EACH ROW EXECUTE FUNCTION set_query_hash();

CREATE FUNCTION log_query_performance(query_text text, duration_ms integer, user_id uuid DEFAULT NULL,
  endpoint text DEFAULT NULL, parameters jsonb DEFAULT NULL, error_message text DEFAULT NULL,
  stack_trace text DEFAULT NULL)
RETURNS uuid LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
  new_id uuid;
BEGIN
  INSERT INTO query_performance_logs
    (query_text, duration_ms, user_id, endpoint, parameters, error_message, stack_trace)
  VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id INTO new_id;
  RETURN new_id;
END
$$;

CREATE FUNCTION get_slow_queries(hours_back integer DEFAULT 24, min_duration_ms integer DEFAULT 500)
RETURNS TABLE (query_text text, avg_duration_ms numeric, max_duration_ms integer, execution_count bigint,
  last_execution timestamptz)
LANGUAGE plpgsql AS $$
BEGIN
  RETURN QUERY
  SELECT q.query_text, round(avg(q.duration_ms), 2), max(q.duration_ms), count(*), max(q.execution_timestamp)
  FROM query_performance_logs q
  WHERE q.execution_timestamp >= now() - hours_back * interval '1 hour' AND q.duration_ms >= min_duration_ms
  GROUP BY q.query_text
  ORDER BY avg(q.duration_ms) DESC
  LIMIT 50;
END
$$;

CREATE FUNCTION get_query_stats(start_time timestamptz, end_time timestamptz)
RETURNS TABLE (total_queries bigint, slow_queries bigint, avg_duration_ms numeric, p50_duration_ms numeric,
  p95_duration_ms numeric, p99_duration_ms numeric)
LANGUAGE plpgsql AS $$
BEGIN
  RETURN QUERY
  SELECT count(*), count(*) FILTER (WHERE is_slow), round(avg(duration_ms), 2),
         percentile_cont(0.5) WITHIN GROUP (ORDER BY duration_ms)::numeric,
         percentile_cont(0.95) WITHIN GROUP (ORDER BY duration_ms)::numeric,
         percentile_cont(0.99) WITHIN GROUP (ORDER BY duration_ms)::numeric
  FROM query_performance_logs
  WHERE execution_timestamp BETWEEN start_time AND end_time;
END
$$;

-- Indexes

CREATE FUNCTION capture_index_usage_snapshot() RETURNS integer LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
  written integer;
BEGIN
  INSERT INTO index_usage_snapshots (schemaname, tablename, indexname, idx_scan, idx_tup_read, idx_tup_fetch,
    index_size_bytes, table_size_bytes)
  SELECT s.schemaname, s.relname, s.indexrelname, s.idx_scan, s.idx_tup_read, s.idx_tup_fetch,
         pg_relation_size(s.indexrelid), pg_relation_size(s.relid)
  FROM pg_stat_user_indexes s;
  GET DIAGNOSTICS written = ROW_COUNT;
  RETURN written;
END
$$;

CREATE FUNCTION detect_unused_indexes(age_days integer DEFAULT 30)
RETURNS TABLE (schemaname text, tablename text, indexname text, index_size text, idx_scan bigint,
  days_since_last_scan integer)
LANGUAGE plpgsql AS $$
BEGIN
  RETURN QUERY
  SELECT s.schemaname, s.tablename, s.indexname, pg_size_pretty(max(s.index_size_bytes)), max(s.idx_scan),
         extract(day FROM now() - min(s.snapshot_timestamp))::integer
  FROM index_usage_snapshots s
  WHERE s.snapshot_timestamp >= now() - age_days * interval '1 day'
  GROUP BY s.schemaname, s.tablename, s.indexname
  HAVING max(s.idx_scan) = min(s.idx_scan) AND max(s.index_size_bytes) > 100 * 1024;
END
$$;

CREATE FUNCTION get_index_trends(table_name text, days integer DEFAULT 7)
RETURNS TABLE (indexname text, scans_per_day numeric[])
LANGUAGE plpgsql AS $$
BEGIN
  RETURN QUERY
  SELECT daily.indexname, array_agg(daily.scans ORDER BY daily.day)
  FROM (SELECT s.indexname, date_trunc('day', s.snapshot_timestamp) AS day,
               (max(s.idx_scan) - min(s.idx_scan))::numeric AS scans
        FROM index_usage_snapshots s
        WHERE s.tablename = table_name AND s.snapshot_timestamp >= now() - days * interval '1 day'
        GROUP BY 1, 2) AS daily
  GROUP BY daily.indexname;
END
$$;

-- Tables

CREATE FUNCTION capture_table_bloat_snapshot() RETURNS integer LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
  written integer;
BEGIN
  INSERT INTO table_bloat_snapshots (schemaname, tablename, actual_size_bytes, estimated_size_bytes,
    dead_tuples, live_tuples)
  SELECT schemaname, relname, pg_relation_size(relid), n_live_tup * 100 + 8192, n_dead_tup, n_live_tup
  FROM pg_stat_user_tables;
  GET DIAGNOSTICS written = ROW_COUNT;
  RETURN written;
END
$$;

CREATE FUNCTION get_bloat_status() RETURNS SETOF table_bloat_snapshots LANGUAGE plpgsql AS $$
BEGIN
  RETURN QUERY
  SELECT DISTINCT ON (schemaname, tablename) * FROM table_bloat_snapshots
  ORDER BY schemaname, tablename, snapshot_timestamp DESC;
END
$$;

CREATE FUNCTION get_high_bloat_tables(threshold numeric DEFAULT 20) RETURNS SETOF table_bloat_snapshots
LANGUAGE plpgsql AS $$
BEGIN
  RETURN QUERY SELECT * FROM get_bloat_status() WHERE bloat_ratio > threshold ORDER BY bloat_ratio DESC;
END
$$;

-- Alerts

CREATE FUNCTION create_performance_alert(p_alert_type text, p_severity text, p_message text,
  p_details jsonb DEFAULT '{}')
RETURNS uuid LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
  new_id uuid;
BEGIN
  INSERT INTO performance_alerts (alert_type, severity, message, details)
  VALUES (p_alert_type, p_severity, p_message, p_details) RETURNING id INTO new_id;
  RETURN new_id;
END
$$;

CREATE FUNCTION check_table_bloat_alerts() RETURNS integer LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
  bloated table_bloat_snapshots;
  raised integer := 0;
BEGIN
  FOR bloated IN SELECT * FROM get_high_bloat_tables(20) LOOP
    PERFORM create_performance_alert('high_bloat',
      CASE WHEN bloated.bloat_ratio > 50 THEN 'critical' WHEN bloated.bloat_ratio > 35 THEN 'error'
           ELSE 'warning' END,
      format('Table %s is bloated by %s %%', bloated.tablename, bloated.bloat_ratio),
      jsonb_build_object('table', bloated.tablename, 'bloat_ratio', bloated.bloat_ratio));
    raised := raised + 1;
  END LOOP;
  RETURN raised;
END
$$;

CREATE FUNCTION resolve_performance_alert(alert_id uuid, notes text DEFAULT NULL, resolved_by uuid DEFAULT NULL)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
  UPDATE performance_alerts a
  SET resolved_at = now(), resolution_notes = notes, resolved_by = $3
  WHERE a.id = alert_id AND a.resolved_at IS NULL;
  RETURN FOUND;
END
$$;

-- Maintenance: a function cannot VACUUM, so this one never did.

CREATE FUNCTION vacuum_analyze_table(table_name text) RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
  EXECUTE format('ANALYZE %I', table_name);
  RETURN 'analyzed ' || table_name;
END
$$;

CREATE FUNCTION reindex_if_bloated(table_name text, bloat_threshold numeric DEFAULT 20.0) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
  IF EXISTS (SELECT FROM get_high_bloat_tables(bloat_threshold) b WHERE b.tablename = table_name) THEN
    EXECUTE format('REINDEX TABLE %I', table_name);
    RETURN 'reindexed ' || table_name;
  END IF;
  RETURN table_name || ' is below the threshold';
END
$$;

CREATE FUNCTION weekly_maintenance() RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
  covered text;
BEGIN
  FOREACH covered IN ARRAY '{conversations,conversation_turns,query_performance_logs}'::text[] LOOP
    IF to_regclass(covered) IS NOT NULL THEN
      PERFORM vacuum_analyze_table(covered);
    END IF;
  END LOOP;
  RETURN 'done';
END
$$;

-- Migrations

CREATE FUNCTION get_current_version() RETURNS bigint LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN (SELECT max(version) FROM schema_migrations);
END
$$;

CREATE FUNCTION is_migration_applied(version bigint) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN EXISTS (SELECT FROM schema_migrations m WHERE m.version = $1);
END
$$;

-- Access, as a Supabase application had it: everybody signed in reads, the server key does the rest.

ALTER TABLE query_performance_logs ENABLE ROW LEVEL SECURITY;
ALTER TABLE index_usage_snapshots ENABLE ROW LEVEL SECURITY;
ALTER TABLE table_bloat_snapshots ENABLE ROW LEVEL SECURITY;
ALTER TABLE performance_alerts ENABLE ROW LEVEL SECURITY;
ALTER TABLE schema_migrations ENABLE ROW LEVEL SECURITY;

CREATE POLICY read_own ON query_performance_logs FOR SELECT TO authenticated
  USING (user_id = (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid);
CREATE POLICY insert_any ON query_performance_logs FOR INSERT TO authenticated WITH CHECK (true);
CREATE POLICY read_all ON index_usage_snapshots FOR SELECT TO authenticated USING (true);
CREATE POLICY read_all ON table_bloat_snapshots FOR SELECT TO authenticated USING (true);
CREATE POLICY read_all ON performance_alerts FOR SELECT TO authenticated USING (true);

GRANT SELECT ON query_performance_logs, index_usage_snapshots, table_bloat_snapshots, performance_alerts
  TO authenticated;
GRANT INSERT ON query_performance_logs TO authenticated;
GRANT ALL ON query_performance_logs, index_usage_snapshots, table_bloat_snapshots, performance_alerts,
  schema_migrations TO service_role;
REVOKE EXECUTE ON FUNCTION capture_index_usage_snapshot(), capture_table_bloat_snapshot(),
  check_table_bloat_alerts(), vacuum_analyze_table(text), reindex_if_bloated(text, numeric),
  weekly_maintenance() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION capture_index_usage_snapshot(), capture_table_bloat_snapshot(),
  check_table_bloat_alerts(), vacuum_analyze_table(text), reindex_if_bloated(text, numeric),
  weekly_maintenance() TO service_role;

COMMIT;
