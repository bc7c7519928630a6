-- What is measured in the test bed; loaded when the bed stands.

-- A partitioned table is its parts; a table has its TOAST table, too.
CREATE VIEW cases AS
  SELECT c.oid::regclass AS relation, c.relname::text AS name, c.relnamespace::regnamespace::text = 'uniform' AS uniform,
         coalesce(a.amname, 'heap')::text AS kind
    FROM pg_class AS c LEFT JOIN pg_am AS a ON a.oid = c.relam
   WHERE c.relnamespace::regnamespace::text IN ('uniform', 'various') AND NOT c.relispartition
     AND CASE WHEN current_database() = 'indexes' THEN c.relkind = 'i' ELSE c.relkind IN ('r', 'm', 'p') END
   ORDER BY c.oid;
CREATE VIEW forks AS
  SELECT c.relation, leaf.oid::regclass AS heap, nullif(leaf.reltoastrelid, 0)::regclass AS toast
    FROM cases AS c
   CROSS JOIN LATERAL (SELECT relid FROM pg_partition_tree(c.relation) WHERE isleaf
                       UNION SELECT c.relation WHERE NOT EXISTS (SELECT FROM pg_partition_tree(c.relation))) AS part
    JOIN pg_class AS leaf ON leaf.oid = part.relid AND leaf.relkind <> 'p';
CREATE VIEW sizes AS
  SELECT c.relation, coalesce(sum(pg_relation_size(heap) + coalesce(pg_relation_size(toast), 0)), 0)::bigint AS size
    FROM cases AS c LEFT JOIN forks AS f USING (relation) GROUP BY c.relation;

-- Looked up before, as no method should pay for it.
CREATE TABLE before AS SELECT * FROM forks;
CREATE TABLE size_before AS SELECT * FROM sizes;
ANALYZE before, size_before;

CREATE TABLE measured (
  relation oid, method text, round integer, estimated numeric, live numeric, dead numeric, source text, ms numeric, blocks bigint
);

-- The columns of QUERY: estimated size, live tuples, dead tuples, and what it says about itself.
CREATE PROCEDURE measure(relation regclass, method text, round integer, query text) LANGUAGE plpgsql AS $$
DECLARE
  its record;
BEGIN
  its := cost(format('INSERT INTO measured (relation, method, round, estimated, live, dead, source)
                      SELECT %s, %L, %s, estimated, live::numeric, dead::numeric, source::text
                        FROM (%s) AS q (estimated, live, dead, source)', relation::oid, method, round, query));
  UPDATE measured AS m SET ms = its.ms, blocks = its.blocks
   WHERE m.relation = measure.relation AND m.method = measure.method AND m.round = measure.round;
EXCEPTION WHEN OTHERS THEN
  INSERT INTO measured (relation, method, round, source) VALUES (relation, method, round, SQLERRM);
END
$$;

-- The statistics query that ioguix published, in its form for all versions, restated: rows of average width,
-- aligned, in pages that are filled up to the fillfactor; TOAST holds four rows a page.
CREATE VIEW by_statistics AS
  SELECT relid, ceil(rows / ((block - 24) * fillfactor / 100 / (4 + aligned_header + aligned_data))) * block
                + ceil(toast_rows / 4) * block AS estimated
    FROM (SELECT c.oid AS relid, 8192::numeric AS block, c.reltuples::numeric AS rows, coalesce(t.reltuples, 0)::numeric AS toast_rows,
                 coalesce((SELECT split_part(o, '=', 2)::numeric FROM unnest(c.reloptions) AS o WHERE o LIKE 'fillfactor=%'), 100) AS fillfactor,
                 ceil((23 + CASE WHEN s.nulls THEN (7 + s.columns) / 8 ELSE 0 END)::numeric / 8) * 8 AS aligned_header,
                 ceil(s.width / 8) * 8 AS aligned_data
            FROM pg_class AS c LEFT JOIN pg_class AS t ON t.oid = c.reltoastrelid
           CROSS JOIN LATERAL (SELECT count(*) AS columns, bool_or(null_frac > 0) AS nulls, sum((1 - null_frac) * avg_width)::numeric AS width
                                 FROM pg_stats AS s
                                WHERE (s.schemaname, s.tablename) = (c.relnamespace::regnamespace::text, c.relname::text)) AS s
           WHERE s.columns > 0 AND c.reltuples >= 0) AS table_statistics;

CREATE PROCEDURE measure_table(relation regclass, rounds integer) LANGUAGE plpgsql AS $$
DECLARE
  forks text := format('(SELECT * FROM before WHERE relation = %s) AS f', relation::oid);
BEGIN
  FOR round IN 1 .. rounds LOOP
    CALL measure(relation, 'ours, 1000 pages', round, format(
      'SELECT estimated_size_bytes, live_tuples, dead_tuples, method FROM estimate_table_bloat(%L::regclass, 1000)', relation));
    CALL measure(relation, 'ours, 200 pages', round, format(
      'SELECT estimated_size_bytes, live_tuples, dead_tuples, method FROM estimate_table_bloat(%L::regclass, 200)', relation));
  END LOOP;
  CALL measure(relation, 'pgstattuple', 1, format(
    'SELECT coalesce(sum(h.table_len - h.dead_tuple_len - h.free_space + coalesce(t.table_len - t.dead_tuple_len - t.free_space, 0)), 0),
            sum(h.tuple_count), sum(h.dead_tuple_count), NULL
       FROM %s CROSS JOIN LATERAL pgstattuple(heap) AS h LEFT JOIN LATERAL pgstattuple(toast) AS t ON true', forks));
  CALL measure(relation, 'pgstattuple_approx', 1, format(
    'SELECT coalesce(sum(h.table_len - h.dead_tuple_len - h.approx_free_space + coalesce(t.table_len - t.dead_tuple_len - t.approx_free_space, 0)), 0),
            sum(h.approx_tuple_count), sum(h.dead_tuple_count), NULL
       FROM %s CROSS JOIN LATERAL pgstattuple_approx(heap) AS h LEFT JOIN LATERAL pgstattuple_approx(toast) AS t ON true', forks));
  CALL measure(relation, 'n_live_tup', 1, format(
    'SELECT coalesce(sum(pg_stat_get_live_tuples(heap) * 100 + 8192), 0), sum(pg_stat_get_live_tuples(heap)), sum(pg_stat_get_dead_tuples(heap)), NULL FROM %s', forks));
  CALL measure(relation, 'ioguix', 1, format(
    'SELECT CASE WHEN count(*) = count(s.estimated) THEN sum(s.estimated) END, NULL, NULL, NULL
       FROM %s LEFT JOIN by_statistics AS s ON s.relid = f.heap', forks));
END
$$;

CREATE PROCEDURE measure_index(relation regclass, kind text, rounds integer) LANGUAGE plpgsql AS $$
DECLARE
  fillfactor text := coalesce((SELECT split_part(o, '=', 2) FROM pg_class AS c, unnest(c.reloptions) AS o
                                WHERE c.oid = relation AND o LIKE 'fillfactor=%'), '90');
BEGIN
  FOR round IN 1 .. rounds LOOP
    CALL measure(relation, 'ours, 1000 pages', round, format(
      'SELECT estimated_size_bytes, live_tuples, dead_tuples, method FROM estimate_index_bloat(%L::regclass, 1000)', relation));
    CALL measure(relation, 'ours, 200 pages', round, format(
      'SELECT estimated_size_bytes, live_tuples, dead_tuples, method FROM estimate_index_bloat(%L::regclass, 200)', relation));
  END LOOP;
  -- What it says about density, relative to the fillfactor; empty and deleted pages are bloat.
  IF kind = 'btree' THEN
    CALL measure(relation, 'pgstatindex', 1, format(
      'SELECT p.index_size - 8192 * (p.empty_pages + p.deleted_pages
                + CASE WHEN p.avg_leaf_density <> ''NaN'' THEN p.leaf_pages * greatest(0, 1 - p.avg_leaf_density / %s) ELSE 0 END), NULL, NULL, NULL
         FROM pgstatindex(%L::regclass) AS p',
      fillfactor, relation));
  ELSIF kind IN ('gist', 'hash') THEN
    CALL measure(relation, 'pgstattuple', 1, format(
      'SELECT table_len - dead_tuple_len - free_space, NULL, NULL, NULL FROM pgstattuple(%L::regclass)', relation));
  END IF;
END
$$;

CREATE PROCEDURE measure_all(rounds integer) LANGUAGE plpgsql AS $$
DECLARE
  c record;
BEGIN
  FOR c IN SELECT * FROM cases LOOP
    IF c.kind = 'heap' THEN
      CALL measure_table(c.relation, rounds);
    ELSE
      CALL measure_index(c.relation, c.kind, rounds);
    END IF;
    COMMIT;
  END LOOP;
END
$$;

-- Of each run: sizes in bytes, and bloat and error in points of the present size. The statistics formulas know
-- no upper end: who reads them takes more than the present size for no bloat.
CREATE VIEW runs AS
  SELECT c.name, c.kind, c.uniform, m.method, m.round, b.size, s.size AS truth, m.live, m.dead, m.source, m.ms, m.blocks, m.estimated,
         100 * (b.size - s.size)::numeric / greatest(b.size, 1) AS bloat,
         100 * (b.size - e.estimated) / greatest(b.size, 1) AS estimated_bloat,
         CASE WHEN b.size = 0 AND e.estimated IS NOT NULL THEN CASE WHEN e.estimated = s.size THEN 0 ELSE 100 END
              ELSE 100 * abs(e.estimated - s.size) / b.size END AS error
    FROM cases AS c JOIN size_before AS b USING (relation) JOIN sizes AS s USING (relation)
    JOIN measured AS m ON m.relation = c.relation::oid
   CROSS JOIN LATERAL (SELECT CASE WHEN m.method IN ('n_live_tup', 'ioguix') AND m.estimated > b.size THEN b.size ELSE m.estimated END) AS e (estimated);
