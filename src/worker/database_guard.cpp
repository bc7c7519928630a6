#include "worker/database_guard.hpp"

#include <csignal>
#include <cstring>

#include "capture/capture.hpp"
#include "worker/roster.hpp"

extern "C" {
#include "catalog/objectaccess.h"
#include "catalog/pg_extension.h"
#include "commands/defrem.h"
#include "nodes/parsenodes.h"
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

void HoldUntilTransactionEnd(Oid database) {
  if (held_count == kMostHeld) return;
  held[held_count++] = database;
  const int pid = roster->Hold(database);
  if (pid == 0) return;
  kill(pid, SIGTERM);
  for (int waited = 0; roster->CollectorOf(database) != 0 && waited < kMostWaitMs;
       waited += kWaitStepMs) {
    CHECK_FOR_INTERRUPTS();
    pg_usleep(kWaitStepMs * 1000L);
  }
}

void OnUtility(PlannedStmt* plan, const char* query_string, bool read_only_tree,
               ProcessUtilityContext context, ParamListInfo params, QueryEnvironment* environment,
               DestReceiver* dest, QueryCompletion* completion) {
  const Node* statement = plan->utilityStmt;
  const bool changes = ChangesDatabases(statement);
  const bool drops = IsA(statement, DropdbStmt);
  const Oid configures =
      IsA(statement, AlterDatabaseSetStmt)
          ? get_database_oid(reinterpret_cast<const AlterDatabaseSetStmt*>(statement)->dbname, true)
          : InvalidOid;
  Oid quiet = InvalidOid;
  if (const char* name = QuietDatabase(statement)) {
    quiet = get_database_oid(name, true);
    if (OidIsValid(quiet)) HoldUntilTransactionEnd(quiet);
  }
  if (previous_utility != nullptr) {
    previous_utility(plan, query_string, read_only_tree, context, params, environment, dest,
                     completion);
  } else {
    standard_ProcessUtility(plan, query_string, read_only_tree, context, params, environment, dest,
                            completion);
  }
  if (changes) databases_change = true;
  if (drops) dropped = quiet;
  if (OidIsValid(configures)) reconfigured = configures;
}

void OnObjectAccess(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void* arg) {
  if (previous_object_access != nullptr)
    previous_object_access(access, class_id, object_id, sub_id, arg);
  if (class_id == ExtensionRelationId && (access == OAT_POST_CREATE || access == OAT_DROP))
    extensions_change = true;
}

void ReleaseHeld() noexcept {
  for (; held_count > 0; --held_count) roster->Release(held[held_count - 1]);
}

void Forget() noexcept {
  dropped = reconfigured = InvalidOid;
  databases_change = extensions_change = extension_is_here = false;
}

void OnCommit() noexcept {
  ReleaseHeld();
  if (OidIsValid(dropped)) {
    roster->Remove(dropped);
    events->Close(dropped);
  }
  if (databases_change) roster->RequestScan();
  if (OidIsValid(reconfigured)) roster->Restart(reconfigured);
  if (extensions_change && extension_is_here && !events->IsOpen(MyDatabaseId)) {
    roster->Announce(MyDatabaseId);
  } else if (extensions_change) {
    roster->RequestLook(MyDatabaseId);
  }
  Forget();
}

void OnTransactionEnd(XactEvent event, void*) {
  switch (event) {
    case XACT_EVENT_PRE_COMMIT:
      if (extensions_change) extension_is_here = OidIsValid(get_extension_oid("train_perf", true));
      break;
    case XACT_EVENT_COMMIT:
      if (!IsBinaryUpgrade) OnCommit();
      break;
    case XACT_EVENT_PREPARE:
    case XACT_EVENT_ABORT:
      ReleaseHeld();
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
  RegisterXactCallback(OnTransactionEnd, nullptr);
}

}  // namespace train_perf
