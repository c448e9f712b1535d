// What would bring foreign hits onto the layers: another unit, scale or order of the columns.
#pragma once

#include <cstdint>
#include <string>

#include "windows/windows.hpp"

namespace beampipe {

/// A hint for somebody whose columns are in another order; empty if no known one brings the n hits onto the layers.
std::string order_that_fits(const Windows& windows, const float* position, std::int64_t n);

/// A hint for somebody whose n hits lie on no layer, n > 0. Some hits are tried in the known units and orders.
std::string what_would_fit(const Windows& windows, const float* position, std::int64_t n);

}  // namespace beampipe
