// A request of Triton as a ModelRequest: read with every size checked, answered once, released whatever happens.
#pragma once

#include <cstdint>
#include <exception>
#include <vector>

#include "triton/native/served_model.hpp"
#include "triton/native/triton.h"

namespace beampipe {

class Request final : public ModelRequest {
public:
  /// Takes the request over; `batched` tells whether its tensors have one more axis of length 1 in front.
  Request(TRITONBACKEND_Request* request, const ServedModel& model, bool batched) noexcept;
  ~Request() override;
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;

  /// Reads the inputs, and which outputs are asked for. One contiguous buffer is used where it lies; others are joined.
  void read();
  /// Whether the client has gone, or waits no longer than `spent` [us].
  bool abandoned(std::uint64_t spent) const;
  /// Sends the answer, unless that was done.
  void send() noexcept;
  bool failed() const { return error_ != nullptr; }
  TRITONBACKEND_Request* raw() const { return request_; }

  const Tensor& input(std::size_t place) const override { return inputs_[place]; }
  bool wants(std::size_t place) const override { return wanted_[place]; }
  void* output(std::size_t place, const Shape& shape) override;
  void fail(const std::exception_ptr& exception) override;

private:
  void read_input(std::size_t place);
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
