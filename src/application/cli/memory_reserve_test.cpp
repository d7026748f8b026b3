// Goal: a block from the reserve is the caller's alone until it comes back, and what comes back can
// be taken again. Method: fill it, write every block full, look for a byte that changed.
#include "application/cli/memory_reserve.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

namespace pensieve::cli {
namespace {

struct Block {
  unsigned char* at;
  std::size_t bytes;
  unsigned char mark;
};

bool is_whole(const Block& block) {
  return std::all_of(
      block.at, block.at + block.bytes, [&](unsigned char c) { return c == block.mark; });
}

// All that there is, in sizes around those of the reserve.
std::vector<Block> take_all(MemoryReserve& reserve) {
  std::vector<Block> blocks;
  for (const std::size_t bytes : {1u, 64u, 65u, 255u, 256u, 1000u, 1024u, 1025u, 4096u}) {
    while (void* block = reserve.take(bytes, 8)) {
      blocks.push_back({static_cast<unsigned char*>(block),
                        bytes,
                        static_cast<unsigned char>(blocks.size() % 251)});
      std::memset(block, blocks.back().mark, bytes);
    }
  }
  return blocks;
}

TEST(MemoryReserve, GivesEachBlockToOneCallerUntilNothingIsLeft) {
  const auto reserve = std::make_unique<MemoryReserve>();
  const auto blocks = take_all(*reserve);
  EXPECT_GE(blocks.size(), 20000u);
  EXPECT_EQ(reserve->taken(), blocks.size());
  for (const Block& block : blocks) {
    ASSERT_TRUE(is_whole(block));
    ASSERT_TRUE(reserve->owns(block.at));
    ASSERT_EQ(reinterpret_cast<std::uintptr_t>(block.at) % MemoryReserve::kAlignment, 0u);
  }
}

TEST(MemoryReserve, TakesBackWhatItGaveAndGivesItAgain) {
  const auto reserve = std::make_unique<MemoryReserve>();
  const auto first = take_all(*reserve);
  for (const Block& block : first) reserve->give_back(block.at);
  EXPECT_EQ(reserve->taken(), 0u);
  const auto second = take_all(*reserve);
  EXPECT_EQ(second.size(), first.size());
  for (const Block& block : second) ASSERT_TRUE(is_whole(block));
}

TEST(MemoryReserve, RefusesWhatIsTooLargeOrAlignedTooFar) {
  const auto reserve = std::make_unique<MemoryReserve>();
  EXPECT_EQ(reserve->take(MemoryReserve::kLargestBlock + 1, 8), nullptr);
  EXPECT_EQ(reserve->take(16, 2 * MemoryReserve::kAlignment), nullptr);
  EXPECT_EQ(reserve->taken(), 0u);
}

TEST(MemoryReserve, OwnsNothingBesideItself) {
  const auto reserve = std::make_unique<MemoryReserve>();
  const auto other = std::make_unique<int>(1);
  EXPECT_FALSE(reserve->owns(other.get()));
  EXPECT_FALSE(reserve->owns(nullptr));
  EXPECT_FALSE(reserve->owns(reserve.get() + 1));
}

TEST(MemoryReserve, ServesThreadsBesideEachOther) {
  const auto reserve = std::make_unique<MemoryReserve>();
  std::vector<std::thread> threads;
  std::atomic<int> broken{0};
  for (unsigned char mark = 1; mark <= 4; ++mark) {
    threads.emplace_back([&, mark] {
      std::vector<Block> mine;
      for (unsigned round = 0; round < 20'000; ++round) {
        const std::size_t bytes = 1 + (round * 37u) % 1500u;
        if (void* block = reserve->take(bytes, 8)) {
          std::memset(block, mark, bytes);
          mine.push_back({static_cast<unsigned char*>(block), bytes, mark});
        }
        if (mine.size() > 50) {
          std::swap(mine[round % mine.size()], mine.back());
          if (!is_whole(mine.back())) ++broken;
          reserve->give_back(mine.back().at);
          mine.pop_back();
        }
      }
      for (const Block& block : mine) reserve->give_back(block.at);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(broken, 0);
  EXPECT_EQ(reserve->taken(), 0u);
}

}  // namespace
}  // namespace pensieve::cli
