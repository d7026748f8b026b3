// Preloaded into the program under test: from the moment a file whose name ends in FAULT_FILE is
// opened, the FAULT_AT-th call of FAULT_CALL (malloc, mmap, read, open) and all behind it fail.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

extern void* __libc_malloc(size_t bytes);

static atomic_bool armed;
static atomic_long seen;
static const char* file_name;
static const char* call_name;
static long first;

__attribute__((constructor)) static void begin(void) {
  file_name = getenv("FAULT_FILE");
  call_name = getenv("FAULT_CALL");
  first = atol(getenv("FAULT_AT"));
}

static int fails(const char* call) {
  return atomic_load(&armed) && strcmp(call, call_name) == 0 && atomic_fetch_add(&seen, 1) >= first;
}

static void look_at(const char* path) {
  const size_t length = strlen(path), wanted = strlen(file_name);
  if (length >= wanted && strcmp(path + length - wanted, file_name) == 0) atomic_store(&armed, 1);
}

void* malloc(size_t bytes) {
  if (!fails("malloc")) return __libc_malloc(bytes);
  errno = ENOMEM;
  return NULL;
}

void* mmap(void* address, size_t bytes, int access, int flags, int file, off_t offset) {
  void* (*real)(void*, size_t, int, int, int, off_t) = dlsym(RTLD_NEXT, "mmap");
  if (!fails("mmap")) return real(address, bytes, access, flags, file, offset);
  errno = ENOMEM;
  return MAP_FAILED;
}

ssize_t read(int file, void* bytes, size_t size) {
  ssize_t (*real)(int, void*, size_t) = dlsym(RTLD_NEXT, "read");
  if (!fails("read")) return real(file, bytes, size);
  errno = EIO;
  return -1;
}

int openat(int directory, const char* path, int flags, ...) {
  int (*real)(int, const char*, int, ...) = dlsym(RTLD_NEXT, "openat");
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = (flags & O_CREAT) ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  look_at(path);
  if (!fails("open")) return real(directory, path, flags, mode);
  errno = EMFILE;
  return -1;
}
