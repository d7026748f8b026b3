// Unicode Normalization Form C: canonically equal texts become the same bytes. Qwen2's tokenizer
// asks for it. Source: Unicode Standard Annex 15; Unicode 16.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace pensieve::tokenizer {

// The NFC form of `text`: `text` itself if it is in that form already (nothing is copied), or a
// view of `buffer`, which is overwritten. Bytes that are no UTF-8 stay as they are. Time is
// O(n log n) in the longest run of combining marks and linear otherwise; constant stack.
std::string_view to_nfc(std::string_view text, std::string& buffer);

// n bytes of text in NFC come from at most n * kNfcShrink bytes. The most is 3.5: U+1FBE U+0308
// U+0301 (7 bytes) is U+0390 (2 bytes).
inline constexpr std::size_t kNfcShrink = 4;

}  // namespace pensieve::tokenizer
