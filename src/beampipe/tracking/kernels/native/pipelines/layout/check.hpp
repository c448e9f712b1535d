// Whether hits lie on the layers that a pipeline's windows were learned from, in the numbers and words of
// beampipe.tracking.layout.check: tests/tracking/layout/test_check.py compares the two.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "graphs/blocks.hpp"
#include "windows/windows.hpp"

namespace beampipe {

/// How the hits of an event lie on the layers.
struct Fit {
  std::int64_t outside;   // number of hits on no layer
  std::int64_t unfilled;  // number of layers without a hit, or with many that lie in a small part of them
};

/// How the hits of each event lie. `position` is (n_hits, 3), `layer` what the kernel assign_layers gives for it.
std::vector<Fit> fits_of(const Windows& windows, const float* position, const std::int16_t* layer,
                         const Blocks& events);

/// Refuses events that are not of this detector, or not in mm and rad. Few hits are not judged.
///
/// name: of the pipeline, for messages.
/// position: (n_hits, 3): r, phi, z as they came; phi may be counted from anywhere.
/// fits: what fits_of gives.
///
/// Throws LayoutError, which says what was seen and what would fit.
void require_layout(const std::string& name, const Windows& windows, const float* position, const Blocks& events,
                    const std::vector<Fit>& fits);

}  // namespace beampipe
