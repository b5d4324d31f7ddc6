"""A tiny program that tells whether a compiler works, and a process of its own to load it in.

Run as a script with the path of a library, and the paths of others to load before it: prints its answer, and which
OpenMP libraries came with it, as JSON. A library that was compiled for another CPU, or that brings a second OpenMP
which cannot live beside the first, ends that process and not ours. It imports the standard library alone, so that it
starts at once.
"""

from __future__ import annotations

import ctypes
import json
import re
import sys
from pathlib import Path

SOURCE = r"""
#include <cmath>
#include <functional>
#include <thread>
#include <vector>

#if defined(GATEWISE_POOL)
template <class F> void on_two_threads(F work) {
  std::thread other([&work] { work(1); });
  work(0);
  other.join();
}
#else
#include <omp.h>
template <class F> void on_two_threads(F work) {
#pragma omp parallel num_threads(2)
  work(omp_get_thread_num());
}
#endif

// Two threads fill a half each of 2, 3, 4, ... as square roots of squares; the sum.
extern "C" __attribute__((visibility("default"))) double gatewise_probe(int count) {
  std::vector<double> values(count, 0.0);
  const std::function<void(int)> fill = [&](int id) {
    const int first = count / 2 * id, last = id ? count : count / 2;
    for (int i = first; i < last; ++i) values[i] = std::sqrt(double(i) * double(i) + 4.0 * i + 4.0);
  };
  on_two_threads([&](int id) { fill(id); });
  double sum = 0.0;
  for (const double value : values) sum += value;
  return sum;
}
"""

COUNT = 1001
ANSWER = sum(i + 2 for i in range(COUNT))

_OPENMP = re.compile(r"/lib(?:gomp|omp|iomp5)[-.][^/]*$")


def openmp_libraries() -> frozenset[str] | None:
    """The paths of the OpenMP libraries in this process; None where the system does not tell."""
    images = _loaded_images()
    return None if images is None else frozenset(image for image in images if _OPENMP.search(image))


def _loaded_images() -> list[str] | None:
    if sys.platform == "darwin":
        loader = ctypes.CDLL(None)
        loader._dyld_get_image_name.restype = ctypes.c_char_p
        return [(loader._dyld_get_image_name(i) or b"").decode() for i in range(loader._dyld_image_count())]
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    return [line.split(maxsplit=5)[-1] for line in lines]  # a path, which may have spaces, is the sixth word


def _load(path: str, before: list[str]) -> dict[str, object]:
    for library in before:
        ctypes.CDLL(library)
    had = openmp_libraries()
    function = ctypes.CDLL(path).gatewise_probe
    function.argtypes, function.restype = [ctypes.c_int], ctypes.c_double
    answer, has = function(COUNT), openmp_libraries()
    return {"answer": answer, "added": None if has is None or had is None else sorted(has - had)}


if __name__ == "__main__":
    print(json.dumps(_load(sys.argv[1], sys.argv[2:])))
