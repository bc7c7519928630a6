-- The end of the script: rights and row security of every object above, without a list to forget one
-- in.

DO $$
DECLARE
  path text := pg_catalog.current_setting('search_path');
  foreigners text;
  member record;
  grantee text;
BEGIN
  -- Nothing that stands in the target schema may be called from here.
  PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);

  -- Nor may it have got into the functions and views above, by argument types that fit better than
  -- those of the server's own functions.
  WITH member AS (
    SELECT d.classid, d.objid
      FROM pg_depend d
      JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'train_perf'
     WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
  ), part AS (
    SELECT m.classid, m.objid FROM member m
    UNION ALL
    SELECT 'pg_rewrite'::regclass, r.oid FROM pg_rewrite r JOIN member m ON m.objid = r.ev_class
    UNION ALL
    SELECT 'pg_attrdef'::regclass, a.oid FROM pg_attrdef a JOIN member m ON m.objid = a.adrelid
    UNION ALL
    SELECT 'pg_constraint'::regclass, c.oid FROM pg_constraint c JOIN member m ON m.objid = c.conrelid
  )
  SELECT string_agg(DISTINCT pg_describe_object(d.refclassid, d.refobjid, 0), ', ')
    INTO foreigners
    FROM part p
    JOIN pg_depend d ON d.classid = p.classid AND d.objid = p.objid
   WHERE d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass) AND d.deptype = 'n'
     AND NOT EXISTS (SELECT FROM member m WHERE m.classid = d.refclassid AND m.objid = d.refobjid);
  IF foreigners IS NOT NULL THEN
    RAISE EXCEPTION USING
      ERRCODE = '55000',
      MESSAGE = 'train_perf would call what stands in its schema and is not its own: ' || foreigners,
      HINT = 'Install it in a schema of its own with CREATE EXTENSION train_perf WITH SCHEMA ....';
  END IF;

  FOR member IN
    SELECT d.classid, d.objid, 'TABLE' AS kind, c.relkind, d.objid::regclass::text AS identity,
           c.relowner AS owner, coalesce(c.relacl, acldefault('r', c.relowner)) AS acl
      FROM pg_depend d
      JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'train_perf'
      JOIN pg_class c ON c.oid = d.objid
     WHERE d.refclassid = 'pg_extension'::regclass AND d.classid = 'pg_class'::regclass
       AND d.deptype = 'e' AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
    UNION ALL
    SELECT d.classid, d.objid, 'ROUTINE', NULL, d.objid::regprocedure::text, p.proowner,
           coalesce(p.proacl, acldefault('f', p.proowner))
      FROM pg_depend d
      JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'train_perf'
      JOIN pg_proc p ON p.oid = d.objid
     WHERE d.refclassid = 'pg_extension'::regclass AND d.classid = 'pg_proc'::regclass
       AND d.deptype = 'e'
  LOOP
    FOR grantee IN
      SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END
        FROM aclexplode(member.acl) a WHERE a.grantee <> member.owner
    LOOP
      EXECUTE format('REVOKE ALL ON %s %s FROM %s CASCADE', member.kind, member.identity, grantee);
    END LOOP;
    IF member.relkind IN ('r', 'p') THEN
      EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', member.identity);
      EXECUTE format('CREATE POLICY granted ON %s USING (true) WITH CHECK (true)', member.identity);
    END IF;
  END LOOP;
  PERFORM pg_catalog.set_config('search_path', path, true);
END
$$;

SELECT change_access('access_levels'::regclass, 'pg_monitor'::regrole, '{read}'::text[], true);
SELECT grant_usage('access_levels'::regclass, 'pg_monitor'::regrole);
GRANT EXECUTE ON FUNCTION grant_access(regrole, text), revoke_access(regrole) TO pg_database_owner;
-- Everybody may look at query_stats; it masks what is not theirs.
GRANT SELECT ON query_stats TO PUBLIC;
GRANT EXECUTE ON FUNCTION query_stats() TO PUBLIC;
-- These check who asks.
GRANT EXECUTE ON FUNCTION estimate_table_bloat(regclass, integer), estimate_index_bloat(regclass, integer) TO PUBLIC;
GRANT EXECUTE ON FUNCTION vacuum_analyze_table(text), reindex_if_bloated(text, numeric), reindex_bloated_indexes(numeric),
  cancel_maintenance_job(bigint) TO PUBLIC;
GRANT EXECUTE ON PROCEDURE wait_for_maintenance(bigint, interval) TO PUBLIC;
-- Everybody may look at maintenance_status; it shows what is theirs.
GRANT SELECT ON maintenance_status TO PUBLIC;
GRANT EXECUTE ON FUNCTION maintenance_status() TO PUBLIC;

DO $$
BEGIN
  IF pg_catalog.current_setting('train_perf.max_statements', true) IS NULL THEN
    RAISE WARNING USING
      MESSAGE = 'train_perf is not preloaded: statements are not captured and nothing runs in the background',
      HINT = 'Add this line to postgresql.conf and restart the server: shared_preload_libraries = ''train_perf''';
  END IF;
END
$$;
