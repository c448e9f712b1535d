// Pairs of edges that share a hit and agree in curvature and slope, and the features of each edge from them.
#include "geometry.hpp"
#include "kernels.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

namespace beampipe {
namespace {

constexpr int kChunk = 1024;  // middle hits per task

/// Sorts hits by r^2 + z^2, equal ones by row: the order in which a particle from the beam line meets them.
void sort_outwards(const float* position, Array<std::int32_t>& hits) {
  Array<Keyed> order;
  for (const std::int32_t i : hits) {
    const float* p = position + 3 * i;
    const float rho2 = p[0] * p[0] + p[2] * p[2];
    order.push_back({0, i});
    std::memcpy(&order.back().key, &rho2, 4);  // non-negative floats sort as their bits do
  }
  sort_by_key(order, 32);
  for (std::size_t k = 0; k < hits.size(); ++k) hits[k] = order[k].row;
}

// Curvature, cot and 1 / d^2 of each edge, and the position of its layer pair in the windows. Arrays end in unused elements.
struct Doublets {
  Array<float> kappa, cot, weight;
  Array<std::int32_t> pair;  // layer pair, -1 where the windows have none
  Array<std::int32_t> slot;  // its number among the pairs that start on its inner layer

  explicit Doublets(std::int64_t n)
      : kappa(n + kLanes), cot(n + kLanes), weight(n + kLanes), pair(n + kLanes), slot(n + kLanes) {}
};

Doublets measure(const Hits& hits, const EdgeList& edges, const Windows& w) {
  const float* position = hits.position;
  const std::int64_t n_edges = edges.n, *inner = edges.inner, *outer = edges.outer;
  const Array<std::int16_t> layer = assign_layers(hits, w);
  const std::vector<std::int32_t> pair_of = pairs_by_layers(w);
  Doublets d(n_edges);
#pragma omp parallel for num_threads(hits.threads) schedule(static)
  for (std::int64_t first = 0; first < n_edges; first += kLanes) {
    const int lanes = static_cast<int>(std::min<std::int64_t>(kLanes, n_edges - first));
    float a[3][kLanes] = {}, b[3][kLanes] = {};
    std::int32_t pair_number[kLanes], slot[kLanes] = {};
    for (int i = 0; i < kLanes; ++i) pair_number[i] = -1;
    for (int i = 0; i < lanes; ++i) {
      const std::int64_t e = first + i;
      for (int x = 0; x < 3; ++x) a[x][i] = position[3 * inner[e] + x], b[x][i] = position[3 * outer[e] + x];
      const int from = layer[inner[e]], to = layer[outer[e]];
      const int pair = from < 0 || to < 0 ? -1 : pair_of[from * w.n_layers + to];
      pair_number[i] = pair;
      if (pair >= 0) slot[i] = pair - w.out_begin[from];
    }
    const Vec r = load(a[0]), other = load(b[0]);
    const Vec dr = other - r, dphi = wrap(load(b[1]) - load(a[1]));
    const Arc arc = arc_on(chord_of(r, other, dr, dphi), r, other, dr);
    const auto exists = load(pair_number) >= 0;
    const Vec never = splat(kNever);
    store(d.kappa.data() + first, exists ? arc.kappa : never);
    store(d.cot.data() + first, exists ? arc.cot(load(b[2]) - load(a[2])) : never);
    store(d.weight.data() + first, exists ? arc.inverse_d2 : never);
    store(d.pair.data() + first, load(pair_number));
    store(d.slot.data() + first, load(slot));
  }
  return d;
}

/// Whether no hit can lie in the boxes of two layers.
bool layers_apart(const Windows& w) {
  for (int a = 0; a < w.n_layers; ++a)
    for (int b = 0; b < a; ++b) {
      const float *p = w.layers + 4 * a, *q = w.layers + 4 * b;
      if (!(p[1] < q[0] || q[1] < p[0] || p[3] < q[2] || q[3] < p[2])) return false;
    }
  return w.n_layers > 0;
}

constexpr int kTogether = 16;  // hits whose layers are tested together

/// Whether all of them lie in the box.
bool all_inside(const float* box, const float* r, const float* z) {
  for (int i = 0; i < kTogether; i += kLanes) {
    const IntVec in_r = (load(r + i) >= box[0]) & (load(r + i) <= box[1]);
    const IntVec in_z = (load(z + i) >= box[2]) & (load(z + i) <= box[3]);
    if (nonzero_mask((in_r & in_z) == 0) != 0) return false;
  }
  return true;
}

struct Triplet {
  std::int32_t in_edge, out_edge;
  float chi2;
};

// The windows of the edges around one hit, in memory that is reused: one vector of a, b, c, d for each pair of
// layers that leads to the hit and each vector of edges out of it.
class LocalWindows {
public:
  explicit LocalWindows(const Windows& w) : windows_(w), place_(w.n_pairs, -1) {}

  void begin(const std::int32_t* slot, int n_out) {
    for (const std::int32_t pair : pairs_) place_[pair] = -1;
    pairs_.clear();
    slot_ = slot, n_out_ = n_out, n_vectors_ = (n_out + kLanes - 1) / kLanes;
  }

  /// Those of the pair: 4 n_vectors vectors.
  const float* of(std::int32_t pair) {
    const std::size_t size = static_cast<std::size_t>(n_vectors_) * 4 * kLanes;
    if (place_[pair] < 0) {
      place_[pair] = static_cast<std::int32_t>(pairs_.size());
      pairs_.push_back(pair);
      if (table_.size() < pairs_.size() * size) table_.resize(2 * pairs_.size() * size);
      float* to = table_.data() + place_[pair] * size;
      const float* row = windows_.triplet_windows + 4 * kMaxOut * pair;
      for (int o = 0; o < n_out_; ++o)
        for (int x = 0; x < 4; ++x) to[(o / kLanes * 4 + x) * kLanes + o % kLanes] = row[4 * slot_[o] + x];
    }
    return table_.data() + place_[pair] * size;
  }

private:
  const Windows& windows_;
  std::vector<std::int32_t> place_;  // of each pair in the table, -1 for none
  std::vector<std::int32_t> pairs_;  // in the table
  std::vector<float> table_;
  const std::int32_t* slot_ = nullptr;
  int n_out_ = 0, n_vectors_ = 0;
};

// An edge, beside others that end on the same hit.
struct Incoming {
  std::int32_t edge, pair;
  float kappa, cot, weight;
};

// The triplets around one hit: [into, end) its incoming edges, [first_out, last_out) its outgoing ones.
void match(const Doublets& d, LocalWindows& windows, const Incoming* into, const Incoming* end, std::int32_t first_out,
           std::int32_t last_out, std::vector<Triplet>& found) {
  windows.begin(d.slot.data() + first_out, last_out - first_out);
  for (; into != end && found.size() <= kMaxTriplets; ++into) {
    const float* row = windows.of(into->pair);
    for (std::int32_t f = first_out; f < last_out; f += kLanes, row += 4 * kLanes) {
      const TripletWindow<Vec> window{load(row), load(row + kLanes), load(row + 2 * kLanes), load(row + 3 * kLanes)};
      const Chi2 x = triplet_chi2(window, into->kappa, into->cot, into->weight, load(d.kappa.data() + f),
                                  load(d.cot.data() + f), load(d.weight.data() + f));
      unsigned pass = less_mask(x.top, x.bottom) & ((1u << std::min(last_out - f, kLanes)) - 1);
      if (pass == 0) continue;
      float chi2[kLanes];
      store(chi2, x.top / x.bottom);
      for (; pass != 0; pass &= pass - 1) {
        const int lane = __builtin_ctz(pass);
        found.push_back({into->edge, f + lane, chi2[lane]});
      }
    }
  }
}

}  // namespace

Triplets triplets(Hits hits, EdgeList edges, const Windows& w) {
  const std::int64_t n = hits.n, n_edges = edges.n, *inner = edges.inner, *outer = edges.outer;
  const Doublets d = measure(hits, edges, w);
  Array<std::int32_t> out_begin(n + 1, 0), in_begin(n + 1, 0);
  for (std::int64_t e = 0; e < n_edges; ++e) {
    ++out_begin[inner[e] + 1];
    in_begin[outer[e] + 1] += d.pair[e] >= 0;
  }
  std::partial_sum(out_begin.begin(), out_begin.end(), out_begin.begin());
  std::partial_sum(in_begin.begin(), in_begin.end(), in_begin.begin());
  Array<Incoming> into(in_begin.back());
  Array<std::int32_t> next(in_begin.begin(), in_begin.end() - 1);
  for (std::int64_t e = 0; e < n_edges; ++e)
    if (d.pair[e] >= 0)
      into[next[outer[e]]++] = {static_cast<std::int32_t>(e), d.pair[e], d.kappa[e], d.cot[e], d.weight[e]};

  Array<std::int32_t> middle;
  for (std::int32_t b = 0; b < n; ++b)
    if (in_begin[b] < in_begin[b + 1] && out_begin[b] < out_begin[b + 1]) middle.push_back(b);
  sort_outwards(hits.position, middle);
  std::int64_t tests = 0;
  for (const std::int32_t b : middle)
    tests += static_cast<std::int64_t>(in_begin[b + 1] - in_begin[b]) * (out_begin[b + 1] - out_begin[b]);
  require_at_most(tests, kMaxTripletTests, "pairs of edges to look at");
  const int n_chunks = (static_cast<int>(middle.size()) + kChunk - 1) / kChunk;
  std::vector<std::vector<Triplet>> found(n_chunks);
  std::atomic<std::int64_t> so_far{0};
  // Hits that follow one another from the beam outwards lie far apart in memory.
  constexpr std::size_t kAhead = 3;
  const auto fetch = [&](std::int32_t b) {
    for (const auto* column : {&d.kappa, &d.cot, &d.weight}) __builtin_prefetch(column->data() + out_begin[b]);
    __builtin_prefetch(d.slot.data() + out_begin[b]);
    for (std::int32_t i = in_begin[b]; i < in_begin[b + 1]; i += 3) __builtin_prefetch(into.data() + i);
  };
#pragma omp parallel num_threads(hits.threads)
  {
    LocalWindows windows(w);
#pragma omp for schedule(dynamic, 1)
    for (int chunk = 0; chunk < n_chunks; ++chunk) {
      std::vector<Triplet>& mine = found[chunk];
      const std::size_t last = std::min(middle.size(), static_cast<std::size_t>(chunk + 1) * kChunk);
      for (std::size_t m = static_cast<std::size_t>(chunk) * kChunk;
           m < last && so_far.load(std::memory_order_relaxed) <= kMaxTriplets; ++m) {
        const std::size_t before = mine.size();
        const std::int32_t b = middle[m];
        if (m + kAhead < last) fetch(middle[m + kAhead]);
        match(d, windows, into.data() + in_begin[b], into.data() + in_begin[b + 1], out_begin[b], out_begin[b + 1],
              mine);
        so_far += static_cast<std::int64_t>(mine.size() - before);
      }
    }
  }
  require_at_most(so_far, kMaxTriplets, "triplets");
  std::int64_t size = 0;
  for (const auto& part : found) size += static_cast<std::int64_t>(part.size());
  Triplets all{Array<std::int64_t>(2 * size), Array<float>(size)};
  std::int64_t t = 0;
  for (const auto& part : found)
    for (const Triplet& triplet : part) {
      all.edges[t] = triplet.in_edge;
      all.edges[size + t] = triplet.out_edge;
      all.chi2[t++] = triplet.chi2;
    }
  return all;
}

Array<float> pair_features(TripletList triplets, std::int64_t n_edges) {
  const std::int64_t n_triplets = triplets.n, *in_edge = triplets.in_edge, *out_edge = triplets.out_edge;
  const float* chi2 = triplets.chi2;
  constexpr float kNone = 2.0f;  // chi2 of an edge with no partner: beyond any that passes
  Array<std::int16_t> n_in(n_edges, 0), n_out(n_edges, 0), level_in(n_edges, 0), level_out(n_edges, 0);
  Array<float> best_in(n_edges, kNone), best_out(n_edges, kNone);
  for (std::int64_t t = 0; t < n_triplets; ++t) {  // outwards: the level of in_edge is final when it is read
    const std::int64_t i = in_edge[t], o = out_edge[t];
    best_in[o] = std::min(best_in[o], chi2[t]);
    best_out[i] = std::min(best_out[i], chi2[t]);
    n_in[o] += n_in[o] < 30000;
    n_out[i] += n_out[i] < 30000;
    level_in[o] = std::max<std::int16_t>(level_in[o], level_in[i] + 1);
  }
  for (std::int64_t t = n_triplets - 1; t >= 0; --t)
    level_out[in_edge[t]] = std::max<std::int16_t>(level_out[in_edge[t]], level_out[out_edge[t]] + 1);
  Array<float> features(6 * n_edges);
  for (std::int64_t e = 0; e < n_edges; ++e) {
    float* row = features.data() + 6 * e;
    row[0] = best_in[e];
    row[1] = best_out[e];
    row[2] = 0.5f * std::log1p(static_cast<float>(n_in[e]));
    row[3] = 0.5f * std::log1p(static_cast<float>(n_out[e]));
    row[4] = 0.125f * level_in[e];
    row[5] = 0.125f * level_out[e];
  }
  return features;
}

Array<std::int16_t> assign_layers(Hits hits, const Windows& w) {
  constexpr std::int64_t kWorth = 4096;  // hits: from here on it pays to look whether layers overlap
  const float* position = hits.position;
  const std::int64_t n = hits.n;
  Array<std::int16_t> layer(n);
  const bool apart = n >= kWorth && layers_apart(w);
#pragma omp parallel num_threads(hits.threads)
  {
    int last = 0;  // layer of the hit before: most events list the hits of each module together
#pragma omp for schedule(static)
    for (std::int64_t block = 0; block < n; block += kTogether) {
      float r[kTogether], z[kTogether];
      std::int32_t found[kTogether];
      const int lanes = static_cast<int>(std::min<std::int64_t>(kTogether, n - block));
      for (int i = 0; i < kTogether; ++i) {
        r[i] = i < lanes ? position[3 * (block + i)] : -1.0f;
        z[i] = i < lanes ? position[3 * (block + i) + 2] : 0.0f;
        found[i] = -1;
      }
      if (apart && all_inside(w.layers + 4 * last, r, z)) {
        std::fill_n(layer.data() + block, lanes, static_cast<std::int16_t>(last));
        continue;
      }
      for (int l = 0; l < w.n_layers; ++l) {
        const float* box = w.layers + 4 * l;
        const float r_min = box[0], r_max = box[1], z_min = box[2], z_max = box[3];
#pragma omp simd
        for (int i = 0; i < kTogether; ++i)
          found[i] = (r[i] >= r_min) & (r[i] <= r_max) & (z[i] >= z_min) & (z[i] <= z_max) ? l : found[i];
      }
      for (int i = 0; i < lanes; ++i) layer[block + i] = static_cast<std::int16_t>(found[i]);
      last = std::max(found[lanes - 1], 0);
    }
  }
  return layer;
}

}  // namespace beampipe
