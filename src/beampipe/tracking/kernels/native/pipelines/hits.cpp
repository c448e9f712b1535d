#include "pipelines/hits.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "native/errors.hpp"
#include "native/numbers.hpp"

namespace beampipe {
namespace {

constexpr double kInsidePipe = 20.0;  // mm: largest distance of a beam line from the axis
constexpr double kTiltMax = 0.01;     // largest slope of a beam line to the axis

/// A number as Python prints it: the fewest digits that identify it.
std::string shown(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  int digits = 0;  // after the first
  std::string text = print_number("%.*e", digits, value);
  while (parse_number(text.c_str(), nullptr) != value) text = print_number("%.*e", ++digits, value);
  const double size = std::abs(value);
  if (size != 0 && (size < 1e-4 || size >= 1e16)) return text;
  const int exponent = std::stoi(text.substr(text.find('e') + 1));
  return print_number("%.*f", std::max(1, digits - exponent), value);
}

/// An angle between -pi and pi, by the steps of numpy's remainder: equal to the last bit.
float turned_angle(float phi) {
  double rest = std::fmod(static_cast<double>(phi) + kPi, 2 * kPi);
  if (rest < 0) rest += 2 * kPi;
  return static_cast<float>(rest - kPi);
}

bool is_turned(float phi) { return !(std::abs(phi) > static_cast<float>(kPi)); }

/// The numbers between the commas of a text; none if a part is no number.
std::vector<double> numbers_in(const std::string& text) {
  std::vector<double> numbers;
  const char* part = text.c_str();
  for (char* end = nullptr;; part = end + 1) {
    numbers.push_back(parse_number(part, &end));
    if (end == part || (*end != ',' && *end != '\0')) return {};
    if (*end == '\0') return numbers;
  }
}

/// A number as Python's format :g writes it.
std::string brief(double number) { return print_number("%.*g", 6, number); }

}  // namespace

Scale scale_named(const std::string& name) {
  constexpr auto kPi32 = static_cast<float>(kPi);
  if (name == "mm") return {1, 1, 1};
  if (name == "exatrkx") return {3000, kPi32, 400};
  if (name == "acts") return {1000, kPi32, 1000};
  throw ConfigError("unknown scale: got '" + name + "', expected one of acts, exatrkx, mm");
}

void to_mm(const Scale& scale, const float* features, std::int64_t n, float* position) {
  for (std::int64_t i = 0; i < 3 * n; i += 3) {
    position[i] = features[i] * scale.r;
    position[i + 1] = features[i + 1] * scale.phi;
    position[i + 2] = features[i + 2] * scale.z;
  }
}

void require_finite(const float* position, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) {
    const float* hit = position + 3 * i;
    if (std::isfinite(hit[0]) && std::isfinite(hit[1]) && std::isfinite(hit[2])) continue;
    throw NotFiniteError("hits: got [" + shown(hit[0]) + ", " + shown(hit[1]) + ", " + shown(hit[2]) + "] at row " +
                         std::to_string(i) + ", expected finite r, phi, z; drop or repair that hit");
  }
}

bool all_turned(const float* position, std::int64_t n) {
  bool all = true;
  for (std::int64_t i = 0; i < n; ++i) all &= is_turned(position[3 * i + 1]);
  return all;
}

Array<float> turned(const float* position, std::int64_t n) {
  Array<float> result(position, position + 3 * n);
  for (std::int64_t i = 0; i < n; ++i)
    if (!is_turned(result[3 * i + 1])) result[3 * i + 1] = turned_angle(result[3 * i + 1]);
  return result;
}

BeamLine BeamLine::parse(const std::string& text) {
  std::vector<double> numbers = numbers_in(text);
  if (numbers.size() != 2 && numbers.size() != 4)
    throw ConfigError("beam spot: got '" + text + "', expected x,y in mm, such as 0.5,-0.2, or x,y,dxdz,dydz");
  numbers.resize(4);
  return checked(numbers[0], numbers[1], numbers[2], numbers[3]);
}

BeamLine BeamLine::checked(double x, double y, double dxdz, double dydz) {
  const BeamLine line{x, y, dxdz, dydz};
  // Written so that NaN fails, too.
  if (!(std::hypot(line.x, line.y) < kInsidePipe))
    throw ConfigError("beam spot: got (" + brief(line.x) + ", " + brief(line.y) + ") mm, expected it within " +
                      brief(kInsidePipe) + " mm");
  if (!(std::hypot(line.dxdz, line.dydz) < kTiltMax))
    throw ConfigError("beam spot: got slopes " + brief(line.dxdz) + ", " + brief(line.dydz) + ", expected less than " +
                      brief(kTiltMax));
  return line;
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

const float* seen_by(const BeamLine& line, const float* position, std::int64_t n, Array<float>& copy) {
  if (line.on_axis()) return position;
  copy = seen_from(line, position, n);
  return copy.data();
}

}  // namespace beampipe
