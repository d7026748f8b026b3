// Any bytes as a GGUF image: refused with a BadFile sentence, or a model whose every view can be
// read. Seeds: small models of several block types, with and without LongRoPE.
#include <cstddef>
#include <cstdint>

#include "domain/model/internal/fuzz_use.h"
#include "domain/model/model_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace pensieve;
  Accountant accountant;
  const auto bytes = std::as_bytes(std::span(data, size));
  auto model = model::ModelFile::from_memory(bytes, "fuzz", accountant);
  if (model) {
    model::use(**model);
  } else {
    CHECK(model.error().kind == ErrorKind::BadFile && !model.error().message.empty());
  }
  return 0;
}
