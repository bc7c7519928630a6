-- The schedule of maintenance: windows, due times, what is covered, and retention rules.
BEGIN;
SELECT no_plan();
SET LOCAL timezone = 'Asia/Tokyo';  -- of the session: nothing may depend on it
SET LOCAL train_perf.timezone = 'Europe/Berlin';

-- Windows.

CREATE FUNCTION pg_temp.opens(setting text, at timestamptz) RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('train_perf.maintenance_window', setting, true);
  RETURN CASE WHEN next_window_start(at) = at THEN 'open' ELSE (next_window_start(at) AT TIME ZONE 'UTC')::text END;
END
$$;
CREATE FUNCTION pg_temp.error_of(statement text) RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE statement;
  RETURN 'none';
EXCEPTION WHEN others THEN
  RETURN SQLSTATE;
END
$$;

-- 2024-06-05 was a Wednesday; Berlin was two hours ahead of UTC.
SELECT is(pg_temp.opens(setting, at), expected, format('%L at %s: %s', setting, at AT TIME ZONE 'UTC', expected))
  FROM (VALUES
    ('', '2024-06-05 12:00+02'::timestamptz, 'open'),
    ('  ', '2024-06-05 12:00+02', 'open'),
    ('02:00-05:00', '2024-06-05 01:59:59.999999+02', '2024-06-05 00:00:00'),
    ('02:00-05:00', '2024-06-05 02:00+02', 'open'),
    ('02:00-05:00', '2024-06-05 04:59:59.999999+02', 'open'),
    ('02:00-05:00', '2024-06-05 05:00+02', '2024-06-06 00:00:00'),
    ('2:00 - 5:00', '2024-06-05 05:00+02', '2024-06-06 00:00:00'),
    ('22:00-04:00', '2024-06-05 03:59+02', 'open'),
    ('22:00-04:00', '2024-06-05 22:00+02', 'open'),
    ('22:00-04:00', '2024-06-05 04:00+02', '2024-06-05 20:00:00'),
    ('22:00-24:00', '2024-06-05 23:59+02', 'open'),
    ('22:00-24:00', '2024-06-06 00:00+02', '2024-06-06 20:00:00'),
    ('00:00-24:00', '2024-06-05 12:00+02', 'open'),
    ('Sat 22:00-Sun 04:00', '2024-06-05 12:00+02', '2024-06-08 20:00:00'),
    ('Sat 22:00-Sun 04:00', '2024-06-09 03:59+02', 'open'),
    ('Sat 22:00-Sun 04:00', '2024-06-09 04:00+02', '2024-06-15 20:00:00'),
    ('saturday 22:00-SUN 04:00', '2024-06-09 03:59+02', 'open'),
    ('Sat 22:00-04:00', '2024-06-09 03:59+02', 'open'),
    ('Sun 02:00-05:00', '2024-06-09 05:00+02', '2024-06-16 00:00:00'),
    ('Fri 20:00-Mon 06:00', '2024-06-10 05:59+02', 'open'),
    ('Fri 20:00-Mon 06:00', '2024-06-10 06:00+02', '2024-06-14 18:00:00'),
    ('Wed 13:00-Wed 12:00', '2024-06-05 12:30+02', '2024-06-05 11:00:00'),
    ('Wed 13:00-Wed 12:00', '2024-06-05 11:59+02', 'open'),
    ('Wed 13:00-Wed 12:00', '2024-06-04 11:59+02', 'open'),
    ('Sat 22:00-Sun 04:00, 12:00-13:00', '2024-06-05 13:00+02', '2024-06-06 10:00:00'),
    ('Sat 22:00-Sun 04:00,12:00-13:00', '2024-06-08 14:00+02', '2024-06-08 20:00:00'),
    -- In the night to 2024-03-31 the clock went from 2:00 to 3:00, on 2024-10-27 from 3:00 to 2:00.
    ('02:10-02:50', '2024-03-31 00:00+01', '2024-03-31 01:10:00'),
    ('02:10-03:00', '2024-03-31 00:00+01', '2024-04-01 00:10:00'),
    ('01:00-04:00', '2024-03-31 00:00+01', '2024-03-31 00:00:00'),
    ('01:00-04:00', '2024-03-31 04:00+02', '2024-03-31 23:00:00'),
    ('01:00-04:00', '2024-10-27 03:59+01', 'open'),
    ('01:00-02:30', '2024-10-27 02:45+02', 'open'),
    ('01:00-02:30', '2024-10-27 02:30+01', '2024-10-28 00:00:00'),
    ('Sat 12:00-Sun 12:00', '2024-10-27 11:59+01', 'open'),
    ('nonsense', '2024-06-05 12:00+02', 'infinity'),
    ('02:00-05:00, nonsense', '2024-06-05 03:00+02', 'infinity'),
    ('02:00-05:00', 'infinity', 'open'),
    ('02:00-05:00', '-infinity', 'open')) AS c (setting, at, expected);
SELECT is(next_window_start(NULL), NULL, 'no_time_no_window');

SELECT is(pg_temp.error_of(format('SELECT check_maintenance_window(%L)', setting)), expected,
          format('%s as a window: %s', to_json(setting), expected))
  FROM (VALUES
    ('', 'none'), ('02:00-05:00', 'none'), ('Sat 22:00-Sun 04:00, 02:00-05:00', 'none'), ('00:00-24:00', 'none'),
    (NULL, 'none'), ('Sat 00:00-Sat 24:00', 'none'),
    ('02:00', '22023'), ('02:00-', '22023'), ('02:00-05:00,', '22023'), ('24:00-02:00', '22023'),
    ('02:00-24:01', '22023'), ('02:60-05:00', '22023'), ('Caturday 02:00-05:00', '22023'),
    ('Sunny 02:00-05:00', '22023'), ('02:00-Sun 05:00', '22023'), ('02:00-02:00', '22023'),
    ('Sat 02:00-Sat 02:00', '22023'), ('02:00-05:00 Sun', '22023'), (E'02:00-05:00\n03:00-04:00', '22023'))
    AS c (setting, expected);
SELECT throws_like($$SELECT check_maintenance_window('02:00-05:00, 25:00-26:00')$$, '%''25:00-26:00'' is no window%',
  'the_error_names_the_wrong_part');

SET LOCAL train_perf.maintenance_window = '02:00-05:00';
SET LOCAL train_perf.timezone = 'Mars/Olympus_Mons';
SELECT is(next_window_start('2024-06-05 03:00+02'), 'infinity', 'in_an_unknown_time_zone_no_window_opens');
SET LOCAL train_perf.maintenance_window = '';
SELECT is(next_window_start('2024-06-05 03:00+02'), '2024-06-05 03:00+02', 'without_windows_it_does_not_matter');
SET LOCAL train_perf.timezone = '';
SELECT is((SELECT name FROM schedule_timezone()), (SELECT reset_val FROM pg_settings WHERE name = 'TimeZone'),
  'the_default_is_the_time_zone_of_the_server');
SET LOCAL train_perf.timezone = 'America/New_York';
SET LOCAL train_perf.maintenance_window = '02:00-05:00';
SELECT is(next_window_start('2024-06-05 12:00+00'), '2024-06-06 06:00+00', 'it_can_be_another');


-- Due times.

SET LOCAL train_perf.timezone = 'Europe/Berlin';
SELECT is((schedule_due(setting, kind, at) AT TIME ZONE 'UTC')::text, expected, format('%s %s at %s', kind, setting, at AT TIME ZONE 'UTC'))
  FROM (VALUES
    ('02:00', 'daily', '2024-06-05 02:00+02'::timestamptz, '2024-06-05 00:00:00'),
    ('02:00', 'daily', '2024-06-05 01:59:59.999999+02', '2024-06-04 00:00:00'),
    ('2:05', 'daily', '2024-06-05 12:00+02', '2024-06-05 00:05:00'),
    ('00:00', 'daily', '2024-06-05 00:00+02', '2024-06-04 22:00:00'),
    ('23:59', 'daily', '2024-06-05 00:00+02', '2024-06-04 21:59:00'),
    (' 02:00 ', 'daily', '2024-06-05 02:00+02', '2024-06-05 00:00:00'),
    ('', 'daily', '2024-06-05 02:00+02', NULL),
    (NULL, 'daily', '2024-06-05 02:00+02', NULL),
    ('02:00', 'daily', 'infinity', NULL),
    ('02:00', 'daily', NULL, NULL),
    -- From 2:00 to 3:00: half past two is half past three then, once.
    ('02:30', 'daily', '2024-03-31 03:29+02', '2024-03-30 01:30:00'),
    ('02:30', 'daily', '2024-03-31 03:30+02', '2024-03-31 01:30:00'),
    ('02:30', 'daily', '2024-04-01 02:29+02', '2024-03-31 01:30:00'),
    ('02:00', 'daily', '2024-03-31 03:00+02', '2024-03-31 01:00:00'),
    -- From 3:00 to 2:00: once.
    ('02:30', 'daily', '2024-10-27 02:30+02', '2024-10-26 00:30:00'),
    ('02:30', 'daily', '2024-10-27 02:30+01', '2024-10-27 01:30:00'),
    ('02:30', 'daily', '2024-10-28 02:29+01', '2024-10-27 01:30:00'),
    ('Sun 02:00', 'weekly', '2024-06-09 02:00+02', '2024-06-09 00:00:00'),
    ('Sun 02:00', 'weekly', '2024-06-09 01:59+02', '2024-06-02 00:00:00'),
    ('sunday 02:00', 'weekly', '2024-06-08 02:00+02', '2024-06-02 00:00:00'),
    ('WED 02:00', 'weekly', '2024-06-05 02:00+02', '2024-06-05 00:00:00'),
    ('Thu 02:00', 'weekly', '2024-06-05 02:00+02', '2024-05-30 00:00:00'),
    ('Sun 02:30', 'weekly', '2024-03-31 12:00+02', '2024-03-31 01:30:00'),
    ('1 03:00', 'monthly', '2024-06-05 02:00+02', '2024-06-01 01:00:00'),
    ('1 03:00', 'monthly', '2024-06-01 02:59+02', '2024-05-01 01:00:00'),
    ('31 03:00', 'monthly', '2024-06-30 03:00+02', '2024-06-30 01:00:00'),
    ('31 03:00', 'monthly', '2024-06-30 02:59+02', '2024-05-31 01:00:00'),
    ('30 03:00', 'monthly', '2024-03-01 00:00+01', '2024-02-29 02:00:00'),
    ('29 03:00', 'monthly', '2023-03-01 00:00+01', '2023-02-28 02:00:00'),
    ('31 03:00', 'monthly', '2024-12-31 03:00+01', '2024-12-31 02:00:00'),
    ('31 23:00', 'monthly', '2025-01-01 00:00+01', '2024-12-31 22:00:00'),
    ('31 02:30', 'monthly', '2024-03-31 12:00+02', '2024-03-31 01:30:00')) AS c (setting, kind, at, expected);
SET LOCAL train_perf.timezone = 'America/New_York';  -- 2024-03-10 and 2024-11-03 at 2:00
SELECT is((schedule_due(setting, kind, at) AT TIME ZONE 'UTC')::text, expected, format('New York: %s %s at %s', kind, setting, at AT TIME ZONE 'UTC'))
  FROM (VALUES
    ('02:30', 'daily', '2024-03-10 12:00+00'::timestamptz, '2024-03-10 07:30:00'),
    ('02:30', 'daily', '2024-03-10 07:29+00', '2024-03-09 07:30:00'),
    ('01:30', 'daily', '2024-11-03 05:45+00', '2024-11-02 05:30:00'),
    ('01:30', 'daily', '2024-11-03 06:30+00', '2024-11-03 06:30:00'),
    ('Sun 02:00', 'weekly', '2024-11-03 06:59+00', '2024-10-27 06:00:00'),
    ('Sun 02:00', 'weekly', '2024-11-03 07:00+00', '2024-11-03 07:00:00'),
    ('1 03:00', 'monthly', '2024-11-01 07:00+00', '2024-11-01 07:00:00')) AS c (setting, kind, at, expected);
SELECT is((SELECT count(DISTINCT schedule_due('02:30', 'daily', t)) FROM generate_series('2024-01-01 12:00+00'::timestamptz,
            '2024-12-31 12:00+00', interval '3 hours') t), 366::bigint, 'each_day_has_one_due_time_whatever_the_clock_does');
SELECT is((SELECT count(DISTINCT schedule_due('31 03:00', 'monthly', t)) FROM generate_series('2024-01-31 12:00+00'::timestamptz,
            '2024-12-31 12:00+00', interval '1 day') t), 12::bigint, 'each_month_too');
SELECT is((SELECT count(*) FROM generate_series('2024-01-01 12:00+00'::timestamptz, '2024-12-31 12:00+00', interval '31 hours') t,
                   (VALUES ('02:30', 'daily'), ('Sun 02:30', 'weekly'), ('31 02:30', 'monthly')) AS c (setting, kind)
            WHERE schedule_due(setting, kind, schedule_next(setting, kind, t)) IS DISTINCT FROM schedule_next(setting, kind, t)
               OR schedule_next(setting, kind, schedule_due(setting, kind, t)) <= t), 0::bigint,
  'what_is_next_is_due_then_and_nothing_is_in_between');
SET LOCAL train_perf.timezone = 'Mars/Olympus_Mons';
SELECT is(schedule_due('02:00', 'daily', '2024-06-05 02:00+02'), NULL, 'in_an_unknown_time_zone_nothing_is_due');
SET LOCAL train_perf.timezone = 'Europe/Berlin';

SELECT is(pg_temp.error_of(format('SELECT check_schedule(%L, %L)', setting, kind)), expected,
          format('%s: %s is %s', kind, to_json(setting), expected))
  FROM (VALUES
    ('', 'daily', 'none'), ('02:00', 'daily', 'none'), (NULL, 'weekly', 'none'), ('Sun 02:00', 'weekly', 'none'),
    ('31 03:00', 'monthly', 'none'), ('01 03:00', 'monthly', 'none'),
    ('24:00', 'daily', '22023'), ('02:60', 'daily', '22023'), ('2', 'daily', '22023'), ('Sun 02:00', 'daily', '22023'),
    ('0 2 * * *', 'daily', '22023'), ('02:00 +01', 'daily', '22023'),
    ('02:00', 'weekly', '22023'), ('Caturday 02:00', 'weekly', '22023'), ('Sun02:00', 'weekly', '22023'),
    ('7 02:00', 'weekly', '22023'), ('0 03:00', 'monthly', '22023'), ('32 03:00', 'monthly', '22023'),
    ('Sun 03:00', 'monthly', '22023'), ('03:00', 'monthly', '22023'), ('1 03:00', 'yearly', '22023'), ('1 03:00', NULL, '22023'))
    AS c (setting, kind, expected);
SELECT throws_ok($$SELECT schedule_due('noon', 'daily', now())$$, '22023',
  'train_perf.maintenance_daily: ''noon'' is no time for it', 'a_wrong_setting_has_no_due_time');

-- What the workers do. In a time zone whose clocks are never changed: when that is done depends on the day.

SET LOCAL train_perf.timezone = 'Asia/Kolkata';

CREATE FUNCTION pg_temp.jobs_since(first bigint) RETURNS TABLE (kind text, target text, role name, reason text, in_window boolean)
LANGUAGE sql AS $$
  SELECT j.kind, j.target, j.requested_by, j.reason, j.in_window FROM maintenance_jobs j WHERE j.job_id >= first
$$;
CREATE FUNCTION pg_temp.next_job() RETURNS bigint LANGUAGE sql AS $$SELECT nextval('maintenance_jobs_job_id_seq')$$;
-- As if the last look at it had been some time ago.
CREATE FUNCTION pg_temp.rewind(which text, by interval) RETURNS void LANGUAGE sql AS $$
  UPDATE maintenance_runs SET settled_until = settled_until - by WHERE name = which
$$;
-- A setting by which it was due some time ago.
CREATE FUNCTION pg_temp.set_due(which text, ago interval) RETURNS void LANGUAGE sql AS $$
  SELECT set_config('train_perf.maintenance_' || which,
                    CASE which WHEN 'weekly' THEN to_char(clock_timestamp() AT TIME ZONE 'Asia/Kolkata' - ago, 'Dy HH24:MI')
                               WHEN 'monthly' THEN to_char(clock_timestamp() AT TIME ZONE 'Asia/Kolkata' - ago, 'FMDD HH24:MI')
                               ELSE to_char(clock_timestamp() AT TIME ZONE 'Asia/Kolkata' - ago, 'HH24:MI') END, true)
$$;

DELETE FROM maintenance_runs;
CREATE SCHEMA covered;
CREATE ROLE schedule_owner;
CREATE TABLE covered.scenarios (id int, at timestamptz);
ALTER TABLE covered.scenarios OWNER TO schedule_owner;
SELECT pg_temp.set_due(k, interval '1 hour') FROM unnest('{daily,weekly,monthly}'::text[]) k;
SELECT is(run_due_schedule(), 0, 'at_the_first_look_nothing_is_due');
SELECT is((SELECT array_agg(name ORDER BY name) FROM maintenance_runs WHERE last_run_at IS NULL AND error IS NULL),
  '{daily,monthly,weekly,window}', 'but_all_is_noted');
SELECT pg_temp.next_job() AS first \gset
SELECT pg_temp.rewind('weekly', interval '2 hours');
SELECT cmp_ok(run_due_schedule(), '>', 10, 'weekly_maintenance_is_run_when_it_is_due');
SELECT ok(last_run_at > now() - interval '1 hour', 'and_when_is_noted') FROM maintenance_runs WHERE name = 'weekly';
SELECT results_eq(format($$SELECT target, role, kind, reason, in_window FROM pg_temp.jobs_since(%s) WHERE target LIKE 'covered.%%'$$, :first),
  $$VALUES ('covered.scenarios', 'schedule_owner'::name, 'vacuum_analyze', 'weekly maintenance', true)$$,
  'a_covered_table_is_vacuumed_as_its_owner_in_the_window');
SELECT is(count(*), 1::bigint, 'our_own_tables_are_covered') FROM pg_temp.jobs_since(:first) WHERE target ~ 'performance_alerts$';
SELECT is(run_due_schedule(), 0, 'never_twice');
SELECT pg_temp.rewind('weekly', interval '2 hours');
SELECT is(run_due_schedule(), 0, 'what_still_waits_for_its_window_is_not_queued_again');
UPDATE maintenance_jobs SET status = 'cancelled', finished_at = now() WHERE job_id >= :first;

SELECT pg_temp.set_due('weekly', interval '7 hours');
SELECT is(run_due_schedule(), 0, 'a_new_setting_counts_from_when_it_is_seen');
SELECT pg_temp.rewind('weekly', interval '8 hours');
SELECT is(run_due_schedule(), 0, 'what_was_missed_by_more_than_six_hours_is_left_out');
SELECT ok(settled_until < now() - interval '6 hours 30 minutes', 'for_good') FROM maintenance_runs WHERE name = 'weekly';
SELECT pg_temp.set_due('weekly', interval '5 hours');
SELECT run_due_schedule();
SELECT pg_temp.rewind('weekly', interval '6 hours');
SELECT cmp_ok(run_due_schedule(), '>', 10, 'what_was_missed_by_less_is_not');
UPDATE maintenance_jobs SET status = 'cancelled', finished_at = now() WHERE job_id >= :first;

SET LOCAL train_perf.maintenance_weekly = 'every now and then';
SELECT lives_ok('SELECT run_due_schedule()', 'a_wrong_setting_stops_nothing');
SELECT is(error, 'train_perf.maintenance_weekly: ''every now and then'' is no time for it', 'it_is_shown')
  FROM maintenance_runs WHERE name = 'weekly';
SELECT results_eq($$SELECT next_at, error FROM maintenance_schedule WHERE name = 'weekly'$$,
  $$VALUES (NULL::timestamptz, 'train_perf.maintenance_weekly: ''every now and then'' is no time for it')$$, 'in_the_view_too');
SELECT pg_temp.rewind('weekly', interval '30 days');
SELECT is(run_due_schedule(), 0, 'and_never_due');
SET LOCAL train_perf.maintenance_weekly = '';
SELECT run_due_schedule();
SELECT results_eq($$SELECT setting, next_at, keeper, error FROM maintenance_schedule WHERE name = 'weekly'$$,
  $$VALUES ('', NULL::timestamptz, 'workers', NULL::text)$$, 'without_a_setting_it_is_never_due');

-- Settings and their errors in the view.

SET LOCAL train_perf.maintenance_daily = '02:00';
SET LOCAL train_perf.maintenance_weekly = 'Sun 02:00';
SET LOCAL train_perf.maintenance_monthly = '1 03:00';
SET LOCAL train_perf.maintenance_window = '';
SELECT results_eq(
  $$SELECT name, setting, timezone, keeper, error, next_at > now() - interval '1 minute',
           CASE name WHEN 'daily' THEN to_char(next_at AT TIME ZONE 'Asia/Kolkata', 'HH24:MI')
                     WHEN 'weekly' THEN to_char(next_at AT TIME ZONE 'Asia/Kolkata', 'Dy HH24:MI')
                     WHEN 'monthly' THEN to_char(next_at AT TIME ZONE 'Asia/Kolkata', 'FMDD HH24:MI') END
      FROM maintenance_schedule ORDER BY name$$,
  $$VALUES ('daily', '02:00', 'Asia/Kolkata', 'workers', NULL::text, true, '02:00'),
           ('monthly', '1 03:00', 'Asia/Kolkata', 'workers', NULL, true, '1 03:00'),
           ('weekly', 'Sun 02:00', 'Asia/Kolkata', 'workers', NULL, true, 'Sun 02:00'),
           ('window', '', 'Asia/Kolkata', 'workers', NULL, true, NULL)$$,
  'the_view_tells_settings_and_when_they_are_due_next');
SET LOCAL train_perf.maintenance_window = 'at night';
SELECT results_eq($$SELECT next_at, error FROM maintenance_schedule WHERE name = 'window'$$,
  $$VALUES (NULL::timestamptz, 'train_perf.maintenance_window: ''at night'' is no window')$$, 'a_wrong_window_is_shown');
SET LOCAL train_perf.maintenance_window = '';
SET LOCAL train_perf.timezone = 'Mars/Olympus_Mons';
SELECT is(count(*), 3::bigint, 'a_wrong_time_zone_is_shown_where_it_matters') FROM maintenance_schedule
 WHERE error = 'train_perf.timezone: there is no time zone ''Mars/Olympus_Mons''' AND next_at IS NULL AND name <> 'window';
SET LOCAL train_perf.timezone = 'Asia/Kolkata';

-- Covered tables.

CREATE TABLE covered.edge_cases (id int) PARTITION BY RANGE (id);
CREATE TABLE covered.edge_cases_1 PARTITION OF covered.edge_cases FOR VALUES FROM (0) TO (10);
CREATE TABLE covered.other (id int) PARTITION BY RANGE (id);
CREATE TABLE covered.batch_jobs PARTITION OF covered.other FOR VALUES FROM (0) TO (10);
CREATE MATERIALIZED VIEW covered.export_logs AS SELECT 1 AS id;
CREATE VIEW covered.generation_logs AS SELECT 1 AS id;
CREATE TEMP TABLE conversations (id int);
SELECT bag_eq($$SELECT tablename FROM maintenance_tables() WHERE schemaname = 'covered'$$,
  $$VALUES ('scenarios'), ('edge_cases'), ('batch_jobs'), ('export_logs')$$, 'the_default_list_in_any_schema');
SELECT is(count(*), 0::bigint, 'no_temporary_tables') FROM maintenance_tables() WHERE schemaname ~ '^pg_';
SET LOCAL train_perf.maintenance_tables = 'covered.*';
SELECT bag_eq($$SELECT tablename FROM maintenance_tables() WHERE schemaname = 'covered'$$,
  $$VALUES ('scenarios'), ('edge_cases'), ('other'), ('export_logs')$$, 'a_partitioned_table_covers_its_partitions');
SET LOCAL train_perf.maintenance_tables = '';
SELECT is(count(*), 0::bigint, 'none') FROM maintenance_tables() WHERE schemaname = 'covered';
SET LOCAL train_perf.maintenance_tables = 'covered.no_such_table';
SELECT is(count(*), 0::bigint, 'a_pattern_that_fits_none') FROM maintenance_tables() WHERE schemaname = 'covered';
SELECT bag_eq(
  $$SELECT t.relid FROM maintenance_tables() t$$,
  $$SELECT c.oid FROM pg_extension e JOIN pg_depend d ON d.refobjid = e.oid AND d.deptype = 'e' AND d.classid = 'pg_class'::regclass
      JOIN pg_class c ON c.oid = d.objid AND c.relkind IN ('r', 'p') AND NOT c.relispartition
     WHERE e.extname = 'train_perf'$$, 'our_own_tables_are_always_covered_once');
SET LOCAL train_perf.maintenance_tables = '*.*';
SELECT is(count(*), count(DISTINCT relid), 'none_twice') FROM maintenance_tables();
SELECT is(count(*), 0::bigint, 'no_partition_beside_its_table')
  FROM maintenance_tables() t JOIN maintenance_tables() p ON p.relid <> t.relid
   AND p.relid IN (SELECT a.relid FROM pg_partition_ancestors(t.relid) a);
RESET train_perf.maintenance_tables;

-- Pruning.

DELETE FROM maintenance_jobs;
INSERT INTO maintenance_jobs (kind, target, requested_by, status, relid, role, finished_at, reason)
SELECT 'analyze', 'x', 'x', 'succeeded', 1, 1, now() - interval '36 days' - i * interval '1 second', 'old' FROM generate_series(1, 1500) i;
INSERT INTO maintenance_jobs (kind, target, requested_by, status, relid, role, finished_at, reason)
SELECT 'analyze', 'x', 'x', 'succeeded', 1, 1, now() - i * interval '1 second', 'young' FROM generate_series(1, 10300) i;
INSERT INTO maintenance_jobs (kind, target, requested_by, relid, role, requested_at, not_before, reason)
VALUES ('analyze', 'x', 'x', 1, 1, now() - interval '50 days', 'infinity', 'queued');
SELECT is(prune_maintenance_jobs(), 1000, 'ended_jobs_are_pruned_in_steps');
DO $$ BEGIN WHILE prune_maintenance_jobs() > 0 LOOP END LOOP; END $$;
SELECT results_eq($$SELECT reason, count(*), min(now() - finished_at) FROM maintenance_jobs GROUP BY 1 ORDER BY 1$$,
  $$VALUES ('queued', 1::bigint, NULL::interval), ('young', 10000, interval '1 second')$$,
  'until_retention_and_a_bound_are_kept_and_what_has_not_ended_stays');
DELETE FROM maintenance_jobs;

-- Retention: who may ask for what.

CREATE ROLE schedule_operator;
SELECT grant_access('schedule_operator', 'operate');
GRANT USAGE ON SCHEMA covered TO schedule_operator, schedule_owner;
CREATE DOMAIN covered.moment AS timestamp;
CREATE DOMAIN covered.instant AS covered.moment;
CREATE TABLE covered."Ev""ents" (id int, at timestamptz, "On" date, local timestamp, of_domain covered.instant, name text, gone date);
ALTER TABLE covered."Ev""ents" DROP COLUMN gone;
GRANT SELECT, DELETE ON covered."Ev""ents" TO schedule_operator;
CREATE TABLE covered.readable (at timestamptz);
GRANT SELECT ON covered.readable TO schedule_operator;
CREATE TABLE covered.writable (at timestamptz);
GRANT DELETE ON covered.writable TO schedule_operator;
SET LOCAL ROLE schedule_operator;
SELECT is(pg_temp.error_of(format('SELECT set_retention(%L, %L, %L)', t, c, k)), expected, format('%s %s %s: %s', t, c, k, expected))
  FROM (VALUES
    ('covered."Ev""ents"', 'at', '1 day', 'none'), ('covered."Ev""ents"', 'On', '30 days', 'none'),
    ('covered."Ev""ents"', 'local', '1 month', 'none'), ('covered."Ev""ents"', 'of_domain', '1 second', 'none'),
    ('covered.none', 'at', '1 day', '42P01'), ('none', 'at', '1 day', '42P01'), (NULL, 'at', '1 day', '42P01'),
    ('covered."Ev""ents"', 'none', '1 day', '42703'), ('covered."Ev""ents"', 'on', '1 day', '42703'),
    ('covered."Ev""ents"', 'gone', '1 day', '42703'), ('covered."Ev""ents"', 'ctid', '1 day', '42703'),
    ('covered."Ev""ents"', NULL, '1 day', '42703'),
    ('covered."Ev""ents"', 'name', '1 day', '42804'), ('covered."Ev""ents"', 'id', '1 day', '42804'),
    ('covered."Ev""ents"', 'at', '0', '22023'), ('covered."Ev""ents"', 'at', '-1 day', '22023'),
    ('covered."Ev""ents"', 'at', '1 month -40 days', '22023'), ('covered."Ev""ents"', 'at', NULL, '22023'),
    ('covered."Ev""ents"', 'at', '5000 years', '22023'),
    ('covered.readable', 'at', '1 day', '42501'), ('covered.writable', 'at', '1 day', '42501'),
    ('covered.generation_logs', 'id', '1 day', '42809'), ('covered.export_logs', 'id', '1 day', '42809'),
    ('pg_temp.conversations', 'id', '1 day', '42809'), ('pg_catalog.pg_class', 'relname', '1 day', '42809'),
    ('performance_alerts', 'created_at', '1 day', '42809'), ('query_performance_logs', 'execution_timestamp', '1 day', '42809'),
    ('query_performance_logs_default', 'execution_timestamp', '1 day', '42809')) AS c (t, c, k, expected);
RESET ROLE;
SELECT results_eq($$SELECT schemaname, tablename, columnname, keep, requested_by, relid, role FROM retention_rules$$,
  $$VALUES ('covered', 'Ev"ents', 'of_domain', interval '1 second', 'schedule_operator', 'covered."Ev""ents"'::regclass::oid,
            'schedule_operator'::regrole::oid)$$, 'the_last_rule_replaces_the_ones_before');
SET LOCAL ROLE schedule_owner;
SELECT is(pg_temp.error_of($$SELECT set_retention('covered.scenarios', 'at', '1 day')$$), '42501', 'not_without_access_to_the_extension');
RESET ROLE;
SELECT grant_access('schedule_owner', 'operate');
SET LOCAL ROLE schedule_owner;
SELECT is(pg_temp.error_of($$SELECT drop_retention('covered."Ev""ents"')$$), '42501', 'who_may_not_delete_rows_ends_no_rule');
SELECT is(pg_temp.error_of($$SELECT set_retention('covered.scenarios', 'at', '1 day')$$), 'none', 'the_owner_of_a_table_may_ask');
SELECT throws_ok($$INSERT INTO retention_rules (schemaname, tablename, columnname, keep, requested_by)
                   VALUES ('covered', 'readable', 'at', '1 day', 'schedule_operator')$$, '42501',
  'permission denied to have rows deleted as role schedule_operator', 'nobody_asks_as_somebody_else');
SELECT throws_ok(format($$INSERT INTO retention_rules (schemaname, tablename, columnname, keep, requested_by)
                          VALUES ('covered', 'readable', 'at', '1 day', %L)$$, session_user), '42501', NULL,
  'above_all_not_as_a_superuser');
SELECT throws_ok('UPDATE retention_rules SET role = 10', '42501', NULL, 'and_nobody_changes_a_rule');
RESET ROLE;

-- Names change, tables go.

ALTER TABLE covered."Ev""ents" RENAME COLUMN of_domain TO happened;
ALTER TABLE covered."Ev""ents" RENAME TO events;
ALTER ROLE schedule_operator RENAME TO schedule_operator_2;
SELECT refresh_retention_rules();
SELECT results_eq($$SELECT tablename, columnname, requested_by FROM retention_rules WHERE relid = 'covered.events'::regclass$$,
  $$VALUES ('events', 'happened', 'schedule_operator_2')$$, 'rules_follow_names');
SELECT is(queue_retention(), 2, 'each_rule_gets_a_job');
SELECT results_eq($$SELECT target, requested_by, reason, in_window FROM maintenance_jobs WHERE kind = 'retention' ORDER BY 1$$,
  $$VALUES ('covered.events', 'schedule_operator_2'::name, 'keeps 00:00:01 by happened', true),
           ('covered.scenarios', 'schedule_owner'::name, 'keeps 1 day by at', true)$$, 'as_the_role_that_asked');
SAVEPOINT with_role;
DELETE FROM maintenance_jobs WHERE kind = 'retention';
UPDATE retention_rules SET role = 4294967295 WHERE relid = 'covered.events'::regclass;
SELECT is(queue_retention(), 2, 'also_if_its_role_is_gone');
SELECT results_eq($$SELECT reason, p.obstacle_sqlstate FROM maintenance_jobs j, plan_maintenance_job(j.job_id) p
                     WHERE kind = 'retention' AND target = 'covered.events'$$,
  $$VALUES ('keeps 00:00:01 by happened, asked for by schedule_operator_2', '42704')$$, 'which_fails_then');
ROLLBACK TO with_role;
SET LOCAL client_min_messages = error;
DROP TABLE covered.scenarios;
SELECT is(refresh_retention_rules(), 1, 'a_rule_ends_with_its_table');
RESET client_min_messages;
SET LOCAL ROLE schedule_operator_2;
SELECT is(drop_retention('covered.events'), true, 'it_is_taken_back');
SELECT is(drop_retention('covered.events'), false, 'once');
SELECT is(pg_temp.error_of($$SELECT drop_retention('covered.none')$$), '42P01', 'of_no_table');
RESET ROLE;
SELECT is((SELECT skip FROM maintenance_jobs j, plan_retention(j) WHERE target = 'covered.events'), 'The rule was dropped.',
  'its_job_finds_nothing_to_do');

-- What a retention job runs.

CREATE FUNCTION pg_temp.plan_for(t regclass) RETURNS TABLE (skip text, obstacle text, obstacle_sqlstate text, commands text[], repeat boolean)
LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM maintenance_jobs;
  INSERT INTO maintenance_jobs (kind, target, requested_by, relid, role)
  SELECT 'retention', t::text, r.requested_by, t, r.role FROM retention_rules r WHERE r.relid = t;
  -- Without the first, which sets the search_path.
  RETURN QUERY SELECT p.skip, p.obstacle, p.obstacle_sqlstate, p.commands[2:], p.repeat FROM maintenance_jobs j, plan_retention(j) p;
END
$$;
CREATE TABLE covered.things (id int PRIMARY KEY);
CREATE TABLE covered.measurements (id int REFERENCES covered.things, at timestamptz NOT NULL DEFAULT now(), day date,
  no bigserial, PRIMARY KEY (no, id, at)) PARTITION BY RANGE (at);
CREATE INDEX ON covered.measurements (day);
CREATE TABLE covered.measured_long_ago PARTITION OF covered.measurements FOR VALUES FROM (MINVALUE) TO ('2001-01-01 00:00+00');
CREATE TABLE covered."measured"" 2001" PARTITION OF covered.measurements FOR VALUES FROM ('2001-01-01 00:00+00') TO ('2002-01-01 00:00+00')
  PARTITION BY LIST (id);
CREATE TABLE covered.measured_2001_1 PARTITION OF covered."measured"" 2001" FOR VALUES IN (1);
CREATE TABLE covered.measured_2002 PARTITION OF covered.measurements FOR VALUES FROM ('2002-01-01 00:00+00') TO ('2003-01-01 00:00+00');
CREATE TABLE covered.measured_2003 PARTITION OF covered.measurements FOR VALUES FROM ('2003-01-01 00:00+00') TO ('2004-01-01 00:00+00');
CREATE TABLE covered.measured_lately PARTITION OF covered.measurements FOR VALUES FROM ('2004-01-01 00:00+00') TO ('2900-01-01 00:00+00');
CREATE TABLE covered.measured_one_day PARTITION OF covered.measurements FOR VALUES FROM ('2900-01-01 00:00+00') TO (MAXVALUE);
CREATE TABLE covered.measured_else PARTITION OF covered.measurements DEFAULT;
CREATE VIEW covered.of_2002 AS SELECT * FROM covered.measured_2002;
ALTER TABLE covered.measurements OWNER TO schedule_owner;
ALTER TABLE covered.measured_2003 OWNER TO schedule_operator_2;
ALTER TABLE covered.measured_long_ago OWNER TO schedule_owner;
ALTER TABLE covered."measured"" 2001" OWNER TO schedule_owner;
ALTER TABLE covered.measured_2002 OWNER TO schedule_owner;
SET LOCAL ROLE schedule_owner;
SELECT set_retention('covered.measurements', 'at', '10 years');
RESET ROLE;
SELECT is(commands[1], 'SET search_path = pg_catalog, covered, pg_temp', 'triggers_find_what_stands_beside_the_table')
  FROM maintenance_jobs j, plan_retention(j) WHERE j.relid = 'covered.measurements'::regclass;
SELECT is(commands[:array_length(commands, 1) - 1],
  ARRAY['DROP TABLE IF EXISTS covered.measured_long_ago', 'DROP TABLE IF EXISTS covered."measured"" 2001"'],
  'outdated_partitions_go_as_a_whole_but_not_those_of_others_or_in_use') FROM pg_temp.plan_for('covered.measurements');
SELECT matches(commands[array_length(commands, 1)],
  '^DELETE FROM covered.measurements WHERE ctid = ANY \(ARRAY\(SELECT ctid FROM covered.measurements WHERE at < ''[-0-9]{10} [:.0-9]{15}\+00''::pg_catalog.timestamptz LIMIT \d+ FOR UPDATE SKIP LOCKED\)\) AND at < ''[^'']*''::pg_catalog.timestamptz$',
  'other_rows_go_in_batches') FROM pg_temp.plan_for('covered.measurements');
SELECT ok(repeat AND skip IS NULL AND obstacle IS NULL, 'again_and_again') FROM pg_temp.plan_for('covered.measurements');
SELECT ok(substring(commands[array_length(commands, 1)] FROM ' AND at < ''([^'']*)''')::timestamptz
          BETWEEN now() - interval '10 years' AND clock_timestamp() - interval '10 years', 'the_cutoff_is_so_long_ago')
  FROM pg_temp.plan_for('covered.measurements');
CREATE TABLE covered.remarks (no bigint, id int, at timestamptz, FOREIGN KEY (no, id, at) REFERENCES covered.measurements);
SELECT is(array_length(commands, 1), 1, 'nor_those_that_foreign_keys_refer_to') FROM pg_temp.plan_for('covered.measurements');
DROP TABLE covered.remarks;
SET LOCAL ROLE schedule_owner;
SELECT set_retention('covered.measurements', 'day', '10 years');
RESET ROLE;
SELECT is(array_length(commands, 1), 1, 'by_another_column_no_partition_goes') FROM pg_temp.plan_for('covered.measurements');
SELECT matches(commands[1], 'WHERE day < ''\d{4}-\d\d-\d\d''::pg_catalog.date LIMIT', 'days_are_days') FROM pg_temp.plan_for('covered.measurements');
SET LOCAL ROLE schedule_operator_2;
SELECT set_retention('covered.events', 'local', '1 day');
RESET ROLE;
SELECT ok(commands[1] NOT LIKE '%SKIP LOCKED%', 'without_the_right_to_update_rows_are_not_locked_before') FROM pg_temp.plan_for('covered.events');
ALTER TABLE covered.events DROP COLUMN local;
SELECT is(obstacle_sqlstate, '42703', 'a_column_that_is_gone_is_an_obstacle') FROM pg_temp.plan_for('covered.events');
CREATE RULE keep AS ON DELETE TO covered.measurements DO INSTEAD NOTHING;
SELECT is(obstacle_sqlstate, '0A000', 'so_is_a_rule_for_delete') FROM pg_temp.plan_for('covered.measurements');

-- pg_cron is not here.

SELECT throws_ok('SELECT schedule_maintenance()', '55000', 'pg_cron is not in this database', 'nothing_to_schedule_with');
SELECT throws_ok('SELECT unschedule_maintenance()', '55000', 'pg_cron is not in this database', 'nor_to_unschedule');
SET LOCAL ROLE schedule_owner;
SELECT is(pg_temp.error_of('SELECT * FROM maintenance_schedule'), 'none', 'whoever_operates_sees_the_schedule');
SELECT is(pg_temp.error_of('SELECT run_due_schedule()'), '42501', 'but_runs_it_not');
SELECT is(pg_temp.error_of('SELECT queue_retention()'), '42501', 'nor_a_part_of_it');
RESET ROLE;
CREATE ROLE schedule_reader;
GRANT pg_monitor TO schedule_reader;
SET LOCAL ROLE schedule_reader;
SELECT is(pg_temp.error_of('SELECT * FROM maintenance_schedule'), 'none', 'readers_see_it_too');
SELECT is(pg_temp.error_of($$SELECT check_schedule('', 'daily'), check_maintenance_window('')$$), 'none', 'and_check_settings');
SELECT is(pg_temp.error_of('SELECT weekly_maintenance()'), '42501', 'but_maintain_nothing');
SELECT is(pg_temp.error_of($$SELECT set_retention('covered.events', 'at', '1 day')$$), '42501', 'nor_let_anything_be_deleted');
RESET ROLE;

SELECT * FROM finish();
ROLLBACK;
