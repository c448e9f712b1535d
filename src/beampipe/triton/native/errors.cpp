#include "triton/native/errors.hpp"

#include <new>

#include "native/errors.hpp"

namespace beampipe {

void log_error(const char* message) noexcept {
  TRITONSERVER_Error* refused = TRITONSERVER_LogMessage(TRITONSERVER_LOG_ERROR, "beampipe", 0, message);
  if (refused != nullptr) TRITONSERVER_ErrorDelete(refused);
}

void log_refusal(TRITONSERVER_Error* error) noexcept {
  if (error == nullptr) return;
  log_error(TRITONSERVER_ErrorMessage(error));
  TRITONSERVER_ErrorDelete(error);
}

TRITONSERVER_Error* error_for_client(const std::exception_ptr& exception) noexcept {
  try {
    std::rethrow_exception(exception);
  } catch (const InputError& error) {
    return TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INVALID_ARG, error.wire_text().c_str());
  } catch (const Cancelled& error) {
    return TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_CANCELLED, error.what());
  } catch (const ServerError& error) {
    return TRITONSERVER_ErrorNew(error.code(), error.what());
  } catch (const std::bad_alloc&) {
    return TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INTERNAL,
                                 "out of memory: send a smaller event, or fewer at a time");
  } catch (const std::exception& error) {
    log_error(error.what());
  } catch (...) {
    log_error("got an exception of unknown type");
  }
  return TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INTERNAL,
                               "internal error of the model; the server's log has the details");
}

TRITONSERVER_Error* error_for_operator(const std::exception_ptr& exception) noexcept {
  try {
    std::rethrow_exception(exception);
  } catch (const ServerError& error) {
    return TRITONSERVER_ErrorNew(error.code(), error.what());
  } catch (const std::exception& error) {
    return TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INTERNAL, error.what());
  } catch (...) {
    return TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INTERNAL, "got an exception of unknown type");
  }
}

}  // namespace beampipe
