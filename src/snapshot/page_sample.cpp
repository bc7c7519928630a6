#include "snapshot/page_sample.hpp"

#include <algorithm>

#include "pg/clock.hpp"
#include "pg/damage.hpp"
#include "pg/settings.hpp"

extern "C" {
#include "common/pg_prng.h"
#include "utils/rel.h"
#include "utils/spccache.h"
}

namespace train_perf {

namespace {

constexpr int kAhead = 16;  // pages that the kernel is asked for in advance

struct Walk {
  Relation relation;
  BufferAccessStrategy ring;
  PageReader* reader;
  pg_prng_state random;
  uint32 chosen;  // pages
  uint32 next;    // of them
  uint32 asked;   // of them, in advance
  int ahead;
  int64 hits, misses;  // of this backend, that are paid for
  PageSample sample;
  BlockNumber pages[FLEXIBLE_ARRAY_MEMBER];
};

// One page of each of `chosen` equal runs.
void Choose(Walk* walk) {
  const uint64 blocks = walk->sample.blocks;
  for (uint64 i = 0; i < walk->chosen; ++i) {
    const uint64 first = i * blocks / walk->chosen;
    const uint64 behind = (i + 1) * blocks / walk->chosen;
    walk->pages[i] =
        static_cast<BlockNumber>(pg_prng_uint64_range(&walk->random, first, behind - 1));
  }
}

void AskAhead(Walk* walk) {
  const uint32 behind = Min(walk->chosen, walk->next + static_cast<uint32>(walk->ahead));
  for (walk->asked = Max(walk->asked, walk->next + 1); walk->asked < behind; ++walk->asked)
    PrefetchBuffer(walk->relation, MAIN_FORKNUM, walk->pages[walk->asked]);
}

// Pages are paid for as in vacuum_delay_point: vacuum_cost_limit for each sample_cost_delay, but
// after a burst, so that one relation alone takes no pause and many do.
class Budget {
 public:
  void Pay(double cost) {
    const uint64 now = NowNs();
    const double earned = static_cast<double>(now - last_ns_) / 1e6 /
                          settings::sample_cost_delay_ms * VacuumCostLimit;
    debt_ = Max(debt_ - earned, 0.0) + cost;
    last_ns_ = now;
  }
  bool IsSpent() const { return debt_ > kBurst * VacuumCostLimit; }

 private:
  static constexpr double kBurst = 10;

  double debt_ = 0;
  uint64 last_ns_ = 0;
};
Budget budget;  // of this backend

void Pause(Walk* walk) {
  CHECK_FOR_INTERRUPTS();
  const int64 hits = pgBufferUsage.shared_blks_hit - walk->hits;
  const int64 misses = pgBufferUsage.shared_blks_read - walk->misses;
  walk->hits += hits;
  walk->misses += misses;
  if (settings::sample_cost_delay_ms == 0) return;
  budget.Pay(static_cast<double>(hits * VacuumCostPageHit + misses * VacuumCostPageMiss));
  if (!budget.IsSpent()) return;
  (void)WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
                  settings::sample_cost_delay_ms, WAIT_EVENT_VACUUM_DELAY);
  ResetLatch(MyLatch);
  CHECK_FOR_INTERRUPTS();
}

void ReadOne(Walk* walk, BlockNumber block) {
  const Buffer buffer =
      ReadBufferExtended(walk->relation, MAIN_FORKNUM, block, RBM_NORMAL, walk->ring);
  LockBuffer(buffer, BUFFER_LOCK_SHARE);
  const Page page = BufferGetPage(buffer);
  if (!PageIsNew(page)) walk->reader->Read(buffer, page, block);
  UnlockReleaseBuffer(buffer);
}

void ReadAll(Walk* walk) {
  while (walk->next < walk->chosen) {
    Pause(walk);
    AskAhead(walk);
    ReadOne(walk, walk->pages[walk->next]);
    ++walk->next;
    ++walk->sample.sampled;
  }
}

}  // namespace

PageSample ReadSample(Relation relation, int most, BufferAccessStrategy ring, PageReader* reader) {
  const BlockNumber blocks = RelationGetNumberOfBlocks(relation);
  const uint32 chosen = Min(blocks, static_cast<uint32>(most));
  auto* walk = static_cast<Walk*>(palloc0(offsetof(Walk, pages) + chosen * sizeof(BlockNumber)));
  walk->relation = relation;
  walk->ring = ring;
  walk->reader = reader;
  walk->chosen = chosen;
  walk->sample.blocks = blocks;
  walk->sample.whole = chosen == blocks;
  walk->ahead =
      Min(kAhead, get_tablespace_maintenance_io_concurrency(relation->rd_rel->reltablespace));
  walk->hits = pgBufferUsage.shared_blks_hit;
  walk->misses = pgBufferUsage.shared_blks_read;
  pg_prng_seed(&walk->random, pg_prng_uint64(&pg_global_prng_state));
  Choose(walk);
  ErrorData* first = nullptr;
  BlockNumber first_block = InvalidBlockNumber;
  while (ErrorData* damage = CatchDamage([walk] { ReadAll(walk); })) {
    if (first == nullptr) {
      first = damage;
      first_block = walk->pages[walk->next];
    }
    ++walk->sample.corrupt;
    ++walk->next;
  }
  if (first != nullptr) {
    ereport(WARNING, (errcode(ERRCODE_DATA_CORRUPTED),
                      errmsg("skipped %u damaged page(s) of \"%s\" in a sample of %u",
                             walk->sample.corrupt, RelationGetRelationName(relation), chosen),
                      errdetail("Block %u: %s", first_block, first->message)));
  }
  const PageSample sample = walk->sample;
  pfree(walk);
  return sample;
}

bool CopyPage(Relation relation, BlockNumber block, BufferAccessStrategy ring, char* copy) {
  if (block >= RelationGetNumberOfBlocks(relation)) return false;
  const ErrorData* damage = CatchDamage([=] {
    const Buffer buffer = ReadBufferExtended(relation, MAIN_FORKNUM, block, RBM_NORMAL, ring);
    LockBuffer(buffer, BUFFER_LOCK_SHARE);
    std::copy_n(static_cast<const char*>(BufferGetPage(buffer)), BLCKSZ, copy);
    UnlockReleaseBuffer(buffer);
  });
  if (damage != nullptr) {
    ereport(WARNING,
            (errcode(ERRCODE_DATA_CORRUPTED),
             errmsg("could not read block %u of \"%s\"", block, RelationGetRelationName(relation)),
             errdetail("%s", damage->message)));
    return false;
  }
  return !PageIsNew(reinterpret_cast<Page>(copy));
}

// NOLINTNEXTLINE(readability-non-const-parameter)
bool IsSane(Page page, ItemId item, Size least) noexcept {
  const auto* header = reinterpret_cast<PageHeader>(page);
  const Size offset = ItemIdGetOffset(item);
  const Size length = ItemIdGetLength(item);
  return length >= least && offset >= header->pd_upper && offset + length <= header->pd_special;
}

}  // namespace train_perf
