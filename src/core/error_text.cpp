#include "core/error_text.hpp"

#include <algorithm>
#include <array>
#include <bitset>
#include <cstring>

#include "core/sql_lexer.hpp"
#include "core/sql_text.hpp"

namespace train_perf {

namespace {

constexpr auto npos = std::string_view::npos;

// Bounds of the work that an error may cause.
constexpr size_t kMaxSql = size_t{64} * 1024;
constexpr size_t kMaxMessage = size_t{8} * 1024;
constexpr size_t kMaxComparedBytes = size_t{8} * 1024 * 1024;
constexpr int kMaxWordLookups = 16;

constexpr size_t kShortestMaskedLiteral = 3;

class Writer {
 public:
  Writer(char* buffer, size_t capacity) noexcept : buffer_(buffer), capacity_(capacity) {}

  void Append(std::string_view text) noexcept {
    const size_t fits = std::min(text.size(), capacity_ - length_);
    if (fits > 0) std::memcpy(buffer_ + length_, text.data(), fits);
    length_ += fits;
  }
  void AppendNormalized(std::string_view sql) noexcept {
    if (full()) return;
    length_ += NormalizeSql(sql, buffer_ + length_, capacity_ - length_).length;
  }
  bool full() const noexcept { return length_ == capacity_; }
  size_t length() const noexcept { return length_; }

 private:
  char* buffer_;
  size_t capacity_;
  size_t length_ = 0;
};

struct QuotePair {
  std::string_view open;
  std::string_view close;
};

// Those of the server's translations in UTF-8; the first is that of the untranslated messages.
constexpr auto kQuotePairs = std::to_array<QuotePair>({{"\"", "\""},
                                                       {"\u00bb", "\u00ab"},
                                                       {"\u00ab", "\u00bb"},
                                                       {"\u201c", "\u201d"},
                                                       {"\u201e", "\u201c"}});

struct OpenQuote {
  size_t pos = npos;
  QuotePair pair;
};

OpenQuote FindOpenQuote(std::string_view text, size_t pos) noexcept {
  OpenQuote first;
  for (const QuotePair& pair : kQuotePairs) {
    const size_t found = text.find(pair.open, pos);
    if (found < first.pos) first = {found, pair};
  }
  return first;
}

// Other bytes than ASCII do not make a word here: typographic quotes are some, and Chinese has no
// spaces.
bool IsWordByte(char c) noexcept {
  return IsNamePart(c) && c != '$' && static_cast<unsigned char>(c) < 0x80;
}

std::string_view WithoutSpaceBefore(std::string_view text) noexcept {
  while (!text.empty() && IsSpace(text.front())) text.remove_prefix(1);
  return text;
}

bool AfterColon(std::string_view before) noexcept {
  while (!before.empty() && IsSpace(before.back())) before.remove_suffix(1);
  // French has a no-break space before the quotation mark.
  if (before.ends_with("\u00a0")) before.remove_suffix(2);
  return before.ends_with(':') || before.ends_with("\uff1a");
}

// Does text begin as a string, a comment or a quoted name does? The server quotes an unterminated
// one up to the end of the statement, with whatever stands there.
bool StartsQuoted(std::string_view text) noexcept {
  if (text.starts_with("/*")) return true;
  if (text.starts_with('$')) return text.size() == 1 || !IsDigit(text[1]);
  constexpr std::string_view kPrefixes = "eEbBxXnN";
  if (!text.empty() && kPrefixes.find(text.front()) != npos) text.remove_prefix(1);
  if (text.starts_with("U&") || text.starts_with("u&")) text.remove_prefix(2);
  return text.starts_with('\'') || text.starts_with('"') || text.starts_with('\\');
}

bool StartsAsNumber(std::string_view text) noexcept {
  const size_t digit = text.find_first_not_of("+-.");
  return digit < 3 && IsDigit(text[digit]);
}

// The end of the fragment whose inside begins at `begin`. A value can hold quotes of its own: its
// closing quote is not inside a word.
size_t EndOfFragment(std::string_view text, size_t begin, std::string_view close) noexcept {
  for (size_t pos = text.find(close, begin); pos != npos; pos = text.find(close, pos + 1)) {
    const size_t behind = pos + close.size();
    const bool in_word = close == "\"" && behind < text.size() && IsWordByte(text[behind]);
    if (!in_word) return pos;
  }
  return text.size();
}

size_t EndOfLastFragment(std::string_view text, size_t begin, std::string_view close) noexcept {
  const size_t end = text.rfind(close);
  return end == npos || end < begin ? text.size() : end;
}

constexpr char Unescaped(char c) noexcept {
  switch (c) {
    case 'b':
      return '\b';
    case 'f':
      return '\f';
    case 'n':
      return '\n';
    case 'r':
      return '\r';
    case 't':
      return '\t';
    default:
      return c;
  }
}

// The value of a literal, in `buffer` where it differs from the literal's text. Empty if it is
// longer than the buffer. Numeric and Unicode escapes stay as they are.
std::string_view ValueOf(const Token& literal, char* buffer, size_t capacity) noexcept {
  const std::string_view text = literal.text;
  if (literal.kind == TokenKind::kNumber) return text;
  if (IsDollarQuoted(literal)) return SplitDollarQuoted(text).body;

  const bool backslash_escapes = ToLower(text.front()) == 'e';
  size_t length = 0;
  size_t pos = text.find('\'') + 1;
  while (pos < text.size()) {
    char c = text[pos++];
    if (c == '\\' && backslash_escapes && pos < text.size()) {
      c = Unescaped(text[pos++]);
    } else if (c == '\'' && (pos >= text.size() || text[pos] != '\'')) {
      pos = StringContinuation(text, pos);
      if (pos == npos) break;
      ++pos;
      continue;
    } else if (c == '\'') {
      ++pos;
    }
    if (length == capacity) return {};
    buffer[length++] = c;
  }
  return {buffer, length};
}

bool NamesFragment(const Token& token, std::string_view fragment) noexcept {
  std::string_view name = token.text;
  if (token.kind == TokenKind::kQuotedName) {
    name.remove_prefix(std::min(name.find('"') + 1, name.size()));
    if (name.ends_with('"')) name.remove_suffix(1);
    return name == fragment;
  }
  return token.kind == TokenKind::kWord &&
         std::equal(name.begin(), name.end(), fragment.begin(), fragment.end(),
                    [](char a, char b) { return ToLower(a) == ToLower(b); });
}

// Calls visit(token) for the tokens of a statement and of the dollar-quoted bodies in it, until it
// returns false.
template <typename Visit>
bool VisitTokens(std::string_view sql, bool into_bodies, const Visit& visit) noexcept {
  Lexer lexer(sql);
  for (Token token = lexer.Next(); token.kind != TokenKind::kEnd; token = lexer.Next()) {
    if (!visit(token)) return false;
    if (!into_bodies || !IsDollarQuoted(token)) continue;
    if (!VisitTokens(SplitDollarQuoted(token.text).body, false, visit)) return false;
  }
  return true;
}

class MessageMask {
 public:
  MessageMask(std::string_view message, std::string_view sql) noexcept
      : message_(message.substr(0, kMaxMessage)), sql_(sql.substr(0, kMaxSql)) {}

  void MaskLiterals() noexcept {
    VisitTokens(sql_, true, [this](const Token& token) {
      if (token.kind == TokenKind::kString || token.kind == TokenKind::kNumber) {
        MaskLiteral(token);
      }
      return compared_bytes_ < kMaxComparedBytes;
    });
    // Not all could be looked for: rather say nothing.
    if (compared_bytes_ >= kMaxComparedBytes) MaskRange(0, message_.size());
  }

  void MaskFragments(bool data_exception) noexcept {
    size_t pos = 0;
    for (;;) {
      const OpenQuote quote = FindOpenQuote(message_, pos);
      if (quote.pos == npos) return;
      const size_t end = MaskFragment(quote, data_exception);
      pos = std::min(end + quote.pair.close.size(), message_.size());
    }
  }

  size_t Write(char* buffer, size_t capacity) const noexcept {
    Writer out(buffer, capacity);
    for (size_t i = 0; i < message_.size(); ++i) {
      if (!masked_[i]) {
        out.Append(message_.substr(i, 1));
      } else if (i == 0 || !masked_[i - 1]) {
        out.Append("?");
      }
    }
    return out.length();
  }

 private:
  void MaskRange(size_t begin, size_t end) noexcept {
    for (size_t i = begin; i < end; ++i) masked_.set(i);
  }

  void MaskLiteral(const Token& literal) noexcept {
    const std::string_view value = ValueOf(literal, value_.data(), message_.size());
    if (value.size() < kShortestMaskedLiteral || value.size() > message_.size()) return;
    compared_bytes_ += message_.size();
    for (size_t pos = message_.find(value); pos != npos; pos = message_.find(value, pos + 1)) {
      const size_t end = pos + value.size();
      compared_bytes_ += value.size();
      if (IsWordBoundary(pos) && IsWordBoundary(end)) MaskRange(pos, end);
    }
  }

  bool IsWordBoundary(size_t pos) const noexcept {
    if (pos == 0 || pos == message_.size()) return true;
    return !IsWordByte(message_[pos - 1]) || !IsWordByte(message_[pos]);
  }
  // Returns where the fragment ends.
  size_t MaskFragment(const OpenQuote& quote, bool data_exception) noexcept {
    const size_t begin = quote.pos + quote.pair.open.size();
    const std::string_view inside = WithoutSpaceBefore(message_.substr(begin));
    const size_t end = EndOfFragment(message_, begin, quote.pair.close);
    if (AfterColon(message_.substr(0, quote.pos)) || StartsQuoted(inside)) {
      const size_t last = EndOfLastFragment(message_, begin, quote.pair.close);
      MaskRange(begin, last);
      return last;
    }
    const std::string_view fragment = message_.substr(begin, end - begin);
    if (StartsAsNumber(inside) || (data_exception && !IsWordOfSql(fragment))) {
      MaskRange(begin, end);
    }
    return end;
  }

  bool IsWordOfSql(std::string_view fragment) noexcept {
    if (++word_lookups_ > kMaxWordLookups) return false;
    return !VisitTokens(sql_, true,
                        [&](const Token& token) { return !NamesFragment(token, fragment); });
  }

  std::string_view message_;
  std::string_view sql_;
  std::bitset<kMaxMessage> masked_;
  std::array<char, kMaxMessage> value_;
  size_t compared_bytes_ = 0;
  int word_lookups_ = 0;
};

// Lines of a context begin so; another line may belong to a value above it.
bool StartsContextLine(std::string_view text) noexcept {
  constexpr auto kHeads = std::to_array<std::string_view>(
      {"SQL statement \"", "SQL expression \"", "SQL function ", "PL/", "COPY ", "JSON data",
       "remote SQL command: ", "unnamed portal ", "portal ", "extended query ", "while ",
       "automatic ", "parallel worker"});
  return std::any_of(kHeads.begin(), kHeads.end(),
                     [&](std::string_view head) { return text.starts_with(head); });
}

bool EndsContextLine(std::string_view rest) noexcept {
  return rest.empty() || (rest.front() == '\n' && StartsContextLine(rest.substr(1)));
}

// The length of a value at the end of a context line, without the newline.
size_t LengthOfValue(std::string_view text) noexcept {
  size_t end = 0;
  while (!EndsContextLine(text.substr(end))) {
    end = std::min(text.find('\n', end + 1), text.size());
  }
  return end;
}

// The lexer takes the quote that ends a statement for the beginning of a name, or for a part of the
// name or comment before it. Returns the position of that quote in the token, or npos.
size_t ClosingQuoteIn(const Token& token, std::string_view rest) noexcept {
  const std::string_view text = token.text;
  if (token.kind == TokenKind::kComment) {
    return text.ends_with('"') && EndsContextLine(rest) ? text.size() - 1 : npos;
  }
  if (token.kind != TokenKind::kQuotedName) return npos;
  const bool terminated = std::count(text.begin(), text.end(), '"') % 2 == 0;
  for (size_t pos = text.find('"'); pos != npos; pos = text.find('"', pos + 1)) {
    const bool last = pos + 1 == text.size();
    if (last ? !terminated : text[pos + 1] == '\n') return pos;
  }
  return npos;
}

// The length of the SQL that text begins with, up to the quote that closes it.
size_t LengthOfQuotedSql(std::string_view text) noexcept {
  Lexer lexer(text);
  size_t end = 0;
  for (Token token = lexer.NextRaw(); token.kind != TokenKind::kEnd; token = lexer.NextRaw()) {
    const size_t begin = end;
    end += token.text.size();
    const size_t quote = ClosingQuoteIn(token, text.substr(end));
    if (quote != npos) return begin + quote;
  }
  return text.size();
}

// The length of the string at the quote at pos, or 0 if the quote is an apostrophe (can't).
size_t LengthOfString(std::string_view text, size_t pos) noexcept {
  if (pos > 0 && IsNamePart(text[pos - 1])) return 0;
  size_t end = text.find('\'', pos + 1);
  while (end != npos && end + 1 < text.size() && text[end + 1] == '\'') {
    end = text.find('\'', end + 2);
  }
  return (end == npos ? text.size() : end + 1) - pos;
}

// Writes one line, or more if a string goes over its end; returns the bytes read.
size_t WritePlainLine(std::string_view text, Writer& out) noexcept {
  size_t pos = 0;
  while (pos < text.size() && text[pos] != '\n') {
    const size_t string_length = text[pos] == '\'' ? LengthOfString(text, pos) : 0;
    out.Append(string_length > 0 ? "?" : text.substr(pos, 1));
    pos += std::max<size_t>(string_length, 1);
  }
  if (pos < text.size()) out.Append(text.substr(pos++, 1));
  return pos;
}

// SQL statement "…": writes up to the closing quote; returns the bytes read, 0 for another line.
size_t WriteSqlLine(std::string_view text, Writer& out) noexcept {
  for (const std::string_view head : {"SQL statement \"", "SQL expression \"",
                                      "PL/pgSQL assignment \"", "remote SQL command: "}) {
    if (!text.starts_with(head)) continue;
    const std::string_view rest = text.substr(head.size());
    const size_t length = head.ends_with('"') ? LengthOfQuotedSql(rest) : LengthOfValue(rest);
    out.Append(head);
    out.AppendNormalized(rest.substr(0, length));
    return head.size() + length;
  }
  return 0;
}

// The same for translated contexts, which have typographic quotes: SQL-Anweisung »…«
size_t WriteTranslatedSqlLine(std::string_view text, Writer& out) noexcept {
  const std::string_view line = text.substr(0, text.find('\n'));
  const OpenQuote quote = FindOpenQuote(line, 0);
  if (quote.pos == npos || quote.pair.open == "\"") return 0;
  const size_t begin = quote.pos + quote.pair.open.size();
  for (size_t end = text.find(quote.pair.close, begin); end != npos;
       end = text.find(quote.pair.close, end + 1)) {
    const size_t behind = end + quote.pair.close.size();
    if (behind < text.size() && text[behind] != '\n') continue;
    out.Append(text.substr(0, begin));
    out.AppendNormalized(text.substr(begin, end - begin));
    return end;
  }
  return 0;
}

// COPY t, line 1, column a: "…" and JSON data, line 1: …
size_t WriteDataLine(std::string_view text, Writer& out) noexcept {
  if (!text.starts_with("COPY ") && !text.starts_with("JSON")) return 0;
  const std::string_view line = text.substr(0, text.find('\n'));
  const size_t colon = line.find(": ");
  if (colon == npos) return 0;
  const size_t data = colon + 2;
  out.Append(text.substr(0, data));
  out.Append("?");
  return data + LengthOfValue(text.substr(data));
}

// Behind the literal that begins at `pos`, in a JSON string: quotes in it are doubled, and it ends
// with the string at the latest.
size_t EndOfQuotedInJson(std::string_view json, size_t pos) noexcept {
  for (++pos; pos < json.size() && json[pos] != '"';) {
    const bool quote = json[pos] == '\'';
    const bool doubled = quote && pos + 1 < json.size() && json[pos + 1] == '\'';
    if (quote && !doubled) return pos + 1;
    pos += doubled || json[pos] == '\\' ? 2 : 1;
  }
  return std::min(pos, json.size());
}

}  // namespace

size_t MaskErrorMessage(std::string_view message, std::string_view sql, bool data_exception,
                        char* buffer, size_t capacity) noexcept {
  MessageMask mask(message, sql);
  mask.MaskLiterals();
  mask.MaskFragments(data_exception);
  return mask.Write(buffer, capacity);
}

size_t MaskErrorContext(std::string_view context, char* buffer, size_t capacity) noexcept {
  Writer out(buffer, capacity);
  while (!context.empty() && !out.full()) {
    size_t read = WriteSqlLine(context, out);
    if (read == 0) read = WriteDataLine(context, out);
    if (read == 0) read = WriteTranslatedSqlLine(context, out);
    context.remove_prefix(read);
    context.remove_prefix(WritePlainLine(context, out));
  }
  return out.length();
}

size_t MaskPlan(char* json, size_t length) noexcept {
  const std::string_view text(json, length);
  size_t to = 0;
  char before = ' ';  // the byte before in the string, unmasked
  bool in_string = false;
  for (size_t pos = 0; pos < length;) {
    const char c = text[pos];
    if (in_string && c == '\'') {
      pos = EndOfQuotedInJson(text, pos);
      json[to++] = '?';
      before = c;
      continue;
    }
    if (in_string && IsDigit(c) && !IsNamePart(before)) {
      while (pos < length && (IsNamePart(text[pos]) || text[pos] == '.')) ++pos;
      json[to++] = '?';
      before = c;
      continue;
    }
    if (in_string && c == '\\' && pos + 1 < length) {
      json[to++] = c;
      before = text[pos + 1];
      json[to++] = before;
      pos += 2;
      continue;
    }
    if (c == '"') in_string = !in_string;
    json[to++] = before = c;
    ++pos;
  }
  return to;
}

}  // namespace train_perf
