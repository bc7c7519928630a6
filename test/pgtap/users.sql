-- link_user_profiles: user_id and resolved_by refer to the application's users.
BEGIN;
SELECT no_plan();

-- One after the other with the collector, from the beginning: it gives way where both wait.
SET LOCAL deadlock_timeout = '1h';
LOCK TABLE query_performance_logs, performance_alerts IN ACCESS EXCLUSIVE MODE;
SET LOCAL client_min_messages = warning;

CREATE SCHEMA "od d";
CREATE TABLE "od d"."user ""pro""files" (id uuid PRIMARY KEY, name text);
CREATE TABLE user_profiles (id uuid PRIMARY KEY);
CREATE TABLE users_without_id (uid uuid PRIMARY KEY);
CREATE TABLE users_with_numbers (id integer PRIMARY KEY);
CREATE TABLE users_with_texts (id text PRIMARY KEY);
CREATE TABLE users_not_unique (id uuid);
CREATE ROLE users_operator;
INSERT INTO user_profiles VALUES ('11111111-1111-1111-1111-111111111111'),
  ('22222222-2222-2222-2222-222222222222'), ('33333333-3333-3333-3333-333333333333');
INSERT INTO "od d"."user ""pro""files" VALUES ('44444444-4444-4444-4444-444444444444', 'Ann');

CREATE FUNCTION pg_temp.users_of(statement text) RETURNS SETOF uuid LANGUAGE sql
AS $$ SELECT user_id FROM query_performance_logs WHERE query_text = statement ORDER BY 1 $$;

-- What was logged before stays, without the users that do not exist.
INSERT INTO query_performance_logs (query_text, duration_ms, execution_timestamp, user_id)
  SELECT 'select before', 1, at, id
    FROM unnest(ARRAY[now(), '2020-01-01']) at,
         unnest('{11111111-1111-1111-1111-111111111111, 99999999-9999-9999-9999-999999999999}'::uuid[]) id;
SELECT ok(resolve_performance_alert(create_performance_alert('users', 'info', 'before'), NULL,
                                    '99999999-9999-9999-9999-999999999999'), 'users_are_free_at_first');
SELECT lives_ok($$SELECT link_user_profiles(user_table => 'user_profiles')$$, 'users_are_linked');
SELECT results_eq($$SELECT pg_temp.users_of('select before')$$,
  $$VALUES ('11111111-1111-1111-1111-111111111111'::uuid), ('11111111-1111-1111-1111-111111111111'), (NULL), (NULL)$$,
  'rows_of_unknown_users_are_kept_without_them');
SELECT is(resolved_by, NULL, 'alerts_too') FROM performance_alerts WHERE message = 'before';

-- What is logged from then on.
SELECT log_query_performance('select known', 1, '22222222-2222-2222-2222-222222222222') \gset ignored_
SELECT log_query_performance('select unknown', 1, '99999999-9999-9999-9999-999999999999') \gset ignored_
SELECT lives_ok($$SELECT log_query_performance('select nobody', 1)$$, 'no_user_is_needed');
SELECT lives_ok($$SELECT create_performance_alert('users', 'info', 'nobody')$$, 'nor_for_alerts');
INSERT INTO query_performance_logs (query_text, duration_ms, user_id)
  VALUES ('select inserted', 1, '99999999-9999-9999-9999-999999999999'),
         ('select inserted', 1, '33333333-3333-3333-3333-333333333333');
SELECT results_eq($$SELECT pg_temp.users_of('select known')$$,
  $$VALUES ('22222222-2222-2222-2222-222222222222'::uuid)$$, 'a_known_user_is_logged');
SELECT results_eq($$SELECT pg_temp.users_of('select unknown')$$, $$VALUES (NULL::uuid)$$,
  'a_row_of_an_unknown_user_is_logged_without_him');
SELECT results_eq($$SELECT pg_temp.users_of('select nobody')$$, $$VALUES (NULL::uuid)$$,
  'a_row_without_user_is_logged');
SELECT results_eq($$SELECT pg_temp.users_of('select inserted')$$,
  $$VALUES ('33333333-3333-3333-3333-333333333333'::uuid), (NULL)$$, 'inserts_of_applications_are_the_same');
UPDATE query_performance_logs SET user_id = '99999999-9999-9999-9999-999999999999'
 WHERE query_text = 'select inserted';
SELECT results_eq($$SELECT pg_temp.users_of('select inserted')$$, $$VALUES (NULL::uuid), (NULL)$$,
  'updates_too');
SELECT ok(resolve_performance_alert(create_performance_alert('users', 'info', 'by unknown'), 'x',
                                    '99999999-9999-9999-9999-999999999999'), 'an_unknown_user_resolves');
SELECT ok(resolve_performance_alert(create_performance_alert('users', 'info', 'by known'), 'x',
                                    '22222222-2222-2222-2222-222222222222'), 'a_known_user_resolves');
SELECT results_eq(
  $$SELECT message, resolved_by, resolution_notes FROM performance_alerts WHERE message LIKE 'by %known' ORDER BY 1$$,
  $$VALUES ('by known', '22222222-2222-2222-2222-222222222222'::uuid, 'x'), ('by unknown', NULL, 'x')$$,
  'and_only_the_known_one_is_named');

-- The application's key needs no rights on its users' table.
SELECT grant_access('users_operator', 'operate') \gset ignored_
SET LOCAL ROLE users_operator;
SELECT lives_ok($$SELECT log_query_performance('select operator', 1, '22222222-2222-2222-2222-222222222222')$$,
  'an_operator_logs_users_whose_table_he_cannot_read');
RESET ROLE;
SELECT results_eq($$SELECT pg_temp.users_of('select operator')$$,
  $$VALUES ('22222222-2222-2222-2222-222222222222'::uuid)$$, 'and_they_are_found');

-- A user leaves.
SELECT lives_ok($$DELETE FROM user_profiles WHERE id = '22222222-2222-2222-2222-222222222222'$$,
  'a_user_can_be_deleted');
SELECT results_eq($$SELECT pg_temp.users_of('select known')$$, $$VALUES (NULL::uuid)$$,
  'what_he_did_stays_logged');
SELECT is(resolved_by, NULL, 'and_resolved') FROM performance_alerts WHERE message = 'by known';

-- Partitions that are made later are linked too.
SELECT lives_ok($$SELECT maintain_partitions_of('query_performance_logs', '1000 years', now() + interval '30 days')$$,
  'partitions_are_made_while_linked');
INSERT INTO query_performance_logs (query_text, duration_ms, execution_timestamp, user_id)
  SELECT 'select later', 1, now() + interval '30 days', id
    FROM unnest('{33333333-3333-3333-3333-333333333333, 99999999-9999-9999-9999-999999999999}'::uuid[]) id;
SELECT results_eq($$SELECT pg_temp.users_of('select later')$$,
  $$VALUES ('33333333-3333-3333-3333-333333333333'::uuid), (NULL)$$, 'rows_of_later_days_are_the_same');
DELETE FROM user_profiles WHERE id = '33333333-3333-3333-3333-333333333333';
SELECT results_eq($$SELECT pg_temp.users_of('select later')$$, $$VALUES (NULL::uuid), (NULL)$$,
  'also_when_the_user_leaves');

-- Wrong tables leave the link as it is.
SELECT throws_ok(format('SELECT link_user_profiles(%L)', relation), '42703', NULL, relation || '_is_refused')
  FROM unnest('{users_without_id, users_with_numbers, users_with_texts}'::text[]) relation;
SELECT throws_ok($$SELECT link_user_profiles('users_not_unique')$$, '42830', NULL,
  'users_need_a_unique_id');
SELECT throws_ok($$SELECT link_user_profiles('no_such_table')$$, '42P01', NULL, 'the_table_has_to_exist');
SELECT log_query_performance('select still linked', 1, '99999999-9999-9999-9999-999999999999') \gset ignored_
SELECT results_eq($$SELECT pg_temp.users_of('select still linked')$$, $$VALUES (NULL::uuid)$$,
  'the_earlier_link_still_holds');

-- Another table, with any name, replaces the first; twice is once.
SELECT lives_ok($$SELECT link_user_profiles('"od d"."user ""pro""files"')$$, 'another_table_is_linked');
SELECT lives_ok($$SELECT link_user_profiles('"od d"."user ""pro""files"')$$, 'twice_is_harmless');
SELECT log_query_performance('select odd', 1, '44444444-4444-4444-4444-444444444444') \gset ignored_
SELECT log_query_performance('select odd', 1, '11111111-1111-1111-1111-111111111111') \gset ignored_
SELECT results_eq($$SELECT pg_temp.users_of('select odd')$$,
  $$VALUES ('44444444-4444-4444-4444-444444444444'::uuid), (NULL)$$, 'only_its_users_are_known');
SELECT results_eq($$SELECT DISTINCT pg_temp.users_of('select before')$$, $$VALUES (NULL::uuid)$$,
  'users_of_the_first_are_unknown_now');
SELECT results_eq(
  $$SELECT conrelid::regclass::text, confrelid::regclass::text, confdeltype::text FROM pg_constraint
     WHERE contype = 'f' AND conparentid = 0
       AND conrelid IN ('query_performance_logs'::regclass, 'performance_alerts'::regclass) ORDER BY 1$$,
  $$VALUES ('performance_alerts', '"od d"."user ""pro""files"', 'n'),
           ('query_performance_logs', '"od d"."user ""pro""files"', 'n')$$,
  'there_is_one_foreign_key_for_each');
ALTER TABLE "od d"."user ""pro""files" RENAME TO users;
ALTER SCHEMA "od d" RENAME TO "od""der";
SELECT log_query_performance('select renamed', 1, '44444444-4444-4444-4444-444444444444') \gset ignored_
SELECT results_eq($$SELECT pg_temp.users_of('select renamed')$$,
  $$VALUES ('44444444-4444-4444-4444-444444444444'::uuid)$$, 'the_table_may_be_renamed');

-- Back to free users.
SELECT is(unlink_user_profiles(), true, 'users_are_unlinked');
SELECT is(unlink_user_profiles(), false, 'once');
SELECT log_query_performance('select free', 1, '99999999-9999-9999-9999-999999999999') \gset ignored_
SELECT results_eq($$SELECT pg_temp.users_of('select free')$$,
  $$VALUES ('99999999-9999-9999-9999-999999999999'::uuid)$$, 'then_any_user_is_logged_again');
SELECT results_eq($$SELECT pg_temp.users_of('select renamed')$$,
  $$VALUES ('44444444-4444-4444-4444-444444444444'::uuid)$$, 'and_logged_ones_stay');

-- The users' table goes away without a word to us.
SELECT link_user_profiles('user_profiles') \gset ignored_
SELECT lives_ok('DROP TABLE user_profiles CASCADE', 'the_table_of_users_can_be_dropped');
SELECT lives_ok($$SELECT log_query_performance('select orphan', 1, '11111111-1111-1111-1111-111111111111')$$,
  'logging_goes_on_without_it');
SELECT lives_ok('SELECT unlink_user_profiles()', 'and_it_can_be_unlinked');

SELECT * FROM finish();
ROLLBACK;
