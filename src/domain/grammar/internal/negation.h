// A schema -> one that takes what it does not.
#pragma once

#include <optional>

#include "domain/grammar/internal/budget.h"
#include "domain/grammar/internal/schema.h"

namespace pensieve::grammar::internal {

// How much of what a schema does not take is asked for: all of it, or as much as can be said. Part
// of it never takes a value that the schema takes, but leaves others out.
enum class Cover { All, Part };

// None if it cannot be said, or nothing of it can. References are not followed. What is made holds
// keywords of our own (schema.h).
std::optional<Json> negation_of(const Json& schema,
                                Cover cover,
                                SchemaCache& cache,
                                Budget& budget);

Json type_schema(unsigned types);  // {"type": […]}, or false for no type

}  // namespace pensieve::grammar::internal
