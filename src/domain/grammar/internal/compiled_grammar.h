// A grammar as its matchers use it: the program, the vocabulary, and what was worked out about
// both.
#pragma once

#include <memory>
#include <utility>

#include "domain/grammar/grammar.h"
#include "domain/grammar/internal/machine.h"
#include "domain/grammar/internal/masks.h"
#include "domain/grammar/internal/program.h"
#include "domain/grammar/internal/token_trie.h"

namespace pensieve::grammar::internal {

class CompiledGrammar final : public Grammar {
 public:
  CompiledGrammar(Program program, std::shared_ptr<const Vocabulary> vocabulary)
      : program_(std::move(program)),
        machine_(program_),
        vocabulary_(std::static_pointer_cast<const TokenTrie>(std::move(vocabulary))),
        masks_(machine_, *vocabulary_) {}

  const Program& program() const { return program_; }
  const Machine& machine() const { return machine_; }
  const TokenTrie& vocabulary() const { return *vocabulary_; }
  // Fills as it is used: one thread at a time.
  MaskMaker& masks() const { return masks_; }

 private:
  Program program_;
  Machine machine_;
  std::shared_ptr<const TokenTrie> vocabulary_;
  mutable MaskMaker masks_;
};

}  // namespace pensieve::grammar::internal
