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

// A row's cost before any was measured. Low, so that one will be.
constexpr double kFirstRowCost = 0.1;
constexpr double kUnknown = -1;

// Plain steps before the first draft of a set of requests; and one after so many with drafts,
// because a step gets longer with the context.
constexpr int kPlainFirst = 2;
constexpr int kPlainEvery = 32;

constexpr double kTimeWeight = 0.25;  // of a new measurement
constexpr double kUpWeight = 0.5;     // of one that says drafts cost more: nobody shall pay long
constexpr double kOutlier = 2;  // what takes longer than so many times the usual is cut to that

// A cost that keeps drafts off is never measured again, so it fades with every plain step.
constexpr double kFading = 0.998;

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

StepCosts::StepCosts() : table_(tables_.data()) {
  for (Table& table : tables_) table.added.fill(kUnknown);
}

void StepCosts::begin(std::uint64_t which, int n_requests) {
  if (which == which_) return;
  which_ = which;
  table_ = &tables_[std::clamp<std::size_t>(static_cast<std::size_t>(n_requests), 1, kTables) - 1];
  n_plain_ = n_since_plain_ = 0;
}

void StepCosts::learn(int n_drafted, std::uint64_t us) {
  auto took = static_cast<double>(us);
  if (n_drafted == 0) {
    if (n_plain_ > 0) took = std::min(took, kOutlier * plain_us_);
    plain_us_ = n_plain_ > 0 ? plain_us_ + kTimeWeight * (took - plain_us_) : took;
    n_plain_ = std::min(n_plain_ + 1, kPlainFirst);
    n_since_plain_ = 0;
    for (double& added : table_->added) added *= kFading;
    return;
  }
  ++n_since_plain_;
  if (plain_us_ <= 0 || n_drafted > kMaxDraft) return;
  const double measured = std::clamp(took / plain_us_ - 1, 0.0, kOutlier * n_drafted);
  double& added = table_->added[static_cast<std::size_t>(n_drafted) - 1];
  const double weight = added < 0 ? 1 : measured > added ? kUpWeight : kTimeWeight;
  added = added < 0 ? measured : added + weight * (measured - added);
}

std::optional<AddedCost> StepCosts::added() const {
  if (n_plain_ < kPlainFirst || n_since_plain_ >= kPlainEvery) return std::nullopt;
  AddedCost added = table_->added;
  // Between two that were measured on the line between them; before the first and behind the last
  // in proportion.
  int known = 0;
  double known_cost = 0;
  for (int n = 1; n <= kMaxDraft; ++n) {
    const double cost = added[static_cast<std::size_t>(n) - 1];
    if (cost < 0) continue;
    for (int between = known + 1; between < n; ++between) {
      added[static_cast<std::size_t>(between) - 1] =
          known_cost + (cost - known_cost) * (between - known) / (n - known);
    }
    known = n;
    known_cost = cost;
  }
  const double per_row = known > 0 ? known_cost / known : kFirstRowCost;
  for (int n = known + 1; n <= kMaxDraft; ++n) added[static_cast<std::size_t>(n) - 1] = per_row * n;
  return added;
}

DraftLength best_draft(const Acceptance& acceptance, int match, int limit, const AddedCost& added) {
  DraftLength best;
  double best_speed = kClearGain;
  double probability = 1, expected = 0;
  for (int n = 1; n <= std::min(limit, kMaxDraft); ++n) {
    probability *= acceptance.probability(match + n - 1);
    expected += probability;
    const double speed = (1 + expected) / (1 + added[static_cast<std::size_t>(n) - 1]);
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
