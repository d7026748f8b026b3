// The exact tokens of the answers given, found again by what a client sends back of them. Clients
// rewrite what they echo (the keys of a call's input in another order, a leading `cd` gone, blank
// blocks dropped), and the same text can be made of other tokens than were sampled; a prompt that
// holds the tokens themselves begins with the last prompt and its answer, whose KV is still there.
// Any thread.
#pragma once

#include <cstddef>
#include <list>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "foundation/ids.h"

#include "domain/chat/chat_format.h"

namespace pensieve::claude {

class AnswerMemory {
 public:
  // Holds about `budget_bytes`; the answers that were not asked for the longest go first.
  explicit AnswerMemory(std::size_t budget_bytes) : budget_bytes_(budget_bytes) {}

  // An answer without text and calls is not kept. One with the same key replaces an older one.
  void remember(chat::AnswerKey key, std::vector<TokenId> tokens);

  // The tokens of the answer with exactly this text and these calls.
  std::optional<std::vector<TokenId>> find(const chat::AnswerKey& key);

  std::size_t held_bytes() const;

 private:
  struct Entry {
    std::string key;
    std::vector<TokenId> tokens;
    std::size_t bytes() const { return 2 * key.size() + tokens.size() * sizeof(TokenId) + 200; }
  };

  const std::size_t budget_bytes_;
  mutable std::mutex mutex_;
  std::list<Entry> entries_;  // the last one asked for first
  std::unordered_map<std::string_view, std::list<Entry>::iterator> by_key_;  // views of the entries
  std::size_t held_bytes_ = 0;
};

}  // namespace pensieve::claude
