#include "domain/claude/internal/answer_memory.h"

#include <utility>

namespace pensieve::claude {
namespace {

// Lengths first, so that no text can pass for another's ids.
std::string joined(const chat::AnswerKey& key) {
  std::string all = std::to_string(key.tool_use_ids.size());
  for (const std::string& id : key.tool_use_ids) {
    all += ' ' + std::to_string(id.size()) + ' ' + id;
  }
  return all + '\n' + key.text;
}

}  // namespace

void AnswerMemory::remember(chat::AnswerKey key, std::vector<TokenId> tokens) {
  if (tokens.empty() || (key.text.empty() && key.tool_use_ids.empty())) return;
  Entry entry{.key = joined(key), .tokens = std::move(tokens)};
  if (entry.bytes() > budget_bytes_) return;
  const std::lock_guard lock(mutex_);
  const auto forget = [&](std::list<Entry>::iterator old) {
    held_bytes_ -= old->bytes();
    by_key_.erase(old->key);
    entries_.erase(old);
  };
  if (const auto found = by_key_.find(entry.key); found != by_key_.end()) forget(found->second);
  held_bytes_ += entry.bytes();
  entries_.push_front(std::move(entry));
  by_key_.emplace(entries_.front().key, entries_.begin());
  while (held_bytes_ > budget_bytes_) forget(std::prev(entries_.end()));
}

std::optional<std::vector<TokenId>> AnswerMemory::find(const chat::AnswerKey& key) {
  const std::string wanted = joined(key);
  const std::lock_guard lock(mutex_);
  const auto found = by_key_.find(wanted);
  if (found == by_key_.end()) return std::nullopt;
  entries_.splice(entries_.begin(), entries_, found->second);
  return found->second->tokens;
}

std::size_t AnswerMemory::held_bytes() const {
  const std::lock_guard lock(mutex_);
  return held_bytes_;
}

}  // namespace pensieve::claude
