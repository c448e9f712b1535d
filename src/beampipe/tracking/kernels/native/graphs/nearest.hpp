// The nearest edges of one hit, sorted by the hits that they lead to.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>

#include "array.hpp"
#include "simd.hpp"

namespace beampipe {

/// How many of the numbers are at most `limit`. Reads up to a vector past their end.
inline std::int64_t count_at_most(const std::int32_t* number, std::int64_t size, std::int32_t limit) {
  std::int64_t count = 0;
  for (std::int64_t k = 0; k < size; k += kLanes) {
    const unsigned lanes = (1u << std::min<std::int64_t>(kLanes, size - k)) - 1;
    count += __builtin_popcount(nonzero_mask(load(number + k) <= splat(limit)) & lanes);
  }
  return count;
}

/// The smallest limit up to which there are at least `most` of the numbers, none of which is negative.
inline std::int32_t limit_of(const std::int32_t* number, std::int64_t size, std::int64_t most) {
  std::int32_t low = 0, high = std::numeric_limits<std::int32_t>::max();
  while (low < high) {
    const std::int32_t middle = low + (high - low) / 2;
    const std::int64_t count = count_at_most(number, size, middle);
    if (count == most) return middle;
    if (count < most)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

/// The edges of one hit, brought into order without a branch that depends on them.
class Nearest {
public:
  /// The nearest of the edges (ties: the lower hit), sorted by hit, to `to_hit` and `to_dist2`, which may overlap with
  /// what is given; returns how many there are.
  std::int64_t operator()(const std::int32_t* hit, const float* dist2, std::int64_t size, std::int64_t most,
                          std::int32_t* to_hit, float* to_dist2) {
    reserve(size);
    std::memcpy(hit_.data(), hit, size * sizeof(std::int32_t));
    std::memcpy(bits_.data(), dist2, size * sizeof(float));  // non-negative floats sort as their bits do
    if (size > most) {
      choose(size, most);
      size = most;
    }
    sort(size, to_hit, to_dist2);
    return size;
  }

private:
  void reserve(std::int64_t size) {
    if (size < static_cast<std::int64_t>(hit_.size())) return;
    for (auto* scratch : {&hit_, &bits_, &tied_}) *scratch = Array<std::int32_t>(2 * size + 1);
  }

  /// Leaves the nearest, in any order.
  void choose(std::int64_t size, std::int64_t most) {
    const std::int32_t limit = limit_of(bits_.data(), size, most);
    std::int32_t last_tied = std::numeric_limits<std::int32_t>::max();
    if (count_at_most(bits_.data(), size, limit) > most) {
      std::int64_t nearer = 0, n_tied = 0;
      for (std::int64_t k = 0; k < size; ++k) {
        nearer += bits_[k] < limit;
        tied_[n_tied] = hit_[k];
        n_tied += bits_[k] == limit;
      }
      last_tied = limit_of(tied_.data(), n_tied, most - nearer);
    }
    std::int64_t left = 0;
    for (std::int64_t k = 0; k < size; ++k) {
      const bool stays = (bits_[k] < limit) | ((bits_[k] == limit) & (hit_[k] <= last_tied));
      hit_[left] = hit_[k], bits_[left] = bits_[k];
      left += stays;
    }
  }

  /// Each edge goes to the place that as many lower hits leave to it.
  void sort(std::int64_t size, std::int32_t* to_hit, float* to_dist2) const {
    for (std::int64_t first = 0; first < size; first += kLanes) {
      const IntVec mine = load(hit_.data() + first);
      IntVec place = {};
      for (std::int64_t k = 0; k < size; ++k) place -= splat(hit_[k]) < mine;
      const std::int64_t lanes = std::min<std::int64_t>(kLanes, size - first);
      for (std::int64_t l = 0; l < lanes; ++l) {
        to_hit[place[l]] = hit_[first + l];
        std::memcpy(to_dist2 + place[l], &bits_[first + l], sizeof(float));
      }
    }
  }

  Array<std::int32_t> hit_, bits_, tied_;  // of the edges; hits of those at the limit
};

}  // namespace beampipe
