#include "domain/grammar/internal/masks.h"

#include <algorithm>

namespace pensieve::grammar::internal {
namespace {

void set(std::span<std::uint32_t> mask, TokenId token) {
  mask[token / 32] |= 1u << (token % 32);
}
void clear(std::span<std::uint32_t> mask, TokenId token) {
  mask[token / 32] &= ~(1u << (token % 32));
}
void unite(std::span<std::uint32_t> mask, std::span<const std::uint32_t> more) {
  for (std::size_t i = 0; i < more.size(); ++i) mask[i] |= more[i];
}

}  // namespace

bool MaskMaker::near_enough(const Thread& thread, int n_left) const {
  return n_left <= 0 || machine_.distance_at_most(thread) <= n_left - 1 ||
         machine_.distance(thread) <= n_left - 1;
}

void MaskMaker::add(const Thread& thread, int n_left, std::span<std::uint32_t> mask) {
  if (const auto* rule = machine_.text_rule(thread))
    if (add_text(*rule, thread, n_left, mask)) return;
  walk(thread, 0, n_left, mask);
}

// All tokens below a node of the trie, by stepping through them.
void MaskMaker::walk(const Thread& thread,
                     NodeIndex below,
                     int n_left,
                     std::span<std::uint32_t> mask) {
  const auto& top = trie_.node(below);
  levels_.resize(std::max<std::size_t>(levels_.size(), trie_.longest_token() + 1));
  levels_[0].assign(1, thread);
  for (NodeIndex node = below + 1; node < top.end;) {
    const auto& at = trie_.node(node);
    const auto depth = static_cast<std::size_t>(at.depth - top.depth);
    auto& here = levels_[depth];
    machine_.step_all(levels_[depth - 1], at.byte, here);
    if (here.empty()) {
      node = at.end;
      continue;
    }
    if (const auto tokens = trie_.tokens_at(node); !tokens.empty()) {
      if (std::any_of(here.begin(), here.end(), [&](auto& t) { return near_enough(t, n_left); }))
        for (const TokenId token : tokens) set(mask, token);
    }
    ++node;
  }
}

// False if the automaton alone cannot tell.
bool MaskMaker::add_text(const TextRule& rule,
                         const Thread& thread,
                         int n_left,
                         std::span<std::uint32_t> mask) {
  const auto& dfa = machine_.program().dfa(rule);
  const bool is_name = machine_.extra_of(thread) != nullptr;
  const bool names_taken = is_name && !thread.parent->place.members->extra_names.empty();
  if (names_taken && !dfa.all_endless()) return false;

  int limit = kEndless;  // bytes from behind the token to the end of the text
  const int count = static_cast<int>(thread.place.low);
  if (n_left > 0) {
    int longest =
        rule.counts ? machine_.program().rules[thread.place.rule].longest : dfa.longest_distance();
    if (names_taken) {
      // With S states, j + 1 different endings lie within (j + 2) S bytes of anywhere.
      const auto n_taken = thread.parent->place.members->extra_names.size();
      longest =
          saturating_sum(longest, std::int64_t{dfa.n_states()} * static_cast<int>(n_taken + 2));
    }
    limit = n_left - 1 - thread.parent->rest;
    if (limit >= longest) {
      limit = kEndless;
    } else if (names_taken || (rule.counts && count < rule.min_length)) {
      return false;
    }
  }
  const Kind kind = rule.counts ? Kind::Counted : is_name ? Kind::Name : Kind::Plain;
  if (limit < 0) limit = -1;
  const auto& known = local(rule.dfa, thread.place.at, kind, limit);

  const std::size_t n_more =
      static_cast<std::size_t>(std::max(0, std::min(rule.max_length, kEndless) - count));
  if (kind == Kind::Counted && n_more < known.masks.size()) {
    unite(mask, known.masks[n_more]);
  } else {
    unite(mask, known.mask);
  }
  for (const auto& exit : known.exits) {
    std::uint64_t hash = thread.place.hash;
    if (kind == Kind::Counted) {
      const int characters = count + static_cast<int>(exit.characters);
      if (characters < rule.min_length || characters > rule.max_length) continue;
    } else if (kind == Kind::Name) {
      const auto path = trie_.path(exit.node);
      for (const char c : path.substr(0, path.size() - 1))
        hash = Machine::hash_step(hash, static_cast<std::uint8_t>(c));
    }
    Thread behind;
    if (!machine_.leave(thread, hash, behind)) continue;
    if (kind != Kind::Plain && near_enough(behind, n_left))
      for (const TokenId token : trie_.tokens_at(exit.node)) set(mask, token);
    walk(behind, exit.node, n_left, mask);
  }
  return true;
}

const MaskMaker::Local& MaskMaker::local(DfaId dfa, DfaState state, Kind kind, int limit) {
  auto& kept = locals_[{dfa, state, kind, limit}];
  if (kept) return *kept;
  auto made = make_local(machine_.program().dfas[dfa], state, kind, limit);
  const std::size_t n_bytes = sizeof(Local) + made->exits.size() * sizeof(Local::Exit) +
                              (1 + made->masks.size()) * trie_.n_words() * sizeof(std::uint32_t);
  if (n_bytes_ + n_bytes > kMaxBytes) {
    locals_.clear();
    n_bytes_ = 0;
  }
  n_bytes_ += n_bytes;
  auto& fresh = locals_[{dfa, state, kind, limit}];
  fresh = std::move(made);
  return *fresh;
}

std::unique_ptr<MaskMaker::Local> MaskMaker::make_local(const Dfa& dfa,
                                                        DfaState from,
                                                        Kind kind,
                                                        int limit) const {
  auto out = std::make_unique<Local>();
  out->mask.resize(trie_.n_words());
  struct Level {
    DfaState state;
    std::uint32_t characters;
  };
  std::vector<Level> levels(static_cast<std::size_t>(trie_.longest_token()) + 1);
  std::vector<std::pair<std::uint32_t, TokenId>> counted;
  levels[0] = {from, 0};
  for (NodeIndex node = 1; node < trie_.n_nodes();) {
    const auto& at = trie_.node(node);
    const Level before = levels[at.depth - 1u];
    Level here{.state = dfa.step(before.state, at.byte), .characters = before.characters};
    if (here.state == kDead) {
      node = at.end;
      continue;
    }
    const bool accepts = dfa.accepts(here.state), ends = dfa.edges(here.state).empty();
    if (dfa.between_characters(before.state) && !accepts) ++here.characters;
    levels[at.depth] = here;
    const bool inside = !ends || kind == Kind::Plain;
    if (inside) {
      const int left =
          kind == Kind::Counted ? dfa.distance(here.state, 0) : dfa.distance(here.state);
      if (left <= limit) {
        for (const TokenId token : trie_.tokens_at(node)) {
          set(out->mask, token);
          if (kind == Kind::Counted) counted.emplace_back(here.characters, token);
        }
      }
    }
    if (accepts && (kind != Kind::Plain || at.end > node + 1))
      out->exits.push_back({.node = node, .characters = here.characters});
    node = ends ? at.end : node + 1;
  }
  if (kind == Kind::Counted) {
    std::sort(counted.begin(), counted.end());
    const std::uint32_t most = counted.empty() ? 0 : counted.back().first;
    std::vector<std::uint32_t> so_far(trie_.n_words());
    auto next = counted.begin();
    for (std::uint32_t n = 0; n < most; ++n) {
      for (; next != counted.end() && next->first <= n; ++next) set(so_far, next->second);
      out->masks.push_back(so_far);
    }
  }
  return out;
}

bool MaskMaker::free_text(const Thread& thread, int n_left, std::span<std::uint32_t> mask) {
  const auto& rule = std::get<CallsRule>(machine_.program().rules[thread.place.rule].body);
  if (rule.open.empty()) return false;
  const auto& known = openings(thread, rule);
  const int limit = n_left > 0 ? n_left - 1 : kEndless - 1;
  if (known.farthest <= limit) return false;
  const auto all = trie_.with_bytes();
  std::copy(all.begin(), all.end(), mask.begin());
  for (const auto& opening : known.openings)
    if (opening.distance > limit) clear(mask, opening.token);
  return true;
}

// The tokens that complete `open` from here, and what they leave to be written.
const MaskMaker::FreeText& MaskMaker::openings(const Thread& thread, const CallsRule& rule) {
  const std::string_view open = rule.open;
  if (!knows_may_open_) {
    knows_may_open_ = true;
    for (TokenId token = 0; token < trie_.size(); ++token) {
      const auto bytes = trie_.bytes(token);
      bool opens = bytes.find(open) != std::string_view::npos;
      for (std::size_t n = 1; n < open.size() && n <= bytes.size() && !opens; ++n)
        opens = open.substr(open.size() - n) == bytes.substr(0, n);
      if (opens) may_open_.push_back(token);
    }
    free_text_.resize(open.size());
  }
  auto& kept = free_text_[thread.place.at];
  if (kept) return *kept;
  kept = std::make_unique<FreeText>();
  for (const TokenId token : may_open_) {
    Threads at = {thread}, next;
    bool opens = false;
    for (const char c : trie_.bytes(token)) {
      machine_.step_all(at, static_cast<std::uint8_t>(c), next);
      std::swap(at, next);
      opens = opens || at.empty() || !machine_.in_free_text(at[0]);
    }
    if (!opens) continue;
    int distance = kEndless;
    for (const auto& behind : at) distance = std::min(distance, machine_.distance(behind));
    kept->openings.push_back({token, distance});
    kept->farthest = std::max(kept->farthest, distance);
  }
  return *kept;
}

}  // namespace pensieve::grammar::internal
