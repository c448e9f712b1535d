// Track finding for C++ programs: track_finder.h with destructors, vectors and exceptions.
#pragma once

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "track_finder.h"

namespace beampipe {

/// The labels of one event.
struct EventTracks {
  std::vector<std::int64_t> track_id;  // one per hit: 0, 1, ... by first hit; -1 for no track
  std::int64_t n_tracks;
};

/// Finds tracks by one pipeline. Several threads may use one finder at once.
class TrackFinder {
public:
  /// Arguments as of beampipe_open. Throws std::runtime_error.
  explicit TrackFinder(const std::string& model, const std::string& pipeline = "module_map",
                       const beampipe_options& options = {}) {
    if (beampipe_abi() != BEAMPIPE_ABI)
      throw std::runtime_error("beampipe: got a library of interface " + std::to_string(beampipe_abi()) +
                               ", expected " + std::to_string(BEAMPIPE_ABI) + "; compile the program again");
    finder_.reset(beampipe_open(model.c_str(), pipeline.c_str(), &options));
    if (finder_ == nullptr) throw std::runtime_error(beampipe_last_error());
  }

  /// The tracks of an event from x, y, z [mm] of each hit. Throws std::runtime_error.
  EventTracks find(const std::vector<double>& x, const std::vector<double>& y, const std::vector<double>& z) const {
    if (x.size() != y.size() || x.size() != z.size())
      throw std::runtime_error("beampipe: got x, y, z of different lengths, expected one of each per hit");
    EventTracks tracks{std::vector<std::int64_t>(x.size()), 0};
    tracks.n_tracks = beampipe_find(finder_.get(), static_cast<std::int64_t>(x.size()), x.data(), y.data(), z.data(),
                                    tracks.track_id.data());
    if (tracks.n_tracks < 0) throw std::runtime_error(beampipe_last_error());
    return tracks;
  }

  /// The same from r [mm], phi [rad], z [mm] of each hit and what its module measured, as of beampipe_find_measured.
  EventTracks find(const std::vector<float>& position, const std::vector<std::uint64_t>& geometry_id,
                   const std::vector<float>& local, const std::vector<float>& variance) const {
    const std::size_t n = geometry_id.size();
    if (position.size() != 3 * n || local.size() != 2 * n || variance.size() != 2 * n)
      throw std::runtime_error("beampipe: got arrays of different lengths, expected 3, 1, 2 and 2 numbers per hit");
    EventTracks tracks{std::vector<std::int64_t>(n), 0};
    tracks.n_tracks = beampipe_find_measured(finder_.get(), static_cast<std::int64_t>(n), position.data(),
                                             geometry_id.data(), local.data(), variance.data(), tracks.track_id.data());
    if (tracks.n_tracks < 0) throw std::runtime_error(beampipe_last_error());
    return tracks;
  }

private:
  struct Close {
    void operator()(beampipe_track_finder* finder) const { beampipe_close(finder); }
  };
  std::unique_ptr<beampipe_track_finder, Close> finder_;
};

}  // namespace beampipe
