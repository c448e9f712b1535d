// The C interface (beampipe/track_finder.h): opens tracker models and pipelines by name, and turns exceptions into
// messages.
#include "tracking/include/beampipe/track_finder.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <string>

#include "array.hpp"
#include "isa.hpp"
#include "native/errors.hpp"
#include "native/json.hpp"
#include "pipelines/hits.hpp"
#include "pipelines/model_files.hpp"
#include "pipelines/policy.hpp"

namespace beampipe {

extern const std::map<std::string, std::string> kCatalogue;  // catalogue.cpp.in

namespace {

// As in beampipe.tracking.models.
constexpr const char* kCardFormat = "beampipe tracker model 1";
constexpr std::int64_t kMinLayers = 7;

thread_local std::string last_error;

/// The result of a call, or `failed` if it throws; then the message is kept.
template <typename Result, typename Call>
Result guarded(Result failed, Call&& call) {
  try {
    last_error.clear();
    return call();
  } catch (const std::exception& error) {
    last_error = error.what();
  } catch (...) {
    last_error = "unknown error";
  }
  return failed;
}

std::string listed(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

/// The same pipeline where no pass requires more hits of a track than that.
PipelineSpec with_min_hits_up_to(PipelineSpec spec, int hits) {
  spec.min_hits = std::min(spec.min_hits, hits);
  if (spec.after) spec.after = std::make_shared<const PipelineSpec>(with_min_hits_up_to(*spec.after, hits));
  return spec;
}

/// The folder and the card of a tracker model.
class Model {
public:
  explicit Model(const std::string& name_or_folder) : folder_(name_or_folder) {
    const bool is_name = name_or_folder.find('/') == std::string::npos;
    for (const std::string& models : {folder_of_this_library() + "/../models", std::string(BEAMPIPE_MODELS)}) {
      const std::string shipped = models + "/" + name_or_folder;
      if (is_name && !models.empty() && std::ifstream(shipped + "/model.json").good()) folder_ = shipped;
    }
    std::ifstream file(folder_ + "/model.json", std::ios::binary);
    if (!file)
      throw FileError(folder_ +
                      ": got no model.json there, expected a folder that `beampipe tracking train` wrote, or" +
                      " the name of a shipped model");
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    card_ = Json::parse(text);
    const Json* format = card_.find("format");
    if (format == nullptr || format->text() != kCardFormat)
      throw FileError(folder_ + "/model.json: got another format, expected '" + kCardFormat +
                      "'; learn the model again, or update beampipe");
  }

  const std::string& folder() const { return folder_; }

  /// The pipeline of that name as this model runs it, or that of a specification in JSON.
  PipelineSpec spec(const std::string& pipeline) const {
    if (!pipeline.empty() && pipeline.front() == '{') return with_weights(PipelineSpec::parse(pipeline));
    const auto entry = kCatalogue.find(pipeline);
    if (entry == kCatalogue.end()) {
      std::vector<std::string> names;
      for (const auto& [name, json] : kCatalogue) names.push_back(name);
      throw ConfigError("unknown pipeline: got '" + pipeline + "', expected one of " + listed(names));
    }
    const Json* crossing = card_.find("crossing");
    const Json* layers = crossing == nullptr ? nullptr : crossing->find("min_layers");
    const std::int64_t hits = layers == nullptr ? kMinLayers : layers->whole();
    return with_min_hits_up_to(with_weights(PipelineSpec::parse(entry->second)), static_cast<int>(hits));
  }

  BeamLine beam_line() const {
    const Json* line = card_.at("layout").find("beam_spot");
    if (line == nullptr) return {};
    const auto number = [&](const char* key) { return line->find(key) == nullptr ? 0.0 : line->at(key).number(); };
    return BeamLine::checked(number("x"), number("y"), number("dxdz"), number("dydz"));
  }

private:
  bool runs(const PipelineSpec& spec) const {
    const Json& weights = card_.at("weights");
    const bool here = weights.find(spec.windows) && (spec.networks.empty() || weights.find(spec.networks));
    return here && (!spec.after || runs(*spec.after));
  }

  PipelineSpec with_weights(PipelineSpec spec) const {
    if (runs(spec)) return spec;
    std::vector<std::string> names;
    for (const auto& [name, json] : kCatalogue)
      if (runs(PipelineSpec::parse(json))) names.push_back(name);
    throw ConfigError("model " + folder_ + ": got no weights for pipeline " + spec.name + ", expected one of " +
                      listed(names));
  }

  std::string folder_;
  Json card_;
};

}  // namespace
}  // namespace beampipe

using namespace beampipe;

struct beampipe_track_finder {
  beampipe_track_finder(const Model& model, const std::string& pipeline, const beampipe_options& options)
      : finder(kernels_of_this_library(), model.spec(pipeline), model.folder()),
        beam_line(options.beam_line == nullptr ? model.beam_line()
                                               : BeamLine::checked(options.beam_line[0], options.beam_line[1],
                                                                   options.beam_line[2], options.beam_line[3])),
        threads(options.threads == 0 ? 1 : options.threads),
        check(options.accept_any_hits == 0) {
    if (threads < 1) throw ConfigError("threads: got " + std::to_string(threads) + ", expected 1 or more");
  }

  std::int64_t find(const float* position, const Measurements& measured, std::int64_t n_hits,
                    std::int64_t* track_id) const {
    require_finite(position, n_hits);
    const std::int64_t begin[] = {0, n_hits};
    Found found = finder.find(position, begin, 1, beam_line, {threads, check, {}, {}, {measured}});
    std::copy_n(found.track_id.data(), n_hits, track_id);
    return found.tracks[0];
  }

  const TrackFinder finder;
  const BeamLine beam_line;
  const int threads;
  const bool check;
};

namespace {

void require_event(const beampipe_track_finder* finder, std::int64_t n_hits, bool arrays) {
  if (finder == nullptr) throw InputError("finder: got NULL, expected the result of beampipe_open");
  if (n_hits < 0) throw InputError("n_hits: got " + std::to_string(n_hits) + ", expected 0 or more");
  if (n_hits > 0 && !arrays) throw InputError("hits: got NULL for an array, expected one number per hit in each");
}

}  // namespace

int32_t beampipe_abi(void) { return BEAMPIPE_ABI; }

const char* beampipe_version(void) { return BEAMPIPE_VERSION; }

const char* beampipe_last_error(void) { return last_error.c_str(); }

beampipe_track_finder* beampipe_open(const char* model, const char* pipeline, const beampipe_options* options) {
  return guarded<beampipe_track_finder*>(nullptr, [&] {
    if (model == nullptr || pipeline == nullptr)
      throw ConfigError("beampipe_open: got NULL, expected the names of a model and of a pipeline");
    return new beampipe_track_finder(Model(model), pipeline, options == nullptr ? beampipe_options{} : *options);
  });
}

void beampipe_close(beampipe_track_finder* finder) { delete finder; }

int64_t beampipe_find(const beampipe_track_finder* finder, int64_t n_hits, const double* x, const double* y,
                      const double* z, int64_t* track_id) {
  return guarded<std::int64_t>(-1, [&] {
    require_event(finder, n_hits, x && y && z && track_id);
    // As beampipe.events.cylindrical: in double, then rounded.
    Array<float> position(3 * n_hits);
    for (std::int64_t hit = 0; hit < n_hits; ++hit) {
      position[3 * hit] = static_cast<float>(std::hypot(x[hit], y[hit]));
      position[3 * hit + 1] = static_cast<float>(std::atan2(y[hit], x[hit]));
      position[3 * hit + 2] = static_cast<float>(z[hit]);
    }
    return finder->find(position.data(), {}, n_hits, track_id);
  });
}

int64_t beampipe_find_cylindrical(const beampipe_track_finder* finder, int64_t n_hits, const float* position,
                                  int64_t* track_id) {
  return guarded<std::int64_t>(-1, [&] {
    require_event(finder, n_hits, position && track_id);
    return finder->find(position, {}, n_hits, track_id);
  });
}

int64_t beampipe_find_measured(const beampipe_track_finder* finder, int64_t n_hits, const float* position,
                               const uint64_t* geometry_id, const float* local, const float* variance,
                               int64_t* track_id) {
  return guarded<std::int64_t>(-1, [&] {
    require_event(finder, n_hits, position && geometry_id && local && variance && track_id);
    return finder->find(position, {geometry_id, local, variance}, n_hits, track_id);
  });
}
