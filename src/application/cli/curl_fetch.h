// The store's Fetch by libcurl: one GET, one hop, proxies by the usual variables. Knows sockets and
// TLS. Must not know hubs, models or when to try again.
#pragma once

#include <chrono>

#include "domain/store/fetch.h"

namespace pensieve::cli {

struct FetchLimits {
  std::chrono::milliseconds connect{10'000};  // name, TCP and TLS
  std::chrono::seconds stall{30};             // without a byte
};

// One thread at a time. Connections are kept between calls, as long as a copy of it lives.
store::Fetch curl_fetch(const FetchLimits& limits);

}  // namespace pensieve::cli
