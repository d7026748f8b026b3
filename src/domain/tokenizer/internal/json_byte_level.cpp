#include "domain/tokenizer/internal/json_byte_level.h"

#include <string>
#include <vector>

#include "foundation/text.h"

#include "domain/tokenizer/internal/json_members.h"

namespace pensieve::tokenizer {
namespace {

Error unsupported(const char* what, const Json& step) {
  return bad_json(std::string("the ") + what + " " + printable(string_member(step, "type")) +
                  " is not supported in this form");
}

// The steps of a Sequence, whose members stand under `key`; anything else is one step.
Result<std::vector<const Json*>> steps_of(const Json& whole, const char* what, const char* key) {
  std::vector<const Json*> steps;
  if (string_member(whole, "type") != "Sequence") {
    steps.push_back(&whole);
    return steps;
  }
  const Json* all = member(whole, key);
  if (all == nullptr || !all->is_array()) {
    return bad_json(std::string(what) + "." + key + " is no array");
  }
  for (const Json& step : *all) steps.push_back(&step);
  return steps;
}

// Every character is matched by every known pattern, so to isolate the matches, or to remove what
// is between them, is the same.
bool keeps_all(const Json& split) {
  const auto behavior = string_member(split, "behavior");
  const bool invert = true_member(split, "invert");
  return (behavior == "Isolated" && !invert) || (behavior == "Removed" && invert);
}

Result<Pattern> split_pattern(const Json& split) {
  const Json* pattern = member(split, "pattern");
  const auto regex = pattern == nullptr ? std::string_view() : string_member(*pattern, "Regex");
  if (regex.empty() || !keeps_all(split)) return unsupported("pre_tokenizer", split);
  if (const auto known = pattern_of(regex)) return *known;
  return bad_json("the pre_tokenizer's pattern is not known: " + printable(regex, 300));
}

bool is_byte_level(const Json& step, bool splits) {
  // use_regex is missing in files from before it could be turned off.
  const Json* use_regex = member(step, "use_regex");
  const bool uses_regex = use_regex == nullptr || *use_regex == true;
  return string_member(step, "type") == "ByteLevel" && uses_regex == splits &&
         !true_member(step, "add_prefix_space");
}

}  // namespace

Result<bool> byte_level_nfc(const Json* normalizer) {
  if (normalizer == nullptr) return false;
  PENSIEVE_TRY(const auto steps, steps_of(*normalizer, "normalizer", "normalizers"));
  for (const Json* step : steps) {
    if (string_member(*step, "type") != "NFC") return unsupported("normalizer", *step);
  }
  return !steps.empty();
}

Result<Cuts> byte_level_cuts(const Json* pre_tokenizer) {
  if (pre_tokenizer == nullptr) {
    return bad_json(
        "BPE with neither byte_fallback nor a ByteLevel pre_tokenizer is not supported");
  }
  PENSIEVE_TRY(const auto steps, steps_of(*pre_tokenizer, "pre_tokenizer", "pretokenizers"));
  Cuts cuts;
  if (steps.size() == 1 && is_byte_level(*steps[0], true)) return cuts;
  if (steps.size() == 2) {
    const Json &first = *steps[0], &second = *steps[1];
    if (string_member(first, "type") == "Split" && is_byte_level(second, false)) {
      PENSIEVE_TRY(cuts.pattern, split_pattern(first));
      return cuts;
    }
    if (string_member(first, "type") == "Digits" && true_member(first, "individual_digits") &&
        is_byte_level(second, true)) {
      cuts.digits_alone = true;
      return cuts;
    }
  }
  return unsupported("pre_tokenizer", *pre_tokenizer);
}

}  // namespace pensieve::tokenizer
