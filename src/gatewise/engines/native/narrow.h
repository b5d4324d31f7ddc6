// What products are computed from. In full precision that is the values themselves. With GATEWISE_BF16 it is copies of
// them with 8 bits of precision: in bfloat16, where the CPU multiplies tiles of it (AMX), or as rounded float32.
#pragma once

#include "vector.h"

#if defined(GATEWISE_BF16) && defined(__AMX_BF16__) && defined(__AVX512BF16__) && !defined(GATEWISE_NO_AMX)
#define GATEWISE_AMX 1
#endif

namespace gatewise {

#if defined(GATEWISE_BF16)
constexpr bool rounds = true;
#else
constexpr bool rounds = false;
#endif

#if defined(GATEWISE_AMX)
using operand = uint16_t;
constexpr int lanes_of_operand = 2 * W;  // a row of a tile: 32 numbers
#else
using operand = real;
constexpr int lanes_of_operand = W;
#endif

// Values where they are their own operands: without rounding.
inline const operand *as_operands(const real *values) { return reinterpret_cast<const operand *>(values); }

// To the nearest number of bfloat16, ties to even; a NaN stays one.
GATEWISE_INLINE vec rounded(vec x) {
  if constexpr (!rounds || !is_float) return x;
  const ivec bits = (ivec)x;
  const ivec odd = (bits >> 16) & 1;
  const vec y = (vec)((bits + (odd + 0x7fff)) & ~ivec{} << 16);
  return x == x ? y : x;
}

GATEWISE_INLINE real rounded(real x) {
  if constexpr (!rounds || !is_float) return x;
  int32_t bits;
  std::memcpy(&bits, &x, 4);
  bits = (bits + (((bits >> 16) & 1) + 0x7fff)) & ~0xffff;
  real y;
  std::memcpy(&y, &bits, 4);
  return x == x ? y : x;
}

}  // namespace gatewise
