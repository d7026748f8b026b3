// Goal: what a client says arrives unchanged, whichever of the API's spellings it uses.
#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "domain/api/messages.h"

namespace pensieve::api {
namespace {

MessagesRequest parsed(std::string_view body) {
  auto request = parse_messages_request(body);
  if (!request) ADD_FAILURE() << request.error().message;
  return request ? *std::move(request) : MessagesRequest{};
}

MessagesRequest with(std::string_view fields) {
  std::string body = R"({"model":"m","max_tokens":7,"messages":[{"role":"user","content":"x"}])";
  if (!fields.empty()) body += ",";
  return parsed(body.append(fields).append("}"));
}

TEST(MessagesRequest, LeavesEveryOptionalFieldAtItsDefault) {
  const auto request = with("");
  EXPECT_EQ(request.model, "m");
  EXPECT_EQ(request.max_tokens, 7);
  EXPECT_TRUE(request.system.empty());
  EXPECT_TRUE(request.tools.empty());
  EXPECT_EQ(request.tool_choice.kind, ToolChoice::Kind::Auto);
  EXPECT_TRUE(request.stop_sequences.empty());
  EXPECT_FALSE(request.stream);
  EXPECT_FALSE(request.temperature || request.top_p || request.top_k || request.min_p ||
               request.repetition_penalty || request.seed);
  EXPECT_FALSE(request.thinking_enabled);
  EXPECT_TRUE(request.output_schema_json.empty());
}

// "Prompt caching": on blocks of system, messages and tool results, on tools, and for the request
// as a whole, which stands for its last block.
TEST(MessagesRequest, ReadsWhatIsMarkedToBeKept) {
  constexpr std::string_view kMark = R"("cache_control":{"type":"ephemeral"})";
  const auto mark = std::string(kMark);
  const auto request = with(R"("system":[{"type":"text","text":"a"},{"type":"text","text":"b",)" +
                            mark + R"(}],"tools":[{"name":"A","input_schema":{},)" + mark +
                            R"(},{"name":"B","input_schema":{},"cache_control":null}])");
  EXPECT_FALSE(request.system[0].cache_mark);
  EXPECT_TRUE(request.system[1].cache_mark);
  EXPECT_TRUE(request.tools[0].cache_mark);
  EXPECT_FALSE(request.tools[1].cache_mark);
  EXPECT_FALSE(request.messages[0].content[0].cache_mark);
  EXPECT_TRUE(with(mark).messages[0].content[0].cache_mark);
  const auto result = parsed(
      R"({"model":"m","max_tokens":1,"messages":[{"role":"assistant","content":[{"type":"tool_use",)"
      R"("id":"t","name":"A","input":{}}]},{"role":"user","content":[{"type":"tool_result",)"
      R"("tool_use_id":"t","content":[{"type":"text","text":"x",)" +
      mark + R"(}]}]}]})");
  EXPECT_TRUE(result.messages[1].content[0].cache_mark);
}

TEST(MessagesRequest, ReadsSampling) {
  const auto request =
      with(R"("temperature":0.25,"top_p":0.5,"top_k":40,"min_p":0.125,"seed":18446744073709551615,
             "repeat_penalty":1.5,"stream":true,"stop_sequences":["a","b\n"])");
  EXPECT_EQ(request.temperature, 0.25);
  EXPECT_EQ(request.top_p, 0.5);
  EXPECT_EQ(request.top_k, 40);
  EXPECT_EQ(request.min_p, 0.125);
  EXPECT_EQ(request.repetition_penalty, 1.5);
  EXPECT_EQ(request.seed, 18446744073709551615u);
  EXPECT_TRUE(request.stream);
  EXPECT_EQ(request.stop_sequences, (std::vector<std::string>{"a", "b\n"}));
}

TEST(MessagesRequest, TakesSeedMinusOneAsNoSeed) {
  EXPECT_FALSE(with(R"("seed":-1)").seed);
}

TEST(MessagesRequest, MakesOneTextBlockOfAString) {
  const auto request = with(R"("system":"be\tbrief")");
  ASSERT_EQ(request.system.size(), 1u);
  EXPECT_EQ(request.system[0].text, "be\tbrief");
  ASSERT_EQ(request.messages.size(), 1u);
  ASSERT_EQ(request.messages[0].content.size(), 1u);
  EXPECT_EQ(request.messages[0].content[0].kind, BlockKind::Text);
  EXPECT_EQ(request.messages[0].content[0].text, "x");
}

TEST(MessagesRequest, ReadsAWholeToolLoop) {
  const auto request = parsed(R"({"model":"m","max_tokens":1,"messages":[
    {"role":"user","content":"list"},
    {"role":"assistant","content":[
      {"type":"thinking","thinking":"which?","signature":"sig=="},
      {"type":"redacted_thinking","data":"zz"},
      {"type":"text","text":"I list."},
      {"type":"tool_use","id":"toolu_A","name":"Bash","input":{"z":1,"a":{"é":[1.5,null]}}}]},
    {"role":"system","content":[{"type":"text","text":"plan mode"}]},
    {"role":"user","content":[
      {"type":"tool_result","tool_use_id":"toolu_A","is_error":true,"content":[
        {"type":"text","text":"no"},
        {"type":"image","source":{"type":"base64","media_type":"image/png","data":"AA=="}},
        {"type":"tool_reference","tool_name":"Read"}]},
      {"type":"tool_result","tool_use_id":"toolu_A","content":"as a string"},
      {"type":"tool_result","tool_use_id":"toolu_A"}]}]})");
  ASSERT_EQ(request.messages.size(), 4u);
  const auto& call = request.messages[1].content;
  ASSERT_EQ(call.size(), 4u);
  EXPECT_EQ(request.messages[1].role, Role::Assistant);
  EXPECT_EQ(call[0].kind, BlockKind::Thinking);
  EXPECT_EQ(call[0].text, "which?");
  EXPECT_EQ(call[0].signature, "sig==");
  EXPECT_EQ(call[1].kind, BlockKind::RedactedThinking);
  EXPECT_EQ(call[3].kind, BlockKind::ToolUse);
  EXPECT_EQ(call[3].id, "toolu_A");
  EXPECT_EQ(call[3].name, "Bash");
  EXPECT_EQ(call[3].input_json, R"({"z":1,"a":{"é":[1.5,null]}})");
  EXPECT_EQ(request.messages[2].role, Role::System);
  EXPECT_EQ(request.messages[2].content[0].text, "plan mode");
  const auto& results = request.messages[3].content;
  ASSERT_EQ(results.size(), 3u);
  EXPECT_EQ(results[0].kind, BlockKind::ToolResult);
  EXPECT_EQ(results[0].id, "toolu_A");
  EXPECT_TRUE(results[0].is_error);
  ASSERT_EQ(results[0].content.size(), 3u);
  EXPECT_EQ(results[0].content[0].text, "no");
  EXPECT_EQ(results[0].content[1].kind, BlockKind::Image);
  EXPECT_EQ(results[0].content[2].kind, BlockKind::ToolReference);
  EXPECT_EQ(results[0].content[2].name, "Read");
  EXPECT_FALSE(results[1].is_error);
  ASSERT_EQ(results[1].content.size(), 1u);
  EXPECT_EQ(results[1].content[0].text, "as a string");
  EXPECT_TRUE(results[2].content.empty());
}

TEST(MessagesRequest, KeepsWhereAnImageIs) {
  const auto request = parsed(R"({"model":"m","max_tokens":1,"messages":[{"role":"user","content":[
    {"type":"image","source":{"type":"base64","media_type":"image/png","data":"AA=="}},
    {"type":"image","source":{"type":"url","url":"https://example.org/a.png"}},
    {"type":"image","source":{"type":"file","file_id":"file_1"}}]}]})");
  const auto& blocks = request.messages[0].content;
  ASSERT_EQ(blocks.size(), 3u);
  EXPECT_EQ(blocks[0].url, "data:image/png;base64,AA==");
  EXPECT_EQ(blocks[1].url, "https://example.org/a.png");
  EXPECT_EQ(blocks[2].url, "");
}

TEST(MessagesRequest, TakesTheTextOutOfDocumentsThatHaveSome) {
  const auto request = parsed(R"({"model":"m","max_tokens":1,"messages":[{"role":"user","content":[
    {"type":"document","title":"T","context":"C","source":{"type":"text","data":"body"}},
    {"type":"document","source":{"type":"content","content":[{"type":"text","text":"one"},
                                                             {"type":"text","text":"two"}]}},
    {"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"JVBE"}},
    {"type":"search_result","title":"T","source":"https://example.org",
     "content":[{"type":"text","text":"found"}]}]}]})");
  const auto& blocks = request.messages[0].content;
  ASSERT_EQ(blocks.size(), 4u);
  for (const auto& block : blocks) EXPECT_EQ(block.kind, BlockKind::Document);
  EXPECT_EQ(blocks[0].text, "T\nC\nbody");
  EXPECT_EQ(blocks[1].text, "one\ntwo");
  EXPECT_EQ(blocks[2].text, "");
  EXPECT_EQ(blocks[3].text, "T\nhttps://example.org\nfound");
}

TEST(MessagesRequest, ReadsToolsWithTheirSchemasAsTheyStand) {
  const auto request = with(R"("tools":[
    {"name":"Bash","description":"runs","input_schema":{"type":"object","properties":{"b":{},"a":{}}}},
    {"name":"Later","defer_loading":true,"type":"custom","input_schema":{}},
    {"type":"web_search_20250305","name":"web_search","max_uses":8},
    {"type":"some_toolset_20260801"},
    {"name":"Bare"}],
    "tool_choice":{"type":"any","disable_parallel_tool_use":true})");
  ASSERT_EQ(request.tools.size(), 5u);
  EXPECT_EQ(request.tools[0].description, "runs");
  EXPECT_EQ(request.tools[0].input_schema_json,
            R"({"type":"object","properties":{"b":{},"a":{}}})");
  EXPECT_EQ(request.tools[0].type, "");
  EXPECT_FALSE(request.tools[0].defer_loading);
  EXPECT_TRUE(request.tools[1].defer_loading);
  EXPECT_EQ(request.tools[1].type, "custom");
  EXPECT_EQ(request.tools[1].input_schema_json, "{}");
  EXPECT_EQ(request.tools[2].type, "web_search_20250305");
  EXPECT_EQ(request.tools[2].input_schema_json, "");
  EXPECT_EQ(request.tools[3].name, "some_toolset_20260801");
  EXPECT_EQ(request.tools[4].input_schema_json, "");
  EXPECT_EQ(request.tool_choice.kind, ToolChoice::Kind::Any);
  EXPECT_TRUE(request.tool_choice.disable_parallel_tool_use);
}

TEST(MessagesRequest, ReadsEachToolChoice) {
  const std::string tools = R"("tools":[{"name":"Bash"}],"tool_choice":)";
  EXPECT_EQ(with(tools + R"({"type":"auto"})").tool_choice.kind, ToolChoice::Kind::Auto);
  EXPECT_EQ(with(tools + R"({"type":"none"})").tool_choice.kind, ToolChoice::Kind::None);
  const auto forced = with(tools + R"({"type":"tool","name":"Bash"})").tool_choice;
  EXPECT_EQ(forced.kind, ToolChoice::Kind::Tool);
  EXPECT_EQ(forced.name, "Bash");
}

TEST(MessagesRequest, KnowsWhichThinkingConfigurationsAskForThinking) {
  EXPECT_TRUE(with(R"("thinking":{"type":"enabled","budget_tokens":2048})").thinking_enabled);
  EXPECT_TRUE(with(R"("thinking":{"type":"adaptive","display":"omitted"})").thinking_enabled);
  EXPECT_FALSE(with(R"("thinking":{"type":"disabled"})").thinking_enabled);
}

TEST(MessagesRequest, ReadsTheOutputSchemaFromItsNewAndItsOldPlace) {
  const std::string format = R"({"type":"json_schema","schema":{"type":"object","x":1}})";
  EXPECT_EQ(with(R"("output_config":{"format":)" + format + "}").output_schema_json,
            R"({"type":"object","x":1})");
  EXPECT_EQ(with(R"("output_format":)" + format).output_schema_json, R"({"type":"object","x":1})");
  EXPECT_EQ(with(R"("output_config":{"effort":"high"})").output_schema_json, "");
}

}  // namespace
}  // namespace pensieve::api
