// The list of kernels: K(name, result, (arguments)). Each is a function beampipe::name, compiled once per instruction
// set.
#pragma once

#include <cstdint>
#include <string>

#include "array.hpp"
#include "graphs/blocks.hpp"
#include "native/errors.hpp"
#include "windows/windows.hpp"

#define BEAMPIPE_KERNELS(K)                                                                                          \
  K(assign_layers, Array<std::int16_t>, (Hits hits, const Windows& w))                                               \
  K(module_map_edges, Array<std::int64_t>, (Hits hits, const Windows& w, const Growth& growth))                      \
  K(triplets, Triplets, (Hits hits, EdgeList edges, const Windows& w))                                               \
  K(pair_features, Array<float>, (TripletList triplets, std::int64_t n_edges))                                       \
  K(walk, Array<std::int64_t>,                                                                                       \
    (std::int64_t n_hits, EdgeList edges, TripletList triplets, const float* weight, const std::int16_t* layer,      \
     float penalty, int min_hits))                                                                                   \
  K(complete, Array<std::int64_t>,                                                                                   \
    (Hits hits, const std::int64_t* track_id, const Windows& w, float penalty, float min_score, int min_hits))       \
  K(embed, Array<float>, (Hits hits, const float* packed, const int* widths, int n_layers))                          \
  K(radius_edges, RadiusEdges, (Hits hits, const RadiusQuery& query))                                                \
  K(filter_logits, Array<float>, (Hits hits, EdgeList edges, const float* dist2, const float* packed, int hidden))   \
  K(gnn_logits, Array<float>,                                                                                        \
    (Hits hits, EdgeList edges, const float* pair_features, int n_pair, const float* packed, int hidden, int steps)) \
  K(fit_tracks, Fits,                                                                                                \
    (const float* position, std::int64_t n_hits, const HitLists& tracks, const FitTables& tables,                    \
     bool reject_outliers, int threads))                                                                             \
  K(connected_components, Array<std::int64_t>, (std::int64_t n_hits, EdgeList edges, std::int64_t min_hits))

namespace beampipe {

constexpr int kEmbedding = 8;  // length of a source or target vector

struct RadiusQuery {
  const float *source, *target;               // rows of kEmbedding floats
  std::int64_t source_stride, target_stride;  // floats from row to row
  float radius;
  std::int64_t max_neighbours;
  float kappa_max, z0_max;  // [1/mm], [mm]
};

struct RadiusEdges {
  Array<std::int64_t> edge_index;  // (2, n_edges), sorted by inner then outer hit
  Array<float> dist2;
};

constexpr int kFieldTerms = 9, kRingWidth = 6;

struct FitTables {
  int n_layers;
  const float* layers;       // (n_layers, 4): r_min, r_max, z_min, z_max [mm]
  int n_rings;               // of flat modules
  const float* rings;        // (n_rings, kRingWidth): layer, place along the azimuth, half size, place across [mm],
                             // azimuth [rad], number of modules; see FitTables of Python
  const float* variance;     // (n_layers, 2): across and along [mm^2]
  const float* scattering;   // (n_layers,) [GeV^2]
  int n_tubes;               // the beam pipe, and what else is crossed without a hit, from the beam outwards
  const float* tubes;        // (n_tubes, 2): radius [mm] and scattering [GeV^2]
  double energy_loss;        // [1/GeV]
  double field;              // [T]
  const float* field_shape;  // (kFieldTerms,) coefficients of changes of the field with r and z
};

// Hits of all tracks, one track after the other: those of track t are rows[begin[t]] to rows[begin[t + 1] - 1].
struct HitLists {
  std::int64_t n_tracks;
  const std::int64_t* begin;
  const std::int64_t* rows;
};

enum FitStatus : std::int8_t { kFitted, kTooFewHits, kNoStart, kNotConverged, kSuspect };

constexpr int kMaxOutliers = 3;  // hits that a fit leaves out at most

struct Fits {
  Array<double> values;          // (n_tracks, 5): d0, z0, phi, theta, q/p
  Array<double> covariance;      // (n_tracks, 5, 5)
  Array<double> chi2;            // (n_tracks,)
  Array<std::int64_t> n_hits;    // (n_tracks,)
  Array<std::int8_t> status;     // (n_tracks,)
  Array<std::int64_t> outliers;  // (n_tracks, kMaxOutliers): hits that were left out, then -1
};

constexpr std::int64_t kMaxPairs = 150'000'000;    // pairs of hits within the radius, before the windows
constexpr std::int64_t kMaxTried = 5'000'000'000;  // pairs of hits on layers that windows join, within their phi
constexpr std::int64_t kManyDoubletTests = 3'000'000'000;  // around seeds: beyond, tracks begin on fewer layers
constexpr std::int64_t kMaxDoubletTests = 50'000'000'000;  // pairs of doublets that share a hit, before any is an edge
constexpr std::int64_t kMaxEdges = 20'000'000;             // edges
constexpr std::int64_t kMaxTripletTests = 1'000'000'000;   // pairs of edges that share a hit
constexpr std::int64_t kMaxTriplets = 20'000'000;          // triplets

/// Ends the work (outside of parallel regions).
inline void require_at_most(std::int64_t got, std::int64_t most, const char* of_what) {
  const auto millions = [](std::int64_t n) { return std::to_string((n + 999'999) / 1'000'000) + " million "; };
  if (got > most)
    throw TooLargeError("hits: got at least " + millions(got) + of_what + ", expected at most " +
                        millions(most).substr(0, millions(most).size() - 1) +
                        "; so many hits in one place are noise: drop them, or cut the event into regions");
}

#define BEAMPIPE_DECLARE(name, result, arguments) result name arguments;
BEAMPIPE_KERNELS(BEAMPIPE_DECLARE)
#undef BEAMPIPE_DECLARE

/// One instruction set's kernels.
struct Table {
#define BEAMPIPE_POINTER(name, result, arguments) result(*name) arguments;
  BEAMPIPE_KERNELS(BEAMPIPE_POINTER)
#undef BEAMPIPE_POINTER
};

}  // namespace beampipe
