// Exact fixed-radius search between source and target vectors, with the kinematic windows inside.
//
// Targets are sorted into the cells of a grid over the three directions in which they spread most; a query visits the
// cells that its ball touches in those directions. Full distances use the vectors as given, so the grid decides only
// where to look. Sources are visited in grid order, to find their cells in the cache.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>

#include "geometry.hpp"
#include "kernels.hpp"

namespace beampipe {
namespace {

constexpr int kAxes = 3;
constexpr int kChunk = 512;            // queries per task
constexpr std::int64_t kMaxCells = 1 << 21;

/// Eigenvectors of the three largest eigenvalues of a symmetric matrix, by Jacobi rotations.
void principal_axes(double (&m)[kEmbedding][kEmbedding], float (&axes)[kAxes][kEmbedding]) {
  double v[kEmbedding][kEmbedding] = {};
  for (int i = 0; i < kEmbedding; ++i) v[i][i] = 1;
  for (int sweep = 0; sweep < 12; ++sweep)
    for (int p = 0; p < kEmbedding; ++p)
      for (int q = p + 1; q < kEmbedding; ++q) {
        if (std::fabs(m[p][q]) < 1e-300) continue;
        const double angle = 0.5 * std::atan2(2 * m[p][q], m[q][q] - m[p][p]), c = std::cos(angle), s = std::sin(angle);
        for (int k = 0; k < kEmbedding; ++k) {
          const double a = m[k][p], b = m[k][q];
          m[k][p] = c * a - s * b, m[k][q] = s * a + c * b;
        }
        for (int k = 0; k < kEmbedding; ++k) {
          const double a = m[p][k], b = m[q][k];
          m[p][k] = c * a - s * b, m[q][k] = s * a + c * b;
        }
        for (int k = 0; k < kEmbedding; ++k) {
          const double a = v[k][p], b = v[k][q];
          v[k][p] = c * a - s * b, v[k][q] = s * a + c * b;
        }
      }
  int order[kEmbedding];
  for (int i = 0; i < kEmbedding; ++i) order[i] = i;
  std::stable_sort(order, order + kEmbedding, [&](int a, int b) { return m[a][a] > m[b][b]; });
  for (int a = 0; a < kAxes; ++a)
    for (int k = 0; k < kEmbedding; ++k) axes[a][k] = static_cast<float>(v[k][order[a]]);
}

struct Grid {
  float axes[kAxes][kEmbedding];
  float low[kAxes], inverse[kAxes];  // of the cells
  int cells[kAxes];
  float reach;                       // the radius and a margin for the rounding of projections
  Array<std::int32_t> begin;         // first target of each cell
  Array<float> column[kEmbedding];   // sorted targets, padded
  Array<float> r, phi, z, rho2;      // of the sorted targets' hits
  Array<std::int32_t> hit;

  void project(const float* row, float* at) const {
    for (int a = 0; a < kAxes; ++a) {
      float total = 0;
      for (int k = 0; k < kEmbedding; ++k) total += axes[a][k] * row[k];
      at[a] = total;
    }
  }
  int cell(int axis, float at) const {
    const float c = (at - low[axis]) * inverse[axis];
    return c > 0 ? (c < static_cast<float>(cells[axis]) ? static_cast<int>(c) : cells[axis] - 1) : 0;
  }
  int cell_of(const float* at) const { return (cell(0, at[0]) * cells[1] + cell(1, at[1])) * cells[2] + cell(2, at[2]); }
};

/// Order of rows by cell, and the first of each cell.
Array<std::int32_t> sort_by_cell(const Array<std::int32_t>& cell, int n_cells, Array<std::int32_t>& begin) {
  const std::int64_t n = static_cast<std::int64_t>(cell.size());
  begin = Array<std::int32_t>(n_cells + 2, 0);
  for (std::int64_t i = 0; i < n; ++i) ++begin[cell[i] + 2];
  for (int c = 0; c <= n_cells; ++c) begin[c + 1] += begin[c];
  Array<std::int32_t> order(n);
  for (std::int64_t i = 0; i < n; ++i) order[begin[cell[i] + 1]++] = static_cast<std::int32_t>(i);
  return order;
}

/// In double, so that no compiler's fused multiplication changes which hit is the outer one.
float distance_from_origin2(const float* p) {
  return static_cast<float>(static_cast<double>(p[0]) * p[0] + static_cast<double>(p[2]) * p[2]);
}

Grid make_grid(const RadiusQuery& q, int threads) {
  Grid g;
  double total[kEmbedding] = {}, square[kEmbedding][kEmbedding] = {};
  for (std::int64_t i = 0; i < q.n; ++i) {
    const float* t = q.target + i * q.target_stride;
    for (int a = 0; a < kEmbedding; ++a) total[a] += t[a];
    for (int a = 0; a < kEmbedding; ++a)
      for (int b = 0; b < kEmbedding; ++b) square[a][b] += static_cast<double>(t[a]) * t[b];
  }
  for (int a = 0; a < kEmbedding; ++a)
    for (int b = 0; b < kEmbedding; ++b) square[a][b] = square[a][b] / q.n - total[a] / q.n * (total[b] / q.n);
  principal_axes(square, g.axes);

  Array<float> at(kAxes * q.n);
  float high[kAxes], largest = 0;
#pragma omp parallel for num_threads(threads) schedule(static)
  for (std::int64_t i = 0; i < q.n; ++i) g.project(q.target + i * q.target_stride, &at[kAxes * i]);
  for (int a = 0; a < kAxes; ++a) g.low[a] = INFINITY, high[a] = -INFINITY;
  for (std::int64_t i = 0; i < q.n; ++i)
    for (int a = 0; a < kAxes; ++a) g.low[a] = std::min(g.low[a], at[kAxes * i + a]), high[a] = std::max(high[a], at[kAxes * i + a]);
  for (int a = 0; a < kAxes; ++a) largest = std::max({largest, std::fabs(g.low[a]), std::fabs(high[a])});
  g.reach = q.radius * 1.0001f + largest * 1e-5f;

  const float division[kAxes] = {2, 2, 4};  // cells per reach: fine along the axis in which cells are contiguous
  for (float coarser = 1;; coarser *= 1.25f) {
    std::int64_t n_cells = 1;
    for (int a = 0; a < kAxes; ++a) {
      const float pitch = g.reach * coarser / division[a];
      const double cells = std::ceil((static_cast<double>(high[a]) - g.low[a]) / pitch + 1e-3);
      g.cells[a] = static_cast<int>(std::clamp(cells, 1.0, static_cast<double>(kMaxCells)));
      g.inverse[a] = 1 / pitch;
      n_cells *= g.cells[a];
      n_cells = std::min<std::int64_t>(n_cells, kMaxCells * 4);
    }
    if (n_cells <= kMaxCells) break;
  }

  Array<std::int32_t> cell(q.n);
#pragma omp parallel for num_threads(threads) schedule(static)
  for (std::int64_t i = 0; i < q.n; ++i) cell[i] = g.cell_of(&at[kAxes * i]);
  g.hit = sort_by_cell(cell, g.cells[0] * g.cells[1] * g.cells[2], g.begin);
  for (auto& column : g.column) column = Array<float>(q.n + kLanes);
  for (auto* column : {&g.r, &g.phi, &g.z, &g.rho2}) *column = Array<float>(q.n + kLanes, 0.0f);
#pragma omp parallel for num_threads(threads) schedule(static)
  for (std::int64_t s = 0; s < q.n; ++s) {
    const float *t = q.target + g.hit[s] * q.target_stride, *p = q.position + 3 * static_cast<std::int64_t>(g.hit[s]);
    for (int k = 0; k < kEmbedding; ++k) g.column[k][s] = t[k];
    g.r[s] = p[0], g.phi[s] = p[1], g.z[s] = p[2], g.rho2[s] = distance_from_origin2(p);
  }
  for (auto& column : g.column)
    for (int l = 0; l < kLanes; ++l) column[q.n + l] = 0;
  return g;
}

/// The neighbours of one query: places among the sorted targets, squared distances.
struct Found {
  Array<std::int32_t> place;
  Array<float> dist2;
  std::int64_t size = 0;

  void reserve(std::int64_t wanted) {
    if (wanted <= static_cast<std::int64_t>(place.size())) return;
    Array<std::int32_t> more(2 * wanted);
    Array<float> more2(2 * wanted);
    if (size > 0) {
      std::memcpy(more.data(), place.data(), size * sizeof(std::int32_t));
      std::memcpy(more2.data(), dist2.data(), size * sizeof(float));
    }
    place = std::move(more), dist2 = std::move(more2);
  }
};

inline void keep(IntVec mask, IntVec place, Vec dist2, Found& found) {
  std::int32_t* to = found.place.data() + found.size;
  float* to2 = found.dist2.data() + found.size;
#if defined(__AVX512F__)
  const __mmask16 m = _mm512_movepi32_mask(reinterpret_cast<__m512i>(mask));
  _mm512_storeu_si512(to, _mm512_maskz_compress_epi32(m, reinterpret_cast<__m512i>(place)));
  _mm512_storeu_ps(to2, _mm512_maskz_compress_ps(m, dist2));
  found.size += __builtin_popcount(m);
#else
  int n = 0;
  for (int l = 0; l < kLanes; ++l) {
    to[n] = place[l], to2[n] = dist2[l];
    n -= mask[l];
  }
  found.size += n;
#endif
}

inline bool any(IntVec mask) {
#if defined(__AVX512F__)
  return _mm512_movepi32_mask(reinterpret_cast<__m512i>(mask)) != 0;
#elif defined(__AVX2__)
  return _mm256_movemask_ps(reinterpret_cast<__m256>(mask)) != 0;
#elif defined(__SSE2__)
  return _mm_movemask_ps(reinterpret_cast<__m128>(mask)) != 0;
#else
  for (int l = 0; l < kLanes; ++l)
    if (mask[l]) return true;
  return false;
#endif
}

inline IntVec lane_numbers() {
  IntVec v;
  for (int l = 0; l < kLanes; ++l) v[l] = l;
  return v;
}

/// Up to kGroup queries from one cell, searched together: each target that is read serves all of them.
constexpr int kGroup = 4;

struct Group {
  int size = 0;
  std::int32_t hit[kGroup];
  alignas(64) float source[kGroup][kEmbedding];
  float rho2[kGroup];
  float low[kAxes], high[kAxes];  // where the queries lie in the grid
  Found found[kGroup];
};

/// Targets in [first, last) within the radius of each query and not inward of it.
template <int Size>
inline void scan(const Grid& g, Group& group, float radius2, std::int32_t first, std::int32_t last) {
  for (std::int32_t s = first; s < last; s += kLanes) {
    Vec dist2[Size];
#pragma GCC unroll 4
    for (int m = 0; m < Size; ++m) dist2[m] = Vec{};
#pragma GCC unroll 8
    for (int k = 0; k < kEmbedding; ++k) {
      const Vec target = load(g.column[k].data() + s);
#pragma GCC unroll 4
      for (int m = 0; m < Size; ++m) {
        const Vec d = target - group.source[m][k];
        dist2[m] += d * d;
      }
    }
    const IntVec place = s + lane_numbers();
    const IntVec valid = place < last;
    const Vec rho2 = load(g.rho2.data() + s);
#pragma GCC unroll 4
    for (int m = 0; m < Size; ++m) {
      const IntVec mask = (dist2[m] < radius2) & (rho2 >= group.rho2[m]) & valid;
      if (any(mask)) keep(mask, place, dist2[m], group.found[m]);
    }
  }
}

template <int Size>
__attribute__((noinline)) void search(const Grid& g, float radius, Group& group) {
  const float radius2 = radius * radius, reach2 = g.reach * g.reach;
  // Distance from the nearest query to the near side of a cell; 0 inside it.
  const auto gap = [&](int axis, int cell) {
    const float pitch = 1 / g.inverse[axis], left = g.low[axis] + cell * pitch;
    return std::max({0.0f, left - group.high[axis], group.low[axis] - (left + pitch)});
  };
  const int a0 = g.cell(0, group.low[0] - g.reach), a1 = g.cell(0, group.high[0] + g.reach);
  const int b0 = g.cell(1, group.low[1] - g.reach), b1 = g.cell(1, group.high[1] + g.reach);
  for (int m = 0; m < Size; ++m) group.found[m].size = 0;
  for (int a = a0; a <= a1; ++a) {
    const float gap_a = gap(0, a);
    for (int b = b0; b <= b1; ++b) {
      const float gap_b = gap(1, b), rest2 = reach2 - 0.9999f * (gap_a * gap_a + gap_b * gap_b);
      if (rest2 < 0) continue;
      const float rest = std::sqrt(rest2) + 1e-4f * g.reach;
      const int line = (a * g.cells[1] + b) * g.cells[2];
      const std::int32_t first = g.begin[line + g.cell(2, group.low[2] - rest)];
      const std::int32_t last = g.begin[line + g.cell(2, group.high[2] + rest) + 1];
      if (first == last) continue;
      for (int m = 0; m < Size; ++m) group.found[m].reserve(group.found[m].size + (last - first) + kLanes);
      scan<Size>(g, group, radius2, first, last);
    }
  }
}

/// Takes the next kGroup queries if they lie close together, else the next one; returns how many.
int fill(Group& group, const RadiusQuery& q, const float* at, const std::int32_t* query, std::int64_t left, const Grid& g) {
  const auto take = [&](int m) {
    const std::int32_t i = group.hit[m] = query[m];
    for (int k = 0; k < kEmbedding; ++k) group.source[m][k] = q.source[i * q.source_stride + k];
    group.rho2[m] = distance_from_origin2(q.position + 3 * static_cast<std::int64_t>(i));
    for (int a = 0; a < kAxes; ++a) {
      const float x = at[kAxes * static_cast<std::int64_t>(i) + a];
      group.low[a] = m == 0 ? x : std::min(group.low[a], x);
      group.high[a] = m == 0 ? x : std::max(group.high[a], x);
    }
  };
  const float limit[kAxes] = {0.5f * g.reach, 0.5f * g.reach, 0.75f * g.reach};
  if (left >= kGroup) {
    for (int m = 0; m < kGroup; ++m) take(m);
    bool close = true;
    for (int a = 0; a < kAxes; ++a) close = close && group.high[a] - group.low[a] <= limit[a];
    if (close) return group.size = kGroup;
  }
  take(0);
  return group.size = 1;
}

/// Drop the neighbours that are not outward of hit i or outside the kinematic windows.
__attribute__((noinline)) void apply_windows(const Grid& g, const RadiusQuery& q, std::int32_t i, Found& found) {
  const float* p = q.position + 3 * static_cast<std::int64_t>(i);
  const Vec r = splat(p[0]), phi = splat(p[1]), z = splat(p[2]);
  const float rho2 = distance_from_origin2(p);
  const std::int64_t n = found.size;
  for (int l = 0; l < kLanes; ++l) found.place[n + l] = 0;
  found.size = 0;
  for (std::int64_t s = 0; s < n; s += kLanes) {
    const IntVec place = load(found.place.data() + s);
    const Vec dist2 = load(found.dist2.data() + s);
    Vec r2, phi2, z2, outward2;
    IntVec hit;
    for (int l = 0; l < kLanes; ++l) {
      const std::int32_t at = place[l];
      r2[l] = g.r[at], phi2[l] = g.phi[at], z2[l] = g.z[at], outward2[l] = g.rho2[at], hit[l] = g.hit[at];
    }
    const Doublet d = doublet(r, phi, z, r2, phi2, z2);
    const IntVec mask = (static_cast<std::int32_t>(s) + lane_numbers() < static_cast<std::int32_t>(n)) &
                        ((outward2 > rho2) | ((outward2 == rho2) & (hit > i))) & (absolute(d.kappa) < q.kappa_max) &
                        (absolute(d.z0) < q.z0_max);
    keep(mask, hit, dist2, found);
  }
}

/// Keep the nearest (ties: the lower hit), then sort by hit. `key` is scratch.
__attribute__((noinline)) void order(Found& found, std::int64_t max_neighbours, Array<std::uint64_t>& key) {
  if (found.size > max_neighbours) {
    if (static_cast<std::int64_t>(key.size()) < found.size) key = Array<std::uint64_t>(2 * found.size);
    for (std::int64_t k = 0; k < found.size; ++k) {
      std::uint32_t bits;
      std::memcpy(&bits, &found.dist2[k], 4);  // non-negative floats sort as their bits do
      key[k] = static_cast<std::uint64_t>(bits) << 32 | static_cast<std::uint32_t>(found.place[k]);
    }
    std::nth_element(key.begin(), key.begin() + max_neighbours, key.begin() + found.size);
    for (std::int64_t k = 0; k < max_neighbours; ++k) {
      const std::uint32_t bits = static_cast<std::uint32_t>(key[k] >> 32);
      std::memcpy(&found.dist2[k], &bits, 4);
      found.place[k] = static_cast<std::int32_t>(key[k] & 0xffffffff);
    }
    found.size = max_neighbours;
  }
  std::int32_t* place = found.place.data();
  float* dist2 = found.dist2.data();
  for (std::int64_t k = 1; k < found.size; ++k) {
    const std::int32_t p = place[k];
    const float d = dist2[k];
    std::int64_t to = k;
    for (; to > 0 && place[to - 1] > p; --to) place[to] = place[to - 1], dist2[to] = dist2[to - 1];
    place[to] = p, dist2[to] = d;
  }
}

/// A growing list; what a task has found.
struct Task {
  Array<std::int32_t> outer;
  Array<float> dist2;
  std::int64_t size = 0;

  void append(const Found& found) {
    if (size + found.size > static_cast<std::int64_t>(outer.size())) {
      const std::int64_t room = 2 * (size + found.size) + 16 * kChunk;
      Array<std::int32_t> more(room);
      Array<float> more2(room);
      if (size > 0) {
        std::memcpy(more.data(), outer.data(), size * sizeof(std::int32_t));
        std::memcpy(more2.data(), dist2.data(), size * sizeof(float));
      }
      outer = std::move(more), dist2 = std::move(more2);
    }
    if (found.size > 0) {
      std::memcpy(outer.data() + size, found.place.data(), found.size * sizeof(std::int32_t));
      std::memcpy(dist2.data() + size, found.dist2.data(), found.size * sizeof(float));
    }
    size += found.size;
  }
};

}  // namespace

RadiusEdges radius_edges(const RadiusQuery& q, int threads) {
  if (q.n == 0) return {Array<std::int64_t>(0), Array<float>(0)};
  const Grid g = make_grid(q, threads);
  Array<std::int32_t> cell(q.n), begin;
  Array<float> at(kAxes * q.n);
#pragma omp parallel for num_threads(threads) schedule(static)
  for (std::int64_t i = 0; i < q.n; ++i) {
    g.project(q.source + i * q.source_stride, &at[kAxes * i]);
    cell[i] = g.cell_of(&at[kAxes * i]);
  }
  const Array<std::int32_t> query = sort_by_cell(cell, g.cells[0] * g.cells[1] * g.cells[2], begin);

  const std::int64_t n_tasks = (q.n + kChunk - 1) / kChunk;
  Array<std::int64_t> count(q.n + 1, 0);  // first edge of each hit, after the sums
  Array<std::int32_t> offset(q.n), task_of(q.n);
  std::unique_ptr<Task[]> tasks(new Task[n_tasks]);
#pragma omp parallel num_threads(threads)
  {
    Group group;
    for (Found& found : group.found) found.reserve(kLanes);
    Array<std::uint64_t> key;
#pragma omp for schedule(dynamic, 1)
    for (std::int64_t t = 0; t < n_tasks; ++t) {
      const std::int64_t last = std::min(q.n, (t + 1) * kChunk);
      for (std::int64_t k = t * kChunk; k < last;) {
        k += fill(group, q, at.data(), query.data() + k, last - k, g);
        if (group.size == kGroup) search<kGroup>(g, q.radius, group);
        else search<1>(g, q.radius, group);
        for (int m = 0; m < group.size; ++m) {
          const std::int32_t i = group.hit[m];
          apply_windows(g, q, i, group.found[m]);
          order(group.found[m], q.max_neighbours, key);
          task_of[i] = static_cast<std::int32_t>(t);
          offset[i] = static_cast<std::int32_t>(tasks[t].size);
          count[i + 1] = group.found[m].size;
          tasks[t].append(group.found[m]);
        }
      }
    }
  }
  for (std::int64_t i = 0; i < q.n; ++i) count[i + 1] += count[i];
  const std::int64_t n_edges = count[q.n];
  RadiusEdges edges{Array<std::int64_t>(2 * n_edges), Array<float>(n_edges)};
#pragma omp parallel for num_threads(threads) schedule(static)
  for (std::int64_t i = 0; i < q.n; ++i) {
    const Task& task = tasks[task_of[i]];
    for (std::int64_t e = count[i], k = offset[i]; e < count[i + 1]; ++e, ++k) {
      edges.edge_index[e] = i;
      edges.edge_index[n_edges + e] = task.outer[k];
      edges.dist2[e] = task.dist2[k];
    }
  }
  return edges;
}

}  // namespace beampipe
