#include "filler.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "loops.hpp"
#include "numbers.hpp"

namespace calibration {

void RegionRule::assign(const float* eta, std::int8_t* region) const {
  const float one = std::fabs(eta[0]), other = std::fabs(eta[1]);
  if (split_by_eta) {
    region[0] = one < split, region[1] = other < split;
    return;
  }
  region[0] = one < other;
  region[1] = static_cast<std::int8_t>(1 - region[0]);
  if (min_gap > 0 && std::fabs(one - other) < min_gap) region[0] = region[1] = -1;
}

Filler::Filler(Settings settings, Sums sums) : settings_(std::move(settings)), sums_(sums) {
  const auto n = std::max<std::size_t>(settings_.weights.size(), 1);
  first_columns_ = true;
  for (std::size_t k = 0; k < settings_.weights.size(); ++k)
    first_columns_ &= settings_.weights[k] == static_cast<std::int64_t>(k);
  for (TaggerBins& tagger : settings_.taggers) tagger.look_up(1024);
  units_.resize(n), squares_.resize(n), room_.resize(n);
  shifts_ = std::any_of(settings_.variations.begin(), settings_.variations.end(),
                        [](const Variation& each) { return each.kind != Variation::kTracks; });
  const std::int64_t n_blocks = (settings_.n_replicas + 3) / 4;
  for (std::int64_t b = 0; b < n_blocks; ++b) blocks_.push_back(mix(settings_.seed + static_cast<std::uint64_t>(b)));
  times_.resize(4 * n_blocks);
}

bool Filler::add(const Segment& segment) {
  falling_ = falls(segment);
  for (std::int64_t i = 0; i < segment.n; ++i) {
    Event event;
    note_event(segment, i, event);
    float weight = 1;
    if (!settings_.weights.empty()) {
      weight =
          load<float>(segment.weight.data + 4 * (segment.weight.first + i) * segment.n_weights, segment.weight.big);
      if (!std::isfinite(weight)) return false;
    }
    const std::uint8_t* trigger = segment.trigger.data;
    int last = trigger == nullptr || trigger[segment.trigger.first + i] ? kTrigger : kAll;
    if (last == kTrigger && segment.offsets[i + 1] - segment.offsets[i] >= 2) {
      if (!read_pair(segment, i, event)) return false;
      bool kept;
      last = last_cut_passed(event.pair, weight, settings_.cuts, kept);
      if (kept && within_margin(event.pair, settings_.cuts, settings_.margin) && !fill(segment, i, weight, event))
        return false;
    }
    seen.events[last] += 1;
    calibration::add(seen.weights[last], whole(static_cast<double>(weight) * settings_.scale));
  }
  return true;
}

void Filler::note_event(const Segment& segment, std::int64_t i, Event& event) {
  event.run = segment.run.data == nullptr
                  ? 1
                  : load<std::uint32_t>(segment.run.data + 4 * (segment.run.first + i), segment.run.big);
  event.number = load<std::uint64_t>(segment.event.data + 8 * (segment.event.first + i), segment.event.big);
  if (!seen.any) {
    seen.any = true;
    seen.run = event.run;
    seen.first = event.number;
  } else if (event.run != seen.run || event.number <= seen.last) {
    seen.ordered = false;
  }
  seen.last = event.number;
}

/// Whether in each event no jet has more pT than the one before, as in most files: then nothing is to be searched.
bool Filler::falls(const Segment& segment) const {
  const std::int64_t first = segment.offsets[0], last = segment.offsets[segment.n];
  const std::uint8_t* pt = segment.pt.data;
  const auto pt_of = [&](std::int64_t j) { return load<float>(pt + 4 * j, segment.pt.big); };
  std::int64_t between = 0;
  for (std::int64_t i = 1; i < segment.n; ++i) {
    const std::int64_t start = segment.offsets[i];
    if (start > segment.offsets[i - 1] && start > first && start < last)
      between += rises(pt_of(start - 1), pt_of(start));
  }
  return count_rises(pt + 4 * first, segment.pt.big, last - first) == between;
}

bool Filler::read_pair(const Segment& segment, std::int64_t i, Event& event) {
  const std::int64_t begin = segment.offsets[0];
  const auto pt_of = [&](std::int64_t j) { return load<float>(segment.pt.data + 4 * j, segment.pt.big); };
  if (falling_)
    place_[0] = segment.offsets[i], place_[1] = place_[0] + 1;
  else
    leading_pair(segment.offsets[i], segment.offsets[i + 1], pt_of, place_);
  Pair& pair = event.pair;
  pair.clean = pair.labelled = true;
  for (int j = 0; j < 2; ++j) {
    pair.pt[j] = pt_of(place_[j]);
    const std::int64_t jet = place_[j] -= begin;
    pair.eta[j] = load<float>(segment.eta.data + 4 * (segment.eta.first + jet), segment.eta.big);
    if (!std::isfinite(pair.pt[j]) || !std::isfinite(pair.eta[j])) return false;
    if (segment.clean.data != nullptr) pair.clean &= segment.clean.data[segment.clean.first + jet] != 0;
    pair.n_trk[j] = load<std::uint16_t>(segment.n_trk.data + 2 * (segment.n_trk.first + jet), segment.n_trk.big);
    pair.most_trk[j] = pair.n_trk[j];
    for (const Column& each : segment.varied_n_trk)
      pair.most_trk[j] = std::max(pair.most_trk[j], load<std::uint16_t>(each.data + 2 * (each.first + jet), each.big));
    event.flavour[j] = 0;
    if (settings_.flavours.empty()) continue;
    const auto code = static_cast<std::int8_t>(segment.label.data[segment.label.first + jet]);
    event.flavour[j] = settings_.flavours[code + 128];
    if (event.flavour[j] < -1) return false;
    pair.labelled &= event.flavour[j] >= 0;
  }
  if (!settings_.flavours.empty() && pair.pt[1] > static_cast<float>(settings_.cuts.min_subleading_pt)) {
    seen.labels += 2;
    seen.unmatched += (event.flavour[0] < 0) + (event.flavour[1] < 0);
  }
  seen.pairs += 1;
  seen.low += pair.pt[0] < settings_.low_pt;
  seen.high += pair.pt[0] > settings_.high_pt;
  return true;
}

bool Filler::fill(const Segment& segment, std::int64_t i, float weight, Event& event) {
  const auto n = static_cast<std::int64_t>(units_.size());
  seen.selected += 1;
  settings_.regions.assign(event.pair.eta, event.region);
  double largest = 1;
  if (n == 1) {
    const double w = weight;
    largest = std::fabs(w);
    units_[0] = whole(w * settings_.scale), squares_[0] = whole(w * w * settings_.scale);
  } else {
    const std::uint8_t* weights = segment.weight.data + 4 * (segment.weight.first + i) * segment.n_weights;
    largest = quantise(weights, segment.weight.big, first_columns_ ? nullptr : settings_.weights.data(), n,
                       settings_.scale, room_.data(), units_.data(), squares_.data());
    if (!std::isfinite(largest)) return false;
  }
  seen.size += largest;
  seen.square += largest * largest;
  event.unit = units_[0], event.square = squares_[0];
  const Pair& pair = event.pair;
  settings_.axes.rows(pair.pt, pair.n_trk, event.region, event.flavour, settings_.cuts, event.rows);
  for (int j = 0; j < 2; ++j) {
    if (event.rows[j] < 0) continue;
    for (const TaggerBins& tagger : settings_.taggers) {
      const std::int64_t row = event.rows[j] + tagger.of_tracks(pair.n_trk[j]);
      sums_.entries[row] += 1;
      if (n == 1) {
        calibration::add(sums_.sumw[row], event.unit);
        calibration::add(sums_.sumw2[row], event.square);
      } else {
        add_all(sums_.sumw + row * n, units_.data(), n);
        add_all(sums_.sumw2 + row * n, squares_.data(), n);
      }
    }
  }
  if (settings_.n_replicas > 0) fill_replicas(event);
  if (!settings_.variations.empty()) fill_variations(segment, event);
  return true;
}

void Filler::fill_replicas(const Event& event) {
  if (event.rows[0] < 0 && event.rows[1] < 0) return;
  const std::uint64_t key = event_key(settings_.dataset, event.run, event.number);
  draw(key, blocks_.data(), static_cast<std::int64_t>(blocks_.size()), settings_.poisson, event.unit, times_.data());
  for (int j = 0; j < 2; ++j) {
    if (event.rows[j] < 0) continue;
    for (const TaggerBins& tagger : settings_.taggers)
      add_all(sums_.replicas + (event.rows[j] + tagger.of_tracks(event.pair.n_trk[j])) * settings_.n_replicas,
              times_.data(), settings_.n_replicas);
  }
}

void Filler::fill_variations(const Segment& segment, const Event& event) {
  const Pair& pair = event.pair;
  const EnergyModel& model = settings_.energy;
  Shifts shifts[2] = {Shifts(model), Shifts(model)};
  std::uint64_t key = 0;
  if (shifts_) {
    for (int j = 0; j < 2; ++j) shifts[j].at(pair.pt[j], pair.eta[j]);
    key = event_key(0, event.run, event.number);
  }
  for (std::size_t k = 0; k < settings_.variations.size(); ++k) {
    const Variation& each = settings_.variations[k];
    if (each.kind == Variation::kTracks) {
      const Column& column = segment.varied_n_trk[each.number];
      std::uint16_t n_trk[2];
      for (int j = 0; j < 2; ++j)
        n_trk[j] = load<std::uint16_t>(column.data + 2 * (column.first + place_[j]), column.big);
      move(k, event, pair.pt, n_trk);
      continue;
    }
    // Most parameters leave most jets as they are.
    const bool scale = each.kind == Variation::kScale;
    double height[2];
    for (int j = 0; j < 2; ++j)
      height[j] = scale ? shifts[j].scale_height(each.number) : shifts[j].widening(each.number);
    if (height[0] == 0 && height[1] == 0) continue;
    float pt[2];
    for (int j = 0; j < 2; ++j) {
      const double factor = scale
                                ? shifts[j].scaled(each.sign, height[j])
                                : shifts[j].smeared(each.sign, height[j], noise(key, each.number, j, model.noise_seed));
      pt[j] = static_cast<float>(static_cast<double>(pair.pt[j]) * factor);
    }
    move(k, event, pt, pair.n_trk);
  }
}

/// From where the nominal jets are, which `finish` adds for all variations, to where those of a variation go.
void Filler::move(std::int64_t k, const Event& event, const float* pt, const std::uint16_t* n_trk) {
  std::int64_t rows[2];
  settings_.axes.rows(pt, n_trk, event.region, event.flavour, settings_.cuts, rows);
  std::int64_t *sumw = sums_.varied_sumw + k * sums_.n_rows, *sumw2 = sums_.varied_sumw2 + k * sums_.n_rows;
  for (int j = 0; j < 2; ++j) {
    if (rows[j] == event.rows[j] && n_trk[j] == event.pair.n_trk[j]) continue;
    for (const TaggerBins& tagger : settings_.taggers) {
      if (event.rows[j] >= 0) {
        const std::int64_t row = event.rows[j] + tagger.of_tracks(event.pair.n_trk[j]);
        calibration::add(sumw[row], -event.unit);
        calibration::add(sumw2[row], -event.square);
      }
      if (rows[j] >= 0) {
        const std::int64_t row = rows[j] + tagger.of_tracks(n_trk[j]);
        calibration::add(sumw[row], event.unit);
        calibration::add(sumw2[row], event.square);
      }
    }
  }
}

void Filler::finish() {
  const auto n = static_cast<std::int64_t>(units_.size());
  for (std::size_t k = 0; k < settings_.variations.size(); ++k) {
    std::int64_t *sumw = sums_.varied_sumw + k * sums_.n_rows, *sumw2 = sums_.varied_sumw2 + k * sums_.n_rows;
    for (std::int64_t row = 0; row < sums_.n_rows; ++row) {
      calibration::add(sumw[row], sums_.sumw[row * n]);
      calibration::add(sumw2[row], sums_.sumw2[row * n]);
    }
  }
  // An event that fails its first cut after the last one that it passed has passed all cuts before.
  for (int cut = kNCuts - 1; cut > 0; --cut) {
    seen.events[cut - 1] += seen.events[cut];
    calibration::add(seen.weights[cut - 1], seen.weights[cut]);
  }
}

}  // namespace calibration
