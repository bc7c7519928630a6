#include "pg/text.hpp"

namespace train_perf {

namespace {

text* WithoutForeignLetters(std::string_view bytes) {
  text* result = cstring_to_text_with_len(bytes.data(), static_cast<int>(bytes.size()));
  char* letters = VARDATA(result);
  for (size_t i = 0; i < bytes.size(); ++i)
    if (IS_HIGHBIT_SET(letters[i])) letters[i] = '?';
  return result;
}

}  // namespace

text* TextForReader(std::string_view bytes, int encoding) {
  const int ours = GetDatabaseEncoding();
  const int length = static_cast<int>(bytes.size());
  if (encoding == ours || length == 0) return cstring_to_text_with_len(bytes.data(), length);
  const Oid conversion = FindDefaultConversionProc(encoding, ours);
  if (!OidIsValid(conversion)) return WithoutForeignLetters(bytes);
  const int room = length * MAX_CONVERSION_GROWTH + 1;
  auto* converted = static_cast<unsigned char*>(palloc(static_cast<Size>(room)));
  auto* source = reinterpret_cast<unsigned char*>(pnstrdup(bytes.data(), bytes.size()));
  const int read = pg_do_encoding_conversion_buf(conversion, encoding, ours, source, length,
                                                 converted, room, true);
  text* result = read == length ? cstring_to_text(reinterpret_cast<char*>(converted))
                                : WithoutForeignLetters(bytes);
  pfree(source);
  pfree(converted);
  return result;
}

}  // namespace train_perf
