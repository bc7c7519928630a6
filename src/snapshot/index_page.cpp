#include "snapshot/index_page.hpp"

#include <algorithm>

extern "C" {
#include "utils/rel.h"
}

namespace train_perf {

void RaiseDamagedPage(Relation index, BlockNumber block) {
  ereport(ERROR, (errcode(ERRCODE_INDEX_CORRUPTED),
                  errmsg("index \"%s\" contains corrupted page at block %u",
                         RelationGetRelationName(index), block)));
}

bool HasSpecial(const char* page, Size size) noexcept {
  return reinterpret_cast<const PageHeaderData*>(page)->pd_special + MAXALIGN(size) == BLCKSZ;
}

OffsetNumber CheckedItems(Relation index, const char* page, BlockNumber block) {
  const auto* header = reinterpret_cast<const PageHeaderData*>(page);
  if (header->pd_lower < SizeOfPageHeaderData || header->pd_lower > header->pd_upper)
    RaiseDamagedPage(index, block);
  return (header->pd_lower - SizeOfPageHeaderData) / sizeof(ItemIdData);
}

namespace {

// Line pointers that were given up, but not overwritten.
double FormerItems(const char* page) noexcept {
  const auto* header = reinterpret_cast<const PageHeaderData*>(page);
  const auto* item = reinterpret_cast<const ItemIdData*>(page + header->pd_lower);
  const auto* end =
      item + (header->pd_upper - header->pd_lower) / static_cast<int>(sizeof(ItemIdData));
  double count = 0;
  for (; item < end && ItemIdIsNormal(item); ++item, ++count) {
    if (ItemIdGetLength(item) == 0 || ItemIdGetOffset(item) < header->pd_lower ||
        ItemIdGetOffset(item) % MAXIMUM_ALIGNOF != 0 ||
        ItemIdGetOffset(item) + ItemIdGetLength(item) > header->pd_special)
      break;
  }
  return count;
}

}  // namespace

PageContent ReadContent(Relation index, Page page, BlockNumber block, Size least) {
  const OffsetNumber items = CheckedItems(index, page, block);
  PageContent content{static_cast<double>(items), items + FormerItems(page), 0};
  for (OffsetNumber i = FirstOffsetNumber; i <= items; ++i) {
    const ItemId item = PageGetItemId(page, i);
    if (!ItemIdHasStorage(item) || !IsSane(page, item, least)) RaiseDamagedPage(index, block);
    content.bytes += MAXALIGN(ItemIdGetLength(item)) + sizeof(ItemIdData);
  }
  return content;
}

bool IsPartial(Relation index) noexcept {
  return !heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, nullptr);
}

double LiveShare(IndexedRows rows) noexcept {
  return rows.dead > 0 ? rows.live / (rows.live + rows.dead) : 1.0;
}

double LiveShare(Relation index, double entries, IndexedRows rows) noexcept {
  if (rows.dead <= 0 || entries <= 0) return 1.0;
  return IsPartial(index) ? LiveShare(rows) : std::min(1.0, rows.live / entries);
}

}  // namespace train_perf
