\echo Use "ALTER EXTENSION train_perf UPDATE TO '0.4'" to load this file. \quit

-- Like CREATE EXTENSION this runs with the extension's schema first in the search path.

-- A server that was not restarted since the library was replaced still runs the old one.
DO $$
BEGIN
  IF library_version() OPERATOR(pg_catalog.<>) '0.4'::pg_catalog.text THEN
    RAISE EXCEPTION USING
      ERRCODE = '55000',
      MESSAGE = 'the server still runs an older library of train_perf',
      HINT = 'Restart the server, then try again.';
  END IF;
END
$$;

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
             '^(?:(sun(?:day)?|mon(?:day)?|tue(?:sday)?|wed(?:nesday)?|thu(?:rsday)?|fri(?:day)?|sat(?:urday)?)\s+)?'::text
             || '((?:[01]?\d|2[0-3]):[0-5]\d)\s*-\s*'::text
             || '(?:(sun(?:day)?|mon(?:day)?|tue(?:sday)?|wed(?:nesday)?|thu(?:rsday)?|fri(?:day)?|sat(?:urday)?)\s+)?'::text
             || '((?:[01]?\d|2[0-3]):[0-5]\d|24:00)$'::text, 'i'::text) AS word
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

CREATE FUNCTION maintenance_workers(OUT job_id bigint, OUT pid integer, OUT waiting_for text)
RETURNS SETOF record
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'tp_maintenance_workers';
COMMENT ON FUNCTION maintenance_workers() IS
  'The workers of this database, their jobs, and what they wait for at the moment.';

-- The work on maintenance_jobs: by the collector, which takes requests, and by workers, which take one
-- job each.

-- VACUUM and ANALYZE.

CREATE FUNCTION role_may_maintain(role oid, relation oid, kind text) RETURNS boolean
LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'tp_role_may_maintain';
COMMENT ON FUNCTION role_may_maintain(oid, oid, text) IS
  'Whether the server would let a role do this kind of job to a relation.';

CREATE FUNCTION table_bytes(relation oid) RETURNS bigint
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  WITH part AS (
    SELECT t.relid::oid AS relid FROM pg_catalog.pg_partition_tree(table_bytes.relation::regclass) t
    UNION SELECT table_bytes.relation
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
         ARRAY[plan_statistics_job.statement || ' '::text || t.target],
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
                 pg_catalog.format('pid %s (%s, transaction since %s)'::text, a.pid, coalesce(a.state, a.backend_type), a.xact_start) AS holder
            FROM pg_catalog.pg_stat_activity a
           WHERE a.pid <> pg_backend_pid() AND a.backend_type <> 'autovacuum worker'::text
             AND (a.datid IS NULL OR a.datid = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = current_database()))
             AND (a.backend_xid IS NOT NULL OR a.backend_xmin IS NOT NULL)
          UNION ALL
          SELECT age(p.transaction),
                 pg_catalog.format('prepared transaction %L since %s'::text, p.gid, p.prepared)
            FROM pg_catalog.pg_prepared_xacts p WHERE p.database = current_database()
          UNION ALL
          SELECT greatest(age(s.xmin), age(s.catalog_xmin)), pg_catalog.format('replication slot %I'::text, s.slot_name)
            FROM pg_catalog.pg_replication_slots s
           WHERE s.xmin IS NOT NULL OR s.catalog_xmin IS NOT NULL) AS h
   ORDER BY h.age DESC
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
           regexp_replace(describe_vacuum.command, 'VERBOSE, |\(VERBOSE\) '::text, ''::text),
           describe_vacuum.rows_removed, describe_vacuum.pages,
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

CREATE FUNCTION claim_maintenance_job(OUT job_id bigint, OUT role oid)
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  WITH at_work AS MATERIALIZED (
    SELECT coalesce(i.indrelid, j.relid) AS relid
      FROM maintenance_jobs j LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = j.relid
     WHERE j.status = 'running'::text AND j.finished_at IS NULL
  ), next AS MATERIALIZED (
    SELECT j.job_id
      FROM maintenance_jobs j
      LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = j.relid
     WHERE j.status = 'queued'::text AND j.not_before <= clock_timestamp()
       AND (NOT j.in_window OR next_window_start(clock_timestamp()) <= clock_timestamp())
       AND NOT EXISTS (SELECT FROM at_work w WHERE w.relid = coalesce(i.indrelid, j.relid))
     -- Somebody may wait for those that nobody put off.
     ORDER BY j.in_window, j.kind = 'reindex'::text, j.job_id
     LIMIT 1
       FOR UPDATE OF j SKIP LOCKED
  )
  UPDATE maintenance_jobs j
     SET status = 'running', attempts = j.attempts + 1, started_at = clock_timestamp(), waiting_for = NULL,
         error_message = NULL, sqlstate = NULL
    FROM next n WHERE j.job_id = n.job_id
  RETURNING j.job_id, j.role;
END;
COMMENT ON FUNCTION claim_maintenance_job() IS
  'Takes the next job that is due, never two on one table; no row: there is none. For a worker.';

CREATE FUNCTION next_maintenance_due() RETURNS timestamptz
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT min(greatest(j.not_before,
                      CASE WHEN j.in_window THEN next_window_start(greatest(j.not_before, clock_timestamp())) END))
    FROM maintenance_jobs j
   WHERE j.status = 'queued'::text AND j.finished_at IS NULL;
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
    SELECT NULL::text, pg_catalog.format('role %s does not exist any more'::text, job.requested_by), '42704'::text, NULL::text[],
           NULL::boolean, NULL::bigint, NULL::numeric
      FROM job WHERE NOT job.has_role
  ), noted AS (
    UPDATE maintenance_jobs j
       SET command = array_to_string(p.commands, E';\n'::text), bytes_before = coalesce(p.bytes_before, j.bytes_before),
           bloat_before = coalesce(p.bloat_before, j.bloat_before)
      FROM plan p WHERE j.job_id = plan_maintenance_job.job_id
  )
  SELECT p.skip, p.obstacle, p.obstacle_sqlstate, p.commands, p.repeat FROM plan p;
END;
COMMENT ON FUNCTION plan_maintenance_job(bigint) IS
  'What a worker runs for a job, statement by statement (again and again, until the last one finds no more rows, '
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

CREATE FUNCTION finish_maintenance_job(job_id bigint, outcome text, sqlstate text, message text, waiting_for text,
                                       duration_ms bigint, pages bigint, pages_removed bigint, rows_removed bigint,
                                       rows_kept bigint, warnings text)
RETURNS void
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
  ), ending AS MATERIALIZED (
    SELECT CASE WHEN finish_maintenance_job.outcome = 'failed'::text
                     AND is_worth_retrying(job.kind, job.attempts, finish_maintenance_job.sqlstate)
                THEN 'queued'::text ELSE finish_maintenance_job.outcome END AS status, job.kind, job.attempts
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
         summary = CASE WHEN e.status = 'skipped'::text THEN finish_maintenance_job.message
                        ELSE nullif(pg_catalog.concat_ws('; '::text, c.summary, nullif(finish_maintenance_job.warnings, ''::text)), ''::text) END
    FROM ending e LEFT JOIN conclusion c ON true
   WHERE j.job_id = finish_maintenance_job.job_id;
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
      FROM job WHERE j.job_id = job.job_id AND job.may AND j.status = 'queued'::text
    RETURNING 1
  ), signalled AS MATERIALIZED (
    SELECT cancel_maintenance_worker(job.job_id) AS done FROM job WHERE job.may AND job.status = 'running'::text
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
  ), answered AS MATERIALIZED (
    SELECT answer_maintenance_request(a.request,
             CASE WHEN a.action = 'cancel'::text THEN cancel_job(a.job_id, a.role)
                  WHEN a.for_role IS NULL THEN NULL::bigint  -- nobody waits, and the table is gone
                  ELSE insert_job(nextval('maintenance_jobs_job_id_seq'::regclass), a.kind, a.relid, a.for_role, a.reason,
                                  a.threshold, a.bloat_ratio, a.kind = 'reindex'::text) END) AS given
      FROM asked a
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
  WITH orphan AS (
    UPDATE maintenance_jobs j
       SET status = CASE WHEN is_worth_retrying(j.kind, j.attempts, '57P01'::text) THEN 'queued'::text ELSE 'failed'::text END,
           finished_at = CASE WHEN is_worth_retrying(j.kind, j.attempts, '57P01'::text) THEN NULL::timestamptz ELSE clock_timestamp() END,
           not_before = clock_timestamp() + retry_delay(j.kind, j.attempts),
           error_message = 'the worker ended before the job did', sqlstate = '57P01'
     WHERE j.status = 'running'::text AND j.finished_at IS NULL AND NOT is_maintenance_running(j.job_id)
    RETURNING 1
  )
  SELECT count(*)::integer FROM orphan;
END;
COMMENT ON FUNCTION recover_maintenance_jobs() IS
  'Queues again what a worker did not end: it was killed, the server stopped. Returns how many jobs.';

CREATE FUNCTION tend_maintenance() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT recover_maintenance_jobs();
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
              THEN pg_catalog.format('job %s is queued: %s of %s%s'::text, j.job_id, j.kind, j.target,
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

CREATE FUNCTION maintenance_progress(OUT job_id bigint, OUT progress text)
RETURNS SETOF record
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT w.job_id,
         coalesce(
           (SELECT p.phase || CASE WHEN p.heap_blks_total > 0::bigint
                              THEN pg_catalog.format(', %s of %s blocks scanned'::text, p.heap_blks_scanned, p.heap_blks_total) ELSE ''::text END
              FROM pg_catalog.pg_stat_progress_vacuum p WHERE p.pid = w.pid),
           (SELECT p.phase || CASE WHEN p.blocks_total > 0::bigint
                              THEN pg_catalog.format(', %s of %s blocks'::text, p.blocks_done, p.blocks_total) ELSE ''::text END
              FROM pg_catalog.pg_stat_progress_create_index p WHERE p.pid = w.pid),
           (SELECT p.phase || CASE WHEN p.sample_blks_total > 0::bigint
                              THEN pg_catalog.format(', %s of %s blocks'::text, p.sample_blks_scanned, p.sample_blks_total) ELSE ''::text END
              FROM pg_catalog.pg_stat_progress_analyze p WHERE p.pid = w.pid))
    FROM maintenance_workers() w;
END;
COMMENT ON FUNCTION maintenance_progress() IS
  'How far the workers of this database are; for the view maintenance_status, since the server shows progress of '
  'others to few.';

CREATE VIEW maintenance_status WITH (security_barrier) AS
SELECT j.job_id, j.kind, j.target, j.command, j.requested_by, j.reason, j.status, j.attempts, j.not_before,
       j.requested_at, j.started_at, j.finished_at,
       CASE WHEN j.status = 'running'
            THEN (pg_catalog.date_part('epoch', clock_timestamp() - j.started_at) * 1000)::bigint
            ELSE j.duration_ms END AS duration_ms,
       j.bytes_before, j.bytes_after, j.rows_removed, j.error_message, j.sqlstate,
       CASE WHEN j.status = 'running' THEN w.waiting_for ELSE j.waiting_for END AS waiting_for,
       p.progress, j.summary
  FROM maintenance_jobs j
  LEFT JOIN maintenance_workers() w ON j.status = 'running' AND w.job_id = j.job_id
  LEFT JOIN maintenance_progress() p ON j.status = 'running' AND p.job_id = j.job_id
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
  ('read', 'EXECUTE', 'FUNCTION', 'is_leftover(oid)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'unused_index_candidates()'::regprocedure::oid),
  ('read', 'SELECT', 'TABLE', 'maintenance_jobs'::regclass::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'vacuum_horizon()'::regprocedure::oid),
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
  ('read', 'EXECUTE', 'FUNCTION', 'next_window_start(timestamptz)'::regprocedure::oid)
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
           'maintenance_jobs', 'maintenance_status', 'maintenance_jobs_job_id_seq')
    UNION ALL
    SELECT p.oid, 'ROUTINE', NULL, p.oid::regprocedure::text, p.proowner,
           coalesce(p.proacl, acldefault('f', p.proowner))
      FROM pg_depend d
      JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'train_perf'
      JOIN pg_proc p ON p.oid = d.objid
     WHERE d.refclassid = 'pg_extension'::regclass AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
       AND p.proname IN (
           'check_bloat_alerts', 'schedule_timezone', 'parse_maintenance_window', 'refuse_setting',
           'check_maintenance_window', 'next_window_start', 'maintenance_target', 'insert_job',
           'queue_job', 'request_maintenance', 'await_maintenance', 'is_maintenance_running',
           'maintenance_workers', 'role_may_maintain', 'table_bytes', 'plan_statistics_job',
           'vacuum_horizon', 'describe_vacuum', 'claim_maintenance_job', 'next_maintenance_due',
           'plan_maintenance_job', 'retry_delay', 'is_worth_retrying', 'finish_maintenance_job',
           'maintenance_requests', 'answer_maintenance_request', 'note_maintenance_due',
           'cancel_maintenance_worker', 'cancel_job', 'take_maintenance_requests',
           'recover_maintenance_jobs', 'tend_maintenance', 'maintenance_state',
           'vacuum_analyze_table', 'cancel_maintenance_job', 'wait_for_maintenance',
           'maintenance_progress')
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

-- These check who asks.
GRANT EXECUTE ON FUNCTION request_maintenance(text, oid, numeric, numeric, text), await_maintenance(bigint[]),
  vacuum_analyze_table(text), cancel_maintenance_job(bigint) TO PUBLIC;
GRANT EXECUTE ON PROCEDURE wait_for_maintenance(bigint, interval) TO PUBLIC;
-- Everybody may look at maintenance_status; it shows what is theirs.
GRANT SELECT ON maintenance_status TO PUBLIC;
GRANT EXECUTE ON FUNCTION maintenance_workers(), maintenance_progress() TO PUBLIC;
