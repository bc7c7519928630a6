#include "pg/boundary.hpp"

#include <initializer_list>

extern "C" {
#include "storage/bufmgr.h"
#include "utils/relcache.h"
#include "utils/resowner.h"
}

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

namespace {

// After success locks pass to the parent, as at the end of a subtransaction; after a failure
// everything goes.
void Release(ResourceOwner owner, bool success) {
  if (owner == nullptr) return;
  for (const auto phase :
       {RESOURCE_RELEASE_BEFORE_LOCKS, RESOURCE_RELEASE_LOCKS, RESOURCE_RELEASE_AFTER_LOCKS})
    ResourceOwnerRelease(owner, phase, success, false);
  ResourceOwnerDelete(owner);
}

}  // namespace

bool Attempt(void (*run)(void*), void* argument) {
  const MemoryContext context = CurrentMemoryContext;
  const ResourceOwner parent = CurrentResourceOwner;
  ResourceOwner volatile owner = nullptr;
  volatile bool success = false;
  PG_TRY();
  {
    owner = ResourceOwnerCreate(parent, "train_perf");
    CurrentResourceOwner = owner;
    run(argument);
    success = true;
  }
  PG_CATCH();
  {
    MemoryContextSwitchTo(context);
    CurrentResourceOwner = parent;
    if (ERRCODE_TO_CATEGORY(geterrcode()) == ERRCODE_OPERATOR_INTERVENTION) PG_RE_THROW();
    FlushErrorState();
    LWLockReleaseAll();
    UnlockBuffers();
    // Of no subtransaction: entries of the relation cache that were being built are forgotten.
    AtEOSubXact_RelationCache(false, PG_UINT32_MAX, PG_UINT32_MAX);
  }
  PG_END_TRY();
  MemoryContextSwitchTo(context);
  CurrentResourceOwner = parent;
  Release(owner, success);
  return success;
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
