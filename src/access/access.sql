-- Who may do what. Everything belongs to the extension's owner; pg_monitor reads; grant_access gives
-- the same, or more, to others. What default privileges gave (Supabase grants everything new in
-- public to its API roles) is taken back, object by object.

CREATE VIEW access_levels AS
SELECT * FROM (VALUES
  ('read', 'SELECT', 'TABLE', 'query_performance_logs'::regclass::oid),
  ('read', 'SELECT', 'TABLE', 'query_stats_history'::regclass::oid),
  ('read', 'SELECT', 'TABLE', 'query_texts'::regclass::oid),
  ('read', 'SELECT', 'TABLE', 'query_stats_snapshot'::regclass::oid),
  ('read', 'SELECT', 'TABLE', 'performance_alerts'::regclass::oid),
  ('read', 'SELECT', 'TABLE', 'query_stats'::regclass::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'query_stats()'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'capture_status()'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'shared_capture_status()'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'library_version()'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'normalize_query(text)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'query_hash(text)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'pending_statistics()'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'latency_histogram(double precision)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'latency_quantile_ms(bytea, double precision)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'merge_latency(bytea)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'get_query_stats(timestamptz, timestamptz)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'get_slow_queries(integer, integer)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'severity_rank(text)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'slow_query_severity(numeric)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'max_duration_in(jsonb)'::regprocedure::oid),
  ('read', 'SELECT', 'TABLE', 'table_bloat_snapshots'::regclass::oid),
  ('read', 'SELECT', 'TABLE', 'index_bloat_snapshots'::regclass::oid),
  ('read', 'SELECT', 'TABLE', 'bloat_snapshot_run'::regclass::oid),
  ('read', 'SELECT', 'TABLE', 'alert_rules'::regclass::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'alert_thresholds()'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION',
   'severity_above(numeric, numeric, numeric, numeric, numeric)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'calculate_index_bloat()'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'get_bloat_status()'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'get_high_bloat_tables(numeric)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'index_bloat_status()'::regprocedure::oid),
  ('operate', 'INSERT, UPDATE, DELETE', 'TABLE', 'alert_rules'::regclass::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'capture_table_bloat_snapshot()'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'check_bloat_alerts(text)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'check_table_bloat_alerts()'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'check_index_bloat_alerts()'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION',
   'resolve_alerts_except(text, text, text[], text)'::regprocedure::oid),
  ('read', 'SELECT', 'TABLE', 'index_usage_snapshots'::regclass::oid),
  ('read', 'SELECT', 'TABLE', 'index_usage_capture'::regclass::oid),
  ('read', 'SELECT', 'TABLE', 'index_definitions'::regclass::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'snapshot_patterns(text, text)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'snapshot_tables()'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'snapshot_indexes()'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'relation_bytes(oid)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'is_index_name_free(text, text)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION',
   'index_usage_history(oid, oid, text, text, text, bigint, boolean, timestamptz)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION',
   'index_usage_intervals(oid, oid, text, text, text, bigint, boolean, bigint, timestamptz, boolean, boolean)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'statistics_started_anew()'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'judge_index_usage(integer)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'unused_days(timestamptz, interval)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'note_observation(bigint, bigint, interval, integer)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'check_days(integer, text)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'detect_unused_indexes(integer)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'no_such_table(text)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'table_named(text)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'get_index_trends(text, integer)'::regprocedure::oid),
  ('read', 'SELECT', 'TABLE', 'index_findings'::regclass::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'snapshot_patterns(text, text)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'snapshot_relations("char"[])'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'unlocked_index_definition(oid)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'is_invalid_now(oid)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'size_now(oid, "char", integer)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'partition_totals(oid)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'comparable_tree(text)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'quoted_columns(oid, smallint[])'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'kept_indexes()'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'redundant_indexes()'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'foreign_key_indexes()'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'unindexed_foreign_keys()'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'invalid_indexes()'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'invalid_indexes_of(oid[])'::regprocedure::oid),
  ('read', 'SELECT', 'TABLE', 'index_rebuilds'::regclass::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'is_leftover(oid)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'unused_index_candidates()'::regprocedure::oid),
  ('read', 'SELECT', 'TABLE', 'maintenance_jobs'::regclass::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'vacuum_horizon()'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'dropped_maintenance_requests()'::regprocedure::oid),
  ('operate', 'INSERT', 'TABLE', 'query_performance_logs'::regclass::oid),
  ('operate', 'INSERT, UPDATE', 'TABLE', 'performance_alerts'::regclass::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'capture_query_stats_snapshot()'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'capture_index_usage_snapshot()'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'check_unused_index_alerts()'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION',
   'log_query_performance(text, integer, uuid, text, jsonb, text, text)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION',
   'raise_slow_query_alert(text, text, numeric, bigint, text, timestamptz)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION',
   'create_performance_alert(text, text, text, jsonb)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION',
   'resolve_performance_alert(uuid, text, uuid)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'check_invalid_index_alerts()'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'schedule_timezone()'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'parse_maintenance_window(text)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'refuse_setting(text, text)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'check_maintenance_window(text)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'next_window_start(timestamptz)'::regprocedure::oid),
  ('read', 'SELECT', 'TABLE', 'retention_rules'::regclass::oid),
  ('read', 'SELECT', 'TABLE', 'maintenance_runs'::regclass::oid),
  ('read', 'SELECT', 'TABLE', 'cron_registrations'::regclass::oid),
  ('read', 'SELECT', 'TABLE', 'maintenance_schedule'::regclass::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'maintenance_tables()'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'parse_schedule(text, text)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'check_schedule(text, text)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'schedule_instants(text, text, text, timestamptz)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'schedule_zone()'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'schedule_due(text, text, timestamptz)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'schedule_next(text, text, timestamptz)'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'schedule_settings()'::regprocedure::oid),
  ('read', 'EXECUTE', 'FUNCTION', 'window_setting()'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'require_primary(text)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'require_preload(text)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'running_weekly_maintenance()'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'weekly_obstacle(bigint[], regprocedure)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'request_vacuum(regprocedure, oid)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'vacuum_covered_tables()'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'capture_for_weekly()'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'check_for_weekly()'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION',
   'perform_weekly_maintenance(regprocedure, regprocedure, regprocedure)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'weekly_maintenance()'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'monthly_maintenance()'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'request_maintenance(text, oid, numeric, numeric, text)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'await_maintenance(bigint[])'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'retention_column_type(oid, smallint)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'check_retention(oid, text, smallint, interval)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'check_retention_type(oid, smallint, oid)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'retention_target(text, text)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'set_retention(text, text, interval)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'drop_retention(text)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'cron_member(oid, text, integer)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'cron_database()'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'cron_timezone()'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'cron_schedules_here()'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'require_cron(oid, boolean)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'cron_command(text, regprocedure, regprocedure)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'cron_plan()'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'check_cron_plan()'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'note_cron_timezone(text, text)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'own_cron_job(oid, text, text)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'other_cron_role(oid, regclass, text, text, text)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'unschedule_cron_job(oid, regclass, text, bigint)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'note_cron_job(text, text)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'schedule_cron_job(oid, regclass, text, text, text, text)'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'schedule_maintenance()'::regprocedure::oid),
  ('operate', 'EXECUTE', 'FUNCTION', 'unschedule_maintenance()'::regprocedure::oid),
  ('operate', 'INSERT, DELETE', 'TABLE', 'retention_rules'::regclass::oid),
  ('operate', 'INSERT, DELETE', 'TABLE', 'cron_registrations'::regclass::oid)
) AS rules (level, privileges, kind, object);
COMMENT ON VIEW access_levels IS
  'What the levels of grant_access give: read, and what operate gives on top of it.';

-- The schema, tables and functions come as arguments, bound by the callers: PL/pgSQL would look names
-- up when it runs.
CREATE FUNCTION change_access(rules regclass, grantee regrole, levels text[], give boolean)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  rule record;
  object text;
BEGIN
  IF grantee IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '22004', MESSAGE = 'grantee must not be NULL';
  END IF;
  FOR rule IN EXECUTE format('SELECT * FROM %s WHERE level = ANY ($1)', rules) USING levels LOOP
    object := CASE rule.kind WHEN 'TABLE' THEN rule.object::regclass::text
                             ELSE rule.object::regprocedure::text END;
    EXECUTE format(CASE WHEN give THEN 'GRANT %s ON %s %s TO %s' ELSE 'REVOKE %s ON %s %s FROM %s' END,
                   rule.privileges, rule.kind, object, grantee);
  END LOOP;
END
$$;
COMMENT ON FUNCTION change_access(regclass, regrole, text[], boolean) IS
  'Part of grant_access and revoke_access.';

CREATE FUNCTION grant_usage(of_relation regclass, grantee regrole) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  home oid;
BEGIN
  SELECT relnamespace INTO STRICT home FROM pg_class WHERE oid = of_relation;
  IF NOT has_schema_privilege(grantee::oid, home, 'USAGE') THEN
    EXECUTE format('GRANT USAGE ON SCHEMA %s TO %s', home::regnamespace, grantee);
  END IF;
END
$$;
COMMENT ON FUNCTION grant_usage(regclass, regrole) IS 'Part of grant_access: the schema''s USAGE.';

CREATE FUNCTION check_access_level(level text) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  CASE level
    WHEN 'read' THEN RETURN '{read}';
    WHEN 'operate' THEN RETURN '{read,operate}';
    ELSE
      RAISE EXCEPTION USING ERRCODE = '22023',
        MESSAGE = format('unknown access level %s', coalesce(quote_literal(level), 'NULL')),
        HINT = 'The levels are read and operate.';
  END CASE;
END
$$;
COMMENT ON FUNCTION check_access_level(text) IS 'The levels that a level comprises; 22023 if unknown.';

CREATE FUNCTION grant_access(grantee regrole, level text) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT change_access('access_levels'::regclass, grant_access.grantee,
                       check_access_level(grant_access.level), true);
  SELECT grant_usage('access_levels'::regclass, grant_access.grantee);
END;
COMMENT ON FUNCTION grant_access(regrole, text) IS
  'Gives a role access to the extension: read (tables, views, reading functions) or operate (also '
  'logging, alerts). For the owner of the extension or of the database.';

CREATE FUNCTION revoke_access(grantee regrole) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT change_access('access_levels'::regclass, revoke_access.grantee, '{read,operate}'::text[], false);
END;
COMMENT ON FUNCTION revoke_access(regrole) IS
  'Takes back what grant_access gave; USAGE of the schema stays.';

-- The application's users.

CREATE FUNCTION forget_unknown_user() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  known boolean;
BEGIN
  -- A row of ours is worth more than its user: one who does not exist (any more) is stored as NULL.
  -- (Nested: a condition on a column that this table lacks must not even be looked at.)
  IF NOT EXISTS (SELECT FROM pg_class WHERE oid = TG_ARGV[0]::oid) THEN
    -- The table of users was dropped with its constraint, which leaves this trigger.
    IF TG_ARGV[1] = 'user_id' THEN NEW.user_id := NULL; ELSE NEW.resolved_by := NULL; END IF;
  ELSIF TG_ARGV[1] = 'user_id' THEN
    IF NEW.user_id IS NOT NULL THEN
      EXECUTE format('SELECT EXISTS (SELECT FROM %s WHERE id = $1)', TG_ARGV[0]::oid::regclass)
        INTO known USING NEW.user_id;
      IF NOT known THEN NEW.user_id := NULL; END IF;
    END IF;
  ELSE
    IF NEW.resolved_by IS NOT NULL THEN
      EXECUTE format('SELECT EXISTS (SELECT FROM %s WHERE id = $1)', TG_ARGV[0]::oid::regclass)
        INTO known USING NEW.resolved_by;
      IF NOT known THEN NEW.resolved_by := NULL; END IF;
    END IF;
  END IF;
  RETURN NEW;
END
$$;
COMMENT ON FUNCTION forget_unknown_user() IS 'Trigger of link_user_profiles.';

CREATE FUNCTION unlink_users(relation regclass) RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
DECLARE
  linked boolean;
BEGIN
  linked := EXISTS (SELECT FROM pg_constraint
                     WHERE conrelid = relation AND conname = 'train_perf_user_profiles');
  EXECUTE format('ALTER TABLE %s DROP CONSTRAINT IF EXISTS train_perf_user_profiles', relation);
  EXECUTE format('DROP TRIGGER IF EXISTS train_perf_user_profiles ON %s', relation);
  RETURN linked;
END
$$;
COMMENT ON FUNCTION unlink_users(regclass) IS 'Part of unlink_user_profiles: one table.';

CREATE FUNCTION link_users(relation regclass, column_name name, user_table regclass,
                           forget regprocedure)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
BEGIN
  EXECUTE format('UPDATE %s t SET %I = NULL WHERE %I IS NOT NULL AND NOT EXISTS '
                 '(SELECT FROM %s u WHERE u.id = t.%I)',
                 relation, column_name, column_name, user_table, column_name);
  EXECUTE format('CREATE TRIGGER train_perf_user_profiles BEFORE INSERT OR UPDATE OF %I ON %s '
                 'FOR EACH ROW EXECUTE FUNCTION %s(%L, %L)',
                 column_name, relation, forget::oid::regproc, user_table::oid, column_name);
  EXECUTE format('ALTER TABLE %s ADD CONSTRAINT train_perf_user_profiles FOREIGN KEY (%I) '
                 'REFERENCES %s (id) ON DELETE SET NULL',
                 relation, column_name, user_table);
END
$$;
COMMENT ON FUNCTION link_users(regclass, name, regclass, regprocedure) IS
  'Part of link_user_profiles: one table.';

CREATE FUNCTION check_user_table(user_table regclass) RETURNS regclass
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_attribute a
                  WHERE a.attrelid = user_table AND a.attname = 'id' AND a.atttypid = 'uuid'::regtype
                    AND NOT a.attisdropped) THEN
    RAISE EXCEPTION USING ERRCODE = '42703',
      MESSAGE = format('%s has no column id of type uuid', user_table),
      HINT = 'The table of users needs a primary key or unique constraint on a uuid column id.';
  END IF;
  RETURN user_table;
END
$$;
COMMENT ON FUNCTION check_user_table(regclass) IS 'Part of link_user_profiles; 42703 without id uuid.';

CREATE FUNCTION unlink_user_profiles() RETURNS boolean
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT bool_or(unlink_users(t.relation))
    FROM (VALUES ('query_performance_logs'::regclass), ('performance_alerts'::regclass))
      AS t (relation);
END;
COMMENT ON FUNCTION unlink_user_profiles() IS
  'Removes what link_user_profiles made; false if there was nothing.';

CREATE FUNCTION link_user_profiles(user_table regclass) RETURNS void
LANGUAGE sql VOLATILE
BEGIN ATOMIC
  SELECT unlink_user_profiles();
  SELECT link_users(t.relation, t.column_name, check_user_table(link_user_profiles.user_table),
                    'forget_unknown_user()'::regprocedure)
    FROM (VALUES ('query_performance_logs'::regclass, 'user_id'::name),
                 ('performance_alerts'::regclass, 'resolved_by'::name))
      AS t (relation, column_name);
END;
COMMENT ON FUNCTION link_user_profiles(regclass) IS
  'Makes user_id of the log and resolved_by of alerts refer to the application''s users (id uuid), ON '
  'DELETE SET NULL; users that do not exist are stored as NULL. Replaces an earlier link.';
