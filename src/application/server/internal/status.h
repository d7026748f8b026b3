// What the server tells about itself, as members of JSON objects: /health has some of them, the
// status that the page shows has all. Numbers and names of models and routes; nothing that anybody
// said.
#pragma once

#include "foundation/json.h"

#include "application/server/internal/context.h"

namespace pensieve::server {

// Level, bytes of the machine and of the process, and what is held for which use.
Json memory_json(Context& context);

// Counts of the engine. REQUIRES: there is one.
Json engine_json(Context& context);

// {"last_60_s": {…}, "last_300_s": {…}}; null where nothing gave a number.
Json performance_json(Context& context);

// [{"name", "level", "message", "since_s"}], the most severe first. Judges how things are first.
Json alerts_json(Context& context);

// [{"id", "route", "phase", "age_s", "prompt_tokens", "cached_tokens", "prefilled_tokens",
// "output_tokens"}], the oldest first; phase: "waiting", "prefill", "decode".
Json requests_json(Context& context);

// What is remembered of prompts, in memory and on the disk, and what that saved. REQUIRES: there is
// an engine.
Json remembered_json(Context& context);

// The names and settings that stay as they are while the server runs, and for how long it has.
void add_identity(Context& context, Json& object);

}  // namespace pensieve::server
