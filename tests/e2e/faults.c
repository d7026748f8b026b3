// Preloaded into the program under test: the FIRST-th call of a kind, counted from the moment it is
// armed, fails as it would on a machine that has no more to give, and with PERSISTENT all behind it.
// The test steers it through a small file that both map (FAULT_CONTROL; the layout is faults.py's), or
// lets it arm itself when a file whose name ends in TRIGGER is opened. It also counts the blocks of
// memory that the program holds. With FAULT_TRACE the place of each failure goes to standard error, as
// that of an abort() always does. Linux with glibc only.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum call { NONE, MALLOC, MMAP, OPEN, READ, WRITE, FSYNC, RENAME, ACCEPT, RECV, SEND, THREAD, EPOLL };

struct control {
  atomic_int armed;       // enum call
  atomic_int persistent;
  atomic_long first;
  atomic_long seen;       // calls of the armed kind
  atomic_long failed;     // how many of them failed
  atomic_long blocks;     // held now
  atomic_long bytes;
  atomic_int trigger_call;
  char trigger[64];
};

static struct control none;
static struct control* control = &none;
static int trace;

// Addresses for addr2line -Cfe.
static void tell_place(void) {
  void* frames[40];
  backtrace_symbols_fd(frames, backtrace(frames, 40), 2);
}

// The functions behind ours; looked up before anything can be armed.
#define REAL(result, name, ...) static result (*real_##name)(__VA_ARGS__)
REAL(void*, mmap, void*, size_t, int, int, int, off_t);
REAL(int, openat, int, const char*, int, ...);
REAL(ssize_t, read, int, void*, size_t);
REAL(ssize_t, pread, int, void*, size_t, off_t);
REAL(ssize_t, write, int, const void*, size_t);
REAL(ssize_t, pwrite, int, const void*, size_t, off_t);
REAL(ssize_t, writev, int, const struct iovec*, int);
REAL(int, fsync, int);
REAL(int, fdatasync, int);
REAL(int, rename, const char*, const char*);
REAL(int, renameat, int, const char*, int, const char*);
REAL(int, accept, int, struct sockaddr*, socklen_t*);
REAL(int, accept4, int, struct sockaddr*, socklen_t*, int);
REAL(ssize_t, recv, int, void*, size_t, int);
REAL(ssize_t, recvmsg, int, struct msghdr*, int);
REAL(ssize_t, send, int, const void*, size_t, int);
REAL(ssize_t, sendmsg, int, const struct msghdr*, int);
REAL(int, pthread_create, pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
REAL(int, epoll_ctl, int, int, int, struct epoll_event*);

__attribute__((constructor)) static void begin(void) {
#define FIND(name) real_##name = dlsym(RTLD_NEXT, #name)
  FIND(mmap), FIND(openat), FIND(read), FIND(pread), FIND(write), FIND(pwrite), FIND(writev), FIND(fsync);
  FIND(fdatasync), FIND(rename), FIND(renameat), FIND(accept), FIND(accept4), FIND(recv), FIND(recvmsg);
  FIND(send), FIND(sendmsg), FIND(pthread_create), FIND(epoll_ctl);
  void* frame;
  backtrace(&frame, 1);  // loads what it needs now, and not when there is no memory
  trace = getenv("FAULT_TRACE") != NULL;
  const char* path = getenv("FAULT_CONTROL");
  const int file = path == NULL ? -1 : real_openat(AT_FDCWD, path, O_RDWR | O_CLOEXEC);
  if (file < 0) return;
  void* mapped = real_mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (mapped == MAP_FAILED) return;
  struct control* shared = mapped;
  atomic_fetch_add(&shared->blocks, atomic_load(&none.blocks));
  atomic_fetch_add(&shared->bytes, atomic_load(&none.bytes));
  control = shared;
}

static int fails(enum call call) {
  if (atomic_load(&control->armed) != (int)call) return 0;
  const long number = atomic_fetch_add(&control->seen, 1), first = atomic_load(&control->first);
  if (atomic_load(&control->persistent) ? number < first : number != first) return 0;
  atomic_fetch_add(&control->failed, 1);
  if (trace) tell_place();
  return 1;
}

static void look_at(const char* path) {
  const int call = atomic_load(&control->trigger_call);
  if (call == NONE) return;
  const size_t length = strlen(path), wanted = strlen(control->trigger);
  if (length >= wanted && strcmp(path + length - wanted, control->trigger) == 0) {
    atomic_store(&control->trigger_call, NONE);
    atomic_store(&control->armed, call);
  }
}

#define FAIL_IF(call, error) \
  if (fails(call)) {         \
    errno = error;           \
    return -1;               \
  }

void abort(void) {
  tell_place();
  signal(SIGABRT, SIG_DFL);
  raise(SIGABRT);
  _exit(134);
}

// ---- memory
extern void* __libc_malloc(size_t);
extern void* __libc_calloc(size_t, size_t);
extern void* __libc_realloc(void*, size_t);
extern void* __libc_memalign(size_t, size_t);
extern void __libc_free(void*);

static void* held(void* block) {
  if (block != NULL) {
    atomic_fetch_add(&control->blocks, 1);
    atomic_fetch_add(&control->bytes, (long)malloc_usable_size(block));
  }
  return block;
}

static void let_go(void* block) {
  if (block == NULL) return;
  atomic_fetch_sub(&control->blocks, 1);
  atomic_fetch_sub(&control->bytes, (long)malloc_usable_size(block));
}

#define NO_MEMORY_IF_IT_FAILS \
  if (fails(MALLOC)) {        \
    errno = ENOMEM;           \
    return NULL;              \
  }

void* malloc(size_t bytes) {
  NO_MEMORY_IF_IT_FAILS
  return held(__libc_malloc(bytes));
}

void* calloc(size_t n, size_t bytes) {
  NO_MEMORY_IF_IT_FAILS
  return held(__libc_calloc(n, bytes));
}

void* realloc(void* block, size_t bytes) {
  NO_MEMORY_IF_IT_FAILS
  if (block == NULL) return held(__libc_malloc(bytes));
  const long before = (long)malloc_usable_size(block);
  void* moved = __libc_realloc(block, bytes);
  if (moved != NULL) {
    atomic_fetch_add(&control->bytes, (long)malloc_usable_size(moved) - before);
  } else if (bytes == 0) {  // freed
    atomic_fetch_sub(&control->blocks, 1);
    atomic_fetch_sub(&control->bytes, before);
  }
  return moved;
}

void* memalign(size_t alignment, size_t bytes) {
  NO_MEMORY_IF_IT_FAILS
  return held(__libc_memalign(alignment, bytes));
}

void* aligned_alloc(size_t alignment, size_t bytes) {
  return memalign(alignment, bytes);
}

int posix_memalign(void** block, size_t alignment, size_t bytes) {
  void* made = memalign(alignment, bytes);
  if (made == NULL) return ENOMEM;
  *block = made;
  return 0;
}

void free(void* block) {
  let_go(block);
  __libc_free(block);
}

void* mmap(void* address, size_t bytes, int access, int flags, int file, off_t offset) {
  if (fails(MMAP)) {
    errno = ENOMEM;
    return MAP_FAILED;
  }
  return real_mmap(address, bytes, access, flags, file, offset);
}

// ---- files
int openat(int directory, const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = (flags & O_CREAT) ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  look_at(path);
  FAIL_IF(OPEN, EMFILE)
  return real_openat(directory, path, flags, mode);
}

int open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = (flags & O_CREAT) ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  look_at(path);
  FAIL_IF(OPEN, EMFILE)
  return real_openat(AT_FDCWD, path, flags, mode);
}

ssize_t read(int file, void* bytes, size_t size) {
  FAIL_IF(READ, EIO)
  return real_read(file, bytes, size);
}

ssize_t pread(int file, void* bytes, size_t size, off_t at) {
  FAIL_IF(READ, EIO)
  return real_pread(file, bytes, size, at);
}

ssize_t write(int file, const void* bytes, size_t size) {
  FAIL_IF(WRITE, ENOSPC)
  return real_write(file, bytes, size);
}

ssize_t pwrite(int file, const void* bytes, size_t size, off_t at) {
  FAIL_IF(WRITE, ENOSPC)
  return real_pwrite(file, bytes, size, at);
}

ssize_t writev(int file, const struct iovec* pieces, int n) {
  FAIL_IF(WRITE, ENOSPC)
  return real_writev(file, pieces, n);
}

int fsync(int file) {
  FAIL_IF(FSYNC, EIO)
  return real_fsync(file);
}

int fdatasync(int file) {
  FAIL_IF(FSYNC, EIO)
  return real_fdatasync(file);
}

int rename(const char* from, const char* to) {
  FAIL_IF(RENAME, EROFS)
  return real_rename(from, to);
}

int renameat(int from_directory, const char* from, int to_directory, const char* to) {
  FAIL_IF(RENAME, EROFS)
  return real_renameat(from_directory, from, to_directory, to);
}

// ---- sockets and threads
int accept(int file, struct sockaddr* address, socklen_t* length) {
  FAIL_IF(ACCEPT, EMFILE)
  return real_accept(file, address, length);
}

int accept4(int file, struct sockaddr* address, socklen_t* length, int flags) {
  FAIL_IF(ACCEPT, EMFILE)
  return real_accept4(file, address, length, flags);
}

ssize_t recv(int file, void* bytes, size_t size, int flags) {
  FAIL_IF(RECV, ECONNRESET)
  return real_recv(file, bytes, size, flags);
}

ssize_t recvmsg(int file, struct msghdr* message, int flags) {
  FAIL_IF(RECV, ECONNRESET)
  return real_recvmsg(file, message, flags);
}

ssize_t send(int file, const void* bytes, size_t size, int flags) {
  FAIL_IF(SEND, EPIPE)
  return real_send(file, bytes, size, flags);
}

ssize_t sendmsg(int file, const struct msghdr* message, int flags) {
  FAIL_IF(SEND, EPIPE)
  return real_sendmsg(file, message, flags);
}

int pthread_create(pthread_t* thread, const pthread_attr_t* how, void* (*run)(void*), void* with) {
  if (fails(THREAD)) return EAGAIN;
  return real_pthread_create(thread, how, run, with);
}

int epoll_ctl(int epoll, int what, int file, struct epoll_event* event) {
  FAIL_IF(EPOLL, ENOMEM)
  return real_epoll_ctl(epoll, what, file, event);
}
