// The way of a statement through the server's hooks. docs/how-capture-works.md draws it.
//
// Every hook calls the one that was installed before it, whatever it does itself. Errors are seen
// by PG_CATCH in planner, executor and utility hooks (also those that nobody logs); errors of
// parsing, binding and committing only by emit_log_hook; the end of the session by both
// emit_log_hook and before_shmem_exit.

#include "capture/capture.hpp"
#include "capture/event_texts.hpp"
#include "capture/executions.hpp"
#include "capture/statement.hpp"
#include "core/sql_text.hpp"
#include "pg/clock.hpp"
#include "pg/settings.hpp"

extern "C" {
#include "access/parallel.h"
}

namespace train_perf {

StatementTable* statements = nullptr;
EventQueue* events = nullptr;

void RequirePreload() {
  if (Preloaded()) return;
  ereport(ERROR,
          (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("train_perf is not preloaded"),
           errhint("Add this line to postgresql.conf and restart the server: "
                   "shared_preload_libraries = 'train_perf'")));
}

namespace {

planner_hook_type previous_planner = nullptr;
ExecutorStart_hook_type previous_start = nullptr;
ExecutorRun_hook_type previous_run = nullptr;
ExecutorFinish_hook_type previous_finish = nullptr;
ExecutorEnd_hook_type previous_end = nullptr;
ProcessUtility_hook_type previous_utility = nullptr;
emit_log_hook_type previous_emit_log = nullptr;

// --- What this backend is doing ---------------------------------------------------------------

bool suppressed = false;
int nesting_level = 0;  // statements that run around the current one

// What a statement is to what it runs: around it, or only in its place (EXECUTE, FETCH, and
// DECLARE, which also says where in the string the cursor's query stands).
enum class Part { kAround, kVehicle, kDeclare };

// Something that runs right now; they lie on the C stack, innermost first.
struct Active {
  Active* outer;
  Statement* statement;      // nullptr: not recorded
  OpenExecution* execution;  // nullptr for planning and utility statements
  Part part;
  uint64 start_ns;
};
Active* active = nullptr;

uint64 last_end_ns = 0;   // when a client's statement was last recorded
StatementKey last_key{};  // which one
StatementSource last_source{};
StatementSource last_client_source{};  // of what the client sent to run it
TimestampTz last_statement_start = 0;  // and the start of the message that it came with
uint64 failures_recorded = 0;
bool error_is_recorded = false;  // the error that emit_log_hook will see next

struct {
  int sqlstate;
  char message[512];
  bool recorded;
} termination = {};

// The last planning of this backend, until an execution claims it.
struct {
  int64 query_id;
  TimestampTz message;
  uint64 ns;
} planning = {};

bool IsOn() noexcept {
  return settings::enabled && settings::track != settings::kTrackNone && !suppressed &&
         !IsParallelWorker() && OidIsValid(MyDatabaseId);
}

bool Tracks(int level) noexcept {
  return IsOn() && (level == 0 || settings::track == settings::kTrackAll);
}

// Deferred triggers fire at commit, when no statement runs: what they run no client sent.
int LevelNow() noexcept {
  if (nesting_level == 0 && DatumGetInt32(pg_trigger_depth(nullptr)) > 0) return 1;
  return nesting_level;
}

// Whatever else runs outside any portal is no client's either (triggers on login).
int ExecutorLevelNow() noexcept {
  if (nesting_level == 0 && ActivePortal == nullptr && MyBackendType == B_BACKEND) return 1;
  return LevelNow();
}

// The query of a cursor does not know where it stands in the string, its DECLARE does.
StatementSource SourceOf(const char* text, int location, int length) noexcept {
  const bool declared =
      active != nullptr && active->part == Part::kDeclare && active->statement != nullptr;
  if (!declared) return {text, location, length};
  const StatementSource& declare = active->statement->source;
  return {text, declare.location, declare.length};
}

Statement MakeStatement(int64 query_id, const StatementSource& source, int level, bool utility) {
  const StatementKey key{MyDatabaseId, GetUserId(), static_cast<uint64>(query_id), level == 0};
  return {key, source, query_id, utility};
}

void OnBackendExit(int code, Datum arg);

void WatchBackendExit() {
  static int watching_pid = 0;
  if (watching_pid == MyProcPid) return;
  watching_pid = MyProcPid;
  before_shmem_exit(OnBackendExit, 0);
}

void NoteEnd(const Statement& statement) noexcept {
  if (!statement.key.toplevel) return;
  last_end_ns = NowNs();
  last_key = statement.key;
  last_source = statement.source;
  const StatementSource* client = ClientSource();
  last_client_source = client != nullptr ? *client : statement.source;
  last_statement_start = GetCurrentStatementStartTimestamp();
}

// Time since the client's message arrived or the statement before it ended: for errors where
// nothing was being measured.
uint64 UnmeasuredNs() noexcept {
  const int64 us = GetCurrentTimestamp() - GetCurrentStatementStartTimestamp();
  const uint64 since_message = us > 0 ? static_cast<uint64>(us) * 1000 : 0;
  return last_end_ns == 0 ? since_message : Min(since_message, NowNs() - last_end_ns);
}

// --- Failures ---------------------------------------------------------------------------------

// Records the error that is being handled as the end of a statement; inside a PG_CATCH.
void RecordFailure(Statement* statement, Outcome outcome) {
  const MemoryContext outer = CurrentMemoryContext;
  outcome.execution.sqlstate = geterrcode();
  outcome.execution.rows = 0;
  if (LogsErrors()) outcome.error = CurrentError();
  RecordEnd(statement, outcome);
  MemoryContextSwitchTo(outer);
  ReleaseError();
  NoteEnd(*statement);
  ++failures_recorded;
  if (statement->key.toplevel) error_is_recorded = true;
}

void RecordFailureOf(Statement* statement, uint64 duration_ns,
                     const ParamListInfoData* params = nullptr) {
  Outcome outcome{};
  outcome.params = params;
  outcome.execution.duration_ns = duration_ns;
  outcome.execution.started = GetCurrentStatementStartTimestamp();
  RecordFailure(statement, outcome);
}

// Of all that the client sent in one string, the statement that an error is about: where it points
// to, else what follows the last one that ended, else the first. Empty if nothing follows.
std::string_view FailedText(const ErrorData& error, bool same_message) noexcept {
  if (debug_query_string == nullptr) return {};
  const std::string_view text(debug_query_string);
  if (error.cursorpos > 0) {
    return StatementAt(text, static_cast<size_t>(pg_mbcharcliplen(
                                 text.data(), static_cast<int>(text.size()), error.cursorpos - 1)));
  }
  if (!same_message || last_client_source.text != debug_query_string) return StatementAt(text, 0);
  if (last_client_source.length == 0) return {};
  const auto end =
      static_cast<size_t>(Max(last_client_source.location, 0) + last_client_source.length);
  return end < text.size() ? StatementAt(text, end + 1) : std::string_view();
}

// A statement that failed where no hook measured it: in parsing, binding or committing.
void RecordUnmeasured(const ErrorData& error) {
  Outcome outcome{};
  outcome.execution.duration_ns = UnmeasuredNs();
  outcome.execution.started = GetCurrentStatementStartTimestamp();
  outcome.execution.sqlstate = error.sqlerrcode;
  outcome.error = &error;
  const bool same_message = last_statement_start == GetCurrentStatementStartTimestamp() &&
                            last_key.database == MyDatabaseId;
  const std::string_view text = FailedText(error, same_message);
  Statement statement = MakeStatement(0, {}, 0, true);
  if (same_message && text.empty()) {  // the last statement has succeeded, and its commit failed
    statement.key = last_key;
    // After Sync the text is gone; then the table knows it.
    if (last_source.text == debug_query_string) statement.source = last_source;
    LogLateError(statement, outcome);
  } else if (!text.empty()) {
    const auto location = static_cast<int>(text.data() - debug_query_string);
    statement.source = {debug_query_string, location, static_cast<int>(text.size())};
    RecordEnd(&statement, outcome);
    NoteEnd(statement);
  }
}

// The session ends in the middle of statements: each has failed now.
void RecordTermination() {
  if (termination.recorded) return;
  termination.recorded = true;
  ErrorData error{};
  error.sqlerrcode = termination.sqlstate;
  error.message = termination.message;
  if (active == nullptr && debug_query_string != nullptr) RecordUnmeasured(error);
  for (; active != nullptr; active = active->outer) {
    if (active->statement == nullptr || active->part != Part::kAround) continue;
    Outcome outcome{};
    if (active->execution != nullptr) outcome = active->execution->outcome;
    outcome.execution.duration_ns += NowNs() - active->start_ns;
    outcome.execution.started = GetCurrentStatementStartTimestamp();
    outcome.execution.sqlstate = termination.sqlstate;
    outcome.error = &error;
    outcome.params = nullptr;
    RecordEnd(active->statement, outcome);
    if (active->execution != nullptr) active->execution->recorded = true;
  }
}

void OnBackendExit(int, Datum) {
  const bool in_statement = debug_query_string != nullptr && MyBackendType == B_BACKEND;
  if (active == nullptr && !in_statement) return;
  if (termination.sqlstate == 0) {
    termination.sqlstate = ERRCODE_ADMIN_SHUTDOWN;
    strlcpy(termination.message, "terminating connection", sizeof(termination.message));
  }
  if (IsOn()) RecordTermination();
}

void OnLogMessage(ErrorData* error) {
  static bool entered = false;
  if (previous_emit_log != nullptr) previous_emit_log(error);
  if (entered || error->elevel < ERROR || error->elevel >= PANIC || MyBackendType != B_BACKEND ||
      !IsOn())
    return;
  entered = true;
  if (error->elevel >= FATAL) {
    termination.sqlstate = error->sqlerrcode;
    strlcpy(termination.message, error->message != nullptr ? error->message : "",
            sizeof(termination.message));
    if (active != nullptr || debug_query_string != nullptr) RecordTermination();
  } else if (!error_is_recorded && active == nullptr) {
    RecordUnmeasured(*error);
  }
  error_is_recorded = false;
  entered = false;
}

// Calls run() as what runs right now, one level deeper unless it is a vehicle. After an error
// everything is as before, fail() is called and the error goes on. Returns when run() began.
template <typename Run, typename Fail>
[[gnu::noinline]] uint64 Nest(Statement* statement, OpenExecution* execution, Part part, Run&& run,
                              Fail&& fail) {
  Active self{active, statement, execution, part, statement != nullptr ? NowNs() : 0};
  const int level = nesting_level;
  active = &self;
  if (part == Part::kAround) ++nesting_level;
  PG_TRY();
  { run(); }
  PG_CATCH();
  {
    nesting_level = level;
    active = self.outer;
    fail(self.start_ns);
    PG_RE_THROW();
  }
  PG_END_TRY();
  nesting_level = level;
  active = self.outer;
  return self.start_ns;
}

// --- Planner ----------------------------------------------------------------------------------

PlannedStmt* OnPlan(Query* parse, const char* query_string, int cursor_options,
                    ParamListInfo params) {
  const int level = LevelNow();
  const bool tracked = Tracks(level);
  if (tracked) WatchBackendExit();
  Statement statement =
      MakeStatement(static_cast<int64>(parse->queryId),
                    SourceOf(query_string, parse->stmt_location, parse->stmt_len), level, false);
  PlannedStmt* plan = nullptr;
  const auto run = [&] {
    plan = previous_planner != nullptr
               ? previous_planner(parse, query_string, cursor_options, params)
               : standard_planner(parse, query_string, cursor_options, params);
  };
  // Functions that the planner evaluates are nested in the statement.
  const uint64 start_ns =
      Nest(tracked ? &statement : nullptr, nullptr, Part::kAround, run, [&](uint64 begun) {
        if (tracked) RecordFailureOf(&statement, NowNs() - begun, params);
      });
  if (!tracked) return plan;
  planning = {static_cast<int64>(parse->queryId), GetCurrentStatementStartTimestamp(),
              NowNs() - start_ns};
  if (settings::track_planning && Identify(&statement)) {
    statements->RecordPlanning(statement.key, statement.source, planning.ns);
  }
  return plan;
}

uint64 ClaimPlanning(int64 query_id) noexcept {
  const bool same = query_id != 0 && planning.query_id == query_id &&
                    planning.message == GetCurrentStatementStartTimestamp();
  const uint64 ns = same ? planning.ns : 0;
  planning = {};
  return ns;
}

// --- Executor ---------------------------------------------------------------------------------

void Start(QueryDesc* query, int flags) {
  if (previous_start != nullptr) {
    previous_start(query, flags);
  } else {
    standard_ExecutorStart(query, flags);
  }
}

void OnExecutorStart(QueryDesc* query, int flags) {
  const int level = ExecutorLevelNow();
  const PlannedStmt* plan = query->plannedstmt;
  Statement statement =
      MakeStatement(QueryIdOf(plan),
                    SourceOf(query->sourceText, plan->stmt_location, plan->stmt_len), level, false);
  const bool tracked =
      Tracks(level) && (flags & EXEC_FLAG_EXPLAIN_ONLY) == 0 && Identify(&statement);
  if (tracked) WatchBackendExit();
  // Functions that partition pruning evaluates are nested in the statement.
  Nest(
      tracked ? &statement : nullptr, nullptr, Part::kAround, [&] { Start(query, flags); },
      [&](uint64 begun) {
        if (tracked) RecordFailureOf(&statement, NowNs() - begun, query->params);
      });
  if (!tracked) return;
  OpenExecution* execution = executions::Open(query, statement);
  if (execution != nullptr) execution->outcome.plan_ns = ClaimPlanning(QueryIdOf(plan));
}

void RecordSuccess(OpenExecution* execution) {
  Outcome outcome = execution->outcome;
  outcome.query = execution->query;  // alive now, which it need not be at an abort
  RecordEnd(&execution->statement, outcome);
  execution->recorded = true;
  NoteEnd(execution->statement);
}

// A read that ran to its end is over, although its portal may live on until the client's next
// message. Anything else may still have triggers to fire.
bool IsOver(const QueryDesc* query, ScanDirection direction, uint64 count) noexcept {
  return query->operation == CMD_SELECT && !query->plannedstmt->hasModifyingCTE && count == 0 &&
         ScanDirectionIsForward(direction);
}

void Run(TRAIN_PERF_RUN_PARAMS) {
  if (previous_run != nullptr) {
    previous_run(TRAIN_PERF_RUN_ARGS);
  } else {
    standard_ExecutorRun(TRAIN_PERF_RUN_ARGS);
  }
}

// Calls run() and adds what it took to the execution, which may be nullptr.
template <typename Run>
void Measure(OpenExecution* execution, Run&& run) {
  const Usage before = execution != nullptr ? Usage::Now() : Usage{};
  Statement* statement = execution != nullptr ? &execution->statement : nullptr;
  const uint64 start_ns = Nest(statement, execution, Part::kAround, run, [&](uint64 begun) {
    if (execution == nullptr) return;
    execution->outcome.AddPiece(before, begun);
    if (!execution->recorded) RecordFailure(&execution->statement, execution->outcome);
    executions::Close(execution);
  });
  if (execution == nullptr) return;
  execution->outcome.AddPiece(before, start_ns);
  execution->ran = true;
}

// A client's FETCH from a cursor that a function opened: from here on it is the client's.
OpenExecution* TakeOver(QueryDesc* query) noexcept {
  const bool fetched =
      active != nullptr && active->part == Part::kVehicle && active->statement != nullptr;
  if (!fetched) return nullptr;
  const PlannedStmt* plan = query->plannedstmt;
  Statement statement = MakeStatement(
      QueryIdOf(plan), {query->sourceText, plan->stmt_location, plan->stmt_len}, LevelNow(), false);
  return Identify(&statement) ? executions::Open(query, statement) : nullptr;
}

void OnExecutorRun(TRAIN_PERF_RUN_PARAMS) {
  OpenExecution* execution = executions::Find(query_desc);
  if (execution == nullptr) execution = TakeOver(query_desc);
  if (execution != nullptr && execution->recorded && ScanDirectionIsNoMovement(direction)) {
    Measure(nullptr, [&] { Run(TRAIN_PERF_RUN_ARGS); });
    return;
  }
  if (execution != nullptr && execution->recorded) {  // rewound and run again: another execution
    execution->recorded = false;
    execution->outcome.execution = {};
    execution->outcome.execution.started = GetCurrentStatementStartTimestamp();
    execution->outcome.plan_ns = 0;
  }
  Measure(execution, [&] { Run(TRAIN_PERF_RUN_ARGS); });
  if (execution == nullptr) return;
  execution->outcome.execution.rows += query_desc->estate->es_processed;
  if (IsOver(query_desc, direction, count)) {
    RecordSuccess(execution);
  } else if (count != 0) {  // a cursor may be ended by an abort, when its text is gone
    statements->Remember(execution->statement.key, execution->statement.source);
  }
}

void Finish(QueryDesc* query) {
  if (previous_finish != nullptr) {
    previous_finish(query);
  } else {
    standard_ExecutorFinish(query);
  }
}

void OnExecutorFinish(QueryDesc* query) {
  OpenExecution* execution = executions::Find(query);
  if (execution != nullptr && execution->recorded) execution = nullptr;
  Measure(execution, [&] { Finish(query); });
}

void OnExecutorEnd(QueryDesc* query) {
  OpenExecution* execution = executions::Find(query);
  if (execution != nullptr) {
    if (execution->ran && !execution->recorded) RecordSuccess(execution);
    executions::Close(execution);
  }
  if (previous_end != nullptr) {
    previous_end(query);
  } else {
    standard_ExecutorEnd(query);
  }
}

// --- Utility statements -----------------------------------------------------------------------

// In place of a vehicle what it runs is recorded, itself only if it fails before that.
Part PartOf(const Node* statement) noexcept {
  switch (nodeTag(statement)) {
    case T_ExecuteStmt:
    case T_FetchStmt:
      return Part::kVehicle;
    case T_DeclareCursorStmt:
      return Part::kDeclare;
    default:
      return Part::kAround;
  }
}

uint64 RowsOf(const QueryCompletion* completion) noexcept {
  if (completion == nullptr) return 0;
  switch (completion->commandTag) {
    case CMDTAG_COPY:
    case CMDTAG_SELECT:
    case CMDTAG_REFRESH_MATERIALIZED_VIEW:
      return completion->nprocessed;
    default:
      return 0;
  }
}

void RunUtility(PlannedStmt* plan, const char* query_string, bool read_only_tree,
                ProcessUtilityContext context, ParamListInfo params, QueryEnvironment* environment,
                DestReceiver* dest, QueryCompletion* completion) {
  if (previous_utility != nullptr) {
    previous_utility(plan, query_string, read_only_tree, context, params, environment, dest,
                     completion);
  } else {
    standard_ProcessUtility(plan, query_string, read_only_tree, context, params, environment, dest,
                            completion);
  }
}

void OnUtility(PlannedStmt* plan, const char* query_string, bool read_only_tree,
               ProcessUtilityContext context, ParamListInfo params, QueryEnvironment* environment,
               DestReceiver* dest, QueryCompletion* completion) {
  const auto run = [&] {
    RunUtility(plan, query_string, read_only_tree, context, params, environment, dest, completion);
  };
  const Part part = PartOf(plan->utilityStmt);
  const int level = LevelNow();
  const bool visible = Tracks(level);
  const bool tracked = visible && settings::track_utility;
  // The plan may be gone afterwards (ROLLBACK): what is needed of it is copied before.
  Statement statement =
      MakeStatement(0, {query_string, plan->stmt_location, plan->stmt_len}, level, true);
  if (visible) WatchBackendExit();
  const Usage before = Usage::Now();
  const uint64 failures_before = failures_recorded;
  const uint64 start_ns =
      Nest(visible ? &statement : nullptr, nullptr, part, run, [&](uint64 begun) {
        if (part != Part::kAround && failures_recorded != failures_before) return;
        if (tracked) RecordFailureOf(&statement, NowNs() - begun, params);
        if (visible && level == 0) error_is_recorded = true;  // or is not wanted
      });
  if (!tracked || part != Part::kAround) return;
  Outcome outcome{};
  outcome.AddPiece(before, start_ns);
  outcome.execution.started = GetCurrentStatementStartTimestamp();
  outcome.execution.rows = RowsOf(completion);
  RecordEnd(&statement, outcome);
  NoteEnd(statement);
}

// --- Transactions -----------------------------------------------------------------------------

void OnTransactionEnd(XactEvent event, void*) {
  switch (event) {
    case XACT_EVENT_ABORT:
      error_is_recorded = false;
      executions::CloseAll(true);
      break;
    case XACT_EVENT_COMMIT:
    case XACT_EVENT_PREPARE:
      executions::CloseAll(false);
      break;
    default:
      break;
  }
}

void OnSubTransactionEnd(SubXactEvent event, SubTransactionId self, SubTransactionId parent,
                         void*) {
  if (event == SUBXACT_EVENT_ABORT_SUB) {
    error_is_recorded = false;
    executions::CloseOf(self);
  } else if (event == SUBXACT_EVENT_COMMIT_SUB) {
    executions::HandOver(self, parent);
  }
}

template <typename Hook>
void Install(Hook* slot, Hook* previous, Hook ours) {
  *previous = *slot;
  *slot = ours;
}

}  // namespace

const StatementSource* ClientSource() noexcept {
  const StatementSource* source = nullptr;
  for (const Active* running = active; running != nullptr; running = running->outer) {
    if (running->statement != nullptr) source = &running->statement->source;
  }
  return source;
}

void SuppressCapture() noexcept { suppressed = true; }

void InstallCapture() {
  EnableQueryId();
  ReserveErrorMemory();
  Install<planner_hook_type>(&planner_hook, &previous_planner, OnPlan);
  Install<ExecutorStart_hook_type>(&ExecutorStart_hook, &previous_start, OnExecutorStart);
  Install<ExecutorRun_hook_type>(&ExecutorRun_hook, &previous_run, OnExecutorRun);
  Install<ExecutorFinish_hook_type>(&ExecutorFinish_hook, &previous_finish, OnExecutorFinish);
  Install<ExecutorEnd_hook_type>(&ExecutorEnd_hook, &previous_end, OnExecutorEnd);
  Install<ProcessUtility_hook_type>(&ProcessUtility_hook, &previous_utility, OnUtility);
  Install<emit_log_hook_type>(&emit_log_hook, &previous_emit_log, OnLogMessage);
  RegisterXactCallback(OnTransactionEnd, nullptr);
  RegisterSubXactCallback(OnSubTransactionEnd, nullptr);
}

}  // namespace train_perf
