// Writing on from some tokens: step, scores, choice, and the chosen token is the next step's input. And the functions
// by which the Python side reaches a stream.
#pragma once

#include "sample.h"
#include "stream.h"

namespace gatewise {

// What is to be written; the Python side fills the same fields in the same order.
struct Writing {
  const int64_t *given;  // (given_count): to be read first, one at least
  int64_t given_count;
  const double *uniforms;  // (count), in [0, 1)
  int64_t count;           // tokens to write; 0: only read
  int64_t *tokens;         // (count)
  int64_t written;         // how many there were before an outcome other than `done`
  int64_t threads;
  Sampling sampling;
};

template <class Cell> class Writer {
 public:
  Writer(Stream<Cell> &stream, Writing &writing)
      : stream_(stream), w_(writing), sampler_(stream.scores()), scores_(stream.scores()) {}

  // The last token that is written has not been read: it is the first to be given next.
  int run() {
    const typename Stream<Cell>::Use use(stream_);
    w_.written = 0;
    if (!use) return in_use;
    if (!stream_.in_range(w_.given, w_.given_count)) return token_out_of_range;
    stream_.aim(&token_, nullptr);
    const int most = stream_.splits_units() ? static_cast<int>(w_.threads) : 1;
    stream_.loop_pace().run(most, steps_, [&](int threads) {
      parallel(threads, [&](const Worker &worker) { work(worker); });
    });
    stream_.pass(taken_);
    return astray_ ? static_cast<int>(not_a_number) : static_cast<int>(done);
  }

 private:
  void work(const Worker &worker) {
    const bool first = worker.id == 0;  // the worker that chooses
    for (int64_t i = 0; i < steps_; ++i) {
      const int64_t parity = (stream_.now() + i) & 1;
      if (i < w_.given_count) {
        worker.wait();  // until all have read the token before
        if (first) token_ = w_.given[i];
      }
      worker.wait();
      if (astray_) return;
      stream_.advance(worker, parity, nullptr, &token_);
      if (first) ++taken_;
      if (i < w_.given_count - 1 || w_.count == 0) continue;
      stream_.score(worker, parity, scores_.data());
      worker.wait();
      if (first) choose();
    }
  }

  void choose() {
    token_ = sampler_.choose(w_.sampling, scores_.data(), w_.uniforms[w_.written]);
    astray_ = token_ < 0;
    if (!astray_) w_.tokens[w_.written++] = token_;
  }

  Stream<Cell> &stream_;
  Writing &w_;
  Sampler sampler_;
  std::vector<real> scores_;
  const int64_t steps_ = w_.given_count + std::max<int64_t>(w_.count - 1, 0);
  int64_t token_ = 0, taken_ = 0;
  bool astray_ = false;
};

}  // namespace gatewise

// stream_layout: bytes of an opening and of a writing.
#define GATEWISE_STREAM(Cell)                                                                                        \
  GATEWISE_EXPORT void gatewise_stream_layout(int64_t *out) {                                                        \
    out[0] = sizeof(gatewise::Opening), out[1] = sizeof(gatewise::Writing);                                          \
  }                                                                                                                  \
  GATEWISE_EXPORT void *gatewise_stream_open(const gatewise::Opening *opening) {                                     \
    return gatewise::Stream<Cell>::open(*opening);                                                                   \
  }                                                                                                                  \
  GATEWISE_EXPORT void gatewise_stream_close(void *stream) { delete static_cast<gatewise::Stream<Cell> *>(stream); } \
  GATEWISE_EXPORT int gatewise_stream_step(void *stream, const gatewise::real *x, gatewise::real *output) {           \
    return static_cast<gatewise::Stream<Cell> *>(stream)->step(x, nullptr, output);                                  \
  }                                                                                                                  \
  GATEWISE_EXPORT int gatewise_stream_tokens(void *stream, const int64_t *tokens, gatewise::real *output) {          \
    return static_cast<gatewise::Stream<Cell> *>(stream)->step(nullptr, tokens, output);                             \
  }                                                                                                                  \
  GATEWISE_EXPORT void gatewise_stream_threads(void *stream, int threads) {                                          \
    static_cast<gatewise::Stream<Cell> *>(stream)->set_threads(threads);                                             \
  }                                                                                                                  \
  GATEWISE_EXPORT int gatewise_stream_read(void *stream, gatewise::real *states) {                                   \
    return static_cast<gatewise::Stream<Cell> *>(stream)->read(states);                                              \
  }                                                                                                                  \
  GATEWISE_EXPORT int gatewise_stream_write(void *stream, const gatewise::real *states) {                            \
    return static_cast<gatewise::Stream<Cell> *>(stream)->write(states);                                             \
  }                                                                                                                  \
  GATEWISE_EXPORT int gatewise_stream_generate(void *stream, gatewise::Writing *writing) {                           \
    try {                                                                                                            \
      return gatewise::Writer<Cell>(*static_cast<gatewise::Stream<Cell> *>(stream), *writing).run();                 \
    } catch (const std::bad_alloc &) {                                                                               \
      return gatewise::no_memory;                                                                                    \
    }                                                                                                                \
  }                                                                                                                  \
  GATEWISE_EXPORT int64_t gatewise_choose(const gatewise::Sampling *sampling, gatewise::real *scores, int64_t count, \
                                          double uniform) {                                                          \
    return gatewise::Sampler(count).choose(*sampling, scores, uniform);                                              \
  }
