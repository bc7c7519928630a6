// The executions of this backend that have started and not ended, one per QueryDesc. Cursors may be
// open side by side and are run in pieces; an execution adds up its pieces.
#pragma once

#include "capture/statement.hpp"

namespace train_perf {

// What a statement is to what it runs: around it, or only in its place (EXECUTE, FETCH, and
// DECLARE, which also says where in the string the cursor's query stands).
enum class Part { kAround, kVehicle, kDeclare };

struct OpenExecution;

// Something that runs right now; a list, innermost first.
struct Frame {
  Frame* outer;
  Statement* statement;      // nullptr: not recorded
  OpenExecution* execution;  // nullptr for planning and utility statements
  ParamListInfo params;
  uint64 start_ns;
  void (*fail)(Frame*);             // what its error does, where nobody catches it; else nullptr
  Portal portal;                    // in which a utility statement runs
  SubTransactionId subtransaction;  // of planning
  int level;                        // outside of it
  Part part;
};

struct OpenExecution {
  OpenExecution* next;
  QueryDesc* query;
  Statement statement;
  Outcome outcome;  // so far
  Frame frame;      // while it runs
  Usage before;     // it ran
  uint64 last_ns;   // when it last stopped running
  SubTransactionId subtransaction;
  bool ran;
  bool recorded;
  bool remembered;  // the statement table was asked to know its text
};

namespace executions {

void Close(OpenExecution* execution) noexcept;

extern OpenExecution* open;  // latest first
extern OpenExecution* unused;
bool AddUnused() noexcept;  // false if there is no memory

inline OpenExecution* Find(const QueryDesc* query) noexcept {
  OpenExecution* execution = open;
  while (execution != nullptr && execution->query != query) execution = execution->next;
  return execution;
}

// The statement is the caller's to fill in. nullptr if there is no memory; then the execution is
// not recorded.
inline OpenExecution* Open(QueryDesc* query) noexcept {
  if (OpenExecution* stale = Find(query)) Close(stale);
  if (unused == nullptr && !AddUnused()) return nullptr;
  OpenExecution* execution = unused;
  unused = execution->next;
  execution->next = open;
  execution->query = query;
  execution->outcome.execution = {0, 0, 0, 0, 0, 0, 0, GetCurrentStatementStartTimestamp()};
  execution->outcome.plan_ns = 0;
  execution->outcome.error = nullptr;
  execution->outcome.params = query->params;
  execution->outcome.query = nullptr;
  execution->frame.start_ns = 0;
  execution->subtransaction = GetCurrentSubTransactionId();
  execution->ran = execution->recorded = execution->remembered = false;
  open = execution;
  return execution;
}

// Executions whose (sub)transaction ended without ending them: they are recorded as they are.
void CloseAll(bool aborting);
void CloseOf(SubTransactionId subtransaction);
void HandOver(SubTransactionId from, SubTransactionId to) noexcept;

}  // namespace executions

}  // namespace train_perf
