#include "application/cli/model_list.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

#include "foundation/json.h"
#include "foundation/text.h"

#include "domain/store/catalog.h"

#include "application/cli/window.h"

namespace pensieve::cli {
namespace {

constexpr int kLongWindow = 32'768;
constexpr int kPageTokens = 64;  // windows are whole pages
constexpr int kNarrow = 80;
constexpr int kWide = 110;  // from here on there is room for the memory of two windows

std::uint64_t need_of(const ModelRow& row, int tokens) {
  return store::memory_needed(row.bytes, row.kv_bytes_per_token, tokens);
}

// 79872 -> "78k": what fits, so never rounded up.
std::string tokens_text(int tokens) {
  return tokens < 1024 ? std::to_string(tokens) : std::to_string(tokens / 1024) + "k";
}

std::string here_text(const ModelRow& row) {
  if (row.damaged) return "bad";
  if (row.here) return "yes";
  if (row.partial_bytes == 0) return "no";
  if (row.bytes == 0) return "part";
  return std::to_string(std::min<std::uint64_t>(99, row.partial_bytes * 100 / row.bytes)) + " %";
}

std::string size_text(std::uint64_t bytes) {
  return bytes == 0 ? "?" : human_bytes(bytes);
}

using Cells = std::vector<std::string>;

Cells cells_of(const ModelRow& row, const SystemMemory& memory, bool wide) {
  const ModelFit fit = fit_of(row, memory);
  const auto need = [&](int tokens) {
    return row.kv_bytes_per_token == 0 ? std::string("?") : human_bytes(need_of(row, tokens));
  };
  Cells cells = {(row.is_default ? "* " : "  ") + row.name,
                 size_text(row.bytes),
                 here_text(row),
                 fit.kind == ModelFit::Kind::Unknown ? "?" : std::string(to_string(fit.kind)),
                 fit.window_tokens == 0 ? "-" : tokens_text(fit.window_tokens)};
  if (wide) {
    cells.push_back(need(kUsefulWindow));
    cells.push_back(need(kLongWindow));
  }
  cells.push_back(printable(row.note, 200));
  return cells;
}

// Terminal columns of UTF-8 text without double-width characters, which no name or note of ours
// has.
std::size_t columns_of(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) >> 6) != 2; }));
}

// The line without what does not fit; cut inside the last column, so the table stays one.
std::string cut(std::string line, std::size_t columns) {
  if (columns == 0 || columns_of(line) <= columns) return line;
  std::size_t at = line.size();
  while (columns_of(std::string_view(line).substr(0, at)) > columns - 1) --at;
  return line.substr(0, complete_utf8_prefix(std::string_view(line).substr(0, at))) + "…";
}

std::string table(const std::vector<Cells>& lines, std::size_t gap, std::size_t columns) {
  std::vector<std::size_t> widths(lines.front().size());
  for (const Cells& cells : lines) {
    for (std::size_t i = 0; i < cells.size(); ++i) {
      widths[i] = std::max(widths[i], columns_of(cells[i]));
    }
  }
  std::string text;
  for (const Cells& cells : lines) {
    std::string line;
    for (std::size_t i = 0; i + 1 < cells.size(); ++i) {
      line += cells[i] + std::string(widths[i] - columns_of(cells[i]) + gap, ' ');
    }
    text += cut(line + cells.back(), columns) + "\n";
  }
  return text;
}

std::string memory_line(const SystemMemory& memory) {
  if (!memory.known) return "The system does not say how much memory is available.\n";
  return "Available memory: " + human_bytes(memory.available_bytes) +
         ", of which 3 GiB are left to other programs.\n";
}

constexpr const char* kExplanation = R"(
*       what `pensieve` serves; where it is not here, it is fetched first
FITS    yes: with 16k tokens or more; tight: fewer, or little memory is left
WINDOW  how many tokens it can keep in mind here; Claude Code starts with 25k
)";
constexpr const char* kWideExplanation = "RAM     what it takes with a window of so many tokens\n";
constexpr const char* kCommands = R"(
Fetch one:  pensieve model pull NAME     Any other: hub:OWNER/NAME for NAME
Serve it:   pensieve --model NAME        Drop it:   pensieve model remove NAME
)";

}  // namespace

ModelFit fit_of(const ModelRow& row, const SystemMemory& memory) {
  if (!memory.known || row.kv_bytes_per_token == 0 || row.bytes == 0) return {};
  const int longest = row.context_length > 0 ? row.context_length : kLongWindow;
  const int smallest = std::min(longest, kSmallestWindow);
  if (need_of(row, smallest) > memory.available_bytes) return {.kind = ModelFit::Kind::No};
  const std::uint64_t fixed = need_of(row, 0) + kSafeAboveBytes;
  const std::uint64_t room = memory.available_bytes - std::min(memory.available_bytes, fixed);
  const std::uint64_t pages = room / (row.kv_bytes_per_token * kPageTokens);
  const int safe = static_cast<int>(
      std::min<std::uint64_t>(pages * kPageTokens, static_cast<std::uint64_t>(longest)));
  const bool useful = safe >= std::min(longest, kUsefulWindow);
  return {.kind = useful ? ModelFit::Kind::Yes : ModelFit::Kind::Tight,
          .window_tokens = std::max(safe, smallest)};
}

std::string_view to_string(ModelFit::Kind kind) {
  switch (kind) {
    case ModelFit::Kind::Yes:
      return "yes";
    case ModelFit::Kind::Tight:
      return "tight";
    case ModelFit::Kind::No:
      return "no";
    case ModelFit::Kind::Unknown:
      break;
  }
  return "unknown";
}

std::string list_text(std::span<const ModelRow> rows, const SystemMemory& memory, int columns) {
  const bool wide = columns == 0 || columns >= kWide;
  Cells head = {"  MODEL", "SIZE", "HERE", "FITS", "WINDOW"};
  if (wide) head.insert(head.end(), {"RAM, 16k", "RAM, 32k"});
  head.emplace_back("GOOD FOR");
  std::vector<Cells> lines = {std::move(head)};
  for (const ModelRow& row : rows) lines.push_back(cells_of(row, memory, wide));
  const int limit = columns == 0 ? 0 : std::max(columns, kNarrow);
  return memory_line(memory) + "\n" + table(lines, wide ? 2 : 1, static_cast<std::size_t>(limit)) +
         kExplanation + (wide ? kWideExplanation : "") + kCommands;
}

std::string list_json(std::span<const ModelRow> rows, const SystemMemory& memory) {
  Json json = {{"available_bytes", memory.known ? Json(memory.available_bytes) : Json(nullptr)},
               {"models", Json::array()}};
  for (const ModelRow& row : rows) {
    const ModelFit fit = fit_of(row, memory);
    const auto need = [&](int tokens) {
      return row.kv_bytes_per_token == 0 ? Json(nullptr) : Json(need_of(row, tokens));
    };
    json["models"].push_back({{"name", row.name},
                              {"repository", row.repository},
                              {"note", row.note},
                              {"bytes", row.bytes},
                              {"memory_16k_bytes", need(kUsefulWindow)},
                              {"memory_32k_bytes", need(kLongWindow)},
                              {"context_length", row.context_length},
                              {"fits", to_string(fit.kind)},
                              {"window_tokens", fit.window_tokens},
                              {"here", row.here},
                              {"damaged", row.damaged},
                              {"partial_bytes", row.partial_bytes},
                              {"default", row.is_default},
                              {"path", row.path}});
  }
  return json.dump(2, ' ', false, Json::error_handler_t::replace);
}

}  // namespace pensieve::cli
