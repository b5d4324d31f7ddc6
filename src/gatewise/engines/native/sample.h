// Choosing the next token, in the very arithmetic of tasks/sampling.py: the same scores and the same uniform number give
// the same token.
#pragma once

#include <algorithm>
#include <numeric>
#include <vector>

#include "vector.h"

namespace gatewise {

// How a token is chosen; the Python side fills the same fields in the same order.
struct Sampling {
  double temperature, top_p;
  int64_t top_k;   // 0: all
  int64_t greedy;  // the likeliest
  int64_t never;   // a token that is not chosen, or -1
};

class Sampler {
 public:
  explicit Sampler(int64_t count) : count_(count), weights_(count), order_(count) {}

  // A token, or -1 where a score is not a number, or all weigh nothing. `uniform` lies in [0, 1).
  int64_t choose(const Sampling &how, real *scores, double uniform) {
    if (how.never >= 0) scores[how.never] = -std::numeric_limits<real>::infinity();
    int64_t likeliest = 0;
    for (int64_t i = 0; i < count_; ++i) {
      if (scores[i] != scores[i]) return -1;
      if (scores[i] > scores[likeliest]) likeliest = i;
    }
    if (how.greedy) return likeliest;
    const double top = scores[likeliest];
    if (std::isinf(top)) return -1;
    for (int64_t i = 0; i < count_; ++i) weights_[i] = std::exp((scores[i] - top) / how.temperature);
    const int64_t kept = how.top_k > 0 ? std::min(how.top_k, count_) : count_;
    if (kept < count_ || how.top_p < 1) {
      std::iota(order_.begin(), order_.end(), 0);
      if (kept < count_) keep_likeliest(kept, scores);
      if (how.top_p < 1) keep_nucleus(kept, how.top_p, scores);
    }
    return inverse(uniform);
  }

 private:
  // Of equal scores the earlier token comes first.
  static auto likelier(const real *scores) {
    return [scores](int64_t a, int64_t b) { return scores[a] > scores[b] || (scores[a] == scores[b] && a < b); };
  }

  void keep_likeliest(int64_t kept, const real *scores) {
    std::nth_element(order_.begin(), order_.begin() + kept, order_.end(), likelier(scores));
    for (int64_t i = kept; i < count_; ++i) weights_[order_[i]] = 0;
  }

  // The likeliest tokens, one after the other, until they have the share `top_p` of the weight.
  void keep_nucleus(int64_t kept, double top_p, const real *scores) {
    const auto later = [before = likelier(scores)](int64_t a, int64_t b) { return before(b, a); };
    const double enough = top_p * total();
    auto end = order_.begin() + kept;
    std::make_heap(order_.begin(), end, later);
    for (double sum = 0; sum < enough && end != order_.begin(); sum += weights_[*end]) {
      std::pop_heap(order_.begin(), end, later);
      --end;
    }
    for (auto i = order_.begin(); i != end; ++i) weights_[*i] = 0;
  }

  double total() const {
    double sum = 0;
    for (int64_t i = 0; i < count_; ++i) sum += weights_[i];
    return sum;
  }

  // The first token at which the weights so far exceed the share `uniform` of all.
  int64_t inverse(double uniform) const {
    const double wanted = uniform * total();
    double sum = 0;
    int64_t last = 0;
    for (int64_t i = 0; i < count_; ++i) {
      sum += weights_[i];
      if (weights_[i] > 0) last = i;
      if (sum > wanted) return i;
    }
    return last;  // the product was rounded up to the total
  }

  int64_t count_;
  std::vector<double> weights_;
  std::vector<int64_t> order_;
};

}  // namespace gatewise
