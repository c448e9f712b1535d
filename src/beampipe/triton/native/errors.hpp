// Conversion of errors between Triton's C interface, exceptions and messages for clients.
#pragma once

#include <exception>
#include <string>
#include <utility>

#include "triton/native/triton.h"

namespace beampipe {

/// The client has cancelled the request, or its timeout has passed.
class Cancelled : public std::exception {
public:
  const char* what() const noexcept override { return "cancelled: nobody waits for the answer any more"; }
};

/// An error that a function of the server returned.
class ServerError : public std::exception {
public:
  /// Takes ownership of the error.
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

/// Throws an error of the server.
inline void check(TRITONSERVER_Error* error) {
  if (error != nullptr) throw ServerError(error);
}

/// Writes an error into the server's log, where it cannot be returned.
void log_error(const char* message) noexcept;

/// The same for an error of the server; does nothing without one.
void log_refusal(TRITONSERVER_Error* error) noexcept;

/// The part of an exception that a client may read: nothing about the server's files and settings, which are logged.
TRITONSERVER_Error* error_for_client(const std::exception_ptr& exception) noexcept;

/// The whole text of an exception, for the user who loads a model.
TRITONSERVER_Error* error_for_operator(const std::exception_ptr& exception) noexcept;

/// Runs a function whose exceptions must not pass into C.
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
