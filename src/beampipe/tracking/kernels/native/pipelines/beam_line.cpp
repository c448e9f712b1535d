#include "pipelines/beam_line.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "native/errors.hpp"

namespace beampipe {
namespace {

constexpr double kInsidePipe = 20.0;  // mm: largest distance of a beam line from the axis
constexpr double kTiltMax = 0.01;     // largest slope of a beam line to the axis
constexpr double kTolerated = 0.2;    // mm: a beam line so near costs no tracks worth a second search
constexpr double kNarrow = 1.0;       // mm: largest spread of the tracks about the line that they come from
constexpr double kOutermost = 10;     // mm: a beam line lies well inside the beam pipe
constexpr std::int64_t kMinTracks = 20;
constexpr int kMinHits = 6;
constexpr double kFar = 20.0;         // mm: tracks further from the axis are asked nothing
constexpr double kOfMedian = 1.4826;  // standard deviation of a normal distribution over its median deviation
constexpr int kRounds = 4;
constexpr double kLeastTurn = 1e-6;  // tracks that differ less in direction tell no point

/// The numbers between the commas of a text; none if a part is no number.
std::vector<double> numbers_in(const std::string& text) {
  std::vector<double> numbers;
  const char* part = text.c_str();
  for (char* end = nullptr;; part = end + 1) {
    numbers.push_back(std::strtod(part, &end));
    if (end == part || (*end != ',' && *end != '\0')) return {};
    if (*end == '\0') return numbers;
  }
}

/// A number as Python's format :g writes it.
std::string brief(double number) {
  char text[32];
  return {text, static_cast<std::size_t>(std::snprintf(text, sizeof text, "%g", number))};
}

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
  for (const Sums& sum : sums) {
    if (sum.n < kMinHits) continue;
    tracks.push_back(circle(sum));
  }
  return tracks;
}

/// The middle one; the mean of the two of them if their number is even.
double median(std::vector<double> values) {
  const auto middle = values.begin() + values.size() / 2;
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2 == 1) return *middle;
  return 0.5 * (*middle + *std::max_element(values.begin(), middle));
}

BeamSpotEstimate unknown(std::int64_t n_tracks) {
  BeamSpotEstimate spot;
  spot.n_tracks = n_tracks;
  return spot;
}

/// The normal equations of d = x sine - y cosine.
struct Normal {
  double xx = 0, xy = 0, yy = 0, x = 0, y = 0;

  void add(const Track& track) {
    xx += track.sine * track.sine, xy -= track.sine * track.cosine, yy += track.cosine * track.cosine;
    x += track.d * track.sine, y -= track.d * track.cosine;
  }
  double determinant() const { return xx * yy - xy * xy; }
};

}  // namespace

BeamLine BeamLine::parse(const std::string& text) {
  std::vector<double> numbers = numbers_in(text);
  if (numbers.size() != 2 && numbers.size() != 4)
    throw ConfigError("beam spot: got '" + text + "', expected x,y in mm, such as 0.5,-0.2, or x,y,dxdz,dydz");
  numbers.resize(4);
  const BeamLine line{numbers[0], numbers[1], numbers[2], numbers[3]};
  // Written so that NaN fails, too.
  if (!(std::hypot(line.x, line.y) < kInsidePipe))
    throw ConfigError("beam spot: got (" + brief(line.x) + ", " + brief(line.y) + ") mm, expected it within " +
                      brief(kInsidePipe) + " mm");
  if (!(std::hypot(line.dxdz, line.dydz) < kTiltMax))
    throw ConfigError("beam spot: got slopes " + brief(line.dxdz) + ", " + brief(line.dydz) + ", expected less than " +
                      brief(kTiltMax));
  return line;
}

bool BeamSpotEstimate::significant() const {
  const double off = std::hypot(x, y);
  const bool one_line = n_tracks >= kMinTracks && share > 0.5 && spread < kNarrow;
  return one_line && off > std::max(kTolerated, 5 * error) && off < kOutermost;
}

Array<float> seen_from(const BeamLine& line, const float* position, std::int64_t n) {
  Array<float> seen(3 * n);
  for (std::int64_t i = 0; i < n; ++i) {
    const double r = position[3 * i], phi = position[3 * i + 1], z = position[3 * i + 2];
    const double x = r * std::cos(phi) - line.x - line.dxdz * z, y = r * std::sin(phi) - line.y - line.dydz * z;
    seen[3 * i] = static_cast<float>(std::hypot(x, y));
    seen[3 * i + 1] = static_cast<float>(std::atan2(y, x));
    seen[3 * i + 2] = position[3 * i + 2];
  }
  return seen;
}

BeamSpotEstimate estimate_beam_spot(const float* position, const std::int64_t* track_id, std::int64_t n) {
  const std::vector<Track> all = circles(position, track_id, n);
  std::vector<Track> near;
  for (const Track& track : all)
    if (std::abs(track.d) < kFar) near.push_back(track);
  BeamSpotEstimate spot;
  for (int round = 0; round < kRounds; ++round) {
    spot.n_tracks = static_cast<std::int64_t>(near.size());
    if (spot.n_tracks < kMinTracks) return unknown(spot.n_tracks);
    Normal normal;
    for (const Track& track : near) normal.add(track);
    const double determinant = normal.determinant();
    if (!(determinant > kLeastTurn * normal.xx * normal.yy)) return unknown(spot.n_tracks);
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

}  // namespace beampipe
