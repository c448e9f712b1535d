// The hits of each layer in cells of (row, phi), so that those inside a doublet's window lie in a few runs of memory.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "geometry.hpp"
#include "kernels.hpp"
#include "windows/windows.hpp"

namespace beampipe {

constexpr int kWidth = 16;          // unused elements at the end of columns: one vector of the widest instruction set
constexpr float kMinExtent = 1.0f;  // mm: rows of a layer with hits at one place only have a width
constexpr float kPi = 0.5f * kTwoPi;

// A layer cut into rows (of z for a barrel, of r for a disc), each row sorted by phi.
struct LayerGrid {
  bool barrel;
  float r_min, r_max, z_min, z_max;  // of its hits, which may fill its box in part
  float low, inverse_pitch;          // of the rows
  int n_rows, n_phi;
  int cell;  // number of its first cell

  float r() const { return 0.5f * (r_min + r_max); }
  float z() const { return 0.5f * (z_min + z_max); }
  float extent() const { return std::max(barrel ? z_max - z_min : r_max - r_min, kMinExtent); }
};

// Hits of known layer, sorted by (stage and number of the layer, row, cell of phi).
struct Grid {
  std::vector<LayerGrid> layers;
  Column<std::int32_t> begin;             // first hit of each cell, one more at the end
  std::vector<std::int32_t> stage_begin;  // first hit of each stage, one more at the end
  Column<float> r, phi, z;                // padded by kWidth
  Column<float> cosine, sine;             // of phi, once add_directions has run; padded, too
  Column<std::int32_t> hit;               // input row
  Column<std::int16_t> layer;

  std::int32_t size() const { return begin.back(); }
};

/// The whole part of x, limited to [low, high]; low for NaN.
inline int whole(float x, int low, int high) {
  const float floor = std::floor(x);
  return floor > low ? (floor < high ? static_cast<int>(floor) : high) : low;
}

inline int phi_bin(const LayerGrid& layer, float phi) {
  return whole((phi + kPi) * (layer.n_phi / (2 * kPi)), 0, layer.n_phi - 1);
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

inline int row_of(const LayerGrid& layer, float coordinate) {
  return whole((coordinate - layer.low) * layer.inverse_pitch, 0, layer.n_rows - 1);
}

/// How far along the rows of `to` the window of a hit on `from` reaches, about, for a spread of z0.
inline float reach(const LayerGrid& from, const LayerGrid& to, float spread) {
  if (to.barrel) return spread * std::fabs(to.r() / from.r() - 1);
  const float z = std::max(1.0f, from.barrel ? std::fabs(to.z()) * from.r() / to.r() : std::fabs(from.z()));
  return spread * from.r() * std::fabs(std::fabs(to.z()) - z) / (z * z);
}

/// The number of rows with which the searches on each layer cost least, about.
///
/// A search meets the rows that its window crosses; in each, it costs as much as some vectors of hits to begin, and
/// half a vector is left empty at the end. Few rows have many hits outside the window, many rows are short.
inline std::vector<int> choose_rows(const std::vector<LayerGrid>& layers, const std::vector<std::int32_t>& population,
                                    const Windows& w) {
  constexpr float kStart = 1.2f;  // vectors of hits
  constexpr int kChoices[] = {1, 2, 3, 4, 6, 8, 12, 16, 24, 32};
  std::vector<std::vector<float>> cost(layers.size(), std::vector<float>(std::size(kChoices), 0));
  const auto add = [&](int from, int to, const float* window) {
    const LayerGrid &a = layers[from], &b = layers[to];
    const float phi = window[0] * std::fabs(a.r() - b.r()) / (2 * kPi);
    const float length = reach(a, b, window[2] - window[1]) / std::max(1.0f, b.extent());
    for (std::size_t k = 0; k < std::size(kChoices); ++k) {
      const float rows = kChoices[k], met = std::min(rows, 1 + length * rows);
      cost[to][k] += population[from] * met * (kStart + population[to] * phi / rows / kLanes);
    }
  };
  for (int p = 0; p < w.n_pairs; ++p) {
    add(w.pairs[2 * p], w.pairs[2 * p + 1], w.pair_windows + 3 * p);
    add(w.pairs[2 * p + 1], w.pairs[2 * p], w.pair_windows + 3 * p);
  }
  std::vector<int> rows;
  for (const auto& c : cost) rows.push_back(kChoices[std::min_element(c.begin(), c.end()) - c.begin()]);
  return rows;
}

/// The layers, cut into cells, those of the first stage first; `begin` is resized for the cells.
inline void cut(Grid& grid, const std::vector<float>& boxes, const std::vector<std::int32_t>& population,
                const Windows& w, const std::vector<int>& order) {
  for (int l = 0; l < w.n_layers; ++l) {
    const float *box = boxes.data() + 4 * l, *whole_box = w.layers + 4 * l;
    const bool barrel = whole_box[1] - whole_box[0] < whole_box[3] - whole_box[2];
    grid.layers.push_back({barrel, box[0], box[1], box[2], box[3], 0, 0, 1, 1, 0});
  }
  const std::vector<int> rows = choose_rows(grid.layers, population, w);
  int cell = 0;
  for (const int l : order) {
    LayerGrid& g = grid.layers[l];
    g.low = g.barrel ? g.z_min : g.r_min;
    g.n_rows = rows[l];
    g.n_phi = std::clamp(population[l] / g.n_rows, 16, 2048);
    g.inverse_pitch = g.n_rows / g.extent();
    g.cell = cell;
    cell += g.n_rows * g.n_phi;
  }
  grid.begin.assign(cell + 1, 0);
}

inline Grid make_grid(const float* position, const Array<std::int16_t>& layer_of, std::int64_t n, const Windows& w,
                      const std::vector<int>& stage) {
  Grid grid;
  std::vector<std::int32_t> population(w.n_layers, 0);
  for (std::int64_t i = 0; i < n; ++i)
    if (layer_of[i] >= 0) ++population[layer_of[i]];
  std::vector<int> order(w.n_layers);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return stage[a] < stage[b]; });
  cut(grid, boxes_of(position, layer_of, n, w), population, w, order);
  Column<std::int32_t> key(n);
  for (std::int64_t i = 0; i < n; ++i) {
    if (layer_of[i] < 0) continue;
    const LayerGrid& g = grid.layers[layer_of[i]];
    const float* p = position + 3 * i;
    key[i] = g.cell + row_of(g, g.barrel ? p[2] : p[0]) * g.n_phi + phi_bin(g, p[1]);
    ++grid.begin[key[i] + 1];
  }
  std::partial_sum(grid.begin.begin(), grid.begin.end(), grid.begin.begin());
  const std::int32_t total = grid.size();
  Column<std::int32_t> next(grid.begin.begin(), grid.begin.end() - 1);
  grid.hit.resize(total);
  for (auto* column : {&grid.r, &grid.phi, &grid.z}) column->resize(total + kWidth);
  grid.layer.resize(total);
  for (std::int64_t i = 0; i < n; ++i) {
    if (layer_of[i] < 0) continue;
    const std::int32_t s = next[key[i]]++;
    const float* p = position + 3 * i;
    grid.hit[s] = static_cast<std::int32_t>(i);
    grid.r[s] = p[0], grid.phi[s] = p[1], grid.z[s] = p[2];
    grid.layer[s] = layer_of[i];
  }
  for (const int l : order) {
    const std::size_t n_stages = stage[l] + 1;
    const LayerGrid& g = grid.layers[l];
    while (grid.stage_begin.size() < n_stages) grid.stage_begin.push_back(grid.begin[g.cell]);
  }
  grid.stage_begin.push_back(total);
  return grid;
}

inline void add_directions(Grid& grid) {
  const std::int32_t total = grid.size();
  for (auto* column : {&grid.cosine, &grid.sine}) column->assign(total + kWidth, 0.0f);
  for (std::int32_t s = 0; s < total; s += kLanes) {
    Vec sine, cosine;
    sine_cosine(0.5f * wrap(load(grid.phi.data() + s)), sine, cosine);
    store(grid.sine.data() + s, 2.0f * sine * cosine);
    store(grid.cosine.data() + s, 1.0f - 2.0f * sine * sine);
  }
}

}  // namespace beampipe
