// Which model is found, and that what is put together answers. The model is the embedded one.
#include "application/cli/stack.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "application/cli/exit_status.h"
#include "application/cli/tap_engine.h"

namespace pensieve::cli {
namespace {

namespace fs = std::filesystem;

const std::string kTinyFile =
    PENSIEVE_SOURCE_DIR "/tools/tiny-model/artefacts/pensieve-tiny-q4_0.gguf";

class Models : public testing::Test {
 protected:
  Models() {
    std::string pattern = (fs::temp_directory_path() / "models-XXXXXX").string();
    home_ = mkdtemp(pattern.data());
    setenv("PENSIEVE_HOME", home_.c_str(), 1);
  }
  ~Models() override {
    unsetenv("PENSIEVE_HOME");
    fs::remove_all(home_);
  }
  Result<OpenedModel> choose(ModelMode mode, const std::string& model = "") {
    Options options;
    options.mode = mode;
    options.model = model;
    return choose_model(options, accountant_);
  }

  Accountant accountant_;
  fs::path home_;
};

TEST_F(Models, AutoTakesTheEmbeddedOneWhenThereIsNoOther) {
  const auto opened = choose(ModelMode::Auto);
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_TRUE(opened->embedded);
  EXPECT_TRUE(opened->by_default);
  EXPECT_EQ(opened->file->weights().hyper.vocab, 4160);
}

TEST_F(Models, SkipNamesTheWayOutWhenThereIsNone) {
  const auto opened = choose(ModelMode::Skip);
  ASSERT_FALSE(opened);
  EXPECT_EQ(exit_status(opened.error()), 2);
  for (const std::string& word : {std::string("--model"), home_.string(), std::string("tiny")}) {
    EXPECT_NE(opened.error().message.find(word), std::string::npos) << opened.error().message;
  }
}

TEST_F(Models, ANameThatIsNotHereSaysHowToGetIt) {
  for (const std::string& name : {std::string("qwen3-4b-4bit"), std::string("hub:owner/model")}) {
    const auto opened = choose(ModelMode::Auto, name);
    ASSERT_FALSE(opened);
    EXPECT_EQ(exit_status(opened.error()), 2);
    EXPECT_NE(opened.error().message.find("pensieve model pull " + name), std::string::npos)
        << opened.error().message;
  }
}

TEST_F(Models, TheHomeDirectorysModelComesFirst) {
  fs::create_directories(home_ / "models");
  fs::create_symlink(kTinyFile, home_ / "models" / "default");
  for (const ModelMode mode : {ModelMode::Auto, ModelMode::Skip}) {
    const auto opened = choose(mode);
    ASSERT_TRUE(opened) << opened.error().message;
    EXPECT_FALSE(opened->embedded);
    EXPECT_EQ(opened->file->weights().fingerprint,
              open_model("tiny", accountant_)->file->weights().fingerprint);
  }
}

TEST_F(Models, AnMlxDirectoryIsAModelToo) {
  const auto opened =
      choose(ModelMode::Auto, PENSIEVE_SOURCE_DIR "/tools/tiny-model/artefacts/mlx");
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_EQ(opened->file->weights().hyper.n_layers, 6);
}

TEST_F(Models, ABadFileIsAnErrorEvenWhereTheEmbeddedOneWouldDo) {
  fs::create_directories(home_ / "models");
  std::ofstream(home_ / "models" / "default") << "this is no model";
  const auto opened = choose(ModelMode::Auto);
  ASSERT_FALSE(opened);
  EXPECT_EQ(exit_status(opened.error()), 2);

  fs::remove(home_ / "models" / "default");
  fs::create_symlink(home_ / "gone", home_ / "models" / "default");
  EXPECT_FALSE(choose(ModelMode::Auto));
  EXPECT_FALSE(choose(ModelMode::Auto, (home_ / "nowhere.gguf").string()));
}

TEST_F(Models, WhatIsHeldIsGivenBack) {
  ASSERT_TRUE(choose(ModelMode::Auto));
  EXPECT_EQ(accountant_.total(), 0u);
}

TEST_F(Models, AStackAnswersAndTheTapSeesEveryToken) {
  Options options;
  options.model = "tiny";
  options.context = 512;
  options.threads = 1;
  auto built = build_stack(options, 1);
  ASSERT_TRUE(built) << built.error().message;
  Stack& stack = **built;
  EXPECT_EQ(stack.engine->context_length(), 512);
  EXPECT_EQ(stack.kv, compute::KvType::F16) << "24 KiB per token";

  api::ContentBlock block;
  block.text = "show all files including hidden ones";
  api::MessagesRequest request;
  request.max_tokens = 100;
  request.temperature = 0;
  request.messages.push_back({.role = api::Role::User, .content = {block}});

  Tapped tapped;
  const auto tap = make_tap_engine(*stack.engine, tapped);
  const auto service = claude::Service::create(stack.model, *tap);
  auto answer = service->answer(request, "test");
  ASSERT_TRUE(answer) << answer.error().message;
  while (!(*answer)->finished()) {
    (*answer)->wait(1000);
    ASSERT_TRUE((*answer)->poll());
  }
  const api::Message& message = (*answer)->message();
  ASSERT_EQ(message.content.size(), 1u);
  EXPECT_NE(message.content[0].text.find("ls -"), std::string::npos) << message.content[0].text;
  EXPECT_EQ(static_cast<int>(tapped.tokens.size()), message.usage.output_tokens);
  EXPECT_EQ(tapped.prompt_tokens, *stack.service->count_tokens(request));
}

TEST_F(Models, OptionsThatCannotBeMetAreRefused) {
  Options options;
  options.model = "tiny";
  options.kernel = "no-such-kernel";
  const auto no_kernel = build_stack(options, 1);
  ASSERT_FALSE(no_kernel);
  EXPECT_EQ(exit_status(no_kernel.error()), 2);

  options.kernel.clear();
  options.context = 131073;
  const auto too_long = build_stack(options, 1);
  ASSERT_FALSE(too_long);
  EXPECT_EQ(exit_status(too_long.error()), 2);
}

}  // namespace
}  // namespace pensieve::cli
