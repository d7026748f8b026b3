// Any bytes as tokenizer.json: refused, or a tokenizer whose ids stay in range and never come out
// as control tokens, and whose text is the same token by token as at once. Texts with combining
// marks, digits and runs of white space reach what byte-level BPE does before it merges.

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "foundation/check.h"
#include "foundation/text.h"

#include "domain/tokenizer/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace pensieve;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto made = tokenizer::Tokenizer::from_json(bytes, {});
  if (!made) return 0;
  const tokenizer::Tokenizer& tokenizer = **made;
  bool has_bytes = false;
  for (TokenId id = 0; id < tokenizer.size(); ++id) {
    has_bytes |= tokenizer.kind(id) == tokenizer::TokenKind::Byte;
  }
  for (const std::string_view text :
       {bytes,
        std::string_view("ab ab  <s>▁x\n"),
        std::string_view("e\u0316\u0301 I'LL 12345 \n \n\t\u1112\u1161\u11AB\u212B'ſ  <tool>"),
        bytes.substr(size / 2)}) {
    std::vector<TokenId> ids;
    tokenizer.encode(text, true, ids);
    for (const TokenId id : ids) {
      const auto kind = tokenizer.kind(id);
      CHECK(id >= 0 && id < tokenizer.size());
      CHECK(kind == tokenizer::TokenKind::Normal || kind == tokenizer::TokenKind::Byte ||
            (kind == tokenizer::TokenKind::Unknown && !has_bytes));
    }
    tokenizer::StreamDecoder stream(tokenizer, true);
    std::string streamed;
    for (const TokenId id : ids) streamed += stream.push(id);
    streamed += stream.flush();
    CHECK(is_valid_utf8(streamed) && streamed == tokenizer.decode(ids, true));
  }
  return 0;
}
