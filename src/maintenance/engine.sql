-- The work on maintenance_jobs: by the collector, which takes requests, and by workers, which take one
-- job each.

-- VACUUM and ANALYZE.

CREATE FUNCTION table_bytes(relation oid) RETURNS bigint
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  -- pg_partition_tree would wait for locks on the partitions.
  WITH RECURSIVE part (relid) AS (
    SELECT table_bytes.relation
    UNION
    SELECT i.inhrelid
      FROM part p JOIN pg_catalog.pg_inherits i ON i.inhparent = p.relid
      JOIN pg_catalog.pg_class c ON c.oid = p.relid AND c.relkind = 'p'::"char"
  )
  SELECT sum(coalesce(relation_bytes(p.relid), 0::bigint)
             + coalesce(relation_bytes(nullif(c.reltoastrelid, 0::oid)), 0::bigint))::bigint
    FROM part p JOIN pg_catalog.pg_class c ON c.oid = p.relid AND c.relkind IN ('r'::"char", 'm'::"char", 't'::"char");
END;
COMMENT ON FUNCTION table_bytes(oid) IS
  'The size of a table with its TOAST and its partitions, without indexes; NULL if it is gone.';

CREATE FUNCTION plan_statistics_job(job maintenance_jobs, statement text,
                                    OUT skip text, OUT obstacle text, OUT obstacle_sqlstate text,
                                    OUT commands text[], OUT repeat boolean, OUT bytes_before bigint,
                                    OUT bloat_before numeric)
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT CASE WHEN t.target IS NULL THEN 'The table is gone.'::text END,
         CASE WHEN NOT t.may THEN pg_catalog.format('%s may not maintain %s any more'::text, (job).requested_by, t.target) END,
         CASE WHEN NOT t.may THEN '42501'::text END,
         CASE WHEN t.target IS NOT NULL AND t.may THEN ARRAY[plan_statistics_job.statement || ' '::text || t.target] END,
         false, table_bytes((job).relid), NULL::numeric
    FROM (SELECT maintenance_target((job).relid) AS target,
                 coalesce(role_may_maintain((job).role, (job).relid, (job).kind), false) AS may) AS t;
END;
COMMENT ON FUNCTION plan_statistics_job(maintenance_jobs, text) IS
  'What a worker does for a VACUUM or ANALYZE job; see plan_maintenance_job().';

CREATE FUNCTION vacuum_horizon() RETURNS text
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT h.holder
    FROM (SELECT greatest(age(a.backend_xid), age(a.backend_xmin)) AS age,
                 -- Other snapshots are as old as the oldest transaction at the time they were taken.
                 coalesce(age(a.backend_xid) < age(a.backend_xmin), a.backend_xid IS NULL) AS is_derived, a.xact_start AS since,
                 pg_catalog.format('pid %s (%s, transaction since %s)'::text, a.pid, coalesce(a.state, a.backend_type), a.xact_start) AS holder
            FROM pg_catalog.pg_stat_activity a
           WHERE a.pid <> pg_backend_pid() AND a.backend_type <> 'autovacuum worker'::text
             AND (a.datid IS NULL OR a.datid = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = current_database()))
             AND (a.backend_xid IS NOT NULL OR a.backend_xmin IS NOT NULL)
          UNION ALL
          SELECT age(p.transaction), false, p.prepared,
                 pg_catalog.format('prepared transaction %L since %s'::text, p.gid, p.prepared)
            FROM pg_catalog.pg_prepared_xacts p WHERE p.database = current_database()
          UNION ALL
          SELECT greatest(age(s.xmin), age(s.catalog_xmin)), true, NULL::timestamptz,
                 pg_catalog.format('replication slot %I'::text, s.slot_name)
            FROM pg_catalog.pg_replication_slots s
           WHERE s.xmin IS NOT NULL OR s.catalog_xmin IS NOT NULL) AS h
   ORDER BY h.age DESC, h.is_derived, h.since
   LIMIT 1;
END;
COMMENT ON FUNCTION vacuum_horizon() IS
  'Who has the oldest snapshot that keeps dead rows of this database from being removed; NULL: nobody.';

CREATE FUNCTION describe_vacuum(command text, pages bigint, pages_removed bigint, rows_removed bigint,
                                rows_kept bigint, duration_ms bigint)
RETURNS text
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT pg_catalog.format('%s: %s dead rows removed, %s pages%s, %s ms%s'::text,
           regexp_replace(describe_vacuum.command, E'VERBOSE, |\\(VERBOSE\\) '::text, ''::text),
           coalesce(describe_vacuum.rows_removed, 0::bigint), describe_vacuum.pages,
           CASE WHEN describe_vacuum.pages_removed > 0::bigint
                THEN pg_catalog.format(' (%s given back)'::text, describe_vacuum.pages_removed) ELSE ''::text END,
           describe_vacuum.duration_ms,
           CASE WHEN describe_vacuum.rows_kept > 0::bigint
                THEN pg_catalog.format('; %s dead rows could not be removed: they are kept for %s'::text, describe_vacuum.rows_kept,
                            coalesce(vacuum_horizon(), 'a snapshot that has just ended: try again'::text))
                ELSE ''::text END);
END;
COMMENT ON FUNCTION describe_vacuum(text, bigint, bigint, bigint, bigint, bigint) IS
  'What VACUUM did, and who keeps it from doing more.';

-- The worker: takes a job, plans it, and writes its end.

CREATE FUNCTION tables_at_work() RETURNS SETOF oid
LANGUAGE sql STABLE
BEGIN ATOMIC
  WITH RECURSIVE held AS MATERIALIZED (
    SELECT coalesce(i.indrelid, j.relid) AS relid
      FROM maintenance_jobs j LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = j.relid
     WHERE j.status = 'running'::text AND j.finished_at IS NULL
  ), main AS MATERIALIZED (
    SELECT h.relid FROM held h
    UNION
    SELECT c.oid FROM pg_catalog.pg_class c WHERE c.reltoastrelid IN (SELECT h.relid FROM held h)
  ), above (relid) AS (
    SELECT m.relid FROM main m
    UNION
    SELECT i.inhparent
      FROM above a JOIN pg_catalog.pg_inherits i ON i.inhrelid = a.relid
      JOIN pg_catalog.pg_class c ON c.oid = i.inhparent AND c.relkind = 'p'::"char"
  ), below (relid) AS (
    SELECT m.relid FROM main m
    UNION
    SELECT i.inhrelid
      FROM below b JOIN pg_catalog.pg_inherits i ON i.inhparent = b.relid
      JOIN pg_catalog.pg_class c ON c.oid = b.relid AND c.relkind = 'p'::"char"
  ), kin AS MATERIALIZED (
    SELECT a.relid FROM above a UNION SELECT b.relid FROM below b
  )
  SELECT k.relid FROM kin k
  UNION
  SELECT c.reltoastrelid FROM kin k JOIN pg_catalog.pg_class c ON c.oid = k.relid AND c.reltoastrelid <> 0::oid;
END;
COMMENT ON FUNCTION tables_at_work() IS
  'The tables of the jobs that are running, and those of which a job would wait for them: a table and its TOAST '
  'table, and the partitioned tables above and the partitions below.';

CREATE FUNCTION claim_maintenance_job(OUT job_id bigint, OUT role oid, OUT attempt integer)
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  WITH at_work AS MATERIALIZED (
    SELECT t.relid FROM tables_at_work() AS t (relid)
  ), maintenance_window AS MATERIALIZED (
    SELECT next_window_start(clock_timestamp()) <= clock_timestamp() AS is_open
  ), next AS MATERIALIZED (
    SELECT j.job_id
      FROM maintenance_jobs j
     CROSS JOIN maintenance_window w
      LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = j.relid
     WHERE j.status = 'queued'::text AND j.not_before <= clock_timestamp()
       AND (NOT j.in_window OR w.is_open)
       AND NOT EXISTS (SELECT FROM at_work a WHERE a.relid = coalesce(i.indrelid, j.relid))
     -- Somebody may wait for those that nobody put off.
     ORDER BY j.in_window, j.kind = 'reindex'::text, j.job_id
     LIMIT 1
       FOR UPDATE OF j SKIP LOCKED
  )
  UPDATE maintenance_jobs j
     SET status = 'running', attempts = j.attempts + 1, started_at = clock_timestamp(), waiting_for = NULL,
         error_message = NULL, sqlstate = NULL
    FROM next n WHERE j.job_id = n.job_id
  RETURNING j.job_id, acting_role(j.kind, j.relid, j.role), j.attempts;
END;
COMMENT ON FUNCTION claim_maintenance_job() IS
  'Takes the next job that is due, never two that would wait for each other; no row: there is none. For a worker.';

CREATE FUNCTION next_maintenance_due() RETURNS timestamptz
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  -- The later a job may start, the later the window that it waits for.
  WITH earliest AS MATERIALIZED (
    SELECT min(j.not_before) FILTER (WHERE NOT j.in_window) AS at_once,
           min(j.not_before) FILTER (WHERE j.in_window) AS in_window
      FROM maintenance_jobs j
     WHERE j.status = 'queued'::text AND j.finished_at IS NULL
  )
  SELECT least(e.at_once, CASE WHEN e.in_window IS NOT NULL
                               THEN next_window_start(greatest(e.in_window, clock_timestamp())) END)
    FROM earliest e;
END;
COMMENT ON FUNCTION next_maintenance_due() IS 'When the next job may start; NULL: none is queued.';

CREATE FUNCTION plan_maintenance_job(job_id bigint, OUT skip text, OUT obstacle text, OUT obstacle_sqlstate text,
                                     OUT commands text[], OUT repeat boolean)
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  WITH job AS MATERIALIZED (
    SELECT j AS row, j.kind, EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.oid = j.role) AS has_role, j.requested_by
      FROM maintenance_jobs j WHERE j.job_id = plan_maintenance_job.job_id
  ), plan AS MATERIALIZED (
    SELECT p.* FROM job CROSS JOIN LATERAL plan_statistics_job(job.row, 'VACUUM (VERBOSE, ANALYZE)'::text) p
     WHERE job.kind = 'vacuum_analyze'::text AND job.has_role
    UNION ALL
    SELECT p.* FROM job CROSS JOIN LATERAL plan_statistics_job(job.row, 'ANALYZE'::text) p
     WHERE job.kind = 'analyze'::text AND job.has_role
    UNION ALL
    SELECT p.* FROM job CROSS JOIN LATERAL plan_reindex(job.row) p WHERE job.kind = 'reindex'::text AND job.has_role
    UNION ALL
    SELECT p.* FROM job CROSS JOIN LATERAL plan_drop_index(job.row) p WHERE job.kind = 'drop_index'::text AND job.has_role
    UNION ALL
    SELECT p.* FROM job CROSS JOIN LATERAL plan_retention(job.row) p WHERE job.kind = 'retention'::text AND job.has_role
    UNION ALL
    SELECT NULL::text, pg_catalog.format('role %s does not exist any more'::text, job.requested_by), '42704'::text, NULL::text[],
           NULL::boolean, NULL::bigint, NULL::numeric
      FROM job WHERE NOT job.has_role
  ), noted AS (
    UPDATE maintenance_jobs j
       SET command = array_to_string(p.commands, E';\n'::text), bytes_before = coalesce(p.bytes_before, j.bytes_before),
           bloat_before = coalesce(p.bloat_before, j.bloat_before),
           -- The new index will be found by the name that the old one has now.
           target = coalesce(CASE WHEN j.kind = 'reindex'::text THEN maintenance_target(index_of_job(j)) END, j.target)
      FROM plan p WHERE j.job_id = plan_maintenance_job.job_id
  )
  SELECT p.skip, p.obstacle, p.obstacle_sqlstate, p.commands, p.repeat FROM plan p;
END;
COMMENT ON FUNCTION plan_maintenance_job(bigint) IS
  'What a worker runs for a job, statement by statement (the last one again and again, until it finds no more rows, '
  'if repeat); or that there is nothing to be done (skip); or what is in the way of this attempt.';

CREATE FUNCTION retry_delay(kind text, attempts integer) RETURNS interval
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT least(coalesce(nullif(current_setting('train_perf.maintenance_retry_delay'::text, true), ''::text), '10s'::text)::interval
                 * power(2::double precision, least(retry_delay.attempts - 1, 20)::double precision),
               CASE WHEN retry_delay.kind = 'drop_index'::text THEN '00:05:00'::interval ELSE '01:00:00'::interval END);
END;
COMMENT ON FUNCTION retry_delay(text, integer) IS
  'The pause after that many attempts: doubled each time, an hour at most; five minutes for leftover indexes.';

CREATE FUNCTION is_worth_retrying(kind text, attempts integer, sqlstate text) RETURNS boolean
LANGUAGE sql STABLE
BEGIN ATOMIC
  -- Errors of class 42 and 0A will be the same next time. A leftover is dropped whenever that is possible.
  SELECT left(is_worth_retrying.sqlstate, 2) NOT IN ('42'::text, '0A'::text)
         AND (is_worth_retrying.kind = 'drop_index'::text OR is_worth_retrying.attempts <
              coalesce(nullif(current_setting('train_perf.maintenance_max_attempts'::text, true), ''::text), '5'::text)::integer);
END;
COMMENT ON FUNCTION is_worth_retrying(text, integer, text) IS
  'Whether a job is tried again after a failure with that SQLSTATE.';

CREATE FUNCTION note_job_alert(job_id bigint) RETURNS bigint
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  WITH job AS MATERIALIZED (
    SELECT j.*, 'maintenance_failed:'::text || j.kind || ':'::text || j.target AS fingerprint
      FROM maintenance_jobs j WHERE j.job_id = note_job_alert.job_id
  ), raised AS MATERIALIZED (
    SELECT create_performance_alert('maintenance_failed'::text, 'warning'::text,
             pg_catalog.format('Maintenance of %s (%s) failed after %s attempts: %s'::text, job.target, job.kind, job.attempts, job.error_message),
             pg_catalog.jsonb_build_object(
               'fingerprint'::text, job.fingerprint, 'job_id'::text, job.job_id, 'kind'::text, job.kind, 'target'::text, job.target,
               'command'::text, job.command, 'sqlstate'::text, job.sqlstate, 'waiting_for'::text, job.waiting_for)) AS id
      FROM job WHERE job.status = 'failed'::text
  ), resolved AS MATERIALIZED (
    SELECT resolve_performance_alert(a.id, pg_catalog.format('Job %s: %s'::text, job.job_id, job.summary)) AS done
      FROM job JOIN performance_alerts a ON a.fingerprint = job.fingerprint AND a.resolved_at IS NULL
     WHERE job.status IN ('succeeded'::text, 'skipped'::text)
  )
  SELECT (SELECT count(r.id) FROM raised r) + (SELECT count(r.done) FROM resolved r);
END;
COMMENT ON FUNCTION note_job_alert(bigint) IS
  'Raises the maintenance_failed alert of a job that has failed for good; resolves it when one of the same kind on '
  'the same target has succeeded or found nothing to do.';

CREATE FUNCTION try_note_job_alert(note regprocedure, job_id bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  changed bigint;
BEGIN
  EXECUTE format('SELECT %s($1)', note::oid::regproc) INTO changed USING job_id;
  RETURN changed;
EXCEPTION WHEN OTHERS THEN
  RAISE WARNING USING MESSAGE = format('no alert for maintenance job %s: %s', job_id, SQLERRM);
  RETURN 0;
END
$$;
COMMENT ON FUNCTION try_note_job_alert(regprocedure, bigint) IS
  'Calls note_job_alert; its failure does not keep the end of a job from being written.';

CREATE FUNCTION finish_maintenance_job(job_id bigint, outcome text, sqlstate text, message text, waiting_for text,
                                       duration_ms bigint, pages bigint, pages_removed bigint, rows_removed bigint,
                                       rows_kept bigint, warnings text)
RETURNS bigint
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  UPDATE maintenance_jobs j
     SET duration_ms = finish_maintenance_job.duration_ms,
         rows_removed = CASE WHEN finish_maintenance_job.rows_removed IS NOT NULL
                             THEN coalesce(j.rows_removed, 0::bigint) + finish_maintenance_job.rows_removed ELSE j.rows_removed END,
         error_message = finish_maintenance_job.message, sqlstate = finish_maintenance_job.sqlstate,
         waiting_for = finish_maintenance_job.waiting_for
   WHERE j.job_id = finish_maintenance_job.job_id;
  WITH job AS MATERIALIZED (
    SELECT j AS row, j.* FROM maintenance_jobs j WHERE j.job_id = finish_maintenance_job.job_id AND j.status = 'running'::text
  ), conclusion AS MATERIALIZED (
    SELECT table_bytes(job.relid) AS bytes_after, NULL::numeric AS bloat_after,
           CASE WHEN finish_maintenance_job.outcome <> 'succeeded'::text THEN NULL::text
                WHEN job.kind = 'analyze'::text
                THEN pg_catalog.format('%s: %s ms'::text, job.command, finish_maintenance_job.duration_ms)
                ELSE describe_vacuum(job.command, finish_maintenance_job.pages, finish_maintenance_job.pages_removed,
                       finish_maintenance_job.rows_removed, finish_maintenance_job.rows_kept, finish_maintenance_job.duration_ms) END AS summary
      FROM job WHERE job.kind IN ('vacuum_analyze'::text, 'analyze'::text)
    UNION ALL
    SELECT c.* FROM job CROSS JOIN LATERAL conclude_reindex(job.row, finish_maintenance_job.outcome = 'succeeded'::text) c
     WHERE job.kind = 'reindex'::text AND finish_maintenance_job.outcome <> 'skipped'::text
    UNION ALL
    SELECT c.* FROM job CROSS JOIN LATERAL conclude_drop_index(job.row, finish_maintenance_job.outcome = 'succeeded'::text) c
     WHERE job.kind = 'drop_index'::text AND finish_maintenance_job.outcome <> 'skipped'::text
    UNION ALL
    SELECT c.bytes_after, c.bloat_after, c.summary
      FROM job CROSS JOIN LATERAL conclude_retention(job.row, finish_maintenance_job.outcome = 'succeeded'::text) c
     WHERE job.kind = 'retention'::text AND finish_maintenance_job.outcome <> 'skipped'::text
  ), ending AS MATERIALIZED (
    SELECT CASE WHEN finish_maintenance_job.outcome <> 'failed'::text THEN finish_maintenance_job.outcome
                WHEN is_worth_retrying(job.kind, job.attempts, finish_maintenance_job.sqlstate) THEN 'queued'::text
                -- Dropped since the statement was planned.
                WHEN finish_maintenance_job.sqlstate = CASE WHEN job.kind = 'drop_index'::text THEN '42704'::text ELSE '42P01'::text END
                     AND NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = job.relid) THEN 'skipped'::text
                ELSE 'failed'::text END AS status, job.kind, job.attempts
      FROM job
  )
  UPDATE maintenance_jobs j
     SET status = e.status,
         finished_at = CASE WHEN e.status <> 'queued'::text THEN clock_timestamp() END,
         not_before = CASE WHEN e.status = 'queued'::text THEN clock_timestamp() + retry_delay(e.kind, e.attempts)
                           ELSE j.not_before END,
         bytes_after = CASE WHEN finish_maintenance_job.outcome <> 'skipped'::text THEN c.bytes_after END,
         bloat_after = c.bloat_after,
         -- Of what is skipped the message is the summary.
         error_message = CASE WHEN e.status <> 'skipped'::text THEN j.error_message END,
         sqlstate = CASE WHEN e.status <> 'skipped'::text THEN j.sqlstate END,
         summary = CASE WHEN e.status = 'skipped'::text THEN finish_maintenance_job.message
                        ELSE nullif(pg_catalog.concat_ws('; '::text, c.summary, nullif(finish_maintenance_job.warnings, ''::text)), ''::text) END
    FROM ending e LEFT JOIN conclusion c ON true
   WHERE j.job_id = finish_maintenance_job.job_id;
  SELECT try_note_job_alert('note_job_alert(bigint)'::regprocedure, finish_maintenance_job.job_id);
END;
COMMENT ON FUNCTION finish_maintenance_job(bigint, text, text, text, text, bigint, bigint, bigint, bigint, bigint, text) IS
  'Writes how an attempt ended (succeeded, failed, skipped, cancelled): the job''s end, or when it is tried again. '
  'For a worker.';

-- The collector.

CREATE FUNCTION maintenance_requests(OUT request bigint, OUT action text, OUT kind text, OUT relid oid, OUT role oid,
                                     OUT threshold numeric, OUT bloat_ratio numeric, OUT job_id bigint, OUT reason text)
RETURNS SETOF record
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'tp_maintenance_requests';
COMMENT ON FUNCTION maintenance_requests() IS 'Requests of sessions, in shared memory, that wait to be written.';

CREATE FUNCTION answer_maintenance_request(request bigint, answer bigint) RETURNS boolean
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'tp_answer_maintenance_request';
COMMENT ON FUNCTION answer_maintenance_request(bigint, bigint) IS 'The answer to a request, given after the commit.';

CREATE FUNCTION note_maintenance_due(at timestamptz) RETURNS boolean
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'tp_note_maintenance_due';
COMMENT ON FUNCTION note_maintenance_due(timestamptz) IS
  'Lets the launcher start a worker at that time, but not before the commit; NULL: none is needed.';

CREATE FUNCTION cancel_maintenance_worker(job_id bigint) RETURNS boolean
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'tp_cancel_maintenance_worker';
COMMENT ON FUNCTION cancel_maintenance_worker(bigint) IS 'Cancels the command of the worker that is at work on a job; false: none is.';

CREATE FUNCTION cancel_job(job_id bigint, asker oid) RETURNS bigint
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  WITH job AS MATERIALIZED (
    SELECT j.job_id, j.status,
           pg_has_role(cancel_job.asker, j.role, 'MEMBER'::text)
           OR EXISTS (SELECT FROM pg_catalog.pg_extension e
                       WHERE e.extname = 'train_perf'::name AND pg_has_role(cancel_job.asker, e.extowner, 'MEMBER'::text))
           OR EXISTS (SELECT FROM pg_catalog.pg_database d
                       WHERE d.datname = current_database() AND pg_has_role(cancel_job.asker, d.datdba, 'MEMBER'::text)) AS may
      FROM maintenance_jobs j WHERE j.job_id = cancel_job.job_id
  ), cancelled AS (
    UPDATE maintenance_jobs j
       SET status = 'cancelled', finished_at = clock_timestamp(), sqlstate = '57014',
           error_message = pg_catalog.format('cancelled by %s'::text, pg_get_userbyid(cancel_job.asker))
      FROM job WHERE j.job_id = job.job_id AND job.may
       AND (j.status = 'queued'::text OR j.status = 'running'::text AND NOT is_maintenance_running(j.job_id))
    RETURNING 1
  ), signalled AS MATERIALIZED (
    -- A worker may have taken it just now.
    SELECT cancel_maintenance_worker(job.job_id) AS done FROM job
     WHERE job.may AND job.status IN ('queued'::text, 'running'::text) AND NOT EXISTS (SELECT FROM cancelled)
  ), noted AS (
    -- What recover_maintenance_jobs() goes by, should the worker be killed before it writes the end.
    UPDATE maintenance_jobs j
       SET sqlstate = '57014', error_message = pg_catalog.format('cancelled by %s'::text, pg_get_userbyid(cancel_job.asker))
      FROM job CROSS JOIN signalled s WHERE s.done AND j.job_id = job.job_id AND j.status IN ('queued'::text, 'running'::text)
  )
  SELECT CASE WHEN NOT EXISTS (SELECT FROM job) THEN -1::bigint
              WHEN NOT (SELECT job.may FROM job) THEN -2::bigint
              WHEN EXISTS (SELECT FROM cancelled) OR coalesce((SELECT s.done FROM signalled s), false) THEN 1::bigint
              ELSE 0::bigint END;
END;
COMMENT ON FUNCTION cancel_job(bigint, oid) IS
  'Cancels a job for somebody: 1; 0 if it has ended, -1 if there is none, -2 if they may not.';

CREATE FUNCTION take_maintenance_requests() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  WITH asked AS MATERIALIZED (
    SELECT r.*, coalesce(nullif(r.role, 0::oid), c.relowner) AS for_role
      FROM maintenance_requests() r LEFT JOIN pg_catalog.pg_class c ON c.oid = r.relid
  ), unfinished AS MATERIALIZED (
    SELECT count(*) AS jobs FROM maintenance_jobs j WHERE j.status IN ('queued'::text, 'running'::text)
  ), answered AS MATERIALIZED (
    SELECT answer_maintenance_request(a.request,
             CASE WHEN a.action = 'cancel'::text THEN cancel_job(a.job_id, a.role)
                  WHEN a.for_role IS NULL THEN NULL::bigint  -- nobody waits, and the table is gone
                  WHEN u.jobs >= 10000::bigint
                       OR (SELECT count(*) FROM maintenance_jobs j
                            WHERE j.status IN ('queued'::text, 'running'::text) AND j.role = a.for_role) >= 5000::bigint
                  THEN -3::bigint
                  ELSE insert_job(nextval('maintenance_jobs_job_id_seq'::regclass), a.kind, a.relid, a.for_role, a.reason,
                                  a.threshold, a.bloat_ratio, a.kind = 'reindex'::text) END) AS given
      FROM asked a CROSS JOIN unfinished u
  ), due AS MATERIALIZED (
    SELECT note_maintenance_due(clock_timestamp()) AS noted FROM answered LIMIT 1
  )
  SELECT (count(a.given) + 0::bigint * (SELECT count(d.noted) FROM due d))::integer FROM answered a;
END;
COMMENT ON FUNCTION take_maintenance_requests() IS
  'Writes requests of sessions to maintenance_jobs. Returns how many. The collector''s work.';

CREATE FUNCTION recover_maintenance_jobs() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  UPDATE maintenance_jobs j SET status = 'cancelled', finished_at = clock_timestamp()
   WHERE j.status = 'running'::text AND j.finished_at IS NULL AND j.sqlstate = '57014'::text AND NOT is_maintenance_running(j.job_id);
  UPDATE maintenance_jobs j
     SET status = CASE WHEN is_worth_retrying(j.kind, j.attempts, '57P01'::text) THEN 'queued'::text ELSE 'failed'::text END,
         finished_at = CASE WHEN is_worth_retrying(j.kind, j.attempts, '57P01'::text) THEN NULL::timestamptz ELSE clock_timestamp() END,
         not_before = clock_timestamp() + retry_delay(j.kind, j.attempts),
         error_message = 'the worker ended before the job did', sqlstate = '57P01'
   WHERE j.status = 'running'::text AND j.finished_at IS NULL AND NOT is_maintenance_running(j.job_id);
  SELECT count(try_note_job_alert('note_job_alert(bigint)'::regprocedure, j.job_id))::integer
    FROM maintenance_jobs j
   WHERE j.status = 'failed'::text AND j.sqlstate = '57P01'::text AND j.finished_at >= statement_timestamp();
END;
COMMENT ON FUNCTION recover_maintenance_jobs() IS
  'Queues again what a worker did not end: it was killed, the server stopped. Returns how many have failed for good.';

CREATE FUNCTION tend_maintenance() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT recover_maintenance_jobs();
  SELECT run_due_schedule();
  -- Its failure must not hold up the others.
  SELECT warn_maintenance(t.problem) FROM try_maintenance('queue_leftover_drops()'::regprocedure) t WHERE t.problem IS NOT NULL;
  SELECT note_maintenance_due(next_maintenance_due())::integer;
END;
COMMENT ON FUNCTION tend_maintenance() IS
  'Recovers jobs whose worker is gone, queues what the schedule says, and lets workers start. The collector''s work.';

-- What callers see.

CREATE FUNCTION maintenance_state(job_ids bigint[], asker oid, OUT job_id bigint, OUT status text, OUT answer text,
                                  OUT sqlstate text)
RETURNS SETOF record
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT j.job_id, j.status,
         CASE WHEN j.status = 'running'::text THEN pg_catalog.format('job %s still running: %s'::text, j.job_id, coalesce(j.command, j.target))
              WHEN j.status = 'queued'::text
              THEN pg_catalog.format('job %s still running: queued, %s of %s%s'::text, j.job_id, j.kind, j.target,
                     CASE WHEN j.error_message IS NOT NULL
                          THEN pg_catalog.format(', next attempt at %s (%s)'::text, j.not_before::timestamptz(0), j.error_message) ELSE ''::text END)
              WHEN j.status IN ('failed'::text, 'cancelled'::text)
              THEN pg_catalog.format('job %s %s: %s'::text, j.job_id, j.status, j.error_message)
              ELSE pg_catalog.format('job %s: %s'::text, j.job_id, j.summary) END,
         j.sqlstate
    FROM maintenance_jobs j
   WHERE j.job_id = ANY (maintenance_state.job_ids)
     AND (pg_has_role(maintenance_state.asker, j.role, 'MEMBER'::text)
          OR has_table_privilege(maintenance_state.asker, 'maintenance_jobs'::regclass::oid, 'SELECT'::text))
   ORDER BY j.job_id;
END;
COMMENT ON FUNCTION maintenance_state(bigint[], oid) IS
  'How jobs stand, those that the asker may see; the answer is for people.';

CREATE FUNCTION vacuum_analyze_table(table_name text) RETURNS text
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'tp_vacuum_analyze_table';
COMMENT ON FUNCTION vacuum_analyze_table(text) IS
  'Has VACUUM (ANALYZE) run on a table in a worker, as the current role, waits for it as train_perf.maintenance_wait '
  'says, and tells what it did, or who keeps it from removing dead rows. Works in transactions, functions and DO.';

CREATE FUNCTION cancel_maintenance_job(job_id bigint) RETURNS boolean
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'tp_cancel_maintenance_job';
COMMENT ON FUNCTION cancel_maintenance_job(bigint) IS
  'Cancels a job that is queued or running, whatever becomes of the transaction; false if it has ended. 42704: '
  'there is no such job; 42501: it is not the caller''s.';

CREATE PROCEDURE wait_for_maintenance(job_id bigint, timeout interval DEFAULT '1 hour')
LANGUAGE c AS 'MODULE_PATHNAME', 'tp_wait_for_maintenance';
COMMENT ON PROCEDURE wait_for_maintenance(bigint, interval) IS
  'Waits until a job has ended and tells how (NOTICE, or WARNING if it failed). Holds no snapshot meanwhile, so it '
  'must be called outside a transaction block (25001). 57014 when the timeout expires; the job goes on.';

CREATE FUNCTION maintenance_progress(pid integer) RETURNS text
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT coalesce(
           (SELECT p.phase || CASE WHEN p.heap_blks_total > 0::bigint
                              THEN pg_catalog.format(', %s of %s blocks scanned'::text, p.heap_blks_scanned, p.heap_blks_total) ELSE ''::text END
              FROM pg_catalog.pg_stat_progress_vacuum p WHERE p.pid = maintenance_progress.pid),
           (SELECT p.phase || CASE WHEN p.blocks_total > 0::bigint
                              THEN pg_catalog.format(', %s of %s blocks'::text, p.blocks_done, p.blocks_total) ELSE ''::text END
              FROM pg_catalog.pg_stat_progress_create_index p WHERE p.pid = maintenance_progress.pid),
           (SELECT p.phase || CASE WHEN p.sample_blks_total > 0::bigint
                              THEN pg_catalog.format(', %s of %s blocks'::text, p.sample_blks_scanned, p.sample_blks_total) ELSE ''::text END
              FROM pg_catalog.pg_stat_progress_analyze p WHERE p.pid = maintenance_progress.pid));
END;
COMMENT ON FUNCTION maintenance_progress(integer) IS 'How far a worker is: phase and blocks; NULL: between two.';

CREATE FUNCTION is_maintenance_starved() RETURNS boolean
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'tp_is_maintenance_starved';
COMMENT ON FUNCTION is_maintenance_starved() IS
  'Whether the server had no place for the last worker that was to be started.';

CREATE FUNCTION queue_obstacle(not_before timestamptz, in_window boolean, window_opens timestamptz) RETURNS text
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT CASE WHEN queue_obstacle.not_before > clock_timestamp() THEN NULL::text
              WHEN queue_obstacle.in_window AND queue_obstacle.window_opens > clock_timestamp()
              THEN CASE WHEN isfinite(queue_obstacle.window_opens)
                        THEN 'the maintenance window, which opens at '::text || queue_obstacle.window_opens::timestamptz(0)::text
                        ELSE 'a valid maintenance window: see maintenance_schedule'::text END
              WHEN current_setting('train_perf.maintenance_workers'::text, true) = '0'::text
              THEN 'maintenance_workers, which is 0'::text
              WHEN is_maintenance_starved() THEN 'a free background worker: see max_worker_processes'::text END;
END;
COMMENT ON FUNCTION queue_obstacle(timestamptz, boolean, timestamptz) IS
  'What keeps a queued job from starting, if not the job before it.';

CREATE FUNCTION maintenance_status(OUT job_id bigint, OUT waiting_for text, OUT progress text)
RETURNS SETOF record
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  WITH maintenance_window AS MATERIALIZED (
    SELECT next_window_start(clock_timestamp()) AS opens
  )
  SELECT j.job_id,
         CASE WHEN j.status = 'running'::text THEN w.waiting_for
              ELSE coalesce(queue_obstacle(j.not_before, j.in_window, m.opens), j.waiting_for) END,
         CASE WHEN j.status = 'running'::text THEN maintenance_progress(w.pid) END
    FROM maintenance_jobs j CROSS JOIN maintenance_window m LEFT JOIN maintenance_workers() w ON w.job_id = j.job_id
   WHERE j.status IN ('queued'::text, 'running'::text);
END;
COMMENT ON FUNCTION maintenance_status() IS
  'How jobs stand at this moment. For the view maintenance_status, and so for everybody: the server shows progress '
  'of others to few.';

CREATE VIEW maintenance_status WITH (security_barrier) AS
SELECT j.job_id, j.kind, j.target, j.command, j.requested_by, j.reason, j.status, j.attempts, j.not_before,
       j.requested_at, j.started_at, j.finished_at,
       CASE WHEN j.status = 'running'
            THEN (pg_catalog.date_part('epoch', clock_timestamp() - j.started_at) * 1000)::bigint
            ELSE j.duration_ms END AS duration_ms,
       j.bytes_before, j.bytes_after, j.rows_removed, j.error_message, j.sqlstate,
       CASE WHEN j.status IN ('queued', 'running') THEN u.waiting_for ELSE j.waiting_for END AS waiting_for,
       u.progress, j.summary
  FROM maintenance_jobs j
  LEFT JOIN maintenance_status() u ON u.job_id = j.job_id
 WHERE pg_has_role(current_user, j.role, 'MEMBER')
    OR has_table_privilege(current_user, 'maintenance_jobs'::regclass::oid, 'SELECT');
COMMENT ON VIEW maintenance_status IS
  'maintenance_jobs with the progress of those at work: to everybody their own, to readers all.';
COMMENT ON COLUMN maintenance_status.progress IS 'Phase and blocks of what runs now.';
COMMENT ON COLUMN maintenance_status.waiting_for IS
  'What the job waits for now, or waited for in vain in its last attempt.';
