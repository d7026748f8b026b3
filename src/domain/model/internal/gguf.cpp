#include "domain/model/internal/gguf.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "domain/model/internal/bad_file.h"
#include "domain/model/internal/cursor.h"

namespace pensieve::model {
namespace {

using compute::WeightType;

constexpr std::uint32_t kMagic = 0x46554747;  // "GGUF"
constexpr std::uint32_t kDefaultAlignment = 32;

std::string at(std::uint64_t offset) {
  return " at byte " + std::to_string(offset);
}

// Bytes of one number; 0 for String and Array.
std::uint64_t width_of(GgufType type) {
  switch (type) {
    case GgufType::U8:
    case GgufType::I8:
    case GgufType::Bool:
      return 1;
    case GgufType::U16:
    case GgufType::I16:
      return 2;
    case GgufType::U32:
    case GgufType::I32:
    case GgufType::F32:
      return 4;
    case GgufType::U64:
    case GgufType::I64:
    case GgufType::F64:
      return 8;
    case GgufType::String:
    case GgufType::Array:
      break;
  }
  return 0;
}

// The type ids of the file format that have a WeightType.
std::optional<WeightType> weight_type(std::uint32_t id) {
  switch (id) {
    case 0:
      return WeightType::F32;
    case 1:
      return WeightType::F16;
    case 2:
      return WeightType::Q4_0;
    case 3:
      return WeightType::Q4_1;
    case 6:
      return WeightType::Q5_0;
    case 7:
      return WeightType::Q5_1;
    case 8:
      return WeightType::Q8_0;
    case 10:
      return WeightType::Q2_K;
    case 11:
      return WeightType::Q3_K;
    case 12:
      return WeightType::Q4_K;
    case 13:
      return WeightType::Q5_K;
    case 14:
      return WeightType::Q6_K;
    case 30:
      return WeightType::BF16;
    default:
      return std::nullopt;
  }
}

// Reads the parts of a file in order; `gguf_` grows with what was read.
class Parser {
 public:
  explicit Parser(std::span<const std::byte> file) : file_(file), cursor_(file) {}

  Result<Gguf> parse() {
    std::uint64_t n_tensors = 0, n_values = 0;
    PENSIEVE_TRY(read_counts(&n_tensors, &n_values));
    for (std::uint64_t i = 0; i < n_values; ++i) PENSIEVE_TRY(read_value(i));
    PENSIEVE_TRY(const std::uint32_t alignment, read_alignment());
    for (std::uint64_t i = 0; i < n_tensors; ++i) PENSIEVE_TRY(read_tensor(i));
    PENSIEVE_TRY(place_data(alignment));
    return std::move(gguf_);
  }

 private:
  Error ends_in(const std::string& what) const {
    return bad_file("the file ends inside " + what + at(cursor_.offset()));
  }

  Result<void> read_counts(std::uint64_t* n_tensors, std::uint64_t* n_values) {
    std::uint32_t magic = 0;
    if (!cursor_.read(&magic)) return ends_in("the magic number");
    if (magic != kMagic) return bad_file("the magic number at byte 0 is not GGUF");
    if (!cursor_.read(&gguf_.version)) return ends_in("the version");
    const std::uint32_t version = gguf_.version;
    if (version != 0 && (version & 0xFFFF) == 0) {
      return bad_file(
          "the file is big-endian (version field at byte 4); only little-endian GGUF "
          "can be used");
    }
    if (version != 2 && version != 3) {
      return bad_file("GGUF version " + std::to_string(version) +
                      " at byte 4 is not known; 2 and 3 are");
    }
    const std::uint64_t tensors_at = cursor_.offset();
    if (!cursor_.read(n_tensors)) return ends_in("the tensor count");
    const std::uint64_t values_at = cursor_.offset();
    if (!cursor_.read(n_values)) return ends_in("the key count");
    // Nothing is allocated from these counts; the bounds only make the sentence come early.
    if (*n_tensors > kMaxGgufTensors) {
      return bad_file("the tensor count " + std::to_string(*n_tensors) + at(tensors_at) +
                      " is beyond " + std::to_string(kMaxGgufTensors));
    }
    if (*n_values > kMaxGgufKeys) {
      return bad_file("the key count " + std::to_string(*n_values) + at(values_at) + " is beyond " +
                      std::to_string(kMaxGgufKeys));
    }
    return {};
  }

  // A 64-bit length and that many bytes. `what` goes into the sentence.
  Result<std::span<const std::byte>> read_string(const std::string& what, std::uint64_t limit) {
    const std::uint64_t start = cursor_.offset();
    std::uint64_t length = 0;
    if (!cursor_.read(&length)) return ends_in("the length of " + what);
    if (length > limit) {
      return bad_file("the length of " + what + at(start) + " is " + std::to_string(length) +
                      "; the limit is " + std::to_string(limit));
    }
    std::span<const std::byte> text;
    if (!cursor_.take(length, &text)) {
      return bad_file("the length of " + what + at(start) + " is " + std::to_string(length) +
                      ", beyond the end of the file");
    }
    return text;
  }

  Result<void> read_value(std::uint64_t index) {
    GgufValue value;
    value.offset = cursor_.offset();
    PENSIEVE_TRY(const auto key, read_string("key " + std::to_string(index), kMaxGgufKeyBytes));
    value.key = as_text(key);
    const std::string name = at_byte("key", value.key, value.offset);
    if (value.key.empty())
      return bad_file("key " + std::to_string(index) + at(value.offset) + " has an empty name");
    if (!is_valid_utf8(value.key)) return bad_file(name + " is not valid UTF-8");
    PENSIEVE_TRY(value.type, read_type(name));
    if (value.type == GgufType::Array) {
      PENSIEVE_TRY(read_array(name, &value));
    } else if (value.type == GgufType::String) {
      PENSIEVE_TRY(value.bytes, read_string(name, UINT64_MAX));
    } else if (!cursor_.take(width_of(value.type), &value.bytes)) {
      return ends_in(name);
    }
    if (value.type == GgufType::Bool && std::to_integer<int>(value.bytes[0]) > 1) {
      return bad_file(name + " is a bool with a value other than 0 and 1");
    }
    if (!gguf_.value_index.emplace(value.key, gguf_.values.size()).second) {
      return bad_file(name + " occurs twice");
    }
    gguf_.values.push_back(value);
    return {};
  }

  Result<GgufType> read_type(const std::string& name) {
    std::uint32_t id = 0;
    if (!cursor_.read(&id)) return ends_in("the type of " + name);
    if (id >= kGgufTypes) {
      return bad_file(name + " has the unknown value type " + std::to_string(id));
    }
    return static_cast<GgufType>(id);
  }

  Result<void> read_array(const std::string& name, GgufValue* value) {
    PENSIEVE_TRY(value->element, read_type(name));
    if (value->element == GgufType::Array) {
      return bad_file(name + " is an array of arrays, which no model needs");
    }
    if (!cursor_.read(&value->count)) return ends_in(name);
    const std::uint64_t start = cursor_.offset();
    const auto beyond = [&] {
      return bad_file(name + " claims " + std::to_string(value->count) + " elements, " +
                      std::to_string(file_.size() - start) + " bytes before the end of the file");
    };
    if (value->element != GgufType::String) {
      std::uint64_t bytes = 0;
      if (__builtin_mul_overflow(value->count, width_of(value->element), &bytes) ||
          !cursor_.take(bytes, &value->bytes)) {
        return beyond();
      }
      return {};
    }
    if (value->count > cursor_.remaining() / sizeof(std::uint64_t)) return beyond();
    for (std::uint64_t i = 0; i < value->count; ++i) {
      std::uint64_t length = 0;
      std::span<const std::byte> text;
      if (!cursor_.read(&length) || !cursor_.take(length, &text)) {
        return bad_file(name + ": its element " + std::to_string(i) +
                        " goes beyond the end of the file");
      }
    }
    value->bytes = file_.subspan(start, cursor_.offset() - start);
    return {};
  }

  Result<std::uint32_t> read_alignment() const {
    const GgufValue* value = gguf_.value("general.alignment");
    if (value == nullptr) return kDefaultAlignment;
    const std::string name = at_byte("key", value->key, value->offset);
    if (value->type != GgufType::U32) return bad_file(name + " must be a u32");
    const auto alignment = load_number<std::uint32_t>(value->bytes.data());
    if (!std::has_single_bit(alignment) || alignment < 8 || alignment > kMaxGgufAlignment) {
      return bad_file(name + " is " + std::to_string(alignment) +
                      "; it must be a power of two from 8 to " + std::to_string(kMaxGgufAlignment));
    }
    return alignment;
  }

  Result<void> read_tensor(std::uint64_t index) {
    GgufTensor tensor;
    tensor.info_offset = cursor_.offset();
    PENSIEVE_TRY(const auto raw_name,
                 read_string("the name of tensor " + std::to_string(index), kMaxGgufNameBytes));
    tensor.name = as_text(raw_name);
    const std::string name = at_byte("tensor", tensor.name, tensor.info_offset);
    if (tensor.name.empty()) {
      return bad_file("tensor " + std::to_string(index) + at(tensor.info_offset) +
                      " has an empty name");
    }
    if (!is_valid_utf8(tensor.name)) return bad_file(name + " is not valid UTF-8");
    std::uint32_t n_dims = 0;
    if (!cursor_.read(&n_dims)) return ends_in(name);
    if (n_dims < 1 || n_dims > tensor.dims.size()) {
      return bad_file(name + " has " + std::to_string(n_dims) + " dimensions; 1 to 4 are possible");
    }
    tensor.n_dims = static_cast<int>(n_dims);
    std::uint64_t elements = 1;
    for (std::uint32_t i = 0; i < n_dims; ++i) {
      if (!cursor_.read(&tensor.dims[i])) return ends_in(name);
      if (tensor.dims[i] < 1 || tensor.dims[i] > INT64_MAX) {
        return bad_file(name + " has the length " + std::to_string(tensor.dims[i]) +
                        " in dimension " + std::to_string(i));
      }
      if (__builtin_mul_overflow(elements, tensor.dims[i], &elements) || elements > INT64_MAX) {
        return bad_file(name + " has more elements than 63 bits can count");
      }
    }
    std::uint32_t type_id = 0;
    if (!cursor_.read(&type_id)) return ends_in(name);
    const auto type = weight_type(type_id);
    if (!type) {
      return bad_file(name + " has the type " + std::to_string(type_id) +
                      ", which is not among F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, "
                      "Q3_K, Q4_K, Q5_K and Q6_K");
    }
    tensor.type = *type;
    const auto block = compute::block_shape(*type);
    if (tensor.dims[0] % static_cast<std::uint64_t>(block.elements) != 0) {
      return bad_file(name + " has rows of " + std::to_string(tensor.dims[0]) + " elements, but " +
                      std::string(compute::to_string(*type)) + " comes in blocks of " +
                      std::to_string(block.elements));
    }
    if (__builtin_mul_overflow(elements / static_cast<std::uint64_t>(block.elements),
                               static_cast<std::uint64_t>(block.bytes),
                               &tensor.bytes)) {
      return bad_file(name + " has more bytes than 64 bits can count");
    }
    if (!cursor_.read(&tensor.begin)) return ends_in(name);  // relative until place_data()
    if (!gguf_.tensor_index.emplace(tensor.name, gguf_.tensors.size()).second) {
      return bad_file(name + " occurs twice");
    }
    gguf_.tensors.push_back(tensor);
    return {};
  }

  // Turns relative offsets into places in the file and checks that each tensor has its own.
  Result<void> place_data(std::uint32_t alignment) {
    const std::uint64_t header = cursor_.offset();
    gguf_.data_begin = std::min<std::uint64_t>(
        header + (alignment - header % alignment) % alignment, file_.size());
    for (GgufTensor& tensor : gguf_.tensors) {
      const std::string name = at_byte("tensor", tensor.name, tensor.info_offset);
      if (tensor.begin % alignment != 0) {
        return bad_file(name + " has its data at offset " + std::to_string(tensor.begin) +
                        ", which is not a multiple of the alignment " + std::to_string(alignment));
      }
      std::uint64_t end = 0;
      if (__builtin_add_overflow(tensor.begin, gguf_.data_begin, &tensor.begin) ||
          __builtin_add_overflow(tensor.begin, tensor.bytes, &end) || end > file_.size()) {
        return bad_file(name + " has " + std::to_string(tensor.bytes) + " bytes of data at byte " +
                        std::to_string(tensor.begin) + ", beyond the end of the file at byte " +
                        std::to_string(file_.size()));
      }
    }
    std::vector<const GgufTensor*> order;
    order.reserve(gguf_.tensors.size());
    for (const GgufTensor& tensor : gguf_.tensors) order.push_back(&tensor);
    std::sort(order.begin(), order.end(), [](const GgufTensor* a, const GgufTensor* b) {
      return a->begin < b->begin;
    });
    for (std::size_t i = 1; i < order.size(); ++i) {
      if (order[i - 1]->begin + order[i - 1]->bytes > order[i]->begin) {
        return bad_file(at_byte("tensor", order[i]->name, order[i]->info_offset) +
                        " has its data at byte " + std::to_string(order[i]->begin) +
                        ", inside that of " + in_quotes(order[i - 1]->name));
      }
    }
    return {};
  }

  std::span<const std::byte> file_;
  Cursor cursor_;
  Gguf gguf_;
};

}  // namespace

const GgufValue* Gguf::value(std::string_view key) const {
  const auto found = value_index.find(key);
  return found == value_index.end() ? nullptr : &values[found->second];
}

const GgufTensor* Gguf::tensor(std::string_view name) const {
  const auto found = tensor_index.find(name);
  return found == tensor_index.end() ? nullptr : &tensors[found->second];
}

Result<Gguf> parse_gguf(std::span<const std::byte> file) {
  return Parser(file).parse();
}

}  // namespace pensieve::model
