#include "application/cli/tap_engine.h"

#include <utility>

namespace pensieve::cli {
namespace {

class TapGeneration : public engine::Generation {
 public:
  TapGeneration(std::unique_ptr<engine::Generation> inner, Tapped& tapped)
      : inner_(std::move(inner)), tapped_(tapped) {}

  std::optional<engine::TokenEvent> try_next() override { return seen(inner_->try_next()); }
  std::optional<engine::TokenEvent> next() override { return seen(inner_->next()); }
  void on_ready(std::function<void()> ready) override { inner_->on_ready(std::move(ready)); }
  void cancel() override { inner_->cancel(); }
  engine::Progress progress() const override { return inner_->progress(); }

 private:
  std::optional<engine::TokenEvent> seen(std::optional<engine::TokenEvent> event) {
    using Kind = engine::TokenEvent::Kind;
    if (event && event->kind == Kind::Started) tapped_.cached_tokens = event->cached_tokens;
    if (event && event->kind == Kind::Token) tapped_.tokens.push_back(event->token);
    return event;
  }

  std::unique_ptr<engine::Generation> inner_;
  Tapped& tapped_;
};

class TapEngine : public engine::Engine {
 public:
  TapEngine(engine::Engine& inner, Tapped& tapped) : inner_(inner), tapped_(tapped) {}

  Result<std::unique_ptr<engine::Generation>> submit(engine::Request request) override {
    tapped_ = {};
    tapped_.prompt_tokens = static_cast<int>(request.prompt.size());
    PENSIEVE_TRY(auto generation, inner_.submit(std::move(request)));
    return std::unique_ptr<engine::Generation>(
        std::make_unique<TapGeneration>(std::move(generation), tapped_));
  }
  int context_length() const override { return inner_.context_length(); }
  compute::Capabilities capabilities() const override { return inner_.capabilities(); }
  engine::EngineStats stats() const override { return inner_.stats(); }
  void drain() override { inner_.drain(); }

 private:
  engine::Engine& inner_;
  Tapped& tapped_;
};

}  // namespace

std::unique_ptr<engine::Engine> make_tap_engine(engine::Engine& inner, Tapped& tapped) {
  return std::make_unique<TapEngine>(inner, tapped);
}

}  // namespace pensieve::cli
