// Any bytes as a schema, or as a tool's, and any choices under it: compiling ends, every answer is
// complete within its tokens and parses as JSON, masks and accept() agree.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "foundation/check.h"
#include "foundation/json.h"
#include "foundation/log.h"

#include "domain/grammar/grammar.h"
#include "domain/grammar/test_support.h"

namespace {

using pensieve::grammar::Matcher;

// Draws tokens by `random` until the answer ends. Answers that would take long are left out.
void sample(Matcher matcher, std::uint32_t random, bool is_json) {
  const auto& tokens = *pensieve::grammar::test::vocabulary();
  const auto next = [&] {
    random = random * 1664525 + 1013904223;
    return random >> 8;
  };
  const int least = matcher.shortest_completion();
  CHECK(least >= 0);
  if (least > 300) return;
  std::vector<std::uint32_t> mask((static_cast<std::size_t>(tokens.size()) + 31) / 32);
  std::string text;
  for (int left = least + static_cast<int>(next() % 40); left > 0; --left) {
    if (matcher.may_end() && next() % 4 == 0) break;
    if (!matcher.allowed(mask, left)) break;
    const auto allowed = pensieve::grammar::test::bits_of(mask);
    CHECK(!allowed.empty() || matcher.may_end());
    if (allowed.empty()) break;
    const auto token = allowed[next() % allowed.size()];
    CHECK(matcher.accept(token));
    text += tokens.bytes(token);
    CHECK(matcher.shortest_completion() <= left - 1);
  }
  CHECK(matcher.may_end());
  if (is_json && !text.empty()) CHECK(pensieve::parse_json(text).has_value());
}

}  // namespace

// The first four bytes are the choices, the rest is the schema.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 4) return 0;
  static const bool quiet = [] {
    pensieve::configure_log(pensieve::LogLevel::Error, pensieve::LogFormat::Text);
    return true;
  }();
  CHECK(quiet);
  std::uint32_t random = 0;
  for (int i = 0; i < 4; ++i) random = random << 8 | data[i];
  const std::string_view schema(reinterpret_cast<const char*>(data) + 4, size - 4);
  const auto vocabulary = pensieve::grammar::test::vocabulary();
  if (random % 8 != 0) {
    sample(Matcher(pensieve::grammar::compile_json(schema, vocabulary)), random, true);
    return 0;
  }
  const std::vector<pensieve::grammar::Tool> tools = {
      {.name = "t", .schema_json = std::string(schema)}, {.name = "", .schema_json = ""}};
  const pensieve::grammar::CallSyntax syntax{.open = "<tool_call>",
                                             .before_name = "\n{\"name\": \"",
                                             .before_arguments = "\", \"arguments\": ",
                                             .close = "}\n</tool_call>",
                                             .between = "\n"};
  sample(Matcher(pensieve::grammar::compile_calls(
             syntax, tools, {.required = true, .only_one = random % 16 == 0}, vocabulary)),
         random,
         false);
  return 0;
}
