#include "core/hash_buckets.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

namespace train_perf {

std::uint32_t HashBucketStep(double wanted) {
  constexpr std::uint32_t kMost = 1U << 30;
  constexpr std::uint32_t kSingleSteps = 512;
  if (!(wanted > 2)) return 2;
  if (wanted >= kMost) return kMost;
  const auto count = static_cast<std::uint32_t>(std::ceil(wanted));
  const std::uint32_t doubled = std::bit_ceil(count);
  if (doubled <= kSingleSteps) return doubled;
  const std::uint32_t step = doubled / 8;
  return (count + step - 1) / step * step;
}

double HashOverflow(double entries, double capacity) {
  return std::max(0.0, std::ceil(entries / capacity) - 1);
}

double MeanHashOverflow(double mean, double group, double capacity) {
  group = std::max(1.0, group);
  const double groups = mean / group;
  if (!(groups > 0)) return 0;
  // Poisson's distribution around its mean; beyond ten deviations nothing is left.
  const double reach = 10 * std::sqrt(groups) + 20;
  const auto first = static_cast<std::int64_t>(std::max(0.0, groups - reach));
  const auto last = static_cast<std::int64_t>(groups + reach);
  double sum = 0;
  for (std::int64_t i = first; i <= last; ++i) {
    const auto count = static_cast<double>(i);
    const double chance = std::exp(count * std::log(groups) - groups - std::lgamma(count + 1));
    sum += chance * HashOverflow(count * group, capacity);
  }
  return sum;
}

}  // namespace train_perf
