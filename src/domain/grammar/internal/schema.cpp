#include "domain/grammar/internal/schema.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <set>
#include <utility>

#include "foundation/text.h"

#include "domain/grammar/internal/formats.h"
#include "domain/grammar/internal/number_set.h"

namespace pensieve::grammar::internal {
namespace {

constexpr int kMaxNesting = 64;

// One part of a JSON pointer in a URI fragment (RFC 6901, section 6).
std::string unescape_part(std::string_view part) {
  const std::string out = percent_decoded(part);
  std::string plain;
  for (std::size_t i = 0; i < out.size(); ++i) {
    if (out[i] == '~' && i + 1 < out.size() && (out[i + 1] == '0' || out[i + 1] == '1')) {
      plain += out[++i] == '0' ? '~' : '/';
    } else {
      plain += out[i];
    }
  }
  return plain;
}

std::size_t n_code_points(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

// One text for all values that are equal as JSON Schema has it: 1 and 1.0 are, the order of members
// does not matter.
void spell_canonical(const Json& value, std::string& out) {
  if (value.is_object()) {
    std::map<std::string_view, const Json*> members;
    for (const auto& [name, member] : value.items()) members[name] = &member;
    out += '{';
    for (const auto& [name, member] : members) {
      out += std::to_string(name.size()) + ':';
      out += name;
      spell_canonical(*member, out);
    }
    out += '}';
  } else if (value.is_array()) {
    out += '[';
    for (const auto& item : value) {
      spell_canonical(item, out);
      out += ',';
    }
    out += ']';
  } else if (value.is_number()) {
    const auto number = parse_decimal(value.dump());
    out += number ? (number->negative ? "-" : "") + number->integer + "." + number->fraction
                  : value.dump();
  } else if (value.is_string()) {
    const auto& text = value.get_ref<const std::string&>();
    out += '"' + std::to_string(text.size()) + ':' + text;
  } else {
    out += value.dump();
  }
}

std::string canonical(const Json& value) {
  std::string out;
  spell_canonical(value, out);
  return out;
}

Fit all_of(Fit a, Fit b) {
  return std::min(a, b);
}
Fit negated(Fit fit) {
  return fit == Fit::Yes ? Fit::No : fit == Fit::No ? Fit::Yes : Fit::Maybe;
}
Fit yes_if(bool condition) {
  return condition ? Fit::Yes : Fit::No;
}

class Checker {
 public:
  Checker(SchemaCache& cache, Budget& budget) : cache_(cache), budget_(budget) {}

  Fit check(const Json& value, const Schema& schema, int nesting, std::string_view except = {}) {
    const Json& json = *schema.json;
    if (json.is_boolean()) return yes_if(json.get<bool>());
    if (!json.is_object()) return Fit::Yes;
    if (nesting > kMaxNesting || !budget_.spend(4)) return Fit::Maybe;
    Fit fit = Fit::Yes;
    for (const auto& [keyword, argument] : json.items()) {
      if (keyword == except) continue;
      fit = all_of(fit, keyword_fits(keyword, argument, value, schema, nesting + 1));
      if (fit == Fit::No) break;
    }
    return fit;
  }

 private:
  Fit keyword_fits(const std::string& keyword,
                   const Json& argument,
                   const Json& value,
                   const Schema& schema,
                   int nesting) {
    const auto sub = [&](const Json& json, const Json& of) {
      return check(of, {.json = &json, .document = schema.document}, nesting);
    };
    if (is_annotation(keyword)) return Fit::Yes;
    if (keyword == "type") return yes_if((types_named(argument) & type_of(value)) != 0);
    if (keyword == "const") return yes_if(canonical(argument) == canonical(value));
    if (keyword == "enum" || keyword == kNotAmong) {
      if (!argument.is_array()) return Fit::Yes;
      const bool found = cache_.holds(argument, value, budget_);
      return yes_if(found == (keyword == "enum"));
    }
    if (keyword == "$ref") {
      const Json* target = argument.is_string()
                               ? schema.document->resolve(argument.get_ref<const std::string&>())
                               : nullptr;
      return target ? sub(*target, value) : Fit::Maybe;
    }
    if (keyword == "allOf" || keyword == "anyOf" || keyword == "oneOf") {
      if (!argument.is_array()) return Fit::Yes;
      int n_yes = 0, n_maybe = 0, n_no = 0;
      for (const auto& one : argument) {
        const Fit fit = sub(one, value);
        ++(fit == Fit::Yes ? n_yes : fit == Fit::No ? n_no : n_maybe);
      }
      if (keyword == "allOf") return n_no > 0 ? Fit::No : n_maybe > 0 ? Fit::Maybe : Fit::Yes;
      if (n_yes + n_maybe == 0) return Fit::No;
      if (keyword == "anyOf") return n_yes > 0 ? Fit::Yes : Fit::Maybe;
      return n_yes > 1 ? Fit::No : n_maybe > 0 ? Fit::Maybe : Fit::Yes;
    }
    if (keyword == "not") return negated(sub(argument, value));
    if (value.is_string()) return string_fits(keyword, argument, value);
    if (value.is_number()) return number_fits(keyword, argument, value);
    if (value.is_array()) return array_fits(keyword, argument, value, schema, nesting);
    if (value.is_object()) return object_fits(keyword, argument, value, schema, nesting);
    return is_about_types(keyword) ? Fit::Yes : Fit::Maybe;
  }

  // Keywords that say nothing about values of other types.
  static bool is_about_types(std::string_view keyword) {
    static const std::set<std::string_view> kKeywords = {"minLength",
                                                         "maxLength",
                                                         "pattern",
                                                         "format",
                                                         "minimum",
                                                         "maximum",
                                                         "exclusiveMinimum",
                                                         "exclusiveMaximum",
                                                         "multipleOf",
                                                         "items",
                                                         "prefixItems",
                                                         "additionalItems",
                                                         "minItems",
                                                         "maxItems",
                                                         "uniqueItems",
                                                         "contains",
                                                         "minContains",
                                                         "maxContains",
                                                         "properties",
                                                         "required",
                                                         "additionalProperties",
                                                         "patternProperties",
                                                         "propertyNames",
                                                         "minProperties",
                                                         "maxProperties",
                                                         "dependentRequired",
                                                         "dependentSchemas",
                                                         "unevaluatedItems",
                                                         "unevaluatedProperties"};
    return kKeywords.contains(keyword) || keyword == kForbid || keyword == kOpen ||
           keyword == kUnlike;
  }

  Fit string_fits(std::string_view keyword, const Json& argument, const Json& value) {
    const auto& text = value.get_ref<const std::string&>();
    if (keyword == "minLength" && argument.is_number())
      return yes_if(static_cast<double>(n_code_points(text)) >= argument.get<double>());
    if (keyword == "maxLength" && argument.is_number())
      return yes_if(static_cast<double>(n_code_points(text)) <= argument.get<double>());
    if (keyword == "pattern" && argument.is_string())
      return matches(argument.get_ref<const std::string&>(), text);
    if (keyword == kUnlike) {
      const Fit like = matches(argument.get_ref<const std::string&>(), text);
      return like == Fit::Maybe ? like : yes_if(like == Fit::No);
    }
    if (keyword == "format" && argument.is_string()) {
      // What a format does not take may still be right: the expressions are narrow.
      const auto expression = format_expression(argument.get_ref<const std::string&>());
      if (expression.empty()) return Fit::Yes;
      return matches(expression, text) == Fit::Yes ? Fit::Yes : Fit::Maybe;
    }
    return is_about_types(keyword) ? Fit::Yes : Fit::Maybe;
  }

  Fit matches(const std::string& expression, std::string_view text) {
    const auto* pattern = cache_.pattern(expression, budget_);
    if (!pattern) return Fit::Maybe;
    const auto length = static_cast<int>(n_code_points(text));
    return yes_if(pattern->texts.contains(text) && length >= pattern->min_length &&
                  length <= pattern->max_length);
  }

  static Fit number_fits(std::string_view keyword, const Json& argument, const Json& value) {
    if (!is_about_types(keyword)) return Fit::Maybe;
    if (!argument.is_number()) return Fit::Yes;
    const auto x = parse_decimal(value.dump()), bound = parse_decimal(argument.dump());
    if (!x || !bound) return Fit::Maybe;
    if (keyword == "minimum") return yes_if(compare(*x, *bound) >= 0);
    if (keyword == "maximum") return yes_if(compare(*x, *bound) <= 0);
    if (keyword == "exclusiveMinimum") return yes_if(compare(*x, *bound) > 0);
    if (keyword == "exclusiveMaximum") return yes_if(compare(*x, *bound) < 0);
    if (keyword == "multipleOf") {
      if (!value.is_number_integer() || !argument.is_number_integer() || argument == 0)
        return Fit::Maybe;
      return yes_if(value.get<std::int64_t>() % argument.get<std::int64_t>() == 0);
    }
    return Fit::Yes;
  }

  Fit array_fits(std::string_view keyword,
                 const Json& argument,
                 const Json& value,
                 const Schema& schema,
                 int nesting) {
    const auto size = static_cast<double>(value.size());
    if (keyword == "minItems" && argument.is_number())
      return yes_if(size >= argument.get<double>());
    if (keyword == "maxItems" && argument.is_number())
      return yes_if(size <= argument.get<double>());
    const auto* prefix = schema.get("prefixItems");
    std::size_t n_prefix = prefix && prefix->is_array() ? prefix->size() : 0;
    const Json* each = nullptr;
    Fit fit = Fit::Yes;
    const auto check_item = [&](const Json& item, const Json& json) {
      fit = all_of(fit, check(item, {.json = &json, .document = schema.document}, nesting));
    };
    if ((keyword == "prefixItems" || keyword == "items") && argument.is_array()) {
      for (std::size_t i = 0; i < std::min(value.size(), argument.size()); ++i)
        check_item(value[i], argument[i]);
    } else if (keyword == "items") {
      each = &argument;
    } else if (keyword == "additionalItems") {
      const auto* items = schema.get("items");
      if (items == nullptr || !items->is_array()) return Fit::Yes;
      n_prefix = items->size();
      each = &argument;
    } else {
      return keyword == "uniqueItems" || !is_about_types(keyword) ||
                     keyword.find("ontains") != std::string_view::npos ||
                     keyword == "unevaluatedItems"
                 ? Fit::Maybe
                 : Fit::Yes;
    }
    if (each)
      for (std::size_t i = n_prefix; i < value.size(); ++i) check_item(value[i], *each);
    return fit;
  }

  Fit object_fits(std::string_view keyword,
                  const Json& argument,
                  const Json& value,
                  const Schema& schema,
                  int nesting) {
    const auto size = static_cast<double>(value.size());
    if (keyword == "minProperties" && argument.is_number())
      return yes_if(size >= argument.get<double>());
    if (keyword == "maxProperties" && argument.is_number())
      return yes_if(size <= argument.get<double>());
    Fit fit = Fit::Yes;
    const auto check_sub = [&](const Json& of, const Json& json) {
      fit = all_of(fit, check(of, {.json = &json, .document = schema.document}, nesting));
    };
    if (keyword == "required" && argument.is_array()) {
      for (const auto& name : argument)
        if (name.is_string() && !value.contains(name.get_ref<const std::string&>())) return Fit::No;
    } else if (keyword == kForbid) {
      for (const auto& name : argument)
        if (value.contains(name.get_ref<const std::string&>())) return Fit::No;
    } else if (keyword == "properties" && argument.is_object()) {
      for (const auto& [name, json] : argument.items())
        if (const auto at = value.find(name); at != value.end()) check_sub(*at, json);
    } else if (keyword == "propertyNames") {
      for (const auto& [name, member] : value.items()) check_sub(Json(name), argument);
    } else if (keyword == "patternProperties" && argument.is_object()) {
      for (const auto& [name, member] : value.items())
        for (const auto& [expression, json] : argument.items()) {
          const Fit match = matches(expression, name);
          if (match == Fit::Yes) check_sub(member, json);
          if (match == Fit::Maybe) fit = all_of(fit, Fit::Maybe);
        }
    } else if (keyword == "additionalProperties") {
      const auto* declared = schema.get("properties");
      const auto* patterns = schema.get("patternProperties");
      for (const auto& [name, member] : value.items()) {
        if (declared && declared->contains(name)) continue;
        Fit matched = Fit::No;
        if (patterns && patterns->is_object())
          for (const auto& [expression, json] : patterns->items())
            matched = std::max(matched, matches(expression, name));
        if (matched == Fit::No) check_sub(member, argument);
        if (matched == Fit::Maybe) fit = all_of(fit, Fit::Maybe);
      }
    } else {
      return is_about_types(keyword) && keyword.substr(0, 9) != "dependent" &&
                     keyword.substr(0, 11) != "unevaluated"
                 ? Fit::Yes
                 : Fit::Maybe;
    }
    return fit;
  }

  SchemaCache& cache_;
  Budget& budget_;
};

void spell(const Json& value, std::string& out) {
  if (value.is_object()) {
    out += '{';
    bool first = true;
    for (const auto& [key, member] : value.items()) {
      if (!std::exchange(first, false)) out += ", ";
      out += '"' + escaped(key) + "\": ";
      spell(member, out);
    }
    out += '}';
  } else if (value.is_array()) {
    out += '[';
    bool first = true;
    for (const auto& item : value) {
      if (!std::exchange(first, false)) out += ", ";
      spell(item, out);
    }
    out += ']';
  } else if (value.is_string()) {
    out += '"' + escaped(value.get_ref<const std::string&>()) + '"';
  } else {
    out += value.dump();
  }
}

}  // namespace

SchemaDocument::SchemaDocument(Json root) : root_(std::move(root)) {
  collect(root_);
}

void SchemaDocument::collect(const Json& schema) {
  std::vector<const Json*> todo = {&schema};
  while (!todo.empty()) {
    const Json* at = todo.back();
    todo.pop_back();
    if (at->is_object()) {
      for (const char* keyword : {"$anchor", "$dynamicAnchor"})
        if (const auto name = at->find(keyword); name != at->end() && name->is_string())
          anchors_.try_emplace(name->get<std::string>(), at);
      for (const char* keyword : {"$id", "id"}) {
        const auto name = at->find(keyword);
        if (name == at->end() || !name->is_string()) continue;
        auto id = name->get<std::string>();
        if (!id.empty() && id.back() == '#') id.pop_back();
        if (id.size() > 1 && id[0] == '#') {
          anchors_.try_emplace(id.substr(1), at);  // draft 7 and before
        } else if (!id.empty()) {
          ids_.try_emplace(std::move(id), at);
        }
      }
    }
    if (at->is_structured())
      for (const auto& inner : *at)
        if (inner.is_structured()) todo.push_back(&inner);
  }
}

const Json* SchemaDocument::resolve(std::string_view reference) const {
  const auto hash = reference.find('#');
  const auto base = reference.substr(0, hash);
  const Json* from = &root_;
  if (!base.empty()) {
    const auto at = ids_.find(base);
    if (at == ids_.end()) return nullptr;
    from = at->second;
  }
  if (hash == std::string_view::npos) return from;
  const auto fragment = reference.substr(hash + 1);
  if (fragment.empty()) return from;
  if (fragment[0] == '/') return find_pointer(*from, fragment);
  const auto at = anchors_.find(fragment);
  return at == anchors_.end() ? nullptr : at->second;
}

const Json* SchemaDocument::find_pointer(const Json& from, std::string_view pointer) const {
  const Json* at = &from;
  while (!pointer.empty()) {
    pointer.remove_prefix(1);
    const auto slash = std::min(pointer.find('/'), pointer.size());
    const auto part = unescape_part(pointer.substr(0, slash));
    pointer.remove_prefix(slash);
    if (at->is_object()) {
      const auto member = at->find(part);
      if (member == at->end()) return nullptr;
      at = &*member;
    } else if (at->is_array()) {
      std::size_t index = 0;
      const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), index);
      if (error != std::errc() || end != part.data() + part.size() || index >= at->size())
        return nullptr;
      at = &(*at)[index];
    } else {
      return nullptr;
    }
  }
  return at->is_object() || at->is_boolean() ? at : nullptr;
}

const Json* Schema::get(const char* key) const {
  if (!json->is_object()) return nullptr;
  const auto at = json->find(key);
  return at == json->end() ? nullptr : &*at;
}

unsigned type_of(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null:
      return kNull;
    case Json::value_t::boolean:
      return kBoolean;
    case Json::value_t::string:
      return kString;
    case Json::value_t::array:
      return kArray;
    case Json::value_t::object:
      return kObject;
    case Json::value_t::number_float: {
      const auto decimal = parse_decimal(value.dump());
      return decimal && decimal->is_integer() ? kWhole : kFraction;
    }
    default:
      return kWhole;
  }
}

namespace {
constexpr std::array<std::pair<std::string_view, unsigned>, 8> kTypeNames{
    {{"null", kNull},
     {"boolean", kBoolean},
     {"integer", kWhole},
     {"fraction", kFraction},
     {"string", kString},
     {"array", kArray},
     {"object", kObject},
     {"number", kWhole | kFraction}}};
}  // namespace

unsigned types_named(const Json& type) {
  unsigned types = 0;
  const auto add = [&](const Json& name) {
    if (!name.is_string()) return;
    for (const auto& [known, bits] : kTypeNames)
      if (name.get_ref<const std::string&>() == known) types |= bits;
  };
  if (type.is_array()) {
    for (const auto& name : type) add(name);
  } else {
    add(type);
  }
  return types == 0 ? unsigned{kAnyType} : types;
}

Json type_names(unsigned types) {
  Json out = Json::array();
  for (const auto& [name, bits] : kTypeNames)
    if (name != "number" && (types & bits) != 0) out.push_back(std::string(name));
  return out;
}

bool is_annotation(std::string_view keyword) {
  static const std::set<std::string_view> kKeywords = {"title",
                                                       "description",
                                                       "default",
                                                       "examples",
                                                       "example",
                                                       "$comment",
                                                       "$schema",
                                                       "$id",
                                                       "id",
                                                       "$anchor",
                                                       "$dynamicAnchor",
                                                       "$defs",
                                                       "definitions",
                                                       "$vocabulary",
                                                       "deprecated",
                                                       "readOnly",
                                                       "writeOnly",
                                                       "contentEncoding",
                                                       "contentMediaType",
                                                       "contentSchema",
                                                       "nullable",
                                                       "discriminator",
                                                       "externalDocs",
                                                       "xml",
                                                       "enumNames",
                                                       "enumDescriptions",
                                                       "then",
                                                       "else"};
  return kKeywords.contains(keyword) || keyword.substr(0, 2) == "x-";
}

bool SchemaCache::holds(const Json& list, const Json& value, Budget& budget) {
  const auto [at, fresh] = lists_.try_emplace(&list);
  if (fresh)
    for (const auto& one : list)
      if (budget.spend(1)) at->second.insert(canonical(one));
  return at->second.contains(canonical(value));
}

const Pattern* SchemaCache::pattern(const std::string& expression, Budget& budget) {
  const auto at = patterns_.find(expression);
  if (at != patterns_.end()) return at->second ? &*at->second : nullptr;
  const auto& made = patterns_.emplace(expression, compile_regex(expression, budget)).first->second;
  return made ? &*made : nullptr;
}

Fit fit(const Json& value,
        const Schema& schema,
        SchemaCache& cache,
        Budget& budget,
        std::string_view except) {
  return Checker(cache, budget).check(value, schema, 0, except);
}

std::string spelled(const Json& value) {
  std::string out;
  spell(value, out);
  return out;
}

}  // namespace pensieve::grammar::internal
