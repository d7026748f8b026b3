#include "domain/grammar/grammar.h"

#include <utility>

namespace pensieve::grammar {
namespace {

// Everything is allowed.
class Anything final : public Grammar {};

}  // namespace

std::shared_ptr<const Grammar> compile_json(std::string_view, std::shared_ptr<const Vocabulary>) {
  return std::make_shared<Anything>();
}

std::shared_ptr<const Grammar> compile_calls(const CallSyntax&,
                                             std::span<const Tool>,
                                             const CallRules&,
                                             std::shared_ptr<const Vocabulary>) {
  return std::make_shared<Anything>();
}

Matcher::Matcher(std::shared_ptr<const Grammar> grammar) : grammar_(std::move(grammar)) {}
bool Matcher::allowed(std::span<std::uint32_t>, int) const {
  return false;
}
bool Matcher::may_end() const {
  return true;
}
bool Matcher::inside() const {
  return state_ != 0;
}
bool Matcher::accept(TokenId) {
  return true;
}
bool Matcher::accept_bytes(std::string_view) {
  return true;
}
std::string Matcher::forced(std::size_t) const {
  return {};
}
int Matcher::shortest_completion() const {
  return 0;
}

}  // namespace pensieve::grammar
