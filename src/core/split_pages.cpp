#include "core/split_pages.hpp"

#include <algorithm>
#include <cmath>

namespace train_perf {

namespace {

// Pages that were not split, counted by the halves that they are now.
double Unsplit(const float* fills, std::size_t count, double full, double share) {
  double pages = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const double fill = fills[i] * share;
    if (fill <= 0) continue;
    pages += std::exp2(-std::max(0.0, std::ceil(std::log2(full / 2 / fill))));
  }
  return pages;
}

// Whether pages fill up all together.
bool AreInStep(const float* fills, std::size_t count, double full) {
  constexpr double kLow = 0.45, kHigh = 0.93;  // of a full page
  return fills[count / 50] >= kLow * full && fills[count / 2] <= kHigh * full &&
         !AreAlike(fills, count);
}

}  // namespace

bool AreAlike(const float* fills, std::size_t count) {
  constexpr double kSpread = 1.08;
  return fills[count - 1 - count / 20] <= kSpread * fills[count / 20];
}

double RemainingPages(const float* fills, std::size_t count, double full, double share) {
  if (count == 0 || share >= 1) return 1;
  if (share <= 0) return 0;
  if (!AreInStep(fills, count, full)) return share;
  return std::min(1.0, Unsplit(fills, count, full, share) / Unsplit(fills, count, full, 1));
}

}  // namespace train_perf
