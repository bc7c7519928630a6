// SP-GiST's leaf pages are as full as the data and their order make them. VACUUM leaves
// placeholders, as splits do, and takes them away at the end of a page only: then the fullest pages
// tell how much all have lost, as deletions thin out all pages alike.
#include <algorithm>

#include "core/split_pages.hpp"
#include "snapshot/index_page.hpp"

extern "C" {
#include "access/spgist_private.h"
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
constexpr double kThirdGivenUp = 0.15;
// Above this, nothing was deleted.
constexpr double kUnchanged = 0.94;
constexpr double kFixedPages = 3;  // the metapage and both roots

class SpGistReader final : public PageReader {
 public:
  SpGistReader(Relation index, int most)
      : index_(index), fills_(static_cast<float*>(palloc(most * sizeof(float)))) {}

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

  double entries() const { return entries_; }
  double leaves() const { return leaves_; }
  double inner() const { return inner_; }

  // The share of the entries, as a build left them, that leaf pages still have.
  double RemainingShare() {
    constexpr int kFew = 10;
    if (removed_ == 0 || leaves_ < kFew) return 1;
    std::sort(fills_, fills_ + leaves_);
    const double high = fills_[leaves_ - 1 - leaves_ / 10];
    double share = 0;
    if (removed_ > kThirdGivenUp * pointers_)
      share = high / kOrderedThird;
    else if (AreAlike(fills_, leaves_))
      share = high / kOrderedFill;
    else
      share = std::max(high / kHighFill, entries_ / pointers_ / kUsedPointers);
    return share > kUnchanged ? 1 : share;
  }

 private:
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
  const double pages = (reader.leaves() + reader.inner()) * weight;
  estimate.pages = kFixedPages + pages * share * reader.RemainingShare();
  estimate.live = entries * share;
  estimate.dead = entries - estimate.live;
  return estimate;
}

}  // namespace train_perf
