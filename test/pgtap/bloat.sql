-- Estimates of bloat, their snapshots and alerts, within one transaction.
-- Not over midnight in UTC: each day has rows of its own.
SELECT pg_sleep(CASE WHEN s.seconds < 60 THEN s.seconds + 0.1 ELSE 0 END)
  FROM (SELECT extract(epoch FROM date_trunc('day', clock_timestamp(), 'UTC') + interval '24 hours'
                                  - clock_timestamp())::double precision AS seconds) s \gset ignored_
BEGIN;
SELECT no_plan();

-- One after the other with the collector, from the beginning.
SELECT pg_advisory_xact_lock('pg_class'::regclass::oid::integer, 'table_bloat_snapshots'::regclass::oid::integer) \gset ignored_
CREATE ROLE bloat_owner;
CREATE ROLE bloat_stranger;
CREATE ROLE bloat_monitor IN ROLE pg_monitor;
CREATE SCHEMA "we'ird $x";
CREATE TABLE "we'ird $x"."T able" AS SELECT g AS a, repeat('x', 100) AS b FROM generate_series(1, 1000) g;
CREATE INDEX "I ndex" ON "we'ird $x"."T able" (a);
ALTER TABLE "we'ird $x"."T able" OWNER TO bloat_owner;
GRANT USAGE ON SCHEMA "we'ird $x" TO bloat_owner, bloat_monitor, bloat_stranger;

-- What can be asked for.

SELECT throws_ok(format('SELECT * FROM %s', call), sqlstate, NULL, name)
  FROM (VALUES
    ($$estimate_table_bloat('no_such_table')$$, '42P01', 'a_table_that_is_not_there'),
    ($$estimate_table_bloat($n$"we'ird $x"."I ndex"$n$)$$, '42809', 'an_index_is_no_table'),
    ($$estimate_index_bloat($n$"we'ird $x"."T able"$n$)$$, '42809', 'a_table_is_no_index'),
    ($$estimate_table_bloat('pg_views')$$, '42809', 'a_view_has_no_bloat'),
    ($$estimate_table_bloat($n$"we'ird $x"."T able"$n$, 0)$$, '22023', 'no_pages'),
    ($$estimate_index_bloat($n$"we'ird $x"."I ndex"$n$, -1)$$, '22023', 'less_than_none')) AS c (call, sqlstate, name);
SELECT is_empty($$SELECT * FROM estimate_table_bloat(4294967295::oid::regclass)$$, 'what_was_dropped_gives_no_row');
SELECT is_empty($$SELECT * FROM estimate_table_bloat(NULL)$$, 'null_gives_no_row');
SELECT results_eq(
  -- PostgreSQL 16 and later extend a file by several pages at once.
  $$SELECT actual_size_bytes, estimated_size_bytes, bloat_bytes, bloat_ratio, method, live_tuples, dead_tuples, recently_dead_tuples
      FROM estimate_table_bloat($n$"we'ird $x"."T able"$n$)$$,
  $$SELECT s, 18 * 8192::bigint, s - 18 * 8192::bigint, round((s - 18 * 8192) / (18 * 8192.0) * 100, 2), 'exact'::text,
           1000::bigint, 0::bigint, 0::bigint FROM pg_relation_size($n$"we'ird $x"."T able"$n$) AS s$$, 'a_clean_table');
SELECT is((SELECT method FROM estimate_table_bloat('pg_proc', 10)), 'sampled', 'system_catalogs_too');
SELECT is((SELECT sampled_pages >= 10 FROM estimate_table_bloat('pg_proc', 10)), true, 'a_sample_of_that_size');
SELECT is((SELECT method FROM estimate_index_bloat('pg_proc_proname_args_nsp_index', 2)), 'sampled', 'and_their_indexes');
SELECT is((SELECT count(*) FROM estimate_table_bloat((SELECT reltoastrelid FROM pg_class WHERE relname = 'pg_proc')::regclass)), 1::bigint,
  'a_toast_table_alone');

-- Rights.

CREATE FUNCTION pg_temp.as_role(role name, statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  answer text;
BEGIN
  EXECUTE format('SET LOCAL ROLE %I', role);
  EXECUTE statement INTO answer;
  RESET ROLE;
  RETURN answer;
EXCEPTION WHEN OTHERS THEN
  RESET ROLE;
  RETURN SQLSTATE;
END
$$;
SELECT is(pg_temp.as_role(role, format('SELECT count(*) FROM %s', call)), expected, role || ': ' || call)
  FROM (VALUES ('bloat_owner', '1'), ('bloat_monitor', '1'), ('bloat_stranger', '42501')) AS r (role, expected),
       (VALUES ($$estimate_table_bloat($n$"we'ird $x"."T able"$n$::regclass)$$),
               ($$estimate_index_bloat($n$"we'ird $x"."I ndex"$n$::regclass)$$)) AS c (call);

-- Parts.

CREATE TABLE parted (a int, b text) PARTITION BY RANGE (a);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (1000);
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (1000) TO (2000) PARTITION BY RANGE (a);
CREATE TABLE parted_2_1 PARTITION OF parted_2 FOR VALUES FROM (1000) TO (2000);
CREATE INDEX parted_a ON parted (a);
INSERT INTO parted SELECT g, repeat('x', 200) FROM generate_series(0, 1999) g;
DELETE FROM parted WHERE a % 2 = 0;
SELECT results_eq($$SELECT * FROM estimate_table_bloat('parted')$$,
  $$SELECT sum(actual_size_bytes)::bigint, sum(estimated_size_bytes)::bigint, sum(bloat_bytes)::bigint,
           round(sum(bloat_bytes) / sum(estimated_size_bytes) * 100, 2), 'exact'::text, sum(sampled_pages)::int,
           sum(live_tuples)::bigint, sum(dead_tuples)::bigint, sum(recently_dead_tuples)::bigint
      FROM unnest('{parted_1, parted_2_1}'::regclass[]) p, estimate_table_bloat(p)$$, 'a_partitioned_table_is_the_sum_of_its_parts');
SELECT results_eq($$SELECT actual_size_bytes, live_tuples FROM estimate_index_bloat('parted_a')$$,
  $$SELECT sum(actual_size_bytes)::bigint, sum(live_tuples)::bigint
      FROM unnest('{parted_1_a_idx, parted_2_1_a_idx}'::regclass[]) p, estimate_index_bloat(p)$$, 'so_is_an_index');
ALTER TABLE parted OWNER TO bloat_owner;
SELECT is(pg_temp.as_role('bloat_owner', $$SELECT count(*) FROM estimate_table_bloat('parted')$$), '42501',
  'whoever_owns_the_whole_but_not_a_part');

-- An access method that is none of ours.

CREATE ACCESS METHOD other_heap TYPE TABLE HANDLER heap_tableam_handler;
CREATE EXTENSION bloom;
CREATE TABLE elsewhere (a int) USING other_heap;
INSERT INTO elsewhere SELECT generate_series(1, 10000);
CREATE INDEX elsewhere_a ON elsewhere USING bloom (a);
SELECT results_eq($$SELECT method, actual_size_bytes, bloat_bytes FROM estimate_table_bloat('elsewhere')$$,
  $$VALUES ('statistics', pg_relation_size('elsewhere'), 0::bigint)$$, 'other_table_access_methods_fall_back_to_statistics');
SELECT results_eq($$SELECT method, actual_size_bytes, bloat_bytes FROM estimate_index_bloat('elsewhere_a')$$,
  $$VALUES ('statistics', pg_relation_size('elsewhere_a'), 0::bigint)$$, 'and_other_index_access_methods');

-- Snapshots.

SELECT set_config('train_perf.snapshot_include', $$we*.*, parted*$$, true);
SELECT is(capture_table_bloat_snapshot(), 3, 'a_row_per_covered_table_that_has_storage');
SELECT results_eq(
  $$SELECT schemaname, tablename, actual_size_bytes, method, live_tuples, relid, count(*) OVER (PARTITION BY snapshot_timestamp)
      FROM table_bloat_snapshots WHERE schemaname LIKE 'we%' OR tablename LIKE 'parted%' ORDER BY 1, 2$$,
  $$VALUES ('public', 'parted_1', pg_relation_size('parted_1'), 'exact', 1000::bigint, 'parted_1'::regclass::oid, 3::bigint),
           ('public', 'parted_2_1', pg_relation_size('parted_2_1'), 'exact', 1000::bigint, 'parted_2_1'::regclass::oid, 3::bigint),
           ('we''ird $x', 'T able', pg_relation_size($n$"we'ird $x"."T able"$n$), 'exact', 1000::bigint, $n$"we'ird $x"."T able"$n$::regclass::oid, 3::bigint)$$,
  'its_rows');
SELECT is(capture_table_bloat_snapshot(), 0, 'what_did_not_change_gets_no_second_row_on_the_same_day');
DELETE FROM "we'ird $x"."T able" WHERE a > 500;
SELECT is(capture_table_bloat_snapshot(), 1, 'what_changed_gets_one_also_before_the_commit');
SELECT is((SELECT count(*) FROM index_bloat_snapshots WHERE indexname = 'I ndex' AND access_method = 'btree'), 2::bigint,
  'with_its_indexes');
UPDATE table_bloat_snapshots SET snapshot_timestamp = snapshot_timestamp - interval '24 hours';
SELECT is(capture_table_bloat_snapshot(), 3, 'on_a_new_day_all_get_one');
SELECT is((SELECT count(*) FROM get_bloat_status() WHERE schemaname LIKE 'we%' OR tablename LIKE 'parted%'), 3::bigint,
  'the_status_is_one_row_per_table');
SELECT set_config('train_perf.snapshot_exclude', 'we*.*', true);
SELECT is((SELECT count(*) FROM snapshot_tables() WHERE schemaname LIKE 'we%'), 0::bigint, 'exclude');
SELECT set_config('train_perf.snapshot_exclude', '', true);
CREATE TABLE "we'ird $x"."a ""b"".c" ();
CREATE FUNCTION pg_temp.covered(setting text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('train_perf.snapshot_include', setting, true);
  RETURN (SELECT string_agg(tablename, '; ' ORDER BY tablename) FROM snapshot_tables() WHERE schemaname LIKE 'we%');
END
$$;
SELECT is(pg_temp.covered(setting), covered, 'patterns: ' || setting)
  FROM (VALUES ($q$we'ird $x.T able$q$, 'T able'), ($q$"we'ird $x"."T able"$q$, 'T able'), ($q$we*."T able"$q$, 'T able'),
               ($q$ "T able" , x$q$, 'T able'), ($q$"we'ird $x"."a ""b"".c"$q$, 'a "b".c'), ($q$"a ""b"".c"$q$, 'a "b".c'),
               ($q$"T ab??"$q$, 'T able'), ($q$"t able", "we'ird $x.T able"$q$, NULL)) AS c (setting, covered);
DROP TABLE "we'ird $x"."a ""b"".c";
SELECT set_config('train_perf.snapshot_include', '', true), set_config('train_perf.snapshot_exclude', '', true);
SELECT is((SELECT count(*) FROM snapshot_tables() WHERE schemaname LIKE 'we%'), 1::bigint, 'empty_settings_cover_all');
SELECT is((SELECT count(*) FROM snapshot_tables() WHERE tablename ~ '^(table_bloat|query_|performance_alerts)'), 0::bigint,
  'our_own_tables_are_not_covered');
SELECT cmp_ok(count(*), '>', 1::bigint, 'calculate_index_bloat') FROM calculate_index_bloat();
ALTER TABLE "we'ird $x"."T able" DROP COLUMN b;
SELECT set_config('train_perf.snapshot_include', 'we*.*', true), set_config('train_perf.snapshot_exclude', '', true);
SELECT is(capture_table_bloat_snapshot(), 1, 'a_dropped_column_is_a_change');
ALTER TABLE "we'ird $x"."T able" SET (fillfactor = 50);
SELECT is(capture_table_bloat_snapshot(), 1, 'so_is_another_fillfactor');
SELECT set_config('train_perf.snapshot_include', '', true);

-- A run of several transactions has one time; a name may pass to another table meanwhile.

CREATE TABLE staging AS SELECT 1 AS a;
SELECT is((w).written >= 1, true, 'one_part_of_a_run') FROM (SELECT write_bloat_snapshot('2001-01-01', 0, NULL, NULL) AS w) AS r;
DROP TABLE staging;
CREATE TABLE staging AS SELECT 1 AS a;
CREATE INDEX staging_a ON staging (a);
SELECT is((w).written, 0, 'the_name_counts_once') FROM (SELECT write_bloat_snapshot('2001-01-01', ('staging'::regclass::oid::bigint - 1)::oid, NULL, NULL) AS w) AS r;
DELETE FROM table_bloat_snapshots WHERE snapshot_timestamp = '2001-01-01';
DELETE FROM index_bloat_snapshots WHERE snapshot_timestamp = '2001-01-01';

DROP TABLE parted;
SELECT is((SELECT count(*) FROM get_bloat_status() WHERE tablename LIKE 'parted%'), 0::bigint, 'dropped_tables_are_gone_from_the_status');

-- bloat_ratio is the excess over the estimated size.

INSERT INTO table_bloat_snapshots (schemaname, tablename, actual_size_bytes, estimated_size_bytes)
VALUES ('app', 'ratio', 150, 100), ('app', 'nothing', 8192, 0), ('app', 'grows', 100, 200);
SELECT results_eq($$SELECT tablename, bloat_bytes, bloat_ratio FROM table_bloat_snapshots WHERE schemaname = 'app' ORDER BY 1$$,
  $$VALUES ('grows', -100::bigint, -50.00), ('nothing', 8192::bigint, 0::numeric), ('ratio', 50::bigint, 50.00)$$, 'ratios');
SELECT throws_ok($$INSERT INTO table_bloat_snapshots (snapshot_timestamp, schemaname, tablename, actual_size_bytes, estimated_size_bytes)
  SELECT snapshot_timestamp, schemaname, tablename, 1, 1 FROM table_bloat_snapshots WHERE schemaname = 'app'$$, '23505', NULL, 'unique');
SELECT results_eq($$SELECT tablename FROM get_high_bloat_tables() WHERE schemaname = 'app'$$, $$VALUES ('ratio')$$, 'above_20_by_default');
SELECT is_empty($$SELECT tablename FROM get_high_bloat_tables(50) WHERE schemaname = 'app'$$, 'above_not_at');

-- Alerts.

CREATE FUNCTION pg_temp.snapshot(t text, actual_mb numeric, estimated_mb numeric, minutes int) RETURNS void LANGUAGE sql AS $$
  INSERT INTO table_bloat_snapshots (snapshot_timestamp, schemaname, tablename, actual_size_bytes, estimated_size_bytes)
  VALUES (now() + make_interval(mins => minutes), 'app', t, actual_mb * 1048576, estimated_mb * 1048576)
$$;
CREATE FUNCTION pg_temp.alerts() RETURNS TABLE (tablename text, severity text, occurrences bigint, open boolean) LANGUAGE sql AS $$
  SELECT details ->> 'tablename', severity, occurrences, resolved_at IS NULL FROM performance_alerts
   WHERE alert_type = 'high_bloat' AND details ->> 'schemaname' = 'app' ORDER BY 1, 4
$$;
-- Other tables may be bloated too.
CREATE FUNCTION pg_temp.high_tables() RETURNS integer LANGUAGE sql AS $$
  SELECT count(*)::integer FROM performance_alerts WHERE resolved_at IS NULL AND fingerprint LIKE 'high_bloat:table:%'
$$;
SELECT pg_temp.snapshot('at_20', 120, 100, 0), pg_temp.snapshot('above_20', 121, 100, 0), pg_temp.snapshot('above_35', 136, 100, 0),
       pg_temp.snapshot('above_50', 151, 100, 0), pg_temp.snapshot('small', 19, 10, 0), pg_temp.snapshot('floor', 30, 20, 0);
SELECT is(check_table_bloat_alerts(), pg_temp.high_tables(), 'tables_above_the_threshold');
SELECT is((SELECT count(*) FROM pg_temp.alerts() WHERE open), 4::bigint, 'tables_above_the_threshold_here');
SELECT results_eq('SELECT * FROM pg_temp.alerts()',
  $$VALUES ('above_20', 'warning', 1::bigint, true), ('above_35', 'error', 1::bigint, true), ('above_50', 'critical', 1::bigint, true),
           ('floor', 'error', 1::bigint, true)$$, 'severities');
SELECT is(check_table_bloat_alerts(), pg_temp.high_tables(), 'again');
SELECT is((SELECT count(*) FROM pg_temp.alerts() WHERE open), 4::bigint, 'again_here');
SELECT is((SELECT count(*) FROM pg_temp.alerts()), 4::bigint, 'no_duplicates');
SELECT pg_temp.snapshot('above_20', 160, 100, 1), pg_temp.snapshot('above_50', 110, 100, 1);
SELECT is(check_table_bloat_alerts(), pg_temp.high_tables(), 'the_latest_snapshot_counts');
SELECT is((SELECT count(*) FROM pg_temp.alerts() WHERE open), 3::bigint, 'the_latest_snapshot_counts_here');
SELECT results_eq($$SELECT * FROM pg_temp.alerts() WHERE tablename IN ('above_20', 'above_50')$$,
  $$VALUES ('above_20', 'critical', 3::bigint, true), ('above_50', 'critical', 2::bigint, false)$$, 'escalated_and_resolved');
SELECT pg_temp.snapshot('above_50', 200, 100, 2);
SELECT is(check_table_bloat_alerts(), pg_temp.high_tables(), 'back');
SELECT is((SELECT count(*) FROM pg_temp.alerts() WHERE open), 4::bigint, 'back_here');
SELECT results_eq($$SELECT * FROM pg_temp.alerts() WHERE tablename = 'above_50'$$,
  $$VALUES ('above_50', 'critical', 2::bigint, false), ('above_50', 'critical', 1::bigint, true)$$, 'a_new_alert');
INSERT INTO alert_rules (rule, warning, min_bytes) VALUES ('table_bloat', 55, 1);
SELECT is(check_table_bloat_alerts(), pg_temp.high_tables(), 'own_thresholds');
SELECT is((SELECT count(*) FROM pg_temp.alerts() WHERE open), 3::bigint, 'own_thresholds_here');
SELECT results_eq($$SELECT tablename, severity FROM pg_temp.alerts() WHERE open$$,
  $$VALUES ('above_20', 'warning'), ('above_50', 'warning'), ('small', 'warning')$$, 'and_their_severities');
UPDATE alert_rules SET enabled = false;
SELECT is(check_table_bloat_alerts(), pg_temp.high_tables(), 'switched_off');
SELECT is((SELECT count(*) FROM pg_temp.alerts() WHERE open), 0::bigint, 'switched_off_here');
SELECT is((SELECT count(*) FROM pg_temp.alerts() WHERE open), 0::bigint, 'nothing_stays_open');

SELECT * FROM finish();
ROLLBACK;
