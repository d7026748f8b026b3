// RFC 9110: 14.2 Range, 13.1.5 If-Range, 15.3.7 206, 15.5.17 416. RELIABILITY, cases 34 to 39.
#include "domain/store/internal/file_download.h"

#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <string_view>
#include <utility>
#include <vector>

#include "foundation/text.h"

#include "domain/store/internal/digest.h"
#include "domain/store/internal/disk_room.h"
#include "domain/store/internal/follow.h"
#include "domain/store/internal/sidecar.h"
#include "domain/store/names.h"

namespace pensieve::store {
namespace {

constexpr std::int64_t kFirstWaitMs = 500;
constexpr std::int64_t kLongestWaitMs = 30'000;
constexpr std::int64_t kLongestRetryAfterMs = 300'000;
constexpr std::uint64_t kProgressBytes = std::uint64_t{1} << 20;

// What a full disk has to give back, and a name takes at most.
constexpr std::uint64_t kRoomForSidecar = 64 * 1024;

// "bytes 5-9/10" (RFC 9110, 14.4); anything else, an unknown length too, is nothing.
struct ContentRange {
  std::uint64_t first = 0, last = 0, total = 0;
};
std::optional<ContentRange> parse_content_range(std::string_view text) {
  constexpr std::string_view kUnit = "bytes ";
  if (!text.starts_with(kUnit)) return std::nullopt;
  text.remove_prefix(kUnit.size());
  ContentRange range;
  const auto number = [&](std::uint64_t& out, char behind) {
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), out);
    if (parsed.ec != std::errc()) return false;
    text.remove_prefix(static_cast<std::size_t>(parsed.ptr - text.data()));
    if (behind == '\0') return text.empty();
    if (!text.starts_with(behind)) return false;
    text.remove_prefix(1);
    return true;
  };
  if (!number(range.first, '-') || !number(range.last, '/') || !number(range.total, '\0')) {
    return std::nullopt;
  }
  return range;
}

// 10 of "bytes */10", which a 416 says about the whole (RFC 9110, 15.5.17).
std::optional<std::uint64_t> parse_whole_length(std::string_view text) {
  constexpr std::string_view kBefore = "bytes */";
  if (!text.starts_with(kBefore)) return std::nullopt;
  text.remove_prefix(kBefore.size());
  std::uint64_t length = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), length);
  if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size()) return std::nullopt;
  return length;
}

// Whether the sidecar is about this very content.
bool continues(const Sidecar& sidecar, const FileSource& source) {
  if (sidecar.url != source.url) return false;
  if (source.size && sidecar.total && *source.size != *sidecar.total) return false;
  if (!source.sha256.empty() && !sidecar.sha256.empty() && source.sha256 != sidecar.sha256) {
    return false;
  }
  // Without a strong tag and without a digest nothing would show that the file has changed.
  return !sidecar.etag.empty() || !source.sha256.empty();
}

class Download {
 public:
  Download(const Directory& directory,
           std::string name,
           const FileSource& source,
           const DownloadHooks& hooks)
      : directory_(directory),
        name_(std::move(name)),
        part_(name_ + ".part"),
        notes_(name_ + ".part.json"),
        source_(source),
        hooks_(hooks) {}

  Result<Downloaded> run() {
    PENSIEVE_TRY(resume());
    std::uint64_t furthest = position_;
    for (int tries = 0;;) {
      const Attempt attempt = whole() ? Attempt{.what = What::Whole} : try_once();
      switch (attempt.what) {
        case What::Whole: {
          PENSIEVE_TRY(const bool good, verify());
          if (good) return promote();
          break;  // what was resumed was not what it seemed: once more, from 0
        }
        case What::Fatal:
          // Where even the sidecar cannot be written the one before it stays, and less is kept.
          if (auto kept = keep(); !kept) hooks_.note(kept.error().message);
          return *attempt.error;
        case What::Restart:
          PENSIEVE_TRY(restart());
          break;
        case What::Retry:
          break;
      }
      // Only what was never reached before counts, so that a server cannot keep this going for
      // ever.
      if (position_ >= furthest + kProgressBytes) {
        furthest = position_;
        tries = 0;
      }
      if (++tries >= hooks_.max_tries) {
        PENSIEVE_TRY(keep());
        return given_up(attempt, tries);
      }
      if (attempt.what == What::Whole) continue;
      if (!wait(attempt, tries)) {
        PENSIEVE_TRY(keep());
        return stopped();
      }
    }
  }

 private:
  enum class What { Whole, Retry, Restart, Fatal };
  struct Attempt {
    What what = What::Retry;
    std::string why{};
    int retry_after_s = 0;
    std::optional<Error> error{};
  };

  bool whole() const { return total_ && position_ == *total_; }

  // Takes over what an earlier process left, up to the byte that is known to be on the disk.
  Result<void> resume() {
    total_ = source_.size;
    sha256_ = source_.sha256;
    PENSIEVE_TRY(file_, directory_.open_to_write(part_));
    const auto sidecar = read_sidecar(directory_, notes_);
    const auto status = directory_.status(part_);
    std::uint64_t usable = 0;
    if (sidecar && status && continues(*sidecar, source_)) {
      usable = std::min(sidecar->synced, status->bytes);
      etag_ = sidecar->etag;
      if (!total_) total_ = sidecar->total;
      if (sha256_.empty()) sha256_ = sidecar->sha256;
    }
    if (total_ && usable > *total_) usable = 0;
    if (usable == 0) PENSIEVE_TRY(forget());
    PENSIEVE_TRY(begin_at(usable));
    pieced_ = usable > 0;
    return {};
  }

  // The digest of what is kept is computed again: it lies on a disk that may have lost it.
  Result<void> begin_at(std::uint64_t offset) {
    digest_ = Digest(source_.git_blob.empty() ? std::nullopt : total_);
    position_ = 0;
    if (lseek(file_.get(), 0, SEEK_SET) != 0) return system_error(path(), "cannot be read");
    std::vector<std::byte> bytes(std::size_t{1} << 20);
    while (position_ < offset) {
      const auto want = std::min<std::uint64_t>(bytes.size(), offset - position_);
      const auto n = read(file_.get(), bytes.data(), static_cast<std::size_t>(want));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return system_error(path(), "cannot be read");
      if (n == 0) break;  // shorter than a moment ago: what was read counts
      digest_.update(std::span(bytes).first(static_cast<std::size_t>(n)));
      position_ += static_cast<std::uint64_t>(n);
      if (hooks_.stopped()) return stopped();
    }
    if (ftruncate(file_.get(), static_cast<off_t>(position_)) != 0 ||
        lseek(file_.get(), static_cast<off_t>(position_), SEEK_SET) < 0) {
      return system_error(path(), "cannot be written");
    }
    synced_ = position_;
    if (hooks_.kept) hooks_.kept(position_);
    return {};
  }

  // Forgets what has come and what was said about it.
  Result<void> restart() {
    PENSIEVE_TRY(forget());
    pieced_ = false;
    return begin_at(0);
  }

  // The notes go first, for good: bytes of another answer must not come to lie where the old notes
  // still vouch for them.
  Result<void> forget() {
    etag_.clear();
    total_ = source_.size;
    sha256_ = source_.sha256;
    if (!directory_.status(notes_)) return {};
    directory_.remove(notes_);
    return directory_.sync();
  }

  // Puts what has come on the disk and says so. The order matters: bytes, then the claim.
  Result<void> keep() {
    if (lost_ || synced_ == position_ || position_ == 0) return {};
    PENSIEVE_TRY(sync());
    PENSIEVE_TRY(write_sidecar(directory_,
                               notes_,
                               {.url = source_.url,
                                .etag = etag_,
                                .total = total_,
                                .sha256 = sha256_,
                                .synced = position_}));
    synced_ = position_;
    return {};
  }

  // After a failed fsync nobody knows which bytes the disk has, and a second one may claim success.
  Result<void> sync() {
    auto synced = sync_file(file_, path());
    if (!synced) {
      lost_ = true;
      directory_.remove(part_);
      directory_.remove(notes_);
    }
    return synced;
  }

  Attempt try_once() {
    std::optional<Attempt> verdict;
    std::optional<Error> disk;
    const std::uint64_t asked = position_;
    FetchSink sink{.head =
                       [&](const FetchHead& head) {
                         verdict = judge(head, asked);
                         return !verdict;
                       },
                   .body =
                       [&](std::span<const std::byte> bytes) {
                         if (total_ && bytes.size() > *total_ - position_) {
                           verdict = Attempt{.what = What::Restart,
                                             .why = "sent more bytes than it promised"};
                           return false;
                         }
                         if (auto taken = take(bytes); !taken) disk = taken.error();
                         return !disk;
                       },
                   .stopped = hooks_.stopped};
    const FetchRequest request{.url = source_.url,
                               .offset = asked,
                               .if_range = asked > 0 ? etag_ : "",
                               .bearer = source_.bearer};
    const auto outcome = follow(hooks_.fetch, request, hooks_.allow_private, sink);
    if (!outcome) return fatal(outcome.error());
    if (disk) return fatal(*disk);
    if (outcome->end == FetchEnd::Stopped) return fatal(stopped());
    if (verdict) return *verdict;
    if (outcome->end != FetchEnd::Complete) return {.what = What::Retry, .why = outcome->what};
    if (!total_) total_ = position_;  // no length was promised: the response's end is the file's
    if (!whole()) return {.what = What::Retry, .why = "sent fewer bytes than it promised"};
    return {.what = What::Whole};
  }

  // Nothing: the body is the file from position_ on, which this sets.
  std::optional<Attempt> judge(const FetchHead& head, std::uint64_t asked) {
    if (head.status == 416) return judge_end(head, asked);
    if (head.status != 200 && head.status != 206) return judge_refusal(head);
    if (!head.content_encoding.empty() && head.content_encoding != "identity") {
      return Attempt{.what = What::Retry,
                     .why = "sent the file in an encoding that was not asked for"};
    }
    if (!source_.commit.empty() && !head.commit.empty() && head.commit != source_.commit) {
      return Attempt{.what = What::Retry, .why = "answers with another revision of the file"};
    }
    if (head.status == 206) return judge_part(head, asked);
    // 200 is the whole file, whatever was asked for.
    if (asked > 0) {
      if (auto begun = restart(); !begun) return fatal(begun.error());
    }
    const auto size = head.linked_size ? head.linked_size : head.content_length;
    if (source_.size && size && *size != *source_.size) {
      return Attempt{.what = What::Retry, .why = "promises a file of another size"};
    }
    if (!total_) total_ = head.content_length;
    return learn(head);
  }

  std::optional<Attempt> judge_part(const FetchHead& head, std::uint64_t asked) {
    const auto range = parse_content_range(head.content_range);
    const bool right = asked > 0 && range && range->first == asked &&
                       (!total_ || range->total == *total_) && range->last + 1 == range->total &&
                       !head.content_type.starts_with("multipart/") &&
                       (head.etag.empty() || etag_.empty() || head.etag == etag_);
    if (!right) {
      return Attempt{.what = What::Restart, .why = "sent another part than was asked for"};
    }
    total_ = range->total;  // news where the first answer came without a length
    pieced_ = true;
    return learn(head);
  }

  // Nothing lies behind what is here. Where no response ever said how long the file is, this may be
  // all of it: then the digest decides.
  Attempt judge_end(const FetchHead& head, std::uint64_t asked) {
    const auto length = parse_whole_length(head.content_range);
    const bool whole_here = asked > 0 && length == asked && (!total_ || *total_ == asked) &&
                            (head.etag.empty() || etag_.empty() || head.etag == etag_);
    if (!whole_here) {
      return {.what = What::Restart, .why = "has no bytes where the file goes on"};
    }
    total_ = asked;
    return {.what = What::Whole};
  }

  std::optional<Attempt> learn(const FetchHead& head) {
    if (is_strong_tag(head.etag)) etag_ = head.etag;
    if (const auto room = no_room()) return fatal(*room);
    if (!is_sha256(head.linked_etag)) return std::nullopt;
    if (sha256_.empty()) sha256_ = head.linked_etag;
    if (head.linked_etag == sha256_) return std::nullopt;
    return Attempt{.what = What::Restart, .why = "gives another digest for the file than before"};
  }

  std::optional<Error> no_room() const {
    const auto free = directory_.free_bytes();
    if (!free || !total_ || *total_ - position_ <= *free) return std::nullopt;
    return kept_so_far(not_enough_room(directory_.path(), *total_ - position_, *free));
  }

  static Error kept_so_far(Error error) {
    error.message += kGoesOn;
    return error;
  }

  std::optional<Attempt> judge_refusal(const FetchHead& head) {
    const std::string status = std::to_string(head.status);
    const std::string from = printable(origin_of(source_.url), 200);
    if (head.status == 401 || head.status == 403) {
      return fatal({.kind = ErrorKind::Permission,
                    .message = from + " does not give " + name_ + " to strangers (status " +
                               status + "): set HF_TOKEN to a token that may read it"});
    }
    if (head.status == 404 || head.status == 410) {
      return fatal({.kind = ErrorKind::NotFound, .message = from + " has no file " + name_});
    }
    if (head.status == 408 || head.status == 425 || head.status == 429 || head.status >= 500) {
      return Attempt{.what = What::Retry,
                     .why = "answers with status " + status,
                     .retry_after_s = head.retry_after_s};
    }
    return fatal({.kind = ErrorKind::Unavailable,
                  .message = from + " answers for " + name_ + " with status " + status});
  }

  Result<void> take(std::span<const std::byte> bytes) {
    // First, so that never more than that much is fetched twice.
    if (position_ - synced_ + bytes.size() > hooks_.sync_every_bytes) {
      if (auto kept = keep(); !kept) return give_room(kept.error());
    }
    if (auto written = write_all(file_, bytes, path()); !written) {
      // A part of it stands in the file and counts. The digest is wrong from here on, but this
      // download is over.
      if (const auto status = directory_.status(part_)) position_ = status->bytes;
      return give_room(written.error());
    }
    digest_.update(bytes);
    position_ += bytes.size();
    hooks_.progress(position_);
    return {};
  }

  // On a full disk: cuts a little off again, because the sidecar needs room as well.
  Error give_room(const Error& error) {
    if (lost_ || error.kind != ErrorKind::Unavailable) return error;
    position_ -= std::min(position_ - synced_, kRoomForSidecar);
    const off_t end = static_cast<off_t>(position_);
    if (ftruncate(file_.get(), end) != 0 || lseek(file_.get(), end, SEEK_SET) < 0) {
      return system_error(path(), "cannot be written");
    }
    const std::uint64_t rest = total_ ? *total_ - std::min(*total_, position_) : 0;
    return kept_so_far(explain_full_disk(directory_, std::max(rest, kRoomForSidecar), error));
  }

  // False: start again from 0, which has been prepared.
  Result<bool> verify() {
    const Digest::Value value = digest_.finish();
    const bool good = (sha256_.empty() || value.sha256 == sha256_) &&
                      (source_.git_blob.empty() || value.git_blob == source_.git_blob);
    if (good) {
      found_ = value.sha256;
      return true;
    }
    if (pieced_ && !std::exchange(fetched_again_, true)) {
      hooks_.note(name_ +
                  " came in several parts and is not what was expected; it is fetched again");
      PENSIEVE_TRY(restart());
      return false;
    }
    const std::string rejected = name_ + ".rejected";
    directory_.remove(notes_);
    PENSIEVE_TRY(directory_.rename(part_, rejected));
    const bool by_sha256 = !sha256_.empty() && value.sha256 != sha256_;
    return Error{.kind = ErrorKind::DigestMismatch,
                 .message = directory_.path_of(name_) + " is not the file that was promised: " +
                            (by_sha256 ? "expected SHA-256 " + sha256_ + ", got " + value.sha256
                                       : "expected git blob " + source_.git_blob + ", got " +
                                             value.git_blob) +
                            "; it is kept as " + rejected + " and never used"};
  }

  Result<Downloaded> promote() {
    PENSIEVE_TRY(sync());
    if (auto renamed = directory_.rename(part_, name_); !renamed) {
      if (directory_.status(part_)) {
        if (auto kept = keep(); !kept) hooks_.note(kept.error().message);
      }
      const bool full = renamed.error().kind == ErrorKind::Unavailable;
      Error error = explain_full_disk(directory_, kRoomForSidecar, renamed.error());
      return full ? kept_so_far(std::move(error)) : error;
    }
    directory_.remove(notes_);
    return Downloaded{.bytes = position_, .sha256 = found_};
  }

  bool wait(const Attempt& attempt, int tries) const {
    std::int64_t ms = std::min(kLongestWaitMs, kFirstWaitMs << std::min(tries - 1, 10));
    if (attempt.retry_after_s > 0) {
      ms = std::min<std::int64_t>(kLongestRetryAfterMs, std::int64_t{attempt.retry_after_s} * 1000);
    }
    hooks_.note(printable(origin_of(source_.url), 200) + " " + attempt.why + "; trying " + name_ +
                " again in " + std::to_string((ms + 999) / 1000) + " s");
    return hooks_.wait(ms);
  }

  Error given_up(const Attempt& attempt, int tries) const {
    return {.kind = ErrorKind::Unavailable,
            .message = name_ + " could not be fetched in " + std::to_string(tries) + " tries: " +
                       printable(origin_of(source_.url), 200) + " " + attempt.why + kGoesOn};
  }

  Error stopped() const {
    return {.kind = ErrorKind::Cancelled, .message = "stopped" + std::string(kGoesOn)};
  }
  static Attempt fatal(Error error) {
    return {.what = What::Fatal, .why = {}, .retry_after_s = 0, .error = std::move(error)};
  }
  std::string path() const { return directory_.path_of(part_); }

  const Directory& directory_;
  const std::string name_, part_, notes_;
  const FileSource& source_;
  const DownloadHooks& hooks_;

  Handle file_;
  Digest digest_;
  std::uint64_t position_ = 0;  // bytes written and in the digest
  std::uint64_t synced_ = 0;    // of these, on the disk and in the sidecar
  bool lost_ = false;           // an fsync failed
  bool pieced_ = false;         // it is from more than one response
  bool fetched_again_ = false;  // because the parts made no whole
  std::optional<std::uint64_t> total_;
  std::string etag_, sha256_, found_;
};

}  // namespace

Result<Downloaded> download_file(const Directory& directory,
                                 const std::string& name,
                                 const FileSource& source,
                                 const DownloadHooks& hooks) {
  return Download(directory, name, source, hooks).run();
}

std::uint64_t kept_bytes(const Directory& directory,
                         const std::string& name,
                         const FileSource& source) {
  const auto sidecar = read_sidecar(directory, name + ".part.json");
  const auto status = directory.status(name + ".part");
  if (!sidecar || !status || !status->regular || !continues(*sidecar, source)) return 0;
  return std::min(sidecar->synced, status->bytes);
}

}  // namespace pensieve::store
