// The backward pass: the steps in reverse, and after every few of them the gradients of the weights.
#pragma once

#include "forward.h"
#include "gradients.h"

namespace gatewise {

// One step, as a cell's emitted stages see it.
struct Backward {
  const Call &c;
  const Layout &at;
  int64_t time;
  const real *previous, *next;  // the states before and after the step
  const real *kept;
  real *gradients;    // by the projections and products, kept until the weights' gradients are summed
  real *carried;      // dL/d(state), from the step after; then for the step before
  real *temporaries;  // from stage to stage
  real *sums;         // this worker's sums over rows and steps: (sums, units)
  Means means;        // of this pass
  const real *forward_means;
  const operand *packed;
  const int64_t *starts;
  operand *narrow_gradients;  // with rounding: what products read in their place

  GATEWISE_INLINE vec forward_mean(int i, int64_t row) const { return splat(forward_means[i * c.B + row]); }

  bool idle(int64_t row) const { return c.lengths && time >= c.lengths[row]; }

  template <int C, int count> GATEWISE_INLINE void multiply(Tile<C> &tile, const Pack &pack, int index,
                                                            const int (&planes)[count], const Block &block) const {
    Part parts[count];
    const operand *weights = packed + starts[index] + block.group * pack.group_size(c);
    for (int i = 0; i < count; ++i)
      parts[i] = {gradient_operand(planes[i]), at.operand_stride, weights + i * pack.gate_size(c), pack.steps(c)};
    tile.multiply(parts, count, block.row, block.rows);
  }

  const operand *gradient_operand(int i) const {
    if constexpr (rounds) return narrow_gradients + i * at.operand_plane;
    else return as_operands(gradients + i * at.plane);
  }
  GATEWISE_INLINE void narrow_gradient(int i, int64_t panel, int64_t row, vec value) const {
    if constexpr (rounds) at.narrow(narrow_gradients + i * at.operand_plane, panel, row, value, c.H - panel * W);
  }

  // dL/d(output), to be added to what reaches the first state from the step after.
  PanelOfRows<const real> output(int64_t panel, int64_t row) const {
    const real *from = c.d_output ? c.d_output + time * c.d_output_step + row * c.d_output_row + panel * W : nullptr;
    return {from, c.d_output_row, c.H - panel * W};
  }

  void add_to_sum(int sum, int64_t panel, vec value) const {
    real *to = sums + (sum * at.panels + panel) * W;
    store(to, load(to) + value);
  }
};

enum class Sum { input_bias, recurrent_bias, diag, vector };
struct SumGradient { Sum of; int row, sum; };

template <class Cell> class BackwardPass {
 public:
  explicit BackwardPass(const Call &c) : c(c), at(c) {
    // So many steps that a product over them is long, and so few that their gradients are still in the cache.
    chunk_ = std::min(c.T, 768 / std::max<int64_t>(1, std::min<int64_t>(c.B, 768)));
    ring_ = chunk_ == c.T ? c.T : chunk_ + 1;
  }

  int run() {
    auto &space = Workspace::of_this_thread();
    space.begin();
    int64_t size = 0;
    each_pack<Cell>(c, Direction::backward, [&](int i, const Pack &pack) {
      starts_[i] = size;
      size += Layout::round_up(wanted(pack) ? pack.size(c) : 0, 32);
    });
    const int64_t packed = space.reserve_operands(size), gradients = space.reserve(ring_ * Cell::gradients * at.plane),
                  carried = space.reserve(Cell::states * at.plane), temporaries = space.reserve(Cell::temporaries * at.plane),
                  sums = space.reserve(c.threads * sums_size()), means = space.reserve(Cell::back_means * c.B),
                  mean_sums = space.reserve(c.threads * Means::size(c, Cell::back_means)), tables = space.reserve(c.threads * tables_size()),
                  partial = space.reserve(c.split_units ? 0 : (c.threads - 1) * partial_size()),
                  narrow = space.reserve_operands(narrow_steps * narrow_size()),
                  tiles = space.reserve_operands(all_tiles_size());
    if (!space.open()) return no_memory;
    packed_ = space.operands_at(packed);
    narrow_ = space.operands_at(narrow);
    tiles_ = space.operands_at(tiles);
    gradients_ = space.at(gradients);
    carried_ = space.at(carried);
    temporaries_ = space.at(temporaries);
    sums_ = space.at(sums);
    means_ = space.at(means);
    mean_sums_ = space.at(mean_sums);
    tables_ = space.at(tables);
    partial_ = space.at(partial);
    parallel(static_cast<int>(c.threads), [&](const Worker &worker) { work(worker); });
    space.close();
    return done;
  }

 private:
  bool wanted(const Pack &pack) const { return pack.source == Source::recurrent || c.d_x; }
  int64_t sums_size() const { return Layout::round_up(Cell::sums * at.panels * W, 16); }

  // While some threads still multiply a step's gradients, others are already at the step before it.
  static constexpr int64_t narrow_steps = 3;
  int64_t narrow_size() const { return Cell::gradients * at.operand_plane; }

  int64_t tables_size() const { return Layout::round_up(4 * chunk_ * sizeof(real *) / sizeof(real), 16); }
  // Of one worker, where so many work: fewer than asked for have more rows each.
  int64_t tiles_size(int workers) const {
    const int64_t rows = c.split_units ? c.B : (c.B + workers - 1) / workers;
    return WeightGradients<Cell>::tiles_size(at, chunk_ * rows);
  }
  int64_t all_tiles_size() const {
    int64_t most = tiles_size(1);
    for (int workers = 2; !c.split_units && workers <= c.threads; ++workers)
      most = std::max(most, workers * tiles_size(workers));
    return most;
  }
  int64_t input_weight_size() const { return c.d_input_weight ? Cell::inputs * c.H * c.I : 0; }
  int64_t recurrent_weight_size() const { return c.d_recurrent_weight ? Cell::denses * c.H * c.H : 0; }
  int64_t partial_size() const { return Layout::round_up(input_weight_size() + recurrent_weight_size(), 16); }

  // Where a worker sums the weights' gradients: threads that share the units have rows of their own in the results,
  // threads that share the batch sum apart, and their sums are added at the end.
  real *input_weight_of(const Worker &worker) const {
    return c.split_units || worker.id == 0 ? c.d_input_weight : partial_ + (worker.id - 1) * partial_size();
  }
  real *recurrent_weight_of(const Worker &worker) const {
    return c.split_units || worker.id == 0 ? c.d_recurrent_weight
                                           : partial_ + (worker.id - 1) * partial_size() + input_weight_size();
  }

  real *gradients_of(int64_t position) const { return gradients_ + position % ring_ * Cell::gradients * at.plane; }

  Backward step(int64_t s, const Worker &worker) const {
    const int64_t states = Cell::states * at.plane;
    return {c, at, c.reverse ? c.T - 1 - s : s, c.history + s * states, c.history + (s + 1) * states,
            c.kept + s * kept_size<Cell>(c, at), gradients_of(c.T - 1 - s), carried_, temporaries_,
            sums_ + worker.id * sums_size(), Means(c, Cell::back_means, means_, mean_sums_, worker.id),
            c.kept + s * kept_size<Cell>(c, at) + Cell::kept * at.plane, packed_, starts_,
            narrow_ + (c.T - 1 - s) % narrow_steps * narrow_size()};
  }

  void prepare(const Worker &worker) {
    each_pack<Cell>(c, Direction::backward, [&](int i, const Pack &pack) {
      if (!wanted(pack)) return;
      const auto mine = worker.share(pack.groups(c));
      for (int64_t group = mine.first; group < mine.last; ++group) pack.fill(c, group, packed_ + starts_[i]);
    });
    std::memset(sums_ + worker.id * sums_size(), 0, sums_size() * sizeof(real));
    const int64_t mean_sums = Means::size(c, Cell::back_means);
    std::memset(mean_sums_ + worker.id * mean_sums, 0, mean_sums * sizeof(real));
    if constexpr (rounds) {  // units beyond the last one are never written, but multiplied
      const auto mine = worker.share(narrow_steps * narrow_size());
      std::memset(narrow_ + mine.first, 0, (mine.last - mine.first) * sizeof(operand));
    }
    const auto clear = [&](real *p, int64_t rows, int64_t columns) {
      const auto mine = worker.share(rows);
      if (p) std::memset(p + mine.first * columns, 0, (mine.last - mine.first) * columns * sizeof(real));
    };
    clear(c.d_input_weight, Cell::inputs * c.H, c.I);
    clear(c.d_recurrent_weight, Cell::denses * c.H, c.H);
    if (!c.split_units && worker.id > 0)
      std::memset(partial_ + (worker.id - 1) * partial_size(), 0, partial_size() * sizeof(real));
    clear(c.d_table, c.table ? c.vocabulary : 0, Cell::inputs * c.H);
    const auto mine = worker.share(Cell::states * at.panels);
    for (int64_t i = mine.first; i < mine.last; ++i) {
      const int64_t state = i / at.panels, panel = i % at.panels;
      real *to = carried_ + state * at.plane;
      if (c.d_final) to_panels(c.d_final + state * c.B * c.H, c.H, c.B, c.H, panel, at.stride, to);
      else std::memset(to + panel * at.stride, 0, c.B * W * sizeof(real));
    }
    worker.wait();
  }

  void work(const Worker &worker) {
    prepare(worker);
    [[maybe_unused]] const Tiles tiles;
    const Duty duty(c, worker);
    const Backward last = step(c.T - 1, worker);
    const auto end_stage = [&](int stage) {
      duty.end_stage(last.means, Cell::backward_means, stage, Cell::back_means, [](int64_t, int64_t) {});
    };
    duty.each_block(at.panels, 1, [&](const Block &block) { Cell::backward(0, last, block); });
    end_stage(0);

    for (int64_t s = c.T - 1; s >= 0; --s) {
      const Backward now = step(s, worker);
      const bool more = s > 0;
      const Backward before = step(more ? s - 1 : 0, worker);
      for (int stage = 1; stage < Cell::backward_stages; ++stage) {
        const bool final_stage = stage == Cell::backward_stages - 1;
        const int width = Cell::backward_width;
        duty.each_block((at.panels + width - 1) / width, width, [&](const Block &block) {
          Cell::backward(stage, now, block);
          if (final_stage && more) each_panel(block, width, [&](const Block &one) { Cell::backward(0, before, one); });
        });
        end_stage(final_stage ? 0 : stage);
      }
      if (Cell::backward_stages == 1 && more) {
        duty.each_block(at.panels, 1, [&](const Block &block) { Cell::backward(0, before, block); });
        end_stage(0);
      }
      if (c.d_x) input_gradient(worker, now);
      const int64_t position = c.T - 1 - s;
      if ((position + 1) % chunk_ == 0 || s == 0) end_chunk(worker, position / chunk_ * chunk_, position + 1);
    }
    finish(worker);
  }

  template <class F> void each_panel(const Block &block, int width, F &&work) const {
    for (int64_t panel = block.panel; panel < std::min(block.panel + width, at.panels); ++panel)
      work(Block{panel, block.row, block.rows, panel});
  }

  // The steps at positions [first, last), counted from the end of the sequence.
  void end_chunk(const Worker &worker, int64_t first, int64_t last) {
    const auto rows = c.split_units ? Worker::Share{0, c.B} : worker.share(c.B);
    const auto panels = c.split_units ? worker.share(at.panels) : Worker::Share{0, at.panels};
    const real **gradients = reinterpret_cast<const real **>(tables_ + worker.id * tables_size());
    const real **history = gradients + chunk_, **kept = history + chunk_, **inputs = kept + chunk_;
    for (int64_t position = first; position < last; ++position) {
      const int64_t s = c.T - 1 - position, i = position - first, row = rows.first * W;
      gradients[i] = gradients_of(position) + row;
      history[i] = c.history + s * Cell::states * at.plane + row;
      kept[i] = c.kept + s * kept_size<Cell>(c, at) + row;
      inputs[i] = c.panels + (c.reverse ? position : s) * at.input_plane + row;
    }
    WeightGradients<Cell> sums{c, at, {last - first, rows.last - rows.first, gradients, history},
                               kept, inputs, panels.first, panels.last,
                               tiles_ + (c.split_units ? 0 : worker.id * tiles_size(worker.threads))};
    sums.add(worker, recurrent_weight_of(worker), input_weight_of(worker));
    if (c.d_table) {
      if (!c.split_units) worker.wait();
      for (const InputGradient &g : Cell::input_gradients) add_to_table(worker, g, first, last);
    }
    if (c.split_units || c.d_table) worker.wait();
  }

  // Each worker has its panels of the table: no two write to one place, and the order is that of the steps.
  void add_to_table(const Worker &worker, const InputGradient &g, int64_t first, int64_t last) const {
    const auto mine = worker.share(at.panels);
    for (int64_t position = first; position < last; ++position) {
      const int64_t s = c.T - 1 - position, time = c.reverse ? c.T - 1 - s : s;
      const real *from = gradients_of(position) + g.gradient * at.plane;
      for (int64_t row = 0; row < c.B; ++row) {
        if (c.lengths && time >= c.lengths[row]) continue;
        const int64_t token = c.tokens[time * c.token_step + row * c.token_row];
        real *to = c.d_table + (token * Cell::inputs + g.gate) * c.H;
        for (int64_t panel = mine.first; panel < mine.last; ++panel) {
          const int64_t units = c.H - panel * W;
          store_part(to + panel * W, load_part(to + panel * W, units) + load(from + at.offset(panel, row)), units);
        }
      }
    }
  }

  // dL/dx_t = sum over gates of W_gate^T dL/d(projection).
  void input_gradient(const Worker &worker, const Backward &now) const {
    constexpr int index = Cell::input_gradient_pack, width = Cell::backward_width;
    if constexpr (index < 0) {
      if (worker.id == 0) std::memset(c.d_x + now.time * c.B * c.I, 0, c.B * c.I * sizeof(real));
    } else {
      const Pack &pack = Cell::pack(index);
      Duty(c, worker).each_block(pack.groups(c), width, [&](const Block &block) {
        Tile<width> tile;
        now.multiply(tile, pack, index, Cell::input_gradient_planes, block);
        for (int64_t i = 0; i < block.rows; ++i)
          for (int p = 0; p < width; ++p) {
            const int64_t unit = (block.panel + p) * W;
            if (unit < c.I) store_part(c.d_x + (now.time * c.B + block.row + i) * c.I + unit, tile(i, p), c.I - unit);
          }
      });
    }
  }

  // The sums of all workers in their order, and what is left for the initial states.
  void finish(const Worker &worker) const {
    worker.wait();
    real *const targets[] = {c.d_input_bias, c.d_recurrent_bias, c.d_diag, c.d_vector};
    if (worker.id == 0) {
      const int64_t rows[] = {Cell::inputs, Cell::denses, Cell::diags, Cell::vectors};
      for (int i = 0; i < 4; ++i)
        if (targets[i]) std::memset(targets[i], 0, rows[i] * c.H * sizeof(real));
      for (const SumGradient &g : Cell::sum_gradients) {
        real *to = targets[static_cast<int>(g.of)];
        if (!to) continue;
        for (int thread = 0; thread < worker.threads; ++thread) {
          const real *from = sums_ + thread * sums_size() + g.sum * at.panels * W;
          for (int64_t unit = 0; unit < c.H; ++unit) to[g.row * c.H + unit] += from[unit];
        }
      }
    }
    if (!c.split_units) {
      for (int thread = 1; thread < worker.threads; ++thread) {
        const real *from = partial_ + (thread - 1) * partial_size();
        add_share(worker, from, input_weight_size(), c.d_input_weight);
        add_share(worker, from + input_weight_size(), recurrent_weight_size(), c.d_recurrent_weight);
      }
    }
    if (!c.d_initial) return;
    const auto mine = worker.share(Cell::states * at.panels);
    for (int64_t i = mine.first; i < mine.last; ++i) {
      const int64_t state = i / at.panels, panel = i % at.panels;
      from_panels(carried_ + state * at.plane, panel, at.stride, c.B, c.H, c.d_initial + state * c.B * c.H);
    }
  }

  static void add_share(const Worker &worker, const real *from, int64_t size, real *to) {
    const auto mine = worker.share(size);
    for (int64_t i = mine.first; i < mine.last; ++i) to[i] += from[i];
  }

  const Call &c;
  const Layout at;
  int64_t chunk_, ring_;
  int64_t starts_[Cell::packs + 1];
  operand *packed_, *narrow_, *tiles_;
  real *gradients_, *carried_, *temporaries_, *sums_, *means_, *mean_sums_, *tables_, *partial_;
};

}  // namespace gatewise
