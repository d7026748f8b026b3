#include "domain/grammar/internal/machine.h"

#include <algorithm>
#include <functional>
#include <queue>
#include <tuple>

namespace pensieve::grammar::internal {
namespace {

// Place::phase.
namespace array {
constexpr std::uint32_t kStart = 0, kOpen = 1, kBehindItem = 2, kBehindComma = 3;
}
namespace object {
constexpr std::uint32_t kStart = 0;
constexpr std::uint32_t kOpen = 1;  // behind {
constexpr std::uint32_t kBehindValue = 2;
constexpr std::uint32_t kBehindComma = 3;
constexpr std::uint32_t kBeforeName = 4;  // behind ", "
constexpr std::uint32_t kInName = 5;      // of a property: low, high, at in the keys
constexpr std::uint32_t kInExtra = 6;     // a frame's place while its name is written; low: which
constexpr std::uint32_t kBehindName = 7;  // of an extra; it is in `members` now
constexpr std::uint32_t kBehindColon = 8;
}  // namespace object
namespace calls {
constexpr std::uint32_t kFree = 0;  // at: bytes of `open` that match
constexpr std::uint32_t kOpen = 1, kHead = 2, kClose = 3;
constexpr std::uint32_t kBetween = 4;  // between + open; may end before its first byte
constexpr std::uint32_t kDone = 5;
}  // namespace calls

constexpr std::uint64_t kHashSeed = 0xCBF29CE484222325u;
// Beginnings of names looked at in search of one that is not taken.
constexpr std::size_t kMaxNames = 65'536;

ObjectProgress progress_of(const Place& place) {
  if (!place.members) return {};
  return {.used = place.members->used,
          .n_members = place.members->n_members,
          .n_extras = static_cast<int>(place.members->extra_names.size())};
}

Place at_phase(const Place& place, std::uint32_t phase) {
  Place next = place;
  next.phase = phase;
  next.at = 0;
  return next;
}

Place behind_call(const CallsRule& rule, RuleId id) {
  if (rule.only_one) return {.rule = id, .phase = calls::kDone};
  return {.rule = id, .phase = rule.required ? calls::kBetween : calls::kFree};
}

Place behind_arguments(const CallsRule& rule, RuleId id) {
  if (rule.close.empty()) return behind_call(rule, id);
  return {.rule = id, .phase = calls::kClose};
}

Place at_head(const CallsRule& rule, RuleId id) {
  return {.rule = id, .phase = calls::kHead, .low = 0, .high = rule.heads.all().high};
}

Place first_place(const Program& program, RuleId id) {
  Place place{.rule = id};
  if (const auto* choice = std::get_if<ChoiceRule>(&program.rules[id].body))
    place.high = choice->values.all().high;
  return place;
}

}  // namespace

void Frame::destroy(const Frame* frame) {
  auto* at = const_cast<Frame*>(frame);
  while (at != nullptr) {
    Ref<const Frame> parent = std::move(at->parent);
    delete at;
    at = const_cast<Frame*>(parent.release_if_last());
  }
}

Threads Machine::start() const {
  Threads out;
  if (program_.calls_rule) {
    const RuleId id = *program_.calls_rule;
    const auto& rule = std::get<CallsRule>(program_.rules[id].body);
    const bool at_once = rule.required && rule.open.empty();
    Place place{.rule = id, .phase = rule.required ? calls::kOpen : calls::kFree};
    out.push_back({.place = at_once ? at_head(rule, id) : place, .parent = {}});
  }
  if (program_.root_node)
    enter(*program_.root_node, call_from({.rule = program_.end_rule}, {}, 0), out);
  return out;
}

void Machine::enter(NodeId node, const Ref<const Frame>& caller, Threads& out) const {
  for (const RuleId id : program_.nodes[node].rules) {
    if (caller->depth + program_.rules[id].depth > program_.max_depth) continue;
    out.push_back({.place = first_place(program_, id), .parent = caller});
  }
}

Ref<const Frame> Machine::call_from(Place place, const Ref<const Frame>& parent, int depth) const {
  auto* frame = new Frame;
  frame->rest = saturating_sum(place_distance(place, depth), parent ? parent->rest : 0);
  frame->place = std::move(place);
  frame->parent = parent;
  frame->depth = depth;
  return Ref<const Frame>(frame);
}

bool Machine::fits(NodeId node, int depth) const {
  const auto& to = program_.nodes[node];
  return to.shortest < kEndless && depth + to.depth <= program_.max_depth;
}

const ObjectRule::Extra* Machine::extra_of(const Thread& thread) const {
  if (!thread.parent) return nullptr;
  const Place& caller = thread.parent->place;
  const auto* rule = std::get_if<ObjectRule>(&program_.rules[caller.rule].body);
  return rule && caller.phase == object::kInExtra ? &rule->extras[caller.low] : nullptr;
}

bool Machine::leave(const Thread& thread, std::uint64_t hash, Thread& out) const {
  out = {.place = thread.parent->place, .parent = thread.parent->parent};
  if (out.place.phase != object::kInExtra ||
      !std::holds_alternative<ObjectRule>(program_.rules[out.place.rule].body))
    return true;
  const auto& names = out.place.members->extra_names;
  const auto at = std::lower_bound(names.begin(), names.end(), hash);
  if (at != names.end() && *at == hash) return false;
  auto* members = new Members(*out.place.members);
  members->n_refs = 0;
  members->extra_names.insert(members->extra_names.begin() + (at - names.begin()), hash);
  ++members->n_members;
  out.place.phase = object::kBehindName;
  out.place.members = Ref<const Members>(members);
  return true;
}

// ---- steps

void Machine::step(const Thread& thread, std::uint8_t byte, Threads& out) const {
  std::visit([&](const auto& rule) { step_rule(rule, thread, byte, out); },
             program_.rules[thread.place.rule].body);
}

void Machine::step_all(const Threads& from, std::uint8_t byte, Threads& out) const {
  out.clear();
  for (const auto& thread : from) step(thread, byte, out);
  if (out.size() < 2) return;
  // Readings that have come together are one.
  std::size_t n = 0;
  for (std::size_t i = 0; i < out.size(); ++i) {
    const auto end = out.begin() + static_cast<std::ptrdiff_t>(n);
    if (n < kMaxThreads * 4 && std::find(out.begin(), end, out[i]) != end) continue;
    if (n != i) out[n] = std::move(out[i]);
    ++n;
  }
  out.resize(n);
  keep_nearest(out);
}

void Machine::keep_nearest(Threads& threads) const {
  // Dropping a reading narrows what may follow. Those that are soonest complete stay, so that an
  // answer that fitted its limit still does.
  if (threads.size() <= kMaxThreads) return;
  std::vector<std::pair<int, std::size_t>> order;
  for (std::size_t i = 0; i < threads.size(); ++i) order.emplace_back(distance(threads[i]), i);
  std::sort(order.begin(), order.end());
  Threads kept;
  for (std::size_t i = 0; i < kMaxThreads; ++i) kept.push_back(std::move(threads[order[i].second]));
  threads = std::move(kept);
}

Threads Machine::run(const Thread& from, std::string_view bytes) const {
  Threads at = {from}, next;
  for (const char c : bytes) {
    step_all(at, static_cast<std::uint8_t>(c), next);
    std::swap(at, next);
    if (at.empty()) break;
  }
  return at;
}

void Machine::step_rule(const TextRule& rule,
                        const Thread& thread,
                        std::uint8_t byte,
                        Threads& out) const {
  const auto& dfa = program_.dfa(rule);
  const Place& place = thread.place;
  const DfaState to = dfa.step(place.at, byte);
  if (to == kDead) return;
  const bool accepts = dfa.accepts(to);
  std::uint32_t count = place.low;
  if (rule.counts && dfa.between_characters(place.at)) {
    if (accepts) {
      if (static_cast<int>(count) < rule.min_length) return;
    } else if (static_cast<int>(++count) > rule.max_length) {
      return;
    }
  }
  if (!accepts || !dfa.edges(to).empty()) {
    Thread next = thread;
    next.place.at = to;
    next.place.low = count;
    next.place.hash = hash_step(place.hash, byte);
    if (dfa.endless(to) || name_distance(rule, next) < kEndless) out.push_back(std::move(next));
  }
  if (accepts) {
    Thread next;
    if (leave(thread, place.hash, next)) out.push_back(std::move(next));
  }
}

void Machine::step_rule(const ChoiceRule& rule,
                        const Thread& thread,
                        std::uint8_t byte,
                        Threads& out) const {
  const Place& place = thread.place;
  auto range = rule.values.step({place.low, place.high}, place.at, byte);
  if (range.low == range.high) return;
  if (rule.values[range.low].size() == place.at + 1) {
    ++range.low;
    Thread next;
    if (leave(thread, 0, next)) out.push_back(std::move(next));
  }
  if (range.low == range.high) return;
  Thread next = thread;
  next.place.low = range.low;
  next.place.high = range.high;
  ++next.place.at;
  out.push_back(std::move(next));
}

void Machine::step_rule(const ArrayRule& rule,
                        const Thread& thread,
                        std::uint8_t byte,
                        Threads& out) const {
  const Place& place = thread.place;
  const int count = static_cast<int>(place.low), inner = depth(thread) + 1;
  const auto begin_item = [&] {
    Place behind = at_phase(place, array::kBehindItem);
    // Beyond every bound all counts are the same.
    const int enough =
        rule.max < kEndless ? rule.max : std::max(rule.min, static_cast<int>(rule.prefix.size()));
    behind.low = static_cast<std::uint32_t>(std::min(count + 1, enough));
    enter(rule.item(count), call_from(std::move(behind), thread.parent, inner), out);
  };
  switch (place.phase) {
    case array::kStart:
      if (byte != '[') return;
      if (rule.min == 0)
        out.push_back({.place = at_phase(place, array::kOpen), .parent = thread.parent});
      if (rule.max > 0 && fits(rule.item(0), inner)) begin_item();
      return;
    case array::kOpen:
    case array::kBehindItem:
      if (byte == ']' && (place.phase == array::kOpen || count >= rule.min)) {
        Thread next;
        if (leave(thread, 0, next)) out.push_back(std::move(next));
      } else if (byte == ',' && place.phase == array::kBehindItem && count < rule.max &&
                 fits(rule.item(count), inner)) {
        out.push_back({.place = at_phase(place, array::kBehindComma), .parent = thread.parent});
      }
      return;
    default:
      if (byte == ' ') begin_item();
      return;
  }
}

void Machine::step_rule(const ObjectRule& rule,
                        const Thread& thread,
                        std::uint8_t byte,
                        Threads& out) const {
  const Place& place = thread.place;
  const auto go = [&](std::uint32_t phase) {
    out.push_back({.place = at_phase(place, phase), .parent = thread.parent});
  };
  const int inner = depth(thread) + 1;
  switch (place.phase) {
    case object::kStart: {
      if (byte != '{') return;
      auto* members = new Members;
      members->used.resize((rule.properties.size() + 63) / 64);
      members->n_required_left = rule.n_required;
      go(object::kOpen);
      out.back().place.members = Ref<const Members>(members);
      return;
    }
    case object::kOpen:
    case object::kBehindValue: {
      const auto& members = *place.members;
      if (byte == '}') {
        if (members.n_required_left > 0 || members.n_members < rule.min) return;
        Thread next;
        if (leave(thread, 0, next)) out.push_back(std::move(next));
      } else if (byte == '"' && place.phase == object::kOpen) {
        begin_name(rule, thread, out);
      } else if (byte == ',' && place.phase == object::kBehindValue &&
                 may_add_any(rule, members, inner)) {
        go(object::kBehindComma);
      }
      return;
    }
    case object::kBehindComma:
      if (byte == ' ') go(object::kBeforeName);
      return;
    case object::kBeforeName:
      if (byte == '"') begin_name(rule, thread, out);
      return;
    case object::kInName:
      return step_name(rule, thread, byte, out);
    case object::kBehindName:
      if (byte == ':') go(object::kBehindColon);
      return;
    default:
      if (byte != ' ') return;
      enter(rule.extras[place.low].value,
            call_from(at_phase(place, object::kBehindValue), thread.parent, inner),
            out);
      return;
  }
}

bool Machine::may_add(const ObjectRule& rule,
                      const Members& members,
                      std::uint32_t property,
                      int depth) const {
  if (members.used[property / 64] >> (property % 64) & 1) return false;
  const auto& [value, required] = rule.properties[property];
  const int others = members.n_required_left - (required ? 1 : 0);
  return members.n_members + 1 + others <= rule.max && fits(value, depth);
}

bool Machine::may_add(const ObjectRule& rule,
                      const Members& members,
                      const ObjectRule::Extra& extra,
                      int depth) const {
  return members.n_members + 1 + members.n_required_left <= rule.max && fits(extra.value, depth) &&
         extra.fresh_name(static_cast<int>(members.extra_names.size())) < kEndless;
}

bool Machine::may_add_any(const ObjectRule& rule, const Members& members, int depth) const {
  for (std::uint32_t i = 0; i < rule.properties.size(); ++i)
    if (may_add(rule, members, i, depth)) return true;
  for (const auto& extra : rule.extras)
    if (may_add(rule, members, extra, depth)) return true;
  return false;
}

void Machine::begin_name(const ObjectRule& rule, const Thread& thread, Threads& out) const {
  const Place& place = thread.place;
  const int inner = depth(thread) + 1;
  const auto n = static_cast<std::uint32_t>(rule.properties.size());
  for (std::uint32_t i = 0; i < n; ++i) {
    if (!may_add(rule, *place.members, i, inner)) continue;
    Thread next{.place = at_phase(place, object::kInName), .parent = thread.parent};
    next.place.low = 0;
    next.place.high = n;
    out.push_back(std::move(next));
    break;
  }
  for (std::uint32_t i = 0; i < rule.extras.size(); ++i) {
    const auto& extra = rule.extras[i];
    if (!may_add(rule, *place.members, extra, inner)) continue;
    const auto& name = std::get<TextRule>(program_.rules[extra.name].body);
    Place behind = at_phase(place, object::kInExtra);
    behind.low = i;
    Thread next{.place = {.rule = extra.name,
                          .at = program_.dfa(name).step(Dfa::kStart, '"'),
                          .hash = kHashSeed},
                .parent = call_from(std::move(behind), thread.parent, inner)};
    if (name_distance(name, next) < kEndless) out.push_back(std::move(next));
  }
}

void Machine::step_name(const ObjectRule& rule,
                        const Thread& thread,
                        std::uint8_t byte,
                        Threads& out) const {
  const Place& place = thread.place;
  const int inner = depth(thread) + 1;
  const auto range = rule.keys.step({place.low, place.high}, place.at, byte);
  // Names that cannot be added may surround one that can, never the other way round.
  std::uint32_t low = range.low, high = range.high;
  while (low < high && !may_add(rule, *place.members, low, inner)) ++low;
  while (low < high && !may_add(rule, *place.members, high - 1, inner)) --high;
  if (low == high) return;
  if (rule.keys[low].size() > place.at + 1) {
    Thread next = thread;
    next.place.low = low;
    next.place.high = high;
    ++next.place.at;
    out.push_back(std::move(next));
    return;
  }
  auto* members = new Members(*place.members);
  members->n_refs = 0;
  members->used[low / 64] |= std::uint64_t{1} << (low % 64);
  ++members->n_members;
  if (rule.properties[low].required) --members->n_required_left;
  Place behind = at_phase(place, object::kBehindValue);
  behind.low = behind.high = 0;
  behind.members = Ref<const Members>(members);
  enter(rule.properties[low].value, call_from(std::move(behind), thread.parent, inner), out);
}

void Machine::step_rule(const CallsRule& rule,
                        const Thread& thread,
                        std::uint8_t byte,
                        Threads& out) const {
  const Place& place = thread.place;
  const auto emit = [&](Place to) { out.push_back({.place = std::move(to), .parent = {}}); };
  // A literal that is followed by `next`.
  const auto literal = [&](std::string_view text, std::size_t at, auto next) {
    if (static_cast<std::uint8_t>(text[at]) != byte) return;
    if (at + 1 == text.size()) return emit(next());
    Place to = place;
    ++to.at;
    emit(std::move(to));
  };
  const auto head = [&] { return at_head(rule, place.rule); };
  switch (place.phase) {
    case calls::kFree: {
      Place to = place;
      if (!rule.open.empty()) {
        while (to.at > 0 && static_cast<std::uint8_t>(rule.open[to.at]) != byte)
          to.at = rule.failure[to.at - 1];
        if (static_cast<std::uint8_t>(rule.open[to.at]) == byte) ++to.at;
      }
      emit(!rule.open.empty() && to.at == rule.open.size() ? head() : to);
      return;
    }
    case calls::kOpen:
      return literal(rule.open, place.at, head);
    case calls::kHead:
      return step_head(rule, thread, byte, out);
    case calls::kClose:
      return literal(rule.close, place.at, [&] { return behind_call(rule, place.rule); });
    case calls::kBetween: {
      const std::string text = rule.between + rule.open;
      if (!text.empty()) return literal(text, place.at, head);
      return step_head(rule, {.place = head(), .parent = {}}, byte, out);
    }
    default:
      return;
  }
}

void Machine::step_head(const CallsRule& rule,
                        const Thread& thread,
                        std::uint8_t byte,
                        Threads& out) const {
  const Place& place = thread.place;
  auto range = rule.heads.step({place.low, place.high}, place.at, byte);
  if (range.low == range.high) return;
  if (rule.heads[range.low].size() == place.at + 1) {
    enter(rule.arguments[range.low], call_from(behind_arguments(rule, place.rule), {}, 0), out);
    ++range.low;
  }
  if (range.low == range.high) return;
  Thread next = thread;
  next.place.low = range.low;
  next.place.high = range.high;
  ++next.place.at;
  out.push_back(std::move(next));
}

// ---- what can be said of a place

bool Machine::may_end(const Thread& thread) const {
  if (thread.parent) return false;
  const auto& body = program_.rules[thread.place.rule].body;
  if (!std::holds_alternative<CallsRule>(body)) return true;
  const auto phase = thread.place.phase;
  return phase == calls::kFree || phase == calls::kDone ||
         (phase == calls::kBetween && thread.place.at == 0);
}

bool Machine::inside(const Thread& thread) const {
  return !may_end(thread) &&
         (thread.parent || thread.place.phase != calls::kOpen || thread.place.at > 0);
}

bool Machine::in_free_text(const Thread& thread) const {
  return !thread.parent && thread.place.phase == calls::kFree &&
         std::holds_alternative<CallsRule>(program_.rules[thread.place.rule].body);
}

int Machine::distance(const Thread& thread) const {
  const int rest = thread.parent ? thread.parent->rest : 0;
  if (const auto* rule = text_rule(thread); rule != nullptr && extra_of(thread) != nullptr)
    return saturating_sum(name_distance(*rule, thread), rest);
  return saturating_sum(place_distance(thread.place, depth(thread) + 1), rest);
}

int Machine::distance_at_most(const Thread& thread) const {
  if (extra_of(thread) != nullptr) return distance(thread);
  return saturating_sum(program_.rules[thread.place.rule].longest,
                        thread.parent ? thread.parent->rest : 0);
}

int Machine::place_distance(const Place& place, int depth) const {
  return std::visit([&](const auto& rule) { return distance_in(rule, place, depth); },
                    program_.rules[place.rule].body);
}

int Machine::distance_in(const TextRule& rule, const Place& place, int) const {
  const auto& dfa = program_.dfa(rule);
  if (!rule.counts) return dfa.distance(place.at);
  return dfa.distance(place.at, rule.min_length - static_cast<int>(place.low));
}

int Machine::distance_in(const ChoiceRule& rule, const Place& place, int) const {
  int least = kEndless;
  if (place.at == 0) return rule.values.shortest();
  for (auto i = place.low; i < place.high; ++i)
    least = std::min(least, static_cast<int>(rule.values[i].size() - place.at));
  return least;
}

int Machine::distance_in(const ArrayRule& rule, const Place& place, int) const {
  const int count = static_cast<int>(place.low);
  const auto items_from = [&](int from) {
    std::int64_t sum = 0;
    for (int i = from; i < rule.min; ++i) {
      const bool in_prefix = i < static_cast<int>(rule.prefix.size());
      sum +=
          (in_prefix ? 1 : rule.min - i) * std::int64_t{2 + program_.nodes[rule.item(i)].shortest};
      if (!in_prefix) break;
    }
    return sum;
  };
  switch (place.phase) {
    case array::kStart:
      return program_.rules[place.rule].shortest;
    case array::kOpen:
      return 1;
    case array::kBehindItem:
      return saturating_sum(items_from(count), 1);
    default:
      return saturating_sum(program_.nodes[rule.item(count)].shortest, items_from(count + 1) + 2);
  }
}

int Machine::distance_in(const ObjectRule& rule, const Place& place, int depth) const {
  if (place.phase == object::kStart) return program_.rules[place.rule].shortest;
  ObjectProgress done = progress_of(place);
  if (place.phase == object::kInExtra) {
    ++done.n_members;
    ++done.n_extras;
  }
  const auto need = still_needed(program_, rule, done);
  const auto behind_value = [](const ObjectNeed& n) {
    return saturating_sum(n.bytes, 2 * std::int64_t{n.members} + 1);
  };
  switch (place.phase) {
    case object::kOpen:
      return behind_value(need) - (need.members > 0 ? 2 : 0);
    case object::kBehindValue:
      return behind_value(need);
    case object::kBehindComma:
    case object::kBeforeName: {
      const int space = place.phase == object::kBehindComma ? 1 : 0;
      if (need.members > 0) return saturating_sum(behind_value(need), space - 2);
      const int least = cheapest_member(program_, rule, done, program_.max_depth - depth);
      return saturating_sum(least, space + 1);
    }
    case object::kInName: {
      int least = kEndless;
      for (auto i = place.low; i < place.high; ++i) {
        if (!may_add(rule, *place.members, i, depth)) continue;
        const int left = saturating_sum(rule.keys[i].size() - place.at,
                                        program_.nodes[rule.properties[i].value].shortest);
        ObjectNeed then = need;
        if (rule.properties[i].required) {
          then.bytes -= property_bytes(program_, rule, i);
          --then.members;
        } else if (need.members > place.members->n_required_left) {
          // It takes the place of one of those that make up the number.
          auto used = place.members->used;
          used[i / 64] |= std::uint64_t{1} << (i % 64);
          then = still_needed(
              program_,
              rule,
              {.used = used, .n_members = done.n_members + 1, .n_extras = done.n_extras});
        }
        least = std::min(least, saturating_sum(left, behind_value(then)));
      }
      return least;
    }
    default: {
      const int colon = place.phase == object::kBehindColon ? 1 : 2;
      return saturating_sum(
          std::int64_t{program_.nodes[rule.extras[place.low].value].shortest} + colon,
          behind_value(need));
    }
  }
}

int Machine::distance_in(const CallsRule& rule, const Place& place, int) const {
  const auto head = [&](Literals::Range range, std::uint32_t at) {
    int least = kEndless;
    for (auto i = range.low; i < range.high; ++i)
      least = std::min(
          least,
          saturating_sum(rule.heads[i].size() - at, program_.nodes[rule.arguments[i]].shortest));
    return saturating_sum(least, rule.close.size());
  };
  switch (place.phase) {
    case calls::kOpen:
      return saturating_sum(rule.open.size() - place.at, head(rule.heads.all(), 0));
    case calls::kHead:
      return head({place.low, place.high}, place.at);
    case calls::kClose:
      return static_cast<int>(rule.close.size() - place.at);
    case calls::kBetween:
      if (place.at == 0) return 0;
      return saturating_sum(rule.between.size() + rule.open.size() - place.at,
                            head(rule.heads.all(), 0));
    default:
      return 0;
  }
}

int Machine::name_distance(const TextRule& rule, const Thread& thread) const {
  const auto& dfa = program_.dfa(rule);
  const DfaState from = thread.place.at;
  if (extra_of(thread) == nullptr) return dfa.distance(from);
  const auto& taken = thread.parent->place.members->extra_names;
  if (taken.empty()) return dfa.distance(from);
  // One of the shortest names is free nearly always.
  std::uint64_t straight = thread.place.hash;
  for (DfaState state = from; !dfa.accepts(state);) {
    const auto edges = dfa.edges(state);
    const auto nearer = std::find_if(edges.begin(), edges.end(), [&](const auto& edge) {
      return dfa.distance(edge.to) < dfa.distance(state);
    });
    if (!dfa.accepts(nearer->to)) straight = hash_step(straight, nearer->low);
    state = nearer->to;
  }
  if (!std::binary_search(taken.begin(), taken.end(), straight)) return dfa.distance(from);
  // The names that may follow, by rising length, until one is free.
  using Name =
      std::tuple<int, int, DfaState, std::uint64_t>;  // length at least, so far, state, hash
  std::priority_queue<Name, std::vector<Name>, std::greater<>> todo;
  todo.emplace(dfa.distance(from), 0, from, thread.place.hash);
  std::size_t n = 1;
  while (!todo.empty()) {
    const auto [at_least, length, state, hash] = todo.top();
    todo.pop();
    if (dfa.accepts(state)) return length;
    for (const auto& edge : dfa.edges(state)) {
      const int longer = length + 1;
      if (dfa.accepts(edge.to)) {
        if (!std::binary_search(taken.begin(), taken.end(), hash))
          todo.emplace(longer, longer, edge.to, hash);
        continue;
      }
      for (int byte = edge.low; byte <= edge.high && n < kMaxNames; ++byte, ++n)
        todo.emplace(longer + dfa.distance(edge.to),
                     longer,
                     edge.to,
                     hash_step(hash, static_cast<std::uint8_t>(byte)));
    }
  }
  return kEndless;
}

}  // namespace pensieve::grammar::internal
