#include "capture/executions.hpp"

namespace train_perf::executions {

OpenExecution* open = nullptr;
OpenExecution* unused = nullptr;

namespace {

constexpr int kInline = 16;  // open at once without allocating
constexpr int kPerChunk = 64;

OpenExecution inline_slots[kInline];
bool prepared = false;

void Prepare(OpenExecution* slots, int count) noexcept {
  for (int i = 0; i < count; ++i) {
    slots[i] = {};
    slots[i].frame.statement = &slots[i].statement;
    slots[i].frame.execution = &slots[i];
    slots[i].next = unused;
    unused = &slots[i];
  }
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

bool AddUnused() noexcept {
  if (!prepared) {
    Prepare(inline_slots, kInline);
    prepared = true;
    return true;
  }
  void* chunk = MemoryContextAllocExtended(TopMemoryContext, kPerChunk * sizeof(OpenExecution),
                                           MCXT_ALLOC_NO_OOM);
  if (chunk != nullptr) Prepare(static_cast<OpenExecution*>(chunk), kPerChunk);
  return chunk != nullptr;
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
