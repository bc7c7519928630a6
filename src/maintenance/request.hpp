// What backends ask of maintenance, and what the collector makes of it.
#pragma once

#include "maintenance/board.hpp"
#include "pg/prelude.hpp"

namespace train_perf {

// Posts the request and waits until the collector has committed it. Returns the number of the job,
// or a CancelAnswer. Raises 25006 on a standby or in a read-only transaction, 55000 without preload
// or when no collector takes it within half a minute, 53400 when too many are waiting.
int64 Ask(const MaintenanceRequest& request);

// Asks for ANALYZE of a table, after rows were loaded, as its owner, and does not wait. Dropped,
// and counted, when there is no room. For the end of a transaction: it allocates nothing.
void PostAnalyze(Oid relation, int64 rows) noexcept;

// Raises what is wrong with asking for a kind of job on a relation as the current role: 42501,
// 42809 and 0A000 for what cannot be done to it, 55006 if this transaction holds a lock on it that
// the job would wait for.
void CheckTarget(Oid relation, const char* kind);

// How long the caller of a function may wait for a job to end: train_perf.maintenance_wait, but at
// most until 5 s (or half of what is left) before statement_timeout. -1: without limit. 0 in a job
// that asks for another, which may need the place of this one.
int64 WaitBudgetMs() noexcept;

// In the collector, around each call of a function that takes requests or sets when jobs are due.
namespace request_batch {
void Begin() noexcept;
void Answer(uint64 number, int64 answer) noexcept;
void SetDue(TimestampTz at) noexcept;
void Done() noexcept;  // after the commit
}  // namespace request_batch

}  // namespace train_perf
