// Whether hits lie on the layers that a pipeline's windows were learned from, in the numbers and words of
// beampipe.tracking.layout.check: tests/tracking/layout/test_check.py compares the two.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "graphs/blocks.hpp"
#include "windows/windows.hpp"

namespace beampipe {

/// Number of hits of each event that lie on no layer. `layer` is what the kernel assign_layers gives.
std::vector<std::int64_t> outside_of(const std::int16_t* layer, const Blocks& events);

/// Refuses events that are not of this detector, or not in mm and rad. Few hits are not judged.
///
/// name: of the pipeline, for messages.
/// position: (n_hits, 3): r, phi, z as they came; phi may be counted from anywhere.
/// outside: what outside_of gives.
///
/// Throws LayoutError, which says what was seen and what would fit.
void require_layout(const std::string& name, const Windows& windows, const float* position, const Blocks& events,
                    const std::vector<std::int64_t>& outside);

}  // namespace beampipe
