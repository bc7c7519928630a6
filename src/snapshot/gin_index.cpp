// A rebuild of a GIN index leaves out keys without rows and everything pending, splits the entry
// pages in halves as the keys come in order, and packs the lists of TIDs: each entry is looked at
// as it would be then. Lists that do not fit into an entry are trees of their own, of full pages.
#include <algorithm>
#include <cmath>

#include "core/gin_entries.hpp"
#include "snapshot/index_page.hpp"

extern "C" {
#include "access/gin_private.h"
#include "common/hashfn.h"
#include "utils/rel.h"
}

namespace train_perf {

namespace {

constexpr double kPageSpace =
    BLCKSZ - MAXALIGN(SizeOfPageHeaderData) - MAXALIGN(sizeof(GinPageOpaqueData));
// A packed page lacks half a segment.
constexpr double kDataSpace = GinDataPageMaxDataSize - 160.0;
constexpr double kSegmentHeader = offsetof(GinPostingList, bytes);
constexpr double kPackedSegment = 328;  // bytes, in a build
constexpr double kBitsPerByte = 7;      // of a difference between TIDs
constexpr double kInnerFill = 0.49;
constexpr uint32 kMostKeys = 1U << 20;  // held in memory while there are pending entries

struct PostingLists {
  double items;
  double segments;
  double bytes;  // of the differences
};

// A key and its rows, in an entry, a pending tuple, or several of them.
struct Key {
  uint64 hash;
  double size;   // of the entry without its list
  double items;  // TIDs
  double bytes;  // of their differences
  bool tree;
};

// False if the segments are not sane.
bool ReadLists(const char* from, Size size, PostingLists* lists) {
  const char* end = from + size;
  *lists = {};
  while (from < end) {
    const auto* segment = reinterpret_cast<const GinPostingList*>(from);
    if (end - from < static_cast<ptrdiff_t>(kSegmentHeader) ||
        end - from < static_cast<ptrdiff_t>(SizeOfGinPostingList(segment)))
      return false;
    ++lists->segments;
    ++lists->items;
    // The last byte of each difference has no high bit.
    for (int i = 0; i < segment->nbytes; ++i) lists->items += (segment->bytes[i] & 0x80) == 0;
    lists->bytes += segment->nbytes;
    from += SizeOfGinPostingList(segment);
  }
  return true;
}

uint64 HashOfKey(IndexTuple tuple, Size size) {
  const auto* data = reinterpret_cast<const unsigned char*>(tuple) + sizeof(IndexTupleData);
  Size length = size - sizeof(IndexTupleData);
  while (length > 0 && data[length - 1] == 0) --length;  // padding
  return hash_bytes_extended(data, static_cast<int>(length), tuple->t_info & INDEX_NULL_MASK);
}

class GinReader final : public PageReader {
 public:
  // `share` of the TIDs are live. If there are pending ones, keys are held to be counted once.
  GinReader(Relation index, double share, bool pending)
      : index_(index),
        share_(share),
        growth_(share > 0 ? std::log2(1 / share) / kBitsPerByte : 0),
        pages_(kPageSpace),
        keys_(pending ? static_cast<Key*>(MemoryContextAllocExtended(
                            CurrentMemoryContext, kMostKeys * sizeof(Key), MCXT_ALLOC_HUGE))
                      : nullptr) {}

  void Read(Buffer /*buffer*/, Page page, BlockNumber block) override {
    if (!HasSpecial(page, sizeof(GinPageOpaqueData))) RaiseDamagedPage(index_, block);
    const uint16 flags = GinPageGetOpaque(page)->flags;
    if ((flags & (GIN_META | GIN_DELETED)) != 0) return;
    if ((flags & GIN_DATA) == 0) {
      ReadEntries(page, block, flags);
    } else if ((flags & GIN_LEAF) == 0) {
      ++data_inner_;
    } else {
      ReadData(page, block);
    }
  }

  // Pages that a rebuild makes of those that were read, metapage not included.
  double PagesAfter() {
    AddKeys();
    const double data = DataPages();
    const double leaves = std::max(1.0, pages_.pages());
    double inner = leaves > 1 ? leaves * MeanDownlink() / (kPageSpace * kInnerFill) : 0;
    if (leaves > 1) inner = std::max(1.0, inner);
    return leaves + inner + data;
  }

  void Release() {
    if (keys_ != nullptr) pfree(keys_);
  }
  double items() const { return items_; }

 private:
  void ReadEntries(Page page, BlockNumber block, uint16 flags) {
    const OffsetNumber items = CheckedItems(index_, page, block);
    for (OffsetNumber i = FirstOffsetNumber; i <= items; ++i) {
      const ItemId item = PageGetItemId(page, i);
      if (!ItemIdHasStorage(item) || !IsSane(page, item, sizeof(IndexTupleData)) ||
          IndexTupleSize(Entry(page, i)) != ItemIdGetLength(item))
        RaiseDamagedPage(index_, block);
    }
    if ((flags & GIN_LIST) != 0) {
      for (OffsetNumber i = FirstOffsetNumber; i <= items; ++i) NotePending(Entry(page, i));
    } else if ((flags & GIN_LEAF) != 0) {
      for (OffsetNumber i = FirstOffsetNumber; i <= items; ++i) {
        if (!IsSaneEntry(Entry(page, i))) RaiseDamagedPage(index_, block);
      }
      for (OffsetNumber i = FirstOffsetNumber; i <= items; ++i) NoteEntry(Entry(page, i));
    } else {
      for (OffsetNumber i = FirstOffsetNumber; i <= items; ++i) {
        ++downlinks_;
        downlink_bytes_ += MAXALIGN(IndexTupleSize(Entry(page, i))) + sizeof(ItemIdData);
      }
    }
  }

  // NOLINTNEXTLINE(readability-non-const-parameter)
  static IndexTuple Entry(Page page, OffsetNumber offset) {
    return reinterpret_cast<IndexTuple>(PageGetItem(page, PageGetItemId(page, offset)));
  }

  static bool IsSaneEntry(IndexTuple entry) {
    if (GinIsPostingTree(entry)) return true;
    const Size offset = GinGetPostingOffset(entry);
    return offset >= sizeof(IndexTupleData) && offset <= IndexTupleSize(entry);
  }

  void NotePending(IndexTuple tuple) {
    ++items_;
    const Size size = IndexTupleSize(tuple);
    NoteKey({HashOfKey(tuple, size), static_cast<double>(size), 1, 0, false});
  }

  void NoteEntry(IndexTuple entry) {
    if (GinIsPostingTree(entry)) {
      const Size size = IndexTupleSize(entry);
      NoteKey({HashOfKey(entry, size), static_cast<double>(size), 0, 0, true});
      return;
    }
    const double items = GinGetNPosting(entry);
    if (items == 0) return;
    items_ += items;
    const Size size = GinGetPostingOffset(entry);
    const double bytes = static_cast<double>(IndexTupleSize(entry) - size) - kSegmentHeader;
    NoteKey({HashOfKey(entry, size), static_cast<double>(size), items,
             items > 1 ? std::max(items - 1, bytes) : 0, false});
  }

  void NoteKey(const Key& key) {
    if (keys_ == nullptr || key_count_ == kMostKeys) {
      AddKey(key);
    } else {
      keys_[key_count_++] = key;
    }
  }

  void AddKeys() {
    if (keys_ == nullptr) return;
    std::sort(keys_, keys_ + key_count_,
              [](const Key& a, const Key& b) { return a.hash < b.hash; });
    for (uint32 i = 0; i < key_count_;) {
      Key key = keys_[i];
      for (++i; i < key_count_ && keys_[i].hash == key.hash; ++i) {
        key.tree |= keys_[i].tree;
        key.items += keys_[i].items;
        key.bytes += keys_[i].bytes + kTypicalDifference;
      }
      AddKey(key);
    }
  }

  void AddKey(const Key& key) {
    if (key.tree) {
      tree_items_ += key.items;
      tree_bytes_ += key.bytes;
      pages_.Add(MAXALIGN(static_cast<Size>(key.size)) + sizeof(ItemIdData));
      return;
    }
    const double live = LiveItems(key.items);
    if (live == 0) return;
    const double difference = key.items > 1 ? key.bytes / (key.items - 1) + growth_ : 0;
    const double list = kSegmentHeader + std::ceil((live - 1) * difference);
    const double size = key.size + list;
    if (size > GinMaxItemSize) {
      ++new_trees_;
      new_tree_pages_ += std::ceil(list / kDataSpace);
      pages_.Add(MAXALIGN(static_cast<Size>(key.size)) + sizeof(ItemIdData));
    } else {
      pages_.Add(static_cast<double>(MAXALIGN(static_cast<Size>(size))) + sizeof(ItemIdData));
    }
  }

  // Few of many keys have exactly the mean: drawn one by one.
  double LiveItems(double items) {
    constexpr double kMany = 32;
    if (share_ >= 1) return items;
    if (items > kMany) return std::round(items * share_);
    double live = 0;
    for (int left = static_cast<int>(items); left > 0; --left) {
      random_ = random_ * 6364136223846793005U + 1442695040888963407U;
      live += static_cast<double>(random_ >> 11) * 0x1p-53 < share_;
    }
    return live;
  }

  // NOLINTNEXTLINE(readability-non-const-parameter)
  void ReadData(Page page, BlockNumber block) {
    const auto* header = reinterpret_cast<PageHeader>(page);
    PostingLists lists{};
    if (GinPageIsCompressed(page)) {
      const char* from = reinterpret_cast<char*>(GinDataLeafPageGetPostingList(page));
      const char* end = page + header->pd_lower;
      if (end < from || header->pd_lower > header->pd_special ||
          !ReadLists(from, static_cast<Size>(end - from), &lists))
        RaiseDamagedPage(index_, block);
    } else {
      // Before 9.4: plain TIDs.
      lists.items =
          Min(GinPageGetOpaque(page)->maxoff, GinDataPageMaxDataSize / sizeof(ItemPointerData));
      lists.bytes = lists.items * kTypicalDifference;
    }
    items_ += lists.items;
    tree_items_ += lists.items;
    tree_bytes_ += lists.bytes;
    segments_ += lists.segments;
    if (!GinPageRightMost(page)) return;
    ++ends_;
    end_items_ += lists.items;
    const double size = lists.bytes + (lists.items - lists.segments) * growth_;
    full_ends_ += size * share_ > kInlineList;
  }

  // Of all trees: those of one page, which ends its tree, and larger ones, which have a root above.
  double DataPages() const {
    if (ends_ == 0 || tree_items_ <= 0 || share_ <= 0) return new_tree_pages_ + new_trees_;
    const double large = std::min(ends_, data_inner_);
    const double small = ends_ - large;
    const double differences = std::max(1.0, tree_items_ - segments_);
    const double item = tree_bytes_ / differences + growth_;
    const double size = item * (1 + kSegmentHeader / kPackedSegment);
    const double small_items = end_items_ * small / ends_;
    const double large_items = tree_items_ - small_items;
    double pages = full_ends_ * small / ends_;
    if (large > 0) {
      const double each = large_items * share_ * size / large / kDataSpace;
      if (each > 1) {
        pages += large * (std::max(2.0, each + 0.5) + 1);
      } else if (each * kDataSpace > kInlineList) {
        pages += large;
      }
    }
    return pages + new_tree_pages_ + new_trees_;
  }

  double MeanDownlink() const {
    constexpr double kShort = 24;
    return downlinks_ > 0 ? downlink_bytes_ / downlinks_ : kShort;
  }

  static constexpr double kTypicalDifference = 1.5;  // bytes
  static constexpr double kInlineList = GinMaxItemSize - 32.0;

  Relation index_;
  double share_;
  double growth_;  // of the bytes of a difference, as TIDs between go
  GinEntryPages pages_;
  Key* keys_;
  uint32 key_count_ = 0;
  uint64 random_ = 1;
  double items_ = 0, downlinks_ = 0, downlink_bytes_ = 0;
  double data_inner_ = 0, tree_items_ = 0, tree_bytes_ = 0, segments_ = 0;
  // Pages that end a tree, and those whose lists do not fit into an entry after a rebuild.
  double ends_ = 0, end_items_ = 0, full_ends_ = 0;
  double new_trees_ = 0, new_tree_pages_ = 0;
};

bool HasPending(Relation index, BufferAccessStrategy ring) {
  PGAlignedBlock copy;
  if (!CopyPage(index, GIN_METAPAGE_BLKNO, ring, copy.data)) return false;
  const auto* meta = GinPageGetMeta(copy.data);
  if (meta->ginVersion < 0 || meta->ginVersion > GIN_CURRENT_VERSION)
    RaiseDamagedPage(index, GIN_METAPAGE_BLKNO);
  return meta->nPendingPages > 0;
}

}  // namespace

IndexEstimate EstimateGin(Relation index, Sampling sampling, IndexedRows rows) {
  const double share = LiveShare(rows);
  GinReader reader(index, share, HasPending(index, sampling.ring));
  IndexEstimate estimate{};
  estimate.sample = ReadSample(index, sampling.most, sampling.ring, &reader);
  const double weight = estimate.sample.Weight();
  estimate.pages = 1 + std::max(1.0, weight * reader.PagesAfter());
  estimate.live = reader.items() * weight * share;
  estimate.dead = reader.items() * weight - estimate.live;
  reader.Release();
  return estimate;
}

}  // namespace train_perf
