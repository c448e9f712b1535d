// The list of kernels: K(name, result, (arguments)). Each is a function beampipe::name, compiled once per instruction
// set.
#pragma once

#include <cstdint>

#include "array.hpp"
#include "fit/fit.hpp"
#include "graphs/blocks.hpp"
#include "graphs/radius.hpp"
#include "windows/growth.hpp"
#include "windows/windows.hpp"

#define BEAMPIPE_MAP_KERNELS(K)                                                                                  \
  K(assign_layers, Array<std::int16_t>, (const float* position, std::int64_t n, const Windows& w, int threads))  \
  K(module_map_edges, Array<std::int64_t>,                                                                       \
    (const float* position, const Blocks& blocks, const Windows& w, const Growth& growth, int threads))          \
  K(triplets, Triplets,                                                                                          \
    (const float* position, std::int64_t n, const std::int64_t* inner, const std::int64_t* outer,                \
     std::int64_t n_edges, const Windows& w, int threads))                                                       \
  K(pair_features, Array<float>,                                                                                 \
    (const std::int64_t* in_edge, const std::int64_t* out_edge, const float* chi2, std::int64_t n_triplets,      \
     std::int64_t n_edges))                                                                                      \
  K(walk, Array<std::int64_t>,                                                                                   \
    (std::int64_t n, const std::int64_t* inner, const std::int64_t* outer, std::int64_t n_edges,                 \
     const std::int64_t* in_edge, const std::int64_t* out_edge, const float* chi2, std::int64_t n_triplets,      \
     const float* weight, const std::int16_t* layer, float penalty, int min_hits))                               \
  K(complete, Array<std::int64_t>,                                                                               \
    (const float* position, const Blocks& blocks, const std::int64_t* track_id, const Windows& w, float penalty, \
     float min_score, int threads))

#define BEAMPIPE_NETWORK_KERNELS(K)                                                                                   \
  K(embed, Array<float>,                                                                                              \
    (const float* position, std::int64_t n, const float* packed, const int* widths, int n_layers, int threads))       \
  K(radius_edges, RadiusEdges, (const RadiusQuery& query, int threads))                                               \
  K(filter_logits, Array<float>,                                                                                      \
    (const float* position, std::int64_t n, const std::int64_t* inner, const std::int64_t* outer, const float* dist2, \
     std::int64_t n_edges, const float* packed, int hidden, int threads))                                             \
  K(gnn_logits, Array<float>,                                                                                         \
    (const float* position, std::int64_t n, const std::int64_t* inner, const std::int64_t* outer,                     \
     const float* pair_features, int n_pair, std::int64_t n_edges, const float* packed, int hidden, int steps,        \
     int threads))

#define BEAMPIPE_KERNELS(K)                                                                                  \
  BEAMPIPE_MAP_KERNELS(K)                                                                                    \
  BEAMPIPE_NETWORK_KERNELS(K)                                                                                \
  K(fit_tracks, Fits, (const float* position, const HitLists& tracks, const FitTables& tables, int threads)) \
  K(connected_components, Array<std::int64_t>,                                                               \
    (std::int64_t n, const std::int64_t* inner, const std::int64_t* outer, std::int64_t n_edges,             \
     std::int64_t min_hits))

namespace beampipe {

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
