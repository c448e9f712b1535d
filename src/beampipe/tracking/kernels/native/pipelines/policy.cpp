#include "pipelines/policy.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <vector>

#include "graphs/blocks.hpp"
#include "native/errors.hpp"
#include "native/numbers.hpp"
#include "pipelines/hits.hpp"

namespace beampipe {
namespace {

constexpr double kTolerated = 0.2;  // mm: a beam line this near does not justify a second search
constexpr double kNarrow = 1.0;     // mm: largest spread of the tracks about the line that they come from
constexpr double kOutermost = 10;   // mm: a beam line lies well inside the beam pipe
constexpr std::int64_t kMinTracks = 20;
constexpr int kMinHits = 6;
constexpr double kFar = 20.0;         // mm: tracks further from the axis are not used
constexpr double kOfMedian = 1.4826;  // standard deviation of a normal distribution over its median deviation
constexpr int kRounds = 4;
constexpr double kLeastTurn = 1e-6;  // tracks that differ less in direction do not determine a point

constexpr const char* kStrips = "strips";  // as STRIPS of beampipe.tracking.strips

constexpr double kMemoryLimit = 8e9;          // of events found together [B]
constexpr int kMaxRefinds = 3;                // largest number of further searches of an event
constexpr std::int64_t kWorthAThread = 4000;  // hits; below, waking a thread costs more than it saves

std::string gigabytes(double bytes) { return print_number("%.*f", 1, bytes / 1e9); }

/// Number of hits of an event, and which of several it is, for messages.
std::string hits_of(const Blocks& events, std::int64_t k) {
  return std::to_string(events.size(k)) + " hits" + in_event(events, k);
}

/// Number of hits on tracks.
std::int64_t on_tracks(const std::int64_t* label, std::int64_t n) { return n - std::count(label, label + n, -1); }

/// To a micrometre [mm], so that the order of sums does not matter.
double rounded(double x) { return std::nearbyint(1000 * x) / 1000; }

/// Sums over the hits of one track, with s = r^2.
struct Sums {
  double n = 0, x = 0, y = 0, s = 0, xx = 0, xy = 0, yy = 0, xs = 0, ys = 0, ss = 0;

  void add(double px, double py) {
    const double ps = px * px + py * py;
    n += 1, x += px, y += py, s += ps;
    xx += px * px, xy += px * py, yy += py * py, xs += px * ps, ys += py * ps, ss += ps * ps;
  }
};

/// d = x sine - y cosine for a track that passes (x, y).
struct Track {
  double sine, cosine, d;

  double distance(double x, double y) const { return std::abs(d - (x * sine - y * cosine)); }
};

/// The circle through a track's hits, after V. Karimaki, Nucl. Instrum. Meth. A 305 (1991) 187.
Track circle(const Sums& sum) {
  const double mx = sum.x / sum.n, my = sum.y / sum.n, ms = sum.s / sum.n;
  const double cxx = sum.xx / sum.n - mx * mx, cxy = sum.xy / sum.n - mx * my, cyy = sum.yy / sum.n - my * my;
  const double cxs = sum.xs / sum.n - mx * ms, cys = sum.ys / sum.n - my * ms, css = sum.ss / sum.n - ms * ms;
  const double angle = 0.5 * std::atan2(2 * (css * cxy - cxs * cys), css * (cxx - cyy) - cxs * cxs + cys * cys);
  const double sine = std::sin(angle), cosine = std::cos(angle);
  const double k = (sine * cxs - cosine * cys) / std::max(css, 1e-9);
  const double delta = -k * ms + sine * mx - cosine * my;
  return {sine, cosine, 2 * delta / (1 + std::sqrt(std::max(1 - 4 * delta * k, 0.0)))};
}

std::vector<Track> circles(const float* position, const std::int64_t* track_id, std::int64_t n) {
  std::vector<Sums> sums;
  for (std::int64_t i = 0; i < n; ++i) {
    if (track_id[i] < 0) continue;
    if (static_cast<std::size_t>(track_id[i]) >= sums.size()) sums.resize(track_id[i] + 1);
    const double r = position[3 * i], phi = position[3 * i + 1];
    sums[track_id[i]].add(r * std::cos(phi), r * std::sin(phi));
  }
  std::vector<Track> tracks;
  for (const Sums& sum : sums)
    if (sum.n >= kMinHits) tracks.push_back(circle(sum));
  return tracks;
}

/// The middle one; the mean of the two of them if their number is even.
double median(std::vector<double> values) {
  const auto middle = values.begin() + values.size() / 2;
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2 == 1) return *middle;
  return 0.5 * (*middle + *std::max_element(values.begin(), middle));
}

/// The normal equations of d = x sine - y cosine.
struct Normal {
  double xx = 0, xy = 0, yy = 0, x = 0, y = 0;

  void add(const Track& track) {
    xx += track.sine * track.sine, xy -= track.sine * track.cosine, yy += track.cosine * track.cosine;
    x += track.d * track.sine, y -= track.d * track.cosine;
  }
};

}  // namespace

bool BeamSpotEstimate::significant() const {
  const double off = std::hypot(x, y);
  const bool one_line = n_tracks >= kMinTracks && share > 0.5 && spread < kNarrow;
  return one_line && off > std::max(kTolerated, 5 * error) && off < kOutermost;
}

BeamSpotEstimate estimate_beam_spot(const float* position, const std::int64_t* track_id, std::int64_t n) {
  const std::vector<Track> all = circles(position, track_id, n);
  std::vector<Track> near;
  for (const Track& track : all)
    if (std::abs(track.d) < kFar) near.push_back(track);
  BeamSpotEstimate spot;
  for (int round = 0; round < kRounds; ++round) {
    spot = {};
    spot.n_tracks = static_cast<std::int64_t>(near.size());
    if (spot.n_tracks < kMinTracks) return spot;
    Normal normal;
    for (const Track& track : near) normal.add(track);
    const double determinant = normal.xx * normal.yy - normal.xy * normal.xy;
    if (!(determinant > kLeastTurn * normal.xx * normal.yy)) return spot;
    spot.x = (normal.yy * normal.x - normal.xy * normal.y) / determinant;
    spot.y = (normal.xx * normal.y - normal.xy * normal.x) / determinant;
    std::vector<double> distance;
    for (const Track& track : near) distance.push_back(track.distance(spot.x, spot.y));
    spot.spread = kOfMedian * median(distance);
    spot.error = spot.spread * std::sqrt(std::max(normal.xx, normal.yy) / determinant);
    near.clear();
    for (const Track& track : all)
      if (track.distance(spot.x, spot.y) < 3 * spot.spread) near.push_back(track);
  }
  spot.n_tracks = static_cast<std::int64_t>(near.size());
  spot.share = static_cast<double>(near.size()) / static_cast<double>(all.size());
  return spot;
}

TrackFinder::TrackFinder(const Table& kernels, const PipelineSpec& spec, const std::string& weights)
    : passes_(kernels, spec, weights), steps_(passes_.steps()) {
  if (!StripCheck::has_table(weights)) return;
  strips_.emplace(weights);
  steps_.push_back(kStrips);
}

int TrackFinder::useful_threads(int threads, std::int64_t n_hits) {
  return static_cast<int>(std::min<std::int64_t>(threads, 1 + n_hits / kWorthAThread));
}

Found TrackFinder::find(const float* position, const std::int64_t* begin, std::int64_t n_events,
                        const BeamLine& expected, const FindOptions& options) const {
  const Blocks events{begin, n_events};
  require_memory(events);
  if (options.check) require_limit(events);
  const std::vector<Fit> fits = compare(position, events, expected, options.threads, options.check);
  Array<float> copy;
  const float* seen = seen_by(expected, position, begin[n_events], copy);
  Found found = find_from(expected, seen, events, options);
  for (const Fit& fit : fits) {
    found.outside.push_back(fit.outside);
    found.unfilled.push_back(fit.unfilled);
  }
  refind_at_beam_spot(position, seen, events, options, found);
  if (strips_) check_strips(position, events, options, found);
  return found;
}

std::vector<Fit> TrackFinder::compare(const float* position, const Blocks& events, const BeamLine& expected,
                                      int threads, bool check) const {
  const Line& line = passes_.last();
  const std::int64_t n = events.begin[events.n];
  const auto fits_at = [&](const float* from) {
    const Hits hits{from, n, events, useful_threads(threads, n)};
    return fits_of(line.own_windows(), hits, line.own_layers(hits).data());
  };
  std::vector<Fit> fits = fits_at(position);
  if (!expected.on_axis()) {
    const std::vector<Fit> there = fits_at(seen_from(expected, position, n).data());
    for (std::int64_t k = 0; k < events.n; ++k)
      if (there[k].outside < fits[k].outside) fits[k] = there[k];
  }
  if (check) require_layout(name(), line.own_windows(), position, events, fits);
  return fits;
}

/// The tracks of events with r and phi measured from that beam line.
Found TrackFinder::find_from(const BeamLine& line, const float* seen, const Blocks& events,
                             const FindOptions& options) const {
  const std::int64_t n = events.begin[events.n];
  const bool as_seen = all_turned(seen, n);
  const Array<float> copy = as_seen ? Array<float>() : turned(seen, n);
  const Hits hits{as_seen ? seen : copy.data(), n, events, useful_threads(options.threads, n)};
  Found found = passes_.run(hits, options.hook, options.run);
  found.beam_line.assign(events.n, line);
  return found;
}

/// Searches again, event by event, where the tracks clearly come from another beam line than the assumed one.
void TrackFinder::refind_at_beam_spot(const float* position, const float* seen, const Blocks& events,
                                      const FindOptions& options, Found& found) const {
  for (std::int64_t k = 0; k < events.n; ++k) {
    const std::int64_t first = events.begin[k], n = events.size(k), whole[] = {0, n};
    std::int64_t* label = found.track_id.data() + first;
    const float* now = seen + 3 * first;
    Array<float> copy;
    for (int round = 0; round < kMaxRefinds; ++round) {
      BeamLine& line = found.beam_line[k];
      const BeamSpotEstimate off = estimate_beam_spot(now, label, n);
      if (!off.significant()) break;
      const BeamLine there{rounded(line.x + off.x), rounded(line.y + off.y), line.dxdz, line.dydz};
      now = seen_by(there, position + 3 * first, n, copy);
      const Found again = find_from(there, now, {whole, 1}, options);
      for (std::size_t step = 0; step < found.seconds.size(); ++step) found.seconds[step] += again.seconds[step];
      if (on_tracks(again.track_id.data(), n) <= on_tracks(label, n)) break;
      std::copy_n(again.track_id.data(), n, label);
      found.edges[k] = again.edges[0], found.triplets[k] = again.triplets[0], found.tracks[k] = again.tracks[0];
      line = there;
    }
  }
}

/// The last step: space points of double-sided strips are compared with the tracks, for events with measurements.
void TrackFinder::check_strips(const float* position, const Blocks& events, const FindOptions& options,
                               Found& found) const {
  const auto start = std::chrono::steady_clock::now();
  for (std::size_t k = 0; k < options.measured.size(); ++k) {
    if (!options.measured[k].complete()) continue;
    const std::int64_t first = events.begin[k], n = events.size(k);
    std::int64_t* label = found.track_id.data() + first;
    strips_->apply(position + 3 * first, options.measured[k], n, found.tracks[k], label);
    std::vector<std::int64_t> number(found.tracks[k], -1);
    found.tracks[k] = number_by_first_hit(label, n, number);
  }
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
  found.seconds.push_back(taken.count());
  if (options.hook) options.hook(kStrips);
}

void TrackFinder::require_memory(const Blocks& events) const {
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

void TrackFinder::require_limit(const Blocks& events) const {
  const std::optional<LimitSpec>& limit = passes_.last().spec().limit;
  if (!limit) return;
  for (std::int64_t k = 0; k < events.n; ++k)
    if (events.size(k) > limit->hits)
      throw TooLargeError(name() + ": got " + hits_of(events, k) + ", expected at most " + std::to_string(limit->hits) +
                          ": denser events lose most of their tracks; use " + limit->instead +
                          ", or go on with --force (check=False)");
}

}  // namespace beampipe
