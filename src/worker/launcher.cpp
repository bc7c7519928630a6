#include "worker/launcher.hpp"

#include <utility>

#include "capture/capture.hpp"
#include "maintenance/board.hpp"
#include "maintenance/supervisor.hpp"
#include "pg/settings.hpp"
#include "worker/roster.hpp"

extern "C" {
#include "access/genam.h"
#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "nodes/pg_list.h"
#include "postmaster/interrupt.h"
}

namespace train_perf {

namespace {

constexpr long kScanPauseMs = 60000;    // unless somebody asks for a scan
constexpr long kTurnPauseMs = 500;      // while collectors take turns
constexpr long kWatchPauseMs = 200;     // while jobs are at work
constexpr long kNoPlacePauseMs = 1000;  // while the server has no place for a worker
constexpr int kLastInvalidLimit = -2;   // datconnlimit of a database whose DROP was interrupted

struct StartedWorker {
  Roster::Start start;
  BackgroundWorkerHandle* handle;
};
StartedWorker started[64];  // as many as max_collectors may be
struct StartedJob {
  uint64 number;
  BackgroundWorkerHandle* handle;
};
StartedJob jobs[Board::kMostWorkers];  // by their place on the board
List* looked_at = nullptr;             // databases that had their first look, in TopMemoryContext

bool MayHoldExtension(const FormData_pg_database& database) {
  return database.datallowconn && !database.datistemplate &&
         database.datconnlimit != kLastInvalidLimit;
}

List* ListDatabases() {
  List* databases = NIL;
  StartTransactionCommand();
  Relation relation = table_open(DatabaseRelationId, AccessShareLock);
  TableScanDesc scan = table_beginscan_catalog(relation, 0, nullptr);
  while (HeapTuple tuple = heap_getnext(scan, ForwardScanDirection)) {
    const auto* database = reinterpret_cast<FormData_pg_database*>(GETSTRUCT(tuple));
    if (!MayHoldExtension(*database)) continue;
    const MemoryContext outer = MemoryContextSwitchTo(TopMemoryContext);
    databases = lappend_oid(databases, database->oid);
    MemoryContextSwitchTo(outer);
  }
  table_endscan(scan);
  table_close(relation, AccessShareLock);
  CommitTransactionCommand();
  return databases;
}

// New databases come on the roster for a look; those that are gone leave it.
void ScanDatabases() {
  static Oid known[Roster::kMostDatabases];
  List* databases = ListDatabases();
  List* looks = NIL;
  const int count = roster->Databases(known);
  for (int i = 0; i < count; ++i) {
    if (list_member_oid(databases, known[i]) || !roster->Remove(known[i])) continue;
    events->Close(known[i]);
  }
  const MemoryContext outer = MemoryContextSwitchTo(TopMemoryContext);
  ListCell* cell = nullptr;
  foreach (cell, databases) {
    const Oid database = lfirst_oid(cell);
    // Events wait for the look; without the extension it closes the lane again.
    const bool is_new = !list_member_oid(looked_at, database);
    if (is_new && (!roster->Add(database) || !events->Open(database))) continue;
    looks = lappend_oid(looks, database);
  }
  MemoryContextSwitchTo(outer);
  list_free(databases);
  list_free(looked_at);
  looked_at = looks;
}

// Those that are about to exit included.
int Processes() noexcept {
  int count = 0;
  for (const StartedWorker& worker : started) count += worker.handle != nullptr ? 1 : 0;
  return count;
}

StartedWorker* FreeSlot() noexcept {
  for (StartedWorker& worker : started)
    if (worker.handle == nullptr) return &worker;
  return nullptr;
}

BackgroundWorker Describe(const char* type, const char* function) {
  BackgroundWorker worker{};
  strlcpy(worker.bgw_name, type, BGW_MAXLEN);
  strlcpy(worker.bgw_type, type, BGW_MAXLEN);
  strlcpy(worker.bgw_library_name, "train_perf", sizeof(worker.bgw_library_name));
  strlcpy(worker.bgw_function_name, function, sizeof(worker.bgw_function_name));
  worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
  worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
  worker.bgw_restart_time = BGW_NEVER_RESTART;
  worker.bgw_notify_pid = MyProcPid;
  return worker;
}

// nullptr if the server has no place for it.
BackgroundWorkerHandle* Register(BackgroundWorker worker) {
  BackgroundWorkerHandle* handle = nullptr;
  const MemoryContext outer = MemoryContextSwitchTo(TopMemoryContext);
  const bool registered = RegisterDynamicBackgroundWorker(&worker, &handle);
  MemoryContextSwitchTo(outer);
  return registered ? handle : nullptr;
}

// False if there is no place for it.
bool StartCollector(const Roster::Start& start) {
  StartedWorker* slot = FreeSlot();
  BackgroundWorker worker = Describe("train_perf collector", "tp_collector_main");
  snprintf(worker.bgw_name, BGW_MAXLEN, "train_perf collector for database %u", start.database);
  worker.bgw_main_arg = ObjectIdGetDatum(start.database);
  BackgroundWorkerHandle* handle = slot != nullptr ? Register(worker) : nullptr;
  if (handle != nullptr) {
    *slot = {start, handle};
  } else {
    roster->Starve(start);
  }
  return handle != nullptr;
}

bool StartJob(int place) {
  BackgroundWorker worker = Describe("train_perf maintenance", "tp_job_worker_main");
  worker.bgw_main_arg = Int32GetDatum(place);
  const uint64 number = board->WorkerAt(place).number;
  BackgroundWorkerHandle* handle = Register(worker);
  board->SetStarved(handle == nullptr);
  if (handle == nullptr) {
    board->StartFailed(place, number);
    return false;
  }
  if (jobs[place].handle != nullptr) pfree(jobs[place].handle);  // of one that ended just now
  jobs[place] = {number, handle};
  return true;
}

// A worker that ended without having entered the roster could not start.
void CheckStarted() {
  for (StartedWorker& worker : started) {
    pid_t pid = 0;
    if (worker.handle == nullptr) continue;
    if (GetBackgroundWorkerPid(worker.handle, &pid) != BGWH_STOPPED) continue;
    roster->StartFailed(worker.start);
    pfree(worker.handle);
    worker = {};
  }
}

void CheckJobs() {
  for (int place = 0; place < Board::kMostWorkers; ++place) {
    pid_t pid = 0;
    if (jobs[place].handle == nullptr) continue;
    if (GetBackgroundWorkerPid(jobs[place].handle, &pid) != BGWH_STOPPED) continue;
    board->StartFailed(place, jobs[place].number);
    pfree(jobs[place].handle);
    jobs[place] = {};
  }
}

bool MayWorkIn(Oid database) { return !roster->IsHeld(database); }

// How long until it is to be called again.
long RunJobs() {
  TimestampTz next_due = 0;
  bool has_place = true;
  CheckJobs();
  while (has_place) {
    const int place = board->StartNext(settings::maintenance_workers, MayWorkIn, &next_due);
    if (place < 0) break;
    has_place = StartJob(place);
  }
  if (SuperviseJobs()) return kWatchPauseMs;
  if (!has_place) return kNoPlacePauseMs;
  if (next_due == DT_NOEND) return kScanPauseMs;
  return Max(10L, TimestampDifferenceMilliseconds(GetCurrentTimestamp(), next_due));
}

long StartCollectors() {
  TimestampTz next_start = 0;
  const TimestampTz now = GetCurrentTimestamp();
  const TimestampTz history_before =
      now - static_cast<TimestampTz>(settings::history_interval_s) * USECS_PER_SEC;
  for (;;) {
    const Roster::Start start =
        roster->TakeNext(settings::max_collectors, Processes(), history_before, &next_start);
    // Without a place: again when one of ours has ended, or after the pause.
    if (!OidIsValid(start.database) || !StartCollector(start)) break;
  }
  if (roster->OthersWait()) return kTurnPauseMs;
  if (next_start == 0) return kScanPauseMs;
  return Max(10L, TimestampDifferenceMilliseconds(now, next_start));
}

void OnLauncherExit(int, Datum) {
  roster->SetLauncher(nullptr);
  board->SetLauncher(nullptr);
}

void Wait(long timeout_ms) {
  WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, timeout_ms,
            PG_WAIT_EXTENSION);
  ResetLatch(MyLatch);
  CHECK_FOR_INTERRUPTS();
  if (ConfigReloadPending) {
    ConfigReloadPending = false;
    ProcessConfigFile(PGC_SIGHUP);
  }
}

}  // namespace

void RegisterLauncher() {
  BackgroundWorker worker{};
  strlcpy(worker.bgw_name, "train_perf launcher", BGW_MAXLEN);
  strlcpy(worker.bgw_type, "train_perf launcher", BGW_MAXLEN);
  strlcpy(worker.bgw_library_name, "train_perf", sizeof(worker.bgw_library_name));
  strlcpy(worker.bgw_function_name, "tp_launcher_main", sizeof(worker.bgw_function_name));
  worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
  worker.bgw_start_time = BgWorkerStart_ConsistentState;
  worker.bgw_restart_time = 5;
  RegisterBackgroundWorker(&worker);
}

void RunLauncher() {
  pqsignal(SIGHUP, SignalHandlerForConfigReload);
  pqsignal(SIGTERM, die);
  BackgroundWorkerUnblockSignals();
  BackgroundWorkerInitializeConnection(nullptr, nullptr, 0);
  SuppressCapture();
  roster->SetLauncher(MyLatch);
  board->SetLauncher(MyLatch);
  before_shmem_exit(OnLauncherExit, 0);

  bool was_standby = false;
  TimestampTz last_scan = 0;
  for (;;) {
    if (RecoveryInProgress()) {
      was_standby = true;
      Wait(1000);
      continue;
    }
    if (std::exchange(was_standby, false)) Settled()->DiscardPending(InvalidOid);
    CheckStarted();
    const bool scan_due =
        TimestampDifferenceExceeds(last_scan, GetCurrentTimestamp(), kScanPauseMs);
    if (roster->TakeScanRequest() || scan_due) {
      ScanDatabases();
      last_scan = GetCurrentTimestamp();
    }
    const long jobs_pause_ms = RunJobs();
    Wait(Min(Min(StartCollectors(), jobs_pause_ms), kScanPauseMs));
  }
}

}  // namespace train_perf
