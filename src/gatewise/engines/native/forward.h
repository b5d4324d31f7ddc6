// The forward pass: every step, stage by stage. A stage is some products and the pointwise work that follows them.
#pragma once

#include "call.h"

namespace gatewise {

// One step, as a cell's emitted stages see it.
struct Forward {
  const Call &c;
  const Layout &at;
  int64_t time;
  const real *previous;  // the states before the step, plane after plane
  real *next;            // and after it
  real *kept;            // what the backward pass or a later stage needs
  const real *panels;    // x
  const operand *packed; // weights
  const int64_t *starts;  // of each pack
  bool keep;              // for the backward pass
  Means means;

  // With rounding: what products read in place of the values, planes of the states before and after the step, of what
  // is kept, and of x.
  operand *narrow_previous = nullptr, *narrow_next = nullptr, *narrow_kept = nullptr, *narrow_x = nullptr;

  const operand *state_operand(int i) const {
    if constexpr (rounds) return narrow_previous + i * at.operand_plane;
    else return as_operands(previous + i * at.plane);
  }
  const operand *kept_operand(int i) const {
    if constexpr (rounds) return narrow_kept + i * at.operand_plane;
    else return as_operands(kept + i * at.plane);
  }
  GATEWISE_INLINE void narrow_state(int i, int64_t panel, int64_t row, vec value) const {
    if constexpr (rounds) at.narrow(narrow_next + i * at.operand_plane, panel, row, value, c.H - panel * W);
  }
  GATEWISE_INLINE void narrow_stored(int i, int64_t panel, int64_t row, vec value) const {
    if constexpr (rounds) at.narrow(narrow_kept + i * at.operand_plane, panel, row, value, c.H - panel * W);
  }

  bool idle(int64_t row) const { return c.lengths && time >= c.lengths[row]; }

  template <int C> GATEWISE_INLINE void multiply(Tile<C> &tile, const Pack &pack, int index, const operand *value,
                                                 const Block &block) const {
    const Part part{value, at.operand_stride, packed + starts[index] + block.group * pack.group_size(c), pack.steps(c)};
    tile.multiply(&part, 1, block.row, block.rows);
  }

  // W x for a block, or what the tokens' entries in the table have in its place.
  template <int C> GATEWISE_INLINE void project(Tile<C> &tile, const Pack &pack, int index, const Block &block) const {
    if (c.table) return look_up(tile, pack, block);
    if constexpr (rounds) multiply(tile, pack, index, narrow_x, block);
    else multiply(tile, pack, index, as_operands(panels), block);
  }

  template <int C> void look_up(Tile<C> &tile, const Pack &pack, const Block &block) const {
    for (int64_t i = 0; i < block.rows; ++i) {
      const real *entry = c.table + c.tokens[time * c.token_step + (block.row + i) * c.token_row] * c.table_width;
      for (int column = 0; column < C; ++column) {
        const int64_t unit = (block.panel + column / pack.gates.count) * W;
        if (unit < c.H)
          tile.put(i, column, load_part(entry + pack.gates.of[column % pack.gates.count] * c.H + unit, c.H - unit));
      }
    }
  }

  PanelOfRows<real> output(int64_t panel, int64_t row) const {
    return {c.output + time * c.output_step + row * c.output_row + panel * W, c.output_row, c.H - panel * W};
  }
};

template <class Cell, class F> void each_pack(const Call &c, Direction direction, F &&work) {
  for (int i = 0; i < Cell::packs; ++i) {
    const Pack &pack = Cell::pack(i);
    if (pack.direction == direction && !(pack.source == Source::input && direction == Direction::forward && c.table))
      work(i, pack);
  }
}

// What a step keeps: planes, and then its means.
template <class Cell> int64_t kept_size(const Call &c, const Layout &at) {
  return (Cell::kept + (Cell::means * c.B + at.plane - 1) / at.plane) * at.plane;
}

template <class Cell> int64_t packed_size(const Call &c, int64_t *starts) {
  int64_t size = 0;
  each_pack<Cell>(c, Direction::forward, [&](int i, const Pack &pack) {
    starts[i] = size;
    size += Layout::round_up(pack.size(c), 32);
  });
  return size;
}

template <class Cell> void pack_forward(const Call &c, const int64_t *starts, operand *packed, const Worker &worker) {
  each_pack<Cell>(c, Direction::forward, [&](int i, const Pack &pack) {
    const auto mine = worker.share(pack.groups(c));
    for (int64_t group = mine.first; group < mine.last; ++group) pack.fill(c, group, packed + starts[i]);
  });
}

inline bool tokens_in_range(const Call &c) {
  if (!c.table) return true;
  for (int64_t t = 0; t < c.T; ++t)
    for (int64_t b = 0; b < c.B; ++b) {
      const int64_t token = c.tokens[t * c.token_step + b * c.token_row];
      if (token < 0 || token >= c.vocabulary) return false;
    }
  return true;
}

enum Outcome { done = 0, no_memory = 1, token_out_of_range = 2 };

template <class Cell> class ForwardPass {
 public:
  explicit ForwardPass(const Call &c) : c(c), at(c), training_(c.history != nullptr) {}

  int run() {
    if (!tokens_in_range(c)) return token_out_of_range;
    auto &space = Workspace::of_this_thread();
    space.begin();
    const int64_t size = packed_size<Cell>(c, starts_), packed = space.reserve_operands(c.packed ? 0 : size),
                  history = space.reserve(training_ ? 0 : 2 * states_size()),
                  kept = space.reserve(training_ ? 0 : Cell::working * at.plane),
                  means = space.reserve(training_ ? 0 : Cell::means * c.B),
                  mean_sums = space.reserve(c.threads * Means::size(c, Cell::means)),
                  panels = space.reserve(training_ || c.table ? 0 : c.T * at.input_plane),
                  narrow = space.reserve_operands((2 * Cell::states + Cell::working) * at.operand_plane),
                  narrow_x = space.reserve_operands(c.table ? 0 : c.T * at.input_operand_plane);
    if (!space.open()) return no_memory;
    made_ = space.operands_at(packed);
    packed_ = c.packed ? reinterpret_cast<const operand *>(c.packed) : made_;
    history_ = training_ ? c.history : space.at(history);
    kept_ = training_ ? c.kept : space.at(kept);
    panels_ = training_ ? c.panels : space.at(panels);
    means_ = space.at(means);
    mean_sums_ = space.at(mean_sums);
    narrow_ = space.operands_at(narrow);
    narrow_x_ = space.operands_at(narrow_x);
    parallel(static_cast<int>(c.threads), [&](const Worker &worker) { work(worker); });
    space.close();
    return done;
  }

 private:
  int64_t states_size() const { return Cell::states * at.plane; }
  real *states(int64_t s) const { return history_ + (training_ ? s : s % 2) * states_size(); }
  operand *narrow_states(int64_t s) const { return narrow_ + s % 2 * Cell::states * at.operand_plane; }

  void work(const Worker &worker) const {
    if (!c.packed) pack_forward<Cell>(c, starts_, made_, worker);
    if (!c.table && Cell::inputs > 0) take_input(worker);
    take_states(worker);
    std::memset(mean_sums_ + worker.id * Means::size(c, Cell::means), 0, Means::size(c, Cell::means) * sizeof(real));
    worker.wait();
    [[maybe_unused]] const Tiles tiles;
    const Duty duty(c, worker);
    for (int64_t s = 0; s < c.T; ++s) {
      const Forward step = at_step(s, worker);
      for (int stage = 0; stage < Cell::forward_stages; ++stage) {
        const int width = Cell::forward_width[stage];
        duty.each_block((at.panels + width - 1) / width, width,
                        [&](const Block &block) { Cell::forward(stage, step, block); });
        duty.end_stage(step.means, Cell::forward_means, stage, Cell::means, [&](int64_t row, int64_t last) {
          Cell::of_means(stage, step.means, row, last);
        });
      }
    }
    worker.wait();
    const auto mine = worker.share(Cell::states * at.panels);
    for (int64_t i = mine.first; i < mine.last; ++i) {
      const int64_t state = i / at.panels, panel = i % at.panels;
      from_panels(states(c.T) + state * at.plane, panel, at.stride, c.B, c.H, c.final + state * c.B * c.H);
    }
  }

  Forward at_step(int64_t s, const Worker &worker) const {
    const int64_t time = c.reverse ? c.T - 1 - s : s;
    real *kept = kept_ + (training_ ? s * kept_size<Cell>(c, at) : 0);
    const Means means(c, Cell::means, training_ ? kept + Cell::kept * at.plane : means_, mean_sums_, worker.id);
    return {c, at, time, states(s), states(s + 1), kept, panels_ + time * at.input_plane,
            packed_, starts_, training_, means, narrow_states(s), narrow_states(s + 1),
            narrow_ + 2 * Cell::states * at.operand_plane, narrow_x_ + time * at.input_operand_plane};
  }

  void take_input(const Worker &worker) const {
    const auto mine = worker.share(c.T);
    for (int64_t t = mine.first; t < mine.last; ++t) {
      real *to = panels_ + t * at.input_plane;
      if constexpr (rounds)
        std::memset(narrow_x_ + t * at.input_operand_plane, 0, at.input_operand_plane * sizeof(operand));
      for (int64_t panel = 0; panel < at.input_panels; ++panel) {
        to_panels(c.x + t * c.x_step, c.x_row, c.B, c.I, panel, at.stride, to);
        narrow_panel(at, to, c.B, c.I, panel, narrow_x_ + t * at.input_operand_plane);
      }
    }
  }

  void take_states(const Worker &worker) const {
    if constexpr (rounds) {  // units beyond the last one are never written, but multiplied
      const auto mine = worker.share((2 * Cell::states + Cell::working) * at.operand_plane);
      std::memset(narrow_ + mine.first, 0, (mine.last - mine.first) * sizeof(operand));
      worker.wait();
    }
    const auto mine = worker.share(Cell::states * at.panels);
    for (int64_t i = mine.first; i < mine.last; ++i) {
      const int64_t state = i / at.panels, panel = i % at.panels;
      real *to = history_ + state * at.plane;
      if (c.initial) to_panels(c.initial + state * c.B * c.H, c.H, c.B, c.H, panel, at.stride, to);
      else std::memset(to + panel * at.stride, 0, c.B * W * sizeof(real));
      narrow_panel(at, to, c.B, c.H, panel, narrow_states(0) + state * at.operand_plane);
    }
  }

  const Call &c;
  const Layout at;
  const bool training_;
  int64_t starts_[Cell::packs + 1];
  operand *made_, *narrow_, *narrow_x_;
  const operand *packed_;
  real *history_, *kept_, *panels_, *means_, *mean_sums_;
};

}  // namespace gatewise
