// The whole path, socket to socket, on the embedded model: JSON and streams give the reference's
// text, alone and eight at a time; a client that leaves frees its place; and after many mixed
// requests nothing is left behind. Expected texts: tools/tiny-model/artefacts/reference.json, made
// by tools/tiny-model/reference.py.
#include <dirent.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <span>

#include "foundation/json.h"

#include "domain/compute/cpu/cpu_backend.h"

#include "application/http/raw_client.h"
#include "application/server/server.h"

namespace pensieve::server {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr int kPlaces = 8;

// How soon a place must be free. Sanitizers make a step of the engine, and so the wait for its end,
// some ten times longer.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr milliseconds kSoon{2500};
#else
constexpr milliseconds kSoon{250};
#endif
const std::string kArtefacts = PENSIEVE_SOURCE_DIR "/tools/tiny-model/artefacts/";

template <typename T>
T must(Result<T> result) {
  if (!result) ADD_FAILURE() << result.error().message;
  return *std::move(result);
}

// Everything a server needs, on the embedded model.
struct House {
  House() {
    model = must(claude::load(
        must(model::ModelFile::open(kArtefacts + "pensieve-tiny-q4_0.gguf", accountant))));
    engine::EngineOptions options;
    options.max_requests = kPlaces;
    options.prefill_chunk = 32;  // short steps: sanitizers make each some ten times longer
    options.context_length = 8192;
    engine = must(engine::Engine::create(
        [&] {
          return compute::cpu::create_backend(model.file->weights(),
                                              {.n_threads = 1,
                                               .kv = compute::KvType::F16,
                                               .max_context = 8192,
                                               .kv_budget_bytes = std::size_t{256} << 20},
                                              accountant);
        },
        options));
    service = claude::Service::create(model, *engine);
    server = must(Server::create(
        {.port = 0,
         .io_threads = 3,
         .read_memory =
             [] {
               return MemoryState::of(SystemMemory{
                   .total_bytes = 16 * kGiB, .available_bytes = 8 * kGiB, .known = true});
             }},
        ServerInfo{},
        *service,
        engine.get(),
        accountant));
    server->start();
  }
  int busy() const {
    const auto stats = engine->stats();
    return stats.running + stats.waiting;
  }

  Accountant accountant;
  claude::LoadedModel model;
  std::unique_ptr<engine::Engine> engine;
  std::unique_ptr<claude::Service> service;
  std::unique_ptr<Server> server;
};

struct Reference {
  std::string prompt;  // of the user
  std::string text;
  std::size_t n_tokens = 0;
};

// The reference's plain conversations of one user turn.
std::vector<Reference> references() {
  std::ifstream file(kArtefacts + "reference.json");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const Json all = must(parse_json(text));
  constexpr std::string_view kBefore = "<|user|>\n";
  constexpr std::string_view kAfter = "<|end|>\n<|assistant|>\n";
  std::vector<Reference> out;
  for (const Json& one : all["cases"]) {
    const auto prompt = one["prompt"].get<std::string>();
    const bool stopped = one["gguf"]["stopped"].get<bool>();
    if (!prompt.starts_with(kBefore) || !prompt.ends_with(kAfter) || !stopped) continue;
    const auto user = prompt.substr(kBefore.size(), prompt.size() - kBefore.size() - kAfter.size());
    if (user.find("<|") != std::string::npos) continue;
    out.push_back({.prompt = user,
                   .text = one["gguf"]["text"].get<std::string>(),
                   .n_tokens = one["ids"].size()});
  }
  return out;
}

std::string request(const House& house,
                    const std::string& path,
                    const std::string& prompt,
                    bool stream,
                    int max_tokens = 128) {
  const Json body{{"model", "claude-x"},
                  {"max_tokens", max_tokens},
                  {"temperature", 0},
                  {"stream", stream},
                  {"messages", Json::array({Json{{"role", "user"}, {"content", prompt}}})}};
  const std::string text = body.dump();
  return "POST " + path + " HTTP/1.1\r\nHost: 127.0.0.1:" + std::to_string(house.server->port()) +
         "\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(text.size()) +
         "\r\n\r\n" + text;
}

struct Streamed {
  std::string text;
  int input_tokens = 0;  // cached ones included
  bool complete = false;
};

// Reads a stream as a client does: text deltas in order, usage from message_delta.
Streamed read_stream(const std::string& body) {
  Streamed out;
  std::size_t at = 0;
  while (at < body.size()) {
    const auto end = body.find("\n\n", at);
    if (end == std::string::npos) break;
    const std::string event = body.substr(at, end - at);
    at = end + 2;
    const Json data = must(parse_json(event.substr(event.find("\ndata: ") + 7)));
    EXPECT_FALSE(out.complete) << "behind message_stop: " << event;
    EXPECT_NE(data["type"], "error") << event;
    if (data["type"] == "content_block_delta") out.text += data["delta"]["text"];
    if (data["type"] == "message_delta") {
      const Json& usage = data["usage"];
      out.input_tokens = usage["input_tokens"].get<int>() +
                         usage["cache_read_input_tokens"].get<int>() +
                         usage["cache_creation_input_tokens"].get<int>();
    }
    if (data["type"] == "message_stop") out.complete = true;
  }
  return out;
}

bool eventually(const std::function<bool()>& condition, milliseconds limit = milliseconds(60'000)) {
  const auto deadline = Clock::now() + limit;
  while (!condition()) {
    if (Clock::now() >= deadline) return false;
    std::this_thread::sleep_for(milliseconds(1));
  }
  return true;
}

int entries_of(const char* directory) {
  DIR* const open = ::opendir(directory);
  if (open == nullptr) return -1;
  int n = 0;
  while (::readdir(open) != nullptr) ++n;
  ::closedir(open);
  return n;
}

class ServerOnTheModel : public testing::Test {
 protected:
  static void SetUpTestSuite() { house_ = std::make_unique<House>(); }
  static void TearDownTestSuite() { house_.reset(); }
  static http::RawClient client() { return http::RawClient(house_->server->port()); }

  static std::unique_ptr<House> house_;
  static constexpr milliseconds kLong{120'000};
};
std::unique_ptr<House> ServerOnTheModel::house_;

TEST_F(ServerOnTheModel, GivesTheReferencesTextAsJsonAndAsAStream) {
  const auto all = references();
  ASSERT_GE(all.size(), 8U);  // two here; the claude room's tests take all of them
  http::RawClient one = client();
  for (const Reference& reference : std::span(all).first(2)) {
    SCOPED_TRACE(reference.prompt);
    ASSERT_TRUE(one.send(request(*house_, "/v1/messages", reference.prompt, false)));
    const auto plain = one.read_response(false, kLong);
    ASSERT_TRUE(plain.has_value());
    ASSERT_EQ(plain->status, 200) << plain->body;
    const Json message = must(parse_json(plain->body));
    EXPECT_EQ(message["content"][0]["text"], reference.text);
    EXPECT_EQ(message["stop_reason"], "end_turn");
    ASSERT_TRUE(one.send(request(*house_, "/v1/messages?beta=true", reference.prompt, true)));
    const auto stream = one.read_response(false, kLong);
    ASSERT_TRUE(stream.has_value());
    const Streamed streamed = read_stream(stream->body);
    EXPECT_TRUE(streamed.complete);
    EXPECT_EQ(streamed.text, reference.text);
    EXPECT_EQ(static_cast<std::size_t>(streamed.input_tokens), reference.n_tokens);
    ASSERT_TRUE(one.send(request(*house_, "/v1/messages/count_tokens", reference.prompt, false)));
    const auto count = one.read_response();
    ASSERT_TRUE(count.has_value());
    EXPECT_EQ(must(parse_json(count->body))["input_tokens"], reference.n_tokens);
  }
}

TEST_F(ServerOnTheModel, StreamsToEightClientsAtOnceWhatItGivesToOne) {
  const auto all = references();
  std::vector<std::thread> threads;
  std::vector<Streamed> got(kPlaces);
  for (std::size_t i = 0; i < kPlaces; ++i) {
    threads.emplace_back([&, i] {
      http::RawClient one = client();
      one.send(request(*house_, "/v1/messages", all[i % all.size()].prompt, true));
      const auto response = one.read_response(false, kLong);
      if (response) got[i] = read_stream(response->body);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (std::size_t i = 0; i < kPlaces; ++i) {
    EXPECT_TRUE(got[i].complete) << i;
    EXPECT_EQ(got[i].text, all[i % all.size()].text) << i;
  }
}

// All places are taken by long prompts; one more is refused; clients leave one by one, and each
// time the place is soon free. The quickest counts: a busy machine can delay any one of them.
TEST_F(ServerOnTheModel, FreesThePlaceOfAClientThatLeaves) {
  std::string prompt;
  for (int i = 0; i < 500; ++i) prompt += "file" + std::to_string(i) + " ";
  std::vector<http::RawClient> clients;
  for (int i = 0; i < kPlaces; ++i) {
    clients.push_back(client());
    // Each begins differently, so that none is spared its prefill by another.
    ASSERT_TRUE(clients.back().send(
        request(*house_, "/v1/messages", std::to_string(i) + " " + prompt, i % 2 == 0, 256)));
  }
  ASSERT_TRUE(eventually([&] { return house_->busy() == kPlaces; }));
  http::RawClient extra = client();
  ASSERT_TRUE(extra.send(request(*house_, "/v1/messages", "hello", false)));
  const auto refused = extra.read_response();
  ASSERT_TRUE(refused.has_value());
  EXPECT_EQ(refused->status, 529);
  EXPECT_NE(refused->header("retry-after"), "");
  auto quickest = Clock::duration::max();
  for (int busy = kPlaces; busy > kPlaces - 5; --busy) {
    ASSERT_EQ(house_->busy(), busy);
    const auto left = Clock::now();
    clients.back().close();
    clients.pop_back();
    ASSERT_TRUE(eventually([&] { return house_->busy() < busy; }));
    quickest = std::min(quickest, Clock::now() - left);
  }
  EXPECT_LT(quickest, kSoon);
  clients.clear();
  ASSERT_TRUE(eventually([&] { return house_->busy() == 0; }));
  ASSERT_TRUE(extra.send(request(*house_, "/v1/messages", "hello", false)));
  EXPECT_EQ(extra.read_response(false, kLong)->status, 200);
}

TEST_F(ServerOnTheModel, LeavesNothingBehindAfterManyMixedRequests) {
  ASSERT_TRUE(eventually([&] { return house_->server->connections() == 0; }));
  const int descriptors = entries_of("/proc/self/fd");
  const int threads = entries_of("/proc/self/task");
  for (int i = 0; i < 36; ++i) {
    http::RawClient one = client();
    switch (i % 6) {
      case 0:
        one.send(request(*house_, "/v1/messages", "hello", true));
        ASSERT_TRUE(one.read_response(false, kLong).has_value());
        break;
      case 1:
        one.send(request(*house_, "/v1/messages", "hello", false));
        one.close();
        break;
      case 2:
        one.send(request(*house_, "/v1/messages", "hello", true));
        ASSERT_TRUE(one.read_head().has_value());
        one.reset();
        break;
      case 3:
        one.send("GET /broken\r\n\r\n");
        EXPECT_EQ(one.read_response()->status, 400);
        break;
      case 4:
        one.send(request(*house_, "/v1/messages/count_tokens", "hello", false));
        EXPECT_EQ(one.read_response()->status, 200);
        break;
      default:
        one.send(request(*house_, "/nowhere", "hello", false));
        EXPECT_EQ(one.read_response()->status, 404);
    }
  }
  EXPECT_TRUE(eventually([&] { return house_->busy() == 0; }));
  EXPECT_TRUE(eventually([&] { return house_->server->connections() == 0; }));
  EXPECT_EQ(entries_of("/proc/self/fd"), descriptors);
  EXPECT_EQ(entries_of("/proc/self/task"), threads);
  EXPECT_EQ(house_->accountant.held(MemoryUse::Connections), 0U);
}

TEST_F(ServerOnTheModel, DrainsWithARunningStream) {
  http::RawClient one = client();
  ASSERT_TRUE(one.send(request(*house_, "/v1/messages", "who are you?", true)));
  ASSERT_TRUE(one.read_head().has_value());
  house_->server->drain(std::chrono::seconds(60));
  std::string body;
  while (true) {
    const auto piece = one.read_chunk(kLong);
    ASSERT_TRUE(piece.has_value());
    if (piece->empty()) break;
    body += *piece;
  }
  EXPECT_TRUE(read_stream(body).complete);
  EXPECT_TRUE(house_->server->wait_for(milliseconds(5000)));
}

}  // namespace
}  // namespace pensieve::server
