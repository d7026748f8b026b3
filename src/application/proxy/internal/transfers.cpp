// One thread drives every transfer: an answer of a language model is minutes of waiting for a few
// bytes, so a thread for each would only wait; and a reader that leaves has its connection closed
// within one wake-up, wherever the transfer stands. Bytes are handed over in a bounded buffer; when
// it is full, libcurl pauses, and the upstream feels the slow reader through TCP.
#include "application/proxy/internal/transfers.h"

#include <curl/curl.h>

#include <algorithm>
#include <charconv>
#include <condition_variable>
#include <mutex>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "foundation/log.h"
#include "foundation/text.h"

namespace pensieve::proxy {
namespace {

using Clock = std::chrono::steady_clock;

struct EasyDeleter {
  void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
};
struct ListDeleter {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
using Easy = std::unique_ptr<CURL, EasyDeleter>;
using HeaderList = std::unique_ptr<curl_slist, ListDeleter>;

// What the reader and the thread share. Neither has to outlive the other.
struct Exchange {
  explicit Exchange(std::size_t buffer_limit) : buffered_bytes(buffer_limit) {}

  // Under the mutex, `ready` included: once replaced it is not called any more.
  void changed() {
    news = true;
    rang.notify_all();
    if (ready) ready();
  }

  const std::size_t buffered_bytes;
  std::mutex mutex;
  std::condition_variable rang;
  std::function<void()> ready;
  Received received;
  bool news = false;
  bool paused = false;    // the thread waits for take()
  bool resumed = false;   // take() made room
  bool unwanted = false;  // the reader is gone
};

// The thread's side of one transfer.
struct Job {
  TransferRequest request;
  std::shared_ptr<Exchange> exchange;
  Easy easy;
  HeaderList headers;
  Clock::time_point last_byte;
  // The head that is being read: responses with 1xx statuses come before the real one.
  int status = 0;
  int retry_after_s = 0;
  bool is_events = false;
};

// Shared with transfers that outlive the object.
struct Inbox {
  std::mutex mutex;
  std::vector<std::unique_ptr<Job>> fresh;
  bool stopping = false;
  std::size_t running = 0;
  CURLM* multi = nullptr;  // null once the thread is gone

  // Any thread. REQUIRES: `mutex` is held: the handle lives as long as it is set.
  void wake_locked() {
    if (multi != nullptr) curl_multi_wakeup(multi);
  }
  void wake() {
    const std::lock_guard lock(mutex);
    wake_locked();
  }
};

bool starts_with_ignoring_case(std::string_view text, std::string_view lower_prefix) {
  if (text.size() < lower_prefix.size()) return false;
  return std::equal(lower_prefix.begin(), lower_prefix.end(), text.begin(), [](char a, char b) {
    return a == (b >= 'A' && b <= 'Z' ? static_cast<char>(b - 'A' + 'a') : b);
  });
}

// Seconds; a date, the other form (RFC 9110, 10.2.3), reads as none.
int seconds_in(std::string_view text) {
  int seconds = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), seconds);
  return parsed.ec == std::errc() && parsed.ptr == text.data() + text.size() ? seconds : 0;
}

// Called for every line of every head, status lines and the empty line among them.
std::size_t on_header(char* data, std::size_t size, std::size_t count, void* user) {
  Job& job = *static_cast<Job*>(user);
  const std::size_t length = size * count;
  const std::string_view line(data, length);
  job.last_byte = Clock::now();
  if (line.starts_with("HTTP/")) {
    const auto space = line.find(' ');
    job.status = space == std::string_view::npos ? 0 : seconds_in(line.substr(space + 1, 3));
    job.retry_after_s = 0;
    job.is_events = false;
    return length;
  }
  if (starts_with_ignoring_case(line, "retry-after:")) {
    job.retry_after_s = seconds_in(trimmed(line.substr(line.find(':') + 1)));
  } else if (starts_with_ignoring_case(line, "content-type:")) {
    const std::string_view type = trimmed(line.substr(line.find(':') + 1));
    job.is_events = starts_with_ignoring_case(type, "text/event-stream");
  }
  if (trimmed(line).empty() && job.status >= 200) {
    const std::lock_guard lock(job.exchange->mutex);
    Received& received = job.exchange->received;
    received.status = job.status;
    received.retry_after_s = job.retry_after_s;
    received.is_events = job.is_events;
    job.exchange->changed();
  }
  return length;
}

std::size_t on_body(char* data, std::size_t size, std::size_t count, void* user) {
  Job& job = *static_cast<Job*>(user);
  const std::size_t length = size * count;
  job.last_byte = Clock::now();
  Exchange& exchange = *job.exchange;
  const std::lock_guard lock(exchange.mutex);
  if (exchange.received.bytes.size() >= exchange.buffered_bytes) {
    exchange.paused = true;
    return CURL_WRITEFUNC_PAUSE;  // the same bytes come again
  }
  exchange.received.bytes.append(data, length);
  exchange.changed();
  return length;
}

Error curl_error(CURLcode code, const std::string& url) {
  std::string sentence = "the upstream " + url;
  switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
      sentence += " cannot be reached: its host name is not known";
      break;
    case CURLE_COULDNT_CONNECT:
      sentence += " cannot be reached: the connection was refused; is it running?";
      break;
    case CURLE_OPERATION_TIMEDOUT:
      sentence += " cannot be reached: connecting took too long";
      break;
    case CURLE_GOT_NOTHING:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_PARTIAL_FILE:
      sentence += " closed the connection";
      break;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CONNECT_ERROR:
      sentence += std::string(" cannot be trusted: ") + curl_easy_strerror(code);
      break;
    default:
      sentence += std::string(" cannot be used: ") + curl_easy_strerror(code);
  }
  return {.kind = ErrorKind::Unavailable, .message = std::move(sentence), .retry_after_s = 1};
}

class HandedTransfer final : public Transfer {
 public:
  HandedTransfer(std::shared_ptr<Exchange> exchange, std::shared_ptr<Inbox> inbox)
      : exchange_(std::move(exchange)), inbox_(std::move(inbox)) {}

  ~HandedTransfer() override {
    {
      const std::lock_guard lock(exchange_->mutex);
      exchange_->ready = nullptr;
      exchange_->unwanted = true;
      if (exchange_->received.over) return;
    }
    inbox_->wake();
  }

  Received take() override {
    bool resume = false;
    Received taken;
    {
      const std::lock_guard lock(exchange_->mutex);
      std::string bytes = std::exchange(exchange_->received.bytes, {});
      taken = exchange_->received;
      taken.bytes = std::move(bytes);
      exchange_->news = false;
      if (exchange_->paused) {
        exchange_->paused = false;
        exchange_->resumed = true;
        resume = true;
      }
    }
    if (resume) inbox_->wake();
    return taken;
  }

  void on_ready(std::function<void()> ready) override {
    const std::lock_guard lock(exchange_->mutex);
    exchange_->ready = std::move(ready);
    if (exchange_->news && exchange_->ready) exchange_->ready();
  }

  void wait(std::chrono::milliseconds limit) override {
    std::unique_lock lock(exchange_->mutex);
    exchange_->rang.wait_for(lock, limit, [&] { return exchange_->news; });
  }

 private:
  const std::shared_ptr<Exchange> exchange_;
  const std::shared_ptr<Inbox> inbox_;
};

class CurlTransfers final : public Transfers {
 public:
  explicit CurlTransfers(const TransferLimits& limits)
      : limits_(limits), inbox_(std::make_shared<Inbox>()) {}

  bool begin() {
    // Once for the process, by a static: libcurl asks for it before any of its threads.
    static const CURLcode kReady = curl_global_init(CURL_GLOBAL_DEFAULT);
    if (kReady != CURLE_OK) return false;
    multi_ = curl_multi_init();
    if (multi_ == nullptr) return false;
    inbox_->multi = multi_;
    thread_ = std::thread([this] { run(); });
    return true;
  }

  ~CurlTransfers() override {
    if (!thread_.joinable()) return;
    {
      const std::lock_guard lock(inbox_->mutex);
      inbox_->stopping = true;
      inbox_->wake_locked();
    }
    thread_.join();
    curl_multi_cleanup(multi_);
  }

  Result<std::unique_ptr<Transfer>> start(TransferRequest request) override {
    auto job = std::make_unique<Job>();
    job->request = std::move(request);
    job->exchange = std::make_shared<Exchange>(limits_.buffered_bytes);
    auto transfer = std::make_unique<HandedTransfer>(job->exchange, inbox_);
    const std::lock_guard lock(inbox_->mutex);
    if (inbox_->running >= limits_.transfers) {
      return Error{.kind = ErrorKind::Overloaded,
                   .message = std::to_string(limits_.transfers) +
                              " requests are with the upstream already; try again in a moment",
                   .retry_after_s = 1};
    }
    ++inbox_->running;
    inbox_->fresh.push_back(std::move(job));
    inbox_->wake_locked();
    return std::unique_ptr<Transfer>(std::move(transfer));
  }

  std::size_t running() const override {
    const std::lock_guard lock(inbox_->mutex);
    return inbox_->running;
  }

 private:
  void run() {
    while (take_orders()) {
      int active = 0;
      curl_multi_perform(multi_, &active);
      collect();
      look_after_jobs();
      // A second is how late a quiet upstream may be noticed; all else wakes the poll up.
      curl_multi_poll(multi_, nullptr, 0, 1000, nullptr);
    }
    while (!jobs_.empty()) {
      end(jobs_.begin()->first,
          Error{.kind = ErrorKind::Cancelled,
                .message = "The server is shutting down; try again in a moment.",
                .retry_after_s = 5});
    }
    const std::lock_guard lock(inbox_->mutex);
    inbox_->multi = nullptr;
  }

  // New jobs become handles. False when it is time to stop.
  bool take_orders() {
    std::vector<std::unique_ptr<Job>> fresh;
    bool stopping = false;
    {
      const std::lock_guard lock(inbox_->mutex);
      fresh.swap(inbox_->fresh);
      stopping = inbox_->stopping;
    }
    for (auto& job : fresh) begin_job(std::move(job));
    return !stopping;
  }

  void begin_job(std::unique_ptr<Job> job) {
    job->easy.reset(curl_easy_init());
    CURL* handle = job->easy.get();
    Job& kept = *job;
    jobs_.emplace(handle, std::move(job));
    if (handle == nullptr || !prepare(kept) || curl_multi_add_handle(multi_, handle) != CURLM_OK) {
      end(handle, Error{.kind = ErrorKind::Internal, .message = "libcurl has no memory left"});
    }
  }

  bool prepare(Job& job) const {
    CURL* handle = job.easy.get();
    bool good = true;
    const auto set = [&](CURLoption option, auto value) {
      good = curl_easy_setopt(handle, option, value) == CURLE_OK && good;
    };
    const auto add = [&](const std::string& line) {
      curl_slist* longer = curl_slist_append(job.headers.get(), line.c_str());
      if (longer == nullptr) {
        good = false;
        return;
      }
      static_cast<void>(job.headers.release());
      job.headers.reset(longer);
    };
    if (!job.request.body.empty()) {
      add("Content-Type: application/json");
      add("Accept: text/event-stream, application/json");
      add("Expect:");  // the body goes at once
      set(CURLOPT_POST, 1L);
      set(CURLOPT_POSTFIELDS, job.request.body.c_str());
      set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(job.request.body.size()));
    }
    if (!job.request.key.empty()) add("Authorization: Bearer " + job.request.key);
    set(CURLOPT_HTTPHEADER, job.headers.get());
    set(CURLOPT_URL, job.request.url.c_str());
    set(CURLOPT_PROTOCOLS_STR, "http,https");
    if (job.request.direct) set(CURLOPT_PROXY, "");
    set(CURLOPT_FOLLOWLOCATION, 0L);  // the key would go along
    set(CURLOPT_NETRC, static_cast<long>(CURL_NETRC_IGNORED));
    // Leaving has to close the connection, which every server understands; a stream of HTTP/2 that
    // is reset would leave it open.
    set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
    set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(limits_.connect.count()));
    set(CURLOPT_NOSIGNAL, 1L);
    set(CURLOPT_USERAGENT, "pensieve");
    set(CURLOPT_HEADERFUNCTION, on_header);
    set(CURLOPT_HEADERDATA, static_cast<void*>(&job));
    set(CURLOPT_WRITEFUNCTION, on_body);
    set(CURLOPT_WRITEDATA, static_cast<void*>(&job));
    job.last_byte = Clock::now();
    return good;
  }

  void collect() {
    int left = 0;
    while (const CURLMsg* message = curl_multi_info_read(multi_, &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      CURL* handle = message->easy_handle;
      const CURLcode code = message->data.result;  // the message goes with the handle
      const auto found = jobs_.find(handle);
      if (found == jobs_.end()) continue;
      std::optional<Error> error;
      if (code != CURLE_OK) error = curl_error(code, found->second->request.url);
      end(handle, std::move(error));
    }
  }

  // Readers that left, readers that made room, upstreams that fell silent.
  void look_after_jobs() {
    std::vector<CURL*> gone, silent, resumed;
    const auto now = Clock::now();
    for (const auto& [handle, job] : jobs_) {
      const std::lock_guard lock(job->exchange->mutex);
      if (job->exchange->unwanted) {
        gone.push_back(handle);
      } else if (std::exchange(job->exchange->resumed, false)) {
        job->last_byte = now;
        resumed.push_back(handle);
      } else if (!job->exchange->paused && now - job->last_byte > limits_.quiet) {
        silent.push_back(handle);
      }
    }
    for (CURL* handle : gone) end(handle, std::nullopt);
    for (CURL* handle : silent) {
      const auto quiet_s = std::chrono::duration_cast<std::chrono::seconds>(limits_.quiet).count();
      end(handle,
          Error{.kind = ErrorKind::Unavailable,
                .message = "the upstream " + jobs_.at(handle)->request.url + " sent nothing for " +
                           std::to_string(quiet_s) + " s",
                .retry_after_s = 1});
    }
    for (CURL* handle : resumed) curl_easy_pause(handle, CURLPAUSE_CONT);
  }

  // Takes the handle out, which closes its connection unless the transfer was complete, and tells
  // the reader.
  void end(CURL* handle, std::optional<Error> error) {
    const auto found = jobs_.find(handle);
    if (handle != nullptr) curl_multi_remove_handle(multi_, handle);
    {
      Exchange& exchange = *found->second->exchange;
      const std::lock_guard lock(exchange.mutex);
      exchange.received.over = true;
      exchange.received.error = std::move(error);
      exchange.changed();
    }
    jobs_.erase(found);
    const std::lock_guard lock(inbox_->mutex);
    --inbox_->running;
  }

  const TransferLimits limits_;
  const std::shared_ptr<Inbox> inbox_;
  CURLM* multi_ = nullptr;
  std::unordered_map<CURL*, std::unique_ptr<Job>> jobs_;  // the thread's own
  std::thread thread_;
};

}  // namespace

Result<std::unique_ptr<Transfers>> Transfers::create(const TransferLimits& limits) {
  auto transfers = std::make_unique<CurlTransfers>(limits);
  if (!transfers->begin()) {
    return Error{.kind = ErrorKind::Internal, .message = "libcurl cannot be set up"};
  }
  return std::unique_ptr<Transfers>(std::move(transfers));
}

}  // namespace pensieve::proxy
