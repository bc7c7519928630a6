#include <cmath>
#include <new>

#include "core/btree_build.hpp"
#include "pg/damage.hpp"
#include "snapshot/index_page.hpp"

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

// Equal keys side by side on a page.
struct Group {
  uint32 bytes;  // of a tuple with one TID
  uint32 tids;
  uint32 known;  // TIDs of which the table's sample tells whether they lead to a row
  uint32 live;   // of those
};

// What the known TIDs say of all.
class Liveness {
 public:
  void Add(const Group& group) noexcept {
    known_ += group.known;
    live_ += group.live;
    if (group.known < 2 || group.tids > kFewTids) return;
    const auto others = static_cast<double>(group.known - 1);
    pairs_ += group.known * others;
    live_in_pairs_ += group.live * others;
    live_pairs_ += static_cast<double>(group.live) * (group.live - 1.0);
  }

  // Of `tids`: as if up to `weight` more TIDs were known of which that share is live; fewer, the
  // more is known already.
  double Share(uint64 tids, double share, double weight) const noexcept {
    const double unknown = 1.0 - static_cast<double>(known_) / static_cast<double>(tids);
    const double more = weight * unknown;
    if (known_ == 0) return share;
    return (static_cast<double>(live_) + more * share) / (static_cast<double>(known_) + more);
  }

  // The correlation within groups.
  double Together() const noexcept {
    if (pairs_ < kEnoughPairs) return 0.0;
    const double share = live_in_pairs_ / pairs_;
    const double variance = share * (1.0 - share);
    return variance <= 0.0 ? 0.0 : (live_pairs_ / pairs_ - share * share) / variance;
  }

 private:
  static constexpr uint32 kFewTids = 64;
  static constexpr double kEnoughPairs = 200;

  uint64 known_ = 0, live_ = 0;
  double pairs_ = 0.0, live_in_pairs_ = 0.0, live_pairs_ = 0.0;
};

// The leaf pages, in the order of the file: groups of equal keys go to the build. Of inner pages
// only how many pages they lead to counts.
class BtreeReader final : public PageReader {
 public:
  BtreeReader(Relation index, BtreeBuild::Shape shape, IndexedRows rows)
      : build_(shape),
        rows_(rows),
        known_(rows.dead > 0.0 ? rows.known : nullptr),
        partial_(IsPartial(index)) {}

  void Read(Buffer, Page page, BlockNumber block) override {
    if (block == BTREE_METAPAGE) return;
    if (PageGetSpecialSize(page) != MAXALIGN(sizeof(BTPageOpaqueData)))
      RaiseDamage(ERRCODE_INDEX_CORRUPTED, "not a page of a B-tree");
    const BTPageOpaque opaque = BTPageGetOpaque(page);
    if (P_IGNORE(opaque)) return;
    const OffsetNumber last = PageGetMaxOffsetNumber(page);
    if (last > kMostItems) RaiseDamage(ERRCODE_INDEX_CORRUPTED, "too many line pointers");
    if (!P_ISLEAF(opaque)) {
      if (last < P_FIRSTDATAKEY(opaque))
        RaiseDamage(ERRCODE_INDEX_CORRUPTED, "an inner page leads nowhere");
      ++inner_;
      children_ += last + 1 - P_FIRSTDATAKEY(opaque);
      return;
    }
    count_ = 0;
    killed_here_ = 0;
    pivot_here_ = {};
    for (OffsetNumber number = P_FIRSTDATAKEY(opaque); number <= last; ++number)
      ReadItem(page, PageGetItemId(page, number));
    if (!P_RIGHTMOST(opaque)) ReadPivot(page);
    Note();
  }

  IndexEstimate Result(const PageSample& sample) const;

 private:
  static constexpr uint16 kFlags = INDEX_NULL_MASK | INDEX_VAR_MASK;

  // What stands in the level above to separate a page from the next.
  struct Pivot {
    uint32 bytes;
    bool within_group;  // the page ends amid equal keys
  };

  void ReadItem(Page page, ItemId item) {
    if (!ItemIdHasStorage(item)) return;
    auto* const tuple = CheckedTuple(page, item);
    const bool posting = BTreeTupleIsPosting(tuple);
    const auto size = static_cast<uint32>(IndexTupleSize(tuple));
    const uint32 bytes = posting ? BTreeTupleGetPostingOffset(tuple) : size;
    const uint32 tids = posting ? BTreeTupleGetNPosting(tuple) : 1;
    if (bytes < sizeof(IndexTupleData) ||
        bytes + (posting ? tids * sizeof(ItemPointerData) : 0) > size)
      RaiseDamage(ERRCODE_INDEX_CORRUPTED, "a tuple exceeds its place");
    if (ItemIdIsDead(item)) {
      killed_here_ += tids;
      return;
    }
    if (count_ == 0 || !HasSameKey(tuple, bytes)) {
      groups_[count_++] = {bytes, 0, 0, 0};
      key_ = tuple;
    }
    Group* group = &groups_[count_ - 1];
    group->tids += tids;
    if (known_ == nullptr) return;
    const ItemPointer first = posting ? BTreeTupleGetPosting(tuple) : &tuple->t_tid;
    for (uint32 i = 0; i < tids; ++i) LookUp(first + i, group);
  }

  static IndexTuple CheckedTuple(Page page, ItemId item) {
    if (!IsSane(page, item, sizeof(IndexTupleData)))
      RaiseDamage(ERRCODE_INDEX_CORRUPTED, "a line pointer leads nowhere");
    auto* const tuple = reinterpret_cast<IndexTuple>(PageGetItem(page, item));
    if (IndexTupleSize(tuple) > ItemIdGetLength(item) ||
        IndexTupleSize(tuple) < sizeof(IndexTupleData))
      RaiseDamage(ERRCODE_INDEX_CORRUPTED, "a tuple exceeds its place");
    return tuple;
  }

  bool HasSameKey(IndexTuple tuple, uint32 bytes) const {
    return groups_[count_ - 1].bytes == bytes && ((tuple->t_info ^ key_->t_info) & kFlags) == 0 &&
           memcmp(tuple + 1, key_ + 1, bytes - sizeof(IndexTupleData)) == 0;
  }

  void LookUp(ItemPointer tid, Group* group) const {
    const LiveRows::KnownPage* page = known_->Find(ItemPointerGetBlockNumberNoCheck(tid));
    if (page == nullptr) return;
    ++group->known;
    if (page->IsLive(ItemPointerGetOffsetNumberNoCheck(tid))) ++group->live;
  }

  void ReadPivot(Page page) {
    auto* const tuple = CheckedTuple(page, PageGetItemId(page, P_HIKEY));
    pivot_here_.bytes = static_cast<uint32>(MAXALIGN(IndexTupleSize(tuple)));
    pivot_here_.within_group = BTreeTupleIsPivot(tuple) && BTreeTupleGetHeapTID(tuple) != nullptr;
  }

  void Note() noexcept {
    ++leaves_;
    for (int i = 0; i < count_; ++i) {
      const bool goes_on = i == count_ - 1 && pivot_here_.within_group;
      build_.AddGroup(static_cast<uint32>(MAXALIGN(groups_[i].bytes)), groups_[i].tids, goes_on);
      tids_ += groups_[i].tids;
      liveness_.Add(groups_[i]);
    }
    killed_ += killed_here_;
    if (pivot_here_.bytes > 0) {
      ++pivots_;
      pivot_bytes_ += pivot_here_.bytes;
    }
  }

  // How many pages each leaf page that was read stands for. If there are many inner pages, how many
  // pages they lead to tells more exactly than the numbers of both in the sample.
  double LeafWeight(const PageSample& sample) const noexcept {
    constexpr uint64 kEnough = 20;
    if (sample.whole || inner_ < kEnough || leaves_ == 0) return sample.Weight();
    const double leaf_share = 1.0 - static_cast<double>(inner_) / static_cast<double>(children_);
    const double in_use = static_cast<double>(leaves_ + inner_) * sample.Weight();
    return children_ <= inner_ ? sample.Weight()
                               : in_use * leaf_share / static_cast<double>(leaves_);
  }

  BtreeBuild::Live LiveOf(double tids, double killed) const noexcept;

  BtreeBuild build_;
  IndexedRows rows_;
  const LiveRows* known_;
  bool partial_;
  Liveness liveness_;
  uint64 leaves_ = 0;
  uint64 inner_ = 0;
  uint64 children_ = 0;  // of inner pages
  uint64 tids_ = 0;
  uint64 killed_ = 0;  // TIDs that a reader has found dead
  uint64 pivots_ = 0;
  uint64 pivot_bytes_ = 0;
  // The page at hand.
  Group groups_[kMostItems];
  int count_ = 0;
  uint32 killed_here_ = 0;
  Pivot pivot_here_ = {};
  IndexTuple key_ = nullptr;  // of the last group
};

// Index entries lead to rows or to dead line pointers, and to nothing else. Those to dead ones may
// have gone before VACUUM; and rows of a partial index are not like others: the less is known of
// its own TIDs, the more the whole table counts.
BtreeBuild::Live BtreeReader::LiveOf(double tids, double killed) const noexcept {
  constexpr double kPartialWeight = 50;
  constexpr double kWeight = 2500;
  if (rows_.dead <= 0.0 || tids <= 0.0) return {};
  const double of_table = rows_.live / (rows_.live + rows_.dead);
  const double live = partial_ ? (tids + killed) * of_table : Max(rows_.live, tids * of_table);
  const double share =
      liveness_.Share(tids_, Min(live / tids, 1.0), partial_ ? kPartialWeight : kWeight);
  return {share, liveness_.Together()};
}

IndexEstimate BtreeReader::Result(const PageSample& sample) const {
  const double weight = LeafWeight(sample);
  const double tids = static_cast<double>(tids_) * weight;
  const double killed = static_cast<double>(killed_) * weight;
  const BtreeBuild::Live live = LiveOf(tids, killed);
  const bool exact = sample.whole && sample.corrupt == 0;
  const double leaves = exact ? static_cast<double>(build_.WholeLeafPages(live))
                              : std::ceil(build_.LeafPages(live) * weight);
  const double pivot = pivots_ == 0
                           ? MAXALIGN(sizeof(IndexTupleData) + sizeof(Datum))
                           : static_cast<double>(pivot_bytes_) / static_cast<double>(pivots_);
  IndexEstimate estimate = {};
  estimate.sample = sample;
  estimate.pages = 1 + leaves + build_.InnerPages(leaves, pivot);  // and the metapage
  estimate.live = tids * live.share;
  estimate.dead = tids - estimate.live + killed;
  return estimate;
}

}  // namespace

IndexEstimate EstimateBtree(Relation index, Sampling sampling, IndexedRows rows) {
  // It counts groups by size, too much for the stack.
  auto* reader =
      new (palloc(sizeof(BtreeReader))) BtreeReader(index, ShapeOf(index, sampling.ring), rows);
  const PageSample sample = ReadSample(index, sampling.most, sampling.ring, reader);
  const IndexEstimate estimate = reader->Result(sample);
  pfree(reader);
  return estimate;
}

}  // namespace train_perf
