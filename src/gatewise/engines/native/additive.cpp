// The sums of additive attention. Of keys k (B, A, T) and a query q (B, A), given as K = e^{2k} and Q = e^{2q}:
//
//   r_aj = (1 - tanh(k_aj + q_a)) / 2 = 1 / (1 + K_aj Q_a)
//
// Nothing of the size of r is ever stored: every pass makes it anew from K, which costs less than to read it.
// The keys of one unit lie side by side in time, so that no sum runs across a vector but those over time themselves.
// Of values h (B, T, S) and weights α (B, T) it makes the context sum_j α_j h_j, and the products h_j · d.
#include "threads.h"
#include "vector.h"

namespace gatewise {

// In the order of additive.py's fields, eight bytes each.
struct Call {
  int64_t B, T, A, H, S, threads;
  int64_t key_row;             // numbers from one unit's keys to the next: T, rounded up to whole vectors
  int64_t d_time, d_row;       // numbers from one query's derivatives to the next, and from one row's
  const real *keys;            // (B, A, key_row): K
  const real *queries;         // (B, A), or for all times (B, A, H): Q
  const real *score;           // (A): v
  real *sums;                  // (B, T): sum_a v_a r_aj
  const real *d_sums;          // (B, T) or (H, B, T): d
  real *d_queries, *d_score;   // (B, A): sum_j d_j (r - r^2)_aj and sum_j d_j r_aj
  real *d_keys;                // (B, A, key_row): sum over the times of d_j (r - r^2)_aj
  const real *values;          // (B, T, S): h
  const real *weights;         // (B, T): α
  real *context;               // (B, S): sum_j α_j h_j
  const real *d_context;       // (B, S): d
  real *products;              // (B, T): h_j · d
};

// Larger numbers are as good as infinite, whose reciprocal Newton's step would make a NaN.
constexpr real most = is_float ? real(0x1p125) : real(0x1p1000);

GATEWISE_INLINE vec rest(vec key, real query) { return reciprocal(at_most(key * query + real(1), most)); }

GATEWISE_INLINE real total(vec v) {
  alignas(64) real lanes[W];
  store(lanes, v);
  for (int half = W / 2; half; half /= 2) {
    for (int lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
  }
  return lanes[0];
}

void by_unit(const Call &c, const Worker &worker) {
  const auto rows = worker.share(c.B);
  for (int64_t b = rows.first; b < rows.last; ++b) {
    real *out = c.sums + b * c.T;
    for (int64_t a = 0; a < c.A; ++a) {
      const real *keys = c.keys + (b * c.A + a) * c.key_row;
      const real query = c.queries[b * c.A + a], score = c.score[a];
      for (int64_t j = 0; j < c.T; j += W) {
        const vec before = a ? load_part(out + j, c.T - j) : vec{};
        store_part(out + j, before + rest(load(keys + j), query) * score, c.T - j);
      }
    }
  }
}

void by_time(const Call &c, const Worker &worker) {
  const auto rows = worker.share(c.B);
  for (int64_t b = rows.first; b < rows.last; ++b) {
    const real *d = c.d_sums + b * c.d_row;
    for (int64_t a = 0; a < c.A; ++a) {
      const real *keys = c.keys + (b * c.A + a) * c.key_row;
      const real query = c.queries[b * c.A + a];
      vec of_query{}, of_score{};
      for (int64_t j = 0; j < c.T; j += W) {
        const vec r = rest(load(keys + j), query), dr = load_part(d + j, c.T - j) * r;
        of_score += dr;
        of_query += dr - dr * r;
      }
      c.d_queries[b * c.A + a] = total(of_query);
      c.d_score[b * c.A + a] = total(of_score);
    }
  }
}

// Of `width` vectors of one row's keys: they and their sums stay in registers while all queries pass by.
template <int width> void by_query_of(const Call &c, int64_t b, int64_t j) {
  for (int64_t a = 0; a < c.A; ++a) {
    const int64_t place = (b * c.A + a) * c.key_row + j;
    const real *queries = c.queries + (b * c.A + a) * c.H;
    vec keys[width], sums[width];
    for (int i = 0; i < width; ++i) keys[i] = load(c.keys + place + i * W), sums[i] = vec{};
    const real *d = c.d_sums + b * c.d_row + j;
    for (int64_t t = 0; t < c.H; ++t, d += c.d_time) {
      for (int i = 0; i < width; ++i) {
        const vec r = rest(keys[i], queries[t]), dr = load_part(d + i * W, c.T - j - i * W) * r;
        sums[i] += dr - dr * r;
      }
    }
    for (int i = 0; i < width; ++i) store(c.d_keys + place + i * W, sums[i]);
  }
}

void by_query(const Call &c, const Worker &worker) {
  constexpr int width = 4;
  const auto rows = worker.share(c.B);
  for (int64_t b = rows.first; b < rows.last; ++b) {
    int64_t j = 0;
    for (; j + width * W <= c.key_row; j += width * W) by_query_of<width>(c, b, j);
    for (; j < c.key_row; j += W) by_query_of<1>(c, b, j);
  }
}

// `width` vectors of the context from unit s on.
template <int width> void context_of(const Call &c, int64_t b, int64_t s) {
  const real *values = c.values + b * c.T * c.S + s, *weights = c.weights + b * c.T;
  vec sums[width] = {};
  for (int64_t j = 0; j < c.T; ++j, values += c.S) {
    for (int i = 0; i < width; ++i) sums[i] += load_part(values + i * W, c.S - s - i * W) * weights[j];
  }
  for (int i = 0; i < width; ++i) store_part(c.context + b * c.S + s + i * W, sums[i], c.S - s - i * W);
}

void context(const Call &c, const Worker &worker) {
  constexpr int width = 8;
  const auto rows = worker.share(c.B);
  for (int64_t b = rows.first; b < rows.last; ++b) {
    int64_t s = 0;
    for (; s + width * W <= c.S; s += width * W) context_of<width>(c, b, s);
    for (; s + 2 * W <= c.S; s += 2 * W) context_of<2>(c, b, s);
    for (; s < c.S; s += W) context_of<1>(c, b, s);
  }
}

void products(const Call &c, const Worker &worker) {
  const auto rows = worker.share(c.B);
  for (int64_t b = rows.first; b < rows.last; ++b) {
    const real *values = c.values + b * c.T * c.S, *d = c.d_context + b * c.S;
    for (int64_t j = 0; j < c.T; ++j, values += c.S) {
      vec even{}, odd{};
      int64_t s = 0;
      for (; s + 2 * W <= c.S; s += 2 * W) {
        even += load_anywhere(values + s) * load_anywhere(d + s);
        odd += load_anywhere(values + s + W) * load_anywhere(d + s + W);
      }
      for (; s < c.S; s += W) even += load_part(values + s, c.S - s) * load_part(d + s, c.S - s);
      c.products[b * c.T + j] = total(even + odd);
    }
  }
}

}  // namespace gatewise

#define GATEWISE_EXPORT extern "C" __attribute__((visibility("default")))
#define GATEWISE_PASS(name)                                                                                  \
  GATEWISE_EXPORT void gatewise_additive_##name(const gatewise::Call *call) {                                \
    gatewise::parallel(static_cast<int>(call->threads),                                                      \
                       [call](const gatewise::Worker &worker) { gatewise::name(*call, worker); });           \
  }

GATEWISE_EXPORT int64_t gatewise_additive_lanes() { return gatewise::W; }
GATEWISE_EXPORT int64_t gatewise_additive_size() { return sizeof(gatewise::Call); }
GATEWISE_PASS(by_unit)
GATEWISE_PASS(by_time)
GATEWISE_PASS(by_query)
GATEWISE_PASS(context)
GATEWISE_PASS(products)
