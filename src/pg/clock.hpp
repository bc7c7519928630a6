// The clock of all durations: monotonic, nanoseconds, one vDSO call.
#pragma once

#include <ctime>

#include "pg/prelude.hpp"

namespace train_perf {

inline uint64 NowNs() noexcept {
  static timespec now;  // on the stack it would be guarded, which costs as much as reading it
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64>(now.tv_sec) * 1000000000U + static_cast<uint64>(now.tv_nsec);
}

}  // namespace train_perf
