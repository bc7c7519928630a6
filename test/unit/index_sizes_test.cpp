#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/gin_entries.hpp"
#include "core/gin_postings.hpp"
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
  constexpr HashGroups kNone{0, 1};
  EXPECT_EQ(MeanHashOverflow(kNone, kNone, 407), 0);
  EXPECT_NEAR(MeanHashOverflow({307, 1}, kNone, 407), 0, 1e-3);
  EXPECT_NEAR(MeanHashOverflow({488, 1}, kNone, 407), 1, 1e-3);
  EXPECT_NEAR(MeanHashOverflow({407.5, 1}, kNone, 407), 0.5, 0.02);
  EXPECT_GT(MeanHashOverflow({307, 100}, kNone, 407), 0.1);
}

TEST(HashBuckets, overflow_where_a_key_is_frequent) {
  // One bucket of a thousand has a key of ten pages, beside what all have.
  EXPECT_NEAR(MeanHashOverflow({200, 1}, {4.07, 4070}, 407), 0.01, 1e-4);
  // Of 1000 keys in 2000 buckets, two, three ... may share one.
  EXPECT_NEAR(MeanHashOverflow({0, 1}, {300, 600}, 407),
              0.303 + 0.0758 * 2 + 0.0126 * 4 + 0.0018 * 5, 2e-3);
}

TEST(HashBuckets, are_counted_from_a_sample) {
  EXPECT_EQ(DistinctOfSample(0, 0, 3), 0);
  EXPECT_EQ(DistinctOfSample(20, 10, 1), 10);  // all pages
  EXPECT_EQ(DistinctOfSample(10, 10, 3), 30);  // on one page each
  // A third of 3000 places of 1000 things: a third of 1 - (2 / 3) ^ 3 is missed.
  EXPECT_NEAR(DistinctOfSample(1000, 1000 * 19.0 / 27, 3), 1000, 1);
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

TEST(GinPostings, take_seven_bits_a_byte) {
  EXPECT_EQ(VarbyteLength(1), 1);
  EXPECT_EQ(VarbyteLength(127), 1);
  EXPECT_EQ(VarbyteLength(128), 2);
  EXPECT_EQ(VarbyteLength((1U << 14) - 1), 2);
  EXPECT_EQ(VarbyteLength(1U << 14), 3);
  EXPECT_EQ(VarbyteLength(UINT64_MAX), 10);
}

TEST(GinPostings, are_decoded) {
  std::uint64_t random = 1;
  GinPostings postings(1, &random);
  postings.Add(1000);
  const unsigned char differences[] = {0x05, 0x80, 0x01, 0xff, 0xff, 0x01, 0x81};  // 5, 128, 32767
  postings.AddDifferences(differences, sizeof(differences));
  EXPECT_EQ(postings.items(), 4);
  EXPECT_EQ(postings.kept(), 4);
  EXPECT_EQ(postings.bytes(), 6);
  EXPECT_EQ(postings.first(), 1000U);
  EXPECT_EQ(postings.last(), 1000U + 5 + 128 + 32767);
}

TEST(GinPostings, survive_what_is_no_difference) {
  std::uint64_t random = 1;
  GinPostings postings(0.5, &random);
  const std::vector<unsigned char> endless(1000, 0xff);
  postings.AddDifferences(endless.data(), endless.size());
  EXPECT_EQ(postings.items(), 0);
}

TEST(GinPostings, are_farther_from_each_other_as_others_go) {
  std::uint64_t random = 1;
  GinPostings all(1, &random);
  GinPostings few(0.1, &random);
  for (std::uint64_t tid = 1; tid <= 100000; ++tid) {
    all.Add(tid * 100);
    few.Add(tid * 100);
  }
  EXPECT_EQ(all.bytes(), 99999);
  EXPECT_NEAR(few.kept(), 10000, 500);
  // Alone the next one is within 127.
  EXPECT_NEAR(few.bytes() / (few.kept() - 1), 1.9, 0.02);
}

TEST(GinPostings, are_none_if_none_is_kept) {
  std::uint64_t random = 1;
  GinPostings postings(0, &random);
  for (std::uint64_t tid = 1; tid <= 100; ++tid) postings.Add(tid);
  EXPECT_EQ(postings.items(), 100);
  EXPECT_EQ(postings.kept(), 0);
  EXPECT_EQ(postings.bytes(), 0);
}

}  // namespace
}  // namespace train_perf
