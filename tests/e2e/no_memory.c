// Preloaded into the server: from the moment something is written to a file whose name ends in
// emergency.log, no memory is given out any more, to any thread.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

extern void* __libc_malloc(size_t bytes);
extern void* __libc_calloc(size_t n, size_t bytes);
extern void* __libc_realloc(void* memory, size_t bytes);
extern void* __libc_memalign(size_t alignment, size_t bytes);

static atomic_bool none_left;

static void* refused(void) {
  errno = ENOMEM;
  return NULL;
}

void* malloc(size_t bytes) { return none_left ? refused() : __libc_malloc(bytes); }
void* calloc(size_t n, size_t bytes) { return none_left ? refused() : __libc_calloc(n, bytes); }
void* realloc(void* memory, size_t bytes) {
  return none_left ? refused() : __libc_realloc(memory, bytes);
}
void* memalign(size_t alignment, size_t bytes) {
  return none_left ? refused() : __libc_memalign(alignment, bytes);
}
void* aligned_alloc(size_t alignment, size_t bytes) { return memalign(alignment, bytes); }
int posix_memalign(void** memory, size_t alignment, size_t bytes) {
  *memory = memalign(alignment, bytes);
  return *memory == NULL ? ENOMEM : 0;
}

ssize_t write(int file, const void* bytes, size_t size) {
  static ssize_t (*real)(int, const void*, size_t);
  if (real == NULL) real = dlsym(RTLD_NEXT, "write");
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  const ssize_t n = readlink(link, path, sizeof path);
  const char name[] = "emergency.log";
  const ssize_t length = sizeof name - 1;
  if (n > length && memcmp(path + n - length, name, length) == 0) none_left = 1;
  return real(file, bytes, size);
}
