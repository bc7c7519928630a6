// Reading what may be damaged: pages, files, tuples.
#pragma once

#include <type_traits>

#include "pg/prelude.hpp"

namespace train_perf {

namespace damage_internal {
ErrorData* Catch(void (*run)(void*), void* argument);
}

// Calls f in a subtransaction. Returns the error if it was one of damaged or missing data (classes
// XX and 58); other errors go on. Nothing that f reserved remains after an error.
template <typename F>
ErrorData* CatchDamage(F&& f) {
  const auto run = [](void* argument) { (*static_cast<std::remove_reference_t<F>*>(argument))(); };
  return damage_internal::Catch(run, const_cast<void*>(static_cast<const void*>(&f)));
}

// Reports it as such.
[[noreturn]] void RaiseDamage(int sqlstate, const char* what);

}  // namespace train_perf
