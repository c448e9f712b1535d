// What the fixed-radius search takes and gives.
#pragma once

#include <cstdint>

#include "array.hpp"
#include "blocks.hpp"

namespace beampipe {

constexpr int kEmbedding = 8;  // length of a source or target vector

struct RadiusQuery {
  const float *source, *target;               // rows of kEmbedding floats
  std::int64_t source_stride, target_stride;  // floats from row to row
  const float* position;                      // (n, 3): r, phi, z [mm, rad]
  Blocks blocks;
  float radius;
  std::int64_t max_neighbours;
  float kappa_max, z0_max;  // [1/mm], [mm]
};

struct RadiusEdges {
  Array<std::int64_t> edge_index;  // (2, n_edges), sorted by inner then outer hit
  Array<float> dist2;
};

}  // namespace beampipe
