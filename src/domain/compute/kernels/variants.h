// The variants of the kernel table, for select.cpp alone.
#pragma once

#include "domain/compute/kernels/kernels.h"

namespace pensieve::compute {

const Kernels* scalar_kernels();
#if defined(__x86_64__)
const Kernels* avx2_kernels();
const Kernels* avx512vnni_kernels();
#elif defined(__aarch64__)
const Kernels* neon_kernels();
#endif

}  // namespace pensieve::compute
