#include "application/cli/curl_fetch.h"

#include <curl/curl.h>

#include <charconv>
#include <memory>
#include <string>
#include <string_view>

#include "foundation/text.h"

namespace pensieve::cli {
namespace {

struct EasyDeleter {
  void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
};
struct ListDeleter {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
struct UrlDeleter {
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
};
struct TextDeleter {
  void operator()(char* text) const { curl_free(text); }
};
using EasyHandle = std::unique_ptr<CURL, EasyDeleter>;
using HeaderList = std::unique_ptr<curl_slist, ListDeleter>;

constexpr long kBufferBytes = 512L * 1024;  // the most that libcurl takes; fewer, larger writes

// One call of the function: the head as it is read, and whether it is over.
struct Exchange {
  const store::FetchRequest& request;
  const store::FetchSink& sink;
  store::FetchHead head{};
  bool head_over = false;
  bool refused = false;
  bool stopped = false;
};

template <typename T>
std::optional<T> number_in(std::string_view text) {
  T number{};
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
  if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size()) return std::nullopt;
  return number;
}

std::string unquoted(std::string_view tag) {
  if (tag.starts_with("W/")) tag.remove_prefix(2);
  if (tag.size() >= 2 && tag.front() == '"' && tag.back() == '"')
    tag = tag.substr(1, tag.size() - 2);
  return std::string(tag);
}

// RFC 3986, 5: a Location may be relative to the URL that was asked.
std::string resolved(const std::string& base, const std::string& location) {
  const std::unique_ptr<CURLU, UrlDeleter> url(curl_url());
  char* text = nullptr;
  if (url == nullptr || curl_url_set(url.get(), CURLUPART_URL, base.c_str(), 0) != CURLUE_OK ||
      curl_url_set(url.get(), CURLUPART_URL, location.c_str(), CURLU_NON_SUPPORT_SCHEME) !=
          CURLUE_OK ||
      curl_url_get(url.get(), CURLUPART_URL, &text, 0) != CURLUE_OK) {
    return location;
  }
  const std::unique_ptr<char, TextDeleter> owned(text);
  return text;
}

void read_field(Exchange& exchange, std::string_view line) {
  const auto colon = line.find(':');
  if (colon == std::string_view::npos) return;
  const std::string name = lower_ascii(line.substr(0, colon));
  const std::string value(trimmed(line.substr(colon + 1)));
  store::FetchHead& head = exchange.head;
  if (name == "content-length") head.content_length = number_in<std::uint64_t>(value);
  if (name == "content-range") head.content_range = value;
  if (name == "content-type") head.content_type = lower_ascii(value);
  if (name == "content-encoding") head.content_encoding = lower_ascii(value);
  if (name == "etag") head.etag = value;
  if (name == "retry-after") head.retry_after_s = number_in<int>(value).value_or(0);
  if (name == "location") head.redirect_url = resolved(exchange.request.url, value);
  if (name == "x-linked-etag") head.linked_etag = unquoted(value);
  if (name == "x-linked-size") head.linked_size = number_in<std::uint64_t>(value);
  if (name == "x-repo-commit") head.commit = value;
}

// Called for every line of every head: interim responses (1xx) come before the real one, trailers
// behind the body.
std::size_t on_header(char* data, std::size_t size, std::size_t count, void* user) {
  Exchange& exchange = *static_cast<Exchange*>(user);
  const std::string_view line(data, size * count);
  if (exchange.head_over) return line.size();
  if (line.starts_with("HTTP/")) {
    exchange.head = {};
    const auto space = line.find(' ');
    if (space != std::string_view::npos)
      exchange.head.status = number_in<int>(line.substr(space + 1, 3)).value_or(0);
  } else if (!trimmed(line).empty()) {
    read_field(exchange, line);
  } else if (exchange.head.status >= 200) {
    exchange.head_over = true;
    exchange.refused = !exchange.sink.head(exchange.head);
    if (exchange.refused) return 0;
  }
  return line.size();
}

std::size_t on_body(char* data, std::size_t size, std::size_t count, void* user) {
  Exchange& exchange = *static_cast<Exchange*>(user);
  const std::span<const char> bytes(data, size * count);
  exchange.refused = !exchange.sink.body(std::as_bytes(bytes));
  return exchange.refused ? 0 : bytes.size();
}

int on_progress(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  Exchange& exchange = *static_cast<Exchange*>(user);
  exchange.stopped = exchange.sink.stopped && exchange.sink.stopped();
  return exchange.stopped ? 1 : 0;
}

bool add(HeaderList& list, const std::string& line) {
  curl_slist* longer = curl_slist_append(list.get(), line.c_str());
  if (longer == nullptr) return false;
  static_cast<void>(list.release());
  list.reset(longer);
  return true;
}

bool prepare(CURL* handle, Exchange& exchange, HeaderList& headers, const FetchLimits& limits) {
  curl_easy_reset(handle);  // options only: connections stay
  bool good = true;
  const auto set = [&](CURLoption option, auto value) {
    good = curl_easy_setopt(handle, option, value) == CURLE_OK && good;
  };
  const store::FetchRequest& request = exchange.request;
  good = add(headers, "Accept-Encoding: identity") && good;
  if (request.offset > 0) {
    good = add(headers, "Range: bytes=" + std::to_string(request.offset) + "-") && good;
    if (!request.if_range.empty()) good = add(headers, "If-Range: " + request.if_range) && good;
  }
  if (!request.bearer.empty()) {
    good = add(headers, "Authorization: Bearer " + request.bearer) && good;
  }
  set(CURLOPT_HTTPHEADER, headers.get());
  set(CURLOPT_HEADEROPT, static_cast<long>(CURLHEADER_SEPARATE));  // not for a proxy's eyes
  set(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  set(CURLOPT_URL, request.url.c_str());
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  set(CURLOPT_FOLLOWLOCATION, 0L);
  set(CURLOPT_NETRC, static_cast<long>(CURL_NETRC_IGNORED));
  set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(limits.connect.count()));
  set(CURLOPT_LOW_SPEED_LIMIT, 1L);
  set(CURLOPT_LOW_SPEED_TIME, static_cast<long>(limits.stall.count()));
  set(CURLOPT_BUFFERSIZE, kBufferBytes);
  set(CURLOPT_NOSIGNAL, 1L);
  // Else a limit or Ctrl-C waits for the resolver's thread: 10 s instead of 5 with a name server
  // that says nothing (measured with libcurl 7.88). The thread ends by itself.
  set(CURLOPT_QUICK_EXIT, 1L);
  set(CURLOPT_USERAGENT, "pensieve");
  set(CURLOPT_HEADERFUNCTION, on_header);
  set(CURLOPT_HEADERDATA, static_cast<void*>(&exchange));
  set(CURLOPT_WRITEFUNCTION, on_body);
  set(CURLOPT_WRITEDATA, static_cast<void*>(&exchange));
  set(CURLOPT_NOPROGRESS, 0L);
  set(CURLOPT_XFERINFOFUNCTION, on_progress);
  set(CURLOPT_XFERINFODATA, static_cast<void*>(&exchange));
  return good;
}

store::FetchOutcome outcome_of(CURLcode code, const Exchange& exchange, const FetchLimits& limits) {
  using store::FetchEnd;
  if (exchange.stopped) return {.end = FetchEnd::Stopped, .what = {}};
  if (exchange.refused) return {.end = FetchEnd::Refused, .what = {}};
  const bool any = exchange.head.status != 0;
  const auto unreachable = [&](std::string why) {
    return store::FetchOutcome{.end = FetchEnd::Unreachable,
                               .what = "cannot be reached: " + std::move(why)};
  };
  switch (code) {
    case CURLE_OK:
      return {.end = FetchEnd::Complete, .what = {}};
    case CURLE_COULDNT_RESOLVE_HOST:
      return unreachable("its name is not known here");
    case CURLE_COULDNT_RESOLVE_PROXY:
      return unreachable("the proxy's name is not known here");
    case CURLE_COULDNT_CONNECT:
      return unreachable("nothing takes the connection");
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
      return unreachable(curl_easy_strerror(code));
    case CURLE_OPERATION_TIMEDOUT:
      if (!any) return unreachable("no answer in time");
      return {.end = FetchEnd::Broken,
              .what = "sent nothing for " + std::to_string(limits.stall.count()) + " s"};
    case CURLE_PARTIAL_FILE:
    case CURLE_GOT_NOTHING:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
      return {.end = FetchEnd::Broken, .what = "closed the connection too early"};
    default:
      return {.end = any ? FetchEnd::Broken : FetchEnd::Unreachable,
              .what = std::string("cannot be used: ") + curl_easy_strerror(code)};
  }
}

}  // namespace

store::Fetch curl_fetch(const FetchLimits& limits) {
  static const CURLcode kReady = curl_global_init(CURL_GLOBAL_DEFAULT);
  const auto kept = std::make_shared<EasyHandle>();  // its connections outlive a call
  return [kept, limits](const store::FetchRequest& request,
                        const store::FetchSink& sink) -> store::FetchOutcome {
    EasyHandle& handle = *kept;
    if (handle == nullptr && kReady == CURLE_OK) handle.reset(curl_easy_init());
    Exchange exchange{.request = request, .sink = sink};
    HeaderList headers;
    if (handle == nullptr || !prepare(handle.get(), exchange, headers, limits)) {
      return {.end = store::FetchEnd::Unreachable, .what = "libcurl cannot be set up"};
    }
    const CURLcode code = curl_easy_perform(handle.get());
    // A handle that failed to find a name takes no options any more (libcurl 7.88: its buffer stays
    // allocated), and of one that failed otherwise no connection is worth keeping.
    if (code != CURLE_OK) handle.reset();
    return outcome_of(code, exchange, limits);
  };
}

}  // namespace pensieve::cli
