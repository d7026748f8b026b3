// A tier for the engine's tests: pages in a map, answers that vary. It refuses, puts off, makes the
// reader wait, ends too early and tears pages as often as it is told to.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <mutex>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "domain/engine/kv_tier.h"

namespace pensieve::engine {

class FakeTier final : public KvTier {
 public:
  // Of 100 calls so many do not do what is asked of them.
  explicit FakeTier(unsigned seed, unsigned mischief) : random_(seed), mischief_(mischief) {}

  void begin(std::string_view kv_format, std::size_t, std::function<void()> ready) override {
    EXPECT_EQ(kv_format, "fake");
    const std::lock_guard lock(mutex_);
    ready_ = std::move(ready);
  }
  void end() override {
    const std::lock_guard lock(mutex_);
    ready_ = nullptr;
  }

  void extend_keys(std::vector<PageKey>& keys,
                   std::span<const TokenId> tokens,
                   compute::RopeVariant rope) const override {
    constexpr auto kPage = static_cast<std::size_t>(compute::kPageTokens);
    while ((keys.size() + 1) * kPage <= tokens.size()) {
      std::uint64_t hash = 0xcbf29ce484222325u + static_cast<std::uint64_t>(rope);
      for (const TokenId token : tokens.first((keys.size() + 1) * kPage))
        hash = (hash ^ static_cast<std::uint64_t>(token)) * 0x100000001b3u;
      PageKey key;
      std::memcpy(key.bytes.data(), &hash, sizeof hash);
      keys.push_back(key);
    }
  }

  int n_known(std::span<const PageKey> keys, int) override {
    const std::lock_guard lock(mutex_);
    int n = 0;
    while (n < static_cast<int>(keys.size()) && pages_.contains(digits(keys[index(n)]))) ++n;
    return n;
  }

  Answer offer(const PageKey& key,
               std::span<const TokenId> tokens,
               const std::function<Result<void>(compute::ByteSink&)>& save) override {
    EXPECT_EQ(tokens.size() % compute::kPageTokens, 0u);
    const std::lock_guard lock(mutex_);
    if (pages_.contains(digits(key))) return Answer::Known;
    if (misbehaves()) return ring_and_say(Answer::Later);
    if (misbehaves()) return Answer::Refused;
    Sink sink;
    EXPECT_TRUE(save(sink));
    pages_[digits(key)] = std::move(sink.bytes);
    ++taken;
    return Answer::Taken;
  }

  std::unique_ptr<PageReader> read(std::span<const PageKey> keys,
                                   int first,
                                   std::span<const TokenId> tokens) override {
    EXPECT_GE(tokens.size(), keys.size() * static_cast<std::size_t>(compute::kPageTokens));
    EXPECT_LT(first, static_cast<int>(keys.size()));
    return std::make_unique<Reader>(*this, keys.subspan(index(first)));
  }

  std::atomic<int> taken{0};
  std::atomic<int> given{0};

 private:
  struct Sink final : compute::ByteSink {
    Result<void> write(std::span<const std::byte> more) override {
      bytes.insert(bytes.end(), more.begin(), more.end());
      return {};
    }
    std::vector<std::byte> bytes;
  };

  class Reader final : public PageReader, public compute::ByteSource {
   public:
    Reader(FakeTier& tier, std::span<const PageKey> keys)
        : tier_(tier), keys_(keys.begin(), keys.end()) {}

    State next(compute::ByteSource*& bytes) override {
      const std::lock_guard lock(tier_.mutex_);
      if (at_ == keys_.size() || (tier_.misbehaves() && tier_.misbehaves())) return State::End;
      if (tier_.misbehaves()) {
        tier_.ring_and_say(Answer::Later);
        return State::Wait;
      }
      page_ = tier_.pages_.at(digits(keys_[at_++]));
      if (tier_.misbehaves() && tier_.misbehaves()) page_.resize(page_.size() / 2);
      read_ = 0;
      ++tier_.given;
      bytes = this;
      return State::Page;
    }

    Result<void> read(std::span<std::byte> bytes) override {
      if (bytes.size() > page_.size() - read_) return Error{ErrorKind::BadFile, "the page is torn"};
      std::copy_n(page_.begin() + static_cast<std::ptrdiff_t>(read_), bytes.size(), bytes.begin());
      read_ += bytes.size();
      return {};
    }

   private:
    FakeTier& tier_;
    const std::vector<PageKey> keys_;
    std::size_t at_ = 0;
    std::vector<std::byte> page_;
    std::size_t read_ = 0;
  };

  static std::size_t index(int n) { return static_cast<std::size_t>(n); }
  static std::uint64_t digits(const PageKey& key) { return PageKeyHash{}(key); }
  bool misbehaves() { return random_() % 100 < mischief_; }
  Answer ring_and_say(Answer answer) {
    if (ready_) ready_();
    return answer;
  }

  std::mutex mutex_;
  std::mt19937 random_;
  const unsigned mischief_;
  std::function<void()> ready_;
  std::map<std::uint64_t, std::vector<std::byte>> pages_;
};

}  // namespace pensieve::engine
