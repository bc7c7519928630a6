// The plan of an execution as JSON, without literals unless train_perf.log_literal_text is on.
#pragma once

#include <string_view>

#include "pg/prelude.hpp"

namespace train_perf {

// What EXPLAIN (FORMAT JSON) would print for the finished but not yet ended execution; empty if it
// cannot be had or is longer than 64 kB. Errors stay inside. Lives as long as the query.
std::string_view PlanAsJson(QueryDesc* query);

}  // namespace train_perf
