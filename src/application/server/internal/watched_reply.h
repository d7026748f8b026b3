// An answer with what has to happen at its end: its request is counted and logged, and the use of
// the server that it was is over. Knows statuses and the life of answers. Must not know what they
// say.
#pragma once

#include <memory>
#include <optional>

#include "application/http/handler.h"
#include "application/server/internal/context.h"
#include "application/server/internal/in_use.h"
#include "application/server/internal/request_record.h"

namespace pensieve::server {

// One request that was admitted, from construction to destruction.
class Attendance {
 public:
  // The context outlives it; `record` says which request and of which route. `used`: it counts as a
  // use of the server.
  Attendance(Context& context, std::shared_ptr<RequestRecord> record, bool used);
  Attendance(Attendance&& other) noexcept;
  Attendance(const Attendance&) = delete;
  Attendance& operator=(const Attendance&) = delete;
  ~Attendance();

  // What it was answered with; the first one counts.
  void answered(int status);

  const std::string& id() const { return record_->id; }

 private:
  Context* context_;
  std::shared_ptr<RequestRecord> record_;  // none when moved from
  std::optional<Use> use_;
};

// The same reply; the attendance ends with it.
http::Reply watched(http::Reply reply, Attendance attendance);

}  // namespace pensieve::server
