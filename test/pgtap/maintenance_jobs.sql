-- What the functions of maintenance say. Not in one transaction: workers must see the tables.
SELECT no_plan();
SET client_min_messages = warning;
SELECT quote_ident(current_database()) AS database, current_user AS tester \gset

-- What an earlier run that was interrupted has left.
DROP SCHEMA IF EXISTS "ma'int \$x", maintain_public CASCADE;
DROP FOREIGN DATA WRAPPER IF EXISTS maintain_nothing CASCADE;
SELECT format('DROP OWNED BY %I CASCADE; DROP ROLE %1$I', rolname)
  FROM pg_roles WHERE rolname IN ('maintain_owner', 'maintain_member', 'maintain_other', 'maintain_reader', 'maintain_gone') \gexec

CREATE ROLE maintain_owner;
CREATE ROLE maintain_member IN ROLE maintain_owner;
CREATE ROLE maintain_other;
CREATE ROLE maintain_reader;
SELECT grant_access('maintain_reader', 'read') \gset ignored_
-- Their own checks come on top of the right to call them.
GRANT EXECUTE ON FUNCTION request_maintenance(text, oid, numeric, numeric, text), await_maintenance(bigint[])
  TO maintain_owner, maintain_member, maintain_other, maintain_reader;
SET train_perf.maintenance_wait = '10min';

CREATE SCHEMA maintain_public;
CREATE SCHEMA "ma'int \$x" AUTHORIZATION maintain_owner;
GRANT USAGE ON SCHEMA "ma'int \$x" TO maintain_other, maintain_reader;
SET ROLE maintain_owner;
SET search_path = "ma'int \$x", public;
CREATE TABLE plain (n integer PRIMARY KEY, t text);
CREATE TABLE "we""ird $x'\ täble" (n integer);
CREATE TABLE "Upper" (n integer);
CREATE VIEW a_view AS SELECT 1 AS n;
CREATE SEQUENCE a_sequence;
CREATE TYPE a_type AS (n integer);
CREATE MATERIALIZED VIEW a_matview AS SELECT g AS n FROM generate_series(1, 100) g;
CREATE TABLE parts (n integer) PARTITION BY RANGE (n);
CREATE TABLE part_1 PARTITION OF parts FOR VALUES FROM (0) TO (100);
CREATE TABLE part_2 PARTITION OF parts FOR VALUES FROM (100) TO (200) PARTITION BY RANGE (n);
CREATE TABLE part_21 PARTITION OF part_2 FOR VALUES FROM (100) TO (200);
CREATE INDEX parts_n ON parts (n);
INSERT INTO plain SELECT g, 'x' FROM generate_series(1, 1000) g;
INSERT INTO "we""ird $x'\ täble" SELECT g FROM generate_series(1, 1000) g;
INSERT INTO parts SELECT g FROM generate_series(0, 199) g;
RESET ROLE;
CREATE FOREIGN DATA WRAPPER maintain_nothing;
CREATE SERVER maintain_nowhere FOREIGN DATA WRAPPER maintain_nothing;
CREATE FOREIGN TABLE a_foreign_table (n integer) SERVER maintain_nowhere;
CREATE TABLE maintain_public.plain (n integer);
RESET search_path;

-- As a role: the error of a statement with its hint, or its result.
CREATE FUNCTION pg_temp.answer(who name, statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  result text;
  hint text;
BEGIN
  EXECUTE format('SET LOCAL ROLE %I', who);
  EXECUTE statement INTO result;
  RESET ROLE;
  RETURN result;
EXCEPTION WHEN others THEN
  GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
  RETURN SQLSTATE || ': ' || SQLERRM || CASE WHEN hint <> '' THEN ' [' || hint || ']' ELSE '' END;
END $$;
CREATE FUNCTION pg_temp.vacuum(who name, table_name text) RETURNS text LANGUAGE sql AS $$
  SELECT pg_temp.answer($1, format('SELECT vacuum_analyze_table(%L)', $2))
$$;

-- Those that may have read other settings of this database: until it is shown as active a worker has it locked.
CREATE PROCEDURE pg_temp.until_workers_are_gone() LANGUAGE plpgsql AS $$
BEGIN
  WHILE EXISTS (SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.objid
                 WHERE l.locktype = 'object' AND l.classid = 'pg_database'::regclass AND d.datname = current_database()) LOOP
    COMMIT;
    PERFORM pg_sleep(0.1);
  END LOOP;
  COMMIT;
  WHILE EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'train_perf maintenance' AND datname = current_database()) LOOP
    COMMIT;
    PERFORM pg_sleep(0.1);
  END LOOP;
END $$;

-- Who may ask for what.

SELECT count(*) AS jobs FROM maintenance_jobs \gset
SELECT is(pg_temp.vacuum(:'tester', NULL), '22004: table_name must not be NULL', 'no_name');
SELECT is(pg_temp.vacuum('maintain_owner', given), answer, 'vacuum of ' || given)
  FROM (VALUES
    ('no_such_table', '42P01: relation "no_such_table" does not exist'),
    ('maintain_public.no_such_table', '42501: permission denied for schema maintain_public'),
    ('no_such_schema.t', '3F000: schema "no_such_schema" does not exist'),
    ('16384', '42P01: relation "16384" does not exist'),
    ('', '42602: invalid name syntax'),
    ('plain; DROP TABLE plain', '42602: invalid name syntax'),
    ('plain', '42P01: relation "plain" does not exist'),
    ($n$"ma'int \$x".upper$n$, $n$42P01: relation "ma'int \$x.upper" does not exist$n$),
    ($n$"ma'int \$x".a_view$n$, '42809: "a_view" is not a table or materialized view'),
    ($n$"ma'int \$x".a_sequence$n$, '42809: "a_sequence" is not a table or materialized view'),
    ($n$"ma'int \$x".a_type$n$, '42809: "a_type" is not a table or materialized view'),
    ($n$"ma'int \$x".plain_pkey$n$, '42809: "plain_pkey" is not a table or materialized view'),
    ($n$"ma'int \$x".parts_n$n$, '42809: "parts_n" is not a table or materialized view [Ask for the indexes of its partitions.]'),
    ($n$"ma'int \$x".a_foreign_table$n$, '42809: "a_foreign_table" is not a table or materialized view'),
    ('pg_catalog.pg_class',
     '42501: permission denied to maintain "pg_class" [Its owner may, and whoever the server lets VACUUM or REINDEX it.]'),
    ('maintenance_jobs',
     '42501: permission denied to maintain "maintenance_jobs" [Its owner may, and whoever the server lets VACUUM or REINDEX it.]')
  ) AS v (given, answer);
SELECT is(pg_temp.vacuum(who, $n$"ma'int \$x".plain$n$),
    '42501: permission denied to maintain "plain" [Its owner may, and whoever the server lets VACUUM or REINDEX it.]',
    who || ' has no right')
  FROM unnest('{maintain_other, maintain_reader}'::name[]) who;
-- Rights on what is in a table are none to maintain it.
GRANT ALL ON "ma'int \$x".plain TO maintain_other;
SELECT CASE WHEN current_setting('server_version_num')::integer >= 170000
            THEN $$REVOKE MAINTAIN ON "ma'int \$x".plain FROM maintain_other$$ ELSE 'SELECT' END \gexec
SELECT matches(pg_temp.vacuum('maintain_other', $n$"ma'int \$x".plain$n$), '^42501', 'whoever_may_write_may_not');

CREATE TEMP TABLE here_only (n integer);
SELECT is(pg_temp.vacuum(:'tester', 'here_only'), '0A000: "here_only" is temporary: no other session can maintain it '
          '[Run VACUUM, ANALYZE or REINDEX on it in this session.]', 'a_temporary_table');

SELECT is(pg_temp.answer('maintain_owner', statement), answer, statement)
  FROM (VALUES
    ($$SELECT request_maintenance('vacuum', 1259, NULL, NULL, NULL)$$,
     '22023: "vacuum" is not a kind of maintenance to ask for [There are vacuum_analyze and reindex.]'),
    ($$SELECT request_maintenance('drop_index', 1259, NULL, NULL, NULL)$$,
     '22023: "drop_index" is not a kind of maintenance to ask for [There are vacuum_analyze and reindex.]'),
    ($$SELECT request_maintenance(NULL, 1259, NULL, NULL, NULL)$$, '22004: kind must not be NULL'),
    ($$SELECT request_maintenance('vacuum_analyze', NULL, NULL, NULL, NULL)$$, '22004: relation must not be NULL'),
    ($$SELECT request_maintenance('vacuum_analyze', 4294967294, NULL, NULL, NULL)$$,
     '42P01: relation with OID 4294967294 does not exist'),
    ($$SELECT request_maintenance('vacuum_analyze', 0, NULL, NULL, NULL)$$, '42P01: relation with OID 0 does not exist'),
    ($$SELECT request_maintenance('vacuum_analyze', 1259, NULL, NULL, NULL)$$,
     '42501: permission denied to maintain "pg_class" [Its owner may, and whoever the server lets VACUUM or REINDEX it.]'),
    ($$SELECT cancel_maintenance_job(NULL)$$, '22004: job_id must not be NULL'),
    ($$SELECT cancel_maintenance_job(0)$$, '42704: there is no maintenance job 0'),
    ($$SELECT cancel_maintenance_job(-1)$$, '42704: there is no maintenance job -1'),
    ($$SELECT count(*) FROM maintenance_jobs$$, '42501: permission denied for table maintenance_jobs'),
    ($$SELECT queue_job('vacuum_analyze', 1259, 10, NULL, NULL, false)$$, '42501: permission denied for function queue_job'),
    ($$SELECT claim_maintenance_job()$$, '42501: permission denied for function claim_maintenance_job'),
    ($$SELECT take_maintenance_requests()$$, '42501: permission denied for function take_maintenance_requests'),
    ($$SELECT tend_maintenance()$$, '42501: permission denied for function tend_maintenance'),
    ($$SELECT cancel_job(1, 10)$$, '42501: permission denied for function cancel_job'),
    ($$SELECT cancel_maintenance_worker(1)$$, '42501: permission denied for function cancel_maintenance_worker'),
    ($$SELECT maintenance_state('{1}', 10)$$, '42501: permission denied for function maintenance_state')
  ) AS v (statement, answer);

BEGIN READ ONLY;
SELECT matches(pg_temp.answer('maintain_owner', statement),
               '^25006: cannot execute maintenance in a read-only transaction', 'read-only: ' || statement)
  FROM unnest(ARRAY[$$SELECT vacuum_analyze_table($n$"ma'int \$x".plain$n$)$$, 'SELECT cancel_maintenance_job(1)']) statement;
COMMIT;

-- Locks of this very transaction.

CREATE FUNCTION pg_temp.vacuum_under(mode text, locked text, asked text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  result text;
BEGIN
  EXECUTE format('LOCK TABLE ONLY %s IN %s MODE', locked, mode);
  result := pg_temp.vacuum('maintain_owner', asked);
  RAISE SQLSTATE 'UNLCK' USING MESSAGE = result;
EXCEPTION WHEN SQLSTATE 'UNLCK' THEN
  RETURN SQLERRM;
END $$;
SELECT is(pg_temp.vacuum_under(mode, $n$"ma'int \$x".plain$n$, $n$"ma'int \$x".plain$n$),
  '55006: this transaction holds a lock on "plain" that its maintenance would wait for '
  '[Commit first, or ask from another transaction.]', 'under ' || mode)
  FROM unnest('{SHARE UPDATE EXCLUSIVE, SHARE, SHARE ROW EXCLUSIVE, EXCLUSIVE, ACCESS EXCLUSIVE}'::text[]) mode;
SELECT matches(pg_temp.vacuum_under('SHARE', $n$"ma'int \$x".part_21$n$, $n$"ma'int \$x".parts$n$), '^55006',
               'a_locked_partition');
SELECT matches(pg_temp.vacuum_under('SHARE', $n$"ma'int \$x".parts$n$, $n$"ma'int \$x".parts$n$), '^55006',
               'a_locked_parent');
BEGIN;
CREATE TABLE maintain_public.new_here (n integer);
SELECT matches(pg_temp.vacuum(:'tester', 'maintain_public.new_here'), '^55006', 'a_table_of_this_transaction');
ROLLBACK;
SELECT is(count(*), :jobs::bigint, 'nothing_was_queued') FROM maintenance_jobs;

-- What it does and says. Somebody's snapshot may be older than the DELETE: then again, in another transaction.

CREATE PROCEDURE pg_temp.vacuum_at_last(who name, table_name text, INOUT result text DEFAULT NULL) LANGUAGE plpgsql AS $$
BEGIN
  LOOP
    result := pg_temp.vacuum(who, table_name);
    EXIT WHEN result !~ 'could not be removed';
    COMMIT;
    PERFORM pg_sleep(0.1);
  END LOOP;
END $$;
DELETE FROM "ma'int \$x".plain WHERE n <= 100;
CALL pg_temp.vacuum_at_last('maintain_owner', $n$"ma'int \$x".plain$n$) \gset
SELECT matches(:'result'::text, $m$^job \d+: VACUUM \(ANALYZE\) "ma'int \\\$x".plain: 100 dead rows removed, 5 pages, \d+ ms$$m$,
               'the_answer');
SELECT substring(:'result' FROM 'job (\d+)') AS job \gset
SELECT is(to_jsonb(j) - '{job_id, not_before, requested_at, started_at, finished_at, duration_ms, bytes_before, bytes_after, summary, relid, role}'::text[],
    $j${"kind": "vacuum_analyze", "target": "\"ma'int \\$x\".plain", "status": "succeeded", "attempts": 1, "sqlstate": null,
        "command": "VACUUM (VERBOSE, ANALYZE) \"ma'int \\$x\".plain", "requested_by": "maintain_owner",
        "reason": "vacuum_analyze_table()", "rows_removed": 100, "error_message": null, "waiting_for": null,
        "threshold": null, "bloat_before": null, "bloat_after": null, "in_window": false}$j$::jsonb, 'the_job')
  FROM maintenance_jobs j WHERE job_id = :job;
SELECT ok(requested_at <= started_at AND started_at <= finished_at AND duration_ms >= 0
          AND bytes_before = 5 * 8192 AND bytes_after >= 5 * 8192
          AND relid = $n$"ma'int \$x".plain$n$::regclass AND role = 'maintain_owner'::regrole, 'times_and_sizes')
  FROM maintenance_jobs WHERE job_id = :job;
SELECT is(reltuples, 900::real, 'it_is_analyzed') FROM pg_class WHERE oid = $n$"ma'int \$x".plain$n$::regclass;
SELECT isnt_empty($$SELECT FROM pg_stats WHERE tablename = 'plain' AND schemaname LIKE 'ma''int%'$$, 'statistics_are_there');

DELETE FROM "ma'int \$x".plain WHERE n > 300;
CALL pg_temp.vacuum_at_last('maintain_member', $n$"ma'int \$x".plain$n$) \gset
SELECT matches(:'result'::text, '700 dead rows removed, \d pages \(\d given back\), \d+ ms$', 'pages_are_given_back');
SELECT is(requested_by, 'maintain_member', 'a_member_of_the_owner_may') FROM maintenance_jobs
 WHERE job_id = substring(:'result' FROM 'job (\d+)')::bigint;

SELECT matches(pg_temp.vacuum('maintain_owner', $n$"ma'int \$x"."we""ird $x'\ täble"$n$),
  $m$^job \d+: VACUUM \(ANALYZE\) "ma'int \\\$x"\."we""ird \$x'\\ täble": 0 dead rows removed, \d+ pages, \d+ ms$$m$, 'an_odd_name');
SELECT matches(pg_temp.vacuum('maintain_owner', $n$"ma'int \$x"."Upper"$n$), $m$^job \d+: .*"Upper": 0 dead rows removed, 0 pages, $m$,
               'an_empty_table');
SELECT matches(pg_temp.vacuum('maintain_owner', $n$"ma'int \$x".a_matview$n$),
               'a_matview: 0 dead rows removed, 1 pages, ', 'a_materialized_view');
SELECT matches(pg_temp.vacuum(:'tester', 'pg_catalog.pg_am'), '^job \d+: VACUUM \(ANALYZE\) pg_catalog.pg_am: ', 'a_catalog');
SELECT matches(pg_temp.vacuum(:'tester', 'pg_catalog.pg_database'), '^job \d+: VACUUM \(ANALYZE\) pg_catalog.pg_database: ',
               'a_shared_catalog');
SELECT matches(pg_temp.vacuum(:'tester', 'maintenance_jobs'), '^job \d+: ', 'our_own_table');

DELETE FROM "ma'int \$x".parts WHERE n % 2 = 0;
CALL pg_temp.vacuum_at_last('maintain_owner', $n$"ma'int \$x".parts$n$) \gset
SELECT matches(:'result'::text, 'parts: 100 dead rows removed, 2 pages, \d+ ms$', 'a_partitioned_table');
SELECT is(string_agg(relname || ' ' || reltuples, ', ' ORDER BY relname), 'part_1 50, part_2 50, part_21 50, parts 100',
          'with_all_below_it')
  FROM pg_class WHERE relname ~ '^parts?(_[0-9]+)?$' AND relkind IN ('r', 'p');
-- A partition that is somebody else's is left out, and the answer says so.
ALTER TABLE "ma'int \$x".part_1 OWNER TO maintain_other;
SELECT matches(pg_temp.vacuum('maintain_owner', $n$"ma'int \$x".parts$n$),
               'parts: .*(skipping "part_1"|"part_1", skipping it)', 'a_partition_of_another_owner');

-- A table with the same name elsewhere: names mean what they mean to the caller.
SET search_path = maintain_public, "ma'int \$x", public;
SELECT vacuum_analyze_table('plain') AS result \gset
SELECT matches(:'result'::text, 'maintain_public.plain: ', 'the_first_in_search_path');
SET search_path = "ma'int \$x", maintain_public, public;
SELECT vacuum_analyze_table('plain') AS result \gset
SELECT matches(:'result'::text, $m$"ma'int \\\$x".plain: $m$, 'the_other_way_round');
CREATE TEMP TABLE plain (n integer);
SELECT matches(pg_temp.vacuum(:'tester', 'plain'), '^0A000', 'a_temporary_one_hides_it');
DROP TABLE pg_temp.plain;
RESET search_path;

-- Whatever the transaction does.
BEGIN;
INSERT INTO "ma'int \$x".plain VALUES (5000);
SELECT vacuum_analyze_table($n$"ma'int \$x".plain$n$) AS result \gset
ROLLBACK;
SELECT is(status, 'succeeded', 'the_job_stays_after_a_rollback') FROM maintenance_jobs
 WHERE job_id = substring(:'result' FROM 'job (\d+)')::bigint;

-- Who sees and cancels what. Nothing starts in this database meanwhile.

SELECT 'ALTER DATABASE ' || :'database' || ' SET train_perf.maintenance_workers = 0' \gexec
CALL pg_temp.until_workers_are_gone();
SET train_perf.maintenance_wait = 0;
SELECT is_empty($$SELECT FROM maintenance_jobs WHERE status IN ('queued', 'running')$$, 'nothing_is_left_to_do');
SELECT pg_temp.vacuum('maintain_owner', $n$"ma'int \$x".plain$n$) AS result \gset
SELECT matches(:'result'::text, $m$^job \d+ still running: queued, vacuum_analyze of "ma'int \\\$x".plain$$m$, 'queued');
SELECT substring(:'result' FROM 'job (\d+)') AS job \gset
SELECT pg_temp.vacuum('maintain_owner', $n$"ma'int \$x".plain$n$) AS result \gset
SELECT ok(:job < substring(:'result' FROM 'job (\d+)')::bigint, 'each_vacuum_is_a_job_of_its_own');
SELECT substring(:'result' FROM 'job (\d+)') AS second_job \gset

SELECT is(pg_temp.answer(who, format('SELECT count(*) FROM maintenance_status WHERE job_id IN (%s, %s)', :job, :second_job)),
          seen, format('%s sees %s', who, seen))
  FROM (VALUES ('maintain_owner'::name, '2'), ('maintain_member', '2'), ('maintain_other', '0'), ('maintain_reader', '2'),
               ('pg_monitor', '2'), (:'tester', '2')) AS v (who, seen);
SELECT is(pg_temp.answer(who, format('SELECT status FROM await_maintenance(ARRAY[%s])', :job)), seen,
          format('%s awaits %s', who, seen))
  FROM (VALUES ('maintain_owner'::name, 'queued'), ('maintain_member', 'queued'), ('maintain_other', NULL),
               ('maintain_reader', 'queued'), (:'tester', 'queued')) AS v (who, seen);
SELECT is(pg_temp.answer('maintain_owner', 'SELECT count(*) FROM await_maintenance(' || ids || ')'), '0', 'await ' || ids)
  FROM unnest('{"NULL", "''{}''", "''{-1, NULL}''"}'::text[]) ids;
SELECT is(pg_temp.answer(who, format('SELECT cancel_maintenance_job(%s)', :job)),
    format('42501: permission denied to cancel maintenance job %s '
           '[Whoever asked for it may, and the owners of the extension and of the database.]', :job), who || ' may not cancel')
  FROM unnest('{maintain_other, maintain_reader, pg_monitor}'::name[]) who;
SELECT is(status, 'queued', 'it_waits_still') FROM maintenance_jobs WHERE job_id = :job;

-- Cancelled in a transaction that is rolled back, it stays so.
BEGIN;
SELECT is(pg_temp.answer('maintain_member', format('SELECT cancel_maintenance_job(%s)', :job)), 'true', 'a_member_cancels');
ROLLBACK;
SELECT results_eq(format('SELECT status, sqlstate, error_message, attempts, finished_at IS NOT NULL FROM maintenance_jobs WHERE job_id = %s', :job),
  $$VALUES ('cancelled', '57014', 'cancelled by maintain_member', 0, true)$$, 'and_it_is');
SELECT is(pg_temp.answer('maintain_owner', format('SELECT cancel_maintenance_job(%s)', :job)), 'false', 'it_has_ended');
SELECT is(pg_temp.answer('maintain_owner', format('SELECT concat_ws($$|$$, status, answer, sqlstate) FROM await_maintenance(ARRAY[%s])', :job)),
  format('cancelled|job %s cancelled: cancelled by maintain_member|57014', :job), 'its_answer');
SELECT is(pg_temp.answer(:'tester', format('SELECT cancel_maintenance_job(%s)', :second_job)), 'true', 'the_owner_of_the_extension_cancels');

-- wait_for_maintenance.

SELECT pg_temp.vacuum('maintain_owner', $n$"ma'int \$x".plain$n$) AS result \gset
SELECT substring(:'result' FROM 'job (\d+)') AS job \gset
SELECT is(pg_temp.answer('maintain_owner', statement), '25001: wait_for_maintenance cannot run inside a transaction block '
          '[CALL it by itself, or look at maintenance_status.]', statement)
  FROM unnest(ARRAY[format('CALL wait_for_maintenance(%s)', :job),
                    format('DO $d$ BEGIN CALL wait_for_maintenance(%s); END $d$', :job)]) statement;
\set ON_ERROR_STOP off
\set VERBOSITY sqlstate
BEGIN;
CALL wait_for_maintenance(:job);
ROLLBACK;
SELECT is(:'LAST_ERROR_SQLSTATE'::text, '25001', 'in_a_transaction');
CALL wait_for_maintenance(NULL);
SELECT is(:'LAST_ERROR_SQLSTATE'::text, '22004', 'no_job');
CALL wait_for_maintenance(:job, NULL);
SELECT is(:'LAST_ERROR_SQLSTATE'::text, '22004', 'no_timeout');
CALL wait_for_maintenance(-1);
SELECT is(:'LAST_ERROR_SQLSTATE'::text, '42704', 'an_unknown_job');
CALL wait_for_maintenance(:job, '100ms');
SELECT is(:'LAST_ERROR_SQLSTATE'::text, '57014', 'the_timeout');
CALL wait_for_maintenance(:job, '-1 day');
SELECT is(:'LAST_ERROR_SQLSTATE'::text, '57014', 'a_timeout_in_the_past');
SET ROLE maintain_other;
CALL wait_for_maintenance(:job);
SELECT is(:'LAST_ERROR_SQLSTATE'::text, '42704', 'the_job_of_another');
SET ROLE maintain_owner;
CALL wait_for_maintenance(:job, '1ms');
SELECT is(:'LAST_ERROR_SQLSTATE'::text, '57014', 'ones_own_job');
RESET ROLE;
\set ON_ERROR_STOP on
\set VERBOSITY default
SELECT is(status, 'queued', 'it_goes_on') FROM maintenance_jobs WHERE job_id = :job;
SELECT 'ALTER DATABASE ' || :'database' || ' RESET train_perf.maintenance_workers' \gexec
CALL wait_for_maintenance(:job);
SELECT is(status, 'succeeded', 'it_is_done_when_workers_are_let') FROM maintenance_jobs WHERE job_id = :job;
SELECT results_eq(format('SELECT status, attempts, progress, waiting_for, error_message FROM maintenance_status WHERE job_id = %s', :job),
  $$VALUES ('succeeded', 1, NULL, NULL, NULL)$$, 'its_status');

-- What has become of the target and of the asker in the meantime.

SELECT 'ALTER DATABASE ' || :'database' || ' SET train_perf.maintenance_workers = 0' \gexec
CALL pg_temp.until_workers_are_gone();
CREATE TABLE maintain_public.to_drop (n integer);
CREATE TABLE maintain_public.to_rename (n integer);
CREATE TABLE maintain_public.to_give_away (n integer);
CREATE TABLE maintain_public.to_orphan (n integer);
CREATE ROLE maintain_gone;
ALTER TABLE maintain_public.to_give_away OWNER TO maintain_owner;
ALTER TABLE maintain_public.to_orphan OWNER TO maintain_gone;
GRANT USAGE ON SCHEMA maintain_public TO maintain_owner, maintain_gone;
SELECT pg_temp.vacuum(:'tester', 'maintain_public.to_drop') AS result \gset
SELECT substring(:'result' FROM 'job (\d+)') AS to_drop \gset
SELECT pg_temp.vacuum(:'tester', 'maintain_public.to_rename') AS result \gset
SELECT substring(:'result' FROM 'job (\d+)') AS to_rename \gset
SELECT pg_temp.vacuum('maintain_owner', 'maintain_public.to_give_away') AS result \gset
SELECT substring(:'result' FROM 'job (\d+)') AS to_give_away \gset
SELECT pg_temp.vacuum('maintain_gone', 'maintain_public.to_orphan') AS result \gset
SELECT substring(:'result' FROM 'job (\d+)') AS to_orphan \gset
DROP TABLE maintain_public.to_drop;
ALTER TABLE maintain_public.to_rename RENAME TO "re named";
ALTER TABLE maintain_public.to_give_away OWNER TO maintain_other;
DROP OWNED BY maintain_gone CASCADE;
DROP ROLE maintain_gone;
SELECT 'ALTER DATABASE ' || :'database' || ' RESET train_perf.maintenance_workers' \gexec
SET client_min_messages = error;
CALL wait_for_maintenance(:to_drop);
CALL wait_for_maintenance(:to_rename);
CALL wait_for_maintenance(:to_give_away);
CALL wait_for_maintenance(:to_orphan);
SET client_min_messages = warning;
SELECT is(concat_ws('|', target, status, attempts, summary, sqlstate, error_message), expected, 'then ' || target)
  FROM maintenance_jobs
  JOIN (VALUES (:to_drop, 'maintain_public.to_drop|skipped|1|The table is gone.'),
               (:to_give_away, 'maintain_public.to_give_away|failed|1|42501|maintain_owner may not maintain maintain_public.to_give_away any more'),
               (:to_orphan, 'maintain_public.to_orphan|failed|1|42704|role maintain_gone does not exist any more')) AS v (job_id, expected) USING (job_id);
SELECT results_eq(format('SELECT status, command FROM maintenance_jobs WHERE job_id = %s', :to_rename),
  $$VALUES ('succeeded', 'VACUUM (VERBOSE, ANALYZE) maintain_public."re named"')$$, 'a_table_is_known_by_more_than_its_name');

-- A table that is dropped when its VACUUM begins, and one that is there.
BEGIN;
INSERT INTO maintenance_jobs (job_id, kind, target, requested_by, relid, role, status, attempts)
SELECT -v.n, 'vacuum_analyze', 'brief', current_user, v.relid, 10, 'running', 1
  FROM (VALUES (1, 1::oid), (2, 'pg_class'::regclass::oid)) AS v (n, relid);
SELECT finish_maintenance_job(-n, 'failed', '42P01', 'relation "brief" does not exist', NULL, 1, 0, 0, NULL, 0, NULL)
  FROM generate_series(1, 2) n \g /dev/null
SELECT string_agg(concat_ws('|', status, summary, sqlstate, error_message), ', ' ORDER BY job_id DESC) AS ends
  FROM maintenance_jobs WHERE job_id < 0 \gset
ROLLBACK;
SELECT is(:'ends'::text, 'skipped|relation "brief" does not exist, failed|42P01|relation "brief" does not exist', 'a_table_may_go_at_any_time');

SELECT finish();
DROP SCHEMA "ma'int \$x", maintain_public CASCADE;
DROP FOREIGN DATA WRAPPER maintain_nothing CASCADE;
SELECT revoke_access('maintain_reader') \gset ignored_
DROP OWNED BY maintain_owner, maintain_member, maintain_other, maintain_reader;
DROP ROLE maintain_owner, maintain_member, maintain_other, maintain_reader;
