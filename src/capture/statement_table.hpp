// Statement statistics in shared memory, bounded by train_perf.max_statements.
//
// One entry per database, user, statement and whether a client sent it. An entry holds counters, a
// latency histogram of as many octaves as its durations touch, and the normalised text, stored when
// the statement gets its entry. While there is room every statement gets one. After that a
// statement must come three times within a while, or be a heavy one: a sieve remembers which were
// seen lately. For it a clock sweep gives up the entry that was used least lately. The numbers of
// what gave way, and of what did not pass the sieve, are in the database's row of evicted
// statements (id 0), so sums over all rows stay exact. The work for one statement does not grow
// with the table.
//
// Every counter exists as a total and as the part of it that is in query_stats_history already; the
// difference is what the collector writes next. Reset moves both, so that it loses no history.
//
// Locks: a partition lock guards the hash chains (shared to look up), an entry's spinlock its
// numbers, the allocation lock the free lists. None is held while another one is waited for, but
// partition -> spinlock. Nothing here raises an error or allocates local memory.
#pragma once

#include <string_view>

#include "capture/block_pool.hpp"
#include "core/latency_histogram.hpp"
#include "core/md5.hpp"
#include "pg/prelude.hpp"

namespace train_perf {

inline constexpr uint32 kMaxStatementText = 8192;  // bytes of normalised text that are kept
inline constexpr uint64 kSlowNs = 500 * UINT64CONST(1000000);   // what the contract calls slow
inline constexpr uint64 kHeavyNs = 100 * UINT64CONST(1000000);  // not to be missed

struct StatementKey {
  Oid database;
  Oid user;
  uint64 id;  // query id, or ours where the server has none; 0 is the row of evicted statements
  bool toplevel;

  bool operator==(const StatementKey& other) const noexcept {
    return id == other.id && user == other.user && database == other.database &&
           toplevel == other.toplevel;
  }
  bool IsEvictedRow() const noexcept { return id == 0; }
  static StatementKey EvictedRow(Oid database) noexcept { return {database, InvalidOid, 0, true}; }
};

// Where a statement's text stands in the string that the client or function sent.
struct StatementSource {
  const char* text;  // NUL-terminated; may be nullptr
  int location;      // as in PlannedStmt: -1 unknown
  int length;        // 0: to the end

  std::string_view View() const noexcept;
};

// What one execution used. Times in ns.
struct Execution {
  uint64 duration_ns;
  uint64 rows;
  uint64 blocks_hit;
  uint64 blocks_read;
  uint64 temp_written;
  uint64 wal_bytes;
  int sqlstate;  // 0: succeeded
  TimestampTz started;
};

// Executions of one statement, all of which succeeded or, with an sqlstate, failed.
struct ExecutionBatch {
  const uint64* durations_ns;
  uint32 count;
  uint64 rows;
  uint64 blocks_hit;
  uint64 blocks_read;
  uint64 temp_written;
  uint64 wal_bytes;
  int sqlstate;
  TimestampTz first;
  TimestampTz last;
};

// Plain sums: they add and subtract member by member, modulo 2^64.
struct Counters {
  uint64 calls;
  uint64 errors;
  uint64 slow;
  uint64 rows;
  uint64 exec_ns;
  uint64 plan_ns;
  uint64 blocks_hit;
  uint64 blocks_read;
  uint64 temp_written;
  uint64 wal_bytes;

  Counters& operator+=(const Counters& other) noexcept;
  Counters& operator-=(const Counters& other) noexcept;
};

// A copy of one entry. Large: allocate it, do not put it on the stack.
struct StatementSnapshot {
  uint32 index;
  uint64 generation;
  StatementKey key;
  Counters total;
  Counters pending;  // not in the history yet
  double sum_squares_us;
  uint64 min_ns;
  uint64 max_ns;
  int last_sqlstate;
  TimestampTz first_seen;
  TimestampTz last_seen;
  LatencyHistogram histogram;
  LatencyHistogram pending_histogram;
  Md5Digest hash;
  int encoding;
  uint32 text_length;
  char text[kMaxStatementText];
};

// What of an entry has been written to the history, besides its histogram.
struct WrittenPart {
  uint32 index;
  uint64 generation;
  StatementKey key;
  Counters counters;
};

class StatementTable {
 public:
  static constexpr int kPartitions = 16;
  static constexpr int kLocks = kPartitions + 1;

  static Size SharedSize(int max_statements) noexcept;
  void Init(int max_statements, LWLockPadded* locks) noexcept;

  // Adds executions. `source` is read only if the statement is not known (any more); if its text is
  // nullptr then, they go to the evicted row and the answer is false.
  bool Record(const StatementKey& key, const StatementSource& source,
              const ExecutionBatch& batch) noexcept;
  void Record(const StatementKey& key, const StatementSource& source,
              const Execution& execution) noexcept;
  // True if the statement has an entry, or gets one now. `heavy` ones need not pass the sieve.
  bool Admit(const StatementKey& key, const StatementSource& source, bool heavy) noexcept;
  void RecordPlanning(const StatementKey& key, const StatementSource& source, uint64 ns) noexcept;
  // Counts an error after a successful execution was recorded (a commit that failed).
  void RecordLateError(const StatementKey& key, int sqlstate) noexcept;

  // Text and hash of a known statement: the bytes written to `text`, which has room for
  // kMaxStatementText, or -1.
  int FindText(const StatementKey& key, char* text, Md5Digest* hash) noexcept;

  // Copies entry `index` of [0, capacity); false if it is free or has counted nothing.
  bool Read(uint32 index, StatementSnapshot* snapshot) noexcept;
  uint32 capacity() const noexcept { return capacity_; }

  // What the collector wrote is no longer pending. If the entry is another's by now, its former
  // numbers are in the evicted row, which is corrected instead.
  void MarkWritten(const WrittenPart& part, const LatencyHistogram& histogram) noexcept;
  // Nothing of this database (InvalidOid: of any) is pending from here on: capture ran before there
  // was a history to write to.
  void DiscardPending(Oid database) noexcept;

  void Reset() noexcept;
  // Removes all of a database that was dropped.
  void Forget(Oid database) noexcept;

  // Puts a saved entry back; only while the server starts, before anybody else looks.
  void Restore(const StatementSnapshot& snapshot) noexcept;

  uint32 tracked() noexcept;  // statements that have counted something, without evicted rows
  // How many statements gave way or were not let in.
  uint64 evicted() const noexcept {
    return pg_atomic_read_u64(const_cast<pg_atomic_uint64*>(&evicted_));
  }
  void set_evicted(uint64 n) noexcept { pg_atomic_write_u64(&evicted_, n); }
  TimestampTz counting_since() const noexcept { return counting_since_; }
  void set_counting_since(TimestampTz since) noexcept { counting_since_ = since; }

 private:
  struct Entry;
  struct Octave;

  Entry* entries() noexcept;
  uint32* buckets() noexcept;
  BlockPool* pool() noexcept;
  Octave* octave(uint32 block) noexcept;
  static Octave* OctaveIn(BlockPool* pool, uint32 block) noexcept;
  LWLock* PartitionLock(uint32 hash) noexcept;
  LWLock* AllocationLock() noexcept;

  Entry* Find(const StatementKey& key, uint32 hash) noexcept;
  template <typename F>
  bool Update(const StatementKey& key, int octave_needed, F&& change) noexcept;
  bool Add(const StatementKey& key, const ExecutionBatch& batch) noexcept;
  static void AddCounters(Entry* entry, const ExecutionBatch& batch) noexcept;
  uint64 AddDurations(Entry* entry, const ExecutionBatch& batch) noexcept;
  bool HasRoom() noexcept;
  bool PassesSieve(const StatementKey& key) noexcept;
  pg_atomic_uint32* sieve() noexcept;
  void Insert(const StatementKey& key, const StatementSource& source) noexcept;
  uint32 StoreText(Entry* entry, const StatementSource& source) noexcept;
  void EnsureEvictedRow(Oid database) noexcept;
  uint32 TakeEntry(bool evicted_row) noexcept;
  uint32 TakeBlocks(uint32 count) noexcept;
  void ReturnBlocks(uint32 chain) noexcept;
  void ReturnEntry(uint32 index) noexcept;
  bool Link(uint32 index) noexcept;
  bool Unlink(uint32 index, bool wait) noexcept;
  bool EvictOne() noexcept;
  uint32 ChooseVictim() noexcept;
  void MoveToEvictedRow(uint32 victim) noexcept;
  void AbsorbOctaves(Entry* into, Entry* from) noexcept;
  static void Clear(Entry* entry) noexcept;

  LWLockPadded* locks_;
  uint32 capacity_;
  uint32 bucket_count_;
  uint32 sieve_size_;
  uint32 free_entries_;
  uint32 free_entry_;  // head of the free list, chained by Entry::next
  pg_atomic_uint32 hand_;
  pg_atomic_uint64 evicted_;
  pg_atomic_uint64 generation_;
  TimestampTz counting_since_;
};

}  // namespace train_perf
