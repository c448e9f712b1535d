#include "pipelines/layout.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <limits>
#include <vector>

#include "native/errors.hpp"

namespace beampipe {
namespace {

constexpr std::int64_t kMostTried = 1000;  // hits; enough to tell 80 % from 50 %
constexpr double kFits = 0.8;              // share of them on a layer above which a guess is accepted
constexpr float kTurn = 6.2831855f;        // [rad]
constexpr float kDegrees = 361;            // most that is taken for an angle
constexpr float kPerTurn = 1.0001f;        // of phi / pi

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

/// Some of the hits, spread over all.
struct Sample {
  const Windows& windows;
  const float* position;
  std::int64_t step, count;

  float at(std::int64_t i, int column) const { return position[3 * i * step + column]; }

  float largest(int column) const {
    float found = 0;
    for (std::int64_t i = 0; i < count; ++i) found = std::max(found, std::abs(at(i, column)));
    return found;
  }

  template <typename Place>
  double share_on_layers(const Place& place) const {
    std::int64_t inside = 0;
    for (std::int64_t i = 0; i < count; ++i) {
      const auto [r, z] = place(i);
      inside += layer_at(windows.layers, windows.n_layers, r, z) >= 0;
    }
    return static_cast<double>(inside) / static_cast<double>(count);
  }
};

Sample some_of(const Windows& windows, const float* position, std::int64_t n) {
  const std::int64_t step = (n + kMostTried - 1) / kMostTried;
  return {windows, position, step, (n + step - 1) / step};
}

struct Place {
  float r, z;
};

/// The best of some guesses; of equally good ones the first.
class Best {
public:
  void take(double share, std::string hint) {
    if (share < kFits || share <= share_) return;
    share_ = share;
    hint_ = std::move(hint);
  }
  const std::string& hint() const { return hint_; }

private:
  double share_ = 0;
  std::string hint_;
};

void try_units(const Sample& sample, Best& best) {
  const float phi = sample.largest(1);
  for (const Unit& unit : kUnits) {
    if (phi < unit.phi_least || phi > unit.phi_most) continue;
    const auto place = [&](std::int64_t i) {
      return Place{std::abs(sample.at(i, 0)) * unit.r, sample.at(i, 2) * unit.z};
    };
    best.take(sample.share_on_layers(place), unit.hint);
  }
}

void try_orders(const Sample& sample, Best& best) {
  for (const Order& order : kOrders) {
    if (!order.cartesian && sample.largest(order.second) > kDegrees) continue;
    for (const Length& length : kLengths) {
      const auto place = [&](std::int64_t i) {
        const float a = sample.at(i, order.first), b = sample.at(i, order.second);
        const float r = order.cartesian ? std::sqrt(a * a + b * b) : a;
        return Place{r * length.mm, sample.at(i, order.third) * length.mm};
      };
      best.take(sample.share_on_layers(place),
                std::string("read as ") + order.name + length.name + " they fit: expected are r, phi, z in mm and rad");
    }
  }
}

constexpr int kFarthestShift = 2000;          // mm, along z
constexpr std::int64_t kFewestShifted = 200;  // hits; fewer may fit somewhere by chance

void try_shifts(const Sample& sample, Best& best) {
  for (int shift = 1; shift <= kFarthestShift; ++shift)
    for (const int z : {shift, -shift}) {
      const auto place = [&](std::int64_t i) {
        return Place{sample.at(i, 0), sample.at(i, 2) - static_cast<float>(z)};
      };
      best.take(sample.share_on_layers(place),
                "shifted by " + std::to_string(-z) + " mm along z they fit: is z = 0 elsewhere in your files?");
    }
}

constexpr std::int64_t kFewestHits =
    20;  // fewer are not checked: one particle and some noise are compatible with any detector
constexpr std::int64_t kManyHits = 50;  // of a layer; so many lie all over it
constexpr float kThin = 2;              // mm: little more than the margin of a box; hits of thin layers do not fill it
constexpr float kFilled = 0.5;          // part of a layer's extent in r and z
constexpr float kMostTurns = 2;         // phi counted from anywhere spans one turn, a track that winds a little more
constexpr float kMilliradians = 6300;   // what a turn spans in them, and a little more

struct Range {
  float least = std::numeric_limits<float>::infinity(), most = -least;

  void add(float value) { least = std::min(least, value), most = std::max(most, value); }
};

/// Least and most of each coordinate.
std::array<Range, 3> ranges(const float* position, std::int64_t n) {
  std::array<Range, 3> found;
  for (std::int64_t i = 0; i < n; ++i)
    for (int c = 0; c < 3; ++c) found[c].add(position[3 * i + c]);
  return found;
}

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

std::string one_digit(float value) {
  char text[64];
  std::snprintf(text, sizeof text, "%.1f", value);
  return text;
}

/// An event and the results of its checks.
struct Judged {
  const std::string& name;
  const Windows& windows;
  const float* position;
  std::int64_t hits, outside;
  std::string where;  // " in event 2 of 5", where there are several

  /// Such as "7 of 10 hits".
  std::string some() const { return std::to_string(outside) + " of " + std::to_string(hits) + " hits"; }
};

std::string hint_of_phi(const Judged& event, float span) {
  const std::string order = order_that_fits(event.windows, event.position, event.hits);
  if (!order.empty()) return order;
  if (span <= kDegrees) return "these look like degrees: multiply by pi / 180";
  if (span <= kMilliradians) return "these look like mrad: divide by 1000";
  return "is another column taken for phi?";
}

[[noreturn]] void refuse(const Judged& event, const std::string& seen, const std::string& expected,
                         const std::string& hint) {
  throw LayoutError("layout: got " + seen + ", expected " + expected + "; " + hint, event.hits, event.outside, hint);
}

void judge(const Judged& event) {
  const std::string no_layer = " on no layer of " + event.name + event.where;
  const std::string beside = " (" + event.some() + no_layer + ")";
  const std::array<Range, 3> range = ranges(event.position, event.hits);
  const std::array<const char*, 3> names = {"r", "phi", "z"};
  for (int c = 0; c < 3; ++c)
    if (range[c].least == range[c].most)
      refuse(event, std::string(names[c]) + " = " + one_digit(range[c].least) + " in each hit" + beside, "it to vary",
             "was that column read?");
  if (2 * event.outside > event.hits) {
    const std::int64_t percent = (200 * event.outside + event.hits) / (2 * event.hits);
    refuse(event, event.some() + " (" + std::to_string(percent) + " %)" + no_layer, "most of them on its layers",
           what_would_fit(event.windows, event.position, event.hits));
  }
  const float span = range[1].most - range[1].least;
  if (span > kMostTurns * kTurn)
    refuse(event, "phi from " + one_digit(range[1].least) + " to " + one_digit(range[1].most) + beside,
           "rad within one turn", hint_of_phi(event, span));
}

}  // namespace

std::string order_that_fits(const Windows& windows, const float* position, std::int64_t n) {
  Best best;
  try_orders(some_of(windows, position, n), best);
  return best.hint();
}

std::string what_would_fit(const Windows& windows, const float* position, std::int64_t n) {
  const Sample sample = some_of(windows, position, n);
  Best best;
  try_units(sample, best);
  try_orders(sample, best);
  const std::string train = "train on your detector (beampipe tracking train), or go on with --force";
  const float largest = sample.largest(0);
  if (largest > 3) {
    if (best.hint().empty() && sample.count >= kFewestShifted) try_shifts(sample, best);
    return best.hint().empty() ? train : best.hint();
  }
  const std::string radii = "all radii are below " + std::to_string(static_cast<int>(largest) + 1) + ": ";
  return radii + (best.hint().empty() ? "r and z are expected in mm; see --scale" : best.hint());
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
    if (events.size(k) < kFewestHits) continue;
    const std::string where = " in event " + std::to_string(k) + " of " + std::to_string(events.n);
    judge({name, windows, position + 3 * events.begin[k], events.size(k), fits[k].outside, events.n > 1 ? where : ""});
  }
}

}  // namespace beampipe
