// A scoped LWLock. Nothing that can ereport may run inside the scope: after an error the interrupt
// hold-off count is zero already and the destructor would make it negative.
#pragma once

#include "pg/prelude.hpp"

namespace train_perf {

class LockScope {
 public:
  LockScope(LWLock* lock, LWLockMode mode) noexcept : lock_(lock) { LWLockAcquire(lock, mode); }
  ~LockScope() { LWLockRelease(lock_); }
  LockScope(const LockScope&) = delete;
  LockScope& operator=(const LockScope&) = delete;

 private:
  LWLock* lock_;
};

class SpinScope {
 public:
  explicit SpinScope(slock_t* mutex) noexcept : mutex_(mutex) { SpinLockAcquire(mutex); }
  ~SpinScope() { SpinLockRelease(mutex_); }
  SpinScope(const SpinScope&) = delete;
  SpinScope& operator=(const SpinScope&) = delete;

 private:
  slock_t* mutex_;
};

}  // namespace train_perf
