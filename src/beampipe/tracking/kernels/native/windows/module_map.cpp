// Doublets inside learned windows that take part in at least one triplet inside learned windows, as tracks grow
// outwards from the seed layers.
//
// The loop runs over middle hits, one stage of layers after the other: the hits that may lie before and after a middle
// hit are collected from a (row, phi) grid of their layers, tested against each other while in L1, and only survivors
// are written. Memory does not grow with the number of doublets, some fifty times the number of edges that are kept.
#include <omp.h>

#include "graphs/blocks.hpp"
#include "kernels.hpp"
#include "windows/search.hpp"

#include <algorithm>
#include <atomic>
#include <numeric>
#include <utility>
#include <vector>

namespace beampipe {
namespace {

constexpr int kChunk = 256;  // middle hits per task

/// Sums over all blocks.
struct Totals {
  std::atomic<std::int64_t> tried{0}, tests{0}, edges{0};

  bool too_large() const {
    return tried.load(std::memory_order_relaxed) > kMaxTried ||
           tests.load(std::memory_order_relaxed) > kMaxDoubletTests ||
           edges.load(std::memory_order_relaxed) > kMaxEdges;
  }
};

/// An edge that was found, by its input rows.
struct Edge {
  std::int32_t inner, outer;
};

/// An edge on which a track may go on: rows of its hits in the grid, and its arc.
struct Tip {
  std::int32_t inner, outer;
  int pair;
  float kappa, cot, weight;
};

/// The tips that end on the layers of one stage, by their outer hit. Their order there is of no effect.
class Incoming {
public:
  void gather(const std::vector<std::vector<Tip>*>& tips, std::int32_t first, std::int32_t last) {
    first_ = first;
    begin_.assign(last - first + 2, 0);
    for (const auto* part : tips)
      for (const Tip& tip : *part) ++begin_[tip.outer - first + 2];
    std::partial_sum(begin_.begin(), begin_.end(), begin_.begin());
    tips_.resize(begin_.back());
    for (const auto* part : tips)
      for (const Tip& tip : *part) tips_[begin_[tip.outer - first + 1]++] = tip;
  }
  const Tip* begin(std::int32_t s) const { return tips_.data() + begin_[s - first_]; }
  const Tip* end(std::int32_t s) const { return tips_.data() + begin_[s - first_ + 1]; }

private:
  std::int32_t first_ = 0;
  std::vector<std::int32_t> begin_;
  std::vector<Tip> tips_;
};

/// Marks the doublets of both segments that agree with one of the other.
void match(Side& in, const Side::Segment& a, Side& out, const Side::Segment& b, const float* window) {
  // The parts of chi2 that the doublet inside has alone; see triplet_chi2.
  for (int i = a.first; i < a.last; i += kLanes) {
    const Vec kappa = load(in.kappa.data() + i), kappa2 = kappa * kappa;
    store(in.s.data() + i, window[0] * load(in.weight.data() + i) + window[1] * kappa2);
    store(in.t.data() + i, window[2] + window[3] * kappa2);
  }
  for (int j = b.first; j < b.last; j += kLanes) {
    const Vec kappa = load(out.kappa.data() + j), cot = load(out.cot.data() + j);
    const Vec weight = window[0] * load(out.weight.data() + j);
    unsigned any = 0;
    for (int i = a.first; i < a.last; ++i) {
      const Vec dkappa = kappa - in.kappa[i], dcot = cot - in.cot[i], turn = 1.0f + cot * in.cot[i];
      const Vec s = weight + in.s[i], t = turn * turn * in.t[i];
      const unsigned pass = less_mask(dcot * dcot * s, (s - dkappa * dkappa) * t);
      any |= pass;
      in.any[i] |= pass;
    }
    out.any[j / kLanes] |= any;
  }
}

/// The tables that a search of one event reads.
struct Map {
  const Windows& windows;
  std::vector<int> stage;
  Grid grid;
  std::vector<Partners<false>> before;  // of each layer
  std::vector<Partners<true>> after;

  Map(const float* position, std::int64_t n, const Windows& w, const Growth& growth, int threads)
      : windows(w),
        stage(stages_of(w, growth.seed_depth)),
        grid(make_grid(position, assign_layers(position, n, w, threads), n, w, stage)) {
    std::vector<std::vector<int>> ends(w.n_layers), starts(w.n_layers);
    for (int p = 0; p < w.n_pairs; ++p) ends[w.pairs[2 * p + 1]].push_back(p), starts[w.pairs[2 * p]].push_back(p);
    for (int l = 0; l < w.n_layers; ++l) {
      before.emplace_back(grid, w, growth.least_curvature, ends[l]);
      after.emplace_back(grid, w, growth.least_curvature, starts[l]);
    }
  }

  int n_stages() const { return static_cast<int>(grid.stage_begin.size()) - 1; }
};

/// One thread's work: the edges around one middle hit after the other, in memory that is reused.
class Middle {
public:
  std::vector<Edge> found;
  std::vector<std::vector<Tip>> tips;  // of later stages, by the stage of the outer layer

  Middle(const Map& map, Totals& totals) : tips(map.n_stages()), map_(map), totals_(totals) {}

  /// Adds the edges around the hits in rows [first, last) of the grid, all of one stage.
  void add_edges(int stage, std::int32_t first, std::int32_t last, const Incoming& incoming) {
    const bool seeds = stage == kSeeded;
    const std::size_t n_before = found.size();
    for (std::int32_t s = first; s < last && !totals_.too_large(); ++s) {
      const int layer = map_.grid.layer[s];
      if (map_.before[layer].empty() || map_.after[layer].empty()) continue;
      const Origin q{map_.grid.r[s], map_.grid.phi[s], map_.grid.z[s], map_.grid.cosine[s], map_.grid.sine[s]};
      if (seeds)
        map_.before[layer].collect(q, in_, blocks_);
      else
        take(incoming.begin(s), incoming.end(s));
      if (in_.n == 0) continue;
      map_.after[layer].collect(q, out_, blocks_);
      tests_ += in_.n * out_.n;
      if (tests_ > kMaxDoubletTests) break;
      match_all();
      if (seeds) keep_in(s);
      keep_out(s);
    }
    totals_.tried += std::exchange(in_.tried, 0) + std::exchange(out_.tried, 0);
    totals_.tests += std::exchange(tests_, 0);
    // Around seeds, most edges are found at both ends.
    totals_.edges += static_cast<std::int64_t>((found.size() - n_before) / (seeds ? 2 : 1));
  }

private:
  /// Takes over the edges that end at the middle hit.
  void take(const Tip* tip, const Tip* end) {
    in_.segments.clear();
    in_.n = end - tip;
    in_.reserve((end - tip) * kLanes);
    int at = 0;
    for (; tip != end; ++tip, at += kLanes) {
      in_.kappa[at] = tip->kappa, in_.cot[at] = tip->cot, in_.weight[at] = tip->weight;
      in_.segments.push_back({tip->pair, at, at + 1});
    }
  }

  void match_all() {
    const Windows& w = map_.windows;
    for (const Side::Segment& b : out_.segments) {
      const int slot = b.pair - w.out_begin[w.pairs[2 * b.pair]];
      for (const Side::Segment& a : in_.segments) {
        const float* window = w.triplet_windows + 4 * (a.pair * kMaxOut + slot);
        if (window[0] > 0) match(in_, a, out_, b, window);
      }
    }
  }

  void keep_in(std::int32_t s) {
    const std::vector<std::int32_t>& hit = map_.grid.hit;
    for (const Side::Segment& a : in_.segments)
      for (int first = a.first; first < a.last; first += kLanes)
        for (unsigned any = nonzero_mask(load(in_.any.data() + first)); any != 0; any &= any - 1)
          found.push_back({hit[in_.hit[first + __builtin_ctz(any)]], hit[s]});
  }

  void keep_out(std::int32_t s) {
    const std::vector<std::int32_t>& hit = map_.grid.hit;
    for (const Side::Segment& b : out_.segments) {
      const int stage = map_.stage[map_.windows.pairs[2 * b.pair + 1]];
      for (int first = b.first; first < b.last; first += kLanes)
        for (unsigned any = out_.any[first / kLanes]; any != 0; any &= any - 1) {
          const int d = first + __builtin_ctz(any);
          found.push_back({hit[s], hit[out_.hit[d]]});
          if (stage != kSeeded)
            tips[stage].push_back({s, out_.hit[d], b.pair, out_.kappa[d], out_.cot[d], out_.weight[d]});
        }
    }
  }

  const Map& map_;
  Totals& totals_;
  Side in_, out_;
  std::vector<Block> blocks_;
  std::int64_t tests_ = 0;
};

/// An edge may have been kept at both of its ends: the lists brought together, sorted, each edge once.
Array<std::int64_t> merged(const std::vector<Middle>& parts, std::int64_t n, int threads) {
  std::vector<std::int32_t> begin(n + 1, 0);
  for (const Middle& part : parts)
    for (const Edge& edge : part.found) ++begin[edge.inner + 1];
  std::partial_sum(begin.begin(), begin.end(), begin.begin());
  std::vector<std::int32_t> outer(begin.back()), next(begin.begin(), begin.end() - 1), size(n);
  for (const Middle& part : parts)
    for (const Edge& edge : part.found) outer[next[edge.inner]++] = edge.outer;
  std::int64_t n_edges = 0;
#pragma omp parallel for num_threads(threads) schedule(static) reduction(+ : n_edges)
  for (std::int64_t i = 0; i < n; ++i) {
    const auto first = outer.begin() + begin[i], last = outer.begin() + begin[i + 1];
    std::sort(first, last);
    size[i] = static_cast<std::int32_t>(std::unique(first, last) - first);
    n_edges += size[i];
  }
  Array<std::int64_t> edge_index(2 * n_edges);
  std::int64_t* to = edge_index.data();
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int32_t e = begin[i]; e < begin[i] + size[i]; ++e, ++to) to[0] = i, to[n_edges] = outer[e];
  return edge_index;
}

/// The edges of one block of n hits; none once there are too many.
Array<std::int64_t> find(const float* position, std::int64_t n, const Windows& w, const Growth& growth, int threads,
                         Totals& totals) {
  const Map map(position, n, w, growth, threads);
  std::vector<Middle> parts;
  for (int t = 0; t < threads; ++t) parts.emplace_back(map, totals);
  Incoming incoming;
#pragma omp parallel num_threads(threads)
  for (int stage = 0; stage < map.n_stages(); ++stage) {
    const std::int32_t first = map.grid.stage_begin[stage], last = map.grid.stage_begin[stage + 1];
#pragma omp single
    {
      std::vector<std::vector<Tip>*> tips;
      for (Middle& part : parts) tips.push_back(&part.tips[stage]);
      incoming.gather(tips, first, last);
    }
#pragma omp for schedule(dynamic, 1)
    for (std::int32_t chunk = first; chunk < last; chunk += kChunk)
      parts[omp_get_thread_num()].add_edges(stage, chunk, std::min(last, chunk + kChunk), incoming);
  }
  return totals.too_large() ? Array<std::int64_t>() : merged(parts, n, threads);
}

}  // namespace

Array<std::int64_t> module_map_edges(const float* position, const Blocks& blocks, const Windows& w,
                                     const Growth& growth, int threads) {
  std::vector<Array<std::int64_t>> parts(blocks.n);
  Totals totals;
  for_each_block(blocks, threads, [&](std::int64_t block, int shared) {
    parts[block] = find(position + 3 * blocks.begin[block], blocks.size(block), w, growth, shared, totals);
  });
  require_at_most(totals.tried, kMaxTried, "pairs of hits to look at");
  require_at_most(totals.tests, kMaxDoubletTests, "pairs of doublets to look at");
  require_at_most(totals.edges, kMaxEdges, "edges");
  if (blocks.n == 1) return std::move(parts[0]);
  return joined(blocks, [&](std::int64_t block) -> const Array<std::int64_t>& { return parts[block]; });
}

}  // namespace beampipe
