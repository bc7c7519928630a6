// A heap's live and dead rows, and its size after a rewrite, from a sample of its pages.
#pragma once

#include "snapshot/index_methods.hpp"

namespace train_perf {

struct HeapEstimate {
  double pages;          // of the main fork after a rewrite
  double live;           // tuples that somebody sees, or whose transaction is still running
  double dead;           // that VACUUM would remove now, line pointers that await it included
  double recently_dead;  // that only older snapshots see
  double dropped_share;  // of the bytes in TOAST, those of dropped columns
  IndexedRows rows;
  PageSample sample;
};

// `rows.known` is allocated in the current memory context. The caller holds AccessShareLock on the
// relation, which uses the heap access method.
HeapEstimate EstimateHeap(Relation relation, Sampling sampling);

}  // namespace train_perf
