#include "application/cli/embedded_model.h"

extern "C" {
extern const std::byte pensieve_embedded_model_begin[];
extern const std::byte pensieve_embedded_model_end[];
}

namespace pensieve::cli {

std::span<const std::byte> embedded_model() {
  return {pensieve_embedded_model_begin, pensieve_embedded_model_end};
}

}  // namespace pensieve::cli
