#include "domain/grammar/internal/program.h"

#include <numeric>

namespace pensieve::grammar::internal {
namespace {

struct Cost {
  int bytes = kEndless;
  int depth = 0;
};

// The shortest text of a rule, from what its nodes cost so far.
class CostOf {
 public:
  explicit CostOf(const Program& program) : program_(program) {}

  Cost operator()(const EndRule&) const { return {.bytes = 0, .depth = 0}; }
  Cost operator()(const CallsRule&) const { return {.bytes = 0, .depth = 0}; }
  Cost operator()(const ChoiceRule& rule) const {
    return {.bytes = rule.values.shortest(), .depth = 0};
  }
  Cost operator()(const TextRule& rule) const {
    const auto& dfa = program_.dfa(rule);
    return {.bytes = rule.counts ? dfa.distance(Dfa::kStart, rule.min_length)
                                 : dfa.distance(Dfa::kStart),
            .depth = 0};
  }
  Cost operator()(const ArrayRule& rule) const {
    Cost cost{.bytes = 2, .depth = 1};
    const int n_prefix = static_cast<int>(rule.prefix.size());
    for (int i = 0; i < std::min(rule.min, n_prefix + 1); ++i) {
      const auto& node = program_.nodes[rule.item(i)];
      const std::int64_t n = i < n_prefix ? 1 : rule.min - i;
      cost.bytes = saturating_sum(cost.bytes, n * (node.shortest + 2));
      cost.depth = std::max(cost.depth, node.depth + 1);
    }
    if (rule.min > 0 && cost.bytes < kEndless) cost.bytes -= 2;
    return cost;
  }
  Cost operator()(const ObjectRule& rule) const {
    const auto need = still_needed(program_, rule, {});
    return {.bytes = saturating_sum(need.bytes, 2 + 2 * std::max(need.members - 1, 0)),
            .depth = need.depth + 1};
  }

 private:
  const Program& program_;
};

// An upper bound of a place's distance from the end of its rule, whatever was read of it.
class LongestOf {
 public:
  explicit LongestOf(const Program& program) : program_(program) {}

  int operator()(const EndRule&) const { return 0; }
  int operator()(const ChoiceRule& rule) const { return rule.values.longest(); }
  int operator()(const TextRule& rule) const {
    const auto& dfa = program_.dfa(rule);
    return rule.counts ? dfa.longest_distance(rule.min_length) : dfa.longest_distance();
  }
  int operator()(const ArrayRule& rule) const {
    std::int64_t sum = 8;
    int longest = 0;
    for (int i = 0; i <= static_cast<int>(rule.prefix.size()); ++i) {
      if (i >= rule.max) break;
      longest = std::max(longest, cost(rule.item(i)));
    }
    sum += std::int64_t{std::max(rule.min, 1)} * (longest + 2);
    return saturating_sum(sum, 0);
  }
  int operator()(const ObjectRule& rule) const {
    std::int64_t sum = 8;
    int longest = 0;
    for (std::uint32_t i = 0; i < rule.properties.size(); ++i) {
      const int one = saturating_sum(rule.keys[i].size() + 3, cost(rule.properties[i].value));
      if (rule.properties[i].required) sum += one;
      if (one < kEndless) longest = std::max(longest, one);
    }
    for (const auto& extra : rule.extras) {
      if (cost(extra.value) >= kEndless) continue;
      longest = std::max(
          longest, saturating_sum(std::int64_t{extra.fresh_name(rule.min)} + 8, cost(extra.value)));
    }
    return saturating_sum(sum, std::int64_t{std::max(rule.min, 1)} * longest);
  }
  int operator()(const CallsRule& rule) const {
    int longest = 0;
    for (std::uint32_t i = 0; i < rule.arguments.size(); ++i)
      longest = std::max(longest, saturating_sum(rule.heads[i].size(), cost(rule.arguments[i])));
    return saturating_sum(longest, rule.open.size() + rule.close.size() + rule.between.size() + 8);
  }

 private:
  int cost(NodeId node) const { return program_.nodes[node].shortest; }
  const Program& program_;
};

void drop_what_never_ends(Program& program) {
  const auto hopeless = [&](NodeId node) { return program.nodes[node].shortest >= kEndless; };
  for (auto& node : program.nodes)
    std::erase_if(node.rules, [&](RuleId id) { return program.rules[id].shortest >= kEndless; });
  for (auto& rule : program.rules) {
    if (auto* array = std::get_if<ArrayRule>(&rule.body)) {
      for (int i = 0; i <= static_cast<int>(array->prefix.size()); ++i) {
        if (i < array->max && hopeless(array->item(i))) array->max = i;
      }
    } else if (auto* object = std::get_if<ObjectRule>(&rule.body)) {
      std::erase_if(object->extras, [&](const auto& extra) { return hopeless(extra.value); });
    }
  }
}

}  // namespace

int ObjectRule::Extra::fresh_name(int n_taken) const {
  const auto at = std::upper_bound(names_within.begin(), names_within.end(), n_taken);
  if (at != names_within.end()) return static_cast<int>(at - names_within.begin());
  if (bytes_per_further_name == 0) return kEndless;
  return saturating_sum(names_within.size(), (n_taken + std::int64_t{2}) * bytes_per_further_name);
}

Literals::Literals(std::vector<std::string> texts) : originals_(texts.size()) {
  std::iota(originals_.begin(), originals_.end(), 0u);
  std::stable_sort(
      originals_.begin(), originals_.end(), [&](auto a, auto b) { return texts[a] < texts[b]; });
  texts_.reserve(texts.size());
  for (const auto index : originals_) {
    const int size = static_cast<int>(texts[index].size());
    shortest_ = std::min(shortest_, size);
    longest_ = std::max(longest_, size);
    texts_.push_back(std::move(texts[index]));
  }
}

Literals::Range Literals::step(Range range, std::uint32_t at, std::uint8_t byte) const {
  // Texts of one beginning are sorted by the byte behind it; one that ends there comes first.
  const auto key = [&](const std::string& text) {
    return at < text.size() ? static_cast<int>(static_cast<std::uint8_t>(text[at])) : -1;
  };
  if (range.high - range.low == 1) {
    if (key(texts_[range.low]) == byte) return range;
    return {range.low, range.low};
  }
  const auto begin = texts_.begin();
  const auto low = std::partition_point(
      begin + range.low, begin + range.high, [&](const auto& text) { return key(text) < byte; });
  const auto high = std::partition_point(
      low, begin + range.high, [&](const auto& text) { return key(text) == byte; });
  return {static_cast<std::uint32_t>(low - begin), static_cast<std::uint32_t>(high - begin)};
}

int property_bytes(const Program& program, const ObjectRule& rule, std::uint32_t property) {
  return saturating_sum(1 + rule.keys[property].size(),
                        program.nodes[rule.properties[property].value].shortest);
}

namespace {

// An extra of a kind where `j` names are taken: quotes, name, ": ", value.
int extra_bytes(const Program& program, const ObjectRule::Extra& extra, int j) {
  return saturating_sum(std::int64_t{extra.fresh_name(j)} + 2, program.nodes[extra.value].shortest);
}

}  // namespace

ObjectNeed still_needed(const Program& program,
                        const ObjectRule& rule,
                        const ObjectProgress& done) {
  ObjectNeed need;
  const auto add = [&](int bytes, NodeId value) {
    ++need.members;
    need.bytes = saturating_sum(need.bytes, bytes);
    need.depth = std::max(need.depth, program.nodes[value].depth);
  };
  for (std::uint32_t i = 0; i < rule.properties.size(); ++i)
    if (rule.properties[i].required && !done.has(i))
      add(property_bytes(program, rule, i), rule.properties[i].value);
  int missing = rule.min - done.n_members - need.members;
  if (missing <= 0) return need;

  std::vector<std::pair<int, NodeId>> others;
  for (std::uint32_t i = 0; i < rule.properties.size(); ++i)
    if (!rule.properties[i].required && !done.has(i))
      others.emplace_back(property_bytes(program, rule, i), rule.properties[i].value);
  // Every one is taken to be as dear as the last, so that the sum holds in whatever order they
  // come.
  for (const auto& extra : rule.extras)
    others.insert(others.end(),
                  static_cast<std::size_t>(missing),
                  {extra_bytes(program, extra, done.n_extras + missing - 1), extra.value});
  std::sort(others.begin(), others.end());
  for (const auto& [bytes, value] : others) {
    if (missing == 0 || bytes >= kEndless) break;
    add(bytes, value);
    --missing;
  }
  if (missing > 0) need.bytes = kEndless;
  return need;
}

int cheapest_member(const Program& program,
                    const ObjectRule& rule,
                    const ObjectProgress& done,
                    int max_depth) {
  int least = kEndless;
  const auto fits = [&](NodeId node) { return program.nodes[node].depth <= max_depth; };
  for (std::uint32_t i = 0; i < rule.properties.size(); ++i)
    if (!done.has(i) && fits(rule.properties[i].value))
      least = std::min(least, property_bytes(program, rule, i));
  for (const auto& extra : rule.extras)
    if (fits(extra.value)) least = std::min(least, extra_bytes(program, extra, done.n_extras));
  return least;
}

std::vector<std::uint32_t> border_lengths(std::string_view text) {
  std::vector<std::uint32_t> borders(text.size());
  std::uint32_t length = 0;
  for (std::size_t i = 1; i < text.size(); ++i) {
    while (length > 0 && text[i] != text[length]) length = borders[length - 1];
    if (text[i] == text[length]) ++length;
    borders[i] = length;
  }
  return borders;
}

void find_shortest(Program& program) {
  // Costs only fall, so each round's are true upper bounds, and the last ones hold together: what a
  // rule costs is at least what its parts cost now. Nodes are made after those that need them, so
  // going backwards settles all but the recursive ones in the first round. The bound on rounds
  // leaves what is still without an end then as endless.
  constexpr int kMaxRounds = 64;
  bool changed = true;
  for (int round = 0; changed && round < kMaxRounds; ++round) {
    changed = false;
    for (std::size_t i = program.nodes.size(); i-- > 0;) {
      auto& node = program.nodes[i];
      Cost best;
      for (const RuleId id : node.rules) {
        auto& rule = program.rules[id];
        const Cost cost = std::visit(CostOf(program), rule.body);
        rule.shortest = cost.bytes;
        rule.depth = cost.depth;
        if (std::pair(cost.bytes, cost.depth) < std::pair(best.bytes, best.depth)) best = cost;
      }
      if (best.bytes == node.shortest && best.depth == node.depth) continue;
      node.shortest = best.bytes;
      node.depth = best.depth;
      changed = true;
    }
  }
  drop_what_never_ends(program);
  for (auto& rule : program.rules) rule.longest = std::visit(LongestOf(program), rule.body);
  for (const auto& node : program.nodes)
    if (node.shortest < kEndless) program.deepest_node = std::max(program.deepest_node, node.depth);
}

}  // namespace pensieve::grammar::internal
