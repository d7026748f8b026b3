// Statements of what must hold. A failed CHECK is a bug of ours: it prints file, line and condition
// and aborts, in every build. Input from a socket or a file never reaches a CHECK unvalidated.
#pragma once

namespace pensieve {

[[noreturn]] void check_failed(const char* file, int line, const char* condition);

}  // namespace pensieve

#define CHECK(condition)                             \
  (__builtin_expect(static_cast<bool>(condition), 1) \
       ? static_cast<void>(0)                        \
       : ::pensieve::check_failed(__FILE__, __LINE__, #condition))

// DCHECK is for inner loops: it is compiled out of release builds.
#ifdef NDEBUG
#define DCHECK(condition) static_cast<void>(0)
#else
#define DCHECK(condition) CHECK(condition)
#endif
