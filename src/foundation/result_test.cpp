// Results and the macro that passes errors up.
#include "foundation/result.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>

namespace pensieve {
namespace {

Error failure(const char* message) {
  return {.kind = ErrorKind::NotFound, .message = message, .retry_after_s = 7};
}

TEST(Result, HoldsAValueOrAnError) {
  const Result<int> value = 5;
  ASSERT_TRUE(value);
  EXPECT_EQ(*value, 5);
  const Result<int> error = failure("no");
  ASSERT_FALSE(error);
  EXPECT_EQ(error.error().kind, ErrorKind::NotFound);
  EXPECT_EQ(error.error().message, "no");
  EXPECT_EQ(error.error().retry_after_s, 7);
}

TEST(Result, AVoidOneIsAYesOrAnError) {
  EXPECT_TRUE(Result<void>());
  const Result<void> error = failure("no");
  ASSERT_FALSE(error);
  EXPECT_EQ(error.error().message, "no");
}

TEST(Result, GivesUpAMoveOnlyValue) {
  Result<std::unique_ptr<int>> held = std::make_unique<int>(3);
  const std::unique_ptr<int> taken = *std::move(held);
  EXPECT_EQ(*taken, 3);
}

TEST(Result, ReachesIntoItsValue) {
  Result<std::string> text = std::string("abc");
  EXPECT_EQ(text->size(), 3u);
  text->push_back('d');
  EXPECT_EQ(text.value(), "abcd");
}

Result<int> half(int n) {
  if (n % 2 != 0) return failure("odd");
  return n / 2;
}
Result<void> even(int n) {
  PENSIEVE_TRY(half(n));
  return {};
}
Result<int> quarter(int n) {
  PENSIEVE_TRY(const int h, half(n));
  PENSIEVE_TRY(auto q, half(h));
  return q;
}
Result<std::unique_ptr<int>> boxed(int n) {
  PENSIEVE_TRY(const int value, quarter(n));
  return std::make_unique<int>(value);
}
Result<int> unboxed(int n) {
  PENSIEVE_TRY(const std::unique_ptr<int> box, boxed(n));
  return *box;
}
template <typename A, typename B>
Result<std::map<A, B>> single(A key, B value) {
  return std::map<A, B>{{key, value}};
}
Result<int> with_commas() {
  PENSIEVE_TRY(const auto map, single<int, int>(1, 2));
  return map.at(1);
}

TEST(Try, PassesTheFirstErrorUpAndTheValueOn) {
  EXPECT_TRUE(even(4));
  EXPECT_EQ(even(3).error().message, "odd");
  EXPECT_EQ(*quarter(12), 3);
  EXPECT_EQ(quarter(6).error().message, "odd");
  EXPECT_EQ(quarter(6).error().retry_after_s, 7);
  EXPECT_EQ(*unboxed(8), 2);
  EXPECT_EQ(unboxed(2).error().kind, ErrorKind::NotFound);
}

TEST(Try, TakesACallWithTemplateArguments) {
  EXPECT_EQ(*with_commas(), 2);
}

TEST(ResultDeathTest, AskingTheWrongHalfIsABug) {
  const Result<int> value = 5;
  const Result<int> error = failure("no");
  EXPECT_DEATH((void)value.error(), "CHECK failed");
  EXPECT_DEATH((void)*error, "CHECK failed");
}

TEST(CheckDeathTest, NamesFileAndCondition) {
  const int one = 1;
  EXPECT_DEATH(CHECK(one == 2), "result_test.cpp:[0-9]+: CHECK failed: one == 2");
}

}  // namespace
}  // namespace pensieve
