#include "core/tags.hpp"

#include <algorithm>
#include <optional>

#include "core/sql_lexer.hpp"

namespace train_perf {

namespace {

constexpr size_t kMaxTags = 32;

std::optional<int> HexDigit(char c) noexcept {
  const char lower = ToLower(c);
  if (IsDigit(c)) return c - '0';
  if (lower >= 'a' && lower <= 'f') return lower - 'a' + 10;
  return std::nullopt;
}

bool IsHex(std::string_view text) noexcept {
  return std::all_of(text.begin(), text.end(), [](char c) { return HexDigit(c).has_value(); });
}

// The byte of the %XX that text begins with.
std::optional<char> PercentEncoded(std::string_view text) noexcept {
  if (text.size() < 3 || text[0] != '%') return std::nullopt;
  const auto high = HexDigit(text[1]);
  const auto low = HexDigit(text[2]);
  if (!high || !low) return std::nullopt;
  return static_cast<char>(*high * 16 + *low);
}

// A % that no two hexadecimal digits follow stands for itself, and so does + (the spec encodes a
// space as %20).
std::string UrlDecoded(std::string_view text) {
  std::string decoded;
  decoded.reserve(text.size());
  while (!text.empty()) {
    const auto byte = PercentEncoded(text);
    decoded.push_back(byte.value_or(text.front()));
    text.remove_prefix(byte ? 3 : 1);
  }
  return decoded;
}

std::string Unescaped(std::string_view text) {
  std::string plain;
  plain.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 1 < text.size()) ++i;
    plain.push_back(text[i]);
  }
  return plain;
}

std::string_view Trimmed(std::string_view text) noexcept {
  while (!text.empty() && IsSpace(text.front())) text.remove_prefix(1);
  while (!text.empty() && IsSpace(text.back())) text.remove_suffix(1);
  return text;
}

// Takes the text up to the next comma outside of quotes off the front.
std::string_view TakePair(std::string_view& comments) noexcept {
  bool quoted = false;
  size_t end = 0;
  while (end < comments.size() && (quoted || comments[end] != ',')) {
    if (comments[end] == '\'') quoted = !quoted;
    end += comments[end] == '\\' ? 2 : 1;
  }
  end = std::min(end, comments.size());
  const std::string_view pair = comments.substr(0, end);
  comments.remove_prefix(std::min(end + 1, comments.size()));
  return Trimmed(pair);
}

// Is text one whole '…' with no quote inside but escaped ones?
bool IsQuotedValue(std::string_view text) noexcept {
  if (text.size() < 2 || text.front() != '\'') return false;
  size_t end = 1;
  while (end < text.size() && text[end] != '\'') end += text[end] == '\\' ? 2 : 1;
  return end + 1 == text.size();
}

// The key and value of a pair; an empty key for a malformed one. A zero byte can be part of no text
// in the server.
std::pair<std::string, std::string> ReadPair(std::string_view pair) {
  const size_t equals = pair.find('=');
  if (equals == std::string_view::npos) return {};
  const std::string_view quoted = Trimmed(pair.substr(equals + 1));
  if (!IsQuotedValue(quoted)) return {};
  std::string key = UrlDecoded(Trimmed(pair.substr(0, equals)));
  std::string value = UrlDecoded(Unescaped(quoted.substr(1, quoted.size() - 2)));
  const bool has_zero = (key + value).find('\0') != std::string::npos;
  return has_zero ? std::pair<std::string, std::string>{}
                  : std::pair{std::move(key), std::move(value)};
}

void Put(Tags& tags, std::string key, std::string value) {
  const auto known =
      std::find_if(tags.begin(), tags.end(), [&](const auto& tag) { return tag.first == key; });
  if (known != tags.end()) {
    known->second = std::move(value);
  } else if (tags.size() < kMaxTags) {
    tags.emplace_back(std::move(key), std::move(value));
  }
}

std::string PlaceOf(const Tags& tags) {
  for (const std::string_view key : {"endpoint", "route"}) {
    if (const auto place = FindTag(tags, key); !place.empty()) return std::string(place);
  }
  std::string place(FindTag(tags, "controller"));
  if (place.empty()) return std::string(FindTag(tags, "path"));
  const auto action = FindTag(tags, "action");
  if (!action.empty()) place.append("#").append(action);
  return place;
}

}  // namespace

Tags ParseTags(std::string_view comments) {
  Tags tags;
  while (!comments.empty()) {
    auto [key, value] = ReadPair(TakePair(comments));
    if (!key.empty()) Put(tags, std::move(key), std::move(value));
  }
  return tags;
}

std::string_view FindTag(const Tags& tags, std::string_view key) noexcept {
  for (const auto& [name, value] : tags) {
    if (name == key) return value;
  }
  return {};
}

std::string EndpointOf(const Tags& tags) {
  std::string place = PlaceOf(tags);
  std::string_view method = FindTag(tags, "method");
  if (method.empty()) method = FindTag(tags, "http_method");
  if (place.empty() || method.empty()) return place;

  std::string endpoint(method);
  for (char& c : endpoint) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - ('a' - 'A'));
  }
  return endpoint.append(" ").append(place);
}

std::string TraceIdOf(std::string_view traceparent) {
  // version 00: two digits, trace id, parent id, flags
  if (traceparent.size() != 55 || !traceparent.starts_with("00-")) return {};
  if (traceparent[35] != '-' || traceparent[52] != '-') return {};
  const std::string_view trace_id = traceparent.substr(3, 32);
  if (!IsHex(trace_id) || !IsHex(traceparent.substr(36, 16)) || !IsHex(traceparent.substr(53))) {
    return {};
  }
  std::string lower(trace_id);
  std::transform(lower.begin(), lower.end(), lower.begin(), ToLower);
  return lower.find_first_not_of('0') == std::string::npos ? std::string() : lower;
}

}  // namespace train_perf
