// Numbers of files and of sums: big-endian loads, rounding to whole units, random bits of an event.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

namespace calibration {

/// Load a number from an address of any alignment; big: it is big-endian, as in ROOT files.
template <typename T>
inline T load(const std::uint8_t* at, bool big) {
  using Wide = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  using Bits =
      std::conditional_t<sizeof(T) == 1, std::uint8_t, std::conditional_t<sizeof(T) == 2, std::uint16_t, Wide>>;
  static_assert(sizeof(T) == sizeof(Bits));
  Bits bits;
  std::memcpy(&bits, at, sizeof(T));
  if (big) {
    if constexpr (sizeof(T) == 2) bits = __builtin_bswap16(bits);
    if constexpr (sizeof(T) == 4) bits = __builtin_bswap32(bits);
    if constexpr (sizeof(T) == 8) bits = __builtin_bswap64(bits);
  }
  T value;
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

/// The nearest whole number, halves to even; numbers outside 64 bits become the smallest one, as in numpy on x86.
inline std::int64_t whole(double value) {
  const double rounded = std::nearbyint(value);
  if (!(rounded >= -9223372036854775808.0 && rounded < 9223372036854775808.0))
    return std::numeric_limits<std::int64_t>::min();
  return static_cast<std::int64_t>(rounded);
}

/// Sums wrap around, as in numpy; callers refuse weights that are so large.
inline void add(std::int64_t& sum, std::int64_t value) {
  sum = static_cast<std::int64_t>(static_cast<std::uint64_t>(sum) + static_cast<std::uint64_t>(value));
}

/// See `mix` in events/variations.py.
inline std::uint64_t mix(std::uint64_t key) {
  key = (key ^ (key >> 30)) * 0xBF58476D1CE4E5B9ULL;
  key = (key ^ (key >> 27)) * 0x94D049BB133111EBULL;
  return key ^ (key >> 31);
}

inline std::uint64_t event_key(std::uint64_t dataset, std::uint64_t run, std::uint64_t event) {
  return mix(mix(dataset + run) + event);
}

}  // namespace calibration
