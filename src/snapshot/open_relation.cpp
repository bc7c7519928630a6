#include "snapshot/open_relation.hpp"

extern "C" {
#include "access/relation.h"
#include "storage/lmgr.h"
#include "utils/rel.h"
}

namespace train_perf {

OpenRelation::OpenRelation(Oid id) : id_(id) {
  if (!ConditionalLockRelationOid(id, AccessShareLock)) {
    skipped_ = Skipped::kLocked;
    return;
  }
  relation_ = try_relation_open(id, NoLock);
  if (relation_ == nullptr) {
    skipped_ = Skipped::kGone;
    UnlockRelationOid(id, AccessShareLock);
  } else if (RecoveryInProgress() && relation_->rd_rel->relpersistence == RELPERSISTENCE_UNLOGGED) {
    skipped_ = Skipped::kUnlogged;
    Close();
  }
}

void OpenRelation::Close() {
  const bool alone = relation_->rd_refcnt == 1;
  relation_close(relation_, AccessShareLock);
  relation_ = nullptr;
  if (alone) RelationCacheInvalidateEntry(id_);
}

}  // namespace train_perf
