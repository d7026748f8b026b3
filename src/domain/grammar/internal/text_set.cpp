#include "domain/grammar/internal/text_set.h"

#include <array>
#include <string_view>
#include <tuple>

namespace pensieve::grammar::internal {
namespace {

constexpr CodePoint kLast = 0x10FFFF;
constexpr std::uint32_t kNone = UINT32_MAX;
constexpr int kMaxStates = 20'000;

// The code point at `at`, which moves on. REQUIRES: valid UTF-8.
CodePoint next_code_point(std::string_view text, std::size_t& at) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  const CodePoint lead = byte(at++);
  const int n_more = lead < 0x80 ? 0 : lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : 3;
  CodePoint value = n_more == 0 ? lead : lead & (0x3Fu >> n_more);
  for (int i = 0; i < n_more; ++i) value = value << 6 | (byte(at++) & 0x3Fu);
  return value;
}

std::uint32_t follow(const TextSet::State& state, CodePoint c) {
  for (const auto& edge : state.edges)
    if (edge.low <= c && c <= edge.high) return edge.to;
  return kNone;
}

// Takes off what cannot reach acceptance; an empty set comes out with no states.
TextSet pruned(TextSet set) {
  const auto n = set.states.size();
  std::vector<std::vector<std::uint32_t>> before(n);
  std::vector<std::uint32_t> todo, ids(n, kNone);
  for (std::uint32_t state = 0; state < n; ++state) {
    for (const auto& edge : set.states[state].edges) before[edge.to].push_back(state);
    if (set.states[state].accepting) {
      ids[state] = 0;
      todo.push_back(state);
    }
  }
  while (!todo.empty()) {
    const auto state = todo.back();
    todo.pop_back();
    for (const auto earlier : before[state]) {
      if (ids[earlier] != kNone) continue;
      ids[earlier] = 0;
      todo.push_back(earlier);
    }
  }
  if (n == 0 || ids[0] == kNone) return {};
  TextSet out;
  std::uint32_t next = 0;
  for (auto& id : ids)
    if (id != kNone) id = next++;
  for (std::uint32_t state = 0; state < n; ++state) {
    if (ids[state] == kNone) continue;
    TextSet::State kept{.edges = {}, .accepting = set.states[state].accepting};
    for (const auto& edge : set.states[state].edges)
      if (ids[edge.to] != kNone) kept.edges.push_back({edge.low, edge.high, ids[edge.to]});
    out.states.push_back(std::move(kept));
  }
  return out;
}

// Walks two sets side by side. `b` may fall off its edge (kNone) if `keep_without_b`.
template <typename Accepting>
std::optional<TextSet> combine(
    const TextSet& a, const TextSet& b, bool keep_without_b, Accepting accepting, Budget& budget) {
  if (a.empty()) return TextSet{};
  using Pair = std::pair<std::uint32_t, std::uint32_t>;
  std::map<Pair, std::uint32_t> ids;
  std::vector<Pair> pairs;
  const auto id_of = [&](Pair pair) {
    const auto [at, fresh] = ids.try_emplace(pair, static_cast<std::uint32_t>(pairs.size()));
    if (fresh) pairs.push_back(pair);
    return at->second;
  };
  TextSet out;
  id_of({0, b.empty() ? kNone : 0});
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    const auto [in_a, in_b] = pairs[i];
    const auto& edges_a = a.states[in_a].edges;
    static const std::vector<TextSet::Edge> kNoEdges;
    const auto& edges_b = in_b == kNone ? kNoEdges : b.states[in_b].edges;
    if (pairs.size() > kMaxStates ||
        !budget.spend(static_cast<std::int64_t>(4 + edges_a.size() + edges_b.size())))
      return std::nullopt;
    TextSet::State state;
    state.accepting =
        accepting(a.states[in_a].accepting, in_b != kNone && b.states[in_b].accepting);
    auto at_b = edges_b.begin();
    for (const auto& edge : edges_a) {
      CodePoint low = edge.low;
      while (low <= edge.high) {
        while (at_b != edges_b.end() && at_b->high < low) ++at_b;
        const bool covered = at_b != edges_b.end() && at_b->low <= low;
        CodePoint high = edge.high;
        if (covered) {
          high = std::min(high, at_b->high);
        } else if (at_b != edges_b.end() && at_b->low <= edge.high) {
          high = at_b->low - 1;
        }
        if (covered || keep_without_b)
          state.edges.push_back({low, high, id_of({edge.to, covered ? at_b->to : kNone})});
        low = high + 1;
      }
    }
    out.states.push_back(std::move(state));
  }
  return pruned(std::move(out));
}

struct ByteRange {
  std::uint8_t low, high;
  auto operator<=>(const ByteRange&) const = default;
};
// What is left of one character, and the state of the text behind it.
struct Rest {
  std::vector<ByteRange> bytes;
  std::uint32_t to;
  auto operator<=>(const Rest&) const = default;
};

// Splits a range of code points into sequences of byte ranges, as RFC 3629, section 4 lists them.
void add_utf8(CodePoint low, CodePoint high, std::uint32_t to, std::vector<Rest>& out) {
  struct Row {
    CodePoint low, high;
    int n_more;
  };
  static constexpr std::array<Row, 5> kRows{{{0x01, 0x7F, 0},
                                             {0x80, 0x7FF, 1},
                                             {0x800, 0xD7FF, 2},
                                             {0xE000, 0xFFFF, 2},
                                             {0x10000, kLast, 3}}};
  // Cuts until each continuation byte either is one value in both ends or runs over all of them.
  struct Cutter {
    std::uint32_t to;
    std::vector<Rest>& out;
    void cut(CodePoint a, CodePoint b, int n_more) {
      for (int i = 1; i <= n_more; ++i) {
        const CodePoint mask = (1u << (6 * i)) - 1;
        if ((a & ~mask) == (b & ~mask)) continue;
        if ((a & mask) != 0) {
          cut(a, a | mask, n_more);
          return cut((a | mask) + 1, b, n_more);
        }
        if ((b & mask) != mask) {
          cut(a, (b & ~mask) - 1, n_more);
          return cut(b & ~mask, b, n_more);
        }
      }
      Rest rest{.bytes = {}, .to = to};
      for (int i = n_more; i >= 0; --i) {
        const CodePoint first = a >> (6 * i), last = b >> (6 * i);
        const auto lead = static_cast<CodePoint>(n_more == 1   ? 0xC0
                                                 : n_more == 2 ? 0xE0
                                                 : n_more == 3 ? 0xF0
                                                               : 0);
        const bool leading = i == n_more;
        rest.bytes.push_back(
            {static_cast<std::uint8_t>(leading ? lead | first : 0x80u | (first & 0x3Fu)),
             static_cast<std::uint8_t>(leading ? lead | last : 0x80u | (last & 0x3Fu))});
      }
      out.push_back(std::move(rest));
    }
  } cutter{to, out};
  for (const auto& row : kRows) {
    const auto a = std::max(low, row.low), b = std::min(high, row.high);
    if (a <= b) cutter.cut(a, b, row.n_more);
  }
}

void add_text(std::string_view bytes, std::uint32_t to, std::vector<Rest>& out) {
  Rest rest{.bytes = {}, .to = to};
  for (const char c : bytes)
    rest.bytes.push_back({static_cast<std::uint8_t>(c), static_cast<std::uint8_t>(c)});
  out.push_back(std::move(rest));
}

std::string escape_of(CodePoint c) {
  switch (c) {
    case '"':
      return "\\\"";
    case '\\':
      return "\\\\";
    case '\b':
      return "\\b";
    case '\f':
      return "\\f";
    case '\n':
      return "\\n";
    case '\r':
      return "\\r";
    case '\t':
      return "\\t";
    default:
      break;
  }
  static constexpr std::string_view kHex = "0123456789abcdef";
  return std::string("\\u00") + kHex[c >> 4 & 15] + kHex[c & 15];
}

constexpr bool needs_escape(CodePoint c) {
  return c < 0x20 || c == '"' || c == '\\';
}

// \uXXXX for all of U+0001..U+FFFF but the surrogates, in either case of letters, and the escape of
// the solidus; they all lead to `to`.
void add_free_escapes(std::uint32_t to, std::vector<Rest>& out) {
  static constexpr ByteRange kDigit{'0', '9'}, kUpper{'A', 'F'}, kLower{'a', 'f'}, kZero{'0', '0'};
  const auto add = [&](std::vector<ByteRange> digits) {
    Rest rest{.bytes = {{'\\', '\\'}, {'u', 'u'}}, .to = to};
    rest.bytes.insert(rest.bytes.end(), digits.begin(), digits.end());
    out.push_back(std::move(rest));
  };
  const auto any = {kDigit, kUpper, kLower};
  // The first digit that is not zero decides; 0xD800..0xDFFF is left out.
  for (const auto& a : {ByteRange{'1', '9'},
                        ByteRange{'A', 'C'},
                        ByteRange{'a', 'c'},
                        ByteRange{'E', 'F'},
                        ByteRange{'e', 'f'}})
    for (const auto& b : any)
      for (const auto& c : any)
        for (const auto& d : any) add({a, b, c, d});
  for (const auto& a : {ByteRange{'D', 'D'}, ByteRange{'d', 'd'}})
    for (const auto& c : any)
      for (const auto& d : any) add({a, {'0', '7'}, c, d});
  for (const auto& b : {ByteRange{'1', '9'}, kUpper, kLower})
    for (const auto& c : any)
      for (const auto& d : any) add({kZero, b, c, d});
  for (const auto& c : {ByteRange{'1', '9'}, kUpper, kLower})
    for (const auto& d : any) add({kZero, kZero, c, d});
  for (const auto& d : {ByteRange{'1', '9'}, kUpper, kLower}) add({kZero, kZero, kZero, d});
  add_text("\\/", to, out);
}

// Edges for one state of the byte automaton: at each byte, what is left of every character that
// begins so.
template <typename Emit>
void split_by_first_byte(const std::vector<Rest>& rests, Emit emit) {
  std::vector<int> cuts;
  for (const auto& rest : rests) {
    cuts.push_back(rest.bytes[0].low);
    cuts.push_back(rest.bytes[0].high + 1);
  }
  std::sort(cuts.begin(), cuts.end());
  cuts.erase(std::unique(cuts.begin(), cuts.end()), cuts.end());
  for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
    std::vector<Rest> left;
    for (const auto& rest : rests) {
      if (rest.bytes[0].low > cuts[i] || rest.bytes[0].high < cuts[i]) continue;
      left.push_back({.bytes = {rest.bytes.begin() + 1, rest.bytes.end()}, .to = rest.to});
    }
    if (left.empty()) continue;
    std::sort(left.begin(), left.end());
    left.erase(std::unique(left.begin(), left.end()), left.end());
    emit(static_cast<std::uint8_t>(cuts[i]), static_cast<std::uint8_t>(cuts[i + 1] - 1), left);
  }
}

std::vector<Rest> characters_of(const TextSet::State& state, Spelling spelling) {
  std::vector<Rest> rests;
  for (const auto& edge : state.edges) {
    CodePoint low = edge.low;
    for (CodePoint c = low; c <= std::min<CodePoint>(edge.high, '\\'); ++c) {
      if (!needs_escape(c)) continue;
      if (c > low) add_utf8(low, c - 1, edge.to, rests);
      if (spelling != Spelling::Key) add_text(escape_of(c), edge.to, rests);
      low = c + 1;
    }
    if (low <= edge.high) add_utf8(low, edge.high, edge.to, rests);
    if (spelling == Spelling::FreeValue) add_free_escapes(edge.to, rests);
  }
  return rests;
}

}  // namespace

CodePoints all_code_points() {
  return {{1, 0xD7FF}, {0xE000, kLast}};
}

CodePoints tidy(CodePoints ranges) {
  std::sort(
      ranges.begin(), ranges.end(), [](const auto& a, const auto& b) { return a.low < b.low; });
  CodePoints out;
  for (const auto& allowed : all_code_points()) {
    for (const auto& range : ranges) {
      const auto low = std::max(range.low, allowed.low), high = std::min(range.high, allowed.high);
      if (low > high) continue;
      if (!out.empty() && low <= out.back().high + 1 && out.back().low >= allowed.low) {
        out.back().high = std::max(out.back().high, high);
      } else {
        out.push_back({low, high});
      }
    }
  }
  return out;
}

CodePoints complement(const CodePoints& set) {
  CodePoints out;
  CodePoint next = 0;
  for (const auto& range : set) {
    if (range.low > next) out.push_back({next, range.low - 1});
    next = range.high + 1;
  }
  if (next <= kLast) out.push_back({next, kLast});
  return tidy(std::move(out));
}

bool TextSet::contains(std::string_view utf8) const {
  if (empty()) return false;
  std::uint32_t state = 0;
  for (std::size_t at = 0; at < utf8.size();) {
    state = follow(states[state], next_code_point(utf8, at));
    if (state == kNone) return false;
  }
  return states[state].accepting;
}

TextSet every_text() {
  TextSet::State state{.edges = {}, .accepting = true};
  for (const auto& range : all_code_points()) state.edges.push_back({range.low, range.high, 0});
  return TextSet{{state}};
}

TextSet text_set_of(std::span<const std::string> texts) {
  TextSet set{{TextSet::State{}}};
  for (const auto& text : texts) {
    std::uint32_t state = 0;
    for (std::size_t at = 0; at < text.size();) {
      const CodePoint c = next_code_point(text, at);
      auto to = follow(set.states[state], c);
      if (to == kNone) {
        to = static_cast<std::uint32_t>(set.states.size());
        auto& edges = set.states[state].edges;
        edges.insert(std::find_if(edges.begin(), edges.end(), [&](auto& e) { return e.low > c; }),
                     {c, c, to});
        set.states.emplace_back();
      }
      state = to;
    }
    set.states[state].accepting = true;
  }
  return set;
}

std::optional<TextSet> intersect(const TextSet& a, const TextSet& b, Budget& budget) {
  return combine(
      a, b, false, [](bool in_a, bool in_b) { return in_a && in_b; }, budget);
}

std::optional<TextSet> subtract(const TextSet& a, const TextSet& b, Budget& budget) {
  return combine(
      a, b, true, [](bool in_a, bool in_b) { return in_a && !in_b; }, budget);
}

std::optional<TextSet> with_length(const TextSet& a, int min, int max, Budget& budget) {
  // A chain of max + 1 states, or of min + 1 with a loop on the last.
  const int last = max >= kEndless ? min : max;
  if (last > kMaxStates) return std::nullopt;
  TextSet lengths;
  for (int i = 0; i <= last; ++i) {
    TextSet::State state{.edges = {}, .accepting = i >= min};
    const auto to = static_cast<std::uint32_t>(i < last ? i + 1 : i);
    if (i < last || max >= kEndless)
      for (const auto& range : all_code_points())
        state.edges.push_back({range.low, range.high, to});
    lengths.states.push_back(std::move(state));
  }
  return intersect(a, lengths, budget);
}

bool can_count(const TextSet& set) {
  const auto n = set.states.size();
  std::vector<int> characters(n, kEndless);  // to acceptance
  for (bool changed = true; changed;) {
    changed = false;
    for (std::size_t i = n; i-- > 0;) {
      int best = set.states[i].accepting ? 0 : kEndless;
      for (const auto& edge : set.states[i].edges)
        best = std::min(best, saturating_sum(characters[edge.to], 1));
      if (best < characters[i]) {
        characters[i] = best;
        changed = true;
      }
    }
    if (n > 256) return false;  // the loop above is quadratic; large ones are spelled out instead
  }
  for (std::size_t i = 0; i < n; ++i) {
    if (set.states[i].edges.empty()) return false;
    for (const auto& edge : set.states[i].edges)
      if (characters[edge.to] > std::max(characters[i] - 1, 0)) return false;
  }
  return n > 0;
}

std::optional<Dfa> encode(const TextSet& set, Spelling spelling, Budget& budget) {
  if (set.empty()) return std::nullopt;
  // A state is what is left of a character in every reading; none and kOpen or kClosed at the ends,
  // none and a state of the set between characters.
  using Key = std::vector<Rest>;
  constexpr std::uint32_t kOpen = UINT32_MAX - 1, kClosed = UINT32_MAX - 2;
  const auto between = [](std::uint32_t state) { return Key{{.bytes = {}, .to = state}}; };
  bool exhausted = false;
  const auto draft = explore(between(kOpen), 200'000, [&](const Key& key, auto& state, auto edge) {
    if (exhausted) return;
    if (key[0].to == kClosed) {
      state.accepting = true;
      return;
    }
    if (key[0].to == kOpen) return edge('"', '"', between(0));
    std::vector<Rest> rests = key;
    if (key[0].bytes.empty()) {
      state.between_characters = true;
      const auto& from = set.states[key[0].to];
      if (from.accepting) edge('"', '"', between(kClosed));
      rests = characters_of(from, spelling);
    }
    if (rests.empty()) return;
    exhausted = !budget.spend(static_cast<std::int64_t>(4 + 10 * rests.size()));
    split_by_first_byte(rests, [&](std::uint8_t low, std::uint8_t high, const Key& left) {
      edge(low, high, left);
    });
  });
  if (!draft || exhausted) return std::nullopt;
  return Dfa::create(*draft);
}

std::string escaped(std::string_view utf8) {
  std::string out;
  for (const char c : utf8) {
    const auto byte = static_cast<std::uint8_t>(c);
    if (needs_escape(byte)) {
      out += escape_of(byte);
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace pensieve::grammar::internal
