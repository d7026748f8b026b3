// JSON as text, read and written without building a value: prompts depend on every byte of it.
// Must not know prompts, tools or turns.
#pragma once

#include <string>
#include <string_view>

namespace pensieve::chat {

// `json` with one space behind every comma and colon and no other white space outside strings:
// {"a": 1, "b": [2, 3]}. Strings and numbers keep their bytes. REQUIRES: valid JSON.
std::string spaced_json(std::string_view json);

// `text` as a JSON string with its quotes; only what must be escaped is (RFC 8259, section 7).
std::string json_string(std::string_view text);

// The bytes of the value of `key` in a JSON object; empty if the key is not there, or spelt with
// escapes. REQUIRES: valid JSON, an object.
std::string_view member_text(std::string_view object, std::string_view key);

// Finds the end of one JSON object that arrives in pieces. It follows strings and brackets, no
// more: what it finds may still be no JSON. It gives up at once on what cannot be outside a string
// (so also on a backslash and on '<'), and on control characters inside one.
class ObjectScanner {
 public:
  enum class State { Before, Inside, Behind, Malformed };

  // Looks at one more byte. White space before and behind the object is taken; any other byte
  // behind it is malformed.
  State push(char c);
  State state() const { return state_; }

 private:
  static constexpr int kMaxDepth = 128;
  State state_ = State::Before;
  int depth_ = 0;
  bool in_string_ = false, escaped_ = false;
};

}  // namespace pensieve::chat
