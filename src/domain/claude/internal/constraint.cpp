#include "domain/claude/internal/constraint.h"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

namespace pensieve::claude {
namespace {

constexpr std::size_t kForcedBytes = 256;

void set_bit(std::span<std::uint32_t> mask, TokenId token) {
  const auto bit = static_cast<std::size_t>(token);
  if (bit / 32 < mask.size()) mask[bit / 32] |= 1u << (bit % 32);
}

bool is_empty(std::span<const std::uint32_t> mask) {
  return std::all_of(mask.begin(), mask.end(), [](std::uint32_t word) { return word == 0; });
}

std::ptrdiff_t count(std::span<const std::uint32_t> mask) {
  std::ptrdiff_t bits = 0;
  for (const std::uint32_t word : mask) bits += std::popcount(word);
  return bits;
}

class GrammarConstraint final : public engine::Constraint {
 public:
  explicit GrammarConstraint(std::shared_ptr<const ConstraintSetup> setup)
      : setup_(std::move(setup)),
        matcher_(setup_->grammar),
        spaced_start_(setup_->at_start && setup_->tokenizer->add_space_prefix()) {}

  bool allowed(std::span<std::uint32_t> mask, int n_left) override {
    const auto own_words = (static_cast<std::size_t>(setup_->vocabulary->size()) + 31) / 32;
    if (mask.size() < own_words) return false;  // a model with fewer rows than its tokenizer: never
    const auto own = mask.first(own_words);
    const int limit = setup_->completes ? n_left : 0;
    if (!matcher_.allowed(own, limit)) return false;
    if (limit > 0 && matcher_.shortest_completion() + kHurry >= limit) note_bending(own);
    std::fill(mask.begin() + static_cast<std::ptrdiff_t>(own_words), mask.end(), 0u);
    if (spaced_start_) add_spaced(own);
    if (matcher_.may_end()) {
      for (const TokenId stop : *setup_->stop_tokens) set_bit(mask, stop);
    }
    return true;
  }

  void accept(TokenId token) override {
    std::string_view bytes = setup_->vocabulary->bytes(token);
    if (spaced_start_ && bytes.starts_with(' ')) bytes.remove_prefix(1);
    spaced_start_ = false;
    // False for what stands for no text: an unused token where everything may come.
    matcher_.accept_bytes(bytes);
  }

  void force(std::vector<TokenId>& tokens, int limit) override {
    const std::string bytes = matcher_.forced(kForcedBytes);
    if (bytes.empty()) return;
    encode(bytes);
    grammar::Matcher behind = matcher_;
    const bool ends = behind.accept_bytes(bytes) && behind.may_end();
    std::string_view left = bytes;
    for (const TokenId token : forced_) {
      const std::string_view piece = setup_->vocabulary->bytes(token);
      // A token that the text behind it could still be part of is the model's to choose: it never
      // saw such text cut there.
      if (!ends && setup_->vocabulary->has_longer(left)) return;
      if (piece.empty() || !left.starts_with(piece)) return;
      if (static_cast<int>(tokens.size()) >= limit || !matcher_.accept(token)) return;
      tokens.push_back(token);
      left.remove_prefix(piece.size());
    }
  }

  bool complete() const override {
    if (!matcher_.may_end()) return false;
    scratch_.resize((static_cast<std::size_t>(setup_->vocabulary->size()) + 31) / 32);
    return matcher_.allowed(scratch_) && is_empty(scratch_);
  }

  bool cut_short() const override { return cut_short_; }

  std::unique_ptr<engine::Constraint> clone() const override {
    auto copy = std::make_unique<GrammarConstraint>(setup_);
    copy->matcher_ = matcher_;
    copy->spaced_start_ = spaced_start_;
    copy->cut_short_ = cut_short_;
    return copy;
  }

 private:
  // Forced text as tokens, into forced_.
  void encode(std::string_view text) {
    forced_.clear();
    while (!text.empty()) {
      std::size_t at = text.size();
      const std::pair<std::string, TokenId>* next = nullptr;
      for (const auto& tag : setup_->tags) {
        if (const std::size_t found = text.find(tag.first); found < at) {
          at = found;
          next = &tag;
        }
      }
      setup_->tokenizer->encode(text.substr(0, at), false, forced_);
      if (next == nullptr) return;
      forced_.push_back(next->second);
      text.remove_prefix(at + next->first.size());
    }
  }

  // Bytes that one token may add to what must still come, at most: with more room than that,
  // nothing is bent towards an end.
  static constexpr int kHurry = 1024;

  // The answer is bent once most of what could come next is not allowed for want of room. A few
  // long tokens always go first, and mean nothing.
  void note_bending(std::span<const std::uint32_t> mask) {
    if (cut_short_) return;
    scratch_.assign(mask.size(), 0);
    const bool limited = matcher_.allowed(scratch_);
    cut_short_ = !limited || 2 * count(mask) < count(scratch_);
  }

  // The first token of an answer begins with the space of the dummy prefix, which is no part of the
  // text. Where tokens with it fit they are the only ones: the model knows no others there.
  void add_spaced(std::span<std::uint32_t> mask) const {
    std::vector<std::uint32_t> spaced(mask.size());
    for (TokenId token = 0; token < setup_->vocabulary->size(); ++token) {
      const std::string_view bytes = setup_->vocabulary->bytes(token);
      if (bytes.size() < 2 || bytes[0] != ' ') continue;
      grammar::Matcher matcher = matcher_;
      if (matcher.accept_bytes(bytes.substr(1))) set_bit(spaced, token);
    }
    if (!is_empty(spaced)) std::copy(spaced.begin(), spaced.end(), mask.begin());
  }

  const std::shared_ptr<const ConstraintSetup> setup_;
  grammar::Matcher matcher_;
  bool spaced_start_;  // nothing was accepted, and the first token may bring a space
  bool cut_short_ = false;
  std::vector<TokenId> forced_;
  mutable std::vector<std::uint32_t> scratch_;
};

}  // namespace

std::shared_ptr<const grammar::Vocabulary> grammar_vocabulary(
    const tokenizer::Tokenizer& tokenizer) {
  std::vector<std::string> tokens;
  tokens.reserve(static_cast<std::size_t>(tokenizer.size()));
  for (TokenId token = 0; token < tokenizer.size(); ++token) {
    tokens.emplace_back(tokenizer.bytes(token));
  }
  return grammar::Vocabulary::create(tokens);
}

std::unique_ptr<engine::Constraint> make_constraint(const ConstraintSetup& setup) {
  return std::make_unique<GrammarConstraint>(std::make_shared<const ConstraintSetup>(setup));
}

}  // namespace pensieve::claude
