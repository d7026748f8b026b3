#include "domain/claude/internal/place_finder.h"

#include <algorithm>
#include <tuple>

namespace pensieve::claude {

PlaceFinder::PlaceFinder(const chat::Prompt& prompt, const tokenizer::Tokenizer& tokenizer)
    : tokenizer_(tokenizer), begins_(prompt.parts.size()) {
  wanted_.reserve(prompt.parts.size() + 1);
  for (std::size_t i = 0; i < prompt.parts.size(); ++i) {
    wanted_.push_back({prompt.parts[i].begin, &begins_[i]});
  }
  if (!prompt.marked_end) return;
  const auto key = [](const chat::Prompt::Place& place) {
    return std::tuple(place.piece, place.offset);
  };
  const auto behind = std::upper_bound(
      wanted_.begin(), wanted_.end(), *prompt.marked_end, [&](const auto& place, const auto& one) {
        return key(place) < key(one.place);
      });
  wanted_.insert(behind, {*prompt.marked_end, &n_marked_});
}

template <typename Applies>
void PlaceFinder::found(const Applies& applies, std::size_t index) {
  for (; next_ < wanted_.size() && applies(wanted_[next_].place); ++next_) {
    *wanted_[next_].index = static_cast<int>(index);
  }
}

void PlaceFinder::text(std::size_t i, std::size_t offset) {
  for (; next_ < wanted_.size() && wanted_[next_].place.piece <= i; ++next_) {
    in_text_.push_back(offset + wanted_[next_].place.offset);
  }
}

void PlaceFinder::encoded(std::span<const TokenId> tokens, std::size_t first, bool at_start) {
  std::size_t done = next_ - in_text_.size();
  std::size_t bytes = 0;  // of the text before token i
  std::size_t i = 0;
  for (const std::size_t offset : in_text_) {
    for (; i < tokens.size() && bytes < offset; ++i) {
      const std::string_view piece = tokenizer_.bytes(tokens[i]);
      const bool has_prefix = i == 0 && at_start && tokenizer_.add_space_prefix();
      bytes += piece.size() - static_cast<std::size_t>(has_prefix && piece.starts_with(' '));
    }
    *wanted_[done++].index = static_cast<int>(first + i);
  }
  in_text_.clear();
}

void PlaceFinder::control(std::size_t i, std::size_t index) {
  found([&](const auto& place) { return place.piece <= i; }, index);
}

void PlaceFinder::known(std::size_t i, std::size_t j, std::size_t first, std::size_t end) {
  found(
      [&](const auto& place) { return place.piece < i || (place.piece == i && place.offset == 0); },
      first);
  found([&](const auto& place) { return place.piece < j; }, end);
}

void PlaceFinder::finish(std::size_t n_tokens) {
  found([](const auto&) { return true; }, n_tokens);
}

}  // namespace pensieve::claude
