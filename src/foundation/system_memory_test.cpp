// The memory reading on made-up machines: a directory that holds the /proc and /sys of the case.
#include "foundation/system_memory.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

namespace pensieve {
namespace {

#ifdef __linux__
constexpr std::uint64_t kKiB = 1024;
constexpr std::uint64_t kMiB = 1024 * kKiB;

using Files = std::map<std::string, std::string>;

// What is read on a machine that has these files and no others.
SystemMemory read_machine(const Files& files) {
  std::string pattern = (std::filesystem::temp_directory_path() / "memory-XXXXXX").string();
  const std::filesystem::path root = mkdtemp(pattern.data());
  for (const auto& [path, text] : files) {
    std::filesystem::create_directories((root / path).parent_path());
    std::ofstream(root / path) << text;
  }
  const SystemMemory memory = read_system_memory(root.string());
  std::filesystem::remove_all(root);
  return memory;
}

const std::string kMeminfo =
    "MemTotal:       16384000 kB\nMemFree:         1000000 kB\nMemAvailable:    8192000 kB\n"
    "Buffers:          100000 kB\nCached:          2000000 kB\nShmem:            300000 kB\n";

std::string bytes(std::uint64_t n) {
  return std::to_string(n) + "\n";
}

TEST(SystemMemory, TakesMemAvailableNotMemFree) {
  const auto memory = read_machine({{"proc/meminfo", kMeminfo}});
  EXPECT_TRUE(memory.known);
  EXPECT_EQ(memory.total_bytes, 16384000 * kKiB);
  EXPECT_EQ(memory.available_bytes, 8192000 * kKiB);
}

TEST(SystemMemory, WithoutMemAvailableAddsUpWhatCanBeDropped) {
  const auto memory =
      read_machine({{"proc/meminfo",
                     "MemTotal: 16384000 kB\nMemFree: 1000000 kB\nBuffers: 100000 kB\n"
                     "Cached: 2000000 kB\nShmem: 300000 kB\n"}});
  EXPECT_TRUE(memory.known);
  EXPECT_EQ(memory.available_bytes, (1000000 + 100000 + 2000000 - 300000) * kKiB);
}

TEST(SystemMemory, ShmemBeyondTheSumDoesNotWrapAround) {
  const auto memory =
      read_machine({{"proc/meminfo", "MemTotal: 100 kB\nMemFree: 10 kB\nShmem: 50 kB\n"}});
  EXPECT_TRUE(memory.known);
  EXPECT_EQ(memory.available_bytes, 0u);
}

TEST(SystemMemory, WhatCannotBeReadIsUnknownAndReadsAsWarning) {
  for (const Files& files : std::vector<Files>{
           {},
           {{"proc/meminfo", ""}},
           {{"proc/meminfo", "MemTotal: lots\nMemAvailable: some\n"}},
           {{"proc/meminfo", "MemAvailable: 8192000 kB\n"}},
           {{"proc/meminfo", "MemTotal: 16384000 kB\n"}},
           {{"proc/meminfo", "MemTotal: -5 kB\nMemAvailable: -5 kB\n"}},
           {{"proc/meminfo", std::string("\0\xFF\0\n\n\n", 6)}},
           // Numbers that do not fit 64 bits, as kilobytes or as bytes.
           {{"proc/meminfo", "MemTotal: 99999999999999999999 kB\nMemAvailable: 5 kB\n"}},
           {{"proc/meminfo", "MemTotal: 16384000 kB\nMemAvailable: 18446744073709551615 kB\n"}},
       }) {
    const auto memory = read_machine(files);
    EXPECT_FALSE(memory.known);
    EXPECT_EQ(level_of(memory), MemoryLevel::Warning);
  }
}

TEST(SystemMemory, MoreAvailableThanThereIsIsNotBelieved) {
  const auto memory =
      read_machine({{"proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 2000 kB\n"}});
  EXPECT_EQ(memory.available_bytes, 1000 * kKiB);
}

// One group per row: the files of its directory -> the headroom that bounds `available`.
TEST(SystemMemory, OneGroupsHeadroomIsItsLimitMinusWhatCannotBeDropped) {
  struct Row {
    const char* name;
    std::string max, high, current, stat;
    std::uint64_t available;
  };
  const std::uint64_t host = 8192000 * kKiB;
  for (const Row& row : std::vector<Row>{
           {"a limit", bytes(2000 * kMiB), "max\n", bytes(500 * kMiB), "anon 1\n", 1500 * kMiB},
           {"page cache counts as free",
            bytes(2000 * kMiB),
            "max\n",
            bytes(500 * kMiB),
            "anon 1\nactive_file 7\ninactive_file " + bytes(400 * kMiB),
            1900 * kMiB},
           {"no limit", "max\n", "max\n", bytes(500 * kMiB), "", host},
           {"the high mark alone", "max\n", bytes(1000 * kMiB), bytes(300 * kMiB), "", 700 * kMiB},
           {"the lower of both",
            bytes(2000 * kMiB),
            bytes(1000 * kMiB),
            bytes(300 * kMiB),
            "",
            700 * kMiB},
           {"used beyond the limit", bytes(100 * kMiB), "max\n", bytes(500 * kMiB), "", 0},
           {"cache beyond use",
            bytes(100 * kMiB),
            "max\n",
            bytes(50 * kMiB),
            "inactive_file " + bytes(90 * kMiB),
            100 * kMiB},
           {"a limit above the host", bytes(host * 2), "max\n", bytes(1), "", host},
           {"garbage", "lots\n", "??\n", "some\n", "nothing", host},
           {"empty files", "", "", "", "", host},
           {"zero", "0\n", "max\n", "0\n", "", 0},
       }) {
    SCOPED_TRACE(row.name);
    const auto memory = read_machine({{"proc/meminfo", kMeminfo},
                                      {"proc/self/cgroup", "0::/user\n"},
                                      {"sys/fs/cgroup/user/memory.max", row.max},
                                      {"sys/fs/cgroup/user/memory.high", row.high},
                                      {"sys/fs/cgroup/user/memory.current", row.current},
                                      {"sys/fs/cgroup/user/memory.stat", row.stat}});
    EXPECT_TRUE(memory.known);
    EXPECT_EQ(memory.available_bytes, row.available);
  }
}

TEST(SystemMemory, TheTightestLevelOfTheTreeWins) {
  for (const std::string tight : {"", "/a", "/a/b", "/a/b/c.scope"}) {
    Files files{{"proc/meminfo", kMeminfo}, {"proc/self/cgroup", "0::/a/b/c.scope\n"}};
    for (const std::string level : {"", "/a", "/a/b", "/a/b/c.scope"}) {
      files["sys/fs/cgroup" + level + "/memory.max"] =
          level == tight ? bytes(700 * kMiB) : bytes(4000 * kMiB);
      files["sys/fs/cgroup" + level + "/memory.current"] = bytes(100 * kMiB);
    }
    files["sys/fs/cgroup/other/memory.max"] = bytes(1);  // not above us
    files["sys/fs/cgroup/other/memory.current"] = bytes(1);
    EXPECT_EQ(read_machine(files).available_bytes, 600 * kMiB) << "at " << tight;
  }
}

TEST(SystemMemory, AHybridTreeIsReadByItsUnifiedLine) {
  const auto memory = read_machine({{"proc/meminfo", kMeminfo},
                                    {"proc/self/cgroup", "12:cpu:/x\n5:memory:/y\n0::/z\n"},
                                    {"sys/fs/cgroup/z/memory.max", bytes(500 * kMiB)},
                                    {"sys/fs/cgroup/z/memory.current", bytes(100 * kMiB)}});
  EXPECT_EQ(memory.available_bytes, 400 * kMiB);
}

TEST(SystemMemory, ThisMachineIsReadable) {
  const auto memory = read_system_memory();
  EXPECT_TRUE(memory.known);
  EXPECT_GT(memory.total_bytes, 256 * kMiB);
  EXPECT_LE(memory.available_bytes, memory.total_bytes);
}

TEST(ResidentBytes, GrowWithTouchedMemory) {
  const std::uint64_t before = resident_bytes();
  EXPECT_GT(before, kMiB);
  std::vector<char> touched(64 * kMiB);
  for (std::size_t i = 0; i < touched.size(); i += 4096) touched[i] = 1;
  EXPECT_GE(resident_bytes(), before + 60 * kMiB);
  EXPECT_EQ(touched[4096], 1);
}
#endif  // __linux__

TEST(MemoryLevel, EachBorderToTheByte) {
  const auto level = [](std::uint64_t available) {
    return level_of({.total_bytes = 16 * kGiB, .available_bytes = available, .known = true});
  };
  EXPECT_EQ(level(3 * kGiB + 1), MemoryLevel::Safe);
  EXPECT_EQ(level(3 * kGiB), MemoryLevel::Caution);
  EXPECT_EQ(level(2 * kGiB + 1), MemoryLevel::Caution);
  EXPECT_EQ(level(2 * kGiB), MemoryLevel::Warning);
  EXPECT_EQ(level(1 * kGiB + 1), MemoryLevel::Warning);
  EXPECT_EQ(level(1 * kGiB), MemoryLevel::Critical);
  EXPECT_EQ(level(kGiB / 2 + 1), MemoryLevel::Critical);
  EXPECT_EQ(level(kGiB / 2), MemoryLevel::Emergency);
  EXPECT_EQ(level(0), MemoryLevel::Emergency);
  EXPECT_EQ(level_of({.available_bytes = 100 * kGiB, .known = false}), MemoryLevel::Warning);
}

TEST(MemoryLevel, HasAWordForEach) {
  EXPECT_EQ(to_string(MemoryLevel::Safe), "safe");
  EXPECT_EQ(to_string(MemoryLevel::Caution), "caution");
  EXPECT_EQ(to_string(MemoryLevel::Warning), "warning");
  EXPECT_EQ(to_string(MemoryLevel::Critical), "critical");
  EXPECT_EQ(to_string(MemoryLevel::Emergency), "emergency");
}

}  // namespace
}  // namespace pensieve
