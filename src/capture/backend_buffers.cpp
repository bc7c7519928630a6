#include "capture/backend_buffers.hpp"

#include <algorithm>

#include "pg/lock.hpp"

namespace train_perf {

namespace {

constexpr uint32 kWays = 4;  // slots that a statement may be in
constexpr StatementSource kNoSource{nullptr, -1, 0};

bool IsBuffered(const Execution& execution) noexcept {
  return execution.sqlstate == 0 && execution.duration_ns <= PG_UINT32_MAX;
}

}  // namespace

struct BackendBuffers::Slot {
  struct Sums {
    uint64 rows;
    uint64 blocks_hit;
    uint64 blocks_read;
    uint64 temp_written;
    uint64 wal_bytes;
  };
  // The owner's.
  StatementKey key;
  uint32 count;       // of executions since the slot was claimed, modulo 2^32
  TimestampTz first;  // of those that are not in the table
  TimestampTz last;
  Sums sums;
  uint32 durations_ns[kBuffered];
  // Of whoever holds the lock.
  bool is_orphan;  // the statement's entry has given way: claim the slot anew
  uint32 folded_count;
  Sums folded;
};

struct alignas(PG_CACHE_LINE_SIZE) BackendBuffers::Backend {
  LWLock lock;
  bool in_use;  // a slot was claimed
  alignas(PG_CACHE_LINE_SIZE) Slot slots[kSlots];
};

BackendBuffers::Backend* BackendBuffers::own_backend = nullptr;

Size BackendBuffers::SharedSize(int backends) noexcept {
  return CACHELINEALIGN(sizeof(BackendBuffers)) + static_cast<Size>(backends) * sizeof(Backend);
}

// The server aligns shared memory to cache lines.
BackendBuffers::Backend* BackendBuffers::backend(uint32 index) noexcept {
  char* first = reinterpret_cast<char*>(this) + CACHELINEALIGN(sizeof(BackendBuffers));
  return reinterpret_cast<Backend*>(first) + index;
}

void BackendBuffers::Init(int backends, int tranche, StatementTable* table) noexcept {
  table_ = table;
  backends_ = static_cast<uint32>(backends);
  for (uint32 i = 0; i < backends_; ++i) {
    *backend(i) = {};
    LWLockInitialize(&backend(i)->lock, tranche);
  }
}

// nullptr in processes that are no backends.
BackendBuffers::Backend* BackendBuffers::Own() noexcept {
  if (own_backend == nullptr && MyProc != nullptr && OwnProcNumber() < backends_)
    own_backend = backend(OwnProcNumber());
  return own_backend;
}

BackendBuffers::Slot* BackendBuffers::Find(Backend* own, const StatementKey& key) noexcept {
  for (uint32 way = 0; way < kWays; ++way) {
    Slot* slot = &own->slots[(key.id + way) % kSlots];
    if (slot->key == key && !slot->is_orphan) return slot;
  }
  return nullptr;
}

// Nearly always the statement is in the first slot where it may be.
void BackendBuffers::Record(const StatementKey& key, const StatementSource& source,
                            const Execution& execution) noexcept {
  if (own_backend != nullptr && IsBuffered(execution)) {
    Slot* slot = &own_backend->slots[key.id % kSlots];
    if (slot->key == key && !slot->is_orphan) {
      Add(slot, source, execution);
      return;
    }
  }
  RecordInOtherSlot(key, source, execution);
}

void BackendBuffers::RecordInOtherSlot(const StatementKey& key, const StatementSource& source,
                                       const Execution& execution) noexcept {
  Backend* own = Own();
  if (own == nullptr || !IsBuffered(execution)) {
    table_->Record(key, source, execution);
    return;
  }
  Slot* slot = Find(own, key);
  if (slot == nullptr) slot = Claim(own, key, source, execution.duration_ns);
  Add(slot, source, execution);
}

[[gnu::always_inline]] inline void BackendBuffers::Add(Slot* slot, const StatementSource& source,
                                                       const Execution& execution) noexcept {
  const uint32 count = slot->count;
  if (count == slot->folded_count) slot->first = execution.started;
  slot->last = execution.started;
  slot->sums.rows += execution.rows;
  slot->sums.blocks_hit += execution.blocks_hit;
  slot->sums.blocks_read += execution.blocks_read;
  slot->sums.temp_written += execution.temp_written;
  slot->sums.wal_bytes += execution.wal_bytes;
  slot->durations_ns[count % kBuffered] = static_cast<uint32>(execution.duration_ns);
  pg_write_barrier();
  slot->count = count + 1;
  if ((count + 1) % kBuffered == 0) FoldFull(slot, source);
}

void BackendBuffers::FoldFull(Slot* slot, const StatementSource& source) noexcept {
  LockScope guard(&own_backend->lock, LW_EXCLUSIVE);
  Fold(slot, source);
}

// A slot for a statement that has none: its own, or that of the evicted row if the table does not
// let it in.
BackendBuffers::Slot* BackendBuffers::Claim(Backend* own, const StatementKey& key,
                                            const StatementSource& source,
                                            uint64 duration_ns) noexcept {
  StatementKey counted = key;
  if (!table_->Admit(key, source, duration_ns >= kHeavyNs)) {
    counted = StatementKey::EvictedRow(key.database);
    if (Slot* slot = Find(own, counted)) return slot;
  }
  Slot* slot = &own->slots[counted.id % kSlots];
  for (uint32 way = 1; way < kWays; ++way) {
    Slot* other = &own->slots[(counted.id + way) % kSlots];
    if (other->last < slot->last) slot = other;
  }
  LockScope guard(&own->lock, LW_EXCLUSIVE);
  Fold(slot, kNoSource);
  *slot = {};
  slot->key = counted;
  own->in_use = true;
  return slot;
}

// Under the backend's lock.
void BackendBuffers::Fold(Slot* slot, const StatementSource& source) noexcept {
  const uint32 count = slot->count;
  pg_read_barrier();
  const uint32 unfolded = count - slot->folded_count;
  if (unfolded == 0) return;
  uint64 durations_ns[kBuffered];
  for (uint32 i = 0; i < unfolded; ++i)
    durations_ns[i] = slot->durations_ns[(slot->folded_count + i) % kBuffered];
  const Slot::Sums sums = slot->sums;
  const Slot::Sums& folded = slot->folded;
  slot->is_orphan = !table_->Record(
      slot->key, source,
      {durations_ns, unfolded, sums.rows - folded.rows, sums.blocks_hit - folded.blocks_hit,
       sums.blocks_read - folded.blocks_read, sums.temp_written - folded.temp_written,
       sums.wal_bytes - folded.wal_bytes, 0, slot->first, slot->last});
  slot->folded = sums;
  slot->folded_count = count;
}

void BackendBuffers::FoldAll(Backend* backend) noexcept {
  if (!backend->in_use) return;
  LockScope guard(&backend->lock, LW_EXCLUSIVE);
  for (Slot& slot : backend->slots) Fold(&slot, kNoSource);
}

void BackendBuffers::Settle() noexcept {
  for (uint32 i = 0; i < backends_; ++i) FoldAll(backend(i));
}

void BackendBuffers::SettleOwn() noexcept {
  if (Backend* own = Own()) FoldAll(own);
}

}  // namespace train_perf
