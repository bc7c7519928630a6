#include <cmath>
#include <new>

#include "core/btree_build.hpp"
#include "pg/damage.hpp"
#include "snapshot/index_methods.hpp"

extern "C" {
#include "access/itup.h"
#include "access/nbtree.h"
#include "utils/rel.h"
}

namespace train_perf {

namespace {

constexpr uint32 kPageBytes = BLCKSZ - SizeOfPageHeaderData - MAXALIGN(sizeof(BTPageOpaqueData));
// What a build allows a tuple with several TIDs: a tenth of a page.
constexpr uint32 kMostPosting = MAXALIGN_DOWN(BLCKSZ / 10) - sizeof(ItemIdData);
constexpr uint32 kInnerFree = BLCKSZ * (100 - BTREE_NONLEAF_FILLFACTOR) / 100;
constexpr int kMostItems = BLCKSZ / (sizeof(IndexTupleData) + sizeof(ItemIdData));

bool WouldDeduplicate(Relation index, BufferAccessStrategy ring) {
  PGAlignedBlock copy;
  if (index->rd_index->indisunique || !BTGetDeduplicateItems(index) ||
      !CopyPage(index, BTREE_METAPAGE, ring, copy.data))
    return false;
  const BTMetaPageData* meta = BTPageGetMeta(copy.data);
  return meta->btm_magic == BTREE_MAGIC && meta->btm_version >= BTREE_NOVAC_VERSION &&
         meta->btm_allequalimage;
}

BtreeBuild::Shape ShapeOf(Relation index, BufferAccessStrategy ring) {
  return {kPageBytes, static_cast<uint32>(BTGetTargetPageFreeSpace(index)), kInnerFree,
          kMostPosting, WouldDeduplicate(index, ring)};
}

// The leaf pages, in the order of the file: groups of equal keys go to the build.
class BtreeReader final : public PageReader {
 public:
  explicit BtreeReader(BtreeBuild::Shape shape) noexcept : build_(shape) {}

  void Read(Buffer, Page page, BlockNumber block) override {
    if (block == BTREE_METAPAGE) return;
    if (PageGetSpecialSize(page) != MAXALIGN(sizeof(BTPageOpaqueData)))
      RaiseDamage(ERRCODE_INDEX_CORRUPTED, "not a page of a B-tree");
    const BTPageOpaque opaque = BTPageGetOpaque(page);
    if (P_IGNORE(opaque) || !P_ISLEAF(opaque)) return;
    const OffsetNumber last = PageGetMaxOffsetNumber(page);
    if (last > kMostItems) RaiseDamage(ERRCODE_INDEX_CORRUPTED, "too many line pointers");
    count_ = 0;
    killed_here_ = 0;
    for (OffsetNumber number = P_FIRSTDATAKEY(opaque); number <= last; ++number)
      ReadItem(page, PageGetItemId(page, number));
    const uint32 pivot = P_RIGHTMOST(opaque) ? 0 : PivotBytes(page);
    Note(pivot);
  }

  IndexEstimate Result(const PageSample& sample, IndexedRows rows, bool partial) const;

 private:
  static constexpr uint16 kFlags = INDEX_NULL_MASK | INDEX_VAR_MASK;

  struct Group {
    uint32 bytes;  // of a tuple with one TID
    uint32 tids;
  };

  void ReadItem(Page page, ItemId item) {
    if (!ItemIdHasStorage(item)) return;
    if (!IsSane(page, item, sizeof(IndexTupleData)))
      RaiseDamage(ERRCODE_INDEX_CORRUPTED, "a line pointer leads nowhere");
    const auto tuple = reinterpret_cast<IndexTuple>(PageGetItem(page, item));
    const bool posting = BTreeTupleIsPosting(tuple);
    const auto size = static_cast<uint32>(IndexTupleSize(tuple));
    const uint32 bytes = posting ? BTreeTupleGetPostingOffset(tuple) : size;
    const uint32 tids = posting ? BTreeTupleGetNPosting(tuple) : 1;
    if (size > ItemIdGetLength(item) || bytes < sizeof(IndexTupleData) ||
        bytes + (posting ? tids * sizeof(ItemPointerData) : 0) > size)
      RaiseDamage(ERRCODE_INDEX_CORRUPTED, "a tuple exceeds its place");
    if (ItemIdIsDead(item)) {
      killed_here_ += tids;
    } else if (count_ > 0 && HasSameKey(tuple, bytes)) {
      groups_[count_ - 1].tids += tids;
    } else {
      groups_[count_++] = {bytes, tids};
      key_ = tuple;
    }
  }

  bool HasSameKey(IndexTuple tuple, uint32 bytes) const {
    return groups_[count_ - 1].bytes == bytes && ((tuple->t_info ^ key_->t_info) & kFlags) == 0 &&
           memcmp(tuple + 1, key_ + 1, bytes - sizeof(IndexTupleData)) == 0;
  }

  // What will stand in the level above.
  static uint32 PivotBytes(Page page) {
    const ItemId item = PageGetItemId(page, P_HIKEY);
    if (!IsSane(page, item, sizeof(IndexTupleData)))
      RaiseDamage(ERRCODE_INDEX_CORRUPTED, "a line pointer leads nowhere");
    return static_cast<uint32>(MAXALIGN(ItemIdGetLength(item)));
  }

  void Note(uint32 pivot) noexcept {
    for (int i = 0; i < count_; ++i) {
      build_.AddGroup(static_cast<uint32>(MAXALIGN(groups_[i].bytes)), groups_[i].tids);
      tids_ += groups_[i].tids;
    }
    killed_ += killed_here_;
    if (pivot > 0) {
      ++pivots_;
      pivot_bytes_ += pivot;
    }
  }

  BtreeBuild build_;
  uint64 tids_ = 0;
  uint64 killed_ = 0;  // TIDs that a reader has found dead
  uint64 pivots_ = 0;
  uint64 pivot_bytes_ = 0;
  // The page at hand.
  Group groups_[kMostItems];
  int count_ = 0;
  uint32 killed_here_ = 0;
  IndexTuple key_ = nullptr;  // of the last group
};

// Index entries lead to rows or to dead line pointers, and to nothing else. Those to dead ones may
// have gone before VACUUM.
double LiveShare(double tids, double killed, IndexedRows rows, bool partial) {
  if (rows.dead <= 0.0 || tids <= 0.0) return 1.0;
  const double of_heap = rows.live / (rows.live + rows.dead);
  const double live = partial ? (tids + killed) * of_heap : Max(rows.live, tids * of_heap);
  return Min(live / tids, 1.0);
}

IndexEstimate BtreeReader::Result(const PageSample& sample, IndexedRows rows, bool partial) const {
  const double weight = sample.Weight();
  const double tids = static_cast<double>(tids_) * weight;
  const double killed = static_cast<double>(killed_) * weight;
  const double live = LiveShare(tids, killed, rows, partial);
  const bool exact = sample.whole && sample.corrupt == 0;
  const double leaves = exact ? static_cast<double>(build_.WholeLeafPages(live))
                              : std::ceil(build_.LeafPages(live) * weight);
  const double pivot = pivots_ == 0
                           ? MAXALIGN(sizeof(IndexTupleData) + sizeof(Datum))
                           : static_cast<double>(pivot_bytes_) / static_cast<double>(pivots_);
  IndexEstimate estimate = {};
  estimate.sample = sample;
  estimate.pages = 1 + leaves + build_.InnerPages(leaves, pivot);  // and the metapage
  estimate.live = tids * live;
  estimate.dead = tids - estimate.live + killed;
  return estimate;
}

}  // namespace

IndexEstimate EstimateBtree(Relation index, Sampling sampling, IndexedRows rows) {
  // It counts groups by size, too much for the stack.
  auto* reader = new (palloc(sizeof(BtreeReader))) BtreeReader(ShapeOf(index, sampling.ring));
  const PageSample sample = ReadSample(index, sampling.most, sampling.ring, reader);
  const bool partial = !heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, nullptr);
  const IndexEstimate estimate = reader->Result(sample, rows, partial);
  pfree(reader);
  return estimate;
}

}  // namespace train_perf
