// Statement parameters as JSON, safe to build even while an error is being handled.
#pragma once

#include <string_view>

#include "pg/prelude.hpp"

namespace train_perf {

// {"1": "text of $1", "2": null, ...}: each value as its type prints it, cut at 200 bytes, 8 kB in
// all. Only types whose printing needs no catalog are printed; others say "<type OID n>", values in
// TOAST tables "<n bytes>". Empty if there are none. Lives until the next call.
// `handling_error`: called inside a PG_CATCH, where an error of our own cannot be told from the one
// being handled.
std::string_view ParametersAsJson(const ParamListInfoData* params, bool handling_error) noexcept;

// Reserves what printing needs; in the postmaster, before any backend exists.
void ReserveParameterMemory();

}  // namespace train_perf
