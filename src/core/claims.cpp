#include "core/claims.hpp"

#include <algorithm>
#include <cstddef>

namespace train_perf {

namespace {

bool IsHexDigit(char c) noexcept {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

// The string that begins at the quote at `pos`, without its quotes and with its escapes; `pos`
// moves behind it.
std::string_view TakeString(std::string_view json, size_t& pos) noexcept {
  const size_t begin = ++pos;
  while (pos < json.size() && json[pos] != '"') pos += json[pos] == '\\' ? 2 : 1;
  const size_t end = std::min(pos, json.size());
  pos = end + 1;
  return json.substr(begin, end - begin);
}

void SkipSpace(std::string_view json, size_t& pos) noexcept {
  pos = std::min(json.find_first_not_of(" \t\r\n", pos), json.size());
}

}  // namespace

bool IsUuid(std::string_view text) noexcept {
  if (text.size() != 36) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (dash ? text[i] != '-' : !IsHexDigit(text[i])) return false;
  }
  return true;
}

std::string_view FindSubject(std::string_view claims) noexcept {
  int depth = 0;
  for (size_t pos = 0; pos < claims.size();) {
    const char c = claims[pos];
    if (c != '"') {
      depth += c == '{' || c == '[' ? 1 : 0;
      depth -= c == '}' || c == ']' ? 1 : 0;
      ++pos;
      continue;
    }
    const std::string_view name = TakeString(claims, pos);
    SkipSpace(claims, pos);
    if (depth != 1 || name != "sub" || pos >= claims.size() || claims[pos] != ':') continue;
    SkipSpace(claims, ++pos);
    if (pos >= claims.size() || claims[pos] != '"') return {};
    const std::string_view subject = TakeString(claims, pos);
    return IsUuid(subject) ? subject : std::string_view();
  }
  return {};
}

}  // namespace train_perf
