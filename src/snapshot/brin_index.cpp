// A BRIN index has one tuple per range of the table's pages, and a map of the ranges. A rebuild
// summarises all ranges, and packs the tuples; what they say of each range hardly changes their
// size.
#include <algorithm>
#include <cmath>

#include "snapshot/index_page.hpp"

extern "C" {
#include "access/brin_page.h"
#include "access/brin_tuple.h"
#include "utils/rel.h"
}

namespace train_perf {

namespace {

constexpr double kPageSpace =
    BLCKSZ - MAXALIGN(SizeOfPageHeaderData) - MAXALIGN(sizeof(BrinSpecialSpace));

class BrinReader final : public PageReader {
 public:
  explicit BrinReader(Relation index) : index_(index) {}

  void Read(Buffer /*buffer*/, Page page, BlockNumber block) override {
    if (!HasSpecial(page, sizeof(BrinSpecialSpace))) RaiseDamagedPage(index_, block);
    if (BRIN_IS_META_PAGE(page) || BRIN_IS_REVMAP_PAGE(page)) return;
    if (!BRIN_IS_REGULAR_PAGE(page)) RaiseDamagedPage(index_, block);
    double count = 0;
    double bytes = 0;
    const OffsetNumber items = CheckedItems(index_, page, block);
    for (OffsetNumber i = FirstOffsetNumber; i <= items; ++i) {
      const ItemId item = PageGetItemId(page, i);
      if (!ItemIdIsUsed(item)) continue;
      if (!IsSane(page, item, SizeOfBrinTuple)) RaiseDamagedPage(index_, block);
      const auto* tuple = reinterpret_cast<BrinTuple*>(PageGetItem(page, item));
      if (BrinTupleIsPlaceholder(tuple)) continue;
      ++count;
      bytes += MAXALIGN(ItemIdGetLength(item)) + sizeof(ItemIdData);
    }
    tuples_ += count;
    bytes_ += bytes;
  }

  double tuples() const { return tuples_; }
  // With its line pointer.
  double MeanSize() const {
    return tuples_ > 0 ? bytes_ / tuples_ : MAXALIGN(SizeOfBrinTuple) + sizeof(ItemIdData);
  }

 private:
  Relation index_;
  double tuples_ = 0;
  double bytes_ = 0;
};

// Zero if the index has no metapage.
BlockNumber PagesPerRange(Relation index, BufferAccessStrategy ring) {
  PGAlignedBlock copy;
  if (!CopyPage(index, BRIN_METAPAGE_BLKNO, ring, copy.data)) return 0;
  const auto* meta = reinterpret_cast<BrinMetaPageData*>(PageGetContents(copy.data));
  if (meta->brinMagic != BRIN_META_MAGIC || meta->pagesPerRange == 0)
    RaiseDamagedPage(index, BRIN_METAPAGE_BLKNO);
  return meta->pagesPerRange;
}

}  // namespace

IndexEstimate EstimateBrin(Relation index, Sampling sampling, IndexedRows /*rows*/) {
  IndexEstimate estimate{};
  const BlockNumber per_range = PagesPerRange(index, sampling.ring);
  BrinReader reader(index);
  estimate.sample = ReadSample(index, sampling.most, sampling.ring, &reader);
  estimate.live = reader.tuples() * estimate.sample.Weight();
  BlockNumber blocks = 0;
  const bool known = per_range > 0 && TableBlocks(index, &blocks);
  const double ranges = std::max(
      1.0, known ? std::ceil(static_cast<double>(blocks) / per_range) : std::round(estimate.live));
  const double per_page = std::max(1.0, std::floor(kPageSpace / reader.MeanSize()));
  estimate.pages = 1 + std::ceil(ranges / REVMAP_PAGE_MAXITEMS) + std::ceil(ranges / per_page);
  return estimate;
}

}  // namespace train_perf
