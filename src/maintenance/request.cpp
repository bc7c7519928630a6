#include "maintenance/request.hpp"

#include <cmath>
#include <cstring>

#include "capture/capture.hpp"
#include "maintenance/permission.hpp"
#include "pg/settings.hpp"

extern "C" {
#include "catalog/catalog.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/syscache.h"
#include "utils/timeout.h"
}

namespace train_perf {

namespace {

constexpr int kMostAnswerMs = 30000;
constexpr int kAnswerStepMs = 200;
constexpr int kSparedMs = 5000;  // of statement_timeout

void Withdraw(int, Datum number) { board->Withdraw(DatumGetUInt64(number)); }

bool IsLate(TimestampTz since) {
  return TimestampDifferenceExceeds(since, GetCurrentTimestamp(), kMostAnswerMs);
}

void WaitForLatch(long ms) {
  WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms, PG_WAIT_EXTENSION);
  ResetLatch(MyLatch);
  CHECK_FOR_INTERRUPTS();
}

uint64 PostOrFail(const MaintenanceRequest& request) {
  const TimestampTz since = GetCurrentTimestamp();
  for (;;) {
    if (const uint64 number = board->Post(request, MyLatch)) return number;
    if (IsLate(since)) {
      ereport(ERROR,
              (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
               errmsg("too many maintenance requests are waiting"), errhint("Try again later.")));
    }
    WaitForLatch(kAnswerStepMs);
  }
}

int64 AwaitAnswer(uint64 number) {
  const TimestampTz since = GetCurrentTimestamp();
  int64 answer = 0;
  while (!board->TakeAnswer(number, &answer)) {
    if (IsLate(since)) {
      ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                      errmsg("the maintenance request was not taken within %d seconds",
                             kMostAnswerMs / 1000),
                      errhint("The collector of this database is not at work: see last_error in "
                              "capture_status() and the server's log.")));
    }
    WaitForLatch(kAnswerStepMs);
  }
  return answer;
}

struct Target {
  char kind;
  char persistence;
  NameData name;
};

Target TargetOf(Oid relation) {
  const HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
  if (!HeapTupleIsValid(tuple)) {
    ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
                    errmsg("relation with OID %u does not exist", relation)));
  }
  const auto* row = reinterpret_cast<FormData_pg_class*>(GETSTRUCT(tuple));
  const Target target{row->relkind, row->relpersistence, row->relname};
  ReleaseSysCache(tuple);
  return target;
}

bool IsReindex(const char* kind) noexcept { return strcmp(kind, "reindex") == 0; }

void CheckKind(const Target& target, const char* kind) {
  const char* allowed = IsReindex(kind) ? "i" : "rmpt";
  if (strchr(allowed, target.kind) != nullptr) return;
  ereport(
      ERROR,
      (errcode(ERRCODE_WRONG_OBJECT_TYPE),
       IsReindex(kind) ? errmsg("\"%s\" is not an index", NameStr(target.name))
                       : errmsg("\"%s\" is not a table or materialized view", NameStr(target.name)),
       target.kind == RELKIND_PARTITIONED_INDEX ? errhint("Ask for the indexes of its partitions.")
                                                : 0));
}

void CheckPersistence(const Target& target) {
  if (target.persistence != RELPERSISTENCE_TEMP) return;
  ereport(ERROR,
          (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
           errmsg("\"%s\" is temporary: no other session can maintain it", NameStr(target.name)),
           errhint("Run VACUUM, ANALYZE or REINDEX on it in this session.")));
}

bool HoldsConflictingLock(Oid relation) {
  LOCKTAG tag;
  SET_LOCKTAG_RELATION(tag, IsSharedRelation(relation) ? InvalidOid : MyDatabaseId, relation);
  for (const LOCKMODE mode : {ShareUpdateExclusiveLock, ShareLock, ShareRowExclusiveLock,
                              ExclusiveLock, AccessExclusiveLock})
    if (HoldsLock(tag, mode)) return true;
  return false;
}

// Nobody else can do what waits for this very transaction.
void CheckLocks(Oid table, const char* name) {
  ListCell* cell = nullptr;
  foreach (cell, find_all_inheritors(table, NoLock, nullptr)) {
    if (!HoldsConflictingLock(lfirst_oid(cell))) continue;
    ereport(ERROR,
            (errcode(ERRCODE_OBJECT_IN_USE),
             errmsg("this transaction holds a lock on \"%s\" that its maintenance would wait for",
                    name),
             errhint("Commit first, or ask from another transaction.")));
  }
}

void CheckPermission(Oid relation, const char* kind, const char* name) {
  const MaintenanceKind right =
      IsReindex(kind) ? MaintenanceKind::kReindex : MaintenanceKind::kVacuum;
  if (MayMaintain(relation, GetUserId(), right)) return;
  ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
                  errmsg("permission denied to maintain \"%s\"", name),
                  errhint("Its owner may, and whoever the server lets VACUUM or REINDEX it.")));
}

// What a batch will say once it is committed.
struct {
  int count;
  uint64 numbers[Board::kRequests];
  int64 answers[Board::kRequests];
  TimestampTz due;
} batch;

}  // namespace

int64 Ask(const MaintenanceRequest& request) {
  RequirePreload();
  PreventCommandDuringRecovery("maintenance");
  PreventCommandIfReadOnly("maintenance");
  const uint64 number = PostOrFail(request);
  int64 answer = 0;
  PG_ENSURE_ERROR_CLEANUP(Withdraw, UInt64GetDatum(number));
  { answer = AwaitAnswer(number); }
  PG_END_ENSURE_ERROR_CLEANUP(Withdraw, UInt64GetDatum(number));
  return answer;
}

void PostAnalyze(Oid relation, int64 rows) noexcept {
  MaintenanceRequest request{};
  request.action = RequestAction::kQueue;
  request.database = MyDatabaseId;
  request.relation = relation;
  request.threshold = request.bloat_ratio = NAN;
  strlcpy(request.kind, "analyze", sizeof(request.kind));
  snprintf(request.reason, sizeof(request.reason), INT64_FORMAT " rows were loaded", rows);
  if (board->Post(request, nullptr) == 0) board->CountDropped();
}

void CheckTarget(Oid relation, const char* kind) {
  const Target target = TargetOf(relation);
  const char* name = NameStr(target.name);
  CheckKind(target, kind);
  CheckPermission(relation, kind, name);
  CheckPersistence(target);
  if (!IsReindex(kind)) CheckLocks(relation, name);
}

int64 WaitBudgetMs() noexcept {
  if (Preloaded() && board->IsWorker(MyProcPid)) return 0;
  int64 budget = settings::maintenance_wait_ms;
  for (const TimeoutId timeout : TRAIN_PERF_CALLERS_TIMEOUTS) {
    if (!get_timeout_active(timeout)) continue;
    const int64 left =
        TimestampDifferenceMilliseconds(GetCurrentTimestamp(), get_timeout_finish_time(timeout));
    const int64 before_timeout = Max(left - kSparedMs, left / 2);
    budget = budget < 0 ? before_timeout : Min(budget, before_timeout);
  }
  return budget;
}

namespace request_batch {

void Begin() noexcept {
  batch.count = 0;
  batch.due = DT_NOEND;
}

void Answer(uint64 number, int64 answer) noexcept {
  if (batch.count == Board::kRequests) return;
  batch.numbers[batch.count] = number;
  batch.answers[batch.count++] = answer;
}

void SetDue(TimestampTz at) noexcept { batch.due = Min(batch.due, at); }

void Done() noexcept {
  for (int i = 0; i < batch.count; ++i) board->Answer(batch.numbers[i], batch.answers[i]);
  if (batch.due != DT_NOEND) board->SetDue(MyDatabaseId, batch.due);
  Begin();
}

}  // namespace request_batch

}  // namespace train_perf
