// Whether the time of a token check tells something about the token, by the method of Reparaz,
// Balasch, Verbauwhede, "Dude, is my code constant time?" (2017): two classes of inputs in random
// order, Welch's t over their times, whole and with the slow tail cropped at several quantiles. No
// assertion on time in CI, where machines are busy: PENSIEVE_TIMING=1000000 asks for |t| < 4.5 over
// so many samples of each pair of classes, on a quiet machine and an optimised build.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>

#include "application/server/internal/access.h"

namespace pensieve::server {
namespace {

constexpr std::size_t kFewSamples = 2000;
constexpr double kMostT = 4.5;  // the paper's: beyond it the classes differ for sure

std::size_t wanted_samples() {
  const char* text = std::getenv("PENSIEVE_TIMING");
  return text == nullptr ? kFewSamples : std::strtoull(text, nullptr, 10);
}

std::uint64_t ticks() {
#if defined(__x86_64__)
  return __builtin_ia32_rdtsc();
#else
  return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
#endif
}

struct Moments {
  double n = 0, mean = 0, m2 = 0;
  void add(double x) {  // Welford
    n += 1;
    const double d = x - mean;
    mean += d / n;
    m2 += d * (x - mean);
  }
  double variance() const { return m2 / (n - 1); }
};

// The largest |t| over all croppings: samples above each quantile are left out, in both classes.
double largest_t(const std::vector<std::uint64_t>& times, const std::vector<bool>& classes) {
  std::vector<std::uint64_t> sorted = times;
  std::sort(sorted.begin(), sorted.end());
  double largest = 0;
  for (const double quantile : {0.5, 0.8, 0.9, 0.95, 0.99, 1.0}) {
    const auto limit =
        sorted[static_cast<std::size_t>(quantile * static_cast<double>(sorted.size() - 1))];
    Moments moments[2];
    for (std::size_t i = 0; i < times.size(); ++i) {
      if (times[i] <= limit) moments[classes[i] ? 1 : 0].add(static_cast<double>(times[i]));
    }
    const double error =
        std::sqrt(moments[0].variance() / moments[0].n + moments[1].variance() / moments[1].n);
    if (error > 0) largest = std::max(largest, std::abs(moments[0].mean - moments[1].mean) / error);
  }
  return largest;
}

// `prepare` sets up a class, beyond the clock; `run` is timed.
double measure(const std::function<void(bool)>& prepare, const std::function<void()>& run) {
  std::mt19937 random(67);
  const std::size_t n = wanted_samples();
  std::vector<std::uint64_t> times(n);
  std::vector<bool> classes(n);
  for (std::size_t i = 0; i < n; ++i) classes[i] = (random() & 1) != 0;
  for (std::size_t i = 0; i < std::min<std::size_t>(n, 1000); ++i) run();  // warm
  for (std::size_t i = 0; i < n; ++i) {
    prepare(classes[i]);
    const auto begin = ticks();
    run();
    times[i] = ticks() - begin;
  }
  return largest_t(times, classes);
}

http::RequestHead with_key(std::string key) {
  http::RequestHead head;
  head.headers.push_back({.name = "x-api-key", .value = std::move(key)});
  return head;
}

void hold(const char* what, double t) {
  std::printf("  %s: |t| = %.2f over %zu samples\n", what, t, wanted_samples());
  if (std::getenv("PENSIEVE_TIMING") != nullptr) {
    EXPECT_LT(t, kMostT) << what;
  }
}

const std::string kSecret(64, 'a');

// Both classes lie at the same address: where bytes lie is no secret, but takes time too.

// Wrong in the first byte and wrong in the last: a comparison that stops early tells them apart.
TEST(TokenTiming, DoesNotSayHowMuchOfAGuessIsRight) {
  const TokenCheck check(kSecret);
  EXPECT_TRUE(check.accepts(with_key(kSecret)));
  http::RequestHead head = with_key(kSecret);
  std::string& guess = head.headers.front().value;
  const auto prepare = [&](bool one) {
    guess.front() = one ? 'b' : 'a';
    guess.back() = one ? 'a' : 'b';
  };
  for (const bool one : {false, true}) {
    prepare(one);
    EXPECT_FALSE(check.accepts(head));
  }
  volatile bool accepted = false;
  hold("first byte or last", measure(prepare, [&] { accepted = check.accepts(head); }));
}

// The same guess against a token of its length and one of another length.
TEST(TokenTiming, DoesNotSayHowLongTheTokenIs) {
  const TokenCheck as_long(kSecret);
  const TokenCheck shorter(std::string(17, 'a'));
  TokenCheck check = as_long;
  const http::RequestHead guess = with_key(std::string(64, 'b'));
  volatile bool accepted = false;
  hold("its length or another",
       measure([&](bool one) { check = one ? shorter : as_long; },
               [&] { accepted = check.accepts(guess); }));
}

// That the method sees a comparison which does stop early: otherwise the two above prove nothing.
TEST(TokenTiming, WouldSeeAComparisonThatStopsEarly) {
  const std::string secret(4096, 'a');
  std::string guess = secret;
  const double t = measure(
      [&](bool one) {
        guess.front() = one ? 'b' : 'a';
        guess.back() = one ? 'a' : 'b';
      },
      [&] {
        const volatile char* a = guess.data();
        const volatile char* b = secret.data();
        for (std::size_t i = 0; i < secret.size() && a[i] == b[i]; ++i) {
        }
      });
  std::printf("  a comparison that stops early: |t| = %.2f\n", t);
  EXPECT_GT(t, kMostT);
}

}  // namespace
}  // namespace pensieve::server
