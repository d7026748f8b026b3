#include "faults/faults.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace pensieve::faults {
namespace {

constexpr int kNothing = -1;
std::atomic<int> armed{kNothing};
std::atomic<std::uint64_t> seen{0};
std::atomic<std::uint64_t> first{0};
std::atomic<bool> persistent{false};

bool fails(Call call) {
  if (armed.load() != static_cast<int>(call)) return false;
  const std::uint64_t number = seen.fetch_add(1);
  return persistent ? number >= first : number == first;
}

// The function of this name that would be called without us.
template <typename Function>
Function next(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

void* allocate(std::size_t bytes, std::size_t alignment) {
  if (fails(Call::Allocate)) return nullptr;
  if (alignment <= alignof(std::max_align_t)) return std::malloc(bytes == 0 ? 1 : bytes);
  return std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
}

}  // namespace

void arm(Call call, std::uint64_t n, bool on) {
  armed = kNothing;
  seen = 0;
  first = n;
  persistent = on;
  armed = static_cast<int>(call);
}

std::uint64_t disarm() {
  armed = kNothing;
  return seen;
}

}  // namespace pensieve::faults

using pensieve::faults::Call;
using pensieve::faults::fails;
using pensieve::faults::next;

void* operator new(std::size_t bytes) {
  void* memory = pensieve::faults::allocate(bytes, 0);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void* operator new[](std::size_t bytes) {
  return operator new(bytes);
}
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  void* memory = pensieve::faults::allocate(bytes, static_cast<std::size_t>(alignment));
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void* operator new[](std::size_t bytes, std::align_val_t alignment) {
  return operator new(bytes, alignment);
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  return pensieve::faults::allocate(bytes, 0);
}
void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept {
  return pensieve::faults::allocate(bytes, 0);
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete[](void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, std::size_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, const std::nothrow_t&) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, const std::nothrow_t&) noexcept {
  std::free(memory);
}

extern "C" {

void* mmap(
    void* address, std::size_t bytes, int access, int flags, int file, off_t offset) noexcept {
  static const auto real = next<decltype(&mmap)>("mmap");
  if (!fails(Call::Map)) return real(address, bytes, access, flags, file, offset);
  errno = ENOMEM;
  return MAP_FAILED;
}

int open(const char* path, int flags, ...) {
  static const auto real = next<int (*)(const char*, int, ...)>("open");
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  if (!fails(Call::Open)) return real(path, flags, mode);
  errno = EMFILE;
  return -1;
}

int openat(int directory, const char* path, int flags, ...) {
  static const auto real = next<int (*)(int, const char*, int, ...)>("openat");
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  if (!fails(Call::Open)) return real(directory, path, flags, mode);
  errno = EMFILE;
  return -1;
}

int fstat(int file, struct stat* status) noexcept {
  static const auto real = next<decltype(&fstat)>("fstat");
  if (!fails(Call::Status)) return real(file, status);
  errno = EIO;
  return -1;
}

ssize_t read(int file, void* bytes, std::size_t size) {
  static const auto real = next<decltype(&read)>("read");
  if (!fails(Call::Read)) return real(file, bytes, size);
  errno = EIO;
  return -1;
}

ssize_t write(int file, const void* bytes, std::size_t size) {
  static const auto real = next<decltype(&write)>("write");
  if (!fails(Call::Write)) return real(file, bytes, size);
  errno = ENOSPC;
  return -1;
}

int fsync(int file) {
  static const auto real = next<decltype(&fsync)>("fsync");
  if (!fails(Call::Sync)) return real(file);
  errno = EIO;
  return -1;
}

int renameat(int from_directory, const char* from, int to_directory, const char* to) noexcept {
  static const auto real = next<decltype(&renameat)>("renameat");
  if (!fails(Call::Rename)) return real(from_directory, from, to_directory, to);
  errno = EROFS;
  return -1;
}

int pthread_create(pthread_t* thread,
                   const pthread_attr_t* attributes,
                   void* (*start)(void*),
                   void* argument) noexcept {
  static const auto real = next<decltype(&pthread_create)>("pthread_create");
  if (!fails(Call::Spawn)) return real(thread, attributes, start, argument);
  return EAGAIN;
}

}  // extern "C"
