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
    case KvType::Q4:
      return "q4";
  }
  return "unknown";
}

std::string to_string(KvTypes types) {
  std::string text(to_string(types.keys));
  if (types.values != types.keys) text += "/" + std::string(to_string(types.values));
  return text;
}

std::optional<KvTypes> parse_kv_types(std::string_view text) {
  const auto one = [](std::string_view word) -> std::optional<KvType> {
    for (const KvType type : {KvType::F32, KvType::F16, KvType::Q8, KvType::Q4}) {
      if (word == to_string(type)) return type;
    }
    return std::nullopt;
  };
  const std::size_t slash = text.find('/');
  const auto keys = one(text.substr(0, slash));
  const auto values = slash == std::string_view::npos ? keys : one(text.substr(slash + 1));
  if (!keys || !values) return std::nullopt;
  return KvTypes{*keys, *values};
}

}  // namespace pensieve::compute
