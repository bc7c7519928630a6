-- What is decided about rebuilds of indexes, without a worker: verdicts, plans, conclusions, the schedule.
CREATE ROLE reindex_owner;
CREATE ROLE reindex_stranger;
CREATE SCHEMA "re'index $x";
GRANT ALL ON SCHEMA "re'index $x" TO reindex_owner, reindex_stranger;

-- Committed: only what is seen by all can be dead for all.
SET ROLE reindex_owner;
CREATE TABLE "re'index $x".big (a integer CONSTRAINT big_pkey PRIMARY KEY, b text, r int4range,
  CONSTRAINT big_excluded EXCLUDE USING gist (r WITH &&));
CREATE INDEX "I x" ON "re'index $x".big (b);
CREATE INDEX big_tidy ON "re'index $x".big ((1));
INSERT INTO "re'index $x".big
SELECT g, md5(g::text) || repeat('x', 40), CASE WHEN g % 20 = 0 THEN int4range(g, g + 1) END FROM generate_series(1, 40000) g;
DELETE FROM "re'index $x".big WHERE a % 4 <> 0;
CREATE TABLE "re'index $x".parted (a integer, b text) PARTITION BY RANGE (a);
CREATE TABLE "re'index $x".parted_1 PARTITION OF "re'index $x".parted FOR VALUES FROM (0) TO (10000);
CREATE TABLE "re'index $x".parted_2 PARTITION OF "re'index $x".parted FOR VALUES FROM (10000) TO (20000) PARTITION BY RANGE (a);
CREATE TABLE "re'index $x".parted_2_1 PARTITION OF "re'index $x".parted_2 FOR VALUES FROM (10000) TO (20000);
CREATE INDEX parted_a ON "re'index $x".parted (a);
INSERT INTO "re'index $x".parted SELECT g, 'x' FROM generate_series(0, 19999) g;
DELETE FROM "re'index $x".parted WHERE a < 9000;
RESET ROLE;
CREATE PROCEDURE pg_temp.until_dead_for_all() LANGUAGE plpgsql AS $$
DECLARE
  deleted_before xid8 := pg_current_xact_id();
BEGIN
  LOOP
    COMMIT;
    EXIT WHEN pg_snapshot_xmin(pg_current_snapshot()) > deleted_before
          AND NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_xmin::text::xid8 <= deleted_before);
    PERFORM pg_sleep(0.1);
  END LOOP;
END $$;
CALL pg_temp.until_dead_for_all();
VACUUM "re'index $x".big;
VACUUM "re'index $x".parted;

BEGIN;
SELECT no_plan();
SET LOCAL search_path = "re'index $x", public, pg_temp;

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

-- Who may.

SELECT is(role_may_maintain((SELECT oid FROM pg_roles WHERE rolname = role), relation::regclass, kind), expected,
          format('%s, %s of %s', role, kind, relation))
  FROM (VALUES
    ('reindex_owner', 'big', 'reindex', true), ('reindex_owner', 'big_pkey', 'reindex', true),
    ('reindex_owner', 'big', 'vacuum_analyze', true), ('reindex_owner', 'parted', 'reindex', true),
    ('reindex_owner', 'pg_class', 'vacuum_analyze', false), ('reindex_owner', 'pg_class', 'reindex', false),
    ('reindex_stranger', 'big', 'vacuum_analyze', false), ('reindex_stranger', 'big_pkey', 'reindex', false)) AS c (role, relation, kind, expected);
SELECT is(role_may_maintain('reindex_owner'::regrole, c.reltoastrelid, 'reindex'), true, 'the toast table of an owned table')
  FROM pg_class c WHERE c.oid = 'big'::regclass;
SELECT is(role_may_maintain('reindex_owner'::regrole, 4294967295, 'vacuum_analyze'), false, 'nobody may maintain what is not there');
SELECT is((SELECT string_agg(relid::regclass::text, ' ' ORDER BY relid::regclass::text COLLATE "C") FROM estimate_indexes('big'::regclass, 0, 10)),
          '"I x" big_excluded big_pkey big_tidy', 'an estimate of each index');
SELECT is((SELECT array_agg(relid::regclass::text) FROM estimate_indexes('big'::regclass, 'big_pkey'::regclass, 10)),
          '{big_pkey}', 'or of one');
SELECT results_eq($$SELECT actual_size_bytes, estimated_size_bytes, method FROM estimate_indexes('big'::regclass, 'big_pkey'::regclass, 1000)$$,
                  $$SELECT actual_size_bytes, estimated_size_bytes, method FROM estimate_index_bloat('big_pkey')$$, 'the same as by itself');
SELECT is_empty($$SELECT * FROM estimate_indexes('big'::regclass, 'parted_a'::regclass, 10)$$, 'not of another table''s');
SELECT results_eq('SELECT relid, skipped FROM estimate_indexes(4294967295, 0, 10)', $$VALUES (4294967295::oid, 'gone')$$, 'nothing of what is gone');

-- The owner of the database may vacuum, not rebuild.
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I OWNER TO reindex_stranger', current_database()); END $$;
SELECT is(role_may_maintain('reindex_stranger'::regrole, 'big'::regclass, kind), kind <> 'reindex', 'the owner of the database: ' || kind)
  FROM (VALUES ('vacuum_analyze'), ('reindex')) AS k (kind);
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I OWNER TO %I', current_database(), session_user); END $$;

-- From 17 on, MAINTAIN.
DO $$
BEGIN
  IF current_setting('server_version_num')::integer >= 170000 THEN GRANT MAINTAIN ON big TO reindex_stranger; END IF;
END
$$;
SELECT is(role_may_maintain('reindex_stranger'::regrole, relation::regclass, kind), current_setting('server_version_num')::integer >= 170000,
          format('MAINTAIN: %s of %s', kind, relation))
  FROM (VALUES ('vacuum_analyze', 'big'), ('reindex', 'big'), ('reindex', 'big_pkey')) AS c (kind, relation);
SELECT matches(pg_temp.as_role('reindex_stranger', $$SELECT reindex_if_bloated('big', 900000)$$), 'not above|42501', 'and what it gives');
REVOKE ALL ON big FROM reindex_stranger;

-- What is free.

SELECT ok(free_bytes(0) > 0, 'the default tablespace has room');
SELECT ok(free_bytes((SELECT oid FROM pg_tablespace WHERE spcname = name)) > 0, name || ' has room')
  FROM (VALUES ('pg_default'), ('pg_global')) AS t (name);
SELECT is(free_bytes(4294967295), NULL, 'one that is not there is unknown');
SET LOCAL maintenance_work_mem = '1MB';
SELECT is(bytes_for_rebuild('big_pkey'::regclass, 1000000), 1100000::bigint, 'what fits into memory takes its size and a tenth');
SELECT is(bytes_for_rebuild('big_pkey'::regclass, 10000000), 21000000::bigint, 'else it is sorted on disk');

-- What can be asked for.

SELECT is(pg_temp.as_role(role, format('SELECT reindex_if_bloated(%s)', arguments)), expected, role || ': ' || arguments)
  FROM (VALUES
    ('reindex_owner', $$'no_such_table'$$, '42P01'), ('reindex_owner', 'NULL', '22004'),
    ('reindex_owner', $$'big_pkey'$$, '42809'), ('reindex_owner', $$'pg_views'$$, '42809'),
    ('reindex_owner', $$'big', NULL$$, '22023'), ('reindex_owner', $$'big', -0.1$$, '22023'),
    ('reindex_owner', $$'big', 'NaN'$$, '22023'), ('reindex_owner', $$table_name => 'big', bloat_threshold => -1$$, '22023'),
    ('reindex_stranger', $$'big'$$, '42501'), ('reindex_stranger', $$'re''index $x.big'$$, '42602'),
    ('reindex_stranger', $$'"re''index $x".big'$$, '42501'),
    ('reindex_stranger', $$'pg_class'$$, '42501')) AS c (role, arguments, expected);
SELECT is(pg_temp.as_role('reindex_owner', format('SELECT count(*) FROM reindex_bloated_indexes(%s)', threshold)), '22023',
          'reindex_bloated_indexes: ' || threshold)
  FROM (VALUES ('NULL'), ('-1')) AS t (threshold);
SELECT is_empty('SELECT * FROM maintenance_jobs WHERE requested_by IN (''reindex_owner'', ''reindex_stranger'')', 'nothing is queued by that');

SELECT is(pg_temp.as_role('reindex_owner', $$SELECT count(*) || ' ' || bool_and(l ~ ': ratio [0-9.]+ %, not above 900000 %: nothing to do$')
              FROM regexp_split_to_table(reindex_if_bloated('parted', 900000), E'\n') l$$), '4 true',
          'of a partitioned table a line for each index of a partition and of its TOAST table');
SELECT is(pg_temp.as_role('reindex_owner', $$SELECT string_agg(substring(l FROM '^[^:]+'), ', ') FROM regexp_split_to_table(
              reindex_if_bloated('"re''index $x".big', 900000), E'\n') l WHERE l !~ '^pg_toast'$$),
          (SELECT string_agg(maintenance_target(e.relid), ', ' ORDER BY excess_percent(e.actual_size_bytes, e.estimated_size_bytes) DESC)
             FROM estimate_indexes('big'::regclass, 0, 1000) e), 'worst first, quoted');
CREATE TABLE bare (a integer);
SELECT is(reindex_if_bloated('bare'), '"re''index $x".bare has no index', 'a table without index');
CREATE TEMP TABLE passing (a integer PRIMARY KEY WITH (fillfactor = 10));
INSERT INTO passing SELECT generate_series(1, 5000);
SELECT matches(reindex_if_bloated('passing', 0), 'temporary table.*REINDEX INDEX pg_temp.passing_pkey', 'of a temporary table it says what to do')
  WHERE (SELECT bloat_ratio FROM estimate_index_bloat('passing_pkey')) > 0;

-- The verdicts.

CREATE FUNCTION pg_temp.verdict(index regclass, threshold numeric DEFAULT 20, smallest bigint DEFAULT 0, role name DEFAULT current_user) RETURNS text LANGUAGE sql AS $$
  SELECT verdict FROM judge_rebuilds(ARRAY[(SELECT indrelid FROM pg_index WHERE indexrelid = index)], threshold, smallest,
                                     (SELECT oid FROM pg_roles WHERE rolname = role))
   WHERE indexrelid = index
$$;
SELECT is(pg_temp.verdict('"I x"'), 'rebuild', 'a bloated index');
SELECT is(pg_temp.verdict('"I x"', 900000), 'below', 'not by that threshold');
SELECT is(pg_temp.verdict('"I x"', 20, 1073741824), 'small', 'nor where more is asked for');
SELECT is(pg_temp.verdict('big_excluded'), 'by hand', 'that of an exclusion constraint cannot be rebuilt concurrently');
SELECT is(pg_temp.verdict('big_excluded', 900000), 'below', 'which matters only if it is bloated');
SELECT matches((SELECT obstacle FROM judge_rebuilds(ARRAY['big'::regclass], 20, 0, 'reindex_owner'::regrole) WHERE indexrelid = 'big_excluded'::regclass),
               'REINDEX INDEX "re''index \$x".big_excluded$', 'it says what can be done');
SELECT is(pg_temp.verdict('"I x"', 20, 0, 'reindex_stranger'), 'forbidden', 'that of somebody else');
SELECT matches(rebuild_obstacle('pg_class_oid_index'::regclass), 'system catalog', 'one of a catalog');
SELECT matches(rebuild_obstacle('parted_a'::regclass), 'partitioned', 'a partitioned one');
SELECT is(rebuild_obstacle(i.indexrelid), NULL, 'one of a TOAST table can be')
  FROM pg_class c JOIN pg_index i ON i.indrelid = c.reltoastrelid WHERE c.oid = 'big'::regclass;

-- As whom.

SELECT is(acting_role('reindex', 'big_pkey'::regclass, 'reindex_owner'::regrole)::regrole::text, 'reindex_owner', 'as who asked');
SELECT is(acting_role(w.kind, CASE WHEN w.of_index THEN i.indexrelid ELSE c.reltoastrelid END, 'reindex_owner'::regrole)::regrole::text,
          CASE WHEN w.own THEN 'reindex_owner' ELSE extension_owner()::regrole::text END, w.name)
  FROM pg_class c
  JOIN pg_index i ON i.indrelid = c.reltoastrelid
 CROSS JOIN (VALUES ('reindex', true, false, 'an owner cannot name what is in pg_toast'), ('drop_index', true, false, 'nor drop it'),
                    ('vacuum_analyze', true, true, 'nothing else is done to it'), ('reindex', false, true, 'nor to the table')) AS w (kind, of_index, own, name)
 WHERE c.oid = 'big'::regclass;

-- What rebuilds leave.

CREATE FUNCTION pg_temp.invalidate(index regclass) RETURNS void LANGUAGE sql AS $$
  UPDATE pg_index SET indisvalid = false WHERE indexrelid = index
$$;
CREATE FUNCTION pg_temp.leftovers(relation regclass) RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(indexrelid::regclass::text, ' ' ORDER BY indexrelid::regclass::text) FROM rebuild_leftovers(relation)
$$;
CREATE TABLE broken (a integer, b integer, c text);
CREATE INDEX broken_a ON broken (a);
CREATE UNIQUE INDEX broken_b ON broken (b);
CREATE INDEX "an index whose name is as long as names can get, or longer  end" ON broken (b, a);
CREATE INDEX broken_a_ccnew ON broken (a);
CREATE INDEX broken_a_ccnew1 ON broken (a);
CREATE INDEX broken_a_ccold ON broken (a);
CREATE INDEX "an index whose name is as long as names can get, or longe_ccnew" ON broken (b, a);
CREATE UNIQUE INDEX broken_b_ccold ON broken (b);
CREATE INDEX broken_a_ccnew_valid_ccnew ON broken (a);
CREATE INDEX other_ccnew ON broken (a DESC);
CREATE INDEX b_ccnew ON broken (b);
CREATE INDEX broken_by_hand ON broken (a);
SELECT pg_temp.invalidate(quote_ident(i)::regclass) FROM unnest('{broken_a_ccnew, broken_a_ccnew1, broken_a_ccold, broken_b_ccold, other_ccnew, b_ccnew,
  broken_by_hand, "an index whose name is as long as names can get, or longe_ccnew"}'::text[]) i;
SELECT is(pg_temp.leftovers('broken'),
          '"an index whose name is as long as names can get, or longe_ccnew" broken_a_ccnew broken_a_ccnew1 broken_a_ccold broken_b_ccold',
          'invalid, of a definition that a valid index has, and named by the server');
SELECT is(pg_temp.leftovers('broken_a'), pg_temp.leftovers('broken'), 'asked of an index');
SELECT is(pg_temp.leftovers('big'), NULL, 'none of another table');
SELECT is(pg_temp.verdict('broken_a_ccnew'), 'leftover', 'the verdict on one');
SELECT is(pg_temp.verdict('broken_by_hand'), 'invalid', 'and on what is no leftover');
SELECT is((SELECT count(j.bloat_ratio) FROM judge_rebuilds(ARRAY['broken'::regclass::oid], 20, 0, 10) j
            WHERE j.verdict IN ('leftover', 'invalid')), 0::bigint, 'an invalid index has no ratio');
CREATE TABLE by_hand (a integer);
CREATE INDEX by_hand_a ON by_hand (a);
SELECT pg_temp.invalidate('by_hand_a');
SELECT is(reindex_if_bloated('by_hand'), '"re''index $x".by_hand_a: invalid, its build failed; see index_findings', 'which is told');
SELECT is((SELECT string_agg(split_part(finding_key, '.', 2), ' ' ORDER BY finding_key COLLATE "C") FROM index_findings
            WHERE finding = 'invalid' AND tablename = 'broken' AND indexname LIKE 'broken_a_cc%'),
          'broken_a_ccnew broken_a_ccnew1 broken_a_ccold', 'the findings show them');

-- Plans.

CREATE FUNCTION pg_temp.job(index regclass, threshold numeric DEFAULT 20, role name DEFAULT 'reindex_owner', scheduled boolean DEFAULT false,
                            kind text DEFAULT 'reindex') RETURNS maintenance_jobs LANGUAGE plpgsql AS $$
DECLARE
  id bigint;
  made maintenance_jobs;
BEGIN
  DELETE FROM maintenance_jobs WHERE relid = index AND finished_at IS NULL;
  id := queue_job(job.kind, index, (SELECT oid FROM pg_roles WHERE rolname = job.role),
                  CASE WHEN scheduled THEN 'schedule: test' ELSE 'test' END, job.threshold, true);
  SELECT * INTO made FROM maintenance_jobs j WHERE j.job_id = id;
  RETURN made;
END
$$;
CREATE FUNCTION pg_temp.plan(job maintenance_jobs) RETURNS text LANGUAGE sql AS $$
  SELECT concat_ws(' ', 'skip: ' || skip, obstacle_sqlstate || ': ' || obstacle, array_to_string(commands, '; ')) FROM plan_reindex(job)
$$;
SELECT is(pg_temp.plan(pg_temp.job('"I x"')), 'REINDEX INDEX CONCURRENTLY "re''index $x"."I x"', 'a rebuild');
SELECT is((SELECT bytes_before = pg_relation_size('"I x"') AND bloat_before > 50 AND NOT repeat FROM plan_reindex(pg_temp.job('"I x"'))), true, 'with the numbers');
SELECT is(pg_temp.plan(pg_temp.job('big_pkey', NULL)), 'REINDEX INDEX CONCURRENTLY "re''index $x".big_pkey', 'without a threshold in any case');
SELECT matches(pg_temp.plan(pg_temp.job('"I x"', 900000)), '^skip: .* is not rebuilt: its ratio is now [0-9.]+ %, not above 900000 %$', 'not above the threshold any more');
SELECT is(pg_temp.plan(pg_temp.job('"I x"', 20, 'reindex_stranger')), '42501: permission denied to rebuild "re''index $x"."I x"', 'the right is lost');
SELECT matches(pg_temp.plan(pg_temp.job('big_excluded')), '^skip: .*exclusion constraint', 'concurrently impossible');
SELECT is(pg_temp.plan(jsonb_populate_record(pg_temp.job('"I x"'), '{"relid": "4294967295", "target": "nowhere.nothing"}')),
          'skip: nowhere.nothing is gone', 'the index is gone');
SELECT is(pg_temp.plan(jsonb_populate_record(pg_temp.job('"I x"'), '{"relid": "4294967295"}')),
          'REINDEX INDEX CONCURRENTLY "re''index $x"."I x"', 'an index of that name took its place');

-- Leftovers are dropped first, or by those who may.
CREATE INDEX "I x_ccnew" ON big (b);
SELECT pg_temp.invalidate('"I x_ccnew"');
SELECT is(pg_temp.plan(pg_temp.job('"I x"', 20, session_user::name)),
          'DROP INDEX CONCURRENTLY "re''index $x"."I x_ccnew"; REINDEX INDEX CONCURRENTLY "re''index $x"."I x"', 'leftovers first');
SELECT is(pg_temp.plan(pg_temp.job('"I x"', 900000, session_user::name)), 'DROP INDEX CONCURRENTLY "re''index $x"."I x_ccnew"', 'even if there is nothing else to do');
SELECT is(pg_temp.plan(pg_temp.job('"I x_ccnew"', 20, session_user::name)), 'DROP INDEX CONCURRENTLY "re''index $x"."I x_ccnew"', 'a leftover is never rebuilt');
ALTER TABLE big OWNER TO reindex_owner;
SELECT is(dropping_role('"I x_ccnew"'::regclass, 'reindex_owner'::regrole)::regrole::text, 'reindex_owner', 'an owner drops it himself');
SELECT is(dropping_role('"I x_ccnew"'::regclass, 'reindex_stranger'::regrole)::regrole::text, 'reindex_owner', 'or on behalf of another');
SELECT is(dropping_role('"I x_ccnew"'::regclass, 4294967295::oid)::regrole::text, 'reindex_owner', 'or of one that is gone');
SELECT is(queue_leftover_drops_of('big'::regclass, 'reindex_owner'::regrole, NULL), 1::bigint, 'it is queued');
SELECT is((SELECT array_agg(role::regrole::text || ' ' || target) FROM maintenance_jobs WHERE kind = 'drop_index' AND relid = '"I x_ccnew"'::regclass),
          ARRAY['reindex_owner "re''index $x"."I x_ccnew"'], 'as the owner');
SELECT is(queue_leftover_drops_of('big'::regclass, 'reindex_owner'::regrole, 'reindex_owner'::regrole), 0::bigint, 'unless that role does it now');
SELECT is((SELECT array_to_string(commands, '') FROM plan_drop_index(pg_temp.job('"I x_ccnew"', NULL, 'reindex_owner', false, 'drop_index'))),
          'DROP INDEX CONCURRENTLY "re''index $x"."I x_ccnew"', 'the plan of a drop');
SELECT is((SELECT array_agg(skip || commands::text) FROM plan_drop_index(pg_temp.job('"I x"', NULL, 'reindex_owner', false, 'drop_index'))), '{NULL}', 'a valid one stays');
SELECT matches((SELECT skip FROM plan_drop_index(pg_temp.job(index::regclass, NULL, 'reindex_owner', false, 'drop_index'))), reason, index || ' stays')
  FROM (VALUES ('"I x"', 'it is valid'), ('broken_by_hand', 'is not what a failed rebuild leaves'), ('b_ccnew', 'is not what a failed rebuild leaves')) AS t (index, reason);
SELECT is((SELECT skip FROM plan_drop_index(jsonb_populate_record(pg_temp.job('"I x_ccnew"', NULL, 'reindex_owner', false, 'drop_index'),
             '{"relid": "4294967295"}'))), '"re''index $x"."I x_ccnew" is gone', 'one that is gone');

-- Those that jobs gave up are queued again as soon as nobody holds their table.
DELETE FROM maintenance_jobs WHERE finished_at IS NULL;
SELECT is(queue_leftover_drops(), 0, 'what nobody of us left stays');
INSERT INTO maintenance_jobs (kind, target, requested_by, status, finished_at, relid, role)
VALUES ('drop_index', 'x', 'reindex_owner', 'failed', now(), '"I x_ccnew"'::regclass, 'reindex_owner'::regrole);
SELECT is(queue_leftover_drops(), 1, 'what a job could not drop is queued again');
SELECT is((SELECT array_agg(target) FROM maintenance_jobs WHERE kind = 'drop_index' AND finished_at IS NULL),
          ARRAY['"re''index $x"."I x_ccnew"'], 'once it has ended');
SELECT is(queue_leftover_drops(), 0, 'and only then');
DELETE FROM maintenance_jobs WHERE finished_at IS NULL;
UPDATE maintenance_jobs SET kind = 'reindex', relid = '"I x"'::regclass, started_at = now() WHERE status = 'failed' AND target = 'x';
SELECT is(queue_leftover_drops(), 1, 'so is what a rebuild of that table left');
DELETE FROM maintenance_jobs WHERE finished_at IS NULL;
UPDATE maintenance_jobs SET role = 4294967295::oid WHERE status = 'failed' AND target = 'x';
SELECT is(queue_leftover_drops(), 1, 'or one that was asked for by a role that is gone');
SELECT is((SELECT array_agg(requested_by) FROM maintenance_jobs WHERE kind = 'drop_index' AND finished_at IS NULL),
          ARRAY['reindex_owner'::name], 'which its owner drops');
DELETE FROM maintenance_jobs WHERE finished_at IS NULL OR target = 'x';
SELECT is((SELECT summary FROM conclude_drop_index(pg_temp.job('"I x_ccnew"', NULL, 'reindex_owner', false, 'drop_index'), true)),
          'dropped "re''index $x"."I x_ccnew", which a failed rebuild had left: size unknown', 'the end of a drop');

-- A failed attempt: its leftovers are queued and shown.
SELECT is((SELECT summary FROM conclude_reindex(pg_temp.job('"I x"'), false)), NULL, 'a failed rebuild has no summary');
SELECT is((SELECT count(*) FROM maintenance_jobs WHERE kind = 'drop_index' AND relid = '"I x_ccnew"'::regclass AND finished_at IS NULL), 1::bigint, 'but its leftover a job');
SELECT is((SELECT count(*) FROM performance_alerts WHERE alert_type = 'invalid_index' AND resolved_at IS NULL AND details ->> 'indexname' = 'I x_ccnew'), 1::bigint, 'and an alert');
DROP INDEX "I x_ccnew";
SELECT check_invalid_index_alerts();
SELECT is((SELECT count(*) FROM performance_alerts WHERE alert_type = 'invalid_index' AND resolved_at IS NULL AND details ->> 'indexname' = 'I x_ccnew'), 0::bigint, 'which ends with it');

-- Conclusions. As REINDEX CONCURRENTLY: another index of the same name.

CREATE FUNCTION pg_temp.rebuild(index regclass, definition text) RETURNS maintenance_jobs LANGUAGE plpgsql AS $$
DECLARE
  planned maintenance_jobs := pg_temp.job(index, 20.5);
  name text := index::text;
BEGIN
  SELECT r.* INTO planned
    FROM plan_reindex(planned) p,
         jsonb_populate_record(planned, jsonb_build_object('bytes_before', p.bytes_before, 'bloat_before', p.bloat_before, 'duration_ms', 12345)) r;
  EXECUTE format('DROP INDEX %s', name);
  EXECUTE definition;
  RETURN planned;
END
$$;
SELECT create_performance_alert('high_bloat', 'critical', 'bloated', jsonb_build_object('fingerprint', 'high_bloat:index:"re''index $x"."I x"'));
CREATE TEMP TABLE done AS SELECT * FROM pg_temp.rebuild('"I x"', 'CREATE INDEX "I x" ON big (b)');
SELECT is((SELECT relid <> '"I x"'::regclass FROM done), true, 'a rebuilt index is another one');
SELECT is((SELECT c.summary FROM done d, conclude_reindex(ROW(d.*)::maintenance_jobs, true) c),
          (SELECT format('rebuilt "re''index $x"."I x": %s -> %s, ratio %s -> %s, 12 s', pg_size_pretty(bytes_before), pg_size_pretty(pg_relation_size('"I x"')),
                         percent_text(bloat_before), percent_text(bloat_ratio)) FROM done, estimate_index_bloat('"I x"')), 'what it did');
SELECT results_eq('SELECT c.bytes_after, c.bloat_after FROM done d, conclude_reindex(ROW(d.*)::maintenance_jobs, true) c',
                  $$SELECT pg_relation_size('"I x"'), bloat_ratio FROM estimate_index_bloat('"I x"')$$, 'in numbers, also if asked again');
SELECT results_eq($$SELECT severity, resolved_at IS NOT NULL, (details ->> 'previous_bloat')::numeric, details ->> 'threshold',
                           (details ->> 'bytes_before')::bigint, (details ->> 'bytes_after')::bigint
                      FROM performance_alerts WHERE alert_type = 'high_bloat' AND details ->> 'indexname' = 'I x'$$,
                  $$SELECT 'info', true, bloat_before, '20.5', bytes_before, pg_relation_size('"I x"') FROM done$$, 'one alert tells it, resolved');
SELECT is((SELECT resolution_notes FROM performance_alerts WHERE severity = 'critical' AND fingerprint = 'high_bloat:index:"re''index $x"."I x"'),
          (SELECT format('Rebuilt by job %s.', job_id) FROM done), 'and resolves the one that was open');
SELECT results_eq($$SELECT indexrelid, actual_size_bytes FROM index_bloat_status() WHERE schemaname = 're''index $x' AND indexname = 'I x'$$,
                  $$SELECT '"I x"'::regclass::oid, pg_relation_size('"I x"')$$, 'the new index is in the snapshots');
SELECT results_eq('SELECT bytes_before, bytes_after, bloat_before FROM index_rebuilds WHERE indexrelid = ''"I x"''::regclass',
                  $$SELECT bytes_before, pg_relation_size('"I x"'), bloat_before FROM done$$, 'and remembered');
SELECT is(pg_temp.plan(jsonb_populate_record(ROW(d.*)::maintenance_jobs, '{"attempts": 2}')), '', 'if it failed after that, the next attempt succeeds')
  FROM done d;
SELECT matches(pg_temp.plan(jsonb_populate_record(ROW(d.*)::maintenance_jobs, '{"attempts": 1}')), '^skip: .*not above 20', 'but not if somebody else did it')
  FROM done d;
SELECT is((SELECT summary FROM conclude_reindex(pg_temp.job('big_pkey'), true)),
          'dropped what failed rebuilds had left of "re''index $x".big_pkey or its table; nothing to rebuild', 'an index that was not rebuilt');

-- An index gets another name and schema before its turn comes.
CREATE TABLE moving (a integer);
CREATE INDEX moving_a ON moving (a);
CREATE TEMP TABLE moved AS SELECT * FROM pg_temp.job('moving_a', NULL, session_user::name);
CREATE SCHEMA moved_to;
ALTER TABLE moving SET SCHEMA moved_to;
ALTER INDEX moved_to.moving_a RENAME TO "mov ed";
SELECT is((SELECT array_to_string(p.commands, '; ') FROM moved m, plan_maintenance_job(m.job_id) p),
          'REINDEX INDEX CONCURRENTLY moved_to."mov ed"', 'the plan follows it');
DROP INDEX moved_to."mov ed";
CREATE INDEX "mov ed" ON moved_to.moving (a);
SELECT matches((SELECT c.summary FROM maintenance_jobs j, conclude_reindex(j, true) c WHERE j.job_id = (SELECT job_id FROM moved)),
               '^rebuilt moved_to."mov ed": ', 'and so does the conclusion');

-- A rebuild that won nothing.
INSERT INTO index_rebuilds (indexrelid, rebuilt_at, bytes_before, bytes_after, bloat_before, bloat_after)
SELECT 'big_pkey'::regclass, now(), pg_relation_size('big_pkey') + 8192, pg_relation_size('big_pkey'), bloat_ratio, bloat_ratio FROM estimate_index_bloat('big_pkey');
SELECT is(pg_temp.verdict('big_pkey'), 'in vain', 'a rebuild that won nothing is not repeated');
SELECT matches(pg_temp.plan(pg_temp.job('big_pkey')), '^skip: .*won nothing', 'nor was it asked for earlier');
SELECT is(pg_temp.plan(pg_temp.job('big_pkey', NULL)), 'REINDEX INDEX CONCURRENTLY "re''index $x".big_pkey', 'which does not matter without a threshold');
SELECT matches(reindex_if_bloated('big', 900000), 'big_pkey: ratio [0-9.]+ %, not above', 'which is said only of an index above the threshold');
UPDATE index_rebuilds SET bytes_before = bytes_after * 3 WHERE indexrelid = 'big_pkey'::regclass;
SELECT is(pg_temp.verdict('big_pkey'), 'rebuild', 'one that won something is');
UPDATE index_rebuilds SET bytes_before = bytes_after, bloat_after = bloat_after - 21 WHERE indexrelid = 'big_pkey'::regclass;
SELECT is(pg_temp.verdict('big_pkey'), 'rebuild', 'so is an index that has more bloat since');
UPDATE index_rebuilds SET bytes_after = bytes_after / 2, bytes_before = bytes_after / 2, bloat_after = bloat_after + 21 WHERE indexrelid = 'big_pkey'::regclass;
SELECT is(pg_temp.verdict('big_pkey'), 'rebuild', 'or is larger since');
DELETE FROM index_rebuilds;

-- The schedule.

DELETE FROM maintenance_jobs WHERE finished_at IS NULL;
DELETE FROM index_bloat_snapshots;
CREATE FUNCTION pg_temp.snapshot(index regclass, ago interval, ratio numeric, megabytes integer DEFAULT 10) RETURNS void LANGUAGE sql AS $$
  INSERT INTO index_bloat_snapshots (snapshot_timestamp, schemaname, tablename, indexname, actual_size_bytes, estimated_size_bytes, relid, indexrelid)
  SELECT now() - ago, 're''index $x', t.relname, c.relname, megabytes * 1048576::bigint, megabytes * 1048576::bigint / (1 + ratio / 100), i.indrelid, c.oid
    FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid JOIN pg_class t ON t.oid = i.indrelid WHERE c.oid = index
$$;
SELECT pg_temp.snapshot('big_pkey', '1 hour', 80), pg_temp.snapshot('big_tidy', '1 hour', 49), pg_temp.snapshot('parted_1_a_idx', '1 hour', 300, 1),
       pg_temp.snapshot('parted_2_1_a_idx', '1 hour', 400, 0), pg_temp.snapshot('big_excluded', '1 hour', 90), pg_temp.snapshot('"I x"', '2 hours', 90),
       pg_temp.snapshot('"I x"', '1 hour', 3);
SELECT is(queue_scheduled_reindex(), 2, 'above the threshold, concurrently, large enough, by the last snapshot');
SELECT results_eq($$SELECT target, requested_by, threshold::integer, in_window FROM maintenance_jobs WHERE finished_at IS NULL ORDER BY job_id$$,
                  $$VALUES ('"re''index $x".parted_1_a_idx', 'reindex_owner'::name, 50, true), ('"re''index $x".big_pkey', 'reindex_owner'::name, 50, true)$$,
                  'worst first, as the owner, in the window');
DELETE FROM maintenance_jobs WHERE finished_at IS NULL;
SET LOCAL train_perf.reindex_threshold = 100;
SELECT is(queue_scheduled_reindex(), 1, 'by the setting');
RESET train_perf.reindex_threshold;
DELETE FROM maintenance_jobs WHERE finished_at IS NULL;

-- Rebuilt a month ago, settled at 65: a rebuild at 80 would be one each month.
INSERT INTO index_rebuilds (indexrelid, rebuilt_at, bytes_before, bytes_after, bloat_before, bloat_after)
VALUES ('big_pkey'::regclass, now() - interval '30 days', 20971520, 5242880, 200, 1), (4294967295, now(), 2, 1, 0, 0);
SELECT pg_temp.snapshot('big_pkey', '29 days', 40), pg_temp.snapshot('big_pkey', '24 days', 65), pg_temp.snapshot('big_pkey', '20 days', 75), pg_temp.snapshot('big_pkey', '31 days', 200);
SELECT is(settled_ratio('big_pkey'::regclass), 65.00, 'where it settled in the week after');
SELECT is(queue_scheduled_reindex(), 1, 'it is not rebuilt at 80');
SELECT is((SELECT array_agg(indexrelid::regclass::text || ' ' || settled_ratio) FROM index_rebuilds), '{"big_pkey 65.00"}', 'that is kept, of those that there are');
DELETE FROM index_bloat_snapshots WHERE snapshot_timestamp < now() - interval '7 days';
SELECT is(settled_ratio('big_pkey'::regclass), 65.00, 'also when the snapshots are gone');
SELECT matches(pg_temp.plan(pg_temp.job('big_pkey', 20, 'reindex_owner', true)), 'REINDEX|settled', 'a scheduled job looks again')
  WHERE (SELECT bloat_ratio FROM estimate_index_bloat('big_pkey')) > 20;
UPDATE index_rebuilds SET settled_ratio = 900000;
SELECT matches(pg_temp.plan(pg_temp.job('big_pkey', 20, 'reindex_owner', true)), '^skip: .*it settled at 900000 %', 'and does nothing for an index that has not grown');
SELECT is(pg_temp.plan(pg_temp.job('big_pkey', 20, 'reindex_owner', false)), 'REINDEX INDEX CONCURRENTLY "re''index $x".big_pkey', 'unless somebody asked for it');
UPDATE index_rebuilds SET settled_ratio = NULL;
DELETE FROM maintenance_jobs WHERE finished_at IS NULL;
SELECT pg_temp.snapshot('big_pkey', '1 minute', 86);
SELECT is(queue_scheduled_reindex(), 2, '20 points past where it settled it is');

SELECT * FROM finish();
ROLLBACK;
SET client_min_messages = warning;
DROP SCHEMA "re'index $x" CASCADE;
DROP ROLE reindex_owner, reindex_stranger;
