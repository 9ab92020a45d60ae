// Sums in a fixed order, without atomics.
#pragma once
#include "rows.cuh"

namespace fastlt::gpu {

enum Finish { SCALED, RECIPROCAL };

// One block: out = the sum of all rows times factor, or 1 / max(the sum, 1).
template <class R, Finish FINISH>
SIMT_KERNEL(BLOCK) sum_rows(const R* rows, int64_t count, R factor, const R* device_factor, R* out) {
  Sum<R> sum = Sum<R>::none();
  for (int64_t row = threadIdx.x; row < count; row += blockDim.x) sum.total += rows[row];
  sum = block_reduce(sum);
  if (threadIdx.x != 0) return;
  if constexpr (FINISH == RECIPROCAL) *out = R(1) / larger(sum.total, R(1));
  else *out = sum.total * (device_factor ? factor * *device_factor : factor);
}

// out [columns] = the sum over the first axis of partial [walkers, columns]; columns is a multiple of the width.
template <class R>
SIMT_KERNEL(BLOCK) sum_partials(const R* partial, int64_t walkers, int64_t columns, R* out) {
  constexpr int N = VECTOR<R>;
  const int64_t column = (int64_t(blockIdx.x) * blockDim.x + threadIdx.x) * N;
  if (column >= columns) return;
  Pack<R, N> sum = load<N>(partial + column);
  for (int64_t walker = 1; walker < walkers; ++walker) {
    const Pack<R, N> more = load<N>(partial + walker * columns + column);
    SIMT_UNROLL
    for (int k = 0; k < N; ++k) sum[k] += more[k];
  }
  store(out + column, sum);
}

template <class R>
void launch_sum_rows(const R* rows, int64_t count, double factor, const R* device_factor, R* out, cudaStream_t stream) {
  SIMT_LAUNCH((sum_rows<R, SCALED>), dim3(1), row_block(count, 1), stream, rows, count, R(factor), device_factor, out);
}

template <class R>
void launch_reciprocal_of_sum(const R* rows, int64_t count, R* out, cudaStream_t stream) {
  SIMT_LAUNCH((sum_rows<R, RECIPROCAL>), dim3(1), row_block(count, 1), stream, rows, count, R(1),
              (const R*)nullptr, out);
}

template <class R>
void launch_sum_partials(const R* partial, int64_t walkers, int64_t columns, R* out, cudaStream_t stream) {
  constexpr int THREADS = 128;
  const int64_t packs = columns / VECTOR<R>;
  SIMT_LAUNCH((sum_partials<R>), dim3(unsigned((packs + THREADS - 1) / THREADS)), dim3(THREADS), stream, partial,
              walkers, columns, out);
}

}  // namespace fastlt::gpu
