// Why the time is linear although text behind a failed opening tag is read again: the scanner gives
// up on '<' and on a backslash outside a string. Of two open tags at different places, the later
// one lies inside a string of the earlier, so wherever one scanner is inside a string the other is
// outside, until a backslash ends the one outside. A third would have to be inside a string of
// both. So no byte is scanned for more than two tags.
#include "domain/chat/internal/hermes_reply.h"

#include "foundation/json.h"

namespace pensieve::chat {

std::vector<ReplyPart> PlainReply::push(std::string_view text) {
  if (text.empty()) return {};
  return {{.kind = ReplyPart::Kind::Text, .text = std::string(text)}};
}

std::vector<ReplyPart> HermesReply::push(std::string_view text) {
  std::vector<ReplyPart> out;
  pending_ += text;
  run(false, out);
  return out;
}

std::vector<ReplyPart> HermesReply::finish() {
  std::vector<ReplyPart> out;
  run(true, out);
  if (!had_call_ && !blank_.empty()) {
    out.push_back({.kind = ReplyPart::Kind::Text, .text = std::move(blank_)});
  }
  blank_.clear();
  return out;
}

void HermesReply::run(bool at_end, std::vector<ReplyPart>& out) {
  while (from_ < pending_.size()) {
    if (read(at_end, out) == Step::NeedMore) break;
  }
  if (at_end && in_ == In::Input) {  // cut short
    out.push_back({.kind = ReplyPart::Kind::ToolUseEnd, .text = {}});
    in_ = In::Text;
  }
  pending_.erase(0, from_);
  from_ = 0;
}

HermesReply::Step HermesReply::read(bool at_end, std::vector<ReplyPart>& out) {
  switch (in_) {
    case In::Text:
      return read_text(at_end, out);
    case In::Call:
      return read_call(at_end, out);
    case In::Input:
      return read_input(at_end, out);
    case In::Tail:
      return read_tail(at_end);
  }
  return Step::NeedMore;
}

HermesReply::Step HermesReply::read_text(bool at_end, std::vector<ReplyPart>& out) {
  const std::string_view rest = std::string_view(pending_).substr(from_);
  std::size_t tag = rest.find('<');
  while (tag != std::string_view::npos) {
    const std::string_view candidate = rest.substr(tag, kCallOpen.size());
    if (kCallOpen.starts_with(candidate)) break;
    tag = rest.find('<', tag + 1);
  }
  const std::size_t length = tag == std::string_view::npos ? rest.size() : tag;
  emit_text(rest.substr(0, length), out);
  from_ += length;
  if (tag == std::string_view::npos) return Step::Continue;
  if (rest.size() - tag < kCallOpen.size()) {
    if (!at_end) return Step::NeedMore;
    emit_text(rest.substr(tag), out);
    from_ = pending_.size();
    return Step::Continue;
  }
  in_ = In::Call;
  scanned_ = kCallOpen.size();
  object_end_ = 0;
  scanner_ = {};
  return Step::Continue;
}

HermesReply::Step HermesReply::read_call(bool at_end, std::vector<ReplyPart>& out) {
  using State = ObjectScanner::State;
  if (constrained_ && start_stream(out)) return Step::Continue;
  const std::string_view rest = std::string_view(pending_).substr(from_);
  bool closed = false;
  while (scanned_ < rest.size() && scanner_.state() != State::Malformed) {
    if (scanner_.state() == State::Behind && rest[scanned_] == '<') {
      const std::string_view candidate = rest.substr(scanned_, kCallClose.size());
      if (!kCallClose.starts_with(candidate)) {
        scanner_.push('<');  // malformed
        break;
      }
      closed = candidate.size() == kCallClose.size();
      break;
    }
    scanner_.push(rest[scanned_++]);
    if (scanner_.state() == State::Behind && object_end_ == 0) object_end_ = scanned_;
  }
  const bool complete = closed || (at_end && scanner_.state() == State::Behind);
  if (!complete && !at_end && scanner_.state() != State::Malformed) return Step::NeedMore;
  in_ = In::Text;
  const std::string_view body =
      complete ? rest.substr(kCallOpen.size(), object_end_ - kCallOpen.size()) : std::string_view();
  if (complete && emit_call(body, out)) {
    from_ += closed ? scanned_ + kCallClose.size() : rest.size();
  } else {
    emit_text(kCallOpen, out);
    from_ += kCallOpen.size();
  }
  return Step::Continue;
}

bool HermesReply::emit_call(std::string_view body, std::vector<ReplyPart>& out) {
  const auto json = parse_json(body);
  if (!json || !json->is_object()) return false;
  const auto name = json->find("name"), arguments = json->find("arguments");
  if (name == json->end() || !name->is_string() || arguments == json->end() ||
      !arguments->is_object() || name->get_ref<const std::string&>().empty()) {
    return false;
  }
  std::string input(member_text(body, "arguments"));
  if (input.empty()) input = arguments->dump();  // the key is spelt with escapes
  begin_call(name->get<std::string>(), out);
  out.push_back({.kind = ReplyPart::Kind::ToolUseInput, .text = std::move(input)});
  out.push_back({.kind = ReplyPart::Kind::ToolUseEnd, .text = {}});
  return true;
}

void HermesReply::begin_call(std::string name, std::vector<ReplyPart>& out) {
  out.push_back({.kind = ReplyPart::Kind::ToolUseStart, .text = std::move(name)});
  blank_.clear();
  has_text_ = false;
  had_call_ = true;
}

// Whether pending_ holds all that stands before a call's arguments. Its Start is out then.
bool HermesReply::start_stream(std::vector<ReplyPart>& out) {
  std::string_view rest = std::string_view(pending_).substr(from_ + kCallOpen.size());
  if (!rest.starts_with(kHermesSyntax.before_name)) return false;
  rest.remove_prefix(kHermesSyntax.before_name.size() - 1);  // from the name's quote on
  std::size_t end = 1;
  while (end < rest.size() && rest[end] != '"') end += rest[end] == '\\' ? 2 : 1;
  if (end >= rest.size() || !rest.substr(end).starts_with(kHermesSyntax.before_arguments)) {
    return false;
  }
  const auto name = parse_json(rest.substr(0, end + 1));
  if (!name || name->get_ref<const std::string&>().empty()) return false;
  begin_call(name->get<std::string>(), out);
  rest.remove_prefix(end + kHermesSyntax.before_arguments.size());
  from_ = pending_.size() - rest.size();
  in_ = In::Input;
  scanner_ = {};
  return true;
}

HermesReply::Step HermesReply::read_input(bool at_end, std::vector<ReplyPart>& out) {
  using State = ObjectScanner::State;
  const std::string_view rest = std::string_view(pending_).substr(from_);
  std::size_t n = 0;
  while (n < rest.size() && scanner_.state() <= State::Inside) scanner_.push(rest[n++]);
  out.push_back({.kind = ReplyPart::Kind::ToolUseInput, .text = std::string(rest.substr(0, n))});
  from_ += n;
  if (scanner_.state() <= State::Inside && !at_end) return Step::NeedMore;
  out.push_back({.kind = ReplyPart::Kind::ToolUseEnd, .text = {}});
  in_ = scanner_.state() == State::Behind ? In::Tail : In::Text;
  return Step::Continue;
}

// What closes a call whose input is complete. Anything else is text.
HermesReply::Step HermesReply::read_tail(bool at_end) {
  const std::string_view rest = std::string_view(pending_).substr(from_);
  const std::string_view here = rest.substr(0, kHermesSyntax.close.size());
  if (here.size() < kHermesSyntax.close.size() && kHermesSyntax.close.starts_with(here) &&
      !at_end) {
    return Step::NeedMore;
  }
  if (kHermesSyntax.close.starts_with(here)) from_ += here.size();
  in_ = In::Text;
  return Step::Continue;
}

void HermesReply::emit_text(std::string_view text, std::vector<ReplyPart>& out) {
  if (text.empty()) return;
  if (!has_text_) {
    const std::size_t first = text.find_first_not_of(" \n\r\t");
    if (first == std::string_view::npos) {
      blank_ += text;
      return;
    }
    has_text_ = true;
  }
  if (out.empty() || out.back().kind != ReplyPart::Kind::Text) {
    out.push_back({.kind = ReplyPart::Kind::Text, .text = {}});
  }
  out.back().text += blank_;
  out.back().text += text;
  blank_.clear();
}

}  // namespace pensieve::chat
