// A grammar in its compiled form: rules that call each other. A node is what a schema allows in one
// place: a choice of rules. Plain data; built by SchemaCompiler and CallCompiler, run by Machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "domain/grammar/internal/dfa.h"

namespace pensieve::grammar::internal {

using NodeId = std::uint32_t;
using RuleId = std::uint32_t;
using DfaId = std::uint32_t;

// Texts in byte order; a place in them is a range of texts that agree so far, and how far that is.
class Literals {
 public:
  struct Range {
    std::uint32_t low, high;  // [low, high)
  };
  Literals() = default;
  // Sorts; equal texts are kept, in their order.
  explicit Literals(std::vector<std::string> texts);

  Range all() const { return {0, static_cast<std::uint32_t>(texts_.size())}; }
  // The part of `range` whose byte at `at` is `byte`; texts that end there are left out.
  Range step(Range range, std::uint32_t at, std::uint8_t byte) const;
  std::string_view operator[](std::uint32_t index) const { return texts_[index]; }
  // The index in the vector that the texts came in.
  std::uint32_t original(std::uint32_t index) const { return originals_[index]; }
  int shortest() const { return shortest_; }
  int longest() const { return longest_; }

 private:
  std::vector<std::string> texts_;
  std::vector<std::uint32_t> originals_;
  int shortest_ = kEndless, longest_ = 0;
};

// A number or a string. With counts, characters between the quotes are counted as they begin.
struct TextRule {
  DfaId dfa = 0;
  bool counts = false;
  int min_length = 0, max_length = kEndless;  // in code points
};

// One of a list of values.
struct ChoiceRule {
  Literals values;
};

struct ArrayRule {
  std::vector<NodeId> prefix;
  NodeId items = 0;  // behind the prefix
  int min = 0, max = kEndless;

  NodeId item(int index) const {
    return index < static_cast<int>(prefix.size()) ? prefix[static_cast<std::size_t>(index)]
                                                   : items;
  }
};

struct ObjectRule {
  struct Property {
    NodeId value;
    bool required;
  };
  // Names that are not declared, in disjoint classes: each a DFA over the quoted name.
  struct Extra {
    RuleId name = 0;  // a TextRule, the key of one rule alone
    NodeId value = 0;
    // names_within[n]: how many names there are of at most n bytes, quotes included, up to a bound.
    std::vector<std::int64_t> names_within = {};
    int bytes_per_further_name = 0;  // beyond that; 0 where there are no more

    // Bytes enough for a name, with its quotes, that is not among `n_taken` others.
    int fresh_name(int n_taken) const;
  };
  Literals keys;                     // name in JSON, closing quote, ": "
  std::vector<Property> properties;  // in the order of `keys`
  std::vector<Extra> extras;
  int min = 0, max = kEndless;  // members
  int n_required = 0;
};

// What has been written of an object.
struct ObjectProgress {
  std::span<const std::uint64_t> used;  // one bit for each property; empty: none
  int n_members = 0, n_extras = 0;

  bool has(std::uint32_t property) const {
    return !used.empty() && (used[property / 64] >> (property % 64) & 1) != 0;
  }
};
// The members that must come: how many, their bytes without separators, how deep they nest.
struct ObjectNeed {
  int members = 0;
  int bytes = 0;
  int depth = 0;
};

// Free text and calls. REQUIRES: `open` is not empty if free text comes first.
struct CallsRule {
  std::string open = {}, close = {}, between = {};
  Literals heads = {};                 // before_name, name, before_arguments: one for each tool
  std::vector<NodeId> arguments = {};  // in the order of `heads`
  bool required = false, only_one = false;
  std::vector<std::uint32_t> failure =
      {};  // of `open` (Knuth, Morris, Pratt): see border_lengths()
};

// For each n: the length of the longest proper prefix of text[0, n] that is also its suffix.
std::vector<std::uint32_t> border_lengths(std::string_view text);

// The end of the answer.
struct EndRule {};

struct Rule {
  std::variant<EndRule, TextRule, ChoiceRule, ArrayRule, ObjectRule, CallsRule> body;
  // The shortest text of the rule, in bytes, and how many brackets nest in it.
  int shortest = kEndless;
  int depth = 0;
  // No place in the rule is further from its end than this, calls that are under way left out.
  int longest = kEndless;
};

struct Node {
  std::vector<RuleId> rules;
  int shortest = kEndless;
  int depth = 0;
};

struct Program {
  std::vector<Dfa> dfas;
  std::vector<Rule> rules;
  std::vector<Node> nodes;
  // Where an answer begins, one of them or both: a CallsRule, and a node behind which comes
  // end_rule.
  std::optional<RuleId> calls_rule;
  std::optional<NodeId> root_node;
  RuleId end_rule = 0;
  int max_depth = 96;                // brackets that may nest
  int deepest_node = 0;              // the largest Node::depth
  std::vector<std::string> widened;  // the keywords that were not understood, each once

  const Dfa& dfa(const TextRule& rule) const { return dfas[rule.dfa]; }
};

// The cheapest members that complete the object; bytes is kEndless if it cannot be.
ObjectNeed still_needed(const Program& program, const ObjectRule& rule, const ObjectProgress& done);
// The cheapest member that may be added, nesting no deeper than `max_depth`; kEndless if there is
// none.
int cheapest_member(const Program& program,
                    const ObjectRule& rule,
                    const ObjectProgress& done,
                    int max_depth);
int property_bytes(const Program& program, const ObjectRule& rule, std::uint32_t property);

// Sets shortest, depth and longest of all rules and nodes, takes rules that cannot be completed out
// of their nodes, and properties that cannot out of their objects. A node without rules is left
// where nothing fits.
void find_shortest(Program& program);

}  // namespace pensieve::grammar::internal
