// The size of a relation's main fork without opening it: no lock, nothing kept in caches.
#pragma once

#include "pg/prelude.hpp"

namespace train_perf {

// Bytes of the file of pg_class.reltablespace and relfilenode in this database, all segments; -1 if
// there is none (any more).
int64 DataFileSize(Oid tablespace, Oid filenode);

}  // namespace train_perf
