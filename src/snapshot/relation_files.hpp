// Sizes of relations without a lock on them, nor an entry in the cache of relations.
#pragma once

#include <optional>

#include "pg/prelude.hpp"

namespace train_perf {

// Bytes of the main fork's files; none if there is no such relation, or it has no files. Of a
// relation that is being rewritten, truncated or dropped it may be the size before or after.
std::optional<int64> MainForkBytes(Oid relation);

// The same by what a row of pg_class says (reltablespace, relfilenode), without looking it up
// again.
std::optional<int64> MainForkBytes(Oid tablespace, Oid filenode);

}  // namespace train_perf
