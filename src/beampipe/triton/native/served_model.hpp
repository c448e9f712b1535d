// What a model is to the backend: arrays in, arrays out. The C++ side of beampipe.triton.model.contract.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "triton/native/triton.h"

namespace beampipe {

using Shape = std::vector<std::int64_t>;

/// A tensor as a model declares it.
struct TensorSpec {
  const char* name;
  TRITONSERVER_DataType type;
  std::size_t item;  // bytes of an element
  Shape dims;        // of one event; -1 stands for any length
};

/// A tensor of a request: rows in C order, of the declared shape.
struct Tensor {
  Shape shape;
  const void* data;
};

/// One request, as a model sees it. It is answered once: with its outputs, or with an error.
class ModelRequest {
public:
  virtual ~ModelRequest() = default;

  /// An input, by its index in `ServedModel::inputs`.
  virtual const Tensor& input(std::size_t index) const = 0;
  /// Whether the client requested an output, by its index in `ServedModel::outputs`.
  virtual bool wants(std::size_t index) const = 0;
  /// Memory for an output of that shape; it may be the client's own.
  virtual void* output(std::size_t index, const Shape& shape) = 0;
  /// Answers with an error.
  virtual void fail(const std::exception_ptr& exception) = 0;
};

/// What a model may use while it answers.
struct Call {
  int threads;                       // largest number for one call; see Threads
  std::function<void()> checkpoint;  // throws if the client has cancelled the request
  std::function<void(const char* counter, double amount, const char* stage)> observe;  // adds to a counter
};

/// Number of cores that this process may use, at least 1.
int cores();

/// Reserves threads for one call until the end of its scope. All calls together hold as many threads as there are cores,
/// and each call at least one: a single call uses all cores, and many calls at once do not oversubscribe them.
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

/// A model. There is one object for all instances, and their threads call `run` at the same time.
class ServedModel {
public:
  virtual ~ServedModel() = default;

  virtual const std::vector<TensorSpec>& inputs() const = 0;
  virtual const std::vector<TensorSpec>& outputs() const = 0;
  /// Descriptions of the model's counters by name, beside those of events and the time of stages.
  virtual const std::map<std::string, std::string>& counters() const = 0;
  /// Answers each request. An exception is the answer to all of them.
  virtual void run(const std::vector<ModelRequest*>& requests, const Call& call) const = 0;
};

/// Parameters of a model, and the folder of its weights.
struct ModelSettings {
  std::map<std::string, std::string> parameters;
  std::string weights;
};

/// Makes the model of this backend.
std::unique_ptr<ServedModel> make_model(const ModelSettings& settings);

}  // namespace beampipe
