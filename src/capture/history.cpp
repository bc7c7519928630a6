#include "capture/history.hpp"

#include <string>
#include <vector>

#include "capture/capture.hpp"
#include "pg/boundary.hpp"
#include "pg/text.hpp"

namespace train_perf {

namespace {

constexpr int kColumns = 17;

struct Written {
  WrittenPart part;
  std::string histogram;
};
std::vector<Written> written;
TimestampTz read_at = 0;

double Ms(uint64 ns) noexcept { return static_cast<double>(ns) / 1e6; }

Datum Bytea(const std::string& bytes) {
  const Size size = bytes.size() + VARHDRSZ;
  auto* result = static_cast<bytea*>(palloc(size));
  SET_VARSIZE(result, size);
  memcpy(VARDATA(result), bytes.data(), bytes.size());
  return PointerGetDatum(result);
}

void PutRow(ReturnSetInfo* result, const StatementSnapshot& statement, const std::string& histogram,
            TimestampTz since) {
  const Counters& part = statement.pending;
  const bool evicted = statement.key.IsEvictedRow();
  Datum values[kColumns];
  bool nulls[kColumns] = {};
  int i = 0;
  values[i++] = TimestampTzGetDatum(since);
  const char* user = evicted ? nullptr : GetUserNameFromId(statement.key.user, true);
  nulls[i] = user == nullptr;
  values[i++] = user != nullptr ? DirectFunctionCall1(namein, CStringGetDatum(user)) : Datum{};
  nulls[i] = nulls[i + 1] = nulls[i + 2] = evicted;
  values[i++] = Int64GetDatum(static_cast<int64>(statement.key.id));
  values[i++] = CStringGetTextDatum(Md5Hex(statement.hash).data());
  values[i++] =
      PointerGetDatum(TextForReader({statement.text, statement.text_length}, statement.encoding));
  values[i++] = BoolGetDatum(statement.key.toplevel);
  for (const uint64 count : {part.calls, part.errors, part.slow, part.rows})
    values[i++] = Int64GetDatum(static_cast<int64>(count));
  values[i++] = Float8GetDatum(Ms(part.exec_ns));
  values[i++] = Float8GetDatum(Ms(part.plan_ns));
  for (const uint64 count : {part.blocks_hit, part.blocks_read, part.temp_written, part.wal_bytes})
    values[i++] = Int64GetDatum(static_cast<int64>(count));
  values[i++] = Bytea(histogram);
  tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

}  // namespace

void FillPendingStatistics(ReturnSetInfo* result) {
  if (!Preloaded()) return;
  auto* statement =
      static_cast<StatementSnapshot*>(CallPg([] { return palloc(sizeof(StatementSnapshot)); }));
  const TimestampTz since = events->HistorySince(MyDatabaseId);
  written.clear();
  read_at = GetCurrentTimestamp();
  StatementTable* table = Settled();
  for (uint32 i = 0; i < table->capacity(); ++i) {
    CallPg([] { CHECK_FOR_INTERRUPTS(); });
    if (!table->Read(i, statement) || statement->key.database != MyDatabaseId) continue;
    const Counters& part = statement->pending;
    if (part.calls == 0 && part.errors == 0 && part.plan_ns == 0) continue;
    const std::string histogram = statement->pending_histogram.Encode();
    if (history_batch::remembered)
      written.push_back({{i, statement->generation, statement->key, part}, histogram});
    CallPg([&] { PutRow(result, *statement, histogram, since); });
  }
}

bool history_batch::remembered = false;

void history_batch::Done() noexcept {
  for (const Written& row : written) {
    LatencyHistogram histogram;
    histogram.MergeEncoded(row.histogram);
    statements->MarkWritten(row.part, histogram);
  }
  written.clear();
  events->SetHistorySince(MyDatabaseId, read_at);
}

}  // namespace train_perf
