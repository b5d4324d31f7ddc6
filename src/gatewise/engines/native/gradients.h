// Gradients of the weights: one large product over many time steps, taken straight from the panels.
#pragma once

#include "call.h"

namespace gatewise {

// Where the gradient of a product's weights comes from, as a cell's emitted tables tell.
enum class Operand { state, kept };
struct DenseGradient { int gate; Operand operand; int index, gradient; };
struct InputGradient { int gate, gradient; };

// An output tile is `tall` units of the gradient at the gate by up to `wide` panels of the value that was multiplied.
constexpr int tall = registers == 32 && W >= 8 ? 8 : W < 4 ? W : 4, wide = 3;

// The steps that a product sums over: for each, where its planes of gradients and of values begin.
struct Steps {
  int64_t count, rows;
  const real *const *gradients, *const *values;
};

// out[i, j] += sum over steps and rows of gradient[unit i] * value[unit j]
template <int C> __attribute__((noinline)) void outer_product(
    const Steps &steps, int64_t gradient, int64_t value, int64_t stride, real *out, int64_t width, int64_t units_down,
    int64_t units_across) {
  vec sum[tall][C];
#pragma GCC unroll 8
  for (int i = 0; i < tall; ++i)
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) sum[i][c] = vec{};

  for (int64_t s = 0; s < steps.count; ++s) {
    const real *a = steps.gradients[s] + gradient, *b = steps.values[s] + value;
#pragma GCC unroll 2
    for (int64_t row = 0; row < steps.rows; ++row, a += W, b += W) {
      vec column[C];
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) column[c] = rounded(load(b + c * stride));
#pragma GCC unroll 8
      for (int i = 0; i < tall; ++i) {
        const vec scalar = splat(rounded(a[i]));
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) sum[i][c] += scalar * column[c];
      }
    }
  }

#pragma GCC unroll 8
  for (int i = 0; i < tall; ++i) {
    if (i >= units_down) break;
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) {
      real *to = out + i * width + c * W;
      const int64_t count = units_across - c * W;
      store_part(to, load_part(to, count) + sum[i][c], count);
    }
  }
}

// The panels [0, panels) in groups of three, and two where one would be left over.
inline int64_t groups_of(int64_t panels) { return (panels + wide - 1) / wide; }
inline int64_t group_start(int64_t panels, int64_t group) { return panels * group / groups_of(panels); }

// The weights' gradients over some steps: planes of gradients, each with a plane of the value that was multiplied.
template <class Cell> struct WeightGradients {
  const Call &c;
  const Layout &at;
  Steps steps;  // with the states before each step
  const real *const *kept, *const *inputs;
  int64_t first, last;  // panels of the gradients
  operand *tiles;       // room for the factors in tiles, where the CPU multiplies those

  // Adds dU and dW to (dense gates x H, H) and (input gates x H, I); null: not wanted.
  void add(const Worker &worker, real *recurrent, real *input) const {
    convert(worker, recurrent, input);
    if (recurrent) {
      for (const DenseGradient &g : Cell::dense_gradients) {
        const bool state = g.operand == Operand::state;
        add_one(g.gradient, state ? steps.values : kept, g.index, state ? g.index : Cell::states + g.index, at.panels,
                c.H, recurrent + g.gate * c.H * c.H);
      }
    }
    if (input) {
      for (const InputGradient &g : Cell::input_gradients)
        add_one(g.gradient, inputs, 0, Cell::states + Cell::kept, at.input_panels, c.I, input + g.gate * c.H * c.I);
    }
  }

#if !defined(GATEWISE_AMX)
  static int64_t tiles_size(const Layout &, int64_t) { return 0; }

 private:
  void convert(const Worker &, real *, real *) const {}

  void add_one(int gradient, const real *const *values, int value, int, int64_t panels, int64_t units, real *out) const {
    const Steps both{steps.count, steps.rows, steps.gradients, values};
    for (int64_t group = 0; group < groups_of(panels); ++group) {
      const int64_t begin = group_start(panels, group), width = group_start(panels, group + 1) - begin;
      for (int64_t unit = first * W; unit < std::min(last * W, c.H); unit += tall) {
        const int64_t a = gradient * at.plane + at.offset(unit / W, 0) + unit % W;
        const int64_t b = value * at.plane + at.offset(begin, 0);
        real *to = out + unit * units + begin * W;
        const int64_t down = c.H - unit, across = units - begin * W;
        if (width == 3) outer_product<3>(both, a, b, at.stride, to, units, down, across);
        else if (width == 2) outer_product<2>(both, a, b, at.stride, to, units, down, across);
        else outer_product<1>(both, a, b, at.stride, to, units, down, across);
      }
    }
  }
#else
  // Both factors of a plane's panel: `depth` tiles, 32 rows of the batch (and steps) each.
  static int64_t tiles_size(const Layout &at, int64_t rows) {
    const int64_t panels = (Cell::gradients + Cell::states + Cell::kept) * at.panels + at.input_panels;
    return panels * ((rows + 31) / 32) * tile_numbers;
  }

 private:
  int64_t depth() const { return (steps.count * steps.rows + 31) / 32; }
  operand *gradient_tiles(int plane, int64_t panel) const {
    return tiles + (plane * at.panels + panel) * depth() * tile_numbers;
  }
  operand *value_tiles(int value, int64_t panel) const {
    return tiles + ((Cell::gradients + value) * at.panels + panel) * depth() * tile_numbers;
  }

  // The row with this number over all steps, zero beyond the last.
  GATEWISE_INLINE vec row(const real *const *planes, int64_t start, int64_t number) const {
    const int64_t step = number / steps.rows;
    return step < steps.count ? load(planes[step] + start + number % steps.rows * W) : vec{};
  }

  void convert(const Worker &worker, const real *recurrent, const real *input) const {
    for (int plane = 0; plane < Cell::gradients; ++plane)
      for (int64_t panel = first; panel < last; ++panel)
        transposed_tiles(plane * at.plane + at.offset(panel, 0), gradient_tiles(plane, panel));
    const auto share = c.split_units ? worker.share(at.panels) : Worker::Share{0, at.panels};
    for (int value = 0; recurrent && value < Cell::states + Cell::kept; ++value) {
      const bool state = value < Cell::states;
      const int index = state ? value : value - Cell::states;
      if (!multiplied(state ? Operand::state : Operand::kept, index)) continue;
      for (int64_t panel = share.first; panel < share.last; ++panel)
        paired_tiles(state ? steps.values : kept, index * at.plane + at.offset(panel, 0), value_tiles(value, panel));
    }
    const auto input_share = c.split_units ? worker.share(at.input_panels) : Worker::Share{0, at.input_panels};
    for (int64_t panel = input_share.first; input && panel < input_share.last; ++panel)
      paired_tiles(inputs, at.offset(panel, 0), value_tiles(Cell::states + Cell::kept, panel));
    if (c.split_units) worker.wait();
  }

  static bool multiplied(Operand operand, int index) {
    for (const DenseGradient &g : Cell::dense_gradients)
      if (g.operand == operand && g.index == index) return true;
    return false;
  }

  void transposed_tiles(int64_t start, operand *to) const {
    for (int64_t k = 0; k < depth() * 32; k += 32, to += tile_numbers) {
      vec low[W], high[W];
      for (int i = 0; i < W; ++i) {
        low[i] = row(steps.gradients, start, k + i);
        high[i] = row(steps.gradients, start, k + W + i);
      }
      transpose(low);
      transpose(high);
      for (int unit = 0; unit < W; ++unit) store_narrow(to + unit * 32, low[unit], high[unit]);
    }
  }

  void paired_tiles(const real *const *planes, int64_t start, operand *to) const {
    for (int64_t k = 0; k < depth() * 32; k += 2, to += 32)
      store_pairs(to, row(planes, start, k), row(planes, start, k + 1));
  }

  void add_one(int gradient, const real *const *, int, int value, int64_t panels, int64_t units, real *out) const {
    for (int64_t j = 0; j < panels; j += 2) {
      for (int64_t i = first; i < last; i += 2) {
        const bool below = i + 1 < last, beside = j + 1 < panels;
        const operand *a = gradient_tiles(gradient, i), *b = value_tiles(value, j);
        const int64_t down = std::min<int64_t>(c.H - i * W, below ? 32 : 16), across = units - j * W;
        add_tile(a, b, below, beside, down, std::min<int64_t>(across, beside ? 32 : 16), out + i * W * units + j * W, units);
      }
    }
  }

  void add_tile(const operand *a, const operand *b, bool below, bool beside, int64_t down, int64_t across, real *out,
                int64_t width) const {
    const bool whole = down == (below ? 32 : 16) && across == (beside ? 32 : 16);
    alignas(64) real edge[32 * 32];
    real *to = whole ? out : edge;
    const int64_t step = whole ? width : 32;
    if (!whole) std::memset(edge, 0, sizeof edge);
    if (below && beside) tile_outer_product<2, 2>(a, b, depth(), to, step);
    else if (below) tile_outer_product<2, 1>(a, b, depth(), to, step);
    else if (beside) tile_outer_product<1, 2>(a, b, depth(), to, step);
    else tile_outer_product<1, 1>(a, b, depth(), to, step);
    if (whole) return;
    for (int64_t i = 0; i < down; ++i)
      for (int64_t j = 0; j < across; ++j) out[i * width + j] += edge[i * 32 + j];
  }
#endif
};

}  // namespace gatewise
