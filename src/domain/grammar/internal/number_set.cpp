#include "domain/grammar/internal/number_set.h"

#include <array>
#include <cstdlib>
#include <tuple>

namespace pensieve::grammar::internal {
namespace {

// Numbers with no more digits than these keep their value, and their order, as doubles (15) and as
// 64-bit integers (18).
constexpr int kMaxDigits = 15;
constexpr int kMaxIntegerDigits = 18;

std::string without_leading_zeros(std::string_view digits) {
  const auto first = digits.find_first_not_of('0');
  return first == std::string_view::npos ? "0" : std::string(digits.substr(first));
}

int compare_magnitude(const Decimal& a, const Decimal& b) {
  if (a.integer.size() != b.integer.size()) return a.integer.size() < b.integer.size() ? -1 : 1;
  if (const int order = a.integer.compare(b.integer)) return order;
  return a.fraction.compare(b.fraction);
}

enum Phase : std::int16_t {
  Start,
  Minus,
  Zero,
  Integer,
  Dot,
  Fraction,
  Exponent,
  ExponentSign,
  ExponentOne,
  ExponentTwo
};

// How the digits so far compare with a bound's: -1, 0, 1. `Off`: there is no such bound.
constexpr std::int16_t kOff = 2;

struct Key {
  std::int16_t phase = Start;
  std::int16_t negative = 0;
  std::int16_t n_integer = 0;  // digits read
  std::int16_t n_fraction = 0;
  std::int16_t low = kOff, high = kOff;  // against the bounds of the magnitude
  std::int16_t rest = 0;                 // the digits modulo the step
  std::int16_t nonzero = 0;              // some digit of the fraction is not 0
  auto operator<=>(const Key&) const = default;
};

// The bounds of |x| for one sign.
struct Magnitudes {
  bool possible = true;
  std::optional<Bound> low, high;
};

Magnitudes magnitudes(const NumberRules& rules, bool negative) {
  Magnitudes out;
  const auto& towards_zero = negative ? rules.max : rules.min;
  const auto& away = negative ? rules.min : rules.max;
  const auto flipped = [&](const Bound& bound) {
    Bound copy = bound;
    copy.value.negative =
        negative && !bound.value.is_zero() ? !bound.value.negative : bound.value.negative;
    return copy;
  };
  if (towards_zero) {
    const Bound bound = flipped(*towards_zero);
    if (!bound.value.negative) out.low = bound;
  }
  if (away) {
    const Bound bound = flipped(*away);
    if (bound.value.negative) out.possible = false;
    out.high = bound;
  }
  return out;
}

class NumberAutomaton {
 public:
  explicit NumberAutomaton(const NumberRules& rules)
      : rules_(rules), sides_{magnitudes(rules, false), magnitudes(rules, true)} {
    n_integer_ = rules.fractions && !rules.integers ? kMaxDigits - 1 : kMaxIntegerDigits;
    for (const auto& side : sides_)
      for (const auto& bound : {side.low, side.high})
        if (bound) {
          n_integer_ = std::max(n_integer_, static_cast<int>(bound->value.integer.size()));
          n_total_ = std::max(
              n_total_,
              static_cast<int>(bound->value.integer.size() + bound->value.fraction.size() + 1));
        }
    exponents_ = rules.integers && rules.fractions && !rules.min && !rules.max && !rules.step;
  }

  std::optional<DfaDraft> draft() const {
    return explore(Key{}, 100'000, [&](const Key& key, auto& state, auto edge) {
      state.accepting = accepting(key);
      for (int c = '0'; c <= '9'; ++c)
        if (const auto to = after_digit(key, c - '0'))
          edge(static_cast<std::uint8_t>(c), static_cast<std::uint8_t>(c), *to);
      const auto mark = [&](char c, const std::optional<Key>& to) {
        if (to) edge(static_cast<std::uint8_t>(c), static_cast<std::uint8_t>(c), *to);
      };
      if (key.phase == Start && sides_[1].possible) mark('-', begin(true));
      if ((key.phase == Zero || key.phase == Integer) && rules_.fractions) {
        Key to = integer_ended(key);
        to.phase = Dot;
        if (!beyond(to)) mark('.', to);
      }
      if (exponents_ && (key.phase == Zero || key.phase == Integer || key.phase == Fraction)) {
        mark('e', Key{.phase = Exponent});
        mark('E', Key{.phase = Exponent});
      }
      if (key.phase == Exponent) {
        mark('+', Key{.phase = ExponentSign});
        mark('-', Key{.phase = ExponentSign});
      }
    });
  }

 private:
  Key begin(bool negative) const {
    const auto& side = sides_[negative ? 1 : 0];
    return {.phase = static_cast<std::int16_t>(negative ? Minus : Start),
            .negative = negative,
            .low = side.low ? std::int16_t{0} : kOff,
            .high = side.high ? std::int16_t{0} : kOff};
  }

  static std::int16_t compare_digit(std::int16_t so_far,
                                    int digit,
                                    std::string_view digits,
                                    int at) {
    if (so_far != 0) return so_far;
    const int other = at < static_cast<int>(digits.size()) ? digits[at] - '0' : 0;
    return static_cast<std::int16_t>(digit < other ? -1 : digit > other ? 1 : 0);
  }

  std::optional<Key> after_digit(Key key, int digit) const {
    if (key.phase == Start) {
      if (!sides_[0].possible) return std::nullopt;
      key = begin(false);
    }
    const auto& side = sides_[key.negative ? 1 : 0];
    switch (key.phase) {
      case Start:
      case Minus:
      case Integer:
        if (key.n_integer >= n_integer_) return std::nullopt;
        if (side.high && key.n_integer >= static_cast<int>(side.high->value.integer.size()))
          return std::nullopt;
        // More digits than the lower bound has are told apart by their number alone.
        if (side.low && key.n_integer < static_cast<int>(side.low->value.integer.size()))
          key.low = compare_digit(key.low, digit, side.low->value.integer, key.n_integer);
        if (side.high && key.n_integer < static_cast<int>(side.high->value.integer.size()))
          key.high = compare_digit(key.high, digit, side.high->value.integer, key.n_integer);
        key.phase = key.phase != Integer && digit == 0 ? Zero : Integer;
        ++key.n_integer;
        break;
      case Dot:
      case Fraction:
        if (key.n_integer + key.n_fraction >= n_total_ || beyond(key) ||
            (rules_.step && key.n_fraction >= rules_.step_digits))
          return std::nullopt;
        if (side.low)
          key.low = compare_digit(key.low, digit, side.low->value.fraction, key.n_fraction);
        if (side.high)
          key.high = compare_digit(key.high, digit, side.high->value.fraction, key.n_fraction);
        ++key.n_fraction;
        key.nonzero = static_cast<std::int16_t>(key.nonzero || digit != 0);
        key.phase = Fraction;
        break;
      case Exponent:
      case ExponentSign:
        return Key{.phase = ExponentOne};
      case ExponentOne:
        return Key{.phase = ExponentTwo};
      default:
        return std::nullopt;
    }
    if (rules_.step) key.rest = static_cast<std::int16_t>((key.rest * 10 + digit) % *rules_.step);
    return key;
  }

  // Outside a bound whatever follows; in a fraction.
  static bool beyond(const Key& key) { return key.low == -1 || key.high == 1; }

  // Behind the integer part its comparison is final: more digits than the bound has are more.
  Key integer_ended(Key key) const {
    const auto& side = sides_[key.negative ? 1 : 0];
    const auto settle = [&](const std::optional<Bound>& bound, std::int16_t so_far) {
      if (!bound) return kOff;
      const int n = static_cast<int>(bound->value.integer.size());
      return key.n_integer != n ? static_cast<std::int16_t>(key.n_integer < n ? -1 : 1) : so_far;
    };
    key.low = settle(side.low, key.low);
    key.high = settle(side.high, key.high);
    return key;
  }

  bool accepting(Key key) const {
    switch (key.phase) {
      case Zero:
      case Integer:
        if (!rules_.integers) return false;
        if (key.negative && key.phase == Zero) return false;  // -0
        key = integer_ended(key);
        break;
      case Fraction:
        // Without integers 1.0 is out; with them it is left out all the same, being one.
        if (!key.nonzero && !(rules_.integers && rules_.fractions)) return false;
        if (key.negative && !key.nonzero) return false;  // -0.0, and -1.0 with it
        break;
      case ExponentOne:
      case ExponentTwo:
        return true;
      default:
        return false;
    }
    const auto& side = sides_[key.negative ? 1 : 0];
    if (side.low && !inside(key.low, *side.low, key, true)) return false;
    if (side.high && !inside(key.high, *side.high, key, false)) return false;
    if (rules_.step) {
      std::int64_t rest = key.rest;
      for (int i = key.n_fraction; i < rules_.step_digits; ++i) rest = rest * 10 % *rules_.step;
      if (rest != 0) return false;
    }
    return true;
  }

  static bool inside(std::int16_t order, const Bound& bound, const Key& key, bool low) {
    // Digits of the bound that were not reached make it larger.
    if (order == 0 && key.n_fraction < static_cast<int>(bound.value.fraction.size())) order = -1;
    if (order == 0) return !bound.exclusive;
    return low ? order > 0 : order < 0;
  }

  const NumberRules& rules_;
  std::array<Magnitudes, 2> sides_;
  int n_integer_ = kMaxIntegerDigits;
  int n_total_ = kMaxDigits;
  bool exponents_ = false;
};

}  // namespace

std::optional<Decimal> parse_decimal(std::string_view text) {
  Decimal out;
  if (!text.empty() && text[0] == '-') {
    out.negative = true;
    text.remove_prefix(1);
  }
  int exponent = 0;
  if (const auto e = text.find_first_of("eE"); e != std::string_view::npos) {
    exponent = std::atoi(std::string(text.substr(e + 1)).c_str());
    text = text.substr(0, e);
  }
  const auto dot = text.find('.');
  std::string digits(text.substr(0, dot));
  int n_fraction = 0;
  if (dot != std::string_view::npos) {
    digits += text.substr(dot + 1);
    n_fraction = static_cast<int>(text.size() - dot - 1);
  }
  n_fraction -= exponent;
  if (n_fraction > 400 || n_fraction < -400 || digits.size() > 400) return std::nullopt;
  if (n_fraction < 0) {
    digits.append(static_cast<std::size_t>(-n_fraction), '0');
    n_fraction = 0;
  }
  if (static_cast<int>(digits.size()) <= n_fraction)
    digits.insert(0, static_cast<std::size_t>(n_fraction) + 1 - digits.size(), '0');
  out.fraction = digits.substr(digits.size() - static_cast<std::size_t>(n_fraction));
  out.integer = without_leading_zeros(digits.substr(0, digits.size() - out.fraction.size()));
  while (!out.fraction.empty() && out.fraction.back() == '0') out.fraction.pop_back();
  if (out.is_zero()) out.negative = false;
  return out;
}

int compare(const Decimal& a, const Decimal& b) {
  if (a.negative != b.negative) return a.negative ? -1 : 1;
  const int order = compare_magnitude(a, b);
  return a.negative ? -order : order;
}

std::optional<Dfa> number_dfa(const NumberRules& rules) {
  const auto draft = NumberAutomaton(rules).draft();
  return draft ? Dfa::create(*draft) : std::nullopt;
}

}  // namespace pensieve::grammar::internal
