// The model list in the two shapes clients ask for. Source: the API reference's page "List models"
// and OpenAI's "List models".
#include <algorithm>
#include <ctime>
#include <string>
#include <vector>

#include "foundation/json.h"

#include "domain/api/fields.h"
#include "domain/api/messages.h"

namespace pensieve::api {
namespace {

// RFC 3339, UTC, whole seconds. Times before 1970 or beyond the year 9999 are moved to the border.
std::string rfc3339(std::int64_t unix_s) {
  constexpr std::int64_t kLastSecondOf9999 = 253'402'300'799;
  const auto seconds =
      static_cast<std::time_t>(std::clamp<std::int64_t>(unix_s, 0, kLastSecondOf9999));
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  char text[32];
  const std::size_t length = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
  return std::string(text, length);
}

Json anthropic_model(const ModelInfo& model) {
  Json json{{"type", "model"},
            {"id", model.id},
            {"display_name", model.display_name},
            {"created_at", rfc3339(model.created_unix_s)},
            {"lifecycle", "active"}};
  if (model.context_length > 0) {
    json["max_input_tokens"] = model.context_length;
    json["max_tokens"] = model.context_length;
  }
  return json;
}

// max_model_len is no field of OpenAI's own, but what vLLM and SGLang call the window.
Json openai_model(const ModelInfo& model) {
  Json json{{"id", model.id},
            {"object", "model"},
            {"created", model.created_unix_s},
            {"owned_by", "pensieve"}};
  if (model.context_length > 0) json["max_model_len"] = model.context_length;
  return json;
}

}  // namespace

std::string model_json(const ModelInfo& model, bool anthropic_shape) {
  return compact(anthropic_shape ? anthropic_model(model) : openai_model(model));
}

std::string models_json(const std::vector<ModelInfo>& models, bool anthropic_shape) {
  Json data = Json::array();
  for (const ModelInfo& model : models) {
    data.push_back(anthropic_shape ? anthropic_model(model) : openai_model(model));
  }
  if (!anthropic_shape) return compact(Json{{"object", "list"}, {"data", std::move(data)}});
  Json list{{"data", std::move(data)}, {"has_more", false}};
  list["first_id"] = models.empty() ? Json(nullptr) : Json(models.front().id);
  list["last_id"] = models.empty() ? Json(nullptr) : Json(models.back().id);
  return compact(list);
}

}  // namespace pensieve::api
