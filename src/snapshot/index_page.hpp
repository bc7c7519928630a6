// What the samplers of the access methods share.
#pragma once

#include "snapshot/index_methods.hpp"

namespace train_perf {

// Reports a page of an index as corrupt.
[[noreturn]] void RaiseDamagedPage(Relation index, BlockNumber block);

// Whether the page's special space has the size that its access method gives it.
bool HasSpecial(const char* page, Size size) noexcept;

// The page's items; raises an error if there are more than fit.
OffsetNumber CheckedItems(Relation index, const char* page, BlockNumber block);

struct PageContent {
  double items;
  double
      former_items;  // most that the page had since it was split; from the unused space's content
  double bytes;      // of items, with their line pointers
};

// All items are at least of the given size.
PageContent ReadContent(Relation index, Page page, BlockNumber block, Size least);

bool IsPartial(Relation index) noexcept;

// The share of an index's entries that a rebuild keeps, if it has an entry per row, NULLs included.
double LiveShare(Relation index, double entries, IndexedRows rows) noexcept;

// The same, if entries are of some rows, or many of one.
double LiveShare(IndexedRows rows) noexcept;

}  // namespace train_perf
