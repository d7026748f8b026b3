// Which tokens may come next. The costly part, strings, where most tokens fit, is worked out once
// for each state of their automaton and kept; what lies behind a string's end is followed each
// time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <tuple>
#include <vector>

#include "domain/grammar/internal/machine.h"
#include "domain/grammar/internal/token_trie.h"

namespace pensieve::grammar::internal {

class MaskMaker {
 public:
  // Both outlive it.
  MaskMaker(const Machine& machine, const TokenTrie& trie) : machine_(machine), trie_(trie) {}

  // Sets the bits of the tokens that `thread` can go on with, such that the answer can be completed
  // with n_left - 1 more bytes behind them; n_left 0: no such limit.
  void add(const Thread& thread, int n_left, std::span<std::uint32_t> mask);

  // For a thread in free text: false if every token may come. Otherwise sets the whole mask.
  bool free_text(const Thread& thread, int n_left, std::span<std::uint32_t> mask);

  // What the kept part may take before it is dropped and begun anew.
  static constexpr std::size_t kMaxBytes = std::size_t{16} << 20;
  std::size_t n_bytes() const { return n_bytes_; }

 private:
  // How a text's end depends on more than its automaton: not at all, on the number of characters,
  // on the names that are taken.
  enum class Kind : std::uint8_t { Plain, Counted, Name };

  // What the tokens do in one state of an automaton.
  struct Local {
    struct Exit {
      NodeIndex node;
      std::uint32_t characters;  // begun on the way
    };
    std::vector<std::uint32_t> mask;  // tokens that stay inside; Plain: or end with the text
    std::vector<Exit> exits;          // nodes at which the text ends; Plain: with more below them
    // Counted: masks[n] holds those of `mask` that begin at most n characters.
    std::vector<std::vector<std::uint32_t>> masks;
  };
  struct FreeText {
    struct Opening {
      TokenId token;
      int distance;  // kEndless if it does not fit
    };
    std::vector<Opening> openings;
    int farthest = 0;
  };

  bool add_text(const TextRule& rule,
                const Thread& thread,
                int n_left,
                std::span<std::uint32_t> mask);
  const Local& local(DfaId dfa, DfaState state, Kind kind, int limit);
  std::unique_ptr<Local> make_local(const Dfa& dfa, DfaState from, Kind kind, int limit) const;
  void walk(const Thread& thread, NodeIndex below, int n_left, std::span<std::uint32_t> mask);
  bool near_enough(const Thread& thread, int n_left) const;
  const FreeText& openings(const Thread& thread, const CallsRule& rule);

  const Machine& machine_;
  const TokenTrie& trie_;
  std::map<std::tuple<DfaId, DfaState, Kind, int>, std::unique_ptr<Local>> locals_;
  std::size_t n_bytes_ = 0;
  std::vector<Threads> levels_;  // of walk(), by depth
  std::vector<std::unique_ptr<FreeText>> free_text_;
  std::vector<TokenId> may_open_;
  bool knows_may_open_ = false;
};

}  // namespace pensieve::grammar::internal
