#include "pipelines/edges.hpp"

#include <algorithm>
#include <cstddef>

namespace beampipe {

PairedEdges partnered(const Edges& edges, Triplets triplets, const Array<float>& pair_features) {
  constexpr std::size_t kColumns = 6;
  const std::int64_t n = edges.size();
  Array<std::int64_t> number(n, -1);  // of each edge among those that stay
  for (const std::int64_t e : triplets.edges) number[e] = 0;
  std::int64_t next = 0;
  for (std::int64_t e = 0; e < n; ++e)
    if (number[e] == 0) number[e] = next++;
  Array<float> features(kColumns * next);
  for (std::int64_t e = 0; e < n; ++e)
    if (number[e] >= 0)
      std::copy_n(pair_features.data() + kColumns * e, kColumns, features.data() + kColumns * number[e]);
  for (std::int64_t& e : triplets.edges) e = number[e];
  return {kept(edges, [&](std::int64_t e) { return number[e] >= 0; }), std::move(triplets), std::move(features)};
}

}  // namespace beampipe
