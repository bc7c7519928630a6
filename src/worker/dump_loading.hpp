// Lets dumps be loaded without errors.
//
// A dump has our daily partitions as plain tables, but leaves what they are attached to, with its
// indexes, to CREATE EXTENSION. So ATTACH PARTITION makes a partition's indexes, and what the dump
// does to make and attach them comes too late. In a session that loads a dump, and only for
// partitions of our tables, such a statement changes nothing if its work is done, or will be:
//
//   ALTER TABLE … ADD CONSTRAINT …      the partition has the same one from its parent
//   CREATE INDEX …                      the same
//   ALTER INDEX … ATTACH PARTITION …    no index of that name is there to be attached
//   ALTER TABLE … DROP CONSTRAINT …     it is the parent's; the table is dropped later (--clean)
//
// And the collector is kept from writing what would collide with rows that are still to be loaded.
#pragma once

namespace train_perf {

// Every dump begins with two settings that hardly anybody else combines.
bool IsLoadingDump() noexcept;

void InstallDumpLoading();  // from _PG_init, preloading or not, but not for pg_upgrade

}  // namespace train_perf
