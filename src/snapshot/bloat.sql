-- Bloat over time.

CREATE TABLE table_bloat_snapshots (
  id uuid NOT NULL DEFAULT gen_random_uuid(),
  snapshot_timestamp timestamptz NOT NULL DEFAULT now(),
  schemaname text,
  tablename text,
  actual_size_bytes bigint NOT NULL,
  estimated_size_bytes bigint NOT NULL,
  bloat_bytes bigint GENERATED ALWAYS AS (actual_size_bytes - estimated_size_bytes) STORED,
  bloat_ratio numeric GENERATED ALWAYS AS (
    CASE WHEN estimated_size_bytes = 0 THEN 0::numeric
         ELSE round((actual_size_bytes - estimated_size_bytes)::numeric / estimated_size_bytes::numeric * 100::numeric, 2) END) STORED,
  dead_tuples bigint,
  live_tuples bigint,
  method text,
  sampled_pages integer,
  recently_dead_tuples bigint,
  relid oid,
  state_hash bigint,
  PRIMARY KEY (id, snapshot_timestamp),
  UNIQUE (snapshot_timestamp, schemaname, tablename)
) PARTITION BY RANGE (snapshot_timestamp);
CREATE TABLE table_bloat_snapshots_default PARTITION OF table_bloat_snapshots DEFAULT;
CREATE INDEX table_bloat_snapshots_table ON table_bloat_snapshots (relid, snapshot_timestamp);
SELECT pg_catalog.pg_extension_config_dump('table_bloat_snapshots_default', '');

CREATE TABLE index_bloat_snapshots (
  id uuid NOT NULL DEFAULT gen_random_uuid(),
  snapshot_timestamp timestamptz NOT NULL DEFAULT now(),
  schemaname text,
  tablename text,
  indexname text,
  access_method text,
  actual_size_bytes bigint NOT NULL,
  estimated_size_bytes bigint NOT NULL,
  bloat_bytes bigint GENERATED ALWAYS AS (actual_size_bytes - estimated_size_bytes) STORED,
  bloat_ratio numeric GENERATED ALWAYS AS (
    CASE WHEN estimated_size_bytes = 0 THEN 0::numeric
         ELSE round((actual_size_bytes - estimated_size_bytes)::numeric / estimated_size_bytes::numeric * 100::numeric, 2) END) STORED,
  dead_tuples bigint,
  live_tuples bigint,
  method text,
  sampled_pages integer,
  recently_dead_tuples bigint,
  relid oid,
  indexrelid oid,
  state_hash bigint,
  PRIMARY KEY (id, snapshot_timestamp),
  UNIQUE (snapshot_timestamp, schemaname, tablename, indexname)
) PARTITION BY RANGE (snapshot_timestamp);
CREATE TABLE index_bloat_snapshots_default PARTITION OF index_bloat_snapshots DEFAULT;
CREATE INDEX index_bloat_snapshots_index ON index_bloat_snapshots (indexrelid, snapshot_timestamp);
SELECT pg_catalog.pg_extension_config_dump('index_bloat_snapshots_default', '');
