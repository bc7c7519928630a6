#include "core/gin_entries.hpp"

#include <algorithm>

namespace train_perf {

void GinEntryPages::Add(double size) noexcept {
  if (count_ == kMost || (count_ > 0 && used_ + size > capacity_)) {
    const double total = used_ + size;
    double left = 0;
    int moved = 0;
    while (moved < count_ && left <= total / 2) left += sizes_[moved++];
    std::copy(sizes_ + moved, sizes_ + count_, sizes_);
    count_ -= moved;
    used_ -= left;
    ++full_;
  }
  sizes_[count_++] = size;
  used_ += size;
}

double GinEntryPages::pages() const noexcept {
  if (full_ == 0) return count_ > 0 ? 1 : 0;
  return full_ + 1;
}

}  // namespace train_perf
