// Tokens of PostgreSQL's SQL, after src/backend/parser/scan.l (with standard_conforming_strings
// on).
//
//   Lexer lexer(sql);
//   for (Token token = lexer.Next(); token.kind != TokenKind::kEnd; token = lexer.Next()) ...
//
// A Lexer is a position in the text: a copy of it looks ahead. Works on bytes, allocates nothing,
// never fails: an unterminated string or comment extends to the end of the text. Each byte is
// looked at a bounded number of times, whatever the text.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace train_perf {

enum class TokenKind : uint8_t {
  kEnd,
  kSpace,        // only from NextRaw
  kComment,      // only from NextRaw
  kWord,         // unquoted identifier or keyword
  kQuotedName,   // "…" or U&"…"
  kString,       // every kind of string, with its continuations and UESCAPE clause
  kNumber,       // without a sign, with the junk that the server would refuse (123abc)
  kParameter,    // $1
  kOperator,     // of operator characters
  kPunctuation,  // ( ) [ ] , ; . .. ... : :: := and bytes that SQL does not know
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  bool space_before = false;  // white space or a comment; not set by NextRaw
  std::string_view text;      // of the statement, as it stands there
};

class Lexer {
 public:
  explicit Lexer(std::string_view sql) noexcept : sql_(sql) {}

  // The next token that is neither white space nor a comment; kEnd at the end, again and again.
  Token Next() noexcept;

  // The next token, white space and comments included.
  Token NextRaw() noexcept;

 private:
  Token Take(TokenKind kind, size_t end) noexcept;
  Token TakeWord() noexcept;
  Token TakeDollar() noexcept;
  Token TakeOperator() noexcept;
  Token TakePunctuation() noexcept;
  bool At(std::string_view text) const noexcept { return sql_.substr(pos_).starts_with(text); }

  std::string_view sql_;
  size_t pos_ = 0;
  size_t signs_end_ = 0;  // up to here each byte is an operator of its own
};

constexpr bool IsDigit(char c) noexcept { return c >= '0' && c <= '9'; }
constexpr char ToLower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
}

enum CharClass : uint8_t {
  kNameStart = 1,
  kNamePart = 2,
  kOperatorChar = 4,
  kAllowsTrailingSign = 8,  // an operator with one of these may end in + or -
};
inline constexpr std::array<uint8_t, 256> kCharClasses = [] {
  std::array<uint8_t, 256> classes{};
  for (size_t c = 0; c < classes.size(); ++c) {
    const char lower = ToLower(static_cast<char>(c));
    if ((lower >= 'a' && lower <= 'z') || c == '_' || c >= 0x80) {
      classes[c] = kNameStart | kNamePart;
    }
    if (IsDigit(lower) || c == '$') classes[c] = kNamePart;
    if (std::string_view("+-*/<>=").find(lower) != std::string_view::npos) {
      classes[c] = kOperatorChar;
    }
    if (std::string_view("~!@#^&|`?%").find(lower) != std::string_view::npos) {
      classes[c] = kOperatorChar | kAllowsTrailingSign;
    }
  }
  return classes;
}();
constexpr bool IsInClass(char c, CharClass char_class) noexcept {
  return (kCharClasses[static_cast<unsigned char>(c)] & char_class) != 0;
}
constexpr bool IsNameStart(char c) noexcept { return IsInClass(c, kNameStart); }
constexpr bool IsNamePart(char c) noexcept { return IsInClass(c, kNamePart); }
// \v is white space since PostgreSQL 16.
constexpr bool IsSpace(char c) noexcept { return c == ' ' || (c >= '\t' && c <= '\r'); }

// Does `text`, folded to lower case (ASCII only, as everywhere here), start with `lower`?
constexpr bool StartsWithFolded(std::string_view text, std::string_view lower) noexcept {
  if (text.size() < lower.size()) return false;
  for (size_t i = 0; i < lower.size(); ++i) {
    if (ToLower(text[i]) != lower[i]) return false;
  }
  return true;
}
constexpr bool EqualsFolded(std::string_view text, std::string_view lower) noexcept {
  return text.size() == lower.size() && StartsWithFolded(text, lower);
}

inline bool IsWord(const Token& token, std::string_view lower) noexcept {
  return token.kind == TokenKind::kWord && EqualsFolded(token.text, lower);
}
inline bool IsPunctuation(const Token& token, std::string_view text) noexcept {
  return token.kind == TokenKind::kPunctuation && token.text == text;
}

// The parts of a dollar-quoted string.
struct DollarQuoted {
  std::string_view delimiter;  // $tag$
  std::string_view body;
  bool terminated = false;
};
inline bool IsDollarQuoted(const Token& token) noexcept {
  return token.kind == TokenKind::kString && token.text.front() == '$';
}
DollarQuoted SplitDollarQuoted(std::string_view text) noexcept;

// 'a' and, on a later line, 'b' are one string: the position of the quote that opens the next part
// of the string whose last part ends before `pos`, or npos.
size_t StringContinuation(std::string_view sql, size_t pos) noexcept;

}  // namespace train_perf
