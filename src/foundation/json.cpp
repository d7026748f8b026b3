#include "foundation/json.h"

#include <cmath>
#include <cstddef>
#include <iterator>
#include <string>
#include <unordered_set>
#include <vector>

#include "foundation/text.h"

namespace pensieve {
namespace {

// Reads a text and lets others see how far it got: nlohmann tells the position of syntax errors
// only.
class Cursor {
 public:
  using iterator_category = std::forward_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  Cursor() = default;
  Cursor(const char* at, const char** progress) : at_(at), progress_(progress) {}
  reference operator*() const { return *at_; }
  Cursor& operator++() {
    *progress_ = ++at_;
    return *this;
  }
  Cursor operator++(int) {
    Cursor before = *this;
    ++*this;
    return before;
  }
  bool operator==(const Cursor& other) const { return at_ == other.at_; }

 private:
  const char* at_ = nullptr;
  const char** progress_ = nullptr;
};

// Builds the value from SAX events, so that a bound is met before memory or stack is spent on what
// lies beyond it. nlohmann's parser itself keeps its nesting on the heap.
class Builder : public nlohmann::json_sax<Json> {
 public:
  explicit Builder(const JsonLimits& limits) : limits_(limits) {}

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t&) override {
    if (!std::isfinite(value)) return refuse("a number is out of range");
    return add(value);
  }
  bool string(string_t& value) override {
    if (value.find('\0') != std::string::npos) return refuse("a string contains NUL");
    return add(std::move(value));
  }
  bool binary(binary_t&) override { return refuse("binary values are not JSON"); }
  bool start_object(std::size_t) override { return open(Json::object()); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& name) override {
    if (name.find('\0') != std::string::npos) return refuse("a key contains NUL");
    Level& level = levels_.back();
    if (level.keys.size() >= limits_.max_keys_per_object)
      return refuse("an object has too many keys");
    if (!level.keys.insert(name).second) return refuse("duplicate key \"" + printable(name) + "\"");
    level.key = std::move(name);
    return true;
  }
  bool parse_error(std::size_t position,
                   const std::string&,
                   const nlohmann::detail::exception& error) override {
    // nlohmann's sentence reads "[json.exception…] parse error at line 1, column 5: what", and may
    // quote as much of the text as it has read of one token.
    const std::string_view what = error.what();
    const auto colon = what.find(": ");
    error_ = printable(colon == std::string_view::npos ? what : what.substr(colon + 2), 200);
    syntax_error_at_ = position;
    return false;
  }

  Json take() { return std::move(root_); }
  const std::string& error() const { return error_; }
  // Bytes read when the syntax broke, the wrong one included; 0 for a refusal of our own.
  std::size_t syntax_error_at() const { return syntax_error_at_; }

 private:
  struct Level {
    Json value;
    std::string key;
    std::unordered_set<std::string> keys;
  };

  bool refuse(std::string why) {
    error_ = std::move(why);
    return false;
  }
  bool open(Json value) {
    if (static_cast<int>(levels_.size()) >= limits_.max_depth) return refuse("nesting too deep");
    levels_.push_back({.value = std::move(value), .key = {}, .keys = {}});
    return true;
  }
  bool close() {
    Json value = std::move(levels_.back().value);
    levels_.pop_back();
    return add(std::move(value));
  }
  bool add(Json value) {
    if (levels_.empty()) {
      root_ = std::move(value);
      return true;
    }
    Level& level = levels_.back();
    if (level.value.is_array()) {
      level.value.push_back(std::move(value));
    } else {
      // ordered_json's own insertion looks for the key again, linearly; the set above already did.
      auto& object = level.value.get_ref<Json::object_t&>();
      static_cast<Json::object_t::Container&>(object).emplace_back(std::move(level.key),
                                                                   std::move(value));
    }
    return true;
  }

  const JsonLimits& limits_;
  std::vector<Level> levels_;
  Json root_;
  std::string error_;
  std::size_t syntax_error_at_ = 0;
};

}  // namespace

Result<Json> parse_json(std::string_view text, const JsonLimits& limits) {
  const auto refuse = [](const std::string& why) {
    return Error{.kind = ErrorKind::InvalidRequest, .message = "invalid JSON: " + why};
  };
  if (text.substr(0, 3) == "\xEF\xBB\xBF") return refuse("a byte order mark at offset 0");
  if (const auto bad = first_invalid_utf8(text); bad != std::string_view::npos) {
    return refuse("invalid UTF-8 at offset " + std::to_string(bad));
  }
  // nlohmann takes a NUL for the end of the text and never looks behind it.
  if (const auto nul = text.find('\0'); nul != std::string_view::npos) {
    return refuse("a NUL byte at offset " + std::to_string(nul));
  }
  Builder builder(limits);
  const char* progress = text.data();
  const Cursor begin(text.data(), &progress), end(text.data() + text.size(), &progress);
  if (!Json::sax_parse(begin, end, &builder)) {
    if (const auto read = builder.syntax_error_at(); read > 0) {
      return refuse(builder.error() + " (at offset " + std::to_string(read - 1) + ")");
    }
    return refuse(builder.error() + " (before offset " + std::to_string(progress - text.data()) +
                  ")");
  }
  return builder.take();
}

}  // namespace pensieve
