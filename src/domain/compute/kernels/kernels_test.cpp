// Every variant this machine can run against the scalar definition. The matrix kernels must agree
// bit for bit, because their order of rounding is part of the contract; the others within stated
// bounds.
#include "domain/compute/kernels/kernels.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "domain/compute/internal/half.h"
#include "domain/compute/kernels/kv_layout.h"
#include "domain/compute/kernels/test_weights.h"

namespace pensieve::compute {
namespace {

using testing::Message;

std::vector<float> random_row(int n, unsigned seed, float spread = 1.0f) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, spread);
  std::vector<float> row(static_cast<std::size_t>(n));
  for (auto& v : row) v = normal(random);
  return row;
}

std::vector<const Kernels*> fast_variants() {
  std::vector<const Kernels*> variants;
  for (const Kernels* k : runnable_kernels()) {
    if (k->name != "scalar") variants.push_back(k);
  }
  for (const std::string_view name : built_kernels()) {
    if (find_kernels(name) == nullptr)
      std::printf("[ SKIPPED  ] kernels %s: not on this CPU\n", std::string(name).c_str());
  }
  return variants;
}

const Kernels& scalar() {
  return *find_kernels("scalar");
}

// Floats at 64-byte alignment.
struct Aligned {
  explicit Aligned(std::size_t n) : memory(n + 16) {}
  float* data() {
    return reinterpret_cast<float*>((reinterpret_cast<std::uintptr_t>(memory.data()) + 63) / 64 *
                                    64);
  }
  std::vector<float> memory;
};

struct Rows {
  Rows(int dim, int n_tokens)
      : q(static_cast<std::size_t>(dim * n_tokens)),
        scale(q.size() / 32),
        scaled(q.size() / 32),
        sum(q.size() / 32),
        half_sum(q.size() / 32) {
    view = {.q = q.data(),
            .scale = scale.data(),
            .sum = sum.data(),
            .half_sum = half_sum.data(),
            .scaled_sum = scaled.data(),
            .n_tokens = n_tokens};
  }
  std::vector<std::int8_t> q;
  std::vector<float> scale, scaled;
  std::vector<std::int32_t> sum, half_sum;
  Int8Rows view;
};

struct Panel {
  explicit Panel(int n_groups) : memory(static_cast<std::size_t>(n_groups) * (128 + 32 + 32)) {
    view.q = reinterpret_cast<std::uint8_t*>(memory.data());
    view.scale = memory.data() + n_groups * 128;
    view.offset = view.scale + n_groups * 32;
  }
  Aligned memory;
  Int8Panel view;
};

// Bound: the sums are taken in double, so what is left is the rounding of the scale and of two
// products, at most 3 * 2^-24.
TEST(RmsNorm, EveryVariantMatchesTheScalarDefinition) {
  for (const Kernels* k : fast_variants()) {
    for (int dim = 1; dim <= 67; ++dim) {
      for (const float spread : {1.0f, 1e-12f, 1e12f}) {
        SCOPED_TRACE(Message() << k->name << ", dim " << dim << ", spread " << spread);
        const auto x = random_row(dim, static_cast<unsigned>(dim), spread);
        const auto weight = random_row(dim, static_cast<unsigned>(dim) + 1000);
        std::vector<float> expected(x.size()), actual(x.size());
        scalar().rmsnorm(expected.data(), x.data(), weight.data(), dim, 1e-5f);
        k->rmsnorm(actual.data(), x.data(), weight.data(), dim, 1e-5f);
        for (std::size_t i = 0; i < x.size(); ++i) {
          EXPECT_NEAR(actual[i], expected[i], 2e-7f * std::abs(expected[i])) << "at " << i;
        }
      }
    }
  }
}

TEST(RmsNorm, ScalarFollowsTheFormula) {
  const float x[] = {3.0f, -4.0f}, weight[] = {2.0f, 0.5f};
  float out[2];
  scalar().rmsnorm(out, x, weight, 2, 0.0f);
  EXPECT_FLOAT_EQ(out[0], 6.0f / std::sqrt(12.5f));  // mean of squares 12.5
  EXPECT_FLOAT_EQ(out[1], -2.0f / std::sqrt(12.5f));
}

TEST(QuantizeRow, EveryVariantMatchesTheScalarDefinitionExactly) {
  for (const Kernels* k : fast_variants()) {
    for (const int dim : {32, 64, 96, 512}) {
      SCOPED_TRACE(Message() << k->name << ", dim " << dim);
      Rows expected(dim, 3), actual(dim, 3);
      for (int token = 0; token < 3; ++token) {
        auto x = random_row(dim, static_cast<unsigned>(token + dim));
        if (token == 1) std::fill_n(x.begin(), 32, 0.0f);
        if (token == 2) x[5] = 1e30f;
        scalar().quantize_row(x.data(), dim, token, expected.view);
        k->quantize_row(x.data(), dim, token, actual.view);
      }
      EXPECT_EQ(actual.q, expected.q);
      EXPECT_EQ(actual.scale, expected.scale);
      EXPECT_EQ(actual.sum, expected.sum);
      EXPECT_EQ(actual.half_sum, expected.half_sum);
      EXPECT_EQ(actual.scaled, expected.scaled);
    }
  }
}

TEST(QuantizeRow, RoundsWithinHalfAStep) {
  const auto x = random_row(64, 7);
  Rows rows(64, 1);
  scalar().quantize_row(x.data(), 64, 0, rows.view);
  for (std::size_t i = 0; i < 64; ++i) {
    const float scale = rows.scale[i / 32];
    EXPECT_NEAR(scale * static_cast<float>(rows.q[i]), x[i], 0.5001f * scale);
  }
  for (std::size_t g = 0; g < 2; ++g) {
    const auto* const q = rows.q.data() + g * 32;
    EXPECT_EQ(rows.half_sum[g], std::accumulate(q, q + 16, 0));
    EXPECT_EQ(rows.sum[g], std::accumulate(q, q + 32, 0));
  }
}

TEST(PackInt8, EveryVariantMatchesTheScalarDefinitionExactly) {
  for (const Kernels* k : fast_variants()) {
    for (const WeightType type : quantized_types()) {
      SCOPED_TRACE(Message() << k->name << ", " << to_string(type));
      const TestWeights w(type, 21, 512, 3);  // 21 rows: the second block repeats its last row
      const PanelFormat format = panel_format(type);
      // Whole super-blocks of eight groups, and a part of one.
      for (const auto& [first_row, first_group, n_groups] :
           {std::tuple{0, 9, 5}, {16, 9, 5}, {0, 0, 16}, {16, 8, 8}, {0, 15, 1}}) {
        Panel expected(n_groups), actual(n_groups);
        scalar().pack_int8(w.view, first_row, first_group, n_groups, expected.view);
        k->pack_int8(w.view, first_row, first_group, n_groups, actual.view);
        EXPECT_EQ(
            std::memcmp(actual.view.q, expected.view.q, static_cast<std::size_t>(n_groups) * 512),
            0);
        for (int g = 0; g < n_groups; ++g) {
          EXPECT_EQ(std::memcmp(actual.view.scale + g * 32,
                                expected.view.scale + g * 32,
                                format.halves ? 128 : 64),
                    0);
          if (format.affine) {
            EXPECT_EQ(std::memcmp(actual.view.offset + g * 32,
                                  expected.view.offset + g * 32,
                                  format.halves ? 128 : 64),
                      0);
          }
        }
      }
    }
  }
}

// The panel must mean what dequantize_row() says: scale * (u - zero) + offset.
TEST(PackInt8, ScalarPanelHoldsTheDequantisedWeights) {
  for (const WeightType type : quantized_types()) {
    SCOPED_TRACE(to_string(type));
    const TestWeights w(type, 16, 512, 4);
    const PanelFormat format = panel_format(type);
    Panel panel(16);
    scalar().pack_int8(w.view, 0, 0, 16, panel.view);
    std::vector<float> row(512);
    for (int r = 0; r < 16; ++r) {
      dequantize_row(w.view, r, row.data());
      for (int c = 0; c < 512; ++c) {
        const int g = c / 32, i = c % 32;
        const int u = panel.view.q[g * 512 + (i / 4) * 64 + r * 4 + i % 4];
        const int at = g * 32 + (format.halves && i >= 16 ? 16 : 0) + r;
        const float scale = panel.view.scale[at];
        const float offset = format.affine ? panel.view.offset[at] : 0.0f;
        EXPECT_EQ(scale * static_cast<float>(u - format.zero) + offset,
                  row[static_cast<std::size_t>(c)])
            << "row " << r << ", column " << c;
        EXPECT_TRUE(format.wide || u <= 127);
      }
    }
  }
}

TEST(DotInt8, EveryVariantMatchesTheScalarDefinitionExactly) {
  constexpr int kTokens = 5, kGroups = 16;
  for (const Kernels* k : fast_variants()) {
    for (const WeightType type : quantized_types()) {
      for (const bool extreme : {false, true}) {
        SCOPED_TRACE(Message() << k->name << ", " << to_string(type)
                               << (extreme ? ", extreme" : ""));
        const TestWeights w(type, 16, kGroups * 32, 5, extreme);
        Rows x(kGroups * 32, kTokens);
        for (int t = 0; t < kTokens; ++t) {
          auto row = random_row(kGroups * 32, static_cast<unsigned>(t) + 50);
          // Largest magnitudes of one sign: the case in which narrow integer sums would saturate.
          if (extreme) std::fill(row.begin(), row.end(), t % 2 == 0 ? 3.0f : -3.0f);
          scalar().quantize_row(row.data(), kGroups * 32, t, x.view);
        }
        Panel panel(kGroups);
        scalar().pack_int8(w.view, 0, 0, kGroups, panel.view);
        std::vector<float> expected(kTokens * 16), actual(kTokens * 16);
        scalar().dot_int8(
            panel_format(type), panel.view, 0, kGroups, x.view, 0, kTokens, expected.data());
        // In two calls of unequal length, and token by token: the order of sums must not notice.
        Int8Panel rest = panel.view;
        rest.q += 3 * 512;
        rest.scale += 3 * 32;
        rest.offset += 3 * 32;
        for (int t = 0; t < kTokens; ++t) {
          k->dot_int8(panel_format(type), panel.view, 0, 3, x.view, t, 1, actual.data() + t * 16);
        }
        k->dot_int8(panel_format(type), rest, 3, kGroups - 3, x.view, 0, kTokens, actual.data());
        EXPECT_EQ(std::memcmp(actual.data(), expected.data(), actual.size() * 4), 0);
      }
    }
  }
}

TEST(ProductInt8, EveryVariantEqualsPackAndDotExactly) {
  constexpr int kTokens = 3, kGroups = 24;
  for (const Kernels* k : runnable_kernels()) {
    for (const WeightType type : quantized_types()) {
      for (const unsigned seed : {14u, 15u}) {
        SCOPED_TRACE(Message() << k->name << ", " << to_string(type) << ", seed " << seed);
        const TestWeights w(type, 37, kGroups * 32, seed);
        Rows x(kGroups * 32, kTokens);
        for (int t = 0; t < kTokens; ++t) {
          scalar().quantize_row(random_row(kGroups * 32, static_cast<unsigned>(t) + 60).data(),
                                kGroups * 32,
                                t,
                                x.view);
        }
        for (const int first_row : {0, 16, 32}) {
          Panel panel(kGroups), scratch(kGroups);
          scalar().pack_int8(w.view, first_row, 0, kGroups, panel.view);
          std::vector<float> expected(kTokens * 16), actual(kTokens * 16);
          scalar().dot_int8(
              panel_format(type), panel.view, 0, kGroups, x.view, 0, kTokens, expected.data());
          k->product_int8(
              w.view, first_row, 0, 16, scratch.view, x.view, 0, kTokens, actual.data());
          k->product_int8(
              w.view, first_row, 16, 3, scratch.view, x.view, 0, kTokens, actual.data());
          k->product_int8(
              w.view, first_row, 19, 5, scratch.view, x.view, 0, kTokens, actual.data());
          EXPECT_EQ(std::memcmp(actual.data(), expected.data(), actual.size() * 4), 0)
              << "rows from " << first_row;
        }
      }
    }
  }
}

// Against f64 over dequantised weights and the rounded activations: only f32 rounding of at most
// 2 * 16 fused steps is left, each at most 2^-24 of the running magnitude.
TEST(DotInt8, ScalarIsTheProductOfWhatWasStored) {
  constexpr int kColumns = 512;
  for (const WeightType type : quantized_types()) {
    SCOPED_TRACE(to_string(type));
    const TestWeights w(type, 16, kColumns, 6);
    const auto x = random_row(kColumns, 8);
    Rows rows(kColumns, 1);
    scalar().quantize_row(x.data(), kColumns, 0, rows.view);
    Panel panel(16);
    scalar().pack_int8(w.view, 0, 0, 16, panel.view);
    std::vector<float> acc(16);
    scalar().dot_int8(panel_format(type), panel.view, 0, 16, rows.view, 0, 1, acc.data());
    std::vector<float> row(kColumns);
    for (int r = 0; r < 16; ++r) {
      dequantize_row(w.view, r, row.data());
      double expected = 0, magnitude = 0;
      for (int c = 0; c < kColumns; ++c) {
        const auto i = static_cast<std::size_t>(c);
        const double term = double{row[i]} * double{rows.scale[i / 32]} * rows.q[i];
        expected += term;
        magnitude += std::abs(term);
      }
      EXPECT_NEAR(acc[static_cast<std::size_t>(r)], expected, 1e-6 * magnitude + 1e-12);
    }
  }
}

TEST(DotF32, EveryVariantMatchesTheScalarDefinitionExactly) {
  constexpr int kColumns = 512, kTokens = 11;
  for (const Kernels* k : fast_variants()) {
    for (const WeightType type : all_types()) {
      SCOPED_TRACE(Message() << k->name << ", " << to_string(type));
      const TestWeights w(type, 19, kColumns, 9);
      const auto x = random_row(kColumns * kTokens, 10);
      for (const int first_row : {0, 16}) {
        Aligned expected_panel(kColumns * 16), actual_panel(kColumns * 16);
        scalar().pack_f32(w.view, first_row, 0, 16, expected_panel.data());
        k->pack_f32(w.view, first_row, 0, 16, actual_panel.data());
        for (int i = 0; i < kColumns * 16; ++i) {
          ASSERT_EQ(actual_panel.data()[i], expected_panel.data()[i]) << "at " << i;
        }
        std::vector<float> expected(kTokens * 16), actual(kTokens * 16);
        scalar().dot_f32(
            expected_panel.data(), kColumns, x.data(), kColumns, kTokens, expected.data());
        k->dot_f32(actual_panel.data(), kColumns, x.data(), kColumns, kTokens, actual.data());
        EXPECT_EQ(std::memcmp(actual.data(), expected.data(), actual.size() * 4), 0);
      }
    }
  }
}

TEST(PackF32, ScalarPanelIsTheDequantisedMatrix) {
  for (const WeightType type : all_types()) {
    SCOPED_TRACE(to_string(type));
    const TestWeights w(type, 16, 256, 11);
    Aligned panel(256 * 16);
    scalar().pack_f32(w.view, 0, 0, 8, panel.data());
    std::vector<float> row(256);
    for (int r = 0; r < 16; ++r) {
      dequantize_row(w.view, r, row.data());
      for (int c = 0; c < 256; ++c)
        EXPECT_EQ(panel.data()[c * 16 + r], row[static_cast<std::size_t>(c)]);
    }
  }
}

TEST(QuantizeQ8_0, EveryVariantMatchesTheScalarDefinitionExactly) {
  for (const Kernels* k : fast_variants()) {
    for (const WeightType type : {WeightType::F32, WeightType::F16, WeightType::BF16}) {
      SCOPED_TRACE(Message() << k->name << ", " << to_string(type));
      TestWeights w(type, 3, 256, 16);
      // Row 1: zeros, then halves between two steps (the scale is 1). Row 2: the smallest numbers.
      const auto put = [&](int row, int column, float v) {
        const auto at = static_cast<std::size_t>(row * 256 + column);
        const auto bits = std::bit_cast<std::uint32_t>(v);
        const auto half = float_to_half(v);
        const auto bfloat = static_cast<std::uint16_t>(bits >> 16);
        if (type == WeightType::F32) std::memcpy(w.data.data() + at * 4, &bits, 4);
        if (type == WeightType::F16) std::memcpy(w.data.data() + at * 2, &half, 2);
        if (type == WeightType::BF16) std::memcpy(w.data.data() + at * 2, &bfloat, 2);
      };
      for (int i = 0; i < 32; ++i) {
        put(1, i, 0.0f);
        put(1, 32 + i, i == 0 ? -127.0f : static_cast<float>(i - 16) + 0.5f);
        put(2, i, 1e-38f * static_cast<float>(i));
        put(2, 32 + i, 1e-45f * static_cast<float>(i));
      }
      std::vector<std::byte> expected(8 * 34), actual(8 * 34);
      for (int row = 0; row < 3; ++row) {
        EXPECT_TRUE(scalar().quantize_q8_0(w.view, row, expected.data()));
        EXPECT_TRUE(k->quantize_q8_0(w.view, row, actual.data()));
        EXPECT_EQ(actual, expected) << "row " << row;
      }
      // The last is beyond the scale's f16, and infinite as an f16 itself.
      for (const float v : {std::nanf(""), -std::numeric_limits<float>::infinity(), 1e7f}) {
        put(1, 70, v);
        EXPECT_FALSE(scalar().quantize_q8_0(w.view, 1, expected.data())) << v;
        EXPECT_FALSE(k->quantize_q8_0(w.view, 1, actual.data())) << v;
      }
    }
  }
}

// Bound: exp to 2^-22 relative, then a sum, a quotient and a product.
TEST(SwiGlu, EveryVariantMatchesTheScalarDefinition) {
  for (const Kernels* k : fast_variants()) {
    for (int n = 1; n <= 67; ++n) {
      SCOPED_TRACE(Message() << k->name << ", n " << n);
      auto gate = random_row(n, static_cast<unsigned>(n), 8.0f);
      gate[0] = n % 3 == 0 ? 200.0f : n % 3 == 1 ? -200.0f : 0.0f;
      const auto up = random_row(n, static_cast<unsigned>(n) + 1);
      std::vector<float> expected(gate.size()), actual(gate.size());
      scalar().swiglu(expected.data(), gate.data(), up.data(), n);
      k->swiglu(actual.data(), gate.data(), up.data(), n);
      for (std::size_t i = 0; i < gate.size(); ++i) {
        // Below -87 the vector exp stops growing: the result is then under 1e-35 either way.
        EXPECT_NEAR(actual[i], expected[i], 5e-7f * std::abs(expected[i]) + 1e-34f) << gate[i];
      }
    }
  }
}

struct KvBlock {
  KvBlock(KvType type, int head_dim, unsigned seed)
      : bytes(kv_block_bytes(type, head_dim)),
        half(kv_half_block_bytes(type, head_dim)),
        keys(static_cast<std::size_t>(head_dim) * 64),
        values(keys.size()) {
    for (int slot = 0; slot < 64; ++slot) {
      const auto key = random_row(head_dim, seed + static_cast<unsigned>(slot));
      const auto value = random_row(head_dim, seed + 100 + static_cast<unsigned>(slot));
      store_key(type, key_block(), head_dim, slot, key.data());
      store_value(type, value_block(), head_dim, slot, value.data());
      for (int i = 0; i < head_dim; ++i) {
        keys[static_cast<std::size_t>(i * 64 + slot)] = key[static_cast<std::size_t>(i)];
        values[static_cast<std::size_t>(slot * head_dim + i)] = value[static_cast<std::size_t>(i)];
      }
    }
  }
  std::byte* key_block() { return bytes.data(); }
  std::byte* value_block() { return bytes.data() + half; }

  std::vector<std::byte> bytes;
  std::size_t half;
  std::vector<float> keys, values;  // what was stored, in the order of load_keys and load_values
};

// x [64 tokens][head_dim] after rotate_groups() on each of its rows, from and to either order.
std::vector<float> rotated(std::vector<float> x, int head_dim, bool transposed) {
  std::vector<float> row(static_cast<std::size_t>(head_dim));
  for (int slot = 0; slot < 64; ++slot) {
    const auto at = [&](int i) -> float& {
      return x[static_cast<std::size_t>(transposed ? i * 64 + slot : slot * head_dim + i)];
    };
    for (int i = 0; i < head_dim; ++i) row[static_cast<std::size_t>(i)] = at(i);
    rotate_groups(row.data(), head_dim);
    for (int i = 0; i < head_dim; ++i) at(i) = row[static_cast<std::size_t>(i)];
  }
  return x;
}

TEST(KvBlock, EveryVariantReadsBackExactlyWhatTheDefinitionReads) {
  for (const KvType type : {KvType::F32, KvType::F16, KvType::Q8, KvType::Q4}) {
    for (const int head_dim : {32, 64, 96, 128, 256}) {
      KvBlock block(type, head_dim, 12);
      std::vector<float> keys(block.keys.size()), values(keys.size());
      scalar().load_keys(type, block.key_block(), head_dim, keys.data());
      scalar().load_values(type, block.value_block(), head_dim, values.data());
      const bool turn = is_rotated(type);
      const auto keys_back = turn ? rotated(keys, head_dim, true) : keys;
      const auto values_back = turn ? rotated(values, head_dim, false) : values;
      double squares = 0;
      for (std::size_t i = 0; i < keys.size(); ++i) {
        // f16: half a unit in the 11th bit; q8: half a step of max / 127, max < 5 for normal
        // numbers; q4: a step is 1/15 of a range under 10, a rotation keeps the sum of squares.
        const float bound = type == KvType::F32   ? 0
                            : type == KvType::F16 ? 2.5e-3f
                            : type == KvType::Q8  ? 0.5f * 5 / 127
                                                  : 10.0f / 15;
        ASSERT_NEAR(keys_back[i], block.keys[i], bound);
        ASSERT_NEAR(values_back[i], block.values[i], bound);
        squares += std::pow(double{keys_back[i]} - block.keys[i], 2) +
                   std::pow(double{values_back[i]} - block.values[i], 2);
      }
      // 32 normal numbers span 4.1 deviations on average (the expected range of a normal sample of
      // that size); the error of rounding to a step of 4.1 / 15 is step / sqrt(12) = 0.079.
      EXPECT_LT(std::sqrt(squares / static_cast<double>(2 * keys.size())), 0.082);
      for (const Kernels* k : fast_variants()) {
        SCOPED_TRACE(Message() << k->name << ", " << to_string(type) << ", head_dim " << head_dim);
        std::vector<float> actual(keys.size());
        k->load_keys(type, block.key_block(), head_dim, actual.data());
        EXPECT_EQ(actual, keys);
        k->load_values(type, block.value_block(), head_dim, actual.data());
        EXPECT_EQ(actual, values);
      }
    }
  }
}

// Sylvester's matrix: entry (i, j) is (-1)^popcount(i & j), over sqrt(32) for order 32.
TEST(KvBlock, RotationIsTheHadamardMatrixOfEachGroup) {
  for (const int at : {0, 1, 5, 31, 40}) {
    std::vector<float> x(64);
    x[static_cast<std::size_t>(at)] = 1;
    rotate_groups(x.data(), 64);
    for (int i = 0; i < 64; ++i) {
      const float sign = std::popcount(static_cast<unsigned>(i & at & 31)) % 2 == 0 ? 1.0f : -1.0f;
      const float expected = i / 32 == at / 32 ? sign / std::sqrt(32.0f) : 0.0f;
      EXPECT_NEAR(x[static_cast<std::size_t>(i)], expected, 1e-7f) << i << " of " << at;
    }
  }
}

// What would make a bad group worse than the format must: equal numbers, zeros, one number that
// outgrows its group, numbers near the ends of f16, and what is not a number beside what is.
TEST(KvBlock, FourBitsBearEveryGroup) {
  const auto worst = [](std::vector<float> x, std::size_t checked) {
    const auto original = x;
    std::vector<std::byte> values(kv_half_block_bytes(KvType::Q4, 64));
    store_value(KvType::Q4, values.data(), 64, 7, x.data());
    std::vector<float> back(64 * 64);
    scalar().load_values(KvType::Q4, values.data(), 64, back.data());
    rotate_groups(back.data() + 7 * 64, 64);
    double squares = 0, all = 0;
    for (std::size_t i = 64 - checked; i < 64; ++i) {
      squares += std::pow(double{back[7 * 64 + i]} - original[i], 2);
      all += std::pow(double{original[i]}, 2);
    }
    return all > 0 ? std::sqrt(squares / all) : std::sqrt(squares);
  };
  EXPECT_EQ(worst(std::vector<float>(64, 0.0f), 64), 0);
  // One dimension alone becomes two values of equal size, which four bits hold to f16's precision.
  std::vector<float> spike(64);
  spike[3] = 1000;
  spike[40] = -1e-3f;
  EXPECT_LT(worst(spike, 64), 2e-3);
  EXPECT_LT(worst(std::vector<float>(64, 3.5f), 64), 1e-3);
  // An outlier of 50 becomes +-8.8 in each of 32: a range of 2 * 8.8 + 4.1, a step of 1.45, an
  // error of 0.42 sqrt(32) = 2.4. Without the rotation the group's other numbers would all be lost.
  auto outlier = random_row(64, 40);
  outlier[9] += 50;
  EXPECT_LT(worst(outlier, 64), 0.06);
  EXPECT_LT(worst(random_row(64, 41, 5000.0f), 64), 0.1);
  EXPECT_LT(worst(random_row(64, 42, 1e-4f), 64), 0.1);
  auto broken = random_row(64, 43);
  broken[2] = std::nanf("");
  EXPECT_LT(worst(broken, 32), 0.1) << "the other group is as it was";
}

// Against softmax attention in double over three pages with partly visible ends. Bound: a score is
// a sequential f32 sum; its error stays under 4 half-units of the sum of magnitudes (a random walk
// of at most 256 steps), and enters the weights exp(score) as a relative error. 2e-6 for the rest.
TEST(AttendPage, OnlineSoftmaxOverPagesEqualsSoftmaxOverAll) {
  constexpr int kPages = 3;
  for (const Kernels* k : runnable_kernels()) {
    for (const int head_dim : {32, 64, 96, 128, 256}) {
      for (const auto& [begin, end] :
           {std::pair{0, 192}, {0, 1}, {63, 65}, {70, 131}, {128, 190}}) {
        SCOPED_TRACE(Message() << k->name << ", head_dim " << head_dim << ", " << begin << " to "
                               << end);
        const auto query = random_row(head_dim, 13, 0.5f);
        std::vector<float> keys[kPages], values[kPages];
        for (int p = 0; p < kPages; ++p) {
          keys[p] = random_row(head_dim * 64, static_cast<unsigned>(20 + p));
          values[p] = random_row(head_dim * 64, static_cast<unsigned>(30 + p));
        }
        std::vector<double> score, expected(static_cast<std::size_t>(head_dim));
        double magnitude = 0;
        for (int t = begin; t < end; ++t) {
          double s = 0, terms = 0;
          for (int i = 0; i < head_dim; ++i) {
            const double term = double{query[static_cast<std::size_t>(i)]} *
                                keys[t / 64][static_cast<std::size_t>(i * 64 + t % 64)];
            s += term;
            terms += std::abs(term);
          }
          magnitude = std::max(magnitude, terms);
          score.push_back(s);
        }
        double max = -1e300, total = 0;
        for (const double s : score) max = std::max(max, s);
        for (const double s : score) total += std::exp(s - max);
        for (int t = begin; t < end; ++t) {
          const double p = std::exp(score[static_cast<std::size_t>(t - begin)] - max) / total;
          for (int i = 0; i < head_dim; ++i) {
            expected[static_cast<std::size_t>(i)] +=
                p * values[t / 64][static_cast<std::size_t>((t % 64) * head_dim + i)];
          }
        }
        std::vector<float> out(static_cast<std::size_t>(head_dim));
        AttentionRow row{.query = query.data(),
                         .out = out.data(),
                         .max = -std::numeric_limits<float>::infinity(),
                         .sum = 0,
                         .begin = 0,
                         .end = 0};
        for (int p = 0; p < kPages; ++p) {
          row.begin = std::clamp(begin - p * 64, 0, 64);
          row.end = std::clamp(end - p * 64, 0, 64);
          // What lies outside the visible range may be anything, even not a number.
          auto dirty_keys = keys[p], dirty_values = values[p];
          for (int t = 0; t < 64; ++t) {
            if (t >= row.begin && t < row.end) continue;
            for (int i = 0; i < head_dim; ++i) {
              dirty_keys[static_cast<std::size_t>(i * 64 + t)] = std::nanf("");
              dirty_values[static_cast<std::size_t>(t * head_dim + i)] = std::nanf("");
            }
          }
          k->attend_page(dirty_keys.data(), dirty_values.data(), head_dim, &row, 1);
        }
        for (int i = 0; i < head_dim; ++i) {
          EXPECT_NEAR(out[static_cast<std::size_t>(i)] / row.sum,
                      expected[static_cast<std::size_t>(i)],
                      2e-6 + magnitude * 0x1p-22);
        }
      }
    }
  }
}

TEST(Half, EveryValueSurvivesTheRoundTrip) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const auto h = static_cast<std::uint16_t>(bits);
    const float f = half_to_float(h);
    if (std::isnan(f)) {
      EXPECT_TRUE(std::isnan(half_to_float(float_to_half(f))));
    } else {
      ASSERT_EQ(float_to_half(f), h) << f;
    }
  }
}

TEST(Half, RoundsToNearestEven) {
  // Between 1 (0x3C00) and the next half 1 + 2^-10: below, at and above the middle.
  EXPECT_EQ(float_to_half(1.0f + 0x1p-11f - 0x1p-20f), 0x3C00);
  EXPECT_EQ(float_to_half(1.0f + 0x1p-11f), 0x3C00);  // tie: to even
  EXPECT_EQ(float_to_half(1.0f + 0x1p-11f + 0x1p-20f), 0x3C01);
  EXPECT_EQ(float_to_half(1.0f + 3 * 0x1p-11f), 0x3C02);  // tie: to even
  EXPECT_EQ(float_to_half(65519.0f), 0x7BFF);
  EXPECT_EQ(float_to_half(65520.0f), 0x7C00);  // the first that rounds to infinity
  EXPECT_EQ(float_to_half(0x1p-25f), 0x0000);  // tie between 0 and the smallest subnormal
  EXPECT_EQ(float_to_half(0x1.8p-25f), 0x0001);
}

}  // namespace
}  // namespace pensieve::compute
