// Doublets inside learned windows that take part in at least one triplet inside learned windows, as tracks grow
// outwards from the seed layers.
//
// The loop runs over middle hits, one stage of layers after the other: the hits that may lie before and after a middle
// hit are collected from a (row, phi) grid of their layers, tested against each other while in L1, and only survivors
// are written. Memory does not grow with the number of doublets, some fifty times the number of edges that are kept.
//
// Around seed hits most triplets are chance. If tracks must have more hits than one outside of the seed layers
// (`Growth::continued`), one that leads out of these layers is kept only if the next layers continue it: it waits in a
// list (`Seeds`) until they were searched.
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

/// Sums over all blocks.
struct Totals {
  std::atomic<std::int64_t> tried{0}, tests{0}, edges{0}, seeds{0};

  bool too_large() const {
    return tried.load(std::memory_order_relaxed) > kMaxTried ||
           tests.load(std::memory_order_relaxed) > kMaxDoubletTests ||
           edges.load(std::memory_order_relaxed) > kMaxEdges || seeds.load(std::memory_order_relaxed) > kMaxSeeds;
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
  std::int16_t pair, thread;
  std::int32_t seed;  // its number among the edges out of the seed layers of a thread, -1 for another edge
};

/// The triplets of one thread that lead from seed layers to others.
struct Seeds {
  struct Link {
    std::int32_t inner, out;  // input row of the first hit, number of the outer edge
  };
  List<Edge> out;  // the outer edges
  List<Link> links;
  List<char> continues;  // whether a triplet continues the outer edge

  std::int32_t add(Edge edge) {
    out.push_back(edge);
    continues.push_back(0);
    return static_cast<std::int32_t>(out.size()) - 1;
  }
  /// Adds the edges of those triplets that are continued, and forgets them all.
  void settle(List<Edge>& edges) {
    for (std::size_t k = 0; k < out.size(); ++k)
      if (continues[k]) edges.push_back(out[k]);
    links.for_each([&](const Link& link) {
      if (continues[link.out]) edges.push_back({link.inner, out[link.out].inner});
    });
    *this = {};
  }
};

/// The tips that end on the layers of one stage, by their outer hit. Their order there is of no effect.
class Incoming {
public:
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
  std::vector<std::int32_t> begin_;
  Array<Tip> tips_;
};

/// Numbers of two doublets, inside and outside of the middle hit, that agree.
struct Agreement {
  std::int32_t in, out;
};

/// Marks the doublets of both segments that agree with one of the other; or lists the agreements and marks outer ones.
template <bool kListed>
void match(Side& in, const Side::Segment& a, Side& out, const Side::Segment& b, const float* window,
           std::vector<Agreement>& agreements) {
  const float *const kappa_in = in.kappa.data(), *const cot_in = in.cot.data();
  float *const s_in = in.s.data(), *const t_in = in.t.data();
  // The parts of chi2 that the doublet inside has alone; see triplet_chi2.
  for (int i = a.first; i < a.last; i += kLanes) {
    const Vec kappa = load(kappa_in + i), kappa2 = kappa * kappa;
    store(s_in + i, window[0] * load(in.weight.data() + i) + window[1] * kappa2);
    store(t_in + i, window[2] + window[3] * kappa2);
  }
  std::int32_t* const mark = (kListed ? in.passes : in.any).data();
  for (int j = b.first; j < b.last; j += kLanes) {
    const Vec kappa = load(out.kappa.data() + j), cot = load(out.cot.data() + j);
    const Vec weight = window[0] * load(out.weight.data() + j);
    unsigned any = 0;
    for (int i = a.first; i < a.last; ++i) {
      const Vec dkappa = kappa - kappa_in[i], dcot = cot - cot_in[i], turn = 1.0f + cot * cot_in[i];
      const Vec s = weight + s_in[i], t = turn * turn * t_in[i];
      const unsigned pass = less_mask(dcot * dcot * s, (s - dkappa * dkappa) * t);
      any |= pass;
      mark[i] = kListed ? pass : mark[i] | pass;
    }
    out.any[j / kLanes] |= any;
    if (!kListed || any == 0) continue;
    for (int first = a.first; first < a.last; first += kLanes) {
      unsigned rows = nonzero_mask(load(mark + first));
      if (a.last - first < kLanes) rows &= (1u << (a.last - first)) - 1;
      for (; rows != 0; rows &= rows - 1) {
        const int i = first + __builtin_ctz(rows);
        for (unsigned pass = mark[i]; pass != 0; pass &= pass - 1) agreements.push_back({i, j + __builtin_ctz(pass)});
      }
    }
  }
}

/// The tables that a search of one event reads.
struct Map {
  const Windows& windows;
  bool continued;  // as in Growth
  std::vector<int> stage;
  Grid grid;
  std::vector<Partners<false>> before;  // of each layer
  std::vector<Partners<true>> after;

  Map(const float* position, std::int64_t n, const Windows& w, const Growth& growth, int threads)
      : windows(w),
        continued(growth.continued),
        stage(stages_of(w, growth.seed_depth)),
        grid(make_grid(position, assign_layers(position, n, w, threads), n, w, stage)) {
    add_directions(grid);
    std::vector<std::vector<int>> ends(w.n_layers), starts(w.n_layers);
    for (int p = 0; p < w.n_pairs; ++p) ends[w.pairs[2 * p + 1]].push_back(p), starts[w.pairs[2 * p]].push_back(p);
    for (int l = 0; l < w.n_layers; ++l) {
      before.emplace_back(grid, w, growth.least_curvature, ends[l]);
      after.emplace_back(grid, w, growth.least_curvature, starts[l]);
    }
  }

  int n_stages() const { return static_cast<int>(grid.stage_begin.size()) - 1; }
  bool has_partners(int layer) const { return !before[layer].empty() && !after[layer].empty(); }
  Origin origin(std::int32_t s) const { return {grid.r[s], grid.phi[s], grid.z[s], grid.cosine[s], grid.sine[s]}; }
};

/// One thread's work: the edges around one middle hit after the other, in memory that is reused.
class Middle {
public:
  List<Edge> found;
  std::vector<List<Tip>> tips;  // of later stages, by the stage of the outer layer
  Seeds seeds;

  /// `parts`: the work of all threads, this one the `thread`-th.
  Middle(const Map& map, Totals& totals, std::vector<Middle>& parts, int thread)
      : tips(map.n_stages()), map_(map), totals_(totals), parts_(parts), thread_(static_cast<std::int16_t>(thread)) {}

  /// Adds the edges around the hits in rows [first, last) of the grid, all of one stage.
  void add_edges(int stage, std::int32_t first, std::int32_t last, const Incoming& incoming) {
    const bool seeded = stage == kSeeded;
    const std::size_t n_before = found.size(), n_links = seeds.links.size();
    for (std::int32_t s = first; s < last && !totals_.too_large(); ++s) {
      const int layer = map_.grid.layer[s];
      if (!map_.has_partners(layer)) continue;
      const Origin q = map_.origin(s);
      if (seeded)
        map_.before[layer].collect(q, in_, blocks_);
      else
        take(incoming.begin(s), incoming.end(s));
      if (in_.n == 0) continue;
      map_.after[layer].collect(q, out_, blocks_);
      tests_ += in_.n * out_.n;
      if (tests_ > kMaxDoubletTests) break;
      match_all(seeded);
      if (seeded)
        keep_in(s);
      else
        mark_continued(incoming.begin(s));
      keep_out(s, seeded);
    }
    totals_.tried += std::exchange(in_.tried, 0) + std::exchange(out_.tried, 0);
    totals_.tests += std::exchange(tests_, 0);
    totals_.seeds += static_cast<std::int64_t>(seeds.links.size() - n_links);
    // Around seeds, most edges are found at both ends.
    totals_.edges += static_cast<std::int64_t>((found.size() - n_before) / (seeded ? 2 : 1));
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
      in_.any[at] = 0;
      in_.segments.push_back({tip->pair, at, at + 1});
    }
  }

  void match_all(bool seeded) {
    const Windows& w = map_.windows;
    agreements_.clear();
    for (const Side::Segment& b : out_.segments) {
      const int slot = b.pair - w.out_begin[w.pairs[2 * b.pair]];
      const bool waits = seeded && map_.continued && map_.stage[w.pairs[2 * b.pair + 1]] != kSeeded;
      for (const Side::Segment& a : in_.segments) {
        const float* window = w.triplet_windows + 4 * (a.pair * kMaxOut + slot);
        if (!(window[0] > 0)) continue;
        if (waits)
          match<true>(in_, a, out_, b, window, agreements_);
        else
          match<false>(in_, a, out_, b, window, agreements_);
      }
    }
  }

  /// Marks the edges out of the seed layers that a triplet around this hit continues.
  void mark_continued(const Tip* tip) {
    for (const Side::Segment& a : in_.segments) {
      if (in_.any[a.first] != 0 && tip->seed >= 0) parts_[tip->thread].seeds.continues[tip->seed] = 1;
      ++tip;
    }
  }

  void keep_in(std::int32_t s) {
    const std::vector<std::int32_t>& hit = map_.grid.hit;
    for (const Side::Segment& a : in_.segments)
      for (int first = a.first; first < a.last; first += kLanes)
        for (unsigned any = nonzero_mask(load(in_.any.data() + first)); any != 0; any &= any - 1)
          found.push_back({hit[in_.hit[first + __builtin_ctz(any)]], hit[s]});
  }

  void keep_out(std::int32_t s, bool seeded) {
    const std::vector<std::int32_t>& hit = map_.grid.hit;
    if (!agreements_.empty()) number_.resize(std::max(number_.size(), out_.hit.size()));
    for (const Side::Segment& b : out_.segments) {
      const int stage = map_.stage[map_.windows.pairs[2 * b.pair + 1]];
      for (int first = b.first; first < b.last; first += kLanes)
        for (unsigned any = out_.any[first / kLanes]; any != 0; any &= any - 1) {
          const int d = first + __builtin_ctz(any);
          const Edge edge{hit[s], hit[out_.hit[d]]};
          const bool waits = seeded && map_.continued && stage != kSeeded;
          const std::int32_t number = waits ? number_[d] = seeds.add(edge) : -1;
          if (!waits) found.push_back(edge);
          if (stage != kSeeded)
            tips[stage].push_back({out_.hit[d], out_.kappa[d], out_.cot[d], out_.weight[d],
                                   static_cast<std::int16_t>(b.pair), thread_, number});
        }
    }
    for (const Agreement& x : agreements_) seeds.links.push_back({hit[in_.hit[x.in]], number_[x.out]});
  }

  const Map& map_;
  Totals& totals_;
  std::vector<Middle>& parts_;
  std::int16_t thread_;
  Side in_, out_;
  std::vector<Agreement> agreements_;  // that lead out of the seed layers
  std::vector<std::int32_t> number_;   // among the seeds, of the outer doublets of these
  std::vector<Block> blocks_;
  std::int64_t tests_ = 0;
};

/// An edge may have been kept at both of its ends: the lists brought together, sorted, each edge once.
Array<std::int64_t> merged(const std::vector<Middle>& parts, std::int64_t n, int threads) {
  std::vector<std::int32_t> begin(n + 1, 0);
  for (const Middle& part : parts) part.found.for_each([&](const Edge& edge) { ++begin[edge.inner + 1]; });
  std::partial_sum(begin.begin(), begin.end(), begin.begin());
  Array<std::int32_t> outer(begin.back()), size(n);
  std::vector<std::int32_t> next(begin.begin(), begin.end() - 1);
  for (const Middle& part : parts)
    part.found.for_each([&](const Edge& edge) { outer[next[edge.inner]++] = edge.outer; });
  std::int64_t n_edges = 0;
#pragma omp parallel for num_threads(threads) schedule(static) reduction(+ : n_edges)
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

/// The number of tests around the seed hits of each layer, from a sample of them.
std::vector<std::int64_t> estimated_tests(const Map& map) {
  std::vector<std::int64_t> tests(map.windows.n_layers, 0);
  Side in, out;
  std::vector<Block> blocks;
  for (std::int32_t s = map.grid.stage_begin[kSeeded]; s < map.grid.stage_begin[kSeeded + 1]; ++s) {
    if (!is_sampled(map.grid.phi[s])) continue;
    const int layer = map.grid.layer[s];
    if (!map.has_partners(layer)) continue;
    map.before[layer].collect(map.origin(s), in, blocks);
    map.after[layer].collect(map.origin(s), out, blocks);
    tests[layer] += (in.n * out.n) << kSampledBits;
  }
  return tests;
}

/// The largest seed depth, up to that of `map`, at which the tests around seeds are not too many; at least 1.
int affordable_depth(const Map& map, int depth) {
  const std::vector<std::int64_t> tests = estimated_tests(map);
  for (; depth > 1; --depth) {
    const std::vector<int> stage = stages_of(map.windows, depth);
    std::int64_t sum = 0;
    for (int l = 0; l < map.windows.n_layers; ++l) sum += stage[l] == kSeeded ? tests[l] : 0;
    if (sum <= kManyDoubletTests) break;
  }
  return depth;
}

/// The edges of one block of n hits; none once there are too many.
Array<std::int64_t> find(const float* position, std::int64_t n, const Windows& w, const Growth& growth, int threads,
                         Totals& totals) {
  std::optional<Map> made(std::in_place, position, n, w, growth, threads);
  if (n >= kMany) {
    const int depth = affordable_depth(*made, growth.seed_depth);
    if (depth < growth.seed_depth)
      made.emplace(position, n, w, Growth{depth, growth.least_curvature, growth.continued}, threads);
  }
  const Map& map = *made;
  std::vector<Middle> parts;
  for (int t = 0; t < threads; ++t) parts.emplace_back(map, totals, parts, t);
  Incoming incoming;
#pragma omp parallel num_threads(threads)
  for (int stage = 0; stage < map.n_stages(); ++stage) {
    const std::int32_t first = map.grid.stage_begin[stage], last = map.grid.stage_begin[stage + 1];
#pragma omp single
    {
      std::vector<List<Tip>*> tips;
      for (Middle& part : parts) tips.push_back(&part.tips[stage]);
      incoming.gather(tips, first, last);
    }
#pragma omp for schedule(dynamic, 1)
    for (std::int32_t chunk = first; chunk < last; chunk += kChunk)
      parts[omp_get_thread_num()].add_edges(stage, chunk, std::min(last, chunk + kChunk), incoming);
  }
#pragma omp parallel for num_threads(threads) schedule(static, 1)
  for (int t = 0; t < threads; ++t) parts[t].seeds.settle(parts[t].found);
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
  require_at_most(totals.seeds, kMaxSeeds, "triplets of seeds");
  require_at_most(totals.edges, kMaxEdges, "edges");
  if (blocks.n == 1) return std::move(parts[0]);
  return joined(blocks, [&](std::int64_t block) -> const Array<std::int64_t>& { return parts[block]; });
}

}  // namespace beampipe
