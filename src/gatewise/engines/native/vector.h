// Vectors of the machine's own width, and the functions of a cell's equations on them.
//
// Everything is written with the compiler's vector extensions, so that one source serves AVX-512, AVX2, NEON and plain
// C++; the few instructions that no extension can spell stand behind an #if with the plain way beside them.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#if defined(__x86_64__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // of gcc's own header, where "undefined" vectors are meant to be
#include <immintrin.h>
#pragma GCC diagnostic pop
#endif

#ifndef GATEWISE_REAL
#define GATEWISE_REAL float
#endif

#define GATEWISE_INLINE inline __attribute__((always_inline))

namespace gatewise {

using real = GATEWISE_REAL;
constexpr bool is_float = sizeof(real) == 4;

#if defined(__AVX512F__)
constexpr int vector_bytes = 64, registers = 32;
#elif defined(__AVX__)
constexpr int vector_bytes = 32, registers = 16;
#elif defined(__aarch64__)
constexpr int vector_bytes = 16, registers = 32;
#else
constexpr int vector_bytes = 16, registers = 16;
#endif

constexpr int W = vector_bytes / sizeof(real);  // lanes

template <bool> struct Whole { using type = int32_t; };
template <> struct Whole<false> { using type = int64_t; };
using whole = Whole<is_float>::type;

typedef real vec __attribute__((vector_size(vector_bytes)));
typedef whole ivec __attribute__((vector_size(vector_bytes)));
typedef real unaligned_vec __attribute__((vector_size(vector_bytes), aligned(alignof(real)), may_alias));

GATEWISE_INLINE vec splat(real value) { return value - vec{}; }
GATEWISE_INLINE vec load(const real *p) { return *reinterpret_cast<const vec *>(p); }
GATEWISE_INLINE vec load_anywhere(const real *p) { return *reinterpret_cast<const unaligned_vec *>(p); }
GATEWISE_INLINE void store(real *p, vec v) { *reinterpret_cast<vec *>(p) = v; }

// A row's last, incomplete vector: `count` lanes that exist, zero in the others.
GATEWISE_INLINE vec load_part(const real *p, int64_t count) {
  if (count >= W) return load_anywhere(p);
  vec v{};
  for (int64_t lane = 0; lane < count; ++lane) v[lane] = p[lane];
  return v;
}

// W bytes as numbers, zero beyond `count`.
GATEWISE_INLINE vec load_bytes(const uint8_t *p, int64_t count) {
  typedef uint8_t bytes __attribute__((vector_size(W)));
  bytes b{};
  if (count >= W) std::memcpy(&b, p, W);
  else for (int64_t lane = 0; lane < count; ++lane) b[lane] = p[lane];
  return __builtin_convertvector(b, vec);
}

GATEWISE_INLINE void store_part(real *p, vec v, int64_t count) {
  if (count >= W) {
    *reinterpret_cast<unaligned_vec *>(p) = v;
    return;
  }
  for (int64_t lane = 0; lane < count; ++lane) p[lane] = v[lane];
}

// f, lane by lane: what has no vector form here, and all of float64, where exactness counts more than speed.
template <class F> GATEWISE_INLINE vec each(vec x, F f) {
  vec y{};
  for (int lane = 0; lane < W; ++lane) y[lane] = f(x[lane]);
  return y;
}

// A NaN stays one: it fails the comparison, and x itself is kept.
GATEWISE_INLINE vec at_most(vec x, real high) {
#if defined(__AVX512F__)
  if constexpr (is_float) return (vec)_mm512_min_ps((__m512)splat(high), (__m512)x);
#endif
  return x > splat(high) ? splat(high) : x;
}

GATEWISE_INLINE vec at_least(vec x, real low) {
#if defined(__AVX512F__)
  if constexpr (is_float) return (vec)_mm512_max_ps((__m512)splat(low), (__m512)x);
#endif
  return x < splat(low) ? splat(low) : x;
}

GATEWISE_INLINE vec reciprocal(vec x) {
#if defined(__AVX512F__)
  if constexpr (is_float) {
    const vec y = (vec)_mm512_rcp14_ps((__m512)x);
    return y * (real(2) - x * y);  // one step of Newton's iteration: 14 bits -> 28
  }
#endif
  return real(1) / x;
}

// e^x / 2^halvings = scale (1 + part) with scale = 2^(n - halvings), part = 2^f - 1 and |f| <= 1/2.
// The scale has to be a normal number: -126 <= n - halvings <= 127.
struct Exponential { vec scale, part; };

template <int halvings = 0> GATEWISE_INLINE Exponential exponential(vec x) {
  constexpr real magic = 12582912;  // 1.5 * 2^23: adding it rounds to a whole number, which stands in the low bits
  constexpr real per_log = 1.44269504f, rest = 1.92596299e-8f;  // log2(e) in two parts
  const vec shifted = x * per_log + magic;
  const vec n = shifted - magic;
  const vec f = (x * per_log - n) + x * rest;
  // Minimax for (2^f - 1) / f, fitted so that the relative error of 2^f - 1 is below 1.1e-8; in pairs, since the time
  // is in the chain of dependent products.
  const vec f2 = f * f;
  const vec low = f * real(0.240226492f) + real(0.693147182f);
  const vec middle = f * real(0.00961823761f) + real(0.0555035733f);
  const vec high = f * real(0.000154035122f) + real(0.00133907807f);
  const vec g = (high * f2 + middle) * f2 + low;
  const ivec power = (((ivec)shifted) << 23) + ((127 - halvings) << 23);
  return {(vec)power, g * f};
}

GATEWISE_INLINE vec exp(vec x) {
  if constexpr (!is_float) return each(x, [](real v) { return std::exp(v); });
  // Halved once, so that the largest results do not need 2^128; what is below 2^-125 is zero.
  const auto [scale, part] = exponential<1>(at_least(at_most(x, 89), -86));
  const vec y = (scale * part + scale) * real(2);
  return x < splat(-86) ? vec{} : y;
}

GATEWISE_INLINE vec sigmoid(vec x) {
  if constexpr (!is_float) return each(x, [](real v) { return 1 / (1 + std::exp(-v)); });
  const auto [scale, part] = exponential(at_least(at_most(-x, 87), -87));
  return reciprocal(scale * part + (scale + real(1)));
}

GATEWISE_INLINE vec tanh(vec x) {
  if constexpr (!is_float) return each(x, [](real v) { return std::tanh(v); });
  const auto [scale, part] = exponential(at_least(at_most(x * real(2), 20), -20));
  const vec less_one = scale * part + (scale - real(1));  // e^2x - 1, exact to the last bits near zero too
  return less_one * reciprocal(less_one + real(2));
}

// log m = 2 atanh((m - 1) / (m + 1)), a series in the square of the argument.
GATEWISE_INLINE vec twice_atanh(vec s) {
  const vec z = s * s;
  vec p = z * real(1.0 / 15) + real(1.0 / 13);
  p = p * z + real(1.0 / 11);
  p = p * z + real(1.0 / 9);
  p = p * z + real(1.0 / 7);
  p = p * z + real(1.0 / 5);
  p = p * z + real(1.0 / 3);
  return s * real(2) * (p * z + real(1));
}

GATEWISE_INLINE vec log(vec x) {
#if defined(GATEWISE_PLAIN_LOG)
  return each(x, [](real v) { return std::log(v); });
#else
  if constexpr (is_float) {
    // x = m 2^n with m in [sqrt(1/2), sqrt(2)); numbers below the smallest normal one are first made larger.
    const ivec tiny = x < splat(1.17549435e-38f);
    const vec normal = tiny ? x * real(8388608) : x;
    const ivec bits = (ivec)normal - 0x3f3504f3;
    const ivec n = bits >> 23;
    const vec m = (vec)((bits & 0x007fffff) + 0x3f3504f3);
    vec exponent = __builtin_convertvector(n, vec);
    exponent = tiny ? exponent - real(23) : exponent;
    const vec y = exponent * real(0.693147182f) + (twice_atanh((m - real(1)) / (m + real(1))) - exponent * real(1.90465421e-9f));
    const vec infinite = splat(std::numeric_limits<real>::infinity());
    const vec positive = x == infinite ? x : y;
    const vec zero = x == vec{} ? -infinite : positive;
    return x >= vec{} ? zero : splat(std::numeric_limits<real>::quiet_NaN());
  }
  return each(x, [](real v) { return std::log(v); });
#endif
}

GATEWISE_INLINE vec relu(vec x) { return x < vec{} ? vec{} : x; }
GATEWISE_INLINE vec leaky_relu(vec x, real slope) { return x > vec{} ? x : x * slope; }
GATEWISE_INLINE vec abs(vec x) { return x < vec{} ? -x : (x == vec{} ? vec{} : x); }
GATEWISE_INLINE vec sqrt(vec x) {
#if defined(__AVX512F__)
  if constexpr (is_float) return (vec)_mm512_sqrt_ps((__m512)x);
#endif
  return each(x, [](real v) { return std::sqrt(v); });
}
GATEWISE_INLINE vec square(vec x) { return x * x; }
GATEWISE_INLINE vec cube(vec x) { return x * x * x; }
GATEWISE_INLINE vec power(vec x, real exponent) {
  return each(x, [exponent](real v) { return std::pow(v, exponent); });
}

// log(1 + e^x), and x itself above 20, as torch has it.
GATEWISE_INLINE vec softplus(vec x) {
  if constexpr (!is_float) return each(x, [](real v) { return v > 20 ? v : std::log1p(std::exp(v)); });
  const vec e = exp(-abs(x));
  const vec y = relu(x) + twice_atanh(e / (e + real(2)));
  return x > splat(20) ? x : y;
}

// NaN wins in both, as in torch.
GATEWISE_INLINE vec minimum(vec a, vec b) { return a != a ? a : (b < a || b != b ? b : a); }
GATEWISE_INLINE vec maximum(vec a, vec b) { return a != a ? a : (b > a || b != b ? b : a); }
GATEWISE_INLINE vec clamp(vec x, real low, real high) { return at_most(at_least(x, low), high); }

// What only derivatives need: [x > 0], the sign, [low <= x <= high], [a > b] with one half at a tie.
GATEWISE_INLINE vec positive(vec x) { return x > vec{} ? splat(1) : vec{}; }
GATEWISE_INLINE vec sign(vec x) { return x > vec{} ? splat(1) : (x < vec{} ? splat(-1) : x); }
GATEWISE_INLINE vec within(vec x, real low, real high) {
  return (x >= splat(low)) & (x <= splat(high)) ? splat(1) : vec{};
}
GATEWISE_INLINE vec greater(vec a, vec b) { return a > b ? splat(1) : (a == b ? splat(0.5) : vec{}); }

}  // namespace gatewise
