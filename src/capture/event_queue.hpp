// Slow, failed and sampled statements on their way to query_performance_logs: bounded, in shared
// memory, one lane per database with the extension. Backends append; the collector of the database
// is the only one that takes away. Nobody waits: without room an event is dropped and counted.
//
// In every lane, at any time: enqueued = written + queued + dropped.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "capture/block_pool.hpp"
#include "core/md5.hpp"
#include "pg/prelude.hpp"

namespace train_perf {

// Texts of an event, each already bounded, masked and clipped at a character boundary.
enum class EventField : uint8 {
  kQuery,
  kTags,    // insides of tag comments, see core/tags.hpp
  kMethod,  // request.method
  kPath,    // request.path
  kUser,    // UUID, from the request's JWT
  kApplication,
  kClient,  // address
  kError,
  kContext,
  kParameters,  // a JSON object
  kPlan,        // JSON
};
inline constexpr int kEventFields = 11;

using EventTexts = std::array<std::string_view, kEventFields>;

struct EventHeader {
  uint32 next;                   // first block of the next event; set by the queue
  uint32 lengths[kEventFields];  // set by the queue
  uint32 refusals;               // set by the queue
  TimestampTz finished;
  uint64 duration_ns;
  int64 query_id;
  Oid user;
  int sqlstate;   // 0: succeeded
  bool has_rows;  // the numbers below are known
  uint64 rows;
  uint64 blocks_hit;
  uint64 blocks_read;
  uint64 temp_written;
  uint64 wal_bytes;
  Md5Digest hash;
};

struct QueuedEvent {
  EventHeader header;
  std::array<std::string, kEventFields> texts;

  const std::string& text(EventField field) const { return texts[static_cast<size_t>(field)]; }
};

struct LaneCounters {
  uint64 enqueued;
  uint64 written;
  uint64 queued;
  uint64 dropped;
  TimestampTz oldest;  // when the oldest queued event finished; 0 if none is queued
};

class EventQueue {
 public:
  static Size SharedSize(int size_kb) noexcept;
  void Init(int size_kb, LWLock* lock) noexcept;

  // Makes or removes the lane of a database; removing forgets what is queued. Opening twice is one.
  bool Open(Oid database) noexcept;
  void Close(Oid database) noexcept;
  bool IsOpen(Oid database) noexcept;
  std::vector<Oid> Databases();  // with a lane

  // The latch that is set when the lane is half full.
  void SetConsumer(Oid database, Latch* latch) noexcept;

  void Enqueue(Oid database, EventHeader header, const EventTexts& texts) noexcept;

  // Copies up to `most` of the oldest events of a database, which stay queued. Throws bad_alloc.
  std::vector<QueuedEvent> Peek(Oid database, uint32 most);
  // Takes the oldest `count` events away: they are written.
  void Remove(Oid database, uint32 count) noexcept;
  // The oldest event could not be written: it becomes the last. If `others_written` (meanwhile),
  // the third time it is dropped.
  void Refuse(Oid database, bool others_written) noexcept;

  // Zeros for a database without a lane.
  LaneCounters Count(Oid database) noexcept;

  // When the bucket began that the next rows of query_stats_history will cover: when the lane was
  // opened, or the last rows were written. Now, for a database without a lane.
  TimestampTz HistorySince(Oid database) noexcept;
  void SetHistorySince(Oid database, TimestampTz since) noexcept;

 private:
  static constexpr int kMaxLanes = 512;
  struct Lane {
    Oid database;
    uint32 head;
    uint32 tail;
    uint32 blocks;
    LaneCounters counters;
    Latch* consumer;
    TimestampTz history_since;
  };

  Lane* FindLane(Oid database) noexcept;
  bool HasRoom(const Lane& lane, uint32 blocks) const noexcept;
  EventHeader* HeaderAt(uint32 block) noexcept;
  uint32 RemoveHead(Lane* lane) noexcept;
  void Append(Lane* lane, uint32 event) noexcept;
  static uint32 BlocksOf(const EventHeader& header) noexcept;

  LWLock* lock_;
  int open_lanes_;
  Lane lanes_[kMaxLanes];
  BlockPool pool_;  // last: it has a flexible end
};

}  // namespace train_perf
