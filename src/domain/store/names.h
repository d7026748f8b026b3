// What may be named: models, their files, digests and places to get them from. An allow-list, asked
// before the first call to the file system. Knows no files and no network.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "foundation/result.h"

namespace pensieve::store {

// A model's name in the store: 1..100 of a-z A-Z 0-9 . _ - and no dot or dash in front, so neither
// a path, nor hidden, nor an option. "tiny" and "default" mean something else already.
bool is_model_name(std::string_view name);

// A file's name inside a model: 1..200 of the same characters, no dot or dash in front, and none of
// the names that the store uses for itself (manifest.json, *.part, *.part.json, *.rejected).
bool is_file_name(std::string_view name);

// The name that is nearest to `text` and can be one: each run of other characters becomes a dash,
// none stands in front or at the end. Empty: nothing is left.
std::string plain_name(std::string_view text);

bool is_sha256(std::string_view text);    // exactly 64 of 0-9 a-f
bool is_git_hash(std::string_view text);  // exactly 40 of 0-9 a-f: a commit or a blob

// Where a model comes from, as the user wrote it.
struct Reference {
  enum class Kind {
    Name,  // `name`, of the catalog or of the store
    Hub,   // `repository` at `revision`, and of it `file` if that is a GGUF file
    Url,   // one GGUF file at `url`
    Path,  // `path`
  };
  Kind kind = Kind::Path;
  std::string name{};        // Name; for Hub and Url the name that the model gets in the store
  std::string repository{};  // "owner/name"
  std::string revision{};    // "main" when not given
  std::string file{};        // empty: the repository's safetensors, or its only GGUF file
  std::string url{};
  std::string path{};
};

// NAME, hub:OWNER/NAME[@REVISION][:FILE.gguf], http(s)://…/FILE.gguf, or a path. What could be a
// name is one; `./name` is a path. Errors: InvalidRequest for a hub reference or a URL that cannot
// be used, with the form that can.
Result<Reference> parse_reference(const std::string& text);

// What the shards of one GGUF model have in common: "m-00002-of-00003.gguf" is of "m-of-00003". The
// name itself for any other file.
std::string shard_set(const std::string& name);

// Whether a model needs this file of a repository: weights, their index, configuration, tokenizer.
bool is_needed(const std::string& file);

// Which of a directory's or a repository's files are a model: `file` with the shards that belong to
// it, or, when it is empty, the safetensors and what is_needed() beside them, or else all GGUF
// files. Empty when there is none.
std::vector<std::string> files_of_model(const std::vector<std::string>& names,
                                        const std::string& file);

// Whether GGUF files of more than one model are among them.
bool are_several_ggufs(const std::vector<std::string>& names);

}  // namespace pensieve::store
