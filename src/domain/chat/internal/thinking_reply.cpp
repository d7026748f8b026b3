#include "domain/chat/internal/thinking_reply.h"

#include <algorithm>
#include <utility>

namespace pensieve::chat {
namespace {

constexpr std::string_view kSpace = " \n\r\t";

void append(std::vector<ReplyPart> parts, std::vector<ReplyPart>& out) {
  for (ReplyPart& part : parts) out.push_back(std::move(part));
}

// How much of the end of `text` may be the beginning of `tag`.
std::size_t begun(std::string_view text, std::string_view tag) {
  std::size_t n = std::min(text.size(), tag.size() - 1);
  while (n > 0 && !tag.starts_with(text.substr(text.size() - n))) --n;
  return n;
}

}  // namespace

std::vector<ReplyPart> ThinkingReply::push(std::string_view text) {
  std::vector<ReplyPart> out;
  if (in_ == In::Answer) return answer_->push(text);
  pending_ += text;
  while (in_ != In::Answer && read(out)) {
  }
  if (in_ == In::Answer) append(answer_->push(std::exchange(pending_, {})), out);
  return out;
}

std::vector<ReplyPart> ThinkingReply::finish() {
  std::vector<ReplyPart> out;
  if (in_ == In::Thought) {
    emit_thought(pending_, out);
  } else if (in_ != In::Answer) {
    append(answer_->push(pending_), out);
  }
  pending_.clear();
  in_ = In::Answer;
  append(answer_->finish(), out);
  return out;
}

bool ThinkingReply::read(std::vector<ReplyPart>& out) {
  if (in_ == In::Front) {
    const std::size_t first = std::min(pending_.find_first_not_of(kSpace), pending_.size());
    const std::string_view rest = std::string_view(pending_).substr(first);
    if (rest.starts_with(kThinkOpen)) {
      pending_.erase(0, first + kThinkOpen.size());
      in_ = In::Thought;
      return true;
    }
    if (kThinkOpen.starts_with(rest)) return false;
    in_ = In::Answer;
    return true;
  }
  if (in_ == In::Thought) {
    const std::size_t close = pending_.find(kThinkClose);
    if (close != std::string::npos) {
      emit_thought(std::string_view(pending_).substr(0, close), out);
      pending_.erase(0, close + kThinkClose.size());
      in_ = In::Behind;
      return true;
    }
    const std::size_t kept = begun(pending_, kThinkClose);
    emit_thought(std::string_view(pending_).substr(0, pending_.size() - kept), out);
    pending_.erase(0, pending_.size() - kept);
    return false;
  }
  const std::size_t first = pending_.find_first_not_of(kSpace);
  if (first == std::string::npos) return false;
  pending_.erase(0, first);
  in_ = In::Answer;
  return true;
}

void ThinkingReply::emit_thought(std::string_view text, std::vector<ReplyPart>& out) {
  const std::size_t last = text.find_last_not_of(kSpace);
  if (last == std::string_view::npos) {
    if (thought_) blank_ += text;
    return;
  }
  std::string piece = std::exchange(blank_, {});
  piece += text.substr(0, last + 1);
  blank_ = text.substr(last + 1);
  if (!thought_) piece.erase(0, piece.find_first_not_of(kSpace));
  thought_ = true;
  out.push_back({.kind = ReplyPart::Kind::Thinking, .text = std::move(piece)});
}

}  // namespace pensieve::chat
