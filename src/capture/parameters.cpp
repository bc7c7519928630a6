#include "capture/parameters.hpp"

#include "pg/boundary.hpp"

extern "C" {
#include "catalog/pg_type.h"
#include "utils/date.h"

#include "utils/uuid.h"
}

namespace train_perf {

namespace {

constexpr Size kReserve = 32768;
constexpr Size kMaxJson = 8192;
constexpr Size kMaxValue = 200;
constexpr Size kLongestPair = 6 * kMaxValue + 32;  // every byte escaped, the key, quotes

MemoryContext scratch = nullptr;

// Appends to a bounded buffer; callers check the room for a whole pair first.
struct JsonText {
  char bytes[kMaxJson];
  Size length;

  void Put(char c) noexcept { bytes[length++] = c; }
  void Put(std::string_view text) noexcept {
    memcpy(bytes + length, text.data(), text.size());
    length += text.size();
  }
  void PutEscaped(std::string_view text) noexcept {
    for (const char c : text) {
      if (c == '"' || c == '\\') {
        Put('\\');
        Put(c);
      } else if (static_cast<unsigned char>(c) < 0x20) {
        char code[8];
        snprintf(code, sizeof(code), "\\u%04x", static_cast<unsigned char>(c));
        Put(std::string_view(code, 6));
      } else {
        Put(c);
      }
    }
  }
};

// Output functions that only compute: no catalog, no user's code.
PGFunction OutputFunction(Oid type) noexcept {
  switch (type) {
    case BOOLOID:
      return boolout;
    case INT2OID:
      return int2out;
    case INT4OID:
      return int4out;
    case INT8OID:
      return int8out;
    case OIDOID:
      return oidout;
    case FLOAT4OID:
      return float4out;
    case FLOAT8OID:
      return float8out;
    case NUMERICOID:
      return numeric_out;
    case UUIDOID:
      return uuid_out;
    case DATEOID:
      return date_out;
    case TIMEOID:
      return time_out;
    case TIMESTAMPOID:
      return timestamp_out;
    case TIMESTAMPTZOID:
      return timestamptz_out;
    case INTERVALOID:
      return interval_out;
    case JSONBOID:
      return jsonb_out;
    case NAMEOID:
      return nameout;
    default:
      return nullptr;
  }
}

bool IsText(Oid type) noexcept {
  return type == TEXTOID || type == VARCHAROID || type == BPCHAROID || type == JSONOID;
}

bool IsVariableLength(Oid type) noexcept {
  return IsText(type) || type == NUMERICOID || type == JSONBOID;
}

std::string_view Clip(const char* text, Size length) noexcept {
  if (length <= kMaxValue) return {text, length};
  return {text, static_cast<size_t>(
                    pg_mbcliplen(text, static_cast<int>(length), static_cast<int>(kMaxValue)))};
}

// A value that stands inline, in its own words; a short note for any other.
std::string_view Print(const ParamExternData& param, char* note, Size note_size) noexcept {
  const Pointer value = DatumGetPointer(param.value);
  if (IsVariableLength(param.ptype) && (VARATT_IS_EXTERNAL(value) || VARATT_IS_COMPRESSED(value))) {
    snprintf(note, note_size, "<%u bytes>", static_cast<unsigned>(VARSIZE_ANY(value)));
    return note;
  }
  if (IsText(param.ptype)) return Clip(VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
  const bool small = !IsVariableLength(param.ptype) || VARSIZE_ANY(value) <= 4 * kMaxValue;
  const PGFunction output = OutputFunction(param.ptype);
  if (output != nullptr && small) {
    const char* text = DatumGetCString(DirectFunctionCall1(output, param.value));
    return Clip(text, strlen(text));
  }
  snprintf(note, note_size, "<type OID %u>", param.ptype);
  return note;
}

void PutPair(JsonText* json, int position, const ParamExternData& param) noexcept {
  char note[32];
  snprintf(note, sizeof(note), "%s\"%d\": ", position > 1 ? ", " : "", position);
  json->Put(std::string_view(note));
  if (param.isnull || !OidIsValid(param.ptype)) {
    json->Put("null");
    return;
  }
  json->Put('"');
  json->PutEscaped(Print(param, note, sizeof(note)));
  json->Put('"');
}

}  // namespace

// Its first block is there before any error, so printing a usual value cannot run out of memory.
void ReserveParameterMemory() {
  scratch = AllocSetContextCreate(TopMemoryContext, "train_perf parameters", kReserve, kReserve,
                                  ALLOCSET_DEFAULT_MAXSIZE);
}

std::string_view ParametersAsJson(const ParamListInfoData* params, bool handling_error) noexcept {
  static JsonText json;
  // Parameters of PL/pgSQL are computed on demand, which is not ours to do.
  if (params == nullptr || params->numParams == 0 || params->paramFetch != nullptr) return {};
  const auto print = [&]() noexcept {
    MemoryContextSwitchTo(scratch);
    json.length = 0;
    json.Put('{');
    for (int i = 0; i < params->numParams && json.length + kLongestPair < kMaxJson; ++i) {
      PutPair(&json, i + 1, params->params[i]);
      MemoryContextReset(scratch);
    }
    json.Put('}');
  };
  const MemoryContext outer = CurrentMemoryContext;
  bool printed = true;
  if (handling_error) {
    print();
  } else {  // a value that cannot be printed must not fail the statement
    printed = Succeeds(print);
  }
  MemoryContextSwitchTo(outer);
  MemoryContextReset(scratch);
  return printed ? std::string_view(json.bytes, json.length) : std::string_view();
}

}  // namespace train_perf
