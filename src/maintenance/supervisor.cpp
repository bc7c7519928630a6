#include "maintenance/supervisor.hpp"

#include "maintenance/board.hpp"

extern "C" {
#include "storage/lock.h"
#include "utils/wait_event.h"
}

namespace train_perf {

namespace {

constexpr int kPatienceMs = 500;  // of those who wait for a job
constexpr uint32 kClassMask = 0xFF000000;

JobWorker workers[Board::kMostWorkers];
int count = 0;

bool IsSame(const LOCKTAG& a, const LOCKTAG& b) noexcept {
  return memcmp(&a, &b, sizeof(LOCKTAG)) == 0;
}

bool Waits(const LockInstanceData& lock) noexcept { return lock.waitLockMode != NoLock; }

bool Conflicts(LOCKMASK held, LOCKMODE wanted) {
  for (LOCKMODE mode = 1; mode < MaxLockMode + 1; ++mode)
    if ((held & LOCKBIT_ON(mode)) != 0 && DoLockModesConflict(mode, wanted)) return true;
  return false;
}

bool IsOurs(int pid) noexcept {
  for (int i = 0; i < count; ++i)
    if (workers[i].pid == pid) return true;
  return false;
}

bool HasWaited(TimestampTz since, int ms) {
  return since != 0 && TimestampDifferenceExceeds(since, GetCurrentTimestamp(), ms);
}

bool HasWaited(const LockInstanceData& lock, int ms) { return HasWaited(lock.waitStart, ms); }

// One of our workers for a lock, or others for so long that it may be a job that they wait for; not
// for advisory locks, which may be waited for all day. Looks without locks: whoever is missed is
// seen the next time.
bool AnybodyWaits() {
  for (uint32 i = 0; i < ProcGlobal->allProcCount; ++i) {
    PGPROC& process = ProcGlobal->allProcs[i];
    const uint32 wait = process.wait_event_info;
    if ((wait & kClassMask) != PG_WAIT_LOCK) continue;
    if (IsOurs(process.pid)) return true;
    const auto since = static_cast<TimestampTz>(pg_atomic_read_u64(&process.waitStart));
    const bool is_advisory = (wait & ~kClassMask) == LOCKTAG_ADVISORY;
    if (!is_advisory && HasWaited(since, kPatienceMs)) return true;
  }
  return false;
}

// Who holds what it waits for, or waits before it.
int HolderOf(const LockData& locks, const LockInstanceData& wait) {
  for (int i = 0; i < locks.nelements; ++i) {
    const LockInstanceData& other = locks.locks[i];
    if (other.pid != wait.pid && IsSame(other.locktag, wait.locktag) &&
        Conflicts(other.holdMask, wait.waitLockMode))
      return other.pid;
  }
  return 0;
}

bool IsDrain(const LockInstanceData& wait) noexcept {
  return wait.locktag.locktag_type == LOCKTAG_VIRTUALTRANSACTION;
}

void CheckOwnWait(const JobWorker& worker, const LockData& locks, const LockInstanceData& wait) {
  char text[160];
  const int holder = HolderOf(locks, wait);
  const char* what = IsDrain(wait) ? "the end of the transaction" : "a lock";
  if (holder != 0) {
    snprintf(text, sizeof(text), "%s of pid %d", what, holder);
  } else {
    snprintf(text, sizeof(text), "%s", what);
  }
  if (HasWaited(wait,
                IsDrain(wait) ? worker.budgets.drain_timeout_ms : worker.budgets.lock_timeout_ms)) {
    board->Cancel(worker.number,
                  IsDrain(wait) ? CancelReason::kDrainTimeout : CancelReason::kLockTimeout, text);
  } else {
    board->NoteWaiting(worker.number, text, IsDrain(wait) ? holder : 0);
  }
}

// Somebody who has waited for what this job holds.
const LockInstanceData* FindWaiter(const LockData& locks, const LockInstanceData& held) {
  for (int i = 0; i < locks.nelements; ++i) {
    const LockInstanceData& other = locks.locks[i];
    if (Waits(other) && !IsOurs(other.pid) && IsSame(other.locktag, held.locktag) &&
        Conflicts(held.holdMask, other.waitLockMode) && HasWaited(other, kPatienceMs))
      return &other;
  }
  return nullptr;
}

void Check(const JobWorker& worker, const LockData& locks) {
  bool waits = false;
  for (int i = 0; i < locks.nelements; ++i) {
    const LockInstanceData& lock = locks.locks[i];
    if (lock.pid != worker.pid) continue;
    if (Waits(lock)) {
      waits = true;
      CheckOwnWait(worker, locks, lock);
    }
    if (lock.holdMask == 0) continue;
    const LockInstanceData* waiter = FindWaiter(locks, lock);
    if (waiter == nullptr) continue;
    char text[160];
    snprintf(text, sizeof(text), "pid %d, which waits for a lock that the job holds", waiter->pid);
    board->Cancel(worker.number, CancelReason::kGaveWay, text);
  }
  if (!waits) board->NoteWaiting(worker.number, "", 0);
}

void CheckLocks() {
  static MemoryContext context = nullptr;
  if (context == nullptr)
    context = AllocSetContextCreate(TopMemoryContext, "train_perf locks", ALLOCSET_DEFAULT_SIZES);
  const MemoryContext outer = MemoryContextSwitchTo(context);
  const LockData* locks = GetLockStatusData();
  for (int i = 0; i < count; ++i)
    if (workers[i].in_command) Check(workers[i], *locks);
  MemoryContextSwitchTo(outer);
  MemoryContextReset(context);
}

// With the workers that help it.
bool WaitsForPin(int pid) noexcept {
  for (uint32 i = 0; i < ProcGlobal->allProcCount; ++i) {
    const PGPROC& process = ProcGlobal->allProcs[i];
    if ((process.wait_event_info & kClassMask) != kWaitBufferPin) continue;
    const PGPROC* leader = process.lockGroupLeader;
    if (process.pid == pid || (leader != nullptr && leader->pid == pid)) return true;
  }
  return false;
}

// An open cursor may pin a page for as long as its transaction lasts: that of the caller, who waits
// for the job, too.
void CheckPinWait(const JobWorker& worker) {
  if (!WaitsForPin(worker.pid)) {
    if (worker.pin_wait != 0) board->NotePinWait(worker.number, 0);
  } else if (worker.pin_wait == 0) {
    board->NotePinWait(worker.number, GetCurrentTimestamp());
  } else if (HasWaited(worker.pin_wait, worker.budgets.lock_timeout_ms)) {
    board->Cancel(worker.number, CancelReason::kLockTimeout, "a page that a cursor has pinned");
  }
}

void CheckDuration(const JobWorker& worker) {
  const int limit = worker.budgets.job_timeout_ms;
  if (limit > 0 && HasWaited(worker.begun, limit))
    board->Cancel(worker.number, CancelReason::kJobTimeout, "");
}

}  // namespace

bool SuperviseJobs() {
  count = board->Workers(InvalidOid, workers);
  bool at_work = false;
  for (int i = 0; i < count; ++i) {
    at_work = at_work || workers[i].in_command;
    // The signal may have come between two statements.
    if (workers[i].in_command && workers[i].cancel != CancelReason::kNone)
      board->Cancel(workers[i].number, workers[i].cancel, "");
    if (workers[i].in_command) CheckDuration(workers[i]);
    if (workers[i].in_command) CheckPinWait(workers[i]);
  }
  if (!at_work) return false;
  if (AnybodyWaits()) {
    CheckLocks();
  } else {
    for (int i = 0; i < count; ++i)
      if (workers[i].waiting_for[0] != '\0') board->NoteWaiting(workers[i].number, "", 0);
  }
  return true;
}

}  // namespace train_perf
