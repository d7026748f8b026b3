// What an answer may be made of: JSON Schemas and the syntax of tool calls -> a byte automaton ->
// the tokens that may come next. Guarantees that what a model samples parses and fits its schema.
// Knows JSON Schema, bytes and token ids. Must not know models, prompts, requests or the engine.
//
// Everything that is sampled under a grammar is JSON in one spelling: ", " between members, ": "
// behind keys, no other white space. Members come in any order. What a schema says that is not
// understood widens what is allowed (logged once), down to any JSON value; it never fails and never
// loops.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "foundation/ids.h"

namespace pensieve::grammar {

// The bytes of every token, as a trie. Immutable; any thread.
class Vocabulary {
 public:
  // tokens[i]: the bytes token i stands for. Empty: never allowed by a grammar (control tokens but
  // for those that are part of a syntax, unused ids). Copied.
  static std::shared_ptr<const Vocabulary> create(std::span<const std::string> tokens);
  virtual ~Vocabulary() = default;
  virtual int size() const = 0;
  virtual std::string_view bytes(TokenId token) const = 0;
  // Whether some token begins with `bytes` and is longer.
  virtual bool has_longer(std::string_view bytes) const = 0;
};

// How a model writes a tool call. Hermes: open "<tool_call>", before_name "\n{\"name\": \"",
// before_arguments "\", \"arguments\": ", close "}\n</tool_call>", between "\n".
struct CallSyntax {
  std::string open;              // ends free text; not empty
  std::string before_name;       // between `open` and the tool's name
  std::string before_arguments;  // between the name and the arguments' JSON object
  std::string close;             // behind the arguments
  std::string between;           // between two calls in a row
};

struct Tool {
  std::string name;
  std::string schema_json;  // of its arguments; empty: any object
};

struct CallRules {
  bool required =
      false;  // the answer is calls, from its first byte; otherwise free text comes first
  bool only_one = false;  // nothing may follow the first call
  // Not empty: the answer is calls alone, or one JSON value that fits this schema.
  std::string text_schema_json = {};
};

// A compiled grammar. Immutable to its users; holds caches that its matchers fill (16 MiB at most),
// so all matchers of one grammar live, and die, on one thread at a time.
class Grammar {
 public:
  virtual ~Grammar() = default;
};

// The whole answer is one JSON value that fits the schema. Any thread. Costs at most 100 ms
// whatever the schema.
std::shared_ptr<const Grammar> compile_json(std::string_view schema_json,
                                            std::shared_ptr<const Vocabulary> vocabulary);

// Free text with tool calls in it, or calls alone. With no tools and !required everything is
// allowed. REQUIRES: at least one tool if required or with a schema, and not both of these. Any
// thread.
std::shared_ptr<const Grammar> compile_calls(const CallSyntax& syntax,
                                             std::span<const Tool> tools,
                                             const CallRules& rules,
                                             std::shared_ptr<const Vocabulary> vocabulary);

// Where one answer stands in a grammar. Cheap to copy.
class Matcher {
 public:
  explicit Matcher(std::shared_ptr<const Grammar> grammar);

  // The tokens that may come next, one bit each in `mask` ((vocabulary size + 31) / 32 words, all
  // overwritten); or false: every token that has bytes may come, and `mask` is as it was.
  // `n_left`: tokens the answer may still have, this one included; no token is allowed behind which
  // the answer could not be completed with the rest, one token for each byte, provided that held
  // before; 0: no such limit. If nothing but the end may come, no bit is set and may_end() is true.
  bool allowed(std::span<std::uint32_t> mask, int n_left = 0) const;

  // Whether the answer may end here. In free text it always may.
  bool may_end() const;

  // Whether the answer is inside a call or value that has begun and is not complete.
  bool inside() const;

  // Goes on with a token. False if the grammar does not allow it; nothing has changed then.
  bool accept(TokenId token);
  bool accept_bytes(std::string_view bytes);

  // The bytes that must come next whatever is sampled, in whole characters; empty if there is a
  // choice or the answer may end here. At most `limit`.
  std::string forced(std::size_t limit = 256) const;

  // Bytes of the shortest completion from here.
  int shortest_completion() const;

 private:
  struct State;
  std::shared_ptr<const Grammar> grammar_;
  std::shared_ptr<const State> state_;
};

}  // namespace pensieve::grammar
