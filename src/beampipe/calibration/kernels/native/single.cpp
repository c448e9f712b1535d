// The loops one by one, for tables of events that are kept, and for taggers that are asked between the stages.
#include "arrays.hpp"
#include "axes.hpp"
#include "loops.hpp"
#include "numbers.hpp"

namespace {

using namespace calibration;
using Pairs = In<float, -1, 2>;
using TrackPairs = In<std::uint16_t, -1, 2>;
using SmallPairs = In<std::int8_t, -1, 2>;
using Rows = In<std::int64_t, -1, 2>;
using Places = In<std::int64_t, -1, 2, -1>;

/// Where the lists of a basket begin: numbers of bytes, big-endian, counted from `key` on -> numbers of items.
/// False if they are no such offsets. The last one is the end of the data.
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

std::int64_t leading_pairs(In<std::uint8_t, -1> trigger, In<std::int64_t, -1> offsets, In<float, -1> pt,
                           Out<std::int64_t, -1> events, Out<std::int64_t, -1, 2> places) {
  const auto n = static_cast<std::int64_t>(trigger.shape(0)), n_jets = static_cast<std::int64_t>(pt.shape(0));
  require(static_cast<std::int64_t>(offsets.shape(0)) == n + 1, "offsets: one more than events");
  require(static_cast<std::int64_t>(events.shape(0)) == n && static_cast<std::int64_t>(places.shape(0)) == n, "room");
  const std::int64_t* at = offsets.data();
  require(at[0] >= 0 && at[n] <= n_jets, "offsets: out of range");
  for (std::int64_t i = 0; i < n; ++i) require(at[i] <= at[i + 1], "offsets: not sorted");
  std::int64_t m = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    if (!trigger.data()[i] || at[i + 1] - at[i] < 2) continue;
    leading_pair(at[i], at[i + 1], [&](std::int64_t j) { return pt.data()[j]; }, places.data() + 2 * m);
    events.data()[m++] = i;
  }
  return m;
}

std::int64_t choose_pairs(In<std::uint8_t, -1> trigger, In<float, -1> weight, In<std::int64_t, -1> entries, Pairs pt,
                          Pairs eta, In<std::uint8_t, -1, 2> clean, TrackPairs n_trk, TrackPairs most_trk,
                          SmallPairs flavour, const Limits& limits, double margin, double scale,
                          Out<std::int64_t, -1> rows, Out<std::int64_t, kNCuts> events,
                          Out<std::int64_t, kNCuts> sums) {
  const Cuts cuts = cuts_of(limits);
  const std::size_t n = trigger.shape(0), n_pairs = entries.shape(0);
  require(weight.shape(0) == n && rows.shape(0) == n_pairs && pt.shape(0) == n_pairs && eta.shape(0) == n_pairs &&
              clean.shape(0) == n_pairs && n_trk.shape(0) == n_pairs && most_trk.shape(0) == n_pairs &&
              (flavour.shape(0) == n_pairs || flavour.shape(0) == 0),
          "columns: not equally long");
  const bool labels = flavour.shape(0) > 0;
  std::size_t row = 0;
  std::int64_t m = 0;
  for (std::size_t i = 0; i < n; ++i) {
    int last = trigger.data()[i] ? kTrigger : kAll;
    if (row < n_pairs && entries.data()[row] == static_cast<std::int64_t>(i)) {
      Pair pair;
      pair.clean = pair.labelled = true;
      for (std::size_t j = 0; j < 2; ++j) {
        const std::size_t at = 2 * row + j;
        pair.pt[j] = pt.data()[at], pair.eta[j] = eta.data()[at];
        pair.n_trk[j] = n_trk.data()[at], pair.most_trk[j] = most_trk.data()[at];
        pair.clean &= clean.data()[at] != 0;
        if (labels) pair.labelled &= flavour.data()[at] >= 0;
      }
      bool kept;
      last = last_cut_passed(pair, weight.data()[i], cuts, kept);
      if (kept && within_margin(pair, cuts, margin)) rows.data()[m++] = static_cast<std::int64_t>(row);
      ++row;
    }
    events.data()[last] += 1;
    calibration::add(sums.data()[last], whole(static_cast<double>(weight.data()[i]) * scale));
  }
  for (int cut = kNCuts - 1; cut > 0; --cut) {
    events.data()[cut - 1] += events.data()[cut];
    calibration::add(sums.data()[cut - 1], sums.data()[cut]);
  }
  return m;
}

void event_keys(std::uint64_t dataset, In<std::uint64_t, -1> run, In<std::uint64_t, -1> event,
                Out<std::uint64_t, -1> keys) {
  require(run.shape(0) == keys.shape(0) && event.shape(0) == keys.shape(0), "keys: not equally long");
  for (std::size_t i = 0; i < keys.shape(0); ++i) keys.data()[i] = event_key(dataset, run.data()[i], event.data()[i]);
}

void histogram_rows(Pairs pt, TrackPairs n_trk, SmallPairs region, SmallPairs flavour, In<double, -1> edges,
                    const Limits& limits, std::int64_t n_flavours, std::int64_t width, Out<std::int64_t, -1, 2> rows) {
  const std::size_t n = rows.shape(0);
  require(pt.shape(0) == n && n_trk.shape(0) == n && region.shape(0) == n && flavour.shape(0) == n,
          "columns: not equally long");
  const Cuts cuts = cuts_of(limits);
  const Axes axes = {edges.data(), static_cast<std::int64_t>(edges.shape(0)), n_flavours, width};
  for (std::size_t i = 0; i < 2 * n; i += 2)
    axes.rows(pt.data() + i, n_trk.data() + i, region.data() + i, flavour.data() + i, cuts, rows.data() + i);
}

void tagger_bins(In<double, -1, 2> x, double low, double high, std::int64_t n_bins, std::int64_t offset,
                 nb::ndarray<std::int64_t, nb::shape<-1, 2>, nb::device::cpu> out) {
  require(x.shape(0) == out.shape(0), "x: not as long as the bins");
  const TaggerBins bins = {low, high, n_bins, offset, {}};
  for (std::size_t i = 0; i < x.shape(0); ++i)
    for (std::size_t j = 0; j < 2; ++j)
      out.data()[static_cast<std::int64_t>(i) * out.stride(0) + static_cast<std::int64_t>(j) * out.stride(1)] =
          bins.of(x.data()[2 * i + j]);
}

/// Calls what to do with (event, row) of each jet that counts, for every tagger.
template <typename Do>
void for_rows(const Rows& rows, const Places& bins, std::size_t n_rows, std::size_t i, Do act) {
  const std::size_t n_taggers = bins.shape(2);
  for (std::size_t j = 0; j < 2; ++j) {
    const std::int64_t first = rows.data()[2 * i + j];
    if (first < 0) continue;
    for (std::size_t t = 0; t < n_taggers; ++t) {
      const std::int64_t row = first + bins.data()[(2 * i + j) * n_taggers + t];
      require(row >= 0 && row < static_cast<std::int64_t>(n_rows), "rows: out of range");
      act(row);
    }
  }
}

void fill_weights(Rows rows, Places bins, In<float, -1, -1> weight, double scale, Out<std::int64_t, -1, -1> sumw,
                  Out<std::int64_t, -1, -1> sumw2) {
  const std::size_t n = rows.shape(0), n_weights = weight.shape(1), n_rows = sumw.shape(0);
  require(bins.shape(0) == n && weight.shape(0) == n && sumw.shape(1) == n_weights && sumw2.shape(1) == n_weights &&
              sumw2.shape(0) == n_rows,
          "columns: not equally long");
  std::vector<std::int64_t> units(n_weights), squares(n_weights);
  std::vector<std::uint32_t> room(n_weights);
  for (std::size_t i = 0; i < n; ++i) {
    if (rows.data()[2 * i] < 0 && rows.data()[2 * i + 1] < 0) continue;
    quantise(reinterpret_cast<const std::uint8_t*>(weight.data() + i * n_weights), false, nullptr,
             static_cast<std::int64_t>(n_weights), scale, room.data(), units.data(), squares.data());
    for_rows(rows, bins, n_rows, i, [&](std::int64_t row) {
      add_all(sumw.data() + row * static_cast<std::int64_t>(n_weights), units.data(), n_weights);
      add_all(sumw2.data() + row * static_cast<std::int64_t>(n_weights), squares.data(), n_weights);
    });
  }
}

void fill_single(Rows rows, Places bins, In<std::int64_t, -1> weights, In<std::int64_t, -1> squares,
                 Out<std::int64_t, -1> sumw, Out<std::int64_t, -1> sumw2, Out<std::int64_t, -1> entries) {
  const std::size_t n = rows.shape(0), n_rows = sumw.shape(0);
  require(bins.shape(0) == n && weights.shape(0) == n && squares.shape(0) == n && sumw2.shape(0) == n_rows &&
              entries.shape(0) == n_rows,
          "columns: not equally long");
  for (std::size_t i = 0; i < n; ++i)
    for_rows(rows, bins, n_rows, i, [&](std::int64_t row) {
      calibration::add(sumw.data()[row], weights.data()[i]);
      calibration::add(sumw2.data()[row], squares.data()[i]);
      entries.data()[row] += 1;
    });
}

void fill_replicas(Rows rows, Places bins, In<std::int64_t, -1> weights, In<std::uint64_t, -1> keys, std::uint64_t seed,
                   Bytes table, Out<std::int64_t, -1, -1> replicas) {
  const std::size_t n = rows.shape(0), n_replicas = replicas.shape(1);
  require(bins.shape(0) == n && weights.shape(0) == n && keys.shape(0) == n && table.shape(0) == 65536,
          "columns: not equally long");
  std::vector<std::uint64_t> blocks((n_replicas + 3) / 4);
  std::vector<std::int64_t> times(4 * blocks.size());
  for (std::size_t b = 0; b < blocks.size(); ++b) blocks[b] = mix(seed + b);
  for (std::size_t i = 0; i < n; ++i) {
    if (rows.data()[2 * i] < 0 && rows.data()[2 * i + 1] < 0) continue;
    draw(keys.data()[i], blocks.data(), static_cast<std::int64_t>(blocks.size()), table.data(), weights.data()[i],
         times.data());
    for_rows(rows, bins, replicas.shape(0), i, [&](std::int64_t row) {
      add_all(replicas.data() + row * static_cast<std::int64_t>(n_replicas), times.data(), n_replicas);
    });
  }
}

}  // namespace

void bind_loops(nb::module_& m) {
  m.def("list_offsets", &list_offsets, "stored"_a, "key"_a, "item"_a, "end"_a, "out"_a);
  m.def("leading_pairs", &leading_pairs, "trigger"_a, "offsets"_a, "pt"_a, "events"_a, "places"_a);
  m.def("choose_pairs", &choose_pairs, "trigger"_a, "weight"_a, "entries"_a, "pt"_a, "eta"_a, "clean"_a, "n_trk"_a,
        "most_trk"_a, "flavour"_a, "cuts"_a, "margin"_a, "scale"_a, "rows"_a, "events"_a, "sums"_a);
  m.def("event_keys", &event_keys, "dataset"_a, "run"_a, "event"_a, "keys"_a);
  m.def("histogram_rows", &histogram_rows, "pt"_a, "n_trk"_a, "region"_a, "flavour"_a, "edges"_a, "cuts"_a,
        "n_flavours"_a, "width"_a, "rows"_a);
  m.def("tagger_bins", &tagger_bins, "x"_a, "low"_a, "high"_a, "n_bins"_a, "offset"_a, "out"_a);
  m.def("fill_weights", &fill_weights, "rows"_a, "bins"_a, "weight"_a, "scale"_a, "sumw"_a, "sumw2"_a);
  m.def("fill_single", &fill_single, "rows"_a, "bins"_a, "weights"_a, "squares"_a, "sumw"_a, "sumw2"_a, "entries"_a);
  m.def("fill_replicas", &fill_replicas, "rows"_a, "bins"_a, "weights"_a, "keys"_a, "seed"_a, "table"_a, "replicas"_a);
}
