#include "core/btree_build.hpp"

#include <gtest/gtest.h>

#include <memory>

namespace train_perf {
namespace {

constexpr uint32_t kFree = 819;  // fillfactor 90

BtreeBuild::Shape ShapeWith(bool deduplicates) { return {8152, kFree, 2457, 812, deduplicates}; }

std::unique_ptr<BtreeBuild> Build(bool deduplicates, int groups, uint32_t bytes, uint32_t tids) {
  auto build = std::make_unique<BtreeBuild>(ShapeWith(deduplicates));
  for (int i = 0; i < groups; ++i) build->AddGroup(bytes, tids, false);
  return build;
}

// The sizes are those of indexes that PostgreSQL 15 built.
uint64_t AllPages(const BtreeBuild& build, double pivot_bytes) {
  const auto leaves = build.WholeLeafPages({});
  return 1 + leaves +
         static_cast<uint64_t>(build.InnerPages(static_cast<double>(leaves), pivot_bytes));
}

TEST(BtreeBuildTest, NothingIsAMetapage) { EXPECT_EQ(AllPages(*Build(false, 0, 16, 1), 16), 1U); }

TEST(BtreeBuildTest, UniqueIntegers) {
  EXPECT_EQ(AllPages(*Build(false, 100, 16, 1), 16), 2U);
  EXPECT_EQ(AllPages(*Build(false, 100000, 16, 1), 16), 276U);
  EXPECT_EQ(AllPages(*Build(false, 1000000, 16, 1), 16), 2745U);
}

TEST(BtreeBuildTest, EqualKeysShareATuple) {
  EXPECT_EQ(AllPages(*Build(true, 1, 16, 1000000), 24), 849U);
  EXPECT_EQ(AllPages(*Build(true, 1000, 16, 1000), 24), 896U);
  EXPECT_EQ(AllPages(*Build(false, 1000, 16, 1000), 24), 2749U);
}

TEST(BtreeBuildTest, GroupsCostWhatTheirTuplesTake) {
  const BtreeBuild build(ShapeWith(true));
  EXPECT_EQ(build.GroupBytes(16, 1), 20);
  EXPECT_EQ(build.GroupBytes(16, 2), 36);     // 28 bytes, aligned, and a line pointer
  EXPECT_EQ(build.GroupBytes(16, 132), 812);  // as many as a tuple may have
  EXPECT_EQ(build.GroupBytes(16, 133), 832);
  EXPECT_EQ(build.GroupBytes(904, 10), 9080);  // too large to share
}

TEST(BtreeBuildTest, DeadOnesLeaveWithTheirShare) {
  EXPECT_NEAR(Build(false, 100000, 16, 1)->LeafPages({0.4}), 0.4 * 274, 1);
  // Of pairs, one or the other stays.
  const auto pairs = Build(true, 50000, 16, 2);
  EXPECT_NEAR(pairs->LeafPages({0.5}) / pairs->LeafPages({}), (0.5 * 20 + 0.25 * 36) / 36, 0.001);
  EXPECT_EQ(pairs->WholeLeafPages({0.0}), 0U);
}

TEST(BtreeBuildTest, EqualKeysLiveTogetherOrApart) {
  const auto groups = Build(true, 50000, 16, 4);
  const double all = groups->LeafPages({});
  EXPECT_NEAR(groups->LeafPages({0.5, 1.0}) / all, 0.5, 0.001);             // all four or none
  EXPECT_NEAR(groups->LeafPages({0.5, -1.0 / 3}) / all, 36.0 / 44, 0.001);  // two of each
  const double alone = (4 * 20 + 6 * 36 + 4 * 44 + 44) / 16.0;
  EXPECT_NEAR(groups->LeafPages({0.5, 0.0}) / all, alone / 44, 0.001);
}

TEST(BtreeBuildTest, GroupsThatGoOnLeaveNoRests) {
  auto build = std::make_unique<BtreeBuild>(ShapeWith(true));
  for (int i = 0; i < 1000; ++i) build->AddGroup(16, 1000, true);
  const auto one = Build(true, 1, 16, 1000000);
  EXPECT_NEAR(build->LeafPages({}), one->LeafPages({}), 1);
}

TEST(BtreeBuildTest, WideSeparatorsMakeManyInnerPages) {
  const BtreeBuild build(ShapeWith(false));
  EXPECT_EQ(build.InnerPages(1, 16), 0);
  EXPECT_EQ(build.InnerPages(200, 16), 1);
  EXPECT_EQ(build.InnerPages(429, 904), 62 + 9 + 2 + 1);
}

}  // namespace
}  // namespace train_perf
