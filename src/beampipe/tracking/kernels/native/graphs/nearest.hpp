// The nearest edges of one hit, sorted by the hits that they lead to.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

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

/// The edges of one hit, brought into order without a branch that depends on them.
class Nearest {
public:
  /// The nearest of the edges (ties: the lower hit), sorted by hit, to `to_hit` and `to_dist2`, which may overlap with
  /// what is given; returns how many there are.
  std::int64_t operator()(const std::int32_t* hit, const float* dist2, std::int64_t size, std::int64_t most,
                          std::int32_t* to_hit, float* to_dist2) {
    reserve(size);
    if (size <= most) {
      sort(hit, reinterpret_cast<const Bits*>(dist2), size);
    } else {
      const std::int32_t limit = limit_of(dist2, size, most);
      std::int64_t left = 0;
      for (std::int64_t k = 0; k < size; ++k) {
        near_hit_[left] = hit[k], near_bits_[left] = bits_[k];
        left += bits_[k] <= limit;
      }
      sort(near_hit_.data(), near_bits_.data(), left);
      size = left == most ? most : without_ties(limit, left, most);
    }
    std::memcpy(to_hit, hit_.data(), size * sizeof(std::int32_t));
    std::memcpy(to_dist2, sorted_bits_.data(), size * sizeof(float));
    return size;
  }

private:
  typedef std::int32_t Bits __attribute__((may_alias));  // of a non-negative float: they sort as it does

  void reserve(std::int64_t size) {
    if (size < static_cast<std::int64_t>(hit_.size())) return;
    for (auto* scratch : {&hit_, &near_hit_, &bits_, &near_bits_, &sorted_bits_})
      *scratch = Array<std::int32_t>(2 * size + 1);
  }

  /// The smallest distance, as bits, up to which there are at least `most`; fills `bits_`.
  std::int32_t limit_of(const float* dist2, std::int64_t size, std::int64_t most) {
    std::memcpy(bits_.data(), dist2, size * sizeof(float));
    std::int32_t low = 0, high = 0x7f800000;
    while (low < high) {
      const std::int32_t middle = low + (high - low) / 2;
      const std::int64_t count = count_at_most(bits_.data(), size, middle);
      if (count == most) return middle;
      if (count < most)
        low = middle + 1;
      else
        high = middle;
    }
    return low;
  }

  /// To `hit_` and `sorted_bits_`: each edge goes to the place that as many lower hits leave to it.
  void sort(const std::int32_t* hit, const Bits* bits, std::int64_t size) {
    for (std::int64_t first = 0; first < size; first += kLanes) {
      const IntVec mine = load(hit + first);
      IntVec place = {};
      for (std::int64_t k = 0; k < size; ++k) place -= splat(hit[k]) < mine;
      const std::int64_t lanes = std::min<std::int64_t>(kLanes, size - first);
      for (std::int64_t l = 0; l < lanes; ++l) {
        hit_[place[l]] = hit[first + l];
        sorted_bits_[place[l]] = bits[first + l];
      }
    }
  }

  /// Of the sorted edges, all below the limit and the first of those at it.
  std::int64_t without_ties(std::int32_t limit, std::int64_t size, std::int64_t most) {
    std::int64_t ties = most - count_at_most(sorted_bits_.data(), size, limit - 1), left = 0;
    for (std::int64_t k = 0; k < size; ++k) {
      if (sorted_bits_[k] == limit && ties-- <= 0) continue;
      hit_[left] = hit_[k], sorted_bits_[left++] = sorted_bits_[k];
    }
    return left;
  }

  Array<std::int32_t> hit_, near_hit_, bits_, near_bits_, sorted_bits_;
};

}  // namespace beampipe
