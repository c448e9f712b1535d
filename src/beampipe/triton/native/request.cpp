#include "triton/native/request.hpp"

#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>

#include "native/errors.hpp"
#include "triton/native/errors.hpp"

namespace beampipe {
namespace {

std::string written(const std::int64_t* dims, std::size_t n) {
  std::string text = "[";
  for (std::size_t i = 0; i < n; ++i) text += (i > 0 ? ", " : "") + std::to_string(dims[i]);
  return text + "]";
}

bool fits(const Shape& shape, const Shape& dims) {
  if (shape.size() != dims.size()) return false;
  for (std::size_t i = 0; i < dims.size(); ++i)
    if (shape[i] < 0 || (dims[i] >= 0 && shape[i] != dims[i])) return false;
  return true;
}

/// Computes the size of a tensor in bytes; false on overflow.
bool bytes_of(const Shape& shape, std::size_t item, std::uint64_t& bytes) {
  bytes = item;
  for (const std::int64_t length : shape)
    if (__builtin_mul_overflow(bytes, static_cast<std::uint64_t>(length), &bytes)) return false;
  return true;
}

}  // namespace

Request::Request(TRITONBACKEND_Request* request, const ServedModel& model, bool batched) noexcept
    : request_(request), model_(model), batched_(batched) {
  TRITONSERVER_Error* refused = TRITONBACKEND_ResponseNew(&response_, request);
  if (refused != nullptr) response_ = nullptr;
  log_refusal(refused);
}

Request::~Request() {
  send();
  log_refusal(TRITONBACKEND_RequestRelease(request_, TRITONSERVER_REQUEST_RELEASE_ALL));
}

void Request::read() {
  wanted_.assign(model_.outputs().size(), 0);
  std::uint32_t count = 0;
  check(TRITONBACKEND_RequestOutputCount(request_, &count));
  for (std::uint32_t i = 0; i < count; ++i) {
    const char* name = nullptr;
    check(TRITONBACKEND_RequestOutputName(request_, i, &name));
    for (std::size_t index = 0; index < wanted_.size(); ++index)
      if (std::strcmp(name, model_.outputs()[index].name) == 0) wanted_[index] = 1;
  }
  inputs_.clear();
  joined_.clear();
  for (std::size_t index = 0; index < model_.inputs().size(); ++index) read_input(index);
}

void Request::read_input(std::size_t index) {
  const TensorSpec& spec = model_.inputs()[index];
  const std::string name = spec.name;
  TRITONBACKEND_Input* input = nullptr;
  TRITONSERVER_Error* missing = TRITONBACKEND_RequestInput(request_, spec.name, &input);
  if (missing != nullptr && spec.optional) {
    TRITONSERVER_ErrorDelete(missing);
    inputs_.push_back({{}, nullptr});
    return;
  }
  check(missing);
  TRITONSERVER_DataType type{};
  const std::int64_t* dims = nullptr;
  std::uint32_t rank = 0, buffers = 0;
  std::uint64_t size = 0, bytes = 0;
  check(TRITONBACKEND_InputProperties(input, nullptr, &type, &dims, &rank, &size, &buffers));
  if (type != spec.type) throw InputError(name + ": got another type than the model declares, expected that one");
  if (batched_ && (rank == 0 || dims[0] != 1))
    throw InputError(name + ": got shape " + written(dims, rank) + ", expected [1, n, ...]: one event per request");
  const Shape shape(dims + (batched_ ? 1 : 0), dims + rank);
  if (!fits(shape, spec.dims))
    throw InputError(name + ": got shape " + written(dims, rank) + ", expected " +
                     written(spec.dims.data(), spec.dims.size()));
  if (!bytes_of(shape, spec.item, bytes) || bytes != size)
    throw InputError(name + ": got " + std::to_string(size) + " bytes for shape " + written(dims, rank) +
                     ", expected as many as that shape has");
  inputs_.push_back({shape, contiguous(input, buffers, bytes, spec.item)});
}

const void* Request::contiguous(TRITONBACKEND_Input* input, std::uint32_t buffers, std::uint64_t bytes,
                                std::size_t item) {
  std::vector<char> joined;
  std::uint64_t at = 0;
  for (std::uint32_t i = 0; i < buffers; ++i) {
    const void* part = nullptr;
    std::uint64_t size = 0;
    TRITONSERVER_MemoryType memory = TRITONSERVER_MEMORY_CPU;
    std::int64_t device = 0;
    check(TRITONBACKEND_InputBuffer(input, i, &part, &size, &memory, &device));
    if (memory == TRITONSERVER_MEMORY_GPU)
      throw InputError("got an input in the memory of a GPU, expected it in the host's; this model runs on the CPU");
    if (size > bytes - at) throw InputError("got more bytes than the shape has, expected as many");
    if (size == bytes && reinterpret_cast<std::uintptr_t>(part) % item == 0) return part;
    if (size == 0) continue;
    if (joined.empty()) joined.resize(bytes);
    std::memcpy(joined.data() + at, part, size);
    at += size;
  }
  if (at != bytes) throw InputError("got fewer bytes than the shape has, expected as many");
  joined_.push_back(std::move(joined));
  return joined_.back().data();
}

bool Request::abandoned(std::uint64_t spent) const {
  bool cancelled = false;
  std::uint64_t patience = 0;  // [us]; 0 for no limit
  check(TRITONBACKEND_RequestIsCancelled(request_, &cancelled));
  // The server does not notice that an HTTP client has disconnected, but clients may send a timeout.
  check(TRITONBACKEND_InferenceRequestTimeoutMicroseconds(request_, &patience));
  return cancelled || (patience > 0 && patience < spent);
}

TRITONSERVER_InferenceTrace* Request::trace() const {
  TRITONSERVER_InferenceTrace* trace = nullptr;
  TRITONSERVER_Error* error = TRITONBACKEND_RequestTrace(request_, &trace);
  if (error == nullptr) return trace;
  TRITONSERVER_ErrorDelete(error);  // this server was built without traces
  return nullptr;
}

void* Request::output(std::size_t index, const Shape& shape) {
  const TensorSpec& spec = model_.outputs()[index];
  if (response_ == nullptr) throw std::runtime_error("got a request without a response, expected one to fill");
  Shape dims = shape;
  if (batched_) dims.insert(dims.begin(), 1);
  std::uint64_t bytes = 0;
  if (!fits(shape, spec.dims) || !bytes_of(shape, spec.item, bytes))
    throw std::runtime_error(std::string(spec.name) + ": the model made shape " + written(dims.data(), dims.size()));
  TRITONBACKEND_Output* output = nullptr;
  check(TRITONBACKEND_ResponseOutput(response_, &output, spec.name, spec.type, dims.data(),
                                     static_cast<std::uint32_t>(dims.size())));
  void* buffer = nullptr;
  TRITONSERVER_MemoryType memory = TRITONSERVER_MEMORY_CPU;
  std::int64_t device = 0;
  check(TRITONBACKEND_OutputBuffer(output, &buffer, bytes, &memory, &device));
  if (memory == TRITONSERVER_MEMORY_GPU)
    throw InputError(std::string(spec.name) + ": got memory of a GPU for the answer, expected the host's");
  return buffer;
}

void Request::fail(const std::exception_ptr& exception) {
  if (error_ == nullptr) error_ = error_for_client(exception);
}

void Request::send() noexcept {
  if (response_ != nullptr) {
    log_refusal(TRITONBACKEND_ResponseSend(response_, TRITONSERVER_RESPONSE_COMPLETE_FINAL, error_));
    response_ = nullptr;
  }
  if (error_ != nullptr) {
    TRITONSERVER_ErrorDelete(error_);
    error_ = nullptr;
  }
}

}  // namespace beampipe
