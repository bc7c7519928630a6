-- How large tables and indexes would be after a rewrite.

CREATE FUNCTION estimate_table_bloat(relation regclass, sample_pages integer DEFAULT 1000)
RETURNS TABLE (actual_size_bytes bigint, estimated_size_bytes bigint, bloat_bytes bigint,
               bloat_ratio numeric, method text, sampled_pages integer, live_tuples bigint,
               dead_tuples bigint, recently_dead_tuples bigint)
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE ROWS 1 COST 100000
AS 'MODULE_PATHNAME', 'tp_estimate_table_bloat';
COMMENT ON FUNCTION estimate_table_bloat(regclass, integer) IS
  'The size of a table with its TOAST, without indexes, and what a rewrite would make of it, from '
  'sample_pages random pages; bloat_ratio is the excess in percent of the estimated size. No row if the '
  'table is locked or gone. For its owner and for pg_monitor.';

CREATE FUNCTION estimate_index_bloat(index regclass, sample_pages integer DEFAULT 1000)
RETURNS TABLE (actual_size_bytes bigint, estimated_size_bytes bigint, bloat_bytes bigint,
               bloat_ratio numeric, method text, sampled_pages integer, live_tuples bigint,
               dead_tuples bigint, recently_dead_tuples bigint)
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE ROWS 1 COST 100000
AS 'MODULE_PATHNAME', 'tp_estimate_index_bloat';
COMMENT ON FUNCTION estimate_index_bloat(regclass, integer) IS
  'The size of an index and what REINDEX would make of it, from sample_pages random pages; as '
  'estimate_table_bloat(). Tuples are index entries.';

CREATE FUNCTION estimate_with_indexes(relation oid, sample_pages integer)
RETURNS TABLE (relid oid, skipped text, actual_size_bytes bigint, estimated_size_bytes bigint,
               method text, sampled_pages integer, live_tuples bigint, dead_tuples bigint,
               recently_dead_tuples bigint)
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE ROWS 3 COST 300000
AS 'MODULE_PATHNAME', 'tp_estimate_with_indexes';
COMMENT ON FUNCTION estimate_with_indexes(oid, integer) IS
  'A row for a table and one for each of its indexes; `skipped` tells why one has no estimate: locked, '
  'gone, unlogged (on a standby), damaged. Checks no rights.';

CREATE FUNCTION calculate_index_bloat()
RETURNS TABLE (schemaname text, tablename text, indexname text, bloat_ratio numeric, bloat_mb numeric,
               access_method text, actual_size_bytes bigint, estimated_size_bytes bigint, method text,
               sampled_pages integer)
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT t.schemaname, t.tablename, c.relname::text,
         CASE WHEN e.estimated_size_bytes = 0::bigint THEN 0::numeric
              ELSE round((e.actual_size_bytes - e.estimated_size_bytes)::numeric
                         / e.estimated_size_bytes::numeric * 100::numeric, 2) END,
         round((e.actual_size_bytes - e.estimated_size_bytes)::numeric / 1048576::numeric, 2),
         m.amname::text, e.actual_size_bytes, e.estimated_size_bytes, e.method, e.sampled_pages
    FROM snapshot_tables() t
   CROSS JOIN LATERAL estimate_with_indexes(t.relid, 1000) e
    JOIN pg_catalog.pg_class c ON c.oid = e.relid
    JOIN pg_catalog.pg_am m ON m.oid = c.relam
   WHERE e.relid <> t.relid AND e.skipped IS NULL
   ORDER BY e.actual_size_bytes - e.estimated_size_bytes DESC, t.schemaname, c.relname;
END;
COMMENT ON FUNCTION calculate_index_bloat() IS
  'The bloat of every index now, from samples; the most bytes to win first. Locked ones are left out.';
