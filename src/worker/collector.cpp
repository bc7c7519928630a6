#include "worker/collector.hpp"

#include <cerrno>
#include <csignal>

#include "capture/capture.hpp"
#include "capture/history.hpp"
#include "capture/log.hpp"
#include "core/backoff.hpp"
#include "maintenance/board.hpp"
#include "maintenance/request.hpp"
#include "pg/own_extension.hpp"
#include "pg/settings.hpp"
#include "worker/roster.hpp"

extern "C" {
#include "catalog/pg_proc.h"
#include "parser/parse_func.h"
#include "postmaster/interrupt.h"
}

namespace train_perf {

namespace {

constexpr int kBatch = 500;      // events per transaction
constexpr long kPauseMs = 1000;  // the longest that an event waits
constexpr int64 kUpkeepUs = 600 * USECS_PER_SEC;
constexpr int64 kMostRequestsPauseUs = 5 * USECS_PER_SEC;  // somebody waits
constexpr int64 kTendUs = 30 * USECS_PER_SEC;

Oid database = InvalidOid;
OwnExtension extension;
volatile sig_atomic_t orderly = 0;  // the end was meant
volatile sig_atomic_t in_job = 0;

// --- Jobs: each is one function of the extension, in one transaction
// ------------------------------

struct Job {
  const char* function;  // without arguments, returns integer
  bool optional;         // an extension that waits for ALTER EXTENSION UPDATE lacks the function
  TimestampTz due;
  int failures;  // in a row
  int sqlstate;  // of the last failure
};
Job write_log{"collect_events", false, 0, 0, 0};
Job write_history{"collect_statistics", false, 0, 0, 0};
Job take_requests{"take_maintenance_requests", true, 0, 0, 0};
Job tend_maintenance{"tend_maintenance", true, 0, 0, 0};
// Partitions, without which new rows pile up in the default one.
Job upkeep[] = {{"maintain_log_partitions", false, 0, 0, 0},
                {"maintain_history_partitions", false, 0, 0, 0},
                {"maintain_bloat_partitions", true, 0, 0, 0},
                {"maintain_index_usage_partitions", true, 0, 0, 0}};
// What can wait; each function knows whether there is something to do.
Job chores[] = {{"roll_up_history", true, 0, 0, 0},
                {"compact_history", true, 0, 0, 0},
                {"roll_up_index_usage", true, 0, 0, 0}};
Job snapshots[] = {{"take_hourly_snapshot", true, 0, 0, 0},
                   {"take_due_index_usage_snapshot", true, 0, 0, 0},
                   {"continue_bloat_snapshot", true, 0, 0, 0},
                   {"check_due_snapshot_alerts", true, 0, 0, 0}};

Oid FunctionOf(const Job& job) {
  char* schema_name = get_namespace_name(extension.schema);
  if (schema_name == nullptr) {
    ereport(ERROR, (errcode(ERRCODE_UNDEFINED_SCHEMA),
                    errmsg("the schema of extension train_perf is gone")));
  }
  Node* schema = reinterpret_cast<Node*>(makeString(schema_name));
  Node* name = reinterpret_cast<Node*>(makeString(pstrdup(job.function)));
  return LookupFuncName(list_make2(schema, name), 0, nullptr, job.optional);
}

int32 CallInTransaction(const Job& job) {
  const OwnerTransaction transaction = BeginAsOwner(extension);
  pgstat_report_activity(STATE_RUNNING, job.function);
  const Oid function = FunctionOf(job);
  const int32 result = OidIsValid(function) ? DatumGetInt32(OidFunctionCall0(function)) : 0;
  CommitAsOwner(transaction);
  pgstat_report_stat(false);
  pgstat_report_activity(STATE_IDLE, nullptr);
  return result;
}

// Also asks for a look: perhaps the extension has gone.
void NoteFailure(Job* job) {
  ErrorData* error = CopyErrorData();
  job->sqlstate = error->sqlerrcode;
  ++job->failures;
  job->due =
      TimestampTzPlusMilliseconds(GetCurrentTimestamp(), kCollectorBackoff.PauseMs(job->failures));
  if (ShutdownRequestPending == 0) roster->SetError(database, error->message);
  roster->RequestLook(database);
  FreeErrorData(error);
}

// What the job's function returned, or -1 after an error, which is logged and shown in
// capture_status(); the job waits then.
int32 Try(Job* job) {
  volatile int32 result = -1;
  const MemoryContext outer = CurrentMemoryContext;
  in_job = 1;
  PG_TRY();
  {
    CHECK_FOR_INTERRUPTS();
    result = CallInTransaction(*job);
  }
  PG_CATCH();
  {
    MemoryContextSwitchTo(outer);
    HOLD_INTERRUPTS();
    NoteFailure(job);
    if (!ShutdownRequestPending) EmitErrorReport();
    AbortCurrentTransaction();
    FlushErrorState();
    RESUME_INTERRUPTS();
  }
  PG_END_TRY();
  in_job = 0;
  QueryCancelPending = false;
  MemoryContextSwitchTo(outer);
  if (result >= 0) job->failures = 0;
  return result;
}

bool IsDue(const Job& job) noexcept { return job.due <= GetCurrentTimestamp(); }

void Postpone(Job* job, int64 us) noexcept { job->due = GetCurrentTimestamp() + us; }

// The row itself is refused, as by a constraint that somebody added.
bool IsRefusal(int sqlstate) noexcept {
  const int category = ERRCODE_TO_CATEGORY(sqlstate);
  return category == ERRCODE_DATA_EXCEPTION || category == ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION ||
         category == ERRCODE_PLPGSQL_ERROR;
}

// Batch by batch until the queue is empty. After failures one event at a time, so that one that the
// table refuses does not hold up the others: it goes to the end of the queue. It is dropped, and
// counted, when it was refused again and again while others were written.
bool WriteLog() {
  static bool written_since_refusal = false;
  while (events->Count(database).queued > 0) {
    const bool alone = write_log.failures > 1;
    log_batch::size = alone ? 1 : kBatch;
    if (Try(&write_log) >= 0) {
      log_batch::Done();
      written_since_refusal = true;
      continue;
    }
    if (alone && IsRefusal(write_log.sqlstate)) {
      events->Refuse(database, written_since_refusal);
      written_since_refusal = false;
    }
    return false;
  }
  return true;
}

bool WriteHistory() {
  if (Try(&write_history) < 0) return false;
  history_batch::Done();
  Postpone(&write_history, static_cast<int64>(settings::history_interval_s) * USECS_PER_SEC);
  return true;
}

// Who was given the number of a job finds it after a crash, too.
int32 TryDurably(Job* job) {
  SetConfigOption("synchronous_commit", "local", PGC_SUSET, PGC_S_OVERRIDE);
  const int32 result = Try(job);
  SetConfigOption("synchronous_commit", "off", PGC_SUSET, PGC_S_OVERRIDE);
  return result;
}

// Requests are answered after the commit of what writes them.
bool TakeRequests() {
  while (board->HasRequests(database) && !ShutdownRequestPending) {
    request_batch::Begin();
    const int32 taken = TryDurably(&take_requests);
    if (taken < 0) {
      take_requests.due = Min(take_requests.due, GetCurrentTimestamp() + kMostRequestsPauseUs);
      return false;
    }
    request_batch::Done();
    if (taken == 0) break;  // an extension that waits for ALTER EXTENSION UPDATE
  }
  return true;
}

bool TendMaintenance() {
  request_batch::Begin();
  if (Try(&tend_maintenance) < 0) return false;
  request_batch::Done();
  Postpone(&tend_maintenance, kTendUs);
  return true;
}

// How long until it may have something to do again.
int64 PauseUs() noexcept {
  return Min(kUpkeepUs, static_cast<int64>(settings::snapshot_interval_s) * USECS_PER_SEC / 6);
}

// Partition by partition, each in a transaction of its own: no lock is held while another is waited
// for.
bool KeepUp(Job* job) {
  int32 changed = 1;
  while (changed > 0 && !ShutdownRequestPending) changed = Try(job);
  if (changed == 0) Postpone(job, kUpkeepUs);
  return changed >= 0;
}

bool HasTime() noexcept {
  return !ShutdownRequestPending && !board->HasRequests(database) && !ConfigReloadPending &&
         !roster->OthersWait() && !IsDue(write_history) && events->Count(database).queued == 0;
}

// One step, and more as long as nothing else waits.
bool WorkOff(Job* job) {
  int32 changed = 0;
  do {
    changed = Try(job);
  } while (changed > 0 && HasTime());
  if (changed == 0) Postpone(job, PauseUs());
  return changed >= 0;
}

template <size_t kCount>
bool DoDue(Job (&jobs)[kCount], bool (*work)(Job*)) {
  for (Job& job : jobs)
    if (IsDue(job) && !ShutdownRequestPending && !work(&job)) return false;
  return true;
}

void NoteSchedule() {
  TimestampTz next = DT_NOEND;
  for (const Job& job : upkeep) next = Min(next, job.due);
  for (const Job& job : chores) next = Min(next, job.due);
  for (const Job& job : snapshots) next = Min(next, job.due);
  roster->SetUpkeepDue(database, next);
}

// --- The worker -------------------------------------------------------------------------------

void OnCollectorExit(int, Datum) {
  events->SetConsumer(database, nullptr);
  board->SetTaker(database, nullptr);
  roster->Leave(database, orderly == 0);
}

// What settings of the database or of a role could break, and bounded waits.
void PinSettings() {
  const struct {
    const char* name;
    const char* value;
  } pinned[] = {
      {"search_path", "pg_catalog, pg_temp"},
      {"lock_timeout", "900ms"},
      {"deadlock_timeout", "10ms"},  // whoever looks first is the one to lose a deadlock
      {"default_transaction_read_only", "off"},
      {"default_transaction_isolation", "read committed"},
      {"session_replication_role", "origin"},
      {"row_security", "on"},
      {"synchronous_commit", "off"},
      {"application_name", "train_perf collector"},
      {"statement_timeout", "0"},
      TRAIN_PERF_TRANSACTION_TIMEOUT{"DateStyle", "ISO"},
  };
  for (const auto& setting : pinned)
    SetConfigOption(setting.name, setting.value, PGC_SUSET, PGC_S_OVERRIDE);
}

void Leave() {
  orderly = 1;
  proc_exit(0);
}

// False after a failure: what comes next may have lost its ground.
bool Work(bool stopping) {
  // What is loaded from a dump would collide with what we write, above all its partitions with
  // ours.
  if (roster->IsRestoring(database)) return true;
  if ((IsDue(write_log) || stopping) && !WriteLog()) return false;
  if ((IsDue(write_history) || stopping) && !WriteHistory()) return false;
  if (stopping) return true;
  if (IsDue(take_requests) && !TakeRequests()) return false;
  if (tend_maintenance.failures == 0 && board->TakeLook(database)) tend_maintenance.due = 0;
  if (IsDue(tend_maintenance) && !TendMaintenance()) return false;
  const bool succeeded =
      DoDue(upkeep, KeepUp) && DoDue(snapshots, WorkOff) && DoDue(chores, WorkOff);
  NoteSchedule();
  return succeeded;
}

// The extension is here, or this process leaves.
void Look() {
  while (roster->TakeLookRequest(database)) {
    const Oid before = extension.oid;
    const bool found = FindOwnExtension(&extension);
    // Numbers of jobs begin anew with a new extension.
    if (!found || (OidIsValid(before) && extension.oid != before)) board->EndWorkers(database);
    if (found) continue;
    if (!roster->LeaveForGood(database)) continue;
    board->Forget(database);
    Leave();
  }
  events->Open(database);
  events->SetConsumer(database, MyLatch);
  board->SetTaker(database, MyLatch);
}

// Takes up the schedule where the last collector of this database left it.
void TakeUpSchedule() {
  write_history.due = events->HistorySince(database) +
                      static_cast<int64>(settings::history_interval_s) * USECS_PER_SEC;
  for (Job& job : upkeep) job.due = roster->UpkeepDue(database);
  for (Job& job : chores) job.due = roster->UpkeepDue(database);
}

// Ends a running job too: whoever asks may not be able to wait for it.
void OnTerminate(SIGNAL_ARGS) {
  const int saved = errno;
  (void)postgres_signal_arg;
  ShutdownRequestPending = 1;
  if (in_job != 0) {
    QueryCancelPending = 1;
    InterruptPending = 1;
  }
  SetLatch(MyLatch);
  errno = saved;
}

// While it connects; as when a setting of the database changes.
void OnTerminateAtStart(SIGNAL_ARGS) {
  orderly = 1;
  die(postgres_signal_arg);
}

void HandleSignals() {
  CHECK_FOR_INTERRUPTS();
  if (!ConfigReloadPending) return;
  ConfigReloadPending = false;
  ProcessConfigFile(PGC_SIGHUP);
  for (Job& job : upkeep) job.due = 0;     // the retention may have changed
  for (Job& job : snapshots) job.due = 0;  // or the interval
  tend_maintenance.due = 0;                // or the schedule
}

}  // namespace

void RunCollector(Oid for_database) {
  database = for_database;
  if (!roster->Enter(database, MyProcPid, MyLatch)) proc_exit(0);
  before_shmem_exit(OnCollectorExit, 0);
  pqsignal(SIGHUP, SignalHandlerForConfigReload);
  pqsignal(SIGTERM, OnTerminateAtStart);
  BackgroundWorkerUnblockSignals();
  BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
  pqsignal(SIGTERM, OnTerminate);
  SuppressCapture();
  history_batch::remembered = true;
  PinSettings();
  pgstat_report_activity(STATE_IDLE, nullptr);

  for (bool first = true;; first = false) {
    ResetLatch(MyLatch);
    HandleSignals();
    if (roster->IsHeld(database)) Leave();
    Look();
    if (first) TakeUpSchedule();
    const bool stopping = ShutdownRequestPending;
    Work(stopping);
    if (stopping || roster->OthersWait()) Leave();
    WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, kPauseMs,
              PG_WAIT_EXTENSION);
  }
}

}  // namespace train_perf
