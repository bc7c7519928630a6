// What a GIN index's list of TIDs takes after a rebuild: it keeps the differences between TIDs that
// follow each other, in as many bytes of 7 bits as each needs, and those grow as rows between go.
#pragma once

#include <cstddef>
#include <cstdint>

namespace train_perf {

// Bytes of a difference.
int VarbyteLength(std::uint64_t difference) noexcept;

// TIDs, as numbers, in ascending order, of which each is kept with the same chance.
class GinPostings {
 public:
  // `random` lives longer, and goes on from list to list.
  GinPostings(double chance, std::uint64_t* random) noexcept : chance_(chance), random_(random) {}

  void Add(std::uint64_t tid) noexcept;
  // Those that follow the TID that was added last, as differences; a last one without its end is
  // left out.
  void AddDifferences(const unsigned char* from, std::size_t size) noexcept;

  double items() const noexcept { return items_; }
  // Of the kept ones; `bytes` are those of their differences.
  double kept() const noexcept { return kept_; }
  double bytes() const noexcept { return bytes_; }
  std::uint64_t first() const noexcept { return first_; }
  std::uint64_t last() const noexcept { return last_; }

 private:
  bool Keeps() noexcept;

  double chance_;
  std::uint64_t* random_;
  std::uint64_t tid_ = 0;
  std::uint64_t first_ = 0, last_ = 0;
  double items_ = 0, kept_ = 0, bytes_ = 0;
};

}  // namespace train_perf
