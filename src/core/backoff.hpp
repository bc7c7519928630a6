// Pauses between attempts: doubled after each failure, from `first` up to `longest`.
#pragma once

#include <algorithm>
#include <cstdint>

namespace train_perf {

struct Backoff {
  int64_t first_ms;
  int64_t longest_ms;

  // The pause after the n-th failure in a row (n >= 1).
  constexpr int64_t PauseMs(int failures) const noexcept {
    const int doublings = std::clamp(failures - 1, 0, 32);
    return std::min(longest_ms, first_ms << doublings);
  }
};

}  // namespace train_perf
