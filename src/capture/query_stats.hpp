// Statement statistics as SQL shows them.
#pragma once

#include "pg/prelude.hpp"

namespace train_perf {

// Rows of the SQL function query_stats(), live from shared memory, of all databases. The text of
// other users' statements is masked for who may not read all statistics.
void FillQueryStats(ReturnSetInfo* result);

}  // namespace train_perf
