// The innermost loops, compiled for several instruction sets; all of them give the same bits.
#pragma once

#include <cstdint>
#include <vector>

#include "selection.hpp"

namespace calibration {

/// Weights are processed in so many columns at once.
constexpr std::int64_t kLanes = 16;

/// Distance between the weights of two events in an array.
inline std::int64_t padded(std::int64_t n_weights) { return (n_weights + kLanes - 1) / kLanes * kLanes; }

/// Weights of one event in the byte order of this machine. Returns the largest size; infinite or NaN if one of them is.
///
/// columns: indices of the n weights to load; nullptr for the first n.
float load_weights(const std::uint8_t* weights, bool big, const std::int64_t* columns, std::int64_t n, float* native);

constexpr double kFits = 2251799813685248.0;  // 2**51

/// Whether weights up to a size can be rounded fast.
inline bool fits(double size, double scale, double square_scale) {
  return size * scale < kFits && size * size * square_scale < kFits;
}

/// Weights -> whole numbers of units of 1 / scale, and their squares of 1 / square_scale. largest: the largest size of a
/// weight.
void quantise(const float* weights, std::int64_t n, float largest, double scale, double square_scale,
              std::int64_t* units, std::int64_t* squares);

/// Whether a number is larger than the one before; with a NaN it counts as larger.
inline bool rises(float before, float after) { return !(after <= before); }

/// Number of the n numbers that are larger than the one before.
std::int64_t count_rises(const std::uint8_t* numbers, bool big, std::int64_t n);

/// For each pair the last cut that it passes before the first one that it fails, and whether it passes all cuts but those
/// on n_trk, and those on pT in a variation of it by at most `margin`.
void choose(const Pairs& pairs, const Cuts& cuts, double margin, std::int32_t* last, std::int32_t* kept);

/// Find the rows of the cells of all jets.
void find_rows(Pairs& pairs, const Axes& axes, const Cuts& cuts);

/// Where jets are between the nodes of the model of the jet energy.
struct Points {
  double pt[2][kBlock], eta[2][kBlock];
};

void find_points(const Pairs& pairs, const EnergyModel& model, Points& points);

/// Relative sizes of a shift of the scale, or widenings of the resolution; 0 where jets stay as they are.
void find_heights(const Points& points, const EnergyModel& model, const Variation& shift, std::int64_t n,
                  double (*heights)[kBlock]);

/// sums[k] += values[k]
void add_all(std::int64_t* sums, const std::int64_t* values, std::int64_t n);

/// A cell of the histograms, and the events that are added to it: those from `begin` to `end` in a list of events.
struct CellEvents {
  std::int64_t row, of_group;  // in the sums of all events, and in those of a group of events
  std::int64_t begin, end;
};

/// Add the n weights of all events of some cells, rounded as by `quantise`; all of them must be small enough for it.
///
/// events: indices of the events in `weights`, whose distance is `padded(n)`.
void add_weights(const std::vector<CellEvents>& cells, const std::int64_t* events, const float* weights, std::int64_t n,
                 double scale, double square_scale, std::int64_t* sumw, std::int64_t* sumw2);

/// Number of jets that a boosted tree scores at once.
constexpr std::int64_t kJets = 128;

/// Nodes of a boosted tree in any order: a jet whose number of a feature is above the threshold cannot reach the leaves
/// left of the node. The first one that remains is its leaf.
struct TreeNode {
  std::int64_t feature;
  float threshold;
  std::uint32_t left;  // a bit for each leaf
};

/// Add the value of each jet's leaf to its sum.
///
/// jets: numbers of `kJets` jets, feature by feature; leaves: values of the leaves, from left to right.
void add_leaves(const std::vector<TreeNode>& nodes, const double* leaves, const float* jets, double* sums);

/// Poisson number of an event in each replica times its weight: n_blocks blocks of four; see `fill_replicas`.
void draw(std::uint64_t key, const std::uint64_t* blocks, std::int64_t n_blocks, const std::uint8_t* table,
          std::int64_t weight, std::int64_t* times);

}  // namespace calibration
