// Plain matrices of an opened model as Q8_0 in memory of their own, in place of the mapped ones.
#pragma once

#include <cstddef>

#include "foundation/accountant.h"
#include "foundation/result.h"

#include "domain/model/internal/opened_model.h"
#include "domain/model/model_file.h"

namespace pensieve::model {

// Whether `plain` means that this model's matrices are quantised.
bool wants_quantization(const OpenedModel& model, PlainWeights plain);

// Quantises every plain matrix that the forward pass multiplies with and that has rows of whole
// groups of 32; its view points to memory that the model owns from then on. Vectors, an embedding
// that is not the output matrix too (of it single rows are read), and a matrix that Q8_0 cannot
// hold stay where they lie. The fingerprint changes with the first matrix that does. Gives
// the bytes of the matrices that are Q8_0 now. Errors: Unavailable when the accountant refuses; the
// model cannot be used then.
Result<std::size_t> quantize_plain(OpenedModel& model,
                                   const OpenOptions& options,
                                   Accountant& accountant);

}  // namespace pensieve::model
