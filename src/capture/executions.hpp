// The executions of this backend that have started and not ended, one per QueryDesc. Cursors may be
// open side by side and are run in pieces; an execution adds up its pieces.
#pragma once

#include "capture/statement.hpp"

namespace train_perf {

struct OpenExecution {
  OpenExecution* next;
  QueryDesc* query;
  Statement statement;
  Outcome outcome;  // so far
  SubTransactionId subtransaction;
  bool ran;
  bool recorded;
};

namespace executions {

// nullptr if there is no memory; then the execution is not recorded.
OpenExecution* Open(QueryDesc* query, const Statement& statement) noexcept;
OpenExecution* Find(const QueryDesc* query) noexcept;
void Close(OpenExecution* execution) noexcept;

// Executions whose (sub)transaction ended without ending them: they are recorded as they are.
void CloseAll(bool aborting);
void CloseOf(SubTransactionId subtransaction);
void HandOver(SubTransactionId from, SubTransactionId to) noexcept;

}  // namespace executions

}  // namespace train_perf
