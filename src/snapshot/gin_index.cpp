// A rebuild of a GIN index leaves out keys without rows and everything pending, splits the entry
// pages in halves as the keys come in order, and packs the lists of TIDs: each entry is looked at
// as it would be then. Lists that do not fit into an entry are trees of their own, of full pages.
#include <algorithm>
#include <cmath>

#include "core/gin_entries.hpp"
#include "core/gin_postings.hpp"
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
// Held in memory while there are pending entries: keys, and of each page as many as it may have.
constexpr uint32 kMostKeys = 1U << 20;
constexpr uint32 kMostKeysPerPage = BLCKSZ / MAXALIGN(sizeof(IndexTupleData) + 1);

// A key and those of its rows that a rebuild keeps, in an entry, a pending tuple, or several of
// them.
struct Key {
  uint64 hash;
  uint64 first, last;  // TIDs, as numbers
  float size;          // of the entry without its list
  float bytes;         // of differences between its TIDs
  bool entry;          // not pending
  bool tree;
};

uint64 Number(const ItemPointerData& tid) {
  constexpr int kBitsOfOffset = 11;
  return static_cast<uint64>(GinItemPointerGetBlockNumber(&tid)) << kBitsOfOffset |
         GinItemPointerGetOffsetNumber(&tid);
}

// False if the segments are not sane.
bool ReadLists(const char* from, const char* end, GinPostings* postings) {
  while (from < end) {
    const auto* segment = reinterpret_cast<const GinPostingList*>(from);
    if (end - from < static_cast<ptrdiff_t>(kSegmentHeader) ||
        end - from < static_cast<ptrdiff_t>(SizeOfGinPostingList(segment)))
      return false;
    postings->Add(Number(segment->first));
    postings->AddDifferences(segment->bytes, segment->nbytes);
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
  // At most `most` pages are read.
  GinReader(Relation index, double share, bool pending, uint32 most)
      : index_(index),
        share_(share),
        pages_(kPageSpace),
        most_keys_(pending ? Min(kMostKeys / kMostKeysPerPage, most) * kMostKeysPerPage : 0),
        keys_(pending ? static_cast<Key*>(palloc(most_keys_ * sizeof(Key))) : nullptr),
        ends_(static_cast<float*>(palloc(most * sizeof(float)))) {}

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

  // Pages that a rebuild makes of those that were read, metapage not included; each stands for
  // `weight` pages.
  double PagesAfter(double weight) {
    AddKeys(weight);
    const double data = DataPages();  // may add entries
    const double leaves = std::max(1.0, pages_.pages());
    double inner = leaves > 1 ? leaves * MeanDownlink() / (kPageSpace * kInnerFill) : 0;
    if (leaves > 1) inner = std::max(1.0, inner);
    return leaves + inner + data;
  }

  void Release() {
    if (keys_ != nullptr) pfree(keys_);
    pfree(ends_);
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
    const Size size = IndexTupleSize(entry);
    if (offset < sizeof(IndexTupleData) || offset > size) return false;
    const Size items = GinGetNPosting(entry);
    if (items == 0) return true;
    if (!GinItupIsCompressed(entry)) return size - offset >= items * sizeof(ItemPointerData);
    return size - offset >= static_cast<Size>(kSegmentHeader) &&
           size - offset >= SizeOfGinPostingList(List(entry));
  }

  static const GinPostingList* List(IndexTuple entry) {
    return reinterpret_cast<const GinPostingList*>(GinGetPosting(entry));
  }

  void NotePending(IndexTuple tuple) {
    const Size size = IndexTupleSize(tuple);
    GinPostings postings(share_, &random_);
    postings.Add(Number(tuple->t_tid));
    NotePostings(postings, HashOfKey(tuple, size), size, false);
  }

  void NoteEntry(IndexTuple entry) {
    if (GinIsPostingTree(entry)) {
      const Size size = IndexTupleSize(entry);
      ++trees_;
      tree_key_bytes_ += static_cast<double>(size);
      NoteKey({HashOfKey(entry, size), 0, 0, static_cast<float>(size), 0, true, true});
      return;
    }
    const int items = GinGetNPosting(entry);
    if (items == 0) return;
    GinPostings postings(share_, &random_);
    if (GinItupIsCompressed(entry)) {
      postings.Add(Number(List(entry)->first));
      postings.AddDifferences(List(entry)->bytes, List(entry)->nbytes);
    } else {
      const auto* tids = reinterpret_cast<const ItemPointerData*>(GinGetPosting(entry));
      for (int i = 0; i < items; ++i) postings.Add(Number(tids[i]));
    }
    const Size size = GinGetPostingOffset(entry);
    NotePostings(postings, HashOfKey(entry, size), size, true);
  }

  void NotePostings(const GinPostings& postings, uint64 hash, Size size, bool entry) {
    items_ += postings.items();
    if (postings.kept() == 0) return;
    NoteKey({hash, postings.first(), postings.last(), static_cast<float>(size),
             static_cast<float>(postings.bytes()), entry, false});
  }

  void NoteKey(const Key& key) {
    if (keys_ == nullptr || key_count_ == most_keys_) {
      AddKey(key);
    } else {
      keys_[key_count_++] = key;
    }
  }

  void AddKeys(double weight) {
    if (keys_ == nullptr) return;
    std::sort(keys_, keys_ + key_count_, [](const Key& a, const Key& b) {
      return a.hash != b.hash ? a.hash < b.hash : a.first < b.first;
    });
    const double share_of_new = ShareOfNew(weight);
    for (uint32 i = 0; i < key_count_;) {
      Key key;
      const Pending pending = ReadGroup(&i, &key);
      if (key.entry || Draws(share_of_new * ChanceOfNew(pending.items, weight)))
        AddKey(WithPending(key, pending, weight));
    }
  }

  // The pending rows of a key.
  struct Pending {
    double items, bytes;
  };

  // The entry of a key, if it was read, and what is pending for it.
  Pending ReadGroup(uint32* next, Key* key) const {
    *key = keys_[*next];
    key->entry = false;
    key->tree = false;
    key->bytes = 0;
    Pending pending{0, 0};
    uint64 last = 0;
    for (const uint64 hash = key->hash; *next < key_count_ && keys_[*next].hash == hash; ++*next) {
      const Key& part = keys_[*next];
      key->entry |= part.entry;
      key->tree |= part.tree;
      key->bytes += part.bytes;
      if (!part.entry) {
        // A tree's TIDs are not known; rows may have come where others went.
        if (part.first > last && last > 0) {
          pending.bytes += VarbyteLength(part.first - last);
        } else if (key->entry) {
          pending.bytes += kTypicalDifference;
        }
        ++pending.items;
      }
      last = Max(last, part.last);
    }
    return pending;
  }

  // Of the pending keys whose entry was not read: those that have none. The others are as many for
  // each whose entry was read as there are other parts of the index.
  double ShareOfNew(double weight) const {
    double with_entry = 0;
    double without = 0;
    for (uint32 i = 0; i < key_count_;) {
      Key key;
      const Pending pending = ReadGroup(&i, &key);
      if (!key.entry) {
        ++without;
      } else if (pending.items > 0) {
        ++with_entry;
      }
    }
    return without > 0 ? std::max(0.0, 1 - with_entry * (weight - 1) / without) : 0;
  }

  // A new key may be met in any part of the pending list, but shall count once in all of them.
  static double ChanceOfNew(double items, double weight) {
    const double share = 1 / weight;
    return share / (1 - std::pow(1 - share, 1 + (items - 1) * weight));
  }

  // With the rows that are pending in other parts, which lie between those that were read.
  static Key WithPending(Key key, Pending pending, double weight) {
    if (pending.items == 0) return key;
    const double items = key.entry ? pending.items * weight : 1 + (pending.items - 1) * weight;
    const double differences = key.entry ? pending.items : pending.items - 1;
    if (differences <= 0) return key;
    const double each =
        std::max(1.0, pending.bytes / differences - std::log2(weight) / kBitsPerByte);
    key.bytes += static_cast<float>(each * (key.entry ? items : items - 1));
    return key;
  }

  void AddKey(const Key& key) {
    const double list = kSegmentHeader + key.bytes;
    if (key.tree) {
      added_bytes_ += key.bytes;
      AddEntry(key.size);
    } else if (key.size + list > GinMaxItemSize) {
      ++new_trees_;
      new_tree_pages_ += std::ceil(PackedSize(key.bytes) / kDataSpace);
      AddEntry(key.size);
    } else {
      AddEntry(key.size + list);
    }
  }

  bool Draws(double chance) {
    GinPostings one(chance, &random_);
    one.Add(0);
    return one.kept() > 0;
  }

  void AddEntry(double size) {
    pages_.Add(static_cast<double>(MAXALIGN(static_cast<Size>(size))) + sizeof(ItemIdData));
  }

  // NOLINTNEXTLINE(readability-non-const-parameter)
  void ReadData(Page page, BlockNumber block) {
    const auto* header = reinterpret_cast<PageHeader>(page);
    GinPostings postings(share_, &random_);
    if (GinPageIsCompressed(page)) {
      const char* from = reinterpret_cast<char*>(GinDataLeafPageGetPostingList(page));
      const char* end = page + header->pd_lower;
      if (end < from || header->pd_lower > header->pd_special || !ReadLists(from, end, &postings))
        RaiseDamagedPage(index_, block);
    } else {
      // Before 9.4: plain TIDs.
      const auto* tids = reinterpret_cast<const ItemPointerData*>(GinDataPageGetData(page));
      const Size items =
          Min(GinPageGetOpaque(page)->maxoff, GinDataPageMaxDataSize / sizeof(ItemPointerData));
      for (Size i = 0; i < items; ++i) postings.Add(Number(tids[i]));
    }
    items_ += postings.items();
    tree_bytes_ += postings.bytes();
    if (!GinPageRightMost(page)) return;
    ends_[end_count_++] = static_cast<float>(postings.bytes());
    end_bytes_ += postings.bytes();
  }

  // What a list takes in pages of a tree.
  static double PackedSize(double bytes) { return bytes * (1 + kSegmentHeader / kPackedSegment); }

  // Of all trees: those of one page, which ends its tree, and larger ones, which have a root above.
  double DataPages() {
    double pages = new_tree_pages_ + new_trees_;
    const double ends = std::max(1.0, static_cast<double>(end_count_));
    const double large = std::min(static_cast<double>(end_count_), data_inner_);
    const double added = trees_ > 0 ? added_bytes_ / trees_ : 0;
    const double large_bytes = tree_bytes_ - end_bytes_ * (ends - large) / ends;
    // A sample need not have a root or an end of a tree.
    if (large == 0) pages += PackedSize(large_bytes) / kDataSpace;
    // Which ones are small is not known if there are both: evenly spread.
    for (uint32 i = 0; i < end_count_; ++i) {
      const bool is_large = std::floor((i + 1) * large / ends) > std::floor(i * large / ends);
      if (!is_large) pages += TreePages(ends_[i] + added);
    }
    for (uint32 i = 0; i < static_cast<uint32>(large); ++i)
      pages += TreePages(large_bytes / large + added);
    return pages;
  }

  // Of one tree; a list that fits into an entry is added there.
  double TreePages(double bytes) {
    const double list = bytes > 0 ? kSegmentHeader + bytes : 0;
    const double key = trees_ > 0 ? tree_key_bytes_ / trees_ : kShortKey;
    if (key + list <= GinMaxItemSize) {
      pages_.Add(static_cast<double>(MAXALIGN(static_cast<Size>(list))));
      return 0;
    }
    const double size = PackedSize(bytes);
    if (size <= GinDataPageMaxDataSize) return 1;
    return std::max(2.0, size / kDataSpace + 0.5) + 1;
  }

  double MeanDownlink() const {
    constexpr double kShort = 24;
    return downlinks_ > 0 ? downlink_bytes_ / downlinks_ : kShort;
  }

  static constexpr double kTypicalDifference = 3;  // bytes, of new rows
  static constexpr double kShortKey = sizeof(IndexTupleData) + 4;

  Relation index_;
  double share_;
  GinEntryPages pages_;
  uint32 most_keys_;
  Key* keys_;
  float* ends_;  // bytes of the lists of pages that end a tree
  uint32 key_count_ = 0, end_count_ = 0;
  uint64 random_ = 1;
  double items_ = 0, downlinks_ = 0, downlink_bytes_ = 0;
  double data_inner_ = 0, tree_bytes_ = 0, end_bytes_ = 0;
  double trees_ = 0, tree_key_bytes_ = 0;  // entries that lead to one
  double added_bytes_ = 0;                 // that are pending for them
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
  GinReader reader(index, share, HasPending(index, sampling.ring),
                   static_cast<uint32>(sampling.most));
  IndexEstimate estimate{};
  estimate.sample = ReadSample(index, sampling.most, sampling.ring, &reader);
  const double weight = estimate.sample.Weight();
  estimate.pages = 1 + std::max(1.0, weight * reader.PagesAfter(weight));
  estimate.live = reader.items() * weight * share;
  estimate.dead = reader.items() * weight - estimate.live;
  reader.Release();
  return estimate;
}

}  // namespace train_perf
