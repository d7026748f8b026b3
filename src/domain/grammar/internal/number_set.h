// Numbers between bounds, as an automaton over their decimal spelling.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "domain/grammar/internal/dfa.h"

namespace pensieve::grammar::internal {

// digits / 10^n_fraction, exactly; no leading zeros, "0" for zero.
struct Decimal {
  bool negative = false;
  std::string integer = "0";
  std::string fraction;  // without trailing zeros

  bool is_zero() const { return integer == "0" && fraction.empty(); }
  bool is_integer() const { return fraction.empty(); }
  bool operator==(const Decimal&) const = default;
};

// Reads a JSON number. None if it would need more than 400 digits.
std::optional<Decimal> parse_decimal(std::string_view json_number);
// <0, 0, >0, as a is less than, equal to or greater than b.
int compare(const Decimal& a, const Decimal& b);

struct Bound {
  Decimal value;
  bool exclusive = false;
};

struct NumberRules {
  bool integers = true;   // numbers without a fraction
  bool fractions = true;  // numbers with one; both: exponents as well, if there are no bounds
  std::optional<Bound> min = {}, max = {};
  // Every number is a multiple of step / 10^step_digits. 1 <= step <= 1000, step_digits <= 9.
  std::optional<int> step = {};
  int step_digits = 0;
};

// None if there is no such number.
std::optional<Dfa> number_dfa(const NumberRules& rules);

}  // namespace pensieve::grammar::internal
