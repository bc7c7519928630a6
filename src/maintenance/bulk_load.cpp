#include "maintenance/bulk_load.hpp"

#include "capture/capture.hpp"
#include "maintenance/request.hpp"
#include "pg/boundary.hpp"
#include "pg/own_extension.hpp"
#include "pg/settings.hpp"

extern "C" {
#include "access/transam.h"
#include "catalog/partition.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_inherits.h"
#include "nodes/pg_list.h"
#include "storage/lmgr.h"
}

namespace train_perf {

namespace {

struct Load {
  Oid relation;
  int64 rows;
};

// Of the transaction that is about to commit. Further tables of it are left to autovacuum.
constexpr int kMostLoads = 128;
Load loads[kMostLoads];
int load_count = 0;

bool IsEnough(int64 rows) noexcept {
  return settings::analyze_after_rows >= 0 && rows > 0 && rows >= settings::analyze_after_rows;
}

// Without waiting for whoever rewrites a catalog.
bool CanReadCatalogs() {
  for (const Oid catalog :
       {RelationRelationId, InheritsRelationId, DependRelationId, ExtensionRelationId}) {
    if (!ConditionalLockRelationOid(catalog, AccessShareLock)) return false;
  }
  return true;
}

// The relation that the statement named: the table, or the ancestor that its rows were routed from.
// Writing to a relation by its name takes this lock on it, routing a lesser one on those above.
Oid TargetOf(Oid table) {
  if (!get_rel_relispartition(table)) return table;
  Oid target = table;
  ListCell* cell = nullptr;
  foreach (cell, get_partition_ancestors(table))
    if (HoldsLock(lfirst_oid(cell), RowExclusiveLock)) target = lfirst_oid(cell);
  return target;
}

// A partition that is being detached may have no ancestors any more.
Oid RootOf(Oid relation) {
  if (!get_rel_relispartition(relation)) return relation;
  const List* ancestors = get_partition_ancestors(relation);
  return ancestors != NIL ? llast_oid(ancestors) : relation;
}

bool IsToBeAnalyzed(Oid relation) {
  switch (get_rel_relkind(relation)) {
    case RELKIND_RELATION:
    case RELKIND_PARTITIONED_TABLE:
    case RELKIND_MATVIEW:
      return get_rel_persistence(relation) != RELPERSISTENCE_TEMP && !IsOurs(RootOf(relation));
    default:  // TOAST tables, and what is gone
      return false;
  }
}

void Add(Oid relation, int64 rows) noexcept {
  Load* load = loads;
  while (load < loads + load_count && load->relation != relation) ++load;
  if (load == loads + kMostLoads) return;
  if (load == loads + load_count) loads[load_count++] = {relation, 0};
  load->rows += rows;
}

// Few rows matter only if others went to the same partitioned table.
void AddTables(const PgStat_TableXactStatus* first) {
  for (const auto* table = first; table != nullptr; table = table->next) {
    const Oid relation = RelationOf(table);
    if (table->tuples_inserted == 0 || relation < FirstNormalObjectId) continue;
    const Oid target = TargetOf(relation);
    if (target != relation || IsEnough(table->tuples_inserted)) Add(target, table->tuples_inserted);
  }
}

void KeepLoads() {
  int kept = 0;
  for (int i = 0; i < load_count; ++i) {
    if (IsEnough(loads[i].rows) && IsToBeAnalyzed(loads[i].relation)) loads[kept++] = loads[i];
  }
  load_count = kept;
}

// Rows inserted into any table.
int64 RowsOf(const PgStat_TableXactStatus* first) noexcept {
  int64 rows = 0;
  for (const auto* table = first; table != nullptr; table = table->next)
    rows += table->tuples_inserted;
  return rows;
}

[[gnu::noinline]] void NoteLoads() {
  load_count = 0;
  const PgStat_TableXactStatus* first = nullptr;
  if (!Succeeds([&] { first = pgstat_get_xact_stack_level(1)->first; })) return;
  if (!IsEnough(RowsOf(first)) || IsCaptureSuppressed() || !events->IsOpen(MyDatabaseId)) return;
  const bool noted = Attempt([&] {
    if (!CanReadCatalogs()) return;
    AddTables(first);
    KeepLoads();
  });
  if (!noted) load_count = 0;
}

// The server is made to count the new rows now: before ANALYZE does, so that autovacuum does not
// find them afterwards and analyze the table again.
[[gnu::noinline]] void EndLoads(XactEvent event) noexcept {
  if (event == XACT_EVENT_COMMIT) {
    for (int i = 0; i < load_count; ++i) PostAnalyze(loads[i].relation, loads[i].rows);
    pgstat_force_next_flush();
  }
  load_count = 0;
}

// What inserts rows has a transaction id.
void OnTransactionEnd(XactEvent event, void*) {
  if (event == XACT_EVENT_PRE_COMMIT) {
    if (TransactionIdIsValid(MyProc->xid)) NoteLoads();
  } else if (load_count > 0) {
    EndLoads(event);
  }
}

}  // namespace

void InstallBulkLoad() { RegisterXactCallback(OnTransactionEnd, nullptr); }

}  // namespace train_perf
