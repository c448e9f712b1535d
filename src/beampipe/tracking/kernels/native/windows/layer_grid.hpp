// The hits of each layer in cells of (row, phi), so that those inside a doublet's window lie in a few runs of memory.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "geometry.hpp"
#include "kernels.hpp"

namespace beampipe {

constexpr int kWidth = 16;  // spare room at the end of columns: one vector of the widest instruction set
constexpr int kPhiBins = 256;
constexpr float kMinExtent = 1.0f;  // mm: rows of a layer with hits at one place only have a width
constexpr float kPi = 0.5f * kTwoPi;

// A layer cut into rows (of z for a barrel, of r for a disc), each row sorted by phi.
struct LayerGrid {
  bool barrel;
  float r_min, r_max, z_min, z_max;  // of its hits, which may fill its box in part
  float low, inverse_pitch;          // of the rows
  int n_rows;
  int cell;  // number of its first cell
};

// Hits of known layer, sorted by (layer, row, phi bin, phi): an order that does not depend on the input's.
struct Grid {
  std::vector<LayerGrid> layers;
  std::vector<std::int32_t> begin;  // first hit of each cell, one more at the end
  std::vector<float> r, phi, z;     // padded by kWidth
  std::vector<std::int32_t> hit;    // input row
  std::vector<std::int16_t> layer;
};

/// The whole part of x, brought between low and high; low for what is no number.
inline int whole(float x, int low, int high) {
  const float floor = std::floor(x);
  return floor > low ? (floor < high ? static_cast<int>(floor) : high) : low;
}

/// May lie outside of the bins by as much as a window is wide, not more: phi is between -pi and pi, or taken as such.
inline int phi_bin(float phi) { return whole((phi + kPi) * (kPhiBins / (2 * kPi)), -kPhiBins, 2 * kPhiBins - 1); }

inline int row_of(const LayerGrid& layer, float coordinate) {
  const float row = (coordinate - layer.low) * layer.inverse_pitch;
  return whole(row, 0, layer.n_rows - 1);
}

/// The smallest boxes that hold the hits of each layer; those of layers without hits are empty, at their middle.
inline std::vector<float> boxes_of(const float* position, const Array<std::int16_t>& layer_of, std::int64_t n,
                                   const Windows& w) {
  std::vector<float> boxes(4 * w.n_layers);
  std::vector<bool> seen(w.n_layers);
  for (int l = 0; l < w.n_layers; ++l)
    for (int side = 0; side < 4; side += 2)
      boxes[4 * l + side] = boxes[4 * l + side + 1] = 0.5f * (w.layers[4 * l + side] + w.layers[4 * l + side + 1]);
  for (std::int64_t i = 0; i < n; ++i) {
    const int l = layer_of[i];
    if (l < 0) continue;
    const float r = position[3 * i], z = position[3 * i + 2];
    float* box = boxes.data() + 4 * l;
    if (!seen[l]) box[0] = box[1] = r, box[2] = box[3] = z;
    seen[l] = true;
    box[0] = std::min(box[0], r), box[1] = std::max(box[1], r);
    box[2] = std::min(box[2], z), box[3] = std::max(box[3], z);
  }
  return boxes;
}

inline Grid make_grid(const float* position, const Array<std::int16_t>& layer_of, std::int64_t n, const Windows& w) {
  Grid grid;
  std::vector<std::int32_t> population(w.n_layers, 0);
  for (std::int64_t i = 0; i < n; ++i)
    if (layer_of[i] >= 0) ++population[layer_of[i]];
  const std::vector<float> boxes = boxes_of(position, layer_of, n, w);
  int cell = 0;
  for (int l = 0; l < w.n_layers; ++l) {
    const float *box = boxes.data() + 4 * l, *whole_box = w.layers + 4 * l;
    const bool barrel = whole_box[1] - whole_box[0] < whole_box[3] - whole_box[2];
    LayerGrid g{barrel, box[0], box[1], box[2], box[3], 0, 0, 0, cell};
    const float extent = std::max(g.barrel ? box[3] - box[2] : box[1] - box[0], kMinExtent);
    g.low = g.barrel ? box[2] : box[0];
    g.n_rows = std::clamp(population[l] / (2 * kPhiBins), 1, 24);
    g.inverse_pitch = g.n_rows / extent;
    cell += g.n_rows * kPhiBins;
    grid.layers.push_back(g);
  }
  std::vector<std::int32_t> key(n);
  grid.begin.assign(cell + 1, 0);
  for (std::int64_t i = 0; i < n; ++i) {
    if (layer_of[i] < 0) continue;
    const LayerGrid& g = grid.layers[layer_of[i]];
    const float* p = position + 3 * i;
    key[i] = g.cell + row_of(g, g.barrel ? p[2] : p[0]) * kPhiBins + std::clamp(phi_bin(p[1]), 0, kPhiBins - 1);
    ++grid.begin[key[i] + 1];
  }
  std::partial_sum(grid.begin.begin(), grid.begin.end(), grid.begin.begin());
  const std::int32_t total = grid.begin.back();
  std::vector<std::int32_t> next(grid.begin.begin(), grid.begin.end() - 1);
  grid.hit.resize(total);
  for (std::int64_t i = 0; i < n; ++i)
    if (layer_of[i] >= 0) grid.hit[next[key[i]]++] = static_cast<std::int32_t>(i);
  const auto before = [position](std::int32_t a, std::int32_t b) {
    const float *p = position + 3 * a, *q = position + 3 * b;
    if (p[1] != q[1]) return p[1] < q[1];
    if (p[2] != q[2]) return p[2] < q[2];
    if (p[0] != q[0]) return p[0] < q[0];
    return a < b;
  };
  for (int c = 0; c < cell; ++c)
    if (grid.begin[c + 1] - grid.begin[c] > 1)
      std::sort(grid.hit.begin() + grid.begin[c], grid.hit.begin() + grid.begin[c + 1], before);
  for (auto* column : {&grid.r, &grid.phi, &grid.z}) column->assign(total + kWidth, 0.0f);
  grid.layer.resize(total);
  for (std::int32_t s = 0; s < total; ++s) {
    const float* p = position + 3 * grid.hit[s];
    grid.r[s] = p[0];
    grid.phi[s] = p[1];
    grid.z[s] = p[2];
    grid.layer[s] = layer_of[grid.hit[s]];
  }
  return grid;
}

}  // namespace beampipe
