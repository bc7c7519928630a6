#include "maintenance/board.hpp"

#include <algorithm>
#include <csignal>
#include <utility>

#include "pg/lock.hpp"

namespace train_perf {

namespace {

constexpr int kCancelPatienceMs = 30 * 1000;

}  // namespace

bool Holders::Has(int pid) const noexcept {
  return std::ranges::any_of(pids, [pid](int holder) { return holder == pid; });
}

Board* board = nullptr;

void Board::Init(LWLock* lock) noexcept {
  lock_ = lock;
  launcher_ = nullptr;
  starved_ = false;
  dropped_ = 0;
  requests_made_ = starts_ = 0;
  for (Place& place : places_) place = {};
  for (Due& due : due_) due = {};
  for (JobWorker& worker : workers_) worker = {};
}

Board::Place* Board::FindPlace(uint64 number) noexcept {
  for (Place& place : places_)
    if (place.state != State::kFree && place.number == number) return &place;
  return nullptr;
}

Board::Due* Board::FindDue(Oid database) noexcept {
  for (Due& due : due_)
    if (due.database == database) return &due;
  return nullptr;
}

Board::Due* Board::FindOrAddDue(Oid database) noexcept {
  if (Due* due = FindDue(database)) return due;
  Due* due = FindDue(InvalidOid);
  if (due != nullptr) *due = {database, true, DT_NOEND, 0, nullptr};
  return due;
}

JobWorker* Board::FindWorker(uint64 number) noexcept {
  for (JobWorker& worker : workers_)
    if (OidIsValid(worker.database) && worker.number == number) return &worker;
  return nullptr;
}

// --- Who asks -----------------------------------------------------------------------------------

uint64 Board::Post(const MaintenanceRequest& request, Latch* latch) noexcept {
  LockScope guard(lock_, LW_EXCLUSIVE);
  int same = 0;
  for (const Place& place : places_)
    same += place.state != State::kFree && place.request.database == request.database ? 1 : 0;
  if (same >= kRequestsPerDatabase) return 0;
  for (Place& place : places_) {
    if (place.state != State::kFree) continue;
    place = {State::kAsked, ++requests_made_, latch, 0, request};
    const Due* due = FindDue(request.database);
    if (due != nullptr && due->taker != nullptr) SetLatch(due->taker);
    if (launcher_ != nullptr) SetLatch(launcher_);
    return place.number;
  }
  return 0;
}

bool Board::TakeAnswer(uint64 number, int64* answer) noexcept {
  LockScope guard(lock_, LW_EXCLUSIVE);
  Place* place = FindPlace(number);
  if (place == nullptr || place->state != State::kAnswered) return false;
  *answer = place->answer;
  place->state = State::kFree;
  return true;
}

bool Board::Withdraw(uint64 number) noexcept {
  LockScope guard(lock_, LW_EXCLUSIVE);
  Place* place = FindPlace(number);
  if (place == nullptr) return true;
  place->latch = nullptr;
  if (place->state == State::kTaken) return false;
  place->state = State::kFree;
  return true;
}

void Board::CountDropped() noexcept {
  LockScope guard(lock_, LW_EXCLUSIVE);
  ++dropped_;
}

// --- Collector ----------------------------------------------------------------------------------

void Board::SetTaker(Oid database, Latch* latch) noexcept {
  LockScope guard(lock_, LW_EXCLUSIVE);
  Due* due = latch != nullptr ? FindOrAddDue(database) : FindDue(database);
  if (due != nullptr) due->taker = latch;
}

bool Board::HasRequests(Oid database) noexcept {
  LockScope guard(lock_, LW_SHARED);
  for (const Place& place : places_) {
    const bool waits = place.state == State::kAsked || place.state == State::kTaken;
    if (waits && place.request.database == database) return true;
  }
  return false;
}

uint64 Board::Take(Oid database, uint64 after, MaintenanceRequest* request) noexcept {
  LockScope guard(lock_, LW_EXCLUSIVE);
  Place* next = nullptr;
  for (Place& place : places_) {
    const bool waits = place.state == State::kAsked || place.state == State::kTaken;
    if (!waits || place.request.database != database || place.number <= after) continue;
    if (next == nullptr || place.number < next->number) next = &place;
  }
  if (next == nullptr) return 0;
  next->state = State::kTaken;
  *request = next->request;
  return next->number;
}

void Board::Answer(uint64 number, int64 answer) noexcept {
  LockScope guard(lock_, LW_EXCLUSIVE);
  Place* place = FindPlace(number);
  if (place == nullptr) return;
  place->answer = answer;
  place->state = place->latch != nullptr ? State::kAnswered : State::kFree;
  if (place->latch != nullptr) SetLatch(place->latch);
}

bool Board::TakeLook(Oid database) noexcept {
  LockScope guard(lock_, LW_EXCLUSIVE);
  Due* due = FindOrAddDue(database);
  return due != nullptr && std::exchange(due->look, false);
}

bool Board::NeedsCollector(Oid database) noexcept {
  if (HasRequests(database)) return true;
  LockScope guard(lock_, LW_SHARED);
  const Due* due = FindDue(database);
  return due != nullptr && due->look;
}

void Board::LookAgain(Oid database) noexcept {
  LockScope guard(lock_, LW_EXCLUSIVE);
  Due* due = FindDue(database);
  if (due == nullptr) return;
  due->look = true;
  if (launcher_ != nullptr) SetLatch(launcher_);
}

void Board::SetDue(Oid database, TimestampTz at) noexcept {
  LockScope guard(lock_, LW_EXCLUSIVE);
  Due* due = FindOrAddDue(database);
  if (due == nullptr) return;
  due->at = Min(due->at, at);
  ++due->changes;
  if (launcher_ != nullptr) SetLatch(launcher_);
}

void Board::Forget(Oid database) noexcept {
  LockScope guard(lock_, LW_EXCLUSIVE);
  if (Due* due = FindDue(database)) *due = {};
  for (Place& place : places_) {
    if (place.state == State::kFree || place.request.database != database) continue;
    if (place.latch == nullptr) place.state = State::kFree;
  }
}

void Board::EndWorkers(Oid database) noexcept {
  LockScope guard(lock_, LW_EXCLUSIVE);
  for (const JobWorker& worker : workers_)
    if (worker.database == database && worker.pid != 0) kill(worker.pid, SIGTERM);
}

// --- Launcher -----------------------------------------------------------------------------------

void Board::SetLauncher(Latch* latch) noexcept {
  LockScope guard(lock_, LW_EXCLUSIVE);
  launcher_ = latch;
  // What an earlier launcher started and is not there yet is not waited for.
  for (JobWorker& worker : workers_) {
    if (!OidIsValid(worker.database) || worker.pid != 0) continue;
    if (Due* due = FindDue(worker.database)) due->at = GetCurrentTimestamp();
    worker = {};
  }
}

int Board::StartNext(int most, bool (*may_start)(Oid), TimestampTz* next_due) noexcept {
  Due candidates[kMostDatabases];
  int count = 0;
  const TimestampTz now = GetCurrentTimestamp();
  *next_due = DT_NOEND;
  {
    LockScope guard(lock_, LW_SHARED);
    int working = 0;
    for (const JobWorker& worker : workers_) working += OidIsValid(worker.database) ? 1 : 0;
    if (working >= Min(most, kMostWorkers)) return -1;
    for (const Due& due : due_) {
      if (!OidIsValid(due.database)) continue;
      if (due.at <= now) candidates[count++] = due;
      if (due.at > now) *next_due = Min(*next_due, due.at);
    }
  }
  // A database with many jobs takes turns with the others.
  std::sort(candidates, candidates + count, [](const Due& a, const Due& b) { return a.at < b.at; });
  for (int i = 0; i < count; ++i) {
    const Oid database = candidates[i].database;
    // Takes another lock.
    if (!may_start(database)) continue;
    LockScope guard(lock_, LW_EXCLUSIVE);
    Due* due = FindDue(database);
    if (due == nullptr) continue;
    for (int place = 0; place < kMostWorkers; ++place) {
      if (OidIsValid(workers_[place].database)) continue;
      workers_[place] = {};
      workers_[place].database = database;
      workers_[place].number = ++starts_;
      // Until the worker has looked.
      due->at = DT_NOEND;
      return place;
    }
  }
  if (count > 0) *next_due = Min(*next_due, TimestampTzPlusMilliseconds(now, 1000));
  return -1;
}

void Board::StartFailed(int place, uint64 number) noexcept {
  LockScope guard(lock_, LW_EXCLUSIVE);
  JobWorker& worker = workers_[place];
  if (worker.number != number || worker.pid != 0 || !OidIsValid(worker.database)) return;
  if (Due* due = FindDue(worker.database))
    due->at = Min(due->at, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), 1000));
  worker = {};
}

JobWorker Board::WorkerAt(int place) noexcept {
  LockScope guard(lock_, LW_SHARED);
  return workers_[place];
}

int Board::Workers(Oid database, JobWorker* workers) noexcept {
  LockScope guard(lock_, LW_SHARED);
  int count = 0;
  for (const JobWorker& worker : workers_) {
    if (!OidIsValid(worker.database) || worker.pid == 0) continue;
    if (OidIsValid(database) && worker.database != database) continue;
    workers[count++] = worker;
  }
  return count;
}

bool Board::IsWorker(int pid) noexcept {
  LockScope guard(lock_, LW_SHARED);
  for (const JobWorker& worker : workers_)
    if (worker.pid == pid) return true;
  return false;
}

uint64 Board::WorkerOn(Oid database, int64 job_id) noexcept {
  LockScope guard(lock_, LW_SHARED);
  for (const JobWorker& worker : workers_) {
    if (worker.pid != 0 && worker.database == database && worker.job_id == job_id)
      return worker.number;
  }
  return 0;
}

bool Board::IsHeldUpBy(int pid) noexcept {
  LockScope guard(lock_, LW_SHARED);
  return std::ranges::any_of(workers_, [pid](const JobWorker& worker) {
    return worker.pid != 0 && worker.held_up_by.Has(pid);
  });
}

bool Board::IsHeldUpBy(int pid, Oid database, int64 job_id) noexcept {
  LockScope guard(lock_, LW_SHARED);
  return std::ranges::any_of(workers_, [=](const JobWorker& worker) {
    return worker.pid != 0 && worker.database == database && worker.job_id == job_id &&
           worker.held_up_by.Has(pid);
  });
}

void Board::NoteHeldUp(uint64 number, const Holders& held_up_by) noexcept {
  LockScope guard(lock_, LW_EXCLUSIVE);
  if (JobWorker* worker = FindWorker(number)) worker->held_up_by = held_up_by;
}

void Board::NoteWaiting(uint64 number, const char* waiting_for,
                        const Holders& held_up_by) noexcept {
  LockScope guard(lock_, LW_EXCLUSIVE);
  JobWorker* worker = FindWorker(number);
  if (worker == nullptr) return;
  worker->held_up_by = held_up_by;
  if (worker->cancel != CancelReason::kNone) return;
  strlcpy(worker->waiting_for, waiting_for, sizeof(worker->waiting_for));
}

void Board::NotePinWait(uint64 number, TimestampTz since) noexcept {
  LockScope guard(lock_, LW_EXCLUSIVE);
  if (JobWorker* worker = FindWorker(number)) worker->pin_wait = since;
}

bool Board::Cancel(uint64 number, CancelReason reason, const char* waiting_for) noexcept {
  LockScope guard(lock_, LW_EXCLUSIVE);
  JobWorker* worker = FindWorker(number);
  if (worker == nullptr || worker->has_ended) return false;
  const TimestampTz now = GetCurrentTimestamp();
  // Somebody's wish also ends the retries.
  if (worker->cancel == CancelReason::kNone ||
      (reason == CancelReason::kUser && worker->cancel != CancelReason::kUser)) {
    worker->cancel = reason;
    worker->cancelled = now;
    strlcpy(worker->waiting_for, waiting_for, sizeof(worker->waiting_for));
  }
  if (!worker->in_command) return true;
  const TimestampTz asked = Max(worker->cancelled, worker->begun);
  kill(worker->pid, TimestampDifferenceExceeds(asked, now, kCancelPatienceMs) ? SIGTERM : SIGINT);
  return true;
}

// --- Worker -------------------------------------------------------------------------------------

Oid Board::Enter(int place) noexcept {
  LockScope guard(lock_, LW_EXCLUSIVE);
  JobWorker& worker = workers_[place];
  if (!OidIsValid(worker.database) || worker.pid != 0) return InvalidOid;
  worker.pid = MyProcPid;
  if (launcher_ != nullptr) SetLatch(launcher_);  // watches from now on
  return worker.database;
}

void Board::Leave(int place) noexcept {
  LockScope guard(lock_, LW_EXCLUSIVE);
  JobWorker& worker = workers_[place];
  if (worker.pid != MyProcPid) return;
  Due* due = FindDue(worker.database);
  if (due != nullptr && worker.job_id != 0) {
    // Whatever was held up by it may start; and if its end was not written, the collector sees to
    // it.
    due->at = GetCurrentTimestamp();
    due->look = true;
    if (due->taker != nullptr) SetLatch(due->taker);
  }
  worker = {};
  if (launcher_ != nullptr) SetLatch(launcher_);
}

bool Board::MayStay(int place, int most) noexcept {
  LockScope guard(lock_, LW_SHARED);
  const JobWorker& own = workers_[place];
  int older = 0;
  for (const JobWorker& worker : workers_) {
    const bool is_older = worker.database == own.database && worker.number < own.number;
    older += is_older ? 1 : 0;
  }
  return older < most;
}

uint64 Board::Looks(Oid database) noexcept {
  LockScope guard(lock_, LW_SHARED);
  const Due* due = FindDue(database);
  return due != nullptr ? due->changes : 0;
}

void Board::SetDueUnlessChanged(Oid database, TimestampTz at, uint64 looks) noexcept {
  LockScope guard(lock_, LW_EXCLUSIVE);
  Due* due = FindDue(database);
  if (due == nullptr) return;
  due->at = due->changes == looks ? Min(due->at, at) : GetCurrentTimestamp();
}

void Board::SetJob(int place, int64 job_id) noexcept {
  LockScope guard(lock_, LW_EXCLUSIVE);
  workers_[place].job_id = job_id;
}

void Board::BeginCommand(int place, const JobBudgets& budgets) noexcept {
  LockScope guard(lock_, LW_EXCLUSIVE);
  JobWorker& worker = workers_[place];
  worker.budgets = budgets;
  worker.begun = GetCurrentTimestamp();
  worker.in_command = true;
  if (worker.cancel != CancelReason::kNone) kill(MyProcPid, SIGINT);
}

CancelReason Board::EndCommand(int place, char (*waiting_for)[160]) noexcept {
  LockScope guard(lock_, LW_EXCLUSIVE);
  JobWorker& worker = workers_[place];
  worker.in_command = false;
  worker.has_ended = true;
  strlcpy(*waiting_for, worker.waiting_for, sizeof(*waiting_for));
  return worker.cancel;
}

}  // namespace train_perf
