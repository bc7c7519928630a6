// The SQL-callable functions that queue rebuilds: they check the call as the caller, and then
// decide in SQL, as the owner of the extension, on the caller's behalf.

#include "capture/capture.hpp"
#include "entry/function.hpp"
#include "maintenance/permission.hpp"
#include "pg/own_extension.hpp"
#include "pg/settings.hpp"

extern "C" {
#include "catalog/pg_type.h"
#include "utils/numeric.h"
}

using namespace train_perf;

extern "C" {
TRAIN_PERF_FUNCTION(tp_reindex_if_bloated);
TRAIN_PERF_FUNCTION(tp_reindex_bloated_indexes);
TRAIN_PERF_FUNCTION(tp_monthly_maintenance);
}

namespace {

void RequireWorkers(const char* function) {
  PreventCommandDuringRecovery(function);
  RequirePreload();
}

Datum CheckedThreshold(NullableDatum argument) {
  const Datum zero = DirectFunctionCall1(int4_numeric, Int32GetDatum(0));
  const bool is_percentage = !argument.isnull && !numeric_is_nan(DatumGetNumeric(argument.value)) &&
                             DatumGetBool(DirectFunctionCall2(numeric_ge, argument.value, zero));
  if (!is_percentage) {
    ereport(ERROR,
            (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
             errmsg("bloat_threshold must be a percentage of at least 0"),
             errhint("It is the excess in percent of the size after a rebuild; the default is "
                     "20.")));
  }
  return argument.value;
}

// As regclass finds it; 42P01, 42809 or 42501 for what the caller cannot have rebuilt.
Oid CheckedTable(NullableDatum name) {
  if (name.isnull) {
    ereport(ERROR,
            (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("table_name must not be NULL")));
  }
  const Oid table = DatumGetObjectId(DirectFunctionCall1(text_regclass, name.value));
  const char kind = get_rel_relkind(table);
  if (kind == '\0') {
    ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
                    errmsg("relation with OID %u does not exist", table)));
  }
  if (strchr("rmpt", kind) == nullptr) {
    ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
                    errmsg("\"%s\" is not a table or materialized view", get_rel_name(table)),
                    errhint("Name the table: all its indexes are looked at.")));
  }
  if (!MayMaintain(table, GetUserId(), MaintenanceKind::kReindex)) {
    ereport(ERROR,
            (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
             errmsg("permission denied to rebuild the indexes of \"%s\"", get_rel_name(table)),
             errhint("Its owner and superusers may, and from PostgreSQL 17 on who has MAINTAIN on "
                     "it.")));
  }
  return table;
}

// Runs a call of a function of ours as the owner of the extension; its rows are in SPI_tuptable
// until SPI_finish().
void CallAsOwner(FunctionCallInfo fcinfo, const char* call, int count, Oid* types, Datum* values) {
  const OwnExtension extension = ExtensionOf(fcinfo->flinfo->fn_oid);
  const char* query = psprintf("SELECT * FROM %s.%s", QuotedSchema(extension), call);
  Oid user = InvalidOid;
  int security = 0;
  GetUserIdAndSecContext(&user, &security);
  SetUserIdAndSecContext(extension.owner, security | SECURITY_LOCAL_USERID_CHANGE);
  if (SPI_connect() != SPI_OK_CONNECT) elog(ERROR, "SPI_connect failed");
  if (SPI_execute_with_args(query, count, types, values, nullptr, false, 0) != SPI_OK_SELECT)
    elog(ERROR, "a query of train_perf failed: %s", query);
  SetUserIdAndSecContext(user, security);
}

}  // namespace

Datum tp_reindex_if_bloated(PG_FUNCTION_ARGS) {
  RequireWorkers("reindex_if_bloated()");
  Oid types[] = {OIDOID, NUMERICOID, OIDOID};
  Datum values[] = {Datum{0}, CheckedThreshold(fcinfo->args[1]), ObjectIdGetDatum(GetUserId())};
  values[0] = ObjectIdGetDatum(CheckedTable(fcinfo->args[0]));
  const MemoryContext context = CurrentMemoryContext;
  CallAsOwner(fcinfo, "queue_rebuilds_of($1, $2, $3)", 3, types, values);
  const char* answer = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
  const MemoryContext inner = MemoryContextSwitchTo(context);
  text* result = cstring_to_text(answer);
  MemoryContextSwitchTo(inner);
  SPI_finish();
  PG_RETURN_TEXT_P(result);
}

Datum tp_reindex_bloated_indexes(PG_FUNCTION_ARGS) {
  RequireWorkers("reindex_bloated_indexes()");
  InitMaterializedSRF(fcinfo, 0);
  auto* result = reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo);
  Oid types[] = {NUMERICOID, OIDOID};
  Datum values[] = {CheckedThreshold(fcinfo->args[0]), ObjectIdGetDatum(GetUserId())};
  CallAsOwner(fcinfo, "queue_rebuilds($1, $2, false)", 2, types, values);
  for (uint64 i = 0; i < SPI_processed; ++i)
    tuplestore_puttuple(result->setResult, SPI_tuptable->vals[i]);
  SPI_finish();
  PG_RETURN_VOID();
}

Datum tp_monthly_maintenance(PG_FUNCTION_ARGS) {
  RequireWorkers("monthly_maintenance()");
  Oid types[] = {NUMERICOID, OIDOID};
  Datum values[] = {
      DirectFunctionCall1(float8_numeric, Float8GetDatum(settings::reindex_threshold)),
      ObjectIdGetDatum(GetUserId())};
  CallAsOwner(fcinfo, "queue_rebuilds($1, $2, true)", 2, types, values);
  const auto queued = static_cast<int32>(SPI_processed);
  SPI_finish();
  PG_RETURN_INT32(queued);
}
