// How many pages a B-tree has when it is built anew: the server's rule for each leaf tuple, with
// deduplication, then the levels above.
#pragma once

#include <cstdint>

namespace train_perf {

class BtreeBuild {
 public:
  struct Shape {
    uint32_t page_bytes;    // between header and special space
    uint32_t leaf_free;     // a leaf page is full below this (fillfactor)
    uint32_t inner_free;    // a page above it
    uint32_t most_posting;  // bytes of a tuple with several TIDs
    bool deduplicates;
  };

  explicit BtreeBuild(Shape shape) noexcept : shape_(shape) {}

  // `tids` equal keys, each a tuple of `tuple_bytes` (aligned, header included), in the index's
  // order. A group that goes on (on a page that is read later, or never) leaves its rest to the
  // others that do.
  void AddGroup(uint32_t tuple_bytes, uint32_t tids, bool goes_on) noexcept;

  // How many TIDs are live: a share of them, and how much those of equal keys live or die
  // `together`: 1 all or none, 0 each by itself, less if the dead ones are spread evenly over the
  // keys.
  struct Live {
    double share = 1.0;
    double together = 0.0;
  };

  // Leaf pages for the live ones; the last page counts as far as it is filled, or wholly.
  double LeafPages(Live live) const noexcept;
  uint64_t WholeLeafPages(Live live) const noexcept;

  // The pages above so many leaf pages, when their separators have `pivot_bytes`.
  double InnerPages(double leaf_pages, double pivot_bytes) const noexcept;

  // The bytes of pages, line pointers included, that `tids` equal keys take.
  double GroupBytes(uint32_t tuple_bytes, uint32_t tids) const noexcept;

 private:
  static constexpr uint32_t kLinePointer = 4;
  static constexpr uint32_t kTid = 6;
  static constexpr uint32_t kFewTids = 64;
  static constexpr uint32_t kSizes = 352;  // of tuples, in 8 bytes; a third of a page is the most
  static constexpr uint32_t Align(uint32_t bytes) noexcept { return (bytes + 7) & ~uint32_t{7}; }

  struct Many {
    uint64_t groups, tids;
  };

  uint32_t MostTids(uint32_t tuple_bytes) const noexcept;
  double LiveBytes(Live live) const noexcept;
  double FewLiveBytes(uint32_t tuple_bytes, uint32_t tids, Live live) const noexcept;
  double ManyLiveBytes(uint32_t tuple_bytes, Many many, Live live) const noexcept;
  double EvenLiveBytes(uint32_t tuple_bytes, double live_tids) const noexcept;
  void AddTids(uint32_t tuple_bytes, uint32_t tids) noexcept;
  void AddTuple(uint32_t bytes, uint32_t posting_bytes) noexcept;

  Shape shape_;
  uint64_t full_pages_ = 0;
  uint32_t used_ = kLinePointer;  // of the page being filled; its high key has a line pointer
  uint32_t tuples_ = 0;
  uint32_t last_bytes_ = 0;
  uint32_t last_posting_bytes_ = 0;
  uint32_t rest_bytes_ = 0;  // tuples of the groups that go on, and the TIDs that they left
  uint32_t rest_tids_ = 0;
  double all_bytes_ = 0.0;

  // Groups by the size of their tuple and their TIDs; those of more TIDs in sum.
  uint32_t few_[kSizes][kFewTids + 1] = {};
  Many many_[kSizes] = {};
};

}  // namespace train_perf
