// Reads what the machine can still give, again and again, without allocating: with plain reads into
// a buffer of its own. Linux: MemAvailable, lowered by the headroom of every control group above
// this process (v2, v1 and both side by side), and the stalls that the kernel tells. macOS: host
// statistics and the system's own pressure level. Source: RELIABILITY, 4.4.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "foundation/system_memory.h"

namespace pensieve {

class MemoryReader {
 public:
  struct Options {
    std::string root{};  // stands before /proc and /sys
    // Mapped weights, which stay mapped. Whoever reads the level counts them as taken, so that it
    // is the same whether their pages are in memory (where they count as available, as long as
    // nobody uses them) or still on the disk.
    std::vector<std::span<const std::byte>> weights{};
    // How many bytes of them are in memory now; empty: the system is asked, about a sample of 1,024
    // pages at every fourth reading.
    std::function<std::uint64_t()> resident_weights{};
    // What a GPU that shares the memory may still take; empty, or nothing: no bound.
    std::function<std::optional<std::uint64_t>()> gpu_room{};
  };

  explicit MemoryReader(Options options);

  // One call at a time. Linux: 0.1 ms in a tree of three groups (0.5 ms with all cores busy), plus
  // the sample of the weights where a group has a limit, and no allocation. What is there but makes
  // no sense gives `known` = false.
  SystemMemory read();

 private:
  enum class Kind { V1, V2 };
  // A number of a control file: a bound, or that there is none.
  enum class State { Absent, Unlimited, Number, Bad };
  struct Value {
    State state = State::Absent;
    std::uint64_t bytes = 0;
  };

  void read_groups(SystemMemory& memory);
  void read_tree(Kind kind, std::string_view mount, std::string_view group, SystemMemory& memory);
  void read_group(Kind kind, SystemMemory& memory);
  void read_stalls(std::string_view group, SystemMemory& memory);
  Value value(std::string_view file);
  std::uint64_t resident_weights();
  std::uint64_t measure_resident() const;
  // The file's text, valid until the next call; nothing when it cannot be read. errno says why.
  std::optional<std::string_view> text_of(std::string_view directory, std::string_view file);

  const Options options_;
  std::uint64_t weights_bytes_ = 0;
  std::string path_;       // of the file that is being read; never grows
  std::string directory_;  // of the group that is being read; never grows
  std::array<char, 4096> groups_{};
  std::array<char, 16384> text_{};
  std::uint64_t resident_ = 0;
  unsigned readings_ = 0;
  unsigned measured_at_ = 0;  // the reading that asked for resident_; 0: none has
};

}  // namespace pensieve
