// Which model a command means, and getting it here: the store put together with the network, the
// terminal and the signals.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "foundation/result.h"

#include "domain/store/names.h"
#include "domain/store/pull.h"
#include "domain/store/store.h"

#include "application/cli/options.h"

namespace pensieve::cli {

// The model hub, by PENSIEVE_HUB_URL, HF_ENDPOINT, or the public one. Errors: InvalidRequest for a
// URL that is none.
struct Hub {
  std::string url;  // without a slash at the end
  bool public_one = true;
};
Result<Hub> model_hub();

// The store's name and the source of what `reference` names: the catalog's, for a name or for a
// repository that has one. Errors: NotFound for a name that the catalog does not have;
// InvalidRequest for a path.
Result<store::PullRequest> pull_request(const store::Reference& reference);

struct PullOptions {
  std::chrono::seconds stall{30};
  bool patient = true;  // several tries, ten seconds to connect; else one of five
};

// store::pull() with progress on standard error, and stopped by a signal: then Cancelled.
Result<store::Pulled> pull_here(const store::Store& store,
                                store::PullRequest request,
                                const PullOptions& options);

// Runs `work` with hooks that show how far it is and end it at a signal.
store::WorkHooks terminal_hooks(class DownloadProgress& progress);

// Fetches the model that `options` mean if it is not here and the mode allows it. In Auto, without
// --model, a hub that cannot give the default model is no error: a line says why, and find_model()
// finds nothing. Errors: of store::pull().
Result<void> ensure_model(const Options& options);

// Where the model lies that `options` mean: a path, or "tiny"; nothing when none is named and none
// is here. No network. Files of the store are checked against their manifest. Errors: NotFound for
// a named one that is not here, with the way to it; DigestMismatch.
Result<std::optional<std::string>> find_model(const Options& options);

// While it lives the first signal is kept for wait_for_signal() instead of ending the process.
class OrderlyWork {
 public:
  OrderlyWork();
  ~OrderlyWork();
  OrderlyWork(const OrderlyWork&) = delete;
  OrderlyWork& operator=(const OrderlyWork&) = delete;
};

}  // namespace pensieve::cli
