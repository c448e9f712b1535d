// Targets in leaves of 16 with bounding boxes, and the order that makes these small.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>

#include "geometry.hpp"
#include "radius.hpp"

namespace beampipe {

constexpr int kLeaf = 16;

/// Hits in the order of a Z-curve through phi and eta: neighbours in a row lie in one direction from the origin.
inline Array<std::int32_t> order_by_direction(const float* position, std::int64_t n) {
  Array<std::uint16_t> key(n + kLanes);
  const auto spread = [](IntVec x) {  // 8 bits, with room for the other coordinate's between them
    x = (x | x << 4) & 0x0f0f;
    x = (x | x << 2) & 0x3333;
    return (x | x << 1) & 0x5555;
  };
  const auto in_byte = [](Vec v) {
    return __builtin_convertvector(minimum(maximum(v, splat(0.0f)), splat(255.0f)), IntVec);
  };
  for (std::int64_t i = 0; i < n; i += kLanes) {
    float column[3][kLanes] = {};
    const int lanes = static_cast<int>(std::min<std::int64_t>(kLanes, n - i));
    for (int l = 0; l < lanes; ++l)
      for (int c = 0; c < 3; ++c) column[c][l] = position[3 * (i + l) + c];
    const Vec phi = (load(column[1]) + 0.5f * kTwoPi) * (256 / kTwoPi);
    const Vec eta = (pseudorapidity(load(column[0]), load(column[2])) + 4.0f) * 32.0f;
    const IntVec both = spread(in_byte(phi)) << 1 | spread(in_byte(eta));
    for (int l = 0; l < lanes; ++l) key[i + l] = static_cast<std::uint16_t>(both[l]);
  }
  Array<std::int32_t> order(n), other(n);
  std::int32_t begin[2][257] = {};
  for (std::int64_t i = 0; i < n; ++i) ++begin[0][(key[i] & 255) + 1], ++begin[1][(key[i] >> 8) + 1];
  for (auto& first : begin)
    for (int k = 0; k < 256; ++k) first[k + 1] += first[k];
  for (std::int64_t i = 0; i < n; ++i) other[begin[0][key[i] & 255]++] = static_cast<std::int32_t>(i);
  for (std::int64_t i = 0; i < n; ++i) order[begin[1][key[other[i]] >> 8]++] = other[i];
  return order;
}

/// Splits rows at the median of their widest coordinate, again and again, down to `leaf` of them. `key` is scratch.
inline void split(const float* rows, std::int64_t stride, std::int32_t* order, std::int64_t n, int leaf,
                  std::uint64_t* key) {
  while (n > leaf) {
    float low[kEmbedding], high[kEmbedding];
    for (int k = 0; k < kEmbedding; ++k) low[k] = INFINITY, high[k] = -INFINITY;
    for (std::int64_t i = 0; i < n; ++i) {
      const float* row = rows + order[i] * stride;
      for (int k = 0; k < kEmbedding; ++k)
        low[k] = row[k] < low[k] ? row[k] : low[k], high[k] = row[k] > high[k] ? row[k] : high[k];
    }
    int widest = 0;
    for (int k = 1; k < kEmbedding; ++k)
      if (high[k] - low[k] > high[widest] - low[widest]) widest = k;
    if (!(high[widest] > low[widest])) return;
    const std::int64_t half = (n / 2 + leaf - 1) / leaf * leaf;
    for (std::int64_t i = 0; i < n; ++i) {
      std::uint32_t bits;
      std::memcpy(&bits, rows + order[i] * stride + widest, 4);
      bits ^= bits >> 31 ? 0xffffffffu : 0x80000000u;  // floats sort as these do
      key[i] = static_cast<std::uint64_t>(bits) << 32 | static_cast<std::uint32_t>(order[i]);
    }
    std::nth_element(key, key + half, key + n);
    for (std::int64_t i = 0; i < n; ++i) order[i] = static_cast<std::int32_t>(key[i] & 0xffffffff);
    split(rows, stride, order, half, leaf, key);
    order += half, n -= half;
  }
}

/// The boxes of 16 leaves, or of 16 times 16: coordinates from `low` to `high`, r^2 + z^2 up to `rho2`.
struct alignas(64) Boxes {
  float low[kEmbedding][kLeaf], high[kEmbedding][kLeaf], rho2[kLeaf];

  void clear() {
    for (int k = 0; k < kEmbedding; ++k)
      for (int b = 0; b < kLeaf; ++b) low[k][b] = INFINITY, high[k][b] = -INFINITY;
    for (float& r : rho2) r = -INFINITY;
  }
  /// A comparison with what is no number is false: such a row has no part in the box, as it has no neighbours.
  void include(int b, const float* row, float row_rho2) {
    for (int k = 0; k < kEmbedding; ++k) {
      low[k][b] = row[k] < low[k][b] ? row[k] : low[k][b];
      high[k][b] = row[k] > high[k][b] ? row[k] : high[k][b];
    }
    rho2[b] = std::max(rho2[b], row_rho2);
  }
  void include(int b, const Boxes& inner) {
    for (int k = 0; k < kEmbedding; ++k)
      for (int i = 0; i < kLeaf; ++i)
        low[k][b] = std::min(low[k][b], inner.low[k][i]), high[k][b] = std::max(high[k][b], inner.high[k][i]);
    for (int i = 0; i < kLeaf; ++i) rho2[b] = std::max(rho2[b], inner.rho2[i]);
  }
  /// Bit b is set where box b comes within the root of `limit2` of another, and not everything in it is inward of
  /// `least_rho2`.
  unsigned near(const float* other_low, const float* other_high, float least_rho2, float limit2) const {
    unsigned mask = 0;
    for (int b = 0; b < kLeaf; b += kLanes) {
      Vec total = {};
#pragma GCC unroll 8
      for (int k = 0; k < kEmbedding; ++k) {
        const Vec gap = maximum(maximum(load(low[k] + b) - other_high[k], other_low[k] - load(high[k] + b)), Vec{});
        total += gap * gap;
      }
      mask |= (less_mask(total, splat(limit2)) & ~less_mask(load(rho2 + b), splat(least_rho2))) << b;
    }
    return mask & ((1u << kLeaf) - 1);
  }
};

struct alignas(64) Leaf {
  float column[kEmbedding][kLeaf], rho2[kLeaf];
};

/// In double, so that no compiler's fused multiplication changes which hit is the outer one.
inline float distance_from_origin2(const float* p) {
  return static_cast<float>(static_cast<double>(p[0]) * p[0] + static_cast<double>(p[2]) * p[2]);
}

}  // namespace beampipe
