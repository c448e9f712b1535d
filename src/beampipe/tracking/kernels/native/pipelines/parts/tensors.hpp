// Tensors of a file as numbers, of the type and shape that is expected.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "native/errors.hpp"
#include "native/safetensors.hpp"

namespace beampipe {

/// How a file names a type of numbers.
template <typename T>
constexpr const char* kDtype = nullptr;
template <>
constexpr const char* kDtype<float> = "F32";
template <>
constexpr const char* kDtype<std::int32_t> = "I32";

inline std::string text_of(const std::vector<std::int64_t>& shape) {
  std::string text;
  for (const std::int64_t length : shape) text += (text.empty() ? "" : ", ") + std::to_string(length);
  return "(" + text + ")";
}

/// The numbers of a tensor of that shape.
template <typename T>
std::vector<T> numbers(const Safetensors& file, const std::string& name, const std::vector<std::int64_t>& shape) {
  const TensorView& tensor = file.at(name);
  if (tensor.dtype != kDtype<T> || tensor.shape != shape)
    throw ConfigError(name + ": got " + tensor.dtype + " of shape " + text_of(tensor.shape) + ", expected " +
                      kDtype<T> + " of shape " + text_of(shape));
  std::vector<T> values(tensor.bytes / sizeof(T));
  std::memcpy(values.data(), tensor.data, tensor.bytes);
  return values;
}

}  // namespace beampipe
