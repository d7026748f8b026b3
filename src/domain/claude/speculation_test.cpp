// Goal: with drafts an answer is what it is without, on the embedded model: greedy and drawn, free
// and under a tool's schema. Method: two engines over the same weights, one that drafts wherever it
// can.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "domain/claude/internal/test_support.h"
#include "domain/compute/cpu/cpu_backend.h"

namespace pensieve::claude {
namespace {

struct House {
  explicit House(engine::Speculation speculation) {
    engine::EngineOptions options;
    options.speculation = speculation;
    auto made = engine::Engine::create(
        [&] {
          return compute::cpu::create_backend(
              tiny_model().file->weights(),
              {.n_threads = 1, .max_context = 2048, .kv_budget_bytes = std::size_t{64} << 20},
              accountant);
        },
        options);
    CHECK(made.has_value());
    engine = std::move(*made);
    service = Service::create(tiny_model(), *engine);
  }

  // The message as JSON, without its id.
  std::string answer(const api::MessagesRequest& request) {
    auto begun = service->answer(request, "test");
    CHECK(begun.has_value());
    while (!(*begun)->finished()) {
      (*begun)->wait(60'000);
      CHECK((*begun)->poll().has_value());
    }
    Json json = *parse_json(api::to_json((*begun)->message()));
    json.erase("id");
    for (Json& block : json["content"])
      if (block.contains("id")) block.erase("id");
    return json.dump();
  }

  Accountant accountant;
  std::unique_ptr<engine::Engine> engine;
  std::unique_ptr<Service> service;
};

TEST(Speculation, ChangesNoAnswerOfTheEmbeddedModel) {
  House off(engine::Speculation::Off), on(engine::Speculation::Always);
  std::vector<api::MessagesRequest> requests;
  for (const char* text :
       {"repeat after me: la la la la la la la la", "say 'src/main.cpp src/main.cpp'"}) {
    requests.push_back(ask(text, 24));
    requests.push_back(ask(text, 24));
    requests.back().temperature = 0.9;
    requests.back().seed = 1;
  }
  // A tool's input that copies what the prompt says.
  requests.push_back(ask("write alpha beta gamma alpha beta gamma", 24));
  api::Tool write;
  write.name = "Write";
  write.input_schema_json =
      R"({"type":"object","properties":{"content":{"type":"string"}},"required":["content"]})";
  requests.back().tools = {write};
  requests.back().tool_choice.kind = api::ToolChoice::Kind::Any;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    EXPECT_EQ(on.answer(requests[i]), off.answer(requests[i])) << "request " << i;
  }
  EXPECT_EQ(off.engine->stats().drafted_tokens, 0u);
  EXPECT_GT(on.engine->stats().accepted_tokens, 20u);
  EXPECT_GT(on.engine->stats().drafted_tokens, on.engine->stats().accepted_tokens);
}

}  // namespace
}  // namespace pensieve::claude
