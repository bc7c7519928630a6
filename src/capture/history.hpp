// The statistics of this database that are not in query_stats_history yet.
#pragma once

#include "pg/prelude.hpp"

namespace train_perf {

// Rows of the SQL function pending_statistics(). In the collector they are remembered, and
// history_batch::Done, after the commit, marks them as written. No rows without preloading.
void FillPendingStatistics(ReturnSetInfo* result);

namespace history_batch {
extern bool remembered;  // in the collector: rows that are read are going to be written
void Done() noexcept;
}  // namespace history_batch

}  // namespace train_perf
