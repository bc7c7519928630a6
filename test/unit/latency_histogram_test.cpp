#include "core/latency_histogram.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace train_perf {
namespace {

constexpr double kMicrosecond = 1e3;
constexpr double kMillisecond = 1e6;
constexpr double kHour = 3.6e12;

uint64_t NearestRank(const std::vector<uint64_t>& sorted, double q) {
  const auto rank = static_cast<size_t>(std::ceil(q * static_cast<double>(sorted.size()) - 1e-9));
  return sorted[std::max<size_t>(rank, 1) - 1];
}

LatencyHistogram HistogramOf(const std::vector<uint64_t>& durations) {
  LatencyHistogram histogram;
  for (const uint64_t ns : durations) histogram.Record(ns);
  return histogram;
}

bool SameCounts(const LatencyHistogram& a, const LatencyHistogram& b) {
  for (int i = 0; i < kBuckets; ++i) {
    if (a.count(i) != b.count(i)) return false;
  }
  return true;
}

void ExpectExactQuantiles(std::vector<uint64_t> durations) {
  const LatencyHistogram histogram = HistogramOf(durations);
  std::sort(durations.begin(), durations.end());
  for (const double q : {0.0, 0.01, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0}) {
    const auto exact = static_cast<double>(NearestRank(durations, q));
    EXPECT_NEAR(histogram.QuantileNs(q).value(), exact, 0.016 * exact) << "q = " << q;
  }
}

LatencyHistogram RandomHistogram(std::mt19937_64& random) {
  LatencyHistogram histogram;
  const size_t buckets = random() % 60;
  for (size_t i = 0; i < buckets; ++i) {
    histogram.Add(static_cast<int>(random() % kBuckets), random() >> (random() % 64));
  }
  return histogram;
}

TEST(LatencyHistogram, a_duration_lies_in_its_bucket) {
  std::mt19937_64 random(2);
  for (int i = 0; i < 200000; ++i) {
    const uint64_t ns = random() >> (22 + random() % 42);
    const int bucket = BucketOf(ns);
    ASSERT_LE(BucketLowerNs(bucket), ns);
    ASSERT_LT(ns, BucketLowerNs(bucket + 1));
  }
}

TEST(LatencyHistogram, buckets_follow_each_other_without_gaps) {
  EXPECT_EQ(BucketLowerNs(0), 0U);
  for (int bucket = 0; bucket < kBuckets; ++bucket) {
    EXPECT_EQ(BucketOf(BucketLowerNs(bucket)), bucket);
    if (bucket > 0) {
      EXPECT_EQ(BucketOf(BucketLowerNs(bucket) - 1), bucket - 1);
    }
  }
}

TEST(LatencyHistogram, endless_durations_count_in_the_last_bucket) {
  EXPECT_EQ(BucketOf(uint64_t{1} << 42), kBuckets - 1);
  EXPECT_EQ(BucketOf(std::numeric_limits<uint64_t>::max()), kBuckets - 1);
}

TEST(LatencyHistogram, the_middle_of_a_bucket_is_within_one_sixty_fifth) {
  for (int bucket = kSubBuckets; bucket < kBuckets; ++bucket) {
    const auto lower = static_cast<double>(BucketLowerNs(bucket));
    const auto upper = static_cast<double>(BucketLowerNs(bucket + 1));
    EXPECT_LE(std::abs(BucketMiddleNs(bucket) - lower) / lower, 1.0 / 65 + 1e-12);
    EXPECT_LE(std::abs(BucketMiddleNs(bucket) - upper) / upper, 1.0 / 65 + 1e-12);
  }
}

TEST(LatencyHistogram, quantiles_are_within_1_6_percent_of_the_exact_ones) {
  std::mt19937_64 random(3);
  std::lognormal_distribution<double> lognormal(std::log(5 * kMillisecond), 1.5);
  std::normal_distribution<double> fast(200 * kMicrosecond, 20 * kMicrosecond);
  std::normal_distribution<double> slow(900 * kMillisecond, 50 * kMillisecond);
  std::uniform_real_distribution<double> exponent(std::log(kMicrosecond), std::log(kHour));
  const std::vector<std::pair<std::string, std::function<double()>>> distributions = {
      {"log-normal", [&] { return lognormal(random); }},
      {"constant", [] { return 1.234567 * kMillisecond; }},
      {"bimodal", [&] { return random() % 10 < 9 ? fast(random) : slow(random); }},
      {"log-uniform", [&] { return std::exp(exponent(random)); }}};

  for (const auto& [name, draw] : distributions) {
    for (const size_t size : {1, 2, 7, 100, 50000}) {
      SCOPED_TRACE(name + " of " + std::to_string(size));
      std::vector<uint64_t> durations(size);
      for (auto& ns : durations) ns = static_cast<uint64_t>(std::clamp(draw(), 1e3, kHour));
      ExpectExactQuantiles(durations);
    }
  }
}

TEST(LatencyHistogram, quantiles_are_of_the_nearest_rank) {
  LatencyHistogram histogram;
  for (int bucket = 1; bucket <= 100; ++bucket) histogram.Add(bucket, 1);
  for (int rank = 1; rank <= 100; ++rank) {
    EXPECT_EQ(histogram.QuantileNs(rank / 100.0), BucketMiddleNs(rank)) << rank;
  }
}

TEST(LatencyHistogram, strange_quantiles_are_clamped) {
  LatencyHistogram histogram;
  histogram.Add(100, 1);
  histogram.Add(200, 1);
  EXPECT_EQ(histogram.QuantileNs(-1), BucketMiddleNs(100));
  EXPECT_EQ(histogram.QuantileNs(std::numeric_limits<double>::quiet_NaN()), BucketMiddleNs(100));
  EXPECT_EQ(histogram.QuantileNs(2), BucketMiddleNs(200));
}

TEST(LatencyHistogram, nothing_recorded_has_no_quantile) {
  EXPECT_EQ(LatencyHistogram().QuantileNs(0.5), std::nullopt);
  EXPECT_EQ(LatencyHistogram().Total(), 0U);
}

TEST(LatencyHistogram, merging_minutes_gives_the_histogram_of_the_hour) {
  std::mt19937_64 random(4);
  std::vector<uint64_t> all;
  LatencyHistogram merged;
  for (int minute = 0; minute < 60; ++minute) {
    std::vector<uint64_t> durations(100);
    for (auto& ns : durations) ns = random() >> (24 + random() % 30);
    all.insert(all.end(), durations.begin(), durations.end());
    merged.Merge(HistogramOf(durations));
  }
  EXPECT_TRUE(SameCounts(merged, HistogramOf(all)));
  EXPECT_EQ(merged.Total(), all.size());
}

TEST(LatencyHistogram, what_was_encoded_is_read_back) {
  std::mt19937_64 random(5);
  for (int i = 0; i < 2000; ++i) {
    const LatencyHistogram histogram = RandomHistogram(random);
    LatencyHistogram copy;
    ASSERT_TRUE(copy.MergeEncoded(histogram.Encode()));
    ASSERT_TRUE(SameCounts(copy, histogram));
  }
}

TEST(LatencyHistogram, merging_encodings_is_merging_histograms) {
  std::mt19937_64 random(6);
  for (int i = 0; i < 500; ++i) {
    LatencyHistogram a = RandomHistogram(random);
    LatencyHistogram encoded = a;
    const LatencyHistogram b = RandomHistogram(random);
    a.Merge(b);
    ASSERT_TRUE(encoded.MergeEncoded(b.Encode()));
    ASSERT_TRUE(SameCounts(a, encoded));
  }
}

TEST(LatencyHistogram, an_encoding_is_small) {
  std::mt19937_64 random(7);
  std::lognormal_distribution<double> lognormal(std::log(kMillisecond), 0.3);
  LatencyHistogram histogram;
  for (int i = 0; i < 1000; ++i) histogram.Record(static_cast<uint64_t>(lognormal(random)));
  EXPECT_LT(histogram.Encode().size(), 200U);
  EXPECT_EQ(LatencyHistogram().Encode().size(), 1U);
}

TEST(LatencyHistogram, a_malformed_encoding_is_refused_and_changes_nothing) {
  using std::string_view_literals::operator""sv;
  const std::vector<std::string_view> malformed = {
      ""sv,                      // no version
      "\x02"sv,                  // another version
      "\x01\x05"sv,              // no count
      "\x01\x05\x81"sv,          // cut count
      "\x01\x85"sv,              // cut distance
      "\x01\x00\x01"sv,          // no distance
      "\x01\x05\x00"sv,          // empty bucket
      "\x01\x05\x81\x00"sv,      // overlong count
      "\x01\x85\x80\x00\x01"sv,  // overlong distance
      "\x01\xa1\x08\x01"sv,      // bucket 1056
      "\x01\x01\x01\xa0\x08\x01"sv,
      "\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01"sv,      // distance 2^64 - 1
      "\x01\x05\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"sv,      // 65 bits
      "\x01\x05\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"sv,  // 11 bytes
      "\x01\x05\x01\x05"sv,                                      // good, then cut
  };
  LatencyHistogram histogram;
  histogram.Add(5, 3);
  for (const auto bytes : malformed) {
    LatencyHistogram changed = histogram;
    EXPECT_FALSE(changed.MergeEncoded(bytes)) << testing::PrintToString(std::string(bytes));
    EXPECT_TRUE(SameCounts(changed, histogram));
  }
}

TEST(LatencyHistogram, the_outermost_buckets_are_encoded) {
  LatencyHistogram histogram;
  histogram.Add(0, 1);
  histogram.Add(kBuckets - 1, std::numeric_limits<uint64_t>::max());
  LatencyHistogram copy;
  ASSERT_TRUE(copy.MergeEncoded(histogram.Encode()));
  EXPECT_TRUE(SameCounts(copy, histogram));
}

TEST(LatencyHistogram, random_bytes_are_refused_or_read_but_never_crash) {
  std::mt19937_64 random(8);
  for (int i = 0; i < 50000; ++i) {
    std::string bytes(random() % 20, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    if (!bytes.empty()) bytes[0] = 1;
    LatencyHistogram histogram;
    if (histogram.MergeEncoded(bytes)) {
      ASSERT_EQ(histogram.Encode(), bytes);
    }
  }
}

}  // namespace
}  // namespace train_perf
