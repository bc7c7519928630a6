#include "capture/executions.hpp"

namespace train_perf::executions {

namespace {

constexpr int kInline = 16;  // open at once without allocating
constexpr int kPerChunk = 64;

OpenExecution inline_slots[kInline];
OpenExecution* open = nullptr;  // latest first
OpenExecution* unused = nullptr;
bool prepared = false;

void AddUnused(OpenExecution* slots, int count) noexcept {
  for (int i = 0; i < count; ++i) {
    slots[i].next = unused;
    unused = &slots[i];
  }
}

OpenExecution* TakeUnused() noexcept {
  if (!prepared) {
    AddUnused(inline_slots, kInline);
    prepared = true;
  }
  if (unused == nullptr) {
    void* chunk = MemoryContextAllocExtended(TopMemoryContext, kPerChunk * sizeof(OpenExecution),
                                             MCXT_ALLOC_NO_OOM);
    if (chunk == nullptr) return nullptr;
    AddUnused(static_cast<OpenExecution*>(chunk), kPerChunk);
  }
  OpenExecution* taken = unused;
  unused = taken->next;
  return taken;
}

// The query's memory may be gone. Only a client's portal still has its text when a transaction
// aborts; else the table knows it.
void RecordAbandoned(OpenExecution* execution, bool aborting) {
  if (!execution->ran || execution->recorded) return;
  const bool has_text = aborting && execution->statement.key.toplevel && MyBackendType == B_BACKEND;
  if (!has_text) execution->statement.source.text = nullptr;
  execution->outcome.params = nullptr;
  RecordEnd(&execution->statement, execution->outcome);
}

}  // namespace

OpenExecution* Open(QueryDesc* query, const Statement& statement) noexcept {
  if (OpenExecution* stale = Find(query)) Close(stale);
  OpenExecution* execution = TakeUnused();
  if (execution == nullptr) return nullptr;
  *execution = OpenExecution{};
  execution->query = query;
  execution->statement = statement;
  execution->subtransaction = GetCurrentSubTransactionId();
  execution->outcome.execution.started = GetCurrentStatementStartTimestamp();
  execution->outcome.params = query->params;
  execution->next = open;
  open = execution;
  return execution;
}

OpenExecution* Find(const QueryDesc* query) noexcept {
  OpenExecution* execution = open;
  while (execution != nullptr && execution->query != query) execution = execution->next;
  return execution;
}

void Close(OpenExecution* execution) noexcept {
  OpenExecution** link = &open;
  while (*link != execution) link = &(*link)->next;
  *link = execution->next;
  execution->next = unused;
  unused = execution;
}

void CloseAll(bool aborting) {
  while (open != nullptr) {
    RecordAbandoned(open, aborting);
    Close(open);
  }
}

void CloseOf(SubTransactionId subtransaction) {
  OpenExecution* execution = open;
  while (execution != nullptr) {
    OpenExecution* next = execution->next;
    if (execution->subtransaction == subtransaction) {
      RecordAbandoned(execution, true);
      Close(execution);
    }
    execution = next;
  }
}

void HandOver(SubTransactionId from, SubTransactionId to) noexcept {
  for (OpenExecution* execution = open; execution != nullptr; execution = execution->next)
    if (execution->subtransaction == from) execution->subtransaction = to;
}

}  // namespace train_perf::executions
