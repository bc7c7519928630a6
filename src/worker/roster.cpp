#include "worker/roster.hpp"

#include <csignal>
#include <utility>

#include "capture/capture.hpp"
#include "maintenance/board.hpp"
#include "pg/lock.hpp"

namespace train_perf {

Roster* roster = nullptr;

namespace {

// Between looks for work in a database whose collector has had its turn.
constexpr int kTurnPauseMs = 500;
// Between two sessions of one restore (pg_restore -j and --section use several), and between two
// commands of one session.
constexpr int kRestorePauseMs = 2000;
constexpr int kRestorerPauseMs = 600000;

}  // namespace

void Roster::Init(LWLock* lock) noexcept {
  lock_ = lock;
  launcher_ = nullptr;
  scan_ = true;
  others_wait_ = false;
  starts_ = 0;
  for (Entry& entry : entries_) entry = {};
}

Roster::Entry* Roster::Find(Oid database) noexcept {
  for (Entry& entry : entries_)
    if (entry.database == database) return &entry;
  return nullptr;
}

Roster::Entry* Roster::FindOrAdd(Oid database) noexcept {
  if (Entry* entry = Find(database)) return entry;
  Entry* entry = Find(InvalidOid);
  if (entry == nullptr) return nullptr;
  *entry = {};
  entry->database = database;
  return entry;
}

void Roster::WakeLauncher() noexcept {
  if (launcher_ != nullptr) SetLatch(launcher_);
}

void Roster::Announce(Oid database, bool restoring) noexcept {
  Settled()->DiscardPending(database);
  events->Open(database);
  LockScope guard(lock_, LW_EXCLUSIVE);
  Entry* entry = FindOrAdd(database);
  if (entry == nullptr) return;
  entry->listed = true;
  entry->restorer_pid = restoring ? MyProcPid : 0;
  entry->restorer_runs = false;
  entry->restorer_seen = GetCurrentTimestamp();
  entry->look = true;
  entry->not_before = 0;
  WakeLauncher();
}

void Roster::NoteRestore(Oid database, bool runs) noexcept {
  LockScope guard(lock_, LW_EXCLUSIVE);
  Entry* entry = Find(database);
  if (entry == nullptr) return;
  entry->restorer_seen = GetCurrentTimestamp();
  const bool another_runs = entry->restorer_runs && entry->restorer_pid != MyProcPid &&
                            BackendPidGetProc(entry->restorer_pid) != nullptr;
  if (another_runs) return;
  entry->restorer_pid = MyProcPid;
  entry->restorer_runs = runs;
}

void Roster::RequestLook(Oid database) noexcept {
  LockScope guard(lock_, LW_EXCLUSIVE);
  Entry* entry = FindOrAdd(database);
  if (entry == nullptr) return;
  entry->listed = entry->look = true;
  if (entry->latch != nullptr) SetLatch(entry->latch);
  WakeLauncher();
}

void Roster::RequestScan() noexcept {
  LockScope guard(lock_, LW_EXCLUSIVE);
  scan_ = true;
  WakeLauncher();
}

int Roster::Hold(Oid database) noexcept {
  LockScope guard(lock_, LW_EXCLUSIVE);
  Entry* entry = FindOrAdd(database);
  if (entry == nullptr) return 0;
  ++entry->holds;
  return entry->pid;
}

void Roster::Release(Oid database) noexcept {
  LockScope guard(lock_, LW_EXCLUSIVE);
  Entry* entry = Find(database);
  if (entry == nullptr || entry->holds == 0) return;
  if (--entry->holds == 0 && !entry->listed) *entry = {};
  WakeLauncher();
}

void Roster::Forget(Oid database) noexcept {
  LockScope guard(lock_, LW_EXCLUSIVE);
  Entry* entry = Find(database);
  if (entry != nullptr) *entry = {};
}

void Roster::Restart(Oid database) noexcept {
  LockScope guard(lock_, LW_EXCLUSIVE);
  Entry* entry = Find(database);
  if (entry == nullptr) return;
  entry->upkeep_due = 0;
  if (entry->pid != 0) kill(entry->pid, SIGTERM);
}

int Roster::CollectorOf(Oid database) noexcept {
  LockScope guard(lock_, LW_SHARED);
  const Entry* entry = Find(database);
  return entry != nullptr ? entry->pid : 0;
}

DatabaseStatus Roster::StatusOf(Oid database) noexcept {
  LockScope guard(lock_, LW_SHARED);
  const Entry* entry = Find(database);
  if (entry == nullptr) return {};
  DatabaseStatus status = entry->status;
  status.collector_pid = entry->pid;
  return status;
}

void Roster::SetLauncher(Latch* latch) noexcept {
  LockScope guard(lock_, LW_EXCLUSIVE);
  launcher_ = latch;
  // What an earlier launcher started without seeing it enter is not coming.
  for (Entry& entry : entries_) entry.starting = 0;
}

bool Roster::TakeScanRequest() noexcept {
  LockScope guard(lock_, LW_EXCLUSIVE);
  return std::exchange(scan_, false);
}

bool Roster::Add(Oid database) noexcept {
  LockScope guard(lock_, LW_EXCLUSIVE);
  Entry* entry = FindOrAdd(database);
  if (entry == nullptr) return false;
  entry->listed = true;
  return true;
}

bool Roster::Remove(Oid database) noexcept {
  LockScope guard(lock_, LW_EXCLUSIVE);
  Entry* entry = Find(database);
  if (entry == nullptr) return true;
  if (IsRunning(*entry)) {
    entry->look = true;
    if (entry->latch != nullptr) SetLatch(entry->latch);
    return false;
  }
  entry->listed = false;
  if (entry->holds == 0) *entry = {};
  return true;
}

int Roster::Databases(Oid* databases) noexcept {
  LockScope guard(lock_, LW_SHARED);
  int count = 0;
  for (const Entry& entry : entries_)
    if (OidIsValid(entry.database)) databases[count++] = entry.database;
  return count;
}

Roster::Start Roster::TakeNext(int most, int processes, TimestampTz history_before,
                               TimestampTz* next_start) noexcept {
  const TimestampTz now = GetCurrentTimestamp();
  LockScope guard(lock_, LW_EXCLUSIVE);
  Entry* next = nullptr;
  bool next_has_work = false;
  bool starved = false;
  int running = 0;
  *next_start = 0;
  const auto look_again = [next_start](TimestampTz at) {
    if (*next_start == 0 || at < *next_start) *next_start = at;
  };
  for (Entry& entry : entries_) {
    if (!OidIsValid(entry.database)) continue;
    if (IsRunning(entry)) ++running;
    if (IsRunning(entry) || entry.holds > 0 || !entry.listed) continue;
    const bool has_work = entry.look || entry.last_turn <= history_before ||
                          events->Count(entry.database).queued > 0 ||
                          board->NeedsCollector(entry.database);
    starved = starved || (entry.starved && has_work);
    look_again(Max(entry.not_before, TimestampTzPlusMilliseconds(now, kTurnPauseMs)));
    if (entry.not_before > now) continue;
    const bool better = next == nullptr || has_work > next_has_work ||
                        (has_work == next_has_work && entry.last_turn < next->last_turn);
    if (!better) continue;
    next = &entry;
    next_has_work = has_work;
  }
  others_wait_ = starved || running > most || (next_has_work && running >= most);
  if (next == nullptr || Max(running, processes) >= most) return {InvalidOid, 0};
  if (starved && !next_has_work)
    return {InvalidOid, 0};  // would take the worker that another needs
  next->starting = ++starts_;
  return {next->database, next->starting};
}

void Roster::Note(Entry* entry, const char* error) noexcept {
  strlcpy(entry->status.last_error, error, sizeof(entry->status.last_error));
  entry->status.last_error_at = GetCurrentTimestamp();
}

void Roster::Fail(Entry* entry, const char* why) noexcept {
  Note(entry, why);
  ++entry->failures;
  entry->not_before = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
                                                  kCollectorBackoff.PauseMs(entry->failures));
}

void Roster::Starve(const Start& start) noexcept {
  LockScope guard(lock_, LW_EXCLUSIVE);
  Entry* entry = Find(start.database);
  if (entry == nullptr || entry->starting != start.number) return;
  entry->starting = 0;
  // The place of a worker that has just ended becomes free a moment later.
  if (entry->starved) Note(entry, "no free background worker slot: raise max_worker_processes");
  entry->starved = true;
}

void Roster::StartFailed(const Start& start) noexcept {
  LockScope guard(lock_, LW_EXCLUSIVE);
  Entry* entry = Find(start.database);
  if (entry == nullptr || entry->starting != start.number) return;
  entry->starting = 0;
  Fail(entry, "the collector could not start: the server's log says why");
}

bool Roster::Enter(Oid database, int pid, Latch* latch) noexcept {
  LockScope guard(lock_, LW_EXCLUSIVE);
  Entry* entry = Find(database);
  if (entry == nullptr) return false;
  entry->starting = 0;
  entry->starved = false;
  if (entry->holds > 0 || entry->pid != 0) return false;
  entry->pid = pid;
  entry->latch = latch;
  entry->look = true;
  return true;
}

void Roster::Leave(Oid database, bool failed) noexcept {
  LockScope guard(lock_, LW_EXCLUSIVE);
  Entry* entry = Find(database);
  if (entry == nullptr || entry->pid != MyProcPid) return;
  entry->pid = 0;
  entry->latch = nullptr;
  entry->look = false;
  entry->last_turn = GetCurrentTimestamp();
  if (failed) {
    Fail(entry, "the collector ended with an error: the server's log says why");
  } else {
    entry->failures = 0;
  }
  WakeLauncher();
}

bool Roster::LeaveForGood(Oid database) noexcept {
  LockScope guard(lock_, LW_EXCLUSIVE);
  Entry* entry = Find(database);
  if (entry == nullptr) return true;
  if (entry->look) return false;
  events->Close(database);
  const int holds = entry->holds;
  *entry = {};
  if (holds > 0) {
    entry->database = database;
    entry->holds = holds;
  }
  return true;
}

TimestampTz Roster::UpkeepDue(Oid database) noexcept {
  LockScope guard(lock_, LW_SHARED);
  const Entry* entry = Find(database);
  return entry != nullptr ? entry->upkeep_due : 0;
}

void Roster::SetUpkeepDue(Oid database, TimestampTz due) noexcept {
  LockScope guard(lock_, LW_EXCLUSIVE);
  Entry* entry = Find(database);
  if (entry != nullptr) entry->upkeep_due = due;
}

void Roster::SetError(Oid database, const char* message) noexcept {
  LockScope guard(lock_, LW_EXCLUSIVE);
  Entry* entry = Find(database);
  if (entry != nullptr) Note(entry, message);
}

bool Roster::IsHeld(Oid database) noexcept {
  LockScope guard(lock_, LW_SHARED);
  const Entry* entry = Find(database);
  return entry == nullptr || entry->holds > 0;
}

bool Roster::TakeLookRequest(Oid database) noexcept {
  LockScope guard(lock_, LW_EXCLUSIVE);
  Entry* entry = Find(database);
  return entry != nullptr && std::exchange(entry->look, false);
}

bool Roster::IsRestoring(Oid database) noexcept {
  const TimestampTz now = GetCurrentTimestamp();
  LockScope guard(lock_, LW_EXCLUSIVE);
  Entry* entry = Find(database);
  if (entry == nullptr || entry->restorer_pid == 0) return false;
  const bool is_there = BackendPidGetProc(entry->restorer_pid) != nullptr;
  if (is_there && entry->restorer_runs) entry->restorer_seen = now;
  const int pause_ms = is_there ? kRestorerPauseMs : kRestorePauseMs;
  if (!TimestampDifferenceExceeds(entry->restorer_seen, now, pause_ms)) return true;
  entry->restorer_pid = 0;
  entry->restorer_runs = false;
  return false;
}

}  // namespace train_perf
