// A request of Triton as a ModelRequest: all sizes are checked, it is answered once, and always released.
#pragma once

#include <cstdint>
#include <exception>
#include <vector>

#include "triton/native/triton.h"
#include "triton/pipeline.hpp"

namespace beampipe {

class Request final : public ModelRequest {
public:
  /// Takes ownership of the request; `batched`: its tensors have one more axis of length 1 in front.
  Request(TRITONBACKEND_Request* request, const ServedModel& model, bool batched) noexcept;
  ~Request() override;
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;

  /// Reads the inputs and the names of the requested outputs. A contiguous buffer is used in place, others are joined.
  void read();
  /// Whether the client has cancelled the request, or its timeout is shorter than `spent` [us].
  bool abandoned(std::uint64_t spent) const;
  /// The trace of the request, nullptr if it is not traced.
  TRITONSERVER_InferenceTrace* trace() const;
  /// Sends the answer, unless it was sent already.
  void send() noexcept;
  bool failed() const { return error_ != nullptr; }
  TRITONBACKEND_Request* raw() const { return request_; }

  const Tensor& input(std::size_t index) const override { return inputs_[index]; }
  bool wants(std::size_t index) const override { return wanted_[index]; }
  void* output(std::size_t index, const Shape& shape) override;
  void fail(const std::exception_ptr& exception) override;

private:
  void read_input(std::size_t index);
  const void* contiguous(TRITONBACKEND_Input* input, std::uint32_t buffers, std::uint64_t bytes, std::size_t item);

  TRITONBACKEND_Request* request_;
  TRITONBACKEND_Response* response_ = nullptr;
  TRITONSERVER_Error* error_ = nullptr;
  const ServedModel& model_;
  bool batched_;
  std::vector<Tensor> inputs_;
  std::vector<std::vector<char>> joined_;  // inputs that came in several buffers
  std::vector<char> wanted_;
};

}  // namespace beampipe
