// The listener over real sockets: framing errors end a connection, limits hold, answers keep their
// order, and a client that leaves ends its answer.
#include "application/http/listener.h"

#include <gtest/gtest.h>

#include <thread>

#include "application/http/internal/smuggling_cases.h"
#include "application/http/internal/test_handler.h"
#include "application/http/raw_client.h"

namespace pensieve::http {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

// Waits for something another thread does; no test depends on how long it takes.
bool eventually(const std::function<bool()>& condition, milliseconds limit = milliseconds(10'000)) {
  const auto deadline = Clock::now() + limit;
  while (!condition()) {
    if (Clock::now() >= deadline) return false;
    std::this_thread::sleep_for(milliseconds(1));
  }
  return true;
}

// A name that merely begins like a loopback address is somebody else's.
TEST(Host, LoopbackIsAnAddressNotAPrefix) {
  EXPECT_FALSE(is_loopback_host("127.evil.com"));
  EXPECT_FALSE(is_loopback_host("127.0.0.1.example.com"));
  EXPECT_FALSE(is_loopback_host("127.0.0"));
  EXPECT_FALSE(is_loopback_host("127.0.0.256"));
  EXPECT_FALSE(is_loopback_host("localhost.example.com"));
  EXPECT_FALSE(is_loopback_host(""));
  EXPECT_TRUE(is_loopback_host("127.255.255.254"));
}

class ListenerTest : public testing::Test {
 protected:
  void start(const Limits& limits = {}) {
    auto listener = Listener::create({.port = 0, .threads = 2, .limits = limits}, handler_);
    ASSERT_TRUE(listener.has_value()) << listener.error().message;
    listener_ = *std::move(listener);
    listener_->start();
  }
  RawClient client(int receive_buffer = 0) { return RawClient(listener_->port(), receive_buffer); }

  // The answer to one request on a connection of its own.
  std::optional<RawResponse> ask(std::string_view bytes) {
    RawClient one = client();
    EXPECT_TRUE(one.send(bytes));
    return one.read_response();
  }

  TestHandler handler_;
  std::unique_ptr<Listener> listener_;
};

std::string get(const std::string& path, const std::string& fields = {}) {
  return "GET " + path + " HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n";
}
std::string post(const std::string& path, const std::string& body, const std::string& fields = {}) {
  return "POST " + path + " HTTP/1.1\r\nHost: a\r\n" + fields +
         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

TEST_F(ListenerTest, AnswersAndKeepsTheConnection) {
  start();
  RawClient one = client();
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(one.send(post("/x", "body " + std::to_string(i))));
    const auto response = one.read_response();
    ASSERT_TRUE(response.has_value());
    EXPECT_EQ(response->status, 200);
    EXPECT_EQ(response->body, "POST /x body " + std::to_string(i));
    EXPECT_EQ(response->header("connection"), "keep-alive");
    EXPECT_EQ(response->header("date").size(), 29U);
  }
}

TEST_F(ListenerTest, EndsTheConnectionBehindEverySmugglingCase) {
  start();
  for (const SmugglingCase& test : smuggling_cases()) {
    SCOPED_TRACE(test.name);
    RawClient one = client();
    // What stands behind the broken request must never be taken for one.
    one.send(std::string(test.bytes) + get("/marker") + get("/marker"));
    const auto response = one.read_response();
    ASSERT_TRUE(response.has_value());
    const int expected = test.expected == ErrorKind::NotImplemented ? 501
                         : test.expected == ErrorKind::TooLarge     ? 413
                                                                    : 400;
    EXPECT_EQ(response->status, expected);
    EXPECT_EQ(response->header("connection"), "close");
    EXPECT_TRUE(one.ends_within(milliseconds(5000)));
    EXPECT_EQ(one.rest(), "");
  }
  EXPECT_EQ(handler_.markers, 0);
  EXPECT_EQ(handler_.handled, 0);
  EXPECT_EQ(ask(get("/alive"))->status, 200);
}

TEST_F(ListenerTest, AnswersPipelinedRequestsInOrder) {
  start();
  std::string all;
  std::vector<std::pair<int, std::string>> expected;
  for (int i = 0; i < 100; ++i) {
    const std::string path = "/" + std::to_string(i);
    switch (i % 4) {
      case 0:
        all += get(path);
        expected.emplace_back(200, "GET " + path + " ");
        break;
      case 1:
        all += post(path, std::string(static_cast<std::size_t>(i) * 50, 'b'));
        expected.emplace_back(
            200, "POST " + path + " " + std::string(static_cast<std::size_t>(i) * 50, 'b'));
        break;
      case 2:
        all += post("/forbidden", "a body that is read past");
        expected.emplace_back(403, "forbidden");
        break;
      default:
        all += "POST " + path + " HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" +
               chunk("hello, ") + chunk("world") + std::string(kLastChunk);
        expected.emplace_back(200, "POST " + path + " hello, world");
    }
  }
  RawClient one = client();
  std::thread sender([&] { EXPECT_TRUE(one.send(all)); });
  for (const auto& [status, body] : expected) {
    const auto response = one.read_response();
    ASSERT_TRUE(response.has_value()) << body;
    EXPECT_EQ(response->status, status);
    EXPECT_EQ(response->body, body);
  }
  sender.join();
}

TEST_F(ListenerTest, AnswersTheSameWhereverARequestIsCut) {
  start();
  const std::string bytes = post("/cut", "the body", "X: y\r\n");
  for (std::size_t cut = 1; cut < bytes.size(); ++cut) {
    RawClient one = client();
    ASSERT_TRUE(one.send(std::string_view(bytes).substr(0, cut)));
    std::this_thread::sleep_for(milliseconds(1));  // so that the pieces arrive as pieces
    ASSERT_TRUE(one.send(std::string_view(bytes).substr(cut)));
    const auto response = one.read_response();
    ASSERT_TRUE(response.has_value()) << "cut at " << cut;
    EXPECT_EQ(response->body, "POST /cut the body") << "cut at " << cut;
  }
}

TEST_F(ListenerTest, GivesHeadTheHeadersAndNoBody) {
  start();
  RawClient one = client();
  ASSERT_TRUE(one.send("HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n" + get("/y")));
  const auto head = one.read_response(true);
  ASSERT_TRUE(head.has_value());
  EXPECT_EQ(head->header("content-length"), "8");  // "HEAD /x "
  EXPECT_EQ(one.read_response()->body, "GET /y ");
}

TEST_F(ListenerTest, ClosesWhenAskedToAndFor10) {
  start();
  for (const std::string& bytes :
       {get("/x", "Connection: close\r\n"), std::string("GET /x HTTP/1.0\r\nHost: a\r\n\r\n")}) {
    RawClient one = client();
    ASSERT_TRUE(one.send(bytes));
    const auto response = one.read_response();
    ASSERT_TRUE(response.has_value());
    EXPECT_EQ(response->header("connection"), "close");
    EXPECT_TRUE(one.ends_within(milliseconds(5000)));
  }
}

TEST_F(ListenerTest, InvitesTheBodyOfAClientThatWaits) {
  start();
  RawClient one = client();
  ASSERT_TRUE(
      one.send("POST /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"));
  EXPECT_EQ(one.read_response()->status, 100);
  ASSERT_TRUE(one.send("body"));
  EXPECT_EQ(one.read_response()->body, "POST /x body");
}

TEST_F(ListenerTest, DoesNotInviteABodyItWillRefuse) {
  start();
  for (const std::string path : {"/x", "/forbidden"}) {
    RawClient one = client();
    ASSERT_TRUE(one.send("POST " + path +
                         " HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: " +
                         (path == "/x" ? "999999999" : "4") + "\r\n\r\n"));
    const auto response = one.read_response();
    ASSERT_TRUE(response.has_value());
    EXPECT_EQ(response->status, path == "/x" ? 413 : 403);
    EXPECT_TRUE(one.ends_within(milliseconds(5000)));
  }
}

TEST_F(ListenerTest, RefusesALengthBeyondTheLimitAtOnce) {
  start();
  const auto before = Clock::now();
  const auto response = ask("POST /size HTTP/1.1\r\nHost: a\r\nContent-Length: 33554433\r\n\r\n");
  ASSERT_TRUE(response.has_value());
  EXPECT_EQ(response->status, 413);
  EXPECT_LT(Clock::now() - before, std::chrono::seconds(2));
  EXPECT_EQ(handler_.handled, 0);
}

TEST_F(ListenerTest, TakesABodyOfExactlyTheLimit) {
  start();
  const std::string body(Limits{}.body_bytes, 'b');
  EXPECT_EQ(ask(post("/size", body))->body, "33554432");
}

TEST_F(ListenerTest, CountsAChunkedBodyAsItArrives) {
  start();
  RawClient one = client();
  ASSERT_TRUE(one.send("POST /size HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"));
  std::thread sender([&] {  // endless, until the server has had enough
    const std::string piece = chunk(std::string(256 * 1024, 'x'));
    for (int i = 0; i < 1000 && one.send(piece); ++i) {
    }
  });
  const auto response = one.read_response();
  sender.join();
  ASSERT_TRUE(response.has_value());
  EXPECT_EQ(response->status, 413);
  EXPECT_EQ(handler_.handled, 0);
}

TEST_F(ListenerTest, EndsSlowHeadersHoweverSteadilyTheyCome) {
  start({.header_time = milliseconds(200)});
  RawClient one = client();
  const std::string slow = get("/x", "X: " + std::string(10'000, 'y') + "\r\n");
  const auto before = Clock::now();
  for (const char c : slow) {
    if (!one.send({&c, 1}) || Clock::now() - before > milliseconds(600)) break;
    std::this_thread::sleep_for(milliseconds(2));
  }
  const auto response = one.read_response();
  ASSERT_TRUE(response.has_value());
  EXPECT_EQ(response->status, 408);
  EXPECT_EQ(handler_.handled, 0);
}

TEST_F(ListenerTest, EndsABodyThatTrickles) {
  start({.body_grace = milliseconds(200), .body_bytes_per_second = 1'000'000});
  RawClient one = client();
  ASSERT_TRUE(one.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"));
  const auto before = Clock::now();
  while (one.send("x") && Clock::now() - before < milliseconds(600)) {
    std::this_thread::sleep_for(milliseconds(5));
  }
  const auto response = one.read_response();
  ASSERT_TRUE(response.has_value());
  EXPECT_EQ(response->status, 408);
  EXPECT_EQ(handler_.handled, 0);
}

TEST_F(ListenerTest, ClosesAnIdleConnectionWithoutAWord) {
  start({.keep_alive_idle = milliseconds(100)});
  RawClient fresh = client();
  EXPECT_TRUE(fresh.ends_within(milliseconds(5000)));
  EXPECT_EQ(fresh.rest(), "");
  RawClient used = client();
  ASSERT_TRUE(used.send(get("/x")));
  EXPECT_EQ(used.read_response()->status, 200);
  EXPECT_TRUE(used.ends_within(milliseconds(5000)));
  EXPECT_EQ(used.rest(), "");
}

TEST_F(ListenerTest, TellsClientsBeyondTheLimitAndServesAgainWhenOthersLeave) {
  start({.linger = milliseconds(200), .connections = 4});
  std::vector<RawClient> clients;
  for (int i = 0; i < 4; ++i) {
    clients.push_back(client());
    ASSERT_TRUE(clients.back().send(get("/x")));
    EXPECT_EQ(clients.back().read_response()->status, 200);
  }
  RawClient extra = client();
  const auto response = extra.read_response();
  ASSERT_TRUE(response.has_value());
  EXPECT_EQ(response->status, 503);
  EXPECT_TRUE(extra.ends_within(milliseconds(5000)));
  clients.clear();
  extra.close();
  ASSERT_TRUE(eventually([&] { return listener_->connections() == 0; }));
  EXPECT_EQ(ask(get("/x"))->status, 200);
}

TEST_F(ListenerTest, StreamsPiecesAsTheyBecomeReady) {
  start();
  RawClient one = client();
  ASSERT_TRUE(one.send(get("/stream") + get("/after")));
  const auto head = one.read_head();  // before there is any piece
  ASSERT_TRUE(head.has_value());
  EXPECT_EQ(head->header("content-type"), "text/event-stream");
  EXPECT_EQ(head->header("transfer-encoding"), "chunked");
  for (const std::string piece : {"one", "two", "three"}) {
    handler_.script.push(piece);
    EXPECT_EQ(one.read_chunk(), piece);
  }
  handler_.script.push("last", true);
  EXPECT_EQ(one.read_chunk(), "last");
  EXPECT_EQ(one.read_chunk(), "");
  EXPECT_EQ(one.read_response()->body, "GET /after ");
  EXPECT_EQ(handler_.script.alive, 0);
}

TEST_F(ListenerTest, PingsAStreamThatHasNothingToSay) {
  start({.ping_interval = milliseconds(50)});
  RawClient one = client();
  ASSERT_TRUE(one.send(get("/stream")));
  ASSERT_TRUE(one.read_head().has_value());
  for (int i = 0; i < 3; ++i) EXPECT_EQ(one.read_chunk(), "event: ping\ndata: {}\n\n");
  handler_.script.push("last", true);
}

StreamPiece refusal() {
  return {.bytes = "data: refused\n\n",
          .finished = true,
          .close = true,
          .instead = Response{
              .status = 429, .headers = {}, .content_type = "text/plain", .body = "refused"}};
}

TEST_F(ListenerTest, AnswersInPlaceOfAStreamWhoseHeadHasNotLeft) {
  handler_.head_wait = std::chrono::seconds(60);
  start();
  RawClient one = client();
  ASSERT_TRUE(one.send(get("/stream-or-not")));
  ASSERT_TRUE(eventually([&] { return handler_.script.alive == 1; }));
  handler_.script.push(refusal());
  const auto response = one.read_response();
  ASSERT_TRUE(response.has_value());
  EXPECT_EQ(response->status, 429);
  EXPECT_EQ(response->body, "refused");
  // The connection goes on, also with a stream that is one.
  ASSERT_TRUE(one.send(get("/stream-or-not")));
  ASSERT_TRUE(eventually([&] { return handler_.script.alive == 1; }));
  handler_.script.push("data: a\n\n", true);
  EXPECT_EQ(one.read_head()->status, 200);
  EXPECT_EQ(one.read_chunk(), "data: a\n\n");
  EXPECT_EQ(one.read_chunk(), "");
}

TEST_F(ListenerTest, SendsAStreamsHeadWhenItHasWaitedLongEnough) {
  handler_.head_wait = milliseconds(30);
  start({.ping_interval = milliseconds(20)});
  RawClient one = client();
  ASSERT_TRUE(one.send(get("/stream-or-not")));
  EXPECT_EQ(one.read_head()->status, 200);
  EXPECT_EQ(one.read_chunk(), sse_event("ping", "{}"));
  handler_.script.push(refusal());
  std::optional<std::string> chunk = one.read_chunk();
  while (chunk == sse_event("ping", "{}")) chunk = one.read_chunk();
  EXPECT_EQ(chunk, "data: refused\n\n");
  EXPECT_EQ(one.read_chunk(), "");
  EXPECT_TRUE(one.ends_within(std::chrono::seconds(5)));
}

TEST_F(ListenerTest, AddsToAStreamsHeadWhatItsFirstPieceSays) {
  handler_.head_wait = std::chrono::seconds(60);
  start();
  RawClient one = client();
  ASSERT_TRUE(one.send(get("/stream-or-not")));
  ASSERT_TRUE(eventually([&] { return handler_.script.alive == 1; }));
  handler_.script.push({.bytes = "data: a\n\n", .headers = {{.name = "X-Said", .value = "yes"}}});
  const auto head = one.read_head();
  ASSERT_TRUE(head.has_value());
  EXPECT_EQ(head->header("x-said"), "yes");
  EXPECT_EQ(head->header("content-type"), "text/event-stream");
  EXPECT_EQ(one.read_chunk(), "data: a\n\n");
  EXPECT_EQ(handler_.script.early_heads, 0);
  handler_.script.push({.bytes = "data: b\n\n",
                        .finished = true,
                        .headers = {{.name = "X-Said", .value = "too late"}}});
  EXPECT_EQ(one.read_chunk(), "data: b\n\n");
  EXPECT_EQ(one.read_chunk(), "");

  handler_.head_wait = milliseconds(1);
  ASSERT_TRUE(one.send(get("/stream-or-not")));
  EXPECT_EQ(one.read_head()->header("x-said"), "");
  EXPECT_EQ(handler_.script.early_heads, 1);
  handler_.script.push({.bytes = "data: c\n\n",
                        .finished = true,
                        .headers = {{.name = "X-Said", .value = "too late"}}});
  EXPECT_EQ(one.read_chunk(), "data: c\n\n");
}

TEST_F(ListenerTest, DropsAStreamWhoseClientLeavesBeforeItsHead) {
  handler_.head_wait = std::chrono::seconds(60);
  start();
  RawClient one = client();
  ASSERT_TRUE(one.send(get("/stream-or-not")));
  ASSERT_TRUE(eventually([&] { return handler_.script.alive == 1; }));
  one.close();
  EXPECT_TRUE(eventually([&] { return handler_.script.alive == 0; }));
}

TEST_F(ListenerTest, StreamsTo10ClientsUntilTheConnectionEnds) {
  start();
  RawClient one = client();
  ASSERT_TRUE(one.send("GET /stream HTTP/1.0\r\nHost: a\r\n\r\n"));
  handler_.script.push("one, ");
  handler_.script.push("two", true);
  const auto response = one.read_response();
  ASSERT_TRUE(response.has_value());
  EXPECT_EQ(response->header("transfer-encoding"), "");
  EXPECT_EQ(response->body, "one, two");
}

TEST_F(ListenerTest, AnswersLaterWhenTheAnswerComesLater) {
  start();
  RawClient one = client();
  ASSERT_TRUE(one.send(post("/pending", "x")));
  ASSERT_TRUE(eventually([&] { return handler_.script.alive == 1; }));
  handler_.script.push("here it is");
  EXPECT_EQ(one.read_response()->body, "here it is");
  EXPECT_EQ(handler_.script.alive, 0);
}

// FIN, RST and half-close, in a stream and in an answer that is awaited: the answer must be gone
// within 250 ms, and the server as it was.
TEST_F(ListenerTest, DropsTheAnswerOfAClientThatLeaves) {
  start();
  for (const std::string path : {"/stream", "/pending"}) {
    for (const std::string way : {"fin", "rst", "half-close"}) {
      SCOPED_TRACE(path + " " + way);
      RawClient one = client();
      const int opened = handler_.script.opened;
      ASSERT_TRUE(one.send(get(path)));
      ASSERT_TRUE(eventually([&] { return handler_.script.opened == opened + 1; }));
      if (path == "/stream") {
        ASSERT_TRUE(one.read_head().has_value());
      }
      const auto left = Clock::now();
      if (way == "fin") one.close();
      if (way == "rst") one.reset();
      if (way == "half-close") one.half_close();
      ASSERT_TRUE(eventually([&] { return handler_.script.alive == 0; }));
      EXPECT_LT(Clock::now() - left, milliseconds(250));
      one.close();
      ASSERT_TRUE(eventually([&] { return listener_->connections() == 0; }));
    }
  }
  EXPECT_EQ(ask(get("/x"))->status, 200);
}

TEST_F(ListenerTest, StopsPullingWhenTheReaderIsSlowAndGivesUpAfterAWhile) {
  start({.send_stall = milliseconds(700)});
  handler_.script.make_endless();
  RawClient slow = client(1024);
  ASSERT_TRUE(slow.send(get("/stream")));
  ASSERT_TRUE(eventually([&] { return handler_.script.alive == 1; }));
  // Nothing is read: the kernel's buffers fill and the pulling must end, well below a megabyte.
  int polls = -1;
  ASSERT_TRUE(eventually([&] {
    std::this_thread::sleep_for(milliseconds(100));
    return std::exchange(polls, handler_.script.polls()) == handler_.script.polls();
  }));
  EXPECT_LT(polls * 16 * 1024, 1024 * 1024);
  EXPECT_EQ(ask(get("/x"))->status, 200);  // others are served meanwhile
  EXPECT_TRUE(eventually([&] { return handler_.script.alive == 0; }));
}

TEST_F(ListenerTest, SaysInOneSentenceThatAPortIsTaken) {
  start();
  const auto second =
      Listener::create({.port = listener_->port(), .threads = 1, .limits = {}}, handler_);
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().message,
            "port " + std::to_string(listener_->port()) +
                " is in use by another program: use --port N, or stop the other one");
}

TEST_F(ListenerTest, RefusesHostsAndPortsThatDoNotExist) {
  EXPECT_FALSE(Listener::create({.host = "not an address", .limits = {}}, handler_).has_value());
  EXPECT_FALSE(Listener::create({.host = "192.0.2.1", .limits = {}}, handler_).has_value());
  EXPECT_FALSE(Listener::create({.port = 528'491, .limits = {}}, handler_).has_value());
  EXPECT_FALSE(Listener::create({.port = -1, .limits = {}}, handler_).has_value());
}

TEST_F(ListenerTest, AccountsForLargeBodiesAndRefusesThoseThatDoNotFit) {
  Accountant accountant(8 * 1024 * 1024);
  auto listener = Listener::create(
      {.port = 0, .threads = 2, .limits = {}, .accountant = &accountant}, handler_);
  ASSERT_TRUE(listener.has_value());
  listener_ = *std::move(listener);
  listener_->start();
  EXPECT_EQ(ask(post("/size", std::string(4 << 20, 'b')))->body, "4194304");
  EXPECT_EQ(accountant.held(MemoryUse::Connections), 0U);
  EXPECT_EQ(ask(post("/size", std::string(9 << 20, 'b')))->status, 503);
  EXPECT_TRUE(eventually([&] { return accountant.total() == 0; }));
}

}  // namespace
}  // namespace pensieve::http
