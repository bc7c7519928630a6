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

SELECT * FROM finish();
ROLLBACK;
