// Connected components by union-find: the smaller root wins, paths are halved.
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

}  // namespace

Array<std::int64_t> connected_components(std::int64_t n, const std::int64_t* inner, const std::int64_t* outer,
                                         std::int64_t n_edges, std::int64_t min_hits) {
  Array<std::int32_t> parent(n);
  for (std::int64_t i = 0; i < n; ++i) parent[i] = static_cast<std::int32_t>(i);
  for (std::int64_t e = 0; e < n_edges; ++e) {
    const std::int32_t a = root_of(parent.data(), static_cast<std::int32_t>(inner[e]));
    const std::int32_t b = root_of(parent.data(), static_cast<std::int32_t>(outer[e]));
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

}  // namespace beampipe
