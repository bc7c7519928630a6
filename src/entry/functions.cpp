// The SQL-callable functions: each checks its call and hands over.

#include <cmath>
#include <string>

#include "capture/capture.hpp"
#include "capture/history.hpp"
#include "capture/log.hpp"
#include "capture/query_stats.hpp"
#include "core/latency_histogram.hpp"
#include "core/sql_text.hpp"
#include "entry/function.hpp"
#include "maintenance/disk_space.hpp"
#include "pg/boundary.hpp"
#include "pg/settings.hpp"
#include "snapshot/estimate.hpp"
#include "snapshot/relation_files.hpp"
#include "snapshot/unlocked.hpp"
#include "worker/roster.hpp"

extern "C" {
#include "catalog/index.h"
}

using namespace train_perf;

extern "C" {
TRAIN_PERF_FUNCTION(tp_library_version);
TRAIN_PERF_FUNCTION(tp_query_stats);
TRAIN_PERF_FUNCTION(tp_query_stats_reset);
TRAIN_PERF_FUNCTION(tp_capture_status);
TRAIN_PERF_FUNCTION(tp_queued_events);
TRAIN_PERF_FUNCTION(tp_pending_statistics);
TRAIN_PERF_FUNCTION(tp_normalize_query);
TRAIN_PERF_FUNCTION(tp_query_hash);
TRAIN_PERF_FUNCTION(tp_latency_histogram);
TRAIN_PERF_FUNCTION(tp_latency_merge);
TRAIN_PERF_FUNCTION(tp_latency_merged);
TRAIN_PERF_FUNCTION(tp_latency_quantile);
TRAIN_PERF_FUNCTION(tp_estimate_table_bloat);
TRAIN_PERF_FUNCTION(tp_estimate_index_bloat);
TRAIN_PERF_FUNCTION(tp_estimate_with_indexes);
TRAIN_PERF_FUNCTION(tp_relation_bytes);
TRAIN_PERF_FUNCTION(tp_file_bytes);
TRAIN_PERF_FUNCTION(tp_unlocked_index_definition);
TRAIN_PERF_FUNCTION(tp_is_invalid_now);
TRAIN_PERF_FUNCTION(tp_estimate_indexes);
TRAIN_PERF_FUNCTION(tp_free_bytes);
}

namespace {

ReturnSetInfo* Rows(FunctionCallInfo fcinfo) {
  InitMaterializedSRF(fcinfo, 0);
  return reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo);
}

void PutRow(ReturnSetInfo* result, const Datum* values, const bool* nulls) {
  tuplestore_putvalues(result->setResult, result->setDesc, const_cast<Datum*>(values),
                       const_cast<bool*>(nulls));
}

std::string_view TextView(const text* value) {
  return {VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value)};
}

bytea* Bytes(const std::string& bytes) {
  return reinterpret_cast<bytea*>(
      cstring_to_text_with_len(bytes.data(), static_cast<int>(bytes.size())));
}

void MergeOrFail(LatencyHistogram* histogram, const bytea* encoded) {
  if (!histogram->MergeEncoded({VARDATA_ANY(encoded), VARSIZE_ANY_EXHDR(encoded)})) {
    ereport(ERROR, (errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
                    errmsg("not a latency histogram of train_perf")));
  }
}

Datum Text(const char* value) { return PointerGetDatum(cstring_to_text(value)); }

const char* NameOf(Method method) noexcept {
  switch (method) {
    case Method::kExact:
      return "exact";
    case Method::kSampled:
      return "sampled";
    case Method::kStatistics:
      return "statistics";
  }
  pg_unreachable();
}

const char* NameOf(Skipped reason) noexcept {
  switch (reason) {
    case Skipped::kNo:
      return nullptr;
    case Skipped::kLocked:
      return "locked";
    case Skipped::kGone:
      return "gone";
    case Skipped::kUnlogged:
      return "unlogged";
    case Skipped::kDamaged:
      return "damaged";
  }
  pg_unreachable();
}

Datum Int64Of(double value) { return Int64GetDatum(std::llround(value)); }

Datum RatioOf(const BloatEstimate& estimate) {
  const double excess = estimate.actual_bytes - estimate.estimated_bytes;
  const double ratio = estimate.estimated_bytes > 0 ? excess / estimate.estimated_bytes * 100 : 0;
  return DirectFunctionCall2(
      numeric_round, DirectFunctionCall1(float8_numeric, Float8GetDatum(ratio)), Int32GetDatum(2));
}

int32 PagesOf(const BloatEstimate& estimate) {
  return static_cast<int32>(Min(estimate.sampled_pages, PG_INT32_MAX));
}

const char* NameOrGone(Oid relation) {
  const char* name = get_rel_name(relation);
  return name == nullptr ? "dropped" : name;
}

// No row, and a notice why, for a relation that could not be read.
void PutEstimate(const BloatEstimate& estimate, Oid relation, ReturnSetInfo* result) {
  if (estimate.skipped != Skipped::kNo) {
    ereport(NOTICE, (errmsg("skipped relation %u (%s): %s", relation, NameOrGone(relation),
                            NameOf(estimate.skipped))));
    return;
  }
  if (estimate.skipped_parts > 0) {
    ereport(NOTICE, (errmsg("skipped %d parts of relation %u (%s), which are locked or unlogged",
                            estimate.skipped_parts, relation, NameOrGone(relation))));
  }
  const Datum values[] = {Int64Of(estimate.actual_bytes),
                          Int64Of(estimate.estimated_bytes),
                          Int64Of(estimate.actual_bytes - estimate.estimated_bytes),
                          RatioOf(estimate),
                          Text(NameOf(estimate.method)),
                          Int32GetDatum(PagesOf(estimate)),
                          Int64Of(estimate.live),
                          Int64Of(estimate.dead),
                          Int64Of(estimate.recently_dead)};
  const bool nulls[std::size(values)] = {};
  PutRow(result, values, nulls);
}

void PutPart(Oid relation, const BloatEstimate& estimate, void* result) {
  const char* skipped = NameOf(estimate.skipped);
  const Datum values[] = {
      ObjectIdGetDatum(relation),     skipped == nullptr ? Datum{0} : Text(skipped),
      Int64Of(estimate.actual_bytes), Int64Of(estimate.estimated_bytes),
      Text(NameOf(estimate.method)),  Int32GetDatum(PagesOf(estimate)),
      Int64Of(estimate.live),         Int64Of(estimate.dead),
      Int64Of(estimate.recently_dead)};
  bool nulls[std::size(values)] = {};
  nulls[1] = skipped == nullptr;
  PutRow(static_cast<ReturnSetInfo*>(result), values, nulls);
}

}  // namespace

Datum tp_library_version(PG_FUNCTION_ARGS) {
  (void)fcinfo;
  PG_RETURN_TEXT_P(cstring_to_text(TRAIN_PERF_VERSION));
}

Datum tp_query_stats(PG_FUNCTION_ARGS) {
  RequirePreload();
  FillQueryStats(Rows(fcinfo));
  PG_RETURN_VOID();
}

Datum tp_query_stats_reset(PG_FUNCTION_ARGS) {
  (void)fcinfo;
  RequirePreload();
  Settled()->Reset();
  PG_RETURN_VOID();
}

Datum tp_capture_status(PG_FUNCTION_ARGS) {
  constexpr int kColumns = 14;
  ReturnSetInfo* result = Rows(fcinfo);
  Datum values[kColumns] = {BoolGetDatum(Preloaded()), BoolGetDatum(settings::enabled)};
  bool nulls[kColumns];
  std::fill_n(nulls, kColumns, !Preloaded());
  nulls[0] = nulls[1] = false;
  if (Preloaded()) {
    const LaneCounters lane = events->Count(MyDatabaseId);
    const DatabaseStatus database = roster->StatusOf(MyDatabaseId);
    auto* lag = static_cast<Interval*>(palloc0(sizeof(Interval)));
    if (lane.oldest != 0) lag->time = Max(GetCurrentTimestamp() - lane.oldest, 0);
    int i = 2;
    values[i++] = Int32GetDatum(settings::max_statements);
    values[i++] = Int32GetDatum(static_cast<int32>(Settled()->tracked()));
    for (const uint64 count :
         {statements->evicted(), lane.enqueued, lane.written, lane.queued, lane.dropped})
      values[i++] = Int64GetDatum(static_cast<int64>(count));
    values[i++] = IntervalPGetDatum(lag);
    nulls[i] = database.collector_pid == 0;
    values[i++] = Int32GetDatum(database.collector_pid);
    nulls[i] = nulls[i + 1] = database.last_error[0] == '\0';
    values[i++] = CStringGetTextDatum(database.last_error);
    values[i++] = TimestampTzGetDatum(database.last_error_at);
    values[i++] = TimestampTzGetDatum(statements->counting_since());
  }
  tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
  PG_RETURN_VOID();
}

Datum tp_queued_events(PG_FUNCTION_ARGS) {
  ReturnSetInfo* result = Rows(fcinfo);
  EnterCpp([&] { FillQueuedEvents(result); });
  PG_RETURN_VOID();
}

Datum tp_pending_statistics(PG_FUNCTION_ARGS) {
  ReturnSetInfo* result = Rows(fcinfo);
  EnterCpp([&] { FillPendingStatistics(result); });
  PG_RETURN_VOID();
}

Datum tp_normalize_query(PG_FUNCTION_ARGS) {
  const std::string_view sql = TextView(PG_GETARG_TEXT_PP(0));
  // Literals become at most one character longer each; a whole word may grow that way.
  const Size room = Min(2 * sql.size() + 64, MaxAllocSize - VARHDRSZ);
  auto* result = static_cast<text*>(palloc(room + VARHDRSZ + 8));
  const NormalizedSql normalized = NormalizeSql(sql, VARDATA(result), room);
  int length = static_cast<int>(normalized.length);
  if (normalized.truncated) length = pg_mbcliplen(VARDATA(result), length, length);
  SET_VARSIZE(result, length + VARHDRSZ);
  PG_RETURN_TEXT_P(result);
}

Datum tp_query_hash(PG_FUNCTION_ARGS) {
  const NormalizedSql normalized = NormalizeSql(TextView(PG_GETARG_TEXT_PP(0)), nullptr, 0);
  PG_RETURN_TEXT_P(cstring_to_text(Md5Hex(normalized.hash).data()));
}

Datum tp_latency_histogram(PG_FUNCTION_ARGS) {
  const double ms = PG_GETARG_FLOAT8(0);
  if (!(ms >= 0)) {
    ereport(ERROR,
            (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("a duration is not negative")));
  }
  return EnterCpp([&] {
    LatencyHistogram histogram;
    histogram.Record(static_cast<uint64>(Min(ms, 1e12) * 1e6));
    const std::string encoded = histogram.Encode();
    return PointerGetDatum(CallPg([&] { return Bytes(encoded); }));
  });
}

Datum tp_latency_merge(PG_FUNCTION_ARGS) {
  MemoryContext aggregate = nullptr;
  if (AggCheckCallContext(fcinfo, &aggregate) == 0)
    elog(ERROR, "tp_latency_merge called outside an aggregate");
  auto* state =
      PG_ARGISNULL(0) ? nullptr : reinterpret_cast<LatencyHistogram*>(PG_GETARG_POINTER(0));
  if (state == nullptr)
    state = new (MemoryContextAlloc(aggregate, sizeof(LatencyHistogram))) LatencyHistogram();
  if (!PG_ARGISNULL(1)) MergeOrFail(state, PG_GETARG_BYTEA_PP(1));
  PG_RETURN_POINTER(state);
}

Datum tp_latency_merged(PG_FUNCTION_ARGS) {
  if (PG_ARGISNULL(0)) PG_RETURN_NULL();
  const auto* state = reinterpret_cast<LatencyHistogram*>(PG_GETARG_POINTER(0));
  return EnterCpp([&] {
    const std::string encoded = state->Encode();
    return PointerGetDatum(CallPg([&] { return Bytes(encoded); }));
  });
}

Datum tp_latency_quantile(PG_FUNCTION_ARGS) {
  LatencyHistogram histogram;
  MergeOrFail(&histogram, PG_GETARG_BYTEA_PP(0));
  const std::optional<double> ns = histogram.QuantileNs(PG_GETARG_FLOAT8(1));
  if (!ns) PG_RETURN_NULL();
  PG_RETURN_DATUM(DirectFunctionCall1(float8_numeric, Float8GetDatum(*ns / 1e6)));
}

Datum tp_estimate_table_bloat(PG_FUNCTION_ARGS) {
  ReturnSetInfo* result = Rows(fcinfo);
  const Oid relation = PG_GETARG_OID(0);
  PutEstimate(EstimateTable(relation, PG_GETARG_INT32(1)), relation, result);
  PG_RETURN_VOID();
}

Datum tp_estimate_index_bloat(PG_FUNCTION_ARGS) {
  ReturnSetInfo* result = Rows(fcinfo);
  const Oid index = PG_GETARG_OID(0);
  PutEstimate(EstimateIndex(index, PG_GETARG_INT32(1)), index, result);
  PG_RETURN_VOID();
}

Datum tp_estimate_with_indexes(PG_FUNCTION_ARGS) {
  ReturnSetInfo* result = Rows(fcinfo);
  EstimateWithIndexes(PG_GETARG_OID(0), PG_GETARG_INT32(1), PutPart, result);
  PG_RETURN_VOID();
}

Datum tp_relation_bytes(PG_FUNCTION_ARGS) {
  const std::optional<int64> bytes = MainForkBytes(PG_GETARG_OID(0));
  if (!bytes) PG_RETURN_NULL();
  PG_RETURN_INT64(*bytes);
}

Datum tp_file_bytes(PG_FUNCTION_ARGS) {
  const std::optional<int64> bytes = MainForkBytes(PG_GETARG_OID(0), PG_GETARG_OID(1));
  if (!bytes) PG_RETURN_NULL();
  PG_RETURN_INT64(*bytes);
}

Datum tp_unlocked_index_definition(PG_FUNCTION_ARGS) {
  const text* definition = UnlockedIndexDefinition(PG_GETARG_OID(0));
  if (definition == nullptr) PG_RETURN_NULL();
  PG_RETURN_TEXT_P(definition);
}

Datum tp_is_invalid_now(PG_FUNCTION_ARGS) { PG_RETURN_BOOL(IsInvalidNow(PG_GETARG_OID(0))); }

Datum tp_estimate_indexes(PG_FUNCTION_ARGS) {
  ReturnSetInfo* result = Rows(fcinfo);
  const Oid table = PG_GETARG_OID(0);
  const Oid only = PG_GETARG_OID(1);
  if (OidIsValid(only) && IndexGetRelation(only, true) != table) PG_RETURN_VOID();
  EstimateIndexes(table, only, PG_GETARG_INT32(2), PutPart, result);
  PG_RETURN_VOID();
}

Datum tp_free_bytes(PG_FUNCTION_ARGS) {
  const std::optional<int64> bytes = FreeBytes(PG_GETARG_OID(0));
  if (!bytes) PG_RETURN_NULL();
  PG_RETURN_INT64(*bytes);
}
