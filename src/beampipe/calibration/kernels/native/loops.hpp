// The innermost loops, compiled for several instruction sets; all of them give the same bits.
#pragma once

#include <cstdint>

namespace calibration {

/// Weights of one event in the byte order of this machine. Returns the largest size; infinite or NaN if one of them is.
///
/// columns: indices of the n weights to load; nullptr for the first n.
float load_weights(const std::uint8_t* weights, bool big, const std::int64_t* columns, std::int64_t n, float* native);

/// Weights -> whole numbers of units of 1 / scale, and their squares of 1 / square_scale. largest: the largest size of a
/// weight.
void quantise(const float* weights, std::int64_t n, float largest, double scale, double square_scale,
              std::int64_t* units, std::int64_t* squares);

/// Whether a number is larger than the one before; with a NaN it counts as larger.
inline bool rises(float before, float after) { return !(after <= before); }

/// Number of the n numbers that are larger than the one before.
std::int64_t count_rises(const std::uint8_t* numbers, bool big, std::int64_t n);

/// sums[k] += values[k]
void add_all(std::int64_t* sums, const std::int64_t* values, std::int64_t n);

/// Poisson number of an event in each replica times its weight: n_blocks blocks of four; see `fill_replicas`.
void draw(std::uint64_t key, const std::uint64_t* blocks, std::int64_t n_blocks, const std::uint8_t* table,
          std::int64_t weight, std::int64_t* times);

}  // namespace calibration
