// The collector of one database: takes queued events to query_performance_logs and alerts, the
// statements' counters to query_stats_history, and makes and drops partitions. It works as the
// owner of the extension, waits for no lock longer than a second, and pauses longer after each
// failure.
#pragma once

#include "pg/prelude.hpp"

namespace train_perf {

void RunCollector(Oid database);  // the worker's main

}  // namespace train_perf
