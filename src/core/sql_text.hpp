// Our own lexer of PostgreSQL's SQL: it normalises statements, so that the same statement with
// other constants has the same text and the same hash on every server version, and finds tag
// comments.
//
// Normalised form: literals (strings of every kind, numbers with a sign where the sign cannot be an
// operator, bit strings) become $n, numbered on from the highest $n that the statement itself uses;
// comments vanish; white space is the same whatever the author's: one space between words, around
// operators and behind commas, none inside parentheses, around '.' and '::' or between a name and
// its parenthesis; a trailing ';' vanishes; unquoted words are folded to lower case, quoted
// identifiers stay as they are. true, false and null are words and stay.
//
// Lists of only literals or parameters (with casts, perhaps; null, true, false and default count as
// literals there) lose their length: `in (1, 2)` becomes `in ($1, ...)`, `array[1, 2]` becomes
// `array[$1, ...]`; of rows only the first stays: `values (1, 2), (3, 4)` becomes `values ($1,
// $2)`, `in ((1, 2), (3, 4))` becomes `in (($1, $2))`. A statement with such a list, of whatever
// length, has its parameters renumbered together with its literals in the order of their
// appearance: else `a in ($1, $2) and b = $3` would depend on the length of the list after all.
// Lists with expressions stay, as do the arguments of functions.
//
// The dollar-quoted body of a DO statement in PL/pgSQL is code and is normalised inside its quotes,
// with one space at both ends; every other quoted body is a literal.
//
// Strings are read as with standard_conforming_strings on. Normalising a normalised text changes
// nothing.
//
// Everything here works on bytes (any server encoding is a superset of ASCII), in linear time,
// without allocating, and never fails: an unterminated literal or comment extends to the end of the
// text.
#pragma once

#include <cstddef>
#include <string_view>

#include "core/md5.hpp"

namespace train_perf {

struct NormalizedSql {
  size_t length = 0;       // bytes in the buffer
  bool truncated = false;  // the normalised text was longer than the buffer
  bool mentions_secret =
      false;         // names a password, secret, key or encryption function: keep no values
  Md5Digest hash{};  // of the whole normalised text, also of what did not fit
};

// Writes the first `capacity` bytes of the normalised text to `buffer` (not NUL-terminated; may cut
// a multibyte character: the caller clips at a character boundary of its encoding).
// buffer may be nullptr with capacity 0 for the hash alone.
NormalizedSql NormalizeSql(std::string_view sql, char* buffer, size_t capacity) noexcept;

// Whether the text, literals included, names a secret anywhere (see mentions_secret).
bool MentionsSecret(std::string_view text) noexcept;

// Of several statements in one string, the one at a byte offset, with the comments before it and
// without its semicolon: the first that ends at or behind the offset. Empty if none does.
std::string_view StatementAt(std::string_view sql, size_t offset) noexcept;

// Copies the insides of all comments in sqlcommenter form (key='value' pairs) to `buffer`, joined
// by
// ',', but for those that do not fit whole; returns the bytes written. See core/tags.hpp for their
// reading.
size_t CopyTagComments(std::string_view sql, char* buffer, size_t capacity) noexcept;

}  // namespace train_perf
