// How many threads a repeated piece of work gets.
#pragma once

#include <algorithm>
#include <chrono>
#include <limits>

namespace gatewise {

// All threads where they were quicker of late than one, else one. A thread whose core is busy with another program makes
// the others wait for milliseconds, a thousand times as long as a step takes.
class Pace {
 public:
  // Calls work(threads), which does so many `steps` of like work.
  template <class F> void run(int threads, int64_t steps, F &&work) {
    if (threads <= 1) return work(1);
    const bool together = alone_left_ <= 0;
    const auto start = std::chrono::steady_clock::now();
    work(together ? threads : 1);
    const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
    note(together, passed.count() / static_cast<double>(steps), steps);
  }

 private:
  static constexpr int64_t shortest = 32, longest = 1 << 13;

  void note(bool together, double time, int64_t steps) {
    if (!together) {
      alone_left_ -= steps;
      alone_ = std::min(time, alone_ * 1.02);  // the best of late
      return;
    }
    slower_ = time > alone_ ? slower_ + 1 : 0;
    if (slower_ == 0) pause_ = shortest;
    if (slower_ < 8 && time < 16 * alone_) return;  // the first steps together find caches cold and threads asleep
    slower_ = 0;
    alone_left_ = pause_;
    pause_ = std::min(2 * pause_, longest);
  }

  double alone_ = std::numeric_limits<double>::infinity();  // seconds a step
  int64_t alone_left_ = 4, pause_ = shortest;               // steps
  int slower_ = 0;
};

}  // namespace gatewise
