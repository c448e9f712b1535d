#include "serving/native/tracking_model.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <sstream>
#include <utility>

#include "isa.hpp"
#include "native/errors.hpp"

namespace beampipe {
namespace {

enum Input : std::size_t { kFeatures, kGeometryId, kLocal, kVariance };
// The last output is TRACKS for Athena, PARAMETERS otherwise.
enum Output : std::size_t { kLabels, kStages, kLayout, kBeamSpot, kDigest, kParameters, kTracks = kParameters };

// Tensors and parameters, as in beampipe.serving.contract.
constexpr std::int64_t kPositions = 3;  // columns of FEATURES that count: r, phi, z
const std::vector<TensorSpec> kInputs = {tensor_of<float>("FEATURES", {-1, kPositions})};
const std::vector<TensorSpec> kMeasuredInputs = {
    tensor_of<float>("FEATURES", {-1, kPositions}), tensor_of<std::uint64_t>("GEOMETRY_ID", {-1}, true),
    tensor_of<float>("LOCAL", {-1, 2}, true), tensor_of<float>("VARIANCE", {-1, 2}, true)};
const std::vector<TensorSpec> kWideInputs = {tensor_of<float>("FEATURES", {-1, -1})};
constexpr std::int64_t kDigestBytes = 20;
constexpr std::int64_t kValues = 5, kColumns = kValues + kValues * kValues + 3 + kMaxOutliers;  // of PARAMETERS
const std::vector<TensorSpec> kOutputs = {tensor_of<std::int64_t>("LABELS", {-1}),
                                          tensor_of<double>("STAGES", {-1}),
                                          tensor_of<std::int64_t>("LAYOUT", {2}),
                                          tensor_of<double>("BEAM_SPOT", {4}),
                                          tensor_of<std::uint8_t>("DIGEST", {kDigestBytes}),
                                          tensor_of<double>("PARAMETERS", {-1, kColumns})};
const std::vector<TensorSpec> kOutputsWithoutFit(kOutputs.begin(), kOutputs.begin() + kParameters);
const std::vector<TensorSpec> kAthenaOutputs = [] {
  std::vector<TensorSpec> outputs = kOutputsWithoutFit;
  outputs.push_back(tensor_of<std::int64_t>("TRACKS", {-1}));
  return outputs;
}();
const std::map<std::string, std::string> kCounters = {
    {"hits", "Hits of the events answered."},
    {"edges", "Edges that were left to label."},
    {"tracks", "Tracks found."},
    {"hits_outside", "Hits of the events answered that lie on no layer of the detector."},
    {"events_refused", "Events refused because their hits are not of this detector or not in its units."}};

std::vector<std::string> listed(const std::string& text) {
  std::vector<std::string> names;
  std::istringstream stream(text);
  for (std::string name; std::getline(stream, name, ',');)
    if (!name.empty()) names.push_back(name);
  return names;
}

/// The digest that the parameters state, as bytes; zeros if they state none.
std::vector<std::uint8_t> digest_of(const ModelSettings& settings) {
  const std::string text = settings.text("DIGEST", std::string(2 * kDigestBytes, '0'));
  if (text.size() != 2 * kDigestBytes || text.find_first_not_of("0123456789abcdef") != std::string::npos)
    throw ConfigError("DIGEST: got '" + text + "', expected 40 hexadecimal digits");
  std::vector<std::uint8_t> bytes;
  for (std::size_t at = 0; at < text.size(); at += 2)
    bytes.push_back(static_cast<std::uint8_t>(std::stoi(text.substr(at, 2), nullptr, 16)));
  return bytes;
}

bool for_athena(const ModelSettings& settings) {
  const std::string profile = settings.text("PROFILE", "");
  if (!profile.empty() && profile != "athena")
    throw ConfigError("PROFILE: got '" + profile + "', expected 'athena', or no such parameter");
  return !profile.empty();
}

/// The track fitter, if the weights have tables for it and the model has an output for the parameters.
std::optional<TrackFitter> fitter_of(const Table& kernels, const std::string& weights, bool athena) {
  if (athena || !TrackFitter::has_tables(weights)) return std::nullopt;
  return TrackFitter(kernels, weights);
}

}  // namespace

std::unique_ptr<ServedModel> make_model(const ModelSettings& settings) {
  if (settings.device != "cpu") throw ConfigError("device: got " + settings.device + ", expected cpu");
  return std::make_unique<TrackingModel>(settings);
}

TrackingModel::TrackingModel(const ModelSettings& settings)
    : finder_(kernels_of_this_library(), PipelineSpec::parse(settings.text("PIPELINE_SPEC", "")), settings.weights),
      athena_(for_athena(settings)),
      fitter_(fitter_of(kernels_of_this_library(), settings.weights, athena_)),
      beam_spot_(BeamLine::parse(settings.text("BEAM_SPOT", "0,0"))),
      scale_name_(settings.text("FEATURE_SCALE", "mm")),
      scale_(scale_named(scale_name_)),
      check_layout_(settings.text("CHECK_LAYOUT", "true") != "false"),
      max_hits_(settings.whole("MAX_HITS")),
      hit_budget_(settings.whole("HIT_BUDGET", 0)),
      stage_names_(listed(settings.text("STAGE_NAMES", ""))),
      count_names_(listed(settings.text("COUNT_NAMES", ""))),
      digest_(digest_of(settings)) {}

const std::vector<TensorSpec>& TrackingModel::inputs() const {
  if (athena_) return kWideInputs;
  return finder_.checks_strips() ? kMeasuredInputs : kInputs;
}
const std::vector<TensorSpec>& TrackingModel::outputs() const {
  if (athena_) return kAthenaOutputs;
  return fitter_ ? kOutputs : kOutputsWithoutFit;
}
const std::map<std::string, std::string>& TrackingModel::counters() const { return kCounters; }

void TrackingModel::run(const std::vector<ModelRequest*>& requests, const Call& call) const {
  Events events;
  events.reserve(requests.size());
  for (ModelRequest* request : requests) {
    try {
      events.push_back(read(*request));
    } catch (const InputError&) {
      request->fail(std::current_exception());
    }
  }
  for (std::size_t first = 0, last; first < events.size(); first = last) {
    std::int64_t total = events[first].n_hits;  // an event larger than the budget runs alone
    for (last = first + 1; last < events.size() && total + events[last].n_hits <= hit_budget_; ++last)
      total += events[last].n_hits;
    find(events, first, last, call);
  }
}

TrackingModel::Event TrackingModel::read(ModelRequest& request) const {
  const Tensor& features = request.input(kFeatures);
  const std::int64_t n = features.shape[0], width = features.shape[1];
  if (n > max_hits_) {
    char need[32];
    std::snprintf(need, sizeof need, "%.1f", finder_.memory(n) / 1e9);
    throw TooLargeError("hits: got " + std::to_string(n) + ", which would need " + need + " GB, expected at most " +
                        std::to_string(max_hits_) + "; cut the event into regions in phi or z");
  }
  if (width < kPositions)
    throw InputError("FEATURES: got " + std::to_string(width) + " columns, expected r, phi, z and perhaps more");
  Event event{&request, n, features.as<float>(), {}, {}};
  if (width > kPositions) {
    event.copy = Array<float>(kPositions * n);
    for (std::int64_t hit = 0; hit < n; ++hit)
      std::copy_n(event.position + width * hit, kPositions, event.copy.data() + kPositions * hit);
    event.position = event.copy.data();
  }
  if (scale_name_ != "mm") {
    Array<float> scaled(3 * n);
    to_mm(scale_, event.position, n, scaled.data());
    event.copy = std::move(scaled);
    event.position = event.copy.data();
  }
  require_finite(event.position, n);
  if (!athena_ && finder_.checks_strips())
    event.measured = {measured<std::uint64_t>(request, kGeometryId, n), measured<float>(request, kLocal, n),
                      measured<float>(request, kVariance, n)};
  return event;
}

/// An optional input with one row per hit, nullptr if the request leaves it out.
template <typename T>
const T* TrackingModel::measured(ModelRequest& request, std::size_t index, std::int64_t n) const {
  const Tensor& tensor = request.input(index);
  if (tensor.shape.empty()) return nullptr;
  if (tensor.shape[0] != n)
    throw InputError(std::string(inputs()[index].name) + ": got " + std::to_string(tensor.shape[0]) +
                     " rows, expected " + std::to_string(n) + ": one per hit");
  return tensor.as<T>();
}

void TrackingModel::find(Events& events, std::size_t first, std::size_t last, const Call& call) const {
  try {
    const Found all = find_tracks(events, first, last, call);
    std::int64_t begin = 0;
    for (std::size_t row = first; row < last; begin += events[row].n_hits, ++row) {
      try {
        answer(events[row], all, row - first, begin, call);
      } catch (...) {  // if memory is short for one answer, the others are still sent
        events[row].request->fail(std::current_exception());
      }
    }
  } catch (const InputError& error) {
    if (last - first == 1) {
      if (dynamic_cast<const LayoutError*>(&error) != nullptr) call.observe("events_refused", 1, "");
      return events[first].request->fail(std::current_exception());
    }
    // One of the events is refused; run alone, the others get their answer.
    for (std::size_t row = first; row < last; ++row) find(events, row, row + 1, call);
  }
}

Found TrackingModel::find_tracks(const Events& events, std::size_t first, std::size_t last, const Call& call) const {
  std::vector<std::int64_t> begin = {0};
  for (std::size_t row = first; row < last; ++row) begin.push_back(begin.back() + events[row].n_hits);
  const float* position = events[first].position;
  Array<float> together;
  if (last - first > 1) {
    together = Array<float>(3 * begin.back());
    for (std::size_t row = first; row < last; ++row)
      std::memcpy(together.data() + 3 * begin[row - first], events[row].position,
                  3 * sizeof(float) * events[row].n_hits);
    position = together.data();
  }
  call.checkpoint();
  const Threads threads(TrackFinder::useful_threads(call.threads, begin.back()));
  const auto hook = [&call](const std::string& stage) {
    call.mark(stage);
    call.checkpoint();
  };
  std::vector<Measurements> measured;
  for (std::size_t row = first; row < last; ++row) measured.push_back(events[row].measured);
  return finder_.find(position, begin.data(), static_cast<std::int64_t>(last - first), beam_spot_,
                      {threads.count(), check_layout_, hook, {}, measured});
}

void TrackingModel::answer(const Event& event, const Found& tracks, std::size_t row, std::int64_t begin,
                           const Call& call) const {
  // The time is divided among the events in proportion to their hits.
  const std::size_t all = tracks.track_id.size();
  const double share = all == 0 ? 1.0 : static_cast<double>(event.n_hits) / static_cast<double>(all);
  std::map<std::string, double> seconds;
  for (std::size_t step = 0; step < tracks.seconds.size(); ++step)
    seconds[finder_.steps()[step]] += share * tracks.seconds[step];
  const std::map<std::string, double> counts = {{"hits", static_cast<double>(event.n_hits)},
                                                {"edges", static_cast<double>(tracks.edges[row])},
                                                {"triplets", static_cast<double>(tracks.triplets[row])},
                                                {"outside", static_cast<double>(tracks.outside[row])},
                                                {"unfilled_layers", static_cast<double>(tracks.unfilled[row])},
                                                {"tracks", static_cast<double>(tracks.tracks[row])},
                                                {"events", 1.0}};
  ModelRequest& request = *event.request;
  if (request.wants(kLabels)) {
    void* labels = request.output(kLabels, {event.n_hits});
    if (event.n_hits > 0) std::memcpy(labels, tracks.track_id.data() + begin, sizeof(std::int64_t) * event.n_hits);
  }
  if (request.wants(kStages)) {
    std::vector<double> values;
    for (const std::string& name : stage_names_) values.push_back(seconds.count(name) ? seconds.at(name) : 0.0);
    for (const std::string& name : count_names_) values.push_back(counts.count(name) ? counts.at(name) : 0.0);
    void* stages = request.output(kStages, {static_cast<std::int64_t>(values.size())});
    if (!values.empty()) std::memcpy(stages, values.data(), sizeof(double) * values.size());
  }
  if (request.wants(kLayout)) {
    const std::int64_t values[] = {tracks.outside[row], tracks.unfilled[row]};
    std::memcpy(request.output(kLayout, {2}), values, sizeof values);
  }
  if (request.wants(kBeamSpot)) {
    const BeamLine& line = tracks.beam_line[row];
    const double values[] = {line.x, line.y, line.dxdz, line.dydz};
    std::memcpy(request.output(kBeamSpot, {4}), values, sizeof values);
  }
  if (request.wants(kDigest)) std::memcpy(request.output(kDigest, {kDigestBytes}), digest_.data(), digest_.size());
  if (fitter_ && request.wants(kParameters)) fit(event, tracks, row, begin, call);
  if (athena_ && request.wants(kTracks)) list(event, tracks, row, begin);
  call.observe("hits_outside", counts.at("outside"), "");
  for (const auto& [name, count] : counts) call.observe(name.c_str(), count, "");
  for (const auto& [stage, taken] : seconds) call.observe("stage_seconds", taken, stage.c_str());
}

void TrackingModel::list(const Event& event, const Found& tracks, std::size_t row, std::int64_t begin) const {
  const std::int64_t* labels = tracks.track_id.data() + begin;
  const auto n_tracks = static_cast<std::size_t>(tracks.tracks[row]);
  std::vector<std::int64_t> next(n_tracks + 1);  // where the next hit of each track goes
  for (std::int64_t hit = 0; hit < event.n_hits; ++hit)
    if (labels[hit] >= 0) ++next[labels[hit] + 1];
  for (std::size_t track = 0; track < n_tracks; ++track) next[track + 1] += next[track] + 1;  // one for its -1
  auto* lists = static_cast<std::int64_t*>(event.request->output(kTracks, {next[n_tracks]}));
  for (std::int64_t hit = 0; hit < event.n_hits; ++hit)
    if (labels[hit] >= 0) lists[next[labels[hit]]++] = hit;
  for (std::size_t track = 0; track < n_tracks; ++track) lists[next[track]] = -1;
}

void TrackingModel::fit(const Event& event, const Found& tracks, std::size_t row, std::int64_t begin,
                        const Call& call) const {
  const auto start = std::chrono::steady_clock::now();
  const std::int64_t n_tracks = tracks.tracks[row];
  const Threads threads(TrackFinder::useful_threads(call.threads, event.n_hits));
  const Fits fits = fitter_->fit(event.position, tracks.track_id.data() + begin, event.n_hits, n_tracks,
                                 tracks.beam_line[row], threads.count());
  auto* out = static_cast<double*>(event.request->output(kParameters, {n_tracks, kColumns}));
  for (std::int64_t track = 0; track < n_tracks; ++track) {
    out = std::copy_n(fits.values.data() + kValues * track, kValues, out);
    out = std::copy_n(fits.covariance.data() + kValues * kValues * track, kValues * kValues, out);
    *out++ = fits.chi2[track];
    *out++ = static_cast<double>(fits.n_hits[track]);
    *out++ = fits.status[track];
    out = std::copy_n(fits.outliers.data() + kMaxOutliers * track, kMaxOutliers, out);
  }
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
  call.observe("stage_seconds", taken.count(), "fit");
  call.mark("fit");
}

}  // namespace beampipe
