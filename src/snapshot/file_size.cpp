#include "snapshot/file_size.hpp"

#include <sys/stat.h>

namespace train_perf {

int64 DataFileSize(Oid tablespace, Oid filenode) {
  char first[MAXPGPATH];
  CopyDataFilePath(OidIsValid(tablespace) ? tablespace : MyDatabaseTableSpace, filenode, first,
                   sizeof(first));
  int64 size = -1;
  for (int segment = 0;; ++segment) {
    char path[MAXPGPATH + 16];
    snprintf(path, sizeof(path), segment == 0 ? "%s" : "%s.%d", first, segment);
    struct stat file;
    if (stat(path, &file) != 0) return size;
    size = Max(size, 0) + file.st_size;
    if (file.st_size < static_cast<off_t>(RELSEG_SIZE) * BLCKSZ) return size;
  }
}

}  // namespace train_perf
