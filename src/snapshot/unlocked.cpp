#include "snapshot/unlocked.hpp"

extern "C" {
#include "catalog/index.h"
#include "catalog/pg_index.h"
#include "storage/lmgr.h"
#include "utils/syscache.h"
}

namespace train_perf {

namespace {

// What function(relation, argument) returns while the relation `locked` cannot be changed.
std::optional<Datum> CallLocked(Oid locked, PGFunction function, Oid relation, Datum argument) {
  if (!ConditionalLockRelationOid(locked, AccessShareLock)) return {};
  LOCAL_FCINFO(call, 2);
  InitFunctionCallInfoData(*call, nullptr, 2, InvalidOid, nullptr, nullptr);
  call->args[0] = {.value = ObjectIdGetDatum(relation), .isnull = false};
  call->args[1] = {.value = argument, .isnull = false};
  const Datum result = function(call);  // NULL if the relation is gone
  UnlockRelationOid(locked, AccessShareLock);
  if (call->isnull) return {};
  return result;
}

}  // namespace

text* UnlockedIndexDefinition(Oid index) {
  const Oid table = IndexGetRelation(index, true);
  if (!OidIsValid(table)) return nullptr;
  const std::optional<Datum> definition = CallLocked(table, pg_get_indexdef, index, Datum{0});
  return definition ? DatumGetTextPP(*definition) : nullptr;
}

bool IsInvalidNow(Oid index) {
  HeapTuple tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index));
  if (!HeapTupleIsValid(tuple)) return false;
  const bool invalid = !reinterpret_cast<Form_pg_index>(GETSTRUCT(tuple))->indisvalid;
  ReleaseSysCache(tuple);
  return invalid;
}

}  // namespace train_perf
