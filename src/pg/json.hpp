// JSON with the server's own parser, which reports bad input instead of raising an error.
#pragma once

#include <string>
#include <string_view>

#include "pg/prelude.hpp"

namespace train_perf {

struct JsonText {
  const char* text;  // never nullptr; in the current memory context
};

// The string that a JSON object has under `key` at its top level; empty if it has none or something
// else there. What stands behind it need not be valid (the object may have been cut).
JsonText TopLevelJsonString(const std::string& json, const char* key);

// Appends the text as a JSON string. The text has to be valid in the database's encoding.
void AppendJsonString(std::string* json, std::string_view text);

}  // namespace train_perf
