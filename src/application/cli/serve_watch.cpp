#include "application/cli/serve_watch.h"

namespace pensieve::cli {

bool ProgressWatch::is_well(const ServerPulse& pulse, Time now) {
  const bool progress = pulse.counts != last_counts_;
  last_counts_ = pulse.counts;
  if (pulse.running == 0 || progress) {
    since_.reset();
  } else if (!since_) {
    since_ = now;
  }
  if (!pulse.io_responds) return false;
  return !since_ || now - *since_ < patience_;
}

}  // namespace pensieve::cli
