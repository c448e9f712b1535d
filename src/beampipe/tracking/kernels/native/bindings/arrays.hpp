// Shared by the binding files: argument types, results as numpy arrays, and the table of kernels in use.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/vector.h>

#include <cstdlib>
#include <stdexcept>
#include <type_traits>
#include <utility>
#include <vector>

#include "kernels.hpp"

namespace nb = nanobind;
using namespace nb::literals;
using beampipe::Array;

template <typename T, int... Shape>
using In = nb::ndarray<const T, nb::shape<Shape...>, nb::c_contig, nb::device::cpu>;
using EdgeIndex = In<std::int64_t, 2, -1>;
using Floats = In<float, -1>;
using Position = In<float, -1, 3>;
using Offsets = In<std::int64_t, -1>;

/// The array as numpy, which now owns the memory.
template <typename T>
nb::object numpy(Array<T>&& array, std::vector<std::size_t> shape = {}) {
  if (shape.empty()) shape = {array.size()};
  T* data = array.release();
  nb::capsule owner(data, [](void* p) noexcept { std::free(p); });
  nb::object result = nb::cast(nb::ndarray<nb::numpy, T>(data, shape.size(), shape.data(), owner));
  // numpy gives longlong, as wide as int64 but of another type when types are compared.
  if constexpr (std::is_same_v<T, std::int64_t>) result = result.attr("view")("int64");
  return result;
}

/// The result of the work, done without the interpreter's lock.
template <typename Work>
auto without_lock(Work&& work) {
  nb::gil_scoped_release free;
  return work();
}

inline void require(bool holds, const char* message) {
  if (!holds) throw std::invalid_argument(message);
}

/// The blocks of n hits, from their offsets.
inline beampipe::Blocks blocks_of(const Offsets& offsets, std::int64_t n) {
  const std::int64_t *begin = offsets.data(), size = static_cast<std::int64_t>(offsets.shape(0));
  require(size > 0 && begin[0] == 0 && begin[size - 1] == n, "offsets: from 0 to the number of hits");
  for (std::int64_t k = 1; k < size; ++k) require(begin[k - 1] <= begin[k], "offsets: not sorted");
  return {begin, size - 1};
}

/// The kernels of the instruction set in use.
const beampipe::Table& kernels();

/// Adds pipelines and their types to the module (bindings/pipelines.cpp).
void bind_pipelines(nb::module_& m);

/// Exceptions of native/errors.hpp are raised as the errors of these names in beampipe.errors (bindings/pipelines.cpp).
void translate_errors();
