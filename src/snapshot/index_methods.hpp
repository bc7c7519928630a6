// What an index would be after a rebuild, one function per access method.
#pragma once

#include "core/live_rows.hpp"
#include "snapshot/page_sample.hpp"

namespace train_perf {

// What the table says about its indexes' entries (rows, not versions: a chain of HOT updates is
// one).
struct IndexedRows {
  double live;            // rows that a rebuild would index, recently dead ones included
  double dead;            // line pointers that index entries may still point to, but no row
  const LiveRows* known;  // which are which, of the sampled pages; null: unknown
};

struct IndexEstimate {
  double pages;  // of the main fork after REINDEX, metapage included; not rounded
  double live;   // index entries (TIDs) that a rebuild would keep
  double dead;   // those that it would not
  PageSample sample;
};

struct Sampling {
  int most;  // pages, at least 1; of an index, no more than it has, however it grows
  BufferAccessStrategy ring;
};

// The caller holds AccessShareLock on the index, which is valid or at least readable.
IndexEstimate EstimateBtree(Relation index, Sampling sampling, IndexedRows rows);
IndexEstimate EstimateHash(Relation index, Sampling sampling, IndexedRows rows);
IndexEstimate EstimateGist(Relation index, Sampling sampling, IndexedRows rows);
IndexEstimate EstimateGin(Relation index, Sampling sampling, IndexedRows rows);
IndexEstimate EstimateSpGist(Relation index, Sampling sampling, IndexedRows rows);
IndexEstimate EstimateBrin(Relation index, Sampling sampling, IndexedRows rows);

}  // namespace train_perf
