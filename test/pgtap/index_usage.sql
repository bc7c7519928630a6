-- Index usage over time, on histories made by hand: what is unused, what is trend, what is rolled up, and whose
-- rows are whose.
-- Not over midnight in UTC: each day has rows of its own.
SELECT pg_sleep(CASE WHEN s.seconds < 60 THEN s.seconds + 0.1 ELSE 0 END)
  FROM (SELECT extract(epoch FROM date_trunc('day', clock_timestamp(), 'UTC') + interval '24 hours'
                                  - clock_timestamp())::double precision AS seconds) s \gset ignored_
BEGIN;
SELECT no_plan();
SET LOCAL client_min_messages = warning;
SET LOCAL deadlock_timeout = '1h';

-- One after the other with the collector, from the beginning: it gives way where both wait. Partitions are made
-- within 100 ms here, or not at all.
LOCK TABLE index_usage_snapshots IN ACCESS EXCLUSIVE MODE;
SELECT pg_advisory_xact_lock('pg_class'::regclass::oid::integer, 'index_usage_snapshots'::regclass::oid::integer);
DELETE FROM index_usage_snapshots;
DELETE FROM index_usage_capture;

CREATE SCHEMA "od d";
CREATE FUNCTION pg_temp.table_of(name text) RETURNS void LANGUAGE plpgsql
AS $$
BEGIN
  EXECUTE format('CREATE TABLE %s (id integer, a integer, b integer, c text)', name);
  EXECUTE format('INSERT INTO %s SELECT g, g, g, g FROM generate_series(1, 10000) g', name);
END
$$;
-- A row of days ago, as an application would write it: by names.
CREATE FUNCTION pg_temp.row_of(index text, days numeric, counter bigint, scans bigint DEFAULT NULL, reset boolean DEFAULT NULL)
RETURNS void LANGUAGE sql
AS $$
  INSERT INTO index_usage_snapshots (snapshot_timestamp, schemaname, tablename, indexname, idx_scan,
                                     scans_since_previous, reset_detected)
  SELECT now() - days * interval '24 hours', n.nspname, t.relname, i.relname, counter, scans, reset
    FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
    JOIN pg_namespace n ON n.oid = t.relnamespace WHERE x.indexrelid = index::regclass
$$;
CREATE FUNCTION pg_temp.unused(age_days integer DEFAULT 30) RETURNS TABLE (indexname text, days integer) LANGUAGE sql
AS $$ SELECT indexname, days_since_last_scan FROM detect_unused_indexes(age_days) $$;
CREATE FUNCTION pg_temp.forget() RETURNS void LANGUAGE sql AS $$ DELETE FROM index_usage_snapshots $$;

-- How much history it takes.

SELECT pg_temp.table_of('usage_t');
CREATE INDEX usage_a ON usage_t (a);
SELECT is_empty('SELECT * FROM pg_temp.unused()', 'without_history_nothing_is_unused');
SELECT pg_temp.row_of('usage_a', 29.9, 0) \gset ignored_
SELECT is_empty('SELECT * FROM pg_temp.unused()', 'nor_with_less_than_asked');
SELECT results_eq('SELECT * FROM pg_temp.unused(29)', $$VALUES ('usage_a', 29)$$, 'with_enough_it_is');
SELECT pg_temp.row_of('usage_a', 31.5, 0) \gset ignored_
SELECT results_eq('SELECT * FROM pg_temp.unused()', $$VALUES ('usage_a', 31)$$,
  'rows_may_be_far_apart_and_need_only_names');
SELECT results_eq('SELECT schemaname, tablename, indexname, index_size, idx_scan FROM detect_unused_indexes(age_days => 30)',
  $$SELECT current_schema()::text COLLATE "default", 'usage_t', 'usage_a', pg_size_pretty(pg_relation_size('usage_a')), 0::bigint$$,
  'it_says_what_and_how_large');
SELECT throws_ok(format('SELECT * FROM detect_unused_indexes(%s)', age), '22023', NULL, 'no age: ' || age)
  FROM unnest('{0,-1,NULL::integer,-2147483648,2147483647}'::text[]) age;
INSERT INTO index_usage_snapshots (snapshot_timestamp, idx_scan) VALUES (now() - interval '40 days', 7), ('infinity', 7), ('-infinity', 7);
INSERT INTO index_usage_snapshots (snapshot_timestamp, schemaname, tablename, indexname, idx_scan)
  SELECT now() + interval '1 day', current_schema(), 'usage_t', 'usage_a', 50;
SELECT results_eq('SELECT * FROM pg_temp.unused()', $$VALUES ('usage_a', 31)$$, 'odd_rows_and_the_future_do_not_count');

-- Scans, resets, holes.

SELECT pg_temp.forget();
SELECT pg_temp.row_of('usage_a', d, c, s, r) FROM (VALUES
  (60, 0, NULL::bigint, NULL::boolean), (20, 0, 3, NULL), (10, 0, 0, NULL), (0.1, 0, 0, false)) v (d, c, s, r);
SELECT is_empty('SELECT * FROM pg_temp.unused()', 'scans_20_days_ago_are_too_recent');
SELECT results_eq('SELECT * FROM pg_temp.unused(15)', $$VALUES ('usage_a', 20)$$, 'but_not_for_15_days');
SELECT results_eq('SELECT * FROM pg_temp.unused(20)', $$VALUES ('usage_a', 20)$$, 'nor_for_20');
SELECT is_empty('SELECT * FROM pg_temp.unused(21)', 'for_21_they_are');

SELECT pg_temp.forget();
SELECT pg_temp.row_of('usage_a', d, c) FROM (VALUES (60, 5), (33, 9), (10, 9), (0.0001, 0)) v (d, c);
SELECT is_empty('SELECT * FROM pg_temp.unused(24)', 'a_counter_that_fell_leaves_its_interval_unobserved');
SELECT pg_temp.row_of('usage_a', 0.5, 9) \gset ignored_
SELECT results_eq('SELECT * FROM pg_temp.unused()', $$VALUES ('usage_a', 33)$$, 'but_not_those_before');

SELECT pg_temp.forget();
SELECT pg_temp.row_of('usage_a', d, 0, 0, r) FROM (VALUES (34, NULL), (25, NULL::boolean), (20, true), (3, false)) v (d, r);
SELECT is_empty('SELECT * FROM pg_temp.unused()', '29_of_34_days_observed');
SELECT results_eq('SELECT * FROM pg_temp.unused(29)', $$VALUES ('usage_a', 29)$$, 'are_29');
SELECT pg_temp.row_of('usage_a', 36, 0) \gset ignored_
SELECT results_eq('SELECT * FROM pg_temp.unused()', $$VALUES ('usage_a', 31)$$, 'and_earlier_days_make_up_for_a_gap');
SELECT pg_temp.row_of('usage_a', 15, 2, 2, true) \gset ignored_
SELECT is_empty('SELECT * FROM pg_temp.unused()', 'scans_after_a_reset_are_scans');
SELECT results_eq('SELECT * FROM pg_temp.unused(14)', $$VALUES ('usage_a', 15)$$, 'of_their_time');

-- What is never unused.

SELECT pg_temp.forget();
CREATE TABLE usage_small (a integer);
CREATE INDEX usage_small_a ON usage_small (a);
SELECT pg_temp.table_of('usage_v');
CREATE UNIQUE INDEX usage_unique ON usage_v (a);
CREATE UNIQUE INDEX usage_unique_partial ON usage_v (b) WHERE b > 5;
ALTER TABLE usage_v ADD CONSTRAINT usage_primary PRIMARY KEY (id), ADD CONSTRAINT usage_exclusion EXCLUDE (b WITH =);
ALTER TABLE usage_v ALTER a SET NOT NULL;
ALTER TABLE usage_v REPLICA IDENTITY USING INDEX usage_unique;
CREATE INDEX usage_invalid ON usage_v (c);
CREATE INDEX usage_building ON usage_v (c);
CREATE TABLE usage_parent (id integer, a integer) PARTITION BY RANGE (id);
CREATE TABLE usage_part PARTITION OF usage_parent FOR VALUES FROM (0) TO (100000);
INSERT INTO usage_parent SELECT g, g FROM generate_series(1, 10000) g;
CREATE INDEX usage_attached ON usage_parent (a);
CREATE INDEX usage_of_part ON usage_part (a);
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'usage_invalid'::regclass;
UPDATE pg_index SET indisready = false, indisvalid = false WHERE indexrelid = 'usage_building'::regclass;
SELECT pg_temp.row_of(format('%I.%I', schemaname, indexname), 40, 0) FROM snapshot_indexes() WHERE tablename LIKE 'usage%';
SELECT set_eq('SELECT * FROM pg_temp.unused()', $$VALUES ('usage_a', 40), ('usage_of_part', 40)$$,
  'constraints_partitions_invalid_and_small_indexes_are_never_unused');
SET LOCAL train_perf.snapshot_exclude = 'usage_t';
SELECT set_eq('SELECT * FROM pg_temp.unused()', $$VALUES ('usage_of_part', 40)$$, 'nor_those_of_tables_left_out');
SET LOCAL train_perf.snapshot_exclude = '';

-- Foreign keys.

CREATE TABLE usage_key (x integer, y integer, PRIMARY KEY (x, y), UNIQUE (y, x), s text UNIQUE COLLATE "C", n bigint UNIQUE);
SELECT pg_temp.table_of('usage_f');
UPDATE usage_f SET id = NULL, b = NULL, c = NULL;
ALTER TABLE usage_f ADD CONSTRAINT usage_f_ab FOREIGN KEY (a, b) REFERENCES usage_key,
  ADD CONSTRAINT usage_f_n FOREIGN KEY (id) REFERENCES usage_key (n),
  ADD CONSTRAINT usage_f_s FOREIGN KEY (c) REFERENCES usage_key (s);
CREATE INDEX f_ab ON usage_f (a, b);
CREATE INDEX f_bac ON usage_f (b DESC, a, c);
CREATE INDEX f_a_c_b ON usage_f (a, c, b);
CREATE INDEX f_a_include_b ON usage_f (a) INCLUDE (b);
CREATE INDEX f_ab_partial ON usage_f (a, b) WHERE a > 5;
CREATE INDEX f_ab_not_null ON usage_f (a, b) WHERE a IS NOT NULL AND b IS NOT NULL;
CREATE INDEX f_ab_c_not_null ON usage_f (a, b) WHERE a IS NOT NULL AND c IS NOT NULL;
CREATE INDEX f_ab_null ON usage_f (a, b) WHERE a IS NULL;
CREATE INDEX f_n ON usage_f (id, c);
CREATE INDEX f_n_hash ON usage_f USING hash (id);
CREATE INDEX f_n_brin ON usage_f USING brin (id);
CREATE INDEX f_n_expression ON usage_f ((id + 0));
CREATE INDEX f_s ON usage_f (c);
CREATE INDEX f_s_c ON usage_f (c COLLATE "C");
CREATE INDEX f_s_pattern ON usage_f (c text_pattern_ops);
SELECT set_eq($$SELECT conname, indexrelid::regclass::text FROM foreign_key_indexes() i JOIN pg_constraint c ON c.oid = i.conoid
    WHERE conrelid = 'usage_f'::regclass$$,
  $$VALUES ('usage_f_ab'::name, 'f_ab'), ('usage_f_ab', 'f_bac'), ('usage_f_ab', 'f_ab_not_null'),
           ('usage_f_n', 'f_n'), ('usage_f_n', 'f_n_hash'), ('usage_f_s', 'f_s'), ('usage_f_s', 'f_s_pattern')$$,
  'which_indexes_support_a_foreign_key');
DROP INDEX f_bac, f_ab_not_null, f_a_c_b, f_a_include_b, f_ab_partial, f_ab_c_not_null, f_ab_null, f_n_hash, f_n_expression,
  f_n_brin, f_s_c, f_s_pattern, f_s;
UPDATE usage_f SET c = NULL, a = g FROM generate_series(1, 10000) g WHERE a = g;
REINDEX TABLE usage_f;
SELECT pg_temp.row_of(i, 40, 0) FROM unnest('{f_ab,f_n}'::text[]) i;
SELECT is_empty($$SELECT * FROM pg_temp.unused() WHERE indexname LIKE 'f_%'$$,
  'the_only_support_of_a_foreign_key_is_never_unused');
CREATE INDEX f_ab_too ON usage_f (a, b);
SELECT pg_temp.row_of('f_ab_too', 40, 0) \gset ignored_
SELECT set_eq($$SELECT * FROM pg_temp.unused() WHERE indexname LIKE 'f_%'$$, $$VALUES ('f_ab_too', 40)$$,
  'of_two_that_are_both_unused_one_stays');
SELECT pg_temp.row_of('f_ab_too', 5, 0, 4) \gset ignored_
SELECT set_eq($$SELECT * FROM pg_temp.unused() WHERE indexname LIKE 'f_%'$$, $$VALUES ('f_ab', 40)$$,
  'if_one_is_used_it_is_that_one');

-- Whose rows are whose.

CREATE FUNCTION pg_temp.age(days numeric) RETURNS void LANGUAGE sql
AS $$ UPDATE index_usage_snapshots SET snapshot_timestamp = snapshot_timestamp - days * interval '24 hours' $$;
CREATE FUNCTION pg_temp.rows(index text) RETURNS bigint LANGUAGE sql
AS $$
  SELECT count(*) FROM index_usage_snapshots s JOIN snapshot_indexes() i USING (indexrelid, relid, schemaname, tablename, indexname)
   WHERE i.indexrelid = index::regclass
$$;
SELECT pg_temp.forget();
DROP TABLE usage_v, usage_parent, usage_f, usage_small;
CREATE INDEX usage_b ON usage_t (b);
CREATE INDEX usage_c ON usage_t (c) WHERE c IS NOT NULL;
SELECT pg_temp.row_of(i, 40, 0) FROM unnest('{usage_a,usage_b,usage_c}'::text[]) i;
SELECT cmp_ok(capture_index_usage_snapshot(), '>=', 3, 'a_capture_writes_all');
SELECT is(pg_temp.rows('usage_a'), 2::bigint, 'rows_by_name_get_their_oid');
SELECT is(capture_index_usage_snapshot(), 0, 'a_second_one_of_the_day_nothing_new');
SELECT results_eq($$SELECT scans_since_previous, reset_detected FROM index_usage_snapshots WHERE indexname = 'usage_a' ORDER BY snapshot_timestamp$$,
  $$VALUES (NULL::bigint, NULL::boolean), (0, false)$$, 'the_first_one_knows_no_scans');
SELECT is((SELECT index_usage_observed_since FROM capture_status()), now() - 40 * interval '24 hours', 'capture_status_says_since_when');
ALTER INDEX usage_a RENAME TO usage_renamed;
ALTER TABLE usage_t RENAME TO "Usage ""T""";
SELECT set_eq('SELECT * FROM pg_temp.unused()', $$VALUES ('usage_renamed', 40), ('usage_b', 40), ('usage_c', 40)$$,
  'renamed_indexes_and_tables_keep_their_history_at_once');
SELECT is(capture_index_usage_snapshot(), 0, 'a_name_is_no_news');
SELECT is(pg_temp.rows('usage_renamed') + pg_temp.rows('usage_b') + pg_temp.rows('usage_c'), 6::bigint, 'rows_follow_at_a_capture');
CREATE INDEX usage_a ON "Usage ""T""" (a);
SELECT cmp_ok(capture_index_usage_snapshot(), '>=', 1, 'a_new_index_is_written');
SELECT is(pg_temp.rows('usage_a'), 1::bigint, 'and_does_not_get_the_rows_of_the_one_that_had_its_name');
DROP INDEX usage_a;

ALTER INDEX usage_b RENAME TO usage_x;
ALTER INDEX usage_c RENAME TO usage_b;
ALTER INDEX usage_x RENAME TO usage_c;
ALTER TABLE "Usage ""T""" SET SCHEMA "od d";
SELECT pg_temp.row_of('"od d".usage_b', 3, 0, 77) \gset ignored_
SELECT is(capture_index_usage_snapshot(), 0, 'names_are_swapped');
SELECT is(pg_temp.rows('"od d".usage_b'), 3::bigint, 'and_the_rows_with_them');
SELECT set_eq('SELECT * FROM pg_temp.unused()', $$VALUES ('usage_renamed', 40), ('usage_c', 40)$$, 'each_its_own');
SELECT bag_eq($$SELECT indexname, definition_hash = (SELECT definition_hash FROM index_definitions d WHERE d.indexrelid = s.indexrelid)
    FROM index_usage_snapshots s WHERE schemaname = 'od d'$$,
  $$VALUES ('usage_renamed', true), ('usage_renamed', true), ('usage_b', true), ('usage_b', true), ('usage_b', true),
           ('usage_c', true), ('usage_c', true)$$, 'none_is_lost');

DROP INDEX "od d".usage_c;
CREATE INDEX usage_c ON "od d"."Usage ""T""" (b);
SELECT set_eq('SELECT * FROM pg_temp.unused()', $$VALUES ('usage_renamed', 40), ('usage_c', 40)$$, 'rebuilt_alike_it_is_the_same');
SELECT is(capture_index_usage_snapshot(), 0, 'also_for_a_capture');
SELECT is(pg_temp.rows('"od d".usage_c'), 2::bigint, 'which_gives_it_the_rows');
DROP INDEX "od d".usage_c;
CREATE INDEX usage_c ON "od d"."Usage ""T""" (b DESC);
SELECT set_eq('SELECT * FROM pg_temp.unused()', $$VALUES ('usage_renamed', 40)$$, 'with_another_definition_it_is_another');
SELECT cmp_ok(capture_index_usage_snapshot(), '>=', 1, 'that_has_no_rows_yet');
SELECT pg_temp.age(31);
SELECT set_eq('SELECT * FROM pg_temp.unused()', $$VALUES ('usage_renamed', 71), ('usage_c', 31), ('usage_b', 34)$$,
  'and_begins_its_own_history');
CREATE INDEX usage_later ON "od d"."Usage ""T""" (b DESC);
DROP INDEX "od d".usage_c;
ALTER INDEX "od d".usage_later RENAME TO usage_c;
SELECT set_eq($$SELECT * FROM pg_temp.unused() WHERE indexname = 'usage_c'$$, $$VALUES ('usage_c', 31)$$,
  'one_that_took_the_place_of_another_goes_on_with_its_rows');

DROP TABLE "od d"."Usage ""T""";
SELECT pg_temp.table_of('"od d"."Usage ""T"""');
CREATE INDEX usage_renamed ON "od d"."Usage ""T""" (a);
SELECT is_empty('SELECT * FROM pg_temp.unused()', 'a_table_made_anew_is_younger_than_its_history');
SELECT capture_index_usage_snapshot() \gset ignored_
SELECT is_empty('SELECT * FROM pg_temp.unused()', 'also_after_a_capture');
SELECT is(pg_temp.rows('"od d".usage_renamed'), 1::bigint, 'which_does_not_mix_them');

-- A dump from elsewhere: OIDs of others.

SELECT pg_temp.forget();
DELETE FROM index_usage_capture;
CREATE INDEX usage_other ON "od d"."Usage ""T""" (b);
SELECT pg_temp.row_of('"od d".usage_renamed', d, 0), pg_temp.row_of('"od d".usage_other', d, 0, CASE d WHEN 2 THEN 5 END)
  FROM generate_series(2, 42, 10) d;
UPDATE index_usage_snapshots SET relid = 7,
  indexrelid = CASE indexname WHEN 'usage_other' THEN '"od d".usage_renamed' ELSE '"od d".usage_other' END::regclass;
INSERT INTO index_usage_snapshots (snapshot_timestamp, schemaname, tablename, indexname, idx_scan, indexrelid, relid)
  VALUES (now(), 'elsewhere', 't', 'i', 5, '"od d".usage_renamed'::regclass, 8);
SELECT is_empty('SELECT * FROM pg_temp.unused()', 'until_the_first_capture_nothing_is_known');
SELECT cmp_ok(capture_index_usage_snapshot(), '>=', 2, 'it_takes_the_rows_by_name');
SELECT set_eq('SELECT * FROM pg_temp.unused()', $$VALUES ('usage_renamed', 42)$$, 'not_by_oid');
SELECT is(pg_temp.rows('"od d".usage_renamed') + pg_temp.rows('"od d".usage_other'), 12::bigint, 'all_of_them');
SELECT is((SELECT indexrelid FROM index_usage_snapshots WHERE schemaname = 'elsewhere'), 0::oid, 'others_are_nobodys');

-- Resets that a capture sees.

SELECT pg_temp.forget();
SELECT capture_index_usage_snapshot() \gset ignored_
SELECT pg_temp.age(1);
UPDATE index_usage_snapshots SET idx_scan = 7, idx_tup_read = 3;
SELECT capture_index_usage_snapshot() \gset ignored_
SELECT results_eq($$SELECT DISTINCT scans_since_previous, reset_detected FROM index_usage_snapshots WHERE schemaname = 'od d' AND snapshot_timestamp >= now()$$,
  $$VALUES (0::bigint, true)$$, 'a_counter_that_fell_began_anew');
UPDATE index_usage_snapshots SET idx_tup_read = 3 WHERE snapshot_timestamp >= now();
SELECT cmp_ok(capture_index_usage_snapshot(), '>=', 2, 'a_counter_of_rows_that_fell');
SELECT results_eq($$SELECT DISTINCT scans_since_previous, reset_detected FROM index_usage_snapshots WHERE schemaname = 'od d' AND snapshot_timestamp >= now()$$,
  $$VALUES (0::bigint, true)$$, 'shows_it_too');
UPDATE index_usage_capture SET xact_commit = xact_commit + 1000000;
SELECT cmp_ok(capture_index_usage_snapshot(), '>=', 2, 'when_the_database_began_anew_each_index_gets_a_row');
UPDATE index_usage_capture SET stats_reset = now();
SELECT cmp_ok(capture_index_usage_snapshot(), '>=', 2, 'also_when_something_was_reset_and_nobody_can_know');
SELECT ok(bool_and(reset_detected), 'all_tell_of_it') FROM index_usage_snapshots WHERE schemaname = 'od d' AND snapshot_timestamp >= now();
SELECT is(capture_index_usage_snapshot(), 0, 'and_then_nothing');
SELECT pg_temp.forget();
SELECT pg_temp.row_of('"od d".usage_other', 40, 0) \gset ignored_
SELECT results_eq('SELECT * FROM pg_temp.unused()', $$VALUES ('usage_other', 40)$$, 'unused_up_to_now');
UPDATE index_usage_capture SET xact_commit = xact_commit + 1000000;
SELECT is_empty('SELECT * FROM pg_temp.unused()', 'unless_all_began_anew_since_the_last_capture');

-- Trends.

SELECT pg_temp.forget();
SELECT capture_index_usage_snapshot() \gset ignored_
SELECT pg_temp.forget();
CREATE FUNCTION pg_temp.at(days_ago integer, hour numeric) RETURNS numeric LANGUAGE sql  -- days before now()
AS $$ SELECT extract(epoch FROM now() - (date_trunc('day', clock_timestamp(), 'UTC') - days_ago * interval '24 hours'
                                         + hour * interval '1 hour')) / 86400 $$;
SELECT pg_temp.row_of('"od d".usage_other', pg_temp.at(d, h), c, s, r) FROM (VALUES
  (6, 12, 100, NULL::bigint, NULL::boolean),  -- the first
  (5, 12, 124, NULL, NULL),                   -- 24 in a day: 12 and 12
  (5, 18, 4, 4, true),                        -- a reset, 4 since
  (3, 0, 40, 36, NULL),                       -- 6 h and 24 h
  (2, 0, 0, 0, true),                         -- not observed
  (1, 0, 0, 0, NULL)) v (d, h, c, s, r);
SELECT results_eq($$SELECT indexname, scans_per_day[1:7] FROM get_index_trends(table_name => '"od d"."Usage ""T"""', days => 8)$$,
  $$VALUES ('usage_other', ARRAY[NULL, 12, 23.2, 28.8, NULL, 0, 0]::numeric[]),
           ('usage_renamed', array_fill(NULL::numeric, ARRAY[7]))$$, 'scans_are_spread_over_the_time_between_rows');
SELECT ok(bool_and(cardinality(scans_per_day) = days), format('%s days', days))
  FROM unnest('{1,7,30,400}'::integer[]) days, get_index_trends('"od d"."Usage ""T"""', days) GROUP BY days;
SELECT is((SELECT cardinality(scans_per_day) FROM get_index_trends('"od d"."Usage ""T"""') LIMIT 1), 7, 'a_week_by_default');
SELECT is((SELECT scans_per_day[2] FROM get_index_trends('"od d"."Usage ""T"""', 2) WHERE indexname = 'usage_other'), 0::numeric,
  'until_now');
SELECT throws_ok(format('SELECT * FROM get_index_trends(%L, %s)', 'pg_class', days), '22023', NULL, 'no days: ' || days)
  FROM unnest('{0,-1,NULL::integer,2147483647}'::text[]) days;
SELECT throws_ok(format('SELECT * FROM get_index_trends(%L)', name), '42P01', NULL, format('no table: %s', name))
  FROM unnest('{no_table,"\"od d\".no_table",no_schema.usage_t,Usage_T,NULL}'::text[]) name;
SET LOCAL search_path = "od d", public;
SELECT is((SELECT count(*) FROM get_index_trends('"Usage ""T"""')), 2::bigint, 'names_are_looked_up_in_the_search_path');
RESET search_path;
CREATE ROLE usage_reader;
SELECT grant_access('usage_reader', 'read') \gset ignored_
SET LOCAL ROLE usage_reader;
SELECT is((SELECT count(*) FROM get_index_trends('"od d"."Usage ""T"""')), 2::bigint, 'a_reader_needs_no_right_on_the_table');
SELECT lives_ok('SELECT * FROM detect_unused_indexes()', 'and_asks_what_is_unused');
SELECT throws_ok('SELECT capture_index_usage_snapshot()', '42501', NULL, 'but_captures_nothing');
SELECT throws_ok('SELECT check_unused_index_alerts()', '42501', NULL, 'and_raises_no_alerts');
RESET ROLE;
SELECT grant_access('usage_reader', 'operate') \gset ignored_
SET LOCAL ROLE usage_reader;
SELECT lives_ok('SELECT capture_index_usage_snapshot()', 'an_operator_captures');
SELECT lives_ok('SELECT check_unused_index_alerts()', 'and_raises_alerts');
RESET ROLE;

CREATE TABLE "od d".usage_p (id integer, a integer) PARTITION BY RANGE (id);
CREATE TABLE "od d".usage_p1 PARTITION OF "od d".usage_p FOR VALUES FROM (0) TO (10);
CREATE TABLE "od d".usage_p2 PARTITION OF "od d".usage_p FOR VALUES FROM (10) TO (20) PARTITION BY RANGE (id);
CREATE TABLE "od d".usage_p21 PARTITION OF "od d".usage_p2 FOR VALUES FROM (10) TO (15);
CREATE INDEX usage_p_a ON "od d".usage_p (a);
SELECT pg_temp.row_of('"od d".usage_p1_a_idx', pg_temp.at(d, 0), 5 * (3 - d)), pg_temp.row_of('"od d".usage_p21_a_idx', pg_temp.at(d, 0), 2 * (3 - d))
  FROM generate_series(1, 3) d;
SELECT results_eq($$SELECT indexname, scans_per_day[1:2] FROM get_index_trends('"od d".usage_p', 4)$$,
  $$VALUES ('usage_p_a', '{7,7}'::numeric[])$$, 'a_partitioned_index_has_the_scans_of_its_parts');

-- Rolling up.

CREATE FUNCTION pg_temp.roll_up() RETURNS bigint LANGUAGE plpgsql
AS $$
DECLARE
  removed bigint := 0;
  step integer;
BEGIN
  LOOP
    step := roll_up_index_usage();
    EXIT WHEN step = 0;
    removed := removed + step;
  END LOOP;
  RETURN removed;
END
$$;
SELECT pg_temp.forget();
SELECT pg_temp.row_of('"od d".usage_other', pg_temp.at(d, h), c, s, r) FROM (VALUES
  (20, 1, 10, NULL::bigint, NULL::boolean), (20, 23.99, 15, NULL, NULL),  -- the first day: 5 of which are known
  (19, 0, 16, NULL, NULL), (19, 12, 16, 0, false), (19, 13, 2, NULL, NULL), (19, 14, 9, 7, NULL),
  (18, 5, 9, 0, NULL), (18, 7, 20, 11, false),
  (12, 3, 0, 0, true), (12, 4, 4, 4, false),
  (8, 0, 5, 1, false), (8, 23.9999, 6, 1, false),
  (7, 0, 7, 1, false), (7, 1, 8, 1, false)) v (d, h, c, s, r);
SELECT scans_per_day AS before FROM get_index_trends('"od d"."Usage ""T"""', 25) WHERE indexname = 'usage_other' \gset
CREATE TEMP TABLE kept AS SELECT DISTINCT ON (date_trunc('day', snapshot_timestamp, 'UTC')) id, snapshot_timestamp, idx_scan
  FROM index_usage_snapshots WHERE schemaname = 'od d' ORDER BY date_trunc('day', snapshot_timestamp, 'UTC'), snapshot_timestamp DESC;
SELECT is(pg_temp.roll_up(), 7::bigint, 'a_row_per_index_and_day_after_seven_whole_days');
SELECT results_eq($$SELECT idx_scan, scans_since_previous, reset_detected FROM index_usage_snapshots ORDER BY snapshot_timestamp$$,
  $$VALUES (15::bigint, 5::bigint, false), (9, 10, true), (20, 11, false), (4, 4, true), (6, 2, false), (7, 1, false), (8, 1, false)$$,
  'it_has_the_scans_of_all_and_their_resets');
SELECT is((SELECT count(*) FROM kept JOIN index_usage_snapshots USING (id, snapshot_timestamp, idx_scan)), 6::bigint,
  'it_is_the_last_of_the_day');
SELECT is(pg_temp.roll_up(), 0::bigint, 'once');
SELECT is((SELECT round(sum(n)) FROM get_index_trends('"od d"."Usage ""T"""', 25), unnest(scans_per_day) n WHERE indexname = 'usage_other'),
  (SELECT round(sum(n)) FROM unnest(:'before'::numeric[]) n), 'no_scan_is_lost');
SELECT pg_temp.row_of('"od d".usage_other', pg_temp.at(18, 3), 9, 0) \gset ignored_
SELECT is(pg_temp.roll_up(), 1::bigint, 'what_comes_later_is_rolled_up_too');
SELECT pg_temp.forget();
SELECT is(pg_temp.roll_up(), 0::bigint, 'nothing_for_nothing');

-- Months, without those of now, which the collector may have made.

DO $$
DECLARE
  part regclass;
BEGIN
  FOR part IN SELECT inhrelid FROM pg_inherits
               WHERE inhparent = 'index_usage_snapshots'::regclass AND inhrelid::regclass::text ~ '_p\d{8}$' LOOP
    EXECUTE format('DROP TABLE %s', part);
  END LOOP;
END
$$;
SELECT is(maintain_partitions_of('index_usage_snapshots', '400 days', '2030-02-10 00:00+00', unit => 'month'), 2,
  'this_month_and_the_next');
INSERT INTO index_usage_snapshots (snapshot_timestamp, idx_scan) VALUES ('2030-02-28 23:59:59.999999+00', 1), ('2030-03-01 00:00+00', 2),
  ('2029-12-31 23:59+00', 3), ('2028-01-01 00:00+00', 4);
SELECT is(maintain_partitions_of('index_usage_snapshots', '400 days', '2030-02-10 00:00+00', unit => 'month'), 1,
  'and_those_with_rows');
SELECT results_eq($$SELECT idx_scan, tableoid::regclass::text FROM index_usage_snapshots ORDER BY snapshot_timestamp$$,
  $$VALUES (3::bigint, 'index_usage_snapshots_p20291201'), (1, 'index_usage_snapshots_p20300201'), (2, 'index_usage_snapshots_p20300301')$$,
  'each_row_in_its_month_the_oldest_is_gone');
SELECT is(maintain_partitions_of('index_usage_snapshots', '40 days', '2030-02-09 23:59+00', unit => 'month'), 0, 'kept_to_the_end');
SELECT cmp_ok(maintain_partitions_of('index_usage_snapshots', '40 days', '2030-02-10 00:00+00', unit => 'month'), '>=', 1, 'then_dropped');
SELECT is((SELECT min(idx_scan) FROM index_usage_snapshots), 1::bigint, 'a_month_at_once');
SELECT pg_temp.forget();

-- Alerts.

SELECT pg_temp.row_of('"od d".usage_other', 35, 0), pg_temp.row_of('"od d".usage_renamed', 33, 0) \gset ignored_
CREATE TEMP VIEW alert AS SELECT * FROM performance_alerts WHERE fingerprint LIKE 'unused_index:"od d".%';
SELECT is(check_unused_index_alerts(), 2, 'unused_indexes_raise_alerts');
SELECT results_eq($$SELECT alert_type, severity, details - 'fingerprint', resolved_at, occurrences FROM alert
    WHERE fingerprint = 'unused_index:"od d"."Usage ""T""".usage_other'$$,
  $$SELECT 'unused_index', 'warning', jsonb_build_object('schemaname', 'od d', 'tablename', 'Usage "T"', 'indexname', 'usage_other',
      'index_size_bytes', pg_relation_size('"od d".usage_other'), 'idx_scan', 0, 'days_since_last_scan', 35,
      'remediation', 'DROP INDEX CONCURRENTLY "od d".usage_other;'), NULL::timestamptz, 1::bigint$$, 'with_all_that_is_needed');
SELECT is(check_unused_index_alerts(), 2, 'again');
SELECT results_eq('SELECT occurrences, count(*) FROM alert GROUP BY 1', 'VALUES (2::bigint, 2::bigint)', 'they_are_updated');
SELECT pg_temp.row_of('"od d".usage_other', 1, 0, 1) \gset ignored_
SELECT is(check_unused_index_alerts(), 1, 'a_used_index');
SELECT matches(resolution_notes, 'used again', 'is_resolved') FROM alert WHERE resolved_at IS NOT NULL;
SELECT pg_temp.forget();
SELECT is(check_unused_index_alerts(), 0, 'with_too_little_history_nothing_is_found');
SELECT is((SELECT count(*) FROM alert WHERE resolved_at IS NULL), 1::bigint, 'but_nothing_resolved_either');
DROP INDEX "od d".usage_renamed;
SELECT check_unused_index_alerts() \gset ignored_
SELECT is((SELECT count(*) FROM alert WHERE resolution_notes ~ 'gone'), 1::bigint, 'an_index_that_is_gone_is_resolved');
SELECT pg_temp.row_of('"od d".usage_other', 50, 0) \gset ignored_
SELECT is(check_unused_index_alerts(), 1, 'unused_once_more_it_gets_a_new_alert');
CREATE UNIQUE INDEX usage_now_unique ON "od d"."Usage ""T""" (b);
DROP INDEX "od d".usage_other;
ALTER INDEX "od d".usage_now_unique RENAME TO usage_other;
SELECT is(check_unused_index_alerts(), 0, 'one_that_is_needed_now');
SELECT is((SELECT count(*) FROM alert WHERE resolution_notes ~ 'not count as unused'), 1::bigint, 'is_resolved_too');
SELECT create_performance_alert('unused_index', 'info', 'of the application', '{"fingerprint": "mine"}') \gset ignored_
SELECT check_unused_index_alerts() \gset ignored_
SELECT ok(resolved_at IS NULL, 'those_of_applications_are_left_alone') FROM performance_alerts WHERE fingerprint = 'mine';

SELECT * FROM finish();
ROLLBACK;
