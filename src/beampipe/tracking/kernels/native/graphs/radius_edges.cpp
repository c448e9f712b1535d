// Exact fixed-radius search between source and target vectors, with the kinematic windows inside.
//
// Hits are brought into an order in which neighbours in a row lie close together. Their targets are cut into leaves of
// 16, each with its bounding box, and these into 16 again. A few sources at a time are compared with the boxes, then at the
// leaves within reach. Full distances use the vectors as given, so order and boxes decide only where to look.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>

#include "array.hpp"
#include "geometry.hpp"
#include "graphs/blocks.hpp"
#include "kernels.hpp"
#include "simd.hpp"

namespace beampipe {
namespace {

/// How many of the numbers are at most `limit`. Reads up to a vector past their end.
inline std::int64_t count_at_most(const std::int32_t* number, std::int64_t size, std::int32_t limit) {
  std::int64_t count = 0;
  for (std::int64_t k = 0; k < size; k += kLanes) {
    const unsigned lanes = (1u << std::min<std::int64_t>(kLanes, size - k)) - 1;
    count += __builtin_popcount(nonzero_mask(load(number + k) <= splat(limit)) & lanes);
  }
  return count;
}

/// The smallest limit up to which there are at least `most` of the numbers, none of which is negative.
inline std::int32_t limit_of(const std::int32_t* number, std::int64_t size, std::int64_t most) {
  std::int32_t low = 0, high = std::numeric_limits<std::int32_t>::max();
  while (low < high) {
    const std::int32_t middle = low + (high - low) / 2;
    const std::int64_t count = count_at_most(number, size, middle);
    if (count == most) return middle;
    if (count < most)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

/// The edges of one hit, brought into order without a branch that depends on them.
class Nearest {
public:
  /// The nearest of the edges (ties: the lower hit), sorted by hit, to `to_hit` and `to_dist2`, which may overlap with
  /// what is given; returns how many there are.
  std::int64_t operator()(const std::int32_t* hit, const float* dist2, std::int64_t size, std::int64_t most,
                          std::int32_t* to_hit, float* to_dist2) {
    reserve(size);
    std::memcpy(hit_.data(), hit, size * sizeof(std::int32_t));
    std::memcpy(bits_.data(), dist2, size * sizeof(float));  // non-negative floats sort as their bits do
    if (size > most) {
      choose(size, most);
      size = most;
    }
    sort(size, to_hit, to_dist2);
    return size;
  }

private:
  void reserve(std::int64_t size) {
    if (size < static_cast<std::int64_t>(hit_.size())) return;
    for (auto* scratch : {&hit_, &bits_, &tied_}) *scratch = Array<std::int32_t>(2 * size + 1);
  }

  /// Leaves the nearest, in any order.
  void choose(std::int64_t size, std::int64_t most) {
    const std::int32_t limit = limit_of(bits_.data(), size, most);
    std::int32_t last_tied = std::numeric_limits<std::int32_t>::max();
    if (count_at_most(bits_.data(), size, limit) > most) {
      std::int64_t nearer = 0, n_tied = 0;
      for (std::int64_t k = 0; k < size; ++k) {
        nearer += bits_[k] < limit;
        tied_[n_tied] = hit_[k];
        n_tied += bits_[k] == limit;
      }
      last_tied = limit_of(tied_.data(), n_tied, most - nearer);
    }
    std::int64_t left = 0;
    for (std::int64_t k = 0; k < size; ++k) {
      const bool stays = (bits_[k] < limit) | ((bits_[k] == limit) & (hit_[k] <= last_tied));
      hit_[left] = hit_[k], bits_[left] = bits_[k];
      left += stays;
    }
  }

  /// Each edge goes to the place that as many lower hits leave to it.
  void sort(std::int64_t size, std::int32_t* to_hit, float* to_dist2) const {
    for (std::int64_t first = 0; first < size; first += kLanes) {
      const IntVec mine = load(hit_.data() + first);
      IntVec place = {};
      for (std::int64_t k = 0; k < size; ++k) place -= splat(hit_[k]) < mine;
      const std::int64_t lanes = std::min<std::int64_t>(kLanes, size - first);
      for (std::int64_t l = 0; l < lanes; ++l) {
        to_hit[place[l]] = hit_[first + l];
        std::memcpy(to_dist2 + place[l], &bits_[first + l], sizeof(float));
      }
    }
  }

  Array<std::int32_t> hit_, bits_, tied_;  // of the edges; hits of those at the limit
};

constexpr int kLeaf = 16;

/// Hits in the order of a Z-curve through phi and eta: neighbours in a row lie in one direction from the origin.
inline Array<std::int32_t> order_by_direction(const float* position, std::int64_t n) {
  Array<Keyed> row(n);
  const auto spread = [](IntVec x) {  // 8 bits, with gaps for those of the other coordinate
    x = (x | x << 4) & 0x0f0f;
    x = (x | x << 2) & 0x3333;
    return (x | x << 1) & 0x5555;
  };
  const auto in_byte = [](Vec v) {
    return __builtin_convertvector(minimum(maximum(v, splat(0.0f)), splat(255.0f)), IntVec);
  };
  for (std::int64_t i = 0; i < n; i += kLanes) {
    float column[3][kLanes] = {};
    const int lanes = static_cast<int>(std::min<std::int64_t>(kLanes, n - i));
    for (int l = 0; l < lanes; ++l)
      for (int c = 0; c < 3; ++c) column[c][l] = position[3 * (i + l) + c];
    const Vec phi = (load(column[1]) + 0.5f * kTwoPi) * (256 / kTwoPi);
    const Vec eta = (pseudorapidity(load(column[0]), load(column[2])) + 4.0f) * 32.0f;
    const IntVec both = spread(in_byte(phi)) << 1 | spread(in_byte(eta));
    for (int l = 0; l < lanes; ++l)
      row[i + l] = {static_cast<std::uint32_t>(both[l]), static_cast<std::int32_t>(i + l)};
  }
  sort_by_key(row, 16);
  Array<std::int32_t> order(n);
  for (std::int64_t i = 0; i < n; ++i) order[i] = row[i].row;
  return order;
}

/// Splits rows at the median of their widest coordinate, again and again, down to `leaf` of them. `key` is scratch.
inline void split(const float* rows, std::int64_t stride, std::int32_t* order, std::int64_t n, int leaf,
                  std::uint64_t* key) {
  while (n > leaf) {
    float low[kEmbedding], high[kEmbedding];
    for (int k = 0; k < kEmbedding; ++k) low[k] = INFINITY, high[k] = -INFINITY;
    for (std::int64_t i = 0; i < n; ++i) {
      const float* row = rows + order[i] * stride;
      for (int k = 0; k < kEmbedding; ++k)
        low[k] = row[k] < low[k] ? row[k] : low[k], high[k] = row[k] > high[k] ? row[k] : high[k];
    }
    int widest = 0;
    for (int k = 1; k < kEmbedding; ++k)
      if (high[k] - low[k] > high[widest] - low[widest]) widest = k;
    if (!(high[widest] > low[widest])) return;
    const std::int64_t half = (n / 2 + leaf - 1) / leaf * leaf;
    for (std::int64_t i = 0; i < n; ++i) {
      std::uint32_t bits;
      std::memcpy(&bits, rows + order[i] * stride + widest, 4);
      bits ^= bits >> 31 ? 0xffffffffu : 0x80000000u;  // floats sort as these do
      key[i] = static_cast<std::uint64_t>(bits) << 32 | static_cast<std::uint32_t>(order[i]);
    }
    std::nth_element(key, key + half, key + n);
    for (std::int64_t i = 0; i < n; ++i) order[i] = static_cast<std::int32_t>(key[i] & 0xffffffff);
    split(rows, stride, order, half, leaf, key);
    order += half, n -= half;
  }
}

/// The boxes of 16 leaves, or of 16 times 16: coordinates from `low` to `high`, r^2 + z^2 up to `rho2`.
struct alignas(64) Boxes {
  float low[kEmbedding][kLeaf], high[kEmbedding][kLeaf], rho2[kLeaf];

  Boxes() {
    for (int k = 0; k < kEmbedding; ++k)
      for (int b = 0; b < kLeaf; ++b) low[k][b] = INFINITY, high[k][b] = -INFINITY;
    for (float& r : rho2) r = -INFINITY;
  }
  /// Comparisons with NaN are false: such a row does not extend the box, as it has no neighbours.
  void include(int b, const float* row, float row_rho2) {
    for (int k = 0; k < kEmbedding; ++k) {
      low[k][b] = row[k] < low[k][b] ? row[k] : low[k][b];
      high[k][b] = row[k] > high[k][b] ? row[k] : high[k][b];
    }
    rho2[b] = std::max(rho2[b], row_rho2);
  }
  void include(int b, const Boxes& inner) {
    for (int k = 0; k < kEmbedding; ++k)
      for (int i = 0; i < kLeaf; ++i)
        low[k][b] = std::min(low[k][b], inner.low[k][i]), high[k][b] = std::max(high[k][b], inner.high[k][i]);
    for (int i = 0; i < kLeaf; ++i) rho2[b] = std::max(rho2[b], inner.rho2[i]);
  }
  /// Bit b is set where box b comes within the root of `limit2` of another, and not everything in it is inward of
  /// `least_rho2`.
  unsigned near(const float* other_low, const float* other_high, float least_rho2, float limit2) const {
    unsigned mask = 0;
    for (int b = 0; b < kLeaf; b += kLanes) {
      Vec total = {};
#pragma GCC unroll 8
      for (int k = 0; k < kEmbedding; ++k) {
        const Vec gap = maximum(maximum(load(low[k] + b) - other_high[k], other_low[k] - load(high[k] + b)), Vec{});
        total += gap * gap;
      }
      mask |= (less_mask(total, splat(limit2)) & ~less_mask(load(rho2 + b), splat(least_rho2))) << b;
    }
    return mask & ((1u << kLeaf) - 1);
  }
};

struct alignas(64) Leaf {
  float column[kEmbedding][kLeaf], rho2[kLeaf];
};

/// In double, so that no compiler's fused multiplication changes which hit is the outer one.
inline float distance_from_origin2(const float* p) {
  return static_cast<float>(static_cast<double>(p[0]) * p[0] + static_cast<double>(p[2]) * p[2]);
}

constexpr int kGroup = 4;    // sources that are searched together: each target that is read serves all of them
constexpr int kChunk = 512;  // sources per task
constexpr std::int64_t kRefined = 4000;  // hits: from here on it pays to order sources and targets by the median
constexpr std::int64_t kPatch = 8192;    // hits that are ordered so by one task
constexpr std::int64_t kBuffer = 2048;   // pairs that are brought through the windows together

/// A hit as the windows need it.
struct alignas(16) Point {
  float r, phi, z, rho2;
};

/// r, phi, z and rho2 of kLanes points.
inline void columns(const Point* const (&point)[kLanes], Vec (&out)[4]) {
#if defined(__AVX512F__)
  __m512 row[4];  // points j, j + 4, j + 8, j + 12
  for (int j = 0; j < 4; ++j) {
    const auto at = [&](int l) { return _mm_load_ps(&point[l]->r); };
    row[j] = _mm512_insertf32x4(_mm512_castps128_ps512(at(j)), at(j + 4), 1);
    row[j] = _mm512_insertf32x4(_mm512_insertf32x4(row[j], at(j + 8), 2), at(j + 12), 3);
  }
  const __m512d a = _mm512_castps_pd(_mm512_unpacklo_ps(row[0], row[1])),
                b = _mm512_castps_pd(_mm512_unpackhi_ps(row[0], row[1]));
  const __m512d c = _mm512_castps_pd(_mm512_unpacklo_ps(row[2], row[3])),
                d = _mm512_castps_pd(_mm512_unpackhi_ps(row[2], row[3]));
  out[0] = reinterpret_cast<Vec>(_mm512_unpacklo_pd(a, c)), out[1] = reinterpret_cast<Vec>(_mm512_unpackhi_pd(a, c));
  out[2] = reinterpret_cast<Vec>(_mm512_unpacklo_pd(b, d)), out[3] = reinterpret_cast<Vec>(_mm512_unpackhi_pd(b, d));
#else
  float column[4][kLanes];
  for (int l = 0; l < kLanes; ++l)
    column[0][l] = point[l]->r, column[1][l] = point[l]->phi, column[2][l] = point[l]->z, column[3][l] = point[l]->rho2;
  for (int c = 0; c < 4; ++c) out[c] = load(column[c]);
#endif
}

struct Tree {
  std::int64_t n;
  Array<Point> from, to;               // where sources and targets are, in their order
  Array<std::int32_t> source, target;  // hits in order
  Array<Leaf> leaves;
  Array<Boxes> boxes, outer_boxes;  // of 16 leaves, of 16 x 16

  Tree(const Hits& hits, const RadiusQuery& q)
      : n(hits.n),
        from(n),
        to(n),
        target(order_by_direction(hits.position, n)),
        leaves((n + 15) / 16),
        boxes((n + 255) / 256),
        outer_boxes((n + 4095) / 4096) {
    source = target;
    if (n >= kRefined) {
      const std::int64_t n_patches = (n + kPatch - 1) / kPatch;
#pragma omp parallel for num_threads(hits.threads) schedule(dynamic, 1)
      for (std::int64_t p = 0; p < n_patches; ++p) {
        std::uint64_t key[kPatch];
        const std::int64_t first = p * kPatch, patch = std::min(kPatch, n - first);
        split(q.target, q.target_stride, target.data() + first, patch, kLeaf, key);
        split(q.source, q.source_stride, source.data() + first, patch, kGroup, key);
      }
    }
#pragma omp parallel for num_threads(hits.threads) schedule(static)
    for (std::size_t b = 0; b < boxes.size(); ++b)
      for (std::size_t leaf = kLeaf * b; leaf < std::min<std::size_t>(kLeaf * (b + 1), leaves.size()); ++leaf)
        fill(hits, q, leaf, boxes[b]);
#pragma omp parallel for num_threads(hits.threads) schedule(static)
    for (std::int64_t s = 0; s < n; ++s) {
      const float *p = hits.position + 3 * static_cast<std::int64_t>(source[s]),
                  *t = hits.position + 3 * static_cast<std::int64_t>(target[s]);
      from[s] = {p[0], p[1], p[2], distance_from_origin2(p)};
      to[s] = {t[0], t[1], t[2], distance_from_origin2(t)};
    }
    for (std::size_t b = 0; b < boxes.size(); ++b)
      outer_boxes[b / kLeaf].include(static_cast<int>(b % kLeaf), boxes[b]);
  }

  void fill(const Hits& hits, const RadiusQuery& q, std::size_t leaf, Boxes& around) {
    Leaf& l = leaves[leaf];
    for (int i = 0; i < kLeaf; ++i) {
      const std::int64_t place = static_cast<std::int64_t>(kLeaf * leaf) + i;
      if (place >= n) {  // inward of everything
        for (int k = 0; k < kEmbedding; ++k) l.column[k][i] = 0;
        l.rho2[i] = -INFINITY;
        continue;
      }
      const float* row = q.target + target[place] * q.target_stride;
      for (int k = 0; k < kEmbedding; ++k) l.column[k][i] = row[k];
      l.rho2[i] = distance_from_origin2(hits.position + 3 * static_cast<std::int64_t>(target[place]));
      around.include(static_cast<int>(leaf % kLeaf), row, l.rho2[i]);
    }
  }
};

/// A growing list of pairs of hits.
struct Pairs {
  Array<std::int32_t> inner, outer;
  Array<float> dist2;
  std::int64_t size = 0;

  void reserve(std::int64_t wanted) {
    if (wanted <= static_cast<std::int64_t>(inner.size())) return;
    inner.resize(2 * wanted), outer.resize(2 * wanted), dist2.resize(2 * wanted);
  }
  void append(IntVec from, IntVec to, Vec distance2, unsigned mask) {
    compress(inner.data() + size, from, mask);
    compress(outer.data() + size, to, mask);
    compress(dist2.data() + size, distance2, mask);
    size += __builtin_popcount(mask);
  }
};

/// The sources that are searched together.
struct Group {
  alignas(64) float source[kGroup][kEmbedding];
  float low[kEmbedding], high[kEmbedding], rho2[kGroup], least_rho2;

  /// Those in the places [slot, slot + size) of the tree's order.
  Group(const RadiusQuery& q, const Tree& tree, std::int64_t slot, int size) {
    for (int k = 0; k < kEmbedding; ++k) low[k] = INFINITY, high[k] = -INFINITY;
    least_rho2 = INFINITY;
    for (int m = 0; m < kGroup; ++m) {
      const std::int64_t place = slot + (m < size ? m : 0);
      const float* row = q.source + tree.source[place] * q.source_stride;
      for (int k = 0; k < kEmbedding; ++k) {
        const float x = source[m][k] = m < size ? row[k] : NAN;  // NaN is near no target
        low[k] = x < low[k] ? x : low[k], high[k] = x > high[k] ? x : high[k];
      }
      rho2[m] = tree.from[place].rho2;
      least_rho2 = std::min(least_rho2, rho2[m]);
    }
  }
};

/// Targets of one leaf within the radius of each source and not inward of it; `slot` is the first source's.
inline void scan(const Leaf& leaf, std::int64_t number, const Group& group, std::int32_t slot, float radius2,
                 Pairs& found) {
  for (int s = 0; s < kLeaf; s += kLanes) {
    Vec dist2[kGroup] = {};
#pragma GCC unroll 8
    for (int k = 0; k < kEmbedding; ++k) {
      const Vec target = load(leaf.column[k] + s);
#pragma GCC unroll 4
      for (int m = 0; m < kGroup; ++m) {
        const Vec d = target - group.source[m][k];
        dist2[m] += d * d;
      }
    }
    const Vec rho2 = load(leaf.rho2 + s);
    const IntVec place = static_cast<std::int32_t>(kLeaf * number + s) + lane_numbers();
#pragma GCC unroll 4
    for (int m = 0; m < kGroup; ++m) {
      const unsigned mask = less_mask(dist2[m], splat(radius2)) & ~less_mask(rho2, splat(group.rho2[m]));
      if (mask != 0) found.append(splat(slot + m), place, dist2[m], mask);
    }
  }
}

__attribute__((noinline)) void search(const Tree& tree, float radius, const Group& group, std::int32_t slot,
                                      Pairs& found) {
  const float radius2 = radius * radius, limit2 = radius2 * 1.0001f;
  const auto near = [&](const Boxes& boxes) { return boxes.near(group.low, group.high, group.least_rho2, limit2); };
  for (std::size_t a = 0; a < tree.outer_boxes.size(); ++a)
    for (unsigned wide = near(tree.outer_boxes[a]); wide != 0; wide &= wide - 1) {
      const std::int64_t b = kLeaf * static_cast<std::int64_t>(a) + __builtin_ctz(wide);
      for (unsigned mask = near(tree.boxes[b]); mask != 0; mask &= mask - 1) {
        const std::int64_t leaf = kLeaf * b + __builtin_ctz(mask);
        found.reserve(found.size + kGroup * (kLeaf + kLanes));
        scan(tree.leaves[leaf], leaf, group, slot, radius2, found);
      }
    }
}

/// Leaves the pairs whose target is outward and inside the kinematic windows, and turns its place into its hit.
void apply_windows(const RadiusQuery& q, const Tree& tree, Pairs& pairs) {
  const std::int64_t n = pairs.size;
  pairs.reserve(n + kLanes);
  pairs.size = 0;
  for (std::int64_t s = 0; s < n; s += kLanes) {
    const int lanes = static_cast<int>(std::min<std::int64_t>(kLanes, n - s));
    const Point *from[kLanes], *to[kLanes];
    alignas(64) std::int32_t hit[kLanes];
    for (int l = 0; l < kLanes; ++l) {
      const std::int64_t pair = s + (l < lanes ? l : 0), place = pairs.outer[pair];
      from[l] = &tree.from[pairs.inner[pair]], to[l] = &tree.to[place];
      hit[l] = tree.target[place];
    }
    const Vec dist2 = load(pairs.dist2.data() + s);
    const IntVec slot = load(pairs.inner.data() + s);
    Vec a[4], b[4];
    columns(from, a), columns(to, b);
    const Doublet d = doublet(a[0], a[1], a[2], b[0], b[1], b[2]);
    unsigned mask = less_mask(absolute(d.kappa), splat(q.kappa_max)) & less_mask(absolute(d.z0), splat(q.z0_max)) &
                    ((1u << lanes) - 1);
    // The search left no target inward of its source; of two as far out, the one of higher number is outward.
    for (unsigned ties = mask & ~less_mask(a[3], b[3]); ties != 0; ties &= ties - 1) {
      const int l = __builtin_ctz(ties);
      if (hit[l] <= tree.source[pairs.inner[s + l]]) mask &= ~(1u << l);
    }
    pairs.append(slot, load(hit), dist2, mask);
  }
}

/// The result of a task: the edges of its slots, one slot after the other.
struct Task {
  Pairs edges;
  std::int64_t count[kChunk] = {};

  /// Pairs of the slots [first, first + size), in any order.
  __attribute__((noinline)) void take(const Pairs& pairs, std::int32_t first, int size, std::int64_t most,
                                      Nearest& nearest) {
    std::int64_t begin[kChunk + 2] = {};
    for (std::int64_t p = 0; p < pairs.size; ++p) ++begin[pairs.inner[p] - first + 2];
    for (int s = 0; s < size; ++s) begin[s + 2] += begin[s + 1];
    edges.reserve(edges.size + pairs.size);
    std::int32_t* outer = edges.outer.data() + edges.size;
    float* dist2 = edges.dist2.data() + edges.size;
    for (std::int64_t p = 0; p < pairs.size; ++p) {
      const std::int64_t to = begin[pairs.inner[p] - first + 1]++;
      outer[to] = pairs.outer[p], dist2[to] = pairs.dist2[p];
    }
    std::int64_t end = 0;  // slots move to where edges were dropped
    for (int s = 0; s < size; ++s) {
      const std::int64_t from = begin[s];
      const std::int64_t left =
          nearest(outer + from, dist2 + from, begin[s + 1] - from, most, outer + end, dist2 + end);
      count[first % kChunk + s] = left;
      end += left;
    }
    edges.size += end;
  }
};

/// Sums over all events.
struct Totals {
  std::atomic<std::int64_t> pairs{0}, edges{0};
};

/// The edges of one event, whose vectors `q` points to; not all once there are too many.
RadiusEdges find(const Hits& hits, const RadiusQuery& q, Totals& totals) {
  const std::int64_t n = hits.n;
  const Tree tree(hits, q);
  const std::int64_t n_tasks = (n + kChunk - 1) / kChunk;
  std::unique_ptr<Task[]> tasks(new Task[n_tasks]);
#pragma omp parallel num_threads(hits.threads)
  {
    Pairs pairs;
    pairs.reserve(kBuffer);
    Nearest nearest;
#pragma omp for schedule(dynamic, 1)
    for (std::int64_t t = 0; t < n_tasks; ++t) {
      const std::int64_t last = std::min(n, (t + 1) * kChunk);
      std::int64_t done = t * kChunk;
      for (std::int64_t k = done; k < last && totals.pairs.load(std::memory_order_relaxed) <= kMaxPairs; k += kGroup) {
        const std::int64_t after = std::min(last, k + kGroup);
        search(tree, q.radius, Group(q, tree, k, static_cast<int>(after - k)), static_cast<std::int32_t>(k), pairs);
        if (pairs.size < kBuffer && after < last) continue;
        totals.pairs += pairs.size;
        apply_windows(q, tree, pairs);
        tasks[t].take(pairs, static_cast<std::int32_t>(done), static_cast<int>(after - done), q.max_neighbours,
                      nearest);
        done = after, pairs.size = 0;
      }
      pairs.size = 0;
    }
  }
  Array<std::int64_t> begin(n + 1, 0), place(n);  // first edge of each hit; where its task has it
  Array<std::int32_t> task_of(n);
  for (std::int64_t s = 0, next = 0; s < n; ++s) {
    const std::int64_t number = s / kChunk, hit = tree.source[s];
    if (s % kChunk == 0) next = 0;
    task_of[hit] = static_cast<std::int32_t>(number), place[hit] = next;
    begin[hit + 1] = tasks[number].count[s % kChunk];
    next += begin[hit + 1];
  }
  for (std::int64_t i = 0; i < n; ++i) begin[i + 1] += begin[i];
  const std::int64_t n_edges = begin[n];
  if ((totals.edges += n_edges) > kMaxEdges) return {};
  RadiusEdges edges{Array<std::int64_t>(2 * n_edges), Array<float>(n_edges)};
#pragma omp parallel for num_threads(hits.threads) schedule(static)
  for (std::int64_t i = 0; i < n; ++i) {
    const Pairs& mine = tasks[task_of[i]].edges;
    for (std::int64_t e = begin[i], k = place[i]; e < begin[i + 1]; ++e, ++k) {
      edges.edge_index[e] = i;
      edges.edge_index[n_edges + e] = mine.outer[k];
      edges.dist2[e] = mine.dist2[k];
    }
  }
  return edges;
}

}  // namespace

RadiusEdges radius_edges(Hits hits, const RadiusQuery& q) {
  std::vector<Array<std::int64_t>> edges(hits.events.n);
  std::vector<Array<float>> dist2(hits.events.n);
  Totals totals;
  for_each_event(hits, [&](std::int64_t k, const Hits& of_event) {
    const std::int64_t first = hits.events.begin[k];
    RadiusQuery part = q;
    part.source += first * q.source_stride, part.target += first * q.target_stride;
    RadiusEdges found = find(of_event, part, totals);
    edges[k] = std::move(found.edge_index), dist2[k] = std::move(found.dist2);
  });
  require_at_most(totals.pairs, kMaxPairs, "pairs of hits within the radius");
  require_at_most(totals.edges, kMaxEdges, "edges");
  Array<float> all = hits.events.n == 1 ? std::move(dist2[0]) : Array<float>(totals.edges);
  if (hits.events.n != 1) {
    float* to = all.data();
    for (const auto& part : dist2) to = std::copy_n(part.data(), part.size(), to);
  }
  return {joined(hits.events, edges), std::move(all)};
}

}  // namespace beampipe
