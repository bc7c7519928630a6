// SP-GiST's leaf pages are as full as the data and their order make them. VACUUM leaves
// placeholders, as splits do, and takes them away at the end of a page only: then the fullest pages
// tell how much all have lost, as deletions thin out all pages alike.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/split_pages.hpp"
#include "snapshot/index_page.hpp"

extern "C" {
#include "access/spgist_private.h"
#include "catalog/pg_type.h"
#include "utils/rel.h"
}

namespace train_perf {

namespace {

// What the fullest tenth of the leaf pages starts with, and the share of a page's line pointers
// that are of entries, after a build.
constexpr double kHighFill = 0.955;
constexpr double kUsedPointers = 0.85;
// The fill if keys come in order: then a page splits into nearly full ones, or into three, of which
// only one takes more; VACUUM takes away a third of their line pointers then.
constexpr double kOrderedFill = 0.9;
constexpr double kOrderedThird = 1.0 / 3;
constexpr double kThirdGivenUp = 0.3;
// Above this, nothing was deleted.
constexpr double kUnchanged = 0.94;
constexpr double kFixedPages = 3;  // the metapage and both roots
constexpr Oid kKdPointFamily = 4016;

// The mean fill of leaf pages, over indexes of all sizes: where it is for one depends on how far
// its pages are on the way to the next splits. Zero where it is not known.
double TypicalFill(Relation index) {
  switch (TupleDescAttr(RelationGetDescr(index), 0)->atttypid) {
    case TEXTOID:
      return 0.84;
    case POINTOID:
      return index->rd_opfamily[0] == kKdPointFamily ? 0.69 : 0.8;
    case INETOID:
    case INT4RANGEOID:
    case INT8RANGEOID:
    case NUMRANGEOID:
    case TSRANGEOID:
    case TSTZRANGEOID:
    case DATERANGEOID:
      return 0.69;
    default:
      return 0;
  }
}

class SpGistReader final : public PageReader {
 public:
  SpGistReader(Relation index, int most)
      : index_(index),
        fills_(static_cast<float*>(palloc(static_cast<Size>(most) * sizeof(float)))) {}

  void Read(Buffer /*buffer*/, Page page, BlockNumber block) override {
    if (!HasSpecial(page, sizeof(SpGistPageOpaqueData)) ||
        SpGistPageGetOpaque(page)->spgist_page_id != SPGIST_PAGE_ID)
      RaiseDamagedPage(index_, block);
    if (SpGistPageIsMeta(page)) return;
    const PageContent content = ReadContent(index_, page, block, SGDTSIZE);
    if (!SpGistPageIsLeaf(page)) {
      if (!SpGistBlockIsFixed(block)) ++inner_;
      return;
    }
    double live = 0;
    double bytes = 0;
    for (OffsetNumber i = FirstOffsetNumber; i <= content.items; ++i) {
      const ItemId item = PageGetItemId(page, i);
      const auto* tuple = reinterpret_cast<SpGistDeadTuple>(PageGetItem(page, item));
      if (tuple->tupstate != SPGIST_LIVE) continue;
      ++live;
      bytes += MAXALIGN(ItemIdGetLength(item)) + sizeof(ItemIdData);
    }
    entries_ += live;
    pointers_ += content.former_items;
    removed_ += content.former_items - content.items;
    if (!SpGistBlockIsFixed(block) && live > 0)
      fills_[leaves_++] = static_cast<float>(bytes / SPGIST_PAGE_CAPACITY);
  }

  void Release() { pfree(fills_); }
  double entries() const { return entries_; }

  // Pages that a rebuild makes of those that were read, if `share` of the entries are live.
  double PagesAfter(double share) {
    if (leaves_ == 0) return 0;
    std::sort(fills_, fills_ + leaves_);
    const double remaining = RemainingShare();
    const double built_fill = std::accumulate(fills_, fills_ + leaves_, 0.0) / leaves_ / remaining;
    share *= remaining;
    const double inner = IsRadix() ? inner_ * std::sqrt(share) : inner_ * share;
    return leaves_ * share * built_fill / FillAfter(built_fill, share) + inner;
  }

 private:
  bool IsRadix() const { return TupleDescAttr(RelationGetDescr(index_), 0)->atttypid == TEXTOID; }
  bool IsOrdered() const {
    return removed_ > kThirdGivenUp * pointers_ || AreAlike(fills_, leaves_);
  }

  // The fewer entries are left, the less it says how full pages were with all.
  double FillAfter(double fill, double share) const {
    constexpr double kForgotten = 1.5;
    const double typical = TypicalFill(index_);
    if (typical == 0 || IsOrdered()) return fill;
    return typical + (fill - typical) * std::max(0.0, 1 - kForgotten * (1 - share));
  }

  // The share of the entries, as a build left them, that leaf pages still have.
  double RemainingShare() const {
    constexpr int kFew = 10;
    if (removed_ == 0 || leaves_ < kFew) return 1;
    const double high = fills_[leaves_ - 1 - leaves_ / 10];
    double share = 0;
    if (removed_ > kThirdGivenUp * pointers_) {
      share = high / kOrderedThird;
    } else if (AreAlike(fills_, leaves_)) {
      share = high / kOrderedFill;
    } else {
      share = std::max(high / kHighFill, entries_ / pointers_ / kUsedPointers);
    }
    return share > kUnchanged ? 1 : share;
  }

  Relation index_;
  float* fills_;  // of leaf pages with entries
  int leaves_ = 0;
  double inner_ = 0;
  double entries_ = 0;
  double pointers_ = 0, removed_ = 0;  // line pointers
};

}  // namespace

IndexEstimate EstimateSpGist(Relation index, Sampling sampling, IndexedRows rows) {
  SpGistReader reader(index, sampling.most);
  IndexEstimate estimate{};
  estimate.sample = ReadSample(index, sampling.most, sampling.ring, &reader);
  const double weight = estimate.sample.Weight();
  const double entries = reader.entries() * weight;
  const double share = LiveShare(index, entries, rows);
  estimate.pages = kFixedPages + weight * reader.PagesAfter(share);
  estimate.live = entries * share;
  estimate.dead = entries - estimate.live;
  reader.Release();
  return estimate;
}

}  // namespace train_perf
