// The product at the heart of every step, (rows x depth) times (depth x columns), on packed panels.
//
// A panel holds W units of a value for all rows: [row][W]. Values of a step are stored panel after panel, so a unit k of a
// row is at panel k / W, lane k % W. Weights are packed in the order in which the product reads them.
#pragma once

#include <utility>

#include "amx.h"

namespace gatewise {

// Columns (vectors of W units) that one pass keeps in registers, and how many rows then fit beside them.
#if defined(GATEWISE_AMX)
constexpr int widest = 3;
#else
constexpr int widest = registers == 32 ? 4 : 3;
#endif

constexpr int rows_beside(int columns) {
  if (registers == 32) return columns == 1 ? 14 : columns == 2 ? 14 : columns == 3 ? 9 : 6;
  return columns == 1 ? 12 : columns == 2 ? 6 : 4;
}

constexpr int passes(int columns) { return (columns + widest - 1) / widest; }
constexpr int first_column(int columns, int pass) { return columns * pass / passes(columns); }

#if !defined(GATEWISE_AMX)

// One factor pair of a sum of products: a value's panels, and packed weights [pass][k][column][W].
struct Part {
  const real *value;
  int64_t stride;  // from panel to panel
  const real *weights;
  int64_t depth;
};

// `rows` rows of one pass of C columns, summed over the parts; `out` has `width` columns a row.
template <int rows, int C> __attribute__((noinline)) void product(
    const Part *parts, int count, int64_t row, int64_t before, real *out, int64_t width) {
  constexpr int chains = rows * C >= 8 ? 1 : rows * C >= 4 || W < 4 ? 2 : 4;  // few sums: several a sum, to hide the latency
  vec sum[chains][rows][C];
  for (int u = 0; u < chains; ++u)
    for (int r = 0; r < rows; ++r)
      for (int c = 0; c < C; ++c) sum[u][r][c] = vec{};

  for (int i = 0; i < count; ++i) {
    const Part &part = parts[i];
    const real *b = part.weights + before * part.depth * W;
    const real *a = part.value + row * W;
    auto step = [&](int k, int u) __attribute__((always_inline)) {
      if constexpr (rows > 1) __builtin_prefetch(a + part.stride + k * W);  // a row of the next panel
      vec column[C];
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) {
        column[c] = load(b + c * W);
        if constexpr (rows > 1) __builtin_prefetch(b + c * W + 8 * C * W);  // one row is bound by its loads as it is
      }
#pragma GCC unroll 16
      for (int r = 0; r < rows; ++r) {
        const vec scalar = splat(a[r * W + k]);
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) sum[u][r][c] += scalar * column[c];
      }
      b += C * W;
    };
    int64_t left = part.depth;
    for (; left >= W; left -= W, a += part.stride) {
#pragma GCC unroll 4
      for (int k = 0; k < W; k += chains) {
#pragma GCC unroll 4
        for (int u = 0; u < chains; ++u) step(k + u, u);
      }
    }
    for (int k = 0; k < left; ++k) step(k, 0);
  }

#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) {
      for (int u = 1; u < chains; ++u) sum[0][r][c] += sum[u][r][c];
      store(out + (r * width + c) * W, sum[0][r][c]);
    }
  }
}

using Product = void (*)(const Part *, int, int64_t, int64_t, real *, int64_t);

// table[rows - 1] is the product for so many rows.
template <int C, int... r> constexpr auto products(std::integer_sequence<int, r...>) {
  struct Table { Product of[sizeof...(r)]; };
  return Table{{&product<r + 1, C>...}};
}
template <int C> constexpr auto products_of = products<C>(std::make_integer_sequence<int, rows_beside(C)>{});

#endif

// Results of one block: [row][column][W], on the stack.
constexpr int block_rows = 32;

template <int C> struct Tile {
  alignas(64) real values[block_rows * C * W];

  GATEWISE_INLINE vec operator()(int64_t row, int column) const { return load(values + (row * C + column) * W); }

  GATEWISE_INLINE void put(int64_t row, int column, vec value) { store(values + (row * C + column) * W, value); }

  template <int pass = 0> GATEWISE_INLINE void multiply(const Part *parts, int count, int64_t row, int64_t rows) {
    if constexpr (pass < passes(C)) {
      constexpr int first = first_column(C, pass), width = first_column(C, pass + 1) - first;
#if defined(GATEWISE_AMX)
      if (rows > 16) tile_product<2, width>(parts, count, row, first, values + first * W, C);
      else tile_product<1, width>(parts, count, row, first, values + first * W, C);
#else
      constexpr int most = rows_beside(width);
      const int64_t blocks = (rows + most - 1) / most;
      for (int64_t i = 0; i < blocks; ++i) {
        const int64_t begin = rows * i / blocks, end = rows * (i + 1) / blocks;
        products_of<width>.of[end - begin - 1](parts, count, row + begin, first, values + (begin * C + first) * W, C);
      }
#endif
      multiply<pass + 1>(parts, count, row, rows);
    }
  }
};

// Where W units begin and how many of them exist.
constexpr int64_t panels_of(int64_t units) { return (units + W - 1) / W; }

// Two vectors lane by lane: a0 b0 a1 b1 ..., of their first halves or of their second.
template <bool second, int... i> GATEWISE_INLINE vec interleave(vec a, vec b, std::integer_sequence<int, i...>) {
  constexpr int start = second ? W / 2 : 0;
#if defined(__clang__)
  return __builtin_shufflevector(a, b, (i % 2 * W + i / 2 + start)...);
#else
  return __builtin_shuffle(a, b, ivec{(i % 2 * W + i / 2 + start)...});
#endif
}

// A W x W matrix by its rows, transposed: a perfect shuffle of the rows for every bit of the lane's number.
GATEWISE_INLINE void transpose(vec (&rows)[W]) {
  using lanes = std::make_integer_sequence<int, W>;
#pragma GCC unroll 4
  for (int round = 1; round < W; round *= 2) {
    vec shuffled[W];
#pragma GCC unroll 8
    for (int i = 0; i < W / 2; ++i) {
      shuffled[2 * i] = interleave<false>(rows[i], rows[i + W / 2], lanes{});
      shuffled[2 * i + 1] = interleave<true>(rows[i], rows[i + W / 2], lanes{});
    }
#pragma GCC unroll 16
    for (int i = 0; i < W; ++i) rows[i] = shuffled[i];
  }
}

}  // namespace gatewise
