#include "domain/grammar/internal/alternatives.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace pensieve::grammar::internal {
namespace {

// Of one choice, and of several that multiply.
constexpr std::size_t kMaxAlternatives = 512, kMaxProducts = 48;
constexpr int kMaxBranches = 4'000;
constexpr std::size_t kMaxChoices = 64;

// Numbers for what made() makes of one place.
constexpr int kOneOf = 0, kDependent = 2'000'000;

bool is_always(const Json& schema) {
  return (schema.is_boolean() && schema.get<bool>()) || (schema.is_object() && schema.empty());
}

// The schema says nothing but a list of required names (and annotations).
const Json* only_required(const Json& schema) {
  if (!schema.is_object()) return nullptr;
  const Json* names = nullptr;
  for (const auto& [keyword, argument] : schema.items()) {
    if (keyword == "required" && argument.is_array()) {
      names = &argument;
    } else if (!is_annotation(keyword)) {
      return nullptr;
    }
  }
  return names;
}

// The types of a schema that says nothing else; 0 for others.
unsigned only_types(const Json& schema) {
  if (!schema.is_object()) return 0;
  unsigned types = 0;
  for (const auto& [keyword, argument] : schema.items()) {
    if (keyword == "type") {
      types = types_named(argument);
    } else if (!is_annotation(keyword)) {
      return 0;
    }
  }
  return types == kAnyType ? 0 : types;
}

bool has_name(const Json* names, const std::string& name) {
  return names != nullptr && names->is_array() &&
         std::find(names->begin(), names->end(), Json(name)) != names->end();
}

// The values of const or enum, if there is either.
std::vector<const Json*> listed_values(const Schema& schema) {
  std::vector<const Json*> values;
  if (const auto* value = schema.get("const")) return {value};
  if (const auto* list = schema.get("enum"); list != nullptr && list->is_array())
    for (const auto& value : *list) values.push_back(&value);
  return values;
}

}  // namespace

unsigned implied_types(const Conjunction& schemas) {
  static constexpr std::array<std::pair<const char*, unsigned>, 22> kKeywords{
      {{"properties", kObject},
       {"required", kObject},
       {"additionalProperties", kObject},
       {"patternProperties", kObject},
       {"propertyNames", kObject},
       {"minProperties", kObject},
       {"maxProperties", kObject},
       {"items", kArray},
       {"prefixItems", kArray},
       {"minItems", kArray},
       {"maxItems", kArray},
       {"uniqueItems", kArray},
       {"contains", kArray},
       {"minLength", kString},
       {"maxLength", kString},
       {"pattern", kString},
       {"format", kString},
       {"minimum", kWhole | kFraction},
       {"maximum", kWhole | kFraction},
       {"exclusiveMinimum", kWhole | kFraction},
       {"exclusiveMaximum", kWhole | kFraction},
       {"multipleOf", kWhole | kFraction}}};
  unsigned types = 0;
  for (const auto& schema : schemas)
    for (const auto& [keyword, bits] : kKeywords)
      if (schema.get(keyword) != nullptr) types |= bits;
  return types;
}

std::vector<Alternative> AlternativeFinder::find(const Conjunction& conjunction) {
  std::vector<Alternative> out;
  out_ = &out;
  n_branches_ = 0;
  Branch branch;
  branch.todo = conjunction;
  explore(std::move(branch));
  return out;
}

void AlternativeFinder::explore(Branch branch) {
  ++n_branches_;
  if (!settle(branch)) return;
  const bool enough = n_branches_ >= kMaxBranches || !budget_.spend(4);
  if (enough && !branch.choices.empty()) {
    // Too many to go through: what is left of the choices is not made.
    if (!out_->empty()) return;
    widened_.insert("too many alternatives");
    branch.choices.clear();
  }
  if (branch.choices.empty()) {
    if (out_->size() >= (branch.n_choices > 1 ? kMaxProducts : kMaxAlternatives)) return;
    auto& schemas = branch.so_far.schemas;
    std::sort(schemas.begin(), schemas.end());
    schemas.erase(std::unique(schemas.begin(), schemas.end()), schemas.end());
    for (const auto& other : *out_)
      if (other.schemas == schemas) return;
    out_->push_back(std::move(branch.so_far));
    return;
  }
  const Choice choice = std::move(branch.choices.front());
  branch.choices.pop_front();
  if (choice.options.size() > 1) ++branch.n_choices;
  for (const auto& option : choice.options) {
    if (out_->size() >= (branch.n_choices > 1 ? kMaxProducts : kMaxAlternatives)) return;
    Branch next = branch;
    next.todo = option;
    explore(std::move(next));
  }
}

// Takes in everything that is no choice. False if nothing can fit.
bool AlternativeFinder::settle(Branch& branch) {
  while (!branch.todo.empty()) {
    const Schema schema = branch.todo.back();
    branch.todo.pop_back();
    if (schema.json->is_boolean() && !schema.json->get<bool>()) return false;
    if (!schema.json->is_object() || schema.json->empty()) continue;
    if (!branch.seen.insert(schema.json).second) continue;
    if (!budget_.spend(4)) {
      widened_.insert("too large");
      return true;
    }
    branch.so_far.schemas.push_back(schema);
    for (const auto& [keyword, argument] : schema.json->items())
      if (!apply(keyword, argument, schema, branch)) return false;
  }
  return true;
}

bool AlternativeFinder::apply(const std::string& keyword,
                              const Json& argument,
                              const Schema& schema,
                              Branch& branch) {
  const auto sub = [&](const Json& json) {
    return Schema{.json = &json, .document = schema.document};
  };
  const auto choose = [&](Choice choice) {
    if (branch.choices.size() >= kMaxChoices) {
      widened_.insert("too many alternatives");
      return;
    }
    branch.choices.push_back(std::move(choice));
  };
  if (keyword == "type") {
    branch.so_far.types &= types_named(argument);
    return branch.so_far.types != 0;
  }
  if (keyword == "$ref" || keyword == "$dynamicRef" || keyword == "$recursiveRef") {
    const Json* target = argument.is_string()
                             ? schema.document->resolve(argument.get_ref<const std::string&>())
                             : nullptr;
    if (keyword != "$ref" || target == nullptr) widened_.insert(keyword);
    if (target) branch.todo.push_back(sub(*target));
  } else if (keyword == "allOf" && argument.is_array()) {
    for (const auto& part : argument) branch.todo.push_back(sub(part));
  } else if (keyword == "anyOf" && argument.is_array() && !argument.empty()) {
    Choice choice;
    for (const auto& option : argument) choice.options.push_back({sub(option)});
    choose(std::move(choice));
  } else if (keyword == "oneOf" && argument.is_array() && !argument.empty()) {
    choose(one_of(schema, argument));
  } else if (keyword == "not") {
    if (const Json* opposite = negation(argument, Cover::All)) {
      branch.todo.push_back(sub(*opposite));
    } else {
      widened_.insert(keyword);
    }
  } else if (keyword == "if") {
    const Json* then = schema.get("then");
    const Json* otherwise = schema.get("else");
    if (then == nullptr && otherwise == nullptr) return true;
    const Json* opposite = negation(argument, Cover::All);
    if (opposite == nullptr) widened_.insert(keyword);
    Choice choice;
    choice.options.push_back({sub(argument)});
    if (then) choice.options.back().push_back(sub(*then));
    choice.options.emplace_back();
    if (opposite) choice.options.back().push_back(sub(*opposite));
    if (otherwise) choice.options.back().push_back(sub(*otherwise));
    choose(std::move(choice));
  } else if ((keyword == "dependentRequired" || keyword == "dependentSchemas" ||
              keyword == "dependencies") &&
             argument.is_object()) {
    int number = kDependent;
    for (const auto& member : argument.items()) {
      const std::string& name = member.key();
      const Json& needed = member.value();
      const Schema without = made(schema, &argument, number++, [&] {
        return Json{{kForbid, Json::array({name})}};
      });
      Choice choice;
      if (needed.is_array()) {
        const Schema with = made(schema, &argument, number++, [&] {
          return Json{{"required", needed}};
        });
        choice.options = {{with}, {without}};
      } else {
        choice.options = {{sub(needed)}, {without}};
      }
      choose(std::move(choice));
    }
  }
  return true;
}

template <typename Make>
Schema AlternativeFinder::made(const Schema& place, const Json* source, int number, Make make) {
  auto& json = made_for_[{source, number}];
  if (json == nullptr) json = &made_.emplace_back(make());
  return {.json = json, .document = place.document};
}

const Json* AlternativeFinder::resolved(const Schema& schema, int nesting) {
  const Json* ref = schema.get("$ref");
  if (ref == nullptr || !ref->is_string() || nesting > 8) return schema.json;
  const Json* target = schema.document->resolve(ref->get_ref<const std::string&>());
  return target ? resolved({.json = target, .document = schema.document}, nesting + 1)
                : schema.json;
}

// Of each option what no other takes as well, where that can be said; and a note where it cannot.
AlternativeFinder::Choice AlternativeFinder::one_of(const Schema& owner, const Json& options) {
  Choice choice;
  const auto sub = [&](const Json& json) {
    return Schema{.json = &json, .document = owner.document};
  };
  for (std::size_t i = 0; i < options.size(); ++i) {
    const Schema option{.json = resolved(sub(options[i])), .document = owner.document};
    Conjunction parts = {option};
    unsigned excluded = 0;
    Json forbidden = Json::array();
    bool taken_by_another = false;
    for (std::size_t j = 0; j < options.size() && !taken_by_another; ++j) {
      if (j == i || !budget_.spend(2)) continue;
      const Schema other{.json = resolved(sub(options[j])), .document = owner.document};
      if (is_always(*other.json)) {
        taken_by_another = true;
      } else if (const unsigned types = only_types(*other.json)) {
        excluded |= types;
      } else if (const Json* names = only_required(*other.json)) {
        const auto name = std::find_if(names->begin(), names->end(), [&](const Json& n) {
          return n.is_string() &&
                 !has_name(option.get("required"), n.get_ref<const std::string&>());
        });
        if (name != names->end()) {
          forbidden.push_back(*name);
        } else {
          taken_by_another = true;
        }
      } else if (!apart(option, other, owner)) {
        const Json* opposite = strict_ ? negation(*other.json, Cover::Part) : nullptr;
        if (opposite) {
          parts.push_back({.json = opposite, .document = owner.document});
        } else {
          widened_.insert("oneOf");
        }
      }
    }
    if (taken_by_another) continue;
    const int number = kOneOf + static_cast<int>(i) * 2;
    if (excluded != 0) {
      parts.push_back(
          made(owner, &options, number, [&] { return type_schema(kAnyType & ~excluded); }));
    }
    if (!forbidden.empty())
      parts.push_back(made(owner, &options, number + 1, [&] {
        return Json{{kForbid, forbidden}};
      }));
    choice.options.push_back(std::move(parts));
  }
  return choice;
}

// The types that a grammar made from the schema gives.
unsigned AlternativeFinder::emitted_types(const Schema& schema, int nesting) {
  if (schema.json->is_boolean()) return schema.json->get<bool>() ? unsigned{kAnyType} : 0;
  unsigned types = kAnyType;
  const Schema at{.json = resolved(schema), .document = schema.document};
  if (const auto* type = at.get("type")) types &= types_named(*type);
  if (const auto values = listed_values(at); !values.empty()) {
    unsigned listed = 0;
    for (const auto* value : values) listed |= type_of(*value);
    types &= listed;
  } else if (at.get("type") == nullptr) {
    if (const unsigned implied = implied_types({at})) types &= implied;
  }
  for (const char* keyword : {"anyOf", "oneOf"}) {
    const auto* options = at.get(keyword);
    if (options == nullptr || !options->is_array() || nesting > 3) continue;
    unsigned any = 0;
    for (const auto& option : *options)
      any |= emitted_types({.json = &option, .document = at.document}, nesting + 1);
    types &= any;
  }
  return types;
}

// Whether nothing that is given under `from` fits `other` as well.
bool AlternativeFinder::apart(const Schema& from, const Schema& other, const Schema& owner) {
  if (!other.json->is_object() || !from.json->is_object()) return other.json == from.json;
  if (const auto values = listed_values(from); !values.empty()) {
    return std::all_of(values.begin(), values.end(), [&](const Json* value) {
      return fit(*value, other, cache_, budget_) == Fit::No;
    });
  }
  unsigned taken = kAnyType;
  if (const auto* type = other.get("type")) taken = types_named(*type);
  if (const auto values = listed_values(other); !values.empty()) {
    taken = 0;
    for (const auto* value : values) taken |= type_of(*value);
  }
  if ((emitted_types(from, 0) & taken) == 0) return true;

  const Json* mine = from.get("properties");
  const Json* theirs = other.get("properties");
  const Json* required = from.get("required");
  if (required != nullptr && required->is_array()) {
    const Json* closed = other.get("additionalProperties");
    for (const auto& name_json : *required) {
      if (!name_json.is_string()) continue;
      const auto& name = name_json.get_ref<const std::string&>();
      const bool declared = theirs != nullptr && theirs->is_object() && theirs->contains(name);
      if (!declared) {
        if (closed && *closed == Json(false) && !other.get("patternProperties")) return true;
        continue;
      }
      if (mine == nullptr || !mine->is_object() || !mine->contains(name)) continue;
      const Schema value{.json = &(*mine)[name], .document = from.document};
      const Schema value_of_other{.json = &(*theirs)[name], .document = other.document};
      if (apart(value, value_of_other, value)) return true;
    }
  }
  // Only declared names are given; one that the other requires is not among them.
  const bool closed = mine != nullptr && from.get("patternProperties") == nullptr &&
                      (from.get("additionalProperties") == nullptr ||
                       *from.get("additionalProperties") == Json(false)) &&
                      owner.get("properties") == nullptr && owner.get("allOf") == nullptr &&
                      from.get("allOf") == nullptr && from.get("anyOf") == nullptr &&
                      from.get("oneOf") == nullptr && emitted_types(from, 0) == kObject;
  const Json* needed = other.get("required");
  if (closed && needed != nullptr && needed->is_array()) {
    for (const auto& name : *needed)
      if (name.is_string() && !mine->contains(name.get_ref<const std::string&>()) &&
          !has_name(required, name.get_ref<const std::string&>()))
        return true;
  }
  return false;
}

const Json* AlternativeFinder::negation(const Json& schema, Cover cover) {
  const auto [at, fresh] = negations_.try_emplace({&schema, cover}, nullptr);
  if (fresh) {
    auto opposite = negation_of(schema, cover, cache_, budget_);
    if (opposite) at->second = &made_.emplace_back(*std::move(opposite));
  }
  return at->second;
}

}  // namespace pensieve::grammar::internal
