#include "capture/event_queue.hpp"

#include <numeric>

#include "pg/lock.hpp"

namespace train_perf {

namespace {

uint32 PoolBlocks(int size_kb) noexcept {
  return static_cast<uint32>(static_cast<Size>(size_kb) * 1024 / sizeof(BlockPool::Block));
}

Size TextBytes(const EventHeader& header) noexcept {
  return std::accumulate(std::begin(header.lengths), std::end(header.lengths), Size{0});
}

}  // namespace

Size EventQueue::SharedSize(int size_kb) noexcept {
  return offsetof(EventQueue, pool_) + BlockPool::SharedSize(PoolBlocks(size_kb));
}

void EventQueue::Init(int size_kb, LWLock* lock) noexcept {
  lock_ = lock;
  open_lanes_ = 0;
  for (Lane& lane : lanes_) lane = {};
  pool_.Init(PoolBlocks(size_kb));
}

uint32 EventQueue::BlocksOf(const EventHeader& header) noexcept {
  return BlockPool::BlocksFor(sizeof(EventHeader) + TextBytes(header));
}

EventHeader* EventQueue::HeaderAt(uint32 block) noexcept {
  static_assert(sizeof(EventHeader) <= BlockPool::kPayload);
  return reinterpret_cast<EventHeader*>(pool_.at(block)->payload);
}

EventQueue::Lane* EventQueue::FindLane(Oid database) noexcept {
  for (Lane& lane : lanes_)
    if (lane.database == database) return &lane;
  return nullptr;
}

bool EventQueue::Open(Oid database) noexcept {
  LockScope guard(lock_, LW_EXCLUSIVE);
  if (FindLane(database) != nullptr) return true;
  Lane* lane = FindLane(InvalidOid);
  if (lane == nullptr) return false;
  *lane = {};
  lane->database = database;
  lane->head = lane->tail = BlockPool::kNone;
  lane->history_since = GetCurrentTimestamp();
  ++open_lanes_;
  return true;
}

void EventQueue::Close(Oid database) noexcept {
  LockScope guard(lock_, LW_EXCLUSIVE);
  Lane* lane = FindLane(database);
  if (lane == nullptr) return;
  while (lane->head != BlockPool::kNone) pool_.Free(RemoveHead(lane));
  *lane = {};
  --open_lanes_;
}

bool EventQueue::IsOpen(Oid database) noexcept {
  LockScope guard(lock_, LW_SHARED);
  return FindLane(database) != nullptr;
}

std::vector<Oid> EventQueue::Databases() {
  std::vector<Oid> databases;
  databases.reserve(kMaxLanes);
  LockScope guard(lock_, LW_SHARED);
  for (const Lane& lane : lanes_)
    if (OidIsValid(lane.database)) databases.push_back(lane.database);
  return databases;
}

void EventQueue::SetConsumer(Oid database, Latch* latch) noexcept {
  LockScope guard(lock_, LW_EXCLUSIVE);
  Lane* lane = FindLane(database);
  if (lane != nullptr) lane->consumer = latch;
}

// Where several databases share the queue none may take more than half, so that one without a
// working collector leaves room for the others.
bool EventQueue::HasRoom(const Lane& lane, uint32 blocks) const noexcept {
  if (blocks > pool_.free_count()) return false;
  return open_lanes_ == 1 || lane.blocks + blocks <= pool_.capacity() / 2;
}

void EventQueue::Enqueue(Oid database, EventHeader header, const EventTexts& texts) noexcept {
  for (int i = 0; i < kEventFields; ++i)
    header.lengths[i] = static_cast<uint32>(texts[static_cast<size_t>(i)].size());
  header.next = BlockPool::kNone;
  header.refusals = 0;
  const uint32 blocks = BlocksOf(header);
  uint32 chain = BlockPool::kNone;
  {
    LockScope guard(lock_, LW_EXCLUSIVE);
    Lane* lane = FindLane(database);
    if (lane == nullptr) return;
    if (HasRoom(*lane, blocks)) chain = pool_.Allocate(blocks);
    if (chain == BlockPool::kNone) {
      ++lane->counters.enqueued;
      ++lane->counters.dropped;
      return;
    }
  }
  ChainWriter writer(&pool_, chain);
  writer.Write(&header, sizeof(header));
  for (const std::string_view text : texts) writer.Write(text);

  LockScope guard(lock_, LW_EXCLUSIVE);
  Lane* lane = FindLane(database);
  if (lane == nullptr) {  // the extension was dropped meanwhile
    pool_.Free(chain);
    return;
  }
  Append(lane, chain);
  ++lane->counters.enqueued;
  if (lane->consumer != nullptr && lane->blocks > pool_.capacity() / 4) SetLatch(lane->consumer);
}

void EventQueue::Append(Lane* lane, uint32 event) noexcept {
  EventHeader* header = HeaderAt(event);
  header->next = BlockPool::kNone;
  if (lane->tail == BlockPool::kNone) {
    lane->head = event;
  } else {
    HeaderAt(lane->tail)->next = event;
  }
  lane->tail = event;
  lane->blocks += BlocksOf(*header);
  ++lane->counters.queued;
}

std::vector<QueuedEvent> EventQueue::Peek(Oid database, uint32 most) {
  uint32 event = BlockPool::kNone;
  uint32 count = 0;
  {
    LockScope guard(lock_, LW_SHARED);
    const Lane* lane = FindLane(database);
    if (lane == nullptr) return {};
    event = lane->head;
    count = static_cast<uint32>(Min(static_cast<uint64>(most), lane->counters.queued));
  }
  // Only this process removes events and others touch but the `next` of the last, so no lock is
  // needed for the first `count`.
  std::vector<QueuedEvent> events(count);
  for (QueuedEvent& copy : events) {
    ChainReader reader(&pool_, event);
    reader.Read(&copy.header, sizeof(copy.header));
    for (size_t i = 0; i < kEventFields; ++i) {
      copy.texts[i].resize(copy.header.lengths[i]);
      reader.Read(copy.texts[i].data(), copy.header.lengths[i]);
    }
    event = copy.header.next;
  }
  return events;
}

uint32 EventQueue::RemoveHead(Lane* lane) noexcept {
  const uint32 event = lane->head;
  const EventHeader* header = HeaderAt(event);
  lane->blocks -= BlocksOf(*header);
  lane->head = header->next;
  if (lane->head == BlockPool::kNone) lane->tail = BlockPool::kNone;
  --lane->counters.queued;
  return event;
}

void EventQueue::Remove(Oid database, uint32 count) noexcept {
  LockScope guard(lock_, LW_EXCLUSIVE);
  Lane* lane = FindLane(database);
  if (lane == nullptr) return;
  for (; count > 0 && lane->head != BlockPool::kNone; --count) {
    pool_.Free(RemoveHead(lane));
    ++lane->counters.written;
  }
}

void EventQueue::Refuse(Oid database, bool others_written) noexcept {
  constexpr uint32 kMostRefusals = 3;
  LockScope guard(lock_, LW_EXCLUSIVE);
  Lane* lane = FindLane(database);
  if (lane == nullptr || lane->head == BlockPool::kNone) return;
  const uint32 event = RemoveHead(lane);
  if (++HeaderAt(event)->refusals >= kMostRefusals && others_written) {
    pool_.Free(event);
    ++lane->counters.dropped;
  } else {
    Append(lane, event);
  }
}

LaneCounters EventQueue::Count(Oid database) noexcept {
  LockScope guard(lock_, LW_SHARED);
  const Lane* lane = FindLane(database);
  if (lane == nullptr) return {};
  LaneCounters counters = lane->counters;
  counters.oldest = lane->head == BlockPool::kNone ? 0 : HeaderAt(lane->head)->finished;
  return counters;
}

TimestampTz EventQueue::HistorySince(Oid database) noexcept {
  LockScope guard(lock_, LW_SHARED);
  const Lane* lane = FindLane(database);
  return lane != nullptr ? lane->history_since : GetCurrentTimestamp();
}

void EventQueue::SetHistorySince(Oid database, TimestampTz since) noexcept {
  LockScope guard(lock_, LW_EXCLUSIVE);
  Lane* lane = FindLane(database);
  if (lane != nullptr) lane->history_since = since;
}

}  // namespace train_perf
