#include "maintenance/disk_space.hpp"

#include <sys/statvfs.h>

extern "C" {
#include "catalog/pg_tablespace.h"
}

namespace train_perf {

namespace {

// The server's working directory is the data directory.
void CopyTablespacePath(Oid tablespace, char* path, Size size) {
  switch (tablespace) {
    case DEFAULTTABLESPACE_OID:
      strlcpy(path, "base", size);
      break;
    case GLOBALTABLESPACE_OID:
      strlcpy(path, "global", size);
      break;
    default:
      snprintf(path, size, "pg_tblspc/%u", tablespace);
  }
}

}  // namespace

std::optional<int64> FreeBytes(Oid tablespace) {
  char path[MAXPGPATH];
  CopyTablespacePath(OidIsValid(tablespace) ? tablespace : MyDatabaseTableSpace, path,
                     sizeof(path));
  struct statvfs found;
  if (statvfs(path, &found) != 0) return std::nullopt;
  const double bytes = static_cast<double>(found.f_bavail) * static_cast<double>(found.f_frsize);
  constexpr double kMost = 9e18;  // below the largest int64
  return static_cast<int64>(Min(bytes, kMost));
}

}  // namespace train_perf
