// The layer that each hit lies on: the box in r and z that holds it.
#include <algorithm>

#include "kernels.hpp"

namespace beampipe {

Array<std::int16_t> assign_layers(const float* position, std::int64_t n, const Windows& w, int threads) {
  constexpr int kWidth = 16;  // hits looked at together
  Array<std::int16_t> layer(n);
#pragma omp parallel for num_threads(threads) schedule(static)
  for (std::int64_t block = 0; block < n; block += kWidth) {
    float r[kWidth], z[kWidth];
    std::int32_t found[kWidth];
    const int lanes = static_cast<int>(std::min<std::int64_t>(kWidth, n - block));
    for (int i = 0; i < kWidth; ++i) {
      r[i] = i < lanes ? position[3 * (block + i)] : -1.0f;
      z[i] = i < lanes ? position[3 * (block + i) + 2] : 0.0f;
      found[i] = -1;
    }
    for (int l = 0; l < w.n_layers; ++l) {
      const float* box = w.layers + 4 * l;
      const float r_min = box[0], r_max = box[1], z_min = box[2], z_max = box[3];
#pragma omp simd
      for (int i = 0; i < kWidth; ++i)
        found[i] = (r[i] >= r_min) & (r[i] <= r_max) & (z[i] >= z_min) & (z[i] <= z_max) ? l : found[i];
    }
    for (int i = 0; i < lanes; ++i) layer[block + i] = static_cast<std::int16_t>(found[i]);
  }
  return layer;
}

}  // namespace beampipe
