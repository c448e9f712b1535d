#include "pipelines/edges.hpp"

#include <algorithm>
#include <cstddef>

namespace beampipe {

std::vector<char> partnered(const Triplets& triplets, std::int64_t n) {
  std::vector<char> has(n, 0);
  for (std::int64_t k = 0; k < 2 * triplets.size(); ++k) has[triplets.edges[k]] = 1;
  return has;
}

Graph part_of(const Graph& graph, const std::vector<char>& stays) {
  std::vector<std::int64_t> number(stays.size());  // of each edge among those that stay
  std::int64_t next = 0;
  for (std::size_t e = 0; e < stays.size(); ++e) number[e] = stays[e] ? next++ : -1;
  const Triplets& all = graph.triplets;
  const auto both_stay = [&](std::int64_t t) { return stays[all.in_edge()[t]] && stays[all.out_edge()[t]]; };
  std::int64_t size = 0, to = 0;
  for (std::int64_t t = 0; t < all.size(); ++t) size += both_stay(t);
  Triplets triplets{Array<std::int64_t>(2 * size), Array<float>(size)};
  for (std::int64_t t = 0; t < all.size(); ++t) {
    if (!both_stay(t)) continue;
    triplets.edges[to] = number[all.in_edge()[t]];
    triplets.edges[size + to] = number[all.out_edge()[t]];
    triplets.chi2[to++] = all.chi2[t];
  }
  return {kept(graph.edges, [&](std::int64_t e) { return stays[e] != 0; }), std::move(triplets)};
}

Array<float> rows_of(const Array<float>& table, std::size_t columns, const std::vector<char>& stays) {
  Array<float> rows(columns * std::count(stays.begin(), stays.end(), 1));
  float* to = rows.data();
  for (std::size_t e = 0; e < stays.size(); ++e)
    if (stays[e]) to = std::copy_n(table.data() + columns * e, columns, to);
  return rows;
}

std::vector<char> long_chains(const Array<float>& pair_features, int min_hits) {
  constexpr float kOfLevel = 0.125f;  // as pair_features gives the links of a chain inwards and outwards
  const float least = kOfLevel * static_cast<float>(std::max(min_hits - 2, 1));
  std::vector<char> is_long(pair_features.size() / kPairFeatures);
  for (std::size_t e = 0; e < is_long.size(); ++e) {
    const float* row = pair_features.data() + kPairFeatures * e;
    is_long[e] = row[4] + row[5] >= least;
  }
  return is_long;
}

}  // namespace beampipe
