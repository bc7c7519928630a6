// Masks values in error messages and error contexts, so that a log without literals has none there
// either. Identifiers stay: `relation "nope" does not exist` is what a developer needs.
//
// No allocation, never fails; output is cut at `capacity` bytes (the caller clips at a character
// boundary of its encoding).
#pragma once

#include <cstddef>
#include <string_view>

namespace train_perf {

// The primary message of an error raised by `sql`. Replaced by ? are: whatever is equal to a
// literal of `sql` of three or more characters (whole words); what stands in double quotes after
// a colon (`invalid input syntax for type integer: "abc"`); a quoted fragment that starts as a
// string, number, comment or quoted name does (`syntax error at or near "'abc'"`). `data_exception`
// says that the SQLSTATE is of class 22: then every double-quoted fragment that is not a word of
// `sql` is masked too. The typographic quotes of translated messages (UTF-8) count as double
// quotes. Looks at the first 64 kB of `sql` and gives at most the first 8 kB of the message; a
// message that would take too long to compare with the literals is masked as a whole. Returns the
// bytes written.
size_t MaskErrorMessage(std::string_view message, std::string_view sql, bool data_exception,
                        char* buffer, size_t capacity) noexcept;

// The context of an error, line by line: the SQL in `SQL statement "…"` is normalised,
// single-quoted strings become ?, and the data at the end of a COPY or JSON line (`COPY t, line 1,
// column a: "…"`, `JSON data, line 1: …`) becomes ?.
size_t MaskErrorContext(std::string_view context, char* buffer, size_t capacity) noexcept;

// A plan as EXPLAIN (FORMAT JSON) prints it, masked in place: in its strings, quoted literals and
// numbers that are no part of a name become ?; estimates, which are JSON numbers, stay. Returns the
// new length, which is not larger.
size_t MaskPlan(char* json, size_t length) noexcept;

}  // namespace train_perf
