// The Python module beampipe.tracking.kernels._native.
//
// To add a kernel `name`:
//   1. kernels.hpp: one line K(name, Result, (arguments)); pointers and sizes in, Array<T> or a struct of them out.
//   2. name.cpp: `namespace beampipe { Result name(arguments) {...} }`. It is compiled once per instruction set into
//      a library of its own (_kernels_baseline.so, _kernels_avx2.so, _kernels_avx512.so), so it may use the C++ library
//      freely; vector code goes through simd.hpp or `#ifdef __AVX512F__`. Threads:
//      `#pragma omp parallel num_threads(threads)`, and the result must not depend on their number. No exceptions out
//      of a parallel region.
//   3. here: a function that checks shapes, frees the GIL, calls `kernels().name(...)` and returns
//      `numpy(std::move(array))`.
//   4. ../__init__.py: the public function, with the numpy truth in ../reference.py.
//   5. build: cmake -S . -B build -G Ninja && cmake --build build && cmake --install build --prefix src
//
// Wrong shapes raise ValueError here; beampipe's own errors come with advice, from the Python side or native/errors.hpp.
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "bindings/arrays.hpp"
#include "isa.hpp"
#include "pipelines/layout.hpp"
#include "pipelines/model_files.hpp"

namespace {

// ---- choice of the instruction set ----

std::string isa_name;
beampipe::Table table;  // the kernels in use; pipelines refer to it, so that they follow a choice made later
}  // namespace

const beampipe::Table& kernels() { return table; }

namespace {

/// Open the library of `name`, or of the best instruction set that this CPU has, and use its kernels from now on.
void use_isa(const std::string& name) {
  table = beampipe::open_kernels(beampipe::folder_of_this_library(), name);
  isa_name = beampipe::chosen_isa(name);
}

// ---- kernels ----

void require_hits(const EdgeIndex& edge_index, std::int64_t n) {
  const std::int64_t* hit = edge_index.data();
  bool outside = false;
  for (std::size_t e = 0; e < 2 * edge_index.shape(1); ++e) outside |= hit[e] < 0 || hit[e] >= n;
  require(!outside, "edge_index: out of range");
}

void require_sorted(const EdgeIndex& edge_index, std::int64_t n) {
  require_hits(edge_index, n);
  const std::int64_t* inner = edge_index.data();
  require(std::is_sorted(inner, inner + edge_index.shape(1)), "edge_index: not sorted by inner hit");
}

auto connected_components(std::int64_t n, EdgeIndex edge_index, std::int64_t min_hits) {
  const std::int64_t n_edges = edge_index.shape(1);
  const std::int64_t* inner = edge_index.data();
  return numpy(without_lock([&] {
    require_hits(edge_index, n);
    return kernels().connected_components(n, inner, inner + n_edges, n_edges, min_hits);
  }));
}

// ---- learned windows: layers, doublets, triplets, paths ----

/// Keeps the arrays alive that beampipe::Windows points to.
struct WindowTables {
  In<float, -1, 4> layers;
  In<std::int32_t, -1, 2> pairs;
  In<float, -1, 3> pair_windows;
  In<std::int32_t, -1> out_begin;
  In<float, -1, beampipe::kMaxOut, 4> triplet_windows;
  beampipe::Crossings crossings = beampipe::crossings_of(layers.data(), static_cast<int>(layers.shape(0)));

  beampipe::Windows view() const {
    return {static_cast<int>(layers.shape(0)),
            static_cast<int>(pairs.shape(0)),
            layers.data(),
            pairs.data(),
            pair_windows.data(),
            out_begin.data(),
            triplet_windows.data(),
            &crossings};
  }
};

auto fit_on_layers(Position position, const WindowTables& windows, int threads) {
  const auto n = static_cast<std::int64_t>(position.shape(0));
  const std::int64_t begin[] = {0, n};
  const beampipe::Fit fit = without_lock([&] {
    const Array<std::int16_t> layer = kernels().assign_layers(position.data(), n, windows.view(), threads);
    return beampipe::fits_of(windows.view(), position.data(), layer.data(), {begin, 1}).front();
  });
  return nb::make_tuple(fit.outside, fit.unfilled);
}

auto assign_layers(Position position, const WindowTables& windows, int threads) {
  return numpy(without_lock(
      [&] { return kernels().assign_layers(position.data(), position.shape(0), windows.view(), threads); }));
}

auto module_map_edges(Position position, Offsets offsets, const WindowTables& windows, int seed_depth,
                      float least_curvature, int threads) {
  const beampipe::Blocks blocks = blocks_of(offsets, position.shape(0));
  Array<std::int64_t> edge_index = without_lock([&] {
    return kernels().module_map_edges(position.data(), blocks, windows.view(), {seed_depth, least_curvature}, threads);
  });
  const std::size_t n_edges = edge_index.size() / 2;
  return numpy(std::move(edge_index), {2, n_edges});
}

auto triplets(Position position, EdgeIndex edge_index, const WindowTables& windows, int threads) {
  const std::int64_t n_edges = edge_index.shape(1);
  const std::int64_t* inner = edge_index.data();
  beampipe::Triplets found = without_lock([&] {
    require_sorted(edge_index, position.shape(0));
    return kernels().triplets(position.data(), position.shape(0), inner, inner + n_edges, n_edges, windows.view(),
                              threads);
  });
  const std::size_t n = found.chi2.size();
  return nb::make_tuple(numpy(std::move(found.edges), {2, n}), numpy(std::move(found.chi2)));
}

auto pair_features(EdgeIndex triplets, Floats chi2, std::int64_t n_edges) {
  const std::int64_t n = triplets.shape(1);
  require(static_cast<std::int64_t>(chi2.shape(0)) == n, "chi2: one per triplet");
  return numpy(without_lock([&] {
                 return kernels().pair_features(triplets.data(), triplets.data() + n, chi2.data(), n, n_edges);
               }),
               {static_cast<std::size_t>(n_edges), 6});
}

auto walk(std::int64_t n_hits, EdgeIndex edge_index, EdgeIndex triplets, Floats chi2, Floats weight,
          In<std::int16_t, -1> layer, float penalty, int min_hits) {
  const std::int64_t n_edges = edge_index.shape(1), n = triplets.shape(1);
  require(static_cast<std::int64_t>(chi2.shape(0)) == n, "chi2: one per triplet");
  require(static_cast<std::int64_t>(weight.shape(0)) == n_edges, "weight: one per edge");
  require(static_cast<std::int64_t>(layer.shape(0)) == n_hits, "layer: one per hit");
  const std::int64_t* inner = edge_index.data();
  return numpy(without_lock([&] {
    return kernels().walk(n_hits, inner, inner + n_edges, n_edges, triplets.data(), triplets.data() + n, chi2.data(), n,
                          weight.data(), layer.data(), penalty, min_hits);
  }));
}

auto complete(Position position, Offsets offsets, In<std::int64_t, -1> track_id, const WindowTables& windows,
              float penalty, float min_score, int threads) {
  require(track_id.shape(0) == position.shape(0), "track_id: one per hit");
  const beampipe::Blocks blocks = blocks_of(offsets, position.shape(0));
  return numpy(without_lock([&] {
    const std::int64_t n = track_id.shape(0);
    for (std::int64_t i = 0; i < n; ++i) require(track_id.data()[i] < n, "track_id: out of range");
    return kernels().complete(position.data(), blocks, track_id.data(), windows.view(), penalty, min_score, threads);
  }));
}

// ---- networks ----

// May be columns of a wider array.
using Rows = nb::ndarray<const float, nb::shape<-1, beampipe::kEmbedding>, nb::device::cpu>;

auto embed(Position position, Floats packed, std::vector<int> widths, int threads) {
  const int n_layers = static_cast<int>(widths.size()) - 1;
  std::size_t size = 0;
  for (int k = 0; k < n_layers; ++k) {
    size += static_cast<std::size_t>(widths[k] + 1) * widths[k + 1];
    require(widths[k + 1] % 16 == 0, "widths: a multiple of 16 is needed");
  }
  require(n_layers > 0 && widths[0] == 5 && packed.shape(0) == size, "packed: not of these widths");
  Array<float> out = without_lock([&] {
    return kernels().embed(position.data(), position.shape(0), packed.data(), widths.data(), n_layers, threads);
  });
  return numpy(std::move(out), {position.shape(0), static_cast<std::size_t>(widths[n_layers])});
}

auto radius_edges(Rows source, Rows target, Position position, Offsets offsets, float radius,
                  std::int64_t max_neighbours, float kappa_max, float z0_max, int threads) {
  require(source.shape(0) == position.shape(0) && target.shape(0) == position.shape(0),
          "source, target: one row per hit");
  require(position.shape(0) == 0 || (source.stride(1) == 1 && target.stride(1) == 1),
          "source, target: rows must be contiguous");
  const beampipe::Blocks blocks = blocks_of(offsets, position.shape(0));
  beampipe::RadiusEdges edges = without_lock([&] {
    return kernels().radius_edges({source.data(), target.data(), source.stride(0), target.stride(0), position.data(),
                                   blocks, radius, max_neighbours, kappa_max, z0_max},
                                  threads);
  });
  const std::size_t n_edges = edges.dist2.size();
  return nb::make_tuple(numpy(std::move(edges.edge_index), {2, n_edges}), numpy(std::move(edges.dist2)));
}

auto filter_logits(Position position, EdgeIndex edge_index, Floats dist2, Floats packed, int hidden, int threads) {
  const std::int64_t n_edges = edge_index.shape(1);
  require(static_cast<std::int64_t>(dist2.shape(0)) == n_edges, "dist2: one per edge");
  require(hidden > 0 && hidden % 16 == 0, "hidden: a multiple of 16 is needed");
  require(packed.shape(0) == static_cast<std::size_t>(hidden) * 15 + 1, "packed: not of this width");
  return numpy(without_lock([&] {
    require_hits(edge_index, position.shape(0));
    return kernels().filter_logits(position.data(), position.shape(0), edge_index.data(), edge_index.data() + n_edges,
                                   dist2.data(), n_edges, packed.data(), hidden, threads);
  }));
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
  return numpy(without_lock([&] {
    require_sorted(edge_index, position.shape(0));
    const std::int64_t* inner = edge_index.data();
    return kernels().gnn_logits(position.data(), position.shape(0), inner, inner + n_edges, pair_features.data(),
                                static_cast<int>(n_pair), n_edges, packed.data(), hidden, steps, threads);
  }));
}

// ---- track fit ----

auto fit_tracks(Position position, In<std::int64_t, -1> rows, Offsets begin, In<float, -1, 4> layers,
                In<float, -1, 2> variance, Floats scattering, In<float, -1, 2> tubes, double energy_loss, double field,
                Floats field_shape, bool reject_outliers, int threads) {
  const beampipe::Blocks tracks = blocks_of(begin, rows.shape(0));
  require(field_shape.shape(0) == beampipe::kFieldTerms, "field_shape: nine coefficients");
  require(variance.shape(0) == layers.shape(0) && scattering.shape(0) == layers.shape(0), "tables: one per layer");
  const beampipe::FitTables tables = {static_cast<int>(layers.shape(0)),
                                      layers.data(),
                                      variance.data(),
                                      scattering.data(),
                                      static_cast<int>(tubes.shape(0)),
                                      tubes.data(),
                                      energy_loss,
                                      field,
                                      field_shape.data()};
  beampipe::Fits fits = without_lock([&] {
    const std::int64_t n = position.shape(0);
    for (std::size_t k = 0; k < rows.shape(0); ++k)
      require(rows.data()[k] >= 0 && rows.data()[k] < n, "rows: out of range");
    return kernels().fit_tracks(position.data(), n, {tracks.n, tracks.begin, rows.data()}, tables, reject_outliers,
                                threads);
  });
  const std::size_t n = fits.chi2.size();
  return nb::make_tuple(numpy(std::move(fits.values), {n, 5}), numpy(std::move(fits.covariance), {n, 5, 5}),
                        numpy(std::move(fits.chi2)), numpy(std::move(fits.n_hits)), numpy(std::move(fits.status)),
                        numpy(std::move(fits.outliers), {n, beampipe::kMaxOutliers}));
}

}  // namespace

NB_MODULE(_native, m) {
  translate_errors();
  const char* wish = std::getenv("BEAMPIPE_ISA");
  use_isa(wish == nullptr ? "" : wish);

  m.doc() = "Native kernels of beampipe.tracking; see beampipe.tracking.kernels.";
  m.def("isa", [] { return isa_name; }, "Name of the instruction set in use.");
  m.def("supported_isas", &beampipe::supported_isas, "Names of the instruction sets that this CPU has, worst first.");
  m.def("use_isa", &use_isa, "name"_a, "Choose the instruction set (for tests).");
  m.def("connected_components", &connected_components, "n"_a, "edge_index"_a, "min_hits"_a);
  nb::class_<WindowTables>(m, "Windows")
      .def("__init__",
           [](WindowTables* self, In<float, -1, 4> layers, In<std::int32_t, -1, 2> pairs, In<float, -1, 3> pair_windows,
              In<std::int32_t, -1> out_begin, In<float, -1, beampipe::kMaxOut, 4> triplet_windows) {
             require(out_begin.shape(0) == layers.shape(0) + 1, "out_begin: one per layer and one more");
             require(pair_windows.shape(0) == pairs.shape(0) && triplet_windows.shape(0) == pairs.shape(0),
                     "windows: one per pair");
             new (self) WindowTables{layers, pairs, pair_windows, out_begin, triplet_windows};
           });
  m.def("fit_on_layers", &fit_on_layers, "position"_a, "windows"_a, "threads"_a);
  m.def("assign_layers", &assign_layers, "position"_a, "windows"_a, "threads"_a);
  m.def("module_map_edges", &module_map_edges, "position"_a, "offsets"_a, "windows"_a, "seed_depth"_a,
        "least_curvature"_a, "threads"_a);
  m.def("triplets", &triplets, "position"_a, "edge_index"_a, "windows"_a, "threads"_a);
  m.def("pair_features", &pair_features, "triplets"_a, "chi2"_a, "n_edges"_a);
  m.def("walk", &walk, "n_hits"_a, "edge_index"_a, "triplets"_a, "chi2"_a, "weight"_a, "layer"_a, "penalty"_a,
        "min_hits"_a);
  m.def("fit_tracks", &fit_tracks, "position"_a, "rows"_a, "begin"_a, "layers"_a, "variance"_a, "scattering"_a,
        "tubes"_a, "energy_loss"_a, "field"_a, "field_shape"_a, "reject_outliers"_a, "threads"_a);
  m.def("complete", &complete, "position"_a, "offsets"_a, "track_id"_a, "windows"_a, "penalty"_a, "min_score"_a,
        "threads"_a);
  m.def("embed", &embed, "position"_a, "packed"_a, "widths"_a, "threads"_a);
  m.def("radius_edges", &radius_edges, "source"_a, "target"_a, "position"_a, "offsets"_a, "radius"_a,
        "max_neighbours"_a, "kappa_max"_a, "z0_max"_a, "threads"_a);
  m.def("filter_logits", &filter_logits, "position"_a, "edge_index"_a, "dist2"_a, "packed"_a, "hidden"_a, "threads"_a);
  m.def("gnn_logits", &gnn_logits, "position"_a, "edge_index"_a, "pair_features"_a, "packed"_a, "hidden"_a, "steps"_a,
        "threads"_a);
  bind_pipelines(m);
}
