// The search around one hit: the hits of each layer in cells of (row, phi), which cells the windows of a hit reach, and the
// doublets in them. Hits inside a doublet's window lie in a few runs of memory.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <utility>
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
  Array<std::int32_t> begin;              // first hit of each cell, one more at the end
  std::vector<std::int32_t> stage_begin;  // first hit of each stage, one more at the end
  Array<float> r, phi, z;                 // padded by kWidth
  Array<float> cosine, sine;              // of phi, once add_directions has run; padded, too
  Array<std::int32_t> hit;                // input row
  Array<std::int16_t> layer;

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
inline std::vector<float> boxes_of(const Hits& hits, const Array<std::int16_t>& layer_of, const Windows& w) {
  std::vector<float> boxes(4 * w.n_layers);
  std::vector<bool> seen(w.n_layers);
  for (int l = 0; l < w.n_layers; ++l)
    for (int side = 0; side < 4; side += 2)
      boxes[4 * l + side] = boxes[4 * l + side + 1] = 0.5f * (w.layers[4 * l + side] + w.layers[4 * l + side + 1]);
  for (std::int64_t i = 0; i < hits.n; ++i) {
    const int l = layer_of[i];
    if (l < 0) continue;
    const float r = hits.position[3 * i], z = hits.position[3 * i + 2];
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

inline Grid make_grid(const Hits& hits, const Array<std::int16_t>& layer_of, const Windows& w,
                      const std::vector<int>& stage) {
  const float* position = hits.position;
  const std::int64_t n = hits.n;
  Grid grid;
  std::vector<std::int32_t> population(w.n_layers, 0);
  for (std::int64_t i = 0; i < n; ++i)
    if (layer_of[i] >= 0) ++population[layer_of[i]];
  std::vector<int> order(w.n_layers);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return stage[a] < stage[b]; });
  cut(grid, boxes_of(hits, layer_of, w), population, w, order);
  Array<std::int32_t> key(n);
  for (std::int64_t i = 0; i < n; ++i) {
    if (layer_of[i] < 0) continue;
    const LayerGrid& g = grid.layers[layer_of[i]];
    const float* p = position + 3 * i;
    key[i] = g.cell + row_of(g, g.barrel ? p[2] : p[0]) * g.n_phi + phi_bin(g, p[1]);
    ++grid.begin[key[i] + 1];
  }
  std::partial_sum(grid.begin.begin(), grid.begin.end(), grid.begin.begin());
  const std::int32_t total = grid.size();
  Array<std::int32_t> next(grid.begin.begin(), grid.begin.end() - 1);
  grid.hit.resize(total);
  for (auto* column : {&grid.r, &grid.phi, &grid.z}) column->assign(total + kWidth, 0.0f);
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

constexpr float kMaxDphi = 1.2f;  // rad: an edge turns by at most this

/// Hits of which partners are looked for.
struct Origins {
  Vec r, phi, z;
};

/// Bounds on doublets outwards that agree with edges that end at their hit.
struct Lead {
  float kappa_low = kNever, kappa_high = -kNever;  // of the edges
  float bend = 0, error = 0;                       // dkappa^2 is at most bend + error / d^2
  float cot_low = kNever, cot_high = -kNever;      // of doublets that agree
  std::uint32_t slots = 0;                         // bit i: the i-th pair that starts on the layer may follow

  /// Takes in an edge, and the widest window of its triplets.
  void add(float kappa, float cot, float weight, const TripletWindow<float>& widest, std::uint32_t may_follow) {
    constexpr float kSlack = 1.01f, kSteep = 0.02f;
    const float kappa2 = kappa * kappa, turn = kSlack * std::sqrt(widest.c + widest.d * kappa2);
    const float down = 1 + cot * turn, up = 1 - cot * turn;
    const bool is_bound = down > kSteep && up > kSteep;  // if not, doublets may agree that lead the other way
    kappa_low = std::min(kappa_low, kappa), kappa_high = std::max(kappa_high, kappa);
    bend = std::max(bend, kSlack * (widest.a * weight + widest.b * kappa2)), error = std::max(error, kSlack * widest.a);
    cot_low = std::min(cot_low, is_bound ? (cot - turn) / down : -kNever);
    cot_high = std::max(cot_high, is_bound ? (cot + turn) / up : kNever);
    slots |= may_follow;
  }
};

/// Windows of kLanes pairs, and their other layers.
struct PairLanes {
  Vec kappa_max, z0_min, z0_max;
  Vec barrel;  // 1, or 0 for a disc
  Vec r_min, r_max, z_min, z_max;
  Vec low, inverse_pitch, last_row, n_phi;  // as in LayerGrid
  IntVec hit;                               // number of the hit, counted from the first one

  void set(int lane, const float* window, const LayerGrid& layer) {
    kappa_max[lane] = window[0], z0_min[lane] = window[1], z0_max[lane] = window[2];
    barrel[lane] = layer.barrel ? 1.0f : 0.0f;
    r_min[lane] = layer.r_min, r_max[lane] = layer.r_max, z_min[lane] = layer.z_min, z_max[lane] = layer.z_max;
    low[lane] = layer.low, inverse_pitch[lane] = layer.inverse_pitch;
    last_row[lane] = static_cast<float>(layer.n_rows - 1), n_phi[lane] = static_cast<float>(layer.n_phi);
  }
};

/// First and last row, first and last bin in phi; the bins may lie up to a turn beyond either end. No cells: the first
/// row is beyond the last.
struct CellLanes {
  std::int32_t first_row[kLanes], last_row[kLanes], first_bin[kLanes], last_bin[kLanes];
};

/// Along the rows of a layer [mm]; no range where `empty`.
struct RowRange {
  Vec low, high;
  IntVec empty;
};

inline IntVec truncated(Vec v) { return __builtin_convertvector(v, IntVec); }
inline Vec between(Vec v, Vec low, Vec high) { return minimum(maximum(v, low), high); }  // low for NaN

/// asin for 0 <= x < 0.9, to 2e-5.
inline Vec arc_sine(Vec x) {
  const auto steep = x > 0.5f;
  const Vec y = steep ? square_root(0.5f * (1.0f - x)) : x;
  const Vec y2 = y * y;
  const Vec tail = y2 * (3.0f / 40 + y2 * (15.0f / 336 + y2 * (105.0f / 3456 + y2 * (945.0f / 42240))));
  const Vec sine = y * (1.0f + y2 * (1.0f / 6 + tail));
  return steep ? 0.5f * kPi - 2.0f * sine : sine;
}

/// z where lines through the hit meet the barrels: lengths lie between the straight line's and the tightest arc's.
/// `stretch(r)`: how much longer that arc is than r, relative to the hit's own.
template <typename Stretch>
inline RowRange on_barrels(const Origins& q, const PairLanes& pair, Stretch&& stretch) {
  const Vec inverse_r = 1 / q.r;
  const Vec one = splat(1.0f);
  const Vec slope_low = (q.z - pair.z0_max) * inverse_r, slope_high = (q.z - pair.z0_min) * inverse_r;
  const Vec r_a = pair.r_min * minimum(one, stretch(pair.r_min)), r_b = pair.r_max * maximum(one, stretch(pair.r_max));
  const Vec a = pair.z0_max + slope_low * r_a, b = pair.z0_max + slope_low * r_b;
  const Vec c = pair.z0_min + slope_high * r_a, d = pair.z0_min + slope_high * r_b;
  const Vec low = minimum(minimum(a, b), minimum(c, d)), high = maximum(maximum(a, b), maximum(c, d));
  return {low, high, (high < pair.z_min) | (low > pair.z_max)};
}

/// r where lines through the hit meet the discs. A track that has run from z0 to the hit's z has the hit's radius; on
/// the way in z between hit and disc it gains (inwards: had still to gain) in proportion.
template <bool kOutward, typename Stretch>
inline RowRange on_discs(const Origins& q, const PairLanes& pair, Stretch&& stretch) {
  const Vec above = pair.z_min - q.z, below = q.z - pair.z_max;
  const auto beside = (above <= 0.0f) & (below <= 0.0f);  // the hit lies within the disc's z
  const auto rises = kOutward ? above > 0.0f : below > 0.0f;
  const Vec longest = rises ? q.z - pair.z0_min : pair.z0_max - q.z;  // ways in z from the beam line to the hit
  const Vec shortest = rises ? q.z - pair.z0_max : pair.z0_min - q.z;
  const Vec nearest = maximum(maximum(above, below), splat(0.0f)), farthest = nearest + (pair.z_max - pair.z_min);
  const Vec least = q.r * nearest / longest, most = q.r * farthest / shortest;
  const auto unbound = beside | (shortest <= 0.0f);
  Vec low, high;
  if constexpr (kOutward) {
    low = beside ? q.r : q.r + least;
    high = unbound ? pair.r_max : q.r + most;
  } else {
    low = unbound ? splat(0.0f) : q.r - most;
    high = beside ? q.r : q.r - least;
  }
  low = maximum(low / maximum(splat(1.0f), stretch(low)), kOutward ? maximum(pair.r_min, q.r) : pair.r_min);
  high = minimum(high / minimum(splat(1.0f), stretch(high)), kOutward ? pair.r_max : minimum(pair.r_max, q.r));
  return {low, high, ((beside == 0) & (longest <= 0.0f)) | (high < low)};
}

/// `curvatures(r)`: the bounds of the curvature of doublets with hits at that radius or beyond.
template <bool kOutward, typename Curvatures>
inline void find_cells(const Origins& q, const PairLanes& pair, Curvatures&& curvatures, CellLanes& cells) {
  const Vec k2 = pair.kappa_max * pair.kappa_max * kArcSeries;
  const Vec inverse_own = 1.0f / (1.0f + k2 * (q.r * q.r));
  const auto stretch = [&](Vec r) { return (1.0f + k2 * r * r) * inverse_own; };
  const auto barrel = pair.barrel > 0.5f;
  const RowRange on_barrel = on_barrels(q, pair, stretch), on_disc = on_discs<kOutward>(q, pair, stretch);
  const Vec low = barrel ? on_barrel.low : on_disc.low, high = barrel ? on_barrel.high : on_disc.high;
  const IntVec empty = barrel ? on_barrel.empty : on_disc.empty;
  // A circle through the beam line has sin phi = kappa r / 2, measured from its tangent there.
  const Vec r_low = barrel ? pair.r_min : low, r_high = barrel ? pair.r_max : high;
  const Vec nearest = kOutward ? maximum(r_low, q.r) : minimum(r_high, q.r), farthest = kOutward ? r_high : r_low;
  const auto largest_turn = [&](Vec kappa) {
    const Vec half = 0.5f * absolute(kappa), r = kappa > 0.0f ? farthest : nearest;
    const Vec near = half * minimum(q.r, r), far = half * maximum(q.r, r);
    const Vec turn = arc_sine(far) - arc_sine(near);
    return (far < 0.85f ? copy_sign(turn, kappa) : kappa > 0.0f ? splat(kMaxDphi) : splat(0.0f)) + 8e-5f;
  };
  const auto [kappa_low, kappa_high] = curvatures(nearest);

  const Vec zero = splat(0.0f), last_bin = 3.0f * pair.n_phi - 1.0f, per_rad = pair.n_phi * (1 / (2 * kPi));
  const Vec first_row = between((low - 1.0f - pair.low) * pair.inverse_pitch, zero, pair.last_row);
  const Vec last_row = between((high + 1.0f - pair.low) * pair.inverse_pitch, zero, pair.last_row);
  // Raised by a turn: above 0, to cut off the fraction is to round down.
  const Vec phi = q.phi + kPi;
  const Vec first = between((phi - largest_turn(-kappa_low)) * per_rad + pair.n_phi, zero, last_bin);
  const Vec last = between((phi + largest_turn(kappa_high)) * per_rad + pair.n_phi, zero, last_bin);
  store(cells.first_row, empty ? splat(1) : truncated(first_row));
  store(cells.last_row, empty ? splat(0) : truncated(last_row));
  store(cells.first_bin, truncated(first) - truncated(pair.n_phi));
  store(cells.last_bin, truncated(last) - truncated(pair.n_phi));
}

constexpr float kLeastCosine = 0.362357754f;  // of kMaxDphi

/// Doublets of one hit, those of each pair of layers together, from the beginning of a vector on.
struct Side {
  struct Segment {
    int pair, first, last;
  };
  struct Kept {
    int at, pair;
  };
  std::vector<Segment> segments;          // some are empty
  std::vector<float> kappa, cot, weight;  // weight: 1 / d^2 [1/mm^2]
  std::vector<std::int32_t> hit;          // row in the grid
  std::vector<Kept> kept;                 // those that agree with one of the other side
  std::vector<std::int32_t> any;          // used by match, as the columns below: not 0 if kept already
  std::vector<float> s, t;
  std::int64_t n = 0;      // doublets
  std::int64_t tried = 0;  // hits that were tested
  int size = 0;            // places in use

  void clear() { segments.clear(), kept.clear(), n = 0, size = 0; }

  /// Allocates `places` more elements, including the unused ones between segments.
  void reserve(std::size_t places) {
    if (hit.size() >= size + places + kWidth) return;
    for (auto* column : {&kappa, &cot, &weight, &s, &t}) column->resize(2 * (size + places) + kWidth);
    for (auto* column : {&hit, &any}) column->resize(2 * (size + places) + kWidth);
  }
};

/// Up to kLanes hits of one run of the grid to test.
struct Block {
  std::int32_t first, n;
  int pair;        // its number among those of the search
  int align;       // kLanes - 1 for the first block of a pair, or 0
  int begin, end;  // its doublets, once it was tested
};

/// Cells that the windows of successive hits of the grid reach: all pairs of the first hit, then of the next one.
struct CellsAhead {
  const void* of = nullptr;  // the Partners that found them
  std::int32_t first = 0, n = 0;
  std::vector<CellLanes> lanes;
};

/// The pairs that start (or end) on one layer, and the search for a hit's partners on their other layers.
template <bool kOutward>
class Partners {
public:
  Partners(const Grid& grid, const Windows& w, float least_curvature, const std::vector<int>& pairs)
      : grid_(&grid),
        w_(&w),
        pairs_(pairs),
        n_ahead_(pairs.empty() ? 0 : std::max(kLanes / static_cast<int>(pairs.size()), 1)),
        lanes_((n_ahead_ * pairs.size() + kLanes - 1) / kLanes) {
    for (const int pair : pairs) {
      const float* window = w.pair_windows + 3 * pair;
      limits_.push_back({window[0], std::nextafter(least_curvature * window[0], -1.0f), window[1], window[2]});
    }
    for (std::size_t i = 0; i < n_ahead_ * pairs.size(); ++i) {
      const int pair = pairs[i % pairs.size()];
      lanes_[i / kLanes].set(i % kLanes, w.pair_windows + 3 * pair, other_layer(pair));
      lanes_[i / kLanes].hit[i % kLanes] = static_cast<int>(i / pairs.size());
    }
  }

  bool empty() const { return pairs_.empty(); }

  /// Adds the doublets of the hit in row `s`. Cells of successive hits are found together, in `ahead`.
  void collect(std::int32_t s, CellsAhead& ahead, Side& side, std::vector<Block>& blocks) const {
    if (ahead.of != this || s < ahead.first || s >= ahead.first + ahead.n) {
      ahead.of = this, ahead.first = s, ahead.n = n_ahead_;
      ahead.lanes.resize(lanes_.size());
      const Vec r = load(grid_->r.data() + s), phi = load(grid_->phi.data() + s), z = load(grid_->z.data() + s);
      for (std::size_t k = 0; k < lanes_.size(); ++k) {
        const PairLanes& pair = lanes_[k];
        const Origins q{__builtin_shuffle(r, pair.hit), __builtin_shuffle(phi, pair.hit),
                        __builtin_shuffle(z, pair.hit)};
        find_cells<kOutward>(q, pair, [&](Vec) { return std::pair(-pair.kappa_max, pair.kappa_max); }, ahead.lanes[k]);
      }
    }
    const std::size_t at = (s - ahead.first) * pairs_.size();
    add_all(
        s, [&](std::size_t i) { return std::pair(&ahead.lanes[(at + i) / kLanes], (at + i) % kLanes); }, side, blocks);
  }

  /// Adds those that agree with edges that end at the hit, and some that do not.
  void collect(std::int32_t s, const Lead& lead, Side& side, std::vector<Block>& blocks) const {
    const Origins q{splat(grid_->r[s]), splat(grid_->phi[s]), splat(grid_->z[s])};
    CellLanes cells;
    add_all(
        s,
        [&](std::size_t i) {
          if (i % kLanes == 0) find_led(q, lanes_[i / kLanes], lead, cells);
          const int slot = pairs_[i] - w_->out_begin[w_->pairs[2 * pairs_[i]]];
          return std::pair(lead.slots >> slot & 1 ? &cells : nullptr, i % kLanes);
        },
        side, blocks);
  }

private:
  /// The window of a pair.
  struct Limits {
    float kappa_max, below_kappa, z0_min, z0_max;  // below_kappa: the next number below the least curvature
  };

  const LayerGrid& other_layer(int pair) const { return grid_->layers[w_->pairs[2 * pair + kOutward]]; }

  /// Adds the doublets of the hit in row `s` on the pairs, in their cells: `cells_of(i)` gives lanes and lane, or none.
  template <typename CellsOf>
  void add_all(std::int32_t s, CellsOf&& cells_of, Side& side, std::vector<Block>& blocks) const {
    const std::size_t before = side.segments.size();
    std::size_t n = 0;
    for (std::size_t i = 0; i < pairs_.size(); ++i) {
      const auto [cells, lane] = cells_of(i);
      if (cells == nullptr) continue;
      const std::size_t begin = n;
      n = add_blocks(static_cast<int>(i), *cells, lane, blocks, n);
      if (n == begin) continue;
      blocks[begin].align = kLanes - 1;
      side.segments.push_back({pairs_[i], static_cast<int>(begin), static_cast<int>(n - 1)});
    }
    side.reserve((n + side.segments.size() + 1) * kLanes);
    test(s, blocks, n, side);
    for (std::size_t k = before; k < side.segments.size(); ++k) {  // so far, numbers of blocks
      Side::Segment& segment = side.segments[k];
      segment.first = blocks[segment.first].begin;
      segment.last = blocks[segment.last].end;
    }
  }

  /// The cells in which doublets may agree with edges that end at the hit: some of those that its windows reach.
  static void find_led(const Origins& q, const PairLanes& pair, const Lead& lead, CellLanes& cells) {
    PairLanes led = pair;
    // z0 = z - s cot, s: the length of the arc from the beam line to the hit.
    const Vec shortest = q.r, longest = q.r * (1.0f + pair.kappa_max * pair.kappa_max * kArcSeries * (q.r * q.r));
    led.z0_min = maximum(led.z0_min, q.z - maximum(lead.cot_high * shortest, lead.cot_high * longest));
    led.z0_max = minimum(led.z0_max, q.z - minimum(lead.cot_low * shortest, lead.cot_low * longest));
    find_cells<kOutward>(
        q, led,
        [&](Vec r) {
          const Vec d = maximum(r - q.r, splat(kMinDr)), slack = square_root(lead.bend + lead.error / (d * d));
          return std::pair(maximum(lead.kappa_low - slack, -pair.kappa_max),
                           minimum(lead.kappa_high + slack, pair.kappa_max));
        },
        cells);
  }

  static std::size_t add_run(int pair, std::int32_t first, std::int32_t last, std::vector<Block>& blocks,
                             std::size_t n) {
    const std::int32_t size = last - first;
    if (size <= 0) return n;
    if (n + size / kLanes + 3 > blocks.size()) blocks.resize(2 * blocks.size() + size / kLanes + 3);
    // Most runs are one or two blocks long: both are written without a test.
    Block* to = blocks.data() + n;
    to[0] = {first, std::min(size, kLanes), pair, 0, 0, 0};
    to[1] = {first + kLanes, std::min(size - kLanes, kLanes), pair, 0, 0, 0};
    const std::int32_t n_blocks = (size + kLanes - 1) / kLanes;
    for (std::int32_t k = 2; k < n_blocks; ++k)
      to[k] = {first + k * kLanes, std::min(size - k * kLanes, kLanes), pair, 0, 0, 0};
    return n + n_blocks;
  }

  /// The runs of hits in the cells of one of the pairs, after the n blocks that are there; how many there are then.
  std::size_t add_blocks(int pair, const CellLanes& cells, int lane, std::vector<Block>& blocks, std::size_t n) const {
    const LayerGrid& g = other_layer(pairs_[pair]);
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

  /// Writes down the hits of the blocks that lie inside their windows.
  void test(std::int32_t s, std::vector<Block>& blocks, std::size_t n_blocks, Side& side) const {
    const struct {
      float r, z, cosine, sine;
    } q{grid_->r[s], grid_->z[s], grid_->cosine[s], grid_->sine[s]};
    const float x = q.r * q.cosine, y = q.r * q.sine;
    constexpr float kTwice = kOutward ? 2.0f : -2.0f;
    const float twice_cosine = kTwice * q.cosine, twice_sine = kTwice * q.sine;
    int size = side.size;
    std::int64_t found = 0, tried = 0;
    float *const to_kappa = side.kappa.data(), *const to_cot = side.cot.data(), *const to_weight = side.weight.data();
    std::int32_t* const to_hit = side.hit.data();
    const float *const rs = grid_->r.data(), *const zs = grid_->z.data(), *const us = grid_->cosine.data(),
                       *const vs = grid_->sine.data();
    const Limits* const all_limits = limits_.data();
    for (Block *block = blocks.data(), *end = block + n_blocks; block != end; ++block) {
      const std::int32_t j = block->first;
      const Limits limits = all_limits[block->pair];
      size = (size + block->align) & ~block->align;
      const Vec r = load(rs + j), z = load(zs + j), u = load(us + j), v = load(vs + j);
      const Vec dr = kOutward ? r - q.r : q.r - r, dz = kOutward ? z - q.z : q.z - z;
      const Vec dx = r * u - x, dy = r * v - y;
      const Vec inverse_d = inverse_root(dx * dx + dy * dy);  // where it is infinite, dr is too short
      const Vec cosine = u * q.cosine + v * q.sine;
      const Vec kappa = (v * twice_cosine - u * twice_sine) * inverse_d;
      const Vec bend = kappa * kappa * kArcSeries;
      const Vec ds = dr * (1.0f + bend * (r * (r + q.r) + q.r * q.r));
      const Vec cot = dz * inverse(ds);
      const Arc arc{kappa, inverse_d * inverse_d, bend, ds};
      const Vec z0 = kOutward ? q.z - (q.r + bend * (q.r * q.r * q.r)) * cot : arc.z0(r, z, cot);
      const unsigned inside =
          ((1u << block->n) - 1) & less_mask(splat(kMinDr), dr) & less_mask(splat(kLeastCosine), cosine) &
          less_mask(absolute(kappa), splat(limits.kappa_max)) & less_mask(splat(limits.below_kappa), absolute(kappa)) &
          less_mask(splat(limits.z0_min), z0) & less_mask(z0, splat(limits.z0_max));
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
    side.size = size, side.n += found, side.tried += tried;
  }

  const Grid* grid_;
  const Windows* w_;
  std::vector<int> pairs_;
  std::vector<Limits> limits_;    // of the pairs
  int n_ahead_;                   // hits whose cells are found together
  std::vector<PairLanes> lanes_;  // of the pairs, once for each of these hits, kLanes at a time
};

}  // namespace beampipe
