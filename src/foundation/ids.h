// Ids that every room passes around.
#pragma once

#include <cstdint>

namespace pensieve {

// An index into a model's vocabulary. Negative means "none".
using TokenId = std::int32_t;
inline constexpr TokenId kNoToken = -1;

}  // namespace pensieve
