-- Rebuilding bloated indexes without blocking anybody, and clearing away what failed rebuilds leave.
--
-- REINDEX INDEX CONCURRENTLY gives the index another OID; when it fails, it leaves an invalid index that
-- every write still has to maintain. It cannot be had in every case, and it is not always worth it.

CREATE TABLE index_rebuilds (
  indexrelid oid PRIMARY KEY,
  rebuilt_at timestamptz NOT NULL,
  bytes_before bigint,
  bytes_after bigint NOT NULL,
  bloat_before numeric,
  bloat_after numeric,
  settled_ratio numeric
);
COMMENT ON TABLE index_rebuilds IS 'The last rebuild of each index that maintenance rebuilt, while it exists.';
COMMENT ON COLUMN index_rebuilds.indexrelid IS 'The index that the rebuild made.';
COMMENT ON COLUMN index_rebuilds.bloat_before IS 'Estimated excess in percent.';
COMMENT ON COLUMN index_rebuilds.settled_ratio IS
  'The highest ratio that snapshots saw in the week after it; known some time later.';

CREATE FUNCTION free_bytes(tablespace oid) RETURNS bigint
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'tp_free_bytes';
COMMENT ON FUNCTION free_bytes(oid) IS
  'What the operating system lets the server still write to a tablespace (0: the default one of this '
  'database); NULL if that is unknown.';

CREATE FUNCTION estimate_indexes(relation oid, only_index oid, sample_pages integer)
RETURNS TABLE (relid oid, skipped text, actual_size_bytes bigint, estimated_size_bytes bigint,
               method text, sampled_pages integer, live_tuples bigint, dead_tuples bigint,
               recently_dead_tuples bigint)
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE ROWS 3 COST 300000
AS 'MODULE_PATHNAME', 'tp_estimate_indexes';
COMMENT ON FUNCTION estimate_indexes(oid, oid, integer) IS
  'estimate_with_indexes() for the indexes of a table alone, or one of them (else 0); a row for the table '
  'only if that cannot be read. Checks no rights.';

CREATE FUNCTION excess_percent(actual bigint, estimated bigint) RETURNS numeric
LANGUAGE sql IMMUTABLE
BEGIN ATOMIC
  SELECT CASE WHEN excess_percent.estimated = 0::bigint THEN 0::numeric
              ELSE round((excess_percent.actual - excess_percent.estimated)::numeric
                         / excess_percent.estimated::numeric * 100::numeric, 2) END;
END;
COMMENT ON FUNCTION excess_percent(bigint, bigint) IS 'bloat_ratio of two sizes.';

CREATE FUNCTION percent_text(ratio numeric) RETURNS text
LANGUAGE sql IMMUTABLE
BEGIN ATOMIC
  SELECT trim_scale(round(percent_text.ratio, 1))::text || ' %'::text;
END;
COMMENT ON FUNCTION percent_text(numeric) IS 'A ratio for people.';

-- What failed rebuilds leave.

CREATE FUNCTION is_rebuild_leftover(index oid) RETURNS boolean
LANGUAGE sql STABLE
BEGIN ATOMIC
  -- The end of the name is the server's own label, which stays whole when it shortens a long name.
  SELECT EXISTS (SELECT FROM pg_catalog.pg_class c
                   JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid AND NOT i.indisvalid
                  WHERE c.oid = is_rebuild_leftover.index AND c.relkind = 'i'::"char"
                    AND c.relname::text ~ '_cc(new|old)[0-9]*$'::text)
         AND is_leftover(is_rebuild_leftover.index);
END;
COMMENT ON FUNCTION is_rebuild_leftover(oid) IS
  'Whether an index looks like one that a failed REINDEX CONCURRENTLY left: invalid, defined as a valid one '
  'of its table, and named as that names them. It may also be one that a rebuild is at work on.';

CREATE FUNCTION invalid_index_states(tables oid[], OUT indexrelid oid, OUT in_progress boolean,
                                     OUT leftover boolean)
RETURNS SETOF record
LANGUAGE sql VOLATILE ROWS 10
BEGIN ATOMIC
  SELECT i.indexrelid, i.in_progress, is_rebuild_leftover(i.indexrelid)
    FROM invalid_indexes_of(invalid_index_states.tables) i;
END;
COMMENT ON FUNCTION invalid_index_states(oid[]) IS
  'invalid_indexes_of(), with is_rebuild_leftover().';

CREATE FUNCTION rebuild_leftovers(relation oid, OUT indexrelid oid, OUT index text, OUT bytes bigint)
RETURNS SETOF record
LANGUAGE sql VOLATILE ROWS 10
BEGIN ATOMIC
  SELECT s.indexrelid, maintenance_target(s.indexrelid), coalesce(relation_bytes(s.indexrelid), 0::bigint)
    FROM invalid_index_states((
           SELECT pg_catalog.array_agg(t.oid)
             FROM pg_catalog.pg_class t
            WHERE coalesce((SELECT i.indrelid FROM pg_catalog.pg_index i
                             WHERE i.indexrelid = rebuild_leftovers.relation), rebuild_leftovers.relation)
                  IN (t.oid, t.reltoastrelid))) s
   WHERE s.leftover AND NOT s.in_progress
   ORDER BY s.indexrelid;
END;
COMMENT ON FUNCTION rebuild_leftovers(oid) IS
  'What failed concurrent rebuilds left of the indexes of a table and its TOAST table (either, or an index '
  'of it, may be given), while nothing is at work on them.';

CREATE FUNCTION extension_owner() RETURNS oid
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT e.extowner FROM pg_catalog.pg_extension e WHERE e.extname = 'train_perf'::name;
END;
COMMENT ON FUNCTION extension_owner() IS 'The role to which all of train_perf belongs.';

CREATE FUNCTION acting_role(kind text, relation oid, role oid) RETURNS oid
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_class c
                             JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid
                             JOIN pg_catalog.pg_class t ON t.oid = i.indrelid AND t.relkind = 't'::"char"
                            WHERE c.oid = acting_role.relation AND acting_role.kind IN ('reindex'::text, 'drop_index'::text)
                              AND NOT has_schema_privilege(acting_role.role, c.relnamespace, 'USAGE'::text))
              THEN extension_owner() ELSE acting_role.role END;
END;
COMMENT ON FUNCTION acting_role(text, oid, oid) IS
  'As whom the commands of a job run: as the role that asked, but for indexes of TOAST tables, which owners '
  'cannot name (the schema pg_toast is closed to them), as the owner of train_perf. No code of users runs '
  'there: such an index is always of the same two columns.';

CREATE FUNCTION dropping_role(index oid, asker oid) RETURNS oid
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT CASE WHEN pg_has_role(a.oid, c.relowner, 'USAGE'::text) THEN a.oid ELSE c.relowner END
    FROM pg_catalog.pg_class c
    LEFT JOIN pg_catalog.pg_roles a ON a.oid = dropping_role.asker
   WHERE c.oid = dropping_role.index;
END;
COMMENT ON FUNCTION dropping_role(oid, oid) IS
  'Who is to drop an index that a rebuild left: who asked for the rebuild, if that role still exists and owns '
  'it, else its owner.';

CREATE FUNCTION queue_leftover_drops_of(relation oid, asker oid, but_of oid) RETURNS bigint
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT count(queue_job('drop_index'::text, l.indexrelid, dropping_role(l.indexrelid, queue_leftover_drops_of.asker),
                         'a rebuild failed and left it'::text, NULL::numeric, false))
    FROM rebuild_leftovers(queue_leftover_drops_of.relation) l
   WHERE acting_role('drop_index'::text, l.indexrelid, dropping_role(l.indexrelid, queue_leftover_drops_of.asker))
         IS DISTINCT FROM queue_leftover_drops_of.but_of;
END;
COMMENT ON FUNCTION queue_leftover_drops_of(oid, oid, oid) IS
  'Queues the drop of what rebuilds left of the indexes of a table, except what the role `but_of` drops itself.';

-- Which indexes to rebuild.

CREATE FUNCTION rebuild_obstacle(index oid) RETURNS text
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT CASE
      WHEN c.relpersistence = 't'::"char" THEN
        'it is of a temporary table, which no worker can see; in its own session run REINDEX INDEX pg_temp.'::text
          || quote_ident(c.relname::text)
      -- REINDEX CONCURRENTLY refuses pinned relations (FirstUnpinnedObjectId).
      WHEN i.indrelid < 12000::oid THEN
        'it is of a system catalog, which cannot be rebuilt concurrently; in a quiet moment, as it blocks, a '
          'superuser may run REINDEX INDEX '::text || maintenance_target(c.oid)
      WHEN i.indisexclusion THEN
        'it serves an exclusion constraint, which cannot be rebuilt concurrently; in a quiet moment, as it blocks, '
          'its owner may run REINDEX INDEX '::text || maintenance_target(c.oid)
      WHEN c.relkind = 'I'::"char" THEN 'it is partitioned; its parts are rebuilt one by one'::text
    END
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid
   WHERE c.oid = rebuild_obstacle.index;
END;
COMMENT ON FUNCTION rebuild_obstacle(oid) IS
  'Why no worker can rebuild an index concurrently, and what can be done by hand; NULL: one can.';

CREATE FUNCTION is_rebuild_in_vain(index oid, actual_size_bytes bigint, bloat_ratio numeric) RETURNS boolean
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT EXISTS (
    SELECT FROM index_rebuilds r
     WHERE r.indexrelid = is_rebuild_in_vain.index
       AND r.bytes_after::numeric > 0.95 * r.bytes_before::numeric
       AND is_rebuild_in_vain.actual_size_bytes::numeric <= 1.2 * r.bytes_after::numeric
       AND is_rebuild_in_vain.bloat_ratio < coalesce(r.bloat_after, is_rebuild_in_vain.bloat_ratio) + 20::numeric);
END;
COMMENT ON FUNCTION is_rebuild_in_vain(oid, bigint, numeric) IS
  'Whether the last rebuild of an index won less than 5 % of its size, and since then it has grown neither '
  'by 20 % nor by 20 points of bloat.';

CREATE FUNCTION settled_ratio(index oid) RETURNS numeric
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT greatest(r.settled_ratio, r.bloat_after,
                  (SELECT max(s.bloat_ratio)
                     FROM pg_catalog.pg_class c
                     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                     JOIN index_bloat_snapshots s
                       ON s.schemaname = n.nspname::text COLLATE pg_catalog."default"
                      AND s.indexname = c.relname::text COLLATE pg_catalog."default"
                      AND s.snapshot_timestamp >= r.rebuilt_at
                      AND s.snapshot_timestamp < r.rebuilt_at + interval '168 hours'
                    WHERE c.oid = r.indexrelid AND s.indexrelid = r.indexrelid))
    FROM index_rebuilds r
   WHERE r.indexrelid = settled_ratio.index;
END;
COMMENT ON FUNCTION settled_ratio(oid) IS
  'The bloat to which an index grew in the week after its last rebuild; NULL if it was never rebuilt.';

CREATE FUNCTION unfinished_rebuild(index oid) RETURNS bigint
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT min(j.job_id) FROM maintenance_jobs j
   WHERE j.relid = unfinished_rebuild.index AND j.kind = 'reindex'::text AND j.finished_at IS NULL;
END;
COMMENT ON FUNCTION unfinished_rebuild(oid) IS
  'The job that rebuilds an index and has not ended.';

CREATE FUNCTION judge_rebuilds(tables oid[], threshold numeric, least_bytes bigint, asker oid,
                               OUT indexrelid oid, OUT verdict text, OUT actual_size_bytes bigint,
                               OUT bytes_to_win bigint, OUT bloat_ratio numeric, OUT obstacle text)
RETURNS SETOF record
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  WITH listed AS MATERIALIZED (
    SELECT i.indexrelid, i.indrelid, coalesce(relation_bytes(i.indexrelid), 0::bigint) AS bytes,
           role_may_maintain(judge_rebuilds.asker, i.indexrelid, 'reindex'::text) AS allowed,
           c.relpersistence <> 't'::"char" OR pg_my_temp_schema() = c.relnamespace AS readable,
           s.in_progress, s.leftover,
           rebuild_obstacle(i.indexrelid) AS obstacle
      FROM (SELECT DISTINCT g.relid FROM pg_catalog.unnest(judge_rebuilds.tables) AS g (relid)) t
      JOIN pg_catalog.pg_index i ON i.indrelid = t.relid
      JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid AND c.relkind = 'i'::"char"
      LEFT JOIN invalid_index_states(judge_rebuilds.tables) s ON s.indexrelid = i.indexrelid
  ), estimate AS MATERIALIZED (
    SELECT w.indrelid, e.relid, e.skipped, e.actual_size_bytes, e.estimated_size_bytes
      FROM (SELECT DISTINCT l.indrelid FROM listed l
             WHERE l.allowed AND l.readable AND l.in_progress IS NULL
               AND l.bytes >= judge_rebuilds.least_bytes) w
     CROSS JOIN LATERAL estimate_indexes(w.indrelid, 0::oid, 1000) e
  ), judged AS MATERIALIZED (
    SELECT l.*, coalesce(whole.skipped, e.skipped) AS skipped, e.actual_size_bytes AS actual,
           e.actual_size_bytes - e.estimated_size_bytes AS to_win,
           excess_percent(e.actual_size_bytes, e.estimated_size_bytes) AS ratio
      FROM listed l
      LEFT JOIN estimate e ON e.relid = l.indexrelid AND l.in_progress IS NULL
      LEFT JOIN estimate whole ON whole.indrelid = l.indrelid AND whole.relid = l.indrelid
  )
  SELECT j.indexrelid,
         CASE WHEN NOT j.allowed THEN 'forbidden'::text
              WHEN j.in_progress THEN 'building'::text
              WHEN j.leftover THEN 'leftover'::text
              WHEN j.in_progress IS NOT NULL THEN 'invalid'::text
              WHEN j.bytes < judge_rebuilds.least_bytes THEN 'small'::text
              WHEN NOT j.readable THEN 'foreign'::text
              WHEN j.skipped IS NOT NULL THEN j.skipped
              WHEN j.actual IS NULL THEN 'gone'::text
              WHEN j.ratio <= judge_rebuilds.threshold THEN 'below'::text
              WHEN j.obstacle IS NOT NULL THEN 'by hand'::text
              WHEN is_rebuild_in_vain(j.indexrelid, j.actual, j.ratio) THEN 'in vain'::text
              ELSE 'rebuild'::text END,
         coalesce(j.actual, j.bytes), j.to_win, j.ratio, j.obstacle
    FROM judged j;
END;
COMMENT ON FUNCTION judge_rebuilds(oid[], numeric, bigint, oid) IS
  'What there is to do about the indexes of tables, by fresh estimates: rebuild, or why not: below (the '
  'threshold), small (under least_bytes), in vain, by hand (see obstacle), forbidden (to who asks), '
  'leftover (of a failed rebuild), building (something is at work on it), invalid (its build failed), foreign '
  '(temporary, of another session), locked, damaged, gone.';

CREATE FUNCTION request_maintenance_as(kind text, relation oid, threshold numeric, bloat_ratio numeric,
                                       reason text, role oid) RETURNS bigint
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'tp_request_maintenance';
COMMENT ON FUNCTION request_maintenance_as(text, oid, numeric, numeric, text, oid) IS
  'request_maintenance() on behalf of a role, whose rights were checked.';

CREATE FUNCTION ask_for_rebuild(index oid, threshold numeric, bloat_ratio numeric, bytes_to_win bigint, asker oid)
RETURNS bigint
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT request_maintenance_as('reindex'::text, ask_for_rebuild.index, ask_for_rebuild.threshold, ask_for_rebuild.bloat_ratio,
           coalesce('bloat '::text || percent_text(ask_for_rebuild.bloat_ratio) || ', above '::text
                      || trim_scale(ask_for_rebuild.threshold)::text || ' %'::text || '; '::text
                      || pg_size_pretty(ask_for_rebuild.bytes_to_win) || ' to win'::text,
                    'a rebuild failed and left it'::text), ask_for_rebuild.asker);
END;
COMMENT ON FUNCTION ask_for_rebuild(oid, numeric, numeric, bigint, oid) IS 'request_maintenance_as() with the reason.';

CREATE FUNCTION tables_with_storage(relation oid) RETURNS oid[]
LANGUAGE sql STABLE
BEGIN ATOMIC
  WITH RECURSIVE part AS (
    SELECT c.oid, c.relkind, c.reltoastrelid FROM pg_catalog.pg_class c WHERE c.oid = tables_with_storage.relation
    UNION ALL
    SELECT c.oid, c.relkind, c.reltoastrelid
      FROM part p
      JOIN pg_catalog.pg_inherits h ON h.inhparent = p.oid AND p.relkind = 'p'::"char"
      JOIN pg_catalog.pg_class c ON c.oid = h.inhrelid
  )
  SELECT coalesce(pg_catalog.array_agg(s.relid), '{}'::oid[])
    FROM part p
   CROSS JOIN LATERAL (VALUES (p.oid), (p.reltoastrelid)) AS s (relid)
   WHERE p.relkind IN ('r'::"char", 'm'::"char", 't'::"char") AND s.relid <> 0::oid;
END;
COMMENT ON FUNCTION tables_with_storage(oid) IS
  'A table and its TOAST table, of a partitioned table those of all its partitions.';

CREATE FUNCTION queue_rebuilds_of(relation oid, threshold numeric, asker oid) RETURNS text
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  WITH ranked AS MATERIALIZED (
    SELECT j.*, maintenance_target(j.indexrelid) AS name, unfinished_rebuild(j.indexrelid) AS unfinished
      FROM judge_rebuilds(tables_with_storage(queue_rebuilds_of.relation), queue_rebuilds_of.threshold, 0::bigint,
                          queue_rebuilds_of.asker) j
     ORDER BY j.bloat_ratio DESC NULLS LAST, j.bytes_to_win DESC NULLS LAST, maintenance_target(j.indexrelid)
  ), asked AS MATERIALIZED (
    -- In this order.
    SELECT r.*,
           CASE WHEN r.verdict IN ('rebuild'::text, 'leftover'::text) THEN coalesce(r.unfinished,
                  ask_for_rebuild(r.indexrelid, queue_rebuilds_of.threshold, r.bloat_ratio, r.bytes_to_win,
                                  queue_rebuilds_of.asker)) END
             AS job_id
      FROM ranked r
  ), told AS (
    SELECT a.bloat_ratio, a.bytes_to_win, a.name,
           a.name || coalesce(': ratio '::text || percent_text(a.bloat_ratio), ''::text)
           || CASE WHEN a.verdict IN ('rebuild'::text, 'by hand'::text, 'in vain'::text)
                   THEN ', '::text || pg_size_pretty(a.bytes_to_win) || ' to win of '::text || pg_size_pretty(a.actual_size_bytes) || ': '::text
                   WHEN a.bloat_ratio IS NULL THEN ': '::text ELSE ''::text END
           || CASE a.verdict
                WHEN 'rebuild'::text THEN
                  CASE WHEN a.unfinished IS NULL THEN 'queued as job '::text ELSE 'already queued as job '::text END || a.job_id::text
                WHEN 'leftover'::text THEN
                  'left by a failed rebuild; its drop is '::text
                  || CASE WHEN a.unfinished IS NULL THEN 'queued as job '::text ELSE 'already queued as job '::text END || a.job_id::text
                WHEN 'below'::text THEN ', not above '::text || trim_scale(queue_rebuilds_of.threshold)::text || ' %'::text
                  || ': nothing to do'::text
                WHEN 'by hand'::text THEN 'not queued, '::text || a.obstacle
                WHEN 'in vain'::text THEN 'not queued, its last rebuild won nothing, and it has not grown since'::text
                WHEN 'forbidden'::text THEN 'not queued, permission denied'::text
                WHEN 'building'::text THEN 'something is building, rebuilding or dropping it'::text
                WHEN 'invalid'::text THEN 'invalid, its build failed; see index_findings'::text
                WHEN 'foreign'::text THEN 'not queued, it is of a temporary table of another session'::text
                WHEN 'locked'::text THEN 'not looked at, it is locked; try again later'::text
                WHEN 'damaged'::text THEN 'not looked at, it is damaged'::text
                ELSE 'gone'::text END AS line
      FROM asked a
  )
  SELECT coalesce(string_agg(t.line, E'\n'::text ORDER BY t.bloat_ratio DESC NULLS LAST, t.bytes_to_win DESC NULLS LAST, t.name),
                  maintenance_target(queue_rebuilds_of.relation) || ' has no index'::text)
    FROM told t;
END;
COMMENT ON FUNCTION queue_rebuilds_of(oid, numeric, oid) IS 'Part of reindex_if_bloated, for somebody who may.';

CREATE FUNCTION reindex_if_bloated(table_name text, bloat_threshold numeric DEFAULT 20.0) RETURNS text
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'tp_reindex_if_bloated';
COMMENT ON FUNCTION reindex_if_bloated(text, numeric) IS
  'Queues a concurrent rebuild of each index of a table whose bloat, by a fresh estimate, is above the '
  'threshold (the excess in percent of the size after a rebuild), worst first; of a partitioned table those of '
  'all partitions, and of TOAST tables too. Returns a line for each index. It does not wait for the jobs: a '
  'waiting caller''s snapshot would block them. For who may rebuild the indexes.';

CREATE FUNCTION note_indexes_left(reasons text[]) RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF cardinality(reasons) > 0 THEN
    RAISE NOTICE USING
      MESSAGE = 'left alone: ' || array_to_string(reasons, ', '),
      HINT = 'reindex_if_bloated() tells of each index of a table.';
  END IF;
  RETURN true;
END
$$;
COMMENT ON FUNCTION note_indexes_left(text[]) IS 'Part of reindex_bloated_indexes: the NOTICE.';

CREATE FUNCTION queue_rebuilds(threshold numeric, asker oid, scheduled boolean)
RETURNS TABLE (job_id bigint, schemaname text, indexname text, bloat_ratio numeric)
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  WITH ranked AS MATERIALIZED (
    SELECT j.*
      FROM judge_rebuilds((SELECT pg_catalog.array_agg(t.relid) FROM snapshot_tables() t), queue_rebuilds.threshold,
                          1048576::bigint, queue_rebuilds.asker) j
     ORDER BY j.bloat_ratio DESC NULLS LAST, j.bytes_to_win DESC NULLS LAST, j.indexrelid
  ), left_alone AS MATERIALIZED (
    SELECT pg_catalog.array_agg(g.count::text || ' '::text || g.reason ORDER BY g.reason) AS reasons
      FROM (SELECT w.reason, count(*) AS count
              FROM ranked r
              JOIN (VALUES ('forbidden'::text, 'of other owners'::text), ('small'::text, 'smaller than 1 MB'::text),
                           ('in vain'::text, 'whose last rebuild won nothing'::text),
                           ('by hand'::text, 'that cannot be rebuilt concurrently'::text),
                           ('leftover'::text, 'left by failed rebuilds'::text),
                           ('building'::text, 'that something is at work on'::text), ('invalid'::text, 'invalid'::text),
                           ('locked'::text, 'locked'::text), ('damaged'::text, 'damaged'::text)) AS w (verdict, reason)
                ON w.verdict = r.verdict
             GROUP BY w.reason) g
  ), asked AS MATERIALIZED (
    SELECT r.*, coalesce(unfinished_rebuild(r.indexrelid),
                         ask_for_rebuild(r.indexrelid, queue_rebuilds.threshold, r.bloat_ratio, r.bytes_to_win,
                                         queue_rebuilds.asker)) AS job_id
      FROM ranked r
     WHERE r.verdict = 'rebuild'::text
       AND (NOT queue_rebuilds.scheduled OR r.bloat_ratio >= coalesce(settled_ratio(r.indexrelid) + 20::numeric, 0::numeric))
  )
  SELECT a.job_id, n.nspname::text COLLATE "default", c.relname::text COLLATE "default", a.bloat_ratio
    FROM asked a
    JOIN pg_catalog.pg_class c ON c.oid = a.indexrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
   WHERE (SELECT note_indexes_left(l.reasons) FROM left_alone l) IS NOT NULL
   ORDER BY a.bloat_ratio DESC, a.bytes_to_win DESC, a.indexrelid;
END;
COMMENT ON FUNCTION queue_rebuilds(numeric, oid, boolean) IS
  'Part of reindex_bloated_indexes() and monthly_maintenance().';

CREATE FUNCTION reindex_bloated_indexes(bloat_threshold numeric DEFAULT 20.0)
RETURNS TABLE (job_id bigint, schemaname text, indexname text, bloat_ratio numeric)
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'tp_reindex_bloated_indexes';
COMMENT ON FUNCTION reindex_bloated_indexes(numeric) IS
  'Queues a concurrent rebuild of every index of at least 1 MB that snapshots cover, that the caller may '
  'rebuild, and whose bloat, by a fresh estimate, is above the threshold; worst first. Returns those; a NOTICE '
  'counts what was left alone, and why. It does not wait for the jobs.';

CREATE FUNCTION monthly_maintenance() RETURNS integer
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'tp_monthly_maintenance';
COMMENT ON FUNCTION monthly_maintenance() IS
  'reindex_bloated_indexes() above train_perf.reindex_threshold, but for indexes that have not grown 20 points past '
  'where they settled after their last rebuild. Returns how many rebuilds are queued.';

CREATE FUNCTION note_settled_ratios() RETURNS void
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  -- Before the snapshots of that week go with their partitions.
  UPDATE index_rebuilds r SET settled_ratio = settled_ratio(r.indexrelid)
   WHERE r.settled_ratio IS DISTINCT FROM settled_ratio(r.indexrelid);
  DELETE FROM index_rebuilds r
   WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = r.indexrelid AND c.relkind = 'i'::"char");
END;
COMMENT ON FUNCTION note_settled_ratios() IS
  'Keeps in index_rebuilds what snapshots tell of the week after each rebuild, and no row of a dropped index.';

CREATE FUNCTION queue_scheduled_reindex() RETURNS integer
LANGUAGE sql VOLATILE
SET jit = off
BEGIN ATOMIC
  SELECT note_settled_ratios();
  WITH setting AS MATERIALIZED (
    SELECT coalesce(current_setting('train_perf.reindex_threshold'::text, true), '50'::text)::numeric AS threshold
  ), bloated AS MATERIALIZED (
    SELECT c.oid AS indexrelid, c.relowner, s.bloat_ratio, s.bloat_bytes, t.threshold
      FROM setting t
      JOIN index_bloat_status() s ON s.bloat_ratio > t.threshold AND s.actual_size_bytes >= 1048576::bigint
      JOIN snapshot_indexes() x ON x.schemaname = s.schemaname COLLATE "C" AND x.indexname = s.indexname COLLATE "C"
      JOIN pg_catalog.pg_class c ON c.oid = x.indexrelid
     WHERE rebuild_obstacle(c.oid) IS NULL AND NOT is_rebuild_leftover(c.oid)
       AND NOT is_rebuild_in_vain(c.oid, s.actual_size_bytes, s.bloat_ratio)
       AND s.bloat_ratio >= coalesce(settled_ratio(c.oid) + 20::numeric, 0::numeric)
     ORDER BY s.bloat_ratio DESC, s.bloat_bytes DESC
  )
  SELECT count(queue_job('reindex'::text, b.indexrelid, b.relowner,
                         'schedule: bloat '::text || percent_text(b.bloat_ratio) || ', above '::text
                           || trim_scale(b.threshold)::text || ' %'::text || '; '::text || pg_size_pretty(b.bloat_bytes) || ' to win'::text,
                         b.threshold, true))::integer
    FROM bloated b;
END;
COMMENT ON FUNCTION queue_scheduled_reindex() IS
  'Queues the rebuild of indexes above train_perf.reindex_threshold at their last snapshot, as the owner of '
  'each, for the maintenance window, worst first: not of one that has not grown 20 points past where it settled '
  'after its last rebuild. The job looks again before it begins. Returns how many; the schedule''s monthly work.';

-- The jobs.

CREATE FUNCTION bytes_for_rebuild(index oid, estimated_size_bytes bigint) RETURNS bigint
LANGUAGE sql STABLE
BEGIN ATOMIC
  -- A tenth for what is written meanwhile; and what does not fit into memory is sorted on disk.
  SELECT ceil(1.1 * bytes_for_rebuild.estimated_size_bytes::numeric)::bigint
         + CASE WHEN m.amname NOT IN ('brin'::name, 'spgist'::name)
                     AND bytes_for_rebuild.estimated_size_bytes
                         > pg_size_bytes(current_setting('maintenance_work_mem'::text))
                THEN bytes_for_rebuild.estimated_size_bytes ELSE 0::bigint END
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_am m ON m.oid = c.relam
   WHERE c.oid = bytes_for_rebuild.index;
END;
COMMENT ON FUNCTION bytes_for_rebuild(oid, bigint) IS
  'The disk space that a rebuild of an index takes until the old one is gone, by its estimated size.';

CREATE FUNCTION index_of_job(job maintenance_jobs) RETURNS oid
LANGUAGE sql STABLE
BEGIN ATOMIC
  -- An earlier attempt may have got as far as to give the name to the new index.
  SELECT coalesce(
    (SELECT i.indexrelid FROM pg_catalog.pg_index i
      WHERE i.indexrelid = (index_of_job.job).relid AND (i.indisvalid OR NOT is_rebuild_leftover(i.indexrelid))),
    (SELECT i.indexrelid FROM pg_catalog.pg_index i
      WHERE i.indexrelid = to_regclass((index_of_job.job).target)::oid AND i.indisvalid),
    (SELECT i.indexrelid FROM pg_catalog.pg_index i WHERE i.indexrelid = (index_of_job.job).relid));
END;
COMMENT ON FUNCTION index_of_job(maintenance_jobs) IS 'The index that a job is to rebuild; NULL if it is gone.';

CREATE FUNCTION rebuilt_index(job maintenance_jobs) RETURNS oid
LANGUAGE sql STABLE
BEGIN ATOMIC
  -- The old index is gone or, if only its drop failed, invalid.
  SELECT i.indexrelid
    FROM pg_catalog.pg_index i
   WHERE i.indexrelid = to_regclass((rebuilt_index.job).target)::oid AND i.indisvalid
     AND i.indexrelid <> (rebuilt_index.job).relid
     AND NOT EXISTS (SELECT FROM pg_catalog.pg_index old
                      WHERE old.indexrelid = (rebuilt_index.job).relid AND old.indisvalid);
END;
COMMENT ON FUNCTION rebuilt_index(maintenance_jobs) IS
  'The index that a job made in place of its own; NULL if it made none.';

CREATE FUNCTION plan_reindex(job maintenance_jobs, OUT skip text, OUT obstacle text, OUT obstacle_sqlstate text,
                             OUT commands text[], OUT repeat boolean, OUT bytes_before bigint,
                             OUT bloat_before numeric)
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT queue_leftover_drops_of(t.index, (plan_reindex.job).role, acting_role('reindex'::text, t.index, (plan_reindex.job).role))
    FROM (SELECT index_of_job(plan_reindex.job) AS index) t;
  WITH target AS MATERIALIZED (
    SELECT i.indexrelid, i.indrelid, c.reltablespace, maintenance_target(i.indexrelid) AS name,
           (plan_reindex.job).threshold AS threshold, starts_with((plan_reindex.job).reason, 'schedule: '::text) AS scheduled,
           role_may_maintain((plan_reindex.job).role, i.indexrelid, 'reindex'::text) AS allowed,
           rebuild_obstacle(i.indexrelid) AS impossible,
           coalesce(s.in_progress, false) AS in_progress, coalesce(s.leftover, false) AS leftover
      FROM pg_catalog.pg_index i
      JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
      LEFT JOIN invalid_index_states(ARRAY[i.indrelid]) s ON s.indexrelid = i.indexrelid
     WHERE i.indexrelid = index_of_job(plan_reindex.job)
  ), leftover AS MATERIALIZED (
    SELECT pg_catalog.array_agg('DROP INDEX CONCURRENTLY '::text || l.index ORDER BY l.indexrelid) AS drops,
           coalesce(sum(l.bytes), 0::numeric) AS bytes
      FROM target t
     CROSS JOIN LATERAL rebuild_leftovers(t.indrelid) l
     WHERE acting_role('drop_index'::text, l.indexrelid, dropping_role(l.indexrelid, (plan_reindex.job).role))
           = acting_role('reindex'::text, t.indexrelid, (plan_reindex.job).role)
  ), estimated AS MATERIALIZED (
    SELECT t.*, e.skipped, e.actual_size_bytes, e.estimated_size_bytes,
           excess_percent(e.actual_size_bytes, e.estimated_size_bytes) AS ratio,
           settled_ratio(t.indexrelid) AS settled
      FROM target t
      LEFT JOIN LATERAL estimate_indexes(t.indrelid, t.indexrelid, 1000) e
        ON t.allowed AND t.impossible IS NULL AND NOT t.in_progress AND NOT t.leftover
  ), decided AS (
    SELECT e.*, l.drops,
           bytes_for_rebuild(e.indexrelid, e.estimated_size_bytes)::numeric - l.bytes AS needed,
           free_bytes(e.reltablespace) AS free,
           CASE WHEN e.leftover THEN 'drop'::text
                WHEN e.impossible IS NOT NULL THEN e.name || ' is not rebuilt: '::text || e.impossible
                WHEN e.skipped = 'damaged'::text THEN e.name || ' is damaged: see the server''s log'::text
                WHEN e.skipped = 'gone'::text OR e.actual_size_bytes IS NULL THEN e.name || ' is gone'::text
                WHEN e.skipped IS NOT NULL THEN NULL
                WHEN e.ratio <= e.threshold THEN
                  pg_catalog.format('%s is not rebuilt: its ratio is now %s, not above %s'::text, e.name,
                                    percent_text(e.ratio), trim_scale(e.threshold)::text || ' %'::text)
                WHEN e.scheduled AND e.ratio < e.settled + 20::numeric THEN
                  pg_catalog.format('%s is not rebuilt: its ratio is %s, and it settled at %s after its last rebuild'::text,
                                    e.name, percent_text(e.ratio), percent_text(e.settled))
                WHEN e.threshold IS NOT NULL AND is_rebuild_in_vain(e.indexrelid, e.actual_size_bytes, e.ratio) THEN
                  pg_catalog.format('%s is not rebuilt: its last rebuild won nothing, and it has not grown since'::text, e.name)
           END AS unneeded
      FROM estimated e
     CROSS JOIN leftover l
  ), checked AS (
    SELECT d.*,
           CASE WHEN NOT d.allowed THEN '42501'::text
                WHEN d.in_progress THEN '55006'::text
                WHEN d.skipped IN ('locked'::text, 'unlogged'::text) THEN '55P03'::text
                WHEN d.unneeded IS NULL AND d.needed > d.free::numeric THEN '53100'::text END AS sqlstate
      FROM decided d
  )
  -- An attempt may have failed when all but the drop of the old index was done: then nothing is left to do.
  SELECT CASE WHEN c.indexrelid IS NULL THEN (plan_reindex.job).target || ' is gone'::text
              WHEN c.sqlstate IS NULL AND c.drops IS NULL
                   AND NOT coalesce((plan_reindex.job).attempts > 1 AND (plan_reindex.job).bytes_before IS NOT NULL
                                    AND c.indexrelid = rebuilt_index(plan_reindex.job), false)
              THEN c.unneeded END,
         CASE c.sqlstate
           WHEN '42501'::text THEN pg_catalog.format('permission denied to rebuild %s'::text, c.name)
           WHEN '55006'::text THEN pg_catalog.format('another session is building, rebuilding or dropping %s'::text, c.name)
           WHEN '55P03'::text THEN pg_catalog.format('%s or its table is locked'::text, c.name)
           WHEN '53100'::text THEN
             pg_catalog.format('a rebuild of %s takes %s of disk space, and its tablespace has %s'::text, c.name,
                               pg_size_pretty(c.needed), pg_size_pretty(c.free)) END,
         c.sqlstate,
         CASE WHEN c.sqlstate IS NULL AND c.indexrelid IS NOT NULL THEN
           nullif(coalesce(c.drops, '{}'::text[])
                    || CASE WHEN c.unneeded IS NULL THEN ARRAY['REINDEX INDEX CONCURRENTLY '::text || c.name]
                            ELSE '{}'::text[] END, '{}'::text[]) END,
         false, relation_bytes((plan_reindex.job).relid), coalesce(c.ratio, (plan_reindex.job).bloat_before)
    FROM (SELECT 1) AS one
    LEFT JOIN checked c ON true;
END;
COMMENT ON FUNCTION plan_reindex(maintenance_jobs) IS
  'How a worker rebuilds an index: what earlier attempts left is dropped first; nothing is built if a fresh '
  'estimate is not above the job''s threshold any more (NULL: it is built in any case), or there is no room for it.';

CREATE FUNCTION note_rebuild(job maintenance_jobs, index oid) RETURNS boolean
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  WITH made AS MATERIALIZED (
    SELECT c.oid, i.indrelid, n.nspname::text AS schemaname, t.relname::text AS tablename, c.relname::text AS indexname,
           m.amname::text AS access_method, e.skipped, e.actual_size_bytes, e.estimated_size_bytes, e.dead_tuples,
           e.live_tuples, e.method, e.sampled_pages, e.recently_dead_tuples,
           excess_percent(e.actual_size_bytes, e.estimated_size_bytes) AS ratio
      FROM pg_catalog.pg_index i
      JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
      JOIN pg_catalog.pg_class t ON t.oid = i.indrelid
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      JOIN pg_catalog.pg_am m ON m.oid = c.relam
      LEFT JOIN LATERAL estimate_indexes(i.indrelid, i.indexrelid, 1000) e ON e.skipped IS NULL
     WHERE i.indexrelid = note_rebuild.index
       AND NOT EXISTS (SELECT FROM index_rebuilds r WHERE r.indexrelid = note_rebuild.index)
  ), shown AS (
    -- Else the last snapshot before it would go on raising its alert.
    INSERT INTO index_bloat_snapshots (
      snapshot_timestamp, schemaname, tablename, indexname, access_method, actual_size_bytes, estimated_size_bytes,
      dead_tuples, live_tuples, method, sampled_pages, recently_dead_tuples, relid, indexrelid)
    SELECT clock_timestamp(), d.schemaname, d.tablename, d.indexname, d.access_method, d.actual_size_bytes,
           d.estimated_size_bytes, d.dead_tuples, d.live_tuples, d.method, d.sampled_pages, d.recently_dead_tuples,
           d.indrelid, d.oid
      FROM made d
     WHERE d.actual_size_bytes IS NOT NULL AND d.indrelid IN (SELECT s.relid FROM snapshot_tables() s)
    ON CONFLICT DO NOTHING
  ), noted AS (
    INSERT INTO index_rebuilds (indexrelid, rebuilt_at, bytes_before, bytes_after, bloat_before, bloat_after)
    SELECT d.oid, clock_timestamp(), (note_rebuild.job).bytes_before,
           coalesce(d.actual_size_bytes, relation_bytes(d.oid), 0::bigint), (note_rebuild.job).bloat_before, d.ratio
      FROM made d
    ON CONFLICT DO NOTHING
    RETURNING index_rebuilds.*
  ), told AS (
    INSERT INTO performance_alerts (alert_type, severity, message, details, resolved_at, resolution_notes, fingerprint,
                                    last_seen_at)
    SELECT 'high_bloat'::text, 'info'::text,
           pg_catalog.format('Index %s was rebuilt: %s -> %s'::text, maintenance_target(d.oid),
                             coalesce(pg_size_pretty(r.bytes_before), 'unknown'::text), pg_size_pretty(r.bytes_after)),
           pg_catalog.jsonb_build_object(
             'fingerprint', 'high_bloat:index:'::text || maintenance_target(d.oid), 'schemaname', d.schemaname,
             'tablename', d.tablename, 'indexname', d.indexname, 'previous_bloat', r.bloat_before,
             'bloat_ratio', r.bloat_after, 'threshold', (note_rebuild.job).threshold, 'bytes_before', r.bytes_before,
             'bytes_after', r.bytes_after, 'job_id', (note_rebuild.job).job_id),
           now(), pg_catalog.format('Rebuilt by job %s.'::text, (note_rebuild.job).job_id),
           'high_bloat:index:'::text || maintenance_target(d.oid), now()
      FROM noted r
      JOIN made d ON d.oid = r.indexrelid
  ), resolved AS (
    UPDATE performance_alerts a
       SET resolved_at = now(),
           resolution_notes = coalesce(a.resolution_notes,
                                       pg_catalog.format('Rebuilt by job %s.'::text, (note_rebuild.job).job_id))
      FROM noted r
     WHERE a.resolved_at IS NULL AND a.alert_type = 'high_bloat'::text
       AND a.fingerprint = 'high_bloat:index:'::text || maintenance_target(r.indexrelid)
  )
  SELECT EXISTS (SELECT FROM noted);
END;
COMMENT ON FUNCTION note_rebuild(maintenance_jobs, oid) IS
  'Part of conclude_reindex: the row of index_rebuilds, a snapshot of the new index, and the alerts. Once for '
  'each new index.';

CREATE FUNCTION duration_text(duration_ms bigint) RETURNS text
LANGUAGE sql IMMUTABLE
BEGIN ATOMIC
  SELECT CASE WHEN duration_text.duration_ms < 10000::bigint THEN duration_text.duration_ms::text || ' ms'::text
              ELSE round(duration_text.duration_ms::numeric / 1000::numeric)::text || ' s'::text END;
END;
COMMENT ON FUNCTION duration_text(bigint) IS 'A duration for people.';

CREATE FUNCTION conclude_reindex(job maintenance_jobs, succeeded boolean, OUT bytes_after bigint,
                                 OUT bloat_after numeric, OUT summary text)
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT note_rebuild(conclude_reindex.job, m.index)
    FROM (SELECT rebuilt_index(conclude_reindex.job) AS index) m
   WHERE m.index IS NOT NULL;
  SELECT check_invalid_index_alerts()
    FROM (SELECT CASE WHEN NOT conclude_reindex.succeeded
                      THEN queue_leftover_drops_of(index_of_job(conclude_reindex.job), (conclude_reindex.job).role, NULL::oid) END
            AS drops) q
   WHERE q.drops > 0::bigint OR starts_with((conclude_reindex.job).command, 'DROP INDEX '::text);
  SELECT r.bytes_after, r.bloat_after,
         CASE WHEN r.indexrelid IS NOT NULL THEN
                pg_catalog.format('rebuilt %s: %s -> %s, ratio %s -> %s, %s'::text, maintenance_target(r.indexrelid),
                                  coalesce(pg_size_pretty(r.bytes_before), 'unknown'::text), pg_size_pretty(r.bytes_after),
                                  coalesce(percent_text(r.bloat_before), 'unknown'::text),
                                  coalesce(percent_text(r.bloat_after), 'unknown'::text),
                                  coalesce(duration_text((conclude_reindex.job).duration_ms), 'unknown'::text))
              WHEN conclude_reindex.succeeded THEN
                pg_catalog.format('dropped what failed rebuilds had left of %s or its table; nothing to rebuild'::text,
                                  (conclude_reindex.job).target) END
    FROM (SELECT 1) AS one
    LEFT JOIN index_rebuilds r ON r.indexrelid = rebuilt_index(conclude_reindex.job);
END;
COMMENT ON FUNCTION conclude_reindex(maintenance_jobs, boolean) IS
  'What came of a rebuild, for its job, index_rebuilds and the alerts; after a failed one, what it left is to be '
  'dropped.';

CREATE FUNCTION plan_drop_index(job maintenance_jobs, OUT skip text, OUT obstacle text, OUT obstacle_sqlstate text,
                                OUT commands text[], OUT repeat boolean, OUT bytes_before bigint,
                                OUT bloat_before numeric)
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  WITH target AS MATERIALIZED (
    SELECT i.indexrelid, i.indrelid, i.indisvalid, maintenance_target(i.indexrelid) AS name,
           is_rebuild_leftover(i.indexrelid) AS leftover,
           EXISTS (SELECT FROM invalid_indexes_of(ARRAY[i.indrelid]) s
                    WHERE s.indexrelid = i.indexrelid AND s.in_progress) AS in_progress
      FROM pg_catalog.pg_index i
     WHERE i.indexrelid = (plan_drop_index.job).relid
  )
  SELECT CASE WHEN t.indexrelid IS NULL THEN (plan_drop_index.job).target || ' is gone'::text
              WHEN t.indisvalid THEN t.name || ' is not dropped: it is valid'::text
              WHEN NOT t.leftover THEN t.name || ' is not dropped: it is not what a failed rebuild leaves'::text END,
         CASE WHEN t.leftover AND t.in_progress THEN
           pg_catalog.format('another session is building, rebuilding or dropping %s'::text, t.name) END,
         CASE WHEN t.leftover AND t.in_progress THEN '55006'::text END,
         CASE WHEN t.leftover AND NOT t.in_progress THEN ARRAY['DROP INDEX CONCURRENTLY '::text || t.name] END,
         false, relation_bytes(t.indexrelid), NULL::numeric
    FROM (SELECT 1) AS one
    LEFT JOIN target t ON true;
END;
COMMENT ON FUNCTION plan_drop_index(maintenance_jobs) IS
  'How a worker drops an index that a failed rebuild left, if that is what it still is.';

CREATE FUNCTION conclude_drop_index(job maintenance_jobs, succeeded boolean, OUT bytes_after bigint,
                                    OUT bloat_after numeric, OUT summary text)
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT check_invalid_index_alerts() WHERE conclude_drop_index.succeeded;
  SELECT CASE WHEN conclude_drop_index.succeeded THEN 0::bigint END, NULL::numeric,
         CASE WHEN conclude_drop_index.succeeded THEN
           pg_catalog.format('dropped %s, which a failed rebuild had left: %s'::text, (conclude_drop_index.job).target,
                             coalesce(pg_size_pretty((conclude_drop_index.job).bytes_before), 'size unknown'::text)) END;
END;
COMMENT ON FUNCTION conclude_drop_index(maintenance_jobs, boolean) IS 'What came of a drop, for its job and the alerts.';

CREATE FUNCTION queue_leftover_drops() RETURNS integer
LANGUAGE sql VOLATILE
SET jit = off
BEGIN ATOMIC
  WITH suspect AS MATERIALIZED (
    SELECT i.indexrelid, i.indrelid FROM pg_catalog.pg_index i
     WHERE NOT i.indisvalid AND is_rebuild_leftover(i.indexrelid)
  ), ours AS MATERIALIZED (
    -- Those that jobs left which have given up.
    SELECT DISTINCT ON (s.indexrelid) s.indexrelid, s.indrelid, j.role
      FROM suspect s
      JOIN maintenance_jobs j
        ON j.kind = 'drop_index'::text AND j.relid = s.indexrelid
        OR j.kind = 'reindex'::text AND j.started_at IS NOT NULL
           AND (j.relid = s.indexrelid
                OR EXISTS (SELECT FROM pg_catalog.pg_index o WHERE o.indexrelid = j.relid AND o.indrelid = s.indrelid))
     WHERE j.status IN ('failed'::text, 'cancelled'::text)
       AND NOT EXISTS (SELECT FROM maintenance_jobs u
                        WHERE u.finished_at IS NULL
                          AND (u.relid = s.indexrelid AND u.kind IN ('reindex'::text, 'drop_index'::text)
                               OR u.kind = 'reindex'::text
                                  AND EXISTS (SELECT FROM pg_catalog.pg_index o
                                               WHERE o.indexrelid = u.relid AND o.indrelid = s.indrelid)))
     ORDER BY s.indexrelid, j.job_id DESC
  ), free AS MATERIALIZED (
    -- A drop waits for every transaction that has locked the table.
    SELECT o.* FROM ours o
     WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_locks l
                         LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
                        WHERE l.granted AND l.relation = o.indrelid
                          AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d
                                             WHERE d.datname = current_database())
                          AND coalesce(a.xact_start, '-infinity'::timestamptz) < clock_timestamp() - interval '60 seconds')
  )
  SELECT count(queue_job('drop_index'::text, f.indexrelid, dropping_role(f.indexrelid, f.role),
                         'a rebuild failed and left it'::text, NULL::numeric, false))::integer
    FROM free f
    JOIN invalid_indexes_of((SELECT pg_catalog.array_agg(t.oid) FROM pg_catalog.pg_class t
                              WHERE t.oid IN (SELECT o.indrelid FROM free o)
                                 OR t.reltoastrelid IN (SELECT o.indrelid FROM free o))) i
      ON i.indexrelid = f.indexrelid AND NOT i.in_progress;
END;
COMMENT ON FUNCTION queue_leftover_drops() IS
  'Queues the drop of what rebuilds of ours left and could not drop, once no transaction of more than a minute '
  'has locked its table. Cheap: called about every minute. Returns how many.';
