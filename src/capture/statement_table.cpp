#include "capture/statement_table.hpp"

#include <algorithm>
#include <utility>

#include "core/sql_text.hpp"
#include "pg/lock.hpp"

namespace train_perf {

namespace {

constexpr uint32 kBlocksPerStatement = 8;  // six octaves and 768 bytes of text on average
constexpr uint32 kMostUsage = 16;          // rounds of the sweep that a busy statement survives
constexpr uint32 kSweepSteps = 64;         // entries looked at for one victim
constexpr int kMostEvictions = 8;          // per statement that needs room
constexpr size_t kMostText = 1 << 20;      // of a statement that is looked at

uint32 HashOf(const StatementKey& key) noexcept {
  uint64 h = key.id ^ (static_cast<uint64>(key.database) << 32) ^ key.user;
  h += key.toplevel ? UINT64CONST(0x9e3779b97f4a7c15) : 0;
  h ^= h >> 33;
  h *= UINT64CONST(0xff51afd7ed558ccd);
  h ^= h >> 33;
  h *= UINT64CONST(0xc4ceb9fe1a85ec53);
  h ^= h >> 33;
  return static_cast<uint32>(h);
}

// Kept free of statements, so that there is room for the rows of evicted ones.
constexpr uint32 kReservedRows = 64;

uint32 Entries(int max_statements) noexcept {
  return static_cast<uint32>(max_statements) + kReservedRows;
}

uint32 BucketCount(int max_statements) noexcept {
  return std::max<uint32>(StatementTable::kPartitions, std::bit_ceil(Entries(max_statements)));
}

// Large enough to notice a statement that comes back while about as many others as there are
// entries passed.
uint32 SieveSize(int max_statements) noexcept { return std::bit_ceil(Entries(max_statements)); }

}  // namespace

std::string_view StatementSource::View() const noexcept {
  if (text == nullptr) return {};
  std::string_view view(text);
  const auto start = static_cast<size_t>(std::max(location, 0));
  if (start > view.size()) return {};
  view.remove_prefix(start);
  if (location >= 0 && length > 0) view = view.substr(0, static_cast<size_t>(length));
  return view.substr(0, kMostText);
}

Counters& Counters::operator+=(const Counters& other) noexcept {
  calls += other.calls;
  errors += other.errors;
  slow += other.slow;
  rows += other.rows;
  exec_ns += other.exec_ns;
  plan_ns += other.plan_ns;
  blocks_hit += other.blocks_hit;
  blocks_read += other.blocks_read;
  temp_written += other.temp_written;
  wal_bytes += other.wal_bytes;
  return *this;
}

Counters& Counters::operator-=(const Counters& other) noexcept {
  calls -= other.calls;
  errors -= other.errors;
  slow -= other.slow;
  rows -= other.rows;
  exec_ns -= other.exec_ns;
  plan_ns -= other.plan_ns;
  blocks_hit -= other.blocks_hit;
  blocks_read -= other.blocks_read;
  temp_written -= other.temp_written;
  wal_bytes -= other.wal_bytes;
  return *this;
}

struct StatementTable::Entry {
  StatementKey key;
  uint32 hash;
  uint32 next;  // in its bucket or in the free list
  bool linked;
  slock_t mutex;
  pg_atomic_uint32 usage;
  uint64 generation;
  Counters total;
  Counters written;
  double sum_squares_us;
  uint64 min_ns;
  uint64 max_ns;
  int last_sqlstate;
  TimestampTz first_seen;
  TimestampTz last_seen;
  uint32 octaves[kOctaves];  // blocks, or kNone
  uint32 text;               // chain, or kNone
  uint32 text_length;
  int encoding;
  Md5Digest text_hash;
};

struct StatementTable::Octave {
  uint64 total[kSubBuckets];
  uint32 written[kSubBuckets];  // the low half is enough for a difference
};

Size StatementTable::SharedSize(int max_statements) noexcept {
  Size size = MAXALIGN(sizeof(StatementTable));
  size += MAXALIGN(SieveSize(max_statements) * sizeof(pg_atomic_uint32));
  size += MAXALIGN(BucketCount(max_statements) * sizeof(uint32));
  size += MAXALIGN(Entries(max_statements) * sizeof(Entry));
  return size + BlockPool::SharedSize(Entries(max_statements) * kBlocksPerStatement);
}

pg_atomic_uint32* StatementTable::sieve() noexcept {
  return reinterpret_cast<pg_atomic_uint32*>(reinterpret_cast<char*>(this) +
                                             MAXALIGN(sizeof(StatementTable)));
}

uint32* StatementTable::buckets() noexcept {
  return reinterpret_cast<uint32*>(reinterpret_cast<char*>(sieve()) +
                                   MAXALIGN(sieve_size_ * sizeof(pg_atomic_uint32)));
}

StatementTable::Entry* StatementTable::entries() noexcept {
  return reinterpret_cast<Entry*>(reinterpret_cast<char*>(buckets()) +
                                  MAXALIGN(bucket_count_ * sizeof(uint32)));
}

BlockPool* StatementTable::pool() noexcept {
  return reinterpret_cast<BlockPool*>(reinterpret_cast<char*>(entries()) +
                                      MAXALIGN(capacity_ * sizeof(Entry)));
}

StatementTable::Octave* StatementTable::OctaveIn(BlockPool* pool, uint32 block) noexcept {
  static_assert(sizeof(Octave) == BlockPool::kPayload);
  return reinterpret_cast<Octave*>(pool->at(block)->payload);
}

StatementTable::Octave* StatementTable::octave(uint32 block) noexcept {
  return OctaveIn(pool(), block);
}

LWLock* StatementTable::PartitionLock(uint32 hash) noexcept {
  return &locks_[hash % kPartitions].lock;
}

LWLock* StatementTable::AllocationLock() noexcept { return &locks_[kPartitions].lock; }

void StatementTable::Init(int max_statements, LWLockPadded* locks) noexcept {
  locks_ = locks;
  capacity_ = Entries(max_statements);
  bucket_count_ = BucketCount(max_statements);
  sieve_size_ = SieveSize(max_statements);
  free_entries_ = capacity_;
  free_entry_ = 0;
  pg_atomic_init_u32(&hand_, 0);
  pg_atomic_init_u64(&evicted_, 0);
  pg_atomic_init_u64(&generation_, 0);
  counting_since_ = GetCurrentTimestamp();
  for (uint32 i = 0; i < sieve_size_; ++i) pg_atomic_init_u32(&sieve()[i], 0);
  std::fill_n(buckets(), bucket_count_, BlockPool::kNone);
  for (uint32 i = 0; i < capacity_; ++i) {
    Entry* entry = &entries()[i];
    *entry = {};
    SpinLockInit(&entry->mutex);
    pg_atomic_init_u32(&entry->usage, 0);
    entry->next = i + 1 < capacity_ ? i + 1 : BlockPool::kNone;
  }
  pool()->Init(capacity_ * kBlocksPerStatement);
}

StatementTable::Entry* StatementTable::Find(const StatementKey& key, uint32 hash) noexcept {
  uint32 index = buckets()[hash & (bucket_count_ - 1)];
  while (index != BlockPool::kNone) {
    Entry* entry = &entries()[index];
    if (entry->hash == hash && entry->key == key) return entry;
    index = entry->next;
  }
  return nullptr;
}

// Applies change(entry, octave) under the entry's lock; the octave is made if it is missing and is
// nullptr if there was no room for it or none was asked for (-1). False if the key is not known.
template <typename F>
bool StatementTable::Update(const StatementKey& key, int octave_needed, F&& change) noexcept {
  const uint32 hash = HashOf(key);
  uint32 spare = BlockPool::kNone;
  bool asked = false;
  for (;;) {
    bool done = false;
    {
      LockScope partition(PartitionLock(hash), LW_SHARED);
      Entry* entry = Find(key, hash);
      if (entry == nullptr) break;
      SpinScope guard(&entry->mutex);
      uint32* block = octave_needed >= 0 ? &entry->octaves[octave_needed] : nullptr;
      if (block != nullptr && *block == BlockPool::kNone && spare != BlockPool::kNone) {
        *block = spare;
        spare = BlockPool::kNone;
        *octave(*block) = {};
      }
      const bool missing = block != nullptr && *block == BlockPool::kNone;
      if (!missing || asked) {
        change(entry, block != nullptr && !missing ? octave(*block) : nullptr);
        done = true;
      }
    }
    if (done) {
      ReturnBlocks(spare);
      return true;
    }
    spare = TakeBlocks(1);
    asked = true;
  }
  ReturnBlocks(spare);
  return false;
}

// --- Counting ---------------------------------------------------------------------------------

void StatementTable::AddCounters(Entry* entry, const ExecutionBatch& batch) noexcept {
  Counters* total = &entry->total;
  // Backends do not add in the order in which they began.
  const bool is_first = total->calls == 0;
  entry->first_seen = is_first ? batch.first : std::min(entry->first_seen, batch.first);
  if (is_first) {
    entry->min_ns = entry->max_ns = batch.durations_ns[0];
  }
  uint64 sum = 0;
  uint64 slow = 0;
  double squares = 0;
  uint64 shortest = entry->min_ns;
  uint64 longest = entry->max_ns;
  for (uint32 i = 0; i < batch.count; ++i) {
    const uint64 ns = batch.durations_ns[i];
    const auto plain = static_cast<double>(static_cast<int64>(ns));
    sum += ns;
    squares += plain * plain;
    slow += ns > kSlowNs ? 1 : 0;
    shortest = std::min(shortest, ns);
    longest = std::max(longest, ns);
  }
  entry->sum_squares_us += squares / 1e6;
  entry->min_ns = shortest;
  entry->max_ns = longest;
  total->calls += batch.count;
  total->slow += slow;
  total->errors += batch.sqlstate != 0 ? batch.count : 0;
  total->rows += batch.rows;
  total->exec_ns += sum;
  total->blocks_hit += batch.blocks_hit;
  total->blocks_read += batch.blocks_read;
  total->temp_written += batch.temp_written;
  total->wal_bytes += batch.wal_bytes;
  entry->last_seen = std::max(entry->last_seen, batch.last);
  if (batch.sqlstate != 0) entry->last_sqlstate = batch.sqlstate;
  const uint32 weight = std::bit_width(batch.count) + (sum >= kHeavyNs ? 3 : 0);
  pg_atomic_write_u32(&entry->usage,
                      std::min(pg_atomic_read_u32(&entry->usage) + weight, kMostUsage));
}

// Returns the octaves that are missing, as bits; nothing of them is added.
uint64 StatementTable::AddDurations(Entry* entry, const ExecutionBatch& batch) noexcept {
  static_assert(kOctaves <= 64);
  uint64 missing = 0;
  BlockPool* const blocks = pool();
  for (uint32 i = 0; i < batch.count; ++i) {
    const auto bucket = static_cast<uint32>(BucketOf(batch.durations_ns[i]));
    const uint32 block = entry->octaves[bucket / kSubBuckets];
    if (block == BlockPool::kNone) {
      missing |= UINT64CONST(1) << (bucket / kSubBuckets);
    } else {
      ++OctaveIn(blocks, block)->total[bucket % kSubBuckets];
    }
  }
  return missing;
}

// False if the statement is not known.
bool StatementTable::Add(const StatementKey& key, const ExecutionBatch& batch) noexcept {
  uint64 missing = 0;
  const auto add = [&](Entry* entry, Octave*) noexcept {
    AddCounters(entry, batch);
    missing = AddDurations(entry, batch);
  };
  if (!Update(key, -1, add)) return false;
  for (; missing != 0; missing &= missing - 1) {
    const int wanted = std::countr_zero(missing);
    const auto fill = [&](Entry*, Octave* made) noexcept {
      for (uint32 i = 0; made != nullptr && i < batch.count; ++i) {
        const int bucket = BucketOf(batch.durations_ns[i]);
        if (bucket / kSubBuckets == wanted) ++made->total[bucket % kSubBuckets];
      }
    };
    if (!Update(key, wanted, fill))  // it has given way in the meantime
      Update(StatementKey::EvictedRow(key.database), wanted, fill);
  }
  return true;
}

bool StatementTable::Record(const StatementKey& key, const StatementSource& source,
                            const ExecutionBatch& batch) noexcept {
  const uint64 longest = *std::max_element(batch.durations_ns, batch.durations_ns + batch.count);
  if (Add(key, batch)) return true;
  const bool heavy = longest >= kHeavyNs || batch.count > 1 || batch.sqlstate != 0;
  if (!key.IsEvictedRow() && Admit(key, source, heavy) && Add(key, batch)) return true;
  const StatementKey rest = StatementKey::EvictedRow(key.database);
  if (Add(rest, batch)) return false;
  EnsureEvictedRow(key.database);
  Add(rest, batch);
  return false;
}

void StatementTable::Record(const StatementKey& key, const StatementSource& source,
                            const Execution& execution) noexcept {
  Record(key, source,
         ExecutionBatch{&execution.duration_ns, 1, execution.rows, execution.blocks_hit,
                        execution.blocks_read, execution.temp_written, execution.wal_bytes,
                        execution.sqlstate, execution.started, execution.started});
}

void StatementTable::RecordPlanning(const StatementKey& key, const StatementSource& source,
                                    uint64 ns) noexcept {
  const auto add = [ns](Entry* entry, Octave*) noexcept { entry->total.plan_ns += ns; };
  if (Update(key, -1, add)) return;
  if (source.text != nullptr && HasRoom()) Insert(key, source);
  if (!Update(key, -1, add)) Update(StatementKey::EvictedRow(key.database), -1, add);
}

void StatementTable::RecordLateError(const StatementKey& key, int sqlstate) noexcept {
  const auto add = [sqlstate](Entry* entry, Octave*) noexcept {
    entry->total.errors += 1;
    entry->last_sqlstate = sqlstate;
  };
  if (!Update(key, -1, add)) Update(StatementKey::EvictedRow(key.database), -1, add);
}

// --- Admission --------------------------------------------------------------------------------

// Read without a lock: a little more or less room does not matter.
bool StatementTable::HasRoom() noexcept {
  return free_entries_ > kReservedRows && pool()->free_count() >= kBlocksPerStatement;
}

// A cell of the sieve remembers the last statement that fell into it, and in the two lowest bits
// how often that was. The third time it passes.
bool StatementTable::PassesSieve(const StatementKey& key) noexcept {
  const uint32 hash = HashOf(key);
  const uint32 name = hash & ~UINT32_C(3);
  pg_atomic_uint32* cell = &sieve()[(hash ^ (hash >> 16)) & (sieve_size_ - 1)];
  const uint32 seen = pg_atomic_read_u32(cell);
  const uint32 times = (seen & ~UINT32_C(3)) == name ? (seen & 3) + 1 : 1;
  if (times == 3) return true;
  pg_atomic_write_u32(cell, name | times);
  return false;
}

bool StatementTable::Admit(const StatementKey& key, const StatementSource& source,
                           bool heavy) noexcept {
  const auto use = [](Entry* entry, Octave*) noexcept {
    const uint32 usage = pg_atomic_read_u32(&entry->usage);
    pg_atomic_write_u32(&entry->usage, std::min(usage + 1, kMostUsage));
  };
  if (Update(key, -1, use)) return true;
  if (source.text == nullptr) return false;  // nobody could tell what it was
  if (HasRoom() || heavy || PassesSieve(key)) {
    Insert(key, source);
    if (Update(key, -1, use)) return true;
  }
  pg_atomic_fetch_add_u64(&evicted_, 1);
  return false;
}

int StatementTable::FindText(const StatementKey& key, char* text, Md5Digest* hash) noexcept {
  const uint32 entry_hash = HashOf(key);
  LockScope partition(PartitionLock(entry_hash), LW_SHARED);
  const Entry* entry = Find(key, entry_hash);
  if (entry == nullptr) return -1;
  *hash = entry->text_hash;
  if (entry->text_length > 0) ChainReader(pool(), entry->text).Read(text, entry->text_length);
  return static_cast<int>(entry->text_length);
}

// --- Room -------------------------------------------------------------------------------------

uint32 StatementTable::TakeBlocks(uint32 count) noexcept {
  for (int evictions = 0;; ++evictions) {
    {
      LockScope allocation(AllocationLock(), LW_EXCLUSIVE);
      const uint32 chain = pool()->Allocate(count);
      if (chain != BlockPool::kNone || evictions == kMostEvictions) return chain;
    }
    if (!EvictOne()) return BlockPool::kNone;
  }
}

void StatementTable::ReturnBlocks(uint32 chain) noexcept {
  if (chain == BlockPool::kNone) return;
  LockScope allocation(AllocationLock(), LW_EXCLUSIVE);
  pool()->Free(chain);
}

uint32 StatementTable::TakeEntry(bool evicted_row) noexcept {
  for (int evictions = 0;; ++evictions) {
    {
      LockScope allocation(AllocationLock(), LW_EXCLUSIVE);
      const uint32 index = free_entry_;
      if (free_entries_ > (evicted_row ? 0 : kReservedRows)) {
        free_entry_ = entries()[index].next;
        --free_entries_;
        return index;
      }
    }
    if (evictions == kMostEvictions || !EvictOne()) return BlockPool::kNone;
  }
}

void StatementTable::ReturnEntry(uint32 index) noexcept {
  Entry* entry = &entries()[index];
  LockScope allocation(AllocationLock(), LW_EXCLUSIVE);
  pool()->Free(entry->text);
  for (const uint32 block : entry->octaves) pool()->Free(block);
  entry->next = free_entry_;
  free_entry_ = index;
  ++free_entries_;
}

void StatementTable::Clear(Entry* entry) noexcept {
  entry->total = {};
  entry->written = {};
  entry->sum_squares_us = 0;
  entry->min_ns = entry->max_ns = 0;
  entry->last_sqlstate = 0;
  entry->first_seen = entry->last_seen = 0;
  entry->text = BlockPool::kNone;
  entry->text_length = 0;
  entry->text_hash = {};
  std::fill_n(entry->octaves, kOctaves, BlockPool::kNone);
  pg_atomic_write_u32(&entry->usage, 1);
}

// Stores as much of the normalised text as there is room for; returns the chain.
uint32 StatementTable::StoreText(Entry* entry, const StatementSource& source) noexcept {
  static char text[kMaxStatementText + 8];
  const NormalizedSql normalized = NormalizeSql(source.View(), text, kMaxStatementText);
  auto length = static_cast<uint32>(normalized.length);
  if (normalized.truncated) {
    length =
        static_cast<uint32>(pg_mbcliplen(text, static_cast<int>(length), static_cast<int>(length)));
  }
  entry->text_hash = normalized.hash;
  entry->encoding = GetDatabaseEncoding();
  if (length == 0) return BlockPool::kNone;
  uint32 chain = TakeBlocks(BlockPool::BlocksFor(length));
  if (chain == BlockPool::kNone && length > BlockPool::kPayload) {
    length = static_cast<uint32>(
        pg_mbcliplen(text, static_cast<int>(length), static_cast<int>(BlockPool::kPayload)));
    chain = TakeBlocks(1);
  }
  if (chain == BlockPool::kNone) return chain;
  ChainWriter(pool(), chain).Write(text, length);
  entry->text_length = length;
  return chain;
}

// Makes an entry if there is room, or can be made; else the statement stays unknown.
void StatementTable::Insert(const StatementKey& key, const StatementSource& source) noexcept {
  EnsureEvictedRow(key.database);
  const uint32 index = TakeEntry(false);
  if (index == BlockPool::kNone) return;
  Entry* entry = &entries()[index];
  Clear(entry);
  entry->key = key;
  entry->hash = HashOf(key);
  entry->text = StoreText(entry, source);
  if (!Link(index)) ReturnEntry(index);  // somebody else was faster: it is known now
}

// Before the first statement of a database, so that evicting one always has where to add it up.
void StatementTable::EnsureEvictedRow(Oid database) noexcept {
  const StatementKey key = StatementKey::EvictedRow(database);
  if (Update(key, -1, [](Entry*, Octave*) noexcept {})) return;
  const uint32 index = TakeEntry(true);
  if (index == BlockPool::kNone) return;
  Entry* entry = &entries()[index];
  Clear(entry);
  entry->key = key;
  entry->hash = HashOf(key);
  if (!Link(index)) ReturnEntry(index);
}

bool StatementTable::Link(uint32 index) noexcept {
  Entry* entry = &entries()[index];
  LockScope partition(PartitionLock(entry->hash), LW_EXCLUSIVE);
  if (Find(entry->key, entry->hash) != nullptr) return false;
  uint32* bucket = &buckets()[entry->hash & (bucket_count_ - 1)];
  entry->generation = pg_atomic_add_fetch_u64(&generation_, 1);
  entry->next = *bucket;
  entry->linked = true;
  *bucket = index;
  return true;
}

// Takes the entry out of its chain unless it has changed or, without `wait`, is busy; then it is
// the caller's alone.
bool StatementTable::Unlink(uint32 index, bool wait) noexcept {
  Entry* entry = &entries()[index];
  const uint32 hash = entry->hash;
  LWLock* lock = PartitionLock(hash);
  if (wait) {
    LWLockAcquire(lock, LW_EXCLUSIVE);
  } else if (!LWLockConditionalAcquire(lock, LW_EXCLUSIVE)) {
    return false;
  }
  bool found = false;
  if (entry->linked && entry->hash == hash) {
    uint32* link = &buckets()[hash & (bucket_count_ - 1)];
    while (*link != BlockPool::kNone && *link != index) link = &entries()[*link].next;
    found = *link == index;
    if (found) {
      *link = entry->next;
      entry->linked = false;
    }
  }
  LWLockRelease(lock);
  return found;
}

uint32 StatementTable::ChooseVictim() noexcept {
  uint32 best = BlockPool::kNone;
  uint32 best_usage = PG_UINT32_MAX;
  for (uint32 step = 0; step < kSweepSteps; ++step) {
    const uint32 index = pg_atomic_fetch_add_u32(&hand_, 1) % capacity_;
    Entry* entry = &entries()[index];
    if (!entry->linked || entry->key.IsEvictedRow()) continue;
    const uint32 usage = pg_atomic_read_u32(&entry->usage);
    if (usage == 0) return index;
    pg_atomic_write_u32(&entry->usage, usage - 1);
    if (usage < best_usage) {
      best_usage = usage;
      best = index;
    }
  }
  return best;
}

bool StatementTable::EvictOne() noexcept {
  for (int attempt = 0; attempt < kMostEvictions; ++attempt) {
    const uint32 victim = ChooseVictim();
    if (victim == BlockPool::kNone) return false;
    if (!Unlink(victim, false)) continue;
    pg_atomic_fetch_add_u64(&evicted_, 1);
    MoveToEvictedRow(victim);
    return true;
  }
  return false;
}

// Octaves that `into` lacks change hands, the others are added up.
void StatementTable::AbsorbOctaves(Entry* into, Entry* from) noexcept {
  for (int i = 0; i < kOctaves; ++i) {
    if (from->octaves[i] == BlockPool::kNone) continue;
    if (into->octaves[i] == BlockPool::kNone) {
      std::swap(into->octaves[i], from->octaves[i]);
      continue;
    }
    Octave* to = octave(into->octaves[i]);
    const Octave* add = octave(from->octaves[i]);
    for (int j = 0; j < kSubBuckets; ++j) {
      to->total[j] += add->total[j];
      to->written[j] += add->written[j];
    }
  }
}

void StatementTable::MoveToEvictedRow(uint32 victim) noexcept {
  Entry* from = &entries()[victim];
  Update(StatementKey::EvictedRow(from->key.database), -1, [&](Entry* into, Octave*) noexcept {
    const bool first = into->total.calls == 0;
    into->total += from->total;
    into->written += from->written;
    into->sum_squares_us += from->sum_squares_us;
    into->min_ns = first ? from->min_ns : std::min(into->min_ns, from->min_ns);
    into->max_ns = std::max(into->max_ns, from->max_ns);
    into->first_seen = first ? from->first_seen : std::min(into->first_seen, from->first_seen);
    into->last_seen = std::max(into->last_seen, from->last_seen);
    if (from->last_sqlstate != 0) into->last_sqlstate = from->last_sqlstate;
    AbsorbOctaves(into, from);
  });
  ReturnEntry(victim);
}

// --- Reading and writing back -----------------------------------------------------------------

bool StatementTable::Read(uint32 index, StatementSnapshot* snapshot) noexcept {
  Entry* entry = &entries()[index];
  if (!entry->linked) return false;
  const uint32 hash = entry->hash;
  LockScope partition(PartitionLock(hash), LW_SHARED);
  if (!entry->linked || entry->hash != hash) return false;
  snapshot->index = index;
  snapshot->key = entry->key;
  snapshot->generation = entry->generation;
  snapshot->hash = entry->text_hash;
  snapshot->encoding = entry->encoding;
  snapshot->text_length = entry->text_length;
  if (entry->text_length > 0)
    ChainReader(pool(), entry->text).Read(snapshot->text, entry->text_length);
  snapshot->histogram = {};
  snapshot->pending_histogram = {};
  SpinScope guard(&entry->mutex);
  snapshot->total = entry->total;
  snapshot->pending = entry->total;
  snapshot->pending -= entry->written;
  snapshot->sum_squares_us = entry->sum_squares_us;
  snapshot->min_ns = entry->min_ns;
  snapshot->max_ns = entry->max_ns;
  snapshot->last_sqlstate = entry->last_sqlstate;
  snapshot->first_seen = entry->first_seen;
  snapshot->last_seen = entry->last_seen;
  for (int i = 0; i < kOctaves; ++i) {
    if (entry->octaves[i] == BlockPool::kNone) continue;
    const Octave* from = octave(entry->octaves[i]);
    for (int j = 0; j < kSubBuckets; ++j) {
      const int bucket = i * kSubBuckets + j;
      snapshot->histogram.Add(bucket, from->total[j]);
      snapshot->pending_histogram.Add(bucket,
                                      static_cast<uint32>(from->total[j]) - from->written[j]);
    }
  }
  return snapshot->total.calls != 0 || snapshot->pending.calls != 0 ||
         snapshot->total.plan_ns != 0 || snapshot->pending.errors != 0;
}

void StatementTable::MarkWritten(const WrittenPart& part,
                                 const LatencyHistogram& histogram) noexcept {
  const auto mark = [&](Entry* entry) noexcept {
    entry->written += part.counters;
    for (int i = 0; i < kOctaves; ++i) {
      if (entry->octaves[i] == BlockPool::kNone) continue;
      Octave* to = octave(entry->octaves[i]);
      for (int j = 0; j < kSubBuckets; ++j)
        to->written[j] += static_cast<uint32>(histogram.count(i * kSubBuckets + j));
    }
  };
  {
    Entry* entry = &entries()[part.index];
    LockScope partition(PartitionLock(HashOf(part.key)), LW_SHARED);
    if (entry->linked && entry->generation == part.generation) {
      SpinScope guard(&entry->mutex);
      mark(entry);
      return;
    }
  }
  Update(StatementKey::EvictedRow(part.key.database), -1,
         [&](Entry* entry, Octave*) noexcept { mark(entry); });
}

void StatementTable::DiscardPending(Oid database) noexcept {
  for (uint32 index = 0; index < capacity_; ++index) {
    Entry* entry = &entries()[index];
    const uint32 hash = entry->hash;
    LockScope partition(PartitionLock(hash), LW_SHARED);
    if (!entry->linked || entry->hash != hash) continue;
    if (OidIsValid(database) && entry->key.database != database) continue;
    SpinScope guard(&entry->mutex);
    entry->written = entry->total;
    for (const uint32 block : entry->octaves) {
      if (block == BlockPool::kNone) continue;
      Octave* counts = octave(block);
      for (int j = 0; j < kSubBuckets; ++j)
        counts->written[j] = static_cast<uint32>(counts->total[j]);
    }
  }
}

void StatementTable::Reset() noexcept {
  for (uint32 index = 0; index < capacity_; ++index) {
    Entry* entry = &entries()[index];
    const uint32 hash = entry->hash;
    LockScope partition(PartitionLock(hash), LW_SHARED);
    if (!entry->linked || entry->hash != hash) continue;
    SpinScope guard(&entry->mutex);
    entry->written -= entry->total;
    entry->total = {};
    entry->sum_squares_us = 0;
    entry->min_ns = entry->max_ns = 0;
    entry->last_sqlstate = 0;
    for (const uint32 block : entry->octaves) {
      if (block == BlockPool::kNone) continue;
      Octave* counts = octave(block);
      for (int j = 0; j < kSubBuckets; ++j) {
        counts->written[j] -= static_cast<uint32>(counts->total[j]);
        counts->total[j] = 0;
      }
    }
  }
  set_evicted(0);
  set_counting_since(GetCurrentTimestamp());
}

void StatementTable::Forget(Oid database) noexcept {
  for (uint32 index = 0; index < capacity_; ++index) {
    const Entry& entry = entries()[index];
    if (!entry.linked || entry.key.database != database) continue;
    if (Unlink(index, true)) ReturnEntry(index);
  }
}

uint32 StatementTable::tracked() noexcept {
  uint32 count = 0;
  for (uint32 index = 0; index < capacity_; ++index) {
    const Entry& entry = entries()[index];
    count += entry.linked && entry.total.calls > 0 && !entry.key.IsEvictedRow() ? 1 : 0;
  }
  return count;
}

void StatementTable::Restore(const StatementSnapshot& snapshot) noexcept {
  if (!snapshot.key.IsEvictedRow()) EnsureEvictedRow(snapshot.key.database);
  const uint32 index = TakeEntry(snapshot.key.IsEvictedRow());
  if (index == BlockPool::kNone) return;
  Entry* entry = &entries()[index];
  Clear(entry);
  entry->key = snapshot.key;
  entry->hash = HashOf(snapshot.key);
  entry->total = snapshot.total;
  entry->written = snapshot.total;
  entry->written -= snapshot.pending;
  entry->sum_squares_us = snapshot.sum_squares_us;
  entry->min_ns = snapshot.min_ns;
  entry->max_ns = snapshot.max_ns;
  entry->last_sqlstate = snapshot.last_sqlstate;
  entry->first_seen = snapshot.first_seen;
  entry->last_seen = snapshot.last_seen;
  entry->text_hash = snapshot.hash;
  entry->encoding = snapshot.encoding;
  if (snapshot.text_length > 0)
    entry->text = TakeBlocks(BlockPool::BlocksFor(snapshot.text_length));
  if (entry->text != BlockPool::kNone) {
    ChainWriter(pool(), entry->text).Write(snapshot.text, snapshot.text_length);
    entry->text_length = snapshot.text_length;
  }
  for (int bucket = 0; bucket < kBuckets; ++bucket) {
    const uint64 total = snapshot.histogram.count(bucket);
    const uint64 pending = snapshot.pending_histogram.count(bucket);
    if (total == 0 && pending == 0) continue;
    uint32* block = &entry->octaves[bucket / kSubBuckets];
    if (*block == BlockPool::kNone) {
      *block = TakeBlocks(1);
      if (*block == BlockPool::kNone) continue;
      *octave(*block) = {};
    }
    octave(*block)->total[bucket % kSubBuckets] = total;
    octave(*block)->written[bucket % kSubBuckets] = static_cast<uint32>(total - pending);
  }
  if (Link(index)) return;
  // Only the evicted row can be there already, empty.
  MoveToEvictedRow(index);
}

}  // namespace train_perf
