#include "domain/model/internal/safetensors.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <unordered_set>

#include "foundation/json.h"

#include "domain/model/internal/bad_file.h"
#include "domain/model/internal/cursor.h"

namespace pensieve::model {
namespace {

constexpr std::uint64_t kLengthBytes = 8;

// Characters of the header, counting how many were read: the JSON reader does not say where it is
// when it hands a value over.
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator(const char* at, const char** read) : at_(at), read_(read) {}
  const char& operator*() const { return *at_; }
  CountingIterator& operator++() {
    *read_ = ++at_;
    return *this;
  }
  bool operator==(const CountingIterator& other) const { return at_ == other.at_; }
  bool operator!=(const CountingIterator& other) const { return at_ != other.at_; }

 private:
  const char* at_;
  const char** read_;
};

// Bytes of one element of each type the format defines; 0 for an unknown name.
std::uint64_t element_bytes(std::string_view type) {
  constexpr std::pair<std::string_view, std::uint64_t> kTypes[] = {{"F32", 4},
                                                                   {"F16", 2},
                                                                   {"BF16", 2},
                                                                   {"U32", 4},
                                                                   {"I32", 4},
                                                                   {"I64", 8},
                                                                   {"U64", 8},
                                                                   {"F64", 8},
                                                                   {"I16", 2},
                                                                   {"U16", 2},
                                                                   {"I8", 1},
                                                                   {"U8", 1},
                                                                   {"F8_E4M3", 1},
                                                                   {"BOOL", 1},
                                                                   {"F8_E5M2", 1}};
  for (const auto& [name, bytes] : kTypes) {
    if (name == type) return bytes;
  }
  return 0;
}

SafetensorsType type_of(std::string_view name) {
  if (name == "F32") return SafetensorsType::F32;
  if (name == "F16") return SafetensorsType::F16;
  if (name == "BF16") return SafetensorsType::BF16;
  if (name == "U32") return SafetensorsType::U32;
  return SafetensorsType::Other;
}

// Takes the header's JSON events and allows exactly {name: {dtype, shape, data_offsets}} and
// {"__metadata__": {text: text}}: nothing nests deeper, so nothing needs a stack.
class HeaderReader : public nlohmann::json_sax<Json> {
 public:
  HeaderReader(const char* text, const char** read) : text_(text), read_(read) {}

  bool null() override { return unexpected("null"); }
  bool boolean(bool) override { return unexpected("a bool"); }
  bool number_integer(number_integer_t) override { return unexpected("a negative number"); }
  bool number_float(number_float_t, const string_t&) override { return unexpected("a fraction"); }
  bool binary(binary_t&) override { return unexpected("binary data"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (place_ == Place::Shape) {
      if (tensor_.shape.size() >= kMaxSafetensorsDims) return refuse(" has too many dimensions");
      tensor_.shape.push_back(value);
      return true;
    }
    if (place_ == Place::Offsets) {
      if (n_offsets_ == 2) return refuse(" has more than two data_offsets");
      (n_offsets_++ == 0 ? begin_ : end_) = value;
      return true;
    }
    return unexpected("a number");
  }

  bool string(string_t& value) override {
    if (place_ == Place::MetadataValue) {
      found.metadata.emplace_back(std::move(metadata_key_), std::move(value));
      place_ = Place::MetadataKey;
      return true;
    }
    if (place_ != Place::Dtype) return unexpected("a string");
    tensor_.type_name = std::move(value);
    tensor_.type = type_of(tensor_.type_name);
    place_ = Place::TensorKey;
    return true;
  }

  bool start_object(std::size_t) override {
    if (place_ == Place::Start) {
      place_ = Place::Name;
      return true;
    }
    if (place_ != Place::Tensor && place_ != Place::Metadata) return unexpected("an object");
    place_ = place_ == Place::Tensor ? Place::TensorKey : Place::MetadataKey;
    return true;
  }

  bool end_object() override {
    if (place_ == Place::Name) {
      place_ = Place::End;
      return true;
    }
    if (place_ == Place::TensorKey && !finish_tensor()) return false;
    place_ = Place::Name;
    return true;
  }

  bool start_array(std::size_t) override {
    if (place_ == Place::ShapeStart) {
      place_ = Place::Shape;
      return true;
    }
    if (place_ != Place::OffsetsStart) return unexpected("an array");
    place_ = Place::Offsets;
    return true;
  }
  bool end_array() override {
    place_ = Place::TensorKey;
    return true;
  }

  bool key(string_t& name) override {
    if (place_ == Place::Name) return start_entry(name);
    if (place_ == Place::MetadataKey) {
      if (found.metadata.size() >= kMaxSafetensorsMetadata) {
        return refuse(" has too many fields");
      }
      metadata_key_ = std::move(name);
      place_ = Place::MetadataValue;
      return true;
    }
    std::size_t field = 0;
    for (const std::string_view known : {"dtype", "shape", "data_offsets"}) {
      if (name == known) break;
      ++field;
    }
    if (field == 3) return refuse(" has the unknown field " + in_quotes(name));
    if (seen_[field]) return refuse(" has the field " + in_quotes(name) + " twice");
    seen_[field] = true;
    place_ = field == 0 ? Place::Dtype : field == 1 ? Place::ShapeStart : Place::OffsetsStart;
    return true;
  }

  bool parse_error(std::size_t position,
                   const std::string&,
                   const nlohmann::detail::exception&) override {
    // Counted from 1: the last byte the reader took.
    error = "the header is no valid JSON at byte " +
            std::to_string(kLengthBytes + (position > 0 ? position - 1 : 0));
    return false;
  }

  Safetensors found;
  std::string error;

 private:
  enum class Place {
    Start,
    Name,
    Tensor,
    TensorKey,
    Dtype,
    ShapeStart,
    Shape,
    OffsetsStart,
    Offsets,
    Metadata,
    MetadataKey,
    MetadataValue,
    End
  };

  std::uint64_t offset() const { return kLengthBytes + static_cast<std::uint64_t>(*read_ - text_); }
  bool refuse(const std::string& what) {
    error = (tensor_.name.empty() ? "the header near byte " + std::to_string(offset())
                                  : at_byte("tensor", tensor_.name, tensor_.entry_offset)) +
            what;
    return false;
  }
  bool unexpected(const std::string& what) {
    error = "the header has " + what + " where none belongs, before byte " +
            std::to_string(offset()) +
            (tensor_.name.empty() ? "" : ", in tensor " + in_quotes(tensor_.name));
    return false;
  }

  bool start_entry(const std::string& name) {
    tensor_ = {};
    tensor_.entry_offset = offset() - std::min<std::uint64_t>(offset(), name.size() + 2);
    seen_[0] = seen_[1] = seen_[2] = false;
    n_offsets_ = 0;
    if (name.empty()) return refuse(": a tensor has an empty name");
    tensor_.name = name;
    if (name.find('\0') != std::string::npos) return refuse(" has NUL in its name");
    if (!names_.insert(name).second) return refuse(" occurs twice");
    if (name == "__metadata__") {
      place_ = Place::Metadata;
      return true;
    }
    if (found.tensors.size() >= kMaxSafetensorsTensors) {
      return refuse(" is one tensor more than the bound of " +
                    std::to_string(kMaxSafetensorsTensors));
    }
    place_ = Place::Tensor;
    return true;
  }

  bool finish_tensor() {
    if (!seen_[0] || !seen_[1] || !seen_[2] || n_offsets_ != 2) {
      return refuse(" lacks dtype, shape or two data_offsets");
    }
    const std::uint64_t width = element_bytes(tensor_.type_name);
    if (width == 0) return refuse(" has the unknown dtype " + in_quotes(tensor_.type_name));
    std::uint64_t bytes = width;
    for (const std::uint64_t length : tensor_.shape) {
      if (__builtin_mul_overflow(bytes, length, &bytes)) {
        return refuse(" has more bytes than 64 bits can count");
      }
    }
    if (end_ < begin_ || end_ - begin_ != bytes) {
      return refuse(" has data_offsets " + std::to_string(begin_) + " to " + std::to_string(end_) +
                    ", but its shape needs " + std::to_string(bytes) + " bytes");
    }
    tensor_.begin = begin_;
    tensor_.bytes = bytes;
    found.tensors.push_back(std::move(tensor_));
    tensor_ = {};
    return true;
  }

  const char* text_;
  const char** read_;
  Place place_ = Place::Start;
  SafetensorsTensor tensor_;
  bool seen_[3] = {};
  int n_offsets_ = 0;
  std::uint64_t begin_ = 0, end_ = 0;
  std::string metadata_key_;
  std::unordered_set<std::string> names_;
};

// Data ranges must cover the rest of the file exactly, one after another.
Result<void> place_data(Safetensors& found, std::uint64_t file_bytes) {
  std::sort(found.tensors.begin(), found.tensors.end(), [](const auto& a, const auto& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.bytes < b.bytes;
  });
  const std::uint64_t data_bytes = file_bytes - found.data_begin;
  std::uint64_t expected = 0;
  for (SafetensorsTensor& tensor : found.tensors) {
    const std::string name = at_byte("tensor", tensor.name, tensor.entry_offset);
    if (tensor.begin > data_bytes || tensor.bytes > data_bytes - tensor.begin) {
      return bad_file(name + " ends at byte " + std::to_string(tensor.begin + tensor.bytes) +
                      " of the data, which has " + std::to_string(data_bytes));
    }
    if (tensor.begin != expected) {
      return bad_file(name + " begins at byte " + std::to_string(tensor.begin) +
                      " of the data; the tensor before it ends at byte " +
                      std::to_string(expected));
    }
    expected = tensor.begin + tensor.bytes;
    tensor.begin += found.data_begin;
  }
  if (expected != data_bytes) {
    return bad_file("the last tensor ends at byte " + std::to_string(expected) +
                    " of the data, which has " + std::to_string(data_bytes));
  }
  return {};
}

}  // namespace

Result<Safetensors> parse_safetensors(std::span<const std::byte> file) {
  Cursor cursor(file);
  std::uint64_t header_bytes = 0;
  if (!cursor.read(&header_bytes)) return bad_file("the file ends inside its first 8 bytes");
  if (header_bytes > kMaxSafetensorsHeader) {
    return bad_file("the header length " + std::to_string(header_bytes) + " at byte 0 is beyond " +
                    std::to_string(kMaxSafetensorsHeader));
  }
  std::span<const std::byte> header;
  if (!cursor.take(header_bytes, &header)) {
    return bad_file("the header length " + std::to_string(header_bytes) +
                    " at byte 0 is beyond the end of the file at byte " +
                    std::to_string(file.size()));
  }
  const std::string_view text = as_text(header);
  const char* read = text.data();
  HeaderReader reader(text.data(), &read);
  if (!Json::sax_parse(CountingIterator(text.data(), &read),
                       CountingIterator(text.data() + text.size(), &read),
                       &reader)) {
    return bad_file(reader.error);
  }
  Safetensors found = std::move(reader.found);
  found.data_begin = cursor.offset();
  PENSIEVE_TRY(place_data(found, file.size()));
  return found;
}

}  // namespace pensieve::model
