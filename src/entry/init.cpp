// _PG_init, the shared memory of all parts, and the mains of the workers.

#include "capture/capture.hpp"
#include "capture/statistics_file.hpp"
#include "maintenance/board.hpp"
#include "maintenance/bulk_load.hpp"
#include "maintenance/job_worker.hpp"
#include "pg/prelude.hpp"
#include "pg/settings.hpp"
#include "worker/collector.hpp"
#include "worker/database_guard.hpp"
#include "worker/dump_loading.hpp"
#include "worker/launcher.hpp"
#include "worker/roster.hpp"

extern "C" {

#include "catalog/pg_control.h"
#include "common/controldata_utils.h"

TRAIN_PERF_MODULE_MAGIC;

// NOLINTNEXTLINE(bugprone-reserved-identifier,readability-identifier-naming): the server calls it
PGDLLEXPORT void _PG_init(void);
PGDLLEXPORT void tp_launcher_main(Datum arg);
PGDLLEXPORT void tp_collector_main(Datum arg);
PGDLLEXPORT void tp_job_worker_main(Datum arg);

}  // extern "C"

namespace train_perf {

namespace {

constexpr char kTranche[] = "train_perf";
constexpr int kLocks = StatementTable::kLocks + 3;  // the event queue's, the roster's, the board's

shmem_request_hook_type previous_request = nullptr;
shmem_startup_hook_type previous_startup = nullptr;

void OnSharedMemoryRequest() {
  if (previous_request != nullptr) previous_request();
  RequestAddinShmemSpace(MAXALIGN(StatementTable::SharedSize(settings::max_statements)) +
                         MAXALIGN(BackendBuffers::SharedSize(MaxBackends)) +
                         MAXALIGN(EventQueue::SharedSize(settings::event_buffer_size_kb)) +
                         MAXALIGN(sizeof(Roster)) + MAXALIGN(sizeof(Board)));
  RequestNamedLWLockTranche(kTranche, kLocks);
}

// Also an immediate shutdown exits with 0, after killing whoever held our locks.
bool WasShutDownCleanly() {
  bool checksum_fits = false;
  const ControlFileData* control = get_controlfile(DataDir, &checksum_fits);
  return checksum_fits &&
         (control->state == DB_SHUTDOWNED || control->state == DB_SHUTDOWNED_IN_RECOVERY);
}

void OnServerExit(int code, Datum) {
  if (code == 0 && WasShutDownCleanly()) SaveStatistics();
}

void OnSharedMemoryStartup() {
  if (previous_startup != nullptr) previous_startup();
  bool found = false;
  statements = static_cast<StatementTable*>(ShmemInitStruct(
      "train_perf statements", StatementTable::SharedSize(settings::max_statements), &found));
  buffers = static_cast<BackendBuffers*>(
      ShmemInitStruct("train_perf backends", BackendBuffers::SharedSize(MaxBackends), &found));
  events = static_cast<EventQueue*>(ShmemInitStruct(
      "train_perf events", EventQueue::SharedSize(settings::event_buffer_size_kb), &found));
  roster = static_cast<Roster*>(ShmemInitStruct("train_perf roster", sizeof(Roster), &found));
  board = static_cast<Board*>(ShmemInitStruct("train_perf maintenance", sizeof(Board), &found));
  if (found) return;
  LWLockPadded* locks = GetNamedLWLockTranche(kTranche);
  statements->Init(settings::max_statements, locks);
  buffers->Init(MaxBackends, locks->lock.tranche, statements);
  events->Init(settings::event_buffer_size_kb, &locks[StatementTable::kLocks].lock);
  roster->Init(&locks[StatementTable::kLocks + 1].lock);
  board->Init(&locks[StatementTable::kLocks + 2].lock);
  if (IsUnderPostmaster) return;
  on_shmem_exit(OnServerExit, 0);
  LoadStatistics();
}

}  // namespace

}  // namespace train_perf

using namespace train_perf;

void _PG_init(void) {
  const bool preloading = process_shared_preload_libraries_in_progress;
  settings::Define(preloading);
  if (!IsBinaryUpgrade) InstallDumpLoading();
  if (!preloading) return;
  previous_request = shmem_request_hook;
  shmem_request_hook = OnSharedMemoryRequest;
  previous_startup = shmem_startup_hook;
  shmem_startup_hook = OnSharedMemoryStartup;
  InstallCapture();
  InstallDatabaseGuard();
  if (!IsBinaryUpgrade) InstallBulkLoad();
  if (!IsBinaryUpgrade) RegisterLauncher();
}

void tp_launcher_main(Datum) { RunLauncher(); }

void tp_collector_main(Datum arg) { RunCollector(DatumGetObjectId(arg)); }

void tp_job_worker_main(Datum arg) {
  RunJobWorker(DatumGetInt32(arg), [](Oid database) { return !roster->IsHeld(database); });
}
