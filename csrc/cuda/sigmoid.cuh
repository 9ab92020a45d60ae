// sigmoid_loss: the loss of each row, and the gradients; what one entry contributes stands in ../sigmoid_term.h.
#pragma once
#include "../sigmoid_term.h"
#include "rows.cuh"

namespace fastlt::gpu {

// [C] each; an absent scale or weight is 1, an absent shift 0.
template <class R>
struct ClassVectors {
  const R *positive_scale, *positive_shift, *negative_scale, *negative_shift, *positive_weight, *negative_weight;
};

template <class T>
struct SigmoidInput {
  const T* logits;
  const int8_t* targets;
  ClassVectors<Wide<T>> vectors;
  const Wide<T>* weight;   // [B, C], or
  const uint8_t* counted;  // [B, C], 0: left out; or neither
  SigmoidSettings<Wide<T>> settings;
  int64_t rows;
  int classes;
};

// Some columns of the class vectors.
template <class R, int N>
struct ClassPacks {
  Pack<R, N> positive_scale, positive_shift, negative_scale, negative_shift, positive_weight, negative_weight;
  SIMT_DEV ClassPacks(const ClassVectors<R>& vectors, int column)
      : positive_scale(load_or<N>(vectors.positive_scale, column, R(1))),
        positive_shift(load_or<N>(vectors.positive_shift, column, R(0))),
        negative_scale(load_or<N>(vectors.negative_scale, column, R(1))),
        negative_shift(load_or<N>(vectors.negative_shift, column, R(0))),
        positive_weight(load_or<N>(vectors.positive_weight, column, R(1))),
        negative_weight(load_or<N>(vectors.negative_weight, column, R(1))) {}
};

// N columns of a row.
template <class T, int N>
struct EntryPacks {
  using R = Wide<T>;
  Pack<R, N> logits, weight;
  Pack<int8_t, N> targets;
  Pack<uint8_t, N> counted;
  SIMT_DEV EntryPacks(const SigmoidInput<T>& in, int64_t at)
      : logits(load_wide<N>(in.logits + at)), targets(load<N>(in.targets + at)) {
    SIMT_UNROLL
    for (int k = 0; k < N; ++k) weight[k] = R(1), counted[k] = 1;
    if (in.weight) weight = load<N>(in.weight + at);
    if (in.counted) counted = load<N>(in.counted + at);
  }
};

// Loss and slope are times the weights; slope is d loss / d t with t = scale * logit + shift: a positive's scale is
// negative.
template <class R>
struct Entry {
  R logit, loss, slope, scale;
  bool positive;
};
template <Form FORM, class T, class R, int N, int M>
SIMT_DEV Entry<R> entry(const EntryPacks<T, N>& of, int k, const ClassPacks<R, M>& by, int m,
                        const SigmoidSettings<R>& settings) {
  const bool positive = of.targets[k] > 0, unknown = of.targets[k] < 0;
  const R scale = pick(positive, -by.positive_scale[m], by.negative_scale[m]);
  const R shift = pick(positive, -by.positive_shift[m], by.negative_shift[m]);
  const Term<R> term = sigmoid_term<FORM>(of.logits[k] * scale + shift, positive, unknown, settings);
  const R weight = pick(positive, by.positive_weight[m], by.negative_weight[m]) * of.weight[k];
  const bool counts = of.counted[k] != 0 && !(unknown && settings.ignore_unknown);
  return {keep(counts, of.logits[k]), keep(counts, weight * term.loss), keep(counts, weight * term.slope), scale,
          positive};
}

// Calls with (k, entry) for the N columns from `column` on, in the row that begins at `start`. The class vectors are
// read again for each row, four columns at a time: registers are dearer than the cache.
template <Form FORM, int N, class T, class Call>
SIMT_DEV void for_entries(const SigmoidInput<T>& in, int64_t start, int column, const Call& call) {
  constexpr int M = N < 4 ? N : 4;
  const EntryPacks<T, N> entries(in, start + column);
  SIMT_UNROLL
  for (int first = 0; first < N; first += M) {
    const ClassPacks<Wide<T>, M> classes(in.vectors, column + first);
    SIMT_UNROLL
    for (int m = 0; m < M; ++m) call(first + m, entry<FORM>(entries, first + m, classes, m, in.settings));
  }
}

// loss [rows, parts]: of the columns of each part of a row, a part being gridDim.y-th of the packs.
template <class T, int N, Form FORM>
SIMT_KERNEL(BLOCK, 2) sigmoid_rows(SigmoidInput<T> in, Wide<T>* loss) {
  using R = Wide<T>;
  const int64_t row = blockIdx.x, start = row * in.classes;
  const int step = blockDim.x * gridDim.y * N;
  Sum<R> sum = Sum<R>::none();
  for (int column = (blockIdx.y * blockDim.x + threadIdx.x) * N; column < in.classes; column += step)
    for_entries<FORM, N>(in, start, column, [&](int, const Entry<R>& e) { sum.total += e.loss; });
  sum = block_reduce(sum);
  if (threadIdx.x == 0) loss[row * gridDim.y + blockIdx.y] = sum.total;
}

// d loss / d of the four compensation vectors, summed over the rows of one thread.
template <class R, int N>
struct ClassSums {
  Pack<R, N> positive_scale, positive_shift, negative_scale, negative_shift;
  SIMT_DEV ClassSums() {
    SIMT_UNROLL
    for (int k = 0; k < N; ++k)
      positive_scale[k] = positive_shift[k] = negative_scale[k] = negative_shift[k] = R(0);
  }
  SIMT_DEV void add(int k, bool positive, R slope, R logit) {
    const R up = keep(positive, slope), down = keep(!positive, slope);
    positive_scale[k] -= up * logit, positive_shift[k] -= up;
    negative_scale[k] += down * logit, negative_shift[k] += down;
  }
  SIMT_DEV void write(R* partial, int64_t classes) const {  // partial [4, C], from this thread's columns on
    store(partial, positive_scale);
    store(partial + classes, positive_shift);
    store(partial + 2 * classes, negative_scale);
    store(partial + 3 * classes, negative_shift);
  }
};

constexpr int GRADIENT_BLOCK = 128;

// A thread has N columns and, as one of blockDim.y * gridDim.y walkers, every so many rows; partial is [walkers, 4, C].
template <class T, int N, Form FORM, bool CLASSES>
SIMT_KERNEL(GRADIENT_BLOCK, 4)
sigmoid_gradients(SigmoidInput<T> in, Upstream<Wide<T>> upstream, T* grad_logits, Wide<T>* partial) {
  using R = Wide<T>;
  const int column = (blockIdx.x * blockDim.x + threadIdx.x) * N;
  if (column >= in.classes) return;
  const int64_t walker = int64_t(blockIdx.y) * blockDim.y + threadIdx.y, walkers = int64_t(gridDim.y) * blockDim.y;
  ClassSums<R, N> sums;
  for (int64_t row = walker; row < in.rows; row += walkers) {
    const int64_t start = row * in.classes;
    const R scale = upstream.at(row);
    Pack<R, N> gradient;
    for_entries<FORM, N>(in, start, column, [&](int k, const Entry<R>& e) {
      const R slope = e.slope * scale;
      gradient[k] = slope * e.scale;
      if constexpr (CLASSES) sums.add(k, e.positive, slope, e.logit);
    });
    store(grad_logits + start + column, gradient);
  }
  if constexpr (CLASSES) sums.write(partial + walker * 4 * in.classes + column, in.classes);
}

// ---- host

struct GradientShape {
  dim3 grid, block;
  int64_t walkers() const { return int64_t(grid.y) * block.y; }
};
// Threads enough to fill a large GPU; with class sums a walker has at least 16 rows, so that the partial sums are small
// beside the logits.
inline GradientShape gradient_shape(int64_t rows, int64_t classes, int width, bool class_sums) {
  constexpr int64_t THREADS = 1 << 18, LEAST_ROWS = 4, LEAST_ROWS_WITH_SUMS = 16;
  const int64_t packs = (classes + width - 1) / width;
  unsigned across = 8;
  while (across < packs && across < GRADIENT_BLOCK) across *= 2;
  const int64_t columns = (packs + across - 1) / across, down = GRADIENT_BLOCK / across;
  const int64_t least = class_sums ? LEAST_ROWS_WITH_SUMS : LEAST_ROWS;
  const int64_t wanted = std::min(THREADS / (columns * across), (rows + least - 1) / least);
  const int64_t blocks = std::clamp<int64_t>((wanted + down - 1) / down, 1, 65535);
  return {dim3(unsigned(columns), unsigned(blocks)), dim3(across, unsigned(down))};
}

template <class R, class Call>
void with_form(const SigmoidSettings<R>& settings, const Call& call) {
  switch (form_of(settings)) {
    case PLAIN: return call(std::integral_constant<Form, PLAIN>{});
    case FOCUSED: return call(std::integral_constant<Form, FOCUSED>{});
    case MARGIN: return call(std::integral_constant<Form, MARGIN>{});
  }
}

template <class T, class Call>
void with_width_of(const SigmoidInput<T>& in, const T* grad_logits, const Call& call) {
  const ClassVectors<Wide<T>>& v = in.vectors;
  with_width<T>(in.classes, call, in.logits, in.targets, in.weight, in.counted, v.positive_scale, v.positive_shift,
                v.negative_scale, v.negative_shift, v.positive_weight, v.negative_weight, grad_logits);
}

// Blocks that share a row where only the sum of all rows is asked for: few long rows would leave a large GPU waiting for
// its memory.
inline int64_t row_parts(int64_t rows, int64_t classes) {
  constexpr int64_t BLOCKS = 2048, LEAST_COLUMNS = 4 * BLOCK;
  return std::clamp<int64_t>(BLOCKS / rows, 1, std::max<int64_t>(classes / LEAST_COLUMNS, 1));
}

// loss [rows, parts]
template <class T>
void launch_sigmoid_rows(const SigmoidInput<T>& in, int64_t parts, Wide<T>* loss, cudaStream_t stream) {
  with_width_of(in, (const T*)nullptr, [&](auto width) {
    with_form(in.settings, [&](auto form) {
      SIMT_LAUNCH((sigmoid_rows<T, width.value, form.value>), dim3(unsigned(in.rows), unsigned(parts)),
                  row_block(in.classes / parts, width.value), stream, in, loss);
    });
  });
}

// How many rows of partial sums launch_sigmoid_gradients writes.
template <class T>
int64_t sigmoid_walkers(const SigmoidInput<T>& in, const T* grad_logits) {
  int64_t walkers = 0;
  with_width_of(in, grad_logits, [&](auto width) {
    walkers = gradient_shape(in.rows, in.classes, width.value, true).walkers();
  });
  return walkers;
}

// partial [sigmoid_walkers, 4, C], or null: no class gradients.
template <class T>
void launch_sigmoid_gradients(const SigmoidInput<T>& in, const Upstream<Wide<T>>& upstream, T* grad_logits,
                              Wide<T>* partial, cudaStream_t stream) {
  with_width_of(in, grad_logits, [&](auto width) {
    const GradientShape shape = gradient_shape(in.rows, in.classes, width.value, partial != nullptr);
    with_form(in.settings, [&](auto form) {
      if (partial)
        SIMT_LAUNCH((sigmoid_gradients<T, width.value, form.value, true>), shape.grid, shape.block, stream, in,
                    upstream, grad_logits, partial);
      else
        SIMT_LAUNCH((sigmoid_gradients<T, width.value, form.value, false>), shape.grid, shape.block, stream, in,
                    upstream, grad_logits, partial);
    });
  });
}

}  // namespace fastlt::gpu
