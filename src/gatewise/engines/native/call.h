// What one call asks for, where its values lie in memory, and how its weights are packed.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "multiply.h"
#include "threads.h"

namespace gatewise {

// A random mask: what was drawn, (T, B, H) or (B, H), null: the mean in its place.
struct Mask {
  const uint8_t *drawn;
  int64_t step;  // 0: the same at every step
  double scale, mean;
};

// One layer in one direction. The Python side fills the same fields in the same order. All numbers are row-major with a
// last dimension without gaps; strides count numbers, not bytes.
struct Call {
  int64_t T, B, I, H;  // steps, batch, input, hidden
  int64_t threads;
  int64_t reverse;       // from the last step to the first
  int64_t split_units;   // the threads share the hidden units instead of the batch

  // The input: x (T, B, I), or tokens (T, B) that choose rows of a table (vocabulary, input gates x H).
  const real *x;
  int64_t x_step, x_row;
  const int64_t *tokens;
  int64_t token_step, token_row, vocabulary;
  const real *table;
  int64_t table_width;
  const int64_t *lengths;  // (B), or null

  const real *input_weight, *input_bias;          // (input gates x H, I), (input gates x H)
  const real *recurrent_weight, *recurrent_bias;  // (dense gates x H, H), (dense gates x H)
  const real *diag, *vector;                      // (diagonal gates, H), (vectors, H)
  const real *initial;                            // (states, B, H), or null: zero
  const Mask *masks;                              // of the cell, in its order
  const real *packed;                             // the forward pass's packed weights, or null: pack here

  real *output;  // (T, B, H)
  int64_t output_step, output_row;
  real *final;  // (states, B, H)

  // For the backward pass; null when there will be none.
  real *history;  // (T + 1, states, plane)
  real *kept;     // (T, kept, plane)
  real *panels;   // (T, input panels, rows, W): x

  // The backward pass: what arrives, and what is asked for (null: not needed).
  const real *d_output;  // (T, B, H)
  int64_t d_output_step, d_output_row;
  const real *d_final;  // (states, B, H)
  real *d_x;            // (T, B, I)
  real *d_table, *d_initial;
  real *d_input_weight, *d_input_bias, *d_recurrent_weight, *d_recurrent_bias, *d_diag, *d_vector;

  // A row over the units, W of them: of biases, diagonals, learned vectors; zero where there is none.
  vec units(const real *rows, int row, int64_t panel) const {
    return rows ? load_part(rows + row * H + panel * W, H - panel * W) : vec{};
  }

  GATEWISE_INLINE vec mask(int i, int64_t time, int64_t panel, int64_t row) const {
    const Mask &mask = masks[i];
    if (!mask.drawn) return splat(real(mask.mean));
    return load_bytes(mask.drawn + time * mask.step + row * H + panel * W, H - panel * W) * real(mask.scale);
  }
};

// Means over the units, a number for every row: summed by all workers in one stage, and there from the next one on.
struct Means {
  real *values;    // (means, B)
  real *all_sums;  // of each worker (means, B, W), zero between the stages
  real *sums;      // this worker's
  int64_t B, H;

  Means(const Call &c, int count, real *values, real *all_sums, int worker)
      : values(values), all_sums(all_sums), sums(all_sums + worker * size(c, count)), B(c.B), H(c.H) {}

  static int64_t size(const Call &c, int count) { return count * c.B * W; }

  GATEWISE_INLINE vec operator()(int i, int64_t row) const { return splat(values[i * B + row]); }

  // One number for each of the rows [row, last), or of the first W of them.
  GATEWISE_INLINE vec rows(int i, int64_t row, int64_t last) const { return load_part(values + i * B + row, last - row); }
  GATEWISE_INLINE void put(int i, int64_t row, int64_t last, vec value) const {
    store_part(values + i * B + row, value, last - row);
  }

  GATEWISE_INLINE void add(int i, int64_t panel, int64_t row, vec value) const {
    for (int64_t lane = std::max<int64_t>(0, H - panel * W); lane < W; ++lane) value[lane] = 0;
    real *to = sums + (i * B + row) * W;
    store(to, load(to) + value);
  }

  // The sums of `workers` workers, so many numbers apart, become a mean.
  void finish(int i, int64_t row, real *first, int workers, int64_t apart) const {
    vec total{};
    for (int worker = 0; worker < workers; ++worker) {
      real *from = first + worker * apart + (i * B + row) * W;
      total += load(from);
      store(from, vec{});
    }
    real sum = 0;
    for (int lane = 0; lane < W; ++lane) sum += total[lane];
    values[i * B + row] = sum / real(H);
  }
};

// One panel of a row-major (B, H) value, from some row on.
template <class Real> struct PanelOfRows {
  Real *first;  // null: no such value
  int64_t step, units;

  GATEWISE_INLINE void put(int64_t i, vec value) const { store_part(first + i * step, value, units); }
  GATEWISE_INLINE vec add(int64_t i, vec value) const {
    return first ? value + load_part(first + i * step, units) : value;
  }
};

// Sizes of what is stored in panels. A plane is one value of one step for all rows and units: [panel][row][W].
struct Layout {
  explicit Layout(const Call &c)
      : panels(panels_of(c.H)),
        stride((c.B | 1) * W),  // an odd number of vectors, so that panels do not meet in one set of the cache
        plane(round_up(panels, 2) * stride),
        input_panels(panels_of(c.I)),
        input_plane(input_panels * stride),
#if defined(GATEWISE_AMX)
        operand_stride((round_up(c.B, 16) + 16) * lanes_of_operand),  // a tile reads 16 rows, from wherever it begins
#else
        operand_stride(stride),
#endif
        operand_plane(operand_panels(c.H) * operand_stride),
        input_operand_plane(operand_panels(c.I) * operand_stride) {}

  static constexpr int64_t operand_panels(int64_t units) {
    return rounds ? (units + lanes_of_operand - 1) / lanes_of_operand : 0;  // without rounding there are no copies
  }

  static constexpr int64_t round_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

  int64_t offset(int64_t panel, int64_t row) const { return panel * stride + row * W; }

  // Stores the copy of a panel's row that products read; beyond the last unit it is zero.
  GATEWISE_INLINE void narrow(operand *to, int64_t panel, int64_t row, vec value, int64_t units) const {
    if constexpr (!rounds) return;
    if (units < W) {
      for (int lane = 0; lane < W; ++lane) value[lane] = lane < units ? value[lane] : real(0);
    }
#if defined(GATEWISE_AMX)
    _mm256_store_si256(reinterpret_cast<__m256i *>(to + panel / 2 * operand_stride + row * 32 + panel % 2 * 16),
                       (__m256i)_mm512_cvtneps_pbh((__m512)value));
#else
    store(to + panel * operand_stride + row * W, rounded(value));
#endif
  }

  int64_t panels, stride, plane, input_panels, input_plane, operand_stride, operand_plane, input_operand_plane;
};

// Rows [row, row + rows) of the panels [panel, panel + width), the `group`th group of so many.
struct Block {
  int64_t panel, row, rows, group;
};

// Packed weights: for each group of `width` panels, `gates.count` gates side by side.
enum class Source { input, recurrent };
enum class Direction { forward, backward };

struct Gates {
  int count;
  const int *of;
};

struct Pack {
  Source source;
  Direction direction;
  int width;  // panels
  Gates gates;

  int columns() const { return width * (direction == Direction::forward ? gates.count : 1); }
  int64_t depth(const Call &c) const {
    return direction == Direction::backward || source == Source::recurrent ? c.H : c.I;
  }
  int64_t results(const Call &c) const {
    return direction == Direction::backward && source == Source::input ? c.I : c.H;
  }
  int64_t groups(const Call &c) const { return (panels_of(results(c)) + width - 1) / width; }

  // How a product counts its depth, and the operands in the columns of one gate or of all.
#if defined(GATEWISE_AMX)
  int64_t steps(const Call &c) const { return (depth(c) + 31) / 32; }
  int64_t gate_size(const Call &c) const { return width * steps(c) * tile_numbers; }
#else
  int64_t steps(const Call &c) const { return depth(c); }
  int64_t gate_size(const Call &c) const { return width * depth(c) * W; }
#endif
  int64_t group_size(const Call &c) const { return gates.count * gate_size(c); }
  int64_t size(const Call &c) const { return groups(c) * group_size(c); }

  // Writes one group: forward as [pass][k][column][W], backward gate after gate as [k][column][W].
  void fill(const Call &c, int64_t group, operand *packed) const {
    const real *weight = source == Source::input ? c.input_weight : c.recurrent_weight;
    operand *out = packed + group * group_size(c);
    if (direction == Direction::forward) {
      for (int pass = 0; pass < passes(columns()); ++pass) {
        const int first = first_column(columns(), pass), beside = first_column(columns(), pass + 1) - first;
        for (int column = 0; column < beside; ++column) {
          const int64_t unit = (group * width + (first + column) / gates.count) * W;
          const real *rows = weight + (gates.of[(first + column) % gates.count] * c.H + unit) * depth(c);
          fill_transposed(rows, c.H - unit, depth(c), out, column, beside);
        }
        out += beside * gate_size(c) / width;
      }
      return;
    }
    const int64_t units = results(c);
    for (int i = 0; i < gates.count; ++i, out += gate_size(c)) {
      for (int column = 0; column < width; ++column) {
        const int64_t unit = (group * width + column) * W;
        fill_straight(weight + gates.of[i] * c.H * units + unit, units, c.H, units - unit, out, column);
      }
    }
  }

 private:
#if defined(GATEWISE_AMX)
  // W rows (columns of the product) of `deep` numbers, of which `count` exist -> tiles of pairs.
  static void fill_transposed(const real *rows, int64_t count, int64_t deep, operand *out, int column, int beside) {
    for (int64_t k = 0; k < deep; k += 32) {
      vec pairs[W];
      for (int row = 0; row < W; ++row) {
        const real *from = rows + row * deep + k;
        const bool there = row < count;
        alignas(64) operand both[32];
        store_narrow(both, there ? load_part(from, deep - k) : vec{},
                     there && k + W < deep ? load_part(from + W, deep - k - W) : vec{});
        std::memcpy(&pairs[row], both, 64);
      }
      transpose(pairs);
      std::memcpy(out + (k / 32 * beside + column) * tile_numbers, pairs, sizeof pairs);
    }
  }

  // `deep` rows of which W columns are wanted, `count` of them there -> tiles of pairs.
  void fill_straight(const real *from, int64_t step, int64_t deep, int64_t count, operand *out, int column) const {
    const auto row = [&](int64_t k) { return k < deep ? load_part(from + k * step, count) : vec{}; };
    for (int64_t k = 0; k < (deep + 31) / 32 * 32; k += 2)
      store_pairs(out + (k / 32 * width + column) * tile_numbers + k % 32 * 16, row(k), row(k + 1));
  }
#else
  static void fill_transposed(const real *rows, int64_t count, int64_t deep, operand *out, int column, int beside) {
    for (int64_t k = 0; k < deep; k += W) {
      vec block[W];
      for (int row = 0; row < W; ++row) block[row] = row < count ? load_part(rows + row * deep + k, deep - k) : vec{};
      transpose(block);
      for (int i = 0; i < W && k + i < deep; ++i) store(out + ((k + i) * beside + column) * W, rounded(block[i]));
    }
  }

  void fill_straight(const real *from, int64_t step, int64_t deep, int64_t count, operand *out, int column) const {
    for (int64_t k = 0; k < deep; ++k) store(out + (k * width + column) * W, rounded(load_part(from + k * step, count)));
  }
#endif
};

// Memory that a thread of the caller keeps for its next call: no two threads share it, no call allocates twice.
class Workspace {
 public:
  static Workspace &of_this_thread() {
    static thread_local Workspace workspace;
    return workspace;
  }

  // Room for `count` numbers more, to be taken after `open`.
  int64_t reserve(int64_t count) {
    const int64_t start = needed_;
    needed_ += Layout::round_up(count, 64 / sizeof(real));
    return start;
  }
  int64_t reserve_operands(int64_t count) { return reserve((count * sizeof(operand) + sizeof(real) - 1) / sizeof(real)); }
  operand *operands_at(int64_t start) const { return reinterpret_cast<operand *>(at(start)); }
  void begin() { needed_ = 0; }
  bool open() {
    if (needed_ > size_) {
      memory_.reset();
      size_ = 0;
      memory_.reset(static_cast<real *>(std::aligned_alloc(64, Layout::round_up(needed_ * sizeof(real), 64))));
      if (!memory_) return false;
      size_ = needed_;
    }
#if defined(GATEWISE_POISON)
    for (int64_t i = 0; i < needed_; ++i) memory_.get()[i] = std::numeric_limits<real>::quiet_NaN();
#endif
    return true;
  }
  real *at(int64_t start) const { return memory_.get() + start; }

  // A call is over: what is worth keeping for the next one stays.
  void close() {
    if (size_ * static_cast<int64_t>(sizeof(real)) <= most_kept) return;
    memory_.reset();
    size_ = 0;
  }

 private:
  static constexpr int64_t most_kept = 64 << 20;  // bytes
  struct Free { void operator()(real *p) const { std::free(p); } };
  std::unique_ptr<real, Free> memory_;
  int64_t size_ = 0, needed_ = 0;
};

// Row-major (rows, units) -> panels, zero in the lanes beyond the edge.
inline void to_panels(const real *from, int64_t row_stride, int64_t rows, int64_t units, int64_t panel, int64_t stride,
                      real *to) {
  for (int64_t row = 0; row < rows; ++row)
    store(to + panel * stride + row * W, load_part(from + row * row_stride + panel * W, units - panel * W));
}

// One panel of a value to its copy for products.
inline void narrow_panel(const Layout &at, const real *from, int64_t rows, int64_t units, int64_t panel, operand *to) {
  if constexpr (!rounds) return;
  for (int64_t row = 0; row < rows; ++row)
    at.narrow(to, panel, row, load(from + at.offset(panel, row)), units - panel * W);
}

inline void from_panels(const real *from, int64_t panel, int64_t stride, int64_t rows, int64_t units, real *to) {
  for (int64_t row = 0; row < rows; ++row)
    store_part(to + row * units + panel * W, load(from + panel * stride + row * W), units - panel * W);
}

// What each worker does of every step: its rows, and its share of the groups of panels.
struct Duty {
  Duty(const Call &c, const Worker &worker)
      : c_(c), worker_(worker), rows_(c.split_units ? Worker::Share{0, c.B} : worker.share(c.B)) {}

  template <class F> void each_block(int64_t groups, int width, F &&work) const {
    const Worker::Share mine = c_.split_units ? worker_.share(groups) : Worker::Share{0, groups};
    const int64_t rows = rows_.last - rows_.first, blocks = (rows + block_rows - 1) / block_rows;
    for (int64_t group = mine.first; group < mine.last; ++group) {
      for (int64_t i = 0; i < blocks; ++i) {
        const int64_t begin = rows_.first + rows * i / blocks, end = rows_.first + rows * (i + 1) / blocks;
        work(Block{group * width, begin, end - begin, group});
      }
    }
  }

  // Where units are shared, what follows needs everyone's.
  void wait() const {
    if (c_.split_units) worker_.wait();
  }

  // After a stage: the means that were summed in it, from until[stage] on, are made.
  // `then` makes of finished means what depends on them alone, for W rows from one on.
  template <class F> void end_stage(const Means &means, const int *until, int stage, int count, F &&then) const {
    wait();
    if (until[stage] == until[stage + 1]) return;
    const bool shared = c_.split_units && worker_.threads > 1;
    const Worker::Share rows = shared ? worker_.share(c_.B) : rows_;
    for (int i = until[stage]; i < until[stage + 1]; ++i)
      for (int64_t row = rows.first; row < rows.last; ++row)
        means.finish(i, row, shared ? means.all_sums : means.sums, shared ? worker_.threads : 1, Means::size(c_, count));
    for (int64_t row = rows.first; row < rows.last; row += W) then(row, rows.last);
    if (shared) worker_.wait();
  }

 private:
  const Call &c_;
  const Worker &worker_;
  Worker::Share rows_;
};

}  // namespace gatewise
