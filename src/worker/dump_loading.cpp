#include "worker/dump_loading.hpp"

#include <cstring>
#include <string_view>

#include "pg/own_extension.hpp"
#include "worker/roster.hpp"

extern "C" {
#include "access/relation.h"
#include "catalog/dependency.h"
#include "catalog/index.h"
#include "catalog/partition.h"
#include "nodes/parsenodes.h"
#include "utils/rel.h"
#include "utils/relcache.h"
}

namespace train_perf {

namespace {

ProcessUtility_hook_type previous_utility = nullptr;
bool sets_row_security = false;  // in this session

std::string_view StatementText(const PlannedStmt* plan, const char* query_string) {
  int location = plan->stmt_location;
  int length = plan->stmt_len;
  const char* text = CleanQuerytext(query_string, &location, &length);
  return {text, static_cast<size_t>(length)};
}

bool IsPartitionOfOurs(Oid relation) {
  return get_rel_relispartition(relation) && IsOurs(get_partition_parent(relation, true));
}

const char* Deparse(PGFunction definition, Oid object) {
  return TextDatumGetCString(DirectFunctionCall1(definition, ObjectIdGetDatum(object)));
}

// How a statement of pg_dump that makes the index ends: behind its name, which is of no importance.
std::string_view Definition(Oid index) {
  const Oid constraint = get_index_constraint(index);
  if (OidIsValid(constraint)) return Deparse(pg_get_constraintdef, constraint);
  const char* definition = Deparse(pg_get_indexdef, index);
  const char* behind_name = strstr(definition, " ON ");
  return behind_name != nullptr ? behind_name : definition;
}

// The index for which `is_it(index)` holds, of those that a partition of ours has from its parent.
template <typename Predicate>
Oid FindInheritedIndex(const RangeVar* partition, Predicate&& is_it) {
  Relation relation = relation_openrv_extended(partition, AccessShareLock, true);
  if (relation == nullptr) return InvalidOid;
  Oid found = InvalidOid;
  if (IsPartitionOfOurs(RelationGetRelid(relation))) {
    ListCell* cell = nullptr;
    foreach (cell, RelationGetIndexList(relation))
      if (get_rel_relispartition(lfirst_oid(cell)) && is_it(lfirst_oid(cell)))
        found = lfirst_oid(cell);
  }
  relation_close(relation, AccessShareLock);
  return found;
}

// The one that the statement would make.
Oid SameIndex(const RangeVar* partition, std::string_view text) {
  return FindInheritedIndex(partition,
                            [text](Oid index) { return text.ends_with(Definition(index)); });
}

bool IsInheritedConstraint(const RangeVar* partition, const char* name) {
  return OidIsValid(FindInheritedIndex(partition, [name](Oid index) {
    return OidIsValid(get_index_constraint(index)) && strcmp(get_rel_name(index), name) == 0;
  }));
}

bool AttachesNothing(const RangeVar* parent, const AlterTableCmd* command) {
  const Oid parent_index = RangeVarGetRelid(parent, NoLock, true);
  if (!OidIsValid(parent_index) || get_rel_relkind(parent_index) != RELKIND_PARTITIONED_INDEX ||
      !IsOurs(IndexGetRelation(parent_index, false)))
    return false;
  const auto* attached = reinterpret_cast<const PartitionCmd*>(command->def);
  const Oid index = RangeVarGetRelid(attached->name, NoLock, true);
  return !OidIsValid(index) || get_rel_relispartition(index);
}

bool IsSuperfluous(const AlterTableStmt* alter, std::string_view text) {
  if (list_length(alter->cmds) != 1) return false;
  const auto* command = static_cast<const AlterTableCmd*>(linitial(alter->cmds));
  switch (command->subtype) {
    case AT_AddConstraint:
      return OidIsValid(SameIndex(alter->relation, text));
    case AT_DropConstraint:
      return IsInheritedConstraint(alter->relation, command->name);
    case AT_AttachPartition:
      return alter->objtype == OBJECT_INDEX && AttachesNothing(alter->relation, command);
    default:
      return false;
  }
}

// The same plan, or one for a statement that checks privileges but changes nothing.
PlannedStmt* WithoutRepetition(PlannedStmt* plan, std::string_view text) {
  if (IsA(plan->utilityStmt, AlterTableStmt)) {
    if (!IsSuperfluous(reinterpret_cast<AlterTableStmt*>(plan->utilityStmt), text)) return plan;
    plan = static_cast<PlannedStmt*>(copyObjectImpl(plan));
    reinterpret_cast<AlterTableStmt*>(plan->utilityStmt)->cmds = NIL;
  } else if (IsA(plan->utilityStmt, IndexStmt)) {
    const Oid index = SameIndex(reinterpret_cast<IndexStmt*>(plan->utilityStmt)->relation, text);
    if (!OidIsValid(index)) return plan;
    plan = static_cast<PlannedStmt*>(copyObjectImpl(plan));
    auto* create = reinterpret_cast<IndexStmt*>(plan->utilityStmt);
    create->idxname = get_rel_name(index);
    create->if_not_exists = true;
  }
  return plan;
}

// Holding up the collector takes rights that only loading a dump needs.
bool MayHoldUpCollector() {
  return roster != nullptr && IsTransactionState() &&
         (superuser() || OwnsDatabase(MyDatabaseId, GetUserId()));
}

// Calls run() while the collector stays away.
template <typename Run>
[[gnu::noinline]] void HoldUpCollector(Run&& run) {
  roster->NoteRestore(MyDatabaseId, true);
  PG_TRY();
  { run(); }
  PG_FINALLY();
  { roster->NoteRestore(MyDatabaseId, false); }
  PG_END_TRY();
}

// A dump says so itself; as a setting of a database or role it means nothing.
bool SetsRowSecurity(const Node* statement) noexcept {
  if (!IsA(statement, VariableSetStmt)) return false;
  const char* name = reinterpret_cast<const VariableSetStmt*>(statement)->name;
  return name != nullptr && strcmp(name, "row_security") == 0;
}

void OnUtility(PlannedStmt* plan, const char* query_string, bool read_only_tree,
               ProcessUtilityContext context, ParamListInfo params, QueryEnvironment* environment,
               DestReceiver* dest, QueryCompletion* completion) {
  const ProcessUtility_hook_type next =
      previous_utility != nullptr ? previous_utility : standard_ProcessUtility;
  if (!IsLoadingDump()) {
    const bool sets = SetsRowSecurity(plan->utilityStmt);
    next(plan, query_string, read_only_tree, context, params, environment, dest, completion);
    sets_row_security = sets_row_security || sets;
    return;
  }
  PlannedStmt* changed = WithoutRepetition(plan, StatementText(plan, query_string));
  const auto run = [&] {
    next(changed, query_string, read_only_tree, context, params, environment, dest, completion);
  };
  if (MayHoldUpCollector()) {
    HoldUpCollector(run);
  } else {
    run();
  }
}

}  // namespace

bool IsLoadingDump() noexcept {
  return sets_row_security && !check_function_bodies && !row_security;
}

void InstallDumpLoading() {
  sets_row_security = !row_security;  // a dump's CREATE EXTENSION has loaded this library just now
  previous_utility = ProcessUtility_hook;
  ProcessUtility_hook = OnUtility;
}

}  // namespace train_perf
