#include "core/sql_lexer.hpp"

#include <algorithm>

namespace train_perf {

namespace {

constexpr auto npos = std::string_view::npos;

char CharAt(std::string_view sql, size_t pos) noexcept {
  return pos < sql.size() ? sql[pos] : '\0';
}

template <typename Predicate>
size_t SkipWhile(std::string_view sql, size_t pos, Predicate predicate) noexcept {
  while (pos < sql.size() && predicate(sql[pos])) ++pos;
  return pos;
}

size_t SkipName(std::string_view sql, size_t pos) noexcept {
  return SkipWhile(sql, pos, IsNamePart);
}

size_t SkipDigits(std::string_view sql, size_t pos) noexcept {
  return SkipWhile(sql, pos, [](char c) { return IsDigit(c) || c == '_'; });
}

bool CommentStartsAt(std::string_view sql, size_t pos) noexcept {
  const char next = CharAt(sql, pos + 1);
  return (sql[pos] == '-' && next == '-') || (sql[pos] == '/' && next == '*');
}

size_t EndOfLine(std::string_view sql, size_t pos) noexcept {
  return std::min(sql.find_first_of("\n\r", pos), sql.size());
}

// pos is at the opening "/*". Comments nest.
size_t EndOfBlockComment(std::string_view sql, size_t pos) noexcept {
  size_t depth = 0;
  while (pos + 1 < sql.size()) {
    const char c = sql[pos];
    const char next = sql[pos + 1];
    const bool opens = c == '/' && next == '*';
    const bool closes = c == '*' && next == '/';
    pos += opens || closes ? 2 : 1;
    if (opens) ++depth;
    if (closes && --depth == 0) return pos;
  }
  return sql.size();
}

size_t EndOfComment(std::string_view sql, size_t pos) noexcept {
  return sql[pos] == '-' ? EndOfLine(sql, pos) : EndOfBlockComment(sql, pos);
}

size_t SkipBlank(std::string_view sql, size_t pos) noexcept {
  while (pos < sql.size()) {
    if (IsSpace(sql[pos])) {
      ++pos;
    } else if (CommentStartsAt(sql, pos)) {
      pos = EndOfComment(sql, pos);
    } else {
      break;
    }
  }
  return pos;
}

// pos is behind the opening quote; a doubled quote stands for itself.
size_t EndOfQuoted(std::string_view sql, size_t pos, char quote) noexcept {
  for (;;) {
    pos = sql.find(quote, pos);
    if (pos == npos) return sql.size();
    if (CharAt(sql, pos + 1) != quote) return pos + 1;
    pos += 2;
  }
}

// The same for E'…', where a backslash takes the next byte with it.
size_t EndOfEscaped(std::string_view sql, size_t pos) noexcept {
  while (pos < sql.size()) {
    const bool quote = sql[pos] == '\'';
    const bool doubled = quote && CharAt(sql, pos + 1) == '\'';
    if (quote && !doubled) return pos + 1;
    pos += doubled || sql[pos] == '\\' ? 2 : 1;
  }
  return sql.size();
}

// pos is at the opening quote.
size_t EndOfString(std::string_view sql, size_t pos, bool backslash_escapes) noexcept {
  for (;;) {
    const size_t end =
        backslash_escapes ? EndOfEscaped(sql, pos + 1) : EndOfQuoted(sql, pos + 1, '\'');
    pos = StringContinuation(sql, end);
    if (pos == npos) return end;
  }
}

// The end of the UESCAPE clause that may follow the U&'…' that ends at `end`.
size_t EndOfUescape(std::string_view sql, size_t end) noexcept {
  const size_t word = SkipBlank(sql, end);
  const size_t word_end = SkipName(sql, word);
  if (!EqualsFolded(sql.substr(word, word_end - word), "uescape")) return end;
  const size_t quote = SkipBlank(sql, word_end);
  return CharAt(sql, quote) == '\'' ? EndOfString(sql, quote, false) : end;
}

// The length of a prefix that makes a string of the quote behind it: E'…' B'…' X'…' N'…' U&'…'
// U&"…".
size_t StringPrefix(std::string_view sql, size_t pos) noexcept {
  const char letter = ToLower(sql[pos]);
  const char next = CharAt(sql, pos + 1);
  if (next == '\'' && (letter == 'e' || letter == 'b' || letter == 'x' || letter == 'n')) return 1;
  if (letter != 'u' || next != '&') return 0;
  const char quote = CharAt(sql, pos + 2);
  return quote == '\'' || quote == '"' ? 2 : 0;
}

size_t EndOfNumber(std::string_view sql, size_t pos) noexcept {
  const char base = ToLower(CharAt(sql, pos + 1));
  if (sql[pos] == '0' && (base == 'x' || base == 'o' || base == 'b')) return SkipName(sql, pos + 2);

  size_t end = SkipDigits(sql, pos);
  // 1..10 is 1 .. 10
  if (CharAt(sql, end) == '.' && CharAt(sql, end + 1) != '.') end = SkipDigits(sql, end + 1);
  if (ToLower(CharAt(sql, end)) == 'e') {
    const char sign = CharAt(sql, end + 1);
    const size_t exponent = end + (sign == '+' || sign == '-' ? 2 : 1);
    if (IsDigit(CharAt(sql, exponent))) end = SkipDigits(sql, exponent);
  }
  return IsNameStart(CharAt(sql, end)) ? SkipName(sql, end) : end;
}

// The length of the $tag$ at pos, or 0.
size_t DollarDelimiter(std::string_view sql, size_t pos) noexcept {
  size_t end = pos + 1;
  if (!IsDigit(CharAt(sql, end))) {
    end = SkipWhile(sql, end, [](char c) { return IsNameStart(c) || IsDigit(c); });
  }
  return CharAt(sql, end) == '$' ? end + 1 - pos : 0;
}

}  // namespace

DollarQuoted SplitDollarQuoted(std::string_view text) noexcept {
  DollarQuoted parts;
  parts.delimiter = text.substr(0, DollarDelimiter(text, 0));
  parts.body = text.substr(parts.delimiter.size());
  parts.terminated = parts.body.ends_with(parts.delimiter);
  if (parts.terminated) parts.body.remove_suffix(parts.delimiter.size());
  return parts;
}

size_t StringContinuation(std::string_view sql, size_t pos) noexcept {
  bool newline = false;
  while (pos < sql.size()) {
    if (IsSpace(sql[pos])) {
      newline = newline || sql[pos] == '\n' || sql[pos] == '\r';
      ++pos;
    } else if (sql[pos] == '-' && CharAt(sql, pos + 1) == '-') {
      pos = EndOfLine(sql, pos);
    } else {
      break;
    }
  }
  return newline && CharAt(sql, pos) == '\'' ? pos : npos;
}

Token Lexer::Next() noexcept {
  bool space = false;
  for (;;) {
    Token token = NextRaw();
    if (token.kind != TokenKind::kSpace && token.kind != TokenKind::kComment) {
      token.space_before = space;
      return token;
    }
    space = true;
  }
}

Token Lexer::NextRaw() noexcept {
  if (pos_ >= sql_.size()) return {};
  const char c = sql_[pos_];
  if (IsSpace(c)) return Take(TokenKind::kSpace, SkipWhile(sql_, pos_, IsSpace));
  if (IsNameStart(c)) return TakeWord();
  if (IsDigit(c)) return Take(TokenKind::kNumber, EndOfNumber(sql_, pos_));
  switch (c) {
    case '\'':
      return Take(TokenKind::kString, EndOfString(sql_, pos_, false));
    case '"':
      return Take(TokenKind::kQuotedName, EndOfQuoted(sql_, pos_ + 1, '"'));
    case '$':
      return TakeDollar();
    case '.':
    case ':':
      return TakePunctuation();
    default:
      break;
  }
  if (!IsInClass(c, kOperatorChar)) return Take(TokenKind::kPunctuation, pos_ + 1);
  if (CommentStartsAt(sql_, pos_)) return Take(TokenKind::kComment, EndOfComment(sql_, pos_));
  return TakeOperator();
}

Token Lexer::Take(TokenKind kind, size_t end) noexcept {
  const size_t begin = pos_;
  pos_ = std::min(end, sql_.size());
  return {.kind = kind, .text = sql_.substr(begin, pos_ - begin)};
}

Token Lexer::TakeWord() noexcept {
  const size_t prefix = StringPrefix(sql_, pos_);
  if (prefix == 0) return Take(TokenKind::kWord, SkipName(sql_, pos_));
  const size_t quote = pos_ + prefix;
  if (sql_[quote] == '"') return Take(TokenKind::kQuotedName, EndOfQuoted(sql_, quote + 1, '"'));
  const size_t end = EndOfString(sql_, quote, ToLower(sql_[pos_]) == 'e');
  return Take(TokenKind::kString, prefix == 2 ? EndOfUescape(sql_, end) : end);
}

Token Lexer::TakeDollar() noexcept {
  if (IsDigit(CharAt(sql_, pos_ + 1))) {
    const size_t end = SkipWhile(sql_, pos_ + 1, IsDigit);
    if (!IsNameStart(CharAt(sql_, end))) return Take(TokenKind::kParameter, end);
    // $1abc is refused by the server: a slip of the pen that may be a value.
    return Take(TokenKind::kNumber, SkipName(sql_, end));
  }
  const size_t length = DollarDelimiter(sql_, pos_);
  if (length == 0) return Take(TokenKind::kPunctuation, pos_ + 1);
  const size_t close = sql_.find(sql_.substr(pos_, length), pos_ + length);
  return Take(TokenKind::kString, close == npos ? sql_.size() : close + length);
}

Token Lexer::TakeOperator() noexcept {
  // What is left of a run that was cut at its signs. It is not searched again: a run of a million
  // signs is a million operators.
  if (pos_ < signs_end_) return Take(TokenKind::kOperator, pos_ + 1);

  size_t end = pos_;
  size_t behind_last_other = pos_ + 1;
  bool may_end_in_sign = false;
  while (end < sql_.size() && IsInClass(sql_[end], kOperatorChar) && !CommentStartsAt(sql_, end)) {
    may_end_in_sign = may_end_in_sign || IsInClass(sql_[end], kAllowsTrailingSign);
    const bool sign = sql_[end] == '+' || sql_[end] == '-';
    ++end;
    if (!sign) behind_last_other = end;
  }
  if (may_end_in_sign) return Take(TokenKind::kOperator, end);
  signs_end_ = end;
  return Take(TokenKind::kOperator, behind_last_other);
}

Token Lexer::TakePunctuation() noexcept {
  if (sql_[pos_] == '.' && IsDigit(CharAt(sql_, pos_ + 1))) {
    return Take(TokenKind::kNumber, EndOfNumber(sql_, pos_));
  }
  // ... is not SQL but what a collapsed list ends in
  for (const std::string_view text : {"...", "..", "::", ":="}) {
    if (At(text)) return Take(TokenKind::kPunctuation, pos_ + text.size());
  }
  return Take(TokenKind::kPunctuation, pos_ + 1);
}

}  // namespace train_perf
