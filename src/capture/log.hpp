// Queued events as rows of query_performance_logs.
#pragma once

#include "pg/prelude.hpp"

namespace train_perf {

// Rows of the SQL function queued_events(): the oldest log_batch::size events of this database,
// which stay queued until log_batch::Done. Only the collector may ask (55000).
void FillQueuedEvents(ReturnSetInfo* result);

namespace log_batch {
extern int size;       // events per batch; 0 outside the collector
void Done() noexcept;  // the batch is committed: its events leave the queue as written
}  // namespace log_batch

}  // namespace train_perf
