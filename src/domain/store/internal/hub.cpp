#include "domain/store/internal/hub.h"

#include <algorithm>
#include <utility>

#include "foundation/json.h"
#include "foundation/text.h"

#include "domain/store/internal/disk_room.h"
#include "domain/store/internal/follow.h"
#include "domain/store/names.h"
#include "domain/store/store.h"

namespace pensieve::store {
namespace {

constexpr std::size_t kLongestListing = std::size_t{8} << 20;
constexpr std::uint64_t kLargestFile = std::uint64_t{1} << 42;

Error senseless(const std::string& what) {
  return {.kind = ErrorKind::Unavailable, .message = "the model hub's answer " + what};
}

std::string text_field(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_string() ? found->get<std::string>() : std::string();
}

// With the way out: of the network's troubles some can be helped here.
Error no_listing(std::string what, FetchEnd end, int tries) {
  if (tries > 1) what += " (" + std::to_string(tries) + " tries)";
  if (end == FetchEnd::Unreachable) {
    what += "; is this machine online? https_proxy names a proxy, PENSIEVE_HUB_URL another hub";
  }
  if (tries > 1) what += kGoesOn;
  return {.kind = ErrorKind::Unavailable, .message = std::move(what)};
}

// Digests are held to their exact form here: what is not one never becomes an expectation.
Result<HubFile> read_file_entry(const Json& entry, const std::string& name) {
  HubFile file{.name = name};
  if (!is_file_name(name)) {
    return senseless("names a file '" + printable(name) + "', which cannot be stored");
  }
  const auto size = entry.find("size");
  if (size == entry.end() || !size->is_number_unsigned() ||
      size->get<std::uint64_t>() > kLargestFile) {
    return senseless("gives no sensible size for " + name);
  }
  file.bytes = size->get<std::uint64_t>();
  const auto large = entry.find("lfs");
  if (large != entry.end() && large->is_object()) {
    file.sha256 = text_field(*large, "sha256");
    if (!is_sha256(file.sha256)) {
      return senseless("gives '" + printable(file.sha256, 100) + "' as the SHA-256 of " + name +
                       ", which is not 64 hexadecimal digits");
    }
    return file;
  }
  file.git_blob = text_field(entry, "blobId");
  if (!is_git_hash(file.git_blob)) {
    return senseless("gives no sensible blob id for " + name);
  }
  return file;
}

}  // namespace

Result<HubListing> parse_listing(std::string_view text, const std::string& file) {
  const auto json = parse_json(text);
  if (!json || !json->is_object()) return senseless("is not what it should be");
  HubListing listing{.commit = text_field(*json, "sha")};
  const auto siblings = json->find("siblings");
  if (!is_git_hash(listing.commit) || siblings == json->end() || !siblings->is_array()) {
    return senseless("names no commit and no files");
  }
  std::vector<std::string> names;
  for (const Json& entry : *siblings) {
    if (entry.is_object()) names.push_back(text_field(entry, "rfilename"));
  }
  std::vector<std::string> picked = files_of_model(names, file);
  if (picked.empty()) {
    return Error{.kind = ErrorKind::NotFound,
                 .message = file.empty() ? "the repository holds neither safetensors nor GGUF files"
                                         : "the repository has no file " + file};
  }
  if (are_several_ggufs(picked)) {
    std::string list;
    for (const std::string& name : picked) list += " " + printable(name, 100);
    return Error{.kind = ErrorKind::InvalidRequest,
                 .message =
                     "the repository holds several GGUF files, so name one as "
                     "hub:OWNER/NAME:FILE.gguf:" +
                     printable(list, 1500)};
  }
  std::sort(picked.begin(), picked.end());
  for (const Json& entry : *siblings) {
    if (!entry.is_object()) continue;
    const std::string name = text_field(entry, "rfilename");
    if (!std::binary_search(picked.begin(), picked.end(), name)) continue;
    PENSIEVE_TRY(HubFile found, read_file_entry(entry, name));
    listing.files.push_back(std::move(found));
  }
  std::sort(listing.files.begin(), listing.files.end(), [](const HubFile& a, const HubFile& b) {
    return a.name < b.name;
  });
  const auto twice = std::adjacent_find(
      listing.files.begin(), listing.files.end(), [](const HubFile& a, const HubFile& b) {
        return a.name == b.name;
      });
  if (twice != listing.files.end()) return senseless("names " + twice->name + " twice");
  return listing;
}

Result<HubListing> list_repository(const std::string& hub_url,
                                   const std::string& repository,
                                   const std::string& revision,
                                   const std::string& file,
                                   const std::string& bearer,
                                   const DownloadHooks& hooks,
                                   int tries) {
  const FetchRequest request{
      .url = hub_url + "/api/models/" + repository + "/revision/" + revision + "?blobs=true",
      .bearer = bearer};
  const std::string hub = "the model hub at " + printable(origin_of(hub_url), 200);
  std::int64_t wait_ms = 500;
  for (int n = 1;; ++n, wait_ms *= 2) {
    std::string text;
    FetchHead head;
    const FetchSink sink{.head =
                             [&](const FetchHead& got) {
                               head = got;
                               return true;
                             },
                         .body =
                             [&](std::span<const std::byte> bytes) {
                               text.append(reinterpret_cast<const char*>(bytes.data()),
                                           bytes.size());
                               return text.size() <= kLongestListing;
                             },
                         .stopped = hooks.stopped};
    PENSIEVE_TRY(const FetchOutcome outcome,
                 follow(hooks.fetch, request, hooks.allow_private, sink));
    if (outcome.end == FetchEnd::Stopped) {
      return Error{.kind = ErrorKind::Cancelled, .message = "stopped"};
    }
    if (outcome.end == FetchEnd::Refused) return senseless("is too long");
    std::string why = outcome.what;
    if (outcome.end == FetchEnd::Complete) {
      if (head.status == 200) return parse_listing(text, file);
      why = "answers with status " + std::to_string(head.status);
      // The public hub says 401, not 404, about what does not exist or is private.
      if (head.status == 401 || head.status == 403) {
        return Error{.kind = ErrorKind::Permission,
                     .message = hub + " does not show " + repository + " to strangers (status " +
                                std::to_string(head.status) +
                                "): either there is no such repository, or HF_TOKEN has to hold a "
                                "token that may read it"};
      }
      if (head.status == 404) {
        return Error{.kind = ErrorKind::NotFound,
                     .message = hub + " has no " + repository + " at revision " + revision};
      }
    }
    if (n >= tries) return no_listing(hub + " " + why, outcome.end, tries);
    if (head.retry_after_s > 0) {
      wait_ms = std::min<std::int64_t>(300'000, std::int64_t{head.retry_after_s} * 1000);
    }
    hooks.note(hub + " " + why + "; trying again in " + std::to_string((wait_ms + 999) / 1000) +
               " s");
    if (!hooks.wait(wait_ms)) return Error{.kind = ErrorKind::Cancelled, .message = "stopped"};
  }
}

}  // namespace pensieve::store
