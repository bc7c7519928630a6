-- Which indexes find the rows that refer to a key.

CREATE FUNCTION comparable_tree(tree text) RETURNS text
LANGUAGE sql IMMUTABLE
BEGIN ATOMIC
  -- The fields that tell only how an expression was written.
  SELECT coalesce(pg_catalog.regexp_replace(comparable_tree.tree,
    ' :(location|funcformat|relabelformat|coerceformat|convertformat|row_format|varnosyn|varattnosyn) -?[0-9]+'::text,
    ''::text, 'g'::text), ''::text);
END;
COMMENT ON FUNCTION comparable_tree(text) IS
  'A stored expression (pg_node_tree) such that equal ones are equal; empty for none.';

CREATE FUNCTION foreign_key_indexes(OUT conoid oid, OUT indexrelid oid)
RETURNS SETOF record
LANGUAGE sql STABLE
SET jit = off
SET enable_nestloop = off
BEGIN ATOMIC
  WITH fk AS MATERIALIZED (
    SELECT c.oid, c.conrelid, c.conkey, c.conpfeqop, pg_catalog.cardinality(c.conkey) AS columns
      FROM snapshot_relations('{r,p}'::"char"[]) r
      JOIN pg_catalog.pg_constraint c ON c.conrelid = r.relid AND c.contype = 'f'::"char"
  ), fk_part AS MATERIALIZED (
    SELECT f.oid, f.conrelid, f.conkey, f.columns, k.attnum, k.equality
      FROM fk f
     CROSS JOIN LATERAL unnest(f.conkey, f.conpfeqop) AS k (attnum, equality)
  ), fk_column AS MATERIALIZED (
    SELECT f.oid, f.conrelid, f.conkey, f.columns, f.attnum, a.attcollation, f.equality, o.oprcom
      FROM fk_part f
      JOIN pg_catalog.pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = f.attnum
      JOIN pg_catalog.pg_operator o ON o.oid = f.equality
  ), index_part AS MATERIALIZED (
    SELECT i.indrelid, i.indexrelid, i.indpred, k.attnum, k.opclass, k.colloid, k.place
      FROM pg_catalog.pg_index i
     CROSS JOIN LATERAL unnest(i.indkey::smallint[], i.indclass::oid[], i.indcollation::oid[])
                        WITH ORDINALITY AS k (attnum, opclass, colloid, place)
     WHERE i.indrelid IN (SELECT f.conrelid FROM fk f) AND i.indisvalid AND i.indisready AND i.indislive
       AND k.place <= i.indnkeyatts::bigint
  ), index_column AS MATERIALIZED (
    SELECT k.indrelid, k.indexrelid, k.attnum, k.place, k.colloid, oc.opcfamily,
           CASE WHEN k.indpred IS NULL THEN NULL::text ELSE comparable_tree(k.indpred::text) END AS predicate
      FROM index_part k
      JOIN pg_catalog.pg_opclass oc ON oc.oid = k.opclass
      JOIN pg_catalog.pg_am am ON am.oid = oc.opcmethod AND am.amname NOT IN ('brin'::name, 'gin'::name)
  )
  -- The columns of the key come first, in any order.
  SELECT f.oid, x.indexrelid
    FROM fk_column f
    JOIN index_column x ON x.indrelid = f.conrelid AND x.attnum = f.attnum AND x.place <= f.columns::bigint
     AND (x.colloid = f.attcollation OR x.colloid = 0::oid)
   WHERE EXISTS (SELECT FROM pg_catalog.pg_amop op
                  WHERE op.amopfamily = x.opcfamily AND op.amopopr IN (f.equality, f.oprcom))
     AND (x.predicate IS NULL
          -- WHERE a IS NOT NULL [AND ...], of columns of the key.
          OR x.predicate ~ (E'^(\\{BOOLEXPR :boolop and :args \\()?'
               '( ?\\{NULLTEST :arg \\{VAR :varno 1 :varattno [0-9]+ [^{}]*\\} :nulltesttype 1 :argisrow false\\})+'
               '(\\)\\})?$')::text
             AND NOT EXISTS (SELECT FROM pg_catalog.regexp_matches(x.predicate, ':varattno ([0-9]+) '::text,
                                                                   'g'::text) AS m (attnum)
                              WHERE NOT m.attnum[1]::smallint = ANY (f.conkey)))
   GROUP BY f.oid, x.indexrelid, f.columns
  HAVING pg_catalog.count(DISTINCT f.attnum) = f.columns::bigint;
END;
COMMENT ON FUNCTION foreign_key_indexes() IS
  'Foreign keys (also those that partitions have from their parent) and the valid indexes of the same table '
  'that can look their columns up.';
