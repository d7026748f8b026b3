#include "domain/compute/backend.h"

namespace pensieve::compute {

std::string_view to_string(KvType type) {
  switch (type) {
    case KvType::F32:
      return "f32";
    case KvType::F16:
      return "f16";
    case KvType::Q8:
      return "q8";
  }
  return "unknown";
}

}  // namespace pensieve::compute
