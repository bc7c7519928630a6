#include "core/gin_postings.hpp"

#include <algorithm>
#include <bit>

namespace train_perf {

namespace {

constexpr int kBitsPerByte = 7;
constexpr int kMostBits = 48;  // of a TID

}  // namespace

int VarbyteLength(std::uint64_t difference) noexcept {
  return std::max(1,
                  (static_cast<int>(std::bit_width(difference)) + kBitsPerByte - 1) / kBitsPerByte);
}

bool GinPostings::Keeps() noexcept {
  if (chance_ >= 1) return true;
  *random_ = *random_ * 6364136223846793005U + 1442695040888963407U;
  return static_cast<double>(*random_ >> 11) * 0x1p-53 < chance_;
}

void GinPostings::Add(std::uint64_t tid) noexcept {
  tid_ = tid;
  ++items_;
  if (!Keeps()) return;
  if (kept_ == 0) {
    first_ = tid;
  } else {
    bytes_ += VarbyteLength(tid - last_);
  }
  last_ = tid;
  ++kept_;
}

void GinPostings::AddDifferences(const unsigned char* from, std::size_t size) noexcept {
  std::uint64_t difference = 0;
  int shift = 0;
  for (std::size_t i = 0; i < size; ++i) {
    if (shift < kMostBits) difference |= static_cast<std::uint64_t>(from[i] & 0x7FU) << shift;
    shift += kBitsPerByte;
    if ((from[i] & 0x80U) != 0) continue;
    Add(tid_ + difference);
    difference = 0;
    shift = 0;
  }
}

}  // namespace train_perf
