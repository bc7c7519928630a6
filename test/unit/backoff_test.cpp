#include "core/backoff.hpp"

#include <gtest/gtest.h>

#include <limits>

namespace train_perf {
namespace {

constexpr Backoff kSecondToMinute{.first_ms = 1000, .longest_ms = 60000};

TEST(Backoff, each_failure_doubles_the_pause) {
  EXPECT_EQ(kSecondToMinute.PauseMs(1), 1000);
  EXPECT_EQ(kSecondToMinute.PauseMs(2), 2000);
  EXPECT_EQ(kSecondToMinute.PauseMs(6), 32000);
}

TEST(Backoff, the_pause_does_not_grow_beyond_the_longest) {
  EXPECT_EQ(kSecondToMinute.PauseMs(7), 60000);
  EXPECT_EQ(kSecondToMinute.PauseMs(std::numeric_limits<int>::max()), 60000);
}

TEST(Backoff, no_failure_counts_as_the_first) { EXPECT_EQ(kSecondToMinute.PauseMs(0), 1000); }

}  // namespace
}  // namespace train_perf
