-- grant_access and revoke_access: what the levels give, to whom, and who may give.
BEGIN;
SELECT no_plan();

CREATE ROLE access_reader;
CREATE ROLE access_operator;
CREATE ROLE access_stranger;
CREATE ROLE access_database_owner;
CREATE ROLE "we ird";
CREATE ROLE "Qu""ote";
CREATE ROLE "UPPER";
CREATE ROLE "user";
CREATE ROLE "back\slash 'n";

-- Everything of the extension that a role may do, by its own or PUBLIC's rights.
CREATE VIEW rights AS
SELECT r.rolname, object, privilege
  FROM pg_roles r,
       (SELECT d.objid, d.objid::regclass::text AS object, p.privilege, 'table' AS kind
          FROM pg_depend d JOIN pg_class c ON c.oid = d.objid AND c.relkind IN ('r', 'p', 'v'),
               unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) AS p (privilege)
         WHERE d.classid = 'pg_class'::regclass AND d.deptype = 'e'
           AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'train_perf')
         UNION ALL
        SELECT d.objid, d.objid::regprocedure::text, 'EXECUTE', 'function'
          FROM pg_depend d
         WHERE d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
           AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'train_perf')) o
 WHERE CASE o.kind WHEN 'table' THEN has_table_privilege(r.oid, o.objid, o.privilege)
                   ELSE has_function_privilege(r.oid, o.objid, 'EXECUTE') END;
CREATE TEMP TABLE of_everybody AS
  SELECT object, privilege FROM rights WHERE rolname = 'access_stranger';
CREATE TEMP VIEW checking_the_caller AS
  VALUES ('query_stats', 'SELECT'), ('query_stats()', 'EXECUTE'), ('maintenance_status', 'SELECT'),
         ('estimate_table_bloat(regclass,integer)', 'EXECUTE'),
         ('estimate_index_bloat(regclass,integer)', 'EXECUTE'),
         ('vacuum_analyze_table(text)', 'EXECUTE'), ('reindex_if_bloated(text,numeric)', 'EXECUTE'),
         ('reindex_bloated_indexes(numeric)', 'EXECUTE'), ('cancel_maintenance_job(bigint)', 'EXECUTE'),
         ('wait_for_maintenance(bigint,interval)', 'EXECUTE'), ('maintenance_status()', 'EXECUTE');
SELECT set_eq('SELECT object, privilege FROM of_everybody', 'TABLE checking_the_caller',
              'everybody_has_what_checks_its_caller');

CREATE TEMP VIEW reading AS TABLE checking_the_caller UNION
  VALUES ('query_performance_logs', 'SELECT'), ('query_stats_history', 'SELECT'), ('query_texts', 'SELECT'),
         ('query_stats_snapshot', 'SELECT'), ('library_version()', 'EXECUTE'),
         ('performance_alerts', 'SELECT'), ('maintenance_jobs', 'SELECT'), ('index_rebuilds', 'SELECT'),
         ('vacuum_horizon()', 'EXECUTE'), ('dropped_maintenance_requests()', 'EXECUTE'), ('invalid_indexes_of(oid[])', 'EXECUTE'),
         ('capture_status()', 'EXECUTE'), ('shared_capture_status()', 'EXECUTE'),
         ('normalize_query(text)', 'EXECUTE'), ('query_hash(text)', 'EXECUTE'),
         ('pending_statistics()', 'EXECUTE'), ('latency_histogram(double precision)', 'EXECUTE'),
         ('latency_quantile_ms(bytea,double precision)', 'EXECUTE'), ('merge_latency(bytea)', 'EXECUTE'),
         ('get_query_stats(timestamp with time zone,timestamp with time zone)', 'EXECUTE'),
         ('get_slow_queries(integer,integer)', 'EXECUTE'), ('severity_rank(text)', 'EXECUTE'),
         ('slow_query_severity(numeric)', 'EXECUTE'), ('max_duration_in(jsonb)', 'EXECUTE'),
         ('index_usage_snapshots', 'SELECT'), ('index_usage_capture', 'SELECT'),
         ('snapshot_patterns(text,text)', 'EXECUTE'), ('snapshot_tables()', 'EXECUTE'),
         ('snapshot_indexes()', 'EXECUTE'), ('relation_bytes(oid)', 'EXECUTE'),
         ('index_definitions', 'SELECT'), ('is_index_name_free(text,text)', 'EXECUTE'),
         ('index_usage_history(oid,oid,text,text,text,bigint,boolean,timestamp with time zone)', 'EXECUTE'),
         ('index_usage_intervals(oid,oid,text,text,text,bigint,boolean,bigint,timestamp with time zone,boolean,boolean)', 'EXECUTE'),
         ('statistics_started_anew()', 'EXECUTE'),
         ('judge_index_usage(integer)', 'EXECUTE'),
         ('unused_days(timestamp with time zone,interval)', 'EXECUTE'),
         ('note_observation(bigint,bigint,interval,integer)', 'EXECUTE'),
         ('check_days(integer,text)', 'EXECUTE'), ('detect_unused_indexes(integer)', 'EXECUTE'),
         ('no_such_table(text)', 'EXECUTE'), ('table_named(text)', 'EXECUTE'), ('get_index_trends(text,integer)', 'EXECUTE'),
         ('table_bloat_snapshots', 'SELECT'), ('index_bloat_snapshots', 'SELECT'),
         ('bloat_snapshot_run', 'SELECT'), ('alert_rules', 'SELECT'), ('alert_thresholds()', 'EXECUTE'),
         ('severity_above(numeric,numeric,numeric,numeric,numeric)', 'EXECUTE'),
         ('calculate_index_bloat()', 'EXECUTE'), ('get_bloat_status()', 'EXECUTE'),
         ('get_high_bloat_tables(numeric)', 'EXECUTE'), ('index_bloat_status()', 'EXECUTE'),
         ('index_findings', 'SELECT'), ('snapshot_relations("char"[])', 'EXECUTE'),
         ('unlocked_index_definition(oid)', 'EXECUTE'), ('is_invalid_now(oid)', 'EXECUTE'),
         ('size_now(oid,"char",integer)', 'EXECUTE'), ('partition_totals(oid)', 'EXECUTE'), ('comparable_tree(text)', 'EXECUTE'),
         ('quoted_columns(oid,smallint[])', 'EXECUTE'), ('kept_indexes()', 'EXECUTE'),
         ('redundant_indexes()', 'EXECUTE'), ('foreign_key_indexes()', 'EXECUTE'),
         ('unindexed_foreign_keys()', 'EXECUTE'), ('invalid_indexes()', 'EXECUTE'),
         ('is_leftover(oid)', 'EXECUTE'), ('unused_index_candidates()', 'EXECUTE'),
         ('next_window_start(timestamp with time zone)', 'EXECUTE'), ('retention_rules', 'SELECT'),
         ('maintenance_runs', 'SELECT'), ('cron_registrations', 'SELECT'), ('maintenance_schedule', 'SELECT'),
         ('maintenance_tables()', 'EXECUTE'), ('parse_schedule(text,text)', 'EXECUTE'),
         ('check_schedule(text,text)', 'EXECUTE'),
         ('schedule_instants(text,text,text,timestamp with time zone)', 'EXECUTE'), ('schedule_zone()', 'EXECUTE'),
         ('schedule_due(text,text,timestamp with time zone)', 'EXECUTE'),
         ('schedule_next(text,text,timestamp with time zone)', 'EXECUTE'), ('schedule_settings()', 'EXECUTE'), ('window_setting()', 'EXECUTE'),
         ('schedule_timezone()', 'EXECUTE'), ('parse_maintenance_window(text)', 'EXECUTE'),
         ('refuse_setting(text,text)', 'EXECUTE'), ('check_maintenance_window(text)', 'EXECUTE'),
         ('next_window_start(timestamp with time zone)', 'EXECUTE');
CREATE TEMP VIEW operating AS
  TABLE reading
  UNION
  VALUES ('query_performance_logs', 'INSERT'), ('performance_alerts', 'INSERT'),
         ('performance_alerts', 'UPDATE'), ('capture_query_stats_snapshot()', 'EXECUTE'),
         ('capture_index_usage_snapshot()', 'EXECUTE'), ('check_unused_index_alerts()', 'EXECUTE'),
         ('log_query_performance(text,integer,uuid,text,jsonb,text,text)', 'EXECUTE'),
         ('raise_slow_query_alert(text,text,numeric,bigint,text,timestamp with time zone)', 'EXECUTE'),
         ('create_performance_alert(text,text,text,jsonb)', 'EXECUTE'),
         ('resolve_performance_alert(uuid,text,uuid)', 'EXECUTE'),
         ('check_invalid_index_alerts()', 'EXECUTE'), ('capture_table_bloat_snapshot()', 'EXECUTE'),
         ('check_table_bloat_alerts()', 'EXECUTE'), ('check_index_bloat_alerts()', 'EXECUTE'),
         ('check_bloat_alerts(text)', 'EXECUTE'),
         ('resolve_alerts_except(text,text,text[],text)', 'EXECUTE'),
         ('alert_rules', 'INSERT'), ('alert_rules', 'UPDATE'), ('alert_rules', 'DELETE'),
         ('require_primary(text)', 'EXECUTE'), ('require_preload(text)', 'EXECUTE'),
         ('running_weekly_maintenance()', 'EXECUTE'), ('weekly_obstacle(bigint[],regprocedure)', 'EXECUTE'),
         ('request_vacuum(regprocedure,oid)', 'EXECUTE'), ('vacuum_covered_tables()', 'EXECUTE'),
         ('capture_for_weekly()', 'EXECUTE'), ('check_for_weekly()', 'EXECUTE'),
         ('perform_weekly_maintenance(regprocedure,regprocedure,regprocedure)', 'EXECUTE'),
         ('weekly_maintenance()', 'EXECUTE'), ('monthly_maintenance()', 'EXECUTE'),
         ('request_maintenance(text,oid,numeric,numeric,text)', 'EXECUTE'), ('await_maintenance(bigint[])', 'EXECUTE'), ('retention_column_type(oid,smallint)', 'EXECUTE'),
         ('check_retention(oid,text,smallint,interval)', 'EXECUTE'),
         ('check_retention_type(oid,smallint,oid)', 'EXECUTE'), ('retention_target(text,text)', 'EXECUTE'),
         ('set_retention(text,text,interval)', 'EXECUTE'), ('drop_retention(text)', 'EXECUTE'),
         ('cron_member(oid,text,integer)', 'EXECUTE'), ('cron_database()', 'EXECUTE'), ('cron_timezone()', 'EXECUTE'),
         ('cron_schedules_here()', 'EXECUTE'), ('require_cron(oid,boolean)', 'EXECUTE'),
         ('cron_command(text,regprocedure,regprocedure)', 'EXECUTE'), ('cron_plan()', 'EXECUTE'),
         ('check_cron_plan()', 'EXECUTE'), ('note_cron_timezone(text,text)', 'EXECUTE'),
         ('own_cron_job(oid,text,text)', 'EXECUTE'), ('other_cron_role(oid,regclass,text,text,text)', 'EXECUTE'),
         ('unschedule_cron_job(oid,regclass,text,bigint)', 'EXECUTE'), ('note_cron_job(text,text)', 'EXECUTE'),
         ('schedule_cron_job(oid,regclass,text,text,text,text)', 'EXECUTE'), ('schedule_maintenance()', 'EXECUTE'),
         ('unschedule_maintenance()', 'EXECUTE'), ('retention_rules', 'INSERT'), ('retention_rules', 'DELETE'),
         ('cron_registrations', 'INSERT'), ('cron_registrations', 'DELETE');

-- The two levels.

SELECT grant_access('access_reader', 'read') \gset ignored_
SELECT set_eq($$SELECT object, privilege FROM rights WHERE rolname = 'access_reader'$$, 'TABLE reading',
  'read_gives_reading');
SELECT grant_access(grantee => 'access_operator', level => 'operate') \gset ignored_
SELECT set_eq($$SELECT object, privilege FROM rights WHERE rolname = 'access_operator'$$, 'TABLE operating',
  'operate_gives_logging_and_alerts_too');
SELECT grant_access('access_operator', 'operate') \gset ignored_
SELECT set_eq($$SELECT object, privilege FROM rights WHERE rolname = 'access_operator'$$, 'TABLE operating',
  'twice_is_harmless');

SELECT create_performance_alert('access', 'info', 'to be resolved') AS alert \gset

SET LOCAL ROLE access_reader;
SELECT lives_ok($$SELECT * FROM query_performance_logs LIMIT 1$$, 'a_reader_reads_the_log');
SELECT ok(count(*) >= 1, 'and_alerts') FROM performance_alerts WHERE alert_type = 'access';
SELECT lives_ok($$SELECT * FROM query_stats_history JOIN query_texts USING (query_hash) LIMIT 1$$,
  'and_the_history');
SELECT lives_ok('SELECT * FROM get_slow_queries()', 'and_asks_what_is_slow');
SELECT lives_ok('SELECT * FROM get_query_stats()', 'and_how_slow');
SELECT lives_ok('SELECT * FROM query_stats LIMIT 1', 'and_live_statistics');
SELECT lives_ok('SELECT * FROM capture_status()', 'and_what_capture_does');
SELECT throws_ok($$SELECT log_query_performance('select 1', 1)$$, '42501', NULL, 'a_reader_does_not_log');
SELECT throws_ok($$INSERT INTO query_performance_logs (query_text, duration_ms) VALUES ('select 1', 1)$$,
  '42501', NULL, 'nor_insert');
SELECT throws_ok($$SELECT create_performance_alert('a', 'info', 'm')$$, '42501', NULL, 'nor_raise_alerts');
SELECT throws_ok(format('SELECT resolve_performance_alert(%L)', :'alert'), '42501', NULL, 'nor_resolve_them');

SET LOCAL ROLE access_operator;
SELECT isnt(log_query_performance('select by_operator', 700, gen_random_uuid(), 'GET /'), NULL,
  'an_operator_logs');
SELECT isnt(log_query_performance('select by_operator', 1700), NULL, 'and_again');
SELECT results_eq(
  $$SELECT severity, occurrences FROM performance_alerts WHERE message LIKE '%by_operator'$$,
  $$VALUES ('warning', 2::bigint)$$, 'which_raises_alerts');
SELECT lives_ok(
  $$INSERT INTO query_performance_logs (query_text, duration_ms) VALUES ('select 1', 1) RETURNING *$$,
  'inserts');
SELECT isnt(create_performance_alert('a', 'info', 'm', '{"fingerprint": "operator"}'), NULL, 'raises_alerts');
SELECT is(resolve_performance_alert(:'alert', 'done'), true, 'resolves_alerts');
SELECT lives_ok('SELECT * FROM get_slow_queries()', 'and_reads');
SELECT throws_ok('DELETE FROM query_performance_logs', '42501', NULL, 'an_operator_deletes_no_log');
SELECT throws_ok($$UPDATE query_performance_logs SET query_text = ''$$, '42501', NULL, 'nor_changes_it');
SELECT throws_ok('DELETE FROM performance_alerts', '42501', NULL, 'deletes_no_alerts');
SELECT throws_ok('TRUNCATE query_stats_history', '42501', NULL, 'empties_no_history');
SELECT throws_ok($$SELECT grant_access('access_stranger', 'read')$$, '42501', NULL, 'gives_nothing_on');
SELECT throws_ok($$SELECT revoke_access('access_reader')$$, '42501', NULL, 'takes_nothing_back');
SELECT throws_ok($$SELECT link_user_profiles('pg_class')$$, '42501', NULL, 'links_no_users');
SELECT throws_ok('SELECT unlink_user_profiles()', '42501', NULL, 'unlinks_no_users');
SELECT throws_ok($$SELECT maintain_partitions_of('query_performance_logs', '0')$$, '42501', NULL,
  'drops_no_partitions');
RESET ROLE;

-- Other levels, other roles.

PREPARE unknown_level AS SELECT grant_access('access_stranger', 'admin');
SELECT throws_ok('unknown_level', '22023', $$unknown access level 'admin'$$, 'an_unknown_level_is_refused');
SELECT throws_ok($$SELECT grant_access('access_stranger', NULL)$$, '22023', 'unknown access level NULL',
  'no_level_is_refused');
SELECT throws_ok($$SELECT grant_access('access_stranger', 'READ')$$, '22023', NULL, 'levels_are_lower_case');
SELECT throws_ok($$SELECT grant_access('nobody_at_all', 'read')$$, '42704', NULL, 'an_unknown_role_is_refused');
SELECT throws_ok($$SELECT grant_access(NULL, 'read')$$, NULL, NULL, 'no_role_is_refused');
DO $$
BEGIN
  PERFORM grant_access('access_stranger', 'admin');
EXCEPTION WHEN OTHERS THEN
  DECLARE
    hint text;
  BEGIN
    GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
    PERFORM set_config('access.hint', hint, true);
  END;
END
$$;
SELECT is(current_setting('access.hint'), 'The levels are read and operate.', 'the_hint_names_the_levels');
SELECT set_eq($$SELECT object, privilege FROM rights WHERE rolname = 'access_stranger'$$,
  'TABLE of_everybody', 'and_nothing_was_given');

SELECT lives_ok(format('SELECT grant_access(%L, %L)', quote_ident(role), 'operate'), 'role_' || role)
  FROM unnest(ARRAY['we ird', 'Qu"ote', 'UPPER', 'user', $$back\slash 'n$$]) role;
SELECT set_eq(format('SELECT object, privilege FROM rights WHERE rolname = %L', role), 'TABLE operating',
    role || '_has_it')
  FROM unnest(ARRAY['we ird', 'Qu"ote', 'UPPER', 'user', $$back\slash 'n$$]) role;
SELECT lives_ok(format('SELECT revoke_access(%L)', quote_ident(role)), role || '_loses_it')
  FROM unnest(ARRAY['we ird', 'Qu"ote', 'UPPER', 'user', $$back\slash 'n$$]) role;
SELECT set_eq(format('SELECT object, privilege FROM rights WHERE rolname = %L', role), 'TABLE of_everybody',
    role || '_has_nothing_left')
  FROM unnest(ARRAY['we ird', 'Qu"ote', 'UPPER', 'user', $$back\slash 'n$$]) role;

-- Taking back.

SELECT revoke_access(grantee => 'access_operator') \gset ignored_
SELECT set_eq($$SELECT object, privilege FROM rights WHERE rolname = 'access_operator'$$,
  'TABLE of_everybody', 'revoke_takes_all_back');
SELECT set_eq($$SELECT object, privilege FROM rights WHERE rolname = 'access_reader'$$, 'TABLE reading',
  'and_nothing_from_others');
SELECT lives_ok($$SELECT revoke_access('access_operator')$$, 'twice_is_harmless_as_well');
SELECT lives_ok($$SELECT revoke_access('access_stranger')$$, 'nothing_given_nothing_taken');
SELECT lives_ok('DROP ROLE access_operator', 'the_role_can_be_dropped');

-- Who may give: the owner of the database, superuser or not.

SET LOCAL ROLE access_database_owner;
SELECT throws_ok($$SELECT grant_access('access_stranger', 'read')$$, '42501', NULL,
  'not_before_owning_the_database');
RESET ROLE;
DO $$BEGIN EXECUTE format('ALTER DATABASE %I OWNER TO access_database_owner', current_database()); END$$;
SET LOCAL ROLE access_database_owner;
SELECT throws_ok('SELECT * FROM query_performance_logs', '42501', NULL,
  'the_owner_of_the_database_has_no_access_at_first');
SELECT lives_ok($$SELECT grant_access('access_stranger', 'operate')$$, 'but_gives_it');
SELECT lives_ok($$SELECT grant_access('access_database_owner', 'read')$$, 'also_to_himself');
SELECT lives_ok('SELECT * FROM query_performance_logs LIMIT 1', 'and_then_reads');
SELECT lives_ok($$SELECT revoke_access('access_reader')$$, 'and_takes_it_back');
SELECT throws_ok($$SELECT change_access('access_levels', 'access_database_owner', '{read}', true)$$, '42501',
  NULL, 'only_by_these_two_functions');
SELECT throws_ok('SELECT query_stats_reset()', '42501', NULL, 'other_functions_are_not_his');
RESET ROLE;
SELECT set_eq($$SELECT object, privilege FROM rights WHERE rolname = 'access_stranger'$$, 'TABLE operating',
  'what_he_gave_is_all_of_the_level');
SELECT set_eq($$SELECT object, privilege FROM rights WHERE rolname = 'access_reader'$$, 'TABLE of_everybody',
  'what_he_took_is_gone');

SELECT * FROM finish();
ROLLBACK;
