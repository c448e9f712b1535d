// The Python module beampipe.calibration.kernels._native.
//
// Each loop has a twin in numpy, whose bits it gives: jets/pairs.py, jets/hashing.py, histograms/filling.py. The filler
// (filler.hpp) does in one pass over the events of a file what `select` and `fill` do one after the other.
#include <string>

#include "arrays.hpp"
#include "filler.hpp"

namespace {

using calibration::Column;
using calibration::Filler;
using calibration::Segment;
using calibration::Settings;
using Given = std::optional<std::tuple<Bytes, bool, std::int64_t>>;
using Edges = In<double, -1>;
using Table = Out<std::int64_t, -1, -1>;

/// Places of the columns in what `add` is given; those of varied n_trk follow.
enum Place { kRun, kEvent, kTriggered, kWeights, kPt, kEtas, kCleaned, kTracks, kLabels, kVaried };

/// A column of at least n numbers of some bytes each.
Column column(const Given& given, std::int64_t n, std::int64_t bytes, const char* message) {
  if (!given) return {};
  const auto& [data, big, first] = *given;
  require(first >= 0 && (first + n) * bytes <= static_cast<std::int64_t>(data.shape(0)), message);
  return {data.data(), big, first};
}

Segment segment_of(std::int64_t n, std::int64_t n_weights, const In<std::int64_t, -1>& offsets,
                   const std::vector<Given>& columns) {
  require(n >= 0 && static_cast<std::int64_t>(offsets.shape(0)) == n + 1, "offsets: one more than events");
  require(columns.size() >= kVaried, "columns: too few");
  const std::int64_t* at = offsets.data();
  for (std::int64_t i = 0; i < n; ++i) require(at[i] <= at[i + 1], "offsets: not sorted");
  const std::int64_t jets = at[n] - at[0];
  require(at[0] >= 0 && columns[kPt] && columns[kEtas] && columns[kTracks] && columns[kEvent], "columns: missing");
  Segment segment;
  segment.n = n;
  segment.n_weights = n_weights;
  segment.offsets = at;
  segment.run = column(columns[kRun], n, 4, "run: too short");
  segment.event = column(columns[kEvent], n, 8, "event: too short");
  segment.trigger = column(columns[kTriggered], n, 1, "trigger: too short");
  segment.weight = column(columns[kWeights], n, 4 * n_weights, "weight: too short");
  segment.pt = column(columns[kPt], jets, 4, "pt: too short");
  require(segment.pt.first == at[0], "pt: offsets begin elsewhere");
  segment.eta = column(columns[kEtas], jets, 4, "eta: too short");
  segment.clean = column(columns[kCleaned], jets, 1, "clean: too short");
  segment.n_trk = column(columns[kTracks], jets, 2, "n_trk: too short");
  segment.label = column(columns[kLabels], jets, 1, "label: too short");
  for (std::size_t k = kVaried; k < columns.size(); ++k) {
    require(columns[k].has_value(), "varied n_trk: missing");
    segment.varied_n_trk.push_back(column(columns[k], jets, 2, "varied n_trk: too short"));
  }
  return segment;
}

/// A filler with the arrays that it reads and writes, and what it will be given.
struct Held {
  Filler filler;
  Settings settings;
  std::size_t n_columns;
  nb::object kept;
};

using Models =
    std::tuple<double, double, double, double, double, double, std::int64_t, std::int64_t, std::int64_t, std::uint64_t>;

Settings settings_of(const nb::dict& given) {
  const auto get = [&](const char* name) { return given[name]; };
  Settings s;
  s.cuts = cuts_of(nb::cast<Limits>(get("cuts")));
  s.margin = nb::cast<double>(get("margin"));
  s.scale = nb::cast<double>(get("scale"));
  const auto edges = nb::cast<Edges>(get("edges"));
  s.axes = {edges.data(), static_cast<std::int64_t>(edges.shape(0)), nb::cast<std::int64_t>(get("n_flavours")), 0};
  for (const auto& [low, high, bins] :
       nb::cast<std::vector<std::tuple<double, double, std::int64_t>>>(get("taggers"))) {
    s.taggers.push_back({low, high, bins, s.axes.width, {}});
    s.axes.width += bins;
  }
  const auto [by_eta, gap, split] = nb::cast<std::tuple<bool, float, float>>(get("regions"));
  s.regions = {by_eta, gap, split};
  s.flavours = nb::cast<std::vector<std::int8_t>>(get("flavours"));
  require(s.flavours.empty() || s.flavours.size() == 256, "flavours: 256 or none");
  for (const std::int8_t flavour : s.flavours) require(flavour < s.axes.n_flavours, "flavours: too large");
  s.weights = nb::cast<std::vector<std::int64_t>>(get("weights"));
  require(s.weights.empty() || s.weights[0] == 0, "weights: the nominal one comes first");
  s.energy =
      std::apply([](auto... each) { return calibration::EnergyModel{each...}; }, nb::cast<Models>(get("energy")));
  for (const auto& [kind, number, sign] :
       nb::cast<std::vector<std::tuple<int, std::int64_t, double>>>(get("variations")))
    s.variations.push_back({static_cast<calibration::Variation::Kind>(kind), number, sign});
  std::tie(s.low_pt, s.high_pt) = nb::cast<std::tuple<float, float>>(get("likely_pt"));
  s.dataset = nb::cast<std::uint64_t>(get("dataset"));
  s.seed = nb::cast<std::uint64_t>(get("seed"));
  const auto poisson = nb::cast<Bytes>(get("poisson"));
  require(poisson.shape(0) == 65536, "poisson: 65536 numbers");
  s.poisson = poisson.data();
  return s;
}

void make(Held* self, const nb::dict& given, Table sumw, Table sumw2, Table varied_sumw, Table varied_sumw2,
          Table replicas, Out<std::int64_t, -1> entries, std::size_t n_varied) {
  Settings s = settings_of(given);
  const std::size_t rows = (s.axes.n_edges - 1) * 2 * s.axes.n_flavours * s.axes.width;
  const std::size_t n_weights = s.weights.empty() ? 1 : s.weights.size();
  s.n_replicas = static_cast<std::int64_t>(replicas.shape(1));
  for (const Table* each : {&sumw, &sumw2})
    require(each->shape(0) == rows && each->shape(1) == n_weights, "sums: wrong shape");
  for (const Table* each : {&varied_sumw, &varied_sumw2})
    require(each->shape(0) == s.variations.size() && each->shape(1) == rows, "sums of variations: wrong shape");
  require(replicas.shape(0) == rows && entries.shape(0) == rows, "sums: wrong shape");
  for (const auto& each : s.variations)
    require(each.number >= 0 &&
                (each.kind != calibration::Variation::kTracks || each.number < static_cast<std::int64_t>(n_varied)),
            "variations: no such column");
  const calibration::Sums sums = {static_cast<std::int64_t>(rows),
                                  sumw.data(),
                                  sumw2.data(),
                                  varied_sumw.data(),
                                  varied_sumw2.data(),
                                  replicas.data(),
                                  entries.data()};
  const nb::object kept = nb::make_tuple(given, sumw, sumw2, varied_sumw, varied_sumw2, replicas, entries);
  new (self) Held{Filler(s, sums), s, kVaried + n_varied, kept};
}

bool add(Held& self, std::int64_t n, std::int64_t n_weights, In<std::int64_t, -1> offsets,
         const std::vector<Given>& columns) {
  const Settings& s = self.settings;
  require(columns.size() == self.n_columns, "columns: not as many as expected");
  require(s.flavours.empty() || columns[kLabels], "label: missing");
  require(s.weights.empty() || columns[kWeights], "weight: missing");
  for (const std::int64_t place : s.weights)
    if (place >= n_weights) return false;
  const Segment segment = segment_of(n, n_weights, offsets, columns);
  nb::gil_scoped_release free;
  return self.filler.add(segment);
}

nb::dict finish(Held& self) {
  self.filler.finish();
  const calibration::Seen& seen = self.filler.seen;
  nb::dict out;
  out["events"] = std::vector<std::int64_t>(seen.events, seen.events + calibration::kNCuts);
  out["weights"] = std::vector<std::int64_t>(seen.weights, seen.weights + calibration::kNCuts);
  out["selected"] = seen.selected;
  out["pairs"] = seen.pairs;
  out["labels"] = seen.labels;
  out["unmatched"] = seen.unmatched;
  out["low"] = seen.low;
  out["high"] = seen.high;
  out["run"] = seen.run;
  out["first"] = seen.first;
  out["last"] = seen.last;
  out["ordered"] = seen.any && seen.ordered;
  out["size"] = seen.size;
  out["square"] = seen.square;
  return out;
}

}  // namespace

NB_MODULE(_native, m) {
  m.attr("BUILD") = BUILD;
  nb::class_<Held>(m, "Filler")
      .def("__init__", &make, "settings"_a, "sumw"_a, "sumw2"_a, "varied_sumw"_a, "varied_sumw2"_a, "replicas"_a,
           "entries"_a, "n_varied"_a)
      .def("add", &add, "n"_a, "n_weights"_a, "offsets"_a, "columns"_a)
      .def("finish", &finish);
  bind_loops(m);
}
