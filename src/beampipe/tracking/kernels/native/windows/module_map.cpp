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

constexpr int kChunk = 256;               // middle hits per task
constexpr std::int64_t kMany = 20'000;    // hits: from here on, the number of tests around seeds is estimated first
constexpr std::int64_t kManyTests = 128;  // pairs of doublets around a hit: from here on codes are compared first
constexpr int kSampledBits = 7;           // one in 2^7 seed hits is searched around for that

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
  std::vector<std::int32_t> begin_;
  Array<Tip> tips_;
};

/// Numbers of two doublets, inside and outside of the middle hit, that agree.
struct Agreement {
  std::int32_t in, out;
};

/// Keeps the doublets around a hit that agree with one of the other side.
class Match {
public:
  std::vector<Agreement> agreements;  // where they are listed

  Match(Side& in, Side& out, float per_curvature) : in_(in), out_(out), per_curvature_(per_curvature) {}

  /// `coded`: both sides have codes. `listed`: lists the agreements, and keeps those outside only.
  void operator()(const Side::Segment& a, const Side::Segment& b, const float* window, bool coded, bool listed) {
    window_ = window, pair_in_ = a.pair, pair_out_ = b.pair, listed_ = listed;
    // The parts of chi2 that the doublet inside has alone; see triplet_chi2.
    for (int i = a.first; i < a.last; i += kLanes) {
      const Vec kappa = load(in_.kappa.data() + i), kappa2 = kappa * kappa;
      store(in_.s.data() + i, window[0] * load(in_.weight.data() + i) + window[1] * kappa2);
      store(in_.t.data() + i, window[2] + window[3] * kappa2);
    }
    if (coded && a.last - a.first >= kFewest)
      compare_codes(a, b);
    else
      for (int j = b.first; j < b.last; j += kLanes)
        for (int i = a.first; i < a.last; ++i) compare(i, j);
  }

private:
  static constexpr int kFewest = 4;  // doublets inside: from here on it pays to look for candidates

  /// Compares the doublets inside with those outside that lie in the rectangles around their codes.
  void compare_codes(const Side::Segment& a, const Side::Segment& b) {
    const float most = window_[0] * b.heaviest;
    for (int i = a.first; i < a.last; i += kLanes) {
      const IntVec extent = code_extent(load(in_.s.data() + i) + most, load(in_.t.data() + i), per_curvature_);
      store(in_.low.data() + i, half_differences(load(in_.code.data() + i), extent));
      store(in_.size.data() + i, extent + extent);
    }
    int j = b.first;
    for (; b.last - j > 3 * kLanes; j += 4 * kLanes) compare_candidates<4>(a, j);
    const int left = b.last - j;
    if (left > 2 * kLanes)
      compare_candidates<3>(a, j);
    else if (left > kLanes)
      compare_candidates<2>(a, j);
    else if (left > 0)
      compare_candidates<1>(a, j);
  }

  /// The same for kVecs vectors of those outside, from j on.
  template <int kVecs>
  void compare_candidates(const Side::Segment& a, int j) {
    IntVec code[kVecs];
    for (int v = 0; v < kVecs; ++v) code[v] = load(out_.code.data() + j + v * kLanes);
    Candidate* const candidates = in_.candidate.data();
    const std::int32_t *const lows = in_.low.data(), *const sizes = in_.size.data();
    std::int64_t n = 0;
    for (std::int64_t i = a.first, last = a.last; i < last; ++i) {
      const IntVec low = splat(lows[i]), size = splat(sizes[i]);
      std::uint64_t near = 0;
      for (int v = 0; v < kVecs; ++v)
        near |= static_cast<std::uint64_t>(halves_at_most(half_differences(code[v], low), size)) << (v * kLanes);
      candidates[n] = {near, i};
      n += near != 0;
    }
    for (const Candidate* c = candidates; c != candidates + n; ++c)
      for (std::uint64_t near = c->near; near != 0;) {
        const int v = __builtin_ctzll(near) / kLanes;
        compare(static_cast<int>(c->at), j + v * kLanes);
        near &= ~(((std::uint64_t{1} << kLanes) - 1) << (v * kLanes));
      }
  }

  /// Compares the doublet inside with kLanes of those outside.
  void compare(int i, int j) {
    const Vec cot = load(out_.cot.data() + j);
    const Vec dkappa = load(out_.kappa.data() + j) - in_.kappa[i], dcot = cot - in_.cot[i];
    const Vec turn = 1.0f + cot * in_.cot[i];
    const Vec s = window_[0] * load(out_.weight.data() + j) + in_.s[i], t = turn * turn * in_.t[i];
    const unsigned pass = less_mask(dcot * dcot * s, (s - dkappa * dkappa) * t);
    if (pass != 0) keep(i, j, pass);
  }

  void keep(int i, int j, unsigned pass) {
    for (unsigned fresh = pass & ~out_.any[j / kLanes]; fresh != 0; fresh &= fresh - 1)
      out_.kept.push_back({j + __builtin_ctz(fresh), pair_out_});
    out_.any[j / kLanes] |= pass;
    if (listed_)
      for (; pass != 0; pass &= pass - 1) agreements.push_back({i, j + __builtin_ctz(pass)});
    else if (std::exchange(in_.any[i], 1) == 0)
      in_.kept.push_back({i, pair_in_});
  }

  Side &in_, &out_;
  float per_curvature_;
  const float* window_ = nullptr;
  int pair_in_ = 0, pair_out_ = 0;
  bool listed_ = false;
};

float largest_curvature(const Windows& w) {
  float most = 0;
  for (int p = 0; p < w.n_pairs; ++p) most = std::max(most, w.pair_windows[3 * p]);
  return most;
}

/// The tables that a search of one event reads.
struct Map {
  const Windows& windows;
  bool continued;  // as in Growth
  std::vector<int> stage;
  Grid grid;
  float per_curvature;                  // scale of a curvature in a code
  std::vector<Partners<false>> before;  // of each layer
  std::vector<Partners<true>> after;

  Map(const float* position, std::int64_t n, const Windows& w, const Growth& growth, int threads)
      : windows(w),
        continued(growth.continued),
        stage(stages_of(w, growth.seed_depth)),
        grid(make_grid(position, assign_layers(position, n, w, threads), n, w, stage)),
        per_curvature(kCodes / largest_curvature(w)) {
    add_directions(grid);
    std::vector<std::vector<int>> ends(w.n_layers), starts(w.n_layers);
    for (int p = 0; p < w.n_pairs; ++p) {
      const int inner = w.pairs[2 * p], outer = w.pairs[2 * p + 1];
      if (stage[outer] != kSeeded || may_begin(w, inner, outer, growth.seed_depth)) ends[outer].push_back(p);
      starts[inner].push_back(p);
    }
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
  std::vector<List<Tip>> tips;  // that end on layers of later stages, by their pair
  Seeds seeds;

  /// `parts`: the work of all threads, this one the `thread`-th.
  Middle(const Map& map, Totals& totals, std::vector<Middle>& parts, int thread)
      : tips(map.windows.n_pairs),
        map_(map),
        totals_(totals),
        parts_(parts),
        thread_(static_cast<std::int16_t>(thread)),
        match_(in_, out_, map.per_curvature) {}

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
  void take(const Tip* tips, const Tip* end) {
    in_.segments.clear();
    in_.n = end - tips;
    in_.reserve((end - tips) * kLanes);
    int at = 0;
    for (const Tip* tip = tips; tip != end; ++tip, ++at) {
      if (tip == tips || tip->pair != tip[-1].pair) {
        at = (at + kLanes - 1) & -kLanes;
        in_.segments.push_back({tip->pair, at, at});
      }
      in_.kappa[at] = tip->kappa, in_.cot[at] = tip->cot, in_.weight[at] = tip->weight;
      in_.hit[at] = static_cast<std::int32_t>(tip - tips);
      in_.any[at] = 0;
      ++in_.segments.back().last;
    }
  }

  void match_all(bool seeded) {
    const Windows& w = map_.windows;
    in_.kept.clear(), out_.kept.clear(), match_.agreements.clear();
    const bool coded = seeded && in_.n * out_.n >= kManyTests;
    if (coded) in_.encode(map_.per_curvature), out_.encode(map_.per_curvature);
    for (const Side::Segment& b : out_.segments) {
      const int slot = b.pair - w.out_begin[w.pairs[2 * b.pair]];
      const bool listed = waits(b.pair, seeded);
      for (const Side::Segment& a : in_.segments) {
        const float* window = w.triplet_windows + 4 * (a.pair * kMaxOut + slot);
        if (window[0] > 0) match_(a, b, window, coded, listed);
      }
    }
  }

  int stage_beyond(int pair) const { return map_.stage[map_.windows.pairs[2 * pair + 1]]; }

  /// Whether edges of that pair are kept only if a triplet continues them.
  bool waits(int pair, bool seeded) const { return seeded && map_.continued && stage_beyond(pair) != kSeeded; }

  /// Marks the edges out of the seed layers that a triplet around this hit continues.
  void mark_continued(const Tip* tips) {
    for (const Side::Kept& kept : in_.kept) {
      const Tip& tip = tips[in_.hit[kept.at]];
      if (tip.seed >= 0) parts_[tip.thread].seeds.continues[tip.seed] = 1;
    }
  }

  void keep_in(std::int32_t s) {
    const std::vector<std::int32_t>& hit = map_.grid.hit;
    for (const Side::Kept& kept : in_.kept) found.push_back({hit[in_.hit[kept.at]], hit[s]});
  }

  void keep_out(std::int32_t s, bool seeded) {
    const std::vector<std::int32_t>& hit = map_.grid.hit;
    if (!match_.agreements.empty()) number_.resize(std::max(number_.size(), out_.hit.size()));
    for (const auto [at, pair] : out_.kept) {
      const Edge edge{hit[s], hit[out_.hit[at]]};
      std::int32_t number = -1;
      if (waits(pair, seeded))
        number = number_[at] = seeds.add(edge);
      else
        found.push_back(edge);
      if (stage_beyond(pair) != kSeeded)
        tips[pair].push_back({out_.hit[at], out_.kappa[at], out_.cot[at], out_.weight[at],
                              static_cast<std::int16_t>(pair), thread_, number});
    }
    for (const Agreement& x : match_.agreements) seeds.links.push_back({hit[in_.hit[x.in]], number_[x.out]});
  }

  const Map& map_;
  Totals& totals_;
  std::vector<Middle>& parts_;
  std::int16_t thread_;
  Side in_, out_;
  Match match_;                       // lists the agreements that lead out of the seed layers
  std::vector<std::int32_t> number_;  // among the seeds, of the outer doublets of these
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
  parts.reserve(threads);  // they must not move: they hold references
  for (int t = 0; t < threads; ++t) parts.emplace_back(map, totals, parts, t);
  Incoming incoming;
#pragma omp parallel num_threads(threads)
  for (int stage = 0; stage < map.n_stages(); ++stage) {
    const std::int32_t first = map.grid.stage_begin[stage], last = map.grid.stage_begin[stage + 1];
#pragma omp single
    {
      std::vector<List<Tip>*> tips;
      for (int p = 0; p < w.n_pairs; ++p)
        if (stage != kSeeded && map.stage[w.pairs[2 * p + 1]] == stage)
          for (Middle& part : parts) tips.push_back(&part.tips[p]);
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
