// What the core costs per statement: cmake --build <dir> --target bench_core && <dir>/bench_core
#include <benchmark/benchmark.h>

#include <array>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "core/latency_histogram.hpp"
#include "core/sql_text.hpp"

namespace train_perf {
namespace {

constexpr std::string_view kStatement =
    "SELECT o.id, o.total, c.name FROM orders o JOIN customers c ON c.id = o.customer_id "
    "WHERE o.created_at >= '2024-05-01' AND o.status IN ('paid', 'sent') AND c.id = 4711 "
    "ORDER BY o.id DESC LIMIT 50";

std::string Repeated(std::string_view part, size_t size) {
  std::string text("SELECT 1");
  while (text.size() < size) text.append(" UNION ALL ").append(part);
  return text;
}

void Normalize(benchmark::State& state, const std::string& sql) {
  std::array<char, 16384> buffer;
  while (state.KeepRunning()) {
    benchmark::DoNotOptimize(NormalizeSql(sql, buffer.data(), buffer.size()));
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(sql.size()));
}

void NormalizeShort(benchmark::State& state) { Normalize(state, std::string(kStatement)); }
BENCHMARK(NormalizeShort);

void NormalizeWithParameters(benchmark::State& state) {
  Normalize(state, std::string(kStatement) + " OFFSET $1");
}
BENCHMARK(NormalizeWithParameters);

void NormalizeLong(benchmark::State& state) { Normalize(state, Repeated(kStatement, 10000)); }
BENCHMARK(NormalizeLong);

void NormalizeBulkInsert(benchmark::State& state) {
  std::string sql = "INSERT INTO t (a, b, c) VALUES (1, 'one', NULL)";
  while (sql.size() < 10000) sql += ", (2, 'two', true)";
  Normalize(state, sql);
}
BENCHMARK(NormalizeBulkInsert);

void CopyTags(benchmark::State& state) {
  const std::string sql = std::string(kStatement) + " /*route='%2Forders',method='get'*/";
  std::array<char, 1024> buffer;
  while (state.KeepRunning()) {
    benchmark::DoNotOptimize(CopyTagComments(sql, buffer.data(), buffer.size()));
  }
}
BENCHMARK(CopyTags);

std::vector<uint64_t> Durations() {
  std::mt19937_64 random(1);
  std::lognormal_distribution<double> lognormal(14, 1);
  std::vector<uint64_t> durations(4096);
  for (auto& ns : durations) ns = static_cast<uint64_t>(lognormal(random));
  return durations;
}

void RecordDuration(benchmark::State& state) {
  const std::vector<uint64_t> durations = Durations();
  LatencyHistogram histogram;
  size_t i = 0;
  while (state.KeepRunning()) {
    histogram.Record(durations[i++ % durations.size()]);
    benchmark::DoNotOptimize(histogram);
  }
}
BENCHMARK(RecordDuration);

void EncodeHistogram(benchmark::State& state) {
  LatencyHistogram histogram;
  for (const uint64_t ns : Durations()) histogram.Record(ns);
  while (state.KeepRunning()) benchmark::DoNotOptimize(histogram.Encode());
}
BENCHMARK(EncodeHistogram);

}  // namespace
}  // namespace train_perf
