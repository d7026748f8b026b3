// Whether drafts pay, and how long they should be: how often guesses were right, what steps cost,
// and the length with which tokens come fastest. Everything is measured while answers are made, and
// nothing has to be tried out for it: a guess is compared with what came also when it was not part
// of a step.
// Knows counts and times. Must not know tokens or requests. Engine thread only.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace pensieve::engine {

inline constexpr int kMaxDraft = 15;  // tokens: sixteen rows are one block of the kernels' rows

// How likely the next guess of one request is right, by how long the match before it is
// (SuffixDecoding scores by that too). A moving estimate over some twenty guesses, beginning with
// what is usual.
class Acceptance {
 public:
  void learn(int match, bool right);
  double probability(int match) const;

 private:
  static constexpr int kClasses = 6;  // 2, 3..4, 5..8, 9..16, 17..31, 32
  static std::size_t class_of(int match);
  struct Count {
    double right = 0, all = 0;
  };
  std::array<Count, kClasses> counts_{};
};

// What one more row costs in a step of decode rows, as a share of the step without it. Weights are
// read once for all rows, so the answer is near 0 where memory limits and not where arithmetic
// does, and it depends on the depth of the context: measured on the steps of the requests that run.
class StepCosts {
 public:
  // The next step holds the decode rows of this set of requests (any value that tells sets apart).
  void begin(std::uint64_t requests);

  // That step took `us` with `n_drafted` rows beside the requests' own.
  void learn(int n_drafted, std::uint64_t us);

  // None: a step without drafts has to be measured first.
  std::optional<double> row_cost() const;

 private:
  std::uint64_t requests_ = 0;
  int n_plain_ = 0;        // steps without drafts since the set changed
  int n_since_plain_ = 0;  // steps with drafts since the last of those
  double plain_us_ = 0;
  double row_share_ = -1;  // < 0: not known yet
};

// The draft with which an answer grows fastest: at most `limit` tokens, 0 if none pays clearly.
// `row_cost` as StepCosts gives it.
struct DraftLength {
  int n_tokens = 0;
  double expected = 0;  // tokens of it that will be accepted
};
DraftLength best_draft(const Acceptance& acceptance, int match, int limit, double row_cost);

// Whether no request loses by a step of `1 + added` times the cost (a little is allowed), if what
// it gains itself is `least_expected` tokens at least.
bool worth_it_for_all(double least_expected, double added);

}  // namespace pensieve::engine
