#include "pg/boundary.hpp"

namespace train_perf::boundary_internal {

MemoryContext entry_context = nullptr;

ErrorData* Catch(void (*run)(void*), void* argument) noexcept {
  ErrorData* volatile error = nullptr;
  const MemoryContext context = CurrentMemoryContext;
  PG_TRY();
  { run(argument); }
  PG_CATCH();
  {
    MemoryContextSwitchTo(entry_context != nullptr ? entry_context : context);
    error = CopyErrorData();
    FlushErrorState();
  }
  PG_END_TRY();
  if (error != nullptr) MemoryContextSwitchTo(context);
  return error;
}

void RaiseException(const char* what) {
  ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("train_perf: %s", what)));
  pg_unreachable();
}

void RaiseOutOfMemory() {
  ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory"),
                  errdetail("train_perf could not allocate memory.")));
  pg_unreachable();
}

}  // namespace train_perf::boundary_internal
