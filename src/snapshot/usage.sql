-- Index usage over time.

CREATE TABLE index_usage_snapshots (
  id uuid NOT NULL DEFAULT gen_random_uuid(),
  snapshot_timestamp timestamptz NOT NULL DEFAULT now(),
  schemaname text,
  tablename text,
  indexname text,
  idx_scan bigint NOT NULL,
  idx_tup_read bigint,
  idx_tup_fetch bigint,
  index_size_bytes bigint,
  table_size_bytes bigint,
  indexrelid oid,
  scans_since_previous bigint,
  reset_detected boolean,
  definition_hash bigint,
  PRIMARY KEY (id, snapshot_timestamp),
  UNIQUE (snapshot_timestamp, schemaname, tablename, indexname)
) PARTITION BY RANGE (snapshot_timestamp);
CREATE TABLE index_usage_snapshots_default PARTITION OF index_usage_snapshots DEFAULT;
CREATE INDEX index_usage_snapshots_index ON index_usage_snapshots (indexrelid, snapshot_timestamp);
SELECT pg_catalog.pg_extension_config_dump('index_usage_snapshots_default', '');
