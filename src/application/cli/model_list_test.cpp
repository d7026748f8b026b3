// What fits a machine, and how the list looks on a terminal. The numbers of Phi-3-mini: 2.15 GB of
// weights, 208,896 bytes per token at q8, 256 MiB of scratch.
#include "application/cli/model_list.h"

#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <vector>

#include "foundation/json.h"

namespace pensieve::cli {
namespace {

constexpr std::uint64_t kWeights = 2'150'000'000, kPerToken = 208'896, kScratch = 256 << 20;

SystemMemory machine(std::uint64_t available_bytes) {
  return {.total_bytes = 64 * kGiB, .available_bytes = available_bytes, .known = true};
}

ModelRow phi3_mini() {
  return {.name = "phi-3-mini-128k-instruct-4bit",
          .note = "long windows",
          .bytes = kWeights,
          .kv_bytes_per_token = kPerToken,
          .context_length = 131'072,
          .is_default = true};
}

TEST(ModelFit, IsTheLargestWindowThatLeavesThreeGiB) {
  for (const std::uint64_t tokens : {16'384u, 20'480u, 65'536u, 131'072u}) {
    const std::uint64_t just = kWeights + kScratch + 3 * kGiB + tokens * kPerToken;
    const ModelFit fit = fit_of(phi3_mini(), machine(just));
    EXPECT_EQ(fit.kind, ModelFit::Kind::Yes) << tokens;
    EXPECT_EQ(fit.window_tokens, static_cast<int>(tokens));
    const ModelFit less = fit_of(phi3_mini(), machine(just - 1));
    EXPECT_EQ(less.window_tokens, static_cast<int>(tokens) - 64) << "one page less";
  }
  EXPECT_EQ(fit_of(phi3_mini(), machine(64 * kGiB)).window_tokens, 131'072) << "the model's own";
}

TEST(ModelFit, IsTightBelowSixteenThousandTokensAndNoBelowFour) {
  const std::uint64_t useful = kWeights + kScratch + 3 * kGiB + 16'384 * kPerToken;
  EXPECT_EQ(fit_of(phi3_mini(), machine(useful - 1)).kind, ModelFit::Kind::Tight);
  const std::uint64_t smallest = kWeights + kScratch + 4'096 * kPerToken;
  const ModelFit tight = fit_of(phi3_mini(), machine(smallest));
  EXPECT_EQ(tight.kind, ModelFit::Kind::Tight);
  EXPECT_EQ(tight.window_tokens, 4'096);
  const ModelFit no = fit_of(phi3_mini(), machine(smallest - 1));
  EXPECT_EQ(no.kind, ModelFit::Kind::No);
  EXPECT_EQ(no.window_tokens, 0);
  EXPECT_EQ(fit_of(phi3_mini(), machine(0)).kind, ModelFit::Kind::No);
}

TEST(ModelFit, OfAShortModelNeedsNoMoreThanItsOwnLength) {
  ModelRow row = phi3_mini();
  row.context_length = 2'048;
  const ModelFit fit = fit_of(row, machine(kWeights + kScratch + 3 * kGiB + 2'048 * kPerToken));
  EXPECT_EQ(fit.kind, ModelFit::Kind::Yes);
  EXPECT_EQ(fit.window_tokens, 2'048);
}

TEST(ModelFit, IsUnknownWithoutItsNumbers) {
  ModelRow row = phi3_mini();
  row.kv_bytes_per_token = 0;
  EXPECT_EQ(fit_of(row, machine(64 * kGiB)).kind, ModelFit::Kind::Unknown);
  EXPECT_EQ(fit_of(phi3_mini(), {.known = false}).kind, ModelFit::Kind::Unknown);
}

std::vector<std::string> lines_of(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

std::vector<ModelRow> rows() {
  ModelRow partial = phi3_mini();
  partial.name = "half";
  partial.is_default = false;
  partial.partial_bytes = kWeights / 2;
  ModelRow mine{.name = "a-name-of-thirty-two-characters-",
                .note = "import:" + std::string(150, 'x'),
                .path = "/models/mine",
                .here = true,
                .bytes = 5};
  return {phi3_mini(), partial, mine};
}

// One byte is one column in these rows, but for the sign of a cut.
std::size_t width_of(const std::string& line) {
  const auto cut = line.find("…");
  return cut == std::string::npos ? line.size() : cut + 1;
}

TEST(ModelList, FitsATerminalAndIsWholeOnAPipe) {
  const SystemMemory memory = machine(12 * kGiB);
  for (const int columns : {80, 100, 120, 200}) {
    for (const std::string& line : lines_of(list_text(rows(), memory, columns))) {
      EXPECT_LE(width_of(line), static_cast<std::size_t>(columns)) << line;
    }
  }
  EXPECT_EQ(list_text(rows(), memory, 40), list_text(rows(), memory, 80));
  const std::string piped = list_text(rows(), memory, 0);
  EXPECT_NE(piped.find(std::string(150, 'x')), std::string::npos);
  EXPECT_NE(piped.find("RAM, 32k"), std::string::npos);
  EXPECT_NE(list_text(rows(), memory, 120).find("RAM, 32k"), std::string::npos);
  EXPECT_EQ(list_text(rows(), memory, 80).find("RAM, 32k"), std::string::npos);
}

TEST(ModelList, SaysOfEachWhatIsHereAndWhatFits) {
  // 12 GiB less 3 GiB, weights and scratch, by 208,896 bytes: 34,683 tokens, 34,624 in whole pages.
  const auto lines = lines_of(list_text(rows(), machine(12 * kGiB), 80));
  ASSERT_GE(lines.size(), 6u);
  EXPECT_NE(lines[0].find("12.0 GiB"), std::string::npos);
  EXPECT_EQ(lines[3].substr(0, 2), "* ");
  for (const char* word :
       {"phi-3-mini-128k-instruct-4bit", "2.0 GiB", " no ", " yes ", " 33k ", "long windows"}) {
    EXPECT_NE(lines[3].find(word), std::string::npos) << word << " in " << lines[3];
  }
  EXPECT_NE(lines[4].find(" 50 % "), std::string::npos) << lines[4];
  EXPECT_NE(lines[5].find(" ? "), std::string::npos) << lines[5];
  EXPECT_NE(lines[5].find(" yes "), std::string::npos) << lines[5];
  std::vector<ModelRow> damaged = rows();
  damaged[2].damaged = true;
  EXPECT_NE(lines_of(list_text(damaged, machine(12 * kGiB), 80))[5].find(" bad "),
            std::string::npos);
}

TEST(ModelList, TheJsonHasTheNumbersBehindTheWords) {
  const auto json = parse_json(list_json(rows(), machine(12 * kGiB)));
  ASSERT_TRUE(json);
  EXPECT_EQ(json->at("available_bytes"), 12 * kGiB);
  const Json& first = json->at("models").at(0);
  EXPECT_EQ(first.at("fits"), "yes");
  EXPECT_EQ(first.at("window_tokens"), 34'624);
  EXPECT_EQ(first.at("memory_16k_bytes"), kWeights + kScratch + 16'384 * kPerToken);
  EXPECT_EQ(first.at("memory_32k_bytes"), kWeights + kScratch + 32'768 * kPerToken);
  EXPECT_EQ(first.at("default"), true);
  EXPECT_EQ(json->at("models").at(1).at("partial_bytes"), kWeights / 2);
  EXPECT_EQ(json->at("models").at(2).at("fits"), "unknown");
  EXPECT_TRUE(json->at("models").at(2).at("memory_16k_bytes").is_null());
}

}  // namespace
}  // namespace pensieve::cli
