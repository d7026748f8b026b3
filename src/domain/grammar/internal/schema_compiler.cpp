#include "domain/grammar/internal/schema_compiler.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "domain/grammar/internal/formats.h"
#include "domain/grammar/internal/number_set.h"

namespace pensieve::grammar::internal {
namespace {

// Bounds of one compilation. A step is a few tens of nanoseconds.
constexpr std::int64_t kSteps = 2'000'000;
constexpr std::size_t kMaxNodes = 20'000;
constexpr std::size_t kMaxPatterns = 8;           // patternProperties of one object
constexpr std::size_t kMaxListedBytes = 1 << 20;  // of one enum
constexpr int kMaxItems = 4'096, kMaxMembers = 1'000,
              kMaxCharacters = 65'536;  // that can be demanded
constexpr int kMaxStep = 1'000;
constexpr int kMaxMultiples = 1'000;

const Json& any_object_schema() {
  static const Json schema = {{"type", "object"}};
  return schema;
}

const SchemaDocument& no_document() {
  static const SchemaDocument document{Json(true)};
  return document;
}

// A bound that counts things; kEndless beyond what can be counted, none if it is no number.
std::optional<int> count_of(const Json* json) {
  if (json == nullptr || !json->is_number()) return std::nullopt;
  const double value = std::ceil(json->get<double>());
  if (value < 0) return 0;
  return value >= kEndless ? kEndless : static_cast<int>(value);
}

// The largest of the schemas' lower bounds and the smallest of their upper ones.
std::pair<int, int> counts(const Conjunction& schemas, const char* min_key, const char* max_key) {
  int min = 0, max = kEndless;
  for (const auto& schema : schemas) {
    min = std::max(min, count_of(schema.get(min_key)).value_or(0));
    max = std::min(max, count_of(schema.get(max_key)).value_or(kEndless));
  }
  return {min, max};
}

// Numbers without bounds: the same automaton in every grammar.
std::optional<Dfa> plain_number(bool integers, bool fractions) {
  static const auto kBoth = number_dfa({});
  static const auto kIntegers = number_dfa({.fractions = false});
  static const auto kFractions = number_dfa({.integers = false});
  return integers && fractions ? kBoth : integers ? kIntegers : kFractions;
}

bool is_false(const Json* json) {
  return json != nullptr && *json == Json(false);
}

}  // namespace

struct SchemaCompiler::ObjectWords {
  const Conjunction& schemas;
  std::vector<std::string> declared = {};  // in the order in which they were met
  std::vector<std::string> patterns = {};  // that were understood
  bool unclear_patterns = false;
  std::set<std::string> required = {}, forbidden = {};
  Conjunction name_schemas = {};
  bool open = false;  // names beyond those declared may come
};

SchemaCompiler::SchemaCompiler(Program& program, bool strict)
    : program_(program), budget_{kSteps}, alternatives_(cache_, budget_, widened_, strict) {}

NodeId SchemaCompiler::anything(bool object) {
  if (!object) return node_of({});
  return node_of({{.json = &any_object_schema(), .document = &no_document()}});
}

NodeId SchemaCompiler::add(std::string_view schema_json, bool object) {
  NodeId node = 0;
  auto json = schema_json.empty() ? Result<Json>(Json(true)) : parse_json(schema_json);
  if (!json || !(json->is_object() || json->is_boolean())) {
    widen("not a schema");
    node = anything(object);
  } else {
    documents_.push_back(std::make_unique<SchemaDocument>(std::move(*json)));
    const auto* document = documents_.back().get();
    Conjunction conjunction = {{.json = &document->root(), .document = document}};
    if (object) conjunction.push_back({.json = &any_object_schema(), .document = document});
    node = node_of(std::move(conjunction));
  }
  roots_.emplace_back(node, object);
  return node;
}

bool SchemaCompiler::finish() {
  // The fallback of what nothing fits is there from the start.
  const NodeId any = anything(false), any_object = anything(true);
  for (std::size_t i = 0; i < todo_.size(); ++i) {
    const auto [node, conjunction] = todo_[i];
    compile(node, conjunction);
  }
  todo_.clear();
  find_shortest(program_);
  bool all_fit = true;
  for (const auto& [root, object] : roots_) {
    auto& node = program_.nodes[root];
    if (node.shortest < kEndless) continue;
    all_fit = false;
    widen("nothing fits");
    node = program_.nodes[object ? any_object : any];
  }
  program_.max_depth = std::max(program_.max_depth, program_.deepest_node + 8);
  program_.widened.assign(widened_.begin(), widened_.end());
  return all_fit;
}

NodeId SchemaCompiler::node_of(Conjunction conjunction) {
  // A schema that is nothing but a reference is what it refers to.
  for (auto& schema : conjunction) {
    for (int i = 0; i < 32; ++i) {
      const auto* ref = schema.get("$ref");
      if (ref == nullptr || schema.json->size() != 1 || !ref->is_string()) break;
      const auto* target = schema.document->resolve(ref->get_ref<const std::string&>());
      if (target == nullptr) break;
      schema.json = target;
    }
  }
  std::erase_if(conjunction, [](const Schema& schema) {
    return *schema.json == Json(true) || (schema.json->is_object() && schema.json->empty());
  });
  std::sort(conjunction.begin(), conjunction.end());
  conjunction.erase(std::unique(conjunction.begin(), conjunction.end()), conjunction.end());
  std::vector<const Json*> key;
  for (const auto& schema : conjunction) key.push_back(schema.json);
  const auto at = nodes_.find(key);
  if (at != nodes_.end()) return at->second;
  if (!conjunction.empty() && program_.nodes.size() >= kMaxNodes) {
    widen("too large");
    return node_of({});
  }
  const auto id = static_cast<NodeId>(program_.nodes.size());
  program_.nodes.emplace_back();
  nodes_.emplace(std::move(key), id);
  todo_.emplace_back(id, std::move(conjunction));
  return id;
}

void SchemaCompiler::compile(NodeId id, const Conjunction& conjunction) {
  if (budget_.steps == 0 && !conjunction.empty()) {
    // Out of steps: what has not been looked at takes anything.
    widen("too large");
    const NodeId any = node_of({});
    if (program_.nodes[any].rules.empty()) compile(any, {});
    program_.nodes[id].rules = program_.nodes[any].rules;
    return;
  }
  if (conjunction.empty() && !program_.nodes[id].rules.empty()) return;
  const auto alternatives = alternatives_.find(conjunction);
  Node node;
  for (const bool lenient : {false, true}) {
    lenient_ = lenient;
    std::vector<std::string> values;
    for (const auto& alternative : alternatives) add_rules(alternative, node, values);
    std::sort(values.begin(), values.end());
    values.erase(std::unique(values.begin(), values.end()), values.end());
    if (!values.empty())
      node.rules.push_back(add_rule({.body = ChoiceRule{.values = Literals(std::move(values))}}));
    if (!node.rules.empty()) break;
  }
  std::sort(node.rules.begin(), node.rules.end());
  node.rules.erase(std::unique(node.rules.begin(), node.rules.end()), node.rules.end());
  program_.nodes[id] = std::move(node);
}

void SchemaCompiler::add_rules(const Alternative& alternative,
                               Node& node,
                               std::vector<std::string>& values) {
  if (add_listed(alternative, values)) return;
  const auto& schemas = alternative.schemas;
  unsigned types = alternative.types;
  if (types == kAnyType)
    if (const unsigned implied = implied_types(schemas)) types = implied;
  const auto excluded = [&](const Json& value) {
    for (const auto& schema : schemas) {
      const auto at = schema.json->find(kNotAmong);
      if (at == schema.json->end()) continue;
      if (std::find(at->begin(), at->end(), value) != at->end()) return true;
    }
    return false;
  };
  if ((types & kNull) && !excluded(nullptr)) values.emplace_back("null");
  if (types & kBoolean)
    for (const bool value : {false, true})
      if (!excluded(value)) values.emplace_back(value ? "true" : "false");
  if (types & (kWhole | kFraction)) add_number(alternative, types, node, values);
  const auto add = [&](std::optional<RuleId> rule) {
    if (rule) node.rules.push_back(*rule);
  };
  if (types & kString) add(text_rule(schemas));
  if (types & kArray) add(array_rule(schemas));
  if (types & kObject) add(object_rule(schemas));
  for (const auto& schema : schemas) {
    const auto at = schema.json->find(kNotAmong);
    if (at == schema.json->end()) continue;
    for (const auto& value : *at)
      if (type_of(value) & types & (kWhole | kFraction | kArray | kObject)) widen("not");
  }
}

// The values of enum or const that fit everything else. False if there is neither.
bool SchemaCompiler::add_listed(const Alternative& alternative, std::vector<std::string>& values) {
  std::vector<const Json*> listed;
  bool found = false;
  Schema source;
  for (const auto& schema : alternative.schemas) {
    if (const auto* value = schema.get("const")) {
      listed = {value};
      found = true;
      source = schema;
      break;
    }
    const auto* list = schema.get("enum");
    if (list == nullptr || !list->is_array() || list->empty() || found) continue;
    for (const auto& value : *list) listed.push_back(&value);
    found = true;
    source = schema;
  }
  if (!found) return false;
  std::size_t n_bytes = 0;
  for (const Json* value : listed) {
    bool fits = (type_of(*value) & alternative.types) != 0 ||
                (type_of(*value) == kWhole && (alternative.types & kFraction) != 0 &&
                 value->is_number_float());
    for (const auto& schema : alternative.schemas) {
      if (!fits) break;
      const Fit verdict = fit(*value,
                              schema,
                              cache_,
                              budget_,
                              schema == source ? source.get("const") ? "const" : "enum" : "");
      if (verdict == Fit::Maybe) widen("enum");
      fits = verdict != Fit::No;
    }
    if (!fits) continue;
    auto text = spelled(*value);
    if ((n_bytes += text.size()) > kMaxListedBytes) break;
    if (!budget_.spend(static_cast<std::int64_t>(1 + text.size() / 16)) && !values.empty()) break;
    values.push_back(std::move(text));
  }
  return true;
}

void SchemaCompiler::add_number(const Alternative& alternative,
                                unsigned types,
                                Node& node,
                                std::vector<std::string>& values) {
  NumberRules rules{.integers = (types & kWhole) != 0, .fractions = (types & kFraction) != 0};
  std::string key = "number " + std::to_string(types & (kWhole | kFraction));
  std::optional<Decimal> step;
  for (const auto& schema : alternative.schemas) {
    const auto bound = [&](const char* keyword, bool exclusive, bool is_min) {
      const Json* json = schema.get(keyword);
      if (json == nullptr || !json->is_number()) return;
      const auto value = parse_decimal(json->dump());
      if (!value) return widen(keyword);
      auto& kept = is_min ? rules.min : rules.max;
      const int order = kept ? compare(*value, kept->value) * (is_min ? 1 : -1) : 1;
      if (order > 0 || (order == 0 && exclusive))
        kept = Bound{.value = *value, .exclusive = exclusive};
    };
    const auto also_exclusive = [&](const char* keyword) {  // draft 4: a flag beside the bound
      const Json* json = schema.get(keyword);
      return json != nullptr && *json == Json(true);
    };
    bound("minimum", also_exclusive("exclusiveMinimum"), true);
    bound("maximum", also_exclusive("exclusiveMaximum"), false);
    bound("exclusiveMinimum", true, true);
    bound("exclusiveMaximum", true, false);
    if (const Json* json = schema.get("multipleOf"); json != nullptr && json->is_number()) {
      const auto value = parse_decimal(json->dump());
      if (!value || value->is_zero() || value->negative || (step && !(*step == *value))) {
        widen("multipleOf");
      } else {
        step = value;
      }
    }
  }
  for (const auto& [kept, name] : {std::pair{&rules.min, " >"}, std::pair{&rules.max, " <"}})
    if (*kept)
      key += name + std::string((*kept)->exclusive ? "" : "=") +
             ((*kept)->value.negative ? "-" : "") + (*kept)->value.integer + "." +
             (*kept)->value.fraction;
  if (step) {
    const std::string digits = step->integer + step->fraction;
    const auto value = digits.size() <= 15 ? std::stoll(digits) : 0;
    if (step->is_integer()) rules.fractions = false;
    if (value >= 1 && value <= kMaxStep && step->fraction.size() <= 9) {
      rules.step = static_cast<int>(value);
      rules.step_digits = static_cast<int>(step->fraction.size());
    } else if (value >= 1 && step->is_integer() && rules.integers) {
      // Too many remainders for an automaton: some of the multiples, from the bound nearest to
      // zero.
      const auto as_double = [](const Bound& bound) {
        return std::atof(((bound.value.negative ? "-" : "") + bound.value.integer).c_str());
      };
      double nearest = 0;
      if (rules.min && as_double(*rules.min) > 0) nearest = as_double(*rules.min);
      if (rules.max && as_double(*rules.max) < 0) nearest = as_double(*rules.max);
      const double middle = std::floor(nearest / static_cast<double>(value));
      if (std::abs(nearest) < 1e15) {
        for (int i = -kMaxMultiples; i <= kMaxMultiples; ++i) {
          const auto text = std::to_string((static_cast<long long>(middle) + i) * value);
          const auto decimal = parse_decimal(text);
          const auto beyond = [&](const std::optional<Bound>& limit, int sign) {
            if (!limit) return false;
            const int order = compare(*decimal, limit->value) * sign;
            return order < 0 || (order == 0 && limit->exclusive);
          };
          if (!beyond(rules.min, 1) && !beyond(rules.max, -1)) values.push_back(text);
        }
      }
      return;
    } else {
      widen("multipleOf");
      rules.fractions = (types & kFraction) != 0;
    }
    key += " step " + std::to_string(rules.step.value_or(0)) + "e-" +
           std::to_string(rules.step_digits);
  }
  if (!rules.integers && !rules.fractions) return;
  const bool plain = !rules.min && !rules.max && !rules.step;
  if (!plain && !rules_.contains(key) && !budget_.spend(6'000)) {
    widen("too large");
    rules = {.integers = rules.integers, .fractions = rules.fractions};
    key = "number " + std::to_string(types & (kWhole | kFraction));
  }
  auto [at, fresh] = rules_.try_emplace(key);
  if (fresh) {
    auto dfa = rules.min || rules.max || rules.step ? number_dfa(rules)
                                                    : plain_number(rules.integers, rules.fractions);
    if (dfa) at->second = add_rule({.body = TextRule{.dfa = add_dfa(std::move(*dfa))}});
  }
  if (at->second) node.rules.push_back(*at->second);
}

std::optional<TextSet> SchemaCompiler::texts_of(const Conjunction& schemas,
                                                int& min,
                                                int& max,
                                                bool& free) {
  TextSet set = every_text();
  free = true;
  std::tie(min, max) = counts(schemas, "minLength", "maxLength");
  const auto narrow = [&](const std::string& expression, const char* keyword) {
    const Pattern* pattern = cache_.pattern(expression, budget_);
    auto both = pattern ? intersect(set, pattern->texts, budget_) : std::nullopt;
    if (!both) return widen(keyword);
    set = std::move(*both);
    min = std::max(min, pattern->min_length);
    max = std::min(max, pattern->max_length);
    free = false;
  };
  for (const auto& schema : schemas) {
    if (const auto* json = schema.get("pattern"); json != nullptr && json->is_string())
      narrow(json->get_ref<const std::string&>(), "pattern");
    if (const auto* json = schema.get("format"); json != nullptr && json->is_string()) {
      const auto expression = format_expression(json->get_ref<const std::string&>());
      if (!expression.empty()) narrow(expression, "format");
    }
    const auto take_out = [&](const TextSet& others) {
      auto without = subtract(set, others, budget_);
      if (!without) return widen("not");
      set = std::move(*without);
      free = false;
    };
    if (const auto unlike = schema.json->find(kUnlike); unlike != schema.json->end()) {
      // The lengths that the expression also asks for are left aside: fewer texts, none too many.
      const Pattern* pattern = cache_.pattern(unlike->get_ref<const std::string&>(), budget_);
      pattern ? take_out(pattern->texts) : widen("not");
    }
    const auto others = schema.json->find(kNotAmong);
    if (others == schema.json->end()) continue;
    std::vector<std::string> texts;
    for (const auto& value : *others)
      if (value.is_string()) texts.push_back(value.get<std::string>());
    if (!texts.empty()) take_out(text_set_of(texts));
  }
  if (min > kMaxCharacters) {
    widen("minLength");
    min = 0;
  }
  if (set.empty() || min > max) return std::nullopt;
  return set;
}

std::optional<RuleId> SchemaCompiler::text_rule(const Conjunction& schemas) {
  std::string key = "text";
  for (const auto& schema : schemas)
    for (const std::string& keyword : {std::string("minLength"),
                                       std::string("maxLength"),
                                       std::string("pattern"),
                                       std::string("format"),
                                       kUnlike,
                                       kNotAmong}) {
      const auto at = schema.json->find(keyword);
      if (at != schema.json->end()) key += " " + keyword + " " + at->dump();
    }
  const auto cached = rules_.find(key);
  if (cached != rules_.end()) return cached->second;
  int min = 0, max = kEndless;
  bool free = true;
  std::optional<RuleId> rule;
  if (const auto set = texts_of(schemas, min, max, free))
    rule = make_text_rule(*set, min, max, free);
  rules_.emplace(std::move(key), rule);
  return rule;
}

std::optional<RuleId> SchemaCompiler::make_text_rule(const TextSet& set,
                                                     int min,
                                                     int max,
                                                     bool free) {
  static const Dfa kFreeText = [] {
    Budget budget{1'000'000};
    auto dfa = *encode(every_text(), Spelling::FreeValue, budget);
    dfa.prepare_counting();
    return dfa;
  }();
  TextRule rule{.min_length = min, .max_length = max};
  const bool bounded = min > 0 || max < kEndless;
  if (free) {
    const auto [at, fresh] = rules_.try_emplace("free text");
    if (fresh) at->second = add_rule({.body = TextRule{.dfa = add_dfa(kFreeText)}});
    if (!bounded) return at->second;
    rule.dfa = std::get<TextRule>(program_.rules[*at->second].body).dfa;
    rule.counts = true;
    return add_rule({.body = rule});
  }
  rule.counts = bounded && can_count(set);
  std::optional<Dfa> dfa;
  if (!bounded || rule.counts) {
    dfa = encode(set, Spelling::Value, budget_);
    if (dfa && rule.counts) dfa->prepare_counting();
  } else {
    // Pattern and length together, spelled out; if that is too much, for shorter texts alone.
    for (int longest = max; !dfa && longest >= min; longest /= 4) {
      if (longest >= kEndless && min > 2'000) break;
      const auto both = with_length(set, min, longest, budget_);
      if (both && both->empty()) return std::nullopt;
      if (both) dfa = encode(*both, Spelling::Value, budget_);
      if (longest >= kEndless) longest = 4 * std::max(min, 1'000);
    }
    if (!dfa) {
      widen("pattern with length");
      dfa = encode(set, Spelling::Value, budget_);
    }
  }
  if (!dfa) {
    widen("pattern");
    return make_text_rule(every_text(), min, max, true);
  }
  rule.dfa = add_dfa(std::move(*dfa));
  return add_rule({.body = rule});
}

std::optional<RuleId> SchemaCompiler::array_rule(const Conjunction& schemas) {
  ArrayRule rule;
  std::tie(rule.min, rule.max) = counts(schemas, "minItems", "maxItems");
  if (rule.min > kMaxItems) {
    widen("minItems");
    rule.min = 0;
  }
  std::vector<Conjunction> prefix;
  Conjunction behind;
  bool says_items = false;
  const auto list_of = [](const Schema& schema) -> const Json* {
    if (const auto* json = schema.get("prefixItems"); json && json->is_array()) return json;
    if (const auto* json = schema.get("items"); json && json->is_array()) return json;  // draft 7
    return nullptr;
  };
  for (const auto& schema : schemas)
    if (const Json* list = list_of(schema)) prefix.resize(std::max(prefix.size(), list->size()));
  for (const auto& schema : schemas) {
    const auto sub = [&](const Json& json) {
      return Schema{.json = &json, .document = schema.document};
    };
    const Json* list = list_of(schema);
    const Json* rest = schema.get("items");
    if (rest != nullptr && rest->is_array()) rest = schema.get("additionalItems");
    if (rest != nullptr && !rest->is_object() && !rest->is_boolean()) rest = nullptr;
    if (is_false(schema.get("unevaluatedItems")) && rest == nullptr) {
      rule.max = std::min(rule.max, static_cast<int>(prefix.size()));
    } else if (schema.get("unevaluatedItems") != nullptr) {
      widen("unevaluatedItems");
    }
    for (std::size_t i = 0; i < prefix.size(); ++i) {
      if (list && i < list->size()) {
        prefix[i].push_back(sub((*list)[i]));
      } else if (rest) {
        prefix[i].push_back(sub(*rest));
      }
    }
    if (rest) {
      says_items = true;
      behind.push_back(sub(*rest));
    }
    if (schema.get("contains")) widen("contains");
    if (const auto* unique = schema.get("uniqueItems");
        unique && *unique == Json(true) && rule.max > 1)
      widen("uniqueItems");
  }
  // Behind a list of places that says nothing of more, there is no more unless it is asked for.
  if (!prefix.empty() && !says_items)
    rule.max = std::min(rule.max, std::max(rule.min, static_cast<int>(prefix.size())));
  if (rule.min > rule.max) return std::nullopt;
  for (auto& item : prefix) rule.prefix.push_back(node_of(std::move(item)));
  rule.items = node_of(std::move(behind));
  return add_rule({.body = std::move(rule)});
}

SchemaCompiler::ObjectWords SchemaCompiler::gather(const Conjunction& schemas) {
  ObjectWords words{.schemas = schemas};
  std::set<std::string> seen;
  const auto declare = [&](const std::string& name) {
    if (seen.insert(name).second) words.declared.push_back(name);
  };
  bool lists_names = false, opened = false, closed = false;
  for (const auto& schema : schemas) {
    if (const auto* json = schema.get("properties"); json && json->is_object()) {
      lists_names |= schema.json->find(kOpen) == schema.json->end();
      for (const auto& [name, value] : json->items()) declare(name);
    }
    if (const auto* json = schema.get("patternProperties"); json && json->is_object()) {
      lists_names = true;
      for (const auto& [pattern, value] : json->items()) {
        if (std::find(words.patterns.begin(), words.patterns.end(), pattern) !=
            words.patterns.end())
          continue;
        if (words.patterns.size() >= kMaxPatterns || !cache_.pattern(pattern, budget_)) {
          widen("patternProperties");
          words.unclear_patterns = true;
        } else {
          words.patterns.push_back(pattern);
        }
      }
    }
    const auto* more = schema.get("additionalProperties");
    if (more && (more->is_object() || more->is_boolean())) {
      opened |= !is_false(more);
      closed |= is_false(more);
    }
    if (const auto* rest = schema.get("unevaluatedProperties")) {
      closed = true;
      if (!rest->is_boolean()) widen("unevaluatedProperties");
    }
    if (const auto* json = schema.get("required"); json && json->is_array())
      for (const auto& name : *json)
        if (name.is_string()) words.required.insert(name.get<std::string>());
    if (const auto at = schema.json->find(kForbid); at != schema.json->end())
      for (const auto& name : *at)
        if (name.is_string()) words.forbidden.insert(name.get<std::string>());
    if (const auto* json = schema.get("propertyNames");
        json && (json->is_object() || is_false(json)))
      words.name_schemas.push_back({.json = json, .document = schema.document});
  }
  for (const auto& name : words.required) declare(name);
  // A short list of names that may come is a list of declared ones.
  if (!closed && (opened || !lists_names)) {
    for (const auto& schema : words.name_schemas) {
      const auto* list = schema.get("enum");
      if (list == nullptr || !list->is_array()) continue;
      for (const auto& name : *list)
        if (name.is_string()) declare(name.get<std::string>());
      closed = true;
      break;
    }
  }
  words.open = !closed && !words.unclear_patterns && (opened || !lists_names);
  return words;
}

// What holds for the member `name`: in each schema its declaration and the patterns that match, or
// else what that schema says of additional ones.
Conjunction SchemaCompiler::member_schemas(const ObjectWords& words, const std::string& name) {
  Conjunction out;
  for (const auto& schema : words.schemas) {
    const auto add = [&](const Json& json) {
      if (json.is_object() || json.is_boolean())
        out.push_back({.json = &json, .document = schema.document});
    };
    bool matched = false;
    if (const auto* json = schema.get("properties"); json && json->is_object()) {
      if (const auto at = json->find(name); at != json->end()) {
        matched = true;
        add(*at);
      }
    }
    if (const auto* json = schema.get("patternProperties"); json && json->is_object()) {
      for (const auto& [expression, value] : json->items()) {
        const Pattern* pattern = cache_.pattern(expression, budget_);
        if (pattern == nullptr) continue;
        const Json text(name);
        const Json condition = {{"pattern", expression}};
        if (fit(text, {.json = &condition, .document = schema.document}, cache_, budget_) ==
            Fit::No)
          continue;
        matched = true;
        add(value);
      }
    }
    const auto* more = schema.get("additionalProperties");
    if (!matched && more) add(*more);
  }
  return out;
}

std::optional<RuleId> SchemaCompiler::object_rule(const Conjunction& schemas) {
  const auto words = gather(schemas);
  ObjectRule rule;
  std::tie(rule.min, rule.max) = counts(schemas, "minProperties", "maxProperties");
  if (rule.min > kMaxMembers) {
    widen("minProperties");
    rule.min = 0;
  }
  std::vector<std::string> keys;
  std::vector<ObjectRule::Property> properties;
  for (const auto& name : words.declared) {
    budget_.spend(8);
    const bool required = words.required.contains(name);
    auto value = member_schemas(words, name);
    bool impossible = words.forbidden.contains(name) ||
                      std::any_of(value.begin(), value.end(), [](const Schema& schema) {
                        return is_false(schema.json);
                      });
    const Json text(name);
    for (const auto& schema : words.name_schemas)
      impossible |= fit(text, schema, cache_, budget_) == Fit::No;
    if (impossible) {
      if (!required) continue;
      if (!lenient_) return std::nullopt;
      widen("required");
      continue;
    }
    keys.push_back(escaped(name) + "\": ");
    properties.push_back({.value = node_of(std::move(value)), .required = required});
    rule.n_required += required ? 1 : 0;
  }
  if (rule.n_required > rule.max || rule.min > rule.max) return std::nullopt;
  rule.keys = Literals(std::move(keys));
  for (std::uint32_t i = 0; i < rule.keys.all().high; ++i)
    rule.properties.push_back(properties[rule.keys.original(i)]);
  if (words.open || !words.patterns.empty()) add_extras(words, rule);
  return add_rule({.body = std::move(rule)});
}

void SchemaCompiler::add_extras(const ObjectWords& words, ObjectRule& rule) {
  std::vector<std::string> taken(words.declared);
  taken.insert(taken.end(), words.forbidden.begin(), words.forbidden.end());
  std::optional<TextSet> names = every_text();
  for (const auto& schema : words.name_schemas)
    if (is_false(schema.json)) return;
  if (!words.name_schemas.empty()) {
    int min = 0, max = kEndless;
    bool free = true;
    names = texts_of(words.name_schemas, min, max, free);
    if (!names) return;
    for (const auto& schema : words.name_schemas) {
      for (const auto& [keyword, argument] : schema.json->items())
        if (!is_annotation(keyword) && keyword != "pattern" && keyword != "minLength" &&
            keyword != "maxLength" && keyword != "format" &&
            !(keyword == "type" && argument == "string"))
          widen("propertyNames");
    }
    if (min > 0 || max < kEndless) names = with_length(*names, min, std::min(max, 1'000), budget_);
    if (!names) return widen("propertyNames");
  }
  if (!taken.empty()) names = subtract(*names, text_set_of(taken), budget_);

  // A class for each pattern, of the names that no other matches, and one for those that none does.
  for (std::size_t i = 0; names && i <= words.patterns.size(); ++i) {
    const bool is_rest = i == words.patterns.size();
    if (is_rest && !words.open) break;
    auto mine = names;
    for (std::size_t j = 0; mine && j < words.patterns.size(); ++j) {
      const Pattern& pattern = *cache_.pattern(words.patterns[j], budget_);
      auto texts = with_length(pattern.texts, pattern.min_length, pattern.max_length, budget_);
      if (!texts) {
        mine = std::nullopt;
      } else {
        mine = i == j ? intersect(*mine, *texts, budget_) : subtract(*mine, *texts, budget_);
      }
    }
    if (!mine) {
      widen("patternProperties");
      continue;
    }
    Conjunction value;
    bool impossible = words.unclear_patterns;
    for (const auto& schema : words.schemas) {
      const Json* json = nullptr;
      if (const auto* patterns = schema.get("patternProperties");
          !is_rest && patterns && patterns->is_object()) {
        const auto at = patterns->find(words.patterns[i]);
        if (at != patterns->end()) json = &*at;
      }
      if (json == nullptr) json = schema.get("additionalProperties");
      if (json == nullptr || !(json->is_object() || json->is_boolean())) continue;
      impossible |= is_false(json);
      value.push_back({.json = json, .document = schema.document});
    }
    if (impossible || mine->empty()) continue;
    if (auto extra = make_extra(*mine, node_of(std::move(value)))) rule.extras.push_back(*extra);
  }
  if (!names) widen("additionalProperties");
}

std::optional<ObjectRule::Extra> SchemaCompiler::make_extra(const TextSet& names, NodeId value) {
  const auto dfa = encode(names, Spelling::Key, budget_);
  if (!dfa) return std::nullopt;
  ObjectRule::Extra extra{.value = value};
  // How many names there are of each length, by counting ways through the automaton.
  constexpr std::int64_t kMany = 1'000'000;
  std::vector<std::int64_t> ways(dfa->n_states());
  ways[Dfa::kStart] = 1;
  std::int64_t total = 0;
  const int longest = dfa->distance(Dfa::kStart) + 4;
  for (int length = 0; length <= longest; ++length) {
    std::vector<std::int64_t> next(dfa->n_states());
    for (DfaState state = 0; state < dfa->n_states(); ++state) {
      if (ways[state] == 0) continue;
      if (dfa->accepts(state)) total = std::min(total + ways[state], kMany);
      for (const auto& edge : dfa->edges(state))
        next[edge.to] = std::min(next[edge.to] + ways[state] * (edge.high - edge.low + 1), kMany);
    }
    budget_.spend(dfa->n_states());
    extra.names_within.push_back(total);
    ways = std::move(next);
  }
  if (dfa->endless(Dfa::kStart)) extra.bytes_per_further_name = static_cast<int>(dfa->n_states());
  extra.name = add_rule({.body = TextRule{.dfa = add_dfa(*dfa)}});
  return extra;
}

RuleId SchemaCompiler::add_rule(Rule rule) {
  program_.rules.push_back(std::move(rule));
  return static_cast<RuleId>(program_.rules.size() - 1);
}

DfaId SchemaCompiler::add_dfa(Dfa dfa) {
  program_.dfas.push_back(std::move(dfa));
  return static_cast<DfaId>(program_.dfas.size() - 1);
}

}  // namespace pensieve::grammar::internal
