// Doublets inside learned windows that take part in at least one triplet inside learned windows, as tracks grow
// outwards.
//
// The loop runs over middle hits, one stage of layers after the other: the edges that end at a middle hit, and on seed
// layers the short doublets with which a track may begin, are tested against the doublets from it outwards while in L1,
// and only survivors are written. Memory does not grow with the number of doublets, some fifty times the number of edges
// that are kept.
#include <omp.h>

#include "graphs/blocks.hpp"
#include "kernels.hpp"
#include "windows/search.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

namespace beampipe {
namespace {

constexpr int kChunk = 256;             // middle hits per task
constexpr std::int64_t kMany = 20'000;  // hits: from here on, the number of tests around seeds is estimated first
constexpr int kSampledBits = 7;         // one in 2^7 seed hits is searched around for that

/// Sums over all events.
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

/// An edge on which a track may go on: row of its outer hit in the grid, and its arc.
struct Tip {
  std::int32_t outer;
  float kappa, cot, weight;
  std::int32_t pair;
};

/// The tips that end on the layers of one stage, by their outer hit. Their order there is of no effect.
class Incoming {
public:
  /// Where each list has the tips of one pair of layers, those of a hit are grouped by pair.
  void gather(const std::vector<List<Tip>*>& tips, std::int32_t first, std::int32_t last) {
    first_ = first;
    begin_.assign(last - first + 2, 0);
    for (const auto* part : tips) part->for_each([&](const Tip& tip) { ++begin_[tip.outer - first + 2]; });
    std::partial_sum(begin_.begin(), begin_.end(), begin_.begin());
    tips_ = Array<Tip>(begin_.back());
    for (const auto* part : tips) part->for_each([&](const Tip& tip) { tips_[begin_[tip.outer - first + 1]++] = tip; });
  }
  const Tip* begin(std::int32_t s) const { return tips_.data() + begin_[s - first_]; }
  const Tip* end(std::int32_t s) const { return tips_.data() + begin_[s - first_ + 1]; }

private:
  std::int32_t first_ = 0;
  Array<std::int32_t> begin_;
  Array<Tip> tips_;
};

/// Marks the doublets of two segments, inside and outside of a hit, that agree with one of the other side.
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
    for (int i = a.first; i < a.last; ++i) {
      const Vec dkappa = kappa - in.kappa[i], dcot = cot - in.cot[i], turn = 1.0f + cot * in.cot[i];
      const Vec s = weight + in.s[i], t = turn * turn * in.t[i];
      const unsigned pass = less_mask(dcot * dcot * s, (s - dkappa * dkappa) * t);
      if (pass == 0) continue;
      for (unsigned fresh = pass & ~out.any[j / kLanes]; fresh != 0; fresh &= fresh - 1)
        out.kept.push_back({j + __builtin_ctz(fresh), b.pair});
      out.any[j / kLanes] |= pass;
      if (std::exchange(in.any[i], 1) == 0) in.kept.push_back({i, a.pair});
    }
  }
}

/// The tables that a search of one event reads.
struct Map {
  const Windows& windows;
  std::vector<int> stage;
  std::vector<char> begins;  // as in may_begin
  Grid grid;
  std::vector<Partners<false>> before;            // of each layer: with which a track may begin there
  std::vector<Partners<true>> next, rest, after;  // with which it may go on then, the others, and all
  std::vector<TripletWindow<float>> widest;       // of each pair, for any pair outside
  std::vector<std::uint32_t> follow;              // of each pair: bit i if the i-th pair outside may follow

  Map(const Hits& hits, const Windows& w, const Growth& growth)
      : windows(w),
        stage(stages_of(w)),
        begins(may_begin(w, stage, growth.seed_depth)),
        grid(make_grid(hits, assign_layers(hits, w), w, stage)) {
    add_directions(grid);
    std::vector<std::vector<int>> inwards(w.n_layers), outwards(w.n_layers), others(w.n_layers), all(w.n_layers);
    std::vector<char> goes_on(w.n_pairs, 0);
    for (int p = 0; p < w.n_pairs; ++p) {
      const int middle = w.pairs[2 * p + 1];
      bool first = false;
      TripletWindow<float> widest_of{0, 0, 0, 0};
      std::uint32_t followers = 0;
      for (int q = w.out_begin[middle]; q < w.out_begin[middle + 1]; ++q) {
        const float* window_of = window(p, q);
        if (window_of[0] <= 0) continue;
        widest_of = wider(widest_of, {window_of[0], window_of[1], window_of[2], window_of[3]});
        followers |= 1u << (q - w.out_begin[middle]);
        if (may_begin_with(p, q)) goes_on[q] = 1, first = true;
      }
      widest.push_back(widest_of), follow.push_back(followers);
      if (first) inwards[middle].push_back(p);
    }
    for (int p = 0; p < w.n_pairs; ++p) {
      all[w.pairs[2 * p]].push_back(p);
      (goes_on[p] ? outwards : others)[w.pairs[2 * p]].push_back(p);
    }
    for (int l = 0; l < w.n_layers; ++l) {
      before.emplace_back(grid, w, growth.least_curvature, inwards[l]);
      next.emplace_back(grid, w, growth.least_curvature, outwards[l]);
      rest.emplace_back(grid, w, growth.least_curvature, others[l]);
      after.emplace_back(grid, w, growth.least_curvature, all[l]);
    }
  }

  int n_stages() const { return static_cast<int>(grid.stage_begin.size()) - 1; }
  /// The window of a pair and one that starts where it ends, and whether a track may begin with both.
  const float* window(int p, int q) const { return windows.triplet_windows + 4 * triple(p, q); }
  bool may_begin_with(int p, int q) const { return begins[triple(p, q)] != 0; }

private:
  std::size_t triple(int p, int q) const { return p * kMaxOut + q - windows.out_begin[windows.pairs[2 * q]]; }
};

/// One thread's work: the edges around one middle hit after the other, in memory that is reused.
class Middle {
public:
  List<Edge> found;
  std::vector<List<Tip>> tips;  // that end on layers of later stages, by their pair

  Middle(const Map& map, Totals& totals) : tips(map.windows.n_pairs), map_(map), totals_(totals) {}

  /// Adds the edges around the hits in rows [first, last) of the grid.
  void add_edges(std::int32_t first, std::int32_t last, const Incoming& incoming) {
    const std::size_t n_before = found.size();
    for (std::int32_t s = first; s < last && !totals_.too_large(); ++s) {
      const int layer = map_.grid.layer[s];
      starts_.clear(), out_.clear();
      if (!map_.before[layer].empty()) map_.before[layer].collect(s, ahead_in_, starts_, blocks_);
      take(incoming.begin(s), incoming.end(s));
      if (starts_.n > 0) map_.next[layer].collect(s, ahead_out_, out_, blocks_);
      tests_ += starts_.n * out_.n;
      if (edges_.n > 0) (starts_.n > 0 ? map_.rest : map_.after)[layer].collect(s, lead_, out_, blocks_);
      tests_ += edges_.n * out_.n;
      if (out_.n == 0) continue;
      if (tests_ > kMaxDoubletTests) break;
      match_all(starts_, true);
      match_all(edges_, false);
      keep(s);
    }
    totals_.tried += std::exchange(starts_.tried, 0) + std::exchange(out_.tried, 0);
    totals_.tests += std::exchange(tests_, 0);
    totals_.edges += static_cast<std::int64_t>(found.size() - n_before);
  }

private:
  /// Takes over the edges that end at the middle hit.
  void take(const Tip* tips, const Tip* end) {
    edges_.clear();
    edges_.n = end - tips;
    lead_ = {};
    edges_.reserve((end - tips) * kLanes);
    int at = 0;
    for (const Tip* tip = tips; tip != end; ++tip, ++at) {
      if (tip == tips || tip->pair != tip[-1].pair) {
        at = (at + kLanes - 1) & -kLanes;
        edges_.segments.push_back({tip->pair, at, at});
      }
      edges_.kappa[at] = tip->kappa, edges_.cot[at] = tip->cot, edges_.weight[at] = tip->weight;
      edges_.any[at] = 0;
      lead_.add(tip->kappa, tip->cot, tip->weight, map_.widest[tip->pair], map_.follow[tip->pair]);
      ++edges_.segments.back().last;
    }
  }

  void match_all(Side& in, bool begin) {
    for (const Side::Segment& b : out_.segments)
      for (const Side::Segment& a : in.segments) {
        const float* window = map_.window(a.pair, b.pair);
        if (window[0] > 0 && (!begin || map_.may_begin_with(a.pair, b.pair))) match(in, a, out_, b, window);
      }
  }

  void keep(std::int32_t s) {
    const Array<std::int32_t>& hit = map_.grid.hit;
    for (const auto [at, pair] : starts_.kept) found.push_back({hit[starts_.hit[at]], hit[s]});
    for (const auto [at, pair] : out_.kept) {
      found.push_back({hit[s], hit[out_.hit[at]]});
      if (map_.stage[map_.windows.pairs[2 * pair + 1]] > map_.stage[map_.grid.layer[s]])
        tips[pair].push_back({out_.hit[at], out_.kappa[at], out_.cot[at], out_.weight[at], pair});
    }
  }

  const Map& map_;
  Totals& totals_;
  Side starts_, edges_, out_;  // doublets with which a track may begin, edges that end at the hit, doublets outwards
  Lead lead_;
  CellsAhead ahead_in_, ahead_out_;
  std::vector<Block> blocks_;
  std::int64_t tests_ = 0;
};

/// An edge may have been found at both of its ends: the lists brought together, sorted, each edge once.
Array<std::int64_t> merged(const std::vector<Middle>& parts, const Hits& hits) {
  const std::int64_t n = hits.n;
  Array<std::int32_t> begin(n + 1, 0);
  for (const Middle& part : parts) part.found.for_each([&](const Edge& edge) { ++begin[edge.inner + 1]; });
  std::partial_sum(begin.begin(), begin.end(), begin.begin());
  Array<std::int32_t> outer(begin.back()), size(n);
  Array<std::int32_t> next(begin.begin(), begin.end() - 1);
  for (const Middle& part : parts)
    part.found.for_each([&](const Edge& edge) { outer[next[edge.inner]++] = edge.outer; });
  std::int64_t n_edges = 0;
#pragma omp parallel for num_threads(hits.threads) schedule(static) reduction(+ : n_edges)
  for (std::int64_t i = 0; i < n; ++i) {
    std::int32_t *const first = outer.data() + begin[i], *const last = outer.data() + begin[i + 1];
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

/// By the digits of phi, so that the sample does not depend on the order of the hits.
bool is_sampled(float phi) {
  std::uint32_t bits;
  std::memcpy(&bits, &phi, sizeof bits);
  return bits * 2654435761u >> (32 - kSampledBits) == 0;
}

/// The number of tests around the hits of each layer with which tracks may begin, from a sample of them.
std::vector<std::int64_t> estimated_tests(const Map& map) {
  std::vector<std::int64_t> tests(map.windows.n_layers, 0);
  Side in, out;
  std::vector<Block> blocks;
  CellsAhead ahead_in, ahead_out;
  for (std::int32_t s = 0; s < map.grid.size(); ++s) {
    const int layer = map.grid.layer[s];
    if (map.before[layer].empty() || !is_sampled(map.grid.phi[s])) continue;
    in.clear(), out.clear();
    map.before[layer].collect(s, ahead_in, in, blocks);
    map.next[layer].collect(s, ahead_out, out, blocks);
    tests[layer] += (in.n * out.n) << kSampledBits;
  }
  return tests;
}

/// The largest seed depth, up to that of `map`, at which the tests around seeds are not too many; at least 1.
int affordable_depth(const Map& map, int depth) {
  const std::vector<std::int64_t> tests = estimated_tests(map);
  for (; depth > 1; --depth) {
    std::int64_t sum = 0;
    for (int l = 0; l < map.windows.n_layers; ++l) sum += map.windows.crossings->before[l] <= depth ? tests[l] : 0;
    if (sum <= kManyDoubletTests) break;
  }
  return depth;
}

/// The edges of one event; none once there are too many.
Array<std::int64_t> find(const Hits& hits, const Windows& w, const Growth& growth, Totals& totals) {
  std::optional<Map> made(std::in_place, hits, w, growth);
  if (hits.n >= kMany) {
    const int depth = affordable_depth(*made, growth.seed_depth);
    if (depth < growth.seed_depth) made.emplace(hits, w, Growth{depth, growth.least_curvature});
  }
  const Map& map = *made;
  std::vector<Middle> parts;
  for (int t = 0; t < hits.threads; ++t) parts.emplace_back(map, totals);
  Incoming incoming;
#pragma omp parallel num_threads(hits.threads)
  for (int stage = 0; stage < map.n_stages(); ++stage) {
    const std::int32_t first = map.grid.stage_begin[stage], last = map.grid.stage_begin[stage + 1];
#pragma omp single
    {
      std::vector<List<Tip>*> tips;
      for (int p = 0; p < w.n_pairs; ++p)
        if (map.stage[w.pairs[2 * p + 1]] == stage)
          for (Middle& part : parts) tips.push_back(&part.tips[p]);
      incoming.gather(tips, first, last);
    }
#pragma omp for schedule(dynamic, 1)
    for (std::int32_t chunk = first; chunk < last; chunk += kChunk)
      parts[omp_get_thread_num()].add_edges(chunk, std::min(last, chunk + kChunk), incoming);
  }
  return totals.too_large() ? Array<std::int64_t>() : merged(parts, hits);
}

}  // namespace

Array<std::int64_t> module_map_edges(Hits hits, const Windows& w, const Growth& growth) {
  std::vector<Array<std::int64_t>> parts(hits.events.n);
  Totals totals;
  for_each_event(hits, [&](std::int64_t k, const Hits& of_event) { parts[k] = find(of_event, w, growth, totals); });
  require_at_most(totals.tried, kMaxTried, "pairs of hits to look at");
  require_at_most(totals.tests, kMaxDoubletTests, "pairs of doublets to look at");
  require_at_most(totals.edges, kMaxEdges, "edges");
  return joined(hits.events, parts);
}

}  // namespace beampipe
