#include "snapshot/relation_files.hpp"

#include <sys/stat.h>

namespace train_perf {

namespace {

constexpr int64 kSegmentBytes = static_cast<int64>(RELSEG_SIZE) * BLCKSZ;

// By the catalog alone.
const char* PathOf(Oid relation) {
  LOCAL_FCINFO(call, 1);
  InitFunctionCallInfoData(*call, nullptr, 1, InvalidOid, nullptr, nullptr);
  call->args[0].value = ObjectIdGetDatum(relation);
  call->args[0].isnull = false;
  const Datum path = pg_relation_filepath(call);
  return call->isnull ? nullptr : TextDatumGetCString(path);
}

// All segments. The server's working directory is the data directory.
std::optional<int64> BytesOf(const char* path) {
  struct stat file;
  if (stat(path, &file) != 0) return std::nullopt;
  int64 bytes = file.st_size;
  for (int n = 1; file.st_size == kSegmentBytes; ++n) {
    char segment[MAXPGPATH];
    snprintf(segment, sizeof(segment), "%s.%d", path, n);
    if (stat(segment, &file) != 0) break;
    bytes += file.st_size;
  }
  return bytes;
}

}  // namespace

std::optional<int64> MainForkBytes(Oid relation) {
  const char* path = PathOf(relation);
  if (path == nullptr) return std::nullopt;
  return BytesOf(path);
}

std::optional<int64> MainForkBytes(Oid tablespace, Oid filenode) {
  char path[MAXPGPATH];
  CopyDataFilePath(OidIsValid(tablespace) ? tablespace : MyDatabaseTableSpace, filenode, path,
                   sizeof(path));
  return BytesOf(path);
}

}  // namespace train_perf
