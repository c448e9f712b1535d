#include "pipelines/track_fitter.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>

#include "pipelines/model_files.hpp"

namespace beampipe {
namespace {

constexpr std::int32_t kVersion = 2;  // FIT_VERSION of tracking/fitting/tables.py

std::string fit_in(const std::string& weights) { return weights + "/fit.safetensors"; }

bool all(const std::vector<float>& values, bool (*holds)(float)) {
  return std::all_of(values.begin(), values.end(), holds);
}

}  // namespace

OwnFitTables::OwnFitTables(const std::string& path) {
  const Safetensors file(path);
  const std::int64_t n = rows_in(file, "layers");
  const auto require = [&](bool holds, const char* message) {
    if (!holds) throw ConfigError(path + ": fit tables: " + message);
  };
  if (!file.has("version") || numbers<std::int32_t>(file, "version", {1})[0] != kVersion)
    throw FileError(path + ": got tables of the track fit of another version, expected " + std::to_string(kVersion) +
                    ": its formulas are others now; learn the model again (beampipe tracking train)");
  try {
    layers_ = numbers<float>(file, "layers", {n, 4});
    rings_ = numbers<float>(file, "rings", {rows_in(file, "rings"), kRingWidth});
    variance_ = numbers<float>(file, "variance", {n, 2});
    scattering_ = numbers<float>(file, "scattering", {n});
    tubes_ = numbers<float>(file, "beam_pipe", {2});
    const std::vector<float> further = numbers<float>(file, "tubes", {rows_in(file, "tubes"), 2});
    tubes_.insert(tubes_.end(), further.begin(), further.end());
    energy_loss_ = numbers<float>(file, "energy_loss", {1});
    field_ = numbers<float>(file, "field", {1});
    field_shape_ = numbers<float>(file, "field_shape", {kFieldTerms});
  } catch (const ConfigError& error) {
    throw ConfigError(path + ": fit tables: " + error.what());
  }
  for (const auto* table :
       {&layers_, &rings_, &variance_, &scattering_, &tubes_, &energy_loss_, &field_, &field_shape_})
    require(all(*table, [](float x) { return std::isfinite(x); }), "got a number that is not finite, expected finite");
  require(all(variance_, [](float x) { return x > 0; }), "got a variance <= 0, expected positive resolutions");
  require(all(scattering_, [](float x) { return x >= 0; }) && all(tubes_, [](float x) { return x >= 0; }),
          "got scattering < 0, expected 0 or more");
  for (std::size_t k = kRingWidth - 1; k < rings_.size(); k += kRingWidth)
    require(rings_[k] >= 1, "got a ring without modules, expected one or more");
  require(field_[0] != 0, "got a field of 0 T, expected one that bends tracks");
}

FitTables OwnFitTables::view() const {
  return {static_cast<int>(scattering_.size()),
          layers_.data(),
          static_cast<int>(rings_.size() / kRingWidth),
          rings_.data(),
          variance_.data(),
          scattering_.data(),
          static_cast<int>(tubes_.size() / 2),
          tubes_.data(),
          energy_loss_[0],
          field_[0],
          field_shape_.data()};
}

bool TrackFitter::has_tables(const std::string& weights) { return std::ifstream(fit_in(weights)).good(); }

TrackFitter::TrackFitter(const Table& kernels, const std::string& weights)
    : kernels_(kernels), tables_(fit_in(weights)) {}

Fits TrackFitter::fit(const float* position, const std::int64_t* track_id, std::int64_t n_hits, std::int64_t n_tracks,
                      const BeamLine& line, int threads) const {
  Array<float> copy;
  position = seen_by(line, position, n_hits, copy);
  std::vector<std::int64_t> begin(n_tracks + 1, 0);
  for (std::int64_t hit = 0; hit < n_hits; ++hit)
    if (track_id[hit] >= 0) ++begin[track_id[hit] + 1];
  for (std::int64_t track = 0; track < n_tracks; ++track) begin[track + 1] += begin[track];
  std::vector<std::int64_t> rows(begin[n_tracks]), next(begin.begin(), begin.end() - 1);
  for (std::int64_t hit = 0; hit < n_hits; ++hit)
    if (track_id[hit] >= 0) rows[next[track_id[hit]]++] = hit;
  return kernels_.fit_tracks(position, n_hits, {n_tracks, begin.data(), rows.data()}, tables_.view(), true, threads);
}

}  // namespace beampipe
