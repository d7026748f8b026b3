#include "domain/grammar/internal/regex.h"

#include <cctype>
#include <map>
#include <memory>
#include <set>
#include <string>

namespace pensieve::grammar::internal {
namespace {

constexpr int kMaxNesting = 100;
constexpr int kMaxRepeat = 2'000;  // x{m,n}: a larger m is refused, a larger n has no end
constexpr std::size_t kMaxNfa = 20'000;
constexpr std::size_t kMaxSets = 10'000;

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

struct Expression {
  enum class Kind { Class, Sequence, Choice, Repeat, Begin, End } kind = Kind::Sequence;
  CodePoints set;                    // Class
  std::vector<ExpressionPtr> parts;  // Sequence, Choice, Repeat (one)
  int min = 0, max = kEndless;       // Repeat
};

ExpressionPtr make(Expression::Kind kind) {
  auto out = std::make_unique<Expression>();
  out->kind = kind;
  return out;
}

const CodePoints kDigits = {{'0', '9'}};
const CodePoints kWord = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
const CodePoints kSpace = {{9, 13},
                           {' ', ' '},
                           {0xA0, 0xA0},
                           {0x1680, 0x1680},
                           {0x2000, 0x200A},
                           {0x2028, 0x2029},
                           {0x202F, 0x202F},
                           {0x205F, 0x205F},
                           {0x3000, 0x3000}};
// What no dialect counts as a digit, a word character, space: the first two end before the first
// digit and letter that some of them take.
const CodePoints kNotDigits = {{1, '/'}, {':', 0x65F}};
const CodePoints kNotWord = {{1, '/'}, {':', '@'}, {'[', '^'}, {'`', '`'}, {'{', 0x7F}};
const CodePoints kSomeSpace = {{9, 13},
                               {0x1C, ' '},
                               {0x85, 0x85},
                               {0xA0, 0xA0},
                               {0x1680, 0x1680},
                               {0x180E, 0x180E},
                               {0x2000, 0x200B},
                               {0x2028, 0x2029},
                               {0x202F, 0x202F},
                               {0x205F, 0x205F},
                               {0x3000, 0x3000},
                               {0xFEFF, 0xFEFF}};
const CodePoints kLineEnds = {{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};

// Reads an expression; every reader returns null (or false) where it cannot go on.
class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  ExpressionPtr parse() {
    auto all = choice();
    return all && at_ == text_.size() ? std::move(all) : nullptr;
  }

 private:
  bool ended() const { return at_ == text_.size(); }
  bool see(char c) const { return !ended() && text_[at_] == c; }
  bool take(std::string_view what) {
    if (text_.substr(at_, what.size()) != what) return false;
    at_ += what.size();
    return true;
  }

  ExpressionPtr choice() {
    if (++nesting_ > kMaxNesting) return nullptr;
    auto out = make(Expression::Kind::Choice);
    do {
      auto branch = sequence();
      if (!branch) return nullptr;
      out->parts.push_back(std::move(branch));
    } while (take("|"));
    --nesting_;
    if (out->parts.size() == 1) return std::move(out->parts[0]);
    return out;
  }

  ExpressionPtr sequence() {
    auto out = make(Expression::Kind::Sequence);
    while (!ended() && !see('|') && !see(')')) {
      auto part = repeated();
      if (!part) return nullptr;
      out->parts.push_back(std::move(part));
    }
    if (out->parts.size() == 1) return std::move(out->parts[0]);
    return out;
  }

  ExpressionPtr repeated() {
    auto part = atom();
    if (!part) return nullptr;
    int min = 0, max = kEndless;
    if (take("*")) {
    } else if (take("+")) {
      min = 1;
    } else if (take("?")) {
      max = 1;
    } else if (see('{')) {
      if (!bounds(min, max)) return nullptr;
    } else {
      return part;
    }
    take("?");                                                         // lazy: the same texts
    if (see('*') || see('+') || see('?') || see('{')) return nullptr;  // possessive, or nonsense
    if (part->kind == Expression::Kind::Begin || part->kind == Expression::Kind::End)
      return nullptr;
    auto out = make(Expression::Kind::Repeat);
    out->min = min;
    out->max = max;
    out->parts.push_back(std::move(part));
    return out;
  }

  bool number(int& out) {
    if (ended() || !std::isdigit(static_cast<unsigned char>(text_[at_]))) return false;
    std::int64_t value = 0;
    while (!ended() && std::isdigit(static_cast<unsigned char>(text_[at_])))
      value = std::min<std::int64_t>(value * 10 + (text_[at_++] - '0'), kEndless);
    out = static_cast<int>(value);
    return true;
  }

  bool bounds(int& min, int& max) {
    if (!take("{") || !number(min)) return false;
    max = min;
    if (take(",") && !number(max)) max = kEndless;
    if (!take("}") || min > max || min > kMaxRepeat) return false;
    if (max > kMaxRepeat) max = kEndless;
    return true;
  }

  ExpressionPtr atom() {
    if (take("^")) return make(Expression::Kind::Begin);
    if (take("$")) return make(Expression::Kind::End);
    if (take("(")) {
      if (take("?")) {
        if (take("P")) {
        }  // Python's spelling of a name
        if (take("<")) {
          if (see('=') || see('!')) return nullptr;
          while (!ended() && !see('>')) ++at_;
          if (!take(">")) return nullptr;
        } else if (!take(":")) {
          return nullptr;
        }
      }
      auto inner = choice();
      return inner && take(")") ? std::move(inner) : nullptr;
    }
    auto out = make(Expression::Kind::Class);
    if (take(".")) {
      out->set = complement(kLineEnds);
    } else if (take("[")) {
      if (!bracket(out->set)) return nullptr;
    } else if (see('\\')) {
      ++at_;
      CodePoint c = 0;
      if (!escape(false, out->set, c)) return nullptr;
      if (out->set.empty()) out->set = {{c, c}};
    } else {
      if (see('*') || see('+') || see('?') || see('{') || see('}') || see(']')) {
        // A bracket that closes nothing stands for itself in the older syntax.
        if (!see('}') && !see(']')) return nullptr;
      }
      const CodePoint c = code_point();
      out->set = {{c, c}};
    }
    out->set = tidy(std::move(out->set));
    return out;
  }

  CodePoint code_point() {
    const auto lead = static_cast<std::uint8_t>(text_[at_++]);
    const int n_more = lead < 0xC0 ? 0 : lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : 3;
    CodePoint value = n_more == 0 ? lead : lead & (0x3Fu >> n_more);
    for (int i = 0; i < n_more && !ended(); ++i)
      value = value << 6 | (static_cast<std::uint8_t>(text_[at_++]) & 0x3Fu);
    return value;
  }

  bool hex(int n, CodePoint& out) {
    out = 0;
    for (int i = 0; i < n; ++i) {
      if (ended() || !std::isxdigit(static_cast<unsigned char>(text_[at_]))) return false;
      const char c = text_[at_++];
      out = out << 4 | static_cast<CodePoint>(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    return true;
  }

  // Behind a backslash: a class into `set`, or one code point into `c`.
  bool escape(bool in_bracket, CodePoints& set, CodePoint& c) {
    if (ended()) return false;
    const char kind = text_[at_];
    switch (kind) {
      case 'd':
        set = kDigits;
        break;
      case 'w':
        set = kWord;
        break;
      case 's':
        set = kSpace;
        break;
      case 'D':
        set = kNotDigits;
        break;
      case 'W':
        set = kNotWord;
        break;
      case 'S':
        set = complement(kSomeSpace);
        break;
      case 't':
        c = '\t';
        break;
      case 'n':
        c = '\n';
        break;
      case 'r':
        c = '\r';
        break;
      case 'f':
        c = '\f';
        break;
      case 'v':
        c = '\v';
        break;
      case 'b':
        if (!in_bracket) return false;
        c = '\b';
        break;
      case 'x':
        ++at_;
        return hex(2, c) && c != 0;
      case 'u':
        ++at_;
        if (take("{")) {
          c = 0;
          while (!ended() && !see('}')) {
            CodePoint digit = 0;
            if (!hex(1, digit) || (c = c << 4 | digit) > 0x10FFFF) return false;
          }
          return take("}") && c != 0;
        }
        return hex(4, c) && c != 0 && (c < 0xD800 || c > 0xDFFF);
      default:
        if (std::isalnum(static_cast<unsigned char>(kind))) return false;
        c = code_point();
        return true;
    }
    ++at_;
    return true;
  }

  bool bracket(CodePoints& out) {
    const bool negated = take("^");
    CodePoints set;
    // Under a negation the wide readings of \d and \s are taken out, and \D, \W, \S are refused:
    // what is left must hold in every dialect.
    while (!see(']')) {
      if (ended()) return false;
      CodePoints low_set;
      CodePoint low = 0;
      if (!member(low_set, low)) return false;
      if (!low_set.empty()) {
        if (negated) {
          if (low_set == kDigits) {
            low_set = complement(kNotDigits);
          } else if (low_set == kWord) {
            low_set = complement(kNotWord);
          } else if (low_set == kSpace) {
            low_set = kSomeSpace;
          } else {
            return false;
          }
        }
        set.insert(set.end(), low_set.begin(), low_set.end());
        continue;
      }
      CodePoint high = low;
      if (see('-') && at_ + 1 < text_.size() && text_[at_ + 1] != ']') {
        ++at_;
        CodePoints high_set;
        if (!member(high_set, high) || !high_set.empty() || high < low) return false;
      }
      set.push_back({low, high});
    }
    take("]");
    out = tidy(std::move(set));
    if (negated) out = complement(out);
    return true;
  }

  bool member(CodePoints& set, CodePoint& c) {
    if (take("\\")) return escape(true, set, c);
    c = code_point();
    return true;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  int nesting_ = 0;
};

// Thompson's construction. A state has at most one class edge and any number of free ones.
struct Nfa {
  struct State {
    const CodePoints* set = nullptr;
    std::uint32_t to = 0;             // behind `set`
    std::vector<std::uint32_t> free;  // without a character
    enum class Only : std::uint8_t { Anywhere, Begin, End } only = Only::Anywhere;  // for `free`
  };
  std::vector<State> states;
};

class NfaBuilder {
 public:
  explicit NfaBuilder(Nfa& nfa) : states_(nfa.states) {}
  bool too_large() const { return states_.size() > kMaxNfa; }

  std::uint32_t add() {
    states_.emplace_back();
    return static_cast<std::uint32_t>(states_.size() - 1);
  }
  void link(std::uint32_t from, std::uint32_t to) { states_[from].free.push_back(to); }

  // Appends the expression behind `from`; returns the state behind it.
  std::uint32_t append(const Expression& expression, std::uint32_t from) {
    if (too_large()) return from;
    switch (expression.kind) {
      case Expression::Kind::Class: {
        const auto to = add();
        const auto mine = add();
        states_[mine].set = &expression.set;
        states_[mine].to = to;
        link(from, mine);
        return to;
      }
      case Expression::Kind::Begin:
      case Expression::Kind::End: {
        const auto gate = add(), to = add();
        states_[gate].only = expression.kind == Expression::Kind::Begin ? Nfa::State::Only::Begin
                                                                        : Nfa::State::Only::End;
        link(from, gate);
        link(gate, to);
        return to;
      }
      case Expression::Kind::Sequence:
        for (const auto& part : expression.parts) from = append(*part, from);
        return from;
      case Expression::Kind::Choice: {
        const auto end = add();
        for (const auto& part : expression.parts) {
          const auto begin = add();
          link(from, begin);
          link(append(*part, begin), end);
        }
        return end;
      }
      case Expression::Kind::Repeat: {
        const auto& part = *expression.parts[0];
        // Each turn has a state of its own, so that turns of nothing are counted as well.
        const auto turn = [&] {
          const auto begin = add();
          link(from, begin);
          from = append(part, begin);
        };
        for (int i = 0; i < expression.min && !too_large(); ++i) turn();
        const auto end = add();
        if (expression.max >= kEndless) {
          const auto loop = add();
          link(from, loop);
          link(loop, end);
          link(append(part, loop), loop);
        } else {
          for (int i = expression.min; i < expression.max && !too_large(); ++i) {
            link(from, end);
            turn();
          }
          link(from, end);
        }
        return end;
      }
    }
    return from;
  }

 private:
  std::vector<Nfa::State>& states_;
};

// The subset construction, over ranges of code points.
class Determinizer {
 public:
  Determinizer(const Nfa& nfa, std::uint32_t final_state, Budget& budget)
      : nfa_(nfa), final_(final_state), budget_(budget), seen_(nfa.states.size()) {}

  std::optional<TextSet> run(std::uint32_t start) {
    id_of(closure({start}, true, false));
    for (std::size_t i = 0; i < sets_.size(); ++i) {
      if (sets_.size() > kMaxSets || exhausted_) return std::nullopt;
      const Set set = sets_[i];
      TextSet::State state;
      const auto at_end = closure(set, i == 0, true);
      state.accepting = std::binary_search(at_end.begin(), at_end.end(), final_);
      edges(set, state.edges);
      out_.states.push_back(std::move(state));
    }
    if (exhausted_) return std::nullopt;
    return std::move(out_);
  }

 private:
  using Set = std::vector<std::uint32_t>;

  Set closure(Set todo, bool at_begin, bool at_end) {
    Set out;
    ++mark_;
    while (!todo.empty()) {
      const auto state = todo.back();
      todo.pop_back();
      if (seen_[state] == mark_) continue;
      seen_[state] = mark_;
      out.push_back(state);
      const auto& from = nfa_.states[state];
      if (from.only == Nfa::State::Only::Begin && !at_begin) continue;
      if (from.only == Nfa::State::Only::End && !at_end) continue;
      todo.insert(todo.end(), from.free.begin(), from.free.end());
      exhausted_ |= !budget_.spend(1 + static_cast<std::int64_t>(from.free.size()));
    }
    std::sort(out.begin(), out.end());
    return out;
  }

  std::uint32_t id_of(Set set) {
    const auto [at, fresh] = ids_.try_emplace(set, static_cast<std::uint32_t>(sets_.size()));
    if (fresh) sets_.push_back(std::move(set));
    return at->second;
  }

  void edges(const Set& set, std::vector<TextSet::Edge>& out) {
    struct Event {
      CodePoint at;
      bool begins;
      std::uint32_t to;
    };
    std::vector<Event> events;
    for (const auto state : set) {
      const auto& from = nfa_.states[state];
      if (from.set == nullptr) continue;
      for (const auto& range : *from.set) {
        events.push_back({range.low, true, from.to});
        events.push_back({range.high + 1, false, from.to});
      }
    }
    std::sort(events.begin(), events.end(), [](auto& a, auto& b) { return a.at < b.at; });
    std::multiset<std::uint32_t> open;
    for (std::size_t i = 0; i < events.size();) {
      const CodePoint low = events[i].at;
      for (; i < events.size() && events[i].at == low; ++i) {
        if (events[i].begins) {
          open.insert(events[i].to);
        } else {
          open.erase(open.find(events[i].to));
        }
      }
      if (open.empty() || i == events.size()) continue;
      if (!(exhausted_ = exhausted_ || !budget_.spend(static_cast<std::int64_t>(open.size())))) {
        const auto to = id_of(closure({open.begin(), open.end()}, false, false));
        const CodePoint high = events[i].at - 1;
        if (!out.empty() && out.back().to == to && out.back().high + 1 == low) {
          out.back().high = high;
        } else {
          out.push_back({low, high, to});
        }
      }
    }
  }

  const Nfa& nfa_;
  std::uint32_t final_;
  Budget& budget_;
  std::vector<std::uint32_t> seen_;
  std::uint32_t mark_ = 0;
  bool exhausted_ = false;
  std::map<Set, std::uint32_t> ids_;
  std::vector<Set> sets_;
  TextSet out_;
};

// ^x{m,n}$ becomes ^x*$ and two lengths.
void take_lengths(Expression& whole, Pattern& pattern) {
  using Kind = Expression::Kind;
  if (whole.kind != Kind::Sequence || whole.parts.size() != 3) return;
  auto& middle = *whole.parts[1];
  if (whole.parts[0]->kind != Kind::Begin || whole.parts[2]->kind != Kind::End) return;
  if (middle.kind != Kind::Repeat || middle.parts[0]->kind != Kind::Class) return;
  if (middle.parts[0]->set.empty()) return;
  pattern.min_length = middle.min;
  pattern.max_length = middle.max;
  middle.min = 0;
  middle.max = kEndless;
}

}  // namespace

std::optional<Pattern> compile_regex(std::string_view expression, Budget& budget) {
  const auto whole = Parser(expression).parse();
  if (!whole) return std::nullopt;
  Pattern pattern;
  take_lengths(*whole, pattern);

  Nfa nfa;
  NfaBuilder builder(nfa);
  const CodePoints any = all_code_points();
  // Found anywhere: any text before the match and any behind it.
  // The origin is in no other set than the first, which alone is at the beginning.
  const auto origin = builder.add();
  const auto before = builder.add(), skip = builder.add(), start = builder.add();
  builder.link(origin, before);
  nfa.states[skip].set = &any;
  nfa.states[skip].to = before;
  builder.link(before, skip);
  builder.link(before, start);
  const auto matched = builder.append(*whole, start);
  const auto behind = builder.add();
  builder.link(matched, behind);
  const auto rest = builder.add();
  nfa.states[rest].set = &any;
  nfa.states[rest].to = behind;
  builder.link(behind, rest);
  if (builder.too_large() || !budget.spend(static_cast<std::int64_t>(nfa.states.size())))
    return std::nullopt;

  auto texts = Determinizer(nfa, behind, budget).run(origin);
  if (!texts) return std::nullopt;
  // Prunes; an expression that nothing matches has no states left.
  auto pruned = intersect(*texts, every_text(), budget);
  if (!pruned) return std::nullopt;
  pattern.texts = std::move(*pruned);
  return pattern;
}

}  // namespace pensieve::grammar::internal
