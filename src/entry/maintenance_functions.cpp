// The SQL-callable functions of maintenance.

#include <algorithm>
#include <cmath>
#include <cstring>

#include "capture/capture.hpp"
#include "entry/function.hpp"
#include "maintenance/board.hpp"
#include "maintenance/permission.hpp"
#include "maintenance/request.hpp"
#include "pg/own_extension.hpp"

extern "C" {
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/inval.h"
#include "utils/syscache.h"
}

using namespace train_perf;

extern "C" {
TRAIN_PERF_FUNCTION(tp_request_maintenance);
TRAIN_PERF_FUNCTION(tp_await_maintenance);
TRAIN_PERF_FUNCTION(tp_vacuum_analyze_table);
TRAIN_PERF_FUNCTION(tp_cancel_maintenance_job);
TRAIN_PERF_FUNCTION(tp_wait_for_maintenance);
TRAIN_PERF_FUNCTION(tp_is_maintenance_running);
TRAIN_PERF_FUNCTION(tp_maintenance_workers);
TRAIN_PERF_FUNCTION(tp_maintenance_requests);
TRAIN_PERF_FUNCTION(tp_answer_maintenance_request);
TRAIN_PERF_FUNCTION(tp_note_maintenance_due);
TRAIN_PERF_FUNCTION(tp_cancel_maintenance_worker);
TRAIN_PERF_FUNCTION(tp_role_may_maintain);
TRAIN_PERF_FUNCTION(tp_is_maintenance_starved);
TRAIN_PERF_FUNCTION(tp_dropped_maintenance_requests);
}

namespace {

constexpr long kFirstStepMs = 5;
constexpr long kLongestStepMs = 200;
constexpr int kMostLostMs = 60000;
constexpr int kDeadlockMs = 1000;
constexpr int kYoungMs = 30000;

void RequireArgument(bool is_null, const char* name) {
  if (is_null) {
    ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("%s must not be NULL", name)));
  }
}

MaintenanceRequest RequestOf(RequestAction action, const char* kind, Oid relation) {
  MaintenanceRequest request{};
  request.action = action;
  request.database = MyDatabaseId;
  request.role = GetUserId();
  request.relation = relation;
  request.threshold = request.bloat_ratio = NAN;
  strlcpy(request.kind, kind, sizeof(request.kind));
  return request;
}

double NumberOf(NullableDatum argument) {
  if (argument.isnull) return NAN;
  return DatumGetFloat8(DirectFunctionCall1(numeric_float8, argument.value));
}

int64 Enqueue(const MaintenanceRequest& request) {
  RequirePreload();
  PreventCommandDuringRecovery("maintenance");
  CheckTarget(request.relation, request.kind);
  const int64 answer = Ask(request);
  if (answer == kTooManyJobs) {
    ereport(ERROR, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
                    errmsg("too many maintenance jobs have not ended"),
                    errhint("See maintenance_status; cancel_maintenance_job() cancels one.")));
  }
  return answer;
}

// --- How jobs stand, as the owner of the extension sees it
// ----------------------------------------

struct State {
  int64 job_id;
  char* status;
  char* answer;
  char* sqlstate;
};

struct Home {
  Oid function;
  Oid owner;
  const char* query;
};

// Of the extension that the function being called belongs to.
Home HomeOf(FunctionCallInfo fcinfo) {
  const OwnExtension extension = ExtensionOf(fcinfo->flinfo->fn_oid);
  return {fcinfo->flinfo->fn_oid, extension.owner,
          psprintf("SELECT * FROM %s.maintenance_state($1, $2)", QuotedSchema(extension))};
}

// Somebody may drop the extension while its functions wait.
void RequireHome(const Home& home) {
  AcceptInvalidationMessages();
  if (SearchSysCacheExists1(PROCOID, ObjectIdGetDatum(home.function))) return;
  ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                  errmsg("train_perf was dropped, and with it the maintenance job")));
}

// In the current memory context; as of now, whatever snapshot the caller has.
State* QueryStates(const Home& home, ArrayType* ids, int* count) {
  const MemoryContext context = CurrentMemoryContext;
  const Oid asker = GetUserId();
  Oid user = InvalidOid;
  int security = 0;
  Oid types[] = {INT8ARRAYOID, OIDOID};
  Datum values[] = {PointerGetDatum(ids), ObjectIdGetDatum(asker)};
  GetUserIdAndSecContext(&user, &security);
  SetUserIdAndSecContext(home.owner, security | SECURITY_LOCAL_USERID_CHANGE);
  if (SPI_connect() != SPI_OK_CONNECT) elog(ERROR, "SPI_connect failed");
  SPIPlanPtr plan = SPI_prepare(home.query, 2, types);
  if (plan == nullptr) elog(ERROR, "SPI_prepare failed");
  SPI_execute_snapshot(plan, values, nullptr, GetLatestSnapshot(), InvalidSnapshot, true, false, 0);
  *count = static_cast<int>(SPI_processed);
  const MemoryContext inner = MemoryContextSwitchTo(context);
  auto* states = static_cast<State*>(palloc0(sizeof(State) * Max(*count, 1)));
  for (int i = 0; i < *count; ++i) {
    const HeapTuple row = SPI_tuptable->vals[i];
    const TupleDesc columns = SPI_tuptable->tupdesc;
    const auto text = [&](int number) {
      const char* value = SPI_getvalue(row, columns, number);
      return value == nullptr ? nullptr : MemoryContextStrdup(context, value);
    };
    states[i] = {strtoll(SPI_getvalue(row, columns, 1), nullptr, 10), text(2), text(3), text(4)};
  }
  MemoryContextSwitchTo(inner);
  SPI_finish();
  SetUserIdAndSecContext(user, security);
  return states;
}

// Leaves no lock behind. Whoever waited for ours, as DROP EXTENSION does, would keep the worker
// from writing the end that the caller waits for, and nobody would detect that deadlock.
State* ReadStates(const Home& home, ArrayType* ids, int* count) {
  const MemoryContext context = CurrentMemoryContext;
  const ResourceOwner owner = CurrentResourceOwner;
  State* volatile states = nullptr;
  BeginInternalSubTransaction(nullptr);
  MemoryContextSwitchTo(context);
  PG_TRY();
  { states = QueryStates(home, ids, count); }
  PG_CATCH();
  {
    MemoryContextSwitchTo(context);
    ErrorData* error = CopyErrorData();
    FlushErrorState();
    RollbackAndReleaseCurrentSubTransaction();
    MemoryContextSwitchTo(context);
    CurrentResourceOwner = owner;
    RequireHome(home);
    ReThrowError(error);
  }
  PG_END_TRY();
  RollbackAndReleaseCurrentSubTransaction();
  MemoryContextSwitchTo(context);
  CurrentResourceOwner = owner;
  return states;
}

bool HasEnded(const State& state) noexcept {
  return strcmp(state.status, "queued") != 0 && strcmp(state.status, "running") != 0;
}

bool HaveEnded(const State* states, int count) noexcept {
  for (int i = 0; i < count; ++i)
    if (!HasEnded(states[i])) return false;
  return true;
}

// Each pause is twice as long as the one before.
void Pause(long* step_ms) {
  WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, *step_ms, PG_WAIT_EXTENSION);
  *step_ms = Min(*step_ms * 2, kLongestStepMs);
  ResetLatch(MyLatch);
  CHECK_FOR_INTERRUPTS();
}

bool IsOver(TimestampTz since, int64 budget_ms) {
  return budget_ms >= 0 && GetCurrentTimestamp() >= TimestampTzPlusMilliseconds(since, budget_ms);
}

bool IsAtWork(int64 job_id) { return Preloaded() && board->WorkerOn(MyDatabaseId, job_id) != 0; }

// Its worker has ended without writing that, and nobody has queued it again for long: perhaps
// because somebody waits for a lock of the caller's transaction on maintenance_jobs.
void CheckLost(const State* states, int count, TimestampTz* lost_since) {
  const TimestampTz now = GetCurrentTimestamp();
  for (int i = 0; i < count; ++i) {
    if (strcmp(states[i].status, "running") != 0 || IsAtWork(states[i].job_id)) continue;
    if (*lost_since == 0) *lost_since = now;
    if (!TimestampDifferenceExceeds(*lost_since, now, kMostLostMs)) return;
    ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                    errmsg("the end of maintenance job " INT64_FORMAT " was not written",
                           states[i].job_id),
                    errhint("The server's log says why.")));
  }
  *lost_since = 0;
}

bool IsAnyUnderWay(const State* states, int count) noexcept {
  return std::any_of(states, states + count, [](const State& state) {
    return strcmp(state.status, "running") == 0 &&
           !board->IsHeldUpBy(MyProcPid, MyDatabaseId, state.job_id);
  });
}

// A rebuild that has just begun loses little. Its next attempt does not give way: whoever asks all
// the time cannot keep it from its work.
bool GivesWay() {
  static JobWorker workers[Board::kMostWorkers];
  char text[80];
  snprintf(text, sizeof(text), "pid %d, whose job waits for the worker", MyProcPid);
  const int count = board->Workers(MyDatabaseId, workers);
  return std::any_of(workers, workers + count, [&](const JobWorker& worker) {
    return worker.budgets.may_give_way && worker.held_up_by.Has(MyProcPid) &&
           !IsOver(worker.begun, kYoungMs) &&
           board->Cancel(worker.number, CancelReason::kGaveWay, text);
  });
}

// The worker that the jobs of this caller wait for may itself wait for the end of the caller's
// transaction: a rebuild, for its snapshot; one that writes the end of a job, for somebody who
// wants to lock the table of jobs, which the caller has read.
bool IsDeadlock(const State* states, int count, TimestampTz* since) {
  if (!Preloaded() || !board->IsHeldUpBy(MyProcPid) || IsAnyUnderWay(states, count)) {
    *since = 0;
    return false;
  }
  if (*since == 0) *since = GetCurrentTimestamp();
  if (!IsOver(*since, kDeadlockMs)) return false;
  if (GivesWay()) {
    *since = 0;
    return false;
  }
  ereport(NOTICE, (errmsg("maintenance waits for the end of this transaction, so this does not "
                          "wait for its jobs")));
  return true;
}

// Their end, or how they stand when the caller cannot wait longer.
State* AwaitStates(const Home& home, ArrayType* ids, int* count) {
  const TimestampTz since = GetCurrentTimestamp();
  const int64 budget_ms = WaitBudgetMs();
  long step_ms = kFirstStepMs;
  TimestampTz lost_since = 0;
  TimestampTz deadlock_since = 0;
  const MemoryContext step =
      AllocSetContextCreate(CurrentMemoryContext, "train_perf await", ALLOCSET_DEFAULT_SIZES);
  for (;;) {
    const MemoryContext outer = MemoryContextSwitchTo(step);
    State* states = ReadStates(home, ids, count);
    MemoryContextSwitchTo(outer);
    if (HaveEnded(states, *count) || IsOver(since, budget_ms) ||
        IsDeadlock(states, *count, &deadlock_since)) {
      NoteWaitForWork(GetCurrentTimestamp() - since);
      return states;
    }
    CheckLost(states, *count, &lost_since);
    MemoryContextReset(step);
    Pause(&step_ms);
  }
}

ArrayType* ArrayOf(int64 id) {
  Datum item = Int64GetDatum(id);
  return construct_array(&item, 1, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE);
}

[[noreturn]] void RaiseFailure(const State& state) {
  const char* code =
      state.sqlstate == nullptr || strlen(state.sqlstate) != 5 ? "XX000" : state.sqlstate;
  ereport(ERROR, (errcode(MAKE_SQLSTATE(code[0], code[1], code[2], code[3], code[4])),
                  errmsg("%s", state.answer)));
  pg_unreachable();
}

bool HasFailed(const State& state) noexcept {
  return strcmp(state.status, "failed") == 0 || strcmp(state.status, "cancelled") == 0;
}

Datum TextOrNull(const char* value, bool* is_null) {
  *is_null = value == nullptr;
  return value == nullptr ? Datum{0} : CStringGetTextDatum(value);
}

}  // namespace

Datum tp_request_maintenance(PG_FUNCTION_ARGS) {
  RequireArgument(PG_ARGISNULL(0), "kind");
  RequireArgument(PG_ARGISNULL(1), "relation");
  const char* kind = text_to_cstring(PG_GETARG_TEXT_PP(0));
  if (strcmp(kind, "vacuum_analyze") != 0 && strcmp(kind, "reindex") != 0) {
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                    errmsg("\"%s\" is not a kind of maintenance to ask for", kind),
                    errhint("There are vacuum_analyze and reindex.")));
  }
  MaintenanceRequest request = RequestOf(RequestAction::kQueue, kind, PG_GETARG_OID(1));
  request.threshold = NumberOf(fcinfo->args[2]);
  request.bloat_ratio = NumberOf(fcinfo->args[3]);
  if (PG_NARGS() > 5) request.role = PG_GETARG_OID(5);  // request_maintenance_as()
  if (!PG_ARGISNULL(4)) {
    const char* reason = text_to_cstring(PG_GETARG_TEXT_PP(4));
    const int length = pg_mbcliplen(reason, static_cast<int>(strlen(reason)),
                                    static_cast<int>(sizeof(request.reason)) - 1);
    memcpy(request.reason, reason, static_cast<Size>(length));
  }
  PG_RETURN_INT64(Enqueue(request));
}

Datum tp_await_maintenance(PG_FUNCTION_ARGS) {
  RequirePreload();
  PreventCommandDuringRecovery("maintenance");
  InitMaterializedSRF(fcinfo, 0);
  auto* result = reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo);
  int count = 0;
  const State* states = AwaitStates(HomeOf(fcinfo), PG_GETARG_ARRAYTYPE_P(0), &count);
  for (int i = 0; i < count; ++i) {
    bool nulls[4] = {};
    Datum values[4] = {Int64GetDatum(states[i].job_id)};
    values[1] = TextOrNull(states[i].status, &nulls[1]);
    values[2] = TextOrNull(states[i].answer, &nulls[2]);
    values[3] = TextOrNull(states[i].sqlstate, &nulls[3]);
    tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
  }
  PG_RETURN_VOID();
}

Datum tp_vacuum_analyze_table(PG_FUNCTION_ARGS) {
  RequireArgument(PG_ARGISNULL(0), "table_name");
  const Oid table = DatumGetObjectId(DirectFunctionCall1(text_regclass, PG_GETARG_DATUM(0)));
  MaintenanceRequest request = RequestOf(RequestAction::kQueue, "vacuum_analyze", table);
  strlcpy(request.reason, "vacuum_analyze_table()", sizeof(request.reason));
  int count = 0;
  const State* states = AwaitStates(HomeOf(fcinfo), ArrayOf(Enqueue(request)), &count);
  if (count == 0) {
    ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("the maintenance job is gone")));
  }
  if (HasFailed(states[0])) RaiseFailure(states[0]);
  PG_RETURN_TEXT_P(cstring_to_text(states[0].answer));
}

Datum tp_cancel_maintenance_job(PG_FUNCTION_ARGS) {
  RequireArgument(PG_ARGISNULL(0), "job_id");
  MaintenanceRequest request = RequestOf(RequestAction::kCancel, "", InvalidOid);
  request.job_id = PG_GETARG_INT64(0);
  const int64 answer = Ask(request);
  if (answer == kNoSuchJob) {
    ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
                    errmsg("there is no maintenance job " INT64_FORMAT, request.job_id)));
  }
  if (answer == kNotAllowed) {
    ereport(
        ERROR,
        (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
         errmsg("permission denied to cancel maintenance job " INT64_FORMAT, request.job_id),
         errhint(
             "Whoever asked for it may, and the owners of the extension and of the database.")));
  }
  PG_RETURN_BOOL(answer == kCancelled);
}

// Between two looks there is no snapshot, which REINDEX CONCURRENTLY would wait for.
Datum tp_wait_for_maintenance(PG_FUNCTION_ARGS) {
  RequireArgument(PG_ARGISNULL(0), "job_id");
  RequireArgument(PG_ARGISNULL(1), "timeout");
  const bool is_atomic = fcinfo->context == nullptr || !IsA(fcinfo->context, CallContext) ||
                         reinterpret_cast<CallContext*>(fcinfo->context)->atomic;
  if (is_atomic) {
    ereport(ERROR, (errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
                    errmsg("wait_for_maintenance cannot run inside a transaction block"),
                    errdetail("The job may have to wait for the end of this transaction."),
                    errhint("CALL it by itself, or look at maintenance_status.")));
  }
  RequirePreload();
  PreventCommandDuringRecovery("maintenance");
  const int64 job_id = PG_GETARG_INT64(0);
  const TimestampTz deadline = DatumGetTimestampTz(DirectFunctionCall2(
      timestamptz_pl_interval, TimestampTzGetDatum(GetCurrentTimestamp()), PG_GETARG_DATUM(1)));
  const Home home = HomeOf(fcinfo);
  const MemoryContext step =
      AllocSetContextCreate(CurrentMemoryContext, "train_perf wait", ALLOCSET_DEFAULT_SIZES);
  const TimestampTz since = GetCurrentTimestamp();
  long step_ms = kFirstStepMs;
  for (;;) {
    int count = 0;
    MemoryContextReset(step);
    const MemoryContext outer = MemoryContextSwitchTo(step);
    const State* states = ReadStates(home, ArrayOf(job_id), &count);
    MemoryContextSwitchTo(outer);
    if (count == 0) {
      ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
                      errmsg("there is no maintenance job " INT64_FORMAT, job_id)));
    }
    if (HasEnded(states[0])) {
      NoteWaitForWork(GetCurrentTimestamp() - since);
      ereport(HasFailed(states[0]) ? WARNING : NOTICE, (errmsg("%s", states[0].answer)));
      PG_RETURN_VOID();
    }
    if (GetCurrentTimestamp() >= deadline) {
      ereport(ERROR,
              (errcode(ERRCODE_QUERY_CANCELED), errmsg("gave up waiting: %s", states[0].answer),
               errhint("The job goes on; cancel_maintenance_job() ends it.")));
    }
    if (SPI_connect_ext(SPI_OPT_NONATOMIC) != SPI_OK_CONNECT) elog(ERROR, "SPI_connect failed");
    SPI_commit();
    SPI_finish();
    Pause(&step_ms);
  }
}

Datum tp_is_maintenance_running(PG_FUNCTION_ARGS) { PG_RETURN_BOOL(IsAtWork(PG_GETARG_INT64(0))); }

Datum tp_maintenance_workers(PG_FUNCTION_ARGS) {
  static JobWorker workers[Board::kMostWorkers];
  InitMaterializedSRF(fcinfo, 0);
  auto* result = reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo);
  const int count = Preloaded() ? board->Workers(MyDatabaseId, workers) : 0;
  for (int i = 0; i < count; ++i) {
    if (workers[i].job_id == 0) continue;
    bool nulls[3] = {};
    Datum values[3] = {Int64GetDatum(workers[i].job_id), Int32GetDatum(workers[i].pid)};
    const char* waiting_for = workers[i].waiting_for;
    values[2] = TextOrNull(*waiting_for == '\0' ? nullptr : waiting_for, &nulls[2]);
    tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
  }
  PG_RETURN_VOID();
}

Datum tp_maintenance_requests(PG_FUNCTION_ARGS) {
  InitMaterializedSRF(fcinfo, 0);
  auto* result = reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo);
  if (!Preloaded()) PG_RETURN_VOID();
  MaintenanceRequest request;
  for (uint64 number = board->Take(MyDatabaseId, 0, &request); number != 0;
       number = board->Take(MyDatabaseId, number, &request)) {
    bool nulls[9] = {};
    const auto numeric = [](double value, bool* is_null) {
      *is_null = std::isnan(value);
      return *is_null ? Datum{0} : DirectFunctionCall1(float8_numeric, Float8GetDatum(value));
    };
    Datum values[9] = {
        Int64GetDatum(static_cast<int64>(number)),
        CStringGetTextDatum(request.action == RequestAction::kCancel ? "cancel" : "queue"),
        CStringGetTextDatum(request.kind), ObjectIdGetDatum(request.relation),
        ObjectIdGetDatum(request.role)};
    values[5] = numeric(request.threshold, &nulls[5]);
    values[6] = numeric(request.bloat_ratio, &nulls[6]);
    values[7] = Int64GetDatum(request.job_id);
    values[8] = CStringGetTextDatum(request.reason);
    tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
  }
  PG_RETURN_VOID();
}

Datum tp_answer_maintenance_request(PG_FUNCTION_ARGS) {
  if (PG_ARGISNULL(0)) PG_RETURN_BOOL(false);
  request_batch::Answer(static_cast<uint64>(PG_GETARG_INT64(0)),
                        PG_ARGISNULL(1) ? 0 : PG_GETARG_INT64(1));
  PG_RETURN_BOOL(true);
}

Datum tp_note_maintenance_due(PG_FUNCTION_ARGS) {
  if (PG_ARGISNULL(0)) PG_RETURN_BOOL(false);
  request_batch::SetDue(PG_GETARG_TIMESTAMPTZ(0));
  PG_RETURN_BOOL(true);
}

Datum tp_cancel_maintenance_worker(PG_FUNCTION_ARGS) {
  RequirePreload();
  const uint64 number = board->WorkerOn(MyDatabaseId, PG_GETARG_INT64(0));
  PG_RETURN_BOOL(number != 0 && board->Cancel(number, CancelReason::kUser, ""));
}

Datum tp_role_may_maintain(PG_FUNCTION_ARGS) {
  const char* kind = text_to_cstring(PG_GETARG_TEXT_PP(2));
  const bool is_index = strcmp(kind, "reindex") == 0 || strcmp(kind, "drop_index") == 0;
  PG_RETURN_BOOL(MayMaintain(PG_GETARG_OID(1), PG_GETARG_OID(0),
                             is_index ? MaintenanceKind::kReindex : MaintenanceKind::kVacuum));
}

Datum tp_is_maintenance_starved(PG_FUNCTION_ARGS) {
  (void)fcinfo;
  PG_RETURN_BOOL(Preloaded() && board->starved());
}

Datum tp_dropped_maintenance_requests(PG_FUNCTION_ARGS) {
  (void)fcinfo;
  RequirePreload();
  PG_RETURN_INT64(board->dropped());
}
