// How much a kernel takes on: at least twice what any pipeline needs for an event of 200 collisions, mostly ten times,
// and less than 2 GB.
//
// Hits that no detector gives (thousands at one point, on one line) would else take hours and all memory.
#pragma once

#include <cstdint>
#include <string>

#include "native/errors.hpp"

namespace beampipe {

constexpr std::int64_t kMaxPairs = 150'000'000;           // pairs of hits within the radius, before the windows
constexpr std::int64_t kMaxTried = 5'000'000'000;         // pairs of hits on layers that windows join, within their phi
constexpr std::int64_t kMaxDoubletTests = 3'000'000'000;  // pairs of doublets that share a hit, before any is an edge
constexpr std::int64_t kMaxEdges = 20'000'000;            // edges
constexpr std::int64_t kMaxTripletTests = 1'000'000'000;  // pairs of edges that share a hit
constexpr std::int64_t kMaxTriplets = 20'000'000;         // triplets

/// Ends the work (outside of parallel regions).
inline void require_at_most(std::int64_t got, std::int64_t most, const char* of_what) {
  const auto millions = [](std::int64_t n) { return std::to_string((n + 999'999) / 1'000'000) + " million "; };
  if (got > most)
    throw TooLargeError("hits: got at least " + millions(got) + of_what + ", expected at most " +
                        millions(most).substr(0, millions(most).size() - 1) +
                        "; so many hits in one place are noise: drop them, or cut the event into regions");
}

}  // namespace beampipe
