#include "core/vacuum_report.hpp"

#include <charconv>

namespace train_perf {

namespace {

// The number that ends right before `after`, in the line that begins with `line`; 0 without.
int64_t NumberBefore(std::string_view message, std::string_view line, std::string_view after) {
  const size_t start = message.find(line);
  if (start == std::string_view::npos) return 0;
  std::string_view text = message.substr(start + line.size());
  text = text.substr(0, text.find('\n'));
  const size_t end = text.find(after);
  if (end == std::string_view::npos) return 0;
  size_t begin = end;
  while (begin > 0 && text[begin - 1] >= '0' && text[begin - 1] <= '9') --begin;
  int64_t number = 0;
  std::from_chars(text.data() + begin, text.data() + end, number);
  return number;
}

}  // namespace

void AddVacuumMessage(std::string_view message, VacuumReport* report) noexcept {
  constexpr std::string_view kFinished = "finished vacuuming \"";
  if (message.substr(0, kFinished.size()) != kFinished) return;
  report->found = true;
  report->pages_removed += NumberBefore(message, "\npages: ", " removed");
  const std::string_view name = message.substr(0, message.find('\n'));
  if (name.find(".pg_toast.") != std::string_view::npos) return;
  report->pages += NumberBefore(message, "\npages: ", " remain");
  report->rows_removed += NumberBefore(message, "\ntuples: ", " removed");
  report->rows_kept += NumberBefore(message, "\ntuples: ", " are dead but not yet removable");
}

}  // namespace train_perf
