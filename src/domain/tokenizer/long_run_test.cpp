// A megabyte of one class of characters, for every kind of tokenizer: linear time, little stack.

#include <gtest/gtest.h>
#include <pthread.h>
#include <time.h>

#include <cstdio>
#include <cstdlib>

#include "domain/tokenizer/internal/byte_level_fixture.h"
#include "domain/tokenizer/internal/nfc.h"
#include "domain/tokenizer/internal/reference_fixture.h"

namespace pensieve::tokenizer {
namespace {

// On a thread with 256 KiB of stack. The build with sanitizers, some thirty times slower, gets a
// sixteenth of the text and ten times the time.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::size_t kRunBytes = 1 << 16;
constexpr double kRunLimit_s = 10;
#else
constexpr std::size_t kRunBytes = 1 << 20;
constexpr double kRunLimit_s = 1;
#endif
struct LongRun {
  const Tokenizer* tokenizer;
  std::string unit;
  std::size_t n_tokens = 0;
  double seconds = 0;
  std::string text{};  // what the ids stand for
};

// Processor time of this thread, so that a busy machine does not count.
double thread_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

void* encode_run(void* argument) {
  auto& run = *static_cast<LongRun*>(argument);
  std::string text;
  text.reserve(kRunBytes);
  while (text.size() + run.unit.size() <= kRunBytes) text += run.unit;
  const double start_s = thread_seconds();
  const auto ids = encode(*run.tokenizer, text);
  run.seconds = thread_seconds() - start_s;
  run.n_tokens = ids.size();
  run.text = run.tokenizer->decode(ids, true);
  return nullptr;
}

LongRun run_on_little_stack(const Tokenizer& tokenizer, const std::string& unit) {
  LongRun run{.tokenizer = &tokenizer, .unit = unit};
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  EXPECT_EQ(pthread_attr_setstacksize(&attributes, 256 * 1024), 0);
  pthread_t thread;
  EXPECT_EQ(pthread_create(&thread, &attributes, encode_run, &run), 0);
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&attributes);
  EXPECT_LT(run.seconds, kRunLimit_s) << unit;
  if (std::getenv("PENSIEVE_TOKENIZER_CORPUS") != nullptr) {
    std::printf("%-10s %8zu tokens %7.1f ms\n", unit.c_str(), run.n_tokens, run.seconds * 1000);
  }
  return run;
}

// Letters, numbers, white space, signs, marks in an order that NFC turns round, and mixtures on
// which a pattern looks far ahead before it gives up.
const std::string kUnits[] = {"a",
                              "e",
                              "us",
                              "the",
                              "7",
                              " ",
                              "\n",
                              ".",
                              "-",
                              "=",
                              "中",
                              "日本",
                              "\u0301",
                              "🙂",
                              "👩‍🚀",
                              "é",
                              "<",
                              "\t",
                              "\r\n",
                              "the quick ",
                              "\u0301\u0316",
                              "e\u0301",
                              "\u1112\u1161\u11AB",
                              "½",
                              "'",
                              "'s",
                              " '",
                              " \n",
                              "\n ",
                              " a",
                              "\u3000"};

std::string repeated(const std::string& unit) {
  std::string text;
  while (text.size() + unit.size() <= kRunBytes) text += unit;
  return text;
}

TEST(LongRun, SentencePieceTakesUnderASecondAndLittleStack) {
  const auto tokenizer = read_fixture("tiny.json").tokenizer();
  for (const std::string& unit : kUnits) {
    EXPECT_TRUE(run_on_little_stack(*tokenizer, unit).text == repeated(unit)) << unit;
  }
}

TEST(LongRun, ByteLevelTakesUnderASecondAndLittleStack) {
  for (const std::string name : {"gpt2", "qwen2", "llama3"}) {
    SCOPED_TRACE(name);
    const auto tokenizer = read_byte_level_fixture(name).tokenizer();
    for (const std::string& unit : kUnits) {
      const std::string text = repeated(unit);
      std::string buffer;
      const auto expected = name == "qwen2" ? to_nfc(text, buffer) : text;
      EXPECT_TRUE(run_on_little_stack(*tokenizer, unit).text == expected) << unit;
    }
  }
}

}  // namespace
}  // namespace pensieve::tokenizer
