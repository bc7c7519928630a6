// Random pages of a relation: the file is cut into as many equal runs as pages are wanted, and one
// page of each is read, through a ring of buffers, with pauses as autovacuum makes them (but for a
// first burst). A relation that has no more pages is read whole. Readers hold no C++ object with a
// destructor.
#pragma once

#include "pg/prelude.hpp"

extern "C" {
#include "storage/bufmgr.h"
#include "storage/bufpage.h"
#include "utils/relcache.h"
}

namespace train_perf {

// Looks at one page, which is pinned and share-locked, never new, and has a sane header. It may
// raise an error; what it noted of the page must not count then, so it notes all at its end.
class PageReader {
 public:
  virtual void Read(Buffer buffer, Page page, BlockNumber block) = 0;

 protected:
  ~PageReader() = default;
};

struct PageSample {
  BlockNumber blocks;  // of the main fork when reading began
  uint32 sampled;      // pages that were chosen and could be read, empty (new) ones included
  uint32 corrupt;      // pages that could not be read; one warning tells of all
  bool whole;          // all pages were chosen
  // How many pages of the relation each sampled page stands for.
  double Weight() const noexcept {
    return sampled == 0 ? 0.0 : static_cast<double>(blocks) / sampled;
  }
};

// The caller holds a lock on the relation. `most` is at least 1.
PageSample ReadSample(Relation relation, int most, BufferAccessStrategy ring, PageReader* reader);

// One page that the caller needs beside its sample, as a metapage: copied to `copy` (BLCKSZ bytes,
// aligned). False if the relation has no such page, it is new, or (with a warning) cannot be read.
bool CopyPage(Relation relation, BlockNumber block, BufferAccessStrategy ring, char* copy);

// Whether the item lies between the page's header and special space.
bool IsSane(Page page, ItemId item, Size least) noexcept;

}  // namespace train_perf
