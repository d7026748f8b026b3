#include "domain/tokenizer/internal/merges.h"

#include <algorithm>
#include <string>
#include <unordered_map>

#include "foundation/check.h"

namespace pensieve::tokenizer {

std::size_t character_length(std::string_view text) {
  const auto lead = static_cast<std::uint8_t>(text[0]);
  const std::size_t length = lead < 0xC2   ? 1
                             : lead < 0xE0 ? 2
                             : lead < 0xF0 ? 3
                             : lead < 0xF5 ? 4
                                           : 1;
  if (length > text.size()) return 1;
  for (std::size_t i = 1; i < length; ++i) {
    if ((static_cast<std::uint8_t>(text[i]) & 0xC0) != 0x80) return 1;
  }
  return length;
}

std::uint64_t Merges::key_of(std::string_view character) {
  std::uint64_t key = 0;
  for (const char c : character) key = (key << 8) | static_cast<std::uint8_t>(c);
  return key;
}

Merges::Merges(std::span<const MergeablePiece> pieces, int n_tokens) : n_tokens_(n_tokens) {
  ascii_.fill(FlatMap::kNone);
  const auto add_character = [&](std::string_view character, Symbol symbol) {
    const auto index = static_cast<std::uint32_t>(char_symbols_.size());
    const auto first = static_cast<std::uint8_t>(character[0]);
    if (character.size() == 1 && first < 128) {
      ascii_[first] = index;
    } else {
      characters_.insert(key_of(character), index);
    }
    char_symbols_.push_back(symbol);
    return index;
  };
  for (const auto& piece : pieces) {
    if (character_length(piece.text) == piece.text.size()) add_character(piece.text, piece.id);
  }
  for (const auto& piece : pieces) {
    auto previous = FlatMap::kNone;
    for (std::size_t at = 0; at < piece.text.size();) {
      const std::string_view rest = piece.text.substr(at);
      const std::string_view character = rest.substr(0, character_length(rest));
      std::uint32_t index = character_index(character);
      if (index == FlatMap::kNone) {
        index = add_character(character, n_tokens_ + static_cast<Symbol>(char_texts_.size()));
        char_texts_.push_back(character);
      }
      if (previous != FlatMap::kNone) neighbours_.insert(pair(previous, index), 1);
      previous = index;
      at += character.size();
    }
  }
}

void Merges::add_rules_by_piece(std::span<const MergeablePiece> pieces,
                                std::span<const std::uint32_t> ranks) {
  CHECK(ranks.size() == pieces.size());
  std::unordered_map<std::string_view, Symbol> symbols;
  symbols.reserve(pieces.size() + char_texts_.size());
  for (const auto& piece : pieces) symbols.emplace(piece.text, piece.id);
  for (std::size_t i = 0; i < char_texts_.size(); ++i) {
    symbols.emplace(char_texts_[i], n_tokens_ + static_cast<Symbol>(i));
  }
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const std::string_view text = pieces[i].text;
    for (std::size_t cut = character_length(text); cut < text.size();
         cut += character_length(text.substr(cut))) {
      const auto left = symbols.find(text.substr(0, cut));
      if (left == symbols.end()) continue;
      const auto right = symbols.find(text.substr(cut));
      if (right == symbols.end()) continue;
      add_rule(left->second, right->second, pieces[i].id, ranks[i]);
    }
  }
}

void Merges::add_rule(TokenId left, TokenId right, TokenId result, std::uint32_t rank) {
  rule_index_.insert(pair(static_cast<std::uint32_t>(left), static_cast<std::uint32_t>(right)),
                     static_cast<std::uint32_t>(rules_.size()));
  rules_.push_back({left, right, result, rank});
}

bool Merges::Run::candidate(std::uint32_t left, Candidate* out) const {
  const std::uint32_t right = part_[left].next;
  if (right == kEnd) return false;
  const std::uint32_t rule = merges_.rule_of(part_[left].symbol, part_[right].symbol);
  if (rule == FlatMap::kNone) return false;
  *out = {merges_.rules_[rule].rank, left, rule};
  return true;
}

void Merges::Run::merge() {
  const auto n = static_cast<std::uint32_t>(part_.size());
  for (std::uint32_t i = 0; i < n; ++i) {
    part_[i].prev = i == 0 ? kEnd : i - 1;
    part_[i].next = i + 1 == n ? kEnd : i + 1;
  }
  heap_.clear();
  Candidate found{};
  for (std::uint32_t i = 0; i + 1 < n; ++i) {
    if (candidate(i, &found)) heap_.push_back(found);
  }
  std::make_heap(heap_.begin(), heap_.end(), later);
  const auto add = [&](std::uint32_t left) {
    if (!candidate(left, &found)) return;
    heap_.push_back(found);
    std::push_heap(heap_.begin(), heap_.end(), later);
  };
  while (!heap_.empty()) {
    std::pop_heap(heap_.begin(), heap_.end(), later);
    const Candidate best = heap_.back();
    heap_.pop_back();
    // A neighbour may have been merged since: the pair must still be the one the rule is about.
    const Rule& rule = merges_.rules_[best.rule];
    Node& left = part_[best.left];
    if (left.symbol != rule.left || left.next == kEnd) continue;
    Node& right = part_[left.next];
    if (right.symbol != rule.right) continue;
    left.symbol = rule.result;
    right.symbol = -1;
    left.next = right.next;
    if (left.next != kEnd) part_[left.next].prev = best.left;
    if (left.prev != kEnd) add(left.prev);
    add(best.left);
  }
}

}  // namespace pensieve::tokenizer
