// The functions that a cell's library exports; the Python side calls them by name.
#pragma once

#include <array>

#include "backward.h"
#if !defined(GATEWISE_BF16)
#include "generate.h"
#else
#define GATEWISE_STREAM(Cell)  // a stream reads each weight once a step: memory, not multiplying, is what it waits for
#endif

#define GATEWISE_EXPORT extern "C" __attribute__((visibility("default")))

// layout: lanes, planes kept, bytes of a number and of a call, gates with an input and with a
// recurrent product, whether products run on tiles, means over the units, diagonals, vectors, states, masks.
#define GATEWISE_KERNEL(Cell)                                                                                 \
  GATEWISE_EXPORT void gatewise_layout(int64_t *out) {                                                        \
    out[0] = gatewise::W, out[1] = Cell::kept, out[2] = sizeof(gatewise::real);                               \
    out[3] = sizeof(gatewise::Call), out[4] = Cell::inputs, out[5] = Cell::denses,                            \
    out[6] = gatewise::lanes_of_operand > gatewise::W, out[7] = Cell::means, out[8] = Cell::diags;            \
    out[9] = Cell::vectors, out[10] = Cell::states, out[11] = Cell::masks;                                    \
  }                                                                                                           \
  GATEWISE_EXPORT int gatewise_forward(const gatewise::Call *call) { return gatewise::ForwardPass<Cell>(*call).run(); } \
  GATEWISE_EXPORT int gatewise_backward(const gatewise::Call *call) {                                         \
    return gatewise::BackwardPass<Cell>(*call).run();                                                         \
  }                                                                                                           \
  GATEWISE_EXPORT int64_t gatewise_packed_size(const gatewise::Call *call) {                                  \
    int64_t starts[Cell::packs + 1];                                                                          \
    return gatewise::packed_size<Cell>(*call, starts);                                                        \
  }                                                                                                           \
  GATEWISE_EXPORT void gatewise_pack(const gatewise::Call *call, gatewise::operand *packed) {                  \
    int64_t starts[Cell::packs + 1];                                                                          \
    gatewise::packed_size<Cell>(*call, starts);                                                               \
    gatewise::parallel(1, [&](const gatewise::Worker &worker) {                                               \
      gatewise::pack_forward<Cell>(*call, starts, packed, worker);                                            \
    });                                                                                                       \
  }                                                                                                           \
  GATEWISE_EXPORT int gatewise_is_usable() { return gatewise::tiles_granted(); }                              \
  GATEWISE_STREAM(Cell)
