// Vectors of float and int32, as wide as the instruction set, and the elementary functions that the kernels need.
#pragma once

#if defined(__ARM_FEATURE_SVE_BITS) && __ARM_FEATURE_SVE_BITS > 0
#define BEAMPIPE_SVE  // vectors of a size that is known to the compiler
#include <arm_sve.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#else
#include <immintrin.h>
#endif

#include <cstdint>

namespace beampipe {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#elif defined(BEAMPIPE_SVE)
constexpr int kLanes = __ARM_FEATURE_SVE_BITS / 32;
#else
constexpr int kLanes = 4;
#endif

typedef float Vec __attribute__((vector_size(4 * kLanes)));
typedef std::int32_t IntVec __attribute__((vector_size(4 * kLanes)));
typedef float UnalignedVec __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
typedef std::int32_t UnalignedIntVec __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));

inline Vec load(const float* p) { return *reinterpret_cast<const UnalignedVec*>(p); }
inline void store(float* p, Vec v) { *reinterpret_cast<UnalignedVec*>(p) = v; }
inline IntVec load(const std::int32_t* p) { return *reinterpret_cast<const UnalignedIntVec*>(p); }
inline void store(std::int32_t* p, IntVec v) { *reinterpret_cast<UnalignedIntVec*>(p) = v; }
inline Vec splat(float x) { return x - Vec{}; }
inline IntVec splat(std::int32_t x) { return x - IntVec{}; }

inline IntVec bits(Vec v) { return reinterpret_cast<IntVec>(v); }
inline Vec from_bits(IntVec v) { return reinterpret_cast<Vec>(v); }
inline Vec absolute(Vec v) { return from_bits(bits(v) & 0x7fffffff); }
inline Vec copy_sign(Vec magnitude, Vec sign) {
  return from_bits((bits(magnitude) & 0x7fffffff) | (bits(sign) & static_cast<std::int32_t>(0x80000000)));
}

inline Vec minimum(Vec a, Vec b) { return a < b ? a : b; }
inline Vec maximum(Vec a, Vec b) { return a > b ? a : b; }

/// 0, 1, 2, ...
inline IntVec lane_numbers() {
  IntVec v;
  for (int i = 0; i < kLanes; ++i) v[i] = i;
  return v;
}

/// Bit i is set where a[i] < b[i].
inline unsigned less_mask(Vec a, Vec b) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ);
#elif defined(__AVX2__)
  return static_cast<unsigned>(_mm256_movemask_ps(a < b));
#elif defined(__aarch64__)
  const IntVec set = (a < b) & (1 << lane_numbers());
#if defined(BEAMPIPE_SVE)
  return static_cast<unsigned>(svorv(svptrue_b32(), svint32_t(set)));
#else
  return static_cast<unsigned>(vaddvq_s32(reinterpret_cast<int32x4_t>(set)));
#endif
#else
  return static_cast<unsigned>(_mm_movemask_ps(a < b));
#endif
}

/// Bit i is set where v[i] is not 0.
inline unsigned nonzero_mask(IntVec v) {
#if defined(__AVX512F__)
  return _mm512_test_epi32_mask(reinterpret_cast<__m512i>(v), reinterpret_cast<__m512i>(v));
#else
  return less_mask(splat(0.0f), absolute(__builtin_convertvector(v, Vec)));
#endif
}

/// Write the lanes of the set bits one after the other; the rest of a whole vector after them is overwritten too.
template <typename Item, typename Vector>
inline void compress(Item* to, Vector v, unsigned mask) {
#if defined(__AVX512F__)
  _mm512_storeu_ps(to, _mm512_maskz_compress_ps(static_cast<__mmask16>(mask), reinterpret_cast<Vec>(v)));
#else
  for (; mask != 0; mask &= mask - 1) *to++ = v[__builtin_ctz(mask)];
#endif
}

inline Vec square_root(Vec v) {
#if defined(__AVX512F__)
  return _mm512_sqrt_ps(v);
#elif defined(__AVX2__)
  return _mm256_sqrt_ps(v);
#elif defined(BEAMPIPE_SVE)
  return svsqrt_x(svptrue_b32(), svfloat32_t(v));
#elif defined(__aarch64__)
  return vsqrtq_f32(reinterpret_cast<float32x4_t>(v));
#else
  return _mm_sqrt_ps(v);
#endif
}

/// 1 / v for v of ordinary size, error 2e-7.
inline Vec inverse(Vec v) {
#if defined(__AVX512F__)
  const Vec y = _mm512_rcp14_ps(v);
  return y * (2.0f - v * y);
#else
  return 1.0f / v;
#endif
}

/// 1 / sqrt(v) for positive v of ordinary size, error 3e-7.
inline Vec inverse_root(Vec v) {
#if defined(__AVX512F__)
  const Vec y = _mm512_rsqrt14_ps(v);
  return y * (1.5f - (0.5f * v) * (y * y));
#else
  return 1.0f / square_root(v);
#endif
}

/// Nearest integer; |v| < 2^22.
inline Vec nearest(Vec v) {
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23: adding it leaves no room for a fraction
  return (v + kMagic) - kMagic;
}

inline float sum(Vec v) {
#if defined(BEAMPIPE_SVE)
  return svaddv(svptrue_b32(), svfloat32_t(v));
#else
  for (int half = kLanes / 2; half > 0; half /= 2) {
    IntVec other;
    for (int i = 0; i < kLanes; ++i) other[i] = (i + half) % kLanes;
    v += __builtin_shuffle(v, other);
  }
  return v[0];
#endif
}

/// x / (1 + exp(-x)); error below 2e-6 times max(1, |x|).
inline Vec silu(Vec x) {
  // exp(-x) = 2^t = 2^floor(t) p(t - floor(t)); p is the minimax polynomial of relative error 3e-6.
  const Vec t = x * -1.44269504f;
#if defined(__AVX512F__)
  const Vec f = _mm512_reduce_ps(t, 1 | 8);
#else
  // Clamped, so that the exponent fits; the far tails are 0 and x in any case.
  const Vec u = minimum(maximum(t, splat(-126.0f)), splat(126.0f));
  const Vec n = nearest(u - 0.5f);
  const Vec f = u - n;
#endif
  Vec p = splat(0.0135341678f);
  p = p * f + 0.0520114601f;
  p = p * f + 0.241442755f;
  p = p * f + 0.693003833f;
  p = p * f + 1.00000262f;
#if defined(__AVX512F__)
  // Bounded, because infinity times its reciprocal is NaN; the far tail is 0 in any case.
  const Vec q = 1.0f + reinterpret_cast<Vec>(_mm512_scalef_ps(p, minimum(t, splat(64.0f))));
  const Vec r = _mm512_rcp14_ps(q);
  return x * (r * (2.0f - q * r));
#else
  const IntVec shift = bits(n + 12582912.0f) << 23;  // the integer sits in the low bits
  return x / (1.0f + from_bits(bits(p) + shift));
#endif
}

/// sin and cos for |half| <= pi / 2; error 1e-7.
inline void sine_cosine(Vec half, Vec& sine, Vec& cosine) {
  const Vec s = half * half;
  sine =
      half * (1.0f + s * (-1.66666666e-1f +
                          s * (8.33333133e-3f + s * (-1.98408945e-4f + s * (2.75266393e-6f + s * -2.39095975e-8f)))));
  cosine = 1.0f +
           s * (-0.5f + s * (4.16666665e-2f + s * (-1.38888846e-3f +
                                                   s * (2.48010702e-5f + s * (-2.75256610e-7f + s * 1.99199538e-9f)))));
}

/// Natural logarithm of v >= 1, error 2e-7 relative to max(1, log v).
inline Vec logarithm(Vec v) {
  const IntVec exponent = (bits(v) - 0x3f3504f3) >> 23;
  const Vec f = from_bits(bits(v) - (exponent << 23)) - 1.0f;  // in [-0.293, 0.414]
  // 2 atanh(s) with s = f / (2 + f), |s| < 0.172
  const Vec s = f / (2.0f + f), s2 = s * s;
  const Vec tail = s * (2.0f + s2 * (0.66666667f + s2 * (0.4f + s2 * (0.28571429f + s2 * 0.22222222f))));
  return __builtin_convertvector(exponent, Vec) * 0.693147181f + tail;
}

/// asinh, absolute error 3e-7 where the result is of order one.
inline Vec arcsinh(Vec v) {
  const Vec a = absolute(v);
  return copy_sign(logarithm(a + square_root(a * a + 1.0f)), v);
}

}  // namespace beampipe
