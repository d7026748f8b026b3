#include "domain/compute/cpu/roofs.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <functional>
#include <vector>

#include "foundation/buffer.h"

#include "domain/compute/cpu/thread_pool.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

namespace pensieve::compute::cpu {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kReadBytes = std::size_t{512} << 20;  // beyond every cache but the largest
constexpr std::size_t kChunkBytes = std::size_t{1} << 20;
constexpr int kRounds = 7;
constexpr std::int64_t kIterations = 200'000;  // of a spin, for one item of work
constexpr int kAccumulators =
    12;  // enough to hide an instruction's latency, few enough to stay in registers

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Work of `items` items by all threads, so often a second.
double items_per_s(ThreadPool& pool, int items, const std::function<void(int)>& work) {
  std::vector<double> rates;
  for (int round = 0; round <= kRounds; ++round) {
    const auto begin = Clock::now();
    pool.run(items, [&](int item, int) { work(item); });
    const std::chrono::duration<double> taken = Clock::now() - begin;
    if (round > 0) rates.push_back(items / taken.count());  // the first one warms up
  }
  return median(std::move(rates));
}

std::uint64_t sum_of(const std::byte* bytes, std::size_t n) {
  std::array<std::uint64_t, 16> sums{};
  for (std::size_t i = 0; i < n; i += sizeof sums) {
    std::array<std::uint64_t, 16> line;
    std::memcpy(line.data(), bytes + i, sizeof line);
    for (std::size_t k = 0; k < sums.size(); ++k) sums[k] += line[k];
  }
  std::uint64_t sum = 0;
  for (const std::uint64_t one : sums) sum += one;
  return sum;
}

// One instruction again and again on registers that nobody knows the contents of. `kMacs`:
// multiply-adds of one call.
struct Spin {
  void (*run)() = nullptr;
  double macs = 0;
};

#if defined(__x86_64__)

__attribute__((target("avx512f,avx512vnni"))) void spin_avx512_int8() {
  __m512i sums[kAccumulators] = {};
  __m512i a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(5);
  for (std::int64_t i = 0; i < kIterations; ++i) {
    asm volatile("" : "+v"(a), "+v"(b));
    for (__m512i& sum : sums) sum = _mm512_dpbusd_epi32(sum, a, b);
  }
  for (__m512i& sum : sums) asm volatile("" : "+v"(sum));
}

__attribute__((target("avx512f"))) void spin_avx512_f32() {
  __m512 sums[kAccumulators] = {};
  __m512 a = _mm512_set1_ps(0.5f), b = _mm512_set1_ps(0.25f);
  for (std::int64_t i = 0; i < kIterations; ++i) {
    asm volatile("" : "+v"(a), "+v"(b));
    for (__m512& sum : sums) sum = _mm512_fmadd_ps(a, b, sum);
  }
  for (__m512& sum : sums) asm volatile("" : "+v"(sum));
}

// Two instructions for the products and one for the sum, as AVX2 has no dot product of bytes.
__attribute__((target("avx2"))) void spin_avx2_int8() {
  __m256i sums[kAccumulators] = {};
  __m256i a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(5);
  const __m256i ones = _mm256_set1_epi16(1);
  for (std::int64_t i = 0; i < kIterations; ++i) {
    for (__m256i& sum : sums) {
      asm volatile("" : "+x"(a), "+x"(b));
      sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), ones));
    }
  }
  for (__m256i& sum : sums) asm volatile("" : "+x"(sum));
}

__attribute__((target("avx2,fma"))) void spin_avx2_f32() {
  __m256 sums[kAccumulators] = {};
  __m256 a = _mm256_set1_ps(0.5f), b = _mm256_set1_ps(0.25f);
  for (std::int64_t i = 0; i < kIterations; ++i) {
    asm volatile("" : "+x"(a), "+x"(b));
    for (__m256& sum : sums) sum = _mm256_fmadd_ps(a, b, sum);
  }
  for (__m256& sum : sums) asm volatile("" : "+x"(sum));
}

Spin spin_of(std::string_view kernel, bool int8) {
  constexpr double kCalls = double{kIterations} * kAccumulators;
  if (kernel == "avx512vnni")
    return int8 ? Spin{spin_avx512_int8, kCalls * 64} : Spin{spin_avx512_f32, kCalls * 16};
  if (kernel == "avx2")
    return int8 ? Spin{spin_avx2_int8, kCalls * 32} : Spin{spin_avx2_f32, kCalls * 8};
  return {};
}

#elif defined(__ARM_NEON)

__attribute__((target("arch=armv8.2-a+dotprod"))) void spin_neon_int8() {
  int32x4_t sums[kAccumulators] = {};
  int8x16_t a = vdupq_n_s8(3), b = vdupq_n_s8(5);
  for (std::int64_t i = 0; i < kIterations; ++i) {
    asm volatile("" : "+w"(a), "+w"(b));
    for (int32x4_t& sum : sums) sum = vdotq_s32(sum, a, b);
  }
  for (int32x4_t& sum : sums) asm volatile("" : "+w"(sum));
}

void spin_neon_f32() {
  float32x4_t sums[kAccumulators] = {};
  float32x4_t a = vdupq_n_f32(0.5f), b = vdupq_n_f32(0.25f);
  for (std::int64_t i = 0; i < kIterations; ++i) {
    asm volatile("" : "+w"(a), "+w"(b));
    for (float32x4_t& sum : sums) sum = vfmaq_f32(sum, a, b);
  }
  for (float32x4_t& sum : sums) asm volatile("" : "+w"(sum));
}

Spin spin_of(std::string_view kernel, bool int8) {
  constexpr double kCalls = double{kIterations} * kAccumulators;
  if (kernel == "neon")
    return int8 ? Spin{spin_neon_int8, kCalls * 16} : Spin{spin_neon_f32, kCalls * 4};
  return {};
}

#else

Spin spin_of(std::string_view, bool) {
  return {};
}

#endif

}  // namespace

Result<Roofs> measure_roofs(std::string_view kernel,
                            bool int8,
                            int n_threads,
                            Accountant& accountant) {
  ThreadPool pool(n_threads);
  Roofs roofs;
  PENSIEVE_TRY(Buffer buffer, Buffer::create(accountant, MemoryUse::Scratch, kReadBytes));
  std::byte* const bytes = buffer.data();
  constexpr int kChunks = kReadBytes / kChunkBytes;
  pool.run(kChunks, [&](int chunk, int) {
    std::memset(bytes + static_cast<std::size_t>(chunk) * kChunkBytes, chunk, kChunkBytes);
  });
  std::atomic<std::uint64_t> sum{0};
  const double chunks_per_s = items_per_s(pool, kChunks, [&](int chunk) {
    sum += sum_of(bytes + static_cast<std::size_t>(chunk) * kChunkBytes, kChunkBytes);
  });
  roofs.bytes_per_s = chunks_per_s * static_cast<double>(kChunkBytes);
  if (const Spin spin = spin_of(kernel, int8); spin.run != nullptr) {
    roofs.macs_per_s = spin.macs * items_per_s(pool, 4 * n_threads, [&](int) { spin.run(); });
  }
  return roofs;
}

}  // namespace pensieve::compute::cpu
