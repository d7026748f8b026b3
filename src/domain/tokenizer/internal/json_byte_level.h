// What a tokenizer.json says about byte-level BPE beside its vocabulary. Heavy (JSON): include it
// from .cpp files only.
#pragma once

#include "foundation/json.h"
#include "foundation/result.h"

#include "domain/tokenizer/internal/byte_level.h"

namespace pensieve::tokenizer {

// Whether the normalizer, which may be null, is NFC. Errors: BadFile if it is anything else.
Result<bool> byte_level_nfc(const Json* normalizer);

// The cuts that the pre_tokenizer asks for: ByteLevel alone (GPT-2's pattern), Digits before it, or
// a Split by a known pattern before a ByteLevel that does not split again. Errors: BadFile with the
// type or the pattern in it if it is anything else, or null.
Result<Cuts> byte_level_cuts(const Json* pre_tokenizer);

}  // namespace pensieve::tokenizer
