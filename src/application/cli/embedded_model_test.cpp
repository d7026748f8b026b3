// The bytes inside the binary are the bytes of the artefact in the repository.
#include "application/cli/embedded_model.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>

namespace pensieve::cli {
namespace {

TEST(EmbeddedModel, IsTheArtefactByteForByte) {
  std::ifstream file(PENSIEVE_SOURCE_DIR "/tools/tiny-model/artefacts/pensieve-tiny-q4_0.gguf",
                     std::ios::binary);
  const std::string expected{std::istreambuf_iterator<char>(file), {}};
  ASSERT_GT(expected.size(), 1'000'000u);
  const auto bytes = embedded_model();
  ASSERT_EQ(bytes.size(), expected.size());
  EXPECT_EQ(std::memcmp(bytes.data(), expected.data(), expected.size()), 0);
}

TEST(EmbeddedModel, BeginsAtAPage) {
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(embedded_model().data()) % 4096, 0u);
}

}  // namespace
}  // namespace pensieve::cli
