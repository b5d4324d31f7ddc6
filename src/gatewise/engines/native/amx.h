// Products of bfloat16 with float32 sums on the CPU's tiles: 16 rows of 32 numbers by 16 columns of 32.
//
// Intel, Intel 64 and IA-32 Architectures Software Developer's Manual, "Advanced Matrix Extensions".
#pragma once

#include "narrow.h"

#if defined(GATEWISE_AMX)

#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace gatewise {

constexpr int tile_numbers = 512;  // of bfloat16

// The system has to grant the use of tiles, once a process.
inline bool tiles_granted() {
#if defined(__linux__)
  constexpr int request_permission = 0x1023, tile_data = 18;
  static const bool granted = syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
  return granted;
#else
  return false;
#endif
}

// All eight tiles whole, for as long as this lives.
class Tiles {
 public:
  Tiles() {
    alignas(64) uint8_t shape[64] = {1};
    for (int i = 0; i < 8; ++i) shape[16 + 2 * i] = 64, shape[48 + i] = 16;  // bytes in a row, rows
    _tile_loadconfig(shape);
  }
  ~Tiles() { _tile_release(); }
};

// 32 numbers: `low` then `high`.
GATEWISE_INLINE void store_narrow(operand *to, vec low, vec high) {
  _mm512_store_si512(to, (__m512i)_mm512_cvtne2ps_pbh((__m512)high, (__m512)low));
}

// 16 columns of two rows, pair by pair: what a tile of the second factor has in a row.
GATEWISE_INLINE void store_pairs(operand *to, vec first, vec second) {
  alignas(64) static constexpr uint16_t order[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                     8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  const __m512i both = (__m512i)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
  _mm512_store_si512(to, _mm512_permutexvar_epi16(_mm512_load_si512(order), both));
}

struct Part {
  const operand *value;  // [panel][row][32]
  int64_t stride;
  const operand *weights;  // [pass][32 units of the depth][column][tile]
  int64_t depth;           // in tiles
};

// 16 R rows by C columns, summed over the parts. `first` and `second` load the factors of one step of the depth.
template <int R, int C> __attribute__((noinline)) void tile_product(
    const Part *parts, int count, int64_t row, int64_t before, real *out, int64_t width) {
  static_assert(R >= 1 && R <= 2 && C >= 1 && C <= 3);
  _tile_zero(0);
  if constexpr (C > 1) _tile_zero(1);
  if constexpr (C > 2) _tile_zero(2);
  if constexpr (R > 1) _tile_zero(3);
  if constexpr (R > 1 && C > 1) _tile_zero(4);
  if constexpr (R > 1 && C > 2) _tile_zero(5);
  for (int i = 0; i < count; ++i) {
    const operand *a = parts[i].value + row * 32, *b = parts[i].weights + before * parts[i].depth * tile_numbers;
    for (int64_t k = 0; k < parts[i].depth; ++k, a += parts[i].stride, b += C * tile_numbers) {
      const operand *below = a + 16 * 32;
      _tile_loadd(6, a, 64);
      _tile_loadd(7, b, 64);
      _tile_dpbf16ps(0, 6, 7);
      if constexpr (R == 1) {
        if constexpr (C > 1) {
          _tile_loadd(5, b + tile_numbers, 64);
          _tile_dpbf16ps(1, 6, 5);
        }
        if constexpr (C > 2) {
          _tile_loadd(4, b + 2 * tile_numbers, 64);
          _tile_dpbf16ps(2, 6, 4);
        }
      } else if constexpr (C < 3) {
        _tile_loadd(5, below, 64);
        _tile_dpbf16ps(3, 5, 7);
        if constexpr (C > 1) {
          _tile_loadd(2, b + tile_numbers, 64);
          _tile_dpbf16ps(1, 6, 2);
          _tile_dpbf16ps(4, 5, 2);
        }
      } else {
        _tile_loadd(6, below, 64);
        _tile_dpbf16ps(3, 6, 7);
        _tile_loadd(7, b + tile_numbers, 64);
        _tile_dpbf16ps(4, 6, 7);
        _tile_loadd(6, a, 64);
        _tile_dpbf16ps(1, 6, 7);
        _tile_loadd(7, b + 2 * tile_numbers, 64);
        _tile_dpbf16ps(2, 6, 7);
        _tile_loadd(6, below, 64);
        _tile_dpbf16ps(5, 6, 7);
      }
    }
  }
  const int64_t step = width * W * sizeof(real);
  _tile_stored(0, out, step);
  if constexpr (C > 1) _tile_stored(1, out + W, step);
  if constexpr (C > 2) _tile_stored(2, out + 2 * W, step);
  out += 16 * width * W;
  if constexpr (R > 1) _tile_stored(3, out, step);
  if constexpr (R > 1 && C > 1) _tile_stored(4, out + W, step);
  if constexpr (R > 1 && C > 2) _tile_stored(5, out + 2 * W, step);
}

// out (16 R x 16 C, rows `width` apart) += sum over the depth of first (transposed gradients) times second (values).
// The factors are whole tiles, `depth` of them for 16 rows of the result or 16 columns.
template <int R, int C> __attribute__((noinline)) void tile_outer_product(
    const operand *first, const operand *second, int64_t depth, real *out, int64_t width) {
  const int64_t step = width * sizeof(real);
  _tile_loadd(0, out, step);
  if constexpr (C > 1) _tile_loadd(1, out + 16, step);
  if constexpr (R > 1) _tile_loadd(2, out + 16 * width, step);
  if constexpr (R > 1 && C > 1) _tile_loadd(3, out + 16 * width + 16, step);
  const int64_t apart = depth * tile_numbers;
  for (int64_t k = 0; k < depth; ++k, first += tile_numbers, second += tile_numbers) {
    _tile_loadd(4, first, 64);
    _tile_loadd(5, second, 64);
    _tile_dpbf16ps(0, 4, 5);
    if constexpr (C > 1) {
      _tile_loadd(6, second + apart, 64);
      _tile_dpbf16ps(1, 4, 6);
    }
    if constexpr (R > 1) {
      _tile_loadd(7, first + apart, 64);
      _tile_dpbf16ps(2, 7, 5);
      if constexpr (C > 1) _tile_dpbf16ps(3, 7, 6);
    }
  }
  _tile_stored(0, out, step);
  if constexpr (C > 1) _tile_stored(1, out + 16, step);
  if constexpr (R > 1) _tile_stored(2, out + 16 * width, step);
  if constexpr (R > 1 && C > 1) _tile_stored(3, out + 16 * width + 16, step);
}

}  // namespace gatewise

#else

namespace gatewise {
inline bool tiles_granted() { return true; }  // none are wanted
struct Tiles {};
}  // namespace gatewise

#endif
