#include <gtest/gtest.h>

#include <cstddef>
#include <vector>

#include "core/gin_entries.hpp"
#include "core/hash_buckets.hpp"
#include "core/split_pages.hpp"

namespace train_perf {
namespace {

TEST(HashBuckets, come_in_steps) {
  EXPECT_EQ(HashBucketStep(0), 2U);
  EXPECT_EQ(HashBucketStep(2.5), 4U);
  EXPECT_EQ(HashBucketStep(512), 512U);
  EXPECT_EQ(HashBucketStep(512.1), 640U);
  EXPECT_EQ(HashBucketStep(977), 1024U);
  EXPECT_EQ(HashBucketStep(1025), 1280U);
  EXPECT_EQ(HashBucketStep(3258), 3584U);
  EXPECT_EQ(HashBucketStep(1e12), 1U << 30);
}

TEST(HashBuckets, overflow_when_their_page_is_full) {
  EXPECT_EQ(HashOverflow(0, 407), 0);
  EXPECT_EQ(HashOverflow(407, 407), 0);
  EXPECT_EQ(HashOverflow(408, 407), 1);
  EXPECT_NEAR(MeanHashOverflow(307, 1, 407), 0, 1e-3);
  EXPECT_NEAR(MeanHashOverflow(488, 1, 407), 1, 1e-3);
  EXPECT_NEAR(MeanHashOverflow(407.5, 1, 407), 0.5, 0.02);
  EXPECT_GT(MeanHashOverflow(307, 100, 407), 0.1);
}

TEST(SplitPages, go_with_the_entries) {
  std::vector<float> random(100);
  for (std::size_t i = 0; i < random.size(); ++i) random[i] = 0.3F + 0.006F * static_cast<float>(i);
  EXPECT_DOUBLE_EQ(RemainingPages(random.data(), random.size(), 0.9, 0.7), 0.7);
  const std::vector<float> ordered(100, 0.45F);
  EXPECT_TRUE(AreAlike(ordered.data(), ordered.size()));
  EXPECT_DOUBLE_EQ(RemainingPages(ordered.data(), ordered.size(), 0.9, 0.7), 0.7);
  EXPECT_DOUBLE_EQ(RemainingPages(ordered.data(), ordered.size(), 0.9, 1), 1);
  EXPECT_DOUBLE_EQ(RemainingPages(ordered.data(), ordered.size(), 0.9, 0), 0);
}

TEST(SplitPages, that_filled_together_have_not_split_yet) {
  std::vector<float> fills(100);
  for (std::size_t i = 0; i < fills.size(); ++i) fills[i] = 0.46F + 0.001F * static_cast<float>(i);
  EXPECT_DOUBLE_EQ(RemainingPages(fills.data(), fills.size(), 0.9, 0.75), 0.5);
}

TEST(GinEntries, fill_half_of_each_page_in_order) {
  GinEntryPages pages(8000);
  EXPECT_EQ(pages.pages(), 0);
  for (int i = 0; i < 80000; ++i) pages.Add(20);
  EXPECT_NEAR(pages.pages(), 80000 * 20 / 4020.0, 2);
}

TEST(GinEntries, fill_more_than_half_if_they_are_large) {
  GinEntryPages pages(8000);
  for (int i = 0; i < 10000; ++i) pages.Add(2000);
  EXPECT_NEAR(pages.pages(), 10000 / 3.0, 2);
}

}  // namespace
}  // namespace train_perf
