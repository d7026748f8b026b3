// Goal: no field of a request reaches the rest of the server with the wrong kind of value, and
// every refusal names the field. Method: a table that gives each field the seven kinds of JSON
// value, one change at a time in a good body.
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "domain/api/internal/request_test_support.h"

namespace pensieve::api {
namespace {

TEST(MessagesRequestSchema, AcceptsTheBodyThatTheTablesStartFrom) {
  expect_accepted(full_body());
}

struct KindRow {
  const char* pointer;
  const char* path;            // what a refusal names: this field, or one inside it
  const char* accepted;        // of: n null, b true, i 5, f 1.5, s "x", a [], o {}
  const char* elsewhere = "";  // right here, but another field then misses what it refers to
};

constexpr KindRow kKindRows[] = {
    {"", "body", "", "o"},  // an empty object is a body that misses its first field
    {"/model", "model", "s"},
    {"/max_tokens", "max_tokens", "i"},
    {"/stream", "stream", "nb"},
    {"/temperature", "temperature", "nf"},
    {"/top_p", "top_p", "n"},
    {"/top_k", "top_k", "ni"},
    {"/min_p", "min_p", "n"},
    {"/repetition_penalty", "repetition_penalty", "nif"},
    {"/seed", "seed", "ni"},
    {"/stop_sequences", "stop_sequences", "na"},
    {"/stop_sequences/0", "stop_sequences.0", "s"},
    {"/system", "system", "nsa"},
    {"/system/0", "system.0", ""},
    {"/system/0/type", "system.0.type", ""},
    {"/system/0/text", "system.0.text", "s"},
    {"/messages", "messages", ""},
    {"/messages/0", "messages.0", ""},
    {"/messages/0/role", "messages.0.role", ""},
    {"/messages/0/content", "messages.0.content", "sa"},
    {"/messages/0/content/0", "messages.0.content.0", ""},
    {"/messages/0/content/0/type", "messages.0.content.0.type", ""},
    {"/messages/0/content/0/text", "messages.0.content.0.text", "s"},
    {"/messages/0/content/1/source", "messages.0.content.1.source", ""},
    {"/messages/0/content/1/source/type", "messages.0.content.1.source.type", "s"},
    {"/messages/0/content/2/source", "messages.0.content.2.source", ""},
    {"/messages/0/content/2/source/type", "messages.0.content.2.source.type", "s"},
    {"/messages/0/content/2/source/data", "messages.0.content.2.source.data", "s"},
    {"/messages/0/content/2/title", "messages.0.content.2.title", "ns"},
    {"/messages/0/content/2/context", "messages.0.content.2.context", "ns"},
    {"/messages/0/content/3/title", "messages.0.content.3.title", "s"},
    {"/messages/0/content/3/source", "messages.0.content.3.source", "s"},
    {"/messages/0/content/3/content", "messages.0.content.3.content", "sa"},
    {"/messages/1/content/0/thinking", "messages.1.content.0.thinking", "s"},
    {"/messages/1/content/0/signature", "messages.1.content.0.signature", "ns"},
    {"/messages/1/content/1/data", "messages.1.content.1.data", "nbifsao"},
    {"/messages/1/content/3/id", "messages.1.content.3.id", "", "s"},
    {"/messages/1/content/3/name", "messages.1.content.3.name", "s"},
    {"/messages/1/content/3/input", "messages.1.content.3.input", "o"},
    {"/messages/2/content/0/tool_use_id", "messages.2.content.0.tool_use_id", ""},
    {"/messages/2/content/0/is_error", "messages.2.content.0.is_error", "nb"},
    {"/messages/2/content/0/content", "messages.2.content.0.content", "nsa"},
    {"/messages/2/content/0/content/0", "messages.2.content.0.content.0", ""},
    {"/messages/2/content/0/content/0/text", "messages.2.content.0.content.0.text", "s"},
    {"/messages/2/content/0/content/1/tool_name", "messages.2.content.0.content.1.tool_name", "s"},
    {"/messages/3/content", "messages.3.content", "sa"},
    {"/tools/0", "tools.0", ""},
    {"/tools/0/name", "tools.0.name", "", "s"},
    {"/tools/0/type", "tools.0.type", "ns"},
    {"/tools/0/description", "tools.0.description", "ns"},
    {"/tools/0/input_schema", "tools.0.input_schema", "no"},
    {"/tools/0/defer_loading", "tools.0.defer_loading", "nb"},
    {"/tools/1/name", "tools.1.name", "ns"},
    {"/tools/1/type", "tools.1.type", "ns"},
    {"/tool_choice", "tool_choice", "n"},
    {"/tool_choice/type", "tool_choice.type", ""},
    {"/tool_choice/name", "tool_choice.name", ""},
    {"/tool_choice/disable_parallel_tool_use", "tool_choice.disable_parallel_tool_use", "nb"},
    {"/thinking", "thinking", "n"},
    {"/thinking/type", "thinking.type", ""},
    {"/thinking/budget_tokens", "thinking.budget_tokens", "ni"},
    {"/output_config", "output_config", "no"},
    {"/output_config/format", "output_config.format", "n"},
    {"/output_config/format/type", "output_config.format.type", ""},
    {"/output_config/format/schema", "output_config.format.schema", "o"},
    {"/metadata", "", "nbifsao"},
    {"/context_management", "", "nbifsao"},
    {"/cache_control", "", "nbifsao"},
    {"/messages/0/id", "", "nbifsao"},
    {"/messages/0/content/0/cache_control", "", "nbifsao"},
    {"/tools/0/strict", "", "nbifsao"},
    {"/output_config/effort", "", "nbifsao"},
    {"/thinking/display", "", "nbifsao"},
};

TEST(MessagesRequestSchema, EveryFieldRefusesEveryKindOfValueThatItDoesNotTake) {
  const std::pair<char, const char*> kinds[] = {{'n', "null"},
                                                {'b', "true"},
                                                {'i', "5"},
                                                {'f', "1.5"},
                                                {'s', "\"x\""},
                                                {'a', "[]"},
                                                {'o', "{}"}};
  int cases = 0;
  for (const KindRow& row : kKindRows) {
    for (const auto& [letter, text] : kinds) {
      const auto has = [letter = letter](std::string_view letters) {
        return letters.find(letter) != std::string_view::npos;
      };
      if (has(row.elsewhere)) continue;
      SCOPED_TRACE(testing::Message() << row.pointer << " = " << text);
      Json body = full_body();
      body[Pointer(row.pointer)] = parsed(text);
      if (has(row.accepted)) {
        expect_accepted(body);
      } else {
        expect_refused_at(body, row.path, false);
      }
      ++cases;
    }
  }
  EXPECT_GE(cases, 480);
}

TEST(MessagesRequestSchema, NamesEachRequiredFieldThatIsMissing) {
  const std::pair<const char*, const char*> required[] = {
      {"/model", "model"},
      {"/max_tokens", "max_tokens"},
      {"/messages", "messages"},
      {"/messages/0/role", "messages.0.role"},
      {"/messages/0/content", "messages.0.content"},
      {"/messages/0/content/0/type", "messages.0.content.0.type"},
      {"/messages/0/content/0/text", "messages.0.content.0.text"},
      {"/messages/0/content/1/source", "messages.0.content.1.source"},
      {"/messages/0/content/1/source/type", "messages.0.content.1.source.type"},
      {"/messages/0/content/2/source", "messages.0.content.2.source"},
      {"/messages/0/content/2/source/data", "messages.0.content.2.source.data"},
      {"/messages/0/content/3/title", "messages.0.content.3.title"},
      {"/messages/0/content/3/source", "messages.0.content.3.source"},
      {"/messages/0/content/3/content", "messages.0.content.3.content"},
      {"/messages/1/content/0/thinking", "messages.1.content.0.thinking"},
      {"/messages/1/content/3/id", "messages.1.content.3.id"},
      {"/messages/1/content/3/name", "messages.1.content.3.name"},
      {"/messages/1/content/3/input", "messages.1.content.3.input"},
      {"/messages/2/content/0/tool_use_id", "messages.2.content.0.tool_use_id"},
      {"/messages/2/content/0/content/1/tool_name", "messages.2.content.0.content.1.tool_name"},
      {"/system/0/text", "system.0.text"},
      {"/tools/0/name", "tools.0.name"},
      {"/tool_choice/type", "tool_choice.type"},
      {"/tool_choice/name", "tool_choice.name"},
      {"/thinking/type", "thinking.type"},
      {"/output_config/format/type", "output_config.format.type"},
      {"/output_config/format/schema", "output_config.format.schema"},
  };
  for (const auto& [pointer, path] : required) {
    SCOPED_TRACE(pointer);
    Json body = full_body();
    const Pointer place(pointer);
    body[place.parent_pointer()].erase(place.back());
    const auto request = parse_messages_request(body.dump());
    ASSERT_FALSE(request.has_value());
    EXPECT_EQ(request.error().message, std::string(path) + ": is required");
  }
}

TEST(MessagesRequestSchema, DoesWithoutEveryOptionalField) {
  const char* const optional[] = {"/stream",
                                  "/system",
                                  "/tool_choice",
                                  "/stop_sequences",
                                  "/temperature",
                                  "/top_p",
                                  "/top_k",
                                  "/min_p",
                                  "/repetition_penalty",
                                  "/seed",
                                  "/thinking",
                                  "/output_config",
                                  "/output_config/format",
                                  "/thinking/budget_tokens",
                                  "/messages/2/content/0/content",
                                  "/messages/2/content/0/is_error",
                                  "/messages/1/content/0/signature",
                                  "/messages/1/content/1/data",
                                  "/tools/0/type",
                                  "/tools/0/description",
                                  "/tools/0/input_schema",
                                  "/tools/0/defer_loading",
                                  "/tools/1/name",
                                  "/tool_choice/disable_parallel_tool_use"};
  for (const char* pointer : optional) {
    SCOPED_TRACE(pointer);
    Json body = full_body();
    const Pointer place(pointer);
    body[place.parent_pointer()].erase(place.back());
    expect_accepted(body);
  }
}

}  // namespace
}  // namespace pensieve::api
