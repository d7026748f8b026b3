// What the store asks of a network: one HTTP GET, one hop, bytes as they come. The application
// hands in the real one (libcurl); tests hand in one that lies.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>

namespace pensieve::store {

struct FetchRequest {
  std::string url{};         // http or https
  std::uint64_t offset = 0;  // > 0: Range: bytes=offset-
  std::string if_range{};    // a strong entity tag, sent with the range; empty: none
  std::string bearer{};      // sent as Authorization; empty: none
};

// A response's head, as it was sent. Content-Encoding is never undone: identity is asked for.
struct FetchHead {
  int status = 0;
  std::optional<std::uint64_t> content_length{};
  std::string content_range{}, content_type{}, content_encoding{}, etag{};
  int retry_after_s = 0;       // 0: none
  std::string redirect_url{};  // Location, absolute; empty: none
  // What a model hub says about a large file, also on the redirect to it.
  std::string linked_etag{};  // without quotes: the SHA-256 of the file
  std::optional<std::uint64_t> linked_size{};
  std::string commit{};  // x-repo-commit
};

// Called in order, on the thread that fetches. Either may end the transfer by giving false.
struct FetchSink {
  std::function<bool(const FetchHead&)> head;
  std::function<bool(std::span<const std::byte>)> body;
  std::function<bool()> stopped;  // asked about once a second and with every piece: true ends it
};

enum class FetchEnd {
  Complete,     // as many bytes as the head promised
  Refused,      // the sink gave false
  Stopped,      // stopped() gave true
  Unreachable,  // no connection: name, route, TLS, connect timeout; nothing was received
  Broken,       // the connection ended or stalled before the response did
};

struct FetchOutcome {
  FetchEnd end = FetchEnd::Broken;
  std::string what{};  // for a person, when it is Unreachable or Broken
};

// Follows no redirect, sends no cookie, retries nothing. Blocks.
using Fetch = std::function<FetchOutcome(const FetchRequest&, const FetchSink&)>;

}  // namespace pensieve::store
