// Whole pipelines in one call, and what Python shares with them: packing, cuts, coordinates.
#include "pipelines/policy.hpp"

#include <nanobind/stl/array.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <array>
#include <string>
#include <string_view>

#include "bindings/arrays.hpp"
#include "native/errors.hpp"
#include "pipelines/hits.hpp"
#include "pipelines/model_files.hpp"

namespace {

using Matrix = In<float, -1, -1>;

/// Calls what Python gave to be called before each stage. Without it the GIL is not asked for until the end.
void ask(void* between) {
  nb::gil_scoped_acquire held;
  (*static_cast<nb::object*>(between))();
}

auto find(const beampipe::Pipeline& pipeline, Position position, Offsets offsets,
          const std::array<double, 4>& beam_line, int threads, bool check, nb::object between) {
  const beampipe::Blocks events = blocks_of(offsets, position.shape(0));
  beampipe::Found found;
  const bool asks = !between.is_none();
  {
    nb::gil_scoped_release free;
    const auto [x, y, dxdz, dydz] = beam_line;
    found = pipeline.find(position.data(), events.begin, events.n, {x, y, dxdz, dydz}, threads, check,
                          asks ? &ask : nullptr, &between);
  }
  std::vector<std::array<double, 4>> seen_from;
  for (const beampipe::BeamLine& line : found.beam_line) seen_from.push_back({line.x, line.y, line.dxdz, line.dydz});
  return nb::make_tuple(numpy(std::move(found.track_id)), found.seconds, found.edges, found.triplets, found.outside,
                        found.unfilled, seen_from);
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
  const auto [x, y, dxdz, dydz] = beam_line;
  return numpy(beampipe::seen_from({x, y, dxdz, dydz}, position.data(), position.shape(0)), {position.shape(0), 3});
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
  const std::string_view text = error.what();  // it may name a file, and names of files may hold any bytes
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
  nb::class_<beampipe::Pipeline>(m, "Pipeline")
      .def("__init__", [](beampipe::Pipeline* self, const std::string& spec,
                          const std::string& weights) { new (self) beampipe::Pipeline(kernels(), spec, weights); })
      .def_prop_ro("name", &beampipe::Pipeline::name)
      .def_prop_ro("steps", &beampipe::Pipeline::steps)
      .def("memory", &beampipe::Pipeline::memory, "n_hits"_a)
      .def("find", &find, "position"_a, "offsets"_a, "beam_line"_a, "threads"_a, "check"_a, "between"_a.none());
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
