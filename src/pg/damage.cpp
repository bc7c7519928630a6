#include "pg/damage.hpp"

extern "C" {
#include "utils/resowner.h"
}

namespace train_perf {

namespace {

bool IsDamage(int sqlstate) noexcept {
  return sqlstate == ERRCODE_DATA_CORRUPTED || sqlstate == ERRCODE_INDEX_CORRUPTED ||
         sqlstate == ERRCODE_INTERNAL_ERROR ||  // as of a MultiXact that cannot be
         ERRCODE_TO_CATEGORY(sqlstate) == ERRCODE_TO_CATEGORY(ERRCODE_SYSTEM_ERROR);
}

}  // namespace

ErrorData* damage_internal::Catch(void (*run)(void*), void* argument) {
  const MemoryContext context = CurrentMemoryContext;
  const ResourceOwner owner = CurrentResourceOwner;
  ErrorData* volatile damage = nullptr;
  BeginInternalSubTransaction(nullptr);
  MemoryContextSwitchTo(context);
  PG_TRY();
  {
    run(argument);
    ReleaseCurrentSubTransaction();
  }
  PG_CATCH();
  {
    MemoryContextSwitchTo(context);
    damage = CopyErrorData();
    FlushErrorState();
    RollbackAndReleaseCurrentSubTransaction();
  }
  PG_END_TRY();
  if (damage != nullptr && !IsDamage(damage->sqlerrcode)) {
    MemoryContextSwitchTo(context);
    CurrentResourceOwner = owner;
    ReThrowError(damage);
  }
  MemoryContextSwitchTo(context);
  CurrentResourceOwner = owner;
  return damage;
}

void RaiseDamage(int sqlstate, const char* what) {
  ereport(ERROR, (errcode(sqlstate), errmsg_internal("%s", what)));
  pg_unreachable();
}

}  // namespace train_perf
