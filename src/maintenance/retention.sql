-- Retention of the application's own tables: rows older than a rule keeps are deleted in small batches, as
-- the role that asked for the rule.

-- OIDs mean nothing in another server: a restored rule finds its table, column and role by their names.
CREATE TABLE retention_rules (
  schemaname text NOT NULL,
  tablename text NOT NULL,
  columnname text NOT NULL,
  keep interval NOT NULL CHECK (keep > '0'::interval),
  requested_by text NOT NULL DEFAULT current_user,
  requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  relid oid UNIQUE,
  attnum smallint,
  role oid
);
SELECT pg_catalog.pg_extension_config_dump('retention_rules', '');
COMMENT ON TABLE retention_rules IS
  'The rules of set_retention(): of which tables old rows are deleted each day. Names follow the table, the '
  'column and the role when those are renamed; a rule ends with its table.';
COMMENT ON COLUMN retention_rules.columnname IS 'The column that tells the age of a row.';
COMMENT ON COLUMN retention_rules.keep IS 'Rows older than that are deleted.';
COMMENT ON COLUMN retention_rules.requested_by IS 'The role that asked; see retention_role().';
COMMENT ON COLUMN retention_rules.relid IS 'The table; NULL: there was none of that name when the rule was restored.';

CREATE FUNCTION retention_column_type(relation oid, attnum smallint) RETURNS oid
LANGUAGE sql STABLE
BEGIN ATOMIC
  WITH RECURSIVE base AS (
    SELECT a.atttypid AS type, t.typtype, t.typbasetype
      FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
     WHERE a.attrelid = retention_column_type.relation AND a.attnum = retention_column_type.attnum AND NOT a.attisdropped
    UNION ALL
    SELECT b.typbasetype, t.typtype, t.typbasetype
      FROM base b JOIN pg_catalog.pg_type t ON t.oid = b.typbasetype WHERE b.typtype = 'd'::"char"
  )
  SELECT b.type FROM base b
   WHERE b.type IN ('date'::regtype::oid, 'timestamp'::regtype::oid, 'timestamptz'::regtype::oid);
END;
COMMENT ON FUNCTION retention_column_type(oid, smallint) IS
  'date, timestamp or timestamptz, if a column is of that type or a domain over it; else NULL.';

CREATE FUNCTION check_retention(relation oid, columnname text, attnum smallint, keep interval) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  target pg_class;
  name text := relation::regclass;
BEGIN
  SELECT * INTO target FROM pg_class WHERE oid = relation;
  IF target.relkind NOT IN ('r', 'p') THEN
    RAISE EXCEPTION USING ERRCODE = '42809', MESSAGE = format('%s is not a table', name),
      HINT = 'Set retention for the tables whose rows it shows.';
  ELSIF target.relpersistence = 't' THEN
    RAISE EXCEPTION USING ERRCODE = '42809', MESSAGE = format('%s is a temporary table', name),
      HINT = 'It ends with its session.';
  ELSIF target.relnamespace IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace) THEN
    RAISE EXCEPTION USING ERRCODE = '42809', MESSAGE = format('%s is a system catalog', name);
  ELSIF EXISTS (SELECT FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'train_perf'
                 WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND d.classid = 'pg_class'::regclass
                   AND d.objid IN (relation, pg_partition_root(relation))) THEN
    RAISE EXCEPTION USING ERRCODE = '42809', MESSAGE = format('%s belongs to train_perf', name),
      HINT = 'See train_perf.retention, train_perf.log_retention and train_perf.index_usage_retention.';
  ELSIF attnum IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '42703',
      MESSAGE = format('%s has no column %s', name, coalesce(quote_ident(columnname), 'NULL')),
      HINT = 'Name the column as it is stored, without quotes.';
  END IF;
  IF keep IS NULL OR NOT isfinite(keep) OR keep <= '0'::interval OR keep > '1000 years'::interval THEN
    RAISE EXCEPTION USING ERRCODE = '22023',
      MESSAGE = format('%s is no time to keep rows for', coalesce(quote_literal(keep), 'NULL')),
      HINT = 'It must be positive and at most 1000 years, as in ''90 days''.';
  END IF;
  IF NOT has_table_privilege(relation, 'SELECT') OR NOT has_table_privilege(relation, 'DELETE') THEN
    RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = format('permission denied to delete rows of %s', name),
      HINT = 'The role that asks, as which rows will be deleted, needs SELECT and DELETE on the table.';
  END IF;
END
$$;
COMMENT ON FUNCTION check_retention(oid, text, smallint, interval) IS
  'Part of set_retention(): whether the current role may have such a rule for the table, and it makes sense.';

CREATE FUNCTION check_retention_type(relation oid, attnum smallint, type oid) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF type IS NOT NULL THEN RETURN; END IF;
  RAISE EXCEPTION USING ERRCODE = '42804',
    MESSAGE = (SELECT format('column %s of %s is of type %s', quote_ident(a.attname), relation::regclass,
                             format_type(a.atttypid, a.atttypmod))
                 FROM pg_attribute a
                WHERE a.attrelid = check_retention_type.relation AND a.attnum = check_retention_type.attnum),
    HINT = 'The age of a row must be in a column of type date, timestamp or timestamptz.';
END
$$;
COMMENT ON FUNCTION check_retention_type(oid, smallint, oid) IS 'Part of set_retention(): 42804.';

CREATE FUNCTION guard_retention_rule() RETURNS trigger
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- Whoever may insert here could have rows deleted as anybody.
  IF EXISTS (SELECT FROM pg_roles r WHERE r.rolname = NEW.requested_by AND NOT pg_has_role(r.oid, 'USAGE')) THEN
    RAISE EXCEPTION USING ERRCODE = '42501',
      MESSAGE = format('permission denied to have rows deleted as role %I', NEW.requested_by);
  END IF;
  NEW.relid := (SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE n.nspname = NEW.schemaname AND c.relname = NEW.tablename AND c.relkind IN ('r', 'p'));
  NEW.attnum := (SELECT a.attnum FROM pg_attribute a
                  WHERE a.attrelid = NEW.relid AND a.attname = NEW.columnname AND a.attnum > 0 AND NOT a.attisdropped);
  NEW.role := (SELECT r.oid FROM pg_roles r WHERE r.rolname = NEW.requested_by);
  RETURN NEW;
END
$$;
COMMENT ON FUNCTION guard_retention_rule() IS
  'Trigger of retention_rules: nobody asks in the name of a role that is not theirs, and OIDs follow from names.';
CREATE TRIGGER guard BEFORE INSERT ON retention_rules FOR EACH ROW EXECUTE FUNCTION guard_retention_rule();
-- Also while a dump is restored as a replica: its OIDs are not ours.
ALTER TABLE retention_rules ENABLE ALWAYS TRIGGER guard;

CREATE FUNCTION guard_retention_end() RETURNS trigger
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF pg_has_role((SELECT c.relowner FROM pg_class c WHERE c.oid = TG_RELID), 'USAGE')
     OR NOT EXISTS (SELECT FROM pg_class WHERE oid = OLD.relid)
     OR EXISTS (SELECT FROM pg_roles r WHERE r.oid = OLD.role AND pg_has_role(r.oid, 'USAGE'))
     OR has_table_privilege(OLD.relid, 'DELETE') THEN
    RETURN OLD;
  END IF;
  RAISE EXCEPTION USING ERRCODE = '42501',
    MESSAGE = format('permission denied to change the retention of %I.%I', OLD.schemaname, OLD.tablename),
    HINT = 'The role that asked for it may, and whoever may delete rows of the table.';
END
$$;
COMMENT ON FUNCTION guard_retention_end() IS 'Trigger of retention_rules: who may take a rule away.';
CREATE TRIGGER guard_end BEFORE DELETE ON retention_rules FOR EACH ROW EXECUTE FUNCTION guard_retention_end();

CREATE FUNCTION retention_target(table_name text, column_name text, OUT relid oid, OUT schemaname text,
                                 OUT tablename text, OUT attnum smallint)
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT c.oid, n.nspname::text, c.relname::text, a.attnum
    FROM (SELECT table_named(retention_target.table_name) AS relid) t
    JOIN pg_catalog.pg_class c ON c.oid = t.relid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_attribute a
      ON a.attrelid = c.oid AND a.attname::text = retention_target.column_name AND a.attnum > 0::smallint AND NOT a.attisdropped;
END;
COMMENT ON FUNCTION retention_target(text, text) IS 'Part of set_retention(): 42P01 if there is no such table.';

CREATE FUNCTION set_retention(table_name text, column_name text, keep interval) RETURNS void
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT require_primary('set_retention()'::text);
  SELECT check_retention(t.relid, set_retention.column_name, t.attnum, set_retention.keep)
    FROM retention_target(set_retention.table_name, set_retention.column_name) t;
  SELECT check_retention_type(t.relid, t.attnum, retention_column_type(t.relid, t.attnum))
    FROM retention_target(set_retention.table_name, set_retention.column_name) t;
  DELETE FROM retention_rules r WHERE r.relid = table_named(set_retention.table_name);
  INSERT INTO retention_rules (schemaname, tablename, columnname, keep)
  SELECT t.schemaname, t.tablename, set_retention.column_name, set_retention.keep
    FROM retention_target(set_retention.table_name, set_retention.column_name) t;
END;
COMMENT ON FUNCTION set_retention(text, text, interval) IS
  'Has the daily job delete rows of a table whose column (date, timestamp or timestamptz) is older than `keep`, in '
  'small batches, as the current role, which needs SELECT and DELETE, or as the owner of the table if it may act as '
  'the owner; whole partitions by that column are dropped if the role owns them. Replaces an earlier rule for the table.';

CREATE FUNCTION drop_retention(table_name text) RETURNS boolean
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT require_primary('drop_retention()'::text);
  WITH dropped AS (
    DELETE FROM retention_rules r WHERE r.relid = table_named(drop_retention.table_name) RETURNING 1
  )
  SELECT EXISTS (SELECT FROM dropped);
END;
COMMENT ON FUNCTION drop_retention(text) IS 'Takes back set_retention(); false if there was no rule for the table.';

-- The daily work.

CREATE FUNCTION warn_retention_ended(schemaname text, tablename text) RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RAISE WARNING USING MESSAGE = format('the retention of %I.%I has ended: the table is gone', schemaname, tablename);
  RETURN true;
END
$$;
COMMENT ON FUNCTION warn_retention_ended(text, text) IS 'Part of refresh_retention_rules().';

CREATE FUNCTION refresh_retention_rules() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  UPDATE retention_rules r
     SET schemaname = f.schemaname, tablename = f.tablename, columnname = f.columnname, requested_by = f.requested_by
    FROM (SELECT k.relid, n.nspname::text AS schemaname, c.relname::text AS tablename,
                 coalesce(a.attname::text, k.columnname) AS columnname, coalesce(o.rolname::text, k.requested_by) AS requested_by
            FROM retention_rules k
            JOIN pg_catalog.pg_class c ON c.oid = k.relid
            JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = k.relid AND a.attnum = k.attnum AND NOT a.attisdropped
            LEFT JOIN pg_catalog.pg_roles o ON o.oid = k.role) f
   WHERE f.relid = r.relid
     AND (r.schemaname, r.tablename, r.columnname, r.requested_by)
         IS DISTINCT FROM (f.schemaname, f.tablename, f.columnname, f.requested_by);
  WITH gone AS (
    DELETE FROM retention_rules r
     WHERE r.relid IS NULL OR NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = r.relid)
    RETURNING r.schemaname, r.tablename
  )
  SELECT count(*) FILTER (WHERE warn_retention_ended(g.schemaname, g.tablename))::integer FROM gone g;
END;
COMMENT ON FUNCTION refresh_retention_rules() IS
  'Lets the names in retention_rules follow what was renamed, and ends the rules of tables that are gone. Returns '
  'how many of those.';

CREATE FUNCTION retention_role(role oid, relation oid) RETURNS oid
LANGUAGE sql STABLE
BEGIN ATOMIC
  -- A trigger that the owner adds later would run with the rights of a superuser who asked.
  SELECT CASE WHEN pg_has_role(retention_role.role, c.relowner, 'USAGE'::text) THEN c.relowner ELSE retention_role.role END
    FROM pg_catalog.pg_class c WHERE c.oid = retention_role.relation;
END;
COMMENT ON FUNCTION retention_role(oid, oid) IS
  'As whom rows are deleted: the owner of the table if the role that asked may act as the owner, else that role.';

CREATE FUNCTION queue_retention() RETURNS integer
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT pg_catalog.count(queue_job('retention'::text, r.relid, retention_role(r.role, r.relid),
                         pg_catalog.format('keeps %s by %I'::text, r.keep, r.columnname)
                         || CASE WHEN o.oid IS NULL THEN ', asked for by '::text || r.requested_by ELSE ''::text END,
                         NULL::numeric, true))::integer
    FROM retention_rules r
    -- The job of a role that is gone fails, and an alert tells that nothing is deleted any more.
    LEFT JOIN pg_catalog.pg_roles o ON o.oid = r.role;
END;
COMMENT ON FUNCTION queue_retention() IS 'Queues the jobs of retention_rules. Returns how many.';

CREATE FUNCTION retention_cutoff(type oid, keep interval, zone text) RETURNS text
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT CASE retention_cutoff.type
           WHEN 'timestamptz'::regtype::oid
           THEN to_char((clock_timestamp() - retention_cutoff.keep) AT TIME ZONE 'UTC'::text, 'YYYY-MM-DD HH24:MI:SS.US'::text) || '+00'::text
           WHEN 'timestamp'::regtype::oid
           THEN to_char((clock_timestamp() - retention_cutoff.keep) AT TIME ZONE retention_cutoff.zone, 'YYYY-MM-DD HH24:MI:SS.US'::text)
           ELSE to_char((clock_timestamp() - retention_cutoff.keep) AT TIME ZONE retention_cutoff.zone, 'YYYY-MM-DD'::text) END;
END;
COMMENT ON FUNCTION retention_cutoff(oid, interval, text) IS
  'What is before that is older than `keep` now; without a time zone of its own it is taken for one of `zone`.';

CREATE FUNCTION has_dependents(relation oid) RETURNS boolean
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT EXISTS (
    SELECT FROM (SELECT t.relid::oid AS relid FROM pg_catalog.pg_partition_tree(has_dependents.relation::regclass) t) m
      JOIN pg_catalog.pg_class c ON c.oid = m.relid
     WHERE EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.confrelid = m.relid)
        OR EXISTS (SELECT FROM pg_catalog.pg_depend d
                    WHERE d.deptype = 'n'::"char"
                      AND (d.refclassid = 'pg_catalog.pg_class'::regclass::oid AND d.refobjid = m.relid
                           OR d.refclassid = 'pg_catalog.pg_type'::regclass::oid AND d.refobjid = c.reltype)));
END;
COMMENT ON FUNCTION has_dependents(oid) IS
  'Whether foreign keys, views or functions depend on a table or its partitions, so that it cannot be dropped.';

CREATE FUNCTION outdated_partitions(relation oid, columnname text, cutoff text, role oid) RETURNS SETOF text
LANGUAGE sql STABLE
SET timezone = 'UTC'
SET datestyle = 'ISO'
BEGIN ATOMIC
  WITH part AS MATERIALIZED (
    SELECT c.oid AS relid, substring(pg_get_expr(c.relpartbound, c.oid), $re$TO \('([^']*)'\)$re$::text) AS bound
      FROM pg_catalog.pg_partition_tree(outdated_partitions.relation::regclass) t
      JOIN pg_catalog.pg_partitioned_table p
        ON p.partrelid = t.parentrelid::oid AND p.partstrat = 'r'::"char" AND p.partnatts = 1::smallint
      JOIN pg_catalog.pg_attribute a
        ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0] AND a.attname::text = outdated_partitions.columnname
      JOIN pg_catalog.pg_class c ON c.oid = t.relid::oid AND c.relkind IN ('r'::"char", 'p'::"char")
     WHERE t.level > 0 AND pg_has_role(outdated_partitions.role, c.relowner, 'USAGE'::text)
  ), outdated AS MATERIALIZED (
    SELECT p.relid, p.bound FROM part p
     WHERE p.bound::timestamptz <= outdated_partitions.cutoff::timestamptz AND NOT has_dependents(p.relid)
  )
  SELECT maintenance_target(o.relid)
    FROM outdated o
   WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_partition_ancestors(o.relid::regclass) a JOIN outdated x ON x.relid = a.relid::oid
                      WHERE a.relid::oid <> o.relid)
   ORDER BY o.bound::timestamptz, o.relid;
END;
COMMENT ON FUNCTION outdated_partitions(oid, text, text, oid) IS
  'The partitions by range of that column, of a table, all rows of which are before the cutoff, oldest first: those '
  'that the role owns and nothing depends on.';

CREATE FUNCTION can_skip_locked(role oid, relation oid) RETURNS boolean
LANGUAGE sql STABLE
BEGIN ATOMIC
  -- FOR UPDATE asks for the right to update, and for rows that its policies show.
  SELECT has_table_privilege(can_skip_locked.role, c.oid, 'UPDATE'::text)
         AND (NOT c.relrowsecurity OR EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.oid = can_skip_locked.role
                                                 AND (r.rolsuper OR r.rolbypassrls)))
    FROM pg_catalog.pg_class c WHERE c.oid = can_skip_locked.relation;
END;
COMMENT ON FUNCTION can_skip_locked(oid, oid) IS
  'Part of plan_retention(): whether a role can find all rows of a table with FOR UPDATE SKIP LOCKED.';

CREATE FUNCTION delete_batch_command(relation oid, columnname text, type oid, cutoff text, role oid) RETURNS text
LANGUAGE sql STABLE
BEGIN ATOMIC
  -- With partitions, the same addresses in several of them are all old rows, and all are deleted. Rows that
  -- were changed meanwhile are looked at again.
  SELECT pg_catalog.format(
           'DELETE FROM %1$s WHERE ctid = ANY (ARRAY(SELECT ctid FROM %1$s WHERE %2$I < %3$L::pg_catalog.%4$s LIMIT %5$s%6$s)) '
           'AND %2$I < %3$L::pg_catalog.%4$s'::text,
           maintenance_target(delete_batch_command.relation), delete_batch_command.columnname, delete_batch_command.cutoff,
           (SELECT t.typname FROM pg_catalog.pg_type t WHERE t.oid = delete_batch_command.type),
           greatest(5000::bigint / greatest((SELECT count(*) FROM pg_catalog.pg_partition_tree(delete_batch_command.relation::regclass) t
                                              WHERE t.isleaf), 1::bigint), 500::bigint),
           CASE WHEN can_skip_locked(delete_batch_command.role, delete_batch_command.relation)
                THEN ' FOR UPDATE SKIP LOCKED'::text ELSE ''::text END);
END;
COMMENT ON FUNCTION delete_batch_command(oid, text, oid, text, oid) IS
  'The statement that deletes one batch of rows before the cutoff; none waits for a row that others have locked, '
  'if the role can help it.';

CREATE FUNCTION retention_obstacle(rule retention_rules, type oid, zone_problem text, OUT obstacle text, OUT obstacle_sqlstate text)
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT o.obstacle, o.sqlstate
    FROM (VALUES
      (CASE WHEN retention_obstacle.type IS NULL
            THEN pg_catalog.format('column %I is gone or of another type'::text, (retention_obstacle.rule).columnname) END, '42703'::text),
      (CASE WHEN retention_obstacle.type <> 'timestamptz'::regtype::oid THEN retention_obstacle.zone_problem END, '22023'::text),
      (CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_rewrite w
                          WHERE w.ev_class = (retention_obstacle.rule).relid AND w.ev_type = '4'::"char")
            THEN 'the table has a rule for DELETE'::text END, '0A000'::text),
      (CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_partition_tree((retention_obstacle.rule).relid::regclass) t
                           JOIN pg_catalog.pg_class c ON c.oid = t.relid::oid AND c.relkind = 'f'::"char")
            THEN 'a partition is a foreign table'::text END, '0A000'::text)) AS o (obstacle, sqlstate)
   WHERE o.obstacle IS NOT NULL
   LIMIT 1;
END;
COMMENT ON FUNCTION retention_obstacle(retention_rules, oid, text) IS 'Part of plan_retention(): why nothing can be deleted.';

CREATE FUNCTION plan_retention(job maintenance_jobs, OUT skip text, OUT obstacle text, OUT obstacle_sqlstate text,
                               OUT commands text[], OUT repeat boolean, OUT bytes_before bigint, OUT bloat_before numeric)
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT refresh_retention_rules();
  WITH rule AS MATERIALIZED (
    SELECT r.relid, r.columnname, retention_role(r.role, r.relid) AS role, y.type, o.obstacle, o.obstacle_sqlstate,
           retention_cutoff(y.type, r.keep, coalesce(z.name, 'UTC'::text)) AS cutoff
      FROM retention_rules r
     CROSS JOIN schedule_timezone() z
     CROSS JOIN LATERAL (SELECT retention_column_type(r.relid, r.attnum) AS type) y
      LEFT JOIN LATERAL retention_obstacle(r, y.type, z.problem) o ON true
     WHERE r.relid = (job).relid
  )
  SELECT CASE WHEN r.relid IS NULL THEN 'The rule was dropped.'::text
              WHEN r.role IS DISTINCT FROM (job).role THEN 'Another role has asked for the rule since.'::text END,
         r.obstacle, r.obstacle_sqlstate,
         CASE WHEN r.relid IS NOT NULL AND r.obstacle IS NULL
              THEN pg_catalog.array_append(
                     -- Triggers may name what stands beside their table.
                     ARRAY(SELECT 'SET search_path = pg_catalog, '::text || quote_ident(n.nspname::text) || ', pg_temp'::text
                             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                            WHERE c.oid = r.relid
                           UNION ALL
                           SELECT 'DROP TABLE IF EXISTS '::text || p FROM outdated_partitions(r.relid, r.columnname, r.cutoff, r.role) p),
                     delete_batch_command(r.relid, r.columnname, r.type, r.cutoff, r.role)) END,
         true, NULL::bigint, NULL::numeric
    FROM (SELECT 1) AS one LEFT JOIN rule r ON true;
END;
COMMENT ON FUNCTION plan_retention(maintenance_jobs) IS
  'What a worker does for a retention job: drops partitions, then deletes batches until there are no more rows before '
  'a time that stays the same in all; see plan_maintenance_job().';

CREATE FUNCTION conclude_retention(job maintenance_jobs, succeeded boolean, OUT bytes_after bigint, OUT bloat_after numeric,
                                   OUT summary text)
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT NULL::bigint, NULL::numeric,
         CASE WHEN conclude_retention.succeeded
              THEN pg_catalog.format('%s: deleted %s rows older than %s%s'::text, (job).target, coalesce((job).rows_removed, 0::bigint),
                     substring((job).command, ' < ''([^'']*)'''::text),
                     CASE WHEN d.dropped > 0 THEN pg_catalog.format(', dropped %s partitions'::text, d.dropped) ELSE ''::text END) END
    FROM (SELECT regexp_count((job).command, '^DROP TABLE '::text, 1, 'n'::text) AS dropped) d;
END;
COMMENT ON FUNCTION conclude_retention(maintenance_jobs, boolean) IS
  'What a retention job did; see finish_maintenance_job().';
