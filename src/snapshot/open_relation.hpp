// Relations that are read without waiting for anybody's lock.
#pragma once

#include "pg/prelude.hpp"

extern "C" {
#include "utils/relcache.h"
}

namespace train_perf {

// Why there is no estimate. Nothing ever waits for a lock.
enum class Skipped { kNo, kLocked, kGone, kUnlogged, kDamaged };

// A relation that is open and share-locked, or the reason why not. Raises nothing but cancellation
// while it is closed.
class OpenRelation {
 public:
  explicit OpenRelation(Oid id);

  // Also from the cache of relations: a snapshot of a whole database must not fill memory with it.
  void Close();

  Relation get() const noexcept { return relation_; }
  Skipped skipped() const noexcept { return skipped_; }

 private:
  Oid id_;
  Relation relation_ = nullptr;
  Skipped skipped_ = Skipped::kNo;
};

}  // namespace train_perf
