#include "domain/engine/internal/draft_policy.h"

#include <algorithm>

#include "domain/engine/internal/draft_index.h"

namespace pensieve::engine {
namespace {

// What is usual, per class of match, and how many guesses it takes to outweigh that.
constexpr std::array kUsual{0.2, 0.4, 0.6, 0.8, 0.85, 0.9};
constexpr double kUsualWeight = 2;
constexpr double kKept = 0.95;  // of what was learned, with each further guess

// Times are noisy: a draft has to promise this much, and a neighbour may lose so little.
constexpr double kClearGain = 1.05;
constexpr double kNeighbourLoss = 0.03;

// A row's cost before one was measured. Low, so that one will be.
constexpr double kFirstRowCost = 0.1;

// Plain steps before the first draft of a set of requests; and one after so many with drafts,
// because a step gets longer with the context.
constexpr int kPlainFirst = 2;
constexpr int kPlainEvery = 32;

constexpr double kTimeWeight = 0.25;  // of a new measurement
constexpr double kOutlier = 2;  // what takes longer than so many times the usual counts as that

// A cost that keeps drafts off is never measured again, so it fades with every plain step.
constexpr double kFading = 0.995;

}  // namespace

std::size_t Acceptance::class_of(int match) {
  if (match >= DraftIndex::kLongest) return 5;
  if (match >= 17) return 4;
  if (match >= 9) return 3;
  if (match >= 5) return 2;
  return match >= 3 ? 1 : 0;
}

void Acceptance::learn(int match, bool right) {
  Count& count = counts_[class_of(match)];
  count.right = kKept * count.right + (right ? 1 : 0);
  count.all = kKept * count.all + 1;
}

double Acceptance::probability(int match) const {
  const std::size_t which = class_of(match);
  const Count& count = counts_[which];
  return (count.right + kUsualWeight * kUsual[which]) / (count.all + kUsualWeight);
}

void StepCosts::begin(std::uint64_t requests) {
  if (requests == requests_) return;
  requests_ = requests;
  n_plain_ = n_since_plain_ = 0;
}

void StepCosts::learn(int n_drafted, std::uint64_t us) {
  auto took = static_cast<double>(us);
  if (n_drafted == 0) {
    if (n_plain_ > 0) took = std::min(took, kOutlier * plain_us_);
    plain_us_ = n_plain_ > 0 ? plain_us_ + kTimeWeight * (took - plain_us_) : took;
    n_plain_ = std::min(n_plain_ + 1, kPlainFirst);
    n_since_plain_ = 0;
    row_share_ *= kFading;
    return;
  }
  ++n_since_plain_;
  if (plain_us_ <= 0) return;
  const double share = std::max(0.0, (took / plain_us_ - 1) / n_drafted);
  row_share_ =
      row_share_ < 0
          ? share
          : row_share_ + kTimeWeight * (std::min(share, kOutlier * row_share_ + 0.1) - row_share_);
}

std::optional<double> StepCosts::row_cost() const {
  if (n_plain_ < kPlainFirst || n_since_plain_ >= kPlainEvery) return std::nullopt;
  return row_share_ < 0 ? kFirstRowCost : row_share_;
}

DraftLength best_draft(const Acceptance& acceptance, int match, int limit, double row_cost) {
  DraftLength best;
  double best_speed = kClearGain;
  double probability = 1, expected = 0;
  for (int n = 1; n <= limit; ++n) {
    probability *= acceptance.probability(match + n - 1);
    expected += probability;
    const double speed = (1 + expected) / (1 + row_cost * n);
    if (speed <= best_speed) continue;
    best_speed = speed;
    best = {n, expected};
  }
  return best;
}

bool worth_it_for_all(double least_expected, double added) {
  return 1 + least_expected >= (1 - kNeighbourLoss) * (1 + added);
}

}  // namespace pensieve::engine
