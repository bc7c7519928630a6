#include "snapshot/relation_files.hpp"

#include <sys/stat.h>

namespace train_perf {

namespace {

constexpr int64 kSegmentBytes = static_cast<int64>(RELSEG_SIZE) * BLCKSZ;

// From the catalog alone. The server's working directory is the data directory.
const char* PathOf(Oid relation) {
  LOCAL_FCINFO(call, 1);
  InitFunctionCallInfoData(*call, nullptr, 1, InvalidOid, nullptr, nullptr);
  call->args[0].value = ObjectIdGetDatum(relation);
  call->args[0].isnull = false;
  const Datum path = pg_relation_filepath(call);
  return call->isnull ? nullptr : TextDatumGetCString(path);
}

}  // namespace

std::optional<int64> MainForkBytes(Oid relation) {
  const char* path = PathOf(relation);
  if (path == nullptr) return std::nullopt;
  char segment[MAXPGPATH];
  strlcpy(segment, path, sizeof(segment));
  struct stat file;
  if (stat(segment, &file) != 0) return std::nullopt;
  int64 bytes = file.st_size;
  for (int n = 1; file.st_size == kSegmentBytes; ++n) {
    snprintf(segment, sizeof(segment), "%s.%d", path, n);
    if (stat(segment, &file) != 0) break;
    bytes += file.st_size;
  }
  return bytes;
}

}  // namespace train_perf
