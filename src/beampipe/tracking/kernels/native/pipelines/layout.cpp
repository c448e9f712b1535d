// Whether hits lie on the layers that the windows of a pipeline were learned from, and which change of units would help.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "native/errors.hpp"
#include "native/numbers.hpp"
#include "pipelines/policy.hpp"

namespace beampipe {
namespace {

constexpr std::int64_t kMostTried = 1000;  // hits; enough to tell 80 % from 50 %
constexpr double kFits = 0.8;              // share of them on a layer above which a guess is accepted
constexpr float kTurn = 6.2831855f;        // [rad]
constexpr float kDegrees = 361;            // most that is taken for an angle
constexpr float kPerTurn = 1.0001f;        // of phi / pi
constexpr float kMilliradians = 6300;      // what a turn spans in them, and a little more

/// Factors on |r| and z, and the unit that they correspond to. `phi_most` is the largest |phi| in that unit.
struct Unit {
  float r, z, phi_least, phi_most;
  const char* hint;
};

constexpr float kAny = 3e38f;
const Unit kUnits[] = {
    {1, 1, 0, kTurn, "without the sign of r they fit: a radius is 0 or more"},
    {3000, 400, 0, kPerTurn, "is this --scale exatrkx?"},
    {1000, 1000, 0, kPerTurn, "is this --scale acts?"},
    {10, 10, 0, kAny, "in cm they fit: multiply r and z by 10"},
    {1000, 1000, kPerTurn, kAny, "in m they fit: multiply r and z by 1000"},
    {0.001f, 0.001f, 0, kTurn, "in um they fit: divide r and z by 1000"},
    {0.001f, 0.001f, kTurn, kAny, "they are in mm and rad already: leave out the scale acts"},
    {1 / 3000.0f, 1 / 400.0f, 0, kAny, "they are in mm and rad already: leave out the scale exatrkx"},
    {1 / 3.0f, 2.5f, 0, kAny, "is this --scale acts, not exatrkx?"},
    {3, 0.4f, 0, kAny, "is this --scale exatrkx, not acts?"},
};

/// Which column is r, phi and z; if `cartesian`, which is x, y and z.
struct Order {
  int first, second, third;
  bool cartesian;
  const char* name;
};

// Those with phi come first: where it is read as y, it hardly changes the radius.
const Order kOrders[] = {
    {2, 1, 0, false, "z, phi, r"}, {0, 2, 1, false, "r, z, phi"}, {1, 0, 2, false, "phi, r, z"},
    {1, 2, 0, false, "z, r, phi"}, {2, 0, 1, false, "phi, z, r"}, {0, 1, 2, true, "x, y, z"},
    {1, 2, 0, true, "z, x, y"},    {0, 2, 1, true, "x, z, y"},
};

struct Length {
  float mm;
  const char* name;
};

const Length kLengths[] = {{1, ""}, {10, " in cm"}, {1000, " in m"}};

struct Place {
  float r, z;
};

/// Tries other units, orders of columns and shifts on a sample of the hits of an event, and keeps the hint of the one
/// that puts most of them on layers; of equally good ones the first.
class Guesses {
public:
  Guesses(const Windows& windows, const float* position, std::int64_t n)
      : windows_(windows),
        position_(position),
        step_((n + kMostTried - 1) / kMostTried),
        count_((n + step_ - 1) / step_) {}

  float largest(int column) const {
    float most = 0;
    for (std::int64_t i = 0; i < count_; ++i) most = std::max(most, std::abs(at(i)[column]));
    return most;
  }

  void try_units() {
    const float phi = largest(1);
    for (const Unit& unit : kUnits)
      if (phi >= unit.phi_least && phi <= unit.phi_most)
        guess([&](const float* hit) { return Place{std::abs(hit[0]) * unit.r, hit[2] * unit.z}; }, unit.hint);
  }

  void try_orders() {
    for (const Order& order : kOrders) {
      if (!order.cartesian && largest(order.second) > kDegrees) continue;
      for (const Length& length : kLengths) {
        const auto place = [&](const float* hit) {
          const float a = hit[order.first], b = hit[order.second];
          const float r = order.cartesian ? std::sqrt(a * a + b * b) : a;
          return Place{r * length.mm, hit[order.third] * length.mm};
        };
        guess(place,
              std::string("read as ") + order.name + length.name + " they fit: expected are r, phi, z in mm and rad");
      }
    }
  }

  void try_shifts() {
    constexpr int kFarthest = 2000;        // mm, along z
    constexpr std::int64_t kFewest = 200;  // hits; fewer may fit somewhere by chance
    for (int shift = 1; count_ >= kFewest && shift <= kFarthest; ++shift)
      for (const int z : {shift, -shift})
        guess([&](const float* hit) { return Place{hit[0], hit[2] - static_cast<float>(z)}; },
              "shifted by " + std::to_string(-z) + " mm along z they fit: is z = 0 elsewhere in your files?");
  }

  /// The hint of the best guess; empty if none fits.
  const std::string& hint() const { return hint_; }

private:
  const float* at(std::int64_t i) const { return position_ + 3 * i * step_; }

  template <typename PlaceOf>
  void guess(const PlaceOf& place_of, const std::string& hint) {
    std::int64_t inside = 0;
    for (std::int64_t i = 0; i < count_; ++i) {
      const auto [r, z] = place_of(at(i));
      inside += layer_at(windows_.layers, windows_.n_layers, r, z) >= 0;
    }
    const double share = static_cast<double>(inside) / static_cast<double>(count_);
    if (share >= kFits && share > share_) share_ = share, hint_ = hint;
  }

  const Windows& windows_;
  const float* position_;
  std::int64_t step_, count_;
  double share_ = 0;
  std::string hint_;
};

/// The change that would put the hits on the layers, or general advice.
std::string what_would_fit(Guesses guesses) {
  guesses.try_units();
  guesses.try_orders();
  const float largest = guesses.largest(0);
  if (largest > 3) {
    if (guesses.hint().empty()) guesses.try_shifts();
    return guesses.hint().empty() ? "train on your detector (beampipe tracking train), or go on with --force"
                                  : guesses.hint();
  }
  const std::string radii = "all radii are below " + std::to_string(static_cast<int>(largest) + 1) + ": ";
  return radii + (guesses.hint().empty() ? "r and z are expected in mm; see --scale" : guesses.hint());
}

std::string hint_of_phi(Guesses guesses, float span) {
  guesses.try_orders();
  if (!guesses.hint().empty()) return guesses.hint();
  if (span <= kDegrees) return "these look like degrees: multiply by pi / 180";
  if (span <= kMilliradians) return "these look like mrad: divide by 1000";
  return "is another column taken for phi?";
}

constexpr std::int64_t kFewestHits =
    20;  // fewer are not checked: one particle and some noise are compatible with any detector
constexpr std::int64_t kManyHits = 50;  // of a layer; so many lie all over it
constexpr float kThin = 2;              // mm: little more than the margin of a box; hits of thin layers do not fill it
constexpr float kFilled = 0.5;          // part of a layer's extent in r and z
constexpr float kMostTurns = 2;         // phi counted from anywhere spans one turn, a track that winds a little more

struct Range {
  float least = std::numeric_limits<float>::infinity(), most = -least;

  void add(float value) { least = std::min(least, value), most = std::max(most, value); }
};

/// The hits on one layer.
struct Filling {
  std::int64_t hits = 0;
  Range r, z;

  void add(float r_hit, float z_hit) { ++hits, r.add(r_hit), z.add(z_hit); }

  /// Whether they fill the layer's box: r_min, r_max, z_min, z_max. A few may lie anywhere.
  bool fills(const float* box) const {
    if (hits < kManyHits) return hits > 0;
    const auto filled = [](const Range& range, float extent) {
      return extent <= kThin || range.most - range.least >= kFilled * extent;
    };
    return filled(r, box[1] - box[0]) && filled(z, box[3] - box[2]);
  }
};

std::string one_digit(float value) { return print_number("%.*f", 1, value); }

}  // namespace

std::string in_event(const Blocks& events, std::int64_t k) {
  return events.n > 1 ? " in event " + std::to_string(k) + " of " + std::to_string(events.n) : "";
}

std::vector<Fit> fits_of(const Windows& windows, const Hits& hits, const std::int16_t* layer) {
  const Blocks& events = hits.events;
  std::vector<Fit> fits;
  std::vector<Filling> fillings;
  for (std::int64_t k = 0; k < events.n; ++k) {
    fillings.assign(windows.n_layers, {});
    Fit fit{};
    for (std::int64_t i = events.begin[k]; i < events.begin[k + 1]; ++i) {
      if (layer[i] < 0)
        ++fit.outside;
      else
        fillings[layer[i]].add(hits.position[3 * i], hits.position[3 * i + 2]);
    }
    for (int l = 0; l < windows.n_layers; ++l) fit.unfilled += !fillings[l].fills(windows.layers + 4 * l);
    fits.push_back(fit);
  }
  return fits;
}

void require_layout(const std::string& name, const Windows& windows, const float* position, const Blocks& events,
                    const std::vector<Fit>& fits) {
  for (std::int64_t k = 0; k < events.n; ++k) {
    const std::int64_t n = events.size(k), outside = fits[k].outside;
    if (n < kFewestHits) continue;
    const Guesses guesses(windows, position + 3 * events.begin[k], n);
    const std::string some = std::to_string(outside) + " of " + std::to_string(n) + " hits";
    const std::string no_layer = " on no layer of " + name + in_event(events, k), beside = " (" + some + no_layer + ")";
    const auto refuse = [&](const std::string& seen, const std::string& expected, const std::string& hint) {
      throw LayoutError("layout: got " + seen + ", expected " + expected + "; " + hint, n, outside, hint);
    };
    std::array<Range, 3> range;  // of each coordinate
    for (std::int64_t i = events.begin[k]; i < events.begin[k + 1]; ++i)
      for (int c = 0; c < 3; ++c) range[c].add(position[3 * i + c]);
    const std::array<const char*, 3> names = {"r", "phi", "z"};
    for (int c = 0; c < 3; ++c)
      if (range[c].least == range[c].most)
        refuse(std::string(names[c]) + " = " + one_digit(range[c].least) + " in each hit" + beside, "it to vary",
               "was that column read?");
    if (2 * outside > n)
      refuse(some + " (" + std::to_string((200 * outside + n) / (2 * n)) + " %)" + no_layer,
             "most of them on its layers", what_would_fit(guesses));
    const float span = range[1].most - range[1].least;
    if (span > kMostTurns * kTurn)
      refuse("phi from " + one_digit(range[1].least) + " to " + one_digit(range[1].most) + beside,
             "rad within one turn", hint_of_phi(guesses, span));
  }
}

}  // namespace beampipe
