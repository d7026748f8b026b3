// A deterministic automaton over bytes, every state of which can still accept. The part of a
// grammar that lies between two brackets: strings, numbers, keys.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace pensieve::grammar::internal {

using DfaState = std::uint32_t;
inline constexpr DfaState kDead = UINT32_MAX;

// Lengths and costs beyond this count as this: what needs so many bytes is never completed.
inline constexpr int kEndless = 1'000'000'000;
inline int saturating_sum(std::int64_t a, std::int64_t b) {
  return static_cast<int>(std::min<std::int64_t>(a + b, kEndless));
}

struct DfaEdge {
  std::uint8_t low, high;  // both included
  DfaState to;
  bool operator==(const DfaEdge&) const = default;
};

// What an automaton is made from: states in any order, 0 the first; edges of a state do not
// overlap.
struct DfaDraft {
  struct State {
    std::vector<DfaEdge> edges;
    bool accepting = false;
    bool between_characters = false;
    bool operator==(const State&) const = default;
  };
  std::vector<State> states;
  bool operator==(const DfaDraft&) const = default;
};

class Dfa {
 public:
  // Drops the states that cannot reach acceptance. None if nothing is left.
  static std::optional<Dfa> create(const DfaDraft& draft);

  static constexpr DfaState kStart = 0;
  DfaState step(DfaState state, std::uint8_t byte) const {
    const DfaEdge* edge = edges_.data() + first_edge_[state];
    const DfaEdge* const end = edges_.data() + first_edge_[state + 1];
    for (; edge != end && edge->low <= byte; ++edge)
      if (byte <= edge->high) return edge->to;
    return kDead;
  }
  std::span<const DfaEdge> edges(DfaState state) const {
    return {edges_.data() + first_edge_[state], first_edge_[state + 1] - first_edge_[state]};
  }
  DfaState n_states() const { return static_cast<DfaState>(first_edge_.size() - 1); }
  bool accepts(DfaState state) const { return flags_[state] & kAccepting; }
  // Inside a string with a whole number of characters behind it: the next byte begins one, or is
  // the closing quote.
  bool between_characters(DfaState state) const { return flags_[state] & kBetween; }
  // Whether infinitely many texts lead from here to acceptance.
  bool endless(DfaState state) const { return flags_[state] & kLoops; }
  bool all_endless() const { return all_endless_; }
  // Bytes of the shortest way to acceptance, and the largest of them over all states.
  int distance(DfaState state) const { return distance_[state]; }
  int longest_distance() const { return longest_distance_; }

  // For strings whose characters are counted: bytes that are enough to reach acceptance with at
  // least `n_more` further characters on the way, and the most of them over all states. REQUIRES:
  // prepare_counting(), can_count() of the set that this was made from.
  void prepare_counting();
  int distance(DfaState state, int n_more) const;
  int longest_distance(int n_more) const;

 private:
  static constexpr std::uint8_t kAccepting = 1, kBetween = 2, kLoops = 4;
  void find_distances();
  void find_loops();

  std::vector<std::uint32_t> first_edge_;  // one more than states
  std::vector<DfaEdge> edges_;             // of each state by rising byte
  std::vector<std::uint8_t> flags_;
  std::vector<int> distance_;
  std::vector<int> to_boundary_;  // bytes to the end of the character
  std::vector<int> characters_;   // from there to acceptance, at most
  int bytes_per_character_ = 0;   // enough to go on by one, anywhere
  int longest_distance_ = 0;
  bool all_endless_ = true;
};

// Builds a draft from an automaton that is given as a rule. `expand(key, state, edge)` fills the
// state's flags and calls edge(low, high, key) for each edge. None beyond `max_states`.
template <typename Key, typename Expand>
std::optional<DfaDraft> explore(const Key& start, std::size_t max_states, Expand expand) {
  DfaDraft draft;
  std::map<Key, DfaState> ids;
  std::vector<Key> keys;
  const auto id_of = [&](const Key& key) {
    const auto [at, fresh] = ids.try_emplace(key, static_cast<DfaState>(keys.size()));
    if (fresh) keys.push_back(key);
    return at->second;
  };
  id_of(start);
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (keys.size() > max_states) return std::nullopt;
    const Key key = keys[i];
    DfaDraft::State state;
    expand(key, state, [&](std::uint8_t low, std::uint8_t high, const Key& to) {
      state.edges.push_back({low, high, id_of(to)});
    });
    draft.states.push_back(std::move(state));
  }
  return draft;
}

}  // namespace pensieve::grammar::internal
