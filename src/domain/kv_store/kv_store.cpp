// Two threads, one for each direction, that sleep while nothing is on its way: a page that is asked
// for never waits for one that is being written.
#include "domain/kv_store/kv_store.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <new>
#include <optional>
#include <thread>
#include <utility>

#include "foundation/buffer.h"
#include "foundation/check.h"
#include "foundation/log.h"

#include "domain/kv_store/internal/page_folder.h"

namespace pensieve::kv_store {
namespace {

using Clock = std::chrono::steady_clock;
using engine::PageReader;

constexpr std::size_t kSaveOverhead = 4096;  // what Backend::save() writes beside a page, at most
constexpr int kFailuresInARow = 3;           // then nothing is written for a while
// Other processes' pages are looked for where so many are missing, and not too often.
constexpr std::ptrdiff_t kWorthLooking = 8;
constexpr std::chrono::seconds kRefresh{1};
constexpr std::size_t kReadAhead = 3;  // pages
constexpr std::size_t kAnnounced = 2;  // pages behind the one that is read
constexpr std::chrono::seconds kBufferWait{10};
constexpr std::chrono::milliseconds kBufferAgain{2};

// A page's bytes in memory, of a size that is the same for all.
struct Load {
  Buffer buffer;
  std::size_t size = 0;
};

class LoadSink final : public compute::ByteSink {
 public:
  explicit LoadSink(Load& load) : load_(load) {}
  Result<void> write(std::span<const std::byte> bytes) override {
    if (bytes.size() > load_.buffer.size() - load_.size) {
      return Error{.kind = ErrorKind::TooLarge,
                   .message = "a page of KV is larger than it was to be"};
    }
    std::copy(bytes.begin(), bytes.end(), load_.buffer.data() + load_.size);
    load_.size += bytes.size();
    return {};
  }

 private:
  Load& load_;
};

class LoadSource final : public compute::ByteSource {
 public:
  void start(const Load& load) {
    load_ = &load;
    at_ = 0;
  }
  Result<void> read(std::span<std::byte> bytes) override {
    if (bytes.size() > load_->size - at_) {
      return Error{.kind = ErrorKind::BadFile, .message = "a page of KV is too short"};
    }
    std::copy_n(load_->buffer.data() + at_, bytes.size(), bytes.begin());
    at_ += bytes.size();
    return {};
  }

 private:
  const Load* load_ = nullptr;
  std::size_t at_ = 0;
};

// Buffers that come and go between the two directions; given back to the system when nothing is on
// its way. Some are left for reading, however much there is to write.
class LoadPool {
 public:
  LoadPool(Accountant& accountant, std::size_t load_bytes, std::size_t max_bytes)
      : accountant_(accountant),
        load_bytes_(load_bytes),
        max_loads_(std::max(max_bytes / load_bytes, kReadAhead + 1)) {}

  enum class For { Reading, Writing };
  // None when there are as many as may be, or no memory.
  std::optional<Load> take(For what) {
    const std::lock_guard lock(mutex_);
    if (n_taken_ + (what == For::Writing ? kReadAhead : 0) >= max_loads_) return std::nullopt;
    Load load;
    if (!spare_.empty()) {
      load = std::move(spare_.back());
      spare_.pop_back();
      load.size = 0;
    } else {
      auto buffer = Buffer::create(accountant_, MemoryUse::Cache, load_bytes_);
      if (!buffer) return std::nullopt;
      load.buffer = *std::move(buffer);
    }
    ++n_taken_;
    return load;
  }
  void give_back(Load load) {
    const std::lock_guard lock(mutex_);
    spare_.push_back(std::move(load));
    if (--n_taken_ == 0) spare_.clear();
  }

 private:
  Accountant& accountant_;
  const std::size_t load_bytes_;
  const std::size_t max_loads_;
  std::mutex mutex_;
  std::vector<Load> spare_;
  std::size_t n_taken_ = 0;
};

struct ToWrite {
  PageKey key;
  std::vector<TokenId> tokens;
  Load load;
};

// Pages on their way to one sequence. The reader thread fills it, the engine thread empties it.
struct ToRead {
  std::vector<PageKey> keys;
  std::vector<TokenId> tokens;
  std::mutex mutex;
  std::condition_variable taken;
  std::deque<Load> loads;
  std::size_t next = 0;  // of keys
  bool over = false;     // no more comes
  bool given_up = false;

  void give_up() {
    {
      const std::lock_guard lock(mutex);
      given_up = true;
    }
    taken.notify_all();
  }
};

class Store final : public KvStore {
 public:
  Store(const Options& options, Accountant& accountant)
      : options_(options), accountant_(accountant) {}

  ~Store() override {
    end();
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
      for (const auto& job : reads_) job->give_up();
      if (reading_) reading_->give_up();
    }
    wake_.notify_all();
    if (writer_.joinable()) writer_.join();
    if (reader_.joinable()) reader_.join();
    if (folder_) folder_->note_use(0);
  }

  void begin(std::string_view kv_format,
             std::size_t page_bytes,
             std::function<void()> ready) override {
    format_ = digest_of(std::as_bytes(std::span(kv_format)));
    loads_.emplace(accountant_, page_bytes + kSaveOverhead, options_.buffer_bytes);
    ready_ = std::move(ready);
    auto folder =
        PageFolder::open(options_.directory, options_.budget, format_, options_.model, page_bytes);
    if (!folder) {
      log_warning("prompts are not kept on the disk: " + folder.error().message);
      return;
    }
    folder_ = *std::move(folder);
    open_folder_ = folder_.get();
    writer_ = std::thread([this] { write_pages(); });
    reader_ = std::thread([this] { read_pages(); });
  }

  void end() override {
    const std::lock_guard lock(ready_mutex_);
    ready_ = nullptr;
  }

  void extend_keys(std::vector<PageKey>& keys,
                   std::span<const TokenId> tokens,
                   compute::RopeVariant rope) const override {
    constexpr auto kPage = static_cast<std::size_t>(compute::kPageTokens);
    // Each key is the digest of the one before it, the page's tokens and the variant.
    struct Link {
      PageKey before;
      std::array<TokenId, kPage> tokens;
      std::int32_t rope;
    };
    static_assert(sizeof(Link) == sizeof(PageKey) + kPage * 4 + 4);
    while ((keys.size() + 1) * kPage <= tokens.size()) {
      Link link{.before = keys.empty() ? format_ : keys.back(),
                .tokens = {},
                .rope = static_cast<std::int32_t>(rope)};
      std::copy_n(tokens.begin() + static_cast<std::ptrdiff_t>(keys.size() * kPage),
                  kPage,
                  link.tokens.begin());
      keys.push_back(digest_of(std::as_bytes(std::span(&link, 1))));
    }
  }

  int n_known(std::span<const PageKey> keys, int n_held) override {
    if (!folder_) return 0;
    const auto unknown = std::find_if_not(
        keys.begin(), keys.end(), [&](const PageKey& key) { return folder_->contains(key); });
    const auto n_known = static_cast<int>(unknown - keys.begin());
    const auto n_missing = std::ssize(keys) - std::max(n_known, n_held);
    return n_missing >= kWorthLooking && looks_again() ? static_cast<int>(keys.size()) : n_known;
  }

  Answer offer(const PageKey& key,
               std::span<const TokenId> tokens,
               const std::function<Result<void>(compute::ByteSink&)>& save) override {
    if (!folder_ || tokens.size() > static_cast<std::size_t>(kMaxTokens)) return Answer::Refused;
    if (folder_->contains(key)) return Answer::Known;
    {
      const std::lock_guard lock(mutex_);
      if (writing_ == key) return Answer::Known;
      for (const ToWrite& page : writes_)
        if (page.key == key) return Answer::Known;
      if (spent_day_ == today()) return Answer::Refused;
      if (paused_until_ > Clock::now()) return Answer::Later;
    }
    auto load = loads_->take(LoadPool::For::Writing);
    if (!load) return Answer::Later;
    LoadSink sink(*load);
    if (auto saved = save(sink); !saved) {
      loads_->give_back(*std::move(load));
      log_warning("a page of KV cannot be kept: " + saved.error().message);
      return Answer::Refused;
    }
    {
      const std::lock_guard lock(mutex_);
      writes_.push_back(
          {.key = key, .tokens = {tokens.begin(), tokens.end()}, .load = *std::move(load)});
    }
    wake_.notify_all();
    return Answer::Taken;
  }

  bool stalled() override {
    const std::lock_guard lock(mutex_);
    return paused_until_ > Clock::now();
  }

  std::unique_ptr<PageReader> read(std::span<const PageKey> keys,
                                   int first,
                                   std::span<const TokenId> tokens) override;

  Usage usage() const override {
    const PageFolder* folder = open_folder_.load();
    return folder == nullptr ? Usage{} : folder->usage();
  }

 private:
  class Reader;

  static std::int64_t today() {
    return std::chrono::duration_cast<std::chrono::hours>(
               std::chrono::system_clock::now().time_since_epoch())
               .count() /
           24;
  }
  void call_ready() {
    const std::lock_guard lock(ready_mutex_);
    if (ready_) ready_();
  }
  bool looks_again();
  void write_pages();
  void wrote(const Result<void>& outcome);
  void read_pages();
  void fill(ToRead& job);
  std::optional<Load> buffer_for(ToRead& job);

  const Options options_;
  Accountant& accountant_;
  PageKey format_;
  std::unique_ptr<PageFolder> folder_;  // none: the directory cannot be used
  std::atomic<const PageFolder*> open_folder_{
      nullptr};  // the same, for threads besides the engine's
  std::optional<LoadPool> loads_;

  std::mutex ready_mutex_;  // held while ready_ runs
  std::function<void()> ready_;

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<ToWrite> writes_;
  std::optional<PageKey> writing_;
  std::deque<std::shared_ptr<ToRead>> reads_;
  std::shared_ptr<ToRead> reading_;
  Clock::time_point paused_until_{};
  int failures_ = 0;
  std::int64_t spent_day_ = -1;  // on which the budget was spent
  Clock::time_point refreshed_{};
  bool refresh_ = false;
  bool stopping_ = false;

  std::thread writer_, reader_;
};

// An exception would end the thread and with it the process: what there is no memory for has failed
// like what there is no room for.
template <typename Work>
auto or_no_memory(const Work& work) -> decltype(work()) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return Error{.kind = ErrorKind::Internal, .message = "out of memory"};
  }
}

// ---- to the disk

void Store::write_pages() {
  std::unique_lock lock(mutex_);
  for (;;) {
    const auto something = [&] { return stopping_ || !writes_.empty(); };
    if (failures_ >= kFailuresInARow && !stopping_) {
      wake_.wait_until(lock, paused_until_, [&] { return stopping_; });
      failures_ = 0;
      lock.unlock();
      call_ready();
      lock.lock();
    }
    wake_.wait(lock, something);
    if (writes_.empty()) return;
    ToWrite page = std::move(writes_.front());
    writes_.pop_front();
    writing_ = page.key;
    lock.unlock();
    wrote(or_no_memory([&] {
      return folder_->write(
          page.key, page.tokens, std::span(page.load.buffer.data(), page.load.size));
    }));
    loads_->give_back(std::move(page.load));
    lock.lock();
    writing_.reset();
    lock.unlock();
    call_ready();
    lock.lock();
  }
}

void Store::wrote(const Result<void>& outcome) {
  const std::lock_guard lock(mutex_);
  if (outcome) {
    failures_ = 0;
    return;
  }
  if (outcome.error().kind == ErrorKind::RateLimited) {
    if (spent_day_ != today())
      log_info(outcome.error().message + "; no more is kept until tomorrow");
    spent_day_ = today();
    return;
  }
  if (++failures_ < kFailuresInARow && outcome.error().kind != ErrorKind::Unavailable) return;
  failures_ = kFailuresInARow;
  paused_until_ = Clock::now() + options_.retry_after;
  log_warning("pages of KV are not kept for a while: " + outcome.error().message);
}

// ---- from the disk

class Store::Reader final : public PageReader {
 public:
  Reader(Store& store, std::shared_ptr<ToRead> job) : store_(store), job_(std::move(job)) {}

  ~Reader() override {
    drop_last();
    std::deque<Load> left;
    {
      const std::lock_guard lock(job_->mutex);
      job_->given_up = true;
      left.swap(job_->loads);
    }
    job_->taken.notify_all();
    for (Load& load : left) store_.loads_->give_back(std::move(load));
  }

  State next(compute::ByteSource*& bytes) override {
    drop_last();
    {
      const std::lock_guard lock(job_->mutex);
      if (job_->loads.empty()) return job_->over ? State::End : State::Wait;
      last_ = std::move(job_->loads.front());
      job_->loads.pop_front();
    }
    job_->taken.notify_all();
    source_.start(*last_);
    bytes = &source_;
    return State::Page;
  }

 private:
  void drop_last() {
    if (last_) store_.loads_->give_back(*std::exchange(last_, std::nullopt));
  }

  Store& store_;
  const std::shared_ptr<ToRead> job_;
  std::optional<Load> last_;
  LoadSource source_;
};

std::unique_ptr<PageReader> Store::read(std::span<const PageKey> keys,
                                        int first,
                                        std::span<const TokenId> tokens) {
  auto job = std::make_shared<ToRead>();
  job->keys.assign(keys.begin(), keys.end());
  job->tokens.assign(
      tokens.begin(),
      tokens.begin() + static_cast<std::ptrdiff_t>(keys.size()) * compute::kPageTokens);
  job->next = static_cast<std::size_t>(first);
  {
    const std::lock_guard lock(mutex_);
    if (folder_ && !stopping_) {
      reads_.push_back(job);
    } else {
      job->over = true;
    }
  }
  wake_.notify_all();
  return std::make_unique<Reader>(*this, std::move(job));
}

// Whether it is time to look for what other processes have written; it is done then.
bool Store::looks_again() {
  {
    const std::lock_guard lock(mutex_);
    if (Clock::now() - refreshed_ < kRefresh) return false;
    refreshed_ = Clock::now();
    refresh_ = true;
  }
  wake_.notify_all();
  return true;
}

void Store::read_pages() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [&] { return stopping_ || refresh_ || !reads_.empty(); });
    if (stopping_) return;
    if (!reads_.empty()) {
      reading_ = reads_.front();
      reads_.pop_front();
      lock.unlock();
      fill(*reading_);
      lock.lock();
      reading_.reset();
      continue;
    }
    refresh_ = false;
    lock.unlock();
    try {
      folder_->refresh();
    } catch (const std::bad_alloc&) {  // what is there is looked at again another time
    }
    lock.lock();
  }
}

// Pages of other requests that wait to be taken may hold all buffers for a moment.
std::optional<Load> Store::buffer_for(ToRead& job) {
  const auto give_up = Clock::now() + kBufferWait;
  while (Clock::now() < give_up) {
    if (auto load = loads_->take(LoadPool::For::Reading)) return load;
    std::unique_lock lock(job.mutex);
    if (job.taken.wait_for(lock, kBufferAgain, [&] { return job.given_up; })) break;
  }
  return std::nullopt;
}

void Store::fill(ToRead& job) {
  std::uint64_t n_pages = 0;
  std::size_t announced = job.next;
  for (;;) {
    {
      std::unique_lock lock(job.mutex);
      job.taken.wait(lock, [&] { return job.given_up || job.loads.size() < kReadAhead; });
      if (job.given_up) break;
    }
    auto load = job.next < job.keys.size() ? buffer_for(job) : std::nullopt;
    if (!load) break;
    const auto tokens = std::span(job.tokens)
                            .first((job.next + 1) * static_cast<std::size_t>(compute::kPageTokens));
    auto size = or_no_memory([&] {
      for (; announced < std::min(job.next + 1 + kAnnounced, job.keys.size()); ++announced)
        folder_->announce(job.keys[announced],
                          static_cast<int>(announced + 1) * compute::kPageTokens);
      return folder_->read(
          job.keys[job.next], tokens, std::span(load->buffer.data(), load->buffer.size()));
    });
    if (!size) {
      loads_->give_back(*std::move(load));
      if (size.error().kind == ErrorKind::BadFile) log_warning(size.error().message);
      break;
    }
    load->size = *size;
    ++job.next;
    ++n_pages;
    const std::lock_guard lock(job.mutex);
    if (job.given_up) {
      loads_->give_back(*std::move(load));
      break;
    }
    job.loads.push_back(*std::move(load));
    call_ready();
  }
  {
    const std::lock_guard lock(job.mutex);
    job.over = true;
  }
  call_ready();
  folder_->note_use(n_pages * static_cast<std::uint64_t>(compute::kPageTokens));
}

}  // namespace

std::unique_ptr<KvStore> KvStore::create(const Options& options, Accountant& accountant) {
  return std::make_unique<Store>(options, accountant);
}

}  // namespace pensieve::kv_store
