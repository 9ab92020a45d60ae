// balanced_softmax: cross-entropy of logits + log prior. dive (DISTIL): (1 - alpha) of that and alpha temperature^2
// KL(t || s) beside it, t = softmax(power teacher / temperature), s = softmax(x / temperature).
#pragma once
#include "rows.cuh"

namespace fastlt::gpu {

template <class T>
struct SoftmaxInput {
  const T *logits, *teacher;  // teacher: dive only
  const int64_t* labels;
  const Wide<T>* log_prior;
  Wide<T> temperature, power, alpha;
  int64_t rows;
  int classes;
};

template <class R, bool DISTIL>
struct SoftmaxSums {
  LogSum<R> shifted;
  static SIMT_DEV SoftmaxSums none() { return {LogSum<R>::none()}; }
  SIMT_DEV void merge(const SoftmaxSums& other) { shifted.merge(other.shifted); }
};
template <class R>
struct SoftmaxSums<R, true> {
  LogSum<R> shifted, student, teacher;
  static SIMT_DEV SoftmaxSums none() { return {LogSum<R>::none(), LogSum<R>::none(), LogSum<R>::none()}; }
  SIMT_DEV void merge(const SoftmaxSums& other) {
    shifted.merge(other.shifted), student.merge(other.student), teacher.merge(other.teacher);
  }
};

// N columns of a row: x + log prior, x / temperature, power teacher / temperature.
template <class T, int N, bool DISTIL>
struct SoftmaxPacks {
  using R = Wide<T>;
  Pack<R, N> shifted, student, teacher;
  SIMT_DEV SoftmaxPacks(const SoftmaxInput<T>& in, int64_t start, int column) {
    const Pack<R, N> x = load_wide<N>(in.logits + start + column), prior = load<N>(in.log_prior + column);
    SIMT_UNROLL
    for (int k = 0; k < N; ++k) shifted[k] = x[k] + prior[k];
    if constexpr (DISTIL) {
      const Pack<R, N> t = load_wide<N>(in.teacher + start + column);
      SIMT_UNROLL
      for (int k = 0; k < N; ++k) student[k] = x[k] / in.temperature, teacher[k] = in.power * t[k] / in.temperature;
    }
  }
};

template <class T, int N, bool DISTIL>
SIMT_DEV SoftmaxSums<Wide<T>, DISTIL> softmax_sums(const SoftmaxInput<T>& in, int64_t start) {
  auto sums = SoftmaxSums<Wide<T>, DISTIL>::none();
  for_columns<N>(in.classes, [&](int column) {
    const SoftmaxPacks<T, N, DISTIL> packs(in, start, column);
    sums.shifted.add(packs.shifted);
    if constexpr (DISTIL) sums.student.add(packs.student), sums.teacher.add(packs.teacher);
  });
  return block_reduce(sums);
}

// log of a probability; the largest value is subtracted first, so that digits survive.
template <class R>
struct LogSoftmax {
  R top, log_sum;
  SIMT_DEV explicit LogSoftmax(const LogSum<R>& s) : top(s.top), log_sum(logarithm(s.sum)) {}
  SIMT_DEV R operator()(R x) const { return (x - top) - log_sum; }
};

// KL(t || s) of a row, in every thread.
template <class T, int N>
SIMT_DEV Wide<T> divergence(const SoftmaxInput<T>& in, int64_t start, const SoftmaxSums<Wide<T>, true>& sums) {
  using R = Wide<T>;
  const LogSoftmax<R> log_s(sums.student), log_t(sums.teacher);
  Sum<R> sum = Sum<R>::none();
  for_columns<N>(in.classes, [&](int column) {
    const SoftmaxPacks<T, N, true> packs(in, start, column);
    SIMT_UNROLL
    for (int k = 0; k < N; ++k) {
      const R log = log_t(packs.teacher[k]), t = exponential(log);
      sum.total += keep(t != R(0), t * (log - log_s(packs.student[k])));
    }
  });
  return block_reduce(sum).total;
}

template <class T, int N, bool DISTIL>
SIMT_KERNEL(BLOCK, 2) softmax_losses(SoftmaxInput<T> in, Wide<T>* loss) {
  using R = Wide<T>;
  const int64_t row = blockIdx.x, start = row * in.classes, label = in.labels[row];
  const SoftmaxSums<R, DISTIL> sums = softmax_sums<T, N, DISTIL>(in, start);
  R kl = R(0);
  if constexpr (DISTIL) kl = divergence<T, N>(in, start, sums);
  if (threadIdx.x != 0) return;
  R result = NOT_A_NUMBER<R>;
  if (label >= 0 && label < in.classes) {
    const R at_label = static_cast<R>(in.logits[start + label]) + in.log_prior[label];
    result = sums.shifted.above(at_label);
    if constexpr (DISTIL) result = (R(1) - in.alpha) * result + in.alpha * in.temperature * in.temperature * kl;
  }
  loss[row] = result;
}

template <class T, int N, bool DISTIL>
SIMT_KERNEL(BLOCK, 2) softmax_gradients(SoftmaxInput<T> in, Upstream<Wide<T>> upstream, T* grad_logits) {
  using R = Wide<T>;
  const int64_t row = blockIdx.x, start = row * in.classes, label = in.labels[row];
  const SoftmaxSums<R, DISTIL> sums = softmax_sums<T, N, DISTIL>(in, start);
  const R scale = label >= 0 && label < in.classes ? upstream.at(row) : NOT_A_NUMBER<R>;
  const LogSoftmax<R> log_p(sums.shifted);
  for_columns<N>(in.classes, [&](int column) {
    const SoftmaxPacks<T, N, DISTIL> packs(in, start, column);
    Pack<R, N> gradient;
    SIMT_UNROLL
    for (int k = 0; k < N; ++k) {
      R g = exponential(log_p(packs.shifted[k])) - keep(column + k == label, R(1));
      if constexpr (DISTIL) {
        const R s = exponential(LogSoftmax<R>(sums.student)(packs.student[k]));
        const R t = exponential(LogSoftmax<R>(sums.teacher)(packs.teacher[k]));
        g = (R(1) - in.alpha) * g + in.alpha * in.temperature * (s - t);
      }
      gradient[k] = g * scale;
    }
    store(grad_logits + start + column, gradient);
  });
}

// Losses of the rows, or their gradient where grad_logits is there; distillation where there is a teacher.
template <class T>
void launch_softmax(const SoftmaxInput<T>& in, const Upstream<Wide<T>>& upstream, Wide<T>* loss, T* grad_logits,
                    cudaStream_t stream) {
  const auto launch = [&](auto width, auto distil) {
    constexpr int N = width.value;
    const dim3 grid = row_grid(in.rows), block = row_block(in.classes, N);
    if (grad_logits)
      SIMT_LAUNCH((softmax_gradients<T, N, distil.value>), grid, block, stream, in, upstream, grad_logits);
    else
      SIMT_LAUNCH((softmax_losses<T, N, distil.value>), grid, block, stream, in, loss);
  };
  const auto with_distil = [&](auto width) {
    if (in.teacher) launch(width, std::true_type{});
    else launch(width, std::false_type{});
  };
  with_width<T>(in.classes, with_distil, in.logits, in.teacher, in.log_prior, grad_logits);
}

}  // namespace fastlt::gpu
