// How many pages tuples fill when a table is rewritten: the server's own rule for each tuple
// (VACUUM FULL and CLUSTER go through the same one), so that wide rows, padding and fillfactor come
// out right.
#pragma once

#include <cstdint>

namespace train_perf {

class HeapPacking {
 public:
  // Bytes of a page that line pointers and tuples share, those that fillfactor keeps free, and the
  // most tuples of a page.
  struct PageRoom {
    uint32_t bytes;
    uint32_t kept_free;
    uint32_t most_tuples;
  };

  explicit HeapPacking(PageRoom room) noexcept : room_(room) {}

  void Add(uint32_t tuple_bytes) noexcept {
    const uint32_t bytes = Align(tuple_bytes);
    if (tuples_ > 0 && !Fits(bytes)) {
      ++full_pages_;
      used_ = tuples_ = 0;
    }
    used_ += bytes + kLinePointer;
    ++tuples_;
  }

  // The last page counts as far as it is filled, or wholly.
  double Pages() const noexcept {
    return static_cast<double>(full_pages_) +
           static_cast<double>(used_) / static_cast<double>(room_.bytes - room_.kept_free);
  }
  uint64_t WholePages() const noexcept { return full_pages_ + (tuples_ > 0 ? 1 : 0); }

 private:
  static constexpr uint32_t kLinePointer = 4;
  static constexpr uint32_t Align(uint32_t bytes) noexcept { return (bytes + 7) & ~uint32_t{7}; }

  bool Fits(uint32_t bytes) const noexcept {
    return tuples_ < room_.most_tuples &&
           used_ + kLinePointer + bytes + room_.kept_free <= room_.bytes;
  }

  PageRoom room_;
  uint64_t full_pages_ = 0;
  uint32_t used_ = 0;
  uint32_t tuples_ = 0;
};

}  // namespace train_perf
