#include "pg/own_extension.hpp"

extern "C" {
#include "access/genam.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_proc.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/syscache.h"
}

namespace train_perf {

namespace {

bool FindRow(OwnExtension* extension) {
  Relation relation = table_open(ExtensionRelationId, AccessShareLock);
  ScanKeyData key;
  ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ,
              CStringGetDatum("train_perf"));
  SysScanDesc scan = systable_beginscan(relation, ExtensionNameIndexId, true, nullptr, 1, &key);
  const HeapTuple tuple = systable_getnext(scan);
  const bool found = HeapTupleIsValid(tuple);
  if (found) {
    const auto* row = reinterpret_cast<FormData_pg_extension*>(GETSTRUCT(tuple));
    *extension = {row->oid, row->extowner, row->extnamespace};
  }
  systable_endscan(scan);
  table_close(relation, AccessShareLock);
  return found;
}

bool MayHoldExtension() {
  const HeapTuple tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(MyDatabaseId));
  if (!HeapTupleIsValid(tuple)) return true;
  const auto* database = reinterpret_cast<FormData_pg_database*>(GETSTRUCT(tuple));
  const bool may = !database->datistemplate && database->datallowconn;
  ReleaseSysCache(tuple);
  return may;
}

}  // namespace

bool FindOwnExtension(OwnExtension* extension) {
  StartTransactionCommand();
  const bool found = FindRow(extension) && MayHoldExtension();
  CommitTransactionCommand();
  return found;
}

bool IsOurs(Oid relation) {
  const Oid extension = getExtensionOfObject(RelationRelationId, relation);
  return OidIsValid(extension) && extension == get_extension_oid("train_perf", true);
}

OwnExtension ExtensionOf(Oid function) {
  const HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
  if (!HeapTupleIsValid(tuple)) elog(ERROR, "cache lookup failed for function %u", function);
  const auto* row = reinterpret_cast<FormData_pg_proc*>(GETSTRUCT(tuple));
  const OwnExtension extension{InvalidOid, row->proowner, row->pronamespace};
  ReleaseSysCache(tuple);
  return extension;
}

OwnerTransaction BeginAsOwner(const OwnExtension& extension) {
  OwnerTransaction transaction{};
  SetCurrentStatementStartTimestamp();
  StartTransactionCommand();
  GetUserIdAndSecContext(&transaction.user, &transaction.context);
  SetUserIdAndSecContext(extension.owner, transaction.context | SECURITY_LOCAL_USERID_CHANGE |
                                              SECURITY_RESTRICTED_OPERATION);
  PushActiveSnapshot(GetTransactionSnapshot());
  return transaction;
}

void CommitAsOwner(const OwnerTransaction& transaction) {
  PopActiveSnapshot();
  CommitTransactionCommand();
  SetUserIdAndSecContext(transaction.user, transaction.context);  // an abort does it by itself
}

const char* QuotedSchema(const OwnExtension& extension) {
  const char* name = get_namespace_name(extension.schema);
  if (name == nullptr) {
    ereport(ERROR, (errcode(ERRCODE_UNDEFINED_SCHEMA),
                    errmsg("the schema of extension train_perf is gone")));
  }
  return quote_identifier(name);
}

}  // namespace train_perf
