// How many pages a tree that splits full pages in halves has for fewer entries than it had.
#pragma once

#include <cstddef>

namespace train_perf {

// The share of a tree's leaf pages that is left if each had `share` of its entries. `fills` are
// those with all entries, in ascending order; `full` is the fill at which a page splits.
//
// In general it is the entries' share. Keys of one dimension, evenly spread, fill all pages at the
// same time, though: then none is less than half full, and those that would be have not split yet.
double RemainingPages(const float* fills, std::size_t count, double full, double share);

// Whether nearly all pages are equally full: those that were filled in the keys' order.
bool AreAlike(const float* fills, std::size_t count);

}  // namespace train_perf
