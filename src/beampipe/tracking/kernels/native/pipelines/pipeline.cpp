#include "pipelines/pipeline.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "native/errors.hpp"
#include "pipelines/hits.hpp"
#include "pipelines/layout/check.hpp"

namespace beampipe {
namespace {

constexpr double kMemoryLimit = 8e9;          // of events found together [B]
constexpr int kFollowed = 3;                  // at most so many times an event is found again
constexpr std::int64_t kWorthAThread = 4000;  // hits; below, waking a thread costs more than it saves

std::string gigabytes(double bytes) {
  char text[400];
  return {text, std::to_chars(text, text + sizeof text, bytes / 1e9, std::chars_format::fixed, 1).ptr};
}

/// Number of hits of an event, and which of several it is, for messages.
std::string hits_of(const Blocks& events, std::int64_t k) {
  const std::string where = " in event " + std::to_string(k) + " of " + std::to_string(events.n);
  return std::to_string(events.size(k)) + " hits" + (events.n > 1 ? where : "");
}

/// Number of hits on tracks.
std::int64_t on_tracks(const std::int64_t* label, std::int64_t n) { return n - std::count(label, label + n, -1); }

/// To a micrometre [mm], so that the order of sums does not matter.
double rounded(double x) { return std::nearbyint(1000 * x) / 1000; }

/// The hits as they are seen from a beam line: in `copy`, unless it is the axis.
const float* seen_by(const BeamLine& line, const float* position, std::int64_t n, Array<float>& copy) {
  if (line.on_axis()) return position;
  copy = seen_from(line, position, n);
  return copy.data();
}

}  // namespace

Pipeline::Pipeline(const Table& kernels, const std::string& spec, const std::string& weights)
    : Pipeline(kernels, PipelineSpec::parse(spec), weights) {}

Pipeline::Pipeline(const Table& kernels, const PipelineSpec& spec, const std::string& weights)
    : name_(spec.name), passes_(kernels, spec, weights) {}

int Pipeline::useful_threads(int threads, std::int64_t n_hits) {
  return static_cast<int>(std::min<std::int64_t>(threads, 1 + n_hits / kWorthAThread));
}

Found Pipeline::find(const float* position, const std::int64_t* begin, std::int64_t n_events, const BeamLine& expected,
                     int threads, bool check, Between between, void* context) const {
  const Blocks events{begin, n_events};
  require_memory(events);
  if (check) require_limit(events);
  const Line& line = passes_.last();
  const std::int64_t n = begin[n_events];
  const Array<std::int16_t> layer = line.own_layers(position, n, useful_threads(threads, n));
  const std::vector<Fit> fits = fits_of(line.own_windows(), position, layer.data(), events);
  if (check) require_layout(name(), line.own_windows(), position, events, fits);
  Array<float> copy;
  const float* seen = seen_by(expected, position, n, copy);
  Found found = found_from(expected, seen, events, threads, between, context);
  for (const Fit& fit : fits) {
    found.outside.push_back(fit.outside);
    found.unfilled.push_back(fit.unfilled);
  }
  follow(position, seen, events, threads, between, context, found);
  return found;
}

/// The tracks of events whose hits are seen from that beam line.
Found Pipeline::found_from(const BeamLine& line, const float* seen, const Blocks& events, int threads, Between between,
                           void* context) const {
  const std::int64_t n = events.begin[events.n];
  const bool as_seen = all_turned(seen, n);
  const Array<float> copy = as_seen ? Array<float>() : turned(seen, n);
  const Hits hits{as_seen ? seen : copy.data(), n, events, useful_threads(threads, n)};
  Found found = passes_.run(hits, between, context);
  found.beam_line.assign(events.n, line);
  return found;
}

/// Finds again what clearly comes from elsewhere than the beam line that it was seen from, each event by itself.
void Pipeline::follow(const float* position, const float* seen, const Blocks& events, int threads, Between between,
                      void* context, Found& found) const {
  for (std::int64_t k = 0; k < events.n; ++k) {
    const std::int64_t first = events.begin[k], n = events.size(k), whole[] = {0, n};
    std::int64_t* label = found.track_id.data() + first;
    const float* now = seen + 3 * first;
    Array<float> copy;
    for (int round = 0; round < kFollowed; ++round) {
      BeamLine& line = found.beam_line[k];
      const BeamSpotEstimate off = estimate_beam_spot(now, label, n);
      if (!off.significant()) break;
      const BeamLine there{rounded(line.x + off.x), rounded(line.y + off.y), line.dxdz, line.dydz};
      now = seen_by(there, position + 3 * first, n, copy);
      const Found again = found_from(there, now, {whole, 1}, threads, between, context);
      for (std::size_t step = 0; step < found.seconds.size(); ++step) found.seconds[step] += again.seconds[step];
      if (on_tracks(again.track_id.data(), n) <= on_tracks(label, n)) break;
      std::copy_n(again.track_id.data(), n, label);
      found.edges[k] = again.edges[0], found.triplets[k] = again.triplets[0], found.tracks[k] = again.tracks[0];
      line = there;
    }
  }
}

void Pipeline::require_memory(const Blocks& events) const {
  const std::string limit = "expected at most " + gigabytes(kMemoryLimit) + " GB; ";
  double total = 0;
  for (std::int64_t k = 0; k < events.n; ++k) {
    const double need = memory(events.size(k));
    total += need;
    if (need <= kMemoryLimit) continue;
    throw TooLargeError(name() + ": got " + hits_of(events, k) + ", which would need " + gigabytes(need) + " GB, " +
                        limit + "cut the event into regions in phi or z");
  }
  if (total <= kMemoryLimit) return;
  throw TooLargeError(name() + ": got " + std::to_string(events.n) + " events, which would need " + gigabytes(total) +
                      " GB together, " + limit + "find fewer of them at a time");
}

void Pipeline::require_limit(const Blocks& events) const {
  const std::optional<LimitSpec>& limit = passes_.last().spec().limit;
  if (!limit) return;
  for (std::int64_t k = 0; k < events.n; ++k)
    if (events.size(k) > limit->hits)
      throw TooLargeError(name() + ": got " + hits_of(events, k) + ", expected at most " + std::to_string(limit->hits) +
                          ": denser events lose most of their tracks; use " + limit->instead +
                          ", or go on with --force (check=False)");
}

}  // namespace beampipe
