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

// The mean of that over buckets, if `mean` entries fall into each at random, `group` (of the same
// key) at a time.
double MeanHashOverflow(double mean, double group, double capacity);

}  // namespace train_perf
