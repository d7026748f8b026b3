// One answer on its way: token events of the engine -> text -> parts -> events of the API. Knows
// the order of the rooms behind the engine. Must not know how prompts are made.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "domain/claude/internal/answer_memory.h"
#include "domain/claude/internal/prompt_map.h"
#include "domain/claude/service.h"

namespace pensieve::claude {

struct AnswerSetup {
  std::string model;  // as the request named it
  int prompt_tokens = 0;
  int marked_tokens = 0;  // of those, up to where the request's last cache_control stands
  PromptMap map;          // of a prompt that is worth a line in the log; empty otherwise
  std::vector<std::string> stop_sequences;
  chat::ReplyMode mode = chat::ReplyMode::Text;
  bool one_tool_use = false;        // the answer ends behind its first tool call
  bool at_start = true;             // the prompt ends with a control token
  std::optional<int> top_logprobs;  // take_scores() has something to say
  // Where the answer's tokens go once it is over, behind `lead`, with which the prompt began the
  // turn; none: nowhere. Outlives the answer.
  AnswerMemory* memory = nullptr;
  std::vector<TokenId> lead;
};

// `tokenizer` and `format` outlive the answer.
std::unique_ptr<Answer> make_answer(AnswerSetup setup,
                                    std::unique_ptr<engine::Generation> generation,
                                    const tokenizer::Tokenizer& tokenizer,
                                    const chat::ChatFormat& format);

}  // namespace pensieve::claude
