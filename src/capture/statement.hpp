// A statement in progress: which one it is, and the recording of its end.
#pragma once

#include "capture/capture.hpp"
#include "pg/prelude.hpp"

namespace train_perf {

struct Statement {
  StatementKey key;  // id 0: not computed yet, see Identify
  StatementSource source;
  bool utility;
};

// What the server has counted for this backend so far; differences belong to what ran in between.
struct Usage {
  int64 blocks_hit;
  int64 blocks_read;
  int64 temp_written;
  uint64 wal_bytes;

  static Usage Now() noexcept {
    return {pgBufferUsage.shared_blks_hit, pgBufferUsage.shared_blks_read,
            pgBufferUsage.temp_blks_written, pgWalUsage.wal_bytes};
  }
};

// How a statement ended, or where it stands: what it used so far and all that a log entry needs.
struct Outcome {
  Execution execution;
  uint64 plan_ns = 0;                // planning that belongs to this execution
  const ErrorData* error = nullptr;  // nullptr although failed: nothing but the SQLSTATE is known
  const ParamListInfoData* params = nullptr;
  QueryDesc* query = nullptr;  // where its plan may be explained

  // Adds a piece of work that took `ns` and began with `before`.
  void AddPiece(const Usage& before, uint64 ns) noexcept {
    const Usage now = Usage::Now();
    execution.duration_ns += ns;
    execution.blocks_hit += static_cast<uint64>(now.blocks_hit - before.blocks_hit);
    execution.blocks_read += static_cast<uint64>(now.blocks_read - before.blocks_read);
    execution.temp_written += static_cast<uint64>(now.temp_written - before.temp_written);
    execution.wal_bytes += now.wal_bytes - before.wal_bytes;
  }
};

// The statement that the client sent and that runs right now, around whatever else does; nullptr if
// there is none.
const StatementSource* ClientSource() noexcept;

// Gives the statement our own id where the server has none. False if it has no text either.
bool IdentifyByText(Statement* statement) noexcept;
inline bool Identify(Statement* statement) noexcept {
  return statement->key.id != 0 || IdentifyByText(statement);
}

// Counts the execution and logs it if it is slow, failed or sampled.
void RecordEnd(Statement* statement, const Outcome& outcome);

// True if an execution that failed would be logged: whether its error is worth copying.
bool LogsErrors() noexcept;

// Logs without counting (an error after the statement was counted). `text` is normalised already.
void LogLateError(const Statement& statement, const Outcome& outcome);

}  // namespace train_perf
