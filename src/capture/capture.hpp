// What the rest of the extension needs of statement capture.
#pragma once

#include "capture/backend_buffers.hpp"
#include "capture/event_queue.hpp"
#include "capture/statement_table.hpp"

namespace train_perf {

// In shared memory; nullptr unless the library was preloaded.
extern StatementTable* statements;
extern BackendBuffers* buffers;  // in front of it
extern EventQueue* events;

inline bool Preloaded() noexcept { return statements != nullptr; }

// The statements with all that has ended until now: for whoever reads or changes them as a whole.
inline StatementTable* Settled() noexcept {
  buffers->Settle();
  return statements;
}

// Raises 55000 with the line to add to postgresql.conf unless the library was preloaded.
void RequirePreload();

// Installs the hooks; from _PG_init while preloading.
void InstallCapture();

// Nothing that this process runs from here on is recorded (our own workers).
void SuppressCapture() noexcept;
bool IsCaptureSuppressed() noexcept;

// The statement that the client sent last has waited so long for work that it asked for, which
// makes it no slow one.
void NoteWaitForWork(int64 us) noexcept;

}  // namespace train_perf
