// Whether hits lie on the layers that a pipeline's windows were learned from, and which change of units would help.
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

/// How the hits of each event lie. `layer` is the result of the kernel assign_layers.
std::vector<Fit> fits_of(const Windows& windows, const Hits& hits, const std::int16_t* layer);

/// Refuses events that are not of this detector, or not in mm and rad. Events of few hits are not checked.
///
/// name: of the pipeline, for messages.
/// position: (n_hits, 3): r, phi, z of the input; phi may have any origin.
/// fits: result of fits_of.
///
/// Throws LayoutError, which describes the hits and the change that would make them fit.
void require_layout(const std::string& name, const Windows& windows, const float* position, const Blocks& events,
                    const std::vector<Fit>& fits);

/// A hint if the columns are in another order; empty if no order brings the n hits onto the layers.
std::string order_that_fits(const Windows& windows, const float* position, std::int64_t n);

/// A hint if n hits lie on no layer, n > 0. Some hits are tried in usual units and orders.
std::string what_would_fit(const Windows& windows, const float* position, std::int64_t n);

}  // namespace beampipe
