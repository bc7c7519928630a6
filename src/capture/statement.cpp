#include "capture/statement.hpp"

#include <cstring>

#include "capture/event_texts.hpp"
#include "core/sql_text.hpp"
#include "pg/settings.hpp"

extern "C" {
#include "common/pg_prng.h"
}

namespace train_perf {

namespace {

constexpr uint64 kNsPerMs = 1000000;

struct {
  TimestampTz message;  // in which it was sent
  uint64 ns;
} wait_for_work;

bool IsSlow(uint64 ns) noexcept {
  const int threshold = settings::log_min_duration_ms;
  if (threshold < 0) return false;
  return threshold == 0 || ns > static_cast<uint64>(threshold) * kNsPerMs;
}

bool IsSampled() noexcept {
  return settings::log_sample_rate > 0 &&
         pg_prng_double(&pg_global_prng_state) < settings::log_sample_rate;
}

bool IsSlowByItself(uint64 ns, TimestampTz message) noexcept {
  return message != wait_for_work.message || IsSlow(ns - Min(ns, wait_for_work.ns));
}

[[gnu::always_inline]] inline bool IsLogged(const Outcome& outcome) noexcept {
  if (outcome.execution.sqlstate != 0 && settings::log_errors) return true;
  const uint64 ns = outcome.execution.duration_ns + outcome.plan_ns;
  return (IsSlow(ns) && IsSlowByItself(ns, outcome.execution.started)) || IsSampled();
}

EventHeader HeaderOf(const Statement& statement, const Outcome& outcome) noexcept {
  const Execution& execution = outcome.execution;
  EventHeader header{};
  header.finished = GetCurrentTimestamp();
  header.duration_ns = execution.duration_ns + outcome.plan_ns;
  header.query_id = static_cast<int64>(statement.key.id);
  header.user = statement.key.user;
  header.sqlstate = execution.sqlstate;
  header.has_rows = execution.sqlstate == 0;
  header.rows = execution.rows;
  header.blocks_hit = execution.blocks_hit;
  header.blocks_read = execution.blocks_read;
  header.temp_written = execution.temp_written;
  header.wal_bytes = execution.wal_bytes;
  return header;
}

void Log(const Statement& statement, const Outcome& outcome) {
  if (!events->IsOpen(statement.key.database)) return;
  EventHeader header = HeaderOf(statement, outcome);
  EventTexts texts{};
  CollectEventTexts(statement, outcome, &texts, &header.hash);
  events->Enqueue(statement.key.database, header, texts);
}

}  // namespace

bool IdentifyByText(Statement* statement) noexcept {
  const std::string_view text = statement->source.View();
  if (text.empty()) return false;
  const NormalizedSql normalized = NormalizeSql(text, nullptr, 0);
  memcpy(&statement->key.id, normalized.hash.data(), sizeof(statement->key.id));
  if (statement->key.id == 0) statement->key.id = 1;
  return true;
}

void NoteWaitForWork(int64 us) noexcept {
  const TimestampTz message = GetCurrentStatementStartTimestamp();
  if (wait_for_work.message != message) wait_for_work = {message, 0};
  wait_for_work.ns += static_cast<uint64>(us) * 1000;
}

bool LogsErrors() noexcept {
  return settings::log_errors || settings::log_min_duration_ms >= 0 ||
         settings::log_sample_rate > 0;
}

void RecordEnd(Statement* statement, const Outcome& outcome) {
  if (!Identify(statement)) return;
  buffers->Record(statement->key, statement->source, outcome.execution);
  if (IsLogged(outcome)) Log(*statement, outcome);
}

void LogLateError(const Statement& statement, const Outcome& outcome) {
  statements->RecordLateError(statement.key, outcome.execution.sqlstate);
  if (IsLogged(outcome)) Log(statement, outcome);
}

}  // namespace train_perf
