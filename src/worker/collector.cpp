#include "worker/collector.hpp"

#include "capture/capture.hpp"
#include "capture/history.hpp"
#include "capture/log.hpp"
#include "core/backoff.hpp"
#include "pg/settings.hpp"
#include "worker/roster.hpp"

extern "C" {
#include "access/genam.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_proc.h"
#include "parser/parse_func.h"
#include "postmaster/interrupt.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/syscache.h"
}

namespace train_perf {

namespace {

constexpr int kBatch = 500;      // events per transaction
constexpr long kPauseMs = 1000;  // the longest that an event waits
constexpr int64 kUpkeepUs = 600 * USECS_PER_SEC;

Oid database = InvalidOid;
Oid extension_owner = InvalidOid;
Oid extension_schema = InvalidOid;
bool orderly = false;  // the end was meant

// --- Jobs: each is one function of the extension, in one transaction
// ------------------------------

struct Job {
  const char* function;  // without arguments, returns integer
  TimestampTz due;
  int failures;
};
Job write_log{"collect_events", 0, 0};
Job write_history{"collect_statistics", 0, 0};
Job upkeep{"maintain_partitions", 0, 0};

// The extension's owner and schema; false if it is not here (any more), or not in a place for it.
bool FindExtension() {
  bool found = false;
  StartTransactionCommand();
  Relation relation = table_open(ExtensionRelationId, AccessShareLock);
  ScanKeyData key;
  ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ,
              CStringGetDatum("train_perf"));
  SysScanDesc scan = systable_beginscan(relation, ExtensionNameIndexId, true, nullptr, 1, &key);
  const HeapTuple tuple = systable_getnext(scan);
  if (HeapTupleIsValid(tuple)) {
    const auto* extension = reinterpret_cast<FormData_pg_extension*>(GETSTRUCT(tuple));
    extension_owner = extension->extowner;
    extension_schema = extension->extnamespace;
    found = true;
  }
  systable_endscan(scan);
  table_close(relation, AccessShareLock);
  const HeapTuple here = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(database));
  if (HeapTupleIsValid(here)) {
    found = found && !reinterpret_cast<FormData_pg_database*>(GETSTRUCT(here))->datistemplate;
    ReleaseSysCache(here);
  }
  CommitTransactionCommand();
  return found;
}

Oid FunctionOf(const Job& job) {
  Node* schema = reinterpret_cast<Node*>(makeString(get_namespace_name(extension_schema)));
  Node* name = reinterpret_cast<Node*>(makeString(pstrdup(job.function)));
  return LookupFuncName(list_make2(schema, name), 0, nullptr, false);
}

// As the owner of the extension: triggers and defaults that somebody put on our tables must not run
// with this worker's rights.
int32 CallInTransaction(const Job& job) {
  SetCurrentStatementStartTimestamp();
  SetUserIdAndSecContext(extension_owner,
                         SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
  StartTransactionCommand();
  PushActiveSnapshot(GetTransactionSnapshot());
  pgstat_report_activity(STATE_RUNNING, job.function);
  const int32 result = DatumGetInt32(OidFunctionCall0(FunctionOf(job)));
  PopActiveSnapshot();
  CommitTransactionCommand();
  pgstat_report_stat(false);
  pgstat_report_activity(STATE_IDLE, nullptr);
  return result;
}

void NoteFailure(Job* job) {
  ErrorData* error = CopyErrorData();
  roster->SetError(database, error->message);
  FreeErrorData(error);
  ++job->failures;
  job->due =
      TimestampTzPlusMilliseconds(GetCurrentTimestamp(), kCollectorBackoff.PauseMs(job->failures));
}

// False after an error, which is logged and shown in capture_status(); the job waits then.
bool Try(Job* job) {
  volatile bool succeeded = false;
  const MemoryContext outer = CurrentMemoryContext;
  PG_TRY();
  {
    CallInTransaction(*job);
    succeeded = true;
  }
  PG_CATCH();
  {
    MemoryContextSwitchTo(outer);
    HOLD_INTERRUPTS();
    NoteFailure(job);
    EmitErrorReport();
    AbortCurrentTransaction();
    FlushErrorState();
    RESUME_INTERRUPTS();
  }
  PG_END_TRY();
  MemoryContextSwitchTo(outer);
  if (succeeded) job->failures = 0;
  return succeeded;
}

bool IsDue(const Job& job) noexcept { return job.due <= GetCurrentTimestamp(); }

void Postpone(Job* job, int64 us) noexcept { job->due = GetCurrentTimestamp() + us; }

// Batch by batch until the queue is empty. After failures one event at a time, and one that fails
// alone three times is dropped and counted, so that it does not hold up the others.
void WriteLog() {
  while (events->Count(database).queued > 0) {
    const bool alone = write_log.failures > 1;
    log_batch::size = alone ? 1 : kBatch;
    const int failures = write_log.failures;
    if (Try(&write_log)) {
      log_batch::Done();
      continue;
    }
    if (failures >= 3 && alone) {
      events->Remove(database, 1, false);
      write_log.failures = 0;
    }
    return;
  }
}

void WriteHistory() {
  if (Try(&write_history)) {
    history_batch::Done();
    Postpone(&write_history, static_cast<int64>(settings::history_interval_s) * USECS_PER_SEC);
  }
}

void KeepUp() {
  // Partitions of a dump that is being loaded would collide with ours.
  if (roster->MayBeRestoring(database)) return;
  if (Try(&upkeep)) Postpone(&upkeep, kUpkeepUs);
}

// --- The worker -------------------------------------------------------------------------------

void OnCollectorExit(int, Datum) {
  events->SetConsumer(database, nullptr);
  roster->Leave(database, !orderly);
}

// What settings of the database or of a role could break, and bounded waits.
void PinSettings() {
  const struct {
    const char* name;
    const char* value;
  } pinned[] = {
      {"search_path", "pg_catalog, pg_temp"},
      {"lock_timeout", "1s"},
      {"default_transaction_read_only", "off"},
      {"default_transaction_isolation", "read committed"},
      {"session_replication_role", "origin"},
      {"row_security", "on"},
      {"synchronous_commit", "off"},
      {"application_name", "train_perf collector"},
      {"DateStyle", "ISO"},
      {"statement_timeout", "0"},
  };
  for (const auto& setting : pinned)
    SetConfigOption(setting.name, setting.value, PGC_SUSET, PGC_S_OVERRIDE);
}

void Leave() {
  orderly = true;
  proc_exit(0);
}

void LeaveWithoutExtension() {
  events->Close(database);
  roster->Remove(database);
  Leave();
}

void Work(bool stopping) {
  if (IsDue(write_log) || stopping) WriteLog();
  if (IsDue(write_history) || stopping) WriteHistory();
  if (IsDue(upkeep) && !stopping) KeepUp();
}

void HandleSignals() {
  CHECK_FOR_INTERRUPTS();
  if (!ConfigReloadPending) return;
  ConfigReloadPending = false;
  ProcessConfigFile(PGC_SIGHUP);
}

}  // namespace

void RunCollector(Oid for_database) {
  database = for_database;
  if (!roster->Enter(database, MyProcPid, MyLatch)) proc_exit(0);
  before_shmem_exit(OnCollectorExit, 0);
  pqsignal(SIGHUP, SignalHandlerForConfigReload);
  pqsignal(SIGTERM, die);
  BackgroundWorkerUnblockSignals();
  BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
  pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
  SuppressCapture();
  PinSettings();
  pgstat_report_activity(STATE_IDLE, nullptr);

  for (;;) {
    ResetLatch(MyLatch);
    HandleSignals();
    if (roster->IsHeld(database)) Leave();
    if (roster->TakeLookRequest(database)) {
      if (!FindExtension()) LeaveWithoutExtension();
      events->Open(database);
      events->SetConsumer(database, MyLatch);
    }
    const bool stopping = ShutdownRequestPending;
    Work(stopping);
    if (stopping || roster->OthersWait()) Leave();
    WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, kPauseMs,
              PG_WAIT_EXTENSION);
  }
}

}  // namespace train_perf
