// Goal: every refusal of another server becomes an error a client of ours can act on, and never
// shows the key. The sentences are those the servers named in each case really send.
#include "application/proxy/internal/upstream_error.h"

#include <gtest/gtest.h>

#include <string>

#include "domain/api/messages.h"

namespace pensieve::proxy {
namespace {

const UpstreamName kUpstream{.url = "http://host:8000", .key = "sk-secret-0123"};

struct Case {
  int status;
  int retry_after_s;
  std::string body;
  ErrorKind kind;
  int waits_s;
  std::string in_sentence;
};

TEST(UpstreamError, MapsEveryStatus) {
  const Case cases[] = {
      {400,
       0,
       R"({"error":{"message":"bad tool","type":"BadRequestError","code":400}})",
       ErrorKind::InvalidRequest,
       0,
       "bad tool"},
      {422, 0, R"({"detail":"unprocessable"})", ErrorKind::InvalidRequest, 0, "unprocessable"},
      {401,
       0,
       R"({"error":{"message":"Incorrect API key provided: sk-secret-0123."}})",
       ErrorKind::Unavailable,
       0,
       "PENSIEVE_UPSTREAM_KEY"},
      {403, 0, "no", ErrorKind::Unavailable, 0, "PENSIEVE_UPSTREAM_KEY"},
      {404,
       0,
       R"({"object":"error","message":"The model `x` does not exist."})",
       ErrorKind::NotFound,
       0,
       "`x` does not exist"},
      {408, 0, "", ErrorKind::Unavailable, 1, "too long"},
      {413, 0, "", ErrorKind::TooLarge, 0, "413"},
      {418, 0, "teapot", ErrorKind::InvalidRequest, 0, "teapot"},
      {429, 0, "", ErrorKind::RateLimited, 1, "429"},
      {429, 7, R"({"error":"slow down"})", ErrorKind::RateLimited, 7, "slow down"},
      {429, 3600, "", ErrorKind::RateLimited, 10, "429"},
      {500,
       0,
       R"({"error":{"message":"boom sk-secret-0123 boom"}})",
       ErrorKind::Internal,
       0,
       "boom *** boom"},
      {502, 0, "<html>Bad Gateway</html>", ErrorKind::Internal, 0, "502"},
      {503, 5, "", ErrorKind::Overloaded, 5, "503"},
      {529, 0, "", ErrorKind::Overloaded, 1, "529"},
      {504, 0, "", ErrorKind::Unavailable, 1, "504"},
      {302, 0, "", ErrorKind::Unavailable, 0, "redirect"},
      {307, 0, "", ErrorKind::Unavailable, 0, "--upstream"},
  };
  for (const Case& test : cases) {
    const Error error =
        upstream_status_error(kUpstream, test.status, test.retry_after_s, test.body);
    SCOPED_TRACE(error.message);
    EXPECT_EQ(error.kind, test.kind) << test.status;
    EXPECT_EQ(error.retry_after_s, test.waits_s) << test.status;
    EXPECT_NE(error.message.find(test.in_sentence), std::string::npos);
    EXPECT_NE(error.message.find("http://host:8000"), std::string::npos);
    EXPECT_EQ(error.message.find("secret"), std::string::npos);
  }
}

TEST(UpstreamError, SaysWhetherAKeyIsMissingOrWrong) {
  EXPECT_NE(upstream_status_error({.url = "u", .key = ""}, 401, 0, "").message.find("set PENSIEVE"),
            std::string::npos);
  EXPECT_NE(upstream_status_error({.url = "u", .key = "k"}, 401, 0, "").message.find("the key in"),
            std::string::npos);
}

TEST(UpstreamError, CutsWhatIsTooLongAndEscapesWhatIsNoText) {
  const Error error =
      upstream_status_error(kUpstream, 500, 0, "\x1b[31m" + std::string(100'000, 'x'));
  EXPECT_LT(error.message.size(), 1000u);
  EXPECT_EQ(error.message.find('\x1b'), std::string::npos);
}

struct Window {
  std::string body;
  std::string sentence;  // of the error; empty: not about the window
  int room;              // 0: none
};

TEST(UpstreamError, SaysAPromptIsTooLongInTheWordsClientsKnow) {
  const Window cases[] = {
      // OpenAI, older vLLM, llama-cpp-python
      {R"({"error":{"message":"This model's maximum context length is 8192 tokens. However, you requested 40000 tokens (8000 in the messages, 32000 in the completion). Please reduce the length of the messages or completion.","code":"context_length_exceeded"}})",
       "prompt is too long: 8000 tokens > 8192 maximum",
       192},
      {R"({"error":{"message":"This model's maximum context length is 4096 tokens. However, your messages resulted in 5000 tokens."}})",
       "prompt is too long: 5000 tokens > 4096 maximum",
       0},
      {R"({"message":"This model's maximum context length is 2048 tokens. However, you requested 2100 tokens (2090 in your prompt; 10 for the completion)."})",
       "prompt is too long: 2090 tokens > 2048 maximum",
       0},
      // newer vLLM
      {R"({"error":{"message":"'max_tokens' or 'max_completion_tokens' is too large: 32000. This model's maximum context length is 8192 tokens and your request has 1500 input tokens (32000 > 8192 - 1500)."}})",
       "prompt is too long: 1500 tokens > 8192 maximum",
       6692},
      // SGLang
      {R"({"message":"The input (9000 tokens) is longer than the model's context length (8192 tokens)."})",
       "prompt is too long: 9000 tokens > 8192 maximum",
       0},
      // llama.cpp
      {R"({"error":{"code":400,"message":"the request exceeds the available context size. try increasing the context size or enable context shift","type":"exceed_context_size_error","n_prompt_tokens":5000,"n_ctx":4096}})",
       "prompt is too long: 5000 tokens > 4096 maximum",
       0},
      // another Pensieve
      {R"({"error":{"message":"prompt is too long: 600 tokens > 512 maximum","type":"invalid_request_error","param":null,"code":"context_length_exceeded"}})",
       "prompt is too long: 600 tokens > 512 maximum",
       0},
      {R"({"error":{"message":"tools: must be an array of 3 to 5"}})", "", 0},
      {"9 < 10 > 8", "", 0},
      {"", "", 0},
  };
  for (const Window& test : cases) {
    const Error error = upstream_status_error(kUpstream, 400, 0, test.body);
    EXPECT_EQ(error.kind, ErrorKind::InvalidRequest);
    if (test.sentence.empty()) {
      EXPECT_FALSE(error.message.starts_with("prompt is too long")) << error.message;
    } else {
      EXPECT_EQ(error.message, test.sentence) << test.body;
    }
    EXPECT_EQ(room_for_answer(test.body).value_or(0), test.room) << test.body;
  }
}

TEST(UpstreamError, FindsErrorsInAStream) {
  const auto error = [](const std::string& chunk) {
    return upstream_chunk_error(kUpstream, *parse_json(chunk));
  };
  EXPECT_FALSE(error(R"({"choices":[]})").has_value());
  EXPECT_FALSE(error(R"({"error":null,"choices":[]})").has_value());
  const auto busy = error(R"({"error":{"message":"busy","type":"x","code":429}})");
  ASSERT_TRUE(busy.has_value());
  EXPECT_EQ(busy->kind, ErrorKind::RateLimited);
  const auto broken = error(R"({"error":{"message":"CUDA sk-secret-0123","code":"x"}})");
  ASSERT_TRUE(broken.has_value());
  EXPECT_EQ(broken->kind, ErrorKind::Internal);
  EXPECT_NE(broken->message.find("CUDA ***"), std::string::npos);
  EXPECT_TRUE(error(R"({"error":"just text"})").has_value());
  EXPECT_TRUE(error(R"({"error":7})").has_value());
}

}  // namespace
}  // namespace pensieve::proxy
