// The window's arithmetic. Bytes per token come from the model's shape: Phi-3-mini's 393,216 at f16
// are 2 (keys and values) x 32 layers x 32 heads x 96 x 2 bytes.
#include "application/cli/window.h"

#include <gtest/gtest.h>

#include <string>

namespace pensieve::cli {
namespace {

compute::HyperParameters phi3_mini() {
  compute::HyperParameters hyper;
  hyper.n_layers = 32;
  hyper.hidden = 3072;
  hyper.n_heads = 32;
  hyper.n_kv_heads = 32;
  hyper.head_dim = 96;
  hyper.ffn = 8192;
  hyper.vocab = 32064;
  hyper.context_length = 131072;
  return hyper;
}

WindowQuestion question(std::uint64_t available_gib) {
  WindowQuestion q;
  q.memory = {.total_bytes = 64 * kGiB, .available_bytes = available_gib * kGiB, .known = true};
  q.weights_bytes = 2'150'000'000;
  return q;
}

TEST(Window, BytesPerTokenFollowFromTheShape) {
  EXPECT_EQ(kv_bytes_per_token(phi3_mini(), compute::KvType::F16), 393'216u);
  EXPECT_EQ(kv_bytes_per_token(phi3_mini(), compute::KvType::F32), 786'432u);
  // 196,608 values of one byte and a two-byte scale for each 32 of them.
  EXPECT_EQ(kv_bytes_per_token(phi3_mini(), compute::KvType::Q8), 196'608u + 6'144 * 2);
  // Half a byte each, and two bytes of scale and two of minimum for 32 of them.
  EXPECT_EQ(kv_bytes_per_token(phi3_mini(), compute::KvType::Q4), 122'880u);
  EXPECT_EQ(kv_bytes_per_token(phi3_mini(), {compute::KvType::Q8, compute::KvType::Q4}),
            (208'896u + 122'880u) / 2);
}

TEST(Window, FourBitsGiveALongerWindowInTheSameMemory) {
  auto q = question(10);
  const auto q8 = fit_window(phi3_mini(), q);
  q.kv = compute::KvType::Q4;
  const auto q4 = fit_window(phi3_mini(), q);
  ASSERT_TRUE(q8.has_value() && q4.has_value());
  EXPECT_NEAR(static_cast<double>(q4->tokens) / q8->tokens, 208'896.0 / 122'880, 0.01);
}

TEST(Window, AutoQuantisesWhereF16CostsOver64KiBPerToken) {
  EXPECT_EQ(default_kv(phi3_mini()), compute::KvType::Q8);
  auto small = phi3_mini();
  small.n_layers = 8;
  small.n_kv_heads = 16;
  small.head_dim = 128;  // 2 x 8 x 16 x 128 x 2 bytes = 64 KiB
  EXPECT_EQ(default_kv(small), compute::KvType::F16);
  small.n_layers = 9;
  EXPECT_EQ(default_kv(small), compute::KvType::Q8);
}

TEST(Window, LeavesTheMachineSafe) {
  for (const std::uint64_t gib : {6, 7, 8, 10, 12, 16, 24, 40}) {
    const auto q = question(gib);
    const auto window = fit_window(phi3_mini(), q);
    ASSERT_TRUE(window);
    EXPECT_EQ(window->tokens % 64, 0);
    const std::uint64_t kv = window->kv_budget_bytes;
    const std::uint64_t left = gib * kGiB - q.weights_bytes - window->scratch_bytes - kv;
    if (window->warning.empty()) {
      EXPECT_GE(left, 3 * kGiB) << gib;
      if (window->tokens < 131072) {  // and one page more would not have fitted
        EXPECT_LT(left, 3 * kGiB + 64 * kv_bytes_per_token(phi3_mini(), q.kv)) << gib;
      }
    } else {
      EXPECT_EQ(window->tokens, 4096) << gib;
    }
    EXPECT_GE(kv, window->tokens * kv_bytes_per_token(phi3_mini(), q.kv)) << "holds its own window";
  }
}

TEST(Window, IsTheModelsOwnWhereThereIsRoomAndTheArenaHoldsSeveral) {
  auto q = question(1000);
  q.conversations = 4;
  const auto window = fit_window(phi3_mini(), q);
  ASSERT_TRUE(window);
  EXPECT_EQ(window->tokens, 131072);
  EXPECT_EQ(window->kv_budget_bytes, 4 * 131072 * kv_bytes_per_token(phi3_mini(), q.kv));
  EXPECT_EQ(window->warning, "");
  q.at_most = 32768;
  EXPECT_EQ(fit_window(phi3_mini(), q)->tokens, 32768);
  q.at_most = 1'000'000;
  EXPECT_EQ(fit_window(phi3_mini(), q)->tokens, 131072);
}

TEST(Window, WithoutRoomIsTheSmallestSensibleAndSaysSo) {
  for (const std::uint64_t gib : {0, 1, 3, 5}) {
    const auto window = fit_window(phi3_mini(), question(gib));
    ASSERT_TRUE(window);
    EXPECT_EQ(window->tokens, 4096);
    EXPECT_NE(window->warning, "");
  }
  auto tiny = phi3_mini();
  tiny.context_length = 512;
  EXPECT_EQ(fit_window(tiny, question(0))->tokens, 512);
}

TEST(Window, UnknownMemoryIsNeverPlenty) {
  auto q = question(1000);
  q.memory.known = false;
  const auto window = fit_window(phi3_mini(), q);
  ASSERT_TRUE(window);
  EXPECT_EQ(window->tokens, 4096);
  EXPECT_NE(window->warning, "");
}

TEST(Window, AnAskedOneIsTakenRefusedOrWarnedAbout) {
  auto q = question(24);
  q.asked = 10'000;
  auto window = fit_window(phi3_mini(), q);
  ASSERT_TRUE(window);
  EXPECT_EQ(window->tokens, 10'000);
  EXPECT_EQ(window->warning, "");
  EXPECT_GE(window->kv_budget_bytes, 10'048 * kv_bytes_per_token(phi3_mini(), q.kv))
      << "whole pages";

  q.asked = 131073;
  window = fit_window(phi3_mini(), q);
  ASSERT_FALSE(window);
  EXPECT_EQ(window.error().kind, ErrorKind::InvalidRequest);
  EXPECT_NE(window.error().message.find("131,072"), std::string::npos) << window.error().message;

  q.asked = 131072;  // 25.5 GiB of KV
  window = fit_window(phi3_mini(), q);
  ASSERT_FALSE(window);
  EXPECT_NE(window.error().message.find("25.5 GiB"), std::string::npos) << window.error().message;

  q.asked = 100'000;  // 19.5 GiB: it fits, but leaves less than 3 GiB
  window = fit_window(phi3_mini(), q);
  ASSERT_TRUE(window);
  EXPECT_NE(window->warning, "");
}

TEST(HumanBytes, ThreeDigitsAtMost) {
  EXPECT_EQ(human_bytes(0), "0 bytes");
  EXPECT_EQ(human_bytes(1023), "1023 bytes");
  EXPECT_EQ(human_bytes(1536), "1.5 KiB");
  EXPECT_EQ(human_bytes(640 * 1024 * 1024), "640 MiB");
  EXPECT_EQ(human_bytes(std::uint64_t{3} << 30), "3.0 GiB");
}

TEST(Grouped, CommasEveryThreeDigits) {
  EXPECT_EQ(grouped(0), "0");
  EXPECT_EQ(grouped(999), "999");
  EXPECT_EQ(grouped(1000), "1,000");
  EXPECT_EQ(grouped(131072), "131,072");
  EXPECT_EQ(grouped(1234567890), "1,234,567,890");
}

}  // namespace
}  // namespace pensieve::cli
