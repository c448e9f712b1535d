#include "loops.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "numbers.hpp"

// The variant for the processor is chosen when the library is loaded. None uses FMA: the build forbids contraction.
#if defined(__x86_64__) && defined(__GNUC__) && (defined(__clang__) || __GNUC__ >= 12)
#define FOR_EACH_ISA __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#elif defined(__x86_64__) && defined(__GNUC__)  // older ones choose by single features
#define FOR_EACH_ISA __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define FOR_EACH_ISA
#endif

namespace calibration {
namespace {

/// Below `kFits` in size a double plus this number holds its nearest whole number in its lowest bits, halves to even.
constexpr double kMagic = 6755399441055744.0;  // 1.5 * 2**52

constexpr std::int64_t kSome = 1 << 16;

using Floats [[gnu::vector_size(32)]] = float;
using Doubles [[gnu::vector_size(64)]] = double;
using Wholes [[gnu::vector_size(64)]] = std::uint64_t;

/// sums[k] += values[k]
ALWAYS inline void add_lanes(std::int64_t* __restrict sums, const Wholes* values, std::int64_t n) {
  if (n == kLanes) {
    Wholes before[2];
    std::memcpy(before, sums, sizeof before);
    before[0] += values[0], before[1] += values[1];
    std::memcpy(sums, before, sizeof before);
    return;
  }
  std::int64_t single[kLanes];
  std::memcpy(single, values, sizeof single);
  for (std::int64_t k = 0; k < n; ++k) add(sums[k], single[k]);
}

}  // namespace

FOR_EACH_ISA
float load_weights(const std::uint8_t* weights, bool big, const std::int64_t* columns, std::int64_t n,
                   float* __restrict native) {
  std::uint32_t largest = 0;
  for (std::int64_t k = 0; k < n; ++k) {
    std::uint32_t bits;
    std::memcpy(&bits, weights + 4 * (columns == nullptr ? k : columns[k]), 4);
    if (big) bits = __builtin_bswap32(bits);
    std::memcpy(native + k, &bits, 4);
    const std::uint32_t size = bits & 0x7FFFFFFFU;
    largest = size > largest ? size : largest;
  }
  float size;
  std::memcpy(&size, &largest, 4);
  return size;
}

FOR_EACH_ISA
void quantise(const float* __restrict weights, std::int64_t n, float largest, double scale, double square_scale,
              std::int64_t* __restrict units, std::int64_t* __restrict squares) {
  if (fits(largest, scale, square_scale)) {
    std::int64_t magic;
    std::memcpy(&magic, &kMagic, 8);
    for (std::int64_t k = 0; k < n; ++k) {
      const double w = weights[k], unit = w * scale + kMagic, square = w * w * square_scale + kMagic;
      std::int64_t unit_bits, square_bits;
      std::memcpy(&unit_bits, &unit, 8);
      std::memcpy(&square_bits, &square, 8);
      units[k] = unit_bits - magic;
      squares[k] = square_bits - magic;
    }
  } else {
    for (std::int64_t k = 0; k < n; ++k) {
      const double w = weights[k];
      units[k] = whole(w * scale);
      squares[k] = whole(w * w * square_scale);
    }
  }
}

FOR_EACH_ISA
std::int64_t count_rises(const std::uint8_t* numbers, bool big, std::int64_t n) {
  std::int64_t count = 0;
  for (std::int64_t begin = 1; begin < n; begin += kSome) {
    const std::int64_t end = begin + kSome < n ? begin + kSome : n;
    std::int32_t of_block = 0;  // as wide as the numbers, for vectorisation
    for (std::int64_t k = begin; k < end; ++k) {
      std::uint32_t bits[2];
      std::memcpy(bits, numbers + 4 * (k - 1), 4);
      std::memcpy(bits + 1, numbers + 4 * k, 4);
      const std::uint32_t previous = big ? __builtin_bswap32(bits[0]) : bits[0];
      const std::uint32_t next = big ? __builtin_bswap32(bits[1]) : bits[1];
      float before, after;
      std::memcpy(&before, &previous, 4);
      std::memcpy(&after, &next, 4);
      of_block += rises(before, after);
    }
    count += of_block;
  }
  return count;
}

FOR_EACH_ISA
void add_all(std::int64_t* __restrict sums, const std::int64_t* __restrict values, std::int64_t n) {
  for (std::int64_t k = 0; k < n; ++k) add(sums[k], values[k]);
}

FOR_EACH_ISA
void choose(const Pairs& pairs, const Cuts& limits, double margin, std::int32_t* __restrict last,
            std::int32_t* __restrict kept) {
  const Cuts cuts = limits;
  const std::int64_t n = pairs.n;
  std::int32_t n_pt_cuts[kBlock], near[kBlock];
  for (std::int64_t e = 0; e < n; ++e) {
    const double high = pairs.pt[0][e], low = pairs.pt[1][e];
    n_pt_cuts[e] = pt_cuts_passed(high, low, cuts);
    near[e] = pt_cuts_passed(high * (1 - margin), low * (1 + margin), cuts) == kPtCuts;
  }
  for (std::int64_t e = 0; e < n; ++e) {
    const std::int32_t in_pt = n_pt_cuts[e];
    const int inside =
        (std::fabs(pairs.eta[0][e]) < cuts.max_abs_eta) & (std::fabs(pairs.eta[1][e]) < cuts.max_abs_eta);
    const int tracks = (pairs.n_trk[0][e] >= cuts.min_n_trk) & (pairs.n_trk[1][e] >= cuts.min_n_trk);
    const int labelled = (pairs.flavour[0][e] >= 0) & (pairs.flavour[1][e] >= 0);
    const int clean = pairs.clean[e], light = std::fabs(pairs.weight[e]) < cuts.max_weight;
    // A cut counts if all cuts before it are passed.
    const int cleaned = inside & (in_pt == kPtCuts) & clean, tracked = cleaned & tracks, all = tracked & labelled;
    last[e] = kTwoJets + inside * (1 + in_pt) + cleaned + tracked + all + (all & light);
    kept[e] = clean & labelled & inside & light & near[e];
  }
}

/// The bin of each value; -1 outside of all. Without edges there is one bin.
ALWAYS inline void find_bins(const Edges& edges, const float* __restrict values, std::int64_t n,
                             std::int32_t* __restrict bins) {
  const auto n_bins = static_cast<std::int32_t>(edges.n_bins());
  for (std::int64_t e = 0; e < n; ++e) bins[e] = -1;
  for (std::int64_t k = 0; k < edges.n_edges; ++k) {  // a linear search: there are few edges
    const double edge = edges.edges[k];
    for (std::int64_t e = 0; e < n; ++e) bins[e] += edge <= values[e];
  }
  for (std::int64_t e = 0; e < n; ++e) bins[e] = n_bins < 0 ? 0 : bins[e] < n_bins ? bins[e] : -1;
}

FOR_EACH_ISA
void find_rows(Pairs& pairs, const Axes& axes, const Cuts& limits) {
  const Cuts cuts = limits;
  const std::int64_t n = pairs.n, n_pt = axes.pt.n_bins(), n_flavours = axes.n_flavours, width = axes.width;
  std::int32_t in_pt[kBlock], in_eta[kBlock], passed[kBlock];
  float size[kBlock];
  for (std::int64_t e = 0; e < n; ++e) {
    // Like max and min of Python: the first one if both are equal or one is NaN.
    const double first = pairs.pt[0][e], second = pairs.pt[1][e];
    const double high = second > first ? second : first, low = second < first ? second : first;
    passed[e] = (pt_cuts_passed(high, low, cuts) == kPtCuts) & (pairs.n_trk[0][e] >= cuts.min_n_trk) &
                (pairs.n_trk[1][e] >= cuts.min_n_trk);
  }
  for (int j = 0; j < 2; ++j) {
    find_bins(axes.pt, pairs.pt[j], n, in_pt);
    for (std::int64_t e = 0; e < n; ++e) size[e] = std::fabs(pairs.eta[j][e]);
    find_bins(axes.eta, size, n, in_eta);
    const std::int32_t *region = pairs.region[j], *flavour = pairs.flavour[j];
    std::int64_t* __restrict rows = pairs.rows[j];
    for (std::int64_t e = 0; e < n; ++e) {
      const bool counted = passed[e] & (region[e] >= 0) & (in_pt[e] >= 0) & (in_eta[e] >= 0);
      rows[e] = counted ? (((in_eta[e] * n_pt + in_pt[e]) * 2 + region[e]) * n_flavours + flavour[e]) * width : -1;
    }
  }
}

FOR_EACH_ISA
void find_points(const Pairs& pairs, const EnergyModel& given, Points& points) {
  const EnergyModel model = given;
  for (int j = 0; j < 2; ++j)
    for (std::int64_t e = 0; e < pairs.n; ++e) {
      points.pt[j][e] = (static_cast<double>(pairs.pt[j][e]) - model.low_pt) / (model.high_pt - model.low_pt);
      points.eta[j][e] = std::fabs(static_cast<double>(pairs.eta[j][e])) / model.last_eta;
    }
}

FOR_EACH_ISA
void find_heights(const Points& points, const EnergyModel& model, const Variation& shift, std::int64_t n,
                  double (*heights)[kBlock]) {
  const bool scale = shift.kind == Variation::kScale;
  const std::int64_t n_pt = scale ? model.pt_nodes : model.resolution_nodes, n_eta = model.eta_nodes;
  const std::int64_t in_pt = scale ? shift.number % n_pt : shift.number, in_eta = shift.number / model.pt_nodes;
  const double widening = model.widening;
  for (int j = 0; j < 2; ++j)
    if (scale)
      for (std::int64_t e = 0; e < n; ++e)
        heights[j][e] = triangle(points.pt[j][e], in_pt, n_pt) * triangle(points.eta[j][e], in_eta, n_eta);
    else
      for (std::int64_t e = 0; e < n; ++e) heights[j][e] = widening * triangle(points.pt[j][e], in_pt, n_pt);
}

FOR_EACH_ISA
void add_weights(const std::vector<CellEvents>& cells, const std::int64_t* events, const float* weights, std::int64_t n,
                 double scale, double square_scale, std::int64_t* sumw, std::int64_t* sumw2) {
  constexpr std::int64_t kHalf = kLanes / 2;
  const std::int64_t stride = padded(n);
  std::uint64_t magic;
  std::memcpy(&magic, &kMagic, 8);
  for (std::size_t c = 0; c < cells.size(); ++c) {
    const CellEvents &cell = cells[c], &next = cells[std::min(c + 1, cells.size() - 1)];
    for (std::int64_t k = 0; k < n; k += kHalf) {
      __builtin_prefetch(sumw + next.of_group * n + k, 1);
      __builtin_prefetch(sumw2 + next.row * n + k, 1);
    }
    const std::uint64_t offset = static_cast<std::uint64_t>(cell.end - cell.begin) * magic;
    for (std::int64_t first = 0; first < n; first += kLanes) {
      Wholes units[2] = {}, squares[2] = {};
      for (std::int64_t i = cell.begin; i < cell.end; ++i)
        for (int half = 0; half < 2; ++half) {
          Floats stored;
          std::memcpy(&stored, weights + events[i] * stride + first + half * kHalf, sizeof stored);
          const Doubles w = __builtin_convertvector(stored, Doubles);
          units[half] += reinterpret_cast<Wholes>(w * scale + kMagic);
          squares[half] += reinterpret_cast<Wholes>(w * w * square_scale + kMagic);
        }
      for (int half = 0; half < 2; ++half) units[half] -= offset, squares[half] -= offset;
      const std::int64_t n_columns = std::min(kLanes, n - first);
      add_lanes(sumw + cell.of_group * n + first, units, n_columns);
      add_lanes(sumw2 + cell.row * n + first, squares, n_columns);
    }
  }
}

FOR_EACH_ISA
void add_leaves(const std::vector<TreeNode>& nodes, const double* __restrict leaves, const float* __restrict jets,
                double* __restrict sums) {
  std::uint32_t lost[kJets] = {};
  for (const TreeNode& node : nodes) {
    const float* __restrict numbers = jets + node.feature * kJets;
    const float threshold = node.threshold;
    const std::uint32_t left = node.left;
    for (std::int64_t k = 0; k < kJets; ++k) lost[k] |= left & -static_cast<std::uint32_t>(numbers[k] > threshold);
  }
  for (std::int64_t k = 0; k < kJets; ++k) sums[k] += leaves[__builtin_ctz(~lost[k])];
}

FOR_EACH_ISA
void draw(std::uint64_t key, const std::uint64_t* __restrict blocks, std::int64_t n_blocks,
          const std::uint8_t* __restrict table, std::int64_t weight, std::int64_t* __restrict times) {
  for (std::int64_t b = 0; b < n_blocks; ++b) {
    const std::uint64_t bits = mix(key + blocks[b]);
    for (int c = 0; c < 4; ++c) times[4 * b + c] = weight * table[(bits >> (16 * c)) & 0xFFFF];
  }
}

}  // namespace calibration
