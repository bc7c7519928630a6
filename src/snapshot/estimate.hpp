// What tables and indexes would be after a rewrite, from sampled pages: docs/how-estimates-work.md.
#pragma once

#include "snapshot/open_relation.hpp"

namespace train_perf {

enum class Method { kExact, kSampled, kStatistics };

struct BloatEstimate {
  Skipped skipped;
  Method method;
  double actual_bytes;     // heap and TOAST, or the index: main forks
  double estimated_bytes;  // of the same after a rewrite
  double live, dead, recently_dead;
  int64 sampled_pages;
  int skipped_parts;  // of a partitioned relation; the others count
};

// Tables, materialized views, TOAST tables, and partitioned tables as the sum of their parts; so
// for indexes. Raises 42809 for other relations and 42501 unless the caller owns it (and each part)
// or has the rights of pg_monitor. `most` is pages per fork; below 1 raises 22023.
BloatEstimate EstimateTable(Oid relation, int most);
BloatEstimate EstimateIndex(Oid index, int most);

// A table and all its indexes, read once each, for a row per relation.
using TakeEstimate = void (*)(Oid relation, const BloatEstimate& estimate, void* argument);
void EstimateWithIndexes(Oid table, int most, TakeEstimate take, void* argument);

// The indexes of a table alone: one of them, or with InvalidOid all. No row if the table itself
// cannot be read, but one for the table that says why. Checks no rights.
void EstimateIndexes(Oid table, Oid only, int most, TakeEstimate take, void* argument);

}  // namespace train_perf
