// What the server's own functions tell of a relation only when they get its lock, and wait for it
// as long as that takes. Nothing here waits: what is locked exclusively, or gone, is unknown.
#pragma once

#include <optional>

#include "pg/prelude.hpp"

namespace train_perf {

// The statement that creates an index; null: unknown.
text* UnlockedIndexDefinition(Oid index);

// Whether the index exists and is invalid now, whatever the snapshot of the statement says.
bool IsInvalidNow(Oid index);

}  // namespace train_perf
