// The kernels of the networks: embedding, fixed-radius search, filter, interaction network.
#include <cmath>

#include "bindings.hpp"

namespace {

// May be columns of a wider array.
using Rows = nb::ndarray<const float, nb::shape<-1, beampipe::kEmbedding>, nb::device::cpu>;

void require_hits(const EdgeIndex& edge_index, std::int64_t n) {
  const std::int64_t* hit = edge_index.data();
  bool outside = false;
  for (std::size_t e = 0; e < 2 * edge_index.shape(1); ++e) outside |= hit[e] < 0 || hit[e] >= n;
  require(!outside, "edge_index: out of range");
}

auto embed(Position position, Floats packed, std::vector<int> widths, int threads) {
  const int n_layers = static_cast<int>(widths.size()) - 1;
  std::size_t size = 0;
  for (int k = 0; k < n_layers; ++k) {
    size += static_cast<std::size_t>(widths[k] + 1) * widths[k + 1];
    require(widths[k + 1] % 16 == 0, "widths: a multiple of 16 is needed");
  }
  require(n_layers > 0 && widths[0] == 5 && packed.shape(0) == size, "packed: not of these widths");
  Array<float> out;
  {
    nb::gil_scoped_release free;
    out = kernels().embed(position.data(), position.shape(0), packed.data(), widths.data(), n_layers, threads);
  }
  return numpy(std::move(out), {position.shape(0), static_cast<std::size_t>(widths[n_layers])});
}

auto radius_edges(Rows source, Rows target, Position position, Offsets offsets, float radius,
                  std::int64_t max_neighbours, float kappa_max, float z0_max, int threads) {
  require(source.shape(0) == position.shape(0) && target.shape(0) == position.shape(0),
          "source, target: one row per hit");
  require(position.shape(0) == 0 || (source.stride(1) == 1 && target.stride(1) == 1),
          "source, target: rows must be contiguous");
  const beampipe::Blocks blocks = blocks_of(offsets, position.shape(0));
  beampipe::RadiusEdges edges;
  {
    nb::gil_scoped_release free;
    edges = kernels().radius_edges({source.data(), target.data(), source.stride(0), target.stride(0), position.data(),
                                    blocks, radius, max_neighbours, kappa_max, z0_max},
                                   threads);
  }
  const std::size_t n_edges = edges.dist2.size();
  return nb::make_tuple(numpy(std::move(edges.edge_index), {2, n_edges}), numpy(std::move(edges.dist2)));
}

/// Checks the filter's input and gives the logit of each edge.
Array<float> checked_filter_logits(const Position& position, const EdgeIndex& edge_index, const Floats& dist2,
                                   const Floats& packed, int hidden, int threads) {
  const std::int64_t n_edges = edge_index.shape(1);
  require(static_cast<std::int64_t>(dist2.shape(0)) == n_edges, "dist2: one per edge");
  require(hidden > 0 && hidden % 16 == 0, "hidden: a multiple of 16 is needed");
  require(packed.shape(0) == static_cast<std::size_t>(hidden) * 15 + 1, "packed: not of this width");
  nb::gil_scoped_release free;
  require_hits(edge_index, position.shape(0));
  return kernels().filter_logits(position.data(), position.shape(0), edge_index.data(), edge_index.data() + n_edges,
                                 dist2.data(), n_edges, packed.data(), hidden, threads);
}

auto filter_logits(Position position, EdgeIndex edge_index, Floats dist2, Floats packed, int hidden, int threads) {
  return numpy(checked_filter_logits(position, edge_index, dist2, packed, hidden, threads));
}

/// The edges whose filter logit is at least `cut`, in order.
auto filter_kept(Position position, EdgeIndex edge_index, Floats dist2, Floats packed, int hidden, int threads,
                 float cut) {
  const Array<float> logit = checked_filter_logits(position, edge_index, dist2, packed, hidden, threads);
  const std::int64_t n_edges = edge_index.shape(1), *hit = edge_index.data();
  Array<std::int64_t> kept;
  std::size_t n_kept = 0;
  {
    nb::gil_scoped_release free;
    for (std::int64_t e = 0; e < n_edges; ++e) n_kept += logit[e] >= cut;
    kept = Array<std::int64_t>(2 * n_kept);
    for (std::int64_t e = 0, k = 0; e < n_edges; ++e) {
      if (!(logit[e] >= cut)) continue;
      kept[k] = hit[e];
      kept[n_kept + k++] = hit[n_edges + e];
    }
  }
  return numpy(std::move(kept), {2, n_kept});
}

auto gnn_logits(Position position, EdgeIndex edge_index, In<float, -1, -1> pair_features, Floats packed, int hidden,
                int steps, int threads) {
  const std::int64_t n_edges = edge_index.shape(1), h = hidden, n_pair = pair_features.shape(1);
  const std::int64_t encoders = (3 + 1 + 6 + n_pair + 1) * h + 2 * (h + 1) * h;
  require(static_cast<std::int64_t>(pair_features.shape(0)) == n_edges, "pair_features: one row per edge");
  require(hidden > 0 && hidden % 16 == 0 && steps >= 0, "hidden: a multiple of 16 is needed");
  require(static_cast<std::int64_t>(packed.shape(0)) ==
              encoders + 2 * steps * ((3 * h + 1) * h + (h + 1) * h) + (3 * h + 1) * h + h + 1,
          "packed: not of these widths");
  Array<float> logit;
  {
    nb::gil_scoped_release free;
    require_hits(edge_index, position.shape(0));
    const std::int64_t* inner = edge_index.data();
    for (std::int64_t e = 1; e < n_edges; ++e)
      require(inner[e - 1] <= inner[e], "edge_index: must be sorted by inner hit");
    logit = kernels().gnn_logits(position.data(), position.shape(0), inner, inner + n_edges, pair_features.data(),
                                 static_cast<int>(n_pair), n_edges, packed.data(), hidden, steps, threads);
  }
  return numpy(std::move(logit));
}

}  // namespace

void bind_networks(nb::module_& m) {
  m.def("embed", &embed, "position"_a, "packed"_a, "widths"_a, "threads"_a);
  m.def("radius_edges", &radius_edges, "source"_a, "target"_a, "position"_a, "offsets"_a, "radius"_a,
        "max_neighbours"_a, "kappa_max"_a, "z0_max"_a, "threads"_a);
  m.def("filter_logits", &filter_logits, "position"_a, "edge_index"_a, "dist2"_a, "packed"_a, "hidden"_a, "threads"_a);
  m.def("filter_kept", &filter_kept, "position"_a, "edge_index"_a, "dist2"_a, "packed"_a, "hidden"_a, "threads"_a,
        "cut"_a);
  m.def("gnn_logits", &gnn_logits, "position"_a, "edge_index"_a, "pair_features"_a, "packed"_a, "hidden"_a, "steps"_a,
        "threads"_a);
}
