#include "loops.hpp"

#include <cmath>
#include <cstring>

#include "numbers.hpp"

// The variant for the processor is chosen when the library is loaded. None uses FMA: the build forbids contraction.
#if defined(__x86_64__) && defined(__GNUC__)
#define FOR_EACH_ISA __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FOR_EACH_ISA
#endif

namespace calibration {
namespace {

/// Below 2**51 in size a double plus this number holds its nearest whole number in its lowest bits, halves to even.
constexpr double kMagic = 6755399441055744.0;  // 1.5 * 2**52
constexpr double kFits = 2251799813685248.0;   // 2**51

constexpr std::int64_t kSome = 1 << 16;

}  // namespace

FOR_EACH_ISA
float load_weights(const std::uint8_t* weights, bool big, const std::int64_t* columns, std::int64_t n,
                   float* __restrict native) {
  if (columns != nullptr) {
    for (std::int64_t k = 0; k < n; ++k) std::memcpy(native + k, weights + 4 * columns[k], 4);
  } else {
    std::memcpy(native, weights, 4 * n);
  }
  std::uint32_t largest = 0;
  for (std::int64_t k = 0; k < n; ++k) {
    std::uint32_t bits;
    std::memcpy(&bits, native + k, 4);
    if (big) bits = __builtin_bswap32(bits);
    std::memcpy(native + k, &bits, 4);
    const std::uint32_t size = bits & 0x7FFFFFFFU;
    largest = size > largest ? size : largest;
  }
  float size;
  std::memcpy(&size, &largest, 4);
  return size;
}

FOR_EACH_ISA
void quantise(const float* __restrict weights, std::int64_t n, float largest, double scale, double square_scale,
              std::int64_t* __restrict units, std::int64_t* __restrict squares) {
  const double size = largest;
  if (size * scale < kFits && size * size * square_scale < kFits) {
    std::int64_t magic;
    std::memcpy(&magic, &kMagic, 8);
    for (std::int64_t k = 0; k < n; ++k) {
      const double w = weights[k], unit = w * scale + kMagic, square = w * w * square_scale + kMagic;
      std::int64_t unit_bits, square_bits;
      std::memcpy(&unit_bits, &unit, 8);
      std::memcpy(&square_bits, &square, 8);
      units[k] = unit_bits - magic;
      squares[k] = square_bits - magic;
    }
  } else {
    for (std::int64_t k = 0; k < n; ++k) {
      const double w = weights[k];
      units[k] = whole(w * scale);
      squares[k] = whole(w * w * square_scale);
    }
  }
}

FOR_EACH_ISA
std::int64_t count_rises(const std::uint8_t* numbers, bool big, std::int64_t n) {
  std::int64_t count = 0;
  for (std::int64_t begin = 1; begin < n; begin += kSome) {
    const std::int64_t end = begin + kSome < n ? begin + kSome : n;
    std::int32_t of_block = 0;  // as wide as the numbers, for vectorisation
    for (std::int64_t k = begin; k < end; ++k) {
      std::uint32_t bits[2];
      std::memcpy(bits, numbers + 4 * (k - 1), 4);
      std::memcpy(bits + 1, numbers + 4 * k, 4);
      const std::uint32_t previous = big ? __builtin_bswap32(bits[0]) : bits[0];
      const std::uint32_t next = big ? __builtin_bswap32(bits[1]) : bits[1];
      float before, after;
      std::memcpy(&before, &previous, 4);
      std::memcpy(&after, &next, 4);
      of_block += rises(before, after);
    }
    count += of_block;
  }
  return count;
}

FOR_EACH_ISA
void add_all(std::int64_t* __restrict sums, const std::int64_t* __restrict values, std::int64_t n) {
  for (std::int64_t k = 0; k < n; ++k)
    sums[k] = static_cast<std::int64_t>(static_cast<std::uint64_t>(sums[k]) + static_cast<std::uint64_t>(values[k]));
}

FOR_EACH_ISA
void draw(std::uint64_t key, const std::uint64_t* __restrict blocks, std::int64_t n_blocks,
          const std::uint8_t* __restrict table, std::int64_t weight, std::int64_t* __restrict times) {
  for (std::int64_t b = 0; b < n_blocks; ++b) {
    const std::uint64_t bits = mix(key + blocks[b]);
    for (int c = 0; c < 4; ++c) times[4 * b + c] = weight * table[(bits >> (16 * c)) & 0xFFFF];
  }
}

}  // namespace calibration
