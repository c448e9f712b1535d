// Coordinates of hits as the pipelines read them: in mm and rad, finite, measured from the beam line, phi between -pi
// and pi.
#pragma once

#include <cstdint>
#include <string>

#include "array.hpp"

namespace beampipe {

constexpr double kPi = 3.141592653589793;

/// The size of one unit of each coordinate (beampipe.events).
struct Scale {
  float r, phi, z;  // [mm], [rad], [mm]
};

/// The scale of that name: mm, exatrkx or acts. Throws ConfigError for another one.
Scale scale_named(const std::string& name);

/// (n, 3) features in a scale as r [mm], phi [rad], z [mm]; `position` may be `features`.
void to_mm(const Scale& scale, const float* features, std::int64_t n, float* position);

/// Throws NotFiniteError, which names the first row with a coordinate that is NaN or infinite.
void require_finite(const float* position, std::int64_t n);

/// Whether each phi is between -pi and pi, where the kernels look for it.
bool all_turned(const float* position, std::int64_t n);

/// The same hits with phi between -pi and pi.
Array<float> turned(const float* position, std::int64_t n);

/// A straight beam line, nearly along z.
struct BeamLine {
  double x = 0, y = 0;        // where it crosses z = 0 [mm]
  double dxdz = 0, dydz = 0;  // slopes

  /// From x,y or x,y,dxdz,dydz. Throws ConfigError if these are no such numbers, or the line leaves the beam pipe.
  static BeamLine parse(const std::string& text);

  /// From numbers. Throws ConfigError if the line leaves the beam pipe.
  static BeamLine checked(double x, double y, double dxdz, double dydz);

  bool on_axis() const { return x == 0 && y == 0 && dxdz == 0 && dydz == 0; }
};

/// (n, 3) r, phi, z of the same hits, r and phi measured from the line.
Array<float> seen_from(const BeamLine& line, const float* position, std::int64_t n);

/// The hits relative to a beam line: in `copy`, unless it is the axis.
const float* seen_by(const BeamLine& line, const float* position, std::int64_t n, Array<float>& copy);

}  // namespace beampipe
