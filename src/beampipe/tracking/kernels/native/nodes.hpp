// Hits as the edge kernels read them, and the two ends of a block of edges brought into columns.
#pragma once

#include "array.hpp"
#include "dense.hpp"
#include "geometry.hpp"

namespace beampipe {

/// One hit: r, phi, z [mm, rad] and eta / 4, in one 16-byte read.
struct alignas(16) Node {
  enum Column { kR, kPhi, kZ, kEta, kColumns };
  float value[kColumns];
};

inline Array<Node> make_nodes(const float* position, std::int64_t n, int threads) {
  Array<Node> nodes(n);
#pragma omp parallel for num_threads(threads) schedule(static)
  for (std::int64_t i = 0; i < n; i += kLanes) {
    const int size = static_cast<int>(n - i < kLanes ? n - i : kLanes);
    float r[kLanes] = {}, z[kLanes] = {}, eta[kLanes];
    for (int l = 0; l < size; ++l) r[l] = position[3 * (i + l)], z[l] = position[3 * (i + l) + 2];
    store(eta, pseudorapidity(load(r), load(z)) * 0.25f);
    for (int l = 0; l < size; ++l) nodes[i + l] = {{r[l], position[3 * (i + l) + 1], z[l], eta[l]}};
  }
  return nodes;
}

/// The ends of kBlock edges, one column per coordinate.
struct Ends {
  alignas(64) float column[2][Node::kColumns][kBlock] = {};

  template <typename Index>
  void gather(const Node* nodes, const Index* inner, const Index* outer, int size) {
    for (int side = 0; side < 2; ++side) {
      const Index* hit = side == 0 ? inner : outer;
      for (int i = 0; i < size; ++i) {
        const Node& node = nodes[hit[i]];
#pragma GCC unroll 4
        for (int c = 0; c < Node::kColumns; ++c) column[side][c][i] = node.value[c];
      }
    }
  }

  Doublet doublet(int i) const {
    return beampipe::doublet(load(column[0][Node::kR] + i), load(column[0][Node::kPhi] + i),
                             load(column[0][Node::kZ] + i), load(column[1][Node::kR] + i),
                             load(column[1][Node::kPhi] + i), load(column[1][Node::kZ] + i));
  }
};

}  // namespace beampipe
