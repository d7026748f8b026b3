// The bounds of everything that comes in from a socket, together in one place. Each has a test at
// the limit and one just over it.
#pragma once

#include <chrono>
#include <cstddef>

namespace pensieve::http {

struct Limits {
  std::size_t request_line_bytes = 8 * 1024;  // without its CRLF; over it: 414
  std::size_t header_bytes = 32 * 1024;       // all header lines and the empty one, with CRLFs; 431
  std::size_t header_fields = 100;            // over it: 431
  std::size_t body_bytes = 32 * 1024 * 1024;  // chunked bodies are counted as they arrive; 413
  std::size_t chunk_extension_bytes = 256;    // of one chunk; over it: 400

  std::chrono::milliseconds header_time{10'000};  // from a request's first byte to its last header
  std::chrono::milliseconds body_grace{10'000};   // after it, the average rate below must hold: 408
  std::size_t body_bytes_per_second = 1024;
  std::chrono::milliseconds keep_alive_idle{75'000};  // between requests; then closed
  std::chrono::milliseconds send_stall{30'000};  // a client that reads nothing for so long is gone
  std::chrono::milliseconds ping_interval{8'000};  // of a stream with nothing else to send
  std::chrono::milliseconds linger{5'000};  // how long a refused client may still send its body

  std::size_t connections = 1'024;  // one more gets 503 and is closed
};

}  // namespace pensieve::http
