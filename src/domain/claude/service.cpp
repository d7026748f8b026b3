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
    std::sort(stops.begin(), stops.end());
    stops.erase(std::unique(stops.begin(), stops.end()), stops.end());
    stop_tokens_ = std::make_shared<const std::vector<TokenId>>(std::move(stops));
  }

  Result<std::unique_ptr<Answer>> answer(const api::MessagesRequest& request,
                                         std::string_view group) override {
    PENSIEVE_TRY(const chat::Prompt prompt, model_.format->render(request));
    PENSIEVE_TRY(engine::Request job, job_for(request, prompt, group));
    AnswerSetup setup = setup_for(request, prompt, job);
    setup.one_tool_use = request.tool_choice.disable_parallel_tool_use;
    // An answer that goes on from the client's own text is not all of its turn.
    if (setup.at_start) setup.memory = &memory_;
    PENSIEVE_TRY(const AnswerGrammar grammar, grammars_.of(request));
    setup.mode = grammar.mode;
    if (grammar.grammar) {
      job.make_constraint = [setup = ConstraintSetup{.grammar = grammar.grammar,
                                                     .tokenizer = model_.tokenizer.get(),
                                                     .vocabulary = grammars_.vocabulary(),
                                                     .stop_tokens = stop_tokens_,
                                                     .at_start = setup.at_start,
                                                     .completes = grammar.completes}] {
        return make_constraint(setup);
      };
    }
    PENSIEVE_TRY(auto generation, engine_.submit(std::move(job)));
    return make_answer(std::move(setup), std::move(generation), *model_.tokenizer, *model_.format);
  }

  Result<std::unique_ptr<Answer>> complete(const api::MessagesRequest& request,
                                           std::string_view text,
                                           std::string_view group) override {
    chat::Prompt prompt;
    prompt.pieces.push_back({.control = false, .text = std::string(text)});
    PENSIEVE_TRY(engine::Request job, job_for(request, prompt, group));
    AnswerSetup setup = setup_for(request, prompt, job);
    PENSIEVE_TRY(auto generation, engine_.submit(std::move(job)));
    return make_answer(std::move(setup), std::move(generation), *model_.tokenizer, *model_.format);
  }

  Result<int> count_tokens(const api::MessagesRequest& request) override {
    PENSIEVE_TRY(const chat::Prompt prompt, model_.format->render(request));
    PENSIEVE_TRY(const auto tokens, encode(prompt));
    return static_cast<int>(tokens.size());
  }

  Result<std::vector<TokenId>> encode(const chat::Prompt& prompt) override {
    const tokenizer::Tokenizer& tokenizer = *model_.tokenizer;
    std::vector<TokenId> tokens;
    auto answer = prompt.answers.begin();
    if (tokenizer.add_bos() && tokenizer.bos() != kNoToken) tokens.push_back(tokenizer.bos());
    bool at_start = true;
    for (std::size_t i = 0; i < prompt.pieces.size(); ++i) {
      const chat::Piece& piece = prompt.pieces[i];
      if (answer != prompt.answers.end() && answer->first == i) {
        const auto known = memory_.find((answer++)->second);
        if (known) {
          tokens.insert(tokens.end(), known->begin(), known->end());
          at_start = false;
          continue;
        }
      }
      if (piece.control) {
        const auto token = tokenizer.control(piece.text);
        if (!token) {
          return Error{.kind = ErrorKind::Internal,
                       .message = "The vocabulary has no control token \"" + piece.text + "\"."};
        }
        tokens.push_back(*token);
        at_start = true;
      } else if (!piece.text.empty()) {
        tokenizer.encode(piece.text, at_start, tokens);
        at_start = false;
      }
    }
    return tokens;
  }

 private:
  Result<engine::Request> job_for(const api::MessagesRequest& request,
                                  const chat::Prompt& prompt,
                                  std::string_view group) {
    PENSIEVE_TRY(refuse_hopeless(prompt));
    engine::Request job;
    PENSIEVE_TRY(job.prompt, encode(prompt));
    job.max_tokens = request.max_tokens;
    job.sampling = sampling(request);
    job.stop_tokens = *stop_tokens_;
    job.group = group;
    job.top_logprobs = request.top_logprobs.value_or(0);
    return job;
  }

  static AnswerSetup setup_for(const api::MessagesRequest& request,
                               const chat::Prompt& prompt,
                               const engine::Request& job) {
    AnswerSetup setup;
    setup.model = request.model;
    setup.prompt_tokens = static_cast<int>(job.prompt.size());
    setup.stop_sequences = request.stop_sequences;
    setup.at_start = prompt.pieces.empty() || prompt.pieces.back().control;
    setup.top_logprobs = request.top_logprobs;
    return setup;
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
