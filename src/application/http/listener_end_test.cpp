// The end of a listener at once: every client whose answer is under way is told, by a thread that
// needs nothing of the others.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "application/http/internal/last_words.h"
#include "application/http/internal/test_handler.h"
#include "application/http/listener.h"
#include "application/http/raw_client.h"

namespace pensieve::http {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::string_view kStream = "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n";
constexpr std::string_view kPending = "GET /pending HTTP/1.1\r\nHost: a\r\n\r\n";
constexpr std::string_view kPlain = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";
const std::string kWords = sse_event("error", "{}");  // as TestHandler's streams end

class ListenerEnd : public testing::Test {
 protected:
  void SetUp() override {
    auto listener = Listener::create({.port = 0, .threads = 2, .limits = {}}, handler_);
    ASSERT_TRUE(listener.has_value());
    listener_ = *std::move(listener);
    listener_->start();
  }
  RawClient client(std::string_view bytes, int receive_buffer = 0) const {
    RawClient one(listener_->port(), receive_buffer);
    EXPECT_TRUE(one.send(bytes));
    return one;
  }
  void wait_for_answers(std::size_t n) const {
    for (int i = 0; i < 10'000 && listener_->answering() != n; ++i) {
      std::this_thread::sleep_for(milliseconds(1));
    }
    ASSERT_EQ(listener_->answering(), n);
  }

  TestHandler handler_;
  std::unique_ptr<Listener> listener_;
};

TEST_F(ListenerEnd, EveryStreamEndsWithItsLastEventAndEveryOtherAnswerIsARefusal) {
  std::vector<RawClient> streams;
  for (int i = 0; i < 8; ++i) {
    streams.push_back(client(kStream));
    ASSERT_TRUE(streams.back().read_head().has_value());
  }
  RawClient pending = client(kPending);
  RawClient idle = client(kPlain);
  ASSERT_TRUE(idle.read_response().has_value());
  wait_for_answers(9);

  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(listener_->end_at_once(seconds(2)), 9);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, seconds(1));
  for (RawClient& stream : streams) {
    std::string last;
    for (auto piece = stream.read_chunk(); !piece.value_or("").empty();
         piece = stream.read_chunk()) {
      last = *piece;
    }
    EXPECT_EQ(last, kWords);
    EXPECT_TRUE(stream.ends_within(seconds(2)));
  }
  EXPECT_EQ(pending.read_response()->status, 503);
  EXPECT_FALSE(RawClient(listener_->port()).connected()) << "nobody is accepted any more";
}

TEST_F(ListenerEnd, AnAnswerThatIsOverIsNotTouched) {
  RawClient stream = client(kStream);
  ASSERT_TRUE(stream.read_head().has_value());
  handler_.script.push("all of it", true);
  EXPECT_EQ(stream.read_chunk(), "all of it");
  EXPECT_EQ(stream.read_chunk(), "");
  wait_for_answers(0);
  EXPECT_EQ(listener_->end_at_once(seconds(2)), 0);
}

TEST_F(ListenerEnd, AReaderThatTakesNothingIsGivenUpInTime) {
  handler_.script.make_endless();
  RawClient stalled = client(kStream, 1024);
  ASSERT_TRUE(stalled.read_head().has_value());
  std::this_thread::sleep_for(milliseconds(100));  // until the buffers between are full
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(listener_->end_at_once(milliseconds(300)), 0);
  const auto taken = std::chrono::steady_clock::now() - begin;
  EXPECT_GE(taken, milliseconds(300));
  EXPECT_LT(taken, seconds(2));
}

// Streams that send all the time: whatever the moment, the last event stands behind whole pieces.
TEST_F(ListenerEnd, TheLastEventNeverStandsInTheMiddleOfAnother) {
  handler_.script.make_endless();
  std::vector<RawClient> streams;
  for (int i = 0; i < 4; ++i) {
    streams.push_back(client(kStream));
    ASSERT_TRUE(streams.back().read_head().has_value());
  }
  std::vector<std::string> last(streams.size());
  std::vector<std::thread> readers;
  for (std::size_t i = 0; i < streams.size(); ++i) {
    readers.emplace_back([&, i] {
      const std::string whole(16 * 1024, 'x');
      for (;;) {
        std::string piece = streams[i].read_chunk().value_or("");
        if (piece.empty()) return;
        EXPECT_TRUE(piece == whole || piece == kWords) << piece.size();
        last[i] = std::move(piece);
      }
    });
  }
  std::this_thread::sleep_for(milliseconds(20));
  EXPECT_EQ(listener_->end_at_once(seconds(5)), 4);
  listener_.reset();  // so that nobody reads without end
  for (std::thread& reader : readers) reader.join();
  for (const std::string& words : last) EXPECT_EQ(words, kWords);
}

// A socket that takes a little at a time.
TEST(LastWords, AreSaidAsFarAsTheSocketTakesThemAndGoOnThere) {
  int pair[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  const std::string text(4 << 20, 'w');
  LastWords words;
  EXPECT_EQ(words.say(), LastWords::State::Silent);
  words.prepare(pair[0], text);
  EXPECT_EQ(words.say(), LastWords::State::Later);
  std::string read;
  std::string buffer(64 * 1024, '\0');
  LastWords::State state = LastWords::State::Later;
  while (true) {
    if (state == LastWords::State::Later) state = words.say();
    const ssize_t n = recv(pair[1], buffer.data(), buffer.size(), 0);
    if (n <= 0) break;
    read.append(buffer, 0, static_cast<std::size_t>(n));
  }
  EXPECT_EQ(state, LastWords::State::Said);
  EXPECT_EQ(read, text);
  EXPECT_FALSE(words.begin_sending());
  words.forget();
  close(pair[0]);
  close(pair[1]);
}

TEST(LastWords, AreNotSaidIntoWhatIsBeingSentNorAfterItsEnd) {
  int pair[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  LastWords words;
  words.prepare(pair[0], "refused");
  ASSERT_TRUE(words.begin_sending());
  EXPECT_EQ(words.say(), LastWords::State::Later);
  words.change("ended");
  words.end_sending();
  EXPECT_EQ(words.say(), LastWords::State::Said);
  std::string buffer(64, '\0');
  EXPECT_EQ(recv(pair[1], buffer.data(), buffer.size(), 0), 5);
  EXPECT_EQ(buffer.substr(0, 5), "ended");

  LastWords over;
  over.prepare(pair[0], "x");
  over.forget();
  EXPECT_EQ(over.say(), LastWords::State::Silent);
  close(pair[0]);
  close(pair[1]);
}

}  // namespace
}  // namespace pensieve::http
