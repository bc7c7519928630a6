// How much room there is where a relation would be written.
#pragma once

#include <optional>

#include "pg/prelude.hpp"

namespace train_perf {

// Bytes that the server's user may still write to a tablespace (InvalidOid: the default one of this
// database), as the operating system tells; none if it does not, or there is no such tablespace.
std::optional<int64> FreeBytes(Oid tablespace);

}  // namespace train_perf
