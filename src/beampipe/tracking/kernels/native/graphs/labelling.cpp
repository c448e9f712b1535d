// From the graph of edges to labels of hits. Connected components by union-find: the smaller root wins, paths are halved.
// Best paths: longest, smoothest, each hit on one path at most; then the overlap hits.
#include <algorithm>
#include <cmath>
#include <vector>

#include "graphs/blocks.hpp"
#include "kernels.hpp"

namespace beampipe {
namespace {

inline std::int32_t root_of(std::int32_t* parent, std::int32_t i) {
  while (parent[i] != i) {
    parent[i] = parent[parent[i]];
    i = parent[i];
  }
  return i;
}

constexpr std::int64_t kAhead = 16;  // triplets: what they read lies far apart in memory

// A second hit of a layer, where modules overlap: it fits between the neighbours of `spot`, a hit of a path.
struct Twin {
  float chi2;
  std::int64_t hit, spot;
};

// Give each hit of a path the free hit of its layer that fits best in its place, if there is one.
void add_twins(const EdgeList& edges, const TripletList& triplets, const std::int16_t* layer,
               const Array<std::int32_t>& before, const Array<std::int32_t>& after, Array<std::int64_t>& label) {
  const std::int64_t *inner = edges.inner, *outer = edges.outer;
  const std::int64_t n_triplets = triplets.n, *in_edge = triplets.in_edge, *out_edge = triplets.out_edge;
  Array<Twin> twins;
  const auto propose = [&](std::int64_t t, std::int64_t hit, std::int64_t spot) {
    if (label[hit] < 0 && layer[hit] == layer[spot]) twins.push_back({triplets.chi2[t], hit, spot});
  };
  // The hit before the one before, -1 for none; and likewise after.
  const auto second = [](const Array<std::int32_t>& next, std::int64_t hit) {
    return next[hit] < 0 ? -1 : next[next[hit]];
  };
  for (std::int64_t t = 0; t < n_triplets; ++t) {  // a, b, c; the hit a, far away in memory, is looked up last
    if (t + kAhead < n_triplets) {
      __builtin_prefetch(inner + out_edge[t + kAhead]);
      __builtin_prefetch(outer + out_edge[t + kAhead]);
    }
    const std::int64_t b = inner[out_edge[t]], c = outer[out_edge[t]];
    if (label[b] < 0) {
      const std::int64_t a = second(before, c);
      if (a >= 0 && a == inner[in_edge[t]]) propose(t, b, before[c]);
      continue;
    }
    if (before[b] >= 0 && second(before, b) < 0 && after[b] == c) propose(t, inner[in_edge[t]], before[b]);
    if (after[b] >= 0 && second(after, b) < 0 && before[b] == inner[in_edge[t]]) propose(t, c, after[b]);
  }
  std::sort(twins.begin(), twins.end(), [](const Twin& x, const Twin& y) {
    return x.chi2 != y.chi2 ? x.chi2 < y.chi2 : x.hit != y.hit ? x.hit < y.hit : x.spot < y.spot;
  });
  Array<char> paired(label.size(), 0);
  for (const Twin& twin : twins) {
    if (label[twin.hit] >= 0 || paired[twin.spot]) continue;
    label[twin.hit] = label[twin.spot];
    paired[twin.spot] = 1;
  }
}

}  // namespace

Array<std::int64_t> connected_components(std::int64_t n, EdgeList edges, std::int64_t min_hits) {
  Array<std::int32_t> parent(n);
  for (std::int64_t i = 0; i < n; ++i) parent[i] = static_cast<std::int32_t>(i);
  for (std::int64_t e = 0; e < edges.n; ++e) {
    const std::int32_t a = root_of(parent.data(), static_cast<std::int32_t>(edges.inner[e]));
    const std::int32_t b = root_of(parent.data(), static_cast<std::int32_t>(edges.outer[e]));
    if (a < b) parent[b] = a;
    if (b < a) parent[a] = b;
  }

  // A parent is never larger than its child, so one pass upwards flattens every tree.
  Array<std::int32_t> size(n, 0);
  for (std::int64_t i = 0; i < n; ++i) {
    parent[i] = parent[parent[i]];
    ++size[parent[i]];
  }

  // The root is the component's first hit, so numbers come in the order of first hits.
  const std::int64_t smallest = min_hits > 2 ? min_hits : 2;  // a hit with no edge is no component
  Array<std::int64_t> label(n);
  std::int64_t next = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int32_t root = parent[i];
    if (root == i)
      label[i] = size[i] >= smallest ? next++ : -1;
    else
      label[i] = label[root];
  }
  return label;
}

Array<std::int64_t> walk(std::int64_t n, EdgeList edges, TripletList triplets, const float* weight,
                         const std::int16_t* layer, float penalty, int min_hits) {
  const std::int64_t n_edges = edges.n, *inner = edges.inner, *outer = edges.outer;
  const std::int64_t n_triplets = triplets.n, *in_edge = triplets.in_edge, *out_edge = triplets.out_edge;
  // Fixed point: sums along a path do not depend on the order of adding, so equal paths compare equal.
  constexpr double kUnit = 1 << 20;
  Array<std::int64_t> own(n_edges), score(n_edges);
  Array<std::int32_t> previous(n_edges, -1);
  Array<char> continued(n_edges, 0);
  // Networks give NaN for absurd hits: such an edge weighs 0.
  for (std::int64_t e = 0; e < n_edges; ++e)
    own[e] = score[e] = weight[e] == weight[e] ? std::llrint(weight[e] * kUnit) : 0;
  for (std::int64_t t = 0; t < n_triplets; ++t) {  // triplets come from the beam outwards
    if (t + kAhead < n_triplets) __builtin_prefetch(score.data() + in_edge[t + kAhead]);
    const std::int64_t i = in_edge[t], o = out_edge[t];
    const std::int64_t through = score[i] + own[o] - std::llrint(triplets.chi2[t] * penalty * kUnit);
    if (through > score[o]) score[o] = through, previous[o] = static_cast<std::int32_t>(i);
  }
  for (std::int64_t e = 0; e < n_edges; ++e)
    if (previous[e] >= 0) continued[previous[e]] = 1;
  const auto long_enough = [&](std::int32_t e) {
    int hits = 1;
    for (; e >= 0 && hits < min_hits; e = previous[e]) ++hits;
    return hits >= min_hits;
  };
  Array<std::int32_t> ends;
  for (std::int32_t e = 0; e < n_edges; ++e)
    if (!continued[e] && previous[e] >= 0 && long_enough(e)) ends.push_back(e);
  std::sort(ends.begin(), ends.end(),
            [&](std::int32_t a, std::int32_t b) { return score[a] != score[b] ? score[a] > score[b] : a < b; });
  Array<std::int64_t> label(n, -1);
  Array<std::int32_t> path, before(n, -1), after(n, -1);
  std::int64_t n_tracks = 0;
  for (std::int32_t e : ends) {
    path.clear();
    while (e >= 0 && label[outer[e]] >= 0) e = previous[e];  // the outer part belongs to a better path
    for (; e >= 0 && label[outer[e]] < 0; e = previous[e]) {
      path.push_back(static_cast<std::int32_t>(outer[e]));
      if (previous[e] < 0 && label[inner[e]] < 0) path.push_back(static_cast<std::int32_t>(inner[e]));
    }
    if (static_cast<int>(path.size()) < min_hits) continue;
    for (std::size_t i = 0; i < path.size(); ++i) {  // outside in
      label[path[i]] = n_tracks;
      if (i > 0) after[path[i]] = path[i - 1];
      if (i + 1 < path.size()) before[path[i]] = path[i + 1];
    }
    ++n_tracks;
  }
  add_twins(edges, triplets, layer, before, after, label);
  // Numbers in the order of first hits, whatever the order in which paths were taken.
  std::vector<std::int64_t> number(n_tracks, -1);
  number_by_first_hit(label.data(), n, number);
  return label;
}

}  // namespace beampipe
