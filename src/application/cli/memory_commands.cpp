// `pensieve memory`: what is kept of computed prompts on the disk.
#include <cstdio>
#include <ctime>

#include "foundation/json.h"

#include "domain/kv_store/kv_store.h"

#include "application/cli/commands.h"
#include "application/cli/exit_status.h"
#include "application/cli/home.h"
#include "application/cli/print_json.h"
#include "application/cli/stack.h"

namespace pensieve::cli {
namespace {

// An empty one where nothing was kept yet.
Result<kv_store::Memory> memory_here() {
  PENSIEVE_TRY(const std::string home, home_directory());
  auto memory = kv_store::look_at(memory_directory(home));
  if (!memory && memory.error().kind == ErrorKind::NotFound) return kv_store::Memory{};
  return memory;
}

std::string time_text(std::int64_t unix_s) {
  const std::time_t time = unix_s;
  std::tm parts{};
  localtime_r(&time, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M", &parts);
  return text;
}

Result<int> list_all(const Options& options) {
  PENSIEVE_TRY(const auto memory, memory_here());
  if (options.json) {
    Json list = Json::array();
    for (const auto& one : memory.histories) {
      list.push_back({{"model", one.model},
                      {"tokens", one.n_tokens},
                      {"bytes", one.bytes},
                      {"used_unix_s", one.used_s}});
    }
    print_json(list);
    return kExitDone;
  }
  if (memory.histories.empty()) {
    std::printf("Nothing is remembered yet: prompts are kept once they were computed.\n");
    return kExitDone;
  }
  std::printf("%-16s  %10s  %10s  %s\n", "LAST USED", "TOKENS", "ON DISK", "MODEL");
  for (const auto& one : memory.histories) {
    std::printf("%-16s  %10s  %10s  %s\n",
                time_text(one.used_s).c_str(),
                grouped(static_cast<std::uint64_t>(one.n_tokens)).c_str(),
                human_bytes(one.bytes).c_str(),
                one.model.c_str());
  }
  std::printf(
      "\nA prompt that begins like one of these is not computed again as far as they agree.\n"
      "ON DISK counts what only that one needs. `pensieve memory clear` removes all of it.\n");
  return kExitDone;
}

Result<int> print_stats(const Options& options) {
  PENSIEVE_TRY(const auto memory, memory_here());
  const auto& usage = memory.usage;
  if (options.json) {
    print_json(Json{{"pages", usage.pages},
                    {"bytes", usage.bytes},
                    {"bytes_written_today", usage.bytes_today},
                    {"bytes_written", usage.bytes_written},
                    {"tokens_restored", usage.tokens_restored}});
    return kExitDone;
  }
  std::printf("Kept            %s in %s pages of 64 tokens\n",
              human_bytes(usage.bytes).c_str(),
              grouped(usage.pages).c_str());
  std::printf("Written         %s, %s of it today\n",
              human_bytes(usage.bytes_written).c_str(),
              human_bytes(usage.bytes_today).c_str());
  std::printf("Not computed    %s tokens, read back instead\n",
              grouped(usage.tokens_restored).c_str());
  return kExitDone;
}

Result<int> clear_all(const Options& options) {
  PENSIEVE_TRY(const std::string home, home_directory());
  auto freed = kv_store::clear(memory_directory(home));
  if (!freed && freed.error().kind == ErrorKind::NotFound) freed = std::uint64_t{0};
  if (!freed) return std::move(freed).error();
  if (options.json) {
    print_json(Json{{"bytes", *freed}});
  } else {
    std::printf("%s are free again\n", human_bytes(*freed).c_str());
  }
  return kExitDone;
}

}  // namespace

int list_memory(const Options& options) {
  return finish(list_all(options));
}
int print_memory_stats(const Options& options) {
  return finish(print_stats(options));
}
int clear_memory(const Options& options) {
  return finish(clear_all(options));
}

}  // namespace pensieve::cli
