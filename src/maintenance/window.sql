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
             E'^(?:(sun(?:day)?|mon(?:day)?|tue(?:sday)?|wed(?:nesday)?|thu(?:rsday)?|fri(?:day)?|sat(?:urday)?)\\s+)?'::text
             || E'((?:[01]?\\d|2[0-3]):[0-5]\\d)\\s*-\\s*'::text
             || E'(?:(sun(?:day)?|mon(?:day)?|tue(?:sday)?|wed(?:nesday)?|thu(?:rsday)?|fri(?:day)?|sat(?:urday)?)\\s+)?'::text
             || E'((?:[01]?\\d|2[0-3]):[0-5]\\d|24:00)$'::text, 'i'::text) AS word
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
