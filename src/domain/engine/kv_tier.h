// A second tier of the KV cache behind the arena in memory: slower, larger, and still there after a
// restart. The engine offers it every page that is full and asks for pages back; what it keeps,
// where and for how long is its own business. Called on the engine thread only, and no call waits
// for a disk.
#pragma once

#include <array>
#include <cstddef>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "foundation/ids.h"
#include "foundation/result.h"

#include "domain/compute/backend.h"

namespace pensieve::engine {

// Stands for the last page of a history: all its tokens from the first on, the rope variant, and
// what else their KV depends on. Two histories have the same key only by collision.
struct PageKey {
  std::array<std::byte, 32> bytes{};
  bool operator==(const PageKey&) const = default;
};

struct PageKeyHash {
  std::size_t operator()(const PageKey& key) const {  // they are as good as random
    std::size_t value = 0;
    std::memcpy(&value, key.bytes.data(), sizeof value);
    return value;
  }
};

// Pages that are being read back, in order.
class PageReader {
 public:
  virtual ~PageReader() = default;  // gives up what was not taken

  // Page: `bytes` gives what Backend::save() wrote for it, until the next call. Wait: the next page
  // is not there yet; KvTier::on_ready() is called when it is. End: no more pages come.
  enum class State { Page, Wait, End };
  virtual State next(compute::ByteSource*& bytes) = 0;
};

class KvTier {
 public:
  virtual ~KvTier() = default;

  // Once, before every other call. `kv_format`: Capabilities::kv_format. `ready` is called from any
  // thread when something that had to wait or was refused for now may be tried again.
  virtual void begin(std::string_view kv_format,
                     std::size_t page_bytes,
                     std::function<void()> ready) = 0;

  // No call of `ready` comes after this. What was taken is still being written.
  virtual void end() = 0;

  // Appends the keys of the full pages of `tokens` that are not in `keys` yet.
  virtual void extend_keys(std::vector<PageKey>& keys,
                           std::span<const TokenId> tokens,
                           compute::RopeVariant rope) const = 0;

  // How many of `keys`, from the first on, may be there to be read: as far as is known, or all of
  // them where it is worth looking, as many are missing beyond the first `n_held`, which the arena
  // has.
  virtual int n_known(std::span<const PageKey> keys, int n_held) = 0;

  // Offers the page whose key is `key`, the last full one of `tokens`. `save` writes its bytes; it
  // is called at once or never. Later: there is no room now, `ready` will be called. Refused: not
  // worth asking again.
  enum class Answer { Known, Taken, Later, Refused };
  virtual Answer offer(const PageKey& key,
                       std::span<const TokenId> tokens,
                       const std::function<Result<void>(compute::ByteSink&)>& save) = 0;

  // Whether nothing is taken for a while, because writing failed: nobody waits for that to end.
  virtual bool stalled() { return false; }

  // Begins to read pages [first, keys.size()), of a history that begins with `tokens`.
  virtual std::unique_ptr<PageReader> read(std::span<const PageKey> keys,
                                           int first,
                                           std::span<const TokenId> tokens) = 0;
};

}  // namespace pensieve::engine
