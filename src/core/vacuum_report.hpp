// What VACUUM (VERBOSE) says that it did, from its messages in English.
#pragma once

#include <cstdint>
#include <string_view>

namespace train_perf {

struct VacuumReport {
  bool found = false;  // any message of a finished VACUUM
  int64_t pages = 0;   // of the table and its partitions afterwards, without TOAST
  int64_t pages_removed = 0;
  int64_t rows_removed = 0;
  int64_t rows_kept = 0;  // dead, but an old snapshot may still see them
};

// Adds what a message tells; all but "finished vacuuming ..." is nothing to it. TOAST tables count
// with their pages_removed only.
void AddVacuumMessage(std::string_view message, VacuumReport* report) noexcept;

}  // namespace train_perf
