// lsep: softplus(LSE over negatives of x + LSE over positives of -x) for each row; unknown entries are left out.
#pragma once
#include "rows.cuh"

namespace fastlt::gpu {

template <class R>
struct PairSums {
  LogSum<R> negative, positive;  // of x, of -x
  static SIMT_DEV PairSums none() { return {LogSum<R>::none(), LogSum<R>::none()}; }
  SIMT_DEV void merge(const PairSums& other) { negative.merge(other.negative), positive.merge(other.positive); }
};

template <class T>
struct LsepInput {
  const T* logits;
  const int8_t* targets;
  int64_t rows;
  int classes;
};

// Writes the loss of each row, or the gradient. A row without a pair has sums of -inf: loss and gradient come out as 0.
template <class T, int N, bool GRADIENT>
SIMT_KERNEL(BLOCK) lsep_rows(LsepInput<T> in, Upstream<Wide<T>> upstream, Wide<T>* loss, T* grad_logits) {
  using R = Wide<T>;
  const int64_t row = blockIdx.x, start = row * in.classes;
  PairSums<R> sums = PairSums<R>::none();
  for_columns<N>(in.classes, [&](int column) {
    const Pack<R, N> x = load_wide<N>(in.logits + start + column);
    const Pack<int8_t, N> target = load<N>(in.targets + start + column);
    Pack<R, N> negative, positive;
    SIMT_UNROLL
    for (int k = 0; k < N; ++k) {
      negative[k] = pick(target[k] == 0, x[k], -INF<R>);
      positive[k] = pick(target[k] > 0, -x[k], -INF<R>);
    }
    sums.negative.add(negative);
    sums.positive.add(positive);
  });
  sums = block_reduce(sums);
  const R above = sums.negative.value(), below = sums.positive.value();
  const Sigmoid<R> pair = sigmoid_softplus(above + below);
  if constexpr (!GRADIENT) {
    if (threadIdx.x == 0) loss[row] = pair.softplus;
    return;
  }
  const R scale = pair.q * upstream.at(row);
  for_columns<N>(in.classes, [&](int column) {
    const Pack<R, N> x = load_wide<N>(in.logits + start + column);
    const Pack<int8_t, N> target = load<N>(in.targets + start + column);
    Pack<R, N> gradient;
    SIMT_UNROLL
    for (int k = 0; k < N; ++k) {
      const bool positive = target[k] > 0;
      const R share = exponential(pick(positive, -x[k] - below, x[k] - above));
      gradient[k] = keep(target[k] >= 0, pick(positive, -scale, scale) * share);
    }
    store(grad_logits + start + column, gradient);
  });
}

template <class T>
void launch_lsep(const LsepInput<T>& in, const Upstream<Wide<T>>& upstream, Wide<T>* loss, T* grad_logits,
                 cudaStream_t stream) {
  const auto launch = [&](auto width) {
    constexpr int N = width.value;
    const dim3 grid = row_grid(in.rows), block = row_block(in.classes, N);
    if (grad_logits) SIMT_LAUNCH((lsep_rows<T, N, true>), grid, block, stream, in, upstream, loss, grad_logits);
    else SIMT_LAUNCH((lsep_rows<T, N, false>), grid, block, stream, in, upstream, loss, grad_logits);
  };
  with_width<T>(in.classes, launch, in.logits, in.targets, grad_logits);
}

}  // namespace fastlt::gpu
