// Places in the text of a prompt -> tokens, while the prompt is being encoded: where the request's
// parts begin, and where its last cache_control stands. Knows bytes and tokens. Must not know how
// prompts are rendered.
#pragma once

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "foundation/ids.h"

#include "domain/chat/chat_format.h"
#include "domain/tokenizer/tokenizer.h"

namespace pensieve::claude {

// Is told of every piece, in order, and of every stretch of text once it is tokens. A place inside
// of a token counts as the begin of the next one. Where a tokenizer changes the text (Unicode
// normalisation), the places behind it in the same stretch may be off by as many bytes.
class PlaceFinder {
 public:
  // `tokenizer` outlives the finder.
  PlaceFinder(const chat::Prompt& prompt, const tokenizer::Tokenizer& tokenizer);

  // Piece `i` begins at byte `offset` of the stretch of text that is encoded next.
  void text(std::size_t i, std::size_t offset);

  // The stretch became `tokens`, the first of which is the prompt's token `first`.
  void encoded(std::span<const TokenId> tokens, std::size_t first, bool at_start);

  // Piece `i` is the token `index`.
  void control(std::size_t i, std::size_t index);

  // Tokens that are known, [first, end), stand for pieces [i, j). They are not cut where the pieces
  // are: all that stands in them counts as what they begin with.
  void known(std::size_t i, std::size_t j, std::size_t first, std::size_t end);

  // There are no more pieces.
  void finish(std::size_t n_tokens);

  // The token that each part begins with; then how many stand before the mark, 0 if there is none.
  std::vector<int> take_begins() { return std::move(begins_); }
  int n_marked() const { return n_marked_; }

 private:
  struct Wanted {
    chat::Prompt::Place place;
    int* index;  // where its token goes
  };
  template <typename Applies>
  void found(const Applies& applies, std::size_t index);

  const tokenizer::Tokenizer& tokenizer_;
  std::vector<int> begins_;
  int n_marked_ = 0;
  std::vector<Wanted> wanted_;        // ascending
  std::size_t next_ = 0;              // the first of which nothing is known
  std::vector<std::size_t> in_text_;  // offsets in the stretch, of those before next_
};

}  // namespace pensieve::claude
