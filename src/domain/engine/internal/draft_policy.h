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

// What drafted rows cost a step of decode rows: added_cost[n - 1] is how much longer n of them make
// it, as a share of the step without any. No formula would do: weights are read once for all rows,
// so rows are nearly free where memory limits and not where arithmetic does, and kernels take some
// numbers of rows better than others (measured: 8 rows in less time than 4).
using AddedCost = std::array<double, kMaxDraft>;

// Measures that on the steps of the requests that run, as it depends on the depth of their context.
class StepCosts {
 public:
  StepCosts();

  // The next step holds the decode rows of `n_requests`; `which` is any value that tells sets of
  // requests apart.
  void begin(std::uint64_t which, int n_requests);

  // That step took `us` with `n_drafted` rows beside the requests' own.
  void learn(int n_drafted, std::uint64_t us);

  // None: a step without drafts has to be measured first. What was not measured is taken in
  // proportion from what was.
  std::optional<AddedCost> added() const;

 private:
  struct Table {
    AddedCost added{};  // < 0: not measured
  };
  static constexpr std::size_t kTables = 4;  // by number of requests, the last one for more too
  std::array<Table, kTables> tables_;
  Table* table_;  // of the requests that run

  std::uint64_t which_ = 0;
  int n_plain_ = 0;        // steps without drafts since the set changed
  int n_since_plain_ = 0;  // steps with drafts since the last of those
  double plain_us_ = 0;
};

struct DraftLength {
  int n_tokens = 0;
  double expected = 0;  // tokens of it that will be accepted
};
// The draft with which an answer grows fastest: at most `limit` tokens (0..kMaxDraft), 0 if none
// pays clearly.
DraftLength best_draft(const Acceptance& acceptance, int match, int limit, const AddedCost& added);

// Whether no request loses (a little is allowed) by a step that takes `added` times longer, as a
// share, if what it gains itself is `least_expected` tokens at least.
bool worth_it_for_all(double least_expected, double added);

}  // namespace pensieve::engine
