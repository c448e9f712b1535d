// A C++ pipeline that Triton serves: arrays in, arrays out. The C++ side of beampipe.triton.model.contract.
//
// Derive a class from ServedModel, define make_model, and build both with the CMake function beampipe_add_backend, which
// adds requests, batches, errors, metrics and the check of the canary. See docs/cpp_pipelines.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "../native/errors.hpp"
#include "triton/native/triton.h"

namespace beampipe {

using Shape = std::vector<std::int64_t>;

/// A tensor as a model declares it.
struct TensorSpec {
  const char* name;
  TRITONSERVER_DataType type;
  std::size_t item;       // bytes of an element
  Shape dims;             // of one event; -1 stands for any length
  bool optional = false;  // whether a request may leave it out, for an input
};

/// Triton's name of an element type.
template <typename T>
constexpr TRITONSERVER_DataType triton_type() {
  static_assert(std::is_arithmetic_v<T> && sizeof(T) <= 8, "expected a number that Triton has a type for");
  if (std::is_same_v<T, bool>) return TRITONSERVER_TYPE_BOOL;
  if (std::is_floating_point_v<T>) return sizeof(T) == 4 ? TRITONSERVER_TYPE_FP32 : TRITONSERVER_TYPE_FP64;
  constexpr TRITONSERVER_DataType is_signed[] = {TRITONSERVER_TYPE_INT8, TRITONSERVER_TYPE_INT16,
                                                 TRITONSERVER_TYPE_INT32, TRITONSERVER_TYPE_INT64};
  constexpr TRITONSERVER_DataType is_unsigned[] = {TRITONSERVER_TYPE_UINT8, TRITONSERVER_TYPE_UINT16,
                                                   TRITONSERVER_TYPE_UINT32, TRITONSERVER_TYPE_UINT64};
  constexpr int row = sizeof(T) == 1 ? 0 : sizeof(T) == 2 ? 1 : sizeof(T) == 4 ? 2 : 3;
  return std::is_signed_v<T> ? is_signed[row] : is_unsigned[row];
}

/// A tensor of numbers of type T.
template <typename T>
TensorSpec tensor_of(const char* name, Shape dims, bool optional = false) {
  return {name, triton_type<T>(), sizeof(T), std::move(dims), optional};
}

/// A tensor of a request: rows in C order, of the declared shape, in the host's memory. An optional one that the request
/// leaves out has no shape and no data.
struct Tensor {
  Shape shape;
  const void* data;

  /// Its numbers; T is the declared type.
  template <typename T>
  const T* as() const {
    return static_cast<const T*>(data);
  }
};

/// One request, as a model sees it. It is answered once: with its outputs, or with an error.
class ModelRequest {
public:
  virtual ~ModelRequest() = default;

  /// An input, by its index in `ServedModel::inputs`.
  virtual const Tensor& input(std::size_t index) const = 0;
  /// Whether the client requested an output, by its index in `ServedModel::outputs`.
  virtual bool wants(std::size_t index) const = 0;
  /// Memory for an output of that shape, not initialised; it may be the client's own.
  virtual void* output(std::size_t index, const Shape& shape) = 0;
  /// Answers with an error. The client reads the text of an InputError; that of any other goes to the server's log.
  virtual void fail(const std::exception_ptr& exception) = 0;
};

/// What a model may use while it answers.
struct Call {
  int threads;                       // largest number for one call; see Threads
  std::function<void()> checkpoint;  // throws if the client has cancelled the request
  std::function<void(const char* counter, double amount, const char* stage)> observe;  // adds to a counter
  std::function<void(const std::string& stage)>
      mark;  // ends a stage: a span of the requests' traces, from the last mark, or the begin of the call, until now
};

/// Number of cores that this process may use, at least 1.
int cores();

/// Reserves threads for one call until the end of its scope. All calls of this library hold together as many threads as
/// there are cores, and each call at least one: a single call uses all cores, and many calls do not oversubscribe them.
class Threads {
public:
  /// Reserves as many as are free, at most `wanted`.
  explicit Threads(int wanted);
  ~Threads();
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

  int count() const { return count_; }

private:
  int count_;
};

/// A model. All instances on one device share one object, and their threads call `run` at the same time.
class ServedModel {
public:
  virtual ~ServedModel() = default;

  virtual const std::vector<TensorSpec>& inputs() const = 0;
  virtual const std::vector<TensorSpec>& outputs() const = 0;
  /// Descriptions of the model's counters by name, beside those of events and the time of stages.
  virtual const std::map<std::string, std::string>& counters() const {
    static const std::map<std::string, std::string> none;
    return none;
  }
  /// Answers each request: one, or several if the configuration allows batches. An exception is the answer to all.
  virtual void run(const std::vector<ModelRequest*>& requests, const Call& call) const = 0;
};

/// Settings of a model, from its configuration.
struct ModelSettings {
  std::map<std::string, std::string> parameters;
  std::string weights;  // folder
  std::string device;   // "cpu", or "cuda:N"; inputs and outputs are in the host's memory on both

  /// A parameter. Throws ConfigError if it is missing.
  const std::string& text(const std::string& name) const;
  /// A parameter, `otherwise` if it is missing.
  std::string text(const std::string& name, const std::string& otherwise) const;
  /// A parameter that is a whole number from 0 on; with `otherwise`, it may be missing. Throws ConfigError.
  std::int64_t whole(const std::string& name) const;
  std::int64_t whole(const std::string& name, std::int64_t otherwise) const;
};

/// Makes the model of this backend; every backend defines it. An exception is the reason why it is not served.
std::unique_ptr<ServedModel> make_model(const ModelSettings& settings);

}  // namespace beampipe
