#include "domain/kv_store/internal/ledger.h"

#include "foundation/json.h"

namespace pensieve::kv_store {
namespace {

constexpr const char* kName = "ledger.json";
constexpr std::size_t kMaxBytes = 4096;

template <typename T>
T number(const Json& json, const char* key) {
  const auto at = json.find(key);
  return at != json.end() && at->is_number_unsigned() ? static_cast<T>(at->get<std::uint64_t>())
                                                      : T{};
}

}  // namespace

void Ledger::begin_day(std::int64_t now_s) {
  const std::int64_t today = now_s / 86'400;
  if (today == day || today == day - 1) return;
  day = today;
  bytes_today = 0;
}

Usage Ledger::usage() const {
  return {.bytes_today = bytes_today,
          .bytes_written = bytes_written,
          .tokens_restored = tokens_restored};
}

Ledger read_ledger(const Directory& root) {
  const auto text = root.read(kName, kMaxBytes);
  if (!text) return {};
  const auto json = parse_json(*text);
  if (!json || !json->is_object()) return {};
  return {.day = number<std::int64_t>(*json, "day"),
          .bytes_today = number<std::uint64_t>(*json, "bytes_today"),
          .bytes_written = number<std::uint64_t>(*json, "bytes_written"),
          .tokens_restored = number<std::uint64_t>(*json, "tokens_restored")};
}

Result<void> write_ledger(const Directory& root, const Ledger& ledger) {
  const Json json{{"day", static_cast<std::uint64_t>(ledger.day)},
                  {"bytes_today", ledger.bytes_today},
                  {"bytes_written", ledger.bytes_written},
                  {"tokens_restored", ledger.tokens_restored}};
  return root.replace(kName, json.dump() + "\n");
}

}  // namespace pensieve::kv_store
