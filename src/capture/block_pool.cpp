#include "capture/block_pool.hpp"

namespace train_perf {

Size BlockPool::SharedSize(uint32 blocks) noexcept {
  return offsetof(BlockPool, blocks_) + static_cast<Size>(blocks) * sizeof(Block);
}

void BlockPool::Init(uint32 blocks) noexcept {
  capacity_ = blocks;
  free_count_ = blocks;
  free_head_ = 0;
  for (uint32 i = 0; i < blocks; ++i) blocks_[i].next = i + 1 < blocks ? i + 1 : kNone;
}

uint32 BlockPool::Allocate(uint32 count) noexcept {
  if (count == 0 || count > free_count_) return kNone;
  const uint32 chain = free_head_;
  uint32 last = chain;
  for (uint32 i = 1; i < count; ++i) last = blocks_[last].next;
  free_head_ = blocks_[last].next;
  blocks_[last].next = kNone;
  free_count_ -= count;
  return chain;
}

void BlockPool::Free(uint32 chain) noexcept {
  if (chain == kNone) return;
  uint32 last = chain;
  uint32 count = 1;
  for (; blocks_[last].next != kNone; ++count) last = blocks_[last].next;
  blocks_[last].next = free_head_;
  free_head_ = chain;
  free_count_ += count;
}

void ChainWriter::Write(const void* bytes, Size length) noexcept {
  const char* from = static_cast<const char*>(bytes);
  while (length > 0) {
    if (offset_ == BlockPool::kPayload) {
      block_ = pool_->at(block_)->next;
      offset_ = 0;
    }
    const Size part = Min(length, static_cast<Size>(BlockPool::kPayload - offset_));
    memcpy(pool_->at(block_)->payload + offset_, from, part);
    from += part;
    offset_ += static_cast<uint32>(part);
    length -= part;
  }
}

void ChainReader::Read(void* bytes, Size length) noexcept {
  char* to = static_cast<char*>(bytes);
  while (length > 0) {
    if (offset_ == BlockPool::kPayload) {
      block_ = pool_->at(block_)->next;
      offset_ = 0;
    }
    const Size part = Min(length, static_cast<Size>(BlockPool::kPayload - offset_));
    memcpy(to, pool_->at(block_)->payload + offset_, part);
    to += part;
    offset_ += static_cast<uint32>(part);
    length -= part;
  }
}

}  // namespace train_perf
