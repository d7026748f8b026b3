// What the tests of this room share: the embedded model's file, requests in few words, and a strict
// reader of event streams that rebuilds the message and refuses whatever a client could not follow.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "foundation/json.h"

#include "domain/claude/service.h"

namespace pensieve::claude {

inline std::string tiny_model_path() {
  return PENSIEVE_SOURCE_DIR "/tools/tiny-model/artefacts/pensieve-tiny-q4_0.gguf";
}

// The embedded model without an engine: tokenizer and chat format.
inline const LoadedModel& tiny_model() {
  static Accountant accountant;
  static const LoadedModel model = [] {
    auto file = model::ModelFile::open(tiny_model_path(), accountant);
    CHECK(file.has_value());
    auto loaded = load(*std::move(file));
    CHECK(loaded.has_value());
    return *std::move(loaded);
  }();
  return model;
}

inline api::ContentBlock text_block(std::string text) {
  api::ContentBlock block;
  block.text = std::move(text);
  return block;
}

inline api::MessagesRequest ask(std::string text, int max_tokens = 64) {
  api::MessagesRequest request;
  request.model = "claude-test";
  request.max_tokens = max_tokens;
  request.messages.push_back({.role = api::Role::User, .content = {text_block(std::move(text))}});
  return request;
}

// Follows a stream as the streaming page describes it. Every broken rule is a test failure.
class StreamReader {
 public:
  void read(const std::vector<api::Event>& events) {
    for (const api::Event& event : events) read(event);
  }

  void read(const api::Event& event) {
    const auto parsed = parse_json(event.json);
    ASSERT_TRUE(parsed.has_value()) << event.json;
    const Json& json = *parsed;
    ASSERT_EQ(json.value("type", ""), event.name);
    ASSERT_FALSE(stopped_) << event.name << " behind message_stop";
    if (event.name == "message_start") {
      ASSERT_TRUE(message_.is_null()) << "a second message_start";
      message_ = json["message"];
      return;
    }
    ASSERT_FALSE(message_.is_null()) << event.name << " before message_start";
    if (event.name == "content_block_start") {
      start_block(json);
    } else if (event.name == "content_block_delta") {
      add_delta(json);
    } else if (event.name == "content_block_stop") {
      stop_block(json);
    } else if (event.name == "message_delta") {
      ASSERT_FALSE(open_);
      ASSERT_FALSE(ended_) << "a second message_delta";
      ended_ = true;
      message_["stop_reason"] = json["delta"]["stop_reason"];
      message_["stop_sequence"] = json["delta"]["stop_sequence"];
      message_["usage"] = json["usage"];
    } else {
      ASSERT_EQ(event.name, "message_stop");
      ASSERT_TRUE(ended_) << "message_stop without message_delta";
      stopped_ = true;
    }
  }

  bool stopped() const { return stopped_; }
  int deltas() const { return deltas_; }
  const Json& message() const { return message_; }
  std::string text() const {
    std::string all;
    for (const Json& block : message_["content"]) all += block.value("text", "");
    return all;
  }

 private:
  Json& block() { return message_["content"].back(); }

  void start_block(const Json& json) {
    ASSERT_FALSE(open_) << "a block inside a block";
    ASSERT_FALSE(ended_);
    ASSERT_EQ(json["index"], message_["content"].size());
    message_["content"].push_back(json["content_block"]);
    input_.clear();
    open_ = true;
  }

  void add_delta(const Json& json) {
    ASSERT_TRUE(open_);
    ASSERT_EQ(json["index"], message_["content"].size() - 1);
    ++deltas_;
    const Json& delta = json["delta"];
    const std::string type = delta["type"], kind = block()["type"];
    const auto append = [&](const char* field) {
      const std::string piece = delta[field];
      ASSERT_FALSE(piece.empty());
      block()[field] = block()[field].get<std::string>() + piece;
    };
    if (kind == "text") {
      ASSERT_EQ(type, "text_delta");
      append("text");
    } else if (kind == "tool_use") {
      ASSERT_EQ(type, "input_json_delta");
      input_ += delta["partial_json"].get<std::string>();
    } else if (type == "thinking_delta") {
      append("thinking");
    } else {
      ASSERT_EQ(type, "signature_delta");
      append("signature");
    }
  }

  void stop_block(const Json& json) {
    ASSERT_TRUE(open_);
    ASSERT_EQ(json["index"], message_["content"].size() - 1);
    open_ = false;
    if (block()["type"] != "tool_use") return;
    const auto input = parse_json(input_);
    if (input && input->is_object()) block()["input"] = *input;
  }

  Json message_;
  std::string input_;
  int deltas_ = 0;
  bool open_ = false;
  bool ended_ = false;
  bool stopped_ = false;
};

// The two ways to an answer tell the same.
inline void expect_same_message(const StreamReader& stream, const Answer& answer) {
  EXPECT_TRUE(stream.stopped());
  EXPECT_TRUE(answer.finished());
  const auto whole = parse_json(api::to_json(answer.message()));
  ASSERT_TRUE(whole.has_value());
  EXPECT_EQ(nlohmann::json::parse(stream.message().dump()), nlohmann::json::parse(whole->dump()));
}

}  // namespace pensieve::claude
