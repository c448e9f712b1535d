// The Python module beampipe.calibration.kernels._native: the filler (filler.hpp), boosted trees, and offsets of baskets.
//
// `select_by_numpy` and `fill_by_numpy` give the same bits.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>

#include "filler.hpp"
#include "loops.hpp"
#include "numbers.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using namespace calibration;

template <typename T, int... Shape>
using In = nb::ndarray<const T, nb::shape<Shape...>, nb::c_contig, nb::device::cpu>;
template <typename T, int... Shape>
using Out = nb::ndarray<T, nb::shape<Shape...>, nb::c_contig, nb::device::cpu>;
using Bytes = In<std::uint8_t, -1>;
using Sheet = Out<std::int64_t, -1, -1>;
using Given = std::optional<std::tuple<Bytes, bool, std::int64_t>>;
using Limits = std::tuple<double, double, double, double, double, double>;
using Model =
    std::tuple<double, double, double, double, double, double, std::int64_t, std::int64_t, std::int64_t, std::uint64_t>;

void require(bool holds, const char* message) {
  if (!holds) throw std::invalid_argument(message);
}

/// Indices of the columns in the arguments of `add`; columns of varied n_trk and other columns of jets follow.
enum ColumnIndex { kRun, kEvent, kTriggered, kWeights, kPt, kEtas, kCleaned, kTracks, kLabels, kRegions, kVaried };

/// A column with at least n numbers, each of a number of bytes.
Column column(const Given& given, std::int64_t n, std::int64_t bytes, const char* message) {
  if (!given) return {};
  const auto& [data, big, first] = *given;
  require(first >= 0 && (first + n) * bytes <= static_cast<std::int64_t>(data.shape(0)), message);
  return {data.data(), big, first};
}

Segment segment_of(std::int64_t n, std::int64_t n_weights, const In<std::int64_t, -1>& offsets,
                   const std::vector<Given>& columns, std::size_t n_varied) {
  require(n >= 0 && static_cast<std::int64_t>(offsets.shape(0)) == n + 1, "offsets: one more than events");
  const std::int64_t* at = offsets.data();
  bool sorted = true;
  for (std::int64_t i = 0; i < n; ++i) sorted &= at[i] <= at[i + 1];
  require(sorted, "offsets: not sorted");
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
  segment.weight.first *= n_weights;
  segment.pt = column(columns[kPt], jets, 4, "pt: too short");
  require(segment.pt.first == at[0], "pt: offsets begin elsewhere");
  segment.eta = column(columns[kEtas], jets, 4, "eta: too short");
  segment.clean = column(columns[kCleaned], jets, 1, "clean: too short");
  segment.n_trk = column(columns[kTracks], jets, 2, "n_trk: too short");
  segment.label = column(columns[kLabels], jets, 1, "label: too short");
  segment.region = column(columns[kRegions], jets, 1, "region: too short");
  for (std::size_t k = kVaried; k < columns.size(); ++k) {
    require(columns[k].has_value(), "column of jets: missing");
    if (k < kVaried + n_varied)
      segment.varied_n_trk.push_back(column(columns[k], jets, 2, "varied n_trk: too short"));
    else
      segment.floats.push_back(column(columns[k], jets, 4, "column of jets: too short"));
  }
  return segment;
}

Selection selection_of(const nb::dict& given) {
  Selection s;
  s.cuts = std::apply([](auto... each) { return Cuts{each...}; }, nb::cast<Limits>(given["cuts"]));
  s.margin = nb::cast<double>(given["margin"]);
  s.scale = nb::cast<double>(given["scale"]);
  s.square_scale = nb::cast<double>(given["square_scale"]);
  const auto [by_eta, gap, split] = nb::cast<std::tuple<bool, float, float>>(given["regions"]);
  s.regions = {by_eta, gap, split};
  s.flavours = nb::cast<std::vector<std::int8_t>>(given["flavours"]);
  require(s.flavours.empty() || s.flavours.size() == 256, "flavours: 256 or none");
  s.weights = nb::cast<std::vector<std::int64_t>>(given["weights"]);
  require(s.weights.empty() || s.weights[0] == 0, "weights: the nominal one comes first");
  std::tie(s.low_pt, s.high_pt) = nb::cast<std::tuple<float, float>>(given["likely_pt"]);
  s.done = nb::cast<bool>(given["done"]);
  return s;
}

Histograms histograms_of(const nb::dict& given) {
  Histograms h = {};
  h.n_groups = 1;
  if (given.size() == 0) return h;
  const auto edges = [&](const char* name) {
    const auto values = nb::cast<In<double, -1>>(given[name]);
    return Edges{values.data(), static_cast<std::int64_t>(values.shape(0))};
  };
  h.axes = {edges("edges"), edges("eta_edges"), nb::cast<std::int64_t>(given["n_flavours"]), 0};
  for (const auto& [low, high, bins] :
       nb::cast<std::vector<std::tuple<double, double, std::int64_t>>>(given["taggers"])) {
    h.taggers.push_back({low, high, bins, h.axes.width, {}});
    h.axes.width += bins;
  }
  h.energy = std::apply([](auto... each) { return EnergyModel{each...}; }, nb::cast<Model>(given["energy"]));
  for (const auto& [kind, number, sign] :
       nb::cast<std::vector<std::tuple<int, std::int64_t, double>>>(given["variations"]))
    h.variations.push_back({static_cast<Variation::Kind>(kind), number, sign});
  h.scores = nb::cast<std::vector<std::int64_t>>(given["scores"]);
  require(h.scores.size() == (1 + h.variations.size()) * h.taggers.size(), "scores: wrong shape");
  h.dataset = nb::cast<std::uint64_t>(given["dataset"]);
  h.seed = nb::cast<std::uint64_t>(given["seed"]);
  h.n_groups = nb::cast<std::int64_t>(given["n_groups"]);
  require(h.n_groups > 0, "n_groups: at least 1");
  const auto poisson = nb::cast<Bytes>(given["poisson"]);
  require(poisson.shape(0) == 65536, "poisson: 65536 numbers");
  h.poisson = poisson.data();
  return h;
}

/// A filler with the arrays that it reads and writes, and the columns that it expects.
struct PythonFiller {
  Filler filler;
  bool labelled, weighted;
  std::int64_t last_weight;
  std::size_t n_varied, n_floats;
  std::string refusal;
  nb::object kept;
};

using Arrays = std::tuple<Sheet, Sheet, Sheet, Sheet, Sheet, Out<std::int64_t, -1>>;

void make(PythonFiller* self, const nb::dict& select, const nb::dict& fill, const std::optional<Arrays>& arrays,
          std::size_t n_varied, std::size_t n_floats, std::int64_t table_rows) {
  Selection s = selection_of(select);
  Histograms h = histograms_of(fill);
  Sums sums = {};
  if (arrays) {
    const auto& [sumw, sumw2, varied_sumw, varied_sumw2, replicas, entries] = *arrays;
    const std::size_t rows = h.axes.n_bins() * 2 * h.axes.n_flavours * h.axes.width;
    const std::size_t of_groups = rows * static_cast<std::size_t>(h.n_groups);
    const std::size_t n_weights = s.weights.empty() ? 1 : s.weights.size(), n_variations = h.variations.size();
    const auto shaped = [](const Sheet& array, std::size_t n_rows, std::size_t n_columns) {
      return array.shape(0) == n_rows && array.shape(1) == n_columns;
    };
    require(rows > 0 && shaped(sumw, of_groups, n_weights) && shaped(sumw2, rows, n_weights) &&
                shaped(varied_sumw, n_variations, of_groups) && shaped(varied_sumw2, n_variations, rows) &&
                replicas.shape(0) == rows && entries.shape(0) == rows,
            "sums: wrong shape");
    h.n_replicas = static_cast<std::int64_t>(replicas.shape(1));
    const auto n_rows = static_cast<std::int64_t>(rows);
    sums = {n_rows,          sumw.data(),   sumw2.data(), varied_sumw.data(), varied_sumw2.data(),
            replicas.data(), entries.data()};
    for (const std::int8_t flavour : s.flavours) require(flavour < h.axes.n_flavours, "flavours: too large");
  }
  for (const Variation& each : h.variations)
    require(each.number >= 0 && (each.kind != Variation::kTracks || each.number < static_cast<std::int64_t>(n_varied)),
            "variations: no such column");
  for (const std::int64_t index : h.scores)
    require(index < static_cast<std::int64_t>(n_floats), "scores: no such column");
  std::int64_t last = -1;
  for (const std::int64_t index : s.weights) {
    require(index >= 0, "weights: indices");
    last = index > last ? index : last;
  }
  const bool labelled = !s.flavours.empty(), weighted = !s.weights.empty();
  new (self) PythonFiller{Filler(std::move(s), std::move(h), sums, table_rows),
                          labelled,
                          weighted,
                          last,
                          n_varied,
                          n_floats,
                          "",
                          nb::make_tuple(fill, arrays)};
}

bool add_segment(PythonFiller& self, std::int64_t n, std::int64_t n_weights, In<std::int64_t, -1> offsets,
                 const std::vector<Given>& columns) {
  require(columns.size() == kVaried + self.n_varied + self.n_floats, "columns: not as many as expected");
  require(!self.labelled || columns[kLabels], "label: missing");
  require(!self.weighted || columns[kWeights], "weight: missing");
  if (self.last_weight >= n_weights) {
    self.refusal = "events have " + std::to_string(n_weights) + " weights";
    return false;
  }
  const Segment segment = segment_of(n, n_weights, offsets, columns, self.n_varied);
  nb::gil_scoped_release free;
  const char* wrong = self.filler.add(segment);
  if (wrong != nullptr) self.refusal = wrong + std::string(" after event ") + std::to_string(self.filler.counts.all);
  return wrong == nullptr;
}

nb::dict finish(PythonFiller& self) {
  self.filler.finish();
  const Counts& counts = self.filler.counts;
  nb::dict out;
  out["events"] = std::vector<std::int64_t>(counts.events, counts.events + kNCuts);
  out["weights"] = std::vector<std::int64_t>(counts.weights, counts.weights + kNCuts);
  out["selected"] = counts.selected;
  out["pairs"] = counts.pairs;
  out["labels"] = counts.labels;
  out["unmatched"] = counts.unmatched;
  out["low"] = counts.low;
  out["high"] = counts.high;
  out["run"] = counts.run;
  out["first"] = counts.first;
  out["last"] = counts.last;
  out["ordered"] = counts.any && counts.ordered;
  out["size"] = counts.size;
  out["square"] = counts.square;
  return out;
}

/// A vector as a numpy array that owns it, with n columns; one dimension if n is 0.
template <typename T>
nb::object array_of(std::vector<T>&& values, std::size_t n) {
  auto* kept = new std::vector<T>(std::move(values));
  const nb::capsule owner(kept, [](void* pointer) noexcept { delete static_cast<std::vector<T>*>(pointer); });
  const std::size_t rows = n == 0 ? kept->size() : kept->size() / n;
  const std::size_t shape[2] = {rows, n};
  return nb::cast(nb::ndarray<nb::numpy, T>(kept->data(), n == 0 ? 1 : 2, shape, owner));
}

template <typename T>
nb::list arrays_of(std::vector<std::vector<T>>&& columns, std::size_t n) {
  nb::list out;
  columns.resize(n);
  for (auto& each : columns) out.append(array_of(std::move(each), 2));
  return out;
}

/// The columns of the table of selected events; call it once.
nb::dict take_table(PythonFiller& self, std::size_t n_weights) {
  Table table = std::move(self.filler.table);
  nb::dict out;
  out["event"] = array_of(std::move(table.event), 0);
  out["entry"] = array_of(std::move(table.entry), 0);
  out["jet"] = array_of(std::move(table.jet), 2);
  out["weight"] = array_of(std::move(table.weight), n_weights);
  out["pt"] = array_of(std::move(table.pt), 2);
  out["eta"] = array_of(std::move(table.eta), 2);
  out["n_trk"] = array_of(std::move(table.n_trk), 2);
  out["label"] = array_of(std::move(table.label), 2);
  out["region"] = array_of(std::move(table.region), 2);
  out["varied_n_trk"] = arrays_of(std::move(table.varied_n_trk), self.n_varied);
  out["floats"] = arrays_of(std::move(table.floats), self.n_floats);
  return out;
}

/// Convert where the lists of a basket begin: from big-endian byte offsets, counted from the key of `key` bytes, to
/// numbers of items. Returns false if they are not valid. The last offset is the end of the data.
bool list_offsets(Bytes stored, std::int64_t key, std::int64_t item, std::int64_t end, Out<std::int64_t, -1> out) {
  const auto n = static_cast<std::int64_t>(out.shape(0));
  require(item > 0 && n > 0 && static_cast<std::int64_t>(stored.shape(0)) >= 4 * n, "offsets: too short");
  const std::uint8_t* at = stored.data();
  std::int64_t* offsets = out.data();
  bool good = end >= 0 && end % item == 0;
  for (std::int64_t k = 0; k + 1 < n; ++k) offsets[k] = load<std::int32_t>(at + 4 * k, true) - key;
  offsets[n - 1] = end;
  std::int64_t wrong = offsets[0] < 0;
  for (std::int64_t k = 1; k < n; ++k) wrong |= offsets[k] < offsets[k - 1];
  const auto divide = [&](auto size) {
    for (std::int64_t k = 0; k < n; ++k) {
      wrong |= offsets[k] % size;
      offsets[k] /= size;
    }
  };
  if (item == 4)
    divide(std::integral_constant<std::int64_t, 4>());
  else if (item == 2)
    divide(std::integral_constant<std::int64_t, 2>());
  else if (item != 1)
    divide(item);
  return good && wrong == 0;
}

/// Sums of the leaves of boosted trees that jets reach; see `BoostedTrees` in jets/boosted_trees.py.
///
/// features: (n_jets, n_features); n_nodes: number of nodes of each tree; leaves: (n_trees, 32) values.
void score(const In<float, -1, -1>& features, const In<std::int64_t, -1>& n_nodes, const In<std::int64_t, -1>& feature,
           const In<float, -1>& threshold, const In<std::uint32_t, -1>& left, const In<double, -1, 32>& leaves,
           Out<double, -1> out) {
  const std::size_t n_jets = features.shape(0), n_features = features.shape(1), n_trees = n_nodes.shape(0);
  require(out.shape(0) == n_jets && leaves.shape(0) == n_trees, "trees: wrong shape");
  std::vector<std::vector<TreeNode>> trees(n_trees);
  std::size_t node = 0;
  for (std::size_t t = 0; t < n_trees; ++t)
    for (std::int64_t k = 0; k < n_nodes.data()[t]; ++k, ++node) {
      require(node < feature.shape(0) && node < threshold.shape(0) && node < left.shape(0), "trees: nodes missing");
      const std::int64_t column = feature.data()[node];
      require(column >= 0 && column < static_cast<std::int64_t>(n_features), "trees: no such feature");
      require(left.data()[node] < 1U << 31, "trees: leaves missing");
      trees[t].push_back({column, threshold.data()[node], left.data()[node]});
    }
  nb::gil_scoped_release free;
  std::vector<float> jets(n_features * kJets);
  for (std::size_t begin = 0; begin < n_jets; begin += kJets) {
    const std::size_t n = std::min<std::size_t>(kJets, n_jets - begin);
    double sums[kJets] = {};
    for (std::size_t k = 0; k < n; ++k)
      for (std::size_t f = 0; f < n_features; ++f) {
        const float number = features.data()[(begin + k) * n_features + f];
        jets[f * kJets + k] = std::fabs(number) > 1e-35F ? number : 0;  // also NaN, as LightGBM does
      }
    for (std::size_t t = 0; t < n_trees; ++t) add_leaves(trees[t], leaves.data() + 32 * t, jets.data(), sums);
    for (std::size_t k = 0; k < n; ++k) out.data()[begin + k] = 1 / (1 + std::exp(-sums[k]));
  }
}

}  // namespace

NB_MODULE(_native, m) {
  m.attr("BUILD") = BUILD;
  nb::class_<PythonFiller>(m, "Filler")
      .def("__init__", &make, "select"_a, "fill"_a, "sums"_a.none(), "n_varied"_a, "n_floats"_a, "table_rows"_a)
      .def("add", &add_segment, "n"_a, "n_weights"_a, "offsets"_a, "columns"_a)
      .def("finish", &finish)
      .def("take_table", &take_table, "n_weights"_a)
      .def_ro("refusal", &PythonFiller::refusal);
  m.def("score", &score, "features"_a, "n_nodes"_a, "feature"_a, "threshold"_a, "left"_a, "leaves"_a, "out"_a);
  m.def("list_offsets", &list_offsets, "stored"_a, "key"_a, "item"_a, "end"_a, "out"_a);
}
