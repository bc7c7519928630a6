// What each backend has executed lately, in memory that nobody else writes: the hot path.
//
// Every backend has kSlots slots in shared memory, each for one statement. A successful execution
// of a statement that has a slot costs some dozen plain stores: no lock, no cache line that another
// backend writes, no histogram. After kBuffered executions the slot is added to the statement table
// as one batch; likewise when another statement needs the slot, when the backend exits, and when
// somebody reads the statistics (Settle). So readers miss nothing.
//
// A slot has two parts. The owner's only grows: sums since the slot was claimed, and the latest
// durations in a ring; `count` is written last. The other part says how much of it is in the
// table already; it is changed, and the statement of a slot is, only under the backend's lock. An
// execution that is just being added may show its rows and blocks one reading before its call.
//
// Failures, and executions of 2^32 ns (4 s) and more, go to the table at once.
#pragma once

#include "capture/statement_table.hpp"
#include "pg/prelude.hpp"

namespace train_perf {

class BackendBuffers {
 public:
  static constexpr uint32 kSlots = 64;
  static constexpr uint32 kBuffered = 32;

  static Size SharedSize(int backends) noexcept;
  void Init(int backends, int tranche, StatementTable* table) noexcept;

  // Adds one execution by this backend. `source` is read only if the statement is new.
  void Record(const StatementKey& key, const StatementSource& source,
              const Execution& execution) noexcept;

  // Moves all that has ended in any backend to the statement table.
  void Settle() noexcept;
  // The same for this backend alone, before it exits.
  void SettleOwn() noexcept;

 private:
  struct Slot;
  struct Backend;

  Backend* backend(uint32 index) noexcept;
  Backend* Own() noexcept;
  static Slot* Find(Backend* own, const StatementKey& key) noexcept;
  Slot* Claim(Backend* own, const StatementKey& key, const StatementSource& source,
              uint64 duration_ns) noexcept;
  void RecordInOtherSlot(const StatementKey& key, const StatementSource& source,
                         const Execution& execution) noexcept;
  void Add(Slot* slot, const StatementSource& source, const Execution& execution) noexcept;
  void FoldFull(Slot* slot, const StatementSource& source) noexcept;
  void Fold(Slot* slot, const StatementSource& source) noexcept;
  void FoldAll(Backend* backend) noexcept;

  static Backend* own_backend;  // this process's, once it has recorded something

  StatementTable* table_;
  uint32 backends_;
};

}  // namespace train_perf
