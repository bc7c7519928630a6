#include "maintenance/job_worker.hpp"

#include <csignal>
#include <string_view>

#include "capture/capture.hpp"
#include "core/vacuum_report.hpp"
#include "maintenance/board.hpp"
#include "pg/own_extension.hpp"
#include "pg/settings.hpp"

extern "C" {
#include "catalog/pg_authid.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_type.h"
#include "nodes/pg_list.h"
#include "parser/analyze.h"
#include "postmaster/interrupt.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/timeout.h"
}

namespace train_perf {

namespace {

constexpr int64 kFailurePauseUs = 10 * USECS_PER_SEC;
constexpr int kFinishAttempts = 20;
constexpr int kMostMessage = 1000;   // bytes kept of what a statement says
constexpr int kMostWarnings = 2000;  // and of all its warnings, but for the last one

int place = -1;
OwnExtension extension;
MemoryContext job_context;  // for what one transaction leaves to the next
volatile sig_atomic_t in_command = 0;
emit_log_hook_type previous_log = nullptr;
planner_hook_type previous_planner = nullptr;

struct Job {
  int64 id;
  Oid role;
  bool is_first_attempt;
};

struct Plan {
  const char* skip;
  const char* obstacle;
  const char* obstacle_sqlstate;
  List* commands;  // of char*
  bool repeat;
};

struct Result {
  const char* outcome;  // succeeded, failed, skipped or cancelled
  const char* sqlstate;
  const char* message;
  const char* waiting_for;
  int64 rows;  // that a repeated statement processed
};

// What the statements say.
VacuumReport report;
StringInfoData warnings;

// --- Our functions, as the owner of the extension ------------------------------------------------

char* Keep(const char* text) {
  return text == nullptr ? nullptr : MemoryContextStrdup(job_context, text);
}

// Code of users may say anything at any length.
int ClippedLength(const char* message) {
  return pg_mbcliplen(message, static_cast<int>(strlen(message)), kMostMessage);
}

char* Column(int number) {
  if (SPI_processed == 0) return nullptr;
  return Keep(SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, number));
}

void RunQuery(const char* sql, int count, Oid* types, Datum* values, const char* nulls) {
  if (SPI_connect() != SPI_OK_CONNECT) elog(ERROR, "SPI_connect failed");
  if (SPI_execute_with_args(sql, count, types, values, nulls, false, 0) < 0)
    elog(ERROR, "a query of train_perf failed: %s", sql);
}

const char* CallOf(const char* function) {
  return psprintf("SELECT * FROM %s.%s", QuotedSchema(extension), function);
}

// One worker of a database at a time: of two that look at once, each would miss that the other
// takes a job on the same table.
void LockClaims() {
  LockDatabaseObject(ExtensionRelationId, get_extension_oid("train_perf", true), 0,
                     ShareUpdateExclusiveLock);
}

// The next job that is due, noted on the board before others can see that it is running.
bool Claim(Job* job) {
  const OwnerTransaction transaction = BeginAsOwner(extension);
  LockClaims();
  RunQuery(CallOf("claim_maintenance_job()"), 0, nullptr, nullptr, nullptr);
  const char* id = Column(1);
  if (id != nullptr) {
    job->id = strtoll(id, nullptr, 10);
    job->role = static_cast<Oid>(strtoul(Column(2), nullptr, 10));
    job->is_first_attempt = strcmp(Column(3), "1") == 0;
    board->SetJob(place, job->id);
  }
  SPI_finish();
  CommitAsOwner(transaction);
  return id != nullptr;
}

TimestampTz NextDue() {
  TimestampTz due = DT_NOEND;
  const OwnerTransaction transaction = BeginAsOwner(extension);
  RunQuery(CallOf("next_maintenance_due()"), 0, nullptr, nullptr, nullptr);
  bool is_null = true;
  const Datum value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &is_null);
  if (!is_null) due = DatumGetTimestampTz(value);
  SPI_finish();
  CommitAsOwner(transaction);
  return due;
}

List* KeepTexts(Datum array) {
  Datum* items = nullptr;
  int count = 0;
  deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT, &items, nullptr,
                    &count);
  const MemoryContext outer = MemoryContextSwitchTo(job_context);
  List* texts = NIL;
  for (int i = 0; i < count; ++i) texts = lappend(texts, TextDatumGetCString(items[i]));
  MemoryContextSwitchTo(outer);
  return texts;
}

Plan MakePlan(const Job& job) {
  Oid types[] = {INT8OID};
  Datum values[] = {Int64GetDatum(job.id)};
  Plan plan{};
  const OwnerTransaction transaction = BeginAsOwner(extension);
  RunQuery(CallOf("plan_maintenance_job($1)"), 1, types, values, nullptr);
  plan.skip = Column(1);
  plan.obstacle = Column(2);
  plan.obstacle_sqlstate = Column(3);
  if (SPI_processed == 1) {
    bool is_null = true;
    const HeapTuple row = SPI_tuptable->vals[0];
    const Datum commands = SPI_getbinval(row, SPI_tuptable->tupdesc, 4, &is_null);
    if (!is_null) plan.commands = KeepTexts(commands);
    const Datum repeat = SPI_getbinval(row, SPI_tuptable->tupdesc, 5, &is_null);
    plan.repeat = !is_null && DatumGetBool(repeat);
  }
  SPI_finish();
  CommitAsOwner(transaction);
  return plan;
}

void WriteEnd(const Job& job, const Result& result, int64 duration_ms) {
  constexpr int kCount = 11;
  const auto text = [](const char* value) {
    return value == nullptr ? Datum{0} : CStringGetTextDatum(value);
  };
  Oid types[kCount] = {INT8OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT8OID,
                       INT8OID, INT8OID, INT8OID, INT8OID, TEXTOID};
  const OwnerTransaction transaction = BeginAsOwner(extension);
  Datum values[kCount] = {Int64GetDatum(job.id),
                          text(result.outcome),
                          text(result.sqlstate),
                          text(result.message),
                          text(result.waiting_for),
                          Int64GetDatum(duration_ms),
                          Int64GetDatum(report.pages),
                          Int64GetDatum(report.pages_removed),
                          Int64GetDatum(report.found ? report.rows_removed : result.rows),
                          Int64GetDatum(report.rows_kept),
                          text(warnings.data)};
  char nulls[kCount];
  for (int i = 0; i < kCount; ++i) nulls[i] = types[i] == TEXTOID && values[i] == 0 ? 'n' : ' ';
  if (!report.found && result.rows == 0) nulls[8] = 'n';
  RunQuery(CallOf("finish_maintenance_job($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"), kCount,
           types, values, nulls);
  SPI_finish();
  CommitAsOwner(transaction);
}

// --- The statements, as the role that asked
// -------------------------------------------------------

// What the server tells a client is kept from its log: it is ours to tell. LOG is not: it has what
// the settings of the server ask for, or an extension that audits.
void OnLog(ErrorData* message) {
  if (in_command != 0 && message->elevel < ERROR && message->message != nullptr) {
    AddVacuumMessage(message->message, &report);
    if (message->elevel == WARNING && warnings.len < kMostWarnings) {
      if (warnings.len > 0) appendStringInfoString(&warnings, "; ");
      appendBinaryStringInfo(&warnings, message->message, ClippedLength(message->message));
    }
    if (message->elevel == INFO || message->elevel == NOTICE) message->output_to_server = false;
  }
  if (previous_log != nullptr) previous_log(message);
}

// A parallel worker of ours would be a session of the superuser, where a function could set
// session_authorization: code of users runs in this process only.
PlannedStmt* PlanWithoutWorkers(Query* query, const char* sql, int options, ParamListInfo params) {
  options &= ~CURSOR_OPT_PARALLEL_OK;
  return previous_planner != nullptr ? previous_planner(query, sql, options, params)
                                     : standard_planner(query, sql, options, params);
}

// A top-level statement by itself, as VACUUM and REINDEX CONCURRENTLY demand. Returns the rows that
// it processed.
uint64 RunStatement(const char* sql) {
  const MemoryContext outer = CurrentMemoryContext;
  debug_query_string = sql;
  pgstat_report_activity(STATE_RUNNING, sql);
  SetCurrentStatementStartTimestamp();
  StartTransactionCommand();
  // The parse tree outlives the transactions that the statement ends.
  const MemoryContext context =
      AllocSetContextCreate(job_context, "train_perf statement", ALLOCSET_DEFAULT_SIZES);
  MemoryContextSwitchTo(context);
  RawStmt* raw = linitial_node(RawStmt, pg_parse_query(sql));
  const bool needs_snapshot = analyze_requires_snapshot(raw);
  if (needs_snapshot) PushActiveSnapshot(GetTransactionSnapshot());
  List* queries = pg_analyze_and_rewrite_fixedparams(raw, sql, nullptr, 0, nullptr);
  List* plans = pg_plan_queries(queries, sql, 0, nullptr);
  if (needs_snapshot) PopActiveSnapshot();
  Portal portal = CreatePortal("", true, true);
  portal->visible = false;
  PortalDefineQuery(portal, nullptr, sql, CreateCommandTag(raw->stmt), plans, nullptr);
  PortalStart(portal, nullptr, 0, InvalidSnapshot);
  QueryCompletion completion;
  InitializeQueryCompletion(&completion);
  RunPortal(portal, &completion);
  PortalDrop(portal, false);
  CommitTransactionCommand();
  MemoryContextSwitchTo(outer);
  MemoryContextDelete(context);
  debug_query_string = nullptr;
  pgstat_report_stat(true);
  return completion.nprocessed;
}

bool IsSuperuser(Oid role) {
  StartTransactionCommand();
  const bool is_superuser = superuser_arg(role);
  CommitTransactionCommand();
  return is_superuser;
}

// Counts the rows as they go: those of an attempt that fails stay processed.
void RunCommands(const Plan& plan, int64* rows) {
  uint64 processed = 0;
  ListCell* cell = nullptr;
  foreach (cell, plan.commands) {
    CHECK_FOR_INTERRUPTS();
    processed = RunStatement(static_cast<const char*>(lfirst(cell)));
  }
  while (plan.repeat && processed > 0) {
    *rows += static_cast<int64>(processed);
    CHECK_FOR_INTERRUPTS();
    processed = RunStatement(static_cast<const char*>(llast(plan.commands)));
  }
}

// A role that is set, by the database or by code of users, would outlive the change.
void Become(Oid role, bool is_superuser) {
  SetConfigOption("role", "none", PGC_SUSET, PGC_S_SESSION);
  SetSessionAuthorization(role, is_superuser);
}

// What code of users has set, up to default_transaction_read_only, goes with their rights.
void BecomeSuperuser() {
  Become(BOOTSTRAP_SUPERUSERID, true);
  ResetAllOptions();
}

// --- The job -----------------------------------------------------------------------------------

void NoteError(Result* result) {
  const MemoryContext outer = MemoryContextSwitchTo(job_context);
  ErrorData* error = CopyErrorData();
  MemoryContextSwitchTo(outer);
  result->outcome = "failed";
  result->sqlstate = Keep(unpack_sql_state(error->sqlerrcode));
  result->message = error->message;
  if (error->message != nullptr) error->message[ClippedLength(error->message)] = '\0';
  if (error->sqlerrcode == ERRCODE_QUERY_CANCELED) result->outcome = "cancelled";
}

// A cancelled statement fails in the words of what was in its way.
void ExplainCancel(CancelReason reason, const char* waiting_for, Result* result) {
  const MemoryContext outer = MemoryContextSwitchTo(job_context);
  switch (reason) {
    case CancelReason::kNone:
      break;
    case CancelReason::kUser:
      result->outcome = "cancelled";
      result->sqlstate = "57014";
      result->message = "cancelled on request";
      break;
    case CancelReason::kLockTimeout:
      result->outcome = "failed";
      result->sqlstate = "55P03";
      result->message = psprintf("could not get a lock within %d ms: %s",
                                 settings::maintenance_lock_timeout_ms, waiting_for);
      break;
    case CancelReason::kDrainTimeout:
      result->outcome = "failed";
      result->sqlstate = "55P03";
      result->message = psprintf("older transactions did not end within %d s: %s",
                                 settings::maintenance_drain_timeout_ms / 1000, waiting_for);
      break;
    case CancelReason::kJobTimeout:
      result->outcome = "failed";
      result->sqlstate = "57014";
      result->message = psprintf("took longer than maintenance_job_timeout, %d s",
                                 settings::maintenance_job_timeout_ms / 1000);
      break;
    case CancelReason::kGaveWay:
      result->outcome = "failed";
      result->sqlstate = "57014";
      result->message = psprintf("gave way to %s", waiting_for);
      break;
  }
  if (reason != CancelReason::kNone && reason != CancelReason::kUser && *waiting_for != '\0')
    result->waiting_for = Keep(waiting_for);
  MemoryContextSwitchTo(outer);
}

bool IsCancelled(const Result& result) noexcept {
  return result.sqlstate != nullptr && strcmp(result.sqlstate, "57014") == 0;
}

bool HasFailed(const Result& result) noexcept { return strcmp(result.outcome, "failed") == 0; }

Result SkippedOrHindered(const Plan& plan) {
  if (plan.skip != nullptr) return {"skipped", nullptr, plan.skip, nullptr, 0};
  const char* code = plan.obstacle_sqlstate;
  const bool may_pass = code != nullptr && strncmp(code, "55", 2) == 0;
  return {"failed", code, plan.obstacle, may_pass ? plan.obstacle : nullptr, 0};
}

// Whether it waits for the end of transactions.
bool Drains(const Plan& plan) {
  ListCell* cell = nullptr;
  foreach (cell, plan.commands) {
    const std::string_view command = static_cast<const char*>(lfirst(cell));
    if (command.starts_with("REINDEX INDEX CONCURRENTLY ") ||
        command.starts_with("DROP INDEX CONCURRENTLY "))
      return true;
  }
  return false;
}

Result Perform(const Job& job) {
  volatile bool commanding = false;
  Result result{"succeeded", nullptr, nullptr, nullptr, 0};
  PG_TRY();
  {
    const Plan plan = MakePlan(job);
    if (plan.skip != nullptr || plan.obstacle != nullptr) {
      result = SkippedOrHindered(plan);
    } else {
      const bool is_superuser = IsSuperuser(job.role);
      commanding = true;
      in_command = 1;
      const bool drains = Drains(plan);
      board->BeginCommand(
          place, {settings::maintenance_lock_timeout_ms, settings::maintenance_drain_timeout_ms,
                  settings::maintenance_job_timeout_ms, drains, drains && job.is_first_attempt});
      // The launcher watches, with a budget for each kind of wait.
      SetConfigOption("lock_timeout", "0", PGC_SUSET, PGC_S_SESSION);
      Become(job.role, is_superuser);
      RunCommands(plan, &result.rows);
    }
  }
  PG_CATCH();
  {
    MemoryContextSwitchTo(job_context);
    HOLD_INTERRUPTS();
    NoteError(&result);
    AbortCurrentTransaction();
    FlushErrorState();
    RESUME_INTERRUPTS();
  }
  PG_END_TRY();
  MemoryContextSwitchTo(job_context);
  debug_query_string = nullptr;
  char waiting_for[160];
  const CancelReason reason = board->EndCommand(place, &waiting_for);
  in_command = 0;
  QueryCancelPending = false;
  if (commanding) {
    BecomeSuperuser();
    ResetAllOptions();  // to what PinSettings() has set, whatever code of users made of them
  }
  if (IsCancelled(result) || (HasFailed(result) && reason == CancelReason::kUser))
    ExplainCancel(reason, waiting_for, &result);
  return result;
}

// In a catch block: the error goes to the server's log, its transaction ends.
void ReportAndAbort() {
  MemoryContextSwitchTo(job_context);
  HOLD_INTERRUPTS();
  EmitErrorReport();
  AbortCurrentTransaction();
  FlushErrorState();
  RESUME_INTERRUPTS();
}

bool TryWriteEnd(const Job& job, const Result& result, int64 duration_ms) {
  volatile bool written = false;
  PG_TRY();
  {
    WriteEnd(job, result, duration_ms);
    written = true;
  }
  PG_CATCH();
  { ReportAndAbort(); }
  PG_END_TRY();
  MemoryContextSwitchTo(job_context);
  return written;
}

bool IsSameExtension() {
  OwnExtension now{};
  return FindOwnExtension(&now) && now.oid == extension.oid;
}

// What cannot be written, the collector takes for the end of a worker that was killed.
void Finish(const Job& job, const Result& result, TimestampTz started) {
  const int64 duration_ms = TimestampDifferenceMilliseconds(started, GetCurrentTimestamp());
  for (int i = 0; i < kFinishAttempts; ++i) {
    if (!IsSameExtension() || TryWriteEnd(job, result, duration_ms)) return;
    WaitLatch(MyLatch, WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 1000, PG_WAIT_EXTENSION);
    CHECK_FOR_INTERRUPTS();
  }
}

// --- The worker --------------------------------------------------------------------------------

void OnCancel(SIGNAL_ARGS) {
  if (in_command != 0 || get_timeout_indicator(LOCK_TIMEOUT, false))
    StatementCancelHandler(postgres_signal_arg);
}

void OnWorkerExit(int, Datum) { board->Leave(place); }

// What settings of the database could break.
void PinSettings() {
  const struct {
    const char* name;
    const char* value;
  } pinned[] = {
      {"search_path", "pg_catalog, pg_temp"},
      {"lock_timeout", "2s"},  // of our own transactions
      {"statement_timeout", "0"},
      {"idle_in_transaction_session_timeout", "0"},
      {"default_transaction_read_only", "off"},
      {"default_transaction_isolation", "read committed"},
      {"default_transaction_deferrable", "off"},
      {"session_replication_role", "origin"},
      {"row_security", "on"},
      {"synchronous_commit", "local"},  // no standby that is away keeps jobs from ending
      {"application_name", "train_perf maintenance"},
      {"DateStyle", "ISO"},
      {"lc_messages", "C"},
      {"log_min_messages", "info"},
      TRAIN_PERF_TRANSACTION_TIMEOUT{"log_min_error_statement", "panic"},
  };
  for (const auto& setting : pinned)
    SetConfigOption(setting.name, setting.value, PGC_SUSET, PGC_S_OVERRIDE);
  BecomeSuperuser();
  ForbidSetting("session_authorization");
}

bool ClaimOrNote(Oid database, Job* job) {
  volatile bool claimed = false;
  const uint64 looks = board->Looks(database);
  PG_TRY();
  {
    claimed = Claim(job);
    if (claimed) {
      board->SetDueUnlessChanged(database, GetCurrentTimestamp(), looks);  // perhaps another
    } else {
      const TimestampTz next = NextDue();
      const TimestampTz now = GetCurrentTimestamp();
      // What is due and yet held up by another job is looked at when that one ends.
      board->SetDueUnlessChanged(database, next > now ? next : now + kFailurePauseUs, looks);
    }
  }
  PG_CATCH();
  {
    ReportAndAbort();
    board->SetJob(place, 0);
    board->SetDueUnlessChanged(database, GetCurrentTimestamp() + kFailurePauseUs, looks);
  }
  PG_END_TRY();
  MemoryContextSwitchTo(job_context);
  return claimed;
}

}  // namespace

void RunJobWorker(int at_place, bool (*may_work_in)(Oid database)) {
  place = at_place;
  const Oid database = board->Enter(place);
  if (!OidIsValid(database)) proc_exit(0);
  before_shmem_exit(OnWorkerExit, 0);
  // DROP DATABASE ends the workers that it sees; the others see it.
  if (!may_work_in(database)) proc_exit(0);
  pqsignal(SIGTERM, die);
  pqsignal(SIGINT, OnCancel);
  BackgroundWorkerUnblockSignals();
  BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
  SuppressCapture();
  PinSettings();
  previous_log = emit_log_hook;
  emit_log_hook = OnLog;
  previous_planner = planner_hook;
  planner_hook = PlanWithoutWorkers;
  job_context = AllocSetContextCreate(TopMemoryContext, "train_perf job", ALLOCSET_DEFAULT_SIZES);
  MemoryContextSwitchTo(job_context);
  initStringInfo(&warnings);
  if (!FindOwnExtension(&extension)) proc_exit(0);
  Job job{};
  if (!board->MayStay(place, settings::maintenance_workers) || !ClaimOrNote(database, &job))
    proc_exit(0);
  const TimestampTz started = GetCurrentTimestamp();
  const Result result = Perform(job);
  Finish(job, result, started);
  proc_exit(0);
}

}  // namespace train_perf
