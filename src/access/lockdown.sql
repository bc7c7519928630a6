-- The end of the script: rights and row security of every object above, without a list to forget one
-- in.

DO $$
DECLARE
  member record;
  grantee text;
BEGIN
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
END
$$;

SELECT change_access('access_levels'::regclass, 'pg_monitor'::regrole, '{read}', true);
GRANT EXECUTE ON FUNCTION grant_access(regrole, text), revoke_access(regrole) TO pg_database_owner;
-- Everybody may look at query_stats; it masks what is not theirs.
GRANT SELECT ON query_stats TO PUBLIC;
GRANT EXECUTE ON FUNCTION query_stats() TO PUBLIC;

DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_settings WHERE name = 'train_perf.max_statements') THEN
    RAISE WARNING USING
      MESSAGE = 'train_perf is not preloaded: statements are not captured and nothing runs in the background',
      HINT = 'Add this line to postgresql.conf and restart the server: shared_preload_libraries = ''train_perf''';
  END IF;
END
$$;
