// How many pages hash indexes take: buckets come in steps, and what does not fit into a bucket's
// page goes to overflow pages.
#pragma once

#include <cstdint>

namespace train_perf {

// Buckets are added in steps of a power of two; from 512 on, of a quarter of one. The step that has
// at least as many as wanted.
std::uint32_t HashBucketStep(double wanted);

// Overflow pages that a bucket with so many entries needs, at `capacity` entries a page.
double HashOverflow(double entries, double capacity);

// Entries of a bucket, that come `size` (of the same key) at a time.
struct HashGroups {
  double entries;  // mean of all buckets
  double size;
};

// The mean of overflow pages over buckets, if groups fall into them at random. Heavy groups may be
// larger than a page, and few; the light ones lie evenly around them.
double MeanHashOverflow(HashGroups light, HashGroups heavy, double capacity);

// How many different things there are, each on as many pages as others: `seen` of them were, in
// `found` places, where each page that was looked at stands for `weight` pages.
double DistinctOfSample(double found, double seen, double weight);

}  // namespace train_perf
