// Several events as one graph: hits in blocks, and no edge from one block to another.
#pragma once

#include <cstdint>

namespace beampipe {

struct Blocks {
  const std::int64_t* begin;  // first hit of each block, and the end
  std::int64_t n;

  std::int64_t size(std::int64_t block) const { return begin[block + 1] - begin[block]; }
};

}  // namespace beampipe
