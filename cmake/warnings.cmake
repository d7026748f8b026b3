# Flags every room compiles with: pensieve::strict carries the warnings, the build types the rest.
add_library(pensieve_strict INTERFACE)
add_library(pensieve::strict ALIAS pensieve_strict)
target_compile_options(pensieve_strict INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -Werror=return-type -Werror=unused-result
  # False alarms inside std::string with GCC 12 at -O3 (GCC bug 105651).
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>)

# Dev: quick to compile, fast enough to run the real model, line numbers in reports.
set(CMAKE_CXX_FLAGS_DEV "-O1 -g1 -fno-omit-frame-pointer")
set(CMAKE_C_FLAGS_DEV "-O1 -g1 -fno-omit-frame-pointer")
set(CMAKE_CXX_FLAGS_RELEASE "-O3 -g0 -DNDEBUG")

# Contraction is spelled out with fma intrinsics and std::fma; the compiler must not add its own, or
# variants of one kernel would round differently.
add_compile_options(-ffp-contract=off -fno-math-errno)

if(PENSIEVE_FUZZ)
  # Coverage in every room; only the fuzz targets themselves link libFuzzer's main.
  add_compile_options(-fsanitize=fuzzer-no-link)
  add_link_options(-fsanitize=fuzzer-no-link)
endif()

if(PENSIEVE_SANITIZE)
  add_compile_options(-fsanitize=${PENSIEVE_SANITIZE} -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${PENSIEVE_SANITIZE})
else()
  # Hardening (docs/decisions/0024-hardening.md; tests/e2e/test_hardening.py reads the binary): position
  # independent, all of the relocations read-only before main, stack protector and probes, fortified libc,
  # landing pads for indirect branches, code and data in pages of their own.
  set(CMAKE_POSITION_INDEPENDENT_CODE ON)
  include(CheckPIESupported)
  check_pie_supported(LANGUAGES CXX)
  # Level 3 also checks sizes known only at run time. A C library that does not know it takes it for 2.
  add_compile_options(-fstack-protector-strong $<$<CONFIG:Release>:-D_FORTIFY_SOURCE=3>)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
    add_compile_options(-fcf-protection=full)
  elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$" AND CMAKE_SYSTEM_NAME STREQUAL "Linux")
    add_compile_options(-mbranch-protection=standard)
  endif()
  if(CMAKE_SYSTEM_NAME STREQUAL "Linux")
    add_compile_options(-fstack-clash-protection)
    add_link_options(-Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack -Wl,-z,separate-code)
  endif()
endif()
