// A hash index is built with buckets for all rows of its table, as they were last counted, and then
// grows by splits like any other. A rebuild has no free overflow pages.
#include <algorithm>
#include <cmath>
#include <limits>

#include "core/hash_buckets.hpp"
#include "snapshot/index_page.hpp"
#include "snapshot/open_relation.hpp"

extern "C" {
#include "access/hash.h"
#include "optimizer/plancat.h"
#include "utils/rel.h"
}

namespace train_perf {

namespace {

constexpr Size kEntrySize = MAXALIGN(sizeof(IndexTupleData) + sizeof(uint32)) + sizeof(ItemIdData);
constexpr Size kEntriesPerPage =
    (BLCKSZ - SizeOfPageHeaderData - MAXALIGN(sizeof(HashPageOpaqueData))) / kEntrySize;
constexpr double kCapacity = kEntriesPerPage;
constexpr uint32 kMostCounted = 1U << 22;    // buckets: 16 MB
constexpr double kPagesPerBitmap = 1 << 15;  // overflow pages

// Entries of one hash code that fill this share of a page may go on in others: how many there are
// of it is not known from one page.
constexpr double kHeavy = kCapacity / 8;
// Statistics that differ by more than this are out of date.
constexpr double kStale = 0.1;

struct HashMeta {
  double entries;
  uint32 buckets;
  double overflow;  // pages, free ones included
};

class HashReader final : public PageReader {
 public:
  // At most `most` pages are read.
  HashReader(Relation index, uint32 buckets, uint32 most)
      : index_(index),
        buckets_(buckets),
        highmask_(pg_nextpower2_32(Max(buckets, 2)) - 1),
        counts_(buckets <= kMostCounted && buckets / kEntriesPerPage <= most
                    ? static_cast<uint32*>(palloc0(buckets * sizeof(uint32)))
                    : nullptr),
        most_heavy_(Min(kMostHeavy / kHeavyPerPage, most) * kHeavyPerPage),
        heavy_codes_(static_cast<uint32*>(palloc(most_heavy_ * sizeof(uint32)))) {}

  void Read(Buffer /*buffer*/, Page page, BlockNumber block) override {
    if (!HasSpecial(page, sizeof(HashPageOpaqueData)) ||
        HashPageGetOpaque(page)->hasho_page_id != HASHO_PAGE_ID)
      RaiseDamagedPage(index_, block);
    const uint16 type = HashPageGetOpaque(page)->hasho_flag & LH_PAGE_TYPE;
    free_ += type == LH_UNUSED_PAGE;
    if ((type & (LH_BUCKET_PAGE | LH_OVERFLOW_PAGE)) == 0) return;
    const OffsetNumber items = CheckedItems(index_, page, block);
    for (OffsetNumber i = FirstOffsetNumber; i <= items; ++i) {
      const ItemId item = PageGetItemId(page, i);
      if (!ItemIdHasStorage(item) || !IsSane(page, item, sizeof(IndexTupleData) + sizeof(uint32)))
        RaiseDamagedPage(index_, block);
    }
    uint32 group = 0;
    uint32 code = 0;
    for (OffsetNumber i = FirstOffsetNumber; i <= items; ++i) {
      const ItemId item = PageGetItemId(page, i);
      const uint32 next =
          _hash_get_indextuple_hashkey(reinterpret_cast<IndexTuple>(PageGetItem(page, item)));
      Count(next);
      if (next != code) {
        NoteGroup(code, group);
        group = 0;
      }
      code = next;
      ++group;
    }
    NoteGroup(code, group);
  }

  // Overflow pages of all buckets, if every page was read.
  double ExactOverflow(double share) const {
    double pages = 0;
    for (uint32 i = 0; i < buckets_; ++i) pages += HashOverflow(counts_[i] * share, kCapacity);
    return pages;
  }
  void Release() {
    if (counts_ != nullptr) pfree(counts_);
    pfree(heavy_codes_);
  }
  bool counted() const { return counts_ != nullptr; }

  // The same from a sample, of which each entry stands for `weight`, and from the overflow pages of
  // today.
  double LikelyOverflow(double weight, double share, const HashMeta& meta) {
    const double now = std::max(0.0, meta.overflow - free_ * weight);
    // The same chains, but for what goes with dead rows.
    if (buckets_ == meta.buckets && share >= 1) return now;
    const double size = HeavySize(weight, meta.buckets, now);
    const double likely = Overflow(buckets_, size, weight, std::min(1.0, share));
    if (buckets_ != meta.buckets) return likely;
    const double likely_now = Overflow(meta.buckets, size, weight, 1);
    return likely_now > 0 ? std::min(1.0, likely / likely_now) * now : likely;
  }

 private:
  static constexpr uint32 kMostHeavy = 1U << 16;
  static constexpr uint32 kHeavyPerPage = 8;

  static double Kept(double size, double share) { return 1 + (std::max(1.0, size) - 1) * share; }
  static HashGroups Twice(HashGroups groups) { return {2 * groups.entries, groups.size}; }

  double MeanLight() const { return light_ > 0 ? light_squares_ / light_ : 1; }

  // Entries of a heavy code: as many as is likely from how often each was met. Of what is about as
  // likely, that which explains the overflow pages of today best.
  double HeavySize(double weight, uint32 buckets, double now) {
    std::sort(heavy_codes_, heavy_codes_ + heavy_count_);
    const auto seen = std::unique(heavy_codes_, heavy_codes_ + heavy_count_) - heavy_codes_;
    const double codes = DistinctOfSample(heavy_count_, static_cast<double>(seen), weight);
    if (codes <= 0) return 1;
    constexpr int kSteps = 32;  // to half and to twice the size
    constexpr double kDoubt = 0.1;
    const double likely = heavy_ * weight / codes;
    double best = likely;
    double least = std::numeric_limits<double>::infinity();
    for (int i = -kSteps; i <= kSteps; ++i) {
      const double step = static_cast<double>(i) / kSteps;
      const double size = likely * std::exp2(step);
      const double error = std::abs(Overflow(buckets, size, weight, 1) - now) / std::max(1.0, now) +
                           kDoubt * std::abs(step);
      if (error >= least) continue;
      least = error;
      best = size;
    }
    return best;
  }

  double Overflow(uint32 buckets, double heavy_size, double weight, double share) const {
    // Those buckets that are not split yet have twice the entries of the others.
    const double slots = pg_nextpower2_32(Max(buckets, 2));
    const double unsplit = slots - buckets;
    const HashGroups light{light_ * weight * share / slots, Kept(MeanLight(), share)};
    const HashGroups heavy{heavy_ * weight * share / slots, Kept(heavy_size, share)};
    return unsplit * MeanHashOverflow(Twice(light), Twice(heavy), kCapacity) +
           (buckets - unsplit) * MeanHashOverflow(light, heavy, kCapacity);
  }

  void Count(uint32 code) {
    if (counts_ == nullptr) return;
    uint32 bucket = code & highmask_;
    if (bucket >= buckets_) bucket &= highmask_ >> 1;
    ++counts_[bucket];
  }

  void NoteGroup(uint32 code, uint32 size) {
    if (size < kHeavy) {
      light_ += size;
      light_squares_ += static_cast<double>(size) * size;
      return;
    }
    heavy_ += size;
    if (heavy_count_ < most_heavy_) heavy_codes_[heavy_count_++] = code;
  }

  Relation index_;
  uint32 buckets_;
  uint32 highmask_;
  uint32* counts_;  // of entries; nullptr if there would be too many
  uint32 most_heavy_;
  uint32* heavy_codes_;
  uint32 heavy_count_ = 0;
  double free_ = 0;                                   // pages
  double light_ = 0, light_squares_ = 0, heavy_ = 0;  // entries
};

// The rows that a rebuild would expect. Only fresh statistics count: others are renewed before
// anybody rebuilds the index.
double ExpectedRows(Relation index, IndexedRows rows) {
  OpenRelation table(index->rd_index->indrelid);
  if (table.get() == nullptr) return rows.live;
  BlockNumber pages = 0;
  double tuples = 0;
  double visible = 0;
  estimate_rel_size(table.get(), nullptr, &pages, &tuples, &visible);
  table.Close();
  return std::abs(tuples - rows.live) <= kStale * rows.live ? tuples : rows.live;
}

HashMeta ReadMeta(Relation index, BufferAccessStrategy ring) {
  PGAlignedBlock copy;
  if (!CopyPage(index, HASH_METAPAGE, ring, copy.data)) return {};
  const auto* meta = HashPageGetMeta(copy.data);
  if (meta->hashm_magic != HASH_MAGIC || meta->hashm_version != HASH_VERSION ||
      !(meta->hashm_ntuples >= 0 && meta->hashm_ntuples < 1e15) ||
      meta->hashm_ovflpoint >= HASH_MAX_SPLITPOINTS)
    RaiseDamagedPage(index, HASH_METAPAGE);
  const double spares = meta->hashm_spares[meta->hashm_ovflpoint];
  return {meta->hashm_ntuples, meta->hashm_maxbucket + 1,
          std::max(0.0, spares - meta->hashm_nmaps)};
}

}  // namespace

IndexEstimate EstimateHash(Relation index, Sampling sampling, IndexedRows rows) {
  const HashMeta meta = ReadMeta(index, sampling.ring);
  const double share = LiveShare(rows);
  const double live = meta.entries * share;
  const double target = Max(10, HashGetTargetPageUsage(index) / static_cast<int>(kEntrySize));
  const uint32 buckets = Max(HashBucketStep(std::floor(ExpectedRows(index, rows) / target)),
                             HashBucketStep(live / target));
  HashReader reader(index, buckets, static_cast<uint32>(sampling.most));
  IndexEstimate estimate{};
  estimate.sample = ReadSample(index, sampling.most, sampling.ring, &reader);
  const double overflow = estimate.sample.whole && reader.counted()
                              ? reader.ExactOverflow(share)
                              : reader.LikelyOverflow(estimate.sample.Weight(), share, meta);
  estimate.pages = 2.0 + buckets + overflow + std::floor(overflow / kPagesPerBitmap);
  estimate.live = live;
  estimate.dead = meta.entries - live;
  reader.Release();
  return estimate;
}

}  // namespace train_perf
