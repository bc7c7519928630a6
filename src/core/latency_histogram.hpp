// Log-linear latency histogram: 1 µs to 1 h, quantiles within 1.6 %.
//
// A duration in nanoseconds falls into one of kBuckets buckets. The first octave covers [0, 1024
// ns) in 32 equal steps; octave k >= 1 covers [2^(k+9), 2^(k+10)) ns in 32 equal steps, so a bucket
// is at most 1/32 as wide as its lower bound and the harmonic middle of a bucket is at most 1/65
// = 1.54 % away from any duration in it. Durations from 2^42 ns (73 min) on count in the last
// bucket. Histograms merge exactly: the sum of two is the histogram of all durations of both.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace train_perf {

inline constexpr int kSubBucketBits = 5;
inline constexpr int kSubBuckets = 1 << kSubBucketBits;  // per octave
inline constexpr int kFirstOctaveBits = 10;              // octave 0 is [0, 1024) ns
inline constexpr int kOctaves = 33;                      // octave 32 ends at 2^42 ns
inline constexpr int kBuckets = kOctaves * kSubBuckets;

// The bucket of a duration in ns. No branch depends on anything but the duration.
constexpr int BucketOf(uint64_t ns) noexcept {
  if (ns < (1u << kFirstOctaveBits)) return static_cast<int>(ns >> kSubBucketBits);
  const int exponent = 63 - std::countl_zero(ns);
  const int octave = exponent - kFirstOctaveBits + 1;
  if (octave >= kOctaves) return kBuckets - 1;
  const int step = static_cast<int>(ns >> (exponent - kSubBucketBits)) & (kSubBuckets - 1);
  return octave * kSubBuckets + step;
}

// First duration in ns that falls into the bucket.
uint64_t BucketLowerNs(int bucket) noexcept;

// The duration in ns that stands for all durations of the bucket (their harmonic middle).
double BucketMiddleNs(int bucket) noexcept;

class LatencyHistogram {
 public:
  void Add(int bucket, uint64_t count) noexcept { counts_[static_cast<size_t>(bucket)] += count; }
  void Record(uint64_t ns) noexcept { Add(BucketOf(ns), 1); }
  void Merge(const LatencyHistogram& other) noexcept;

  uint64_t count(int bucket) const noexcept { return counts_[static_cast<size_t>(bucket)]; }
  uint64_t Total() const noexcept;

  // The q-quantile in ns by nearest rank (the smallest duration that at least q of all do not
  // exceed), or nothing for an empty histogram. q is clamped to [0, 1].
  std::optional<double> QuantileNs(double q) const noexcept;

  // A compact portable form: version byte, then for each non-empty bucket the distance to the
  // previous one and the count, as LEB128. Some tens of bytes for a usual statement and minute.
  std::string Encode() const;

  // Adds an encoded histogram to this one. False, with this one unchanged, if the bytes are not an
  // encoding of this version (truncated, bucket out of range, overlong number).
  bool MergeEncoded(std::string_view bytes) noexcept;

 private:
  std::array<uint64_t, kBuckets> counts_{};
};

}  // namespace train_perf
