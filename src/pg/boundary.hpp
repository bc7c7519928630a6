// The two guards between C++ exceptions and PostgreSQL's longjmp. Nothing else may cross.
//
//   Datum tp_something(PG_FUNCTION_ARGS) {
//     return EnterCpp([&]() -> Datum {               // entry points, hooks and worker mains
//       std::string text = Render();                 // objects with destructors are fine here
//       text* result = CallPg([&] { return cstring_to_text(text.c_str()); });
//       PG_RETURN_TEXT_P(result);
//     });
//   }
//
// EnterCpp turns an escaping C++ exception into an ereport after the C++ stack is gone. CallPg
// turns an ereport into a PgError and may only return what has a trivial destructor. A PgError
// keeps everything of the original error (SQLSTATE, message, detail, hint, context, location).
// Code that holds no C++ object with a destructor needs neither.
#pragma once

#include <exception>
#include <new>
#include <type_traits>

#include "pg/prelude.hpp"

namespace train_perf {

class PgError : public std::exception {
 public:
  explicit PgError(ErrorData* data) noexcept : data_(data) {}
  const char* what() const noexcept override { return data_->message; }
  ErrorData* data() const noexcept { return data_; }

 private:
  ErrorData* data_;  // in the memory context that was current when EnterCpp began
};

namespace boundary_internal {
// The context that outlives all C++ frames of the current entry point.
extern MemoryContext entry_context;
// Calls run(argument); a copy of the error if it raised one.
ErrorData* Catch(void (*run)(void*), void* argument) noexcept;
bool Attempt(void (*run)(void*), void* argument);
[[noreturn]] void RaiseException(const char* what);
[[noreturn]] void RaiseOutOfMemory();
}  // namespace boundary_internal

template <typename F>
auto CallPg(F&& f) -> std::invoke_result_t<F> {
  using Result = std::invoke_result_t<F>;
  if constexpr (std::is_void_v<Result>) {
    const auto run = [](void* argument) {
      (*static_cast<std::remove_reference_t<F>*>(argument))();
    };
    if (ErrorData* error = boundary_internal::Catch(run, &f)) throw PgError(error);
  } else {
    static_assert(std::is_trivially_destructible_v<Result>, "a longjmp would skip its destructor");
    Result result{};
    const auto keep = [&] { result = f(); };
    const auto run = [](void* argument) { (*static_cast<decltype(keep)*>(argument))(); };
    if (ErrorData* error =
            boundary_internal::Catch(run, const_cast<void*>(static_cast<const void*>(&keep))))
      throw PgError(error);
    return result;
  }
}

// Calls f, which only computes and allocates; false, and nothing else, if it raised an error.
template <typename F>
bool Succeeds(F&& f) noexcept {
  volatile bool succeeded = false;
  const MemoryContext context = CurrentMemoryContext;
  PG_TRY();
  {
    f();
    succeeded = true;
  }
  PG_CATCH();
  {
    MemoryContextSwitchTo(context);
    FlushErrorState();
  }
  PG_END_TRY();
  return succeeded;
}

// Calls f, which may read catalogs but not write; false if it raised an error. Whatever it held
// then is let go. A subtransaction would do the same, but one that cannot begin fails the
// statement. An error that is meant for the user, as a cancel request, goes on.
template <typename F>
bool Attempt(F&& f) {
  const auto run = [](void* argument) { (*static_cast<std::remove_reference_t<F>*>(argument))(); };
  return boundary_internal::Attempt(run, const_cast<void*>(static_cast<const void*>(&f)));
}

template <typename F>
auto EnterCpp(F&& f) -> std::invoke_result_t<F> {
  enum class Failure { kPg, kOutOfMemory, kOther };
  Failure failure{};
  ErrorData* error = nullptr;
  char message[256];
  const MemoryContext outer = boundary_internal::entry_context;
  boundary_internal::entry_context = CurrentMemoryContext;
  try {
    if constexpr (std::is_void_v<std::invoke_result_t<F>>) {
      f();
      boundary_internal::entry_context = outer;
      return;
    } else {
      auto result = f();
      boundary_internal::entry_context = outer;
      return result;
    }
  } catch (const PgError& e) {
    failure = Failure::kPg;
    error = e.data();
  } catch (const std::bad_alloc&) {
    failure = Failure::kOutOfMemory;
  } catch (const std::exception& e) {
    failure = Failure::kOther;
    strlcpy(message, e.what(), sizeof(message));
  } catch (...) {
    failure = Failure::kOther;
    strlcpy(message, "unknown C++ exception", sizeof(message));
  }
  boundary_internal::entry_context = outer;
  switch (failure) {
    case Failure::kPg:
      ReThrowError(error);
    case Failure::kOutOfMemory:
      boundary_internal::RaiseOutOfMemory();
    case Failure::kOther:
      boundary_internal::RaiseException(message);
  }
  pg_unreachable();
}

}  // namespace train_perf
