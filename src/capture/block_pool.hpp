// Fixed-size blocks in shared memory, chained where a thing needs more than one: the texts and
// histogram octaves of statements come from one pool, queued events from another. Memory is fixed
// at start; allocation never waits, it fails.
//
// The pool has no lock of its own: Allocate and Free need the lock of whoever owns it, held
// exclusively. A chain may be read or filled without it by whoever owns the chain.
#pragma once

#include <string_view>

#include "pg/prelude.hpp"

namespace train_perf {

class BlockPool {
 public:
  static constexpr uint32 kNone = PG_UINT32_MAX;
  static constexpr uint32 kPayload = 384;  // bytes; also an octave: 32 totals and 32 marks

  struct Block {
    uint32 next;
    uint32 padding;
    alignas(8) char payload[kPayload];
  };

  static Size SharedSize(uint32 blocks) noexcept;
  static uint32 BlocksFor(Size bytes) noexcept {
    return static_cast<uint32>((bytes + kPayload - 1) / kPayload);
  }

  void Init(uint32 blocks) noexcept;  // once, when the memory is fresh

  // A chain of `count` blocks with undefined payload, or kNone.
  uint32 Allocate(uint32 count) noexcept;
  void Free(uint32 chain) noexcept;  // kNone is fine

  Block* at(uint32 index) noexcept { return &blocks_[index]; }
  uint32 free_count() const noexcept { return free_count_; }
  uint32 capacity() const noexcept { return capacity_; }

 private:
  uint32 capacity_;
  uint32 free_count_;
  uint32 free_head_;
  Block blocks_[FLEXIBLE_ARRAY_MEMBER];
};

// Writes bytes along a chain that is long enough.
class ChainWriter {
 public:
  ChainWriter(BlockPool* pool, uint32 chain) noexcept : pool_(pool), block_(chain) {}
  void Write(const void* bytes, Size length) noexcept;
  void Write(std::string_view bytes) noexcept { Write(bytes.data(), bytes.size()); }

 private:
  BlockPool* pool_;
  uint32 block_;
  uint32 offset_ = 0;
};

class ChainReader {
 public:
  ChainReader(BlockPool* pool, uint32 chain) noexcept : pool_(pool), block_(chain) {}
  void Read(void* bytes, Size length) noexcept;

 private:
  BlockPool* pool_;
  uint32 block_;
  uint32 offset_ = 0;
};

}  // namespace train_perf
