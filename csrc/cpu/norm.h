// What the kernels of one instruction set offer to norm.cpp. `columns` values lie side by side in a row, and each column
// belongs to one channel; "wide" is float, or double for double values.
#pragma once
#include <stdint.h>

#include "kernels.h"

namespace fastlt {

constexpr int64_t NORM_COLUMNS = 128;  // full rows hold a multiple of it: whole vectors of any instruction set

// Of each column, wide.
struct NormColumns {
  const void *mean, *scale, *bias;     // what the forward pass makes of x: (x - mean) scale + bias
  const void *of_centred, *of_ones;    // the gradient of x: scale grad + of_centred (x - mean) + of_ones
};
// Values that lie alike, row by row.
struct NormRows {
  const void *x, *residual;  // residual: added before the ReLU; null
  void* y;                   // null in the backward pass if it is to be made anew, of x and the residual
  const void* grad;          // of y
  void *grad_masked, *grad_x;  // grad_masked: grad where y > 0, which is the residual's gradient; null without one
  NormColumns columns;
};

struct NormKernels {
  // mean and sum of squared differences from it of each column: `rows` rows of `columns` values, `stride` apart
  void (*moments[STORAGES])(const void* x, int64_t rows, int64_t columns, int64_t stride, void* mean, void* squares);
  // values [begin, end), of which begin stands in the first column
  void (*forward[STORAGES])(const NormRows&, int64_t begin, int64_t end, int64_t stride);
  // sums over rows of each column, of grad where y > 0 and of that times (x - mean); first value: `begin`
  void (*sums[STORAGES])(const NormRows&, int64_t begin, int64_t rows, int64_t columns, int64_t stride, void* grads,
                         void* products);
  void (*backward[STORAGES])(const NormRows&, int64_t begin, int64_t end, int64_t stride);
};

extern const NormKernels norm_kernels_avx512, norm_kernels_avx2, norm_kernels_baseline;

}  // namespace fastlt
