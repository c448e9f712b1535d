#include "pipelines/strips.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <fstream>
#include <unordered_set>

#include "native/errors.hpp"
#include "pipelines/hits.hpp"
#include "pipelines/model_files.hpp"

namespace beampipe {
namespace {

// As in beampipe.tracking.strips.
constexpr int kFewest = 5;
constexpr double kSigmas = 4.0, kAside = 3.0, kScale = 1.0, kAround = 150.0;

constexpr double kTiny = 1e-9;
constexpr int kModuleBits = 28;  // of an identifier, below those of volume and layer; the lowest 8 are not used
constexpr std::int64_t kColumns = 9;

std::string strips_in(const std::string& weights) { return weights + "/strips.safetensors"; }

/// An angle between -pi and pi.
double wrapped(double angle) { return std::remainder(angle, 2 * kPi); }

}  // namespace

/// A circle across the beam, and a line in z against the arc length from the point that is nearest to the axis.
struct StripCheck::Helix {
  std::int64_t track;
  double x, y, radius;  // centre and radius of the circle [mm]
  double start, turn;   // azimuth of that point, seen from the centre; direction of flight around it, 1 or -1
  double z, slope;

  /// The helix of hits of one track.
  Helix(std::int64_t number, const std::vector<Vector>& hits) : track(number) {
    const auto n = static_cast<double>(hits.size());
    double mx = 0, my = 0, uu = 0, uv = 0, vv = 0, up = 0, vp = 0;
    for (const Vector& hit : hits) mx += hit.x, my += hit.y;
    mx /= n, my /= n;
    for (const Vector& hit : hits) {
      const double u = hit.x - mx, v = hit.y - my, power = u * u + v * v;
      uu += u * u, uv += u * v, vv += v * v, up += u * power, vp += v * power;
    }
    const double a = uu + kTiny, b = vv + kTiny, determinant = a * b - uv * uv;
    const double u = (b * up - uv * vp) / (2 * determinant), v = (a * vp - uv * up) / (2 * determinant);
    x = mx + u, y = my + v, radius = std::sqrt(u * u + v * v + (uu + vv) / n);
    start = std::atan2(-y, -x);
    double turned = 0, arc_sum = 0, z_sum = 0, spread = 0, together = 0;
    std::vector<double> arcs;
    for (const Vector& hit : hits) {
      const double angle = wrapped(std::atan2(hit.y - y, hit.x - x) - start);
      arcs.push_back(std::abs(angle) * radius);
      turned += angle, arc_sum += arcs.back(), z_sum += hit.z;
    }
    for (std::size_t i = 0; i < hits.size(); ++i) {
      const double away = arcs[i] - arc_sum / n;
      spread += away * away, together += away * (hits[i].z - z_sum / n);
    }
    slope = together / std::max(spread, kTiny);
    turn = turned > 0 ? 1 : turned < 0 ? -1 : 0;
    z = z_sum / n - slope * arc_sum / n;
  }

  /// The point at an azimuth around the centre, counted from the start in the direction of flight.
  Vector at_angle(double angle) const {
    const double azimuth = start + turn * angle;
    return {x + radius * std::cos(azimuth), y + radius * std::sin(azimuth), z + slope * angle * radius};
  }
  /// Where it crosses a cylinder around the axis; NaN where it does not reach it.
  Vector at_radius(double r) const {
    const double away = std::hypot(x, y);
    return at_angle(std::acos((away * away + radius * radius - r * r) / (2 * away * radius)));
  }
  Vector at_z(double there) const {
    const double rise = std::abs(slope) < 1e-6 ? 1e-6 : slope;
    return at_angle(std::clamp((there - z) / rise / radius, 0.0, kPi));
  }
};

/// The space points on one layer, sorted along one coordinate.
struct StripCheck::Points {
  struct Point {
    double key;
    Vector xyz;
    std::int64_t hit, sensor;
  };
  const Layer* layer;
  std::vector<Point> sorted;

  double key(const Vector& xyz) const { return layer->is_disc ? xyz.x : xyz.z; }

  /// Calls `visit` with each point within kAround of that position.
  template <typename Visit>
  void near(const Vector& position, Visit&& visit) const {
    const double middle = key(position);
    auto point = std::lower_bound(sorted.begin(), sorted.end(), middle - kAround,
                                  [](const Point& other, double value) { return other.key < value; });
    for (; point != sorted.end() && point->key <= middle + kAround; ++point) {
      const double dx = point->xyz.x - position.x, dy = point->xyz.y - position.y, dz = point->xyz.z - position.z;
      if (dx * dx + dy * dy + dz * dz <= kAround * kAround) visit(*point);
    }
  }
};

bool StripCheck::has_table(const std::string& weights) { return std::ifstream(strips_in(weights)).good(); }

StripCheck::StripCheck(const std::string& weights) {
  const std::string path = strips_in(weights);
  const Safetensors file(path);
  const std::int64_t n_layers = rows_in(file, "layers"), n_sensors = rows_in(file, "sensors");
  const std::vector<std::int32_t> layers = numbers<std::int32_t>(file, "layers", {n_layers, 4});
  const std::vector<float> sensors = numbers<float>(file, "sensors", {n_sensors, kColumns});
  for (std::int64_t row = 0; row < n_sensors; ++row) {
    const float* s = sensors.data() + kColumns * row;
    sensors_.push_back({{s[0], s[1], s[2]}, {s[3], s[4], s[5]}, {s[6], s[7], s[8]}});
  }
  std::int64_t next = 0;
  for (std::int64_t row = 0; row < n_layers; ++row) {
    const std::int32_t* of = layers.data() + 4 * row;
    const std::uint64_t volume = static_cast<std::uint32_t>(of[0]), number = static_cast<std::uint32_t>(of[1]);
    Layer layer{volume << 56 | number << 36, of[2], -1, false, 0, 0};
    const bool sorted = layers_.empty() || layers_.back().identifier < layer.identifier;
    const bool paired = of[3] == 0 || (of[2] % 2 == 0 && of[2] > 0 && next + of[2] <= n_sensors);
    if (!sorted || !paired || of[2] < 0)
      throw ConfigError(path + ": got an impossible layer " + std::to_string(row) +
                        ", expected layers in order, each with its pairs of sensors; train the model again");
    if (of[3] != 0) {
      layer.first_sensor = next;
      layer.is_disc = std::abs(sensors_[next].normal.z) > 0.5;
      for (const std::int64_t end = next + of[2]; next < end; ++next) {
        layer.radius += std::hypot(sensors_[next].centre.x, sensors_[next].centre.y) / of[2];
        layer.z += sensors_[next].centre.z / of[2];
      }
    }
    layers_.push_back(layer);
    n_modules_ += of[2];
  }
}

const StripCheck::Layer& StripCheck::layer_of(std::uint64_t geometry_id) const {
  const std::uint64_t layer = geometry_id >> kModuleBits << kModuleBits;
  const auto at = std::lower_bound(layers_.begin(), layers_.end(), layer,
                                   [](const Layer& other, std::uint64_t value) { return other.identifier < value; });
  const auto number = static_cast<std::int64_t>(geometry_id - layer) >> 8;
  if (at == layers_.end() || at->identifier != layer || (geometry_id & 0xff) != 0 || number < 1 ||
      number > at->n_modules)
    throw InputError("geometry_id: got " + std::to_string(geometry_id) + ", expected one of the " +
                     std::to_string(n_modules_) +
                     " modules of the detector of the model; say of which detector the events are");
  return *at;
}

/// Where a track crosses the plane of a sensor, which is along or across the beam.
StripCheck::Vector StripCheck::crossing(const Helix& helix, const Sensor& sensor) {
  const Vector &centre = sensor.centre, &normal = sensor.normal;
  if (std::abs(normal.z) > 0.5) return helix.at_z(centre.z);
  const double length = std::max(std::hypot(normal.x, normal.y), kTiny), nx = normal.x / length, ny = normal.y / length;
  const double dx = centre.x - helix.x, dy = centre.y - helix.y;
  const double distance = (dx * nx + dy * ny) / helix.radius;
  // Of the two points of the circle on the plane, the one that is nearer to the module.
  const double half_chord = std::sqrt(std::max(1 - distance * distance, 0.0)) * (dy * nx - dx * ny > 0 ? 1 : -1);
  const double azimuth = std::atan2(distance * ny + half_chord * nx, distance * nx - half_chord * ny);
  return helix.at_angle(std::abs(wrapped(azimuth - helix.start)));
}

/// Space points near the crossings of tracks with their layers that agree with the tracks.
std::vector<StripCheck::Candidate> StripCheck::candidates(const std::vector<Helix>& tracks,
                                                          const std::vector<Points>& points,
                                                          const Measurements& measured) const {
  std::vector<Candidate> agreeing;
  for (const Points& on_layer : points)
    for (const Helix& helix : tracks) {
      const Layer& layer = *on_layer.layer;
      on_layer.near(layer.is_disc ? helix.at_z(layer.z) : helix.at_radius(layer.radius), [&](const auto& point) {
        double residual[2];
        const float *local = measured.local + 2 * point.hit, *variance = measured.variance + 2 * point.hit;
        const double error = std::sqrt(variance[0] + variance[1]);
        for (int side = 0; side < 2; ++side) {
          const Sensor& sensor = sensors_[point.sensor + side];
          const Vector there = crossing(helix, sensor);
          const double predicted = sensor.across.x * (there.x - sensor.centre.x) +
                                   sensor.across.y * (there.y - sensor.centre.y) +
                                   sensor.across.z * (there.z - sensor.centre.z);
          residual[side] = local[side] - predicted;
          // Half of the difference and their mean are both limited.
          if (!(std::abs(residual[side]) < kAside + kSigmas / 2 * error)) return;
        }
        const double pull = (residual[0] - residual[1]) / error, aside = (residual[0] + residual[1]) / 2;
        if (!(std::abs(pull) < kSigmas && std::abs(aside) < kAside)) return;
        const double chi2 = pull * pull + aside / kScale * (aside / kScale);
        agreeing.push_back({chi2, helix.track, point.hit, point.sensor});
      });
    }
  std::stable_sort(agreeing.begin(), agreeing.end(),
                   [](const Candidate& one, const Candidate& other) { return one.chi2 < other.chi2; });
  return agreeing;
}

void StripCheck::apply(const float* position, const Measurements& measured, std::int64_t n, std::int64_t n_tracks,
                       std::int64_t* track_id) const {
  std::vector<Points> points(layers_.size());
  std::vector<std::vector<Vector>> others(n_tracks);  // hits of each track that are no space points
  std::size_t n_points = 0;
  for (std::int64_t hit = 0; hit < n; ++hit) {
    const Layer& layer = layer_of(measured.geometry_id[hit]);
    const double r = position[3 * hit], phi = position[3 * hit + 1];
    const Vector xyz{r * std::cos(phi), r * std::sin(phi), position[3 * hit + 2]};
    if (layer.first_sensor < 0) {
      if (track_id[hit] >= 0) others[track_id[hit]].push_back(xyz);
      continue;
    }
    // The second sensor of a module has the next number.
    const auto number = static_cast<std::int64_t>(measured.geometry_id[hit] - layer.identifier) >> 8;
    Points& on_layer = points[&layer - layers_.data()];
    on_layer.layer = &layer;
    on_layer.sorted.push_back({on_layer.key(xyz), xyz, hit, layer.first_sensor + (number - 1) / 2 * 2});
    ++n_points;
  }
  std::vector<Helix> tracks;
  for (std::int64_t track = 0; track < n_tracks; ++track)
    if (others[track].size() >= kFewest) tracks.emplace_back(track, others[track]);
  if (tracks.empty() || n_points == 0) return;
  points.erase(std::remove_if(points.begin(), points.end(), [](const Points& of) { return of.sorted.empty(); }),
               points.end());
  std::vector<char> is_checked(n_tracks, 0), is_used(n, 0);
  for (const Helix& helix : tracks) is_checked[helix.track] = 1;
  for (Points& on_layer : points) {
    std::sort(on_layer.sorted.begin(), on_layer.sorted.end(),
              [](const Points::Point& one, const Points::Point& other) { return one.key < other.key; });
    for (const Points::Point& point : on_layer.sorted)
      if (track_id[point.hit] >= 0 && is_checked[track_id[point.hit]]) track_id[point.hit] = -1;
  }
  // The best point of each track on each module, then the best track of each point.
  std::unordered_set<std::int64_t> filled;
  for (const Candidate& candidate : candidates(tracks, points, measured)) {
    const auto n_sensors = static_cast<std::int64_t>(sensors_.size());
    if (!filled.insert(candidate.track * n_sensors + candidate.sensor).second || is_used[candidate.point]) continue;
    is_used[candidate.point] = 1;
    if (track_id[candidate.point] < 0) track_id[candidate.point] = candidate.track;
  }
}

}  // namespace beampipe
