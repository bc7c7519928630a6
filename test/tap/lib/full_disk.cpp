// A disk that is full, for faults_disk.pl and maintenance_reindex_faults.pl: loaded before the
// server by the dynamic linker (LD_PRELOAD).
//
// While the file $FULL_DISK/full exists, nothing in that directory grows: what would make a file
// longer fails with ENOSPC, as it does on a real disk; what is there can be overwritten. And
// statvfs() says that nothing is free there.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>

extern "C" {
__attribute__((visibility("default"))) ssize_t pwrite(int fd, const void* data, size_t size,
                                                      off_t at);
__attribute__((visibility("default"))) ssize_t pwrite64(int fd, const void* data, size_t size,
                                                        off_t at);
__attribute__((visibility("default"))) ssize_t pwritev(int fd, const iovec* parts, int count,
                                                       off_t at);
__attribute__((visibility("default"))) ssize_t pwritev64(int fd, const iovec* parts, int count,
                                                         off_t at);
__attribute__((visibility("default"))) int posix_fallocate(int fd, off_t at, off_t size);
__attribute__((visibility("default"))) int posix_fallocate64(int fd, off_t at, off_t size);
__attribute__((visibility("default"))) int statvfs(const char* path, struct statvfs* found);
}

namespace {

bool IsFull(int fd, off_t end) {
  const char* disk = getenv("FULL_DISK");
  if (disk == nullptr) return false;
  char link[64];
  char path[PATH_MAX];
  snprintf(path, sizeof(path), "%s/full", disk);
  if (access(path, F_OK) != 0) return false;
  snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
  const ssize_t length = readlink(link, path, sizeof(path) - 1);
  if (length < 0) return false;
  path[length] = '\0';
  struct stat file;
  return strncmp(path, disk, strlen(disk)) == 0 && fstat(fd, &file) == 0 && end > file.st_size;
}

template <typename Function>
Function* Next(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

}  // namespace

ssize_t pwrite(int fd, const void* data, size_t size, off_t at) {
  static const auto next = Next<decltype(pwrite)>("pwrite");
  if (!IsFull(fd, at + static_cast<off_t>(size))) return next(fd, data, size, at);
  errno = ENOSPC;
  return -1;
}

ssize_t pwrite64(int fd, const void* data, size_t size, off_t at) {
  return pwrite(fd, data, size, at);
}

ssize_t pwritev(int fd, const iovec* parts, int count, off_t at) {
  static const auto next = Next<decltype(pwritev)>("pwritev");
  off_t end = at;
  for (int i = 0; i < count; ++i) end += static_cast<off_t>(parts[i].iov_len);
  if (!IsFull(fd, end)) return next(fd, parts, count, at);
  errno = ENOSPC;
  return -1;
}

ssize_t pwritev64(int fd, const iovec* parts, int count, off_t at) {
  return pwritev(fd, parts, count, at);
}

int posix_fallocate(int fd, off_t at, off_t size) {
  static const auto next = Next<decltype(posix_fallocate)>("posix_fallocate");
  return IsFull(fd, at + size) ? ENOSPC : next(fd, at, size);
}

int posix_fallocate64(int fd, off_t at, off_t size) { return posix_fallocate(fd, at, size); }

int statvfs(const char* path, struct statvfs* found) {
  static const auto next = Next<int(const char*, struct statvfs*)>("statvfs");
  const int result = next(path, found);
  const int directory = open(path, O_RDONLY | O_DIRECTORY);
  if (directory < 0) return result;
  if (IsFull(directory, std::numeric_limits<off_t>::max())) found->f_bavail = 0;
  close(directory);
  return result;
}
