// Asks for one ANALYZE of each table that a transaction has loaded, when it commits: that has got
// at least train_perf.analyze_after_rows new rows in it, all statements together.
//
// No statement is watched. At the end of the transaction the server itself knows how many rows were
// inserted into each table: by COPY, INSERT, MERGE, CREATE TABLE AS, REFRESH MATERIALIZED VIEW or
// anything else, nested or not, and without what a subtransaction took back or a later TRUNCATE or
// DROP removed. Not counted are rows that INSERT … ON CONFLICT updated, those of foreign tables,
// and everything while track_counts is off, which autovacuum depends on as well.
//
// Rows that were sent to a partitioned table count for it, and it is analyzed with its partitions;
// rows that were sent to a partition count for that.
//
// Left out: temporary tables, catalogs, the extension's own tables and workers, databases without
// the extension, and transactions that are prepared.
#pragma once

namespace train_perf {

void InstallBulkLoad();  // from _PG_init while preloading, but not for pg_upgrade

}  // namespace train_perf
