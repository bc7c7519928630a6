// How full GiST's pages are depends on the operator class, the data and their order, and not on
// deletions: they only take entries out. What a page had before still shows in the gap between its
// line pointers and its items: that is how full the pages of a rebuild are, for fewer entries. A
// crash and replication clear the gaps; then deletions of before do not count.
#include <algorithm>
#include <cmath>

#include "core/split_pages.hpp"
#include "snapshot/index_page.hpp"

extern "C" {
#include "access/gist.h"
#include "access/gist_private.h"
#include "utils/rel.h"
}

namespace train_perf {

namespace {

constexpr double kPageSpace = BLCKSZ - SizeOfPageHeaderData - sizeof(GISTPageOpaqueData);

class GistReader final : public PageReader {
 public:
  GistReader(Relation index, int most)
      : index_(index),
        fills_(static_cast<float*>(palloc(static_cast<Size>(most) * sizeof(float)))) {}

  void Read(Buffer /*buffer*/, Page page, BlockNumber block) override {
    if (!HasSpecial(page, sizeof(GISTPageOpaqueData)) ||
        GistPageGetOpaque(page)->gist_page_id != GIST_PAGE_ID)
      RaiseDamagedPage(index_, block);
    if (GistPageIsDeleted(page)) return;
    const PageContent content = ReadContent(index_, page, block, sizeof(IndexTupleData));
    if (!GistPageIsLeaf(page)) {
      ++inner_;
      downlinks_ += content.items;
      downlink_bytes_ += content.bytes;
      return;
    }
    entries_ += content.items;
    former_ += content.former_items;
    bytes_ += content.bytes;
    if (GistPageGetNSN(page) > GistBuildLSN) ++grown_;
    fills_[leaves_++] = static_cast<float>(content.former_items);
  }

  void Release() { pfree(fills_); }
  double entries() const { return entries_; }
  double leaves() const { return leaves_; }
  double inner() const { return inner_; }

  // Leaf pages that a rebuild makes of those that were read, of `live` entries.
  double LeavesAfter(double live, double build_fill, bool sorted) {
    if (entries_ <= 0 || live <= 0) return 0;
    const double size = bytes_ / entries_;
    for (int i = 0; i < leaves_; ++i) fills_[i] *= static_cast<float>(size / kPageSpace);
    std::sort(fills_, fills_ + leaves_);
    const double grown = grown_ / leaves_;
    const double full = sorted ? 1 : grown + (1 - grown) * build_fill;
    // A sorted build packs keys that came in order.
    if (sorted && grown > 0.5 && AreAlike(fills_, leaves_)) return live * size / kPageSpace;
    const double share = live / former_ * (sorted ? 1 : Refilled(full));
    return leaves_ * RemainingPages(fills_, leaves_, full, share) * full / build_fill;
  }

 private:
  // How many times as many entries as after a build the pages had, as new versions of the same rows
  // went there: keys that come in order leave pages half full, and none is fuller than the
  // fillfactor says. (Other keys than those of fixed size may be split unevenly.)
  double Refilled(double full) const {
    constexpr double kTypicalFill = 0.67;  // of a full page
    const bool even_splits =
        downlinks_ > 0 && std::abs(bytes_ / entries_ - downlink_bytes_ / downlinks_) < 1;
    if (!even_splits) return 1;
    const double median = fills_[leaves_ / 2];
    if (AreAlike(fills_, leaves_)) return median > 0.6 * full ? 2 * median / full : 1;
    return median > full ? median / (kTypicalFill * full) : 1;
  }

  Relation index_;
  float* fills_;
  int leaves_ = 0;
  double inner_ = 0, downlinks_ = 0, downlink_bytes_ = 0;
  double grown_ = 0;                             // leaf pages that were split after the build
  double entries_ = 0, former_ = 0, bytes_ = 0;  // of leaf pages
};

bool IsSortedBuild(Relation index) {
  const auto* options = reinterpret_cast<GiSTOptions*>(index->rd_options);
  if (options != nullptr && options->buffering_mode == GIST_OPTION_BUFFERING_ON) return false;
  for (int i = 1; i <= IndexRelationGetNumberOfKeyAttributes(index); ++i) {
    if (!OidIsValid(index_getprocid(index, static_cast<AttrNumber>(i), GIST_SORTSUPPORT_PROC)))
      return false;
  }
  return true;
}

double BuildFill(Relation index) {
  const auto* options = reinterpret_cast<GiSTOptions*>(index->rd_options);
  const int fillfactor = options == nullptr ? GIST_DEFAULT_FILLFACTOR : options->fillfactor;
  return 1 - static_cast<double>(BLCKSZ) * (100 - fillfactor) / 100 / kPageSpace;
}

}  // namespace

IndexEstimate EstimateGist(Relation index, Sampling sampling, IndexedRows rows) {
  GistReader reader(index, sampling.most);
  IndexEstimate estimate{};
  estimate.sample = ReadSample(index, sampling.most, sampling.ring, &reader);
  const double weight = estimate.sample.Weight();
  const double entries = reader.entries() * weight;
  const double share = LiveShare(index, entries, rows);
  const bool sorted = IsSortedBuild(index);
  const double leaves = std::max(
      1.0,
      weight * reader.LeavesAfter(reader.entries() * share, sorted ? 1 : BuildFill(index), sorted));
  const double inner = reader.leaves() > 0 ? leaves * reader.inner() / reader.leaves() : 0;
  estimate.pages = leaves <= 1 ? 1 : leaves + std::max(1.0, inner);
  estimate.live = entries * share;
  estimate.dead = entries - estimate.live;
  reader.Release();
  return estimate;
}

}  // namespace train_perf
