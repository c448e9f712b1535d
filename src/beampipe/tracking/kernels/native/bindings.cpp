// The Python module beampipe.tracking.kernels._native: kernels, pipelines that run in one call, and functions that Python
// shares with them.
//
// To add a kernel `name`:
//   1. kernels.hpp: one line K(name, Result, (arguments)); pointers and sizes in, Array<T> or a struct of them out.
//   2. a .cpp file of its topic: `namespace beampipe { Result name(arguments) {...} }`. It is compiled once per
//      instruction set into a library of its own (_kernels_avx2.so, ...), so it may use the C++ library freely; vector
//      code goes through simd.hpp or `#ifdef __AVX512F__`. Threads:
//      `#pragma omp parallel num_threads(threads)`, and the result must not depend on their number. No exceptions out
//      of a parallel region.
//   3. here: a function that checks shapes, frees the GIL, calls `kernels.name(...)` and returns
//      `numpy(std::move(array))`.
//   4. ../__init__.py: the public function, with its numpy reference in tests/tracking/kernels/reference.py.
//   5. build: cmake -S . -B build -G Ninja && cmake --build build && cmake --install build --prefix src
//
// Wrong shapes raise ValueError here; beampipe's own errors come with advice, from the Python side or native/errors.hpp.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "isa.hpp"
#include "kernels.hpp"
#include "native/errors.hpp"
#include "pipelines/hits.hpp"
#include "pipelines/model_files.hpp"
#include "pipelines/policy.hpp"

namespace nb = nanobind;
using namespace nb::literals;
using beampipe::Array;
using beampipe::WindowTables;

namespace {

template <typename T, int... Shape>
using In = nb::ndarray<const T, nb::shape<Shape...>, nb::c_contig, nb::device::cpu>;
using Pairs = In<std::int64_t, 2, -1>;  // inner and outer hits of edges, or both edges of triplets
using Floats = In<float, -1>;
using Whole = In<std::int64_t, -1>;
using Matrix = In<float, -1, -1>;
using Position = In<float, -1, 3>;
using Line = std::array<double, 4>;  // a beam line: x, y, dxdz, dydz

/// The array as numpy, which now owns the memory.
template <typename T>
nb::object numpy(Array<T>&& array, std::vector<std::size_t> shape = {}) {
  if (shape.empty()) shape = {array.size()};
  auto* kept = new Array<T>(std::move(array));
  nb::capsule owner(kept, [](void* p) noexcept { delete static_cast<Array<T>*>(p); });
  nb::object result = nb::cast(nb::ndarray<nb::numpy, T>(kept->data(), shape.size(), shape.data(), owner));
  // numpy gives longlong, as wide as int64 but of another type when types are compared.
  if constexpr (std::is_same_v<T, std::int64_t>) result = result.attr("view")("int64");
  return result;
}

/// Pairs as numpy: (2, n).
nb::object numpy_pairs(Array<std::int64_t>&& pairs) {
  const std::size_t n = pairs.size() / 2;
  return numpy(std::move(pairs), {2, n});
}

/// The result of the work, done without the interpreter's lock.
template <typename Work>
auto without_lock(Work&& work) {
  nb::gil_scoped_release free;
  return work();
}

void require(bool holds, const char* message) {
  if (!holds) throw std::invalid_argument(message);
}

/// The blocks of n hits between the offsets.
beampipe::Blocks blocks_of(const Whole& offsets, std::int64_t n) {
  const std::int64_t *begin = offsets.data(), size = static_cast<std::int64_t>(offsets.shape(0));
  require(size > 0 && begin[0] == 0 && begin[size - 1] == n, "offsets: from 0 to the number of hits");
  for (std::int64_t k = 1; k < size; ++k) require(begin[k - 1] <= begin[k], "offsets: not sorted");
  return {begin, size - 1};
}

beampipe::Hits hits_of(const Position& position, int threads) {
  const auto n = static_cast<std::int64_t>(position.shape(0));
  return {position.data(), n, {}, beampipe::TrackFinder::useful_threads(threads, n)};
}

beampipe::Hits hits_of(const Position& position, const Whole& offsets, int threads) {
  beampipe::Hits hits = hits_of(position, threads);
  hits.events = blocks_of(offsets, hits.n);
  return hits;
}

/// Edges between n hits.
beampipe::EdgeList edges_of(const Pairs& index, std::int64_t n_hits, bool sorted = false) {
  const auto n = static_cast<std::int64_t>(index.shape(1));
  const beampipe::EdgeList edges{n, index.data(), index.data() + n};
  bool outside = false;
  for (std::int64_t e = 0; e < 2 * n; ++e) outside |= edges.inner[e] < 0 || edges.inner[e] >= n_hits;
  require(!outside, "edge_index: out of range");
  require(!sorted || std::is_sorted(edges.inner, edges.outer), "edge_index: not sorted by inner hit");
  return edges;
}

beampipe::TripletList triplets_of(const Pairs& triplets, const Floats& chi2) {
  const auto n = static_cast<std::int64_t>(triplets.shape(1));
  require(chi2.shape(0) == triplets.shape(1), "chi2: one per triplet");
  return {n, triplets.data(), triplets.data() + n, chi2.data()};
}

// ---- choice of the instruction set ----

std::string isa_name;
beampipe::Table kernels;  // those in use; pipelines refer to it, so that they follow a choice made later

/// Open the library of `name`, or of the best instruction set that this CPU has, and use its kernels from now on.
void use_isa(const std::string& name) {
  kernels = beampipe::open_kernels(beampipe::folder_of_this_library(), name);
  isa_name = beampipe::chosen_isa(name);
}

// ---- learned windows: layers, doublets, triplets, paths ----

auto assign_layers(Position position, const WindowTables& windows, int threads) {
  return numpy(without_lock([&] { return kernels.assign_layers(hits_of(position, threads), windows.view()); }));
}

auto module_map_edges(Position position, Whole offsets, const WindowTables& windows, int seed_depth,
                      float least_curvature, int threads) {
  return numpy_pairs(without_lock([&] {
    return kernels.module_map_edges(hits_of(position, offsets, threads), windows.view(), {seed_depth, least_curvature});
  }));
}

auto triplets(Position position, Pairs edge_index, const WindowTables& windows, int threads) {
  beampipe::Triplets found = without_lock([&] {
    const beampipe::EdgeList edges = edges_of(edge_index, position.shape(0), true);
    return kernels.triplets(hits_of(position, threads), edges, windows.view());
  });
  return nb::make_tuple(numpy_pairs(std::move(found.edges)), numpy(std::move(found.chi2)));
}

auto pair_features(Pairs triplets, Floats chi2, std::int64_t n_edges) {
  return numpy(without_lock([&] { return kernels.pair_features(triplets_of(triplets, chi2), n_edges); }),
               {static_cast<std::size_t>(n_edges), 6});
}

auto walk(std::int64_t n_hits, Pairs edge_index, Pairs triplets, Floats chi2, Floats weight, In<std::int16_t, -1> layer,
          float penalty, int min_hits) {
  require(weight.shape(0) == edge_index.shape(1), "weight: one per edge");
  require(static_cast<std::int64_t>(layer.shape(0)) == n_hits, "layer: one per hit");
  return numpy(without_lock([&] {
    return kernels.walk(n_hits, edges_of(edge_index, n_hits), triplets_of(triplets, chi2), weight.data(), layer.data(),
                        penalty, min_hits);
  }));
}

auto complete(Position position, Whole offsets, Whole track_id, const WindowTables& windows, float penalty,
              float min_score, int min_hits, int threads) {
  require(track_id.shape(0) == position.shape(0), "track_id: one per hit");
  return numpy(without_lock([&] {
    const beampipe::Hits hits = hits_of(position, offsets, threads);
    for (std::int64_t i = 0; i < hits.n; ++i) require(track_id.data()[i] < hits.n, "track_id: out of range");
    return kernels.complete(hits, track_id.data(), windows.view(), penalty, min_score, min_hits);
  }));
}

auto connected_components(std::int64_t n_hits, Pairs edge_index, std::int64_t min_hits) {
  return numpy(
      without_lock([&] { return kernels.connected_components(n_hits, edges_of(edge_index, n_hits), min_hits); }));
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
  return numpy(
      without_lock([&] { return kernels.embed(hits_of(position, threads), packed.data(), widths.data(), n_layers); }),
      {position.shape(0), static_cast<std::size_t>(widths[n_layers])});
}

auto radius_edges(Rows source, Rows target, Position position, Whole offsets, float radius, std::int64_t max_neighbours,
                  float kappa_max, float z0_max, int threads) {
  require(source.shape(0) == position.shape(0) && target.shape(0) == position.shape(0),
          "source, target: one row per hit");
  require(position.shape(0) == 0 || (source.stride(1) == 1 && target.stride(1) == 1),
          "source, target: rows must be contiguous");
  beampipe::RadiusEdges edges = without_lock([&] {
    return kernels.radius_edges(
        hits_of(position, offsets, threads),
        {source.data(), target.data(), source.stride(0), target.stride(0), radius, max_neighbours, kappa_max, z0_max});
  });
  return nb::make_tuple(numpy_pairs(std::move(edges.edge_index)), numpy(std::move(edges.dist2)));
}

auto filter_logits(Position position, Pairs edge_index, Floats dist2, Floats packed, int hidden, int threads) {
  require(dist2.shape(0) == edge_index.shape(1), "dist2: one per edge");
  require(hidden > 0 && hidden % 16 == 0, "hidden: a multiple of 16 is needed");
  require(packed.shape(0) == static_cast<std::size_t>(hidden) * 15 + 1, "packed: not of this width");
  return numpy(without_lock([&] {
    const beampipe::EdgeList edges = edges_of(edge_index, position.shape(0));
    return kernels.filter_logits(hits_of(position, threads), edges, dist2.data(), packed.data(), hidden);
  }));
}

auto gnn_logits(Position position, Pairs edge_index, Matrix pair_features, Floats packed, int hidden, int steps,
                int threads) {
  const std::int64_t h = hidden, n_pair = pair_features.shape(1);
  const std::int64_t encoders = (3 + 1 + 6 + n_pair + 1) * h + 2 * (h + 1) * h;
  require(pair_features.shape(0) == edge_index.shape(1), "pair_features: one row per edge");
  require(hidden > 0 && hidden % 16 == 0 && steps >= 0, "hidden: a multiple of 16 is needed");
  require(static_cast<std::int64_t>(packed.shape(0)) ==
              encoders + 2 * steps * ((3 * h + 1) * h + (h + 1) * h) + (3 * h + 1) * h + h + 1,
          "packed: not of these widths");
  return numpy(without_lock([&] {
    const beampipe::EdgeList edges = edges_of(edge_index, position.shape(0), true);
    return kernels.gnn_logits(hits_of(position, threads), edges, pair_features.data(), static_cast<int>(n_pair),
                              packed.data(), hidden, steps);
  }));
}

// ---- track fit ----

auto fit_tracks(Position position, Whole rows, Whole begin, In<float, -1, 4> layers,
                In<float, -1, beampipe::kRingWidth> rings, In<float, -1, 2> variance, Floats scattering,
                In<float, -1, 2> tubes, double energy_loss, double field, Floats field_shape, bool reject_outliers,
                int threads) {
  const beampipe::Blocks tracks = blocks_of(begin, rows.shape(0));
  require(field_shape.shape(0) == beampipe::kFieldTerms, "field_shape: nine coefficients");
  require(variance.shape(0) == layers.shape(0) && scattering.shape(0) == layers.shape(0), "tables: one per layer");
  const beampipe::FitTables tables = {static_cast<int>(layers.shape(0)),
                                      layers.data(),
                                      static_cast<int>(rings.shape(0)),
                                      rings.data(),
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
    return kernels.fit_tracks(position.data(), n, {tracks.n, tracks.begin, rows.data()}, tables, reject_outliers,
                              beampipe::TrackFinder::useful_threads(threads, rows.shape(0)));
  });
  const std::size_t n = fits.chi2.size();
  return nb::make_tuple(numpy(std::move(fits.values), {n, 5}), numpy(std::move(fits.covariance), {n, 5, 5}),
                        numpy(std::move(fits.chi2)), numpy(std::move(fits.n_hits)), numpy(std::move(fits.status)),
                        numpy(std::move(fits.outliers), {n, beampipe::kMaxOutliers}));
}

// ---- pipelines ----

/// Runs the stages of a pass in Python: `run` is called with the number of the pass, the positions, and the first hit of
/// each event and the end (None for one event); it gives labels, and numbers of edges and triplets of each event.
beampipe::PassTracks run_in_python(const nb::object& run, std::size_t pass, const beampipe::Hits& hits) {
  nb::gil_scoped_acquire held;
  const auto n = static_cast<std::size_t>(hits.n), n_events = static_cast<std::size_t>(hits.events.n);
  const std::int64_t* begin = hits.events.begin;
  const nb::object offsets = n_events == 1 ? nb::none() : numpy(Array<std::int64_t>(begin, begin + n_events + 1));
  const nb::object result = run(pass, numpy(Array<float>(hits.position, hits.position + 3 * n), {n, 3}), offsets);
  auto [label, edges, triplets] =
      nb::cast<std::tuple<Whole, std::vector<std::int64_t>, std::vector<std::int64_t>>>(result);
  require(label.shape(0) == n, "track_id: one per hit");
  require(edges.size() == n_events && triplets.size() == n_events, "edges, triplets: one number per event");
  for (std::size_t i = 0; i < n; ++i) require(label.data()[i] < hits.n, "track_id: out of range");
  return {Array<std::int64_t>(label.data(), label.data() + n), std::move(edges), std::move(triplets)};
}

/// geometry_id, local and variance of the hits of an event; None where only positions are known.
using Measured = std::optional<std::tuple<In<std::uint64_t, -1>, In<float, -1, 2>, In<float, -1, 2>>>;

std::vector<beampipe::Measurements> measurements_of(const std::vector<Measured>& measured,
                                                    const beampipe::Blocks& events) {
  std::vector<beampipe::Measurements> result(events.n);
  require(measured.empty() || measured.size() == result.size(), "measured: one per event");
  for (std::size_t k = 0; k < measured.size(); ++k) {
    if (!measured[k]) continue;
    const auto& [geometry_id, local, variance] = *measured[k];
    const auto n = static_cast<std::size_t>(events.size(static_cast<std::int64_t>(k)));
    require(geometry_id.shape(0) == n && local.shape(0) == n && variance.shape(0) == n, "measured: one row per hit");
    result[k] = {geometry_id.data(), local.data(), variance.data()};
  }
  return result;
}

beampipe::BeamLine line_of(const Line& line) { return {line[0], line[1], line[2], line[3]}; }

auto find(const beampipe::TrackFinder& finder, Position position, Whole offsets, const Line& beam_line, int threads,
          bool check, const nb::object& hook, const nb::object& run, const std::vector<Measured>& measured) {
  const beampipe::Blocks events = blocks_of(offsets, position.shape(0));
  beampipe::FindOptions options{threads, check, {}, {}, measurements_of(measured, events)};
  // The GIL is taken for these only.
  if (!hook.is_none())
    options.hook = [&](const std::string& step) {
      nb::gil_scoped_acquire held;
      hook(step, nb::none());
    };
  if (!run.is_none())
    options.run = [&](std::size_t pass, const beampipe::Hits& hits) { return run_in_python(run, pass, hits); };
  beampipe::Found found =
      without_lock([&] { return finder.find(position.data(), events.begin, events.n, line_of(beam_line), options); });
  std::vector<Line> seen_from;
  for (const beampipe::BeamLine& line : found.beam_line) seen_from.push_back({line.x, line.y, line.dxdz, line.dydz});
  return nb::make_tuple(numpy(std::move(found.track_id)), found.seconds, found.edges, found.triplets, found.outside,
                        found.unfilled, seen_from);
}

/// Hits on no layer and layers that hits do not fill, of each event.
auto compare(const beampipe::TrackFinder& finder, Position position, Whole offsets, const Line& beam_line, int threads,
             bool check) {
  const beampipe::Blocks events = blocks_of(offsets, position.shape(0));
  const std::vector<beampipe::Fit> fits =
      without_lock([&] { return finder.compare(position.data(), events, line_of(beam_line), threads, check); });
  std::vector<std::int64_t> outside, unfilled;
  for (const beampipe::Fit& fit : fits) outside.push_back(fit.outside), unfilled.push_back(fit.unfilled);
  return nb::make_tuple(outside, unfilled);
}

/// Weights (out, in) and bias (out,) of each layer as one row of floats.
auto packed(const std::vector<Matrix>& weights, const std::vector<Floats>& biases, bool by_output) {
  require(weights.size() == biases.size(), "biases: one per matrix");
  beampipe::Mlp mlp;
  for (std::size_t k = 0; k < weights.size(); ++k) {
    const float *weight = weights[k].data(), *bias = biases[k].data();
    require(weights[k].shape(0) == biases[k].shape(0), "bias: one per row of its matrix");
    mlp.push_back({{weight, weight + weights[k].size()}, {bias, bias + biases[k].size()}});
  }
  std::vector<float> row;
  pack(mlp, by_output, row);
  return numpy(Array<float>(row.begin(), row.end()));
}

auto seen_from(const Line& beam_line, Position position) {
  return numpy(beampipe::seen_from(line_of(beam_line), position.data(), position.shape(0)), {position.shape(0), 3});
}

auto beam_spot(Position position, Whole track_id) {
  require(track_id.shape(0) == position.shape(0), "track_id: one per hit");
  const auto spot = beampipe::estimate_beam_spot(position.data(), track_id.data(), position.shape(0));
  return nb::make_tuple(spot.x, spot.y, spot.error, spot.spread, spot.n_tracks, spot.share);
}

auto turned(Position position) {
  return numpy(beampipe::turned(position.data(), position.shape(0)), {position.shape(0), 3});
}

auto to_mm(const std::string& scale, Position features) {
  Array<float> position(features.size());
  beampipe::to_mm(beampipe::scale_named(scale), features.data(), features.shape(0), position.data());
  return numpy(std::move(position), {features.shape(0), 3});
}

// ---- errors ----

nb::object error_type(const char* name) { return nb::module_::import_("beampipe.errors").attr(name); }

void raise(const char* name, const std::exception& error) {
  const std::string_view text = error.what();  // it may contain the name of a file, which may consist of any bytes
  const nb::object message = nb::steal(PyUnicode_DecodeUTF8(text.data(), text.size(), "replace"));
  PyErr_SetObject(error_type(name).ptr(), message.ptr());
}

void raise(const beampipe::LayoutError& error) {
  const nb::object type = error_type("LayoutError");
  const nb::object made =
      type(error.what(), "hits"_a = error.hits, "outside"_a = error.outside, "hint"_a = error.hint.c_str());
  PyErr_SetObject(type.ptr(), made.ptr());
}

void translate(const std::exception_ptr& thrown, void*) {
  try {
    std::rethrow_exception(thrown);
  } catch (const beampipe::LayoutError& error) {
    raise(error);
  } catch (const beampipe::InputError& error) {
    raise(error.name(), error);
  } catch (const beampipe::FileError& error) {
    raise("FileError", error);
  } catch (const beampipe::ConfigError& error) {
    raise("ConfigError", error);
  }
}

}  // namespace

NB_MODULE(_native, m) {
  nb::register_exception_translator(&translate);
  const char* wish = std::getenv("BEAMPIPE_ISA");
  use_isa(wish == nullptr ? "" : wish);

  m.doc() = "Native kernels of beampipe.tracking; see beampipe.tracking.kernels.";
  m.attr("BUILD") = BUILD;
  m.def("isa", [] { return isa_name; }, "Name of the instruction set in use.");
  m.def("compiled_isas", &beampipe::compiled_isas, "Names of the instruction sets that kernels were built for.");
  m.def("supported_isas", &beampipe::supported_isas, "Names of those that this CPU has, worst first.");
  m.def("use_isa", &use_isa, "Choose the instruction set (for tests).");
  nb::class_<WindowTables>(m, "Windows")
      .def("__init__", [](WindowTables* self, In<float, -1, 4> layers, In<std::int32_t, -1, 2> pairs,
                          In<float, -1, 3> pair_windows, In<std::int32_t, -1> out_begin,
                          In<float, -1, beampipe::kMaxOut, 4> triplet_windows) {
        require(out_begin.shape(0) == layers.shape(0) + 1, "out_begin: one per layer and one more");
        require(pair_windows.shape(0) == pairs.shape(0) && triplet_windows.shape(0) == pairs.shape(0),
                "windows: one per pair");
        const auto copied = [](const auto& array) { return std::vector(array.data(), array.data() + array.size()); };
        new (self) WindowTables(copied(layers), copied(pairs), copied(pair_windows), copied(out_begin),
                                copied(triplet_windows));
      });
  m.def("assign_layers", &assign_layers);
  m.def("module_map_edges", &module_map_edges);
  m.def("triplets", &triplets);
  m.def("pair_features", &pair_features);
  m.def("walk", &walk);
  m.def("complete", &complete);
  m.def("connected_components", &connected_components);
  m.def("embed", &embed);
  m.def("radius_edges", &radius_edges);
  m.def("filter_logits", &filter_logits);
  m.def("gnn_logits", &gnn_logits);
  m.def("fit_tracks", &fit_tracks);
  nb::class_<beampipe::TrackFinder>(m, "TrackFinder")
      .def("__init__",
           [](beampipe::TrackFinder* self, const std::string& spec, const std::string& weights) {
             new (self) beampipe::TrackFinder(kernels, beampipe::PipelineSpec::parse(spec), weights);
           })
      .def_prop_ro("name", &beampipe::TrackFinder::name)
      .def_prop_ro("steps", &beampipe::TrackFinder::steps)
      .def("memory", &beampipe::TrackFinder::memory)
      .def("compare", &compare)
      .def("find", &find, "position"_a, "offsets"_a, "beam_line"_a, "threads"_a, "check"_a,
           "hook"_a.none() = nb::none(), "run"_a.none() = nb::none(), "measured"_a = std::vector<Measured>());
  m.def("packed", &packed);
  m.def("logit_of", &beampipe::logit_of);
  m.def("lowest_logit", &beampipe::lowest_logit);
  m.def("seen_from", &seen_from);
  m.def("beam_spot", &beam_spot);
  m.def("turned", &turned);
  m.def("to_mm", &to_mm);
  m.def("require_finite", [](Position position) { beampipe::require_finite(position.data(), position.shape(0)); });
}
