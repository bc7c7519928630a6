#include "maintenance/permission.hpp"

extern "C" {
#include "catalog/catalog.h"
#include "catalog/index.h"
#include "utils/syscache.h"
}

namespace train_perf {

namespace {

bool Exists(Oid relation) { return SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relation)); }

}  // namespace

bool MayMaintain(Oid relation, Oid role, MaintenanceKind kind) {
  if (!Exists(relation)) return false;
  const char relkind = get_rel_relkind(relation);
  const bool is_index = relkind == RELKIND_INDEX || relkind == RELKIND_PARTITIONED_INDEX;
  const Oid table = is_index ? IndexGetRelation(relation, true) : relation;
  if (!OidIsValid(table) || !Exists(table)) return false;
  if (MaintainsTable(table, role)) return true;
  return kind == MaintenanceKind::kVacuum && !IsSharedRelation(table) &&
         OwnsDatabase(MyDatabaseId, role);
}

}  // namespace train_perf
