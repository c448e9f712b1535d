// Best paths through the graph of edges: longest, smoothest, each hit on one path at most.
#include "kernels.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

namespace beampipe {

Array<std::int64_t> walk(std::int64_t n, const std::int64_t* inner, const std::int64_t* outer, std::int64_t n_edges,
                         const std::int64_t* in_edge, const std::int64_t* out_edge, const float* chi2,
                         std::int64_t n_triplets, const float* weight, float penalty, int min_hits) {
  // Fixed point: sums along a path do not depend on the order of adding, so equal paths compare equal.
  constexpr double kUnit = 1 << 20;
  std::vector<std::int64_t> score(n_edges);
  std::vector<std::int32_t> previous(n_edges, -1);
  std::vector<char> continued(n_edges, 0);
  for (std::int64_t e = 0; e < n_edges; ++e) score[e] = std::llrint(weight[e] * kUnit);
  const std::vector<std::int64_t> own = score;
  for (std::int64_t t = 0; t < n_triplets; ++t) {  // triplets come from the beam outwards
    const std::int64_t i = in_edge[t], o = out_edge[t];
    const std::int64_t through = score[i] + own[o] - std::llrint(chi2[t] * penalty * kUnit);
    if (through > score[o]) score[o] = through, previous[o] = static_cast<std::int32_t>(i);
  }
  for (std::int64_t e = 0; e < n_edges; ++e)
    if (previous[e] >= 0) continued[previous[e]] = 1;
  std::vector<std::int32_t> ends;
  for (std::int64_t e = 0; e < n_edges; ++e)
    if (!continued[e] && previous[e] >= 0) ends.push_back(static_cast<std::int32_t>(e));
  std::sort(ends.begin(), ends.end(), [&](std::int32_t a, std::int32_t b) {
    return score[a] != score[b] ? score[a] > score[b] : a < b;
  });
  Array<std::int64_t> label(n, -1);
  std::vector<std::int64_t> path;
  std::int64_t n_tracks = 0;
  for (std::int32_t e : ends) {
    path.clear();
    while (e >= 0 && label[outer[e]] >= 0) e = previous[e];  // the outer part belongs to a better path
    for (; e >= 0 && label[outer[e]] < 0; e = previous[e]) {
      path.push_back(outer[e]);
      if (previous[e] < 0 && label[inner[e]] < 0) path.push_back(inner[e]);
    }
    if (static_cast<int>(path.size()) < min_hits) continue;
    for (const std::int64_t hit : path) label[hit] = n_tracks;
    ++n_tracks;
  }
  return label;
}

}  // namespace beampipe
