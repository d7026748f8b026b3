#include "domain/model/internal/fingerprint.h"

#include <openssl/evp.h>

#include <array>

#include "foundation/check.h"
#include "foundation/text.h"

#include "domain/model/internal/cursor.h"
#include "domain/model/internal/opened_model.h"

namespace pensieve::model {
namespace {
constexpr std::size_t kSampleBytes = 1024;
}  // namespace

struct Fingerprint::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~State() { EVP_MD_CTX_free(context); }
};

Fingerprint::Fingerprint() : state_(std::make_unique<State>()) {
  CHECK(state_->context != nullptr);
  CHECK(EVP_DigestInit_ex(state_->context, EVP_sha256(), nullptr) == 1);
  add("fingerprint version", 1);
}

Fingerprint::~Fingerprint() = default;

void Fingerprint::update(std::span<const std::byte> bytes) {
  CHECK(EVP_DigestUpdate(state_->context, bytes.data(), bytes.size()) == 1);
}

void Fingerprint::add(std::string_view name, std::span<const std::byte> bytes) {
  add(name, std::uint64_t{bytes.size()});
  update(bytes);
}

void Fingerprint::add(std::string_view name, std::uint64_t number) {
  const std::uint64_t length = name.size();
  update(std::as_bytes(std::span(&length, 1)));
  update(as_bytes(name));
  update(std::as_bytes(std::span(&number, 1)));
}

void Fingerprint::add_samples(const compute::ModelWeights& weights) {
  const auto sample = [&](const std::byte* data, std::size_t size) {
    if (size <= 3 * kSampleBytes) return add("array", std::span(data, size));
    add("samples of", std::uint64_t{size});
    update({data, kSampleBytes});
    update({data + size / 2, kSampleBytes});
    update({data + size - kSampleBytes, kSampleBytes});
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
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  CHECK(EVP_DigestFinal_ex(state_->context, digest.data(), &size) == 1);
  return pensieve::hex(std::span(digest).first(size));
}

}  // namespace pensieve::model
