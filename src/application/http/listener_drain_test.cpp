// The end of a listener: what is running may finish, what is new is told to go elsewhere, and the
// threads come home.
#include <gtest/gtest.h>

#include <thread>

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

class ListenerDrain : public testing::Test {
 protected:
  void SetUp() override {
    auto listener = Listener::create({.port = 0, .threads = 2, .limits = {}}, handler_);
    ASSERT_TRUE(listener.has_value());
    listener_ = *std::move(listener);
    listener_->start();
    port_ = listener_->port();
  }
  void wait_for_answers(std::size_t n) const {
    for (int i = 0; i < 10'000 && listener_->answering() != n; ++i) {
      std::this_thread::sleep_for(milliseconds(1));
    }
    ASSERT_EQ(listener_->answering(), n);
  }

  TestHandler handler_;
  std::unique_ptr<Listener> listener_;
  int port_ = 0;
};

TEST_F(ListenerDrain, IsOverAtOnceWhenNothingRuns) {
  RawClient idle(port_);
  ASSERT_TRUE(idle.send(kPlain));
  ASSERT_TRUE(idle.read_response().has_value());
  wait_for_answers(0);
  listener_->drain(seconds(30));
  EXPECT_TRUE(listener_->wait_for(seconds(1)));
  EXPECT_TRUE(idle.ends_within(seconds(1)));
  EXPECT_FALSE(RawClient(port_).connected());
}

TEST_F(ListenerDrain, LetsAStreamFinishAndThenEnds) {
  RawClient reader(port_);
  ASSERT_TRUE(reader.send(kStream));
  ASSERT_TRUE(reader.read_head().has_value());
  RawClient idle(port_);
  ASSERT_TRUE(idle.send(kPlain));
  ASSERT_TRUE(idle.read_response().has_value());
  listener_->drain(seconds(30));
  EXPECT_FALSE(listener_->wait_for(milliseconds(50)));
  // A connection that was kept alive is still answered, and told to close.
  ASSERT_TRUE(idle.send(kPlain));
  EXPECT_EQ(idle.read_response()->header("connection"), "close");
  handler_.script.push("all of it", true);
  EXPECT_EQ(reader.read_chunk(), "all of it");
  EXPECT_EQ(reader.read_chunk(), "");
  EXPECT_TRUE(reader.ends_within(seconds(2)));
  reader.close();
  idle.close();
  EXPECT_TRUE(listener_->wait_for(seconds(5)));
}

TEST_F(ListenerDrain, CutsOffWhatIsStillRunningAfterTheGrace) {
  std::vector<RawClient> readers;
  for (int i = 0; i < 8; ++i) {
    readers.emplace_back(port_);
    ASSERT_TRUE(readers.back().send(kStream));
    ASSERT_TRUE(readers.back().read_head().has_value());
  }
  RawClient waiting(port_);
  ASSERT_TRUE(waiting.send(kPending));
  wait_for_answers(9);
  listener_->drain(milliseconds(100));
  for (RawClient& reader : readers) {
    EXPECT_EQ(reader.read_chunk(), "event: error\ndata: {}\n\n");
    EXPECT_EQ(reader.read_chunk(), "");
    EXPECT_TRUE(reader.ends_within(seconds(2)));
  }
  EXPECT_EQ(waiting.read_response()->status, 503);
  EXPECT_TRUE(listener_->wait_for(seconds(5)));
  EXPECT_EQ(handler_.script.alive, 0);
}

TEST_F(ListenerDrain, CanBeShortened) {
  RawClient reader(port_);
  ASSERT_TRUE(reader.send(kStream));
  ASSERT_TRUE(reader.read_head().has_value());
  listener_->drain(seconds(30));
  listener_->drain(milliseconds(0));
  EXPECT_EQ(reader.read_chunk(), "event: error\ndata: {}\n\n");
  EXPECT_TRUE(listener_->wait_for(seconds(5)));
}

TEST_F(ListenerDrain, DoesNotWaitForAClientThatStalls) {
  handler_.script.make_endless();
  RawClient stalled(port_, 1024);
  ASSERT_TRUE(stalled.send(kStream));
  wait_for_answers(1);
  listener_->drain(milliseconds(50));
  EXPECT_TRUE(listener_->wait_for(seconds(5)));
  EXPECT_EQ(handler_.script.alive, 0);
}

TEST_F(ListenerDrain, DestructionEndsEverythingWithoutADrain) {
  RawClient reader(port_);
  ASSERT_TRUE(reader.send(kStream));
  ASSERT_TRUE(reader.read_head().has_value());
  RawClient waiting(port_);
  ASSERT_TRUE(waiting.send(kPending));
  wait_for_answers(2);
  listener_.reset();
  EXPECT_EQ(handler_.script.alive, 0);
  EXPECT_TRUE(reader.ends_within(seconds(1)));
  EXPECT_TRUE(waiting.ends_within(seconds(1)));
}

TEST(ListenerLife, EndsWithoutEverStarting) {
  TestHandler handler;
  auto listener = Listener::create({.port = 0, .threads = 2, .limits = {}}, handler);
  ASSERT_TRUE(listener.has_value());
  (*listener)->drain(seconds(1));
  EXPECT_TRUE((*listener)->wait_for(seconds(1)));
}

}  // namespace
}  // namespace pensieve::http
