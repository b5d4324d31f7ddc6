// A stack of layers that goes on step by step: weights packed once, states kept, nothing allocated in a step.
#pragma once

#include <algorithm>
#include <atomic>
#include <new>
#include <vector>

#include "forward.h"
#include "pace.h"

namespace gatewise {

// What a stream is opened with; the Python side fills the same fields in the same order. All that it points to must
// live as long as the stream, but for the matrices, which are packed.
struct Opening {
  int64_t layers;
  const Call *calls;        // (layers): B, I, H, the weights; the first with `table` if it reads tokens
  const real *embedding;    // (vocabulary, I): what a token stands for where there is no table, or null
  int64_t scores;           // of the head, V; 0: no head
  const real *head_weight;  // (V, H)
  const real *head_bias;    // (V), or null
};

enum StreamOutcome { in_use = 3, not_a_number = 4 };

template <class Cell> class Stream {
 public:
  // Sole use: two threads in one stream would spoil its states, so the second is turned away.
  class Use {
   public:
    explicit Use(Stream &stream) : busy_(stream.busy_), mine_(!busy_.exchange(true, std::memory_order_acquire)) {}
    ~Use() { if (mine_) busy_.store(false, std::memory_order_release); }
    explicit operator bool() const { return mine_; }

   private:
    std::atomic<bool> &busy_;
    const bool mine_;
  };

  // A new stream with zero states, or null where there is not enough memory.
  static Stream *open(const Opening &opening) noexcept {
    try {
      std::unique_ptr<Stream> stream(new Stream(opening));
      return stream->pack(opening) ? stream.release() : nullptr;
    } catch (const std::bad_alloc &) {
      return nullptr;
    }
  }

  // The states (states, layers, B, H).
  int read(real *to) {
    const Use use(*this);
    if (!use) return in_use;
    each_state([&](const Layer &layer, int64_t state, int64_t i) {
      const Call &c = layer.c;
      for (int64_t panel = 0; panel < layer.at.panels; ++panel)
        from_panels(layer.states(now_) + state * layer.at.plane, panel, layer.at.stride, c.B, c.H, to + i * c.B * c.H);
    });
    return done;
  }

  // From null: zero.
  int write(const real *from) {
    const Use use(*this);
    if (!use) return in_use;
    each_state([&](const Layer &layer, int64_t state, int64_t i) {
      const Call &c = layer.c;
      real *to = layer.states(now_) + state * layer.at.plane;
      if (!from) std::memset(to, 0, layer.at.panels * layer.at.stride * sizeof(real));
      for (int64_t panel = 0; from && panel < layer.at.panels; ++panel)
        to_panels(from + i * c.B * c.H, c.H, c.B, c.H, panel, layer.at.stride, to);
    });
    return done;
  }

  // One step of all layers, from x (B, I) or tokens (B); `output` is (B, V) with a head, (B, H) without.
  int step(const real *x, const int64_t *tokens, real *output) {
    const Use use(*this);
    if (!use) return in_use;
    if (tokens && !in_range(tokens, layers_[0].c.B)) return token_out_of_range;
    aim(tokens, scores_ ? nullptr : output);
    pace_.run(threads_, 1, [&](int threads) {
      parallel(threads, [&](const Worker &worker) {
        advance(worker, now_, x, tokens);
        if (scores_) score(worker, now_, output);
      });
    });
    pass(1);
    return done;
  }

  // The parts of a step, for a loop inside `parallel`: `aim`, then `advance` and `score` step by step with `parity`
  // now() and its opposite in turn, then `pass`.
  int64_t now() const { return now_; }
  int64_t scores() const { return scores_; }
  void set_threads(int count) { threads_ = count; }
  Pace &loop_pace() { return loop_pace_; }
  bool splits_units() const { return layers_[0].c.split_units; }
  void pass(int64_t steps) { now_ = (now_ + steps) & 1; }
  void aim(const int64_t *tokens, real *output) {
    layers_[0].c.tokens = tokens;
    layers_.back().c.output = output ? output : spare_;
  }

  bool in_range(const int64_t *tokens, int64_t count) const {
    return std::all_of(tokens, tokens + count, [&](int64_t t) { return t >= 0 && t < layers_[0].c.vocabulary; });
  }

  // A worker returns when its own part is done.
  void advance(const Worker &worker, int64_t parity, const real *x, const int64_t *tokens) const {
    const real *panels = place(worker, x, tokens);
    for (size_t i = 0; i < layers_.size(); ++i) {
      const Layer &layer = layers_[i];
      const Forward step = layer.step(parity, panels, worker);
      const Duty duty(layer.c, worker);
      for (int stage = 0; stage < Cell::forward_stages; ++stage) {
        if (stage > 0)
          duty.end_stage(step.means, Cell::forward_means, stage - 1, Cell::means, [&](int64_t row, int64_t last) {
            Cell::of_means(stage - 1, step.means, row, last);
          });
        else if (i > 0) duty.wait();
        const int width = Cell::forward_width[stage];
        to_and_fro(layer, worker, parity, (layer.at.panels + width - 1) / width, width,
                   [&](const Block &block) { Cell::forward(stage, step, block); });
      }
      panels = step.next;  // the first state is the output
    }
  }

  void score(const Worker &worker, int64_t parity, real *scores) const {
    const Layer &last = layers_.back();
    const int64_t H = last.c.H;
    Duty(last.c, worker).wait();
    to_and_fro(last, worker, parity, (panels_of(scores_) + 1) / 2, 2, [&](const Block &block) {
      const Part part{last.states(parity ^ 1), last.at.stride, head_ + block.group * 2 * H * W, H};
      Tile<2> sums;
      sums.multiply(&part, 1, block.row, block.rows);
      for (int64_t row = 0; row < block.rows; ++row) {
        for (int p = 0; p < 2; ++p) {
          const int64_t unit = (block.panel + p) * W, left = scores_ - unit;
          const vec bias = head_bias_ ? load_part(head_bias_ + unit, left) : vec{};
          store_part(scores + (block.row + row) * scores_ + unit, sums(row, p) + bias, left);
        }
      }
    });
  }

 private:
  struct Layer {
    explicit Layer(const Call &call) : c(call), at(c) {}

    real *states(int64_t parity) const { return history + parity * Cell::states * at.plane; }

    Forward step(int64_t parity, const real *panels, const Worker &worker) const {
      const Means of_this_step(c, Cell::means, means, mean_sums, worker.id);
      return {c, at, 0, states(parity), states(parity ^ 1), working, panels, packed, starts, false, of_this_step};
    }

    Call c;
    Layout at;
    int64_t starts[Cell::packs + 1];
    real *packed, *history, *working, *means, *mean_sums;
  };

  explicit Stream(const Opening &opening)
      : embedding_(opening.embedding), scores_(opening.scores), head_bias_(opening.head_bias) {
    layers_.reserve(opening.layers);
    for (int64_t i = 0; i < opening.layers; ++i) layers_.emplace_back(opening.calls[i]);
  }
  Stream(const Stream &) = delete;

  bool pack(const Opening &opening) {
    const Layer &first = layers_[0], &last = layers_.back();
    const int64_t groups = (panels_of(scores_) + 1) / 2;
    std::vector<int64_t> packed, history, working, means;
    for (Layer &layer : layers_) {
      packed.push_back(memory_.reserve(packed_size<Cell>(layer.c, layer.starts)));
      history.push_back(memory_.reserve(2 * Cell::states * layer.at.plane));
      working.push_back(memory_.reserve(Cell::working * layer.at.plane));
      means.push_back(memory_.reserve(Cell::means * layer.c.B));
      means.push_back(memory_.reserve(sums_size(layer.c)));
    }
    const int64_t head = memory_.reserve(groups * 2 * last.c.H * W), panels = memory_.reserve(first.at.input_plane),
                  spare = memory_.reserve(last.c.B * last.c.H);
    if (!memory_.open()) return false;
    Barrier barrier;
    for (size_t i = 0; i < layers_.size(); ++i) {
      Layer &layer = layers_[i];
      layer.packed = memory_.at(packed[i]);
      layer.history = memory_.at(history[i]);
      layer.working = memory_.at(working[i]);
      layer.means = memory_.at(means[2 * i]);
      layer.mean_sums = memory_.at(means[2 * i + 1]);
      std::memset(layer.mean_sums, 0, sums_size(layer.c) * sizeof(real));
      layer.c.output = memory_.at(spare);  // the layer above reads the state, not this
      layer.c.output_row = layer.c.H;
      layer.c.token_row = 1;
      pack_forward<Cell>(layer.c, layer.starts, layer.packed, Worker{0, 1, &barrier});
    }
    head_ = memory_.at(head);
    panels_ = memory_.at(panels);
    spare_ = memory_.at(spare);
    pack_head(opening.head_weight, groups, last.c.H);
    write(nullptr);
    return true;
  }

  static int64_t sums_size(const Call &c) { return c.threads * Means::size(c, Cell::means); }

  // [group][k][two panels][W], as a product of two columns reads it.
  void pack_head(const real *weight, int64_t groups, int64_t H) {
    for (int64_t group = 0; group < groups; ++group) {
      real *out = head_ + group * 2 * H * W;
      for (int64_t k = 0; k < H; ++k)
        for (int64_t unit = group * 2 * W; unit < (group + 1) * 2 * W; ++unit)
          *out++ = unit < scores_ ? weight[unit * H + k] : real(0);
    }
  }

  // The input as panels; of one row, they are the row itself.
  const real *place(const Worker &worker, const real *x, const int64_t *tokens) const {
    const Layer &first = layers_[0];
    const Call &c = first.c;
    if (c.table || Cell::inputs == 0) return nullptr;
    if (c.B == 1) return x ? x : embedding_ + *tokens * c.I;
    const auto mine = worker.share(first.at.input_panels);
    for (int64_t panel = mine.first; panel < mine.last; ++panel) {
      if (x) to_panels(x, c.I, c.B, c.I, panel, first.at.stride, panels_);
      for (int64_t row = 0; !x && row < c.B; ++row)
        to_panels(embedding_ + tokens[row] * c.I, 0, 1, c.I, panel, first.at.stride, panels_ + row * W);
    }
    worker.wait();
    return panels_;
  }

  // The groups in order in one step and in reverse in the next: of weights that are larger than the cache, what was
  // read last is still there.
  template <class F> static void to_and_fro(const Layer &layer, const Worker &worker, int64_t parity, int64_t groups,
                                            int width, F &&work) {
    const auto mine = layer.c.split_units ? worker.share(groups) : Worker::Share{0, groups};
    Duty(layer.c, worker).each_block(groups, width, [&](Block block) {
      if (parity) block.group = mine.first + mine.last - 1 - block.group;
      block.panel = block.group * width;
      work(block);
    });
  }

  template <class F> void each_state(F &&work) const {
    const int64_t count = layers_.size();
    for (int64_t state = 0; state < Cell::states; ++state)
      for (int64_t i = 0; i < count; ++i) work(layers_[i], state, state * count + i);
  }

  std::vector<Layer> layers_;
  const real *embedding_;
  int64_t scores_;
  const real *head_bias_;
  Workspace memory_;
  real *head_ = nullptr, *panels_ = nullptr, *spare_ = nullptr;
  int64_t now_ = 0;  // which of the two states is the present one
  int threads_ = 1;
  Pace pace_, loop_pace_;
  std::atomic<bool> busy_{false};
};

}  // namespace gatewise
