// Coordinates of hits as the pipelines read them: in mm and rad, finite, phi between -pi and pi.
#pragma once

#include <cstdint>
#include <string>

#include "array.hpp"

namespace beampipe {

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

}  // namespace beampipe
