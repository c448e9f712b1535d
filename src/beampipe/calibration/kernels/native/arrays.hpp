// What the binding files share: types of arguments, results as numpy arrays.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <cstring>
#include <stdexcept>

#include "cuts.hpp"

namespace nb = nanobind;
using namespace nb::literals;

template <typename T, int... Shape>
using In = nb::ndarray<const T, nb::shape<Shape...>, nb::c_contig, nb::device::cpu>;
template <typename T, int... Shape>
using Out = nb::ndarray<T, nb::shape<Shape...>, nb::c_contig, nb::device::cpu>;
using Bytes = In<std::uint8_t, -1>;
using Limits = std::tuple<double, double, double, double, double, double>;

inline void require(bool holds, const char* message) {
  if (!holds) throw std::invalid_argument(message);
}

inline calibration::Cuts cuts_of(const Limits& limits) {
  return std::apply([](auto... each) { return calibration::Cuts{each...}; }, limits);
}

/// Adds the loops that are kernels of their own (loops of pairs.py, hashing.py, filling.py).
void bind_loops(nb::module_& m);
