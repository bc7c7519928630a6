#include "core/sql_text.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <limits>

#include "core/sql_lexer.hpp"

namespace train_perf {

namespace {

// Words that no operand ends in: a sign behind them belongs to the number. Sorted.
constexpr auto kPrefixKeywords = std::to_array<std::string_view>(
    {"all",      "and",     "any",    "between", "by",     "case",    "check",  "default",
     "distinct", "else",    "elsif",  "fetch",   "for",    "from",    "having", "if",
     "ilike",    "in",      "is",     "like",    "limit",  "not",     "offset", "on",
     "or",       "perform", "return", "select",  "set",    "similar", "some",   "symmetric",
     "then",     "to",      "union",  "using",   "values", "when",    "where",  "while"});
static_assert(std::is_sorted(kPrefixKeywords.begin(), kPrefixKeywords.end()));

// Words that a parenthesis behind them does not make a call. Sorted.
constexpr auto kApartKeywords = std::to_array<std::string_view>(
    {"and",    "as",     "between", "by",        "case",   "check", "do",   "else",
     "except", "filter", "from",    "having",    "if",     "ilike", "in",   "intersect",
     "into",   "is",     "join",    "lateral",   "like",   "limit", "not",  "offset",
     "on",     "or",     "over",    "returning", "select", "set",   "then", "union",
     "using",  "values", "when",    "where",     "while",  "with"});

static_assert(std::is_sorted(kApartKeywords.begin(), kApartKeywords.end()));

template <size_t kSize>
bool IsOneOf(const Token& token, const std::array<std::string_view, kSize>& words) noexcept {
  constexpr size_t kLongest = 9;
  if (token.kind != TokenKind::kWord || token.text.size() > kLongest) return false;
  std::array<char, kLongest> lower{};
  std::transform(token.text.begin(), token.text.end(), lower.begin(), ToLower);
  return std::binary_search(words.begin(), words.end(),
                            std::string_view(lower.data(), token.text.size()));
}

bool IsPrefixKeyword(const Token& token) noexcept { return IsOneOf(token, kPrefixKeywords); }

// How a piece of the normalised text keeps its distance, whatever space the author left.
enum class Piece : uint8_t {
  kNothing,    // before the first
  kName,       // a parenthesis behind it is its own: f(x)
  kWord,       // other words, constants, and what SQL does not know
  kOperator,   // also := and a single :
  kOpen,       // ( and [
  kOpenRow,    // a parenthesis: apart from words that are not called
  kTight,      // . :: and .., without space on either side
  kClose,      // ) and ]
  kSeparator,  // , and ;
};

Piece PieceOf(const Token& token) noexcept {
  switch (token.kind) {
    case TokenKind::kWord:
      return IsOneOf(token, kApartKeywords) ? Piece::kWord : Piece::kName;
    case TokenKind::kQuotedName:
      return Piece::kName;
    case TokenKind::kOperator:
      return Piece::kOperator;
    case TokenKind::kPunctuation:
      break;
    default:
      return Piece::kWord;
  }
  if (token.text == ":=" || token.text == ":") return Piece::kOperator;
  switch (token.text.front()) {
    case '(':
      return Piece::kOpenRow;
    case '[':
      return Piece::kOpen;
    case ')':
    case ']':
      return Piece::kClose;
    case ',':
    case ';':
      return Piece::kSeparator;
    case '.':
      return Piece::kTight;
    default:
      return token.text == "::" ? Piece::kTight : Piece::kWord;
  }
}

// Never lets two pieces grow together into another token.
bool NeedsSpace(Piece before, Piece next) noexcept {
  if (before == Piece::kNothing || before == Piece::kOpen || before == Piece::kOpenRow)
    return false;
  switch (next) {
    case Piece::kClose:
    case Piece::kSeparator:
      return false;
    case Piece::kOpen:
      return before == Piece::kSeparator;
    case Piece::kTight:
      return before == Piece::kTight || before == Piece::kOperator;
    case Piece::kOpenRow:
      return before != Piece::kName && before != Piece::kTight;
    default:
      return before != Piece::kTight;
  }
}

// May a sign behind this token only be the sign of a number?
bool EndsNoOperand(const Token& previous) noexcept {
  switch (previous.kind) {
    case TokenKind::kEnd:
    case TokenKind::kOperator:
      return true;
    case TokenKind::kWord:
      return IsPrefixKeyword(previous);
    case TokenKind::kPunctuation: {
      constexpr auto kBefore =
          std::to_array<std::string_view>({"(", "[", ",", ";", ":", ":=", ".."});
      return std::find(kBefore.begin(), kBefore.end(), previous.text) != kBefore.end();
    }
    default:
      return false;
  }
}

bool IsSign(const Token& token) noexcept {
  return token.kind == TokenKind::kOperator && (token.text == "-" || token.text == "+");
}

bool IsValue(const Token& token) noexcept {
  return token.kind == TokenKind::kString || token.kind == TokenKind::kNumber ||
         token.kind == TokenKind::kParameter;
}

bool IsName(const Token& token) noexcept {
  return token.kind == TokenKind::kWord || token.kind == TokenKind::kQuotedName;
}

// By first letter. crypt is also in encrypt, decrypt and pgp_sym_encrypt. Not `token`: tables have
// a token_count.
constexpr auto kSecrets = std::to_array<std::string_view>(
    {"access_token", "api_key", "apikey", "auth_token", "credential", "crypt", "dblink", "hmac",
     "passphrase", "passwd", "password", "pgp_pub", "pgp_sym", "private_key", "refresh_token",
     "secret"});
static_assert(std::is_sorted(kSecrets.begin(), kSecrets.end()));
constexpr size_t kShortestSecret = 4;

// Where the secrets with a first letter begin; those with the next letter begin where they end.
constexpr std::array<uint8_t, 27> kSecretsByLetter = [] {
  std::array<uint8_t, 27> begins{};
  for (const std::string_view secret : kSecrets) {
    for (size_t i = static_cast<size_t>(secret.front() - 'a') + 1; i < begins.size(); ++i) {
      ++begins[i];
    }
  }
  return begins;
}();

bool StartsWithSecret(std::string_view text) noexcept {
  const auto letter = static_cast<size_t>(ToLower(text.front()) - 'a');
  if (letter >= 26) return false;
  for (size_t i = kSecretsByLetter[letter]; i < kSecretsByLetter[letter + 1]; ++i) {
    if (StartsWithFolded(text, kSecrets[i])) return true;
  }
  return false;
}

bool NamesSecret(const Token& token) noexcept {
  return IsName(token) && MentionsSecret(token.text);
}

// Reads ahead to see whether a bracket holds only constants. Nothing that it reads over can open
// another such list, so each token is read ahead at most once, however the brackets are nested.
class ListReader {
 public:
  // The lexer is behind the opening bracket.
  explicit ListReader(const Lexer& lexer) noexcept : lexer_(lexer) { Advance(); }

  // element, … and the closing bracket. An element is a constant or parameter, perhaps with casts.
  bool ReadList(std::string_view close) noexcept {
    size_ = 0;
    do {
      if (!ReadElement()) return false;
      ++size_;
    } while (Accept(","));
    if (!IsPunctuation(token_, close)) return false;
    end_ = lexer_;
    Advance();
    return true;
  }

  // What follows the first bracket of (…), (…), …
  bool ReadRows() noexcept {
    if (!ReadList(")")) return false;
    const size_t first_row = size_;
    Lexer end = end_;
    while (Accept(",")) {
      if (!Accept("(") || !ReadList(")")) return false;
      end = end_;
    }
    size_ = first_row;
    end_ = end;
    return true;
  }

  // What follows the first bracket of ((…), (…), …)
  bool ReadRowsInParentheses() noexcept {
    if (!Accept("(") || !ReadRows() || !IsPunctuation(token_, ")")) return false;
    end_ = lexer_;
    return true;
  }

  size_t size() const noexcept { return size_; }  // elements of the list or the first row
  const Lexer& end() const noexcept { return end_; }
  bool mentions_secret() const noexcept { return mentions_secret_; }

 private:
  void Advance() noexcept {
    token_ = lexer_.Next();
    mentions_secret_ = mentions_secret_ || NamesSecret(token_);
  }

  bool AcceptIf(bool accepted) noexcept {
    if (accepted) Advance();
    return accepted;
  }
  bool Accept(std::string_view punctuation) noexcept {
    return AcceptIf(IsPunctuation(token_, punctuation));
  }

  bool ReadElement() noexcept {
    if (!AcceptIf(IsConstantWord()) && !Accept("...") && !ReadConstant()) return false;
    while (Accept("::")) {
      if (!ReadType()) return false;
    }
    return true;
  }

  bool IsConstantWord() const noexcept {
    constexpr auto kWords = std::to_array<std::string_view>({"true", "false", "null", "default"});
    return std::any_of(kWords.begin(), kWords.end(),
                       [this](std::string_view word) { return IsWord(token_, word); });
  }

  // 1, -1, 'a', $1, date '2024-01-01'
  bool ReadConstant() noexcept {
    if (AcceptIf(IsSign(token_))) return AcceptIf(token_.kind == TokenKind::kNumber);
    AcceptIf(token_.kind == TokenKind::kWord && !IsPrefixKeyword(token_) && !OpensList());
    return AcceptIf(IsValue(token_));
  }

  bool OpensList() const noexcept {
    return IsWord(token_, "in") || IsWord(token_, "values") || IsWord(token_, "array");
  }

  bool ReadTypeName() noexcept { return AcceptIf(IsName(token_) && !OpensList()); }

  // text, public."Mood", timestamp(3) with time zone, numeric(10, 2)[]
  bool ReadType() noexcept {
    if (!ReadTypeName()) return false;
    for (;;) {
      if (Accept(".")) {
        if (!ReadTypeName()) return false;
      } else if (Accept("(")) {
        if (!ReadModifiers()) return false;
      } else if (Accept("[")) {
        AcceptIf(IsValue(token_));
        if (!Accept("]")) return false;
      } else if (!AcceptIf(ContinuesTypeName())) {
        return true;
      }
    }
  }

  bool ReadModifiers() noexcept {
    do {
      const bool name = AcceptIf(token_.kind == TokenKind::kWord && !IsPrefixKeyword(token_));
      if (!name && !ReadConstant()) return false;
    } while (Accept(","));
    return Accept(")");
  }

  bool ContinuesTypeName() const noexcept {
    constexpr auto kWords = std::to_array<std::string_view>(
        {"precision", "varying", "with", "without", "time", "zone"});
    return std::any_of(kWords.begin(), kWords.end(),
                       [this](std::string_view word) { return IsWord(token_, word); });
  }

  Lexer lexer_;
  Lexer end_{std::string_view()};
  Token token_;
  size_t size_ = 0;
  bool mentions_secret_ = false;
};

// The first bytes go to the caller's buffer, all to the hash.
class Output {
 public:
  Output(char* buffer, size_t capacity) noexcept : buffer_(buffer), capacity_(capacity) {}

  void Append(std::string_view text) noexcept {
    const size_t fits = std::min(text.size(), capacity_ - length_);
    if (fits > 0) std::memcpy(buffer_ + length_, text.data(), fits);
    length_ += fits;
    if (fits < text.size()) Overflow(text.substr(fits));
  }

  void Finish(NormalizedSql& result) noexcept {
    if (!truncated_) md5_.Update({buffer_, length_});
    result.length = length_;
    result.truncated = truncated_;
    result.hash = md5_.Finish();
  }

 private:
  // What is in the buffer is hashed at once: in pieces only when there are more than fit.
  void Overflow(std::string_view text) noexcept {
    if (!truncated_) md5_.Update({buffer_, length_});
    truncated_ = true;
    md5_.Update(text);
  }

  char* buffer_;
  size_t capacity_;
  size_t length_ = 0;
  bool truncated_ = false;
  Md5 md5_;
};

// How literals and parameters become $n.
struct Numbering {
  bool renumber_parameters = true;
  uint64_t next = 1;
};

class Normalizer {
 public:
  // Without an output it only looks: see Survey.
  Normalizer(Output* output, Numbering numbering) noexcept
      : output_(output), numbering_(numbering) {}

  void Normalize(std::string_view sql) noexcept {
    EmitTokens(sql);
    // Semicolons at the end were held back, and stay away.
  }

  bool mentions_secret() const noexcept { return mentions_secret_; }
  bool collapsed_lists() const noexcept { return collapsed_lists_; }
  uint64_t highest_parameter() const noexcept { return highest_parameter_; }

 private:
  void EmitTokens(std::string_view sql) noexcept {
    Lexer lexer(sql);
    previous_ = {};
    for (Token token = lexer.Next(); token.kind != TokenKind::kEnd; token = lexer.Next()) {
      EmitToken(token, lexer);
    }
  }

  // May take more tokens from the lexer.
  void EmitToken(const Token& token, Lexer& lexer) noexcept {
    Token last = token;
    if (IsPunctuation(token, ";")) {
      in_password_ = false;
    } else if (!in_password_ && IsUnquotedPassword(token)) {
      in_password_ = true;
      mentions_secret_ = true;
      EmitNext();
    }
    if (in_password_) return;
    switch (token.kind) {
      case TokenKind::kWord:
        EmitWord(token, lexer);
        break;
      case TokenKind::kQuotedName:
        mentions_secret_ = mentions_secret_ || NamesSecret(token);
        EmitPiece(PieceOf(token), token.text);
        break;
      case TokenKind::kString:
        EmitString(token);
        break;
      case TokenKind::kNumber:
        EmitNext();
        break;
      case TokenKind::kParameter:
        EmitParameter(token);
        break;
      case TokenKind::kOperator:
        last = EmitOperator(token, lexer);
        break;
      default:
        last = EmitPunctuation(token, lexer);
        break;
    }
    previous_ = last;
  }

  // What follows PASSWORD, or the IDENTIFIED BY of other systems, where it is no literal: a
  // password that somebody forgot to put into quotes, and who knows where it ends.
  bool IsUnquotedPassword(const Token& token) const noexcept {
    if (!of_role_) return false;
    if (IsWord(previous_, "identified")) return true;
    return IsWord(previous_, "password") && token.kind != TokenKind::kString &&
           token.kind != TokenKind::kParameter && !IsWord(token, "null");
  }

  // CREATE or ALTER, and then ROLE, USER or GROUP.
  void NoteRole(const Token& token, bool starts_statement) noexcept {
    if (starts_statement) of_role_ = false;
    const bool makes = IsWord(previous_, "create") || IsWord(previous_, "alter");
    const bool role = IsWord(token, "role") || IsWord(token, "user") || IsWord(token, "group");
    of_role_ = of_role_ || (makes && role);
  }

  void EmitWord(const Token& token, const Lexer& lexer) noexcept {
    mentions_secret_ = mentions_secret_ || NamesSecret(token);
    const bool starts_statement =
        previous_.kind == TokenKind::kEnd || IsPunctuation(previous_, ";");
    if (starts_statement && !in_body_ && IsWord(token, "do")) code_ = FindCode(lexer);
    NoteRole(token, starts_statement);
    BeginPiece(PieceOf(token));
    // A name such as a$B$ must not become the end of the body that it is in.
    const bool keep = in_body_ && token.text.find('$') != std::string_view::npos;
    keep ? Append(token.text) : AppendFolded(token.text);
  }

  void EmitString(const Token& token) noexcept {
    if (code_ != nullptr && token.text.data() == code_) {
      EmitCode(token);
    } else {
      EmitNext();
    }
  }

  void EmitParameter(const Token& token) noexcept {
    const std::string_view digits = token.text.substr(1);
    uint64_t number = 0;
    const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    constexpr uint64_t kLargest = std::numeric_limits<int32_t>::max();
    if (read.ec != std::errc()) number = kLargest;
    highest_parameter_ = std::max(highest_parameter_, std::min(number, kLargest));

    if (numbering_.renumber_parameters) {
      EmitNext();
    } else {
      EmitPiece(PieceOf(token), token.text);
    }
  }

  // Returns the last token that it took.
  Token EmitOperator(const Token& token, Lexer& lexer) noexcept {
    if (IsSign(token) && EndsNoOperand(previous_)) {
      Lexer ahead = lexer;
      const Token number = ahead.Next();
      if (number.kind == TokenKind::kNumber) {
        EmitNext();
        lexer = ahead;
        return number;
      }
    }
    EmitPiece(PieceOf(token), token.text);
    return token;
  }

  Token EmitPunctuation(const Token& token, Lexer& lexer) noexcept {
    if (token.text == ";") {
      ++held_semicolons_;
      return token;
    }
    EmitPiece(PieceOf(token), token.text);
    if (token.text == "(" && IsWord(previous_, "in")) return CollapseIn(token, lexer);
    if (token.text == "(" && IsWord(previous_, "values")) return CollapseValues(token, lexer);
    if (token.text == "[" && IsWord(previous_, "array")) return CollapseArray(token, lexer);
    return token;
  }

  Token CollapseIn(const Token& open, Lexer& lexer) noexcept {
    if (ListReader list(lexer); list.ReadList(")")) {
      EmitNext();
      return CloseCollapsed(list, ", ...", ")", lexer);
    }
    if (ListReader rows(lexer); rows.ReadRowsInParentheses()) {
      EmitPiece(Piece::kOpenRow, "(");
      EmitRow(rows.size());
      return CloseCollapsed(rows, ")", ")", lexer);
    }
    return open;
  }

  Token CollapseValues(const Token& open, Lexer& lexer) noexcept {
    ListReader rows(lexer);
    if (!rows.ReadRows()) return open;
    EmitRow(rows.size());
    return CloseCollapsed(rows, "", ")", lexer);
  }

  Token CollapseArray(const Token& open, Lexer& lexer) noexcept {
    ListReader list(lexer);
    if (!list.ReadList("]")) return open;
    EmitNext();
    return CloseCollapsed(list, ", ...", "]", lexer);
  }

  void EmitRow(size_t size) noexcept {
    for (size_t i = 0; i < size; ++i) {
      if (i > 0) EmitPiece(Piece::kSeparator, ",");
      EmitNext();
    }
  }

  Token CloseCollapsed(const ListReader& list, std::string_view before, std::string_view close,
                       Lexer& lexer) noexcept {
    if (!before.empty()) EmitPiece(Piece::kClose, before);
    EmitPiece(Piece::kClose, close);
    collapsed_lists_ = true;
    mentions_secret_ = mentions_secret_ || list.mentions_secret();
    lexer = list.end();
    return {.kind = TokenKind::kPunctuation, .text = close};
  }

  // The body of the DO statement that the lexer is in, if it is in PL/pgSQL. The language may stand
  // before or after it.
  static const char* FindCode(Lexer lexer) noexcept {
    const char* body = nullptr;
    bool plpgsql = true;
    for (;;) {
      const Token token = lexer.Next();
      if (IsWord(token, "language")) {
        plpgsql = NamesPlpgsql(lexer.Next());
      } else if (IsDollarQuoted(token) && body == nullptr) {
        body = token.text.data();
      } else {
        return plpgsql ? body : nullptr;
      }
    }
  }

  // A parameter here was 'plpgsql' before it was normalised.
  static bool NamesPlpgsql(const Token& token) noexcept {
    constexpr std::string_view kName = "plpgsql";
    if (token.kind == TokenKind::kWord) return EqualsFolded(token.text, kName);
    if (token.kind == TokenKind::kParameter) return true;
    return token.text.size() == kName.size() + 2 && token.text.substr(1, kName.size()) == kName;
  }

  void EmitCode(const Token& token) noexcept {
    const DollarQuoted code = SplitDollarQuoted(token.text);
    EmitPiece(Piece::kWord, code.delimiter);
    force_space_ = true;
    in_body_ = true;
    EmitTokens(code.body);
    EmitHeldSemicolons();
    in_body_ = false;
    if (!code.terminated) return;
    force_space_ = true;
    EmitPiece(Piece::kWord, code.delimiter);
  }

  void EmitNext() noexcept {
    std::array<char, 24> text;
    text[0] = '$';
    char* const end = std::to_chars(text.begin() + 1, text.end(), numbering_.next++).ptr;
    EmitPiece(Piece::kWord, {text.data(), static_cast<size_t>(end - text.data())});
  }

  void EmitPiece(Piece piece, std::string_view text) noexcept {
    BeginPiece(piece);
    Append(text);
  }

  void BeginPiece(Piece piece) noexcept {
    EmitHeldSemicolons();
    if (force_space_ || NeedsSpace(last_, piece)) Append(" ");
    force_space_ = false;
    last_ = piece;
  }

  void EmitHeldSemicolons() noexcept {
    for (; held_semicolons_ > 0; --held_semicolons_) {
      Append(";");
      last_ = Piece::kSeparator;
    }
  }

  void Append(std::string_view text) noexcept {
    if (output_ != nullptr) output_->Append(text);
  }

  void AppendFolded(std::string_view text) noexcept {
    std::array<char, 64> lower;
    while (!text.empty()) {
      const auto part = text.substr(0, lower.size());
      std::transform(part.begin(), part.end(), lower.begin(), ToLower);
      Append({lower.data(), part.size()});
      text.remove_prefix(part.size());
    }
  }

  Output* output_;
  Numbering numbering_;
  Token previous_;
  const char* code_ = nullptr;  // of a DO statement, yet to come
  size_t held_semicolons_ = 0;
  uint64_t highest_parameter_ = 0;
  Piece last_ = Piece::kNothing;
  bool in_body_ = false;
  bool of_role_ = false;
  bool in_password_ = false;
  bool force_space_ = false;
  bool collapsed_lists_ = false;
  bool mentions_secret_ = false;
};

// May err on the side of true: the $ may be in a string.
bool MayHaveParameters(std::string_view sql) noexcept {
  for (size_t pos = sql.find('$'); pos < sql.size(); pos = sql.find('$', pos + 1)) {
    if (pos + 1 < sql.size() && IsDigit(sql[pos + 1])) return true;
  }
  return false;
}

// Literals are numbered on from the parameters. Where a list was collapsed their numbers depend on
// its length, and so all are numbered in their order.
Numbering Survey(std::string_view sql) noexcept {
  if (!MayHaveParameters(sql)) return {};
  Normalizer survey(nullptr, {});
  survey.Normalize(sql);
  if (survey.collapsed_lists()) return {};
  return {.renumber_parameters = false, .next = survey.highest_parameter() + 1};
}

// Is this the inside of a comment in sqlcommenter form: key='value', key='value'?
bool HasTagForm(std::string_view text) noexcept {
  // In this form a value is a string, but for quotes escaped by a backslash.
  size_t pos = 0;
  const auto skip_space = [&] {
    while (pos < text.size() && IsSpace(text[pos])) ++pos;
  };
  for (;;) {
    const size_t equals = text.find_first_of("=',", pos);
    if (equals == std::string_view::npos || equals == pos || text[equals] != '=') return false;
    pos = equals + 1;
    skip_space();
    if (pos >= text.size() || text[pos] != '\'') return false;
    ++pos;
    while (pos < text.size() && text[pos] != '\'') pos += text[pos] == '\\' ? 2 : 1;
    if (pos >= text.size()) return false;
    ++pos;
    skip_space();
    if (pos == text.size()) return true;
    if (text[pos] != ',') return false;
    ++pos;
  }
}

std::string_view InsideOfComment(std::string_view comment) noexcept {
  const bool block = comment.starts_with("/*");
  comment.remove_prefix(2);
  if (block && comment.ends_with("*/")) comment.remove_suffix(2);
  while (!comment.empty() && IsSpace(comment.front())) comment.remove_prefix(1);
  while (!comment.empty() && IsSpace(comment.back())) comment.remove_suffix(1);
  return comment;
}

}  // namespace

NormalizedSql NormalizeSql(std::string_view sql, char* buffer, size_t capacity) noexcept {
  Output output(buffer, capacity);
  Normalizer normalizer(&output, Survey(sql));
  normalizer.Normalize(sql);
  NormalizedSql result;
  output.Finish(result);
  result.mentions_secret = normalizer.mentions_secret();
  return result;
}

bool MentionsSecret(std::string_view text) noexcept {
  for (size_t i = 0; i + kShortestSecret <= text.size(); ++i) {
    if (StartsWithSecret(text.substr(i))) return true;
  }
  return false;
}

std::string_view StatementAt(std::string_view sql, size_t offset) noexcept {
  size_t begin = 0;
  bool blank = true;
  Lexer lexer(sql);
  for (Token token = lexer.Next();; token = lexer.Next()) {
    const bool last = token.kind == TokenKind::kEnd;
    if (!last && !IsPunctuation(token, ";")) {
      blank = false;
      continue;
    }
    const size_t end = last ? sql.size() : static_cast<size_t>(token.text.data() - sql.data());
    if (!blank && offset <= end) {
      while (IsSpace(sql[begin])) ++begin;
      return sql.substr(begin, end - begin);
    }
    if (last) return {};
    begin = end + 1;
    blank = true;
  }
}

size_t CopyTagComments(std::string_view sql, char* buffer, size_t capacity) noexcept {
  size_t length = 0;
  Lexer lexer(sql);
  for (Token token = lexer.NextRaw(); token.kind != TokenKind::kEnd; token = lexer.NextRaw()) {
    if (token.kind != TokenKind::kComment) continue;
    const std::string_view tags = InsideOfComment(token.text);
    const size_t separator = length > 0 ? 1 : 0;
    if (!HasTagForm(tags) || tags.size() + separator > capacity - length) continue;
    if (separator > 0) buffer[length++] = ',';
    std::memcpy(buffer + length, tags.data(), tags.size());
    length += tags.size();
  }
  return length;
}

}  // namespace train_perf
