#include "domain/store/names.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <set>

#include "foundation/text.h"

namespace pensieve::store {
namespace {

constexpr std::size_t kLongestModelName = 100;
constexpr std::size_t kLongestFileName = 200;  // 255 less what .part.json and temporaries add
constexpr std::size_t kLongestReference = 4096;

bool is_plain(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '_' || c == '-';
}

bool is_plain_name(std::string_view name, std::size_t limit) {
  return !name.empty() && name.size() <= limit && name.front() != '.' && name.front() != '-' &&
         std::all_of(name.begin(), name.end(), is_plain);
}

bool is_lower_hex(std::string_view text, std::size_t length) {
  return text.size() == length && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

bool is_repository(std::string_view text) {
  const auto slash = text.find('/');
  return slash != std::string_view::npos &&
         is_plain_name(text.substr(0, slash), kLongestModelName) &&
         is_plain_name(text.substr(slash + 1), kLongestModelName);
}

// A branch, a tag or a commit: it becomes a part of a URL's path.
bool is_revision(std::string_view text) {
  return is_plain_name(text, kLongestModelName);
}

std::string without_suffix(std::string_view name, std::string_view suffix) {
  if (name.ends_with(suffix)) name.remove_suffix(suffix.size());
  return std::string(name);
}

Error unusable(std::string_view text, const std::string& form) {
  return {.kind = ErrorKind::InvalidRequest,
          .message = "'" + printable(text) + "' is not a model that can be fetched: " + form};
}

Result<Reference> parse_hub(std::string_view text) {
  Reference reference{.kind = Reference::Kind::Hub, .revision = "main"};
  std::string_view rest = text.substr(std::string_view("hub:").size());
  if (const auto colon = rest.find(':'); colon != std::string_view::npos) {
    reference.file = rest.substr(colon + 1);
    rest = rest.substr(0, colon);
    if (!is_file_name(reference.file) || !reference.file.ends_with(".gguf")) {
      return unusable(text, "behind the last colon stands the name of a .gguf file");
    }
  }
  if (const auto at = rest.find('@'); at != std::string_view::npos) {
    reference.revision = rest.substr(at + 1);
    rest = rest.substr(0, at);
  }
  if (!is_repository(rest) || !is_revision(reference.revision)) {
    return unusable(text, "the form is hub:OWNER/NAME[@REVISION][:FILE.gguf]");
  }
  reference.repository = rest;
  reference.name = reference.file.empty() ? std::string(rest.substr(rest.find('/') + 1))
                                          : without_suffix(reference.file, ".gguf");
  return reference;
}

Result<Reference> parse_url(std::string_view text) {
  const std::string_view path = text.substr(0, text.find_first_of("?#"));
  const std::string_view file = path.substr(path.rfind('/') + 1);
  if (!is_file_name(file) || !file.ends_with(".gguf")) {
    return unusable(text, "a URL has to end in the name of a .gguf file");
  }
  return Reference{.kind = Reference::Kind::Url,
                   .name = without_suffix(file, ".gguf"),
                   .file = std::string(file),
                   .url = std::string(text)};
}

}  // namespace

bool is_model_name(std::string_view name) {
  return is_plain_name(name, kLongestModelName) && name != "tiny" && name != "default";
}

bool is_file_name(std::string_view name) {
  return is_plain_name(name, kLongestFileName) && name != "manifest.json" &&
         !name.ends_with(".part") && !name.ends_with(".part.json") && !name.ends_with(".rejected");
}

std::string plain_name(std::string_view text) {
  std::string name;
  for (const char c : text) {
    if (is_plain(c) && c != '-' && (c != '.' || !name.empty())) {
      name += c;
    } else if (!name.empty() && name.back() != '-') {
      name += '-';
    }
  }
  name.resize(std::min(name.size(), kLongestModelName));
  while (name.ends_with('-')) name.pop_back();
  return name;
}

bool is_sha256(std::string_view text) {
  return is_lower_hex(text, 64);
}

bool is_git_hash(std::string_view text) {
  return is_lower_hex(text, 40);
}

Result<Reference> parse_reference(const std::string& text) {
  if (text.empty() || text.size() > kLongestReference || text.find('\0') != std::string::npos) {
    return unusable(text, "it is empty, too long, or holds a NUL");
  }
  if (text.starts_with("hub:")) return parse_hub(text);
  if (text.starts_with("https://") || text.starts_with("http://")) return parse_url(text);
  if (text.find("://") != std::string::npos) {
    return unusable(text, "a URL begins with https:// or http://");
  }
  if (is_model_name(text)) return Reference{.kind = Reference::Kind::Name, .name = text};
  return Reference{.kind = Reference::Kind::Path, .path = text};
}

std::string shard_set(const std::string& name) {
  constexpr std::string_view kForm = "-00000-of-00000.gguf";
  if (name.size() <= kForm.size()) return name;
  const std::string_view ending = std::string_view(name).substr(name.size() - kForm.size());
  for (std::size_t i = 0; i < kForm.size(); ++i) {
    const bool fits =
        kForm[i] == '0' ? ending[i] >= '0' && ending[i] <= '9' : ending[i] == kForm[i];
    if (!fits) return name;
  }
  constexpr std::size_t kOf = 6, kOfBytes = 9;  // "-of-00003"
  return name.substr(0, name.size() - kForm.size()) + std::string(ending.substr(kOf, kOfBytes));
}

bool is_needed(const std::string& file) {
  static constexpr std::array<std::string_view, 11> kNames = {"config.json",
                                                              "generation_config.json",
                                                              "tokenizer.json",
                                                              "tokenizer_config.json",
                                                              "tokenizer.model",
                                                              "special_tokens_map.json",
                                                              "added_tokens.json",
                                                              "vocab.json",
                                                              "merges.txt",
                                                              "chat_template.jinja",
                                                              "chat_template.json"};
  return std::find(kNames.begin(), kNames.end(), file) != kNames.end() ||
         file.ends_with(".safetensors") || file.ends_with(".safetensors.index.json");
}

std::vector<std::string> files_of_model(const std::vector<std::string>& names,
                                        const std::string& file) {
  std::vector<std::string> picked;
  const auto take = [&](const auto& wanted) {
    std::copy_if(names.begin(), names.end(), std::back_inserter(picked), wanted);
  };
  if (!file.empty()) {
    take([&](const std::string& name) { return shard_set(name) == shard_set(file); });
    const bool there = std::find(picked.begin(), picked.end(), file) != picked.end();
    return there ? picked : std::vector<std::string>();
  }
  if (std::any_of(names.begin(), names.end(), [](const std::string& name) {
        return name.ends_with(".safetensors");
      })) {
    // Files in folders belong to other programs; a folder's name before an otherwise needed file
    // is looked at by is_file_name().
    take([](const std::string& name) {
      return is_needed(name) && (name.find('/') == std::string::npos || name.starts_with('/') ||
                                 name.find("..") != std::string::npos);
    });
  } else {
    take([](const std::string& name) { return name.ends_with(".gguf"); });
  }
  return picked;
}

bool are_several_ggufs(const std::vector<std::string>& names) {
  std::set<std::string> models;
  for (const std::string& name : names)
    if (name.ends_with(".gguf")) models.insert(shard_set(name));
  return models.size() > 1;
}

}  // namespace pensieve::store
