// A grammar as the engine wants it: masks over the model's vocabulary, and forced text as tokens.
// Knows the tokenizer's dummy prefix and which tokens end an answer. Must not know tools or
// schemas.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "domain/engine/engine.h"
#include "domain/grammar/grammar.h"
#include "domain/tokenizer/tokenizer.h"

namespace pensieve::claude {

// The tokenizer's tokens as a grammar sees them: their bytes, none for control tokens.
std::shared_ptr<const grammar::Vocabulary> grammar_vocabulary(
    const tokenizer::Tokenizer& tokenizer);

struct ConstraintSetup {
  std::shared_ptr<const grammar::Grammar> grammar;
  const tokenizer::Tokenizer* tokenizer = nullptr;          // outlives the constraint
  std::shared_ptr<const grammar::Vocabulary> vocabulary;    // of the tokenizer
  std::shared_ptr<const std::vector<TokenId>> stop_tokens;  // allowed where the answer may end
  // Words that the vocabulary has as tokens of their own, which forced text is written with.
  std::vector<std::pair<std::string, TokenId>> tags{};
  bool at_start = true;    // the answer begins behind a control token
  bool completes = false;  // leaves room to complete the answer within what it may have
};
std::unique_ptr<engine::Constraint> make_constraint(const ConstraintSetup& setup);

}  // namespace pensieve::claude
