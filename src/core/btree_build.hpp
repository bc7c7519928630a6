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
  // order.
  void AddGroup(uint32_t tuple_bytes, uint32_t tids) noexcept;

  // Leaf pages if all (1) or a share of the TIDs, evenly spread, is live; the last page counts as
  // far as it is filled, or wholly.
  double LeafPages(double live) const noexcept;
  uint64_t WholeLeafPages(double live) const noexcept;

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
  double LiveBytes(double live) const noexcept;
  double FewLiveBytes(uint32_t tuple_bytes, uint32_t tids, double live) const noexcept;
  double ManyLiveBytes(uint32_t tuple_bytes, Many many, double live) const noexcept;
  void AddTuple(uint32_t bytes, uint32_t posting_bytes) noexcept;

  Shape shape_;
  uint64_t full_pages_ = 0;
  uint32_t used_ = kLinePointer;  // of the page being filled; its high key has a line pointer
  uint32_t tuples_ = 0;
  uint32_t last_bytes_ = 0;
  uint32_t last_posting_bytes_ = 0;
  double all_bytes_ = 0.0;

  // Groups by the size of their tuple and their TIDs; those of more TIDs in sum.
  uint32_t few_[kSizes][kFewTids + 1] = {};
  Many many_[kSizes] = {};
};

}  // namespace train_perf
