// Which grammar a request's answer must follow: its tools, its tool choice and its output format.
// Compiled grammars are kept by what they are made from: a client sends the same tools all day.
// Knows requests and how calls are written. Must not know tokens that were sampled.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "foundation/result.h"

#include "domain/api/messages.h"
#include "domain/chat/chat_format.h"
#include "domain/grammar/grammar.h"

namespace pensieve::claude {

struct AnswerGrammar {
  std::shared_ptr<const grammar::Grammar> grammar;  // null: any text
  chat::ReplyMode mode = chat::ReplyMode::Text;
  // The answer is what the request asked for only if it is whole, so it is completed within what it
  // may have. A call in the midst of text is not: a file cut in half would be written.
  bool completes = false;
};

// Any thread.
class AnswerGrammars {
 public:
  AnswerGrammars(std::shared_ptr<const grammar::Vocabulary> vocabulary,
                 const chat::CallSyntax& syntax);

  // Errors: InvalidRequest for a tool choice without the tool.
  Result<AnswerGrammar> of(const api::MessagesRequest& request);

  const std::shared_ptr<const grammar::Vocabulary>& vocabulary() const { return vocabulary_; }

 private:
  using Compiled = std::shared_ptr<const grammar::Grammar>;
  template <typename Compile>
  Compiled kept(std::string key, const Compile& compile);

  const std::shared_ptr<const grammar::Vocabulary> vocabulary_;
  const grammar::CallSyntax syntax_;
  std::mutex mutex_;
  std::list<std::pair<std::string, Compiled>> kept_;  // the last one asked for first
};

}  // namespace pensieve::claude
