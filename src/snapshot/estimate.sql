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

CREATE FUNCTION data_file_size(reltablespace oid, relfilenode oid) RETURNS bigint
LANGUAGE c VOLATILE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tp_data_file_size';
COMMENT ON FUNCTION data_file_size(oid, oid) IS
  'Bytes of the main fork of a relation of this database, by what pg_class says of it; without a lock, '
  'where pg_relation_size() would wait. NULL if there is no such file.';
