#include "core/heap_packing.hpp"

#include <gtest/gtest.h>

namespace train_perf {
namespace {

// As a page of PostgreSQL: 8192 bytes without its header of 24.
HeapPacking Packing(uint32_t fillfactor) {
  return HeapPacking({8168, 8192 * (100 - fillfactor) / 100, 291});
}

uint64_t PagesOf(HeapPacking packing, int tuples, uint32_t bytes) {
  for (int i = 0; i < tuples; ++i) packing.Add(bytes);
  return packing.WholePages();
}

TEST(HeapPackingTest, NothingNeedsNoPage) {
  EXPECT_EQ(Packing(100).WholePages(), 0U);
  EXPECT_EQ(Packing(100).Pages(), 0.0);
}

TEST(HeapPackingTest, FillsPagesAsTheServerDoes) {
  // 226 tuples of an integer fit on a page (28 bytes are aligned to 32).
  EXPECT_EQ(PagesOf(Packing(100), 226, 28), 1U);
  EXPECT_EQ(PagesOf(Packing(100), 227, 28), 2U);
  EXPECT_EQ(PagesOf(Packing(100), 226 * 1000, 28), 1000U);
}

TEST(HeapPackingTest, NoPageHasMoreTuplesThanItMay) {
  EXPECT_EQ(PagesOf(Packing(100), 291, 20), 1U);
  EXPECT_EQ(PagesOf(Packing(100), 292, 20), 2U);
}

TEST(HeapPackingTest, WideTuplesLeaveRoom) {
  EXPECT_EQ(PagesOf(Packing(100), 100, 4100), 100U);  // one a page
  EXPECT_EQ(PagesOf(Packing(100), 100, 4000), 50U);   // two
  EXPECT_EQ(PagesOf(Packing(100), 100, 2800), 50U);   // two, a third would not fit
}

TEST(HeapPackingTest, KeepsWhatFillfactorReserves) {
  EXPECT_EQ(PagesOf(Packing(70), 158, 28), 1U);
  EXPECT_EQ(PagesOf(Packing(70), 159, 28), 2U);
  EXPECT_EQ(PagesOf(Packing(10), 3, 8000), 3U);  // a tuple that does not fit goes in all the same
}

TEST(HeapPackingTest, TheLastPageCountsAsFarAsItIsFilled) {
  HeapPacking packing = Packing(100);
  for (int i = 0; i < 226 + 113; ++i) packing.Add(28);
  EXPECT_NEAR(packing.Pages(), 1.5, 0.01);
}

}  // namespace
}  // namespace train_perf
