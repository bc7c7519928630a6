#include "snapshot/estimate.hpp"

#include <cmath>

#include "pg/damage.hpp"
#include "snapshot/heap_sample.hpp"

extern "C" {
#include "access/genam.h"
#include "access/table.h"
#include "catalog/index.h"
#include "catalog/indexing.h"
#include "catalog/pg_am.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_index.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/syscache.h"
}

namespace train_perf {

namespace {

void RequireRights(Oid relation) {
  if (has_privs_of_role(GetUserId(), ROLE_PG_MONITOR) || OwnsRelation(relation, GetUserId()))
    return;
  ereport(ERROR,
          (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
           errmsg("permission denied for relation %s", get_rel_name(relation)),
           errhint("Estimates are for the owner of the relation and for members of pg_monitor.")));
}

struct TableEstimate {
  BloatEstimate bloat;
  IndexedRows rows;
  Oid toast;
  double dropped_share;  // of the bytes in TOAST
};

BloatEstimate NoEstimate(Skipped reason) noexcept {
  BloatEstimate none = {};
  none.skipped = reason;
  return none;
}

double Bytes(double pages) { return std::ceil(pages) * BLCKSZ; }

Method MethodOf(const PageSample& sample) noexcept {
  return sample.whole && sample.corrupt == 0 ? Method::kExact : Method::kSampled;
}

Method Weaker(Method one, Method other) noexcept { return Max(one, other); }

template <typename HeapOrIndex>
BloatEstimate BloatOf(const HeapOrIndex& estimate) noexcept {
  BloatEstimate bloat = {};
  bloat.method = MethodOf(estimate.sample);
  bloat.actual_bytes = static_cast<double>(estimate.sample.blocks) * BLCKSZ;
  bloat.estimated_bytes = Bytes(estimate.pages);
  bloat.live = estimate.live;
  bloat.dead = estimate.dead;
  bloat.sampled_pages = estimate.sample.sampled;
  return bloat;
}

void WarnOfDamage(Oid relation, const ErrorData* damage) {
  if (damage == nullptr) return;
  ereport(WARNING, (errcode(damage->sqlerrcode),
                    errmsg("could not estimate the bloat of relation %u", relation),
                    errdetail("%s", damage->message)));
}

struct RowCounts {
  double live, dead;
};

RowCounts CountedRows(Oid table) {
  const Datum id = ObjectIdGetDatum(table);
  return {static_cast<double>(DatumGetInt64(DirectFunctionCall1(pg_stat_get_live_tuples, id))),
          static_cast<double>(DatumGetInt64(DirectFunctionCall1(pg_stat_get_dead_tuples, id)))};
}

// For access methods that we cannot read: the share of dead rows that was counted.
void EstimateByStatistics(Relation relation, double live, double dead, BloatEstimate* estimate) {
  const double share = live + dead > 0 ? live / (live + dead) : 1.0;
  estimate->method = Method::kStatistics;
  estimate->actual_bytes += static_cast<double>(RelationGetNumberOfBlocks(relation)) * BLCKSZ;
  estimate->estimated_bytes += Bytes(estimate->actual_bytes / BLCKSZ * share);
  estimate->live = live;
  estimate->dead = dead;
}

void AddToast(Oid toast, Sampling sampling, double dropped_share, BloatEstimate* estimate) {
  OpenRelation relation(toast);
  if (relation.get() == nullptr) {
    estimate->skipped = relation.skipped();
    return;
  }
  const HeapEstimate heap = EstimateHeap(relation.get(), sampling);
  relation.Close();
  estimate->actual_bytes += static_cast<double>(heap.sample.blocks) * BLCKSZ;
  estimate->estimated_bytes += Bytes(heap.pages * (1.0 - dropped_share));
  estimate->sampled_pages += heap.sample.sampled;
  estimate->method = Weaker(estimate->method, MethodOf(heap.sample));
}

// Without its TOAST.
TableEstimate EstimateMainFork(Oid id, Sampling sampling) {
  TableEstimate result = {};
  BloatEstimate& bloat = result.bloat;
  OpenRelation table(id);
  bloat.skipped = table.skipped();
  if (table.get() == nullptr) return result;
  result.toast = table.get()->rd_rel->reltoastrelid;
  if (table.get()->rd_rel->relam == HEAP_TABLE_AM_OID) {
    const HeapEstimate heap = EstimateHeap(table.get(), sampling);
    bloat = BloatOf(heap);
    bloat.recently_dead = heap.recently_dead;
    result.rows = heap.rows;
    result.dropped_share = heap.dropped_share;
  } else {
    const RowCounts counts = CountedRows(id);
    EstimateByStatistics(table.get(), counts.live, counts.dead, &bloat);
    result.rows = {counts.live, counts.dead, nullptr};
  }
  table.Close();
  return result;
}

TableEstimate EstimateOneTable(Oid id, Sampling sampling) {
  TableEstimate result = EstimateMainFork(id, sampling);
  if (OidIsValid(result.toast))
    AddToast(result.toast, sampling, result.dropped_share, &result.bloat);
  return result;
}

// From the catalog: the relation itself need not be open.
List* IndexesOf(Oid table) {
  List* indexes = NIL;
  Relation catalog = table_open(IndexRelationId, AccessShareLock);
  ScanKeyData key;
  ScanKeyInit(&key, Anum_pg_index_indrelid, BTEqualStrategyNumber, F_OIDEQ,
              ObjectIdGetDatum(table));
  SysScanDesc scan = systable_beginscan(catalog, IndexIndrelidIndexId, true, nullptr, 1, &key);
  while (const HeapTuple tuple = systable_getnext(scan)) {
    const auto* index = reinterpret_cast<Form_pg_index>(GETSTRUCT(tuple));
    indexes = lappend_oid(indexes, index->indexrelid);
  }
  systable_endscan(scan);
  table_close(catalog, AccessShareLock);
  return indexes;
}

using EstimateMethod = IndexEstimate (*)(Relation, Sampling, IndexedRows);

EstimateMethod MethodFor(Oid access_method) noexcept {
  switch (access_method) {
    case BTREE_AM_OID:
      return EstimateBtree;
    case HASH_AM_OID:
      return EstimateHash;
    case GIST_AM_OID:
      return EstimateGist;
    case GIN_AM_OID:
      return EstimateGin;
    case SPGIST_AM_OID:
      return EstimateSpGist;
    case BRIN_AM_OID:
      return EstimateBrin;
    default:
      return nullptr;
  }
}

BloatEstimate EstimateOneIndex(Oid id, Sampling sampling, IndexedRows rows) {
  BloatEstimate bloat = {};
  OpenRelation index(id);
  bloat.skipped = index.skipped();
  if (index.get() == nullptr) return bloat;
  const EstimateMethod estimate = MethodFor(index.get()->rd_rel->relam);
  if (estimate == nullptr) {
    EstimateByStatistics(index.get(), rows.live, rows.dead, &bloat);
  } else {
    // The samplers make room for as many pages as they may read.
    const BlockNumber blocks = RelationGetNumberOfBlocks(index.get());
    sampling.most = static_cast<int>(Min(static_cast<uint32>(sampling.most), Max(blocks, 1)));
    bloat = BloatOf(estimate(index.get(), sampling, rows));
  }
  index.Close();
  return bloat;
}

void Add(const BloatEstimate& part, BloatEstimate* sum) {
  sum->method = Weaker(sum->method, part.method);
  sum->actual_bytes += part.actual_bytes;
  sum->estimated_bytes += part.estimated_bytes;
  sum->live += part.live;
  sum->dead += part.dead;
  sum->recently_dead += part.recently_dead;
  sum->sampled_pages += part.sampled_pages;
}

Sampling SamplingOf(int most) {
  if (most < 1) {
    ereport(ERROR,
            (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("sample_pages must be at least 1")));
  }
  return {most, GetAccessStrategy(BAS_BULKREAD)};
}

[[noreturn]] void RaiseWrongKind(Oid relation, const char* what, const char* hint) {
  ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
                  errmsg("\"%s\" is not %s", get_rel_name(relation), what), errhint("%s", hint)));
  pg_unreachable();
}

BloatEstimate EstimateIndexOfItsTable(Oid index, Sampling sampling) {
  const Oid id = IndexGetRelation(index, true);
  if (!OidIsValid(id)) return NoEstimate(Skipped::kGone);
  const TableEstimate table = EstimateMainFork(id, sampling);
  return table.bloat.skipped != Skipped::kNo ? table.bloat
                                             : EstimateOneIndex(index, sampling, table.rows);
}

BloatEstimate EstimateOneOfKind(Oid relation, char kind, Sampling sampling) {
  return kind == RELKIND_INDEX ? EstimateIndexOfItsTable(relation, sampling)
                               : EstimateOneTable(relation, sampling).bloat;
}

// The sum of those parts that have storage. One that was dropped meanwhile is no part.
BloatEstimate EstimateParts(Oid parent, char kind, Sampling sampling) {
  BloatEstimate sum = {};
  int parts = 0;
  List* members = find_all_inheritors(parent, NoLock, nullptr);
  const MemoryContext context =
      AllocSetContextCreate(CurrentMemoryContext, "train_perf part", ALLOCSET_DEFAULT_SIZES);
  ListCell* cell;
  foreach (cell, members) {
    const Oid part = lfirst_oid(cell);
    if (get_rel_relkind(part) != kind) continue;
    RequireRights(part);
    const MemoryContext outer = MemoryContextSwitchTo(context);
    const BloatEstimate estimate = EstimateOneOfKind(part, kind, sampling);
    MemoryContextSwitchTo(outer);
    MemoryContextReset(context);
    if (estimate.skipped == Skipped::kNo) {
      Add(estimate, &sum);
      ++parts;
    } else if (estimate.skipped != Skipped::kGone) {
      ++sum.skipped_parts;
      sum.skipped = estimate.skipped;
    }
  }
  MemoryContextDelete(context);
  if (parts > 0) sum.skipped = Skipped::kNo;
  return sum;
}

void TakeIndexes(List* indexes, Sampling sampling, IndexedRows rows, TakeEstimate take,
                 void* argument) {
  ListCell* cell;
  foreach (cell, indexes) {
    const Oid index = lfirst_oid(cell);
    BloatEstimate bloat = NoEstimate(Skipped::kDamaged);
    WarnOfDamage(index, CatchDamage([&] { bloat = EstimateOneIndex(index, sampling, rows); }));
    take(index, bloat, argument);
  }
}

// Of one table after the other: nothing may pile up.
template <typename F>
void WithinContext(F&& f) {
  const MemoryContext outer = CurrentMemoryContext;
  const MemoryContext context =
      AllocSetContextCreate(outer, "train_perf estimate", ALLOCSET_DEFAULT_SIZES);
  MemoryContextSwitchTo(context);
  f();
  MemoryContextSwitchTo(outer);
  MemoryContextDelete(context);
}

}  // namespace

BloatEstimate EstimateTable(Oid relation, int most) {
  const Sampling sampling = SamplingOf(most);
  const char kind = get_rel_relkind(relation);
  if (kind == '\0') return NoEstimate(Skipped::kGone);
  RequireRights(relation);
  switch (kind) {
    case RELKIND_PARTITIONED_TABLE:
      return EstimateParts(relation, RELKIND_RELATION, sampling);
    case RELKIND_RELATION:
    case RELKIND_MATVIEW:
    case RELKIND_TOASTVALUE:
      return EstimateOneTable(relation, sampling).bloat;
    case RELKIND_INDEX:
    case RELKIND_PARTITIONED_INDEX:
      RaiseWrongKind(relation, "a table", "For indexes there is estimate_index_bloat().");
    default:
      RaiseWrongKind(relation, "a table", "Only tables and materialized views have bloat.");
  }
}

BloatEstimate EstimateIndex(Oid index, int most) {
  const Sampling sampling = SamplingOf(most);
  const char kind = get_rel_relkind(index);
  if (kind == '\0') return NoEstimate(Skipped::kGone);
  RequireRights(index);
  if (kind == RELKIND_PARTITIONED_INDEX) return EstimateParts(index, RELKIND_INDEX, sampling);
  if (kind != RELKIND_INDEX)
    RaiseWrongKind(index, "an index", "For tables there is estimate_table_bloat().");
  return EstimateIndexOfItsTable(index, sampling);
}

void EstimateWithIndexes(Oid table, int most, TakeEstimate take, void* argument) {
  WithinContext([=] {
    const Sampling sampling = SamplingOf(most);
    TableEstimate estimate = {};
    estimate.bloat = NoEstimate(Skipped::kDamaged);
    WarnOfDamage(table, CatchDamage([&] { estimate = EstimateOneTable(table, sampling); }));
    take(table, estimate.bloat, argument);
    List* indexes = estimate.bloat.skipped == Skipped::kNo ? IndexesOf(table) : NIL;
    TakeIndexes(indexes, sampling, estimate.rows, take, argument);
  });
}

void EstimateIndexes(Oid table, Oid only, int most, TakeEstimate take, void* argument) {
  WithinContext([=] {
    const Sampling sampling = SamplingOf(most);
    TableEstimate estimate = {};
    estimate.bloat = NoEstimate(Skipped::kDamaged);
    WarnOfDamage(table, CatchDamage([&] { estimate = EstimateMainFork(table, sampling); }));
    if (estimate.bloat.skipped != Skipped::kNo) {
      take(table, estimate.bloat, argument);
      return;
    }
    List* indexes = OidIsValid(only) ? list_make1_oid(only) : IndexesOf(table);
    TakeIndexes(indexes, sampling, estimate.rows, take, argument);
  });
}

}  // namespace train_perf
