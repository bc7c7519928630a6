#include "pg/json.hpp"

#include <cstring>

extern "C" {
#include "common/jsonapi.h"
}

namespace train_perf {

namespace {

struct Search {
  const char* key;
  int depth;
  bool at_key;
  const char* found;
};

Search* Of(void* state) { return static_cast<Search*>(state); }

JsonActionResult OnObjectStart(void* state) {
  ++Of(state)->depth;
  JSON_ACTION_DONE;
}

JsonActionResult OnObjectEnd(void* state) {
  --Of(state)->depth;
  JSON_ACTION_DONE;
}

JsonActionResult OnFieldStart(void* state, char* name, bool) {
  Of(state)->at_key = Of(state)->depth == 1 && strcmp(name, Of(state)->key) == 0;
  JSON_ACTION_DONE;
}

// NOLINTNEXTLINE(readability-non-const-parameter): the parser's type
JsonActionResult OnScalar(void* state, char* token, JsonTokenType type) {
  if (Of(state)->at_key && Of(state)->depth == 1 && type == JSON_TOKEN_STRING)
    Of(state)->found = token;
  Of(state)->at_key = false;
  JSON_ACTION_DONE;
}

}  // namespace

JsonText TopLevelJsonString(const std::string& json, const char* key) {
  Search search{key, 0, false, nullptr};
  JsonSemAction actions{};
  actions.semstate = &search;
  actions.object_start = OnObjectStart;
  actions.object_end = OnObjectEnd;
  actions.object_field_start = OnFieldStart;
  actions.scalar = OnScalar;
  JsonLexContext* lexer = MakeJsonLexer(pstrdup(json.c_str()), static_cast<int>(json.size()));
  pg_parse_json(lexer, &actions);
  return {search.found != nullptr ? search.found : ""};
}

void AppendJsonString(std::string* json, std::string_view text) {
  *json += '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      *json += '\\';
      *json += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char code[8];
      snprintf(code, sizeof(code), "\\u%04x", static_cast<unsigned char>(c));
      *json += code;
    } else {
      *json += c;
    }
  }
  *json += '"';
}

}  // namespace train_perf
