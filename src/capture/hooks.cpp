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
BackendBuffers* buffers = nullptr;
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
bool records = false;
bool is_client_backend = false;  // if it records
int nesting_level = 0;           // statements that run around the current one
Frame* active = nullptr;

uint64 last_end_ns = 0;   // when a client's statement was last recorded
StatementKey last_key{};  // which one
StatementSource last_source{};
StatementSource last_client_source{};  // of what the client sent to run it
TimestampTz last_statement_start = 0;  // and the start of the message that it came with
uint64 failures_recorded = 0;
bool error_is_recorded = false;       // the error that emit_log_hook will see next
const ErrorData* reported = nullptr;  // the error that emit_log_hook sees now

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

void OnBackendExit(int code, Datum arg);

// Decides once that this process records what it runs.
[[gnu::noinline]] bool MayRecord() noexcept {
  if (suppressed || IsParallelWorker() || !OidIsValid(MyDatabaseId)) return false;
  records = true;
  is_client_backend = MyBackendType == B_BACKEND;
  before_shmem_exit(OnBackendExit, 0);
  return true;
}

bool IsOn() noexcept {
  return settings::enabled && settings::track != settings::kTrackNone && (records || MayRecord());
}

bool Tracks(int level) noexcept {
  return IsOn() && (level == 0 || settings::track == settings::kTrackAll);
}

// Deferred triggers fire at commit, when no statement runs: what they run no client sent.
int LevelNow() noexcept {
  if (nesting_level == 0 && DatumGetInt32(pg_trigger_depth(nullptr)) > 0) return 1;
  return nesting_level;
}

// Whatever else runs outside any portal is no client's either (triggers on login), nor what EXECUTE
// runs before its own query, for its parameters.
int ExecutorLevelNow() noexcept {
  if (nesting_level > 0) return nesting_level;
  if (ActivePortal == nullptr) return MyBackendType == B_BACKEND ? 1 : LevelNow();
  return active != nullptr && active->part == Part::kVehicle && active->portal == ActivePortal ? 1
                                                                                               : 0;
}

// The query of a cursor does not know where it stands in the string, its DECLARE does.
void SourceInDeclare(StatementSource* source) noexcept {
  if (active == nullptr || active->part != Part::kDeclare || active->statement == nullptr) return;
  source->location = active->statement->source.location;
  source->length = active->statement->source.length;
}

// Without an id of the server's.
Statement UtilityStatement(const StatementSource& source, int level) noexcept {
  return {{MyDatabaseId, GetUserId(), 0, level == 0}, source, true};
}

void NoteEnd(const Statement& statement, uint64 end_ns) noexcept {
  if (!statement.key.toplevel) return;
  last_end_ns = end_ns;
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
  if (LogsErrors()) outcome.error = reported != nullptr ? reported : CurrentError();
  RecordEnd(statement, outcome);
  MemoryContextSwitchTo(outer);
  ReleaseError();
  NoteEnd(*statement, NowNs());
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
  Statement statement = UtilityStatement({}, 0);
  if (same_message && text.empty()) {  // the last statement has succeeded, and its commit failed
    statement.key = last_key;
    // After Sync the text is gone; then the table knows it.
    if (last_source.text == debug_query_string) statement.source = last_source;
    LogLateError(statement, outcome);
  } else if (!text.empty()) {
    const auto location = static_cast<int>(text.data() - debug_query_string);
    statement.source = {debug_query_string, location, static_cast<int>(text.size())};
    RecordEnd(&statement, outcome);
    NoteEnd(statement, NowNs());
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
    outcome.execution.duration_ns +=
        active->start_ns != 0 ? NowNs() - active->start_ns : UnmeasuredNs();
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
  if (active != nullptr || in_statement) {
    if (termination.sqlstate == 0) {
      termination.sqlstate = ERRCODE_ADMIN_SHUTDOWN;
      strlcpy(termination.message, "terminating connection", sizeof(termination.message));
    }
    if (IsOn()) RecordTermination();
  }
  buffers->SettleOwn();
}

void Enter(Frame* frame) noexcept {
  frame->outer = active;
  frame->level = nesting_level;
  active = frame;
  if (frame->part == Part::kAround) ++nesting_level;
}

void Leave(const Frame* frame) noexcept {
  active = frame->outer;
  nesting_level = frame->level;
}

// Nobody caught the error of the client's own statement: it has come to the server's main loop.
void FailUncaught() {
  Frame* frame = active;
  Leave(frame);
  frame->fail(frame);
}

void OnLogMessage(ErrorData* error) {
  if (previous_emit_log != nullptr) previous_emit_log(error);
  const bool uncaught = error->elevel == ERROR && active != nullptr && active->fail != nullptr;
  if (reported != nullptr || error->elevel < ERROR || error->elevel >= PANIC ||
      MyBackendType != B_BACKEND || (!uncaught && !IsOn()))
    return;
  reported = error;
  if (uncaught) {
    FailUncaught();
  } else if (error->elevel >= FATAL) {
    termination.sqlstate = error->sqlerrcode;
    strlcpy(termination.message, error->message != nullptr ? error->message : "",
            sizeof(termination.message));
    if (active != nullptr || debug_query_string != nullptr) RecordTermination();
  } else if (!error_is_recorded && active == nullptr) {
    RecordUnmeasured(*error);
  }
  error_is_recorded = false;
  reported = nullptr;
}

// Calls kRun(arguments...) inside the frame, one level deeper unless it is a vehicle's. After an
// error everything is as before, kFail(frame) is called and the error goes on.
template <auto kRun, auto kFail, typename... Arguments>
[[gnu::noinline]] void Nest(Frame* frame, Arguments... arguments) {
  frame->fail = nullptr;
  Enter(frame);
  PG_TRY();
  { kRun(arguments...); }
  PG_CATCH();
  {
    Leave(frame);
    kFail(frame);
    PG_RE_THROW();
  }
  PG_END_TRY();
  Leave(frame);
}

void FailUnrecorded(Frame* /*frame*/) {}

// What a client sent and nothing of ours runs around: then only the server's main loop catches its
// errors, and it logs them, before it cleans up anything; and nobody hears of it before us.
bool EndsInMainLoop(bool toplevel) noexcept {
  return toplevel && active == nullptr && is_client_backend && log_min_messages <= ERROR &&
         log_min_messages != LOG && emit_log_hook == OnLogMessage;
}

// The same without the cost of catching, for what ends in the main loop. The frame must outlive an
// error.
template <auto kRun, auto kFail, typename... Arguments>
void NestCheaply(Frame* frame, Arguments... arguments) {
  frame->outer = nullptr;
  frame->level = 0;
  frame->fail = kFail;
  active = frame;
  nesting_level = 1;
  kRun(arguments...);
  active = nullptr;
  nesting_level = 0;
}

// --- Planner ----------------------------------------------------------------------------------

void PlanInside(PlannedStmt** plan, Query* parse, const char* query_string, int cursor_options,
                ParamListInfo params) {
  *plan = previous_planner(parse, query_string, cursor_options, params);
}

void FailPlanning(Frame* frame) {
  RecordFailureOf(frame->statement, NowNs() - frame->start_ns, frame->params);
}

// A statement in planning.
struct Planning {
  Frame frame;
  Statement statement;
};

void BeginPlanning(Planning* running, int level, const Query* parse, const char* query_string,
                   ParamListInfo params) noexcept {
  Statement* statement = &running->statement;
  statement->key = {MyDatabaseId, GetUserId(), static_cast<uint64>(parse->queryId), level == 0};
  statement->source = {query_string, parse->stmt_location, parse->stmt_len};
  statement->utility = false;
  SourceInDeclare(&statement->source);
  running->frame.statement = statement;
  running->frame.params = params;
  running->frame.subtransaction = GetCurrentSubTransactionId();
  running->frame.start_ns = NowNs();
}

void EndPlanning(Planning* running, const Query* parse) noexcept {
  planning = {static_cast<int64>(parse->queryId), GetCurrentStatementStartTimestamp(),
              NowNs() - running->frame.start_ns};
  Statement* statement = &running->statement;
  if (settings::track_planning && Identify(statement))
    statements->RecordPlanning(statement->key, statement->source, planning.ns);
}

[[gnu::noinline]] PlannedStmt* PlanCaught(int level, Query* parse, const char* query_string,
                                          int cursor_options, ParamListInfo params) {
  PlannedStmt* plan = nullptr;
  Planning running{};
  BeginPlanning(&running, level, parse, query_string, params);
  Nest<PlanInside, FailPlanning>(&running.frame, &plan, parse, query_string, cursor_options,
                                 params);
  EndPlanning(&running, parse);
  return plan;
}

[[gnu::noinline]] PlannedStmt* PlanUnrecorded(Query* parse, const char* query_string,
                                              int cursor_options, ParamListInfo params) {
  PlannedStmt* plan = nullptr;
  Frame frame{};
  Nest<PlanInside, FailUnrecorded>(&frame, &plan, parse, query_string, cursor_options, params);
  return plan;
}

// Functions that the planner evaluates are nested in the statement.
PlannedStmt* OnPlan(Query* parse, const char* query_string, int cursor_options,
                    ParamListInfo params) {
  const int level = LevelNow();
  if (!Tracks(level)) {
    return level > 0 ? previous_planner(parse, query_string, cursor_options, params)
                     : PlanUnrecorded(parse, query_string, cursor_options, params);
  }
  // Functions that are called outside of any statement, as for a value that is bound, plan with a
  // text of their own.
  if (!EndsInMainLoop(level == 0 && query_string == debug_query_string))
    return PlanCaught(level, parse, query_string, cursor_options, params);
  static Planning running;
  PlannedStmt* plan = nullptr;
  BeginPlanning(&running, level, parse, query_string, params);
  NestCheaply<PlanInside, FailPlanning>(&running.frame, &plan, parse, query_string, cursor_options,
                                        params);
  EndPlanning(&running, parse);
  return plan;
}

uint64 ClaimPlanning(int64 query_id) noexcept {
  if (planning.ns == 0) return 0;
  const bool same = query_id != 0 && planning.query_id == query_id &&
                    planning.message == GetCurrentStatementStartTimestamp();
  const uint64 ns = same ? planning.ns : 0;
  planning.ns = 0;
  return ns;
}

// --- Executor ---------------------------------------------------------------------------------

void Start(QueryDesc* query, int flags) { previous_start(query, flags); }

// nullptr if there is nothing to tell the statement by, or no memory.
OpenExecution* Open(QueryDesc* query, int level) noexcept {
  OpenExecution* execution = executions::Open(query);
  if (execution == nullptr) return nullptr;
  const PlannedStmt* plan = query->plannedstmt;
  Statement* statement = &execution->statement;
  statement->key = {MyDatabaseId, GetUserId(), static_cast<uint64>(QueryIdOf(plan)), level == 0};
  statement->source = {query->sourceText, plan->stmt_location, plan->stmt_len};
  statement->utility = false;
  if (Identify(statement)) return execution;
  executions::Close(execution);
  return nullptr;
}

void FailToStart(Frame* frame) {
  OpenExecution* execution = frame->execution;
  RecordFailureOf(&execution->statement, UnmeasuredNs(), execution->query->params);
  execution->recorded = true;
  if (frame->fail == nullptr) executions::Close(execution);
}

[[gnu::noinline]] void StartUnrecorded(QueryDesc* query, int flags, int level) {
  if (level > 0) {
    Start(query, flags);
  } else {
    Frame frame{};
    Nest<Start, FailUnrecorded>(&frame, query, flags);
  }
}

// Functions that partition pruning evaluates are nested in the statement.
void OnExecutorStart(QueryDesc* query, int flags) {
  const int level = ExecutorLevelNow();
  OpenExecution* execution =
      Tracks(level) && (flags & EXEC_FLAG_EXPLAIN_ONLY) == 0 ? Open(query, level) : nullptr;
  if (execution == nullptr) {
    StartUnrecorded(query, flags, level);
    return;
  }
  SourceInDeclare(&execution->statement.source);
  if (EndsInMainLoop(level == 0)) {
    NestCheaply<Start, FailToStart>(&execution->frame, query, flags);
  } else {
    Nest<Start, FailToStart>(&execution->frame, query, flags);
  }
  execution->outcome.plan_ns = ClaimPlanning(QueryIdOf(query->plannedstmt));
}

void RecordSuccess(OpenExecution* execution) {
  execution->outcome.query = execution->query;  // alive now, which it need not be at an abort
  RecordEnd(&execution->statement, execution->outcome);
  execution->outcome.query = nullptr;
  execution->recorded = true;
  NoteEnd(execution->statement, execution->last_ns);
}

// A read that ran to its end is over, although its portal may live on until the client's next
// message. Anything else may still have triggers to fire.
bool IsOver(const QueryDesc* query, ScanDirection direction, uint64 count) noexcept {
  return query->operation == CMD_SELECT && !query->plannedstmt->hasModifyingCTE && count == 0 &&
         ScanDirectionIsForward(direction);
}

void Run(TRAIN_PERF_RUN_PARAMS) { previous_run(TRAIN_PERF_RUN_ARGS); }

void BeginPiece(OpenExecution* execution) noexcept {
  execution->before = Usage::Now();
  execution->frame.start_ns = NowNs();
}

[[gnu::always_inline]] inline void EndPiece(OpenExecution* execution) noexcept {
  execution->last_ns = NowNs();
  execution->outcome.AddPiece(execution->before, execution->last_ns - execution->frame.start_ns);
  execution->ran = true;
}

void FailInPiece(Frame* frame) {
  OpenExecution* execution = frame->execution;
  EndPiece(execution);
  if (!execution->recorded) RecordFailure(&execution->statement, execution->outcome);
  execution->recorded = true;
  if (frame->fail == nullptr) executions::Close(execution);  // else the transaction's end does it
}

template <auto kRun, typename... Arguments>
[[gnu::noinline]] void CallUnrecorded(Arguments... arguments) {
  if (nesting_level > 0) {
    kRun(arguments...);
  } else {
    Frame frame{};
    Nest<kRun, FailUnrecorded>(&frame, arguments...);
  }
}

// Calls kRun and adds what it took to the execution. What nobody records is only nested.
template <auto kRun, typename... Arguments>
void Measure(OpenExecution* execution, Arguments... arguments) {
  if (execution == nullptr) {
    CallUnrecorded<kRun>(arguments...);
    return;
  }
  BeginPiece(execution);
  if (EndsInMainLoop(execution->statement.key.toplevel)) {
    NestCheaply<kRun, FailInPiece>(&execution->frame, arguments...);
  } else {
    Nest<kRun, FailInPiece>(&execution->frame, arguments...);
  }
  EndPiece(execution);
}

// A client's FETCH from a cursor that a function opened: from here on it is the client's.
OpenExecution* TakeOver(QueryDesc* query) noexcept {
  const bool fetched = active != nullptr && active->part == Part::kVehicle &&
                       active->statement != nullptr && active->portal != ActivePortal;
  if (!fetched) return nullptr;
  return Open(query, LevelNow());
}

// What has no execution, or one that was recorded already, and runs nevertheless. nullptr: not to
// be measured.
[[gnu::noinline]] OpenExecution* Reopen(OpenExecution* execution, QueryDesc* query,
                                        ScanDirection direction) noexcept {
  if (execution == nullptr) return TakeOver(query);
  if (ScanDirectionIsNoMovement(direction)) return nullptr;
  execution->recorded = false;  // rewound and run again: another execution
  execution->outcome.execution = {};
  execution->outcome.execution.started = GetCurrentStatementStartTimestamp();
  execution->outcome.plan_ns = 0;
  return execution;
}

void OnExecutorRun(TRAIN_PERF_RUN_PARAMS) {
  OpenExecution* execution = executions::Find(query_desc);
  if (execution == nullptr || execution->recorded)
    execution = Reopen(execution, query_desc, direction);
  Measure<Run>(execution, TRAIN_PERF_RUN_ARGS);
  if (execution == nullptr) return;
  execution->outcome.execution.rows += query_desc->estate->es_processed;
  if (execution->recorded) return;
  if (IsOver(query_desc, direction, count)) {
    RecordSuccess(execution);
  } else if (count != 0 && !execution->remembered) {
    // A cursor may be ended by an abort, when its text is gone.
    execution->remembered = true;
    statements->Admit(execution->statement.key, execution->statement.source, false);
  }
}

void Finish(QueryDesc* query) { previous_finish(query); }

[[gnu::noinline]] void MeasureFinish(OpenExecution* execution, QueryDesc* query) {
  Measure<Finish>(execution, query);
}

void OnExecutorFinish(QueryDesc* query) {
  OpenExecution* execution = executions::Find(query);
  if (execution != nullptr && execution->recorded) {  // a read: it has nothing to fire
    Finish(query);
  } else {
    MeasureFinish(execution, query);
  }
}

void OnExecutorEnd(QueryDesc* query) {
  if (OpenExecution* execution = executions::Find(query)) {
    if (execution->ran && !execution->recorded) RecordSuccess(execution);
    executions::Close(execution);
  }
  previous_end(query);
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
  previous_utility(plan, query_string, read_only_tree, context, params, environment, dest,
                   completion);
}

// A utility statement with its frame.
struct RunningUtility {
  Frame frame;  // first: fail finds the rest by it
  Statement statement;
  uint64 failures_before;
  bool tracked;
};

void FailUtility(Frame* frame) {
  const auto* running = reinterpret_cast<RunningUtility*>(frame);
  if (frame->statement == nullptr) return;
  // What it ran in its place has failed and is recorded.
  if (frame->part != Part::kAround && failures_recorded != running->failures_before) return;
  if (running->tracked) RecordFailureOf(frame->statement, NowNs() - frame->start_ns, frame->params);
  if (frame->level == 0) error_is_recorded = true;  // or is not wanted
}

void OnUtility(PlannedStmt* plan, const char* query_string, bool read_only_tree,
               ProcessUtilityContext context, ParamListInfo params, QueryEnvironment* environment,
               DestReceiver* dest, QueryCompletion* completion) {
  const int level = LevelNow();
  const bool visible = Tracks(level);
  if (!visible && level > 0) {
    RunUtility(plan, query_string, read_only_tree, context, params, environment, dest, completion);
    return;
  }
  const Part part = PartOf(plan->utilityStmt);
  RunningUtility running{};
  running.frame.params = params;
  running.frame.part = part;
  running.failures_before = failures_recorded;
  running.tracked = visible && settings::track_utility;
  const Usage before = Usage::Now();
  if (visible) {
    // The plan may be gone afterwards (ROLLBACK): what is needed of it is copied before.
    running.statement =
        UtilityStatement({query_string, plan->stmt_location, plan->stmt_len}, level);
    running.frame.statement = &running.statement;
    running.frame.portal = ActivePortal;
    running.frame.start_ns = NowNs();
  }
  Nest<RunUtility, FailUtility>(&running.frame, plan, query_string, read_only_tree, context, params,
                                environment, dest, completion);
  if (!running.tracked || part != Part::kAround) return;
  const uint64 end_ns = NowNs();
  Outcome outcome{};
  outcome.AddPiece(before, end_ns - running.frame.start_ns);
  outcome.execution.started = GetCurrentStatementStartTimestamp();
  outcome.execution.rows = RowsOf(completion);
  RecordEnd(&running.statement, outcome);
  NoteEnd(running.statement, end_ns);
}

// --- Transactions -----------------------------------------------------------------------------

// The error of the client's own statement never came by: the statement changed log_min_messages, or
// another extension's hook kept it.
[[gnu::noinline]] void FailUnheard() {
  Frame* frame = active;
  Leave(frame);
  if (frame->execution != nullptr && frame->execution->recorded) return;
  static char message[] = "the error was kept from the server's log";
  ErrorData error{};
  error.sqlerrcode = ERRCODE_INTERNAL_ERROR;
  error.message = message;
  Outcome outcome{};
  if (frame->execution != nullptr) outcome = frame->execution->outcome;
  outcome.error = &error;
  outcome.params = nullptr;
  outcome.execution.sqlstate = error.sqlerrcode;
  outcome.execution.started = GetCurrentStatementStartTimestamp();
  RecordEnd(frame->statement, outcome);
  if (frame->execution != nullptr) frame->execution->recorded = true;
}

[[gnu::noinline]] void EndTransaction(XactEvent event) {
  const bool aborting = event == XACT_EVENT_ABORT;
  if (!aborting && event != XACT_EVENT_COMMIT && event != XACT_EVENT_PREPARE) return;
  if (aborting) {
    error_is_recorded = false;
    reported = nullptr;
  }
  if (active != nullptr && active->fail != nullptr) FailUnheard();
  if (executions::open != nullptr) executions::CloseAll(aborting);
}

void OnTransactionEnd(XactEvent event, void*) {
  const bool nothing_is_open = active == nullptr && executions::open == nullptr;
  if (!nothing_is_open || event == XACT_EVENT_ABORT) EndTransaction(event);
}

SubTransactionId SubTransactionOf(const Frame& frame) noexcept {
  return frame.execution != nullptr ? frame.execution->subtransaction : frame.subtransaction;
}

void OnSubTransactionEnd(SubXactEvent event, SubTransactionId self, SubTransactionId parent,
                         void*) {
  if (event == SUBXACT_EVENT_ABORT_SUB) {
    error_is_recorded = false;
    reported = nullptr;
    if (active != nullptr && active->fail != nullptr && SubTransactionOf(*active) >= self)
      FailUnheard();
    executions::CloseOf(self);
  } else if (event == SUBXACT_EVENT_COMMIT_SUB) {
    executions::HandOver(self, parent);
  }
}

// The next one to call is the hook that was there before, or what the server does without any.
template <typename Hook>
void Install(Hook* slot, Hook* previous, Hook standard, Hook ours) {
  *previous = *slot != nullptr ? *slot : standard;
  *slot = ours;
}

}  // namespace

const StatementSource* ClientSource() noexcept {
  const StatementSource* source = nullptr;
  for (const Frame* running = active; running != nullptr; running = running->outer) {
    if (running->statement != nullptr) source = &running->statement->source;
  }
  return source;
}

void SuppressCapture() noexcept {
  suppressed = true;
  records = false;
}

bool IsCaptureSuppressed() noexcept { return suppressed; }

void InstallCapture() {
  EnableQueryId();
  ReserveErrorMemory();
  Install<planner_hook_type>(&planner_hook, &previous_planner, standard_planner, OnPlan);
  Install<ExecutorStart_hook_type>(&ExecutorStart_hook, &previous_start, standard_ExecutorStart,
                                   OnExecutorStart);
  Install<ExecutorRun_hook_type>(&ExecutorRun_hook, &previous_run, standard_ExecutorRun,
                                 OnExecutorRun);
  Install<ExecutorFinish_hook_type>(&ExecutorFinish_hook, &previous_finish, standard_ExecutorFinish,
                                    OnExecutorFinish);
  Install<ExecutorEnd_hook_type>(&ExecutorEnd_hook, &previous_end, standard_ExecutorEnd,
                                 OnExecutorEnd);
  Install<ProcessUtility_hook_type>(&ProcessUtility_hook, &previous_utility,
                                    standard_ProcessUtility, OnUtility);
  Install<emit_log_hook_type>(&emit_log_hook, &previous_emit_log, nullptr, OnLogMessage);
  RegisterXactCallback(OnTransactionEnd, nullptr);
  RegisterSubXactCallback(OnSubTransactionEnd, nullptr);
}

}  // namespace train_perf
