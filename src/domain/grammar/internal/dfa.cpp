#include "domain/grammar/internal/dfa.h"

#include <deque>

namespace pensieve::grammar::internal {
namespace {

// The states from which acceptance can be reached.
std::vector<bool> find_live(const DfaDraft& draft) {
  std::vector<std::vector<DfaState>> before(draft.states.size());
  std::vector<DfaState> todo;
  std::vector<bool> live(draft.states.size());
  for (DfaState state = 0; state < draft.states.size(); ++state) {
    for (const auto& edge : draft.states[state].edges) before[edge.to].push_back(state);
    if (draft.states[state].accepting) {
      live[state] = true;
      todo.push_back(state);
    }
  }
  while (!todo.empty()) {
    const DfaState state = todo.back();
    todo.pop_back();
    for (const DfaState earlier : before[state]) {
      if (live[earlier]) continue;
      live[earlier] = true;
      todo.push_back(earlier);
    }
  }
  return live;
}

}  // namespace

std::optional<Dfa> Dfa::create(const DfaDraft& draft) {
  const auto live = find_live(draft);
  if (live.empty() || !live[0]) return std::nullopt;
  std::vector<DfaState> ids(draft.states.size(), kDead);
  DfaState n = 0;
  for (DfaState state = 0; state < draft.states.size(); ++state)
    if (live[state]) ids[state] = n++;

  Dfa dfa;
  for (DfaState state = 0; state < draft.states.size(); ++state) {
    if (!live[state]) continue;
    const auto& from = draft.states[state];
    dfa.first_edge_.push_back(static_cast<std::uint32_t>(dfa.edges_.size()));
    dfa.flags_.push_back(static_cast<std::uint8_t>((from.accepting ? kAccepting : 0) |
                                                   (from.between_characters ? kBetween : 0)));
    const auto first = dfa.edges_.size();
    for (const auto& edge : from.edges)
      if (live[edge.to]) dfa.edges_.push_back({edge.low, edge.high, ids[edge.to]});
    const auto begin = dfa.edges_.begin() + static_cast<std::ptrdiff_t>(first);
    std::sort(
        begin, dfa.edges_.end(), [](const DfaEdge& a, const DfaEdge& b) { return a.low < b.low; });
    // Neighbours that lead to one place become one edge.
    auto kept = begin;
    for (auto edge = begin; edge != dfa.edges_.end(); ++edge) {
      if (edge != begin && kept->to == edge->to && kept->high + 1 == edge->low) {
        kept->high = edge->high;
      } else {
        if (edge != begin) ++kept;
        *kept = *edge;
      }
    }
    if (begin != dfa.edges_.end()) dfa.edges_.erase(kept + 1, dfa.edges_.end());
  }
  dfa.first_edge_.push_back(static_cast<std::uint32_t>(dfa.edges_.size()));
  dfa.find_distances();
  dfa.find_loops();
  return dfa;
}

void Dfa::find_distances() {
  std::vector<std::vector<DfaState>> before(n_states());
  std::deque<DfaState> todo;
  distance_.assign(n_states(), kEndless);
  for (DfaState state = 0; state < n_states(); ++state) {
    for (const auto& edge : edges(state)) before[edge.to].push_back(state);
    if (accepts(state)) {
      distance_[state] = 0;
      todo.push_back(state);
    }
  }
  while (!todo.empty()) {
    const DfaState state = todo.front();
    todo.pop_front();
    longest_distance_ = distance_[state];
    for (const DfaState earlier : before[state]) {
      if (distance_[earlier] != kEndless) continue;
      distance_[earlier] = distance_[state] + 1;
      todo.push_back(earlier);
    }
  }
}

void Dfa::prepare_counting() {
  if (!to_boundary_.empty()) return;
  const auto n = n_states();
  to_boundary_.assign(n, kEndless);
  std::vector<int> fewest(n, kEndless);  // characters from here to acceptance, this one left out
  for (bool changed = true; changed;) {
    changed = false;
    for (DfaState state = n; state-- > 0;) {
      int boundary = between_characters(state) ? 0 : kEndless;
      int characters = accepts(state) ? 0 : kEndless;
      for (const auto& edge : edges(state)) {
        if (!between_characters(state))
          boundary = std::min(boundary, saturating_sum(to_boundary_[edge.to], 1));
        const bool begins_one = between_characters(state) && !accepts(edge.to);
        characters = std::min(characters, saturating_sum(fewest[edge.to], begins_one ? 1 : 0));
      }
      if (boundary < to_boundary_[state] || characters < fewest[state]) {
        to_boundary_[state] = boundary;
        fewest[state] = characters;
        changed = true;
      }
    }
  }
  // A character under way may end in several states: the worst of them counts.
  characters_.assign(n, 0);
  for (bool changed = true; changed;) {
    changed = false;
    for (DfaState state = n; state-- > 0;) {
      int most = between_characters(state) ? fewest[state] : 0;
      if (!between_characters(state))
        for (const auto& edge : edges(state)) most = std::max(most, characters_[edge.to]);
      if (most > characters_[state]) {
        characters_[state] = most;
        changed = true;
      }
    }
  }
  for (DfaState state = 0; state < n; ++state) {
    if (!between_characters(state)) continue;
    int least = kEndless;
    for (const auto& edge : edges(state))
      if (!accepts(edge.to)) least = std::min(least, 1 + to_boundary_[edge.to]);
    bytes_per_character_ = std::max(bytes_per_character_, least);
  }
}

int Dfa::distance(DfaState state, int n_more) const {
  if (accepts(state)) return 0;
  return saturating_sum(std::int64_t{std::max(n_more, characters_[state])} * bytes_per_character_,
                        to_boundary_[state] + 1);
}

int Dfa::longest_distance(int n_more) const {
  int longest = 0;
  for (DfaState state = 0; state < n_states(); ++state)
    longest = std::max(longest, distance(state, n_more));
  return longest;
}

void Dfa::find_loops() {
  // What is left after states without a way on have been taken off, again and again, reaches a
  // loop.
  std::vector<std::vector<DfaState>> before(n_states());
  std::vector<std::uint32_t> n_out(n_states());
  std::vector<DfaState> todo;
  for (DfaState state = 0; state < n_states(); ++state) {
    flags_[state] |= kLoops;
    n_out[state] = static_cast<std::uint32_t>(edges(state).size());
    for (const auto& edge : edges(state)) before[edge.to].push_back(state);
    if (n_out[state] == 0) todo.push_back(state);
  }
  while (!todo.empty()) {
    const DfaState state = todo.back();
    todo.pop_back();
    flags_[state] = static_cast<std::uint8_t>(flags_[state] & ~kLoops);
    if (!accepts(state) || !edges(state).empty()) all_endless_ = false;
    for (const DfaState earlier : before[state])
      if (--n_out[earlier] == 0) todo.push_back(earlier);
  }
}

}  // namespace pensieve::grammar::internal
