#include "worker/database_guard.hpp"

#include <algorithm>
#include <csignal>
#include <cstring>

#include "capture/capture.hpp"
#include "maintenance/board.hpp"
#include "pg/boundary.hpp"
#include "worker/dump_loading.hpp"
#include "worker/roster.hpp"

extern "C" {
#include "catalog/objectaccess.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_extension.h"
#include "commands/defrem.h"
#include "nodes/parsenodes.h"
#include "utils/syscache.h"
}

namespace train_perf {

namespace {

ProcessUtility_hook_type previous_utility = nullptr;
object_access_hook_type previous_object_access = nullptr;

constexpr int kWaitStepMs = 10;
constexpr int kMostWaitMs = 5000;

// What is to be done when the transaction ends.
constexpr int kMostHeld = 16;
Oid held[kMostHeld];
int held_count = 0;
Oid dropped = InvalidOid;
Oid reconfigured = InvalidOid;  // its collector has to read its settings again
bool databases_change = false;
bool extensions_change = false;
bool extension_is_here = false;
bool extension_is_new = false;
constexpr int kMostCreated = 64;
Oid created[kMostCreated];  // extensions
int created_count = 0;

const char* StringOption(List* options, const char* name) {
  ListCell* cell = nullptr;
  foreach (cell, options) {
    auto* option = static_cast<DefElem*>(lfirst(cell));
    if (strcmp(option->defname, name) == 0 && option->arg != nullptr) return defGetString(option);
  }
  return nullptr;
}

// The database that nobody may be connected to while the command runs, or nullptr.
const char* QuietDatabase(const Node* statement) {
  switch (nodeTag(statement)) {
    case T_DropdbStmt:
      return reinterpret_cast<const DropdbStmt*>(statement)->dbname;
    case T_RenameStmt: {
      const auto* rename = reinterpret_cast<const RenameStmt*>(statement);
      return rename->renameType == OBJECT_DATABASE ? rename->subname : nullptr;
    }
    case T_AlterDatabaseStmt: {
      const auto* alter = reinterpret_cast<const AlterDatabaseStmt*>(statement);
      return StringOption(alter->options, "tablespace") != nullptr ? alter->dbname : nullptr;
    }
    case T_CreatedbStmt:
      return StringOption(reinterpret_cast<const CreatedbStmt*>(statement)->options, "template");
    default:
      return nullptr;
  }
}

bool ChangesDatabases(const Node* statement) noexcept {
  return IsA(statement, DropdbStmt) || IsA(statement, CreatedbStmt) ||
         IsA(statement, AlterDatabaseStmt);
}

void OnTransactionEnd(XactEvent event, void* arg);

// Only a backend that has something to do then pays for it at each transaction's end.
void WatchTransactionEnd() {
  static bool watching = false;
  if (!watching) RegisterXactCallback(OnTransactionEnd, nullptr);
  watching = true;
}

// Whether there were any; none starts in a database that is held.
bool EndJobs(Oid database) {
  static JobWorker workers[Board::kMostWorkers];
  const int count = board->Workers(database, workers);
  for (int i = 0; i < count; ++i) kill(workers[i].pid, SIGTERM);
  return count > 0;
}

void HoldUntilTransactionEnd(Oid database) {
  if (held_count == kMostHeld) return;
  WatchTransactionEnd();
  held[held_count++] = database;
  const int pid = roster->Hold(database);
  if (pid != 0) kill(pid, SIGTERM);
  for (int waited = 0;
       (EndJobs(database) || roster->CollectorOf(database) != 0) && waited < kMostWaitMs;
       waited += kWaitStepMs) {
    CHECK_FOR_INTERRUPTS();
    pg_usleep(kWaitStepMs * 1000L);
  }
}

bool MayCreateDatabases(Oid user) {
  const HeapTuple role = SearchSysCache1(AUTHOID, ObjectIdGetDatum(user));
  if (!HeapTupleIsValid(role)) return false;
  const bool may = reinterpret_cast<FormData_pg_authid*>(GETSTRUCT(role))->rolcreatedb;
  ReleaseSysCache(role);
  return may;
}

// Holding up somebody's collector takes the right to run the command.
bool MayRun(const Node* statement, Oid database) {
  if (superuser()) return true;
  return IsA(statement, CreatedbStmt) ? MayCreateDatabases(GetUserId())
                                      : OwnsDatabase(database, GetUserId());
}

Oid DatabaseOf(const char* name) {
  return name != nullptr ? get_database_oid(name, true) : InvalidOid;
}

// What the statement will change if its transaction commits.
struct Change {
  bool databases;
  Oid dropped;
  Oid reconfigured;
  bool extensions;
};

Change ChangeBy(const Node* statement, Oid quiet) {
  Change change{ChangesDatabases(statement), InvalidOid, InvalidOid, false};
  if (IsA(statement, DropdbStmt)) change.dropped = quiet;
  if (IsA(statement, AlterDatabaseSetStmt)) {
    change.reconfigured =
        DatabaseOf(reinterpret_cast<const AlterDatabaseSetStmt*>(statement)->dbname);
  }
  if (IsA(statement, TransactionStmt)) {  // what it does was seen when it was prepared, elsewhere
    change.extensions =
        reinterpret_cast<const TransactionStmt*>(statement)->kind == TRANS_STMT_COMMIT_PREPARED;
  }
  return change;
}

void ReleaseFrom(int first) noexcept {
  for (; held_count > first; --held_count) roster->Release(held[held_count - 1]);
}

// Calls run() and, after an error, lets go of what it held.
template <typename Run>
[[gnu::noinline]] void ReleaseOnError(Run&& run) {
  const int held_before = held_count;
  PG_TRY();
  { run(); }
  PG_CATCH();
  {
    ReleaseFrom(held_before);
    PG_RE_THROW();
  }
  PG_END_TRY();
}

void NoteChange(const Change& change) noexcept {
  databases_change = databases_change || change.databases;
  extensions_change = extensions_change || change.extensions;
  if (OidIsValid(change.dropped)) dropped = change.dropped;
  if (OidIsValid(change.reconfigured)) reconfigured = change.reconfigured;
}

void OnUtility(PlannedStmt* plan, const char* query_string, bool read_only_tree,
               ProcessUtilityContext context, ParamListInfo params, QueryEnvironment* environment,
               DestReceiver* dest, QueryCompletion* completion) {
  const Node* statement = plan->utilityStmt;
  const Oid quiet = DatabaseOf(QuietDatabase(statement));
  const Change change = ChangeBy(statement, quiet);
  // Before the statement: what a DROP DATABASE has done must not be undone for want of memory.
  if (change.databases || change.extensions || OidIsValid(change.reconfigured))
    WatchTransactionEnd();
  const auto run = [&] {
    if (previous_utility != nullptr) {
      previous_utility(plan, query_string, read_only_tree, context, params, environment, dest,
                       completion);
    } else {
      standard_ProcessUtility(plan, query_string, read_only_tree, context, params, environment,
                              dest, completion);
    }
  };
  if (OidIsValid(quiet) && MayRun(statement, quiet)) {
    ReleaseOnError([&] {
      HoldUntilTransactionEnd(quiet);
      run();
    });
  } else {
    run();
  }
  NoteChange(change);
}

void OnObjectAccess(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void* arg) {
  if (previous_object_access != nullptr)
    previous_object_access(access, class_id, object_id, sub_id, arg);
  if (class_id != ExtensionRelationId || (access != OAT_POST_CREATE && access != OAT_DROP)) return;
  if (!Succeeds(WatchTransactionEnd)) return;  // the launcher's next look will notice it
  extensions_change = true;
  if (access == OAT_POST_CREATE && created_count < kMostCreated)
    created[created_count++] = object_id;
}

void Forget() noexcept {
  dropped = reconfigured = InvalidOid;
  databases_change = extensions_change = extension_is_here = extension_is_new = false;
  created_count = 0;
}

void OnCommit() noexcept {
  if (OidIsValid(dropped)) {
    roster->Forget(dropped);
    board->Forget(dropped);
    events->Close(dropped);
    Settled()->Forget(dropped);
  }
  if (databases_change) roster->RequestScan();
  if (OidIsValid(reconfigured)) {
    roster->Restart(reconfigured);
    board->LookAgain(reconfigured);
  }
  if (extension_is_new) {
    roster->Announce(MyDatabaseId, IsLoadingDump());
  } else if (extensions_change && extension_is_here != events->IsOpen(MyDatabaseId)) {
    roster->RequestLook(MyDatabaseId);
  }
  ReleaseFrom(0);
  Forget();
}

void LookForExtension() {
  const Oid extension = get_extension_oid("train_perf", true);
  extension_is_here = OidIsValid(extension);
  extension_is_new = extension_is_here && std::find(created, created + created_count, extension) !=
                                              created + created_count;
}

void OnTransactionEnd(XactEvent event, void* /*arg*/) {
  switch (event) {
    case XACT_EVENT_PRE_COMMIT:
      if (extensions_change) LookForExtension();
      break;
    case XACT_EVENT_COMMIT:
      if (!IsBinaryUpgrade) OnCommit();
      break;
    case XACT_EVENT_PREPARE:
    case XACT_EVENT_ABORT:
      ReleaseFrom(0);
      Forget();
      break;
    default:
      break;
  }
}

}  // namespace

void InstallDatabaseGuard() {
  previous_utility = ProcessUtility_hook;
  ProcessUtility_hook = OnUtility;
  previous_object_access = object_access_hook;
  object_access_hook = OnObjectAccess;
}

}  // namespace train_perf
