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

// Who holds what it waits for.
int HolderOf(const LockData& locks, const LockInstanceData& wait) {
  for (int i = 0; i < locks.nelements; ++i) {
    const LockInstanceData& other = locks.locks[i];
    if (other.pid != wait.pid && IsSame(other.locktag, wait.locktag) &&
        Conflicts(other.holdMask, wait.waitLockMode))
      return other.pid;
  }
  return 0;
}

// Who waits before it for what does not go with it.
int PredecessorOf(const LockData& locks, const LockInstanceData& wait) {
  for (int i = 0; i < locks.nelements; ++i) {
    const LockInstanceData& other = locks.locks[i];
    if (other.pid != wait.pid && IsSame(other.locktag, wait.locktag) && Waits(other) &&
        other.waitStart < wait.waitStart &&
        Conflicts(LOCKBIT_ON(other.waitLockMode), wait.waitLockMode))
      return other.pid;
  }
  return 0;
}

const LockInstanceData* WaitOf(const LockData& locks, int pid) {
  for (int i = 0; i < locks.nelements; ++i)
    if (locks.locks[i].pid == pid && Waits(locks.locks[i])) return &locks.locks[i];
  return nullptr;
}

// Who keeps it waiting, who keeps that one waiting, and so on.
Holders ChainOf(const LockData& locks, const LockInstanceData& wait) {
  Holders chain{};
  const LockInstanceData* last = &wait;
  for (int& pid : chain.pids) {
    const int holder = HolderOf(locks, *last);
    pid = holder != 0 ? holder : PredecessorOf(locks, *last);
    last = pid != 0 ? WaitOf(locks, pid) : nullptr;
    if (last == nullptr) break;
  }
  return chain;
}

// The transaction has no process.
bool IsPreparedDrain(const JobWorker& worker, const LockInstanceData& wait, int holder) noexcept {
  return worker.budgets.drains && holder == 0 && wait.locktag.locktag_type == LOCKTAG_TRANSACTION;
}

// For a lock or for the end of transactions, within the budgets of the job.
void CheckOwnWait(const JobWorker& worker, const LockData& locks, const LockInstanceData& wait) {
  char text[160];
  const int holder = HolderOf(locks, wait);
  const bool is_prepared = IsPreparedDrain(worker, wait, holder);
  const bool is_drain = is_prepared || wait.locktag.locktag_type == LOCKTAG_VIRTUALTRANSACTION;
  const char* what = is_drain ? "the end of the transaction" : "a lock";
  if (is_prepared) {
    snprintf(text, sizeof(text), "the end of prepared transaction %u", wait.locktag.locktag_field1);
  } else if (holder != 0) {
    snprintf(text, sizeof(text), "%s of pid %d", what, holder);
  } else {
    snprintf(text, sizeof(text), "%s", what);
  }
  if (HasWaited(wait,
                is_drain ? worker.budgets.drain_timeout_ms : worker.budgets.lock_timeout_ms)) {
    board->Cancel(worker.number,
                  is_drain ? CancelReason::kDrainTimeout : CancelReason::kLockTimeout, text);
  } else {
    board->NoteWaiting(worker.number, text, is_drain ? ChainOf(locks, wait) : Holders{});
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
  if (!waits) board->NoteWaiting(worker.number, "", {});
}

// While it takes a job, plans it, or writes its end, a lock_timeout limits its waits; yet they may
// come again and again.
void CheckOwnTransaction(const JobWorker& worker, const LockData& locks) {
  const LockInstanceData* wait = WaitOf(locks, worker.pid);
  board->NoteHeldUp(worker.number, wait != nullptr ? ChainOf(locks, *wait) : Holders{});
}

void CheckLocks() {
  static MemoryContext context = nullptr;
  if (context == nullptr)
    context = AllocSetContextCreate(TopMemoryContext, "train_perf locks", ALLOCSET_DEFAULT_SIZES);
  const MemoryContext outer = MemoryContextSwitchTo(context);
  const LockData* locks = GetLockStatusData();
  for (int i = 0; i < count; ++i) {
    if (workers[i].in_command) {
      Check(workers[i], *locks);
    } else {
      CheckOwnTransaction(workers[i], *locks);
    }
  }
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
  for (int i = 0; i < count; ++i) {
    // The signal may have come between two statements.
    if (workers[i].in_command && workers[i].cancel != CancelReason::kNone)
      board->Cancel(workers[i].number, workers[i].cancel, "");
    if (workers[i].in_command) CheckDuration(workers[i]);
    if (workers[i].in_command) CheckPinWait(workers[i]);
  }
  if (count == 0) return false;
  if (AnybodyWaits()) {
    CheckLocks();
  } else {
    for (int i = 0; i < count; ++i) {
      if (workers[i].waiting_for[0] != '\0' || workers[i].held_up_by.pids[0] != 0)
        board->NoteWaiting(workers[i].number, "", {});
    }
  }
  return true;
}

}  // namespace train_perf
