-- The log as applications use it: rows of their own, log_query_performance, get_slow_queries,
-- get_query_stats. Durations that nothing else here reaches keep captured statements out.
BEGIN;
SELECT no_plan();

CREATE FUNCTION pg_temp.day(days integer) RETURNS timestamptz LANGUAGE sql IMMUTABLE
AS $$ SELECT '2020-01-01 00:00:00+00'::timestamptz + make_interval(days => days) $$;

-- An application inserts by itself.

SELECT lives_ok($$INSERT INTO query_performance_logs (query_text, duration_ms) VALUES ('select mine', 700)$$,
  'an_application_inserts_text_and_duration_only');
SELECT results_eq(
  $$SELECT id IS NOT NULL, execution_timestamp = now(), is_slow, duration_us, user_id, endpoint
      FROM query_performance_logs WHERE query_text = 'select mine'$$,
  $$VALUES (true, true, true, NULL::bigint, NULL::uuid, NULL::text)$$, 'the_rest_has_defaults');
SELECT lives_ok(
  $$INSERT INTO query_performance_logs (query_text, query_hash, duration_ms, user_id, endpoint, parameters,
                                        error_message, stack_trace)
    VALUES ('select all_of_it', 'abc', 0, gen_random_uuid(), 'GET /x', '{"a": [1]}', 'failed', 'at x.ts:1')$$,
  'an_application_inserts_all_its_columns');
INSERT INTO query_performance_logs (query_text, duration_ms)
  SELECT 'select border', unnest('{0, 500, 501, 2147483647}'::integer[]);
SELECT results_eq(
  $$SELECT duration_ms, is_slow FROM query_performance_logs WHERE query_text = 'select border' ORDER BY 1$$,
  $$VALUES (0, false), (500, false), (501, true), (2147483647, true)$$, 'slow_is_more_than_500_ms');
SELECT throws_ok(
  $$INSERT INTO query_performance_logs (query_text, duration_ms) VALUES ('select 1', -1)$$, '23514', NULL,
  'a_negative_duration_is_refused');
SELECT throws_ok(
  $$INSERT INTO query_performance_logs (query_text, duration_ms) VALUES ('select 1', NULL)$$, '23502', NULL,
  'a_row_without_duration_is_refused');
SELECT throws_ok($$INSERT INTO query_performance_logs (duration_ms) VALUES (1)$$, '23502', NULL,
  'a_row_without_text_is_refused');
SELECT throws_ok(
  $$INSERT INTO query_performance_logs (query_text, duration_ms, is_slow) VALUES ('select 1', 1, true)$$,
  '428C9', NULL, 'is_slow_is_computed');
SELECT lives_ok(
  $$INSERT INTO query_performance_logs (query_text, duration_ms, execution_timestamp)
    SELECT 'select long ago', 1, unnest(ARRAY['1970-01-01'::timestamptz, now() + interval '1 year', 'infinity',
                                              '-infinity'])$$,
  'a_row_of_any_time_has_a_place');

-- log_query_performance

SELECT log_query_performance('select logged where a = 1', 12, '11111111-1111-1111-1111-111111111111',
                             'POST /rpc/x', '{"a": 1}', 'no such thing', 'line 1') AS new_id \gset
SELECT results_eq(
  $$SELECT query_text, query_hash = query_hash('SELECT   logged WHERE a = 2'), duration_ms, user_id, endpoint,
           parameters, error_message, stack_trace, execution_timestamp = now()
      FROM query_performance_logs WHERE id = '$$ || :'new_id' || $$'$$,
  $$VALUES ('select logged where a = 1', true, 12, '11111111-1111-1111-1111-111111111111'::uuid,
            'POST /rpc/x', '{"a": 1}'::jsonb, 'no such thing', 'line 1', true)$$,
  'log_query_performance_stores_what_it_is_given');
SELECT isnt(log_query_performance('select logged twice', 1), log_query_performance('select logged twice', 1),
  'each_call_is_a_row_of_its_own');
SELECT throws_ok($$SELECT log_query_performance('select 1', -1)$$, '23514', NULL,
  'log_query_performance_refuses_a_negative_duration');
SELECT throws_ok($$SELECT log_query_performance(NULL, 1)$$, '23502', NULL,
  'log_query_performance_needs_a_text');
SELECT throws_ok($$SELECT log_query_performance('select 1', NULL)$$, '23502', NULL,
  'log_query_performance_needs_a_duration');

-- get_slow_queries

INSERT INTO query_performance_logs (query_text, duration_ms, execution_timestamp) VALUES
  ('SELECT * FROM orders WHERE id = 1', 2000000000, now() - interval '1 hour'),
  ('select * from orders  where id = 2', 2000000003, now() - interval '2 hours'),
  ('select * from orders where id = 3 -- again', 2000000004, now() - interval '3 hours'),
  ('select * from orders where id = 4', 7, now() - interval '3 hours'),
  ('select * from orders where id = 5', 2100000000, now() - interval '25 hours'),
  ('select slowest', 2000000010, now() - interval '23 hours');
SELECT results_eq(
  $$SELECT query_text, avg_duration_ms, max_duration_ms, execution_count, last_execution - now()
      FROM get_slow_queries(min_duration_ms => 1999999999)
     WHERE query_text NOT LIKE 'select border%'$$,
  $$VALUES ('select slowest', 2000000010.00, 2000000010, 1::bigint, interval '-23 hours'),
           ('select * from orders where id = $1', 2000000002.33, 2000000004, 3, interval '-1 hour')$$,
  'slow_queries_are_grouped_by_statement_slowest_average_first');
SELECT results_eq(
  $$SELECT execution_count, max_duration_ms FROM get_slow_queries(hours_back => 2, min_duration_ms => 1999999999)
     WHERE query_text LIKE '%orders%'$$,
  $$VALUES (1::bigint, 2000000000)$$, 'hours_back_limits_the_period');
SELECT results_eq(
  $$SELECT execution_count, max_duration_ms FROM get_slow_queries(48, 1999999999) WHERE query_text LIKE '%orders%'$$,
  $$VALUES (4::bigint, 2100000000)$$, 'hours_back_widens_the_period');
SELECT results_eq(
  $$SELECT execution_count FROM get_slow_queries(24, 0) WHERE query_text LIKE '%orders%'$$,
  $$VALUES (4::bigint)$$, 'min_duration_ms_zero_takes_all');
INSERT INTO query_performance_logs (query_text, duration_ms)
  VALUES ('select at_the_limit', 500), ('select below_the_limit', 499);
SELECT set_eq(
  $$SELECT query_text FROM get_slow_queries(24, 500) WHERE query_text LIKE '%the_limit'
    UNION ALL SELECT query_text FROM get_slow_queries() WHERE query_text LIKE '%the_limit'$$,
  $$VALUES ('select at_the_limit'), ('select at_the_limit')$$, 'min_duration_ms_is_inclusive');
SELECT is_empty($$SELECT * FROM get_slow_queries(0, 0) WHERE query_text LIKE '%orders%'$$,
  'zero_hours_back_is_nothing');
SELECT lives_ok($$SELECT * FROM get_slow_queries(1000000, 0)$$, 'a_century_back_is_everything');
INSERT INTO query_performance_logs (query_text, query_hash, duration_ms)
  VALUES ('select hashed_elsewhere(1)', md5('a'), 2000000005), ('select hashed_elsewhere(2)', md5('b'), 2000000005),
         ('select one_hash_for_all', 'x', 2000000005), ('select one_hash_for_all_of_them', 'x', 2000000005);
SELECT set_eq(
  $$SELECT query_text, execution_count FROM get_slow_queries(24, 2000000005)
     WHERE query_text LIKE '%hashed_elsewhere%' OR query_text LIKE '%one_hash_for_all%'$$,
  $$VALUES ('select hashed_elsewhere($1)', 2::bigint), ('select one_hash_for_all', 1),
           ('select one_hash_for_all_of_them', 1)$$,
  'a_hash_that_the_application_made_up_does_not_change_the_grouping');
INSERT INTO query_performance_logs (query_text, duration_ms)
  SELECT 'select many' || i || '()', 2140000000 + i FROM generate_series(1, 60) i;
SELECT results_eq(
  $$SELECT query_text, avg_duration_ms FROM get_slow_queries(min_duration_ms => 2140000000)
     WHERE query_text LIKE 'select many%'$$,
  $$SELECT 'select many' || i || '()', (2140000000 + i)::numeric(12, 2)
      FROM generate_series(60, 12, -1) i$$, 'the_fifty_slowest_are_shown');
SELECT is((SELECT count(*) FROM get_slow_queries(24, 0)), 50::bigint, 'at_most_fifty');

-- get_query_stats: of application rows, where nothing was captured.

SELECT results_eq(
  $$SELECT * FROM get_query_stats(pg_temp.day(0), pg_temp.day(1))$$,
  $$VALUES (0::bigint, 0::bigint, NULL::numeric, NULL::numeric, NULL::numeric, NULL::numeric)$$,
  'a_period_without_data_has_no_durations');
INSERT INTO query_performance_logs (query_text, duration_ms, execution_timestamp)
  SELECT 'select distributed', ms, pg_temp.day(2) + make_interval(secs => ms) FROM generate_series(1, 1000) ms;
SELECT results_eq(
  $$SELECT total_queries, slow_queries, avg_duration_ms FROM get_query_stats(pg_temp.day(2), pg_temp.day(3))$$,
  $$VALUES (1000::bigint, 500::bigint, 500.500)$$, 'application_rows_count_exactly');
SELECT ok(abs(p50_duration_ms - 500) <= 15 AND abs(p95_duration_ms - 950) <= 28.5
          AND abs(p99_duration_ms - 990) <= 29.7, 'percentiles_are_within_3_percent')
  FROM get_query_stats(start_time => pg_temp.day(2), end_time => pg_temp.day(3));
SELECT is(total_queries, 100::bigint, 'the_start_is_in_the_end_is_not')
  FROM get_query_stats(pg_temp.day(2) + interval '101 s', pg_temp.day(2) + interval '201 s');
SELECT is(total_queries, 0::bigint, 'an_end_before_the_start_is_no_period')
  FROM get_query_stats(pg_temp.day(3), pg_temp.day(2));
SELECT is(total_queries, 0::bigint, 'no_bounds_no_data') FROM get_query_stats(NULL, NULL);
SELECT lives_ok($$SELECT * FROM get_query_stats('-infinity', 'infinity')$$, 'all_time_is_a_period');

-- What was captured counts by its histogram; application rows of that time are in it already.
INSERT INTO query_stats_history (bucket_start, bucket_end, toplevel, calls, errors, slow_calls, rows,
    total_time_ms, total_plan_time_ms, shared_blks_hit, shared_blks_read, temp_blks_written, wal_bytes,
    latency_histogram)
  SELECT pg_temp.day(5), pg_temp.day(5) + interval '1 minute', true, 100, 0, 3, 0, 2000, 0, 0, 0, 0, 0,
         merge_latency(latency_histogram(20)) FROM generate_series(1, 100);
INSERT INTO query_performance_logs (query_text, duration_ms, execution_timestamp) VALUES
  ('select covered', 9000, pg_temp.day(5) + interval '30 s'),
  ('select uncovered', 9000, pg_temp.day(5) + interval '90 s');
SELECT results_eq(
  $$SELECT total_queries, slow_queries, avg_duration_ms, round(p50_duration_ms)
      FROM get_query_stats(pg_temp.day(5), pg_temp.day(5) + interval '1 minute')$$,
  $$VALUES (100::bigint, 3::bigint, 20.000, 20::numeric)$$, 'captured_executions_count_once');
SELECT results_eq(
  $$SELECT total_queries, slow_queries FROM get_query_stats(pg_temp.day(5), pg_temp.day(6))$$,
  $$VALUES (101::bigint, 4::bigint)$$, 'application_rows_count_where_nothing_was_captured');

SELECT * FROM finish();
ROLLBACK;
