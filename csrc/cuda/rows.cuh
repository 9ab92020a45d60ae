// What the kernels with a block for each row share.
#pragma once
#include <algorithm>

#include "reduce.cuh"

namespace fastlt::gpu {

// Columns are counted in int, with room for a step beyond the last; rows and elements in int64.
constexpr int64_t MOST_COLUMNS = int64_t(1) << 30, MOST_ROWS = (int64_t(1) << 31) - 1;

// Calls with the first column of each pack that is this thread's.
template <int N, class Call>
SIMT_DEV void for_columns(int columns, const Call& call) {
  const int step = blockDim.x * N;
  for (int column = threadIdx.x * N; column < columns; column += step) call(column);
}

inline dim3 row_block(int64_t columns, int width) {
  const int64_t packs = (columns + width - 1) / width;
  return dim3(unsigned(std::clamp<int64_t>((packs + WARP - 1) / WARP * WARP, WARP, BLOCK)));
}
inline dim3 row_grid(int64_t rows) { return dim3(unsigned(rows)); }

// The gradient that comes from outside: one value or one for each row (absent: 1), times the 1/n of a mean, which may
// be known on the device only.
template <class R>
struct Upstream {
  const R* values;
  bool of_rows;
  R factor;
  const R* device_factor;
  SIMT_DEV R at(int64_t row) const {
    const R scale = device_factor ? factor * *device_factor : factor;
    return values ? values[of_rows ? row : 0] * scale : scale;
  }
};

}  // namespace fastlt::gpu
