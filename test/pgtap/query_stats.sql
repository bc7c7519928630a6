-- Who sees what in query_stats, and who may start it anew. Needs a preloaded server.
BEGIN;
SELECT no_plan();

CREATE ROLE stats_ann;
CREATE ROLE stats_bob;
CREATE ROLE stats_member IN ROLE stats_ann;
CREATE ROLE stats_reader IN ROLE pg_read_all_stats;
CREATE ROLE stats_monitor IN ROLE pg_monitor;
CREATE ROLE stats_operator;
SELECT grant_access('stats_operator', 'operate') \gset ignored_

SET LOCAL ROLE stats_ann;
SELECT 'of ann' AS stats_marker_ann \gset ignored_
SELECT 'of ann' AS stats_marker_ann \gset ignored_
SET LOCAL ROLE stats_bob;
SELECT 'of bob' AS stats_marker_bob \gset ignored_
RESET ROLE;

PREPARE of_ann AS
  SELECT datname, queryid IS NOT NULL, query_hash = query_hash('select 1 as stats_marker_ann'), query, calls
    FROM query_stats WHERE username = 'stats_ann' AND (query LIKE '%stats_marker%' OR calls = 2);
PREPARE with_text AS
  VALUES (current_database(), true, true, 'select $1 as stats_marker_ann', 2::bigint);
PREPARE masked AS
  VALUES (current_database(), false, NULL::boolean, '<insufficient privilege>', 2::bigint);

SELECT results_eq('of_ann', 'with_text', 'a_superuser_sees_the_text');
SET LOCAL ROLE stats_ann;
SELECT results_eq('of_ann', 'with_text', 'everybody_sees_their_own_text');
SELECT is((SELECT count(*) FROM query_stats WHERE query LIKE '%stats_marker_bob%'), 0::bigint,
  'and_not_that_of_others');
SET LOCAL ROLE stats_member;
SELECT results_eq('of_ann', 'with_text', 'members_of_a_role_see_its_text');
SET LOCAL ROLE stats_reader;
SELECT results_eq('of_ann', 'with_text', 'pg_read_all_stats_sees_the_text');
SET LOCAL ROLE stats_monitor;
SELECT results_eq('of_ann', 'with_text', 'pg_monitor_sees_the_text');
SET LOCAL ROLE stats_bob;
SELECT results_eq('of_ann', 'masked', 'others_see_neither_text_nor_id_nor_hash');
SELECT is((SELECT count(*) FROM query_stats() WHERE query LIKE '%stats_marker_ann%'), 0::bigint,
  'the_function_masks_too');
SELECT is((SELECT count(*) FROM query_stats WHERE query LIKE '%stats_marker_bob%'), 1::bigint,
  'they_see_their_own');
SET LOCAL ROLE stats_operator;
SELECT results_eq('of_ann', 'masked', 'grant_access_gives_no_texts_of_other_users');
RESET ROLE;

-- Other databases are in it too; their texts are as masked.
SELECT ok(bool_and(p50_ms BETWEEN min_time_ms AND max_time_ms AND p95_ms BETWEEN p50_ms AND max_time_ms
                   AND p99_ms BETWEEN p95_ms AND max_time_ms
                   AND mean_time_ms BETWEEN min_time_ms * 0.999999 AND max_time_ms * 1.000001
                   AND errors <= calls AND slow_calls <= calls AND first_seen <= last_seen),
  'the_numbers_of_each_row_fit_together') FROM query_stats WHERE calls > 0;

-- Only the owner starts it anew.

SET LOCAL ROLE stats_ann;
SELECT throws_ok('SELECT query_stats_reset()', '42501', NULL, 'nobody_resets_the_statistics_of_all');
SELECT throws_ok('SELECT * FROM capture_status()', '42501', NULL, 'nor_sees_what_capture_does');
SELECT throws_ok('SELECT * FROM pending_statistics()', '42501', NULL, 'nor_what_is_to_be_written');
SELECT throws_ok('SELECT * FROM queued_events()', '42501', NULL, 'nor_events_on_their_way');
SET LOCAL ROLE stats_reader;
SELECT throws_ok('SELECT query_stats_reset()', '42501', NULL, 'nor_does_pg_read_all_stats');
SET LOCAL ROLE stats_monitor;
SELECT throws_ok('SELECT query_stats_reset()', '42501', NULL, 'nor_does_pg_monitor');
SELECT is(preloaded, true, 'pg_monitor_sees_what_capture_does') FROM capture_status();
SET LOCAL ROLE stats_operator;
SELECT throws_ok('SELECT query_stats_reset()', '42501', NULL, 'nor_does_an_operator');
RESET ROLE;

SELECT counting_since AS before FROM capture_status() \gset
SELECT lives_ok('SELECT query_stats_reset()', 'the_owner_resets');
SELECT is((SELECT count(*) FROM query_stats WHERE username IN ('stats_ann', 'stats_bob')), 0::bigint,
  'then_counting_starts_anew');
SELECT ok(counting_since > :'before', 'and_says_since_when') FROM capture_status();
SELECT results_eq(
  'SELECT events_enqueued - events_written - events_queued - events_dropped FROM capture_status()',
  'VALUES (0::bigint)', 'events_add_up');

-- Events are the collector's.
SELECT throws_ok('SELECT * FROM queued_events()', '55000', NULL, 'not_even_the_owner_takes_events');

SELECT * FROM finish();
ROLLBACK;
