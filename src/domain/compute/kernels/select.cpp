// Which kernels this CPU can run. Asked once, at start.
#include <algorithm>

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif
#if defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

#include "domain/compute/kernels/kernels.h"
#include "domain/compute/kernels/variants.h"

namespace pensieve::compute {
namespace {

#if defined(__aarch64__)
bool has_dot_product() {
#if defined(__APPLE__)
  int value = 0;
  std::size_t size = sizeof value;
  return sysctlbyname("hw.optional.arm.FEAT_DotProd", &value, &size, nullptr, 0) == 0 && value == 1;
#else
  constexpr unsigned long kHwcapAsimdDp = 1UL << 20;  // Linux, asm/hwcap.h: HWCAP_ASIMDDP
  return (getauxval(AT_HWCAP) & kHwcapAsimdDp) != 0;
#endif
}
#endif

std::vector<const Kernels*> probe() {
  std::vector<const Kernels*> found;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  // F16C has no name in __builtin_cpu_supports before GCC 13; every CPU with AVX2 has it.
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512vnni")) {
    found.push_back(avx512vnni_kernels());
  }
  if (avx2) found.push_back(avx2_kernels());
#elif defined(__aarch64__)
  if (has_dot_product()) found.push_back(neon_kernels());
#endif
  found.push_back(scalar_kernels());
  return found;
}

}  // namespace

const std::vector<const Kernels*>& runnable_kernels() {
  static const std::vector<const Kernels*> kernels = probe();
  return kernels;
}

const Kernels* find_kernels(std::string_view name) {
  const auto& all = runnable_kernels();
  const auto it =
      std::find_if(all.begin(), all.end(), [&](const Kernels* k) { return k->name == name; });
  return it == all.end() ? nullptr : *it;
}

std::vector<std::string_view> built_kernels() {
#if defined(__x86_64__)
  return {"avx512vnni", "avx2", "scalar"};
#elif defined(__aarch64__)
  return {"neon", "scalar"};
#else
  return {"scalar"};
#endif
}

PanelFormat panel_format(WeightType type) {
  switch (type) {
    case WeightType::Q4_0:
      return {.wide = false, .affine = false, .halves = false, .zero = 8};
    case WeightType::Q5_0:
      return {.wide = false, .affine = false, .halves = false, .zero = 16};
    case WeightType::Q8_0:
      return {.wide = true, .affine = false, .halves = false, .zero = 128};
    case WeightType::Q2_K:
      return {.wide = false, .affine = true, .halves = true, .zero = 0};
    case WeightType::Q3_K:
      return {.wide = false, .affine = false, .halves = true, .zero = 4};
    case WeightType::Q6_K:
      return {.wide = false, .affine = false, .halves = true, .zero = 32};
    case WeightType::Q4_1:
    case WeightType::Q5_1:
    case WeightType::Q4_K:
    case WeightType::Q5_K:
    case WeightType::Mlx2:
    case WeightType::Mlx3:
    case WeightType::Mlx4:
    case WeightType::Mlx5:
    case WeightType::Mlx6:
      return {.wide = false, .affine = true, .halves = false, .zero = 0};
    case WeightType::Mlx8:
      return {.wide = true, .affine = true, .halves = false, .zero = 0};
    case WeightType::F32:
    case WeightType::F16:
    case WeightType::BF16:
      break;
  }
  return {};
}

}  // namespace pensieve::compute
