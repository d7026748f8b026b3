// An answer with what has to happen at its end: its request is counted, and the use of the server
// that it was is over. Knows statuses and the life of answers. Must not know what they say.
#pragma once

#include <chrono>
#include <optional>
#include <string_view>

#include "application/http/handler.h"
#include "application/server/internal/context.h"
#include "application/server/internal/in_use.h"

namespace pensieve::server {

// One request that was admitted, from construction to destruction.
class Attendance {
 public:
  // The context outlives it; `route` is of the table. `used`: it counts as a use of the server.
  Attendance(Context& context, std::string_view route, bool used);
  Attendance(Attendance&& other) noexcept;
  Attendance(const Attendance&) = delete;
  Attendance& operator=(const Attendance&) = delete;
  ~Attendance();

  // What it was answered with; the first one counts.
  void answered(int status);

 private:
  Context* context_;
  std::string_view route_;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  int status_ = 0;
  std::optional<Use> use_;
};

// The same reply; the attendance ends with it.
http::Reply watched(http::Reply reply, Attendance attendance);

}  // namespace pensieve::server
