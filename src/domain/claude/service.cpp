#include "domain/claude/service.h"

#include <unistd.h>
#if defined(__APPLE__)
#include <sys/random.h>
#endif

#include <algorithm>
#include <string>
#include <utility>

#include "foundation/check.h"

#include "domain/claude/internal/answer.h"
#include "domain/claude/internal/answer_grammar.h"
#include "domain/claude/internal/answer_memory.h"
#include "domain/claude/internal/constraint.h"
#include "domain/claude/internal/place_finder.h"

namespace pensieve::claude {
namespace {

std::uint64_t fresh_seed() {
  std::uint64_t seed = 0;
  CHECK(getentropy(&seed, sizeof seed) == 0);
  return seed;
}

compute::SamplingParameters sampling(const api::MessagesRequest& request) {
  // top_p == 0 asks for the most probable token alone; the sampler's range begins above 0.
  constexpr float kSmallestTopP = 1e-6f;
  compute::SamplingParameters parameters;
  parameters.temperature = static_cast<float>(request.temperature.value_or(kDefaultTemperature));
  parameters.top_k = request.top_k.value_or(0);
  parameters.top_p = std::max(static_cast<float>(request.top_p.value_or(1.0)), kSmallestTopP);
  parameters.min_p = static_cast<float>(request.min_p.value_or(0.0));
  parameters.repetition_penalty = static_cast<float>(request.repetition_penalty.value_or(1.0));
  parameters.seed = request.seed ? *request.seed : fresh_seed();
  return parameters;
}

// The exact tokens of earlier answers: about two million of them.
constexpr std::size_t kAnswerMemoryBytes = 8 << 20;

class ModelService : public Service {
 public:
  ModelService(const LoadedModel& model, engine::Engine& engine)
      : model_(model),
        engine_(engine),
        grammars_(grammar_vocabulary(*model.tokenizer), model.format->call_syntax()),
        memory_(kAnswerMemoryBytes) {
    const tokenizer::Tokenizer& tokenizer = *model.tokenizer;
    std::vector<TokenId> stops(tokenizer.eos().begin(), tokenizer.eos().end());
    for (const std::string& name : model.format->stop_tokens()) {
      if (const auto token = tokenizer.control(name)) stops.push_back(*token);
    }
    for (const std::string_view tag : model.format->call_syntax().tags) {
      const auto token = tokenizer.control(tag);
      if (token && !tokenizer.bytes(*token).empty()) tags_.emplace_back(tag, *token);
    }
    std::sort(stops.begin(), stops.end());
    stops.erase(std::unique(stops.begin(), stops.end()), stops.end());
    stop_tokens_ = std::make_shared<const std::vector<TokenId>>(std::move(stops));
  }

  Result<std::unique_ptr<Answer>> answer(const api::MessagesRequest& request,
                                         std::string_view group) override {
    PENSIEVE_TRY(const chat::Prompt prompt, model_.format->render(request));
    PENSIEVE_TRY(Prepared prepared, prepare(request, prompt, group));
    auto& [job, setup] = prepared;
    setup.one_tool_use = request.tool_choice.disable_parallel_tool_use;
    PENSIEVE_TRY(const AnswerGrammar grammar, grammars_.of(request));
    setup.mode = grammar.mode;
    if (grammar.grammar) {
      const ConstraintSetup constraint{.grammar = grammar.grammar,
                                       .tokenizer = model_.tokenizer.get(),
                                       .vocabulary = grammars_.vocabulary(),
                                       .stop_tokens = stop_tokens_,
                                       .tags = tags_,
                                       .at_start = setup.at_start,
                                       .completes = grammar.completes};
      job.make_constraint = [constraint] { return make_constraint(constraint); };
    }
    PENSIEVE_TRY(auto generation, engine_.submit(std::move(job)));
    return make_answer(std::move(setup), std::move(generation), *model_.tokenizer, *model_.format);
  }

  Result<std::unique_ptr<Answer>> complete(const api::MessagesRequest& request,
                                           std::string_view text,
                                           std::string_view group) override {
    chat::Prompt prompt;
    prompt.pieces.push_back({.control = false, .text = std::string(text)});
    prompt.continues = true;
    PENSIEVE_TRY(Prepared prepared, prepare(request, prompt, group));
    auto& [job, setup] = prepared;
    setup.mode = chat::ReplyMode::Raw;
    PENSIEVE_TRY(auto generation, engine_.submit(std::move(job)));
    return make_answer(std::move(setup), std::move(generation), *model_.tokenizer, *model_.format);
  }

  Result<int> count_tokens(const api::MessagesRequest& request) override {
    PENSIEVE_TRY(const chat::Prompt prompt, model_.format->render(request));
    PENSIEVE_TRY(const auto tokens, encode(prompt));
    return static_cast<int>(tokens.size());
  }

  Result<std::vector<TokenId>> encode(const chat::Prompt& prompt) override {
    PENSIEVE_TRY(Encoded encoded, encode_all(prompt));
    return std::move(encoded.tokens);
  }

 private:
  struct Encoded {
    std::vector<TokenId> tokens;
    std::size_t answer_begin = 0;  // tokens before what the answer begins with
    std::vector<int> part_begins;  // of prompt.parts: the token that each begins with
    int marked = 0;                // tokens before prompt.marked_end
  };

  Result<Encoded> encode_all(const chat::Prompt& prompt) {
    const tokenizer::Tokenizer& tokenizer = *model_.tokenizer;
    Encoded encoded;
    std::vector<TokenId>& tokens = encoded.tokens;
    if (tokenizer.add_bos() && tokenizer.bos() != kNoToken) tokens.push_back(tokenizer.bos());
    bool at_start = true;
    std::string text;  // of neighbouring pieces, not encoded yet
    PlaceFinder places(prompt, tokenizer);
    const auto flush = [&] {
      if (text.empty()) return;
      const std::size_t first = tokens.size();
      tokenizer.encode(text, at_start, tokens);
      places.encoded(std::span(tokens).subspan(first), first, at_start);
      at_start = false;
      text.clear();
    };
    auto answer = prompt.answers.begin();
    for (std::size_t i = 0; i < prompt.pieces.size(); ++i) {
      if (i == prompt.answer_begin) {
        flush();
        encoded.answer_begin = tokens.size();
      }
      if (answer != prompt.answers.end() && answer->begin == i) {
        const auto& [begin, end, key] = *answer++;
        if (const auto known = memory_.find(key)) {
          flush();
          const std::size_t first = tokens.size();
          tokens.insert(tokens.end(), known->begin(), known->end());
          places.known(i, end, first, tokens.size());
          at_start = false;
          i = end - 1;
          continue;
        }
      }
      const chat::Piece& piece = prompt.pieces[i];
      const auto token = piece.control ? tokenizer.control(piece.text) : std::nullopt;
      if (token) {
        flush();
        places.control(i, tokens.size());
        tokens.push_back(*token);
        at_start = true;
      } else if (piece.control && !piece.optional) {
        return Error{.kind = ErrorKind::Internal,
                     .message = "The vocabulary has no control token \"" + piece.text + "\"."};
      } else {
        places.text(i, text.size());
        text += piece.text;
      }
    }
    flush();
    places.finish(tokens.size());
    encoded.marked = places.n_marked();
    encoded.part_begins = places.take_begins();
    if (prompt.answer_begin >= prompt.pieces.size()) encoded.answer_begin = tokens.size();
    return encoded;
  }

  struct Prepared {
    engine::Request job;
    AnswerSetup setup;
  };

  // All that does not depend on tools.
  Result<Prepared> prepare(const api::MessagesRequest& request,
                           const chat::Prompt& prompt,
                           std::string_view group) {
    PENSIEVE_TRY(refuse_hopeless(prompt));
    PENSIEVE_TRY(Encoded encoded, encode_all(prompt));
    Prepared prepared;
    AnswerSetup& setup = prepared.setup;
    setup.model = request.model;
    setup.prompt_tokens = static_cast<int>(encoded.tokens.size());
    setup.marked_tokens = encoded.marked;
    if (setup.prompt_tokens >= engine::kLongMiss) {
      setup.map = {.parts = prompt.parts, .begins = std::move(encoded.part_begins)};
    }
    setup.stop_sequences = request.stop_sequences;
    setup.at_start = prompt.pieces.empty() || prompt.pieces.back().control;
    setup.top_logprobs = request.top_logprobs;
    if (!prompt.continues) {
      setup.memory = &memory_;
      setup.lead.assign(encoded.tokens.begin() + static_cast<std::ptrdiff_t>(encoded.answer_begin),
                        encoded.tokens.end());
    }
    engine::Request& job = prepared.job;
    job.prompt = std::move(encoded.tokens);
    job.max_tokens = request.max_tokens;
    job.sampling = sampling(request);
    job.stop_tokens = *stop_tokens_;
    job.group = group;
    job.top_logprobs = request.top_logprobs.value_or(0);
    return prepared;
  }

  // Tokenizing takes some thirty times a text's bytes for a while, so a text that cannot fit,
  // however its bytes were cut into tokens, is refused before: with the least number that it could
  // have.
  Result<void> refuse_hopeless(const chat::Prompt& prompt) const {
    std::size_t bytes = 0;
    for (const chat::Piece& piece : prompt.pieces) bytes += piece.control ? 0 : piece.text.size();
    const std::size_t at_least =
        bytes / std::max<std::size_t>(model_.tokenizer->longest_piece(), 1);
    const auto window = static_cast<std::size_t>(engine_.context_length());
    if (at_least <= window) return {};
    return Error{.kind = ErrorKind::InvalidRequest,
                 .message = "prompt is too long: " + std::to_string(at_least) + " tokens > " +
                            std::to_string(window) + " maximum"};
  }

  const LoadedModel& model_;
  engine::Engine& engine_;
  AnswerGrammars grammars_;
  AnswerMemory memory_;
  std::shared_ptr<const std::vector<TokenId>> stop_tokens_;
  std::vector<std::pair<std::string, TokenId>> tags_;
};

}  // namespace

Result<std::unique_ptr<Answer>> Service::complete(const api::MessagesRequest&,
                                                  std::string_view,
                                                  std::string_view) {
  return Error{.kind = ErrorKind::NotImplemented,
               .message = "text cannot be completed here, only chats can be answered"};
}

std::unique_ptr<Service> Service::create(const LoadedModel& model, engine::Engine& engine) {
  return std::make_unique<ModelService>(model, engine);
}

}  // namespace pensieve::claude
