#include "pipelines/line.hpp"

#include <algorithm>
#include <utility>

#include "pipelines/parts/cuts.hpp"

namespace beampipe {
namespace {

using Graphs = PipelineSpec::Graph;
using Segmentation = PipelineSpec::Segmentation;

constexpr float kLogitMax = 8;          // distance of a logit from the cut: no edge is worth or costs more
constexpr float kEdgesPerLogit = 0.25;  // length of a path that one unit of logit is worth, in edges

/// What each edge adds to the score of a path, as in WalkByScore of Python. NaN stays NaN.
Array<float> edge_weights(const Array<float>& logit, double score_cut) {
  const float cut = logit_of(score_cut);
  Array<float> weight(logit.size());
  for (std::size_t e = 0; e < logit.size(); ++e)
    weight[e] = std::clamp(logit[e] - cut, -kLogitMax, kLogitMax) * kEdgesPerLogit;
  return weight;
}

std::vector<std::string> steps_of(const PipelineSpec& spec) {
  std::vector<std::string> steps;
  if (spec.graph == Graphs::kNeighbours) steps.push_back("embedding");
  steps.insert(steps.end(), {"building", "filtering"});
  if (spec.scored) steps.push_back("gnn");
  steps.push_back("labelling");
  return steps;
}

std::optional<Networks> networks_of(const PipelineSpec& spec, const std::string& weights) {
  if (spec.networks.empty()) return std::nullopt;
  return Networks::load(weights + "/" + spec.networks);
}

}  // namespace

Line::Line(const Table& kernels, PipelineSpec spec, const std::string& weights)
    : kernels_(kernels),
      spec_(std::move(spec)),
      own_windows_(WindowTables::load(weights + "/" + spec_.windows)),
      windows_(own_windows_.widened().up_to(static_cast<float>(spec_.curvature))),
      networks_(networks_of(spec_, weights)),
      steps_(steps_of(spec_)) {}

Array<std::int16_t> Line::own_layers(const float* position, std::int64_t n, int threads) const {
  return kernels_.assign_layers(position, n, own_windows_.view(), threads);
}

Labelled Line::run(const Hits& hits, Timer& timed) const {
  Labelled found = spec_.scored ? by_score(hits, timed) : by_chi2(hits, timed);
  if (spec_.completion) found.track_id = timed("labelling", [&] { return complete(hits, found.track_id); });
  return found;
}

RadiusEdges Line::from_neighbours(const Hits& hits, Timer& timed) const {
  const Array<float> embedding = timed("embedding", [&] { return embed_hits(hits); });
  return timed("building", [&] { return find_neighbours(hits, embedding); });
}

Edges Line::from_windows(const Hits& hits, Timer& timed) const {
  return timed("building", [&] {
    const Growth growth{spec_.seed_depth, static_cast<float>(spec_.curvature_from / spec_.curvature)};
    return Edges{kernels_.module_map_edges(hits.position, hits.events, windows_.view(), growth, hits.threads)};
  });
}

Labelled Line::by_chi2(const Hits& hits, Timer& timed) const {
  Graph graph;
  if (spec_.graph == Graphs::kWindows) {
    graph.edges = from_windows(hits, timed);
    graph.triplets = timed("filtering", [&] { return find_triplets(hits, graph.edges); });
  } else {
    RadiusEdges near = from_neighbours(hits, timed);
    const Edges edges{std::move(near.edge_index)};
    graph.edges = timed("filtering", [&] { return filter_edges(hits, edges, near.dist2); });
    graph.triplets = timed("filtering", [&] { return find_triplets(hits, graph.edges); });
  }
  Array<std::int64_t> track_id = timed("labelling", [&] {
    return walk(hits, graph, Array<float>(graph.edges.size(), 1));  // an edge lengthens a path by 1, a bend costs
  });
  return {std::move(track_id), std::move(graph)};
}

Labelled Line::by_score(const Hits& hits, Timer& timed) const {
  PairedEdges paired = spec_.graph == Graphs::kWindows ? pair_windows(hits, timed) : pair_neighbours(hits, timed);
  const Graph& graph = paired.graph;
  const Array<float> logit = timed("gnn", [&] { return score_edges(hits, paired); });
  Array<std::int64_t> track_id = timed("labelling", [&] {
    if (spec_.segmentation == Segmentation::kComponents) return connect_components(hits, graph.edges, logit);
    return walk(hits, graph, edge_weights(logit, spec_.score_cut));
  });
  return {std::move(track_id), std::move(paired.graph)};
}

PairedEdges Line::pair_windows(const Hits& hits, Timer& timed) const {
  Edges edges = from_windows(hits, timed);
  return timed("filtering", [&] { return on_chains(pair_edges(hits, std::move(edges))); });
}

PairedEdges Line::pair_neighbours(const Hits& hits, Timer& timed) const {
  RadiusEdges near = from_neighbours(hits, timed);
  Graph likely = timed("filtering", [&] { return pair_likely(hits, std::move(near)); });
  return timed("filtering", [&] { return on_chains(std::move(likely)); });
}

Array<float> Line::embed_hits(const Hits& hits) const {
  const auto& [widths, packed] = networks_->embedding;
  return kernels_.embed(hits.position, hits.n, packed.data(), widths.data(), static_cast<int>(widths.size()) - 1,
                        hits.threads);
}

RadiusEdges Line::find_neighbours(const Hits& hits, const Array<float>& embedding) const {
  const Cuts& cuts = networks_->cuts;
  constexpr std::int64_t kRow = 2 * kEmbedding;  // source vector, then target vector
  const RadiusQuery query{
      embedding.data(), embedding.data() + kEmbedding, kRow,           kRow,       hits.position, hits.events,
      cuts.radius,      cuts.max_neighbours,           cuts.kappa_max, cuts.z0_max};
  return kernels_.radius_edges(query, hits.threads);
}

Array<float> Line::filter_logits(const Hits& hits, const Edges& edges, const Array<float>& dist2) const {
  const auto& [hidden, packed] = networks_->filter;
  return kernels_.filter_logits(hits.position, hits.n, edges.inner(), edges.outer(), dist2.data(), edges.size(),
                                packed.data(), hidden, hits.threads);
}

Edges Line::filter_edges(const Hits& hits, const Edges& edges, const Array<float>& dist2) const {
  const Array<float> logit = filter_logits(hits, edges, dist2);
  return kept(edges, [&](std::int64_t e) { return logit[e] >= networks_->cuts.filter_logit; });
}

Triplets Line::find_triplets(const Hits& hits, const Edges& edges) const {
  return kernels_.triplets(hits.position, hits.n, edges.inner(), edges.outer(), edges.size(), windows_.view(),
                           hits.threads);
}

Graph Line::pair_edges(const Hits& hits, Edges edges) const {
  Triplets triplets = find_triplets(hits, edges);
  return {std::move(edges), std::move(triplets)};
}

/// Filtered, then paired: a triplet of two likely edges is one whichever comes first, and few edges have a partner.
Graph Line::pair_likely(const Hits& hits, RadiusEdges near) const {
  Graph graph = pair_edges(hits, {std::move(near.edge_index)});
  std::vector<char> stays = partnered(graph.triplets, graph.edges.size());
  graph = part_of(graph, stays);
  const Array<float> logit = filter_logits(hits, graph.edges, rows_of(near.dist2, 1, stays));
  stays.resize(logit.size());
  for (std::size_t e = 0; e < logit.size(); ++e) stays[e] = logit[e] >= networks_->cuts.filter_logit;
  return part_of(graph, stays);
}

PairedEdges Line::on_chains(Graph graph) const {
  const Triplets& triplets = graph.triplets;
  const Array<float> features = kernels_.pair_features(triplets.in_edge(), triplets.out_edge(), triplets.chi2.data(),
                                                       triplets.size(), graph.edges.size());
  const std::vector<char> stays = long_chains(features, spec_.chain_hits());
  return {part_of(graph, stays), rows_of(features, kPairFeatures, stays)};
}

Array<float> Line::score_edges(const Hits& hits, const PairedEdges& paired) const {
  const auto& [hidden, steps, n_pair, packed] = networks_->gnn;
  const Edges& edges = paired.graph.edges;
  return kernels_.gnn_logits(hits.position, hits.n, edges.inner(), edges.outer(), paired.pair_features.data(), n_pair,
                             edges.size(), packed.data(), hidden, steps, hits.threads);
}

Array<std::int64_t> Line::connect_components(const Hits& hits, const Edges& edges, const Array<float>& logit) const {
  const Edges likely = kept(edges, [&](std::int64_t e) { return logit[e] >= networks_->cuts.score_logit; });
  return kernels_.connected_components(hits.n, likely.inner(), likely.outer(), likely.size(), spec_.min_hits);
}

Array<std::int64_t> Line::walk(const Hits& hits, const Graph& graph, const Array<float>& weight) const {
  const auto& [edges, triplets] = graph;
  const Array<std::int16_t> layer = kernels_.assign_layers(hits.position, hits.n, windows_.view(), hits.threads);
  return kernels_.walk(hits.n, edges.inner(), edges.outer(), edges.size(), triplets.in_edge(), triplets.out_edge(),
                       triplets.chi2.data(), triplets.size(), weight.data(), layer.data(),
                       static_cast<float>(spec_.penalty), spec_.min_hits);
}

Array<std::int64_t> Line::complete(const Hits& hits, const Array<std::int64_t>& track_id) const {
  return kernels_.complete(hits.position, hits.events, track_id.data(), windows_.view(),
                           static_cast<float>(spec_.completion->penalty),
                           static_cast<float>(spec_.completion->min_score), hits.threads);
}

}  // namespace beampipe
