// The fingerprint of a model: SHA-256 over everything that decides what its numbers mean, and a
// sample of the numbers. It tells models apart; it does not prove that a file is undamaged.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "foundation/message_digest.h"

#include "domain/compute/weights.h"

namespace pensieve::model {

// Parts go in by name and length, so that no two different lists of parts look the same.
class Fingerprint {
 public:
  Fingerprint();

  void add(std::string_view name, std::span<const std::byte> bytes);
  void add(std::string_view name, std::uint64_t number);
  // The first, middle and last KiB of each array of each weight: 0.6 MB for 32 layers.
  void add_samples(const compute::ModelWeights& weights);

  std::string hex();  // 64 digits; call once, last

 private:
  MessageDigest digest_;
};

}  // namespace pensieve::model
