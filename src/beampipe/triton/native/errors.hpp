// Errors on their way between Triton's C interface, exceptions and a client.
#pragma once

#include <exception>
#include <string>
#include <utility>

#include "triton/native/triton.h"

namespace beampipe {

/// Nobody waits for the answer any more.
class Cancelled : public std::exception {
public:
  const char* what() const noexcept override { return "cancelled: nobody waits for the answer any more"; }
};

/// What the server said when it was asked for something.
class ServerError : public std::exception {
public:
  /// Takes the error over.
  explicit ServerError(TRITONSERVER_Error* error)
      : code_(TRITONSERVER_ErrorCode(error)), message_(TRITONSERVER_ErrorMessage(error)) {
    TRITONSERVER_ErrorDelete(error);
  }
  TRITONSERVER_Error_Code code() const { return code_; }
  const char* what() const noexcept override { return message_.c_str(); }

private:
  TRITONSERVER_Error_Code code_;
  std::string message_;
};

/// Throws what the server refused.
inline void check(TRITONSERVER_Error* error) {
  if (error != nullptr) throw ServerError(error);
}

/// Writes an error, which nobody can be told any more, into the server's log.
void log_error(const char* message) noexcept;

/// The same where the server refused something.
void log_refusal(TRITONSERVER_Error* error) noexcept;

/// What a client may read of an exception: nothing of the server's files and settings, which go to the log.
TRITONSERVER_Error* error_for_client(const std::exception_ptr& exception) noexcept;

/// What whoever loads a model may read of an exception: all of it.
TRITONSERVER_Error* error_for_operator(const std::exception_ptr& exception) noexcept;

/// Runs what must not let an exception out into C.
template <typename Work>
TRITONSERVER_Error* guarded(Work&& work) noexcept {
  try {
    std::forward<Work>(work)();
    return nullptr;
  } catch (...) {
    return error_for_operator(std::current_exception());
  }
}

}  // namespace beampipe
