// The texts of a logged statement: its own, the tags of its comments, who asked for it over HTTP,
// its error, parameters and plan. All are bounded, masked as the settings say and clipped at
// character boundaries; they live in buffers of this process until the next call.
#pragma once

#include "capture/statement.hpp"

namespace train_perf {

// Also sets the hash of the normalised text. Raises no error: parameters and plan, which need
// memory and, for the plan, the catalogs, are left out where they cannot be had.
void CollectEventTexts(const Statement& statement, const Outcome& outcome, EventTexts* texts,
                       Md5Digest* hash);

// Reserves what the collecting of an error needs; in the postmaster, before any backend exists.
void ReserveErrorMemory();

// A copy of the error being handled, inside a PG_CATCH. Valid until ReleaseError.
const ErrorData* CurrentError();
void ReleaseError() noexcept;

}  // namespace train_perf
