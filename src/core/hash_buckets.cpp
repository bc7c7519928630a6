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

namespace {

// Of buckets that have `base` entries anyway.
double MeanOver(double base, HashGroups groups, double capacity) {
  const double size = std::max(1.0, groups.size);
  const double mean = groups.entries / size;
  if (!(mean > 0)) return HashOverflow(base, capacity);
  // Poisson's distribution around its mean; beyond ten deviations nothing is left.
  const double reach = 10 * std::sqrt(mean) + 20;
  const auto first = static_cast<std::int64_t>(std::max(0.0, mean - reach));
  const auto last = static_cast<std::int64_t>(mean + reach);
  double sum = 0;
  for (std::int64_t i = first; i <= last; ++i) {
    const auto count = static_cast<double>(i);
    const double chance = std::exp(count * std::log(mean) - mean - std::lgamma(count + 1));
    sum += chance * HashOverflow(base + count * size, capacity);
  }
  return sum;
}

}  // namespace

double MeanHashOverflow(HashGroups light, HashGroups heavy, double capacity) {
  if (!(heavy.entries > 0)) return MeanOver(0, light, capacity);
  if (heavy.size >= capacity / 2) return MeanOver(light.entries, heavy, capacity);
  const double entries = light.entries + heavy.entries;
  const double squares = light.entries * light.size + heavy.entries * heavy.size;
  return MeanOver(0, {entries, squares / entries}, capacity);
}

double DistinctOfSample(double found, double seen, double weight) {
  if (weight <= 1 || seen <= 0 || found <= seen) return seen * std::max(1.0, weight);
  const double share = 1 / weight;
  const double places_per_seen = found / seen;
  // On n pages each, they are found in n * share places, and seen with 1 - (1 - share) ^ n.
  double low = 1;
  double high = places_per_seen * weight;
  for (int i = 0; i < 60; ++i) {
    const double pages = (low + high) / 2;
    const double ratio = pages * share / (1 - std::pow(1 - share, pages));
    (ratio < places_per_seen ? low : high) = pages;
  }
  return found * weight / low;
}

}  // namespace train_perf
