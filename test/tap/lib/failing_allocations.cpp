// Lets allocations fail, for faults_memory.pl: preloaded by the server and, for malloc, by the
// dynamic linker too (LD_PRELOAD).
//
//   SET failing.after = 3;     -- the fourth allocation from here on fails, once
//   SET failing.lasting = on;  -- and all that follow, too
//   SET failing.everywhere = on; -- not only those of train_perf.so
//   SHOW failing.failed;       -- how many have failed in this process
//
// An allocation belongs to train_perf.so if it is among the callers, below whatever of the server
// it passes on to. Counted are palloc and repalloc, in contexts of the usual kind, and malloc; but
// not what a block that was reserved for errors surely has room for.
#include <dlfcn.h>
#include <execinfo.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdint>
#include <cstring>
#include <initializer_list>

extern "C" {
#include "postgres.h"

#include "fmgr.h"
#include "nodes/memnodes.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#if PG_VERSION_NUM >= 170000
#include "utils/memutils_internal.h"
#endif

PG_MODULE_MAGIC;

__attribute__((visibility("default"))) void _PG_init(void);
__attribute__((visibility("default"))) void* malloc(size_t size);
__attribute__((visibility("default"))) void* calloc(size_t count, size_t size);
__attribute__((visibility("default"))) void* realloc(void* memory, size_t size);
void* __libc_malloc(size_t size);
void* __libc_calloc(size_t count, size_t size);
void* __libc_realloc(void* memory, size_t size);
}

namespace {

int after = -1;  // -1: none fails
bool everywhere = false;
bool lasting = false;
int failed = 0;
bool busy = false;  // looking, or inside of an allocation that was counted

// What train_perf's hooks pass on to.
bool IsPassedOnTo(const char* function) {
  for (const char* name :
       {"standard_planner", "standard_ExecutorStart", "standard_ExecutorRun",
        "standard_ExecutorFinish", "standard_ExecutorEnd", "standard_ProcessUtility"})
    if (strcmp(function, name) == 0) return true;
  return false;
}

enum class Caller : uint8_t { kOther, kOurs, kPassedOnTo };

Caller CallerAt(void* address) {
  struct Known {
    void* address;
    Caller caller;
  };
  static Known known[4096];
  Known* cached = &known[(reinterpret_cast<uintptr_t>(address) >> 1) % 4096];
  if (cached->address == address) return cached->caller;
  Dl_info info;
  Caller caller = Caller::kOther;
  if (dladdr(address, &info) != 0) {
    if (info.dli_fname != nullptr && strstr(info.dli_fname, "/train_perf.so") != nullptr) {
      caller = Caller::kOurs;
    } else if (info.dli_sname != nullptr && IsPassedOnTo(info.dli_sname)) {
      caller = Caller::kPassedOnTo;
    }
  }
  *cached = {address, caller};
  return caller;
}

bool IsOurs() {
  void* callers[100];
  const int depth = backtrace(callers, 100);
  for (int i = 0; i < depth; ++i) {
    const Caller caller = CallerAt(callers[i]);
    if (caller != Caller::kOther) return caller == Caller::kOurs;
  }
  return false;
}

// As ReserveErrorMemory and the server itself have it; larger ones get blocks of their own.
bool IsReserved(MemoryContext context, Size size) {
  return size <= 4096 && (strcmp(context->name, "ErrorContext") == 0 ||
                          strncmp(context->name, "train_perf ", 11) == 0);
}

bool MustFail() {
  if (after < 0 || busy) return false;
  busy = true;
  const bool counts = everywhere || IsOurs();
  busy = false;
  if (!counts || (after > 0 && after-- > 0)) return false;
  if (!lasting) after = -1;
  ++failed;
  return true;
}

MemoryContextMethods server_methods;

#if PG_VERSION_NUM >= 170000
void* Allocate(MemoryContext context, Size size, int flags) {
  if (!IsReserved(context, size) && MustFail())
    return MemoryContextAllocationFailure(context, size, flags);
  const bool was_busy = busy;
  busy = true;
  void* memory = server_methods.alloc(context, size, flags);
  busy = was_busy;
  return memory;
}

void* Reallocate(void* memory, Size size, int flags) {
  if (MustFail()) return MemoryContextAllocationFailure(GetMemoryChunkContext(memory), size, flags);
  const bool was_busy = busy;
  busy = true;
  memory = server_methods.realloc(memory, size, flags);
  busy = was_busy;
  return memory;
}
#else
void* Allocate(MemoryContext context, Size size) {
  if (!IsReserved(context, size) && MustFail()) return nullptr;
  const bool was_busy = busy;
  busy = true;
  void* memory = server_methods.alloc(context, size);
  busy = was_busy;
  return memory;
}

void* Reallocate(MemoryContext context, void* memory, Size size) {
  if (MustFail()) return nullptr;
  const bool was_busy = busy;
  busy = true;
  memory = server_methods.realloc(context, memory, size);
  busy = was_busy;
  return memory;
}
#endif

// All contexts of a kind share one table of methods, which is read-only.
void Intercept(const MemoryContextMethods* methods) {
  server_methods = *methods;
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<uintptr_t>(methods) & ~(page - 1);
  const uintptr_t end = reinterpret_cast<uintptr_t>(methods + 1);
  if (mprotect(reinterpret_cast<void*>(begin), end - begin, PROT_READ | PROT_WRITE) != 0)
    elog(FATAL, "mprotect: %m");
  auto* changed = const_cast<MemoryContextMethods*>(methods);
  changed->alloc = Allocate;
  changed->realloc = Reallocate;
}

}  // namespace

void* malloc(size_t size) {
  if (!MustFail()) return __libc_malloc(size);
  errno = ENOMEM;
  return nullptr;
}

void* calloc(size_t count, size_t size) {
  if (!MustFail()) return __libc_calloc(count, size);
  errno = ENOMEM;
  return nullptr;
}

void* realloc(void* memory, size_t size) {
  if (!MustFail()) return __libc_realloc(memory, size);
  errno = ENOMEM;
  return nullptr;
}

void _PG_init(void) {
  void* callers[1];
  backtrace(callers, 1);  // loads what it needs
  DefineCustomIntVariable("failing.after", "Allocations until one fails.", nullptr, &after, -1, -1,
                          INT_MAX, PGC_USERSET, 0, nullptr, nullptr, nullptr);
  DefineCustomBoolVariable("failing.everywhere", "Not only allocations of train_perf.", nullptr,
                           &everywhere, false, PGC_USERSET, 0, nullptr, nullptr, nullptr);
  DefineCustomBoolVariable("failing.lasting", "All later ones fail, too.", nullptr, &lasting, false,
                           PGC_USERSET, 0, nullptr, nullptr, nullptr);
  DefineCustomIntVariable("failing.failed", "Allocations that have failed.", nullptr, &failed, 0, 0,
                          INT_MAX, PGC_INTERNAL, 0, nullptr, nullptr, nullptr);
  auto* top = static_cast<MemoryContext*>(dlsym(RTLD_DEFAULT, "TopMemoryContext"));
  Intercept((*top)->methods);
}
