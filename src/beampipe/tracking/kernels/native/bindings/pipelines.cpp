// Pipelines that run in one call, and functions that Python shares with them: packing, cuts, coordinates.
#include "pipelines/policy.hpp"

#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>

#include "bindings/arrays.hpp"
#include "native/errors.hpp"
#include "pipelines/hits.hpp"
#include "pipelines/model_files.hpp"

namespace {

using Matrix = In<float, -1, -1>;

/// Runs the stages of a pass in Python: `run` is called with the number of the pass, the positions, and the first hit of
/// each event and the end (None for one event); it gives labels, and numbers of edges and triplets of each event.
beampipe::PassTracks run_in_python(const nb::object& run, std::size_t pass, const beampipe::Hits& hits) {
  nb::gil_scoped_acquire held;
  const auto copied = [](const auto* data, std::size_t size) {
    Array<std::remove_const_t<std::remove_pointer_t<decltype(data)>>> copy(size);
    std::copy_n(data, size, copy.begin());
    return copy;
  };
  const auto n = static_cast<std::size_t>(hits.n), n_events = static_cast<std::size_t>(hits.events.n);
  const nb::object offsets = n_events == 1 ? nb::none() : numpy(copied(hits.events.begin, n_events + 1));
  const nb::object result = run(pass, numpy(copied(hits.position, 3 * n), {n, 3}), offsets);
  auto [label, edges, triplets] =
      nb::cast<std::tuple<In<std::int64_t, -1>, std::vector<std::int64_t>, std::vector<std::int64_t>>>(result);
  require(label.shape(0) == n, "track_id: one per hit");
  require(edges.size() == n_events && triplets.size() == n_events, "edges, triplets: one number per event");
  for (std::size_t i = 0; i < n; ++i) require(label.data()[i] < hits.n, "track_id: out of range");
  return {copied(label.data(), n), std::move(edges), std::move(triplets)};
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

beampipe::BeamLine line_of(const std::array<double, 4>& numbers) {
  const auto [x, y, dxdz, dydz] = numbers;
  return {x, y, dxdz, dydz};
}

auto find(const beampipe::TrackFinder& finder, Position position, Offsets offsets,
          const std::array<double, 4>& beam_line, int threads, bool check, const nb::object& hook,
          const nb::object& run, const std::vector<Measured>& measured) {
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
  std::vector<std::array<double, 4>> seen_from;
  for (const beampipe::BeamLine& line : found.beam_line) seen_from.push_back({line.x, line.y, line.dxdz, line.dydz});
  return nb::make_tuple(numpy(std::move(found.track_id)), found.seconds, found.edges, found.triplets, found.outside,
                        found.unfilled, seen_from);
}

/// Hits on no layer and layers that hits do not fill, of each event.
auto compare(const beampipe::TrackFinder& finder, Position position, Offsets offsets,
             const std::array<double, 4>& beam_line, int threads, bool check) {
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
  by_output ? pack_by_output(mlp, row) : pack_by_input(mlp, row);
  Array<float> result(row.size());
  std::copy(row.begin(), row.end(), result.begin());
  return numpy(std::move(result));
}

auto seen_from(const std::array<double, 4>& beam_line, Position position) {
  return numpy(beampipe::seen_from(line_of(beam_line), position.data(), position.shape(0)), {position.shape(0), 3});
}

auto beam_spot(Position position, In<std::int64_t, -1> track_id) {
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
  } catch (const beampipe::NotFiniteError& error) {
    raise("NotFiniteError", error);
  } catch (const beampipe::TooLargeError& error) {
    raise("TooLargeError", error);
  } catch (const beampipe::LayoutError& error) {
    raise(error);
  } catch (const beampipe::InputError& error) {
    raise("InputError", error);
  } catch (const beampipe::FileError& error) {
    raise("FileError", error);
  } catch (const beampipe::ConfigError& error) {
    raise("ConfigError", error);
  }
}

}  // namespace

void translate_errors() { nb::register_exception_translator(&translate); }

void bind_pipelines(nb::module_& m) {
  nb::class_<beampipe::TrackFinder>(m, "TrackFinder")
      .def("__init__", [](beampipe::TrackFinder* self, const std::string& spec,
                          const std::string& weights) { new (self) beampipe::TrackFinder(kernels(), spec, weights); })
      .def_prop_ro("name", &beampipe::TrackFinder::name)
      .def_prop_ro("steps", &beampipe::TrackFinder::steps)
      .def("memory", &beampipe::TrackFinder::memory, "n_hits"_a)
      .def("compare", &compare, "position"_a, "offsets"_a, "beam_line"_a, "threads"_a, "check"_a)
      .def("find", &find, "position"_a, "offsets"_a, "beam_line"_a, "threads"_a, "check"_a,
           "hook"_a.none() = nb::none(), "run"_a.none() = nb::none(), "measured"_a = std::vector<Measured>());
  m.def("packed", &packed, "weights"_a, "biases"_a, "by_output"_a);
  m.def("logit_of", &beampipe::logit_of, "cut"_a);
  m.def("lowest_logit", &beampipe::lowest_logit, "cut"_a);
  m.def("seen_from", &seen_from, "beam_line"_a, "position"_a);
  m.def("beam_spot", &beam_spot, "position"_a, "track_id"_a);
  m.def("turned", &turned, "position"_a);
  m.def("to_mm", &to_mm, "scale"_a, "features"_a);
  m.def(
      "require_finite", [](Position position) { beampipe::require_finite(position.data(), position.shape(0)); },
      "position"_a);
}
