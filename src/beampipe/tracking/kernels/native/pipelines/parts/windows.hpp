// Learned windows, read from their file.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "windows/windows.hpp"

namespace beampipe {

/// Learned windows, and the memory that they lie in.
class WindowTables {
public:
  /// Reads <stem>.safetensors. Throws FileError.
  static WindowTables load(const std::string& stem);

  /// The windows with layers that also hold hits measured from a beam line off the axis: larger on all sides, by 5 mm
  /// or by what keeps all of them apart (Windows.widened of Python).
  WindowTables widened() const;

  /// The windows with that share of each doublet's curvature.
  WindowTables up_to(float curvature) &&;

  Windows view() const;

private:
  /// The kernels trust that the pairs of each layer stand where `out_begin_` says. Throws ConfigError.
  void require_layers(const std::string& stem) const;

  std::vector<float> layers_, pair_windows_, triplet_windows_;
  std::vector<std::int32_t> pairs_, out_begin_;
};

}  // namespace beampipe
