// Pensieve Tiny, the GGUF file that lies inside the binary. Knows where it is, nothing about what
// is in it. Its pages are mapped from the executable and read only when they are touched.
#pragma once

#include <cstddef>
#include <span>

namespace pensieve::cli {

// The bytes of tools/tiny-model/artefacts/pensieve-tiny-q4_0.gguf. Lives as long as the process;
// aligned to 4,096 bytes.
std::span<const std::byte> embedded_model();

}  // namespace pensieve::cli
