#include "capture/query_stats.hpp"

#include <algorithm>
#include <cmath>

#include "capture/capture.hpp"
#include "pg/text.hpp"

extern "C" {
#include "catalog/pg_authid.h"
}

namespace train_perf {

namespace {

constexpr int kColumns = 26;

double Ms(uint64 ns) noexcept { return static_cast<double>(ns) / 1e6; }

// Fills the columns of one row from left to right.
class Row {
 public:
  void Put(Datum value) noexcept { values_[column_++] = value; }
  void Null() noexcept { nulls_[column_++] = true; }
  void PutCount(uint64 count) { Put(Int64GetDatum(static_cast<int64>(count))); }
  void PutMs(double ms) { Put(Float8GetDatum(ms)); }
  void PutName(const char* name) {
    if (name == nullptr) {
      Null();
    } else {
      Put(DirectFunctionCall1(namein, CStringGetDatum(name)));
    }
  }
  void PutTime(TimestampTz time) {
    if (time == 0) {
      Null();
    } else {
      Put(TimestampTzGetDatum(time));
    }
  }
  void Store(ReturnSetInfo* result) {
    tuplestore_putvalues(result->setResult, result->setDesc, values_, nulls_);
  }

 private:
  int column_ = 0;
  Datum values_[kColumns] = {};
  bool nulls_[kColumns] = {};
};

double StddevMs(const StatementSnapshot& statement) noexcept {
  const auto calls = static_cast<double>(statement.total.calls);
  const double mean_us = static_cast<double>(statement.total.exec_ns) / 1000.0 / calls;
  const double variance = statement.sum_squares_us / calls - mean_us * mean_us;
  return variance > 0 ? std::sqrt(variance) / 1000.0 : 0;
}

// Within what was really seen: a bucket's middle may lie outside.
double QuantileMs(const StatementSnapshot& statement, double q) noexcept {
  const double ns = statement.histogram.QuantileNs(q).value_or(0);
  return std::clamp(ns / 1e6, Ms(statement.min_ns), Ms(statement.max_ns));
}

void PutIdentity(const StatementSnapshot& statement, bool masked, Row* row) {
  row->PutName(get_database_name(statement.key.database));
  if (statement.key.IsEvictedRow()) {
    row->Null();
    row->Null();
    row->Null();
    row->Put(BoolGetDatum(true));
    row->Null();
    return;
  }
  row->PutName(GetUserNameFromId(statement.key.user, true));
  if (masked) {
    row->Null();
    row->Null();
  } else {
    row->Put(Int64GetDatum(static_cast<int64>(statement.key.id)));
    row->Put(CStringGetTextDatum(Md5Hex(statement.hash).data()));
  }
  row->Put(BoolGetDatum(statement.key.toplevel));
  row->Put(masked ? CStringGetTextDatum("<insufficient privilege>")
                  : PointerGetDatum(TextForReader({statement.text, statement.text_length},
                                                  statement.encoding)));
}

void PutTimes(const StatementSnapshot& statement, Row* row) {
  const Counters& total = statement.total;
  row->PutMs(Ms(total.exec_ns));
  row->PutMs(total.calls > 0 ? Ms(total.exec_ns) / static_cast<double>(total.calls) : 0);
  row->PutMs(Ms(statement.min_ns));
  row->PutMs(Ms(statement.max_ns));
  row->PutMs(total.calls > 0 ? StddevMs(statement) : 0);
  for (const double q : {0.5, 0.95, 0.99}) row->PutMs(QuantileMs(statement, q));
  row->PutMs(Ms(total.plan_ns));
}

void PutStatement(const StatementSnapshot& statement, bool masked, ReturnSetInfo* result) {
  const Counters& total = statement.total;
  Row row;
  PutIdentity(statement, masked, &row);
  row.PutCount(total.calls);
  row.PutCount(total.errors);
  row.PutCount(total.rows);
  PutTimes(statement, &row);
  row.PutCount(total.blocks_hit);
  row.PutCount(total.blocks_read);
  row.PutCount(total.temp_written);
  row.Put(DirectFunctionCall1(int8_numeric, Int64GetDatum(static_cast<int64>(total.wal_bytes))));
  row.PutTime(statement.first_seen);
  row.PutTime(statement.last_seen);
  row.PutCount(total.slow);
  if (statement.last_sqlstate != 0) {
    row.Put(CStringGetTextDatum(unpack_sql_state(statement.last_sqlstate)));
  } else {
    row.Null();
  }
  row.Store(result);
}

}  // namespace

void FillQueryStats(ReturnSetInfo* result) {
  const bool reads_all = has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS);
  auto* statement = static_cast<StatementSnapshot*>(palloc(sizeof(StatementSnapshot)));
  StatementTable* table = Settled();
  for (uint32 i = 0; i < table->capacity(); ++i) {
    CHECK_FOR_INTERRUPTS();
    if (!table->Read(i, statement)) continue;
    if (statement->total.calls == 0 && statement->total.plan_ns == 0) continue;
    const bool own = has_privs_of_role(GetUserId(), statement->key.user);
    PutStatement(*statement, !reads_all && !own, result);
  }
}

}  // namespace train_perf
