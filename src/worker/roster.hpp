// Who collects for which database: in shared memory, shared by the launcher, the collectors, and
// the sessions that create or drop the extension or a database.
//
// A database is on the roster while it may have the extension. The launcher puts it there to have a
// look, or CREATE EXTENSION does at its commit; the collector that finds no extension takes it off.
#pragma once

#include "core/backoff.hpp"
#include "pg/prelude.hpp"

namespace train_perf {

inline constexpr Backoff kCollectorBackoff{1000, 60000};

struct DatabaseStatus {
  int collector_pid;     // 0: none at the moment
  char last_error[256];  // empty: none yet
  TimestampTz last_error_at;
};

class Roster {
 public:
  static constexpr int kMostDatabases = 512;

  void Init(LWLock* lock) noexcept;

  // --- Sessions ---
  // The extension was created by this session, perhaps from a dump that it is loading: the database
  // gets a lane of events and a collector.
  void Announce(Oid database, bool restoring) noexcept;
  // This session is loading a dump into the database, and runs a command of it or has just ended
  // one.
  void NoteRestore(Oid database, bool runs) noexcept;
  // The extension may have come to the database or be gone; databases have come or gone.
  void RequestLook(Oid database) noexcept;
  void RequestScan() noexcept;
  // Keeps collectors away from a database until Release; returns the one that must go, or 0. Nests.
  int Hold(Oid database) noexcept;
  void Release(Oid database) noexcept;
  void Forget(Oid database) noexcept;  // it was dropped
  int CollectorOf(Oid database) noexcept;
  // Lets the collector end orderly; the launcher starts it again, with new settings.
  void Restart(Oid database) noexcept;
  DatabaseStatus StatusOf(Oid database) noexcept;

  // --- Launcher ---
  void SetLauncher(Latch* latch) noexcept;
  bool TakeScanRequest() noexcept;
  bool Add(Oid database) noexcept;
  // False if it has a collector, which is asked to look instead.
  bool Remove(Oid database) noexcept;
  // All on the roster; room for kMostDatabases. Returns how many.
  int Databases(Oid* databases) noexcept;
  // A database to start a collector for, marked as starting, or InvalidOid. First come those that
  // have work: a look, events, or a last turn before `history_before`. `processes` are there,
  // perhaps about to exit. Sets whether one with work waits for a place, and when to ask again (0:
  // at the next wake-up).
  struct Start {
    Oid database;
    uint64 number;  // tells one start from the next
  };
  Start TakeNext(int most, int processes, TimestampTz history_before,
                 TimestampTz* next_start) noexcept;
  void Starve(const Start& start) noexcept;  // the server has no worker for it
  void StartFailed(const Start& start) noexcept;

  // --- Collector ---
  // False if the database is held or not on the roster.
  bool Enter(Oid database, int pid, Latch* latch) noexcept;
  void Leave(Oid database, bool failed) noexcept;
  // The extension is not here. False if somebody asked for another look meanwhile.
  bool LeaveForGood(Oid database) noexcept;
  void SetError(Oid database, const char* message) noexcept;
  bool IsHeld(Oid database) noexcept;
  bool TakeLookRequest(Oid database) noexcept;
  bool OthersWait() const noexcept { return others_wait_; }
  TimestampTz UpkeepDue(Oid database) noexcept;
  void SetUpkeepDue(Oid database, TimestampTz due) noexcept;
  // Whether a session is loading a dump into it, or another one of the same restore may follow. A
  // session that does nothing counts for ten minutes.
  bool IsRestoring(Oid database) noexcept;

 private:
  struct Entry {
    Oid database;
    int pid;
    uint64 starting;  // number of the start under way, or 0
    bool look;
    bool listed;   // not only held
    bool starved;  // the server had no worker for it
    int holds;
    int failures;
    TimestampTz not_before;
    TimestampTz last_turn;
    TimestampTz upkeep_due;
    bool restorer_runs;  // a command
    int restorer_pid;    // 0: no dump is being loaded
    TimestampTz restorer_seen;
    Latch* latch;
    DatabaseStatus status;
  };

  Entry* Find(Oid database) noexcept;
  Entry* FindOrAdd(Oid database) noexcept;
  static bool IsRunning(const Entry& entry) noexcept {
    return entry.starting != 0 || entry.pid != 0;
  }
  static void Note(Entry* entry, const char* error) noexcept;
  static void Fail(Entry* entry, const char* why) noexcept;
  void WakeLauncher() noexcept;

  LWLock* lock_;
  Latch* launcher_;
  bool scan_;
  bool others_wait_;
  uint64 starts_;
  Entry entries_[kMostDatabases];
};

// In shared memory; nullptr unless the library was preloaded.
extern Roster* roster;

}  // namespace train_perf
