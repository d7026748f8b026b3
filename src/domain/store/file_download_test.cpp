// One file through a network that is a function: what is fetched, kept and refused. Crashes are
// real: a child process that ends in the middle, and a disk that loses what was not synced.
#include "domain/store/internal/file_download.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "domain/store/internal/digest.h"
#include "domain/store/internal/sidecar.h"

namespace pensieve::store {
namespace {

namespace fs = std::filesystem;

std::string random_text(std::size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::string text(n, '\0');
  for (char& c : text) c = static_cast<char>(random());
  return text;
}

std::string sha256(std::string_view text) {
  Digest digest;
  digest.update(std::as_bytes(std::span(text)));
  return digest.finish().sha256;
}

class FileDownload : public testing::Test {
 protected:
  FileDownload() {
    std::string pattern = (fs::temp_directory_path() / "download-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
    content_ = random_text(300'000, 1);
    source_ = {.url = "https://hub.example/f", .size = content_.size(), .sha256 = sha256(content_)};
  }
  ~FileDownload() override { fs::remove_all(folder_); }

  // An honest server of `content_`, in pieces; `piece` may end the transfer after so many bytes.
  FetchOutcome serve(const FetchRequest& request, const FetchSink& sink, std::size_t cut) {
    asked_.push_back(request);
    FetchHead head{.status = 200, .content_length = content_.size(), .etag = "\"v1\""};
    std::string_view rest = content_;
    if (request.offset > 0) {
      rest.remove_prefix(request.offset);
      head.status = 206;
      head.content_length = rest.size();
      head.content_range = "bytes " + std::to_string(request.offset) + "-" +
                           std::to_string(content_.size() - 1) + "/" +
                           std::to_string(content_.size());
    }
    if (change_) change_(request, head, rest);
    if (!sink.head(head)) return {.end = FetchEnd::Refused};
    std::size_t sent = 0;
    while (!rest.empty()) {
      if (sink.stopped()) return {.end = FetchEnd::Stopped};
      const std::size_t n = std::min({rest.size(), std::size_t{4096}, cut - sent});
      if (n == 0) return {.end = FetchEnd::Broken, .what = "closed the connection"};
      fetched_ += n;
      if (fetched_ >= die_after_) _exit(9);
      if (!sink.body(std::as_bytes(std::span(rest.substr(0, n)))))
        return {.end = FetchEnd::Refused};
      rest.remove_prefix(n);
      sent += n;
    }
    if (serve_cut_as_broken_ && cut == sent) return {.end = FetchEnd::Broken, .what = "was cut"};
    return {.end = FetchEnd::Complete};
  }

  // Each call of the network is cut after the next of `cuts_`; then none is.
  Result<Downloaded> download() {
    const auto directory = Directory::open(folder_, false);
    std::size_t n = 0;
    const DownloadHooks hooks{.fetch =
                                  [&](const FetchRequest& request, const FetchSink& sink) {
                                    const std::size_t cut =
                                        n < cuts_.size() ? cuts_[n] : std::string::npos;
                                    ++n;
                                    return serve(request, sink, cut);
                                  },
                              .wait =
                                  [&](std::int64_t ms) {
                                    waits_.push_back(ms);
                                    return true;
                                  },
                              .stopped = [&] { return stop_; },
                              .progress = [&](std::uint64_t bytes) { progress_ = bytes; },
                              .note = [](const std::string&) {},
                              .sync_every_bytes = 32'768};
    return download_file(*directory, "f", source_, hooks);
  }

  std::string read(const std::string& name) const {
    std::ifstream file(folder_ + "/" + name, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  bool exists(const std::string& name) const { return fs::exists(folder_ + "/" + name); }

  std::string folder_, content_;
  FileSource source_;
  std::function<void(const FetchRequest&, FetchHead&, std::string_view&)> change_;
  std::vector<std::size_t> cuts_;
  std::vector<FetchRequest> asked_;
  std::vector<std::int64_t> waits_;
  std::uint64_t fetched_ = 0, progress_ = 0;
  bool stop_ = false;
  bool serve_cut_as_broken_ = false;  // a cut behind the last byte still loses the response's end
  std::uint64_t die_after_ = std::string::npos;
};

TEST_F(FileDownload, ArrivesWholeAndLeavesNothingBeside) {
  const auto done = download();
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(read("f"), content_);
  EXPECT_EQ(done->sha256, sha256(content_));
  EXPECT_EQ(progress_, content_.size());
  EXPECT_FALSE(exists("f.part") || exists("f.part.json"));
}

TEST_F(FileDownload, GoesOnWhereAConnectionEnded) {
  cuts_ = {100'000, 50'000, 1};
  ASSERT_TRUE(download());
  EXPECT_EQ(read("f"), content_);
  EXPECT_EQ(fetched_, content_.size()) << "nothing twice";
  ASSERT_EQ(asked_.size(), 4u);
  EXPECT_EQ(asked_[1].offset, 100'000u);
  EXPECT_EQ(asked_[1].if_range, "\"v1\"");
  EXPECT_EQ(asked_[3].offset, 150'001u);
}

TEST_F(FileDownload, WaitsLongerEachTimeAndGivesUpAfterSix) {
  cuts_.assign(100, 0);
  const auto done = download();
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().kind, ErrorKind::Unavailable);
  EXPECT_EQ(asked_.size(), 6u);
  EXPECT_EQ(waits_, (std::vector<std::int64_t>{500, 1000, 2000, 4000, 8000}));
}

TEST_F(FileDownload, WaitsAsLongAsTheServerAsks) {
  change_ = [&](const FetchRequest&, FetchHead& head, std::string_view&) {
    if (asked_.size() == 1) head = {.status = 429, .retry_after_s = 7};
  };
  ASSERT_TRUE(download());
  EXPECT_EQ(waits_, std::vector<std::int64_t>{7000});
}

TEST_F(FileDownload, ARefusalThatWillNotChangeIsNotRepeated) {
  for (const auto& [status, kind] : {std::pair{404, ErrorKind::NotFound},
                                     {401, ErrorKind::Permission},
                                     {403, ErrorKind::Permission},
                                     {400, ErrorKind::Unavailable}}) {
    asked_.clear();
    const int wanted = status;
    change_ = [wanted](const FetchRequest&, FetchHead& head, std::string_view&) {
      head = {.status = wanted};
    };
    const auto done = download();
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().kind, kind) << status;
    EXPECT_EQ(asked_.size(), 1u);
  }
}

TEST_F(FileDownload, AFullFileWithAnotherDigestIsSetAsideAndNamed) {
  source_.sha256 = std::string(64, '0');
  const auto done = download();
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().kind, ErrorKind::DigestMismatch);
  EXPECT_NE(done.error().message.find(source_.sha256), std::string::npos);
  EXPECT_NE(done.error().message.find(sha256(content_)), std::string::npos);
  EXPECT_FALSE(exists("f"));
  EXPECT_EQ(read("f.rejected"), content_);
}

TEST_F(FileDownload, AResumedPartThatWentBadIsFetchedAgain) {
  cuts_ = {200'000, 0, 0, 0, 0, 0};
  ASSERT_FALSE(download());
  std::fstream file(folder_ + "/f.part", std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(100'000);
  file.put(static_cast<char>(content_[100'000] + 1));
  file.close();
  cuts_.clear();
  const auto done = download();
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(read("f"), content_);
}

TEST_F(FileDownload, AnotherSourceStartsAnew) {
  cuts_ = {200'000, 0, 0, 0, 0, 0};
  ASSERT_FALSE(download());
  content_ = random_text(300'000, 2);
  source_.sha256 = sha256(content_);
  cuts_.clear();
  asked_.clear();
  ASSERT_TRUE(download());
  EXPECT_EQ(asked_[0].offset, 0u);
  EXPECT_EQ(read("f"), content_);
}

TEST_F(FileDownload, WithoutTagAndDigestNothingIsResumed) {
  source_.sha256.clear();
  change_ = [](const FetchRequest&, FetchHead& head, std::string_view&) {
    head.etag = "W/\"weak\"";
  };
  cuts_ = {200'000, 0, 0, 0, 0, 0};
  ASSERT_FALSE(download());
  cuts_.clear();
  asked_.clear();
  ASSERT_TRUE(download());
  EXPECT_EQ(asked_[0].offset, 0u);
  EXPECT_EQ(read("f"), content_);
}

TEST_F(FileDownload, StoppedItKeepsEverythingThatCame) {
  const auto directory = Directory::open(folder_, false);
  // The wait before the second try is where the user stops it.
  const DownloadHooks hooks{
      .fetch = [&](const FetchRequest& r, const FetchSink& s) { return serve(r, s, 123'456); },
      .wait = [](std::int64_t) { return false; },
      .stopped = [] { return false; },
      .progress = [](std::uint64_t) {},
      .note = [](const std::string&) {}};
  const auto done = download_file(*directory, "f", source_, hooks);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().kind, ErrorKind::Cancelled);
  EXPECT_EQ(kept_bytes(*directory, "f", source_), 123'456u);
}

// Case 34. A child downloads and is gone after a seeded number of bytes; what was written and not
// synced is then lost in a seeded way. The next process goes on from what counts.
TEST_F(FileDownload, SurvivesAThousandCrashesThatLoseWhatWasNotSynced) {
  constexpr unsigned kSeed = 34;
  constexpr int kCrashes = 1000;
  std::mt19937 random(kSeed);
  const auto directory = Directory::open(folder_, false);
  int crashes = 0;
  while (crashes < kCrashes) {
    const std::uint64_t before = kept_bytes(*directory, "f", source_);
    const std::size_t dies_at = random() % 90'000 + 1;
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      std::size_t seen = 0;
      change_ = {};
      const DownloadHooks hooks{.fetch =
                                    [&](const FetchRequest& request, const FetchSink& sink) {
                                      const FetchSink deadly{
                                          .head = sink.head,
                                          .body =
                                              [&](std::span<const std::byte> bytes) {
                                                const bool on = sink.body(bytes);
                                                seen += bytes.size();
                                                if (seen >= dies_at) _exit(9);
                                                return on;
                                              },
                                          .stopped = sink.stopped};
                                      return serve(request, deadly, std::string::npos);
                                    },
                                .wait = [](std::int64_t) { return true; },
                                .stopped = [] { return false; },
                                .progress = [](std::uint64_t) {},
                                .note = [](const std::string&) {},
                                .sync_every_bytes = 32'768};
      _exit(download_file(*directory, "f", source_, hooks) ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status));
    if (WEXITSTATUS(status) == 0) {
      ASSERT_EQ(read("f"), content_);
      fs::remove(folder_ + "/f");
      continue;
    }
    ASSERT_EQ(WEXITSTATUS(status), 9);
    ++crashes;
    ASSERT_FALSE(exists("f")) << "crash " << crashes << ", seed " << kSeed;
    const std::uint64_t synced = kept_bytes(*directory, "f", source_);
    const std::uint64_t length = fs::file_size(folder_ + "/f.part");
    ASSERT_GE(synced, std::min(before, length));
    ASSERT_LE(length - synced, 32'768u) << "what is fetched twice";
    switch (random() % 3) {
      case 0:  // never reached the disk
        fs::resize_file(folder_ + "/f.part", synced);
        break;
      case 1: {  // the length did, the bytes did not
        std::fstream file(folder_ + "/f.part", std::ios::in | std::ios::out | std::ios::binary);
        file.seekp(static_cast<std::streamoff>(synced));
        file << std::string(static_cast<std::size_t>(length - synced), '\0');
        break;
      }
      default:
        break;
    }
  }
}

TEST_F(FileDownload, EverySentenceOfALyingPartIsNoticed) {
  using Change = std::function<void(const FetchRequest&, FetchHead&, std::string_view&)>;
  const std::vector<std::pair<const char*, Change>> lies = {
      {"start", [](auto&, FetchHead& h, auto&) { h.content_range = "bytes 0-299999/300000"; }},
      {"end", [](auto&, FetchHead& h, auto&) { h.content_range = "bytes 100000-299998/300000"; }},
      {"total", [](auto&, FetchHead& h, auto&) { h.content_range = "bytes 100000-299999/300001"; }},
      {"unknown total",
       [](auto&, FetchHead& h, auto&) { h.content_range = "bytes 100000-299999/*"; }},
      {"unit", [](auto&, FetchHead& h, auto&) { h.content_range = "lines 100000-299999/300000"; }},
      {"sign", [](auto&, FetchHead& h, auto&) { h.content_range = "bytes -100000-299999/300000"; }},
      {"rest", [](auto&, FetchHead& h, auto&) { h.content_range += " "; }},
      {"nothing", [](auto&, FetchHead& h, auto&) { h.content_range.clear(); }},
      {"tag", [](auto&, FetchHead& h, auto&) { h.etag = "\"v2\""; }},
      {"parts", [](auto&, FetchHead& h, auto&) { h.content_type = "multipart/byteranges"; }},
      {"416",
       [](auto&, FetchHead& h, std::string_view& b) {
         h = {.status = 416};
         b = {};
       }},
  };
  for (const auto& [name, lie] : lies) {
    SCOPED_TRACE(name);
    fs::remove(folder_ + "/f");
    asked_.clear();
    cuts_ = {100'000};
    change_ = [&, lie = lie](const FetchRequest& request, FetchHead& head, std::string_view& body) {
      if (request.offset > 0) lie(request, head, body);
    };
    const auto done = download();
    ASSERT_TRUE(done) << done.error().message;
    EXPECT_EQ(read("f"), content_);
    ASSERT_EQ(asked_.size(), 3u);
    EXPECT_EQ(asked_[1].offset, 100'000u);
    EXPECT_EQ(asked_[2].offset, 0u) << "from the beginning";
  }
}

// RFC 9110, 15.5.17. Of a file of unknown length everything has come, and then the connection was
// lost: the server says that nothing lies behind it.
TEST_F(FileDownload, AFileThatIsAsLongAsTheServerSaysIsWholeIfItsDigestIs) {
  for (const bool damaged : {false, true}) {
    SCOPED_TRACE(damaged);
    fs::remove(folder_ + "/f");
    asked_.clear();
    source_.size.reset();
    cuts_ = {content_.size()};
    change_ = [&](const FetchRequest& request, FetchHead& head, std::string_view& body) {
      head.content_length.reset();
      if (damaged && asked_.size() == 1) {
        static const std::string other = random_text(300'000, 9);
        body = other;
      }
      if (request.offset != content_.size()) return;
      head = {.status = 416, .content_range = "bytes */300000", .etag = "\"v1\""};
      body = {};
    };
    serve_cut_as_broken_ = true;
    const auto done = download();
    ASSERT_EQ(asked_.size(), 2u);
    EXPECT_EQ(asked_[1].offset, content_.size());
    ASSERT_EQ(done.has_value(), !damaged);
    if (damaged) {
      EXPECT_EQ(done.error().kind, ErrorKind::DigestMismatch);
      EXPECT_FALSE(exists("f"));
    } else {
      EXPECT_EQ(read("f"), content_);
    }
  }
}

// Cut off while nothing of the new one was synced, and then the first one again: without a digest
// only the notes could tell the two apart.
TEST_F(FileDownload, NotesOfOneFileNeverVouchForTheBytesOfAnother) {
  source_.sha256.clear();
  const std::string first = content_;
  cuts_ = {200'000, 0, 0, 0, 0, 0};
  ASSERT_FALSE(download());
  content_ = random_text(300'000, 2);
  source_.url = "https://hub.example/other";
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    fetched_ = 0;
    die_after_ = 20'000;  // less than is synced at once
    static_cast<void>(download());
    _exit(1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_EQ(WEXITSTATUS(status), 9);
  content_ = first;
  source_.url = "https://hub.example/f";
  cuts_.clear();
  const auto done = download();
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(read("f"), first);
}

}  // namespace
}  // namespace pensieve::store
