#include "pipelines/parts/cuts.hpp"

#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "native/errors.hpp"

namespace beampipe {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

float score_of(float logit) { return static_cast<float>(1 / (1 + std::exp(-static_cast<double>(logit)))); }

/// The n-th float counted from zero: numbers in the order of floats, to halve the way between two of them.
float float_at(std::int64_t n) {
  const auto bits = static_cast<std::uint32_t>(n < 0 ? -n : n);
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return n < 0 ? -value : value;
}

double above_0(const Json& config, const char* key) {
  const double value = config.at(key).number();
  if (value > 0) return value;
  throw ConfigError(std::string(key) + ": got " + std::to_string(value) + ", expected a number above 0");
}

double score(const Json& config, const char* key) {
  const double value = config.at(key).number();
  if (value >= 0 && value <= 1) return value;
  throw ConfigError(std::string(key) + ": got " + std::to_string(value) + ", expected a number in [0, 1]");
}

}  // namespace

float logit_of(double cut) {
  if (cut > 0 && cut < 1) return static_cast<float>(std::log(cut / (1 - cut)));
  return cut <= 0 ? -kInfinity : kInfinity;
}

float lowest_logit(double cut) {
  const auto rounded = static_cast<float>(cut);
  if (rounded <= 0) return -kInfinity;
  std::uint32_t infinity;
  std::memcpy(&infinity, &kInfinity, sizeof infinity);
  std::int64_t below = -std::int64_t{infinity}, enough = infinity;  // scores 0 and 1
  while (enough - below > 1) {
    const std::int64_t middle = below + (enough - below) / 2;
    (score_of(float_at(middle)) >= rounded ? enough : below) = middle;
  }
  return float_at(enough);
}

Cuts Cuts::parse(const Json& config) {
  above_0(config, "max_neighbours");
  return {static_cast<float>(above_0(config, "radius")),
          config.at("max_neighbours").whole(),
          static_cast<float>(above_0(config, "kappa_max")),
          static_cast<float>(above_0(config, "z0_max")),
          logit_of(score(config, "filter_cut")),
          lowest_logit(score(config, "score_cut"))};
}

}  // namespace beampipe
