-- Alerts: raised by slow statements, by applications, resolved by people.
BEGIN;
SELECT no_plan();

CREATE FUNCTION pg_temp.alerts(statement text)
RETURNS TABLE (severity text, occurrences bigint, open boolean) LANGUAGE sql
AS $$
  SELECT severity, occurrences, resolved_at IS NULL FROM performance_alerts
   WHERE fingerprint = 'slow_query:' || query_hash(statement) ORDER BY resolved_at NULLS LAST
$$;
CREATE FUNCTION pg_temp.resolve(statement text) RETURNS boolean LANGUAGE sql
AS $$
  SELECT resolve_performance_alert(id) FROM performance_alerts
   WHERE fingerprint = 'slow_query:' || query_hash(statement) AND resolved_at IS NULL
$$;

-- One slow statement.

SELECT log_query_performance('select took_' || ms, ms)
  FROM unnest('{0, 500, 501, 1000, 1001, 2000, 2001, 2147483647}'::integer[]) ms;
SELECT results_eq(
  $$SELECT ms, (pg_temp.alerts('select took_' || ms)).severity
      FROM unnest('{0, 500, 501, 1000, 1001, 2000, 2001, 2147483647}'::integer[]) ms$$,
  $$VALUES (501, 'info'), (1000, 'info'), (1001, 'warning'), (2000, 'warning'), (2001, 'error'),
           (2147483647, 'error')$$,
  'severity_follows_the_duration_and_500_ms_is_not_slow');
SELECT results_eq(
  $$SELECT alert_type, severity, resolved_at, resolved_by, resolution_notes, acknowledged_at, occurrences,
           created_at = now(), last_seen_at = now()
      FROM performance_alerts WHERE fingerprint = 'slow_query:' || query_hash('select took_501')$$,
  $$VALUES ('slow_query', 'info', NULL::timestamptz, NULL::uuid, NULL::text, NULL::timestamptz, 1::bigint,
            true, true)$$, 'the_alert_is_open_and_complete');
SELECT matches(message, '501 ms: select took_501', 'the_message_says_what_and_how_slow')
  FROM performance_alerts WHERE fingerprint = 'slow_query:' || query_hash('select took_501');
SELECT is((SELECT count(*) FROM query_performance_logs WHERE query_text LIKE 'select took_%'), 8::bigint,
  'all_are_logged_slow_or_not');

-- One open alert per statement.

SELECT log_query_performance(format('select often where a = %s /* %s */', ms, ms), ms, endpoint => endpoint)
  FROM (VALUES (600, NULL), (1500, 'GET /often'), (700, NULL), (100, NULL)) AS given (ms, endpoint);
SELECT results_eq($$SELECT * FROM pg_temp.alerts('select often where a = 0')$$,
  $$VALUES ('warning', 3::bigint, true)$$, 'a_statement_has_one_open_alert_with_count_and_highest_severity');
SELECT results_eq(
  $$SELECT (details ->> 'max_duration_ms')::numeric, details ->> 'endpoint', details ->> 'query_hash',
           message LIKE '%1500 ms%'
      FROM performance_alerts WHERE fingerprint = 'slow_query:' || query_hash('select often where a = 0')$$,
  $$VALUES (1500::numeric, 'GET /often', query_hash('select often where a = 1'), true)$$,
  'the_worst_execution_stays_on_show');
SELECT ok(pg_temp.resolve('select often where a = 0'), 'it_is_resolved');
SELECT log_query_performance('select often where a = 5', 501);
SELECT log_query_performance('select often where a = 6', 2500);
SELECT results_eq($$SELECT * FROM pg_temp.alerts('select often where a = 0')$$,
  $$VALUES ('warning', 3::bigint, false), ('error', 2, true)$$,
  'after_it_was_resolved_the_statement_gets_a_new_alert');
SELECT ok(pg_temp.resolve('select often where a = 0'), 'the_new_one_is_resolved_too');
SELECT log_query_performance('select often where a = 5', 501);
SELECT results_eq(
  $$SELECT severity, count(*) FROM pg_temp.alerts('select often where a = 0') GROUP BY 1 ORDER BY 1$$,
  $$VALUES ('error', 1::bigint), ('info', 1), ('warning', 1)$$, 'each_time_it_is_a_row_of_its_own');
SELECT lives_ok($$SELECT log_query_performance('select ' || repeat('a_long_name, ', 100000) || '1', 600)$$,
  'a_statement_of_megabytes_raises_its_alert');
SELECT ok(max(length(message)) < 300 AND max(length(details::text)) < 1500, 'but_only_its_beginning_is_in_it')
  FROM performance_alerts WHERE message LIKE '%a_long_name%';
UPDATE performance_alerts SET details = 'null' WHERE fingerprint = 'slow_query:' || query_hash('select took_501');
SELECT lives_ok($$SELECT log_query_performance('select took_501', 501)$$,
  'details_that_somebody_changed_do_not_stop_the_log');
UPDATE performance_alerts SET details = '{"max_duration_ms": "much"}'
 WHERE fingerprint = 'slow_query:' || query_hash('select took_1001');
SELECT lives_ok($$SELECT log_query_performance('select took_1001', 1001)$$,
  'nor_do_details_that_are_no_number');

-- create_performance_alert

SELECT create_performance_alert('high_bloat', 'critical', 'bloated') AS new_id \gset
SELECT results_eq(
  $$SELECT alert_type, severity, message, details, created_at = now(), resolved_at, fingerprint, occurrences
      FROM performance_alerts WHERE id = '$$ || :'new_id' || $$'$$,
  $$VALUES ('high_bloat', 'critical', 'bloated', '{}'::jsonb, true, NULL::timestamptz, NULL::text, 1::bigint)$$,
  'an_application_raises_an_alert');
SELECT isnt(create_performance_alert('mine', 'info', 'same'), create_performance_alert('mine', 'info', 'same'),
  'without_fingerprint_each_call_is_an_alert');
SELECT isnt(create_performance_alert('mine', 'info', 'same', NULL), NULL, 'details_may_be_null');
SELECT lives_ok(format('SELECT create_performance_alert(%L, %L, %L, %L)', 'mine', severity, 'm', '{}'),
    'severity_' || severity)
  FROM unnest('{info,warning,error,critical}'::text[]) severity;
SELECT throws_ok(format('SELECT create_performance_alert(%L, %L, %L)', 'mine', severity, 'm'), '23514', NULL,
    format('severity %L is refused', severity))
  FROM unnest('{fatal,Info,"","critical "}'::text[]) severity;
SELECT throws_ok($$SELECT create_performance_alert('mine', NULL, 'm')$$, '23502', NULL, 'severity_is_needed');
SELECT throws_ok($$SELECT create_performance_alert(NULL, 'info', 'm')$$, '23502', NULL, 'type_is_needed');
SELECT throws_ok($$SELECT create_performance_alert('mine', 'info', NULL)$$, '23502', NULL,
  'message_is_needed');

CREATE TEMP TABLE raised AS
  SELECT create_performance_alert('disk', 'error', 'first', '{"fingerprint": "disk:1", "free": 5}') AS id;
SELECT is(create_performance_alert('disk', 'warning', 'second', '{"fingerprint": "disk:1", "used": 7}'), id,
  'a_known_fingerprint_updates_the_open_alert') FROM raised;
SELECT results_eq(
  $$SELECT severity, message, details, occurrences, fingerprint FROM performance_alerts JOIN raised USING (id)$$,
  $$VALUES ('warning', 'second', '{"fingerprint": "disk:1", "used": 7}'::jsonb, 2::bigint, 'disk:1')$$,
  'it_has_what_was_said_last_and_a_count');
SELECT isnt(create_performance_alert('disk', 'error', 'other', '{"fingerprint": "disk:2"}'), id,
  'another_fingerprint_is_another_alert') FROM raised;
SELECT throws_ok($$SELECT create_performance_alert('disk', 'awful', 'm', '{"fingerprint": "disk:1"}')$$,
  '23514', NULL, 'a_bad_severity_does_not_update_either');
SELECT lives_ok($$SELECT create_performance_alert('odd', 'info', 'm', details::jsonb)
    FROM unnest(ARRAY['[]', '"text"', '5', 'null', '["fingerprint"]', '{"fingerprint": null}',
                      '{"fingerprint": {"a": 1}}', '{"fingerprint": 5}']) details$$,
  'details_may_be_any_json');
SELECT ok(count(*) FILTER (WHERE fingerprint IS NULL) = 6 AND count(*) = 8,
  'json_without_fingerprint_has_none') FROM performance_alerts WHERE alert_type = 'odd';

-- resolve_performance_alert

SELECT ok(resolve_performance_alert(alert_id => id, notes => 'bigger disk',
                                    resolved_by => '22222222-2222-2222-2222-222222222222'),
  'an_open_alert_is_resolved') FROM raised;
SELECT results_eq(
  $$SELECT resolved_at = now(), resolution_notes, a.resolved_by FROM performance_alerts a JOIN raised USING (id)$$,
  $$VALUES (true, 'bigger disk', '22222222-2222-2222-2222-222222222222'::uuid)$$, 'it_says_by_whom_and_why');
SELECT is(resolve_performance_alert(id, 'again'), false, 'only_once') FROM raised;
SELECT results_eq($$SELECT resolution_notes FROM performance_alerts JOIN raised USING (id)$$,
  $$VALUES ('bigger disk')$$, 'and_its_notes_stay');
SELECT is(resolve_performance_alert('00000000-0000-0000-0000-000000000000'), false,
  'an_unknown_alert_cannot_be_resolved');
SELECT is(resolve_performance_alert(NULL), false, 'nor_can_null');
SELECT isnt(create_performance_alert('disk', 'info', 'third', '{"fingerprint": "disk:1"}'), id,
  'after_it_was_resolved_the_fingerprint_is_a_new_alert') FROM raised;
SELECT is((SELECT count(*) FROM performance_alerts WHERE fingerprint = 'disk:1'), 2::bigint,
  'the_resolved_one_is_kept');

SELECT throws_ok(
  $$INSERT INTO performance_alerts (alert_type, severity, message) VALUES ('mine', 'bad', 'm')$$, '23514', NULL,
  'direct_inserts_are_checked');
SELECT lives_ok(
  $$INSERT INTO performance_alerts (alert_type, severity, message) VALUES ('mine', 'info', 'm')$$,
  'and_need_no_more_than_the_older_version_did');

SELECT * FROM finish();
ROLLBACK;
