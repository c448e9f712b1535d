// The doublets of one hit: which of the hits in the cells of reach.hpp are its partners.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "arc.hpp"
#include "windows/reach.hpp"

namespace beampipe {

constexpr float kLeastCosine = 0.362357754f;  // of kMaxDphi

/// Doublets of one hit, those of each pair of layers together, from the beginning of a vector on.
struct Side {
  struct Segment {
    int pair, first, last;
  };
  std::vector<Segment> segments;          // some are empty
  std::vector<float> kappa, cot, weight;  // weight: 1 / d^2 [1/mm^2]
  std::vector<std::int32_t> hit;          // row in the grid
  std::vector<float> s, t;                // what `match` makes of kappa and weight
  std::vector<std::int32_t> any;          // not 0: agrees with a doublet of the other side
  std::int64_t n = 0;                     // doublets
  std::int64_t tried = 0;                 // hits that were looked at

  /// Room for so many, with the empty places between segments.
  void reserve(std::size_t size) {
    if (hit.size() >= size + kWidth) return;
    for (auto* column : {&kappa, &cot, &weight, &s, &t}) column->resize(2 * size + kWidth);
    hit.resize(2 * size + kWidth);
    any.resize(2 * size + kWidth);
  }
};

/// Up to kLanes hits of one run of the grid to look at.
struct Block {
  std::int32_t first, n;
  int pair;
  int align;       // kLanes - 1 for the first block of a pair, or 0
  int begin, end;  // its doublets, once it was looked at
};

/// The pairs that start (or end) on one layer, and the search for a hit's partners on their other layers.
template <bool kOutward>
class Partners {
public:
  Partners(const Grid& grid, const Windows& w, float least_curvature, const std::vector<int>& pairs)
      : grid_(&grid),
        w_(&w),
        least_curvature_(least_curvature),
        pairs_(pairs),
        lanes_((pairs.size() + kLanes - 1) / kLanes) {
    for (std::size_t i = 0; i < pairs.size(); ++i)
      lanes_[i / kLanes].set(i % kLanes, w.pair_windows + 3 * pairs[i], other_layer(pairs[i]));
  }

  bool empty() const { return pairs_.empty(); }

  /// The doublets of the hit at `q`.
  void collect(const Origin& q, Side& side, std::vector<Block>& blocks) const {
    side.segments.clear();
    std::size_t n = 0;
    CellLanes cells;
    for (std::size_t i = 0; i < pairs_.size(); ++i) {
      const int lane = static_cast<int>(i % kLanes);
      if (lane == 0) find_cells<kOutward>(q, lanes_[i / kLanes], cells);
      const std::size_t begin = n;
      n = add_blocks(pairs_[i], cells, lane, blocks, n);
      if (n == begin) continue;
      blocks[begin].align = kLanes - 1;
      side.segments.push_back({pairs_[i], static_cast<int>(begin), static_cast<int>(n - 1)});
    }
    side.reserve((n + side.segments.size() + 1) * kLanes);
    side.n = test(q, blocks, n, side);
    for (Side::Segment& segment : side.segments) {  // so far, numbers of blocks
      segment.first = blocks[segment.first].begin;
      segment.last = blocks[segment.last].end;
    }
  }

private:
  const LayerGrid& other_layer(int pair) const { return grid_->layers[w_->pairs[2 * pair + kOutward]]; }

  static std::size_t add_run(int pair, std::int32_t first, std::int32_t last, std::vector<Block>& blocks,
                             std::size_t n) {
    const std::int32_t size = last - first;
    if (size <= 0) return n;
    if (n + size / kLanes + 3 > blocks.size()) blocks.resize(2 * blocks.size() + size / kLanes + 3);
    // Most runs are one or two blocks long: both are written without asking.
    Block* to = blocks.data() + n;
    to[0] = {first, std::min(size, kLanes), pair, 0, 0, 0};
    to[1] = {first + kLanes, std::min(size - kLanes, kLanes), pair, 0, 0, 0};
    const std::int32_t n_blocks = (size + kLanes - 1) / kLanes;
    for (std::int32_t k = 2; k < n_blocks; ++k)
      to[k] = {first + k * kLanes, std::min(size - k * kLanes, kLanes), pair, 0, 0, 0};
    return n + n_blocks;
  }

  /// The runs of hits in the cells of one pair, after the n blocks that are there; how many there are then.
  std::size_t add_blocks(int pair, const CellLanes& cells, int lane, std::vector<Block>& blocks, std::size_t n) const {
    const LayerGrid& g = other_layer(pair);
    const int low = cells.first_bin[lane], high = cells.last_bin[lane];
    const int first = std::clamp(low, 0, g.n_phi), last = std::clamp(high + 1, 0, g.n_phi);
    for (int row = cells.first_row[lane]; row <= cells.last_row[lane]; ++row) {
      const std::int32_t* begin = grid_->begin.data() + g.cell + row * g.n_phi;
      n = add_run(pair, begin[first], begin[last], blocks, n);
      if (low < 0) n = add_run(pair, begin[std::max(g.n_phi + low, last)], begin[g.n_phi], blocks, n);
      if (high >= g.n_phi) n = add_run(pair, begin[0], begin[std::min(high + 1 - g.n_phi, first)], blocks, n);
    }
    return n;
  }

  /// Writes down the hits of the blocks that lie inside their windows: how many.
  std::int64_t test(const Origin& origin, std::vector<Block>& blocks, std::size_t n_blocks, Side& side) const {
    const Origin q = origin;  // in registers
    const float x = q.r * q.cosine, y = q.r * q.sine;
    constexpr float kSign = kOutward ? 1.0f : -1.0f;
    int size = 0;
    std::int64_t found = 0, tried = 0;
    float *const to_kappa = side.kappa.data(), *const to_cot = side.cot.data(), *const to_weight = side.weight.data();
    std::int32_t* const to_hit = side.hit.data();
    const float *const rs = grid_->r.data(), *const zs = grid_->z.data(), *const us = grid_->cosine.data(),
                       *const vs = grid_->sine.data();
    for (Block *block = blocks.data(), *end = block + n_blocks; block != end; ++block) {
      const std::int32_t j = block->first;
      const float* window = w_->pair_windows + 3 * block->pair;
      size = (size + block->align) & ~block->align;
      const Vec r = load(rs + j), z = load(zs + j), u = load(us + j), v = load(vs + j);
      const Vec dr = (r - q.r) * kSign, dz = (z - q.z) * kSign;
      const Vec dx = r * u - x, dy = r * v - y;
      const Vec inverse_d = inverse_root(maximum(dx * dx + dy * dy, splat(kMinChord * kMinChord)));
      const Vec sine = v * q.cosine - u * q.sine, cosine = u * q.cosine + v * q.sine;
      const Vec kappa = (2.0f * kSign) * sine * inverse_d;
      const Vec bend = kappa * kappa * kArcSeries;
      const Vec ds = dr * (1.0f + bend * (r * (r + q.r) + q.r * q.r));
      const Vec cot = dz * inverse(ds);
      const Arc arc{kappa, inverse_d * inverse_d, bend, ds};
      const Vec z0 = kOutward ? q.z - (q.r + bend * (q.r * q.r * q.r)) * cot : arc.z0(r, z, cot);
      const unsigned inside = less_mask(splat(kMinDr), dr) & less_mask(splat(kLeastCosine), cosine) &
                              less_mask(absolute(kappa), splat(window[0])) & less_mask(splat(window[1]), z0) &
                              less_mask(z0, splat(window[2])) &
                              ~less_mask(absolute(kappa), splat(least_curvature_ * window[0])) & ((1u << block->n) - 1);
      compress(to_kappa + size, kappa, inside);
      compress(to_cot + size, cot, inside);
      compress(to_weight + size, arc.inverse_d2, inside);
      compress(to_hit + size, lane_numbers() + j, inside);
      const int n = __builtin_popcount(inside);
      block->begin = size;
      block->end = size += n;
      store(to_kappa + size, splat(kNever));  // lanes past the end fail every test
      found += n, tried += block->n;
    }
    std::memset(side.any.data(), 0, (size + kLanes) * sizeof(std::int32_t));
    side.tried += tried;
    return found;
  }

  const Grid* grid_;
  const Windows* w_;
  float least_curvature_;  // share of kappa_max
  std::vector<int> pairs_;
  std::vector<PairLanes> lanes_;  // of the pairs, kLanes at a time
};

}  // namespace beampipe
