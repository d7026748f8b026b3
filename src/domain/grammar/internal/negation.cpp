#include "domain/grammar/internal/negation.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace pensieve::grammar::internal {
namespace {

constexpr int kMaxNesting = 32;
constexpr std::size_t kMaxNumbers = 16;  // of an enum, gaps between which are options
constexpr int kSteps = 20;               // for each schema that is looked at

Json typed(const char* type, std::string_view keyword, Json argument) {
  return Json{{"type", type}, {std::string(keyword), std::move(argument)}};
}

// A list of schemas, one of which must hold.
class Options {
 public:
  void add(Json schema) {
    if (schema != Json(false)) list_.push_back(std::move(schema));
  }
  Json schema() && {
    if (list_.empty()) return Json(false);
    if (list_.size() == 1) return std::move(list_[0]);
    return Json{{"anyOf", std::move(list_)}};
  }

 private:
  Json list_ = Json::array();
};

class Negation {
 public:
  Negation(Cover cover, SchemaCache& cache, Budget& budget)
      : cover_(cover), cache_(cache), budget_(budget) {}

  std::optional<Json> of(const Json& schema, int nesting = 0) {
    if (schema.is_boolean()) return Json(!schema.get<bool>());
    if (!schema.is_object() || nesting > kMaxNesting || !budget_.spend(kSteps)) return std::nullopt;
    // Not (a and b) is (not a) or (not b): an option for each keyword.
    Options options;
    bool any_said = false, all_said = true;
    for (const auto& [keyword, argument] : schema.items()) {
      if (is_annotation(keyword)) continue;
      const bool said = add(keyword, argument, schema, nesting, options);
      any_said |= said;
      all_said &= said;
    }
    if (!all_said && (cover_ == Cover::All || !any_said)) return std::nullopt;
    return std::move(options).schema();
  }

 private:
  // Adds what does not fit one keyword. False if that cannot be said.
  bool add(const std::string& keyword,
           const Json& argument,
           const Json& schema,
           int nesting,
           Options& options) {
    if (keyword == "type") {
      options.add(type_schema(kAnyType & ~types_named(argument)));
      return true;
    }
    if (keyword == "const") return add_unlisted(Json::array({argument}), options);
    if (keyword == "enum" && argument.is_array()) return add_unlisted(argument, options);
    if (keyword == "not") {
      options.add(argument);
      return true;
    }
    if ((keyword == "anyOf" || keyword == "allOf") && argument.is_array())
      return add_parts(keyword, argument, nesting, options);
    return add_counts(keyword, argument, options) || add_bounds(keyword, argument, options) ||
           add_strings(keyword, argument, options) ||
           add_objects(keyword, argument, nesting, options) ||
           (cover_ == Cover::Part && add_arrays(keyword, argument, schema, nesting, options));
  }

  bool add_parts(const std::string& keyword, const Json& parts, int nesting, Options& options) {
    Json opposites = Json::array();
    for (const auto& part : parts) {
      auto opposite = of(part, nesting + 1);
      if (opposite) {
        opposites.push_back(*std::move(opposite));
      } else if (cover_ == Cover::All || keyword == "anyOf") {
        return false;
      }
    }
    if (opposites.empty()) return false;
    options.add(Json{{keyword == "anyOf" ? "allOf" : "anyOf", std::move(opposites)}});
    return true;
  }

  // Numbers lie below, between or above those that are listed; lists and objects are told apart
  // from the others by their type, where part of them is enough.
  bool add_unlisted(const Json& values, Options& options) {
    unsigned listed = 0;
    std::vector<Json> numbers;
    for (const Json& value : values) {
      listed |= type_of(value);
      if (value.is_number()) numbers.push_back(value);
    }
    if ((listed & (kArray | kObject)) != 0 && cover_ == Cover::All) return false;
    if (numbers.size() > kMaxNumbers && cover_ == Cover::All) return false;
    const unsigned number = numbers.empty() ? 0 : kWhole | kFraction;
    Json others = type_schema(kAnyType & ~(number | (listed & (kArray | kObject))));
    others[kNotAmong] = values;
    options.add(std::move(others));
    if (numbers.empty()) return true;
    std::sort(numbers.begin(), numbers.end());
    options.add(typed("number", "exclusiveMaximum", numbers.front()));
    options.add(typed("number", "exclusiveMinimum", numbers.back()));
    for (std::size_t i = 0; i + 1 < std::min(numbers.size(), kMaxNumbers); ++i) {
      if (numbers[i] == numbers[i + 1]) continue;
      options.add(Json{{"type", "number"},
                       {"exclusiveMinimum", numbers[i]},
                       {"exclusiveMaximum", numbers[i + 1]}});
    }
    return true;
  }

  // How many characters, items or members there are.
  static bool add_counts(const std::string& keyword, const Json& argument, Options& options) {
    struct Counted {
      const char *type, *min, *max;
    };
    static constexpr Counted kCounted[] = {{"string", "minLength", "maxLength"},
                                           {"array", "minItems", "maxItems"},
                                           {"object", "minProperties", "maxProperties"}};
    for (const auto& [type, min, max] : kCounted) {
      if (keyword != min && keyword != max) continue;
      if (!argument.is_number_integer() || argument < 0 || argument > 1'000'000) return false;
      const int count = argument.get<int>();
      if (keyword == max) options.add(typed(type, min, count + 1));
      if (keyword == min && count > 0) options.add(typed(type, max, count - 1));
      return true;
    }
    return false;
  }

  static bool add_bounds(const std::string& keyword, const Json& argument, Options& options) {
    static constexpr std::pair<const char*, const char*> kOpposites[] = {
        {"minimum", "exclusiveMaximum"},
        {"maximum", "exclusiveMinimum"},
        {"exclusiveMinimum", "maximum"},
        {"exclusiveMaximum", "minimum"}};
    if (!argument.is_number()) return false;
    for (const auto& [bound, opposite] : kOpposites) {
      if (keyword != bound) continue;
      options.add(typed("number", opposite, argument));
      return true;
    }
    return false;
  }

  bool add_strings(const std::string& keyword, const Json& argument, Options& options) {
    if (keyword != "pattern" || !argument.is_string()) return false;
    const Pattern* pattern = cache_.pattern(argument.get_ref<const std::string&>(), budget_);
    if (pattern == nullptr) return false;
    options.add(typed("string", kUnlike, argument));
    if (pattern->min_length > 0) options.add(typed("string", "maxLength", pattern->min_length - 1));
    if (pattern->max_length < kEndless)
      options.add(typed("string", "minLength", pattern->max_length + 1));
    return true;
  }

  bool add_objects(const std::string& keyword,
                   const Json& argument,
                   int nesting,
                   Options& options) {
    if (keyword == "required" && argument.is_array()) {
      for (const auto& name : argument) options.add(typed("object", kForbid, Json::array({name})));
      return true;
    }
    if (keyword != "properties" || !argument.is_object()) return false;
    bool any_said = argument.empty();
    for (const auto& [name, value] : argument.items()) {
      auto opposite = of(value, nesting + 1);
      if (!opposite && cover_ == Cover::All) return false;
      if (!opposite) continue;
      any_said = true;
      if (*opposite == Json(false)) continue;
      options.add(Json{{"type", "object"},
                       {kOpen, true},
                       {"properties", Json{{name, *std::move(opposite)}}},
                       {"required", Json::array({name})}});
    }
    return any_said;
  }

  // Some item that does not fit: of those that are alike, the first one.
  bool add_arrays(const std::string& keyword,
                  const Json& argument,
                  const Json& schema,
                  int nesting,
                  Options& options) {
    const bool is_list = argument.is_array() && (keyword == "prefixItems" || keyword == "items");
    if (!is_list && (keyword != "items" || schema.contains("prefixItems"))) return false;
    const Json places = is_list ? argument : Json::array({argument});
    Json before = Json::array();
    bool any_said = false;
    for (const Json& place : places) {
      auto opposite = of(place, nesting + 1);
      any_said |= opposite.has_value();
      if (opposite && *opposite != Json(false)) {
        Json items = before;
        items.push_back(*std::move(opposite));
        options.add(Json{{"type", "array"},
                         {"minItems", items.size()},
                         {"prefixItems", items},
                         {"items", true}});
      }
      before.push_back(true);
    }
    return any_said;
  }

  const Cover cover_;
  SchemaCache& cache_;
  Budget& budget_;
};

}  // namespace

Json type_schema(unsigned types) {
  if (types == 0) return Json(false);
  Json out = Json::object();
  out["type"] = type_names(types);
  return out;
}

std::optional<Json> negation_of(const Json& schema,
                                Cover cover,
                                SchemaCache& cache,
                                Budget& budget) {
  return Negation(cover, cache, budget).of(schema);
}

}  // namespace pensieve::grammar::internal
