#include "domain/model/internal/fingerprint.h"

#include "foundation/text.h"

#include "domain/model/internal/cursor.h"
#include "domain/model/internal/opened_model.h"

namespace pensieve::model {
namespace {
constexpr std::size_t kSampleBytes = 1024;
}  // namespace

Fingerprint::Fingerprint() {
  add("fingerprint version", 1);
}

void Fingerprint::add(std::string_view name, std::span<const std::byte> bytes) {
  add(name, std::uint64_t{bytes.size()});
  digest_.update(bytes);
}

void Fingerprint::add(std::string_view name, std::uint64_t number) {
  const std::uint64_t length = name.size();
  digest_.update(std::as_bytes(std::span(&length, 1)));
  digest_.update(as_bytes(name));
  digest_.update(std::as_bytes(std::span(&number, 1)));
}

void Fingerprint::add_samples(const compute::ModelWeights& weights) {
  const auto sample = [&](const std::byte* data, std::size_t size) {
    if (size <= 3 * kSampleBytes) return add("array", std::span(data, size));
    add("samples of", std::uint64_t{size});
    digest_.update({data, kSampleBytes});
    digest_.update({data + size / 2, kSampleBytes});
    digest_.update({data + size - kSampleBytes, kSampleBytes});
  };
  for (const compute::WeightView* view : all_weights(weights)) {
    const std::size_t data_bytes = view->row_bytes() * static_cast<std::size_t>(view->rows);
    sample(view->data, data_bytes);
    if (view->scales == nullptr) continue;
    const std::size_t array_bytes = (view->total_bytes() - data_bytes) / 2;
    sample(view->scales, array_bytes);
    sample(view->biases, array_bytes);
  }
}

std::string Fingerprint::hex() {
  return pensieve::hex(digest_.finish());
}

}  // namespace pensieve::model
