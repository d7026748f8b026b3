// tokenizer.ggml.* of a GGUF file -> TokenizerSource.
#pragma once

#include "foundation/result.h"

#include "domain/model/internal/gguf.h"
#include "domain/model/model_file.h"

namespace pensieve::model {

// `vocab` is the number of embedding rows: a token list, if there is one, has that length, and so
// have its scores and types; every id is within it. A file without a token list gives an empty
// source. Errors: BadFile.
Result<TokenizerSource> read_gguf_tokenizer(const Gguf& gguf, int vocab);

}  // namespace pensieve::model
