// Redirects, by rules that hold for every client of a hub: at most ten, never from https to http,
// never from a public place into a private network, and a token stays with the host it was for.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "foundation/result.h"

#include "domain/store/fetch.h"

namespace pensieve::store {

inline constexpr int kMostRedirects = 10;

// Whether a URL's host is written as an address, or a name, of this machine or of a private
// network: localhost, loopback, link-local, private, shared and unspecified ranges of IPv4 and
// IPv6.
bool is_private_host(std::string_view url);

// "https://hub.example" of "https://hub.example/a?b", for messages: what follows may hold a
// signature.
std::string origin_of(std::string_view url);

// As Fetch, with the redirects followed. `sink.head` and `sink.body` see the last response alone;
// what a hub said about the file on an earlier hop is kept in its head. `allow_private`: redirects
// may lead anywhere. What went wrong behind a redirect is said of the place it led to. An Error is
// a redirect that was refused: Permission.
Result<FetchOutcome> follow(const Fetch& fetch,
                            FetchRequest request,
                            bool allow_private,
                            const FetchSink& sink);

}  // namespace pensieve::store
