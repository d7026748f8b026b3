// A listener whose answers run out of memory: the client is told so, whatever had been sent before,
// and the next one is served.
#include <gtest/gtest.h>

#include "application/http/internal/test_handler.h"
#include "application/http/listener.h"
#include "application/http/raw_client.h"

namespace pensieve::http {
namespace {

class ListenerWithoutMemory : public testing::Test {
 protected:
  void SetUp() override {
    auto listener = Listener::create({.port = 0, .threads = 2}, handler_);
    ASSERT_TRUE(listener.has_value()) << listener.error().message;
    listener_ = *std::move(listener);
    listener_->start();
  }
  RawClient ask(const std::string& path) {
    RawClient client(listener_->port());
    EXPECT_TRUE(client.send("GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n"));
    return client;
  }
  int status_of(const std::string& path) {
    const auto response = ask(path).read_response();
    return response ? response->status : 0;
  }

  TestHandler handler_;
  std::unique_ptr<Listener> listener_;
};

TEST_F(ListenerWithoutMemory, AnswersWithAnErrorWhenTheRequestCannotBeHandled) {
  EXPECT_EQ(status_of("/no-memory"), 500);
  EXPECT_EQ(status_of("/x"), 200);
}

TEST_F(ListenerWithoutMemory, AnswersWithAnErrorWhenALateAnswerCannotBeMade) {
  RawClient client = ask("/pending");
  handler_.script.run_out_of_memory();
  const auto response = client.read_response();
  ASSERT_TRUE(response.has_value());
  EXPECT_EQ(response->status, 500);
  EXPECT_EQ(handler_.script.alive, 0);
}

TEST_F(ListenerWithoutMemory, EndsAStreamWithAnEventThatSaysSo) {
  RawClient client = ask("/stream");
  ASSERT_TRUE(client.read_head().has_value());
  handler_.script.push("event: a\ndata: {}\n\n");
  EXPECT_EQ(client.read_chunk(), "event: a\ndata: {}\n\n");
  handler_.script.run_out_of_memory();
  EXPECT_EQ(client.read_chunk(), "event: error\ndata: {}\n\n");
  EXPECT_EQ(client.read_chunk(), "");
  EXPECT_TRUE(client.ends_within(std::chrono::seconds(10)));
}

// Not even the error can be put into words: one that was written beforehand is sent.
TEST_F(ListenerWithoutMemory, HasLastWordsWhenNotEvenARefusalCanBeMade) {
  handler_.no_memory_to_refuse = true;
  RawClient client = ask("/no-memory");
  const auto response = client.read_response();
  ASSERT_TRUE(response.has_value());
  EXPECT_EQ(response->status, 500);
  EXPECT_EQ(response->header("content-type"), "application/json");
  EXPECT_EQ(response->body.back(), '}');
  EXPECT_TRUE(client.ends_within(std::chrono::seconds(10)));
  EXPECT_EQ(status_of("/x"), 200);
}

TEST_F(ListenerWithoutMemory, FindsAnAnswerThatCouldNotAnnounceItself) {
  RawClient pending = ask("/pending");
  RawClient stream = ask("/stream");
  ASSERT_TRUE(stream.read_head().has_value());
  handler_.script.push_unannounced({.bytes = "one", .finished = true});
  handler_.script.push_unannounced({.bytes = "two", .finished = true});
  const auto response = pending.read_response();
  ASSERT_TRUE(response.has_value());
  const auto piece = stream.read_chunk();
  ASSERT_TRUE(piece.has_value());
  EXPECT_TRUE((response->body == "one" && *piece == "two") ||
              (response->body == "two" && *piece == "one"));
}

}  // namespace
}  // namespace pensieve::http
