// Matrix products in registers, and hits and edges as the networks read them.
//
// A tile of rows times columns is accumulated in registers over all inputs.
#pragma once

#include <cstdint>

#include "array.hpp"
#include "geometry.hpp"
#include "graphs/blocks.hpp"
#include "simd.hpp"

namespace beampipe {

/// acc[r][v] += sum_k x[r * row + k * step] * w[k * width + v * kLanes ...]
template <int Rows, int Vecs>
inline __attribute__((always_inline)) void multiply(const float* __restrict x, std::int64_t row, std::int64_t step,
                                                    int n_in, const float* __restrict w, std::int64_t width,
                                                    Vec (&acc)[Rows][Vecs]) {
  for (int k = 0; k < n_in; ++k) {
    Vec column[Vecs];
#pragma GCC unroll 8
    for (int v = 0; v < Vecs; ++v) column[v] = load(w + k * width + v * kLanes);
#pragma GCC unroll 32
    for (int r = 0; r < Rows; ++r) {
      const Vec value = splat(x[r * row + k * step]);
#pragma GCC unroll 8
      for (int v = 0; v < Vecs; ++v) acc[r][v] += value * column[v];
    }
  }
}

constexpr int kRegisters = kLanes == 16 ? 24 : 12;  // accumulators that leave room for the operands
constexpr int kBlock = 48;                          // rows at a time: a multiple of every tile height below

/// One tile of columns [column, column + Vecs * kLanes) for rows [0, n_rows), n_rows a multiple of the tile height.
/// `begin(r, c)` gives the vector to start from, `end(r, c, v)` takes the result; r row, c first column.
template <int Vecs, typename Begin, typename End>
inline void dense_columns(int n_rows, const float* x, std::int64_t row, std::int64_t step, int n_in, const float* w,
                          int width, int column, Begin&& begin, End&& end) {
  constexpr int kRows = kRegisters / Vecs;
  for (int r0 = 0; r0 < n_rows; r0 += kRows) {
    Vec acc[kRows][Vecs];
#pragma GCC unroll 32
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < Vecs; ++v) acc[r][v] = begin(r0 + r, column + v * kLanes);
    multiply<kRows, Vecs>(x + r0 * row, row, step, n_in, w + column, width, acc);
#pragma GCC unroll 32
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < Vecs; ++v) end(r0 + r, column + v * kLanes, acc[r][v]);
  }
}

/// Rows times a matrix w (n_in, width): width a multiple of kLanes, n_rows of 24 (12 below AVX-512).
template <typename Begin, typename End>
inline void dense(int n_rows, const float* x, std::int64_t row, std::int64_t step, int n_in, const float* w, int width,
                  Begin&& begin, End&& end) {
  int column = 0;
  for (; column + 4 * kLanes <= width; column += 4 * kLanes)
    dense_columns<4>(n_rows, x, row, step, n_in, w, width, column, begin, end);
  for (; column + 2 * kLanes <= width; column += 2 * kLanes)
    dense_columns<2>(n_rows, x, row, step, n_in, w, width, column, begin, end);
  for (; column < width; column += kLanes) dense_columns<1>(n_rows, x, row, step, n_in, w, width, column, begin, end);
}

/// A linear layer of a packed network: the transposed matrix (n_in, width), then the bias (width).
struct Linear {
  const float* weight;
  const float* bias;
  int n_in, width;

  Linear(const float*& packed, int n_in, int width)
      : weight(packed), bias(packed + n_in * width), n_in(n_in), width(width) {
    packed += (n_in + 1) * width;
  }
};

/// One hit: r, phi, z [mm, rad] and eta / 4, in one 16-byte read.
struct alignas(16) Node {
  enum Column { kR, kPhi, kZ, kEta, kColumns };
  float value[kColumns];
};

inline Array<Node> make_nodes(const Hits& hits) {
  const float* position = hits.position;
  const std::int64_t n = hits.n;
  Array<Node> nodes(n);
#pragma omp parallel for num_threads(hits.threads) schedule(static)
  for (std::int64_t i = 0; i < n; i += kLanes) {
    const int size = static_cast<int>(n - i < kLanes ? n - i : kLanes);
    float r[kLanes] = {}, z[kLanes] = {}, eta[kLanes];
    for (int l = 0; l < size; ++l) r[l] = position[3 * (i + l)], z[l] = position[3 * (i + l) + 2];
    store(eta, pseudorapidity(load(r), load(z)) * kEtaScale);
    for (int l = 0; l < size; ++l) nodes[i + l] = {{r[l], position[3 * (i + l) + 1], z[l], eta[l]}};
  }
  return nodes;
}

/// The ends of kBlock edges, one column per coordinate.
struct Ends {
  alignas(64) float column[2][Node::kColumns][kBlock] = {};

  template <typename Index>
  void gather(const Node* nodes, const Index* inner, const Index* outer, int size) {
    for (int side = 0; side < 2; ++side) {
      const Index* hit = side == 0 ? inner : outer;
      for (int i = 0; i < size; ++i) {
        const Node& node = nodes[hit[i]];
#pragma GCC unroll 4
        for (int c = 0; c < Node::kColumns; ++c) column[side][c][i] = node.value[c];
      }
    }
  }

  Doublet doublet(int i) const {
    return beampipe::doublet(load(column[0][Node::kR] + i), load(column[0][Node::kPhi] + i),
                             load(column[0][Node::kZ] + i), load(column[1][Node::kR] + i),
                             load(column[1][Node::kPhi] + i), load(column[1][Node::kZ] + i));
  }
};

}  // namespace beampipe
