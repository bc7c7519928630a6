#include "core/latency_histogram.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace train_perf {

namespace {

constexpr char kEncodingVersion = 1;

void AppendNumber(std::string& bytes, uint64_t number) {
  while (number >= 0x80) {
    bytes.push_back(static_cast<char>(number | 0x80));
    number >>= 7;
  }
  bytes.push_back(static_cast<char>(number));
}

// Takes a LEB128 number off the front; nothing if it is cut, longer than needed or above 64 bits.
std::optional<uint64_t> TakeNumber(std::string_view& bytes) noexcept {
  uint64_t number = 0;
  for (unsigned shift = 0; shift < 64 && !bytes.empty(); shift += 7) {
    const auto byte = static_cast<uint8_t>(bytes.front());
    bytes.remove_prefix(1);
    const uint64_t payload = byte & 0x7fu;
    if (payload << shift >> shift != payload) return std::nullopt;
    number |= payload << shift;
    if (byte >= 0x80) continue;
    if (byte == 0 && shift > 0) return std::nullopt;
    return number;
  }
  return std::nullopt;
}

// Calls add(bucket, count) for what follows the version byte, perhaps for a part when it returns
// false.
template <typename Add>
bool ForEachBucket(std::string_view bytes, Add add) noexcept {
  int bucket = -1;
  while (!bytes.empty()) {
    const auto distance = TakeNumber(bytes);
    if (!distance || *distance == 0 || *distance >= static_cast<uint64_t>(kBuckets - bucket)) {
      return false;
    }
    bucket += static_cast<int>(*distance);
    const auto count = TakeNumber(bytes);
    if (!count || *count == 0) return false;
    add(bucket, *count);
  }
  return true;
}

}  // namespace

uint64_t BucketLowerNs(int bucket) noexcept {
  const int octave = bucket / kSubBuckets;
  const auto step = static_cast<uint64_t>(bucket % kSubBuckets);
  if (octave == 0) return step << (kFirstOctaveBits - kSubBucketBits);
  const int exponent = octave + kFirstOctaveBits - 1;
  return (kSubBuckets + step) << (exponent - kSubBucketBits);
}

double BucketMiddleNs(int bucket) noexcept {
  const auto lower = static_cast<double>(BucketLowerNs(bucket));
  const auto upper = static_cast<double>(BucketLowerNs(bucket + 1));
  return 2 * lower * upper / (lower + upper);
}

void LatencyHistogram::Merge(const LatencyHistogram& other) noexcept {
  for (size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
}

uint64_t LatencyHistogram::Total() const noexcept {
  return std::accumulate(counts_.begin(), counts_.end(), uint64_t{0});
}

std::optional<double> LatencyHistogram::QuantileNs(double q) const noexcept {
  const uint64_t total = Total();
  if (total == 0) return std::nullopt;

  // 0.07 * 100 is a little above 7 in binary, but rank 7 is meant.
  constexpr double kRoundingError = 1e-12;
  const double share = q > 0 ? std::min(q, 1.0) : 0.0;
  const double exact = share * static_cast<double>(total);
  const auto rank = static_cast<uint64_t>(std::ceil(exact * (1 - kRoundingError)));

  uint64_t seen = 0;
  int last_used = 0;
  for (int bucket = 0; bucket < kBuckets; ++bucket) {
    if (count(bucket) == 0) continue;
    last_used = bucket;
    seen += count(bucket);
    if (seen >= rank) break;
  }
  return BucketMiddleNs(last_used);
}

std::string LatencyHistogram::Encode() const {
  std::string bytes(1, kEncodingVersion);
  int previous = -1;
  for (int bucket = 0; bucket < kBuckets; ++bucket) {
    if (count(bucket) == 0) continue;
    AppendNumber(bytes, static_cast<uint64_t>(bucket - previous));
    AppendNumber(bytes, count(bucket));
    previous = bucket;
  }
  return bytes;
}

bool LatencyHistogram::MergeEncoded(std::string_view bytes) noexcept {
  if (bytes.empty() || bytes.front() != kEncodingVersion) return false;
  const std::string_view buckets = bytes.substr(1);
  // The bytes are some tens, the histogram is 8 kB: rather read them twice than copy it.
  if (!ForEachBucket(buckets, [](int, uint64_t) {})) return false;
  return ForEachBucket(buckets, [this](int bucket, uint64_t count) { Add(bucket, count); });
}

}  // namespace train_perf
