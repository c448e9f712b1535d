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

  /// An input, by its place among those that the model declares.
  virtual const Tensor& input(std::size_t place) const = 0;
  /// Whether the client asked for an output, by its place among those that the model declares.
  virtual bool wants(std::size_t place) const = 0;
  /// Memory for an output of that shape; it may be the client's own.
  virtual void* output(std::size_t place, const Shape& shape) = 0;
  /// Answers with an error.
  virtual void fail(const std::exception_ptr& exception) = 0;
};

/// What a model may use while it answers.
struct Call {
  int threads;                       // most of one call; see Threads
  std::function<void()> checkpoint;  // throws once nobody waits any more
  std::function<void(const char* counter, double amount, const char* stage)> observe;  // adds to a counter
};

/// Number of cores that this process may use, at least 1.
int cores();

/// Threads for one call, given back at the end of its scope. All calls together hold as many as there are cores, and
/// one each at least: a call that is alone has them all, and many calls at once do not get in each other's way.
class Threads {
public:
  /// As many as are free, `wanted` at most.
  explicit Threads(int wanted);
  ~Threads();
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

  int count() const { return count_; }

private:
  int count_;
};

/// A model, made once and asked from the threads of all its instances at the same time.
class ServedModel {
public:
  virtual ~ServedModel() = default;

  virtual const std::vector<TensorSpec>& inputs() const = 0;
  virtual const std::vector<TensorSpec>& outputs() const = 0;
  /// Description by name of what the model counts, beside events and the time of stages.
  virtual const std::map<std::string, std::string>& counters() const = 0;
  /// Answers each request. What it throws is the answer to all of them.
  virtual void run(const std::vector<ModelRequest*>& requests, const Call& call) const = 0;
};

/// What a model is made from: its parameters, and the folder of its weights.
struct ModelSettings {
  std::map<std::string, std::string> parameters;
  std::string weights;
};

/// Makes the model of this backend.
std::unique_ptr<ServedModel> make_model(const ModelSettings& settings);

}  // namespace beampipe
