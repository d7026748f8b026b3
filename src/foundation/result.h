// What a call gives back when it can fail for a reason outside the code: a value or an Error.
// An Error is data: a kind that one function maps to an HTTP status and a Claude error type, and a
// sentence for the person who reads it. Shaped like std::expected so that it can become it.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "foundation/check.h"

namespace pensieve {

enum class ErrorKind {
  InvalidRequest,    // the caller sent something that can never work            400
  Authentication,    // no token, or the wrong one                               401
  Permission,        // a Host or Origin that is not ours                        403
  NotFound,          // no such route, model or file                             404
  MethodNotAllowed,  //                                                          405
  Timeout,           // the client was too slow                                  408
  TooLarge,          // a body beyond the limit                                  413
  UriTooLong,        //                                                          414
  UnsupportedMedia,  // content type or encoding                                 415
  HeadersTooLarge,   //                                                          431
  RateLimited,       //                                                          429
  Overloaded,        // the queue is full: try again                             529
  Unavailable,       // draining or out of memory: try again                     503
  NotImplemented,    // a transfer coding or method we do not speak              501
  BadFile,           // a model file that cannot be used                         exit status 2
  Cancelled,         // the client left, or we are shutting down
  Internal,          // ours: a device, a thread, an allocation                  500
  DigestMismatch,    // a file that is not the one it was promised to be         exit status 3
};

struct [[nodiscard]] Error {
  ErrorKind kind = ErrorKind::Internal;
  std::string message;    // one sentence, complete, no stack of prefixes
  int retry_after_s = 0;  // > 0 where trying again makes sense
};

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value)
      : state_(std::in_place_index<0>, std::move(value)) {}  // NOLINT: implicit by design
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT

  bool has_value() const { return state_.index() == 0; }
  explicit operator bool() const { return has_value(); }

  // REQUIRES: has_value().
  T& value() & { return *checked(); }
  const T& value() const& { return *const_cast<Result*>(this)->checked(); }
  T&& value() && { return std::move(*checked()); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return checked(); }
  const T* operator->() const { return const_cast<Result*>(this)->checked(); }

  // REQUIRES: !has_value().
  const Error& error() const& {
    CHECK(!has_value());
    return *std::get_if<1>(&state_);
  }
  Error&& error() && {
    CHECK(!has_value());
    return std::move(*std::get_if<1>(&state_));
  }

 private:
  T* checked() {
    CHECK(has_value());
    return std::get_if<0>(&state_);
  }
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}  // NOLINT: implicit by design
  bool has_value() const { return !error_.has_value(); }
  explicit operator bool() const { return has_value(); }
  const Error& error() const& {
    CHECK(error_.has_value());
    return *error_;
  }
  Error&& error() && {
    CHECK(error_.has_value());
    return std::move(*error_);
  }

 private:
  std::optional<Error> error_;
};

// PENSIEVE_TRY(auto x, call());  declares x from the value, or returns the error from this
// function. PENSIEVE_TRY(call());          the same for Result<void>.
#define PENSIEVE_CONCAT_INNER(a, b) a##b
#define PENSIEVE_CONCAT(a, b) PENSIEVE_CONCAT_INNER(a, b)
#define PENSIEVE_TRY_2(tmp, declaration, ...) \
  auto tmp = (__VA_ARGS__);                   \
  if (!tmp) return ::std::move(tmp).error();  \
  declaration = *::std::move(tmp)
#define PENSIEVE_TRY_1(tmp, ...) \
  if (auto tmp = (__VA_ARGS__); !tmp) return ::std::move(tmp).error()
// Commas inside the call's template arguments count as more arguments: up to four are put together.
#define PENSIEVE_TRY_SELECT(_1, _2, _3, _4, _5, NAME, ...) NAME
#define PENSIEVE_TRY(...)             \
  PENSIEVE_TRY_SELECT(__VA_ARGS__,    \
                      PENSIEVE_TRY_2, \
                      PENSIEVE_TRY_2, \
                      PENSIEVE_TRY_2, \
                      PENSIEVE_TRY_2, \
                      PENSIEVE_TRY_1, \
                      unused)         \
  (PENSIEVE_CONCAT(pensieve_try_, __LINE__), __VA_ARGS__)

}  // namespace pensieve
