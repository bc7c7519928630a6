#include "core/btree_build.hpp"

#include <algorithm>
#include <cmath>

namespace train_perf {

uint32_t BtreeBuild::MostTids(uint32_t tuple_bytes) const noexcept {
  if (!shape_.deduplicates || tuple_bytes + 2 * kTid > shape_.most_posting) return 1;
  const uint32_t aligned_down = shape_.most_posting & ~uint32_t{7};
  return std::max((aligned_down - std::min(tuple_bytes, aligned_down)) / kTid, uint32_t{1});
}

double BtreeBuild::GroupBytes(uint32_t tuple_bytes, uint32_t tids) const noexcept {
  const uint32_t most = MostTids(tuple_bytes);
  if (most == 1) return static_cast<double>(tids) * (tuple_bytes + kLinePointer);
  const uint32_t rest = tids % most;
  const uint32_t full = tids / most;
  double bytes = static_cast<double>(full) * (Align(tuple_bytes + most * kTid) + kLinePointer);
  if (rest == 1) bytes += tuple_bytes + kLinePointer;
  if (rest > 1) bytes += Align(tuple_bytes + rest * kTid) + kLinePointer;
  return bytes;
}

double BtreeBuild::EvenLiveBytes(uint32_t tuple_bytes, double live_tids) const noexcept {
  const auto low = static_cast<uint32_t>(live_tids);
  const double above = live_tids - low;
  return (1.0 - above) * GroupBytes(tuple_bytes, low) + above * GroupBytes(tuple_bytes, low + 1);
}

double BtreeBuild::FewLiveBytes(uint32_t tuple_bytes, uint32_t tids, Live live) const noexcept {
  const double all = GroupBytes(tuple_bytes, tids);
  if (tids == 1 || MostTids(tuple_bytes) == 1) return live.share * all;
  double probability = std::pow(1.0 - live.share, tids);
  double alone = 0.0;  // each lives or dies by itself
  for (uint32_t k = 1; k <= tids; ++k) {
    probability *= live.share / (1.0 - live.share) * (tids - k + 1) / k;
    alone += probability * GroupBytes(tuple_bytes, k);
  }
  if (live.together >= 0.0)
    return alone + std::min(live.together, 1.0) * (live.share * all - alone);
  const double apart = std::min(-live.together * (tids - 1), 1.0);
  return alone + apart * (EvenLiveBytes(tuple_bytes, live.share * tids) - alone);
}

double BtreeBuild::ManyLiveBytes(uint32_t tuple_bytes, Many many, Live live) const noexcept {
  const auto groups = static_cast<double>(many.groups);
  const double tids = static_cast<double>(many.tids) / groups;
  const double apart = EvenLiveBytes(tuple_bytes, live.share * tids);
  const double together = live.share * EvenLiveBytes(tuple_bytes, tids);
  return groups * (apart + std::clamp(live.together, 0.0, 1.0) * (together - apart));
}

double BtreeBuild::LiveBytes(Live live) const noexcept {
  double bytes = 0.0;
  for (uint32_t i = 0; i < kSizes; ++i) {
    const uint32_t tuple_bytes = 8 * i;
    for (uint32_t tids = 1; tids <= kFewTids; ++tids)
      if (few_[i][tids] > 0) bytes += few_[i][tids] * FewLiveBytes(tuple_bytes, tids, live);
    if (many_[i].groups > 0) bytes += ManyLiveBytes(tuple_bytes, many_[i], live);
  }
  return bytes;
}

// The last tuple of a page that is full goes to the next one; what is left of it here is the high
// key.
void BtreeBuild::AddTuple(uint32_t bytes, uint32_t posting_bytes) noexcept {
  const uint32_t unused = shape_.page_bytes - used_;
  const uint32_t free = unused < kLinePointer ? 0 : unused - kLinePointer;
  const bool lacks_room = free < bytes + Align(kTid);
  const bool is_full = free + last_posting_bytes_ < shape_.leaf_free && tuples_ > 1;
  if (tuples_ > 0 && (lacks_room || is_full)) {
    ++full_pages_;
    used_ = 2 * kLinePointer + last_bytes_;
    tuples_ = 1;
  }
  used_ += bytes + kLinePointer;
  ++tuples_;
  last_bytes_ = bytes;
  last_posting_bytes_ = posting_bytes;
}

void BtreeBuild::AddTids(uint32_t tuple_bytes, uint32_t tids) noexcept {
  all_bytes_ += GroupBytes(tuple_bytes, tids);
  const uint32_t i = std::min(tuple_bytes / 8, kSizes - 1);
  if (tids <= kFewTids) {
    ++few_[i][tids];
  } else {
    ++many_[i].groups;
    many_[i].tids += tids;
  }
  const uint32_t most = MostTids(tuple_bytes);
  for (uint32_t left = tids; left > 0;) {
    const uint32_t here = std::min(left, most);
    const uint32_t bytes = here == 1 ? tuple_bytes : Align(tuple_bytes + here * kTid);
    AddTuple(bytes, bytes - tuple_bytes);
    left -= here;
  }
}

void BtreeBuild::AddGroup(uint32_t tuple_bytes, uint32_t tids, bool goes_on) noexcept {
  if (goes_on) {
    const uint32_t most = MostTids(tuple_bytes);
    if (rest_bytes_ != tuple_bytes && rest_tids_ > 0) {
      AddTids(rest_bytes_, rest_tids_);
      rest_tids_ = 0;
    }
    rest_bytes_ = tuple_bytes;
    rest_tids_ += tids % most;
    tids -= tids % most;
    if (rest_tids_ >= most) {
      rest_tids_ -= most;
      tids += most;
    }
  }
  if (tids > 0) AddTids(tuple_bytes, tids);
}

double BtreeBuild::LeafPages(Live live) const noexcept {
  if (all_bytes_ == 0.0 || live.share <= 0.0) return 0.0;
  const double room = shape_.page_bytes - shape_.leaf_free;
  const double pages = static_cast<double>(full_pages_) +
                       std::min(static_cast<double>(used_ - kLinePointer) / room, 1.0);
  return live.share >= 1.0 ? pages : pages * LiveBytes(live) / all_bytes_;
}

uint64_t BtreeBuild::WholeLeafPages(Live live) const noexcept {
  if (all_bytes_ == 0.0 || live.share <= 0.0) return 0;
  return live.share >= 1.0 ? full_pages_ + 1 : static_cast<uint64_t>(std::ceil(LeafPages(live)));
}

double BtreeBuild::InnerPages(double leaf_pages, double pivot_bytes) const noexcept {
  // As on leaf pages the last tuple of a full one moves on to the next; the first has no key.
  constexpr double kFirst = 8 + kLinePointer;
  const double room = shape_.page_bytes - 2 * kLinePointer - kFirst;
  const double free = std::max(static_cast<double>(shape_.inner_free), pivot_bytes);
  const double children =
      std::max(1.0 + std::floor((room - free) / (pivot_bytes + kLinePointer)), 2.0);
  double pages = 0.0;
  for (double level = leaf_pages; level > 1.0;) {
    level = std::ceil(level / children);
    pages += level;
  }
  return pages;
}

}  // namespace train_perf
