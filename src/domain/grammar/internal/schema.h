// JSON Schemas as they are read: documents, references inside them, and what can be said of one
// value against one schema. Holds nlohmann's JSON: include it from .cpp files only.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "foundation/json.h"

#include "domain/grammar/internal/budget.h"
#include "domain/grammar/internal/regex.h"

namespace pensieve::grammar::internal {

// A schema document, and where its identifiers point. Does not move once it is made.
class SchemaDocument {
 public:
  explicit SchemaDocument(Json root);
  SchemaDocument(const SchemaDocument&) = delete;
  SchemaDocument& operator=(const SchemaDocument&) = delete;

  const Json& root() const { return root_; }
  // What a $ref names: "#", a JSON pointer (RFC 6901), an anchor or an $id of this document; null
  // for anything else.
  const Json* resolve(std::string_view reference) const;

 private:
  void collect(const Json& schema);
  const Json* find_pointer(const Json& from, std::string_view pointer) const;

  Json root_;
  std::map<std::string, const Json*, std::less<>> anchors_, ids_;
};

struct Schema {
  const Json* json = nullptr;
  const SchemaDocument* document = nullptr;

  bool operator==(const Schema& other) const { return json == other.json; }
  bool operator<(const Schema& other) const { return json < other.json; }
  // The member `key` if this is an object that has it; null otherwise.
  const Json* get(const char* key) const;
};

// The types of JSON values, whole numbers apart from the others.
enum Type : unsigned {
  kNull = 1,
  kBoolean = 2,
  kWhole = 4,
  kFraction = 8,
  kString = 16,
  kArray = 32,
  kObject = 64,
  kAnyType = 127
};
unsigned type_of(const Json& value);
// The types that `type` (a name or a list of names) allows; kAnyType if it holds none that is
// known. "fraction" is a number that is not whole; JSON Schema has no such name, complements do.
unsigned types_named(const Json& type);
Json type_names(unsigned types);

// Keywords that allow or forbid nothing.
bool is_annotation(std::string_view keyword);

// Keywords that compilation itself puts into schemas: no text from outside can hold them, as keys
// with NUL are refused. The first two take lists of names and of values, the third an expression
// that a string must not match.
inline const std::string kForbid("\0forbid", 7);
inline const std::string kNotAmong("\0not", 4);
inline const std::string kUnlike("\0unlike", 7);
inline const std::string kOpen("\0open", 5);  // `properties` beside it do not close the object

// What is worked out once about parts of schemas: expressions, and lists of values.
class SchemaCache {
 public:
  // Null if the expression is not supported.
  const Pattern* pattern(const std::string& expression, Budget& budget);
  // Whether `list` holds a value equal to `value`: 1 and 1.0 are, the order of members is nothing.
  bool holds(const Json& list, const Json& value, Budget& budget);

 private:
  std::map<std::string, std::optional<Pattern>> patterns_;
  std::map<const Json*, std::set<std::string>> lists_;
};

enum class Fit { No, Maybe, Yes };
// Whether a value fits a schema, as far as the keywords that are understood say; `except` names one
// of the schema's own that is not looked at. Maybe once the budget is spent.
Fit fit(const Json& value,
        const Schema& schema,
        SchemaCache& cache,
        Budget& budget,
        std::string_view except = {});

// A value in the one spelling of this grammar: ", " and ": ", text unescaped where it may be.
std::string spelled(const Json& value);

}  // namespace pensieve::grammar::internal
