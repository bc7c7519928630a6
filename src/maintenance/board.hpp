// Maintenance in shared memory: what callers ask for until the collector has written it to
// maintenance_jobs, when each database has a job that is due, and the workers at work.
//
// A request is posted by a backend, taken by the collector of its database, and answered after the
// collector's commit. A worker is started by the launcher for a database with a due job, takes that
// job itself, and ends with it.
#pragma once

#include "pg/prelude.hpp"

namespace train_perf {

enum class RequestAction : int { kQueue, kCancel };

struct MaintenanceRequest {
  RequestAction action;
  Oid database;
  Oid role;       // who asks
  char kind[20];  // as in maintenance_jobs
  Oid relation;
  double threshold;    // NaN: none
  double bloat_ratio;  // NaN: none
  int64 job_id;        // of kCancel
  char reason[256];
};

// What kCancel is answered with.
enum CancelAnswer : int64 { kEnded = 0, kCancelled = 1, kNoSuchJob = -1, kNotAllowed = -2 };
// What kQueue is answered with instead of the number of the job, where 10,000, or 5,000 of the
// role, have not ended.
inline constexpr int64 kTooManyJobs = -3;

enum class CancelReason : int { kNone, kUser, kLockTimeout, kDrainTimeout, kJobTimeout, kGaveWay };

struct JobBudgets {
  int lock_timeout_ms;
  int drain_timeout_ms;
  int job_timeout_ms;  // 0: none
  bool drains;         // the command waits for the end of transactions, prepared ones included
  bool may_give_way;   // to a caller whose job waits for this worker: the first attempt
};

// The processes that keep a worker waiting, if only by the end of their transactions: one waits for
// the next. 0: none any more.
struct Holders {
  static constexpr int kMost = 8;
  int pids[kMost];

  bool Has(int pid) const noexcept;
};

struct JobWorker {
  Oid database;           // InvalidOid: a free place
  int pid;                // 0: not there yet
  uint64 number;          // of the start
  int64 job_id;           // 0: none yet
  TimestampTz pin_wait;   // since when it waits for a page that others have pinned; 0: it does not
  TimestampTz begun;      // the command
  TimestampTz cancelled;  // when
  CancelReason cancel;
  Holders held_up_by;
  JobBudgets budgets;
  bool in_command;
  bool has_ended;         // the command
  char waiting_for[160];  // now, or when it was cancelled; empty: nothing
};

class Board {
 public:
  static constexpr int kRequests = 256;
  static constexpr int kRequestsPerDatabase = kRequests / 2;
  static constexpr int kMostWorkers = 64;
  static constexpr int kMostDatabases = 512;

  void Init(LWLock* lock) noexcept;

  // --- Who asks ---
  // The number of the request, or 0 if there is no room, at all or for one database. `latch` is set
  // when it is answered; nullptr: nobody waits.
  uint64 Post(const MaintenanceRequest& request, Latch* latch) noexcept;
  // Whether it is answered, which frees its place.
  bool TakeAnswer(uint64 number, int64* answer) noexcept;
  // Nobody waits any more: what is not taken yet is forgotten. False if it was taken already.
  bool Withdraw(uint64 number) noexcept;
  void CountDropped() noexcept;
  int64 dropped() const noexcept { return dropped_; }

  // --- Collector ---
  void SetTaker(Oid database, Latch* latch) noexcept;
  bool HasRequests(Oid database) noexcept;
  // The next request of the database after number `after`, now taken, or 0.
  uint64 Take(Oid database, uint64 after, MaintenanceRequest* request) noexcept;
  void Answer(uint64 number, int64 answer) noexcept;
  // Whether workers have ended or the server has started since the last call.
  bool TakeLook(Oid database) noexcept;
  // Whether it has requests, or something to look at.
  bool NeedsCollector(Oid database) noexcept;
  // Settings have changed: jobs may start, the schedule may be another.
  void LookAgain(Oid database) noexcept;
  // A job is due then.
  void SetDue(Oid database, TimestampTz at) noexcept;
  void Forget(Oid database) noexcept;
  // Ends the workers of a database whose extension is gone, and their jobs with it.
  void EndWorkers(Oid database) noexcept;

  // --- Launcher ---
  void SetLauncher(Latch* latch) noexcept;
  // A place for a worker of a database that `may_start` and has a job due, or -1; sets when to ask
  // again (DT_NOEND: at the next wake-up).
  int StartNext(int most, bool (*may_start)(Oid), TimestampTz* next_due) noexcept;
  // It could not be started or has ended without having entered.
  void StartFailed(int place, uint64 number) noexcept;
  bool starved() const noexcept { return starved_; }
  void SetStarved(bool starved) noexcept { starved_ = starved; }
  JobWorker WorkerAt(int place) noexcept;
  // Room for kMostWorkers; returns how many there are, of one database or of all.
  int Workers(Oid database, JobWorker* workers) noexcept;
  bool IsWorker(int pid) noexcept;
  // The start of the worker that is at work on a job, or 0.
  uint64 WorkerOn(Oid database, int64 job_id) noexcept;
  void NoteWaiting(uint64 number, const char* waiting_for, const Holders& held_up_by) noexcept;
  void NoteHeldUp(uint64 number, const Holders& held_up_by) noexcept;
  // Whether a worker waits for the end of the transaction of this process.
  bool IsHeldUpBy(int pid) noexcept;
  // The same of the worker that is at work on a job.
  bool IsHeldUpBy(int pid, Oid database, int64 job_id) noexcept;
  void NotePinWait(uint64 number, TimestampTz since) noexcept;
  // Ends the command of a worker; the reason stays until the worker takes it. Called again half a
  // minute later, it ends the worker: code of users may have caught what was to end it. False if
  // the command has ended.
  bool Cancel(uint64 number, CancelReason reason, const char* waiting_for) noexcept;

  // --- Worker ---
  // InvalidOid if nobody waits for it.
  Oid Enter(int place) noexcept;
  void Leave(int place) noexcept;
  // Whether fewer than `most` older workers are in this database, or on their way to it.
  bool MayStay(int place, int most) noexcept;
  uint64 Looks(Oid database) noexcept;
  // When a job is due that no worker of now takes, unless SetDue was called since Looks().
  void SetDueUnlessChanged(Oid database, TimestampTz at, uint64 looks) noexcept;
  void SetJob(int place, int64 job_id) noexcept;
  void BeginCommand(int place, const JobBudgets& budgets) noexcept;
  // No cancel reaches it after this. Why it was cancelled.
  CancelReason EndCommand(int place, char (*waiting_for)[160]) noexcept;

 private:
  enum class State : int { kFree, kAsked, kTaken, kAnswered };
  struct Place {
    State state;
    uint64 number;
    Latch* latch;
    int64 answer;
    MaintenanceRequest request;
  };
  struct Due {
    Oid database;
    bool look;
    TimestampTz at;
    uint64 changes;
    Latch* taker;
  };

  Place* FindPlace(uint64 number) noexcept;
  Due* FindDue(Oid database) noexcept;
  Due* FindOrAddDue(Oid database) noexcept;
  JobWorker* FindWorker(uint64 number) noexcept;

  LWLock* lock_;
  Latch* launcher_;
  bool starved_;
  int64 dropped_;
  uint64 requests_made_;
  uint64 starts_;
  Place places_[kRequests];
  Due due_[kMostDatabases];
  JobWorker workers_[kMostWorkers];
};

// In shared memory; nullptr unless the library was preloaded.
extern Board* board;

}  // namespace train_perf
