#include "application/server/internal/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <iterator>
#include <utility>
#include <vector>

namespace pensieve::server {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

// From a cached prompt on a small model to a long one on a laptop's CPU.
const prometheus::Histogram::BucketBoundaries kSeconds{
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600};

double seconds(Metrics::Duration duration) {
  return std::chrono::duration<double>(duration).count();
}

template <typename Number>
double number(Number value) {
  return static_cast<double>(value);
}

// Families of the moment, one after the other.
class Sheet {
 public:
  explicit Sheet(std::vector<MetricFamily>& families) : families_(families) {}

  void gauge(const char* name, const char* help, double value, Labels labels = {}) {
    ClientMetric& metric = add(name, help, MetricType::Gauge, std::move(labels));
    metric.gauge.value = value;
  }
  void counter(const char* name, const char* help, double value, Labels labels = {}) {
    ClientMetric& metric = add(name, help, MetricType::Counter, std::move(labels));
    metric.counter.value = value;
  }

 private:
  // Neighbours with the same name are one family.
  ClientMetric& add(const char* name, const char* help, MetricType type, Labels labels) {
    if (families_.empty() || families_.back().name != name) {
      families_.push_back({.name = name, .help = help, .type = type, .metric = {}});
    }
    ClientMetric& metric = families_.back().metric.emplace_back();
    metric.label = std::move(labels);
    return metric;
  }

  std::vector<MetricFamily>& families_;
};

void add_engine(Sheet& sheet, const engine::EngineStats& stats) {
  sheet.gauge("pensieve_requests_running", "Requests that hold a sequence.", stats.running);
  sheet.gauge("pensieve_requests_waiting", "Requests that wait for a sequence.", stats.waiting);
  sheet.counter("pensieve_engine_requests_total",
                "Requests that the engine has accepted.",
                number(stats.requests));
  sheet.counter("pensieve_prompt_tokens_total",
                "Tokens of the prompts that the engine has accepted.",
                number(stats.prompt_tokens));
  sheet.counter("pensieve_cache_hit_tokens_total",
                "Prompt tokens whose KV was in memory.",
                number(stats.hit_tokens));
  sheet.counter("pensieve_cache_restored_tokens_total",
                "Prompt tokens whose KV was read back from the disk.",
                number(stats.restored_tokens));
  sheet.counter("pensieve_cache_miss_tokens_total",
                "Prompt tokens whose KV was found nowhere and had to be computed.",
                number(stats.missed_tokens));
  sheet.counter(
      "pensieve_output_tokens_total", "Tokens of all answers.", number(stats.output_tokens));
  sheet.gauge("pensieve_kv_bytes",
              "KV in the arena, of running requests and of finished ones that are kept.",
              number(stats.memory.kv_bytes));
  sheet.gauge("pensieve_kv_touched_bytes",
              "What the arena takes: KV in it, and pages that are free but not given back.",
              number(stats.memory.kv_touched_bytes));
  sheet.gauge("pensieve_kv_reserved_bytes",
              "What accepted requests may come to hold, all together.",
              number(stats.reserved_kv_bytes));
  sheet.gauge("pensieve_kv_capacity_bytes",
              "What the arena can hold.",
              number(stats.memory.kv_capacity_bytes));
  sheet.gauge("pensieve_kv_idle_sequences",
              "Finished sequences that are kept for their beginning.",
              stats.idle_sequences);
}

void add_alerts(Sheet& sheet, const Readings& readings) {
  for (int i = 0; i < kAlertKinds; ++i) {
    sheet.gauge("pensieve_alert_level",
                "How bad it is: 0 nothing, 1 info, 2 warning, 3 critical.",
                number(static_cast<int>(readings.alerts[static_cast<std::size_t>(i)])),
                {{"alert", std::string(to_string(static_cast<AlertKind>(i)))}});
  }
}

void add_disk(Sheet& sheet, const kv_store::Usage& disk) {
  sheet.gauge("pensieve_kv_disk_bytes",
              "KV pages on the disk, of all models in the directory.",
              number(disk.bytes));
  sheet.gauge("pensieve_kv_disk_pages", "KV pages on the disk of this model.", number(disk.pages));
  sheet.counter("pensieve_kv_disk_written_bytes_total",
                "Bytes of KV pages ever written to the directory, over restarts.",
                number(disk.bytes_written));
}

void add_memory(Sheet& sheet, const Readings& readings) {
  for (std::size_t use = 0; use < kMemoryUses; ++use) {
    sheet.gauge("pensieve_memory_touched_bytes",
                "Of what is accounted for, what takes memory now.",
                number(readings.touched[use]),
                {{"use", std::string(to_string(static_cast<MemoryUse>(use)))}});
  }
  sheet.gauge("pensieve_memory_heap_bytes",
              "What the allocator has handed out.",
              number(readings.heap_bytes));
  sheet.gauge("process_anonymous_memory_bytes",
              "Resident memory of the process that is no mapped file.",
              number(readings.anonymous_bytes));
  const MemoryState& now = readings.memory;
  sheet.gauge("pensieve_memory_level",
              "0 safe, 1 caution, 2 warning, 3 critical, 4 emergency.",
              static_cast<int>(now.level));
  for (std::size_t level = 0; level < kMemoryLevels; ++level) {
    sheet.counter("pensieve_memory_level_changes_total",
                  "How often each level was entered.",
                  number(now.changes_to[level]),
                  {{"to", std::string(to_string(static_cast<MemoryLevel>(level)))}});
  }
  if (!now.memory.known) return;
  sheet.gauge("pensieve_memory_available_bytes",
              "What the machine can still give, control groups considered.",
              number(now.memory.available_bytes));
  sheet.gauge("pensieve_memory_room_bytes",
              "The same beside the model's weights; what the level is read from.",
              number(now.memory.room_bytes()));
  sheet.gauge("pensieve_memory_stalled_ratio",
              "Share of the last ten seconds in which everything waited for memory.",
              now.memory.stalled / 10'000.0);
}

void add_process(Sheet& sheet, const Readings& readings) {
  sheet.gauge("pensieve_info",
              "Always 1; what runs here is in the labels.",
              1,
              {{"version", readings.version},
               {"model", readings.model},
               {"backend", readings.backend},
               {"kernels", readings.kernels}});
  sheet.gauge("process_start_time_seconds",
              "When the server started, in seconds since 1970.",
              number(readings.started_unix_s));
  sheet.gauge("process_resident_memory_bytes",
              "Resident memory of the process, mapped weights included.",
              number(readings.resident_bytes));
  for (std::size_t use = 0; use < kMemoryUses; ++use) {
    sheet.gauge("pensieve_memory_held_bytes",
                "Memory that is accounted for, by what it is used for.",
                number(readings.held[use]),
                {{"use", std::string(to_string(static_cast<MemoryUse>(use)))}});
  }
  if (readings.memory_limit > 0) {
    sheet.gauge("pensieve_memory_limit_bytes",
                "The most that may be held for all uses together.",
                number(readings.memory_limit));
  }
  add_memory(sheet, readings);
}

}  // namespace

struct Metrics::Counted {
  prometheus::Registry registry;
  prometheus::Family<prometheus::Counter>& requests =
      prometheus::BuildCounter()
          .Name("pensieve_requests_total")
          .Help("Answered requests, by route and status.")
          .Register(registry);
  prometheus::Family<prometheus::Counter>& abandoned =
      prometheus::BuildCounter()
          .Name("pensieve_requests_abandoned_total")
          .Help("Requests whose client left before anything was answered, by route.")
          .Register(registry);
  prometheus::Family<prometheus::Histogram>& duration =
      prometheus::BuildHistogram()
          .Name("pensieve_request_duration_seconds")
          .Help("From a request's last byte to the end of its answer, by route.")
          .Register(registry);
  prometheus::Histogram& queue = histogram(
      "pensieve_queue_seconds",
      "From a request's last byte to the moment the engine begins with its prompt, reading back "
      "from the disk included.");
  prometheus::Histogram& prefill = histogram(
      "pensieve_prefill_seconds", "From the engine's begin with a prompt to the first token.");
  prometheus::Histogram& decode = histogram(
      "pensieve_decode_seconds_per_token", "Mean time of an answer's tokens behind its first one.");

  prometheus::Histogram& first_token = histogram("pensieve_time_to_first_token_seconds",
                                                 "From a request's last byte to the first token.");
  prometheus::Family<prometheus::Counter>& ended =
      prometheus::BuildCounter()
          .Name("pensieve_answers_total")
          .Help("Requests to the model that are over, by how they ended.")
          .Register(registry);

  prometheus::Histogram& histogram(const char* name, const char* help) {
    return prometheus::BuildHistogram().Name(name).Help(help).Register(registry).Add({}, kSeconds);
  }
};

Metrics::Metrics() : counted_(std::make_unique<Counted>()) {}
Metrics::~Metrics() = default;

void Metrics::answered(std::string_view route, int status, Duration taken) {
  const std::string name(route);
  counted_->requests.Add({{"route", name}, {"status", std::to_string(status)}}).Increment();
  counted_->duration.Add({{"route", name}}, kSeconds).Observe(seconds(taken));
}

void Metrics::abandoned(std::string_view route) {
  counted_->abandoned.Add({{"route", std::string(route)}}).Increment();
}

void Metrics::begun(Duration waited) {
  counted_->queue.Observe(seconds(waited));
}
void Metrics::first_token(Duration since_request) {
  counted_->first_token.Observe(seconds(since_request));
}
void Metrics::prefilled(Duration taken) {
  counted_->prefill.Observe(seconds(taken));
}
void Metrics::decoded(Duration each) {
  counted_->decode.Observe(seconds(each));
}

void Metrics::ended(Outcome outcome) {
  counted_->ended.Add({{"outcome", std::string(to_string(outcome))}}).Increment();
}

std::string Metrics::text(const Readings& readings) const {
  std::vector<MetricFamily> families = counted_->registry.Collect();
  Sheet sheet(families);
  add_process(sheet, readings);
  add_alerts(sheet, readings);
  if (readings.engine) add_engine(sheet, *readings.engine);
  if (readings.disk) add_disk(sheet, *readings.disk);
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace pensieve::server
