// Labels of hits: from 0, -1 for none.
#pragma once

#include <cstdint>
#include <vector>

namespace beampipe {

/// Numbers the labels of n hits from 0 in the order of their first hits; gives how many there are. `number` becomes the
/// number of each label, and holds -1 for all that these hits have.
inline std::int64_t number_by_first_hit(std::int64_t* label, std::int64_t n, std::vector<std::int64_t>& number) {
  std::int64_t next = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    if (label[i] < 0) continue;
    std::int64_t& mine = number[label[i]];
    if (mine < 0) mine = next++;
    label[i] = mine;
  }
  return next;
}

}  // namespace beampipe
