// Faults on purpose: the n-th call of a kind, counted over the whole process, fails as it would on
// a machine that has no more to give. Replaces operator new and the system calls of this program by
// defining them once more, in front of the C library's (Linux only: ELF symbol interposition,
// ld.so(8)). Any thread; one fault is armed at a time.
#pragma once

#include <cstdint>

namespace pensieve::faults {

enum class Call {
  Allocate,  // operator new throws std::bad_alloc
  Map,       // mmap fails with ENOMEM
  Open,      // open and openat fail with EMFILE
  Status,    // fstat fails with EIO
  Read,      // read fails with EIO
  Write,     // write fails with ENOSPC
  Sync,      // fsync fails with EIO
  Rename,    // renameat fails with EROFS
  Spawn,     // pthread_create fails with EAGAIN
};

// From now on, the call of this kind after `n` others fails; with `on` all that follow, too.
void arm(Call call, std::uint64_t n, bool on);

// No fault any more. How many calls of the armed kind there were, the failed ones among them.
std::uint64_t disarm();

}  // namespace pensieve::faults
