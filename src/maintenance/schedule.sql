-- The schedule of maintenance: what is covered, when it is due, weekly_maintenance(), and pg_cron as its
-- keeper in place of the workers.

-- Covered tables.

CREATE FUNCTION maintenance_tables(OUT relid oid, OUT schemaname text, OUT tablename text)
RETURNS SETOF record
LANGUAGE sql STABLE
BEGIN ATOMIC
  WITH pattern AS MATERIALIZED (
    SELECT CASE WHEN current_setting('train_perf.maintenance_tables'::text, true) = ''::text THEN '{}'::text[]
                ELSE snapshot_patterns('train_perf.maintenance_tables'::text,
                       'conversations, conversation_turns, conversation_templates, scenarios, edge_cases, '
                       'generation_logs, export_logs, batch_jobs'::text) END AS include
  ), own AS MATERIALIZED (
    SELECT d.objid
      FROM pg_catalog.pg_extension e
      JOIN pg_catalog.pg_depend d ON d.refobjid = e.oid AND d.deptype = 'e'::"char"
       AND d.refclassid = 'pg_catalog.pg_extension'::regclass::oid AND d.classid = 'pg_catalog.pg_class'::regclass::oid
     WHERE e.extname = 'train_perf'::name
  ), covered AS MATERIALIZED (
    SELECT c.oid, n.nspname::text AS schemaname, c.relname::text AS tablename
      FROM pg_catalog.pg_class c
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     CROSS JOIN pattern p
     WHERE c.relkind IN ('r'::"char", 'p'::"char", 'm'::"char") AND c.relpersistence <> 't'::"char"
       AND n.nspname NOT IN ('pg_catalog'::name, 'information_schema'::name, 'pg_toast'::name)
       AND (n.nspname::text || '.'::text || c.relname::text ~ ANY (p.include)
            OR EXISTS (SELECT FROM own o WHERE o.objid = c.oid))
  )
  -- VACUUM of a partitioned table is one of its partitions.
  SELECT c.oid, c.schemaname, c.tablename
    FROM covered c
   WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_partition_ancestors(c.oid::regclass) a
                       JOIN covered p ON p.oid = a.relid::oid
                      WHERE a.relid::oid <> c.oid);
END;
COMMENT ON FUNCTION maintenance_tables() IS
  'The tables that weekly maintenance covers: those of train_perf.maintenance_tables, and our own. A partition does '
  'not count beside its partitioned table.';

-- When it is due.

CREATE FUNCTION parse_schedule(setting text, kind text, OUT day integer, OUT clock interval, OUT problem text)
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
  WITH given AS (
    SELECT coalesce(btrim(parse_schedule.setting, E' \t\r\n'::text), ''::text) AS setting
  ), word AS (
    SELECT g.setting,
           regexp_match(g.setting,
             CASE parse_schedule.kind
               WHEN 'daily'::text THEN '^()'::text
               WHEN 'weekly'::text
               THEN E'^(sun(?:day)?|mon(?:day)?|tue(?:sday)?|wed(?:nesday)?|thu(?:rsday)?|fri(?:day)?|sat(?:urday)?)\\s+'::text
               WHEN 'monthly'::text THEN E'^(0?[1-9]|[12]\\d|3[01])\\s+'::text END
             || E'((?:[01]?\\d|2[0-3]):[0-5]\\d)$'::text, 'i'::text) AS part
      FROM given g
  )
  SELECT CASE parse_schedule.kind
           WHEN 'weekly'::text THEN array_position('{sun,mon,tue,wed,thu,fri,sat}'::text[], lower(left(w.part[1], 3))) - 1
           WHEN 'monthly'::text THEN w.part[1]::integer END,
         w.part[2]::interval,
         CASE WHEN parse_schedule.kind IS NULL OR parse_schedule.kind NOT IN ('daily'::text, 'weekly'::text, 'monthly'::text)
              THEN pg_catalog.format('there is no %s maintenance'::text, coalesce(parse_schedule.kind, 'NULL'::text))
              WHEN w.setting <> ''::text AND w.part IS NULL
              THEN pg_catalog.format('train_perf.maintenance_%s: %L is no time for it'::text, parse_schedule.kind, w.setting) END
    FROM word w;
END;
COMMENT ON FUNCTION parse_schedule(text, text) IS
  'A value of train_perf.maintenance_daily, _weekly or _monthly (the kind says which): its day of the week (0 is '
  'Sunday) or of the month, and the time of day, all NULL if empty; or what is wrong.';

CREATE FUNCTION check_schedule(setting text, kind text) RETURNS void
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT refuse_setting(p.problem,
           CASE check_schedule.kind
             WHEN 'daily'::text THEN 'A time of day as in ''02:00''; empty: never.'::text
             WHEN 'weekly'::text THEN 'A day of the week and a time as in ''Sun 02:00''; empty: never.'::text
             WHEN 'monthly'::text THEN 'A day of the month and a time as in ''1 03:00''; empty: never.'::text
             ELSE 'The kinds are daily, weekly and monthly.'::text END)
    FROM parse_schedule(check_schedule.setting, check_schedule.kind) p
   WHERE p.problem IS NOT NULL;
END;
COMMENT ON FUNCTION check_schedule(text, text) IS
  '22023 if this would be no value for train_perf.maintenance_daily, _weekly or _monthly.';

CREATE FUNCTION schedule_instants(setting text, kind text, zone text, at timestamptz) RETURNS SETOF timestamptz
LANGUAGE sql STABLE
BEGIN ATOMIC
  WITH moment AS (
    SELECT p.day, p.clock, schedule_instants.at AT TIME ZONE schedule_instants.zone AS here
      FROM parse_schedule(schedule_instants.setting, schedule_instants.kind) p
     WHERE p.clock IS NOT NULL AND isfinite(schedule_instants.at)
  )
  -- A time that a change of the clock leaves out is taken as if it had not changed yet; of two, the later counts.
  SELECT (d.day + m.clock) AT TIME ZONE schedule_instants.zone
    FROM moment m
   CROSS JOIN LATERAL generate_series(date_trunc('day'::text, m.here) - interval '8 days',
                                      date_trunc('day'::text, m.here) + interval '8 days', interval '1 day') AS d (day)
   WHERE schedule_instants.kind <> 'monthly'::text AND (m.day IS NULL OR m.day = extract(dow FROM d.day)::integer)
  UNION ALL
  SELECT (d.month + least(interval '1 day' * (m.day - 1)::double precision, d.month + interval '1 month' - interval '1 day' - d.month)
            + m.clock) AT TIME ZONE schedule_instants.zone
    FROM moment m
   CROSS JOIN LATERAL generate_series(date_trunc('month'::text, m.here) - interval '1 month',
                                      date_trunc('month'::text, m.here) + interval '1 month', interval '1 month') AS d (month)
   WHERE schedule_instants.kind = 'monthly'::text;
END;
COMMENT ON FUNCTION schedule_instants(text, text, text, timestamptz) IS
  'When it is due by a setting, for some time before and after; a month that is too short counts with its last day.';

CREATE FUNCTION schedule_zone() RETURNS text
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT z.name FROM schedule_timezone() z;
END;
COMMENT ON FUNCTION schedule_zone() IS 'The name of schedule_timezone(); NULL if train_perf.timezone is wrong.';

CREATE FUNCTION schedule_due(setting text, kind text, at timestamptz) RETURNS timestamptz
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT check_schedule(schedule_due.setting, schedule_due.kind);
  SELECT max(i.instant)
    FROM schedule_instants(schedule_due.setting, schedule_due.kind, schedule_zone(), schedule_due.at) AS i (instant)
   WHERE i.instant <= schedule_due.at;
END;
COMMENT ON FUNCTION schedule_due(text, text, timestamptz) IS
  'When a setting for daily, weekly or monthly maintenance was last due, in train_perf.timezone; NULL: never. 22023 if '
  'the setting is wrong.';

CREATE FUNCTION schedule_next(setting text, kind text, at timestamptz) RETURNS timestamptz
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT check_schedule(schedule_next.setting, schedule_next.kind);
  SELECT min(i.instant)
    FROM schedule_instants(schedule_next.setting, schedule_next.kind, schedule_zone(), schedule_next.at) AS i (instant)
   WHERE i.instant > schedule_next.at;
END;
COMMENT ON FUNCTION schedule_next(text, text, timestamptz) IS
  'When a setting for daily, weekly or monthly maintenance is due next; NULL: never. 22023 if it is wrong.';

CREATE FUNCTION schedule_settings(OUT name text, OUT setting text, OUT timezone text, OUT problem text)
RETURNS SETOF record
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT s.name, s.setting, z.name, coalesce(p.problem, CASE WHEN p.clock IS NOT NULL THEN z.problem END)
    FROM (VALUES ('daily'::text, coalesce(current_setting('train_perf.maintenance_daily'::text, true), '02:00'::text)),
                 ('weekly'::text, coalesce(current_setting('train_perf.maintenance_weekly'::text, true), 'Sun 02:00'::text)),
                 ('monthly'::text, coalesce(current_setting('train_perf.maintenance_monthly'::text, true), '1 03:00'::text)))
           AS s (name, setting)
   CROSS JOIN LATERAL parse_schedule(s.setting, s.name) p
   CROSS JOIN schedule_timezone() z;
END;
COMMENT ON FUNCTION schedule_settings() IS
  'train_perf.maintenance_daily, _weekly and _monthly, and what is wrong with one, which is never due then.';

CREATE FUNCTION window_setting(OUT name text, OUT setting text, OUT timezone text, OUT problem text)
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT 'window'::text, w.setting, z.name,
         (SELECT coalesce(p.problem, z.problem) FROM parse_maintenance_window(w.setting) p ORDER BY p.problem LIMIT 1)
    FROM (SELECT coalesce(current_setting('train_perf.maintenance_window'::text, true), ''::text) AS setting) w
   CROSS JOIN schedule_timezone() z;
END;
COMMENT ON FUNCTION window_setting() IS 'The same for train_perf.maintenance_window, which is never open then.';

-- The state. Not dumped: what runs elsewhere begins there.

CREATE TABLE maintenance_runs (
  name text PRIMARY KEY CHECK (name IN ('daily', 'weekly', 'monthly', 'window')),
  setting text NOT NULL,
  timezone text,
  settled_until timestamptz NOT NULL,
  last_run_at timestamptz,
  error text
);
COMMENT ON TABLE maintenance_runs IS 'What the workers have done of the schedule; see maintenance_schedule.';
COMMENT ON COLUMN maintenance_runs.setting IS 'As the workers last saw it.';
COMMENT ON COLUMN maintenance_runs.settled_until IS
  'Up to then all is done or left out: it begins when the workers first see a setting, and goes from one due time '
  'to the next.';
COMMENT ON COLUMN maintenance_runs.error IS 'What is wrong with the setting, or went wrong at the last attempt.';

CREATE TABLE cron_registrations (
  name text NOT NULL CHECK (name IN ('weekly', 'monthly')),
  username text NOT NULL DEFAULT current_user,
  registered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (name, username)
);
SELECT pg_catalog.pg_extension_config_dump('cron_registrations', '');
COMMENT ON TABLE cron_registrations IS
  'Which maintenance pg_cron keeps in place of the workers, and for whom its job runs. The workers compare it with '
  'cron.job: they take over what is not there or not active any more, and say so.';

CREATE VIEW maintenance_schedule AS
WITH server AS (
  SELECT CASE WHEN current_setting('train_perf.max_statements'::text, true) IS NULL
              THEN 'train_perf is not preloaded: no worker keeps the schedule'::text
              WHEN pg_is_in_recovery() THEN 'this is a standby: the primary keeps the schedule'::text END AS problem
)
SELECT s.name, s.setting, s.timezone,
       CASE WHEN coalesce(s.problem, v.problem) IS NULL AND k.keeper = 'workers'::text
            THEN schedule_next(s.setting, s.name, clock_timestamp()) END AS next_at,
       r.last_run_at, k.keeper, coalesce(s.problem, v.problem, r.error) AS error
  FROM schedule_settings() s
 CROSS JOIN server v
  LEFT JOIN maintenance_runs r ON r.name = s.name
 CROSS JOIN LATERAL (SELECT CASE WHEN EXISTS (SELECT FROM cron_registrations g WHERE g.name = s.name)
                                 THEN 'pg_cron'::text ELSE 'workers'::text END AS keeper) k
UNION ALL
SELECT w.name, w.setting, w.timezone, CASE WHEN w.problem IS NULL THEN next_window_start(clock_timestamp()) END,
       NULL::timestamptz, 'workers'::text, w.problem
  FROM window_setting() w;
COMMENT ON VIEW maintenance_schedule IS
  'Daily, weekly and monthly maintenance, and the window in which their jobs may start.';
COMMENT ON COLUMN maintenance_schedule.next_at IS
  'When it is due next, or when the window is open next; NULL: never, or pg_cron knows.';
COMMENT ON COLUMN maintenance_schedule.last_run_at IS 'When the workers last queued its jobs.';
COMMENT ON COLUMN maintenance_schedule.keeper IS
  'workers or pg_cron, which then keeps weekly and monthly maintenance by jobs of its own; see schedule_maintenance().';
COMMENT ON COLUMN maintenance_schedule.error IS
  'What is wrong with the setting or the server, so that it is never due, or went wrong at the last attempt.';

-- What is done.

CREATE FUNCTION queue_weekly_maintenance() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT pg_catalog.count(queue_job('vacuum_analyze'::text, t.relid, c.relowner, 'weekly maintenance'::text, NULL::numeric, true))::integer
    FROM maintenance_tables() t
    JOIN pg_catalog.pg_class c ON c.oid = t.relid
   -- One that still waits for its window is enough.
   WHERE NOT EXISTS (SELECT FROM maintenance_jobs j
                      WHERE j.relid = t.relid AND j.kind = 'vacuum_analyze'::text AND j.in_window AND j.status = 'queued'::text
                        AND j.finished_at IS NULL);
END;
COMMENT ON FUNCTION queue_weekly_maintenance() IS
  'Queues VACUUM ANALYZE of the covered tables, as their owners. Returns how many jobs.';

CREATE FUNCTION queue_monthly_maintenance() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT queue_scheduled_reindex();
END;
COMMENT ON FUNCTION queue_monthly_maintenance() IS 'Queues the rebuilds of bloated indexes. Returns how many jobs.';

CREATE FUNCTION try_maintenance(work regprocedure, OUT result integer, OUT problem text)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  EXECUTE format('SELECT %s()', work::oid::regproc) INTO result;
EXCEPTION WHEN OTHERS THEN
  result := 0;
  problem := format('%s: %s', work, SQLERRM);
END
$$;
COMMENT ON FUNCTION try_maintenance(regprocedure) IS
  'Calls a function that returns a number; what it did is undone if it fails.';

CREATE FUNCTION warn_maintenance(problem text) RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RAISE WARNING USING MESSAGE = problem;
  RETURN true;
END
$$;
COMMENT ON FUNCTION warn_maintenance(text) IS 'Writes to the server''s log.';

CREATE FUNCTION run_daily_maintenance() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  -- A finding that fails holds up neither the others nor retention.
  WITH tried AS MATERIALIZED (
    SELECT t.problem
      FROM (VALUES ('check_unused_index_alerts()'::regprocedure), ('check_table_bloat_alerts()'::regprocedure),
                   ('check_index_bloat_alerts()'::regprocedure), ('check_invalid_index_alerts()'::regprocedure)) AS c (work)
     CROSS JOIN LATERAL try_maintenance(c.work) t
  ), told AS MATERIALIZED (
    SELECT warn_maintenance(t.problem) FROM tried t WHERE t.problem IS NOT NULL
  )
  SELECT queue_retention() FROM (SELECT count(*) FROM told) AS t (warnings) WHERE t.warnings >= 0::bigint;
END;
COMMENT ON FUNCTION run_daily_maintenance() IS
  'Queues the retention jobs and checks the findings. Returns how many jobs.';

CREATE FUNCTION prune_maintenance_jobs() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  WITH pruned AS (
    DELETE FROM maintenance_jobs j
     WHERE j.job_id IN (
             SELECT o.job_id
               FROM (SELECT k.job_id FROM maintenance_jobs k
                      WHERE k.finished_at < clock_timestamp()
                                            - coalesce(current_setting('train_perf.retention'::text, true), '35d'::text)::interval
                     UNION ALL
                     SELECT m.job_id
                       FROM (SELECT k.job_id FROM maintenance_jobs k WHERE k.finished_at IS NOT NULL
                              ORDER BY k.finished_at DESC, k.job_id DESC OFFSET 10000) m) o
              LIMIT 1000)
       AND j.finished_at IS NOT NULL
    RETURNING 1
  )
  SELECT count(*)::integer FROM pruned;
END;
COMMENT ON FUNCTION prune_maintenance_jobs() IS
  'Deletes up to 1000 jobs that ended before train_perf.retention, or beyond the last 10000. Returns how many.';

-- weekly_maintenance(): now, by whoever calls it.

CREATE FUNCTION running_weekly_maintenance() RETURNS bigint[]
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT pg_catalog.array_agg(j.job_id ORDER BY j.job_id)
    FROM maintenance_jobs j
   WHERE j.finished_at IS NULL AND j.kind = 'vacuum_analyze'::text AND j.reason = 'weekly maintenance'::text
     AND (j.status = 'running'::text OR NOT j.in_window);
END;
COMMENT ON FUNCTION running_weekly_maintenance() IS
  'The jobs of weekly maintenance that have not ended, but for those that wait for their window; NULL: none.';

CREATE FUNCTION require_preload(what text) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF current_setting('train_perf.max_statements', true) IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '55000',
      MESSAGE = format('%s needs the workers of train_perf, which is not preloaded', what),
      HINT = 'Add this line to postgresql.conf and restart the server: shared_preload_libraries = ''train_perf''';
  END IF;
END
$$;
COMMENT ON FUNCTION require_preload(text) IS '55000 where train_perf is not preloaded.';

CREATE FUNCTION weekly_obstacle(jobs bigint[], lock_id regprocedure) RETURNS text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF jobs IS NOT NULL THEN
    RETURN format('Weekly maintenance is already running: %s. Nothing was done.',
                  (SELECT string_agg(format('job %s', j), ', ') FROM unnest(jobs) AS j));
  ELSIF NOT pg_try_advisory_xact_lock('pg_proc'::regclass::oid::integer, lock_id::oid::integer) THEN
    RETURN 'Weekly maintenance is already running in another session. Nothing was done.';
  END IF;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION weekly_obstacle(bigint[], regprocedure) IS
  'Part of weekly_maintenance(): what to say if another one runs.';

CREATE FUNCTION request_vacuum(request regprocedure, relation oid, OUT job_id bigint, OUT problem text)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  EXECUTE format('SELECT %s(''vacuum_analyze''::text, $1::oid, NULL::numeric, NULL::numeric, ''weekly maintenance''::text)',
                 request::oid::regproc)
    INTO job_id USING relation;
EXCEPTION WHEN insufficient_privilege OR undefined_table OR object_in_use OR feature_not_supported OR wrong_object_type THEN
  problem := SQLERRM;
END
$$;
COMMENT ON FUNCTION request_vacuum(regprocedure, oid) IS
  'Part of weekly_maintenance(): asks for a job, or tells what is wrong with this table.';

CREATE FUNCTION vacuum_covered_tables() RETURNS text
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  WITH asked AS MATERIALIZED (
    SELECT pg_catalog.format('%I.%I'::text, t.schemaname, t.tablename) AS name, r.job_id, r.problem
      FROM (SELECT * FROM maintenance_tables() ORDER BY schemaname, tablename) t
     CROSS JOIN LATERAL request_vacuum('request_maintenance(text, oid, numeric, numeric, text)'::regprocedure, t.relid) r
  ), ended AS MATERIALIZED (
    SELECT e.job_id, e.status, e.answer
      FROM await_maintenance((SELECT coalesce(pg_catalog.array_agg(a.job_id) FILTER (WHERE a.job_id IS NOT NULL), '{}'::bigint[])
                                FROM asked a)) e
  ), line AS (
    SELECT a.name, coalesce(e.status, CASE WHEN a.job_id IS NULL THEN 'left out'::text ELSE 'queued'::text END) AS status,
           coalesce(e.answer, 'left out: '::text || a.problem, pg_catalog.format('job %s still running'::text, a.job_id)) AS answer
      FROM asked a LEFT JOIN ended e ON e.job_id = a.job_id
  )
  SELECT string_agg(l.name || ': '::text || l.answer, E'\n'::text ORDER BY l.name)
           || pg_catalog.format(E'\nTotal: %s tables, %s done, %s still running, %s failed, %s left out'::text,
                count(*), count(*) FILTER (WHERE l.status IN ('succeeded'::text, 'skipped'::text)),
                count(*) FILTER (WHERE l.status IN ('queued'::text, 'running'::text)),
                count(*) FILTER (WHERE l.status IN ('failed'::text, 'cancelled'::text)),
                count(*) FILTER (WHERE l.status = 'left out'::text))
    FROM line l;
END;
COMMENT ON FUNCTION vacuum_covered_tables() IS
  'Part of weekly_maintenance(): asks for a VACUUM of each covered table, waits, and tells how each stands.';

CREATE FUNCTION capture_for_weekly() RETURNS text
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT pg_catalog.format('Snapshots: %s rows on indexes, %s on tables'::text, capture_index_usage_snapshot(),
                           capture_table_bloat_snapshot());
END;
COMMENT ON FUNCTION capture_for_weekly() IS 'Part of weekly_maintenance(): the snapshots.';

CREATE FUNCTION check_for_weekly() RETURNS text
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT pg_catalog.format('Findings: %s bloated tables, %s bloated, %s unused and %s invalid indexes'::text,
           check_table_bloat_alerts(), check_index_bloat_alerts(), check_unused_index_alerts(), check_invalid_index_alerts());
END;
COMMENT ON FUNCTION check_for_weekly() IS 'Part of weekly_maintenance(): the alerts.';

CREATE FUNCTION perform_weekly_maintenance(capture regprocedure, vacuum regprocedure, findings regprocedure)
RETURNS text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  -- Whoever has taken a snapshot keeps others from it, and the collector from our partitions, to the end of
  -- the transaction: before a wait that may take hours it would be in the way, and afterwards it shows what
  -- was won. Only where the time is limited it comes first, and what is left of that is for waiting.
  is_limited boolean := current_setting('statement_timeout') <> '0';
  captured text;
  vacuumed text;
  found text;
BEGIN
  IF is_limited THEN EXECUTE format('SELECT %s()', capture::oid::regproc) INTO captured; END IF;
  EXECUTE format('SELECT %s()', vacuum::oid::regproc) INTO vacuumed;
  IF NOT is_limited THEN EXECUTE format('SELECT %s()', capture::oid::regproc) INTO captured; END IF;
  EXECUTE format('SELECT %s()', findings::oid::regproc) INTO found;
  RETURN concat_ws(E'\n', vacuumed, captured, found);
END
$$;
COMMENT ON FUNCTION perform_weekly_maintenance(regprocedure, regprocedure, regprocedure) IS
  'Part of weekly_maintenance(): its steps, in the order that is best for others.';

CREATE FUNCTION weekly_maintenance() RETURNS text
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT require_primary('weekly_maintenance()'::text);
  SELECT require_preload('weekly_maintenance()'::text);
  SELECT coalesce(weekly_obstacle(running_weekly_maintenance(), 'maintenance_tables()'::regprocedure),
                  perform_weekly_maintenance('capture_for_weekly()'::regprocedure, 'vacuum_covered_tables()'::regprocedure,
                                             'check_for_weekly()'::regprocedure));
END;
COMMENT ON FUNCTION weekly_maintenance() IS
  'VACUUM ANALYZE of the covered tables that the current role may vacuum, in workers, as train_perf.maintenance_wait '
  'says; snapshots and findings; a line on each table and a total. Does nothing but say so while another one runs.';

-- pg_cron in place of the workers: weekly and monthly maintenance are its jobs from schedule_maintenance()
-- on. It shows each role its own jobs only, so that a caller also goes by cron_registrations.

CREATE FUNCTION cron_member(class oid, name text, arguments integer) RETURNS oid
LANGUAGE sql STABLE
BEGIN ATOMIC
  -- The extension's own; others may have put theirs beside them.
  SELECT d.objid
    FROM pg_catalog.pg_extension e
    JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_extension'::regclass::oid AND d.refobjid = e.oid
                               AND d.deptype = 'e'::"char" AND d.classid = cron_member.class
    LEFT JOIN pg_catalog.pg_class c ON c.oid = d.objid AND d.classid = 'pg_catalog.pg_class'::regclass::oid
    LEFT JOIN pg_catalog.pg_proc p ON p.oid = d.objid AND d.classid = 'pg_catalog.pg_proc'::regclass::oid
   WHERE e.extname = 'pg_cron'::name
     AND (c.relname::text = cron_member.name
          OR p.proname::text = cron_member.name AND p.pronargs::integer = cron_member.arguments
             AND (cron_member.arguments <> 1 OR p.proargtypes[0] = 'bigint'::regtype::oid))
   LIMIT 1;
END;
COMMENT ON FUNCTION cron_member(oid, text, integer) IS 'A table or function of pg_cron; NULL where it is not in this database.';

CREATE FUNCTION cron_database() RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER  -- few may see this setting
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN coalesce(current_setting('cron.database_name', true), '');
EXCEPTION WHEN insufficient_privilege THEN
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION cron_database() IS
  'The database of which pg_cron runs the jobs, empty if it is not loaded; NULL if our owner may not know.';

CREATE FUNCTION cron_timezone() RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- Before 1.5 it is no setting.
  RETURN coalesce(nullif(current_setting('cron.timezone', true), ''), 'GMT');
EXCEPTION WHEN insufficient_privilege THEN
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION cron_timezone() IS 'The time zone of pg_cron''s schedules; NULL if our owner may not know.';

CREATE FUNCTION cron_schedules_here() RETURNS boolean
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT cron_member('pg_catalog.pg_proc'::regclass::oid, 'schedule'::text, 3) IS NOT NULL
         AND coalesce(cron_database() = current_database()::text, true);
END;
COMMENT ON FUNCTION cron_schedules_here() IS 'Whether pg_cron is loaded, and runs the jobs of this database.';

CREATE FUNCTION require_cron(jobs oid, schedules boolean) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF jobs IS NULL OR NOT schedules THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = 'pg_cron is not in this database',
      HINT = format('Add it to shared_preload_libraries, set cron.database_name = %L, restart the server, and run '
                    'CREATE EXTENSION pg_cron here. Without it the workers of train_perf keep the schedule.', current_database());
  ELSIF NOT has_schema_privilege((SELECT relnamespace FROM pg_class WHERE oid = jobs), 'USAGE') THEN
    RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = 'permission denied to use pg_cron',
      HINT = format('GRANT USAGE ON SCHEMA %s TO %I;', (SELECT relnamespace::regnamespace FROM pg_class WHERE oid = jobs), current_user);
  END IF;
END
$$;
COMMENT ON FUNCTION require_cron(oid, boolean) IS '55000 where pg_cron runs no jobs of this database, 42501 who may not use it.';

CREATE FUNCTION cron_command(kind text, weekly regprocedure, monthly regprocedure) RETURNS text
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT pg_catalog.format(
           CASE cron_command.kind
             WHEN 'weekly'::text THEN 'SELECT %I.%I()'::text
             ELSE 'SELECT %I.%I() -- reindex_bloated_indexes() above train_perf.reindex_threshold'::text END,
           n.nspname, p.proname)
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
   WHERE p.oid = CASE cron_command.kind WHEN 'weekly'::text THEN cron_command.weekly::oid ELSE cron_command.monthly::oid END;
END;
COMMENT ON FUNCTION cron_command(text, regprocedure, regprocedure) IS 'Part of cron_plan().';

CREATE FUNCTION cron_plan(OUT name text, OUT jobname text, OUT schedule text, OUT command text)
RETURNS SETOF record
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT s.name, j.jobname,
         extract(minute FROM p.clock)::text || ' '::text || extract(hour FROM p.clock)::text || ' '::text
           || CASE s.name WHEN 'weekly'::text THEN '* * '::text || p.day::text ELSE p.day::text || ' * *'::text END,
         cron_command(s.name, 'weekly_maintenance()'::regprocedure, 'monthly_maintenance()'::regprocedure)
    FROM schedule_settings() s
    JOIN (VALUES ('weekly'::text, 'vacuum-analyze-weekly'::text), ('monthly'::text, 'reindex-bloated'::text)) AS j (name, jobname)
      ON j.name = s.name
   CROSS JOIN LATERAL parse_schedule(s.setting, s.name) p;
END;
COMMENT ON FUNCTION cron_plan() IS
  'The jobs that pg_cron gets, as train_perf.maintenance_weekly and _monthly say; the schedule is NULL for never.';

CREATE FUNCTION check_cron_plan() RETURNS void
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT check_schedule(s.setting, s.name) FROM schedule_settings() s WHERE s.name <> 'daily'::text;
  SELECT refuse_setting(pg_catalog.format('train_perf.maintenance_monthly: pg_cron would leave out months without a day %s'::text, p.day),
                        'Set it to a day up to 28, or let the workers keep the schedule.'::text)
    FROM schedule_settings() s CROSS JOIN LATERAL parse_schedule(s.setting, s.name) p
   WHERE s.name = 'monthly'::text AND p.day > 28;
END;
COMMENT ON FUNCTION check_cron_plan() IS 'Part of schedule_maintenance(): 22023 if a setting is wrong or beyond pg_cron.';

CREATE FUNCTION note_cron_timezone(cron_zone text, zone text) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF EXISTS (SELECT FROM unnest('{2024-01-01, 2024-07-01}'::timestamptz[]) AS t
              WHERE t AT TIME ZONE cron_zone <> t AT TIME ZONE zone) THEN
    RAISE NOTICE USING
      MESSAGE = format('pg_cron takes the times of its jobs for times of %s, not of %s', cron_zone, zone),
      HINT = 'Set cron.timezone (from pg_cron 1.5 on), or train_perf.timezone, so that they are the same.';
  END IF;
END
$$;
COMMENT ON FUNCTION note_cron_timezone(text, text) IS 'Part of schedule_maintenance().';

CREATE FUNCTION own_cron_job(jobs oid, jobname text, command text, OUT jobid bigint, OUT schedule text, OUT active boolean,
                             OUT is_foreign boolean)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  EXECUTE format('SELECT j.jobid, j.schedule, j.active, j.command <> $2 OR j.database <> current_database() FROM %s j '
                 'WHERE j.jobname::text = $1 AND j.username = current_user', jobs::regclass)
    INTO jobid, schedule, active, is_foreign USING jobname, command;
END
$$;
COMMENT ON FUNCTION own_cron_job(oid, text, text) IS
  'The job of that name in cron.job that the current role has; is_foreign: it is none of ours.';

CREATE FUNCTION other_cron_role(jobs oid, registrations regclass, kind text, job_name text, command text) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  username text;
  sees_all boolean := (SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user);
BEGIN
  EXECUTE format('SELECT min(j.username) FROM %s j WHERE j.jobname::text = $1 AND j.command = $2 AND j.active '
                 'AND j.database = current_database() AND j.username <> current_user', jobs::regclass)
    INTO username USING job_name, command;
  IF username IS NULL AND NOT sees_all THEN
    EXECUTE format('SELECT min(g.username) FROM %s g WHERE g.name = $1 AND g.username <> current_user', registrations)
      INTO username USING kind;
  END IF;
  RETURN username;
END
$$;
COMMENT ON FUNCTION other_cron_role(oid, regclass, text, text, text) IS
  'Another role for which pg_cron runs this job of ours; NULL: none.';

CREATE FUNCTION unschedule_cron_job(unscheduling oid, registrations regclass, kind text, jobid bigint) RETURNS integer
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  EXECUTE format('DELETE FROM %s g WHERE g.name = $1 AND g.username = current_user', registrations) USING kind;
  IF jobid IS NULL THEN RETURN 0; END IF;
  EXECUTE format('SELECT %s($1::bigint)', unscheduling::regproc) USING jobid;
  RETURN 1;
END
$$;
COMMENT ON FUNCTION unschedule_cron_job(oid, regclass, text, bigint) IS
  'Part of unschedule_maintenance(): one job of the current role, if there is one. Returns how many.';

CREATE FUNCTION note_cron_job(job_name text, state text) RETURNS integer
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RAISE NOTICE USING MESSAGE = format('pg_cron''s job %s %s', quote_literal(job_name), state);
  RETURN 0;
END
$$;
COMMENT ON FUNCTION note_cron_job(text, text) IS 'Part of schedule_maintenance() and unschedule_maintenance().';

CREATE FUNCTION schedule_cron_job(scheduling oid, registrations regclass, kind text, job_name text, at text, command text)
RETURNS integer
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- That of its name, schedule and command is replaced by it.
  EXECUTE format('SELECT %s($1, $2, $3)', scheduling::regproc) USING job_name, at, command;
  EXECUTE format('INSERT INTO %s (name) VALUES ($1) ON CONFLICT DO NOTHING', registrations) USING kind;
  RETURN 1;
END
$$;
COMMENT ON FUNCTION schedule_cron_job(oid, regclass, text, text, text, text) IS
  'Part of schedule_maintenance(): one job of the current role. Returns 1.';

CREATE FUNCTION schedule_maintenance() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT require_primary('schedule_maintenance()'::text);
  SELECT require_cron(cron_member('pg_catalog.pg_class'::regclass::oid, 'job'::text, NULL::integer), cron_schedules_here());
  SELECT check_cron_plan();
  SELECT note_cron_timezone(cron_timezone(), schedule_zone());
  WITH cron AS MATERIALIZED (
    SELECT cron_member('pg_catalog.pg_class'::regclass::oid, 'job'::text, NULL::integer) AS jobs,
           cron_member('pg_catalog.pg_proc'::regclass::oid, 'schedule'::text, 3) AS scheduling,
           cron_member('pg_catalog.pg_proc'::regclass::oid, 'unschedule'::text, 1) AS unscheduling
  ), job AS MATERIALIZED (
    SELECT c.scheduling, c.unscheduling, p.name, p.jobname, p.schedule, p.command, o.jobid, o.active,
           coalesce(o.is_foreign, false) AS is_foreign,
           other_cron_role(c.jobs, 'cron_registrations'::regclass, p.name, p.jobname, p.command) AS other
      FROM cron c CROSS JOIN cron_plan() p CROSS JOIN LATERAL own_cron_job(c.jobs, p.jobname, p.command) o
  )
  SELECT coalesce(sum(
           CASE WHEN j.is_foreign THEN note_cron_job(j.jobname, 'runs another command: it is left alone'::text)
                WHEN j.schedule IS NULL
                THEN 0 * unschedule_cron_job(j.unscheduling, 'cron_registrations'::regclass, j.name, j.jobid)
                     + note_cron_job(j.jobname, pg_catalog.format('is not scheduled: train_perf.maintenance_%s is empty'::text, j.name))
                WHEN j.other IS NOT NULL AND j.jobid IS NULL
                THEN 1 + note_cron_job(j.jobname, pg_catalog.format('is already scheduled by role %I'::text, j.other))
                -- One that was switched off is made anew: not everybody may switch it on.
                ELSE CASE WHEN NOT j.active
                          THEN 0 * unschedule_cron_job(j.unscheduling, 'cron_registrations'::regclass, j.name, j.jobid) ELSE 0 END
                     + schedule_cron_job(j.scheduling, 'cron_registrations'::regclass, j.name, j.jobname, j.schedule, j.command)
                END), 0::bigint)::integer
    FROM job j;
END;
COMMENT ON FUNCTION schedule_maintenance() IS
  'Hands weekly and monthly maintenance over to pg_cron, as jobs vacuum-analyze-weekly and reindex-bloated of the current '
  'role, at the times of train_perf.maintenance_weekly and _monthly; the workers leave them alone from then on. Can be '
  'repeated. Returns how many of the two are scheduled. 55000 where pg_cron does not run jobs of this database.';

CREATE FUNCTION unschedule_maintenance() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT require_primary('unschedule_maintenance()'::text);
  SELECT require_cron(cron_member('pg_catalog.pg_class'::regclass::oid, 'job'::text, NULL::integer), cron_schedules_here());
  WITH cron AS MATERIALIZED (
    SELECT cron_member('pg_catalog.pg_class'::regclass::oid, 'job'::text, NULL::integer) AS jobs,
           cron_member('pg_catalog.pg_proc'::regclass::oid, 'unschedule'::text, 1) AS unscheduling
  ), job AS MATERIALIZED (
    SELECT c.unscheduling, p.name, p.jobname, o.jobid, coalesce(o.is_foreign, false) AS is_foreign,
           other_cron_role(c.jobs, 'cron_registrations'::regclass, p.name, p.jobname, p.command) AS other
      FROM cron c CROSS JOIN cron_plan() p CROSS JOIN LATERAL own_cron_job(c.jobs, p.jobname, p.command) o
  )
  SELECT coalesce(sum(
           unschedule_cron_job(j.unscheduling, 'cron_registrations'::regclass, j.name, CASE WHEN NOT j.is_foreign THEN j.jobid END)
           + CASE WHEN j.is_foreign THEN note_cron_job(j.jobname, 'runs another command: it is left alone'::text) ELSE 0 END
           + CASE WHEN j.other IS NOT NULL
                  THEN note_cron_job(j.jobname, pg_catalog.format('of role %I is left alone'::text, j.other)) ELSE 0 END), 0::bigint)::integer
    FROM job j;
END;
COMMENT ON FUNCTION unschedule_maintenance() IS
  'Takes back schedule_maintenance() of the current role; the workers keep the schedule again. Jobs of the same names that '
  'run another command, or belong to another role, stay. Returns how many were removed.';

CREATE FUNCTION compare_with_cron(registrations regclass, plan regprocedure, weekly regprocedure, jobs oid, schedules boolean)
RETURNS integer
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  sees_all boolean := (SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user);
  actual text := 'SELECT NULL::text AS name, NULL::text AS username WHERE false';
  lost record;
BEGIN
  IF schedules THEN
    IF NOT sees_all THEN RETURN 0; END IF;
    -- Whoever may use pg_cron, but not us, must not take maintenance away with a job that cannot do it.
    actual := format('SELECT DISTINCT p.name, j.username FROM %s() p JOIN %s j ON j.jobname::text = p.jobname AND j.command = p.command '
                     'JOIN pg_roles r ON r.rolname = j.username AND has_function_privilege(r.oid, %s::oid, ''EXECUTE'') '
                     'WHERE j.active AND j.database = current_database()', plan::oid::regproc, jobs::regclass, weekly::oid);
  END IF;
  FOR lost IN EXECUTE format('DELETE FROM %s g WHERE NOT EXISTS (SELECT FROM (%s) a WHERE a.name = g.name AND a.username = g.username) '
                             'RETURNING g.name, g.username', registrations, actual)
  LOOP
    RAISE WARNING USING MESSAGE = format('pg_cron does not run %s maintenance for role %I any more', lost.name, lost.username),
      DETAIL = 'Its job is gone, changed or inactive; the workers keep what no other job of pg_cron does.';
  END LOOP;
  EXECUTE format('INSERT INTO %s (name, username) %s ON CONFLICT DO NOTHING', registrations, actual);
  RETURN 0;
END
$$;
COMMENT ON FUNCTION compare_with_cron(regclass, regprocedure, regprocedure, oid, boolean) IS
  'Makes cron_registrations tell what pg_cron really runs, as far as the current role sees it: jobs that were removed, '
  'changed or switched off behind our back fall to the workers again, restored ones to pg_cron. A role that sees its own '
  'only believes the registrations, as long as pg_cron runs jobs of this database.';

CREATE FUNCTION look_at_cron() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT compare_with_cron('cron_registrations'::regclass, 'cron_plan()'::regprocedure, 'weekly_maintenance()'::regprocedure,
                           cron_member('pg_catalog.pg_class'::regclass::oid, 'job'::text, NULL::integer), cron_schedules_here());
END;
COMMENT ON FUNCTION look_at_cron() IS 'compare_with_cron() for this database.';

-- The collector's look at the schedule.

CREATE FUNCTION note_schedule_settings() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  -- What a setting means counts from when it is first seen. So does the clock, if it was set back far.
  WITH noted AS (
    INSERT INTO maintenance_runs AS r (name, setting, timezone, settled_until, error)
    SELECT s.name, s.setting, s.timezone, clock_timestamp(), s.problem
      FROM (SELECT * FROM schedule_settings() UNION ALL SELECT * FROM window_setting()) s
      LEFT JOIN maintenance_runs k ON k.name = s.name
     WHERE k.name IS NULL OR (k.setting, k.timezone) IS DISTINCT FROM (s.setting, s.timezone)
        OR k.settled_until > clock_timestamp() + interval '6 hours'
    ON CONFLICT (name) DO UPDATE
       SET setting = excluded.setting, timezone = excluded.timezone, settled_until = excluded.settled_until, error = excluded.error
    RETURNING r.error
  )
  SELECT pg_catalog.count(CASE WHEN n.error IS NOT NULL THEN warn_maintenance(n.error) END)::integer FROM noted n;
END;
COMMENT ON FUNCTION note_schedule_settings() IS
  'Notes new settings in maintenance_runs; wrong ones go to the log, once. Returns how many of those.';

CREATE FUNCTION due_maintenance(at timestamptz, OUT name text, OUT due_at timestamptz, OUT is_kept boolean, OUT is_missed boolean)
RETURNS SETOF record
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT r.name, d.due_at,
         EXISTS (SELECT FROM cron_registrations g WHERE g.name = r.name),
         d.due_at <= due_maintenance.at - interval '6 hours'
    FROM maintenance_runs r
    JOIN schedule_settings() s ON s.name = r.name AND s.problem IS NULL
   CROSS JOIN LATERAL (SELECT max(i.instant) AS due_at
                         FROM schedule_instants(s.setting, s.name, s.timezone, due_maintenance.at) AS i (instant)
                        WHERE i.instant <= due_maintenance.at) d
   WHERE d.due_at > r.settled_until
     FOR UPDATE OF r;
END;
COMMENT ON FUNCTION due_maintenance(timestamptz) IS
  'What has become due since the last look: kept by pg_cron, missed by more than six hours, or to be run.';

CREATE FUNCTION run_due_schedule() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT prune_maintenance_jobs();
  SELECT warn_maintenance(t.problem)
    FROM (VALUES ('refresh_retention_rules()'::regprocedure), ('look_at_cron()'::regprocedure)) AS c (work)
   CROSS JOIN LATERAL try_maintenance(c.work) t
   WHERE t.problem IS NOT NULL;
  SELECT note_schedule_settings();
  -- The jobs, and that they were queued, are written together.
  WITH due AS MATERIALIZED (
    SELECT d.*, clock_timestamp() AS now FROM due_maintenance(clock_timestamp()) d
  ), run AS MATERIALIZED (
    SELECT d.name, t.result, t.problem
      FROM due d
      JOIN (VALUES ('weekly'::text, 'queue_weekly_maintenance()'::regprocedure),
                   ('monthly'::text, 'queue_monthly_maintenance()'::regprocedure),
                   ('daily'::text, 'run_daily_maintenance()'::regprocedure)) AS w (name, work) ON w.name = d.name
     CROSS JOIN LATERAL try_maintenance(w.work) t
     WHERE NOT d.is_kept AND NOT d.is_missed
  ), told AS MATERIALIZED (
    SELECT r.name, warn_maintenance(r.problem)
      FROM run r JOIN maintenance_runs m ON m.name = r.name
     WHERE r.problem IS NOT NULL AND m.error IS DISTINCT FROM r.problem
  ), settled AS (
    -- After a failure it is still due.
    UPDATE maintenance_runs m
       SET settled_until = CASE WHEN r.problem IS NULL THEN d.due_at ELSE m.settled_until END,
           last_run_at = CASE WHEN r.name IS NOT NULL AND r.problem IS NULL THEN d.now ELSE m.last_run_at END,
           error = r.problem
      FROM due d LEFT JOIN run r ON r.name = d.name
     WHERE m.name = d.name
  )
  SELECT (coalesce(sum(r.result), 0::bigint) + 0::bigint * (SELECT count(*) FROM told))::integer FROM run r;
END;
COMMENT ON FUNCTION run_due_schedule() IS
  'Queues what the schedule says is due, once for each time; what was missed by more than six hours is left out. Also '
  'prunes maintenance_jobs. Returns how many jobs it queued. The collector''s work, about each minute.';
