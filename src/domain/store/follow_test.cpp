// Redirects: how many, where to, and what goes along.
#include "domain/store/internal/follow.h"

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

namespace pensieve::store {
namespace {

// Hosts that redirect as a table says; everything else answers 200 with its URL as the body.
struct World {
  std::map<std::string, FetchHead> redirects;
  std::vector<FetchRequest> asked;
  std::string body;
  FetchHead last;

  Result<FetchOutcome> get(const std::string& url, bool allow_private = false) {
    const Fetch fetch = [&](const FetchRequest& request, const FetchSink& sink) -> FetchOutcome {
      asked.push_back(request);
      const auto found = redirects.find(request.url);
      FetchHead head{.status = 200};
      if (found != redirects.end()) head = found->second;
      if (!sink.head(head)) return {.end = FetchEnd::Refused};
      return {.end = sink.body(std::as_bytes(std::span(request.url))) ? FetchEnd::Complete
                                                                      : FetchEnd::Refused};
    };
    const FetchSink sink{.head =
                             [&](const FetchHead& head) {
                               last = head;
                               return true;
                             },
                         .body =
                             [&](std::span<const std::byte> bytes) {
                               body.append(reinterpret_cast<const char*>(bytes.data()),
                                           bytes.size());
                               return true;
                             },
                         .stopped = [] { return false; }};
    return follow(fetch,
                  {.url = url, .offset = 7, .if_range = "\"t\"", .bearer = "secret"},
                  allow_private,
                  sink);
  }
  void redirect(const std::string& from, const std::string& to, int status = 302) {
    redirects[from] = {.status = status, .redirect_url = to};
  }
};

TEST(Follow, KeepsTheRangeAndWhatTheHubSaidAndDropsTheToken) {
  for (const int status : {301, 302, 303, 307, 308}) {
    World world;
    world.redirect("https://hub.example/f", "https://cdn.example/f", status);
    world.redirects["https://hub.example/f"].linked_etag = "digest";
    world.redirects["https://hub.example/f"].linked_size = 12;
    world.redirects["https://hub.example/f"].commit = "c";
    ASSERT_TRUE(world.get("https://hub.example/f"));
    EXPECT_EQ(world.body, "https://cdn.example/f");
    ASSERT_EQ(world.asked.size(), 2u);
    EXPECT_EQ(world.asked[0].bearer, "secret");
    EXPECT_EQ(world.asked[1].bearer, "");
    EXPECT_EQ(world.asked[1].offset, 7u);
    EXPECT_EQ(world.asked[1].if_range, "\"t\"");
    EXPECT_EQ(world.last.linked_etag, "digest");
    EXPECT_EQ(world.last.linked_size, 12u);
    EXPECT_EQ(world.last.commit, "c");
  }
}

TEST(Follow, TheTokenStaysOnOneOriginAndNeverComesBack) {
  World world;
  world.redirect("https://hub.example/a", "https://HUB.example/b");
  world.redirect("https://HUB.example/b", "https://hub.example:8443/c");
  world.redirect("https://hub.example:8443/c", "https://hub.example/d");
  ASSERT_TRUE(world.get("https://hub.example/a"));
  ASSERT_EQ(world.asked.size(), 4u);
  EXPECT_EQ(world.asked[1].bearer, "secret");
  EXPECT_EQ(world.asked[2].bearer, "") << "another port is another origin";
  EXPECT_EQ(world.asked[3].bearer, "") << "whoever redirects here must not be able to use it";
}

TEST(Follow, TenRedirectsAreFollowedAndElevenAreNot) {
  for (const int n : {10, 11}) {
    World world;
    for (int i = 0; i < n; ++i) {
      world.redirect("https://h.example/" + std::to_string(i),
                     "https://h.example/" + std::to_string(i + 1));
    }
    EXPECT_EQ(world.get("https://h.example/0").has_value(), n == 10);
    EXPECT_EQ(world.asked.size(), 11u);
  }
}

TEST(Follow, RefusesLessSecurityAndOtherSchemes) {
  for (const char* to : {"http://hub.example/x",
                         "HTTP://cdn.example/x",
                         "ftp://cdn.example/x",
                         "file:///etc/passwd",
                         "gopher://x"}) {
    World world;
    world.redirect("https://hub.example/f", to);
    const auto outcome = world.get("https://hub.example/f");
    ASSERT_FALSE(outcome) << to;
    EXPECT_EQ(outcome.error().kind, ErrorKind::Permission);
    EXPECT_EQ(world.asked.size(), 1u);
  }
  World upgrade;
  upgrade.redirect("http://mirror.example/f", "https://mirror.example/f");
  EXPECT_TRUE(upgrade.get("http://mirror.example/f"));
}

TEST(Follow, APublicPlaceCannotPointIntoAPrivateNetwork) {
  for (const char* host : {"localhost",
                           "LOCALHOST:80",
                           "x.localhost",
                           "printer.local",
                           "127.0.0.1",
                           "127.9.9.9:8080",
                           "10.1.2.3",
                           "172.16.0.1",
                           "172.31.255.255",
                           "192.168.1.1",
                           "169.254.169.254",
                           "100.64.0.1",
                           "0.0.0.0",
                           "2130706433",
                           "0x7f.1",
                           "127.1",
                           "[::1]",
                           "[::]",
                           "[fe80::1]",
                           "[fd00::1]",
                           "[::ffff:127.0.0.1]",
                           "[::ffff:10.0.0.1]:443",
                           "user@127.0.0.1"}) {
    World world;
    world.redirect("https://hub.example/f", "https://" + std::string(host) + "/f");
    EXPECT_FALSE(world.get("https://hub.example/f")) << host;
    EXPECT_TRUE(world.get("https://hub.example/f", true)) << host;
  }
  for (const char* host : {"cdn.example",
                           "8.8.8.8",
                           "172.32.0.1",
                           "172.15.0.1",
                           "100.128.0.1",
                           "192.169.0.1",
                           "[2606:4700::1]",
                           "localhost.example",
                           "10.example"}) {
    EXPECT_FALSE(is_private_host("https://" + std::string(host) + "/f")) << host;
  }
}

}  // namespace
}  // namespace pensieve::store
