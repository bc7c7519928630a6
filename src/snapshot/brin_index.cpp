// A BRIN index has one tuple per range of the table's pages, and a map of the ranges. A rebuild
// summarises all ranges, and packs the tuples; what they say of each range hardly changes their
// size.
#include <algorithm>
#include <cmath>

#include "snapshot/index_page.hpp"
#include "snapshot/open_relation.hpp"

extern "C" {
#include "access/brin_page.h"
#include "access/brin_tuple.h"
#include "storage/freespace.h"
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
    double empty = 0;
    const OffsetNumber items = CheckedItems(index_, page, block);
    for (OffsetNumber i = FirstOffsetNumber; i <= items; ++i) {
      const ItemId item = PageGetItemId(page, i);
      if (!ItemIdIsUsed(item)) continue;
      if (!IsSane(page, item, SizeOfBrinTuple)) RaiseDamagedPage(index_, block);
      const auto* tuple = reinterpret_cast<BrinTuple*>(PageGetItem(page, item));
      if (BrinTupleIsPlaceholder(tuple)) continue;
      if (IsEmpty(item)) {
        ++empty;
        continue;
      }
      ++count;
      bytes += MAXALIGN(ItemIdGetLength(item)) + sizeof(ItemIdData);
    }
    tuples_ += count;
    empty_ += empty;
    bytes_ += bytes;
  }

  double tuples() const { return tuples_ + empty_; }

  // Sizes are with the line pointer.
  double EmptySize() const { return static_cast<double>(EmptyLength() + sizeof(ItemIdData)); }
  double MeanSize() const { return tuples_ > 0 ? bytes_ / tuples_ : EmptySize(); }

 private:
  // A tuple without values has two bits for each column.
  Size EmptyLength() const {
    constexpr int kBits = 8;
    const int bits = 2 * RelationGetNumberOfAttributes(index_);
    return MAXALIGN(SizeOfBrinTuple + (bits + kBits - 1) / kBits);
  }
  bool IsEmpty(ItemId item) const { return MAXALIGN(ItemIdGetLength(item)) <= EmptyLength(); }

  Relation index_;
  double tuples_ = 0, empty_ = 0;  // with and without values
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

double TuplesPerPage(double size) { return std::max(1.0, std::floor(kPageSpace / size)); }

// The ranges of the table's pages, and those of them without rows, as far as the free space map
// says.
struct Ranges {
  double all;
  double empty;
};

bool IsEmptyRange(Relation table, BlockNumber first, BlockNumber behind) {
  constexpr Size kEmptyPage = BLCKSZ - BLCKSZ / 256 * 2;  // as exact as the map is
  constexpr BlockNumber kLooked = 16;
  const BlockNumber step = Max(1, (behind - first) / kLooked);
  for (uint64 block = first; block < behind; block += step)
    if (GetRecordedFreeSpace(table, static_cast<BlockNumber>(block)) < kEmptyPage) return false;
  return true;
}

Ranges CountRanges(Relation table, BlockNumber per_range) {
  constexpr uint64 kMost = 1000;
  const BlockNumber blocks = RelationGetNumberOfBlocks(table);
  const uint64 all = blocks / per_range + (blocks % per_range > 0);
  const uint64 looked = Min(all, kMost);
  double empty = 0;
  for (uint64 i = 0; i < looked; ++i) {
    CHECK_FOR_INTERRUPTS();
    const uint64 first = i * all / looked * per_range;
    const uint64 behind = Min(first + per_range, blocks);
    empty += IsEmptyRange(table, static_cast<BlockNumber>(first), static_cast<BlockNumber>(behind));
  }
  const auto count = static_cast<double>(all);
  return {count, looked > 0 ? empty / static_cast<double>(looked) * count : 0};
}

}  // namespace

IndexEstimate EstimateBrin(Relation index, Sampling sampling, IndexedRows /*rows*/) {
  IndexEstimate estimate{};
  const BlockNumber per_range = PagesPerRange(index, sampling.ring);
  BrinReader reader(index);
  estimate.sample = ReadSample(index, sampling.most, sampling.ring, &reader);
  estimate.live = reader.tuples() * estimate.sample.Weight();
  Ranges ranges{estimate.live, 0};
  if (per_range > 0) {
    OpenRelation table(index->rd_index->indrelid);
    if (table.get() != nullptr) {
      ranges = CountRanges(table.get(), per_range);
      table.Close();
    }
  }
  const double all = std::max(1.0, std::round(ranges.all));
  estimate.pages = 1 + std::ceil(all / REVMAP_PAGE_MAXITEMS) +
                   std::ceil((all - ranges.empty) / TuplesPerPage(reader.MeanSize()) +
                             ranges.empty / TuplesPerPage(reader.EmptySize()));
  return estimate;
}

}  // namespace train_perf
