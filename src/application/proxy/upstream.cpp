#include "application/proxy/upstream.h"

#include <curl/curl.h>

#include <algorithm>
#include <atomic>
#include <climits>
#include <utility>

#include "foundation/json.h"
#include "foundation/log.h"
#include "foundation/text.h"

#include "application/http/message.h"
#include "application/proxy/internal/transfers.h"
#include "application/proxy/internal/upstream_answer.h"
#include "application/proxy/internal/upstream_request.h"
#include "application/proxy/openai_request.h"

namespace pensieve::proxy {
namespace {

// What a token of English and code has in the vocabularies of today, JSON around it included.
constexpr double kFirstBytesPerToken = 3.5;
constexpr std::size_t kMaxListBytes = std::size_t{4} << 20;

Error bad_url(const std::string& url, std::string_view what) {
  std::string sentence = "the upstream \"" + printable(url) + "\" ";
  sentence += what;
  return {.kind = ErrorKind::InvalidRequest, .message = std::move(sentence)};
}

struct UrlParts {
  std::string scheme, host, user, query, fragment, path;
};

struct Base {
  std::string url;
  bool loopback = false;  // which no proxy can reach
};

// "http://host:8000" -> "http://host:8000/v1"; a path that is there is kept.
Result<Base> base_of(const std::string& url) {
  CURLU* parsed = curl_url();
  if (parsed == nullptr) return bad_url(url, "cannot be read: no memory");
  const CURLUcode code = curl_url_set(parsed, CURLUPART_URL, url.c_str(), 0);
  const auto part = [&](CURLUPart which) {
    char* text = nullptr;
    std::string copy;
    if (curl_url_get(parsed, which, &text, 0) == CURLUE_OK && text != nullptr) copy = text;
    curl_free(text);
    return copy;
  };
  const UrlParts parts{.scheme = part(CURLUPART_SCHEME),
                       .host = part(CURLUPART_HOST),
                       .user = part(CURLUPART_USER) + part(CURLUPART_PASSWORD),
                       .query = part(CURLUPART_QUERY),
                       .fragment = part(CURLUPART_FRAGMENT),
                       .path = part(CURLUPART_PATH)};
  curl_url_cleanup(parsed);
  if (code != CURLUE_OK || (parts.scheme != "http" && parts.scheme != "https")) {
    return Error{.kind = ErrorKind::InvalidRequest,
                 .message = "the upstream \"" + printable(url) +
                            "\" is no address like http://host:8000 or https://host/v1"};
  }
  if (!parts.user.empty()) {
    return Error{.kind = ErrorKind::InvalidRequest,
                 .message =
                     "the upstream's address must not hold a password: set "
                     "PENSIEVE_UPSTREAM_KEY"};
  }
  if (!parts.query.empty() || !parts.fragment.empty()) {
    return bad_url(url, "must end with its path, without ? or #");
  }
  std::string base = url;
  while (base.ends_with('/')) base.pop_back();
  if (parts.path.empty() || parts.path == "/") base += "/v1";
  return Base{.url = std::move(base), .loopback = http::is_loopback_host(parts.host)};
}

// Visible ASCII, as a header's value takes it (RFC 9110, 5.5).
bool is_good_key(std::string_view key) {
  return std::all_of(key.begin(), key.end(), [](char c) { return c > 0x20 && c < 0x7f; });
}

struct ListedModel {
  std::string id;
  int context_length = 0;
};

int positive(const Json& object, const char* name) {
  const auto field = object.find(name);
  if (field == object.end() || !field->is_number_integer()) return 0;
  const auto value = field->get<std::int64_t>();
  return value > 0 && value <= INT_MAX ? static_cast<int>(value) : 0;
}

// The window is no field of OpenAI's own list: max_model_len is vLLM's and SGLang's, context_length
// that of hosted ones, meta.n_ctx llama.cpp's.
int window_of(const Json& model) {
  for (const char* name : {"max_model_len", "context_length", "context_window"}) {
    if (const int window = positive(model, name)) return window;
  }
  const auto meta = model.find("meta");
  if (meta == model.end() || !meta->is_object()) return 0;
  const int window = positive(*meta, "n_ctx");
  return window > 0 ? window : positive(*meta, "n_ctx_train");
}

// The model named `wanted`, or the first if that is empty. An empty id when there is none.
ListedModel model_in(std::string_view list, const std::string& wanted) {
  const auto json = parse_json(list);
  if (!json || !json->is_object()) return {};
  const auto data = json->find("data");
  if (data == json->end() || !data->is_array()) return {};
  for (const Json& model : *data) {
    if (!model.is_object() || !model.contains("id") || !model["id"].is_string()) continue;
    const auto id = model["id"].get<std::string>();
    if (wanted.empty() || id == wanted) return {.id = id, .context_length = window_of(model)};
  }
  return {};
}

class UpstreamService final : public Upstream {
 public:
  UpstreamService(const UpstreamOptions& options, Base base, std::unique_ptr<Transfers> transfers)
      : base_(std::move(base)),
        name_{.url = options.url, .key = options.key},
        model_(options.model),
        context_length_(options.context_length),
        transfers_(std::move(transfers)) {}

  // See create().
  Result<void> look_up(const UpstreamOptions& options) {
    const auto listed = list_models(options.start_limit);
    if (!listed) {
      if (model_.empty()) return listed.error();
      log_warning(listed.error().message);
      return {};
    }
    const ListedModel model = model_in(*listed, model_);
    if (model.id.empty() && model_.empty()) {
      return Error{.kind = ErrorKind::Unavailable,
                   .message = "the upstream " + name_.url +
                              " lists no model: name one with --upstream-model"};
    }
    if (model_.empty()) model_ = model.id;
    if (context_length_ == 0) context_length_ = model.context_length;
    return {};
  }

  Result<std::unique_ptr<claude::Answer>> answer(const api::MessagesRequest& request,
                                                 std::string_view) override {
    std::string body = chat_body(request, model_);
    const std::size_t body_bytes = body.size();
    UpstreamAnswerSetup setup = setup_for(request);
    setup.counted = [this, body_bytes](int tokens) { learn(body_bytes, tokens); };
    // Kept until the upstream has taken the request, and only where asking again could help.
    if (request.max_tokens != kWhatTheWindowLeaves) {
      setup.again = [this, request](int max_tokens) {
        return send("/chat/completions", chat_body(request, model_, max_tokens));
      };
    }
    PENSIEVE_TRY(auto transfer, send("/chat/completions", std::move(body)));
    return make_upstream_answer(std::move(setup), std::move(transfer));
  }

  Result<std::unique_ptr<claude::Answer>> complete(const api::MessagesRequest& request,
                                                   std::string_view prompt,
                                                   std::string_view) override {
    PENSIEVE_TRY(auto transfer, send("/completions", completion_body(request, prompt, model_)));
    return make_upstream_answer(setup_for(request), std::move(transfer));
  }

  Result<int> count_tokens(const api::MessagesRequest& request) override {
    const double tokens =
        static_cast<double>(chat_body(request, model_).size()) / bytes_per_token_.load();
    return std::max(1, static_cast<int>(std::min(tokens, static_cast<double>(INT_MAX))));
  }

  Result<std::vector<TokenId>> encode(const chat::Prompt&) override {
    return Error{.kind = ErrorKind::NotImplemented,
                 .message = "the upstream does not show its tokens"};
  }

  const std::string& model() const override { return model_; }
  int context_length() const override { return context_length_; }
  const std::string& url() const override { return name_.url; }

 private:
  UpstreamAnswerSetup setup_for(const api::MessagesRequest& request) const {
    UpstreamAnswerSetup setup;
    setup.model = request.model;
    setup.stop_sequences = request.stop_sequences;
    setup.upstream = name_;
    return setup;
  }

  // GET where there is no body.
  Result<std::unique_ptr<Transfer>> send(std::string_view path, std::string body) {
    return transfers_->start({.url = base_.url + std::string(path),
                              .body = std::move(body),
                              .key = name_.key,
                              .direct = base_.loopback});
  }

  Result<std::string> list_models(std::chrono::milliseconds limit) {
    PENSIEVE_TRY(const auto transfer, send("/models", {}));
    const auto deadline = std::chrono::steady_clock::now() + limit;
    std::string body;
    while (std::chrono::steady_clock::now() < deadline) {
      transfer->wait(std::chrono::milliseconds(100));
      Received received = transfer->take();
      body += received.bytes;
      if (body.size() > kMaxListBytes) break;
      if (!received.over) continue;
      if (received.error) return *std::move(received.error);
      if (received.status == 200) return body;
      return upstream_status_error(name_, received.status, received.retry_after_s, body);
    }
    return Error{.kind = ErrorKind::Unavailable,
                 .message = "the upstream " + name_.url + " did not answer in time"};
  }

  // A moving average, so that it follows the conversation; absurd counts are left out.
  void learn(std::size_t body_bytes, int tokens) {
    if (tokens < 16) return;
    const double ratio = static_cast<double>(body_bytes) / tokens;
    if (ratio < 0.5 || ratio > 50) return;
    const double before = bytes_per_token_.load();
    bytes_per_token_.store(learned_.exchange(true) ? before + (ratio - before) / 4 : ratio);
  }

  const Base base_;
  const UpstreamName name_;
  std::string model_;
  int context_length_;
  std::atomic<double> bytes_per_token_{kFirstBytesPerToken};
  std::atomic<bool> learned_{false};
  const std::unique_ptr<Transfers> transfers_;
};

}  // namespace

Result<std::unique_ptr<Upstream>> Upstream::create(const UpstreamOptions& options) {
  PENSIEVE_TRY(Base base, base_of(options.url));
  if (!is_good_key(options.key)) {
    return Error{.kind = ErrorKind::InvalidRequest,
                 .message = "PENSIEVE_UPSTREAM_KEY holds a space or a control character"};
  }
  TransferLimits limits;
  limits.quiet = options.quiet_limit;
  PENSIEVE_TRY(auto transfers, Transfers::create(limits));
  auto service = std::make_unique<UpstreamService>(options, std::move(base), std::move(transfers));
  PENSIEVE_TRY(service->look_up(options));
  return std::unique_ptr<Upstream>(std::move(service));
}

}  // namespace pensieve::proxy
