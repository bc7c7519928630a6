// Which line pointers of the sampled pages of a table lead to a row: what index entries are worth.
#pragma once

#include <algorithm>
#include <cstdint>

namespace train_perf {

class LiveRows {
 public:
  static constexpr uint32_t kMostPages = 20000;  // about a megabyte; of more pages nothing is known
  static constexpr uint32_t kMostRows = 320;     // of a page, which has 291 at most

  struct KnownPage {
    uint32_t block;
    uint64_t live[kMostRows / 64];

    bool IsLive(uint32_t offset) const noexcept {
      return offset < kMostRows && (live[offset / 64] >> (offset % 64) & 1) != 0;
    }
    void SetLive(uint32_t offset) noexcept { live[offset / 64] |= uint64_t{1} << (offset % 64); }
  };

  // `room` has room for `most` pages.
  LiveRows(KnownPage* room, uint32_t most) noexcept : pages_(room), most_(most) {}

  // In the order of blocks.
  void Add(const KnownPage& page) noexcept {
    if (count_ < most_) pages_[count_++] = page;
  }

  // Null if nothing is known of the page.
  const KnownPage* Find(uint32_t block) const noexcept {
    const KnownPage* const first = pages_;
    const KnownPage* const end = first + count_;
    const KnownPage* found = std::lower_bound(
        first, end, block, [](const KnownPage& page, uint32_t b) { return page.block < b; });
    return found != end && found->block == block ? found : nullptr;
  }

 private:
  KnownPage* pages_;
  uint32_t most_;
  uint32_t count_ = 0;
};

}  // namespace train_perf
