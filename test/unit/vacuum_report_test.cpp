#include "core/vacuum_report.hpp"

#include <gtest/gtest.h>

namespace train_perf {
namespace {

TEST(VacuumReport, ReadsWhatWasRemovedAndKept) {
  VacuumReport report;
  AddVacuumMessage(
      "finished vacuuming \"db.public.t\": index scans: 1\n"
      "pages: 12 removed, 443 remain, 455 scanned (100.00% of total), 0 eagerly scanned\n"
      "tuples: 60000 removed, 40000 remain, 7 are dead but not yet removable\n"
      "removable cutoff: 750, which was 1 XIDs old when operation ended\n",
      &report);
  EXPECT_TRUE(report.found);
  EXPECT_EQ(report.pages_removed, 12);
  EXPECT_EQ(report.pages, 443);
  EXPECT_EQ(report.rows_removed, 60000);
  EXPECT_EQ(report.rows_kept, 7);
}

TEST(VacuumReport, AddsPartitionsButNotTheRowsOfToast) {
  VacuumReport report;
  AddVacuumMessage(
      "finished vacuuming \"db.public.p1\": index scans: 0\npages: 0 removed, 5 remain\n"
      "tuples: 3 removed, 2 remain, 1 are dead but not yet removable\n",
      &report);
  AddVacuumMessage(
      "finished vacuuming \"db.public.p2\": index scans: 0\npages: 1 removed, 6 remain\n"
      "tuples: 4 removed, 2 remain, 0 are dead but not yet removable\n",
      &report);
  AddVacuumMessage(
      "finished vacuuming \"db.pg_toast.pg_toast_1\": index scans: 0\npages: 9 removed, 7 remain\n"
      "tuples: 100 removed, 2 remain, 50 are dead but not yet removable\n",
      &report);
  EXPECT_EQ(report.pages, 11);
  EXPECT_EQ(report.pages_removed, 10);
  EXPECT_EQ(report.rows_removed, 7);
  EXPECT_EQ(report.rows_kept, 1);
}

TEST(VacuumReport, LeavesOtherMessagesAlone) {
  VacuumReport report;
  AddVacuumMessage("vacuuming \"db.public.t\"", &report);
  AddVacuumMessage("", &report);
  EXPECT_FALSE(report.found);
  AddVacuumMessage(
      "finished vacuuming \"db.public.t\": index scans: 0\npages: many removed\ntuples: ", &report);
  EXPECT_TRUE(report.found);
  EXPECT_EQ(report.rows_removed, 0);
}

}  // namespace
}  // namespace train_perf
