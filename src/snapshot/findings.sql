-- What can be done better about indexes: found in the catalogs alone, without waiting for any lock.
--
-- Nobody analyzes the catalogs after creating ten thousand tables, so the planner may expect a few rows
-- where there are many: the functions that join whole catalogs do without nested loops, and without JIT,
-- which costs more than it saves.

CREATE FUNCTION unlocked_index_definition(index oid) RETURNS text
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'tp_unlocked_index_definition';
COMMENT ON FUNCTION unlocked_index_definition(oid) IS
  'The statement that creates an index; NULL while its table is locked exclusively, or if it is gone.';

CREATE FUNCTION is_invalid_now(index oid) RETURNS boolean
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'tp_is_invalid_now';
COMMENT ON FUNCTION is_invalid_now(oid) IS
  'Whether an index exists and is invalid at this moment, whatever the statement''s snapshot says.';

CREATE FUNCTION size_now(relation oid, relkind "char", relpages integer) RETURNS bigint
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT CASE WHEN size_now.relkind IN ('p'::"char", 'I'::"char") THEN 0::bigint
              ELSE coalesce(relation_bytes(size_now.relation),
                            size_now.relpages::bigint * pg_catalog.current_setting('block_size'::text)::bigint) END;
END;
COMMENT ON FUNCTION size_now(oid, "char", integer) IS
  'Bytes of a relation of pg_class without its partitions; if its file cannot be found, those at its last '
  'VACUUM or ANALYZE.';

CREATE FUNCTION partition_totals(relation oid, OUT size_bytes bigint, OUT scans bigint)
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  WITH RECURSIVE part AS (
    SELECT partition_totals.relation AS relid
    UNION ALL
    SELECT h.inhrelid FROM part p JOIN pg_catalog.pg_inherits h ON h.inhparent = p.relid
  )
  SELECT pg_catalog.sum(size_now(c.oid, c.relkind, c.relpages))::bigint,
         coalesce(pg_catalog.sum(pg_catalog.pg_stat_get_numscans(c.oid)), 0::numeric)::bigint
    FROM part p
    JOIN pg_catalog.pg_class c ON c.oid = p.relid;
END;
COMMENT ON FUNCTION partition_totals(oid) IS 'Size and scans of a partitioned table or index.';

CREATE FUNCTION quoted_columns(relation oid, attnums smallint[]) RETURNS text
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT pg_catalog.string_agg(pg_catalog.quote_ident(a.attname::text), ', '::text ORDER BY k.place)
    FROM pg_catalog.unnest(quoted_columns.attnums) WITH ORDINALITY AS k (attnum, place)
    JOIN pg_catalog.pg_attribute a ON a.attrelid = quoted_columns.relation AND a.attnum = k.attnum;
END;
COMMENT ON FUNCTION quoted_columns(oid, smallint[]) IS 'The columns'' names as a statement lists them.';

CREATE FUNCTION kept_indexes() RETURNS SETOF oid
LANGUAGE sql STABLE
SET jit = off
SET enable_nestloop = off
BEGIN ATOMIC
  WITH RECURSIVE needed AS (
    SELECT i.indexrelid
      FROM pg_catalog.pg_index i
     WHERE i.indisprimary OR i.indisexclusion OR NOT i.indimmediate OR i.indisreplident
    UNION
    -- A foreign key that refers to it, for one. (Partitions' indexes depend on their parent: P, S.)
    SELECT i.indexrelid
      FROM pg_catalog.pg_index i
      JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_class'::regclass::oid AND d.refobjid = i.indexrelid
     WHERE d.deptype NOT IN ('i'::"char", 'P'::"char", 'S'::"char")
    UNION
    SELECT c.conindid
      FROM pg_catalog.pg_constraint c
      JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_constraint'::regclass::oid AND d.refobjid = c.oid
     WHERE c.contype = 'u'::"char" AND d.deptype NOT IN ('i'::"char", 'P'::"char", 'S'::"char")
    UNION
    SELECT i.indexrelid
      FROM pg_catalog.pg_depend d
      JOIN pg_catalog.pg_index i ON i.indrelid = d.objid
     WHERE d.classid = 'pg_catalog.pg_class'::regclass::oid AND d.deptype = 'e'::"char"
    UNION
    SELECT h.inhparent FROM needed n JOIN pg_catalog.pg_inherits h ON h.inhrelid = n.indexrelid
  )
  SELECT n.indexrelid FROM needed n
  UNION
  SELECT c.oid FROM pg_catalog.pg_class c WHERE c.relkind IN ('i'::"char", 'I'::"char") AND c.relispartition;
END;
COMMENT ON FUNCTION kept_indexes() IS
  'Indexes that cannot be dropped by themselves, or not without losing more than an index: primary keys, '
  'exclusion and deferrable constraints, replica identities, what something depends on, what is attached '
  'to a partitioned index, and what belongs to an extension.';

CREATE FUNCTION redundant_indexes(OUT indexrelid oid, OUT covered_by oid)
RETURNS SETOF record
LANGUAGE sql STABLE ROWS 100
SET jit = off
SET enable_nestloop = off
BEGIN ATOMIC
  -- Lists end with a delimiter each: then a list begins with another one if its text does.
  WITH parameter AS (
    SELECT a.attrelid, pg_catalog.string_agg(a.attnum::text || a.attoptions::text, ' '::text ORDER BY a.attnum) AS list
      FROM pg_catalog.pg_attribute a
     -- Columns of tables have options of another kind.
     WHERE a.attoptions IS NOT NULL AND a.attrelid IN (SELECT i.indexrelid FROM pg_catalog.pg_index i)
     GROUP BY a.attrelid
  ), usable AS MATERIALIZED (
    SELECT i.indexrelid, i.indrelid, c.relam, am.amname, i.indnkeyatts, i.indisunique, i.indimmediate,
           i.indnullsnotdistinct, i.indisclustered, c.relispartition,
           pg_catalog.array_to_string((i.indkey::smallint[])[0:i.indnkeyatts - 1], ' '::text) || ' '::text AS columns,
           pg_catalog.array_to_string((i.indclass::oid[])[0:i.indnkeyatts - 1], ' '::text) || ' '::text AS opclasses,
           pg_catalog.array_to_string((i.indcollation::oid[])[0:i.indnkeyatts - 1], ' '::text) || ' '::text AS collations,
           pg_catalog.array_to_string((i.indoption::smallint[])[0:i.indnkeyatts - 1], ' '::text) || ' '::text AS options,
           CASE WHEN i.indexprs IS NULL THEN ''::text
                ELSE pg_catalog.left(comparable_tree(i.indexprs::text), -1) || ' '::text END AS expressions,
           CASE WHEN i.indpred IS NULL THEN ''::text ELSE comparable_tree(i.indpred::text) END AS predicate,
           (i.indkey::smallint[])[i.indnkeyatts:] AS included,
           -- Of other methods, what is stored depends on it.
           CASE WHEN am.amname IN ('btree'::name, 'hash'::name, 'gist'::name, 'spgist'::name, 'gin'::name) THEN ''::text
                ELSE coalesce(c.reloptions::text, ''::text) END AS storage,
           coalesce(p.list, ''::text) AS parameters
      FROM snapshot_relations('{r,m,p}'::"char"[]) r
      JOIN pg_catalog.pg_index i ON i.indrelid = r.relid
      JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
      JOIN pg_catalog.pg_am am ON am.oid = c.relam
      -- Of operator classes.
      LEFT JOIN parameter p ON p.attrelid = i.indexrelid
     WHERE i.indisvalid AND i.indisready AND i.indislive
  ), covering AS MATERIALIZED (
    SELECT a.indexrelid, b.indexrelid AS covered_by
      FROM usable a
      JOIN usable b ON b.indrelid = a.indrelid AND b.indexrelid <> a.indexrelid AND b.relam = a.relam
       AND b.predicate = a.predicate AND b.storage = a.storage AND b.parameters = a.parameters
       AND pg_catalog.starts_with(b.columns, a.columns) AND pg_catalog.starts_with(b.opclasses, a.opclasses)
       AND pg_catalog.starts_with(b.collations, a.collations) AND pg_catalog.starts_with(b.options, a.options)
       AND pg_catalog.starts_with(b.expressions, a.expressions)
       AND (b.indnkeyatts = a.indnkeyatts OR a.amname = 'btree'::name)
       AND b.included OPERATOR(pg_catalog.@>) a.included
       AND (NOT a.indisunique
            OR b.indisunique AND b.indnkeyatts = a.indnkeyatts AND (b.indimmediate OR NOT a.indimmediate)
               AND (b.indnullsnotdistinct OR NOT a.indnullsnotdistinct))
  ), ranked AS MATERIALIZED (
    -- Of twins, the first one stays.
    SELECT u.indexrelid, u.indnkeyatts, u.relispartition, k.kept IS NULL AS droppable,
           pg_catalog.row_number() OVER (ORDER BY k.kept IS NULL, con.conindid IS NULL, NOT u.indisclustered,
                                                  u.indexrelid) AS place
      FROM usable u
      LEFT JOIN kept_indexes() AS k (kept) ON k.kept = u.indexrelid
      LEFT JOIN (SELECT DISTINCT c.conindid FROM pg_catalog.pg_constraint c
                  WHERE c.contype = 'u'::"char") con ON con.conindid = u.indexrelid
     WHERE u.indexrelid IN (SELECT c.indexrelid FROM covering c UNION SELECT c.covered_by FROM covering c)
  ), redundant AS MATERIALIZED (
    SELECT DISTINCT a.indexrelid
      FROM covering c
      JOIN ranked a ON a.indexrelid = c.indexrelid
      JOIN ranked b ON b.indexrelid = c.covered_by
     WHERE a.droppable
       AND (b.place < a.place
            OR NOT EXISTS (SELECT FROM covering back
                            WHERE back.indexrelid = c.covered_by AND back.covered_by = c.indexrelid))
  )
  -- Covering is transitive, so one that is not redundant itself covers each.
  SELECT DISTINCT ON (a.indexrelid) a.indexrelid, b.indexrelid
    FROM redundant a
    JOIN covering c ON c.indexrelid = a.indexrelid
    JOIN ranked b ON b.indexrelid = c.covered_by
   WHERE NOT EXISTS (
           SELECT FROM redundant r
            WHERE r.indexrelid = CASE WHEN b.relispartition
                                      THEN pg_catalog.pg_partition_root(b.indexrelid::regclass)::oid
                                      ELSE b.indexrelid END)
   ORDER BY a.indexrelid, b.indnkeyatts, b.place;
END;
COMMENT ON FUNCTION redundant_indexes() IS
  'Indexes that another one of their table makes redundant, and a covering one that is not redundant itself: '
  'all of them can be dropped.';

CREATE FUNCTION unindexed_foreign_keys(OUT relid oid, OUT columns smallint[], OUT constraints name[],
                                       OUT referenced oid[])
RETURNS SETOF record
LANGUAGE sql STABLE ROWS 100
SET jit = off
SET enable_nestloop = off
BEGIN ATOMIC
  WITH RECURSIVE fk AS MATERIALIZED (
    SELECT c.oid, c.conname, c.conrelid, c.confrelid, c.conkey, c.conparentid, r.relkind
      FROM snapshot_relations('{r,p}'::"char"[]) covered
      JOIN pg_catalog.pg_class r ON r.oid = covered.relid
      JOIN pg_catalog.pg_constraint c ON c.conrelid = r.oid AND c.contype = 'f'::"char"
  ), part AS (
    SELECT f.oid AS root, f.oid, f.relkind FROM fk f WHERE f.conparentid = 0::oid
    UNION ALL
    SELECT p.root, f.oid, f.relkind FROM part p JOIN fk f ON f.conparentid = p.oid
  ), checked AS MATERIALIZED (
    SELECT p.root, p.relkind,
           p.oid IN (SELECT x.conoid FROM foreign_key_indexes() x) AS indexed
      FROM part p
  ), unindexed AS (
    -- A partitioned table needs an index on each partition; while it has none, on itself.
    SELECT c.root
      FROM checked c
     GROUP BY c.root
    HAVING NOT coalesce(pg_catalog.bool_and(c.indexed) FILTER (WHERE c.relkind = 'r'::"char"),
                        pg_catalog.bool_or(c.indexed))
  )
  SELECT f.conrelid, (pg_catalog.array_agg(f.conkey ORDER BY f.conname))[1:1],
         pg_catalog.array_agg(f.conname ORDER BY f.conname), pg_catalog.array_agg(f.confrelid ORDER BY f.conname)
    FROM unindexed u
    JOIN fk f ON f.oid = u.root
   CROSS JOIN LATERAL (SELECT pg_catalog.array_agg(k.attnum ORDER BY k.attnum)::text AS sorted
                         FROM pg_catalog.unnest(f.conkey) AS k (attnum)) s
   -- One that is not enforced (18) has no trigger that would look anything up.
   WHERE EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgconstraint = f.oid)
     AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                      WHERE d.classid = 'pg_catalog.pg_class'::regclass::oid AND d.objid = f.conrelid
                        AND d.deptype = 'e'::"char")
   GROUP BY f.conrelid, s.sorted;
END;
COMMENT ON FUNCTION unindexed_foreign_keys() IS
  'The columns of foreign keys that no index of the table can look up, and the constraints on them.';

CREATE FUNCTION invalid_indexes_of(tables oid[], OUT indexrelid oid, OUT in_progress boolean)
RETURNS SETOF record
LANGUAGE sql VOLATILE ROWS 10
SET jit = off
SET enable_nestloop = off
BEGIN ATOMIC
  WITH invalid AS MATERIALIZED (
    SELECT i.indexrelid, i.indrelid, i.xmax AS changed_by
      FROM (SELECT DISTINCT g.relid FROM pg_catalog.unnest(invalid_indexes_of.tables) AS g (relid)) r
      JOIN pg_catalog.pg_class t ON t.oid = r.relid
      JOIN pg_catalog.pg_index i ON i.indrelid IN (t.oid, t.reltoastrelid)
     WHERE NOT (i.indisvalid AND i.indisready AND i.indislive)
  ), lock AS MATERIALIZED (
    SELECT l.pid, l.relation, l.mode, l.transactionid
      FROM pg_catalog.pg_locks l
     WHERE l.granted AND l.pid <> pg_catalog.pg_backend_pid()
       AND (l.transactionid IS NOT NULL
            OR l.relation IS NOT NULL AND l.mode IN ('ShareUpdateExclusiveLock'::text, 'AccessExclusiveLock'::text)
               AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d
                                  WHERE d.datname = pg_catalog.current_database()))
  ), judged AS MATERIALIZED (
    SELECT i.indexrelid,
           -- A build locks its table, a concurrent rebuild its indexes too. Progress may not be reported
           -- (track_activities) or not be shown (NULL), so whatever else locks the table alike counts;
           -- VACUUM, ANALYZE and builds of other indexes, for sure, do not.
           EXISTS (SELECT FROM lock l
                    WHERE l.relation = i.indexrelid
                       OR l.transactionid = i.changed_by
                       OR l.relation = i.indrelid AND l.mode = 'ShareUpdateExclusiveLock'::text
                          AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_progress_vacuum p WHERE p.pid = l.pid)
                          AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_progress_analyze p WHERE p.pid = l.pid)
                          AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_progress_create_index p
                                           WHERE p.pid = l.pid
                                             AND p.index_relid NOT IN (0::oid, i.indexrelid)))
             AS in_progress
      FROM invalid i
  )
  -- A build may have ended after the snapshot was taken: look again, after the locks.
  SELECT j.indexrelid, j.in_progress FROM judged j WHERE is_invalid_now(j.indexrelid);
END;
COMMENT ON FUNCTION invalid_indexes_of(oid[]) IS
  'Invalid indexes of these tables and their TOAST tables, and whether something is at work on them: a '
  'concurrent build, rebuild or drop.';

CREATE FUNCTION invalid_indexes(OUT indexrelid oid, OUT in_progress boolean)
RETURNS SETOF record
LANGUAGE sql VOLATILE ROWS 10
BEGIN ATOMIC
  SELECT i.indexrelid, i.in_progress
    FROM invalid_indexes_of((SELECT pg_catalog.array_agg(r.relid)
                               FROM snapshot_relations('{r,m}'::"char"[]) r)) i;
END;
COMMENT ON FUNCTION invalid_indexes() IS
  'invalid_indexes_of() the tables that snapshots cover.';

CREATE FUNCTION is_leftover(index oid) RETURNS boolean
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT EXISTS (
    SELECT FROM pg_catalog.pg_index i
      JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
      JOIN pg_catalog.pg_index v ON v.indrelid = i.indrelid AND v.indisvalid
      JOIN pg_catalog.pg_class vc ON vc.oid = v.indexrelid AND vc.relam = c.relam
     WHERE i.indexrelid = is_leftover.index
       AND v.indisunique = i.indisunique AND v.indnullsnotdistinct = i.indnullsnotdistinct
       AND v.indnkeyatts = i.indnkeyatts AND v.indkey::text = i.indkey::text
       AND v.indclass::text = i.indclass::text AND v.indcollation::text = i.indcollation::text
       AND v.indoption::text = i.indoption::text
       AND comparable_tree(v.indexprs::text) = comparable_tree(i.indexprs::text)
       AND comparable_tree(v.indpred::text) = comparable_tree(i.indpred::text));
END;
COMMENT ON FUNCTION is_leftover(oid) IS
  'Whether a valid index of the same table has the same definition, as after a failed REINDEX CONCURRENTLY.';

CREATE FUNCTION unused_index_candidates(OUT indexrelid oid, OUT days_since_last_scan integer)
RETURNS SETOF record
LANGUAGE sql VOLATILE ROWS 100
SET jit = off
SET enable_nestloop = off
BEGIN ATOMIC
  WITH redundant AS MATERIALIZED (
    SELECT r.indexrelid, r.covered_by FROM redundant_indexes() r
  ), unused AS MATERIALIZED (
    SELECT u.indexrelid, unused_days(u.last_used, u.observed) AS days_since_last_scan
      FROM judge_index_usage(30) u
     WHERE u.verdict = 'unused'::text AND u.indexrelid NOT IN (SELECT k.kept FROM kept_indexes() AS k (kept))
  ), support AS MATERIALIZED (
    SELECT x.conoid, coalesce(pg_catalog.pg_partition_root(x.indexrelid::regclass)::oid, x.indexrelid) AS indexrelid
      FROM foreign_key_indexes() x
     WHERE EXISTS (SELECT FROM unused u)
  ), last_support AS (
    -- Of foreign keys whose every index is unused, one of them, which is not redundant.
    SELECT pg_catalog.min(s.indexrelid) AS indexrelid
      FROM support s
     WHERE s.indexrelid NOT IN (SELECT r.indexrelid FROM redundant r)
     GROUP BY s.conoid
    HAVING pg_catalog.bool_and(s.indexrelid IN (SELECT u.indexrelid FROM unused u))
  )
  SELECT u.indexrelid, u.days_since_last_scan
    FROM unused u
   -- Scans of a redundant index will be of the one that covers it.
   WHERE u.indexrelid NOT IN (
           SELECT coalesce(pg_catalog.pg_partition_root(r.covered_by::regclass)::oid, r.covered_by)
             FROM redundant r
            WHERE r.indexrelid NOT IN (SELECT other.indexrelid FROM unused other))
     AND u.indexrelid NOT IN (SELECT l.indexrelid FROM last_support l);
END;
COMMENT ON FUNCTION unused_index_candidates() IS
  'Indexes unused for 30 observed days that can all be dropped, together with redundant ones: no scan and no '
  'foreign key loses its last index.';

CREATE VIEW index_findings AS
WITH found AS (
  SELECT 'duplicate'::text AS finding, r.indexrelid, r.covered_by, NULL::integer AS idle_days
    FROM redundant_indexes() r
  UNION ALL
  SELECT 'unused'::text, u.indexrelid, NULL::oid, u.days_since_last_scan
    FROM unused_index_candidates() u
  UNION ALL
  SELECT 'invalid'::text, i.indexrelid, NULL::oid, NULL::integer
    FROM invalid_indexes() i
   WHERE NOT i.in_progress
), described AS (
  SELECT f.finding, f.idle_days, n.nspname::text AS schemaname, t.relname::text AS tablename,
         c.relname::text AS indexname,
         pg_catalog.format('%I.%I'::text, n.nspname, c.relname) AS index,
         pg_catalog.format('%I.%I'::text, n.nspname, t.relname) AS of_table,
         pg_catalog.quote_ident(n.nspname::text) || '.'::text || pg_catalog.quote_ident(cover.relname::text) AS cover,
         coalesce(unlocked_index_definition(c.oid), 'its table is locked'::text) AS definition,
         coalesce(unlocked_index_definition(cover.oid), 'its table is locked'::text) AS cover_definition,
         CASE WHEN c.relkind = 'I'::"char" THEN (partition_totals(c.oid)).size_bytes
              ELSE size_now(c.oid, c.relkind, c.relpages) END AS size_bytes,
         CASE WHEN c.relkind = 'I'::"char" THEN (partition_totals(c.oid)).scans
              ELSE pg_catalog.pg_stat_get_numscans(c.oid) END AS scans,
         i.indisclustered AS clustered,
         con.conname, c.relkind = 'I'::"char" AS partitioned,
         pg_catalog.quote_ident(owner_schema.nspname::text) || '.'::text
           || pg_catalog.quote_ident(owner.relname::text) AS toast_owner,
         f.finding = 'invalid'::text AND is_leftover(c.oid) AS leftover,
         f.finding = 'invalid'::text AND c.oid IN (SELECT k.kept FROM kept_indexes() AS k (kept)) AS kept,
         i.indisexclusion AS exclusion, i.indislive AS live, i.indisready AS ready,
         i.indisunique AS is_unique, i.indexprs IS NOT NULL AS has_expressions
    FROM found f
    JOIN pg_catalog.pg_index i ON i.indexrelid = f.indexrelid
    JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
    JOIN pg_catalog.pg_class t ON t.oid = i.indrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_class cover ON cover.oid = f.covered_by
    LEFT JOIN pg_catalog.pg_constraint con ON con.conindid = c.oid AND con.conrelid = i.indrelid
     AND con.contype IN ('p'::"char", 'u'::"char", 'x'::"char")
    LEFT JOIN pg_catalog.pg_class owner ON owner.reltoastrelid = t.oid AND t.relkind = 't'::"char"
    LEFT JOIN pg_catalog.pg_namespace owner_schema ON owner_schema.oid = owner.relnamespace
), judged AS (
  SELECT d.*,
         d.finding = 'invalid'::text
           AND (d.kept OR d.conname IS NOT NULL
                OR NOT (d.leftover OR d.is_unique OR d.has_expressions OR NOT d.live)) AS rebuild
    FROM described d
), foreign_key AS (
  SELECT n.nspname::text AS schemaname, t.relname::text AS tablename, t.relkind = 'p'::"char" AS partitioned,
         pg_catalog.format('%I.%I'::text, n.nspname, t.relname) AS of_table,
         quoted_columns(t.oid, u.columns) AS columns, names.constraints, names.referenced,
         CASE WHEN t.relkind = 'p'::"char" THEN (partition_totals(t.oid)).size_bytes
              ELSE size_now(t.oid, t.relkind, t.relpages) END AS size_bytes
    FROM unindexed_foreign_keys() u
    JOIN pg_catalog.pg_class t ON t.oid = u.relid
    JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace
   CROSS JOIN LATERAL (
     SELECT pg_catalog.string_agg(pg_catalog.quote_ident(k.conname::text), ', '::text ORDER BY k.conname) AS constraints,
            pg_catalog.string_agg(DISTINCT pg_catalog.format('%I.%I'::text, rn.nspname, r.relname), ', '::text)
              AS referenced
       FROM unnest(u.constraints, u.referenced) AS k (conname, confrelid)
       JOIN pg_catalog.pg_class r ON r.oid = k.confrelid
       JOIN pg_catalog.pg_namespace rn ON rn.oid = r.relnamespace) names
), listed (finding_key, finding, level, title, detail, schemaname, tablename, indexname, bytes_to_win, remediation) AS (
  SELECT j.finding || ':'::text || j.index AS finding_key, j.finding,
         CASE j.finding WHEN 'invalid'::text THEN 'error'::text ELSE 'warning'::text END AS level,
         CASE j.finding
           WHEN 'duplicate'::text THEN 'Index '::text || j.index || ' is redundant: '::text || j.cover || ' does all its work'::text
           WHEN 'unused'::text THEN 'Index '::text || j.index || ' has not been used for 30 days'::text
           ELSE 'Index '::text || j.index || ' is invalid: no query uses it'::text
         END AS title,
         CASE j.finding
           WHEN 'duplicate'::text THEN
             'Covered by '::text || j.cover || ' ('::text || j.cover_definition || '). '::text
             || CASE WHEN j.conname IS NULL THEN ''::text
                     ELSE 'It belongs to the constraint '::text || pg_catalog.quote_ident(j.conname::text)
                          || ', which the other one enforces too. '::text END
             || CASE WHEN j.clustered THEN 'CLUSTER uses it: choose the other one with ALTER TABLE ... CLUSTER ON. '::text
                     ELSE ''::text END
           WHEN 'unused'::text THEN
             CASE WHEN j.idle_days IS NULL THEN 'No scan was ever observed. '::text
                  ELSE 'The last scan was '::text || j.idle_days::text || ' days ago. '::text END
             || 'Standbys count their scans themselves: look there too. '::text
           WHEN 'invalid'::text THEN
             CASE WHEN j.leftover AND NOT j.rebuild THEN
                    'A concurrent rebuild or build failed and left it; a valid index has the same definition. '::text
                  WHEN j.rebuild THEN 'A concurrent build or rebuild failed; build it again. '::text
                  WHEN NOT j.live THEN 'DROP INDEX CONCURRENTLY was interrupted. '::text
                  ELSE 'A concurrent build failed, and may fail again: look for '::text
                       || CASE WHEN j.is_unique THEN 'duplicate values'::text ELSE 'errors of its expressions'::text END
                       || ', then create it anew. '::text
             END
             || CASE WHEN j.ready THEN 'Writes still maintain it. '::text ELSE ''::text END
             || CASE WHEN j.toast_owner IS NOT NULL THEN 'It belongs to the TOAST table of '::text || j.toast_owner
                       || '; dropping it needs USAGE on the schema pg_toast. '::text ELSE ''::text END
         END
         || 'On table '::text || j.of_table || ', size '::text || pg_catalog.pg_size_pretty(j.size_bytes) || ', '::text
         || j.scans::text || ' scans. Definition: '::text || j.definition AS detail,
         j.schemaname, j.tablename, j.indexname, j.size_bytes AS bytes_to_win,
         CASE
           WHEN j.rebuild THEN 'REINDEX INDEX '::text
             || CASE WHEN j.exclusion THEN ''::text ELSE 'CONCURRENTLY '::text END || j.index
           WHEN j.conname IS NOT NULL THEN 'ALTER TABLE '::text || j.of_table || ' DROP CONSTRAINT '::text
             || pg_catalog.quote_ident(j.conname::text)
           WHEN j.partitioned THEN 'DROP INDEX '::text || j.index
           ELSE 'DROP INDEX CONCURRENTLY '::text || j.index
         END || ';'::text AS remediation
    FROM judged j
  UNION ALL
  SELECT 'unindexed_fk:'::text || k.of_table || '('::text || k.columns || ')'::text, 'unindexed_fk'::text,
         CASE WHEN k.size_bytes < 1048576::bigint THEN 'info'::text ELSE 'warning'::text END,
         'No index of '::text || k.of_table || ' supports a foreign key on ('::text || k.columns || ')'::text,
         'Constraint '::text || k.constraints || ' on '::text || k.of_table || ' ('::text || k.columns
           || ') references '::text || k.referenced
           || ': each row that is deleted there, or gets another key, takes a scan of the table ('::text
           || pg_catalog.pg_size_pretty(k.size_bytes) || ').'::text
           || CASE WHEN k.partitioned
                   THEN ' The statement blocks writes to the table while it runs, unless its partitions have such indexes already.'::text
                   ELSE ''::text END,
         k.schemaname, k.tablename, NULL::text, 0::bigint,
         'CREATE INDEX '::text || CASE WHEN k.partitioned THEN ''::text ELSE 'CONCURRENTLY '::text END
           || 'ON '::text || k.of_table || ' ('::text || k.columns || ');'::text
    FROM foreign_key k
)
-- Catalogs know names in the collation "C"; readers compare these columns with texts of their own.
SELECT l.finding_key COLLATE "default" AS finding_key, l.finding COLLATE "default" AS finding,
       l.level COLLATE "default" AS level, l.title COLLATE "default" AS title,
       l.detail COLLATE "default" AS detail, l.schemaname COLLATE "default" AS schemaname,
       l.tablename COLLATE "default" AS tablename, l.indexname COLLATE "default" AS indexname,
       l.bytes_to_win, l.remediation COLLATE "default" AS remediation
  FROM listed l;
COMMENT ON VIEW index_findings IS
  'What can be done better about indexes: unused, duplicate and invalid ones, and foreign keys without one; '
  'with the statement that does it. Nothing here waits for a lock.';
COMMENT ON COLUMN index_findings.finding_key IS 'What was found about what, quoted: stays the same as long as the names do.';
COMMENT ON COLUMN index_findings.finding IS 'unused, duplicate, invalid or unindexed_fk.';
COMMENT ON COLUMN index_findings.level IS 'info, warning or error.';
COMMENT ON COLUMN index_findings.title IS 'The finding in one sentence.';
COMMENT ON COLUMN index_findings.detail IS 'Why, and what else there is to know; for unindexed_fk the names of the constraints.';
COMMENT ON COLUMN index_findings.schemaname IS 'The schema of table and index.';
COMMENT ON COLUMN index_findings.tablename IS 'The table.';
COMMENT ON COLUMN index_findings.indexname IS 'The index; NULL for unindexed_fk.';
COMMENT ON COLUMN index_findings.bytes_to_win IS 'The size of the index, with its partitions; 0 for unindexed_fk.';
COMMENT ON COLUMN index_findings.remediation IS
  'A statement to run as it is, by the owner of the table, outside a transaction block.';
