// What the stored bits of every weight type mean, against values made elsewhere: the `gguf` package
// for GGUF blocks and for quantising to Q8_0, MLX for its rows (tools/reference/
// make_block_fixture.py). Bit for bit: both sides multiply and add in f32, in the same order.
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "foundation/json.h"

#include "domain/compute/quantize.h"
#include "domain/compute/weights.h"

namespace pensieve::compute {
namespace {

Json fixture() {
  std::ifstream file(PENSIEVE_SOURCE_DIR "/src/domain/model/testdata/blocks.json");
  std::stringstream text;
  text << file.rdbuf();
  auto json = parse_json(text.str());
  CHECK(json.has_value());
  return *std::move(json);
}

std::vector<std::byte> bytes_of(const Json& hex) {
  const auto& text = hex.get_ref<const std::string&>();
  std::vector<std::byte> bytes;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2) {
    bytes.push_back(static_cast<std::byte>(std::stoi(text.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

std::vector<float> floats_of(const Json& hex) {
  const auto bytes = bytes_of(hex);
  std::vector<float> floats(bytes.size() / sizeof(float));
  std::memcpy(floats.data(), bytes.data(), bytes.size());
  return floats;
}

WeightType type_named(const std::string& name) {
  for (int i = 0; i <= static_cast<int>(kLastWeightType); ++i) {
    if (to_string(static_cast<WeightType>(i)) == name) return static_cast<WeightType>(i);
  }
  ADD_FAILURE() << "no type " << name;
  return WeightType::F32;
}

void expect_values(const WeightView& view, const std::vector<float>& expected) {
  std::vector<float> actual(static_cast<std::size_t>(view.cols));
  dequantize_row(view, 0, actual.data());
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i) ASSERT_EQ(actual[i], expected[i]) << "at " << i;
}

TEST(WeightsLayout, EveryGgufBlockTypeMeansWhatTheGgufPackageSays) {
  const Json json = fixture();
  ASSERT_EQ(json["gguf"].size(), 13u);
  for (const Json& test : json["gguf"]) {
    SCOPED_TRACE(test["type"].get<std::string>());
    const auto data = bytes_of(test["data"]);
    WeightView view;
    view.type = type_named(test["type"]);
    view.rows = 1;
    view.cols = json["cols"].get<int>();
    view.data = data.data();
    ASSERT_EQ(view.total_bytes(), data.size());
    expect_values(view, floats_of(test["values"]));
  }
}

TEST(WeightsLayout, MlxRowsAreLittleEndianBitStreamsWithScaleAndBiasPerGroup) {
  const Json json = fixture();
  ASSERT_EQ(json["mlx"].size(), 18u);
  for (const Json& test : json["mlx"]) {
    SCOPED_TRACE(test["bits"].dump() + " bits, group " + test["group_size"].dump());
    const auto data = bytes_of(test["data"]);
    const auto scales = bytes_of(test["scales"]), biases = bytes_of(test["biases"]);
    WeightView view;
    view.type = type_named("MLX " + test["bits"].dump() + "-bit");
    view.rows = 1;
    view.cols = json["cols"].get<int>();
    view.data = data.data();
    view.scales = scales.data();
    view.biases = biases.data();
    view.scale_type = type_named(test["scale_type"]);
    view.group_size = test["group_size"].get<int>();
    ASSERT_EQ(view.total_bytes(), data.size() + scales.size() + biases.size());
    expect_values(view, floats_of(test["values"]));
  }
}

TEST(WeightsLayout, PlainRowsBecomeTheQ8BlocksThatTheGgufPackageWrites) {
  const Json json = fixture();
  ASSERT_EQ(json["q8"].size(), 3u);
  for (const Json& test : json["q8"]) {
    SCOPED_TRACE(test["type"].get<std::string>());
    const auto data = bytes_of(test["data"]);
    WeightView view;
    view.type = type_named(test["type"]);
    view.rows = 1;
    view.cols = json["cols"].get<int>();
    view.data = data.data();
    std::vector<std::byte> blocks(q8_0_bytes(1, view.cols));
    ASSERT_TRUE(quantize_q8_0(view, 0, 1, blocks.data()));
    EXPECT_EQ(blocks, bytes_of(test["q8_0"]));
  }
}

}  // namespace
}  // namespace pensieve::compute
