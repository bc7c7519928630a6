// The user in the claims of a JSON Web Token, found in place: no allocation, no failure, and
// nothing else of the claims is looked at or kept.
#pragma once

#include <string_view>

namespace train_perf {

// 8-4-4-4-12 hexadecimal digits.
bool IsUuid(std::string_view text) noexcept;

// The value of the object's own "sub" if it is a UUID, else an empty view. What stands behind it
// need not be valid JSON.
std::string_view FindSubject(std::string_view claims) noexcept;

}  // namespace train_perf
